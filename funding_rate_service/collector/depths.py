"""Order books on demand: asked of the venue when somebody wants one, through the same limits as everything else."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from exchange_clients.base_funding_adapter import BaseFundingAdapter
from exchange_clients.errors import VenueError
from exchange_clients.model import BookLevel, BookSnapshot, InstrumentId
from exchange_clients.transport.clock import Clock
from funding_rate_service.opportunity import Book
from funding_rate_service.tasks import told

log = logging.getLogger("funding_rate_service.depths")

KEPT_S: Final = 5.0
DEADLINE_S: Final = 8.0
LEVELS: Final = 50
MOST_KEPT: Final = 512
MOST_AT_ONCE: Final = 8


class Depths:
    """`adapter_of` gives the adapter of a venue, None where it is not collected. What could not be had is not asked for again at once."""

    def __init__(self, adapter_of: Callable[[str], BaseFundingAdapter | None], clock: Clock) -> None:
        self._adapter_of, self._clock = adapter_of, clock
        self._kept: OrderedDict[InstrumentId, tuple[float, Book | None]] = OrderedDict()
        self._asking: dict[InstrumentId, asyncio.Task[Book | None]] = {}
        self._room = asyncio.Semaphore(MOST_AT_ONCE)

    async def book(self, instrument: InstrumentId) -> Book | None:
        """The book of a market, at most five seconds old; None when it is not known: no such market, no answer in time, an empty side."""
        at_s, book = self._kept.get(instrument, (None, None))
        if at_s is not None and 0 <= self._clock.elapsed() - at_s <= KEPT_S:
            return book
        asking = self._asking.get(instrument)
        if asking is None:
            asking = self._asking[instrument] = asyncio.create_task(self._ask(instrument), name=f"book {instrument}")
            asking.add_done_callback(lambda _: self._asking.pop(instrument, None))
        return await asyncio.shield(asking)

    async def close(self) -> None:
        """End what is under way."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self, instrument: InstrumentId) -> Book | None:
        book: Book | None = None
        try:
            async with asyncio.timeout(DEADLINE_S), self._room:
                book = await self._fetch(instrument)
        except TimeoutError:
            log.info("depths.slow instrument=%s", instrument)
        except VenueError as e:
            log.info("depths.failed instrument=%s error=%s", instrument, told(e))
        except Exception:  # an answer that its decoder was not made for
            log.exception("depths.failed instrument=%s", instrument)
        self._kept[instrument] = (self._clock.elapsed(), book)
        self._kept.move_to_end(instrument)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return book

    async def _fetch(self, instrument: InstrumentId) -> Book | None:
        adapter = self._adapter_of(instrument.venue)
        if adapter is None:
            return None
        await adapter.client.instruments()
        listed = adapter.client.context.instruments.get_tradable(instrument)
        return _sound(await adapter.client.market_data.fetch_book(listed, depth=LEVELS))


def _sound(data: BookSnapshot) -> Book | None:
    """A book with two sides in order that do not cross; anything else is none."""
    bids, asks = _side(data.bids, falling=True), _side(data.asks, falling=False)
    if not bids or not asks or bids[0].price >= asks[0].price:
        return None
    return Book(bids=bids, asks=asks)


def _side(levels: tuple[BookLevel, ...], *, falling: bool) -> tuple[BookLevel, ...]:
    good = [x for x in levels if x.price.is_finite() and x.size.is_finite() and x.price > 0 and x.size > 0]
    return tuple(sorted(good, key=lambda level: level.price, reverse=falling))
