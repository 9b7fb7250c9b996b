"""The venue-side dead-man switch: cancel-all after silence, where a venue has it.

The rule: such a switch cancels *everything* on the account, also what protects a position and what is not ours. It is therefore armed only
while every order there is an entry order of this bot, and disarmed in the moment that any other order is seen. What it cannot cover is left
to the watchdog, and `status` says so.
"""

import logging
from typing import TYPE_CHECKING

from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_S, OrderStatus

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

    from .engine import RiskEngine

log = logging.getLogger("strategies.risk")

LOOK_S = 0.5
ASK_S = 15.0
"""How often the venue's own list of orders is read while the switch is armed."""
RETRY_S = 60.0
ON_BOOK = (OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED)


class DeadMan:
    """Of one venue."""

    def __init__(self, client: "BaseExchangeClient", risk: "RiskEngine") -> None:
        self._client, self._risk = client, risk
        self._armed_s: float | None = None
        self._next_try_s = self._next_ask_s = 0.0
        self._others: set[str] = set()
        self.status = "not armed" if self.able else "the venue has no such switch"

    @property
    def able(self) -> bool:
        """The venue has the switch, we may use it, and somebody wants it."""
        return (
            self._client.capabilities.dead_man_switch
            and self._client.context.signer is not None
            and self._risk.limits.dead_man_s is not None
        )

    @property
    def armed(self) -> bool:
        """As far as we know."""
        return self._armed_s is not None

    async def run(self) -> None:
        """Look until canceled."""
        while True:
            await self._risk.clock.sleep(LOOK_S)
            try:
                await self.look()
            except VenueError as e:
                self.status = f"not known: {e}"
                self._next_try_s = self._risk.clock.monotonic() + RETRY_S
                if self.armed:
                    self._risk.tell("risk.dead_man_unsure", venue=self._client.get_exchange_name(), reason=str(e))
                log.warning("dead_man.failed venue=%s reason=%s", self._client.get_exchange_name(), e)
            except Exception:
                log.exception("dead_man.broken venue=%s", self._client.get_exchange_name())

    async def look(self) -> None:
        """Arm, renew, or disarm, by what rests just now. Raises VenueError."""
        now = self._risk.clock.monotonic()
        ours = set(self._risk.approvals.resting(self._client.get_exchange_name()))
        live = self._client.context.tracker.live()
        resting = [o for o in live if o.client_order_id in ours and o.status in ON_BOOK and self._old(o.created_ns)]
        others = {o.client_order_id or o.order_id or "?" for o in live if o.client_order_id not in ours}
        if self.armed and (others or not resting):
            await self.disarm(f"{len(others)} other orders" if others else "no entry order rests")
            return
        if not resting or now < self._next_try_s:
            return
        if others:
            self.status = f"not armed: {len(others)} orders there are no entry orders of this bot"
            return
        life_s = self._life_s()
        if self._armed_s is not None and now - self._armed_s < life_s / 3:
            return
        if now >= self._next_ask_s:
            self._next_ask_s = now + ASK_S
            listed = await self._client.get_active_orders()
            foreign = [o for o in listed if o.client_order_id not in ours]
            if foreign:
                self._next_try_s = now + ASK_S
                self.status = f"not armed: {len(foreign)} orders there are no entry orders of this bot"
                if self.armed:
                    await self.disarm(self.status)
                return
        await self._client.arm_dead_man_switch(life_s)
        if self._armed_s is None:
            self._risk.tell("risk.dead_man_armed", venue=self._client.get_exchange_name(), seconds=life_s)
        self._armed_s = now
        self.status = f"armed: {life_s:g} s of silence cancel {len(resting)} entry orders"

    async def disarm(self, why: str) -> None:
        """Take it back; what cannot be taken back is told, because it may cancel what should stay."""
        if self._armed_s is None:
            return
        venue = self._client.get_exchange_name()
        try:
            await self._client.arm_dead_man_switch(None)
        except VenueError as e:
            self.status = f"may still be armed: {e}"
            log.error("dead_man.not_disarmed venue=%s reason=%s error=%s", venue, why, e)
            self._risk.tell(
                "risk.dead_man_unsure", venue=venue, reason=f"not disarmed ({why}): {e}; orders on this account may be cancelled"
            )
            if self._risk.clock.monotonic() - self._armed_s > self._life_s():
                self._armed_s = None  # by now it has done what it does
            return
        self._armed_s = None
        self.status = f"not armed: {why}"
        self._risk.tell("risk.dead_man_disarmed", venue=venue, reason=why)

    def _life_s(self) -> float:
        wanted = self._risk.limits.dead_man_s or 60.0
        most = self._client.capabilities.max_dead_man_s
        return wanted if most is None else min(wanted, most)

    def _old(self, created_ns: int | None) -> bool:
        """On the book for a second: what is immediate is over by then."""
        return created_ns is not None and self._risk.now_ns() - created_ns >= NS_PER_S
