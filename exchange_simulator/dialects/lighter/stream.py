"""The `/stream` socket: subscriptions, snapshots, and pushes made from exchange events.

Books go out every 50 ms, statistics and candles every half second, everything else at the next turn of the loop, so that what one call
caused arrives together. A book update is contiguous when its `begin_nonce` is the previous `nonce`; `offset` says nothing, and has holes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from exchange_simulator.core.events import (
    Adl,
    AnyEvent,
    BalanceChanged,
    BookDelta,
    CancelAllScheduled,
    Event,
    FundingPaid,
    FundingSettled,
    LeverageChanged,
    Liquidated,
    MarkChanged,
    MarketStatusChanged,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderOpened,
    OrderRejected,
    OrderTriggered,
    PositionChanged,
    Trade,
)
from exchange_simulator.core.market import MarketState
from exchange_simulator.core.types import RejectReason, Side, TradeKind
from exchange_simulator.dialects.base import Batch, Budget, Received, Refusal, Session
from exchange_simulator.dialects.lighter.errors import refusal
from exchange_simulator.dialects.lighter.tx import Tx
from exchange_simulator.dialects.lighter.wire import MS, USDC_ASSET, block_height

if TYPE_CHECKING:
    from exchange_simulator.dialects.lighter.dialect import LighterDialect
    from exchange_simulator.dialects.lighter.sequencer import Record

BOOK_BEAT_S = 0.05
STATS_BEAT_S = 0.5
BLOCK_S = 0.4
PING_S = 60.0
IDLE_LIMIT_S = 120.0
MAX_SUBSCRIPTIONS = 500
MAX_CONNECTIONS = 255
"""Of one address, at once and per minute."""
MAX_BATCH = 15
RECENT_TRADES = 50
RESOLUTIONS_S = {
    "1m": 60,
    "5m": 300,
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "4h": 14_400,
    "12h": 43_200,
    "1d": 86_400,
    "1w": 604_800,
}


@dataclass(slots=True)
class _Book:
    """Numbering of one market's updates."""

    nonce: int
    offset: int
    sent_nonce: int
    batch: Batch[tuple[Side, int], int]
    channel: str
    ticker: str
    top: tuple[int, ...] = ()


@dataclass(slots=True)
class _Changes:
    """What happened to one account since the last turn of the loop."""

    orders: dict[int, None] = field(default_factory=dict)
    trades: list[int] = field(default_factory=list)
    positions: dict[str, None] = field(default_factory=dict)
    funding: dict[str, FundingPaid] = field(default_factory=dict)
    notices: list[dict[str, Any]] = field(default_factory=list)
    balance: bool = False


