"""Recordings instead of the seeded process: recorded books and trades drive the depth of venues, recorded settlements their funding.

No recording exists of the venues a demo simulates side by side, so each recording stands for a venue by declaration (`STANDS_FOR`), and:
    time       the first line of a stream is the start of the replay; funding counts from `FUNDING_FROM_NS` on, hour by hour
    price      a stream made at another date is moved by one constant factor to the level of the asset's first stream; sizes are divided
               by it, so that spreads and depth keep their shape in bps and USD
    path       only the asset's longest stream moves the price; the others keep their shape and follow its mid, so that two venues do not
               drift apart because they were recorded on different days
    mark       mid of the replayed book; index = mean of the venues' mids (no index was recorded next to a book)
    end        streams are seconds to minutes long and start again, which moves the price back by what it moved; funding ends with an error
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from pathlib import Path

from exchange_simulator.core.types import REF, Side, to_fraction
from exchange_simulator.world.feed import Venue
from exchange_simulator.world.grid import FINE_NS, step_of
from exchange_simulator.world.profiles import Listing, VenueProfile
from exchange_simulator.world.recordings import (
    HOUR_NS,
    FundingPoint,
    FundingSeries,
    RecordingError,
    open_stream,
    read_hyperliquid_history,
    read_settlement_csv,
)

LEVELS = 100
"""Levels a side that are replayed."""
FINE_SPAN_STEPS = 240
FUNDING_FROM_NS = int(datetime(2023, 7, 6, 14, tzinfo=UTC).timestamp()) * 10**9
"""The recorded moment that stands for the start: all series below exist there, and the hourly two differ by 18 bps over the next day."""

Rows = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Source:
    """What stands for one asset on one venue: a stream with its symbol, and a funding series."""

    stream: str
    symbol: str
    funding: str


STANDS_FOR: Mapping[tuple[str, str], Source] = {
    ("hyperliquid", "BTC"): Source(
        "streams/hyperliquid_btc_l2book_trades_20250126_a.jsonl",
        "BTC",
        "funding_history/hyperliquid_BTC_fundingHistory_20230512_20230717.json",
    ),
    ("lighter", "BTC"): Source(
        "streams/binance_usdm_btcusdt_20240808_full.jsonl.gz", "BTCUSDT", "funding_history/dydx_v3_BTC-USDT_2022-01-01_2024-01-01.csv"
    ),
    ("okx", "BTC"): Source(
        "streams/okx_books_20220513_BTC-USDT_UNI-USD-SWAP.jsonl", "BTC-USDT", "funding_history/gate_BTC-USDT_2020-01-01_2024-01-01.csv"
    ),
    ("aster", "BTC"): Source(
        "streams/binance_usdm_btcusdt_20240808_depth.jsonl", "BTCUSDT", "funding_history/binance_BTC-USDT_2020-01-01_2024-01-01.csv"
    ),
}
"""(venue, asset) -> recordings. The first stream of an asset sets its price level."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A recorded book at one grid time, and the trades since the last one (in the recording's own units)."""

    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]
    trades: tuple[tuple[Side, Decimal], ...]

    @property
    def mid(self) -> Decimal:
        return (self.bids[0][0] + self.asks[0][0]) / 2


class Tape:
    """One market of one recorded stream on the time grid, from the line with its first complete book on."""

    def __init__(self, path: Path, symbol: str, *, levels: int = LEVELS) -> None:
        """Raises RecordingError when the stream has no book of `symbol` or breaks its venue's rules."""
        self.path = path
        self.symbol = symbol
        reader = open_stream(path)
        frames: list[Frame] = []
        trades: list[tuple[Side, Decimal]] = []
        due = 0
        for step in reader:
            book = reader.books.get(symbol)
            if book is None or not book.ready:
                continue
            due = due or step.t_ns
            while step.t_ns >= due:
                frames.append(self._frame(book.best(levels), trades))
                trades.clear()
                due += FINE_NS
            trades += [(t.side, t.size) for t in step.trades if t.symbol == symbol]
        if not frames:
            raise RecordingError(f"{path.name} holds no book of {symbol}")
        frames.append(self._frame(reader.books[symbol].best(levels), trades))
        self.frames = frames

    @staticmethod
    def _frame(best: tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]], trades: list[tuple[Side, Decimal]]) -> Frame:
        return Frame(tuple(best[0]), tuple(best[1]), tuple(trades))

    def frame(self, age: int) -> Frame:
        """The book `age` steps after the start; the tape starts again at its end."""
        return self.frames[age % len(self.frames)]

    @property
    def seconds(self) -> float:
        return len(self.frames) * FINE_NS / 1e9


