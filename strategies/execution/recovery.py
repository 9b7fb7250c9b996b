"""After a crash: from the journal and the venues to a proved state, sending nothing but cancels until that state is known (E9, E10)."""

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from database.journal import Journal
from database.records import IntentState, Leg, PairState
from exchange_clients.errors import ConnectFailed, RequestTimeout, VenueError

from .decide import Move
from .together import together

if TYPE_CHECKING:
    from .pair import PairRunner

log = logging.getLogger("strategies.execution")

ATTEMPT_S = 10.0
"""How long one attempt waits for an order's outcome; the next attempt goes on where it left off."""
LEG_S = ATTEMPT_S + 5.0
"""How long one attempt at one leg takes at most."""


def load(runner: "PairRunner", journal: Journal) -> None:
    """Give a runner what the journal holds of its pair."""
    pair_id = runner.record.pair_id
    intents, orders, fills = journal.intents(pair_id), journal.orders(pair_id), journal.fills(pair_id)
    for leg, trader in runner.legs.items():
        mine = [i for i in intents if i.leg is leg]
        ids = {i.client_order_id for i in mine}
        trader.restore(mine, [o for o in orders if o.client_order_id in ids], [f for f in fills if f.leg is leg])
    runner.recovered = False


async def recover(runner: "PairRunner") -> frozenset[Leg]:
    """One attempt to prove where the pair stands, both legs at once; returns the legs that are proved.

    Unfinished orders are taken off the book and their fills taken in; orders of ours that the journal thought finished are looked at
    again; positions must agree with our fills, or be explained by fills of others. What was opening is not opened any further: the rules of
    REPAIRING bring it to hedged or flat by reducing only.

    A leg whose venue is gone does not hold up the other one: once that one is proved the pair goes on as in an outage (E18), with what
    the journal knows of the leg that is `away`. Call it again until that one is proved too.
    """
    waiting = runner.away or frozenset(Leg)
    was_unknown = any(trader.active is not None for trader in runner.legs.values())
    outcomes = await together(*(_prove(runner, leg) if leg in waiting else runner.reconcile_leg(leg) for leg in Leg))
    proved = frozenset(leg for leg, good in zip(Leg, outcomes, strict=True) if good)
    if len(proved) < len(Leg):
        gone = frozenset(leg for leg in Leg if not runner.legs[leg].venue_up) - proved
        if not runner.recovered and len(proved) == len(gone) == 1:
            await _go_on_without(runner, gone)
        return proved
    runner.away = frozenset()
    await runner.save_foreign()
    long, short = runner.legs[Leg.LONG].own, runner.legs[Leg.SHORT].own
    runner.recovered = True
    if runner.state is PairState.PLANNED:
        await runner.move(Move(PairState.CLOSED, "never started"))
    elif runner.state is PairState.ALERT and was_unknown:
        await runner.move(Move(PairState.REPAIRING, "the unknown outcome is proved now"))
    elif runner.state is PairState.OPENING:
        await runner.move(Move(PairState.REPAIRING, f"restarted while opening: long {long}, short {short} proved"))
    runner.tell("recovery.proved", state=runner.state.value, long=long, short=short)
    runner.wake()
    return proved


async def _prove(runner: "PairRunner", leg: Leg) -> bool:
    """One attempt at one leg, bounded in time."""
    trader = runner.legs[leg]
    try:
        async with asyncio.timeout(LEG_S):
            if not trader.client.is_connected:
                raise ConnectFailed("not connected", venue=trader.venue)
            if trader.active is not None:
                await trader.settle_within(ATTEMPT_S)
            await _adopt_open_orders(runner, leg)
            if trader.active is None and await trader.reconcile():
                return True
    except (VenueError, TimeoutError) as e:
        error = e if isinstance(e, VenueError) else RequestTimeout(f"no answer in {LEG_S:g} s", venue=trader.venue)
        trader.mark(error)
        runner.tell("recovery.waits", leg=leg.value, venue=trader.venue, reason=str(error))
        return False
    runner.tell("recovery.waits", leg=leg.value, venue=trader.venue, reason="not proved yet")
    if trader.active is None and runner.disagrees_too_long():
        await _give_up(runner, f"{trader.venue} shows a position that no record explains")
    return False


async def _go_on_without(runner: "PairRunner", gone: frozenset[Leg]) -> None:
    """The leg that answers is proved, so it is protected. Where nothing was sent yet, or a human has to look, nothing presses."""
    if runner.state in (PairState.PLANNED, PairState.ALERT):
        return
    runner.away, runner.recovered = gone, True
    venue = ", ".join(runner.legs[leg].venue for leg in gone)
    if runner.state is PairState.OPENING:
        await runner.move(Move(PairState.REPAIRING, f"restarted while opening, and {venue} does not answer"))
    runner.tell("recovery.away", venue=venue, state=runner.state.value)
    runner.wake()


async def _adopt_open_orders(runner: "PairRunner", leg: Leg) -> None:
    """An order of ours that is open at the venue although the journal holds it for finished: the venue is right."""
    trader = runner.legs[leg]
    for info in await trader.client.get_active_orders(trader.instrument.contract_id):
        intent = trader.intents.get(info.client_order_id or "")
        if intent is not None and trader.active is None:
            log.warning("recovery.reopened pair=%s id=%s", runner.record.pair_id, intent.client_order_id)
            trader.restore([msgspec.structs.replace(intent, state=IntentState.WORKING)], [], [])
            await trader.settle_within(ATTEMPT_S)


async def _give_up(runner: "PairRunner", why: str) -> None:
    """The venues answer, and do not agree with us: a human has to look."""
    runner.recovered = True
    if runner.state is not PairState.ALERT:
        await runner.move(Move(PairState.ALERT, why))
    runner.wake()
