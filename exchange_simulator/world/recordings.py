"""Readers of the recorded streams and funding series: raw lines in, UTC times and exact figures out.

The files and their traps are listed in the index of the recordings; what each reader corrects stands beside it.
"""

from __future__ import annotations

import csv
import gzip
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

from exchange_clients.book import BookFeed
from exchange_clients.model import InstrumentId
from exchange_simulator.core.types import Side
from exchange_simulator.world.wire import WireError, is_recording

SECOND_NS = 10**9
HOUR_NS = 3_600 * SECOND_NS

SETTLEMENT_CSV_OFFSET_HOURS: Mapping[str, int] = {"binance": 3, "bybit": 3, "htx": 3, "kucoin": 3, "mexc": 3, "gate": 0, "dydx_v3": 0}
"""Clock of each `<venue>_BTC-USDT_<from>_<to>.csv` against UTC. Binance is proven against the three-venue file; dydx_v3 is unverified."""


@dataclass(frozen=True, slots=True)
class FundingPoint:
    """One settlement. `rate` is the fraction charged for `interval_hours`; positive: longs pay."""

    ts_ns: int
    rate: Decimal
    interval_hours: int
    premium: Decimal | None = None


@dataclass(frozen=True, slots=True)
class FundingSeries:
    venue: str
    market: str
    points: tuple[FundingPoint, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One 8-hour bar; `ts_ns` is its opening time, `funding` the rate settled at that time (None for spot)."""

    ts_ns: int
    high: float
    low: float
    close: float
    funding: Decimal | None


def _ns(moment: datetime, *, round_to_s: int = 60) -> int:
    seconds = moment.replace(tzinfo=UTC).timestamp()
    return int((seconds + round_to_s / 2) // round_to_s) * round_to_s * SECOND_NS


def read_settlement_csv(path: Path) -> FundingSeries:
    """A `Symbol,Date,Funding Rate` file. Times are shifted to UTC and rounded to the minute (some settle milliseconds late)."""
    venue = path.name.split("_BTC-USDT_", maxsplit=1)[0]
    shift = timedelta(hours=SETTLEMENT_CSV_OFFSET_HOURS[venue])
    interval = 1 if venue == "dydx_v3" else 8
    with path.open(newline="", encoding="utf-8") as file:
        points = tuple(
            FundingPoint(_ns(datetime.fromisoformat(row["Date"]) - shift), Decimal(row["Funding Rate"]), interval)
            for row in csv.DictReader(file)
        )
    return FundingSeries(venue, "BTC-USDT", tuple(sorted(points, key=lambda p: p.ts_ns)), path.name)


def read_hyperliquid_history(path: Path) -> FundingSeries:
    """The raw `fundingHistory` answer. It turns from 8-hour to 1-hour settlement: rows are hourly from the first hourly spacing on."""
    rows = msgspec.json.decode(path.read_bytes())
    points: list[FundingPoint] = []
    interval = 8
    for row in rows:
        ts_ns = (row["time"] + 30_000) // 60_000 * 60 * SECOND_NS
        if points and ts_ns - points[-1].ts_ns <= HOUR_NS:
            interval = 1
        points.append(FundingPoint(ts_ns, Decimal(row["fundingRate"]), interval, Decimal(row["premium"])))
    return FundingSeries("hyperliquid", rows[0]["coin"], tuple(points), path.name)


def _last_sunday(year: int, month: int) -> datetime:
    day = datetime(year, month, 31)  # noqa: DTZ001  a rule of UK local time
    return day - timedelta(days=(day.weekday() + 1) % 7)


def london_to_utc(local: datetime) -> datetime:
    """UK local time to UTC (both naive). In the hour that comes twice, the first one: that is where the 8-hour grid falls."""
    summer = _last_sunday(local.year, 3) + timedelta(hours=1) <= local < _last_sunday(local.year, 10) + timedelta(hours=2)
    return local - timedelta(hours=1) if summer else local


def read_three_venue_bars(path: Path) -> dict[tuple[str, str, str], list[Bar]]:
    """8-hour bars by (venue, pair, spot|perpetual) of the file kept in UK local time."""
    series: dict[tuple[str, str, str], list[Bar]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            funding = Decimal(row["funding rate"]) if row["funding rate"] else None
            bar = Bar(
                _ns(london_to_utc(datetime.fromisoformat(row["time"]))), float(row["high"]), float(row["low"]), float(row["close"]), funding
            )
            series.setdefault((row["exchange"], row["pair"], row["contract"]), []).append(bar)
    for bars in series.values():
        bars.sort(key=lambda b: b.ts_ns)
    return series


@dataclass(frozen=True, slots=True)
class StreamTrade:
    """One public trade as recorded; `size` in the venue's own unit (contracts on OKX swaps)."""

    symbol: str
    side: Side
    price: Decimal
    size: Decimal
    ts_ms: int


@dataclass(frozen=True, slots=True)
class StreamStep:
    """What one line of a recording changed. `books` names the symbols whose book is new; `t_ns` is the recorder's clock."""

    t_ns: int
    books: tuple[str, ...] = ()
    trades: tuple[StreamTrade, ...] = ()


class RecordingError(ValueError):
    """A recording broke its own rules: sequence gap, wrong checksum, unknown shape."""


class RecordedSide:
    """Levels of one side as sent: price -> size, with the prices kept in order."""

    def __init__(self) -> None:
        self.sizes: dict[Decimal, Decimal] = {}
        self._prices: list[Decimal] = []

    def put(self, rows: Any) -> None:
        """Rows of (price, size, ...) as text; size 0 removes the level."""
        for row in rows:
            price, size = Decimal(row[0]), Decimal(row[1])
            if size:
                if price not in self.sizes:
                    insort(self._prices, price)
                self.sizes[price] = size
            elif self.sizes.pop(price, None) is not None:
                del self._prices[bisect_left(self._prices, price)]

    def clear(self) -> None:
        self.sizes.clear()
        self._prices.clear()

    def lowest(self, count: int) -> list[tuple[Decimal, Decimal]]:
        return [(price, self.sizes[price]) for price in self._prices[:count]]

    def highest(self, count: int) -> list[tuple[Decimal, Decimal]]:
        return [(price, self.sizes[price]) for price in reversed(self._prices[-count:])]


@dataclass(slots=True)
class RecordedBook:
    """A book rebuilt from a recording: exact prices and sizes as sent. `ready` once a snapshot was joined."""

    bids: RecordedSide = field(default_factory=RecordedSide)
    asks: RecordedSide = field(default_factory=RecordedSide)
    ready: bool = False
    applied: int = 0
    last_id: int = 0
    pending: list[Any] = field(default_factory=list)

    def put(self, bids: Any, asks: Any) -> None:
        self.bids.put(bids)
        self.asks.put(asks)

    def replace(self, bids: Any, asks: Any) -> None:
        self.bids.clear()
        self.asks.clear()
        self.put(bids, asks)
        self.ready = True

    def best(self, count: int) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
        """Best `count` levels a side, best first."""
        return self.bids.highest(count), self.asks.lowest(count)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for line in file:
            yield msgspec.json.decode(line)


def _time_ns(line: Mapping[str, Any]) -> int:
    if "t_ns" in line:
        return int(line["t_ns"])
    return round(float(line["t"]) * 1_000_000) * 1_000


class StreamReader:
    """Steps through one recorded stream and keeps its books. Iterate it once; `books` is current after each step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.books: dict[str, RecordedBook] = {}

    def __iter__(self) -> Iterator[StreamStep]:
        for line in _lines(self.path):
            step = self._step(_time_ns(line), line)
            if step is not None:
                yield step

    def _step(self, t_ns: int, line: Mapping[str, Any]) -> StreamStep | None:
        raise NotImplementedError

    def book(self, symbol: str) -> RecordedBook:
        return self.books.setdefault(symbol, RecordedBook())


class BinanceReader(StreamReader):
    """USD-margined futures of the Binance family: combined stream plus REST snapshots joined by the documented rule (u, U, pu)."""

    def _step(self, t_ns: int, line: Mapping[str, Any]) -> StreamStep | None:
        message = line.get("msg")
        if not isinstance(message, dict):
            return None
        if "lastUpdateId" in message:
            return self._snapshot(t_ns, self._snapshot_symbol(line), message)
        if "stream" not in message:
            return None
        data = message["data"]
        if data["e"] == "depthUpdate":
            book = self.book(data["s"])
            if not book.ready:
                book.pending.append(data)
                return None
            self._apply(book, data)
            return StreamStep(t_ns, books=(data["s"],))
        if data["e"] == "aggTrade" or (data["e"] == "trade" and data["X"] == "MARKET"):
            side = Side.SELL if data["m"] else Side.BUY
            return StreamStep(t_ns, trades=(StreamTrade(data["s"], side, Decimal(data["p"]), Decimal(data["q"]), data["T"]),))
        return None

    def _snapshot_symbol(self, line: Mapping[str, Any]) -> str:
        if "url" in line:
            return str(line["url"]).split("symbol=")[1].split("&")[0]
        if len(self.books) != 1:
            raise RecordingError(f"{self.path.name}: snapshot without a symbol among {sorted(self.books)}")
        return next(iter(self.books))

    def _snapshot(self, t_ns: int, symbol: str, message: Mapping[str, Any]) -> StreamStep:
        book = self.book(symbol)
        book.replace(message["bids"], message["asks"])
        book.last_id = message["lastUpdateId"]
        for data in book.pending:
            self._apply(book, data)
        book.pending.clear()
        return StreamStep(t_ns, books=(symbol,))

    def _apply(self, book: RecordedBook, data: Mapping[str, Any]) -> None:
        if data["u"] < book.last_id and not book.applied:
            return
        joined = data["pu"] == book.last_id if book.applied else data["U"] <= book.last_id
        if not joined:
            raise RecordingError(f"{self.path.name}: {data['s']} misses updates before {data['u']}")
        book.put(data["b"], data["a"])
        book.last_id = data["u"]
        book.applied += 1


class OkxReader(StreamReader):
    """OKX v5 `books` (400 levels, CRC32 over the best 25 verified at every message) and `trades`."""

    def _step(self, t_ns: int, line: Mapping[str, Any]) -> StreamStep | None:
        message = line.get("msg")
        if line.get("kind") != "ws_recv" or not isinstance(message, dict) or "data" not in message:
            return None
        symbol = message["arg"]["instId"]
        if message["arg"]["channel"] == "trades":
            trades = tuple(
                StreamTrade(symbol, Side(row["side"]), Decimal(row["px"]), Decimal(row["sz"]), int(row["ts"])) for row in message["data"]
            )
            return StreamStep(t_ns, trades=trades)
        if message["arg"]["channel"] != "books":
            return None
        book = self.book(symbol)
        for row in message["data"]:
            self._apply(book, symbol, message["action"], row)
        return StreamStep(t_ns, books=(symbol,))

    def _apply(self, book: RecordedBook, symbol: str, action: str, row: Mapping[str, Any]) -> None:
        if action == "snapshot":
            book.replace(row["bids"], row["asks"])
        elif book.ready:
            book.put(row["bids"], row["asks"])
        else:
            raise RecordingError(f"{self.path.name}: {symbol} update before its snapshot")
        book.applied += 1
        if self._checksum(book) != row["checksum"]:
            raise RecordingError(f"{self.path.name}: {symbol} checksum mismatch at message {book.applied}")

    @staticmethod
    def _checksum(book: RecordedBook) -> int:
        bids, asks = book.best(25)
        parts: list[str] = []
        for i in range(25):
            parts += [f"{price:f}:{size:f}" for price, size in (*bids[i : i + 1], *asks[i : i + 1])]
        value = crc32(":".join(parts).encode())
        return value - (1 << 32) if value >= 1 << 31 else value


class HyperliquidReader(StreamReader):
    """`l2Book` snapshots (20 levels a side) and `trades`. Trades older than the first book are the backfill on subscribing: dropped."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._first_book_ms = 0

    def _step(self, t_ns: int, line: Mapping[str, Any]) -> StreamStep | None:
        message = line["msg"]
        data = message["data"]
        if message["channel"] == "l2Book":
            bids, asks = ([(row["px"], row["sz"]) for row in side] for side in data["levels"])
            book = self.book(data["coin"])
            book.replace(bids, asks)
            book.applied += 1
            self._first_book_ms = self._first_book_ms or data["time"]
            return StreamStep(t_ns, books=(data["coin"],))
        if message["channel"] != "trades":
            return None
        trades = tuple(
            StreamTrade(row["coin"], Side.BUY if row["side"] == "B" else Side.SELL, Decimal(row["px"]), Decimal(row["sz"]), row["time"])
            for row in data
            if self._first_book_ms and row["time"] >= self._first_book_ms
        )
        return StreamStep(t_ns, trades=trades) if trades else None


class _PlayedBook(RecordedBook):
    """A book of the venue's own client, in quote per base unit and base units."""

    def __init__(self, feed: BookFeed) -> None:
        super().__init__(ready=True)
        self.feed = feed

    def best(self, count: int) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
        depth = self.feed.book.depth(count)
        bids, asks = ([(level.price, level.size) for level in side] for side in depth)
        return bids, asks


class PlayedReader(StreamReader):
    """A recording of `perpkit record`, of any venue, heard by the venue's own code. Symbols are the venue's own names of its markets.

    A book that the client lost is not ready until it is whole again. Trades that are older than the first book are the backfill on
    subscribing: dropped.
    """

    def __iter__(self) -> Iterator[StreamStep]:
        from exchange_simulator.world.playback import play

        first_ns: dict[str, int] = {}
        names: dict[InstrumentId, str] = {}
        try:
            for playback, step in play(self.path):
                if len(names) < len(playback.instruments):
                    names = {i.id: i.venue_symbol for i in playback.instruments}
                for instrument in playback.instruments:
                    feed = playback.client.ws_manager.feed_of(instrument.contract_id)
                    book = self.books.get(instrument.venue_symbol)
                    if feed is None or not feed.book.ready:
                        if book is not None:
                            book.ready = False
                    elif not isinstance(book, _PlayedBook) or book.feed is not feed:
                        self.books[instrument.venue_symbol] = _PlayedBook(feed)
                        first_ns.setdefault(instrument.venue_symbol, feed.book.state.ts_venue_ns or step.t_ns)
                    else:
                        book.ready = True
                changed = tuple(dict.fromkeys(names[change.instrument] for change in step.books))
                trades = tuple(
                    StreamTrade(names[t.instrument], Side(t.side.value), t.price, t.quantity, t.ts_venue_ns // 1_000_000)
                    for t in step.trades
                    if first_ns.get(names[t.instrument], t.ts_venue_ns + 1) <= t.ts_venue_ns
                )
                if changed or trades:
                    yield StreamStep(step.t_ns, changed, trades)
        except WireError as e:
            raise RecordingError(str(e)) from e


def open_stream(path: Path) -> StreamReader:
    """The reader for a recording, chosen by what is in it: one of `perpkit record` (a file, or the folder of its parts), else by its name.

    Raises:
        RecordingError: neither says that it is of a known format.
    """
    if path.is_dir() or is_recording(path):
        return PlayedReader(path)
    for prefix, reader in (("binance_usdm_", BinanceReader), ("okx_books_", OkxReader), ("hyperliquid_", HyperliquidReader)):
        if path.name.startswith(prefix):
            return reader(path)
    raise RecordingError(f"{path.name}: not a recording of a known format (perpkit record, binance_usdm_*, okx_books_*, hyperliquid_*)")
