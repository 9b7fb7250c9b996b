"""The world: one seeded process that moves prices, books, trades and funding of all simulated venues along one time grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exchange_simulator.world.feed import Venue
from exchange_simulator.world.funding import FundingField, WorldFunding
from exchange_simulator.world.grid import FINE_NS, STEPS, cell_of, step_of
from exchange_simulator.world.liquidity import BookState, ListingLiquidity, Order
from exchange_simulator.world.params import Params, fitted
from exchange_simulator.world.prices import PriceField
from exchange_simulator.world.profiles import Listing, Scenario, VenueProfile

FINE_SPAN_STEPS = 240
"""A call that goes at most one minute ahead visits every fine step; a longer one passes quiet time in whole minutes."""
STALE_BOOK = 0.005
"""In quiet time a book is renewed when the price has moved by this fraction since it was set."""


@dataclass(frozen=True, slots=True)
class ListingState:
    """One listing at one grid time: anonymous depth in ticks and steps, mark and index in ref units."""

    book: BookState
    mark: int
    index: int


class _Feed:
    """One listing of an attached venue."""

    def __init__(self, venue: VenueProfile, listing: Listing, exchange: Venue, process: ListingLiquidity) -> None:
        self.venue = venue
        self.listing = listing
        self.exchange = exchange
        self.process = process
        self.booked_at = 0.0
        self.cell = -1
        self.orders: list[tuple[Order, ...]] = []


class World:
    """Prices, liquidity and funding of several venues from one seed.

    Every state is a function of seed, profiles, scenario, start and grid time. `advance_to` in one call or in many leads to the same books,
    marks, indices and funding; only the public trades in between are left out where a call jumps (more than a minute ahead).

        world = World(7, venues=[...], start_ns=start)
        exchange = Exchange(rules, funding=world.funding("venue"))
        exchange.add_market(...)                       # one per listing of the profile
        world.attach("venue", exchange)                # sets the first book, mark and index
        world.advance_to(clock.time_ns())              # again and again

    Raises:
        KeyError: an asset without parameters, two venues of one name, or a premium distribution that was not recorded.
    """

    def __init__(
        self,
        seed: int,
        venues: Iterable[VenueProfile],
        start_ns: int,
        *,
        scenario: Scenario | None = None,
        params: Params | None = None,
        history_hours: int = 720,
    ) -> None:
        self.params = params or fitted()
        self.scenario = scenario or Scenario()
        self.venues: dict[str, VenueProfile] = {}
        for venue in venues:
            if venue.name in self.venues:
                raise KeyError(f"two venues are named {venue.name}")
            self.venues[venue.name] = venue
        self.assets = sorted({x.asset for v in self.venues.values() for x in v.listings})
        self.start_ns = start_ns // FINE_NS * FINE_NS
        self.prices = PriceField(seed, self.assets, self.start_ns, self.params, self.scenario)
        self.rates = FundingField(seed, self.venues.values(), self.start_ns, self.params, self.scenario, history_hours=history_hours)
        self._liquidity = {(v.name, x.symbol): ListingLiquidity(seed, v, x, self.params) for v in self.venues.values() for x in v.listings}
        self._step = step_of(self.start_ns)
        self._feeds: list[_Feed] = []

    @property
    def now_ns(self) -> int:
        """Grid time the world has reached."""
        return self._step * FINE_NS

    @property
    def next_step_ns(self) -> int:
        return (self._step + 1) * FINE_NS

    def funding(self, venue: str) -> WorldFunding:
        """The funding source of one venue's exchange; its history reaches back before the start."""
        return WorldFunding(self.rates, self.venues[venue])

    def state(self, venue: str, symbol: str, ts_ns: int) -> ListingState:
        """One listing at the last grid time at or before `ts_ns`: any from the start on, whatever the venues were brought to."""
        step = step_of(ts_ns)
        process = self._liquidity[venue, symbol]
        return self._state(self.venues[venue], process, step, self._index(process.listing.asset, step))

    def _index(self, asset: str, step: int) -> float:
        cell, at = cell_of(step)
        return self.prices.cell(asset, cell).prices[at] if at else self.prices.at_cell(asset, cell)

    def _state(self, venue: VenueProfile, process: ListingLiquidity, step: int, index: float) -> ListingState:
        mark = index * (1.0 + self.rates.premium(venue.name, process.listing.asset, step * FINE_NS))
        book = process.book(mark * (1.0 + process.noise(step)), step)
        return ListingState(book, process.ref(mark), process.ref(index))

    # driving venues

    def attach(self, venue: str, exchange: Venue) -> None:
        """Feeds an exchange from now on; its markets must be listed. Sets book, mark and index at once."""
        profile = self.venues[venue]
        feeds = [_Feed(profile, x, exchange, self._liquidity[venue, x.symbol]) for x in profile.listings]
        self._feeds += feeds
        self._show(feeds, self._step)

    def advance_to(self, ts_ns: int) -> None:
        """Brings every attached venue to the last grid time at or before `ts_ns`; earlier times change nothing.

        Mark and index of a grid time count from one nanosecond before it, so a settlement on the grid sees the prices of its own moment.
        """
        target = step_of(ts_ns)
        if target - self._step > FINE_SPAN_STEPS:
            for cell in range(self._step // STEPS + 1, -(-target // STEPS)):
                self._pass(cell)
            self._step = target
            self._show(self._feeds, target)
        else:
            for step in range(self._step + 1, target + 1):
                self._trade(step)
                self._step = step
                self._show(self._feeds, step)

    def _show(self, feeds: Iterable[_Feed], step: int) -> None:
        """Marks of all venues first: a book set at a settlement makes its exchange settle every market."""
        states = []
        for feed in feeds:
            feed.booked_at = index = self._index(feed.listing.asset, step)
            state = self._state(feed.venue, feed.process, step, index)
            states.append((feed, state.book))
            self._mark(feed, step, state.mark, state.index)
        for feed, book in states:
            feed.exchange.set_levels(max(feed.exchange.now_ns, step * FINE_NS), feed.listing.symbol, book.bids, book.asks)

    @staticmethod
    def _mark(feed: _Feed, step: int, mark: int, index: int) -> None:
        feed.exchange.set_mark(max(feed.exchange.now_ns, step * FINE_NS - 1), feed.listing.symbol, mark, index)

    def _trade(self, step: int) -> None:
        """The orders between the last step and this one, against the book of the last one."""
        cell, at = cell_of(step - 1)
        for feed in self._feeds:
            if feed.cell != cell:
                feed.orders = feed.process.orders(self.prices.cell(feed.listing.asset, cell), cell)
                feed.cell = cell
            for order in feed.orders[at]:
                ts_ns = max(feed.exchange.now_ns, step * FINE_NS - 1)
                feed.exchange.external_trade(ts_ns, feed.listing.symbol, order.side, order.size)

    def _pass(self, cell: int) -> None:
        """One quiet minute: mark and index of its first instant, then the books where the old ones are far off."""
        step = self._step = cell * STEPS
        stale = []
        for feed in self._feeds:
            index = self.prices.at_cell(feed.listing.asset, cell)
            if abs(index - feed.booked_at) > STALE_BOOK * feed.booked_at:
                stale.append(feed)
            mark = index * (1.0 + self.rates.premium(feed.venue.name, feed.listing.asset, step * FINE_NS))
            self._mark(feed, step, feed.process.ref(mark), feed.process.ref(index))
        self._show(stale, step)
