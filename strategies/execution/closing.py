"""The end of a holding: everything off the book, the own share out in bounded steps, and the proof that it is so."""

import asyncio
import logging
from typing import TYPE_CHECKING

from database.records import HoldingState
from exchange_clients.errors import VenueError
from exchange_clients.model import Purpose, Side
from exchange_clients.transport.clock import Clock

from .lots import tradable
from .pauses import growing
from .pricing import rung
from .ticket import Ticket, TicketRefused

if TYPE_CHECKING:
    from .holding import Holding

log = logging.getLogger("strategies.execution")

WAIT_S = 1.0
MAX_WAIT_S = 10.0


async def close_out(holding: "Holding", clock: Clock, reason: str) -> None:
    """Until the holding is CLOSED with its end proved (E7), or in ALERT with the exact rest because the bounds were used up (E20).

    A venue that cannot be reached uses up nothing: the exit goes on when it answers again. A rest below the venue's minimum is dust: named,
    and left.
    """
    limits = holding.limits
    failures = sent = 0
    since_s = clock.monotonic()
    while True:
        try:
            await _cleared(holding)
            if not await holding.market.reconcile():
                if clock.monotonic() - since_s > limits.resolve_deadline_s:
                    return await holding.move(HoldingState.ALERT, f"cannot prove what is left to close: {reason}")
                await clock.sleep(WAIT_S)
                continue
            if holding.own == 0 or (failures and not tradable(holding.instrument, abs(holding.own), holding.market.last_price)):
                if await _nothing_open(holding):
                    return await holding.move(HoldingState.CLOSED, reason)
                continue
            if failures >= limits.max_reduce_attempts or sent >= limits.max_orders:
                return await holding.move(HoldingState.ALERT, f"could not be closed with {sent} orders: {reason}")
            before = holding.own
            sent += 1
            await _reduce(holding, failures, reason)
            failures = 0 if holding.own != before else failures + 1
            since_s = clock.monotonic()
        except TicketRefused:
            failures += 1
        except Exception:
            log.exception("close.failed holding=%s", holding.holding_id)
            failures += 1
            if failures >= limits.max_reduce_attempts:
                return await holding.move(HoldingState.ALERT, f"the close failed, see the log: {reason}")
        except VenueError as e:
            holding.market.mark(e, holding.holding_id)
            since_s = clock.monotonic()
            await clock.sleep(WAIT_S)
        if failures:
            await clock.sleep(growing(limits.poll_s, failures, MAX_WAIT_S))


async def _cleared(holding: "Holding") -> None:
    """Every order proved ended. One whose outcome stays unknown goes on being asked for, and is told about: nothing else may be sent."""
    while True:
        try:
            async with asyncio.timeout(holding.limits.resolve_deadline_s):
                return await holding.cancel_all()
        except TimeoutError:
            waiting = [o.client_order_id for o in holding.orders(live=True)]
            log.error("close.waits holding=%s orders=%s", holding.holding_id, waiting)
            holding.share.say("close.waits", orders=waiting)


async def _reduce(holding: "Holding", attempt: int, reason: str) -> None:
    side = Side.SELL if holding.own > 0 else Side.BUY
    most = holding.instrument.max_quantity
    quantity = abs(holding.own) if most is None else min(abs(holding.own), most)
    ticket = Ticket(
        side=side,
        quantity=quantity,
        reduce_only=True,
        purpose=Purpose.CLOSE,
        reason=reason,
        tag="close",
        within_bps=rung(holding.limits.reduce_bps, attempt),
    )
    await (await holding.place(ticket)).ended()


async def _nothing_open(holding: "Holding") -> bool:
    """No order of ours is on the venue's list; one that is gets taken up again."""
    listed = {o.client_order_id for o in await holding.client.get_active_orders(holding.instrument.contract_id)}
    if any(o.client_order_id in listed for o in holding.orders()):
        await holding.reconcile()
        return False
    return True
