"""`perpkit positions`: what the journal says is open, beside what the venues prove."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from database.journal import Journal
from database.records import HoldingState, PairRecord, PairState
from exchange_clients.errors import VenueError
from perpkit.cli.failure import OK, WRONG
from perpkit.cli.options import Store, Target
from perpkit.cli.output import emit_json, emit_table, iso, number, percent, usd
from perpkit.cli.vault import account_keys
from strategies.execution.ledger.owners import Market, Owner, markets, of_leg, owner_id

if TYPE_CHECKING:
    from perpkit.bot.accounts import AccountKeys

OPEN = tuple(state for state in PairState if state is not PairState.CLOSED)
VIRTUAL = "a virtual account, asked of nobody"
HELD = tuple(state for state in HoldingState if state is not HoldingState.CLOSED)


def positions(
    *,
    store: Store | None = None,
    target: Target | None = None,
    database: str | None = None,
    offline: bool = False,
    json: bool = False,
) -> int:
    """What the journal says is open, pairs and holdings, beside what the venues prove.

    Exit code 1 when a venue disagrees or could not be asked. No venue is asked about paper, shadow and demo, whose accounts are virtual.

    Parameters
    ----------
    database:
        Where accounts are, as a file or URL; default $PERPKIT_DATABASE, else perpkit.db in the state folder.
    offline:
        Show the journal only; ask no venue.
    json:
        Print JSON.
    """
    from perpkit.cli.clients import worlds_of

    where, place = target or Target(), store or Store()
    journal = place.read()
    try:
        owners: list[Owner] = [*journal.pairs(*OPEN), *journal.holdings(*HELD)]
        legs = legs_of(journal, owners)
        virtual = virtual_environment(journal, owners)
        offline = offline or virtual is not None
        worlds = {} if offline else worlds_of(journal, owners, where)
    finally:
        journal.close()
    if virtual is not None:
        for leg in legs:
            leg.note = f"{virtual}: {VIRTUAL}"
    if not offline:
        with account_keys(place.home, database) as keys:
            asyncio.run(prove(legs, where, worlds, keys))
    if json:
        emit_json({"legs": [leg.as_json() for leg in legs]})
    elif not legs:
        print("nothing is open")
    else:
        columns = ("id", "state", "market", "leg", ">own", ">venue", ">entry", ">mark", ">unrealised", ">liquidation", ">away", "note")
        emit_table(
            "Positions",
            columns,
            [leg.row() for leg in legs],
            notes=["quantities in base units; own: from our fills; venue: the account's whole position; away: from the liquidation price"],
        )
    return OK if offline or all(leg.agrees for leg in legs) else WRONG


def virtual_environment(journal: Journal, owners: Sequence[Owner]) -> str | None:
    """paper, shadow or demo, where these were opened: no venue knows them, and a real account's figures beside them would mislead."""
    from perpkit.bot.closing import NotReal, check_real

    try:
        check_real(journal, owners)
    except NotReal:
        return journal.runs()[-1].environment
    return None


@dataclass(slots=True)
class LegReport:
    """One leg of an open pair, or a holding: its own share, what the account should hold there, and what its venue proves."""

    owner: Owner
    market: Market
    own: Decimal
    expected: Decimal
    proved: Decimal | None = None
    entry_price: Decimal | None = None
    mark_price: Decimal | None = None
    unrealized_pnl: Decimal | None = None
    liquidation_price: Decimal | None = None
    note: str = ""

    @property
    def instrument(self) -> str:
        return self.market.instrument

    @property
    def agrees(self) -> bool:
        """The venue proved exactly what the journal expects."""
        return self.proved is not None and self.proved == self.expected

    @property
    def liquidation_distance(self) -> Decimal | None:
        """How far the mark may move, as a fraction of it."""
        if self.liquidation_price is None or not self.mark_price:
            return None
        return abs(self.mark_price - self.liquidation_price) / self.mark_price

    def row(self) -> Sequence[str]:
        note = self.note or ("" if self.proved is None or self.agrees else f"differs from {number(self.expected)}: run perpkit recover")
        figures = (self.entry_price, self.mark_price)
        return (
            owner_id(self.owner),
            str(self.owner.state),
            self.instrument,
            str(self.market.leg) if isinstance(self.owner, PairRecord) else "holding",
            number(self.own),
            number(self.proved),
            *(number(figure) for figure in figures),
            usd(self.unrealized_pnl),
            number(self.liquidation_price),
            percent(self.liquidation_distance, 1),
            note,
        )

    def as_json(self) -> dict[str, Any]:
        figures = (
            "own",
            "expected",
            "proved",
            "entry_price",
            "mark_price",
            "unrealized_pnl",
            "liquidation_price",
            "liquidation_distance",
            "note",
            "agrees",
        )
        pair = isinstance(self.owner, PairRecord)
        return {
            "pair_id" if pair else "holding_id": owner_id(self.owner),
            "strategy": self.owner.strategy,
            "account": self.owner.account,
            "state": self.owner.state,
            "symbol": self.owner.symbol if isinstance(self.owner, PairRecord) else self.owner.instrument,
            "venue": self.market.venue,
            "instrument": self.instrument,
            "leg": self.market.leg if pair else "holding",
            "opened_at": iso(self.owner.opened_at if isinstance(self.owner, PairRecord) else self.owner.created_at),
            **{name: getattr(self, name) for name in figures},
        }


def legs_of(journal: Journal, owners: Sequence[Owner]) -> list[LegReport]:
    """Each leg with the signed position that the journal expects at the venue: the shares of all owners there, on what was there before."""
    shares: dict[tuple[str, str, str], Decimal] = {}
    found: list[LegReport] = []
    for owner in owners:
        fills = journal.fills(owner_id(owner))
        for market in markets(owner):
            own = sum((fill.signed for fill in of_leg(owner, market, fills)), Decimal(0))
            place = (owner.account, market.venue, market.instrument)
            shares[place] = shares.get(place, Decimal(0)) + own
            found.append(LegReport(owner, market, own, own))
    for leg in found:
        foreign = leg.owner.foreign(leg.market.leg) if isinstance(leg.owner, PairRecord) else leg.owner.foreign_quantity
        leg.expected = foreign + shares[(leg.owner.account, leg.market.venue, leg.instrument)]
    return found


async def prove(legs: Sequence[LegReport], target: Target, worlds: Mapping[str, str], keys: "AccountKeys") -> None:
    """Ask each venue for each leg with its account's keys; what cannot be proved stays None, with the reason in the note."""
    from perpkit.cli.clients import opened

    places = {(leg.owner.account, leg.market.venue) for leg in legs}
    target.check({venue for _, venue in places})

    async def ask(account: str, venue: str) -> None:
        mine = [leg for leg in legs if (leg.owner.account, leg.market.venue) == (account, venue)]
        try:
            async with opened(venue, target, signed=keys, account=account, world=worlds.get(venue)) as client:
                for leg in mine:
                    snapshot = await client.get_position_snapshot(leg.instrument)
                    leg.proved = Decimal(0) if snapshot is None else snapshot.quantity
                    if snapshot is not None:
                        leg.entry_price, leg.mark_price = snapshot.entry_price, snapshot.mark_price
                        leg.unrealized_pnl, leg.liquidation_price = snapshot.unrealized_pnl, snapshot.liquidation_price
        except VenueError as e:
            for leg in mine:
                if leg.proved is None:
                    leg.note = f"not proved: {e}"

    await asyncio.gather(*(ask(*place) for place in sorted(places)))
