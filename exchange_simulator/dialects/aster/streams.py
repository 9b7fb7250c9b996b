"""Market streams: books in diffs with ranges of numbers, best prices, trades, candles, marks.

Numbers of a market rise with every change and skip some, as the venue's do: a diff covers `U`..`u`, and `pu` is the `u` of the one
before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from exchange_simulator.core.events import BookDelta, Trade
from exchange_simulator.core.types import Side
from exchange_simulator.dialects.aster import wire
from exchange_simulator.dialects.base import Batch, Session, encode_json

if TYPE_CHECKING:
    from exchange_simulator.dialects.aster.dialect import AsterDialect

MS: Final = 10**6
MINUTE_NS: Final = 60 * 10**9
SPEEDS_MS: Final = (100, 250, 500)
KLINE_EVERY_S: Final = 0.25
MARK_EVERY_S: Final = 1.0


class _Diff:
    """What a market's next diff of one speed will say."""

    __slots__ = ("first", "levels", "previous")

    def __init__(self, number: int) -> None:
        self.first = 0
        self.previous = number
        self.levels: dict[tuple[Side, int], int] = {}


class Streams:
    """Of one dialect."""

    def __init__(self, dialect: AsterDialect) -> None:
        self.dialect = dialect
        self.exchange = dialect.exchange
        self._numbers: dict[str, int] = {}
        self._diffs: dict[tuple[str, int], _Diff] = {}
        self._best: dict[str, tuple[Any, ...]] = {}
        self._marking = False
        agenda = dialect.agenda
        self._depths = {ms: Batch[str, None](agenda, ms / 1000, self._flush(ms)) for ms in SPEEDS_MS}
        self._tickers: Batch[str, None] = Batch(agenda, 0.0, self._push_best)
        self._klines: Batch[str, None] = Batch(agenda, KLINE_EVERY_S, self._push_klines)

    def clear(self) -> None:
        for batch in (*self._depths.values(), self._tickers, self._klines):
            batch.clear()
        for diff in self._diffs.values():
            diff.levels.clear()
        self._marking = False

    def _flush(self, speed_ms: int) -> Callable[[dict[str, None]], None]:
        return lambda dirty: self._push_depths(speed_ms, dirty)

    # ---- names

    def tell(self, name: str, make: Callable[[], Any]) -> None:
        """To the subscribers of a stream, wrapped where they read a combined one; made only if there are any."""
        plain: bytes | None = None
        wrapped: bytes | None = None
        for session in list(self.dialect.subscribers(name)):
            if plain is None:
                plain = encode_json(make())
            if session.path.startswith("/stream") or self.dialect.wraps(session):
                wrapped = wrapped or b'{"stream":"' + name.encode() + b'","data":' + plain + b"}"
                session.send(wrapped, channel=name)
            else:
                session.send(plain, channel=name)

    # ---- books

    def number(self, symbol: str) -> int:
        """Of the book as it is."""
        return self._numbers.setdefault(symbol, 1_000_000)

    def on_book(self, event: BookDelta) -> None:
        first = self.number(event.market) + 1 + self.dialect.rng.randint(0, 2)
        self._numbers[event.market] = first + self.dialect.rng.randint(0, 1)
        for speed in SPEEDS_MS:
            diff = self._diffs.get((event.market, speed))
            if diff is None:
                diff = self._diffs[event.market, speed] = _Diff(first - 1)
            if not self.dialect.sessions:
                diff.levels.clear()
                diff.previous = self._numbers[event.market]
                continue
            if not diff.levels:
                diff.first = first
            diff.levels[event.side, event.price] = event.size
            self._depths[speed].put(event.market, None)
        if self.dialect.sessions:
            self._tickers.put(event.market, None)

    def _push_depths(self, speed_ms: int, dirty: dict[str, None]) -> None:
        for symbol in dirty:
            diff = self._diffs[symbol, speed_ms]
            if not diff.levels:
                continue
            message = self._diff(symbol, diff)
            diff.previous = message["u"]
            diff.levels = {}
            lower = symbol.lower()
            for name in (f"{lower}@depth@{speed_ms}ms", *([f"{lower}@depth"] if speed_ms == 250 else [])):
                self.tell(name, lambda message=message: message)  # type: ignore[misc]
            for count in (5, 10, 20):
                for name in (f"{lower}@depth{count}@{speed_ms}ms", *([f"{lower}@depth{count}"] if speed_ms == 250 else [])):
                    self.tell(name, lambda message=message, count=count: self._top(message, count))  # type: ignore[misc]

    def _diff(self, symbol: str, diff: _Diff) -> dict[str, Any]:
        market = self.exchange.markets[symbol].spec
        now = self.dialect.now_ms()
        sides: dict[Side, list[list[str]]] = {Side.BUY: [], Side.SELL: []}
        for (side, price), size in diff.levels.items():
            sides[side].append([wire.text(market.price(price)), wire.text(market.size(size))])
        return {
            "e": "depthUpdate",
            "E": now,
            "T": now,
            "s": symbol,
            "U": diff.first,
            "u": self._numbers[symbol],
            "pu": diff.previous,
            "b": sides[Side.BUY],
            "a": sides[Side.SELL],
        }

    def _top(self, message: dict[str, Any], count: int) -> dict[str, Any]:
        """A whole book of the best levels under the name of a diff."""
        market = self.exchange.markets[message["s"]].spec
        sides = {name: wire.levels(self.exchange, market, side, count) for name, side in (("b", Side.BUY), ("a", Side.SELL))}
        return {**message, **sides}

    def _push_best(self, dirty: dict[str, None]) -> None:
        for symbol in dirty:
            best = self.dialect.rest.best(self.exchange.markets[symbol])
            told = (best["bidPrice"], best["bidQty"], best["askPrice"], best["askQty"])
            if self._best.get(symbol) == told:
                continue
            self._best[symbol] = told
            now = self.dialect.now_ms()
            message = {
                "e": "bookTicker",
                "u": self._numbers[symbol],
                "E": now,
                "T": now,
                "s": symbol,
                **dict(zip("bBaA", told, strict=True)),
            }
            for name in (f"{symbol.lower()}@bookTicker", "!bookTicker"):
                self.tell(name, lambda message=message: message)  # type: ignore[misc]

    # ---- trades, candles, marks

    def on_trade(self, event: Trade) -> None:
        market, now = self.exchange.markets[event.market].spec, self.dialect.now_ms()
        self.tell(
            f"{event.market.lower()}@aggTrade",
            lambda: {"e": "aggTrade", "E": now, "s": event.market, **wire.agg_trade(event, market)},
        )
        if self.dialect.sessions:
            self._klines.put(event.market, None)

    def _push_klines(self, dirty: dict[str, None]) -> None:
        from exchange_simulator.dialects.aster.rest import INTERVALS

        names = {name for s in self.dialect.sessions.values() for name in s.subscriptions if "@kline_" in name}
        for name in sorted(names):
            symbol, _, interval = name.partition("@kline_")
            if symbol.upper() not in dirty or interval not in INTERVALS:
                continue
            market, interval_ns, now = self.exchange.markets[symbol.upper()].spec, INTERVALS[interval] * MINUTE_NS, self.dialect.now_ns()
            found = self.dialect.history.candles(market.symbol, interval_ns, now // interval_ns * interval_ns, now)
            if found:
                event = wire.kline_event(found[-1], market, interval, interval_ns, now // MS)
                self.tell(name, lambda event=event: event)  # type: ignore[misc]

    def begin_marks(self, session: Session) -> None:
        """Marks come every second (every third under the slower name), moved or not, while anybody listens."""
        if not self._marking and any("@markPrice" in name or name.startswith("!markPrice") for name in session.subscriptions):
            self._marking = True
            self.dialect.agenda.after(self._to_the_second(), self._push_marks)

    @staticmethod
    def _to_the_second() -> float:
        return MARK_EVERY_S - asyncio.get_running_loop().time() % MARK_EVERY_S

    def _push_marks(self) -> None:
        names = {name for s in self.dialect.sessions.values() for name in s.subscriptions if "markPrice" in name}
        self._marking = bool(names)
        if not names:
            return
        slow = self.dialect.now_ms() // 1000 % 3 == 0
        for name in sorted(names):
            symbol, _, kind = name.partition("@")
            if not (slow or name.endswith("@1s")):
                continue
            if symbol == "!markPrice":
                self.tell(name, lambda: [self._mark(one) for one in self.exchange.markets])
            elif symbol.upper() in self.exchange.markets and kind.startswith("markPrice"):
                self.tell(name, lambda symbol=symbol: self._mark(symbol.upper()))  # type: ignore[misc]
        self.dialect.agenda.after(self._to_the_second(), self._push_marks)

    def _mark(self, symbol: str) -> dict[str, Any]:
        row = wire.premium(self.exchange, self.exchange.markets[symbol], self.dialect.now_ms())
        return {
            "e": "markPriceUpdate",
            "E": row["time"],
            "s": symbol,
            "p": row["markPrice"],
            "i": row["indexPrice"],
            "P": row["estimatedSettlePrice"],
            "r": row["lastFundingRate"],
            "T": row["nextFundingTime"],
        }
