"""Moves the simulated venues through history: feeds of markets in time order, and the driver that plays them on the virtual clock."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from heapq import merge
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Protocol

from exchange_clients.model import NS_PER_HOUR, NS_PER_S, Side
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import REF, to_fraction
from exchange_simulator.simloop import MAX_TURNS_PER_INSTANT, Livelock, SimLoop
from exchange_simulator.simulated_venue import SimulatedVenue
from exchange_simulator.world.recordings import RecordingError, open_stream
from perpkit.backtest.config import MarketModel, StreamFile
from perpkit.backtest.data.candles import Bar, Candles, QuoteRow, QuoteTable, read_candles, read_quotes
from perpkit.backtest.data.funding import FundingHistory, Gap
from perpkit.backtest.data.tables import DataError

BPS = Decimal(10_000)
APART_BPS = 20
PART = Decimal("0.005")
QUIET_NS = NS_PER_HOUR
Step = tuple[int, int, "Feed", Any]
"""(time in ns, rank of the feed, feed, what it applies): sorted by time, then rank; a feed never meets itself."""


class Feed(Protocol):
    """A source of changes, in time order."""

    def steps(self) -> Iterator[Step]:
        """Every change."""
        ...

    def apply(self, ts_ns: int, change: Any) -> None:
        """One change happens."""
        ...


class HistoryFunding:
    """`FundingSource` of one venue: each settlement charges exactly the record of its time; without one nothing, and it is counted.

    What a strategy sees as the running rate is the last settled one, or with `coming` the next record (see BacktestConfig.rates).
    """

    sample_interval_ns = 0

    def __init__(self, histories: Mapping[str, FundingHistory], start_ns: int, *, coming: bool) -> None:
        self._coming = coming
        self._rates = {m: {s.ts_ns: (to_fraction(round(s.rate, 12)), s.interval_ns) for s in h.settlements} for m, h in histories.items()}
        self._times = {m: [s.ts_ns for s in h.settlements] for m, h in histories.items()}
        self._start_ns = start_ns
        self.missing: dict[str, int] = dict.fromkeys(histories, 0)
        """Settlements without a record, by market."""

    def sample(self, market: str, premium: int) -> None: ...

    def estimate(self, market: str, ts_ns: int, interval_ns: int) -> int:
        times = self._times.get(market)
        if not times:
            return 0
        at = bisect_right(times, ts_ns)
        if not self._coming:
            at -= 1
        if not 0 <= at < len(times):
            return 0
        rate, its_interval_ns = self._rates[market][times[at]]
        return rate if its_interval_ns == interval_ns else rate * interval_ns // its_interval_ns

    def known(self, market: str, ts_ns: int, interval_ns: int) -> bool:
        """Whether the history has the running rate: without one, before the first, in a hole and after the last nobody knows it (E22)."""
        times = self._times.get(market, [])
        at = bisect_right(times, ts_ns)
        if self._coming:
            return at < len(times) and times[at] - ts_ns <= interval_ns
        return at > 0 and ts_ns - times[at - 1] <= interval_ns

    def settle(self, market: str, ts_ns: int, interval_ns: int) -> int:
        rates = self._rates.get(market)
        if rates is None:
            return 0
        found = rates.get(ts_ns)
        if found is None:
            self.missing[market] += 1
            return 0
        return found[0]


@dataclass(slots=True)
class Market:
    """One market of one simulated venue, with its units. `rank` is even: the next one belongs to its interval feed."""

    venue: SimulatedVenue
    symbol: str
    rank: int
    exchange: Exchange = field(init=False)

    def __post_init__(self) -> None:
        self.exchange = self.venue.exchange

    def ticks(self, price: Decimal, rounding: str) -> int:
        spec = self.exchange.markets[self.symbol].spec
        return int((price / spec.tick_size).to_integral_value(rounding))

    def steps_of(self, size: Decimal) -> int:
        spec = self.exchange.markets[self.symbol].spec
        return int((size / spec.step_size).to_integral_value(ROUND_DOWN))


class IntervalFeed:
    """The market's funding interval changes where the history's does: right after the last settlement of the old one."""

    def __init__(self, market: Market, history: FundingHistory, start_ns: int, end_ns: int) -> None:
        self._market, self._history = market, history
        self._start_ns, self._end_ns = start_ns, end_ns

    def steps(self) -> Iterator[Step]:
        settlements = self._history.settlements
        for before, after in pairwise(settlements):
            if before.interval_ns != after.interval_ns and self._start_ns <= before.ts_ns < self._end_ns:
                yield before.ts_ns + 1, self._market.rank + 1, self, after.interval_ns

    def apply(self, ts_ns: int, change: int) -> None:
        exchange, symbol = self._market.exchange, self._market.symbol
        spec = exchange.markets[symbol].spec
        exchange.change_market(max(ts_ns, exchange.now_ns), replace(spec, funding_interval_ns=change))


class CandleFeed:
    """Bars walk open, low, high, close when they rise, open, high, low, close when they fall; mark = index = price.

    The points are at the opening, one and two thirds, and one second before the end, so that a settlement at the end of a bar is charged at
    its close. Between them the price goes evenly, in parts of at most half a percent: in one step it would leap over a liquidation, and the
    other leg would be closed at the far end of the bar. Bars of one asset on several venues walk the same way (`same_way`): else venues
    that differ by nothing but the sign of a tiny move would seem to drift apart by the height of the bar.
    """

    def __init__(self, market: Market, candles: Candles, model: MarketModel, start_ns: int, end_ns: int) -> None:
        self._market, self._candles, self._model = market, candles, model
        self._start_ns, self._end_ns = start_ns, end_ns
        first_ns, last_ns = candles.bars[0].ts_ns, candles.bars[-1].ts_ns + candles.interval_ns
        around = [*([Gap(start_ns, first_ns)] if first_ns > start_ns else []), *([Gap(last_ns, end_ns)] if last_ns < end_ns else [])]
        self.gaps = sorted(
            (g for g in (*candles.gaps, *around) if g.from_ns < end_ns and g.to_ns > start_ns), key=lambda gap: (gap.from_ns, gap.to_ns)
        )
        self.asset = market.symbol
        self.moves = {bar.ts_ns: bar.close / bar.open - 1 for bar in candles.bars if start_ns - candles.interval_ns <= bar.ts_ns < end_ns}
        """What decides the way, by the bar's time."""
        self.parts = {bar.ts_ns: parts_of(bar) for bar in candles.bars if bar.ts_ns in self.moves}
        """How many steps go from point to point."""
        self.closes = {bar.ts_ns: bar.close for bar in candles.bars if bar.ts_ns in self.moves}
        self.venue = market.venue.spec.name

    def prime(self) -> None:
        """The price as it stands when the run begins."""
        last: Decimal | None = None
        for ts_ns, price in self._points():
            if ts_ns > self._start_ns:
                break
            last = price
        if last is not None:
            self.apply(self._start_ns, last)

    def steps(self) -> Iterator[Step]:
        rank = self._market.rank
        for ts_ns, price in self._points():
            if ts_ns >= self._end_ns:
                break
            if ts_ns > self._start_ns:
                yield ts_ns, rank, self, price

    def times(self) -> Iterator[int]:
        """When the price moves."""
        return (step[0] for step in self.steps())

    def _points(self) -> Iterator[tuple[int, Decimal | None]]:
        """The walk from the last bar before the run on; None where a gap begins."""
        length = self._candles.interval_ns
        holes = {gap.from_ns for gap in self.gaps}
        for bar in self._candles.bars:
            if bar.ts_ns + length <= self._start_ns:
                continue
            if bar.ts_ns >= self._end_ns:
                break
            middle = (bar.low, bar.high) if self.moves[bar.ts_ns] >= 0 else (bar.high, bar.low)
            points = [(bar.ts_ns, bar.open), (bar.ts_ns + length - NS_PER_S, bar.close)]
            if self._model.path == "ohlc":
                points[1:1] = [(bar.ts_ns + length // 3, middle[0]), (bar.ts_ns + 2 * length // 3, middle[1])]
            yield points[0]
            for before, after in pairwise(points):
                yield from self._way(before, after, self.parts[bar.ts_ns])
            if bar.ts_ns + length in holes:
                yield bar.ts_ns + length, None

    def _way(self, before: tuple[int, Decimal], after: tuple[int, Decimal], parts: int) -> Iterator[tuple[int, Decimal]]:
        tick = self._market.exchange.markets[self._market.symbol].spec.tick_size
        (from_ns, start), (to_ns, end) = before, after
        for n in range(1, parts):
            ticks = self._market.ticks(start + (end - start) * n / parts, ROUND_DOWN)
            yield from_ns + (to_ns - from_ns) * n // parts, max(1, ticks) * tick
        yield after

    def apply(self, ts_ns: int, change: Decimal | None) -> None:
        market, model = self._market, self._model
        venue, exchange, symbol = market.venue, market.exchange, market.symbol
        if change is None:
            venue.suspend(symbol, "the history has a gap here")
            return
        if venue.suspended(symbol) is not None:
            venue.resume(symbol)
        spec = exchange.markets[symbol].spec
        now = max(ts_ns, exchange.now_ns)
        mark = spec.to_ref(change)
        half = model.spread_bps / 2
        bid = max(1, market.ticks(change * (1 - half / BPS), ROUND_FLOOR))
        ask = max(bid + 1, market.ticks(change * (1 + half / BPS), ROUND_CEILING))
        gap = max(1, market.ticks(change * model.level_step_bps / BPS, ROUND_CEILING))
        size = max(1, market.steps_of(model.level_usd / change))
        bids = [(bid - n * gap, size) for n in range(model.levels) if bid - n * gap > 0]
        exchange.set_levels(now, symbol, bids, [(ask + n * gap, size) for n in range(model.levels)])
        exchange.set_mark(now, symbol, mark, mark)  # after the book: whom it liquidates meets the prices that it comes from
        venue.quote_changed(symbol)


def parts_of(bar: Bar) -> int:
    """Steps of at most half a percent over the height of the bar."""
    return int(((bar.high / bar.low - 1) / PART).to_integral_value(ROUND_CEILING)) or 1


class QuoteFeed:
    """Best prices as they were quoted. Trades are not known: resting orders fill when a quote goes through them.

    Mark = index = mid, told once a second as venues do, and so is every check of margins.
    """

    def __init__(self, markets: Sequence[Market], quotes: Iterable[Sequence[int]]) -> None:
        """`quotes`: (number of the market, time, bid in ticks, bid size in steps, ask, ask size), in time order over all markets."""
        self._markets, self._quotes = markets, quotes
        self.quiet: Quiet | None = None
        self._parts = [(m.exchange.quoter(m.symbol), m.venue.quote_changed, m.symbol) for m in markets]
        self._next_mark_ns = [0] * len(markets)

    def steps(self) -> Iterator[Step]:
        rank = self._markets[0].rank
        for quote in self._quotes:
            yield quote[1], rank, self, quote

    def apply(self, ts_ns: int, change: Sequence[int]) -> None:
        number, _, bid, bid_size, ask, ask_size = change
        set_quote, changed, symbol = self._parts[number]
        set_quote(ts_ns, bid, bid_size, ask, ask_size)
        if ts_ns >= self._next_mark_ns[number]:
            self._next_mark_ns[number] = ts_ns + NS_PER_S
            mark = (bid + ask) * REF // 2
            self._markets[number].exchange.set_mark(ts_ns, symbol, mark, mark)
        changed(symbol)


class FileQuotes(QuoteFeed):
    """Quotes of a file, read anew for each pass."""

    def __init__(self, market: Market, root: Path, table: QuoteTable, start_ns: int, end_ns: int) -> None:
        super().__init__([market], ())
        self._root, self._table, self._start_ns, self._end_ns = root, table, start_ns, end_ns

    def steps(self) -> Iterator[Step]:
        self.quiet = Quiet(self._start_ns, self._end_ns)
        rows = read_quotes(self._root, self._table)
        self._quotes = quote_units(self._markets[0], rows, self._start_ns, self._end_ns, self.quiet)
        return super().steps()


def apart(feeds: Iterable[CandleFeed]) -> list[str]:
    """Pairs of venues whose bars of one asset close further apart at the median than two venues do: mostly another clock."""
    told = []
    by_asset: dict[str, list[CandleFeed]] = {}
    for feed in feeds:
        by_asset.setdefault(feed.asset, []).append(feed)
    for asset, group in by_asset.items():
        for n, one in enumerate(group):
            for other in group[n + 1 :]:
                if one.closes and other.closes and not one.closes.keys() & other.closes.keys():
                    hint = "on the way their prices differ by chance, and what looks like profit may be that"
                    told.append(f"{asset}: bars of {one.venue} and {other.venue} never begin together: {hint}")
                shared = sorted(abs(one.closes[t] / other.closes[t] - 1) * BPS for t in one.closes.keys() & other.closes.keys())
                if shared and (median := shared[len(shared) // 2]) > APART_BPS:
                    hint = "another time_zone, or another market? what looks like profit may be the difference"
                    told.append(f"{asset}: bars of {one.venue} and {other.venue} close {median:.0f} bps apart at the median: {hint}")
    return told


def same_way(feeds: Iterable[CandleFeed]) -> None:
    """Bars of one asset that begin together walk the way of their mean move, in equally many steps."""
    by_asset: dict[str, list[CandleFeed]] = {}
    for feed in feeds:
        by_asset.setdefault(feed.asset, []).append(feed)
    for group in by_asset.values():
        moves: dict[int, Decimal] = {}
        parts: dict[int, int] = {}
        for feed in group:
            for ts_ns, count in feed.parts.items():
                parts[ts_ns] = max(parts.get(ts_ns, 1), count)
            for ts_ns, move in feed.moves.items():
                moves[ts_ns] = moves.get(ts_ns, Decimal(0)) + move
        for feed in group:
            feed.moves = {ts_ns: moves[ts_ns] for ts_ns in feed.moves}
            feed.parts = {ts_ns: parts[ts_ns] for ts_ns in feed.parts}


class Quiet:
    """Stretches of more than an hour without a record, in which the last prices stood and could be traded."""

    def __init__(self, start_ns: int, end_ns: int) -> None:
        self._end_ns = end_ns
        self._last_ns = start_ns
        self._found: list[Gap] = []

    def seen(self, ts_ns: int) -> None:
        """A record."""
        if ts_ns - self._last_ns > QUIET_NS:
            self._found.append(Gap(self._last_ns, ts_ns))
        self._last_ns = ts_ns

    @property
    def found(self) -> list[Gap]:
        """All of them, the one up to the end of the run too."""
        rest = [Gap(self._last_ns, self._end_ns)] if self._end_ns - self._last_ns > QUIET_NS else []
        return [*self._found, *rest]


def quote_units(market: Market, rows: Iterable[QuoteRow], start_ns: int, end_ns: int, quiet: Quiet) -> Iterator[tuple[int, ...]]:
    """Rows of a file in ticks and steps.

    Raises:
        DataError: a price off tick or a size below one step.
    """
    spec = market.exchange.markets[market.symbol].spec
    for row in rows:
        if start_ns <= row.ts_ns < end_ns:
            quiet.seen(row.ts_ns)
            try:
                bid, ask = spec.to_ticks(row.bid), spec.to_ticks(row.ask)
            except ValueError as e:
                raise DataError(row.place, str(e), f"tick_size is {spec.tick_size}") from None
            bid_size, ask_size = market.steps_of(row.bid_size), market.steps_of(row.ask_size)
            if not (bid_size and ask_size):
                raise DataError(row.place, "a size is below one step", f"step_size is {spec.step_size}")
            yield 0, row.ts_ns, bid, bid_size, ask, ask_size


class StreamFeed:
    """A recorded stream: the book as it was, and each public trade taking from the front of the queue before the depth that it changed."""

    def __init__(self, market: Market, path: Path, source: StreamFile, start_ns: int, end_ns: int) -> None:
        self._market, self._path, self._source = market, path, source
        self._start_ns, self._end_ns = start_ns, end_ns
        self.quiet: Quiet | None = Quiet(start_ns, end_ns)

    def steps(self) -> Iterator[Step]:
        """Raises DataError for a recording that cannot be read to its end."""
        try:
            yield from self._steps()
        except RecordingError as e:
            raise DataError(self._source.file, str(e)) from e

    def _steps(self) -> Iterator[Step]:
        source, market = self._source, self._market
        quiet = self.quiet = Quiet(self._start_ns, self._end_ns)
        reader = open_stream(self._path)
        for step in reader:
            book = reader.books.get(source.symbol)
            if book is None or not book.ready or not self._start_ns <= step.t_ns < self._end_ns:
                continue
            trades = [(t.side, market.steps_of(t.size), t.price) for t in step.trades if t.symbol == source.symbol]
            levels = None
            if source.symbol in step.books:
                bids, asks = book.best(source.levels)
                levels = (self._levels(bids, ROUND_FLOOR), self._levels(asks, ROUND_CEILING))
            if trades or levels:
                quiet.seen(step.t_ns)
                yield step.t_ns, market.rank, self, (trades, levels)

    def _levels(self, rows: list[tuple[Decimal, Decimal]], rounding: str) -> list[tuple[int, int]]:
        levels: dict[int, int] = {}
        for price, size in rows:
            if steps := self._market.steps_of(size):
                ticks = self._market.ticks(price, rounding)
                levels[ticks] = levels.get(ticks, 0) + steps
        return list(levels.items())

    def apply(self, ts_ns: int, change: tuple[list[tuple[Side, int, Decimal]], Any]) -> None:
        trades, levels = change
        market = self._market
        exchange, symbol = market.exchange, market.symbol
        now = max(ts_ns, exchange.now_ns)
        for side, steps, price in trades:
            if steps:
                exchange.external_trade(
                    now, symbol, side, steps, limit=market.ticks(price, ROUND_FLOOR if side is Side.SELL else ROUND_CEILING)
                )
        if levels is not None:
            bids, asks = levels
            exchange.set_levels(now, symbol, bids, asks)
            if bids and asks:
                mark = (bids[0][0] + asks[0][0]) * REF // 2
                exchange.set_mark(now, symbol, mark, mark)
        market.venue.quote_changed(symbol)


def even(start_ns: int, end_ns: int, count: int) -> list[int]:
    """That many times, the last of them the end."""
    step = max(1, (end_ns - start_ns) // count)
    return [*range(start_ns + step, end_ns, step), end_ns]


def moves(feeds: Iterable[Feed]) -> Iterator[int]:
    """When bars move a price, each moment once."""
    return (ts_ns for ts_ns, _ in groupby(merge(*(feed.times() for feed in feeds if isinstance(feed, CandleFeed)))))


class Ticks:
    """Calls back at given times, after all that happens then."""

    def __init__(self, rank: int, times: Iterable[int], call: Callable[[int], None]) -> None:
        self._rank, self._times, self._call = rank, times, call

    def steps(self) -> Iterator[Step]:
        for ts_ns in self._times:
            yield ts_ns, self._rank, self, None

    def apply(self, ts_ns: int, change: None) -> None:
        self._call(ts_ns)


class Player:
    """Plays feeds on a virtual loop. Between two moments everybody who has something to do gets to do it, at its own time.

    What happens at one moment happens at once: nobody sees one venue's new price beside another's old one and trades there.
    """

    def __init__(self, loop: SimLoop, epoch_ns: int, feeds: Iterable[Feed]) -> None:
        self._loop, self._epoch_ns = loop, epoch_ns
        self._feeds = list(feeds)
        self.events = 0

    async def play(self) -> None:
        """To the last step."""
        loop, epoch_ns = self._loop, self._epoch_ns  # its fields are read directly: this runs for every quote of a year
        ready = loop._ready
        steps = self._feeds[0].steps() if len(self._feeds) == 1 else merge(*(feed.steps() for feed in self._feeds))
        events = last_ns = 0
        for ts_ns, _, feed, change in steps:
            due_ns = ts_ns - epoch_ns
            timers = loop._scheduled
            if ts_ns == last_ns:
                pass
            elif ready or (timers and timers[0]._when * NS_PER_S <= due_ns + 1):  # type: ignore[attr-defined]
                await self._reach(due_ns)
            if due_ns > loop._now_ns:
                loop._now_ns = due_ns
            last_ns = ts_ns
            feed.apply(ts_ns, change)
            events += 1
        await self._drain()
        self.events = events

    async def _reach(self, due_ns: int) -> None:
        """Time passes for everybody else up to then."""
        loop = self._loop
        await self._drain()
        while loop.busy_by(due_ns) and (left_ns := due_ns - loop.time_ns()) > 0:
            await asyncio.sleep(left_ns / NS_PER_S)
            await self._drain()

    async def _drain(self) -> None:
        """Turns of the loop without time passing, until nobody waits for one."""
        turns = 0
        while self._loop.ready:
            await asyncio.sleep(0)
            turns += 1
            if turns > MAX_TURNS_PER_INSTANT:
                raise Livelock(f"{turns} turns of the loop at one instant: some task spins")


def gaps_of(histories: Mapping[str, FundingHistory], start_ns: int, end_ns: int) -> dict[str, list[Gap]]:
    """Holes of funding histories within the run, by market."""
    return {m: [g for g in h.gaps if g.from_ns < end_ns and g.to_ns > start_ns] for m, h in histories.items()}


def feed_of(market: Market, model: MarketModel, root: Path, start_ns: int, end_ns: int) -> Feed:
    """What moves the price of a market.

    Raises:
        DataError: the file cannot be used.
    """
    if model.candles is not None:
        return CandleFeed(market, read_candles(root, model.candles), model, start_ns, end_ns)
    if model.quotes is not None:
        return FileQuotes(market, root, model.quotes, start_ns, end_ns)
    assert model.stream is not None
    path = root / model.stream.file
    if not path.exists():
        raise DataError(model.stream.file, "there is no such file", f"looked in {root.absolute()}; --data names the folder")
    return StreamFeed(market, path, model.stream, start_ns, end_ns)
