"""`perpkit recover`: after a crash, the proved state of all that is open and the actions that are allowed; with --apply, take them."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from database.journal import Journal
from database.records import HoldingState, IntentRecord, Leg, PairRecord, PairState
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.errors import VenueError
from exchange_clients.model import OrderInfo
from exchange_clients.transport.runtime import Runtime
from perpkit.bot.accounts import AccountKeys
from perpkit.bot.closing import Busy, NotReal, alone, check_real, open_owners, taken_over
from perpkit.cli.clients import opened, worlds_of
from perpkit.cli.failure import OK, UNPROVED, WRONG, Failure
from perpkit.cli.options import Store, Target, user
from perpkit.cli.output import emit_json, emit_table, number
from perpkit.cli.positions import VIRTUAL, virtual_environment
from perpkit.cli.vault import account_keys
from strategies.execution.desk import Desk
from strategies.execution.ledger.owners import Owner, markets, of_leg, owner_id
from strategies.execution.ownership import Ownership

APPLY_S = 60.0
LOOK_S = 0.2


def recover(
    *, apply: bool = False, store: Store | None = None, target: Target | None = None, database: str | None = None, json: bool = False
) -> int:
    """After a crash: the proved state of every open pair and holding, and the actions that are allowed.

    Sends nothing unless --apply is given; then orders of ours are taken off, and pairs are brought to hedged or flat by reducing only.
    Holdings lose what would add to them; what protects them stays. Exit code 1 when something is to be done, 5 when it cannot be proved.
    No venue is asked about paper, shadow and demo, whose accounts are virtual: their bot recovers by itself.

    Parameters
    ----------
    apply:
        Do it: cancel, reduce, and write the proved state to the journal. No other engine may run.
    database:
        Where accounts are, as a file or URL; default $PERPKIT_DATABASE, else perpkit.db in the state folder.
    json:
        Print JSON.
    """
    place, where = store or Store(), target or Target()
    if apply:
        journal = place.write()
        try:
            _only_real(journal)
            with account_keys(place.home, database) as keys, alone(place.folder(), f"perpkit recover by {user()}"):
                asyncio.run(_apply(journal, where, place.folder(), keys))
        except Busy as e:
            raise Failure(str(e), hint="ask again when it is done, in a few seconds", kind="watchdog") from e
        finally:
            journal.close()
    journal = place.read()
    try:
        owners = open_owners(journal)
        found = [_load(journal, owner) for owner in owners]
        virtual = virtual_environment(journal, owners)
        worlds = {} if virtual is not None else worlds_of(journal, owners, where)
    finally:
        journal.close()
    if virtual is not None:
        for one in found:
            one.told_virtual(virtual)
    else:
        with account_keys(place.home, database) as keys:
            asyncio.run(_prove(found, where, worlds, keys))
    if json:
        pairs, holdings = ([one.as_json() for one in found if one.is_pair is pair] for pair in (True, False))
        emit_json({"pairs": pairs, "holdings": holdings})
    elif not found:
        print("nothing to recover: nothing is open")
    else:
        rows = [row for one in found for row in one.rows()]
        columns = ("id", "state", "leg", "market", ">own", ">expected", ">venue", "not settled", "allowed")
        emit_table(
            "Recovery",
            columns,
            rows,
            notes=["own: from fills of our orders; expected: what all of ours hold there and what was there before; --apply acts"],
        )
    if virtual is not None:
        return OK
    if any(not one.proved for one in found):
        return UNPROVED
    return WRONG if any(one.needs_something for one in found) else OK


@dataclass(slots=True)
class LegState:
    """One leg: what the journal says, and what the venue proved.

    `ours`: client ids of all our orders; `booked`: trade ids the journal has; `others`: the other owners in the same market of the account.
    `position` None: not proved, and `reason` says why.
    """

    leg: Leg
    venue: str
    instrument: str
    foreign: Decimal
    own: Decimal
    unsettled: list[IntentRecord]
    ours: frozenset[str]
    booked: frozenset[str]
    position: Decimal | None = None
    unseen: Decimal = Decimal(0)
    orders: dict[str, OrderInfo | None] = field(default_factory=dict)
    reason: str = ""
    others: list["LegState"] = field(default_factory=list)

    @property
    def share(self) -> Decimal:
        """Signed: our fills in the journal, and those that only the venue has."""
        return self.own + self.unseen

    @property
    def expected(self) -> Decimal:
        """Signed position: what was there before, this share and those of other pairs and holdings."""
        return self.foreign + self.share + sum((other.share for other in self.others), Decimal(0))

    @property
    def live(self) -> list[str]:
        return [cid for cid, info in self.orders.items() if info is not None and not info.status.is_terminal]


@dataclass(slots=True)
class OwnerReport:
    """One open pair or holding after a look at its venues."""

    owner: Owner
    legs: dict[Leg, LegState]
    virtual: str = ""
    """The environment where this account is virtual, else empty."""

    def told_virtual(self, environment: str) -> None:
        """No venue knows it."""
        self.virtual = environment
        for leg in self.legs.values():
            leg.reason = f"{environment}: {VIRTUAL}"

    @property
    def is_pair(self) -> bool:
        return isinstance(self.owner, PairRecord)

    @property
    def proved(self) -> bool:
        return all(leg.position is not None and leg.position == leg.expected for leg in self.legs.values())

    @property
    def delta(self) -> Decimal:
        """Long and short added up: zero is hedged."""
        return sum((leg.share for leg in self.legs.values()), Decimal(0)) if self.is_pair else Decimal(0)

    @property
    def needs_something(self) -> bool:
        if not self.is_pair:
            return self.owner.state is not HoldingState.OPEN or any(len(leg.live) < len(leg.unsettled) for leg in self.legs.values())
        loose = any(leg.unsettled or leg.live for leg in self.legs.values())
        return loose or self.delta != 0 or self.owner.state is not PairState.HEDGED

    @property
    def allowed(self) -> str:
        """What may be done from here; never anything that adds."""
        if self.virtual:
            return f"start its bot again: {self.virtual} is a virtual account, and it recovers by itself"
        if unproved := [str(leg.leg) for leg in self.legs.values() if leg.position is None]:
            return f"nothing but asking again: the {' and '.join(unproved)} leg is not proved"
        if differing := [leg for leg in self.legs.values() if leg.position != leg.expected]:
            leg = differing[0]
            return f"a human looks: the {leg.leg} leg is {number(leg.position)}, our fills say {number(leg.expected)}"
        if not self.is_pair:
            return "its bot goes on, or close it reduce-only (perpkit close)"
        if any(leg.live for leg in self.legs.values()):
            return "cancel what is open, then look again"
        if all(leg.share == 0 for leg in self.legs.values()):
            return "nothing is held: the record is closed"
        if self.delta:
            larger = Leg.LONG if self.delta > 0 else Leg.SHORT
            return f"reduce the {larger} leg by {number(abs(self.delta))}, reduce-only"
        return "hold, or close both legs reduce-only"

    def rows(self) -> list[tuple[str, ...]]:
        return [
            (
                owner_id(self.owner),
                str(self.owner.state),
                str(leg.leg) if self.is_pair else "holding",
                leg.instrument,
                number(leg.share),
                number(leg.expected),
                number(leg.position) if leg.position is not None else leg.reason if self.virtual else f"not proved: {leg.reason}",
                _unsettled(leg),
                self.allowed if leg.leg is Leg.LONG else "",
            )
            for leg in self.legs.values()
        ]

    def as_json(self) -> dict[str, Any]:
        return {
            "pair_id" if self.is_pair else "holding_id": owner_id(self.owner),
            "symbol": self.owner.symbol if isinstance(self.owner, PairRecord) else self.owner.instrument,
            "state": self.owner.state,
            "reason": self.owner.reason,
            "proved": self.proved,
            "delta": self.delta,
            "allowed": self.allowed,
            "legs": {
                str(leg.leg): {
                    "instrument": leg.instrument,
                    "own": leg.share,
                    "unseen_fills": leg.unseen,
                    "expected": leg.expected,
                    "position": leg.position,
                    "not_proved": leg.reason,
                    "unsettled": {
                        intent.client_order_id: _word(leg.orders.get(intent.client_order_id), leg.position is not None)
                        for intent in leg.unsettled
                    },
                }
                for leg in self.legs.values()
            },
        }


def _word(info: OrderInfo | None, asked: bool) -> str:
    if info is not None:
        return f"{info.status}, {number(info.filled_size)} filled"
    return "the venue does not know it" if asked else "not asked"


def _unsettled(leg: LegState) -> str:
    words = [f"{i.client_order_id}: {_word(leg.orders.get(i.client_order_id), leg.position is not None)}" for i in leg.unsettled]
    return "; ".join(words) or "-"


def _load(journal: Journal, owner: Owner) -> OwnerReport:
    name = owner_id(owner)
    fills, intents = journal.fills(name), journal.intents(name)
    legs: dict[Leg, LegState] = {}
    for market in markets(owner):
        mine = [intent for intent in intents if intent.leg is market.leg]
        legs[market.leg] = LegState(
            market.leg,
            market.venue,
            market.instrument,
            owner.foreign(market.leg) if isinstance(owner, PairRecord) else owner.foreign_quantity,
            sum((fill.signed for fill in of_leg(owner, market, fills)), Decimal(0)),
            [intent for intent in mine if not intent.state.resolved],
            frozenset(intent.client_order_id for intent in mine),
            frozenset(fill.trade_id for fill in of_leg(owner, market, fills)),
        )
    return OwnerReport(owner, legs)


async def _prove(found: list[OwnerReport], target: Target, worlds: Mapping[str, str], keys: AccountKeys) -> None:
    """Ask every venue about its legs; one that fails leaves its legs unproved and holds up no other."""
    legs = [(one, leg) for one in found for leg in one.legs.values()]
    for one, leg in legs:
        place = (one.owner.account, leg.instrument)
        leg.others = [other for of, other in legs if other is not leg and (of.owner.account, other.instrument) == place]
    places = {(one.owner.account, leg.venue) for one, leg in legs}
    target.check({venue for _, venue in places})

    async def ask(account: str, venue: str) -> None:
        mine = [(one, leg) for one, leg in legs if (one.owner.account, leg.venue) == (account, venue)]
        try:
            async with opened(venue, target, signed=keys, account=account, world=worlds.get(venue)) as client:
                for one, leg in mine:
                    await _look(client, one.owner.created_at, leg)
        except VenueError as e:
            for _, leg in mine:
                if leg.position is None:
                    leg.reason = str(e)

    await asyncio.gather(*(ask(*place) for place in sorted(places)))


async def _look(client: BaseExchangeClient, since_ns: int, leg: LegState) -> None:
    """Orders first, then fills, then the position, so that nothing slips between them."""
    for intent in leg.unsettled:
        leg.orders[intent.client_order_id] = await client.get_order_info(
            intent.client_order_id, force_refresh=True, contract_id=leg.instrument
        )
    fills = await client.get_user_trade_history(leg.instrument, since_ns=since_ns)
    new = [fill for fill in fills if fill.client_order_id in leg.ours and fill.trade_id not in leg.booked]
    leg.unseen = sum((fill.signed_quantity for fill in new), Decimal(0))
    held = await client.get_position_snapshot(leg.instrument)
    leg.position = Decimal(0) if held is None else held.quantity


def _only_real(journal: Journal) -> None:
    try:
        check_real(journal, open_owners(journal))
    except NotReal as e:
        raise Failure(str(e), hint="start that bot again: it recovers by itself") from e


def _rests(desk: Desk) -> bool:
    """Every venue of the desk is proved, and no holding is on its way out."""
    return desk.entry_block() is None and all(h.state is not HoldingState.CLOSING for h in desk.holdings.values())


async def _apply(journal: Journal, target: Target, folder: Path, keys: AccountKeys) -> None:
    """Run the engines and desks until everything of the journal rests, then stop them."""
    owners = open_owners(journal)
    groups = {(owner.strategy, owner.account) for owner in owners}
    places = {(owner.account, market.venue) for owner in owners for market in markets(owner)}
    target.check({venue for _, venue in places})
    worlds = worlds_of(journal, owners, target)
    ownership, runtime = Ownership(journal), Runtime.system()
    async with AsyncExitStack() as stack:
        stack.callback(runtime.offload.close)
        clients: dict[str, dict[str, BaseExchangeClient]] = {}
        for account, venue in sorted(places):
            client = opened(venue, target, signed=keys, account=account, state_directory=folder / "ids", world=worlds.get(venue))
            clients.setdefault(account, {})[venue] = await stack.enter_async_context(client)
        for strategy, account in sorted(groups):
            async with taken_over(journal, clients[account], runtime, ownership, strategy, account, folder) as (engine, desk):
                try:
                    async with asyncio.timeout(APPLY_S):
                        await asyncio.gather(*(runner.until_rest() for runner in engine.pairs.values()))
                        while not _rests(desk):  # noqa: ASYNC110 - the desk tells nobody
                            await asyncio.sleep(LOOK_S)
                except TimeoutError:
                    pass  # what is not at rest yet shows in the report that follows
