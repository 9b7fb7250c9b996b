"""What feeds simulated venues: a seeded world or a replay, driven the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from exchange_clients.transport.clock import Clock
from exchange_simulator.core.funding import FundingSource
from exchange_simulator.core.types import Side


class Venue(Protocol):
    """What a feed needs of an exchange; `core.exchange.Exchange` is one."""

    @property
    def now_ns(self) -> int: ...
    def set_mark(self, ts_ns: int, market: str, mark: int, index: int = 0) -> None: ...
    def set_levels(self, ts_ns: int, market: str, bids: Sequence[tuple[int, int]], asks: Sequence[tuple[int, int]]) -> None: ...
    def external_trade(self, ts_ns: int, market: str, side: Side, size: int, *, limit: int = 0) -> int: ...


class FeedFunding(FundingSource, Protocol):
    """A funding source that also knows the settlements before it started: what a venue's history endpoint would have."""

    def history(self, market: str, from_ns: int, to_ns: int) -> list[tuple[int, int]]:
        """Settlements in [from, to] as (time, rate), as far back as they go."""
        ...


class MarketFeed(Protocol):
    """Prices, liquidity and funding of several venues on one time grid.

    Build the exchange of a venue with `funding(venue)`, list the markets of its profile, `attach` it, call `advance_to` as time passes.
    """

    @property
    def next_step_ns(self) -> int:
        """When `advance_to` will have something new."""
        ...

    def funding(self, venue: str) -> FeedFunding: ...

    def attach(self, venue: str, exchange: Venue) -> None:
        """Feeds an exchange from now on and sets its first books, marks and indices."""
        ...

    def advance_to(self, ts_ns: int) -> None:
        """Brings every attached venue to the last grid time at or before `ts_ns`; earlier times change nothing."""
        ...


async def drive(feed: MarketFeed, clock: Clock) -> None:
    """Keeps a feed at the clock's time until cancelled.

    It waits in asyncio time, so it never holds a stepping clock back. Whoever steps the clock over hours calls `feed.advance_to` with the
    new time first, without awaiting in between: then nobody wakes up to a market of before the jump.
    """
    while True:
        feed.advance_to(clock.time_ns())
        await clock.sleep(max(0.0, (feed.next_step_ns - clock.time_ns()) / 1e9))
