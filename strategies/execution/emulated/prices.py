"""The price that a trigger looks at: fresh, or not known."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from exchange_clients.errors import VenueError
from exchange_clients.events import Subscription
from exchange_clients.model import Bbo, Gap, Instrument, MarkPrice
from exchange_clients.transport.clock import Clock

from .base import Price, Watch

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

log = logging.getLogger("strategies.execution")

ASK_TIMEOUT_S = 3.0


class PriceWatch:
    """Follows the touch or the mark of one market. A stream that is silent, or had a gap, is asked about by request; if that fails too,
    the price is not known."""

    def __init__(
        self, client: "BaseExchangeClient", instrument: Instrument, kind: Watch, *, clock: Clock, age_s: float, on_price: Callable[[], None]
    ) -> None:
        self._client, self._instrument, self._kind = client, instrument, kind
        self._clock, self._age_s, self._on_price = clock, age_s, on_price
        self._price: Price | None = None
        self._at_s = self._asked_s = -age_s
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow."""
        contract = self._instrument.contract_id
        self._subscription = self._client.watch_bbo(contract) if self._kind is Watch.BBO else self._client.watch_mark(contract)
        self._task = asyncio.create_task(self._follow(self._subscription), name=f"watch:{self._instrument.id}")

    async def stop(self) -> None:
        """End it; what the stream needed from the venue is released."""
        if self._subscription is not None:
            self._subscription.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self, events: Subscription) -> None:
        async for event in events:
            if isinstance(event, Bbo):
                self._take(Price(event.bid, event.ask))
            elif isinstance(event, MarkPrice):
                self._take(Price(event.price, event.price))
            elif isinstance(event, Gap):
                self._price = None
                self._asked_s = -self._age_s  # what was missed may have been the trigger: look again at once
            self._on_price()

    def _take(self, price: Price) -> None:
        if 0 < price.bid <= price.ask:
            self._price, self._at_s = price, self._clock.monotonic()
        else:
            log.warning("watch.crossed instrument=%s bid=%s ask=%s", self._instrument.id, price.bid, price.ask)
            self._price = None

    async def read(self) -> Price | None:
        """The price now, or None when nothing fresh is known."""
        now = self._clock.monotonic()
        if self._price is not None and now - self._at_s <= self._age_s:
            return self._price
        if now - self._asked_s < self._age_s:
            return None
        self._asked_s = now
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                self._take(await self._ask())
        except (VenueError, TimeoutError) as e:
            self._price = None
            log.info("watch.unknown instrument=%s error=%s", self._instrument.id, e)
        return self._price

    async def _ask(self) -> Price:
        contract = self._instrument.contract_id
        if self._kind is Watch.BBO:
            return Price(*await self._client.fetch_bbo_prices(contract))
        mark = await self._client.fetch_mark_price(contract)
        return Price(mark, mark)