class TapeMarket:
    """A tape in the units of one listing. `factor` moves it to the common price level, `leader` moves it along with another tape."""

    def __init__(self, tape: Tape, listing: Listing, factor: Decimal) -> None:
        self.tape = tape
        self.listing = listing
        self.factor = factor
        self.leader: Tape | None = None

    def frame(self, age: int) -> Frame:
        return self.tape.frame(age)

    def scale(self, age: int) -> Decimal:
        """What recorded prices are multiplied by at that age (in steps)."""
        return self.factor if self.leader is None else self.factor * self.leader.frame(age).mid / self.leader.frame(0).mid

    def side(self, age: int, side: Side) -> Rows:
        """Levels in ticks and steps: bids rounded down, asks up to allowed prices, what falls together added up."""
        rounding = ROUND_FLOOR if side is Side.BUY else ROUND_CEILING
        frame, scale = self.frame(age), self.scale(age) * self.listing.tokens / self.listing.tick_size
        levels: dict[int, Decimal] = {}
        for price, size in frame.bids if side is Side.BUY else frame.asks:
            ticks = price * scale
            quantum = self.listing.quantum(int(ticks))
            tick = int((ticks / quantum).to_integral_value(rounding)) * quantum
            levels[tick] = levels.get(tick, Decimal(0)) + size
        return tuple((tick, steps) for tick, size in levels.items() if tick > 0 and (steps := self.steps(size)))

    def steps(self, size: Decimal) -> int:
        return int((size / self.factor / self.listing.tokens / self.listing.step_size).to_integral_value(ROUND_DOWN))

    def mid(self, age: int) -> Decimal:
        """Quote per token."""
        return self.frame(age).mid * self.scale(age)

    def ref(self, price: Decimal) -> int:
        return int((price * self.listing.tokens / self.listing.tick_size * REF).to_integral_value())


