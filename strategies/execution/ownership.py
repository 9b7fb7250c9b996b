"""Whose is what: several pairs and holdings in one market of one account keep apart by what each has traded itself (PAINS 29)."""

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from database.ids import DurableIds
from database.journal import Journal
from database.records import HoldingState, Leg, PairState
from exchange_clients.model import ZERO, Fill, Instrument
from exchange_clients.transport.clock import Clock

from .journaling import AsyncJournal, nobody
from .market import SharedMarket

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

UNFINISHED_PAIRS = tuple(state for state in PairState if state is not PairState.CLOSED)
UNFINISHED_HOLDINGS = tuple(state for state in HoldingState if state is not HoldingState.CLOSED)
COUNTER = "journal"


class Owner(NamedTuple):
    """Somebody who, by the journal, may hold something of a market. `sign`: +1, -1, or 0 for either direction."""

    owner: str
    leg: Leg
    sign: int
    foreign: Decimal
    created_ns: int
    updated_ns: int


class Ownership:
    """One per journal, shared by all engines and the desk: every market in which somebody of ours trades, once.

    A market is rebuilt from the journal when it is first asked for, with the shares of all who are not closed, also of strategies that
    do not run now: what they hold is neither foreign nor anybody else's.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._markets: dict[tuple[str, str], SharedMarket] = {}
        self.ids = _counter(journal)
        """Numbers for pairs, holdings, intents and decisions, unique in the journal whoever draws them."""

    def market(
        self, account: str, client: "BaseExchangeClient", instrument: Instrument, *, journal: AsyncJournal, clock: Clock
    ) -> SharedMarket:
        """The account's position in a market, the same object for everybody."""
        key = (account, str(instrument.id))
        market = self._markets.get(key)
        if market is None:
            market = self._markets[key] = self._rebuilt(account, client, instrument, journal, clock)
        market.client = client
        return market

    async def take_fill(self, account: str, fill: Fill) -> None:
        """A fill seen on an account, handed to its market; taken in once, however many engines tell it."""
        market = self._markets.get((account, str(fill.instrument)))
        if market is not None:
            await market.take_fill(fill)

    def paused(self, account: str, venue: str) -> bool:
        """Whether the venue refuses everybody's orders at present."""
        return any(name == account and market.instrument.id.venue == venue and market.paused for (name, _), market in self._markets.items())

    def held(self, account: str, venue: str) -> dict[str, dict[str, Decimal]]:
        """Signed shares on an account and venue: by instrument, by owner; what is foreign stands under the empty name."""
        found: dict[str, dict[str, Decimal]] = {}
        for (name, instrument), market in self._markets.items():
            if name == account and market.instrument.id.venue == venue:
                found[instrument] = {share.owner: share.own for share in market.live} | {"": market.foreign}
        return found

    def _rebuilt(
        self, account: str, client: "BaseExchangeClient", instrument: Instrument, journal: AsyncJournal, clock: Clock
    ) -> SharedMarket:
        market = SharedMarket(client, instrument, account=account, journal=journal, clock=clock)
        owners = sorted(self._owners(account, str(instrument.id)), key=lambda owner: owner.updated_ns)
        for owner in owners:
            share = market.join(
                owner.owner,
                owner.leg,
                sign=owner.sign,
                created_ns=owner.created_ns,
                observer=nobody,
                on_change=lambda: None,
                journal=journal,
            )
            intents = [i for i in self._journal.intents(owner.owner) if i.leg is owner.leg]
            ids = {i.client_order_id for i in intents}
            orders = [o for o in self._journal.orders(owner.owner) if o.client_order_id in ids]
            share.restore(intents, orders, [f for f in self._journal.fills(owner.owner) if f.leg is owner.leg])
        market.foreign = owners[-1].foreign if owners else ZERO
        return market

    def _owners(self, account: str, instrument: str) -> Iterator[Owner]:
        """Who is not closed and names this market. The one written last knows best what is foreign."""
        for pair in self._journal.pairs(*UNFINISHED_PAIRS):
            for leg in Leg:
                if pair.account == account and pair.instrument(leg) == instrument:
                    yield Owner(pair.pair_id, leg, leg.sign, pair.foreign(leg), pair.created_at, pair.updated_at)
        for held in self._journal.holdings(*UNFINISHED_HOLDINGS):
            if held.account == account and held.instrument == instrument:
                yield Owner(held.holding_id, Leg.LONG, 0, held.foreign_quantity, held.created_at, held.updated_at)


def _counter(journal: Journal) -> DurableIds:
    """The journal's one counter; where each strategy still counted for itself, it goes on above the highest of them."""
    older = journal.states("ids", "")
    if older and all(state.key != COUNTER for state in older):
        highest = max(older, key=lambda state: int(state.value))
        journal.write(msgspec.structs.replace(highest, key=COUNTER), or_fallback=True)
    return DurableIds(journal, COUNTER)
