"""`perpkit recover`: after a crash, the proved state of every open pair and the actions that are allowed; with --apply, take them."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from database.journal import Journal
from database.records import IntentRecord, Leg, PairRecord, PairState
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.errors import VenueError
from exchange_clients.model import OrderInfo
from exchange_clients.transport.runtime import Runtime
from perpkit.cli.clients import opened
from perpkit.cli.failure import OK, UNPROVED, WRONG, Failure
from perpkit.cli.options import Store, Target
from perpkit.cli.output import emit_json, emit_table, number
from perpkit.cli.positions import OPEN
from strategies.execution.engine import ExecutionEngine

APPLY_S = 60.0


def recover(*, apply: bool = False, store: Store | None = None, target: Target | None = None, json: bool = False) -> int:
    """After a crash: the proved state of every open pair, and the actions that are allowed.

    Sends nothing unless --apply is given; then orders of ours are taken off, and pairs are brought to hedged or flat by reducing only.
    Exit code 1 when a pair needs something, 5 when its state cannot be proved.

    Parameters
    ----------
    apply:
        Do it: cancel, reduce, and write the proved state to the journal. No other engine may run.
    json:
        Print JSON.
    """
    place, where = store or Store(), target or Target()
    if apply:
        journal = place.write()
        try:
            _only_real(journal)
            asyncio.run(_apply(journal, where))
        finally:
            journal.close()
    journal = place.read()
    try:
        found = [_load(journal, pair) for pair in journal.pairs(*OPEN)]
    finally:
        journal.close()
    asyncio.run(_prove(found, where))
    if json:
        emit_json({"pairs": [one.as_json() for one in found]})
    elif not found:
        print("nothing to recover: no pair is open")
    else:
        rows = [row for one in found for row in one.rows()]
        columns = ("pair", "state", "leg", "market", ">own", ">expected", ">venue", "not settled", "allowed")
        emit_table(
            "Recovery", columns, rows, notes=["own: from fills of our orders; expected: own and what was there before; --apply acts"]
        )
    if any(not one.proved for one in found):
        return UNPROVED
    return WRONG if any(one.needs_something for one in found) else OK


@dataclass(slots=True)
class LegState:
    """One leg: what the journal says, and what the venue proved.

    `ours`: client ids of all our orders; `booked`: trade ids the journal has. `position` None: not proved, and `reason` says why.
    """

    leg: Leg
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

    @property
    def expected(self) -> Decimal:
        """Signed position: what was there before, our fills in the journal, and those that only the venue has."""
        return self.foreign + self.own + self.unseen

    @property
    def live(self) -> list[str]:
        return [cid for cid, info in self.orders.items() if info is not None and not info.status.is_terminal]


@dataclass(slots=True)
class PairStateReport:
    """One open pair after a look at both venues."""

    pair: PairRecord
    legs: dict[Leg, LegState]

    @property
    def proved(self) -> bool:
        return all(leg.position is not None and leg.position == leg.expected for leg in self.legs.values())

    @property
    def delta(self) -> Decimal:
        """Long and short added up: zero is hedged."""
        return sum((leg.own + leg.unseen for leg in self.legs.values()), Decimal(0))

    @property
    def needs_something(self) -> bool:
        loose = any(leg.unsettled or leg.live for leg in self.legs.values())
        return loose or self.delta != 0 or self.pair.state is not PairState.HEDGED

    @property
    def allowed(self) -> str:
        """What may be done from here; never anything that adds."""
        if unproved := [str(leg.leg) for leg in self.legs.values() if leg.position is None]:
            return f"nothing but asking again: the {' and '.join(unproved)} leg is not proved"
        if differing := [leg for leg in self.legs.values() if leg.position != leg.expected]:
            leg = differing[0]
            return f"a human looks: the {leg.leg} leg is {number(leg.position)}, our fills say {number(leg.expected)}"
        if any(leg.live for leg in self.legs.values()):
            return "cancel what is open, then look again"
        if all(leg.own + leg.unseen == 0 for leg in self.legs.values()):
            return "nothing is held: the record is closed"
        if self.delta:
            larger = Leg.LONG if self.delta > 0 else Leg.SHORT
            return f"reduce the {larger} leg by {number(abs(self.delta))}, reduce-only"
        return "hold, or close both legs reduce-only"

    def rows(self) -> list[tuple[str, ...]]:
        return [
            (
                self.pair.pair_id,
                str(self.pair.state),
                str(leg.leg),
                leg.instrument,
                number(leg.own + leg.unseen),
                number(leg.expected),
                number(leg.position) if leg.position is not None else f"not proved: {leg.reason}",
                _unsettled(leg),
                self.allowed if leg.leg is Leg.LONG else "",
            )
            for leg in self.legs.values()
        ]

    def as_json(self) -> dict[str, Any]:
        return {
            "pair_id": self.pair.pair_id,
            "symbol": self.pair.symbol,
            "state": self.pair.state,
            "reason": self.pair.reason,
            "proved": self.proved,
            "delta": self.delta,
            "allowed": self.allowed,
            "legs": {
                str(leg.leg): {
                    "instrument": leg.instrument,
                    "own": leg.own + leg.unseen,
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


def _load(journal: Journal, pair: PairRecord) -> PairStateReport:
    fills, intents = journal.fills(pair.pair_id), journal.intents(pair.pair_id)
    return PairStateReport(
        pair,
        {
            leg: LegState(
                leg,
                pair.instrument(leg),
                pair.foreign(leg),
                sum((fill.signed for fill in fills if fill.leg is leg), Decimal(0)),
                [intent for intent in intents if intent.leg is leg and not intent.state.resolved],
                frozenset(intent.client_order_id for intent in intents if intent.leg is leg),
                frozenset(fill.trade_id for fill in fills if fill.leg is leg),
            )
            for leg in Leg
        },
    )


async def _prove(found: list[PairStateReport], target: Target) -> None:
    """Ask every venue about its legs; one that fails leaves its legs unproved and holds up no other."""

    venues = {one.pair.venue(leg) for one in found for leg in Leg}
    target.check(venues)

    async def ask(venue: str) -> None:
        mine = [(one, leg) for one in found for leg in one.legs.values() if one.pair.venue(leg.leg) == venue]
        try:
            async with opened(venue, target, signed=True) as client:
                for one, leg in mine:
                    await _look(client, one.pair, leg)
        except VenueError as e:
            for _, leg in mine:
                if leg.position is None:
                    leg.reason = str(e)

    await asyncio.gather(*(ask(venue) for venue in sorted(venues)))


async def _look(client: BaseExchangeClient, pair: PairRecord, leg: LegState) -> None:
    """Orders first, then fills, then the position, so that nothing slips between them."""
    for intent in leg.unsettled:
        leg.orders[intent.client_order_id] = await client.get_order_info(
            intent.client_order_id, force_refresh=True, contract_id=leg.instrument
        )
    fills = await client.get_user_trade_history(leg.instrument, since_ns=pair.created_at)
    new = [fill for fill in fills if fill.client_order_id in leg.ours and fill.trade_id not in leg.booked]
    leg.unseen = sum((fill.signed_quantity for fill in new), Decimal(0))
    held = await client.get_position_snapshot(leg.instrument)
    leg.position = Decimal(0) if held is None else held.quantity


def _only_real(journal: Journal) -> None:
    from perpkit.bot.closing import NotReal, check_real, open_owners

    try:
        check_real(journal, open_owners(journal))
    except NotReal as e:
        raise Failure(str(e), hint="start that bot again: it recovers by itself") from e


async def _apply(journal: Journal, target: Target) -> None:
    """Run the engine until every pair of the journal rests, then stop it."""
    groups = {(pair.strategy, pair.account) for pair in journal.pairs(*OPEN)}
    venues = {pair.venue(leg) for pair in journal.pairs(*OPEN) for leg in Leg}
    target.check(venues)
    async with AsyncExitStack() as stack:
        clients: Mapping[str, BaseExchangeClient] = {
            name: await stack.enter_async_context(opened(name, target, signed=True)) for name in sorted(venues)
        }
        for strategy, account in sorted(groups):
            runtime = Runtime.system()
            engine = ExecutionEngine(journal, clients, runtime, strategy=strategy, account=account)
            try:
                await engine.start()
                async with asyncio.timeout(APPLY_S):
                    await asyncio.gather(*(runner.until_rest() for runner in engine.pairs.values()))
            except TimeoutError:
                pass  # what is not at rest yet shows in the report that follows
            finally:
                await engine.stop()
                runtime.offload.close()