class ReplayFunding:
    """`FundingSource` of one venue from recorded settlements.

    A market that settles more often than its series gets the recorded rate in equal parts, one that settles less often the sum.
    A market without a series is charged nothing.

    Raises:
        RecordingError: the series ends before the asked time.
    """

    sample_interval_ns = 0

    def __init__(
        self, start_ns: int, series: Mapping[str, FundingSeries], *, from_ns: int = FUNDING_FROM_NS, interval_ns: int = HOUR_NS
    ) -> None:
        """`series` by market symbol; hour `start_ns` of the replay is hour `from_ns` of the recording. `interval_ns` is for `history`."""
        self._interval_ns = interval_ns
        self._shift = from_ns // HOUR_NS - start_ns // HOUR_NS
        self._series = series
        self._hourly = {symbol: _per_hour(s.points) for symbol, s in series.items()}

    def sample(self, market: str, premium: int) -> None: ...

    def estimate(self, market: str, ts_ns: int, interval_ns: int) -> int:
        """The rate of the coming settlement: recordings know no other."""
        return self._rate(market, -(-ts_ns // interval_ns) * interval_ns, interval_ns)

    def settle(self, market: str, ts_ns: int, interval_ns: int) -> int:
        return self._rate(market, ts_ns, interval_ns)

    @property
    def ends_ns(self) -> int:
        """The first moment at which some market has no recorded rate any more."""
        return min((max(hours) + 1 - self._shift) * HOUR_NS for hours in self._hourly.values())

    def history(self, market: str, from_ns: int, to_ns: int) -> list[tuple[int, int]]:
        """Settlements in [from, to] as (time, rate), as far back as the recording goes."""
        hours, interval_ns = self._hourly[market], self._interval_ns
        earliest = (min(hours) - self._shift) * HOUR_NS + interval_ns - HOUR_NS
        first = -(-max(from_ns, earliest) // interval_ns) * interval_ns
        return [(t, self._rate(market, t, interval_ns)) for t in range(first, to_ns + 1, interval_ns)]

    def _rate(self, market: str, ts_ns: int, interval_ns: int) -> int:
        if market not in self._hourly:
            return 0
        last = ts_ns // HOUR_NS + self._shift
        hours = self._hourly[market]
        try:
            rate = sum((hours[h] for h in range(last - interval_ns // HOUR_NS + 1, last + 1)), Decimal(0))
        except KeyError:
            source = self._series[market].source
            raise RecordingError(f"the funding recording {source} has no rate for {datetime.fromtimestamp(last * 3600, UTC)}") from None
        return to_fraction(round(rate, 12))


def _per_hour(points: Iterable[FundingPoint]) -> dict[int, Decimal]:
    """Rate charged per hour, by the hour that ends; a single missing settlement repeats the one before."""
    ordered = list(points)
    hours: dict[int, Decimal] = {}
    for point in ordered:
        end = (point.ts_ns + HOUR_NS // 2) // HOUR_NS
        for h in range(end - point.interval_hours + 1, end + 1):
            hours[h] = point.rate / point.interval_hours
    for hour in sorted(hours):
        if hour + 1 not in hours and hour + 2 in hours:
            hours[hour + 1] = hours[hour]
    return hours


class Replay:
    """A feed made of the recordings in `root`. Listings without a recording are not fed: their markets stay without mark and depth.

    `notes` says, in sentences, which recording stands for what.

    Raises:
        RecordingError: a recording is missing or broken, or none stands for any of the listings.
    """

    def __init__(
        self,
        root: Path,
        venues: Iterable[VenueProfile],
        start_ns: int,
        *,
        stands_for: Mapping[tuple[str, str], Source] = STANDS_FOR,
        rebase: bool = True,
    ) -> None:
        """With `rebase` off every stream keeps its own prices."""
        self.start_ns = start_ns // FINE_NS * FINE_NS
        self.venues = {v.name: v for v in venues}
        self.notes: list[str] = []
        self._step = step_of(self.start_ns)
        self._markets: dict[tuple[str, str], TapeMarket] = {}
        self._funding: dict[str, ReplayFunding] = {}
        self._attached: list[tuple[str, Venue]] = []
        levels: dict[str, Decimal] = {}
        for (venue, asset), source in stands_for.items():
            listing = self.venues[venue].listing(asset) if venue in self.venues else None
            if listing is None:
                continue
            tape = Tape(_existing(root / source.stream), source.symbol)
            level = levels.setdefault(asset, tape.frame(0).mid)
            factor = level / tape.frame(0).mid if rebase else Decimal(1)
            self._markets[venue, listing.symbol] = TapeMarket(tape, listing, factor)
            moved = "" if factor == 1 else f", prices times {factor:.4f}"
            self.notes.append(f"{venue} {asset}: book of {source.symbol} in {source.stream}, {tape.seconds:.0f} s, repeated{moved}")
        if rebase:
            self._follow()
        if not self._markets:
            raise RecordingError(f"no recording stands for any market of {', '.join(self.venues)}")
        for name in self.venues:
            self._funding[name] = self._funding_of(root, name, stands_for)

    def _follow(self) -> None:
        for asset in {m.listing.asset for m in self._markets.values()}:
            group = {venue: m for (venue, _), m in self._markets.items() if m.listing.asset == asset}
            first = max(group, key=lambda venue: len(group[venue].tape.frames))
            for venue, market in group.items():
                if venue != first:
                    market.leader = group[first].tape
                    self.notes.append(f"{venue} {asset}: moves along with the mid of {first}")

    def _funding_of(self, root: Path, venue: str, stands_for: Mapping[tuple[str, str], Source]) -> ReplayFunding:
        series = {}
        for (_, symbol), market in ((k, m) for k, m in self._markets.items() if k[0] == venue):
            path = _existing(root / stands_for[venue, market.listing.asset].funding)
            series[symbol] = read_hyperliquid_history(path) if path.suffix == ".json" else read_settlement_csv(path)
            since = datetime.fromtimestamp(FUNDING_FROM_NS / 1e9, UTC)
            self.notes.append(f"{venue} {market.listing.asset}: funding of {series[symbol].source} from {since:%Y-%m-%d %H:%M} UTC on")
        interval_ns = self.venues[venue].funding_interval_hours * HOUR_NS
        return ReplayFunding(self.start_ns, series, interval_ns=interval_ns)

    @property
    def now_ns(self) -> int:
        return self._step * FINE_NS

    @property
    def next_step_ns(self) -> int:
        return (self._step + 1) * FINE_NS

    @property
    def ends_ns(self) -> int:
        """When the funding recordings run out (the books start again and never end)."""
        return min(self._funding[venue].ends_ns for venue, _ in self._markets)

    def symbols(self, venue: str) -> list[str]:
        """The markets of a venue that a recording stands for."""
        return [symbol for name, symbol in self._markets if name == venue]

    def funding(self, venue: str) -> ReplayFunding:
        return self._funding[venue]

    def attach(self, venue: str, exchange: Venue) -> None:
        """Feeds an exchange from now on; the markets in `symbols` must be listed."""
        self._attached.append((venue, exchange))
        self._show([(venue, exchange)], self._step)

    def advance_to(self, ts_ns: int) -> None:
        """Brings every attached venue to the last grid time at or before `ts_ns`; a call over more than a minute shows only its end.

        Raises:
            RecordingError: the time is past `ends_ns`; nothing was changed.
        """
        if ts_ns >= self.ends_ns:
            end = datetime.fromtimestamp(self.ends_ns / 1e9, UTC)
            raise RecordingError(f"the recordings end at {end:%Y-%m-%d %H:%M} UTC of the replay: no funding rate is known from then on")
        target = step_of(ts_ns)
        hop = target - self._step > FINE_SPAN_STEPS
        for step in (target,) if hop else range(self._step + 1, target + 1):
            if not hop:
                self._trade(step)
            self._step = step
            self._show(self._attached, step)

    def _index(self, asset: str, age: int) -> Decimal:
        mids = [m.mid(age) for m in self._markets.values() if m.listing.asset == asset]
        return sum(mids, Decimal(0)) / len(mids)

    def _each(self, attached: Iterable[tuple[str, Venue]]) -> Iterator[tuple[Venue, str, TapeMarket]]:
        for venue, exchange in attached:
            for symbol in self.symbols(venue):
                yield exchange, symbol, self._markets[venue, symbol]

    def _show(self, attached: Sequence[tuple[str, Venue]], step: int) -> None:
        """Marks of all markets first: a book set at a settlement makes its exchange settle every market."""
        age, ts_ns = step - step_of(self.start_ns), step * FINE_NS
        for exchange, symbol, market in self._each(attached):
            mark, index = market.ref(market.mid(age)), market.ref(self._index(market.listing.asset, age))
            exchange.set_mark(max(exchange.now_ns, ts_ns - 1), symbol, mark, index)
        for exchange, symbol, market in self._each(attached):
            exchange.set_levels(max(exchange.now_ns, ts_ns), symbol, market.side(age, Side.BUY), market.side(age, Side.SELL))

    def _trade(self, step: int) -> None:
        """The trades recorded between the last step and this one, against the book of the last one."""
        for exchange, symbol, market in self._each(self._attached):
            for side, size in market.frame(step - step_of(self.start_ns)).trades:
                if steps := market.steps(size):
                    exchange.external_trade(max(exchange.now_ns, step * FINE_NS - 1), symbol, side, steps)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise RecordingError(f"the recording {path} is missing")
    return path