class Stream:
    """All socket sessions of the dialect."""

    def __init__(self, dialect: LighterDialect) -> None:
        self._dialect = dialect
        self._books: dict[str, _Book] = {}
        self._seen: dict[int, float] = {}
        self._messages = Budget(200, 60.0)
        self._connects = Budget(MAX_CONNECTIONS, 60.0)
        self._stats: Batch[str, None] = Batch(dialect.agenda, STATS_BEAT_S, self._push_stats)
        self._candles: Batch[str, None] = Batch(dialect.agenda, STATS_BEAT_S, self._push_candles)
        self._tape: Batch[int, Trade] = Batch(dialect.agenda, 0.0, self._push_trades)
        self._accounts: Batch[int, None] = Batch(dialect.agenda, 0.0, self._push_accounts)
        self._changes: dict[int, _Changes] = defaultdict(_Changes)
        self._beating = False
        self._watched: set[str] = set()
        """Every channel somebody is subscribed to."""
        self._publishers: dict[type[Event], Callable[[Any], None]] = {
            Trade: self._on_trade,
            MarkChanged: self._on_market,
            FundingSettled: self._on_market,
            MarketStatusChanged: self._on_market,
            OrderAccepted: lambda e: self._on_order(e.order.account, e.order_id),
            OrderRejected: self._on_rejected,
            OrderOpened: lambda e: self._on_order(e.account, e.order_id),
            OrderTriggered: lambda e: self._on_order(e.account, e.order_id),
            OrderCancelled: lambda e: self._on_order(e.account, e.order_id),
            OrderExpired: lambda e: self._on_order(e.account, e.order_id),
            OrderAmended: lambda e: self._on_order(e.account, e.order_id),
            OrderFilled: self._on_fill,
            PositionChanged: self._on_position,
            LeverageChanged: self._on_position,
            BalanceChanged: self._on_balance,
            CancelAllScheduled: self._on_balance,
            FundingPaid: self._on_funding,
            Liquidated: self._on_liquidated,
            Adl: self._on_adl,
        }

    def reset(self) -> None:
        """Serving ended: what was waiting for a beat is gone, numbering goes on."""
        for batch in (self._stats, self._candles, self._tape, self._accounts):
            batch.clear()
        for book in self._books.values():
            book.batch.clear()
            book.sent_nonce = book.nonce
        self._changes.clear()
        self._seen.clear()
        self._watched.clear()
        self._beating = False

    # events

    def publish(self, event: AnyEvent) -> None:
        if isinstance(event, BookDelta):
            self._on_book(event)
        elif self._watched:
            publisher = self._publishers.get(type(event))
            if publisher is not None:
                publisher(event)

    def book(self, symbol: str) -> _Book:
        book = self._books.get(symbol)
        if book is None:
            index = self._dialect.ids[symbol]
            start = 10_000 * (1 + index)
            batch: Batch[tuple[Side, int], int] = Batch(self._dialect.agenda, BOOK_BEAT_S, lambda changes: self._push_book(symbol, changes))
            book = self._books[symbol] = _Book(start, start // 4, start, batch, f"order_book:{index}", f"ticker:{index}")
        return book

    def _listens_under(self, *prefixes: str) -> bool:
        return any(channel.startswith(prefixes) for channel in self._watched)

    def _rewatch(self) -> None:
        """Somebody's subscriptions changed."""
        self._watched = {channel for session in self._dialect.sessions.values() for channel in session.subscriptions}

    def _on_book(self, event: BookDelta) -> None:
        book = self.book(event.market)
        book.nonce += 1
        book.offset += 1
        if book.channel in self._watched:
            book.batch.put((event.side, event.price), event.size)
        else:
            book.sent_nonce = book.nonce
        if book.ticker not in self._watched:
            return
        market = self._dialect.exchange.markets[event.market]
        top = (market.book.bids.best(), market.book.asks.best())
        sizes = (market.book.bids.total(top[0]), market.book.asks.total(top[1]))
        if book.top != (*top, *sizes):
            book.top = (*top, *sizes)
            self._push_ticker(market)

    def _on_trade(self, event: Trade) -> None:
        self._tape.put(event.trade_id, event)
        self._stats.put(event.market, None)
        self._candles.put(event.market, None)

    def _on_market(self, event: MarkChanged | FundingSettled | MarketStatusChanged) -> None:
        self._stats.put(event.market, None)

    def _touch(self, account: int) -> _Changes:
        self._accounts.put(account, None)
        return self._changes[account]

    def _on_order(self, account: int, order_id: int) -> None:
        self._touch(account).orders[order_id] = None

    def _on_rejected(self, event: OrderRejected) -> None:
        if event.reason is RejectReason.REDUCE_ONLY and self._dialect.mute_reduce_only:
            return
        self._on_order(event.order.account, event.order_id)

    def _on_fill(self, event: OrderFilled) -> None:
        changes = self._touch(event.account)
        changes.trades.append(event.trade_id)
        changes.positions[event.market] = None
        if event.order_id:
            changes.orders[event.order_id] = None

    def _on_position(self, event: PositionChanged | LeverageChanged) -> None:
        self._touch(event.account).positions[event.market] = None

    def _on_balance(self, event: BalanceChanged | CancelAllScheduled) -> None:
        self._touch(event.account).balance = True

    def _on_funding(self, event: FundingPaid) -> None:
        changes = self._touch(event.account)
        changes.funding[event.market] = event
        changes.positions[event.market] = None

    def _on_liquidated(self, event: Liquidated) -> None:
        spec = self._dialect.exchange.markets[event.market].spec
        content = {
            "id": str(event.seq),
            "is_ask": event.side is Side.SELL,
            "usdc_amount": f"{spec.price(event.price) * spec.size(event.size):.6f}",
            "size": f"{spec.size(event.size):f}",
            "market_index": self._dialect.ids[event.market],
            "price": f"{spec.price(event.price):f}",
            "timestamp": event.ts_ns // 10**9,
            "avg_price": f"{spec.price(event.price):f}",
        }
        self._notice(event.account, "liquidation", event.seq, event.ts_ns, content)

    def _on_adl(self, event: Adl) -> None:
        spec = self._dialect.exchange.markets[event.market].spec
        content = {
            "id": str(event.seq),
            "is_ask": event.side is Side.SELL,
            "usdc_amount": f"{spec.price(event.price) * spec.size(event.size):.6f}",
            "size": f"{spec.size(event.size):f}",
            "market_index": self._dialect.ids[event.market],
            "settlement_price": f"{spec.price(event.price):f}",
            "timestamp": event.ts_ns // 10**9,
        }
        self._notice(event.account, "deleverage", event.seq, event.ts_ns, content)

    def _notice(self, account: int, kind: str, seq: int, ts_ns: int, content: dict[str, Any]) -> None:
        seconds = ts_ns // 10**9
        notice = {
            "id": str(seq),
            "created_at": seconds,
            "updated_at": seconds,
            "kind": kind,
            "account_index": account,
            "content": content,
            "ack": False,
            "acked_at": None,
        }
        self._touch(account).notices.append(notice)

    # market pushes

    def _stamp(self) -> int:
        return self._dialect.now_ns() // MS

    def _push(self, channel: str, body: dict[str, Any] | Callable[[], dict[str, Any]]) -> None:
        """`body`, or what makes it, is only touched when somebody listens."""
        if channel in self._watched:
            made = body() if callable(body) else body
            name = channel.partition(":")[0]
            self._dialect.push(channel, {"channel": channel, "timestamp": self._stamp(), "type": f"update/{name}", **made})

    def _push_book(self, symbol: str, changes: dict[tuple[Side, int], int]) -> None:
        book, market = self.book(symbol), self._dialect.exchange.markets[symbol]
        begin, book.sent_nonce = book.sent_nonce, book.nonce
        sides = {side: [(price, size) for (of, price), size in changes.items() if of is side] for side in Side}
        self._push(book.channel, lambda: self._book_body(market, book, sides[Side.BUY], sides[Side.SELL], begin))

    def _book_body(
        self, market: MarketState, book: _Book, bids: list[tuple[int, int]], asks: list[tuple[int, int]], begin: int
    ) -> dict[str, Any]:
        wire, updated_us = self._dialect.wire, self._dialect.now_ns() // 1000
        return {
            "last_updated_at": updated_us,
            "offset": book.offset,
            "order_book": {
                "code": 0,
                "asks": wire.levels(market, Side.SELL, asks),
                "bids": wire.levels(market, Side.BUY, bids),
                "offset": book.offset,
                "nonce": book.sent_nonce,
                "last_updated_at": updated_us,
                "begin_nonce": begin,
            },
        }

    def _ticker_body(self, market: MarketState) -> dict[str, Any]:
        wire, updated_us = self._dialect.wire, self._dialect.now_ns() // 1000
        ticker = {
            "s": market.symbol,
            "a": wire.top(market, Side.SELL),
            "b": wire.top(market, Side.BUY),
            "last_updated_at": updated_us,
        }
        return {"last_updated_at": updated_us, "nonce": self.book(market.symbol).nonce, "ticker": ticker}

    def _push_ticker(self, market: MarketState) -> None:
        self._push(self.book(market.symbol).ticker, lambda: self._ticker_body(market))

    def _push_stats(self, markets: dict[str, None]) -> None:
        if not self._listens_under("market_stats:"):
            return
        rows = {str(self._dialect.ids[symbol]): self._dialect.market_stats(symbol) for symbol in markets}
        for market_id, row in rows.items():
            self._push(f"market_stats:{market_id}", {"market_stats": row})
        self._push("market_stats:all", {"market_stats": rows})

    def _push_candles(self, markets: dict[str, None]) -> None:
        for symbol in markets:
            prefix = f"candle:{self._dialect.ids[symbol]}:"
            channels = {c: None for s in self._dialect.sessions.values() for c in s.subscriptions if c.startswith(prefix)}
            for channel in channels:
                self._push(channel, {"candles": self._newest_candle(symbol, channel[len(prefix) :])})

    def _newest_candle(self, symbol: str, resolution: str) -> list[dict[str, Any]]:
        interval = RESOLUTIONS_S[resolution] * 10**9
        now = self._dialect.now_ns()
        candles = self._dialect.history.candles(symbol, interval, now // interval * interval, now)
        return [self._dialect.wire.candle(self._dialect.exchange.markets[symbol], c) for c in candles]

    def _push_trades(self, trades: dict[int, Trade]) -> None:
        by_market: dict[str, list[Trade]] = defaultdict(list)
        for trade in trades.values():
            by_market[trade.market].append(trade)
        for symbol, found in by_market.items():
            self._push(f"trade:{self._dialect.ids[symbol]}", partial(self._trades_body, symbol, found[::-1]))

    def _trades_body(self, symbol: str, newest_first: list[Trade]) -> dict[str, Any]:
        rows = [(t, self._dialect.wire.trade(t)) for t in newest_first]
        return {
            "nonce": self.book(symbol).nonce,
            "trades": [row for t, row in rows if t.kind is TradeKind.NORMAL],
            "liquidation_trades": [row for t, row in rows if t.kind is not TradeKind.NORMAL],
        }

    def _push_height(self) -> None:
        if "height" in self._watched:
            self._push("height", {"height": block_height(self._dialect.now_ns())})
            self._dialect.agenda.after(BLOCK_S, self._push_height)

    # account pushes

    def _push_accounts(self, accounts: dict[int, None]) -> None:
        for account in accounts:
            changes = self._changes.pop(account, None)
            if changes is not None and self._listens_under(*_ACCOUNT_PREFIXES):
                self._push_account(account, changes)

    def _push_account(self, account: int, changes: _Changes) -> None:
        dialect = self._dialect
        orders = self._orders_by_market(account, changes.orders)
        trades = self._trades_by_market(changes.trades)
        if orders:
            self._push(f"account_all_orders:{account}", {"orders": orders})
            for market_id, rows in orders.items():
                one = {"account": account, "nonce": rows[-1]["nonce"], "orders": {market_id: rows}}
                self._push(f"account_orders:{market_id}:{account}", one)
        if trades:
            self._push(f"account_all_trades:{account}", {"trades": trades})
        if changes.positions:
            self._push(f"account_all_positions:{account}", lambda: self._positions_body(account))
        if changes.balance or changes.positions:
            owner = dialect.exchange.account(account)
            self._push(f"account_all_assets:{account}", lambda: {"assets": {str(USDC_ASSET): dialect.wire.asset(owner)}})
            self._push(f"user_stats:{account}", lambda: {"stats": dialect.wire.stats(owner)})
        if trades or changes.positions or changes.funding:
            self._push(f"account_all:{account}", lambda: self._all_body(account, trades, changes.funding))
        for market_id in dict.fromkeys([*orders, *trades, *(str(dialect.ids[m]) for m in changes.positions)]):
            body = partial(self._market_body, account, int(market_id), orders.get(market_id, []), trades.get(market_id, []))
            self._push(f"account_market:{market_id}:{account}", body)
        if changes.notices:
            self._push(f"notification:{account}", {"notifs": changes.notices})

    def _orders_by_market(self, account: int, ids: Any) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for order_id in ids:
            order = self._dialect.exchange.order(order_id)
            if order is not None:
                rows = found.setdefault(str(self._dialect.ids[order.market.symbol]), [])
                rows.append(self._dialect.wire.order(order, self.book(order.market.symbol).nonce))
        return found

    def _trades_by_market(self, ids: list[int]) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for trade_id in ids:
            trade = self._dialect.history.trade.get(trade_id)
            if trade is not None:
                found.setdefault(str(self._dialect.ids[trade.market]), []).append(self._dialect.wire.trade(trade))
        return found

    def _positions_body(self, account: int) -> dict[str, Any]:
        rows = self._dialect.wire.positions(self._dialect.exchange.account(account))
        return {
            "positions": {str(row["market_id"]): row for row in rows},
            "shares": [],
            "last_funding_round": None,
            "last_funding_discount": None,
        }

    def _all_body(self, account: int, trades: dict[str, Any], funding: dict[str, FundingPaid]) -> dict[str, Any]:
        fills = self._dialect.history.fills.get(account, ())
        return {
            "account": account,
            "total_trades_count": len(fills),
            "funding_histories": {str(self._dialect.ids[m]): [self._dialect.wire.payment(p)] for m, p in funding.items()},
            "positions": self._positions_body(account)["positions"],
            "shares": [],
            "trades": trades,
        }

    def _market_body(self, account: int, market_id: int, orders: list[Any], trades: list[Any]) -> dict[str, Any]:
        market = self._dialect.market(market_id)
        assert market is not None
        position = self._dialect.exchange.position(account, market.symbol)
        return {"account": account, "orders": orders, "trades": trades, "position": self._dialect.wire.position(position)}

    def executed(self, record: Record) -> None:
        """A transaction was executed, or failed."""
        self._push(f"account_tx:{record.tx.account}", lambda: {"txs": [self._dialect.tx_row(record)]})

    # sessions

    def connected(self, session: Session) -> None:
        self._seen[session.number] = asyncio.get_running_loop().time()
        session.send({"session_id": f"{self._dialect.rng.getrandbits(64):016x}-{session.number}", "type": "connected"})
        if not self._beating:
            self._beating = True
            self._dialect.agenda.after(PING_S, self._beat)

    def announce_shutdown(self, close_in_s: float) -> None:
        """Tell every session that the server goes away, and end them then."""
        for session in self._dialect.sessions.values():
            session.send({"type": "shutdown", "close_in_ms": round(close_in_s * 1000)})
            self._dialect.agenda.after(close_in_s, session.close, 1001)

    def admit(self, received: Received) -> bool:
        """May this address open one more socket?"""
        held = sum(session.remote == received.remote for session in self._dialect.sessions.values())
        return held < MAX_CONNECTIONS and not self._connects.charge(received.remote, 1, self._dialect.clock.monotonic())

    def disconnected(self, session: Session) -> None:
        self._seen.pop(session.number, None)
        self._rewatch()

    def _beat(self) -> None:
        """Pings everybody, ends those who said nothing for two minutes."""
        now = asyncio.get_running_loop().time()
        for session in list(self._dialect.sessions.values()):
            if now - self._seen.get(session.number, now) > IDLE_LIMIT_S:
                session.close(1001)
            else:
                session.send({"type": "ping"})
        self._beating = bool(self._dialect.sessions)
        if self._beating:
            self._dialect.agenda.after(PING_S, self._beat)

    def received(self, session: Session, received: Received) -> None:
        now = asyncio.get_running_loop().time()
        self._seen[session.number] = now
        try:
            message = received.json()
        except ValueError:
            raise refusal(30000) from None
        if not isinstance(message, dict):
            raise refusal(30000)
        kind = message.get("type")
        if kind not in ("jsonapi/sendtx", "jsonapi/sendtxbatch") and self._messages.charge(session.remote, 1, now):
            raise refusal(30009)
        if kind == "subscribe":
            self._subscribe(session, message)
        elif kind == "unsubscribe":
            channel = _wire_name(message)
            if channel not in session.subscriptions:
                raise refusal(30002, f": {channel}")
            del session.subscriptions[channel]
            self._rewatch()
            session.send({"type": "unsubscribed", "channel": channel})
        elif kind == "ping":
            session.send({"type": "pong"})
        elif kind in ("jsonapi/sendtx", "jsonapi/sendtxbatch") and session.params.get("readonly") == "true":
            raise refusal(30006)
        elif kind == "jsonapi/sendtx":
            self._send(session, message)
        elif kind == "jsonapi/sendtxbatch":
            self._send_batch(session, message)
        elif kind != "pong":
            raise refusal(30001)

    def _send(self, session: Session, message: dict[str, Any]) -> None:
        data = _data(message)
        name = data.get("id")
        try:
            record = self._dialect.sequencer.accept([Tx.parse(data.get("tx_type"), data.get("tx_info"))])[0]
        except Refusal as e:
            session.send(_error(e, name))
            return
        session.send(
            {
                "code": 200,
                "id": name,
                "predicted_execution_time_ms": record.executes_ns // MS,
                "tx_hash": record.hash,
                "type": "jsonapi/sendtx",
            }
        )

    def _send_batch(self, session: Session, message: dict[str, Any]) -> None:
        data = _data(message)
        name = data.get("id")
        try:
            records = self._dialect.sequencer.accept(self._dialect.parse_batch(data.get("tx_types"), data.get("tx_infos"), MAX_BATCH))
        except Refusal as e:
            session.send(_error(e, name))
            return
        session.send(
            {
                "code": 200,
                "id": name,
                "predicted_execution_time_ms": records[0].executes_ns // MS,
                "tx_hash": [record.hash for record in records],
                "type": "jsonapi/sendtxbatch",
            }
        )

    # subscriptions

    def _subscribe(self, session: Session, message: dict[str, Any]) -> None:
        channel = _wire_name(message)
        if channel in session.subscriptions:
            raise refusal(30003, f": {channel}")
        if len(session.subscriptions) >= MAX_SUBSCRIPTIONS:
            raise refusal(23001)
        name, _, rest = channel.partition(":")
        body = self._snapshot(name, rest, message)
        session.subscriptions[channel] = None
        self._watched.add(channel)
        stamped = {"channel": channel, "timestamp": self._stamp(), "type": f"subscribed/{name}", **body}
        session.send(stamped, channel=channel)
        if name == "height":
            self._dialect.agenda.after(BLOCK_S, self._push_height)

    def _snapshot(self, name: str, rest: str, message: dict[str, Any]) -> dict[str, Any]:
        if name in _ACCOUNT_CHANNELS:
            return self._account_snapshot(name, rest, message)
        if name == "height" and not rest:
            return {"height": block_height(self._dialect.now_ns())}
        if name == "market_stats" and rest == "all":
            rows = {str(i): self._dialect.market_stats(symbol) for symbol, i in self._dialect.listed().items()}
            return {"market_stats": rows}
        if name in ("spot_market_stats",) and rest == "all":
            return {"spot_market_stats": {}}
        if name == "candle":
            market_id, _, resolution = rest.partition(":")
            if resolution not in RESOLUTIONS_S:
                raise refusal(30005, f":  ({resolution})")
            return {"candles": self._newest_candle(self._market(market_id).symbol, resolution)}
        market = self._market(rest)
        if name == "order_book":
            book = self.book(market.symbol)
            book.batch.flush()  # the snapshot must not run ahead of the updates that others wait for
            sides = [[(p, s) for p, s, _ in self._dialect.exchange.depth(market.symbol, side)] for side in (Side.BUY, Side.SELL)]
            return self._book_body(market, book, sides[0], sides[1], 0)
        if name == "ticker":
            return self._ticker_body(market)
        if name == "market_stats":
            return {"market_stats": self._dialect.market_stats(market.symbol)}
        if name == "trade":
            recent = list(self._dialect.history.trades[market.symbol])[-RECENT_TRADES:]
            return self._trades_body(market.symbol, list(reversed(recent)))
        raise refusal(30005)

    def _market(self, text: str) -> MarketState:
        market = self._dialect.market(int(text)) if text.isascii() and text.isdigit() else None
        if market is None:
            raise refusal(30005, ":  (marketId)")
        return market

    def _account_snapshot(self, name: str, rest: str, message: dict[str, Any]) -> dict[str, Any]:
        parts = rest.split(":")
        if len(parts) != (2 if name in _WITH_MARKET else 1) or not all(p.isascii() and p.isdigit() for p in parts):
            raise refusal(30005)
        account = int(parts[-1])
        self._dialect.owners.get(account)
        token = str(message.get("auth", ""))
        if token or name not in _PUBLIC:
            self._dialect.owners.token(token, self._dialect.now_ns() // 10**9, account)
        dialect, owner = self._dialect, self._dialect.exchange.account(account)
        if name == "account_all_orders":
            return {"orders": self._orders_by_market(account, owner.orders)}
        if name == "account_orders":
            ids = [o.id for o in owner.orders.values() if str(dialect.ids[o.market.symbol]) == parts[0]]
            self._market(parts[0])
            return {"account": account, "nonce": 0, "orders": self._orders_by_market(account, ids)}
        if name == "account_all_trades":
            return {"trades": self._trades_by_market([f.trade_id for f in list(dialect.history.fills[account])[-100:]])}
        if name == "account_all_positions":
            return self._positions_body(account)
        if name == "account_all_assets":
            return {"assets": {str(USDC_ASSET): dialect.wire.asset(owner)}}
        if name == "user_stats":
            return {"stats": dialect.wire.stats(owner)}
        if name == "account_all":
            return self._all_body(account, {}, {})
        if name == "account_market":
            market = self._market(parts[0])
            orders = self._orders_by_market(account, [o.id for o in owner.orders.values() if o.market is market])
            return self._market_body(account, int(parts[0]), orders.get(parts[0], []), [])
        return {"txs": []} if name == "account_tx" else {"notifs": []}


_ACCOUNT_CHANNELS = (
    "account_all_orders",
    "account_orders",
    "account_all_trades",
    "account_all_positions",
    "account_all_assets",
    "account_all",
    "account_market",
    "user_stats",
    "account_tx",
    "notification",
)
_ACCOUNT_PREFIXES = tuple(f"{name}:" for name in _ACCOUNT_CHANNELS)
_WITH_MARKET = ("account_orders", "account_market")
_PUBLIC = ("account_all", "account_all_trades", "account_all_positions", "user_stats")
"""Readable without a token: the venue's account data is public where it reveals no open order."""


def _wire_name(message: dict[str, Any]) -> str:
    channel = message.get("channel")
    if not isinstance(channel, str) or not channel:
        raise refusal(30005)
    return channel.replace("/", ":")


def _data(message: dict[str, Any]) -> dict[str, Any]:
    data = message.get("data")
    if not isinstance(data, dict):
        raise refusal(30007)
    return data


def _error(refused: Refusal, name: Any) -> dict[str, Any]:
    return {"error": {"code": refused.code, "message": refused.message}, "id": name}
