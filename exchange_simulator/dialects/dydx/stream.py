"""The indexer's socket: one connection, channels by name and id, messages counted per connection.

`subscribed` carries the number reserved when the request arrived. With `snapshot_gap_s` the session is registered only so long after its
snapshot was taken: what happens between is lost, as on the venue. Some levels that vanish are told one batch late, so that a batched book
may look crossed until the older level is dropped. Source: dydxprotocol/v4-chain `indexer/services/socks`, read 2026-11.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from exchange_simulator.core.events import (
    AnyEvent,
    BalanceChanged,
    BookDelta,
    MarkChanged,
    MarketChanged,
    MarketStatusChanged,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderTriggered,
    PositionChanged,
    Trade,
)
from exchange_simulator.core.types import BalanceReason, Side
from exchange_simulator.dialects.base import Batch, Received, Session, encode_json
from exchange_simulator.dialects.dydx import wire
from exchange_simulator.dialects.dydx.clob import EXPIRED, ClobOrder
from exchange_simulator.dialects.dydx.indexer import MINUTE_NS, RESOLUTIONS, OrderRow

if TYPE_CHECKING:
    from exchange_simulator.dialects.dydx.dialect import DydxDialect

BATCH_S: Final = 0.25
TRADING_EVERY: Final = 8
"""Blocks between two updates of volumes, open interest and funding."""
MARKETS, BOOK, TRADES, CANDLES = "v4_markets", "v4_orderbook", "v4_trades", "v4_candles"
SUBACCOUNTS, PARENTS, HEIGHT = "v4_subaccounts", "v4_parent_subaccounts", "v4_block_height"
CHANNELS: Final = (MARKETS, BOOK, TRADES, CANDLES, SUBACCOUNTS, PARENTS, HEIGHT)
VERSIONS: Final = {
    MARKETS: "1.0.0",
    BOOK: "1.0.0",
    TRADES: "2.1.0",
    CANDLES: "1.0.0",
    SUBACCOUNTS: "3.0.0",
    PARENTS: "3.0.0",
    HEIGHT: "1.0.0",
}
LIMITS: Final = {BOOK: 32, TRADES: 32, CANDLES: 32, MARKETS: 32, SUBACCOUNTS: 256, PARENTS: 256}
ATTEMPTS_PER_S: Final = 2
POLICY: Final = 1008
NOT_TOLD: Final = frozenset({"REPLACED", "FULLY_FILLED"})


@dataclass(slots=True)
class Wanted:
    """One subscription. `id` is None where none was given."""

    channel: str
    id: str | None
    batched: bool
    ready: bool = True


class Connection:
    """What the server keeps of one socket."""

    def __init__(self, identity: str) -> None:
        self.id = identity
        self.messages = 0
        self.attempts: dict[str, deque[float]] = defaultdict(deque)

    def number(self) -> int:
        self.messages += 1
        return self.messages

    def too_many(self, what: str) -> bool:
        now = asyncio.get_running_loop().time()
        seen = self.attempts[what]
        while seen and seen[0] <= now - 1:
            seen.popleft()
        seen.append(now)
        return len(seen) > ATTEMPTS_PER_S


class Stream:
    """Subscriptions and what they are told."""

    def __init__(self, dialect: DydxDialect) -> None:
        self._dialect = dialect
        self._exchange = dialect.exchange
        self._connections: dict[int, Connection] = {}
        self._batches: dict[str, list[bytes]] = defaultdict(list)
        self._late: dict[tuple[str, Side, int], None] = {}
        self._beat: Batch[str, None] = Batch(dialect.agenda, BATCH_S, self._flush)
        self._trades: dict[str, list[Trade]] = defaultdict(list)
        self._told_markets: dict[str, dict[str, Any]] = {}

    # ---- sockets

    def connected(self, session: Session) -> None:
        connection = self._connections[session.number] = Connection(wire.event_uuid("connection", self._dialect.name, session.number))
        session.send({"type": "connected", "connection_id": connection.id, "message_id": 0})

    def disconnected(self, session: Session) -> None:
        self._connections.pop(session.number, None)

    def stop(self) -> None:
        self._beat.clear()
        self._batches.clear()
        self._late.clear()

    def error(self, session: Session, message: str, *, close: bool = False) -> None:
        connection = self._connections[session.number]
        session.send({"type": "error", "message": message, "connection_id": connection.id, "message_id": connection.number()})
        if close:
            session.close(POLICY)

    def on_message(self, session: Session, received: Received) -> None:
        try:
            message = json.loads(received.body)
            kind = message["type"]
        except (ValueError, TypeError, KeyError, UnicodeDecodeError):
            self._invalid(session, "Invalid message: could not parse")
            return
        match kind:
            case "subscribe":
                self._subscribe(session, message)
            case "unsubscribe":
                self._unsubscribe(session, message)
            case "ping":
                return  # accepted, not answered
            case _:
                self._invalid(session, f"Invalid message type: {kind}")

    def _invalid(self, session: Session, message: str) -> None:
        if self._connections[session.number].too_many("invalid"):
            self.error(session, "Too many invalid messages. Please reconnect and try again.", close=True)
        else:
            self.error(session, message)

    def _subscribe(self, session: Session, message: Mapping[str, Any]) -> None:
        connection = self._connections[session.number]
        channel, ident = message.get("channel"), message.get("id")
        if channel not in CHANNELS:
            self._invalid(session, f"Invalid channel: {channel}")
            return
        ident = _id_of(channel, ident)
        key = _key(channel, ident)
        if connection.too_many(key):
            self.error(session, f"Too many subscribe attempts for channel {channel}-{ident}. Please reconnect and try again.", close=True)
            return
        if key in session.subscriptions:
            self.error(session, f"Invalid subscribe message: already subscribed ({channel}-{ident})")
            return
        limit = LIMITS.get(channel)
        if limit is not None and sum(w.channel == channel for w in session.subscriptions.values()) >= limit:
            self.error(session, f"Per-connection subscription limit reached for {channel} (limit={limit}).")
            return
        try:
            contents = self._snapshot(channel, ident)
        except LookupError:
            self.error(session, f"Invalid subscription id for channel: ({channel}-{ident})")
            return
        number = connection.number()
        wanted = Wanted(channel, ident, bool(message.get("batched", False)), ready=not self._dialect.snapshot_gap_s)
        session.subscriptions[key] = wanted
        answer: dict[str, Any] = {"type": "subscribed", "connection_id": connection.id, "message_id": number, "channel": channel}
        if ident is not None:
            answer["id"] = ident
        answer["contents"] = contents
        if wanted.ready:
            session.send(answer)
        else:
            self._dialect.agenda.after(self._dialect.snapshot_gap_s, self._register, session, wanted, encode_json(answer))

    def _register(self, session: Session, wanted: Wanted, answer: bytes) -> None:
        wanted.ready = True
        session.send(answer)

    def _unsubscribe(self, session: Session, message: Mapping[str, Any]) -> None:
        connection = self._connections[session.number]
        channel, ident = message.get("channel"), message.get("id")
        if channel not in CHANNELS:
            self._invalid(session, f"Invalid channel: {channel}")
            return
        session.subscriptions.pop(_key(channel, _id_of(channel, ident)), None)
        answer = {"type": "unsubscribed", "connection_id": connection.id, "message_id": connection.number(), "channel": channel}
        session.send({**answer, "id": ident} if ident is not None else answer)

    def _snapshot(self, channel: str, ident: Any) -> Any:
        """What `subscribed` holds. Raises LookupError for an id that does not exist."""
        indexer = self._dialect.indexer
        indexer.catch_up()
        if channel == MARKETS:
            rows = {symbol: indexer.market_row(symbol) for symbol in self._exchange.markets}
            self._told_markets = {**self._told_markets, **{s: r for s, r in rows.items() if s not in self._told_markets}}
            return {"markets": rows}
        if channel == HEIGHT:
            return {"height": str(indexer.height), "time": wire.iso(indexer.block_ns)}
        if not isinstance(ident, str):
            raise LookupError(channel)
        if channel in (SUBACCOUNTS, PARENTS):
            return self._account_snapshot(channel, ident)
        symbol, _, resolution = ident.partition("/")
        if symbol not in self._exchange.markets:
            raise LookupError(ident)
        if channel == BOOK:
            return indexer.book(symbol)
        if channel == TRADES:
            return {"trades": [indexer.trade_row(trade) for trade in indexer.trades(symbol)[:100]]}
        if resolution not in RESOLUTIONS:
            raise LookupError(ident)
        return {"candles": indexer.candles(symbol, resolution, 0, self._dialect.now_ns() + 1)[:100]}

    def _account_snapshot(self, channel: str, ident: str) -> dict[str, Any]:
        indexer = self._dialect.indexer
        address, _, number = ident.partition("/")
        if not wire.is_address(address) or not number.isdigit():
            raise LookupError(ident)
        height = str(indexer.height)
        if channel == PARENTS:
            children = [o for o in self._dialect.subaccounts() if o.address == address and o.number % 128 == int(number)]
            if not children:
                return {"orders": [], "blockHeight": height}
            orders = [indexer.order_row(row) for child in children for row in indexer.open_orders(indexer.of(child.account))]
            return {"subaccount": indexer.parent_row(address, int(number)), "orders": orders, "blockHeight": height}
        owner = self._dialect.find(address, int(number))
        if owner is None:
            return {"orders": [], "blockHeight": height}
        rows = indexer.of(owner.account)
        orders = [indexer.order_row(row) for row in indexer.open_orders(rows)]
        return {"subaccount": indexer.subaccount_row(rows), "orders": orders, "blockHeight": height}

    # ---- telling

    def _tell(self, channel: str, ident: str | None, contents: Any) -> None:
        """To every subscriber: at once, or with the next batch."""
        key = _key(channel, ident)
        payload: bytes | None = None
        batched = False
        for session in list(self._dialect.subscribers(key)):
            wanted: Wanted = session.subscriptions[key]
            if not wanted.ready:
                continue
            payload = payload or encode_json(contents)
            if wanted.batched:
                batched = True
            else:
                self._send(session, wanted, b"channel_data", payload)
        if batched and payload is not None:
            self._batches[key].append(payload)
            self._beat.put(key, None)

    def _send(self, session: Session, wanted: Wanted, kind: bytes, contents: bytes) -> None:
        connection = self._connections[session.number]
        ident = b"" if wanted.id is None else b',"id":' + json.dumps(wanted.id).encode()
        head = b'{"type":"%b","connection_id":"%b","message_id":%d%b,"channel":"%b","version":"%b","contents":' % (
            kind,
            connection.id.encode(),
            connection.number(),
            ident,
            wanted.channel.encode(),
            VERSIONS[wanted.channel].encode(),
        )
        session.send(head + contents + b"}", channel=_key(wanted.channel, wanted.id))

    def _flush(self, dirty: dict[str, None]) -> None:
        late, self._late = self._late, {}
        for key in dirty:
            payload = b"[" + b",".join(self._batches.pop(key, [])) + b"]"
            if payload != b"[]":
                for session in list(self._dialect.subscribers(key)):
                    wanted: Wanted = session.subscriptions[key]
                    if wanted.batched and wanted.ready:
                        self._send(session, wanted, b"channel_batch_data", payload)
        for symbol, side, price in late:
            self._tell_level(symbol, side, price, 0)

    # ---- market data

    def on_book(self, event: BookDelta) -> None:
        key = _key(BOOK, event.market)
        if not any(True for _ in self._dialect.subscribers(key)):
            return
        level = (event.market, event.side, event.price)
        self._late.pop(level, None)
        only_batched = all(s.subscriptions[key].batched for s in self._dialect.subscribers(key))
        if event.size == 0 and only_batched and self._dialect.rng.random() < self._dialect.late_removals:
            self._late[level] = None
            self._beat.put(key, None)
            return
        self._tell_level(*level, event.size)

    def _tell_level(self, symbol: str, side: Side, price: int, size: int) -> None:
        spec = self._exchange.markets[symbol].spec
        name = "bids" if side is Side.BUY else "asks"
        self._tell(BOOK, symbol, {name: [[wire.text(spec.price(price)), wire.text(spec.size(size))]]})

    def on_trade(self, event: Trade) -> None:
        self._trades[event.market].append(event)

    def on_mark(self, event: MarkChanged) -> None:
        spec = self._exchange.markets[event.market].spec
        said = {
            "oraclePrice": wire.text(spec.ref_price(event.mark)),
            "effectiveAt": wire.iso(event.ts_ns),
            "effectiveAtHeight": str(self._dialect.chain.height),
            "marketId": self._dialect.grid(event.market).perpetual,
        }
        self._tell(MARKETS, None, {"oraclePrices": {event.market: said}})

    def on_market(self, event: MarketChanged) -> None:
        symbol = event.market.symbol
        row = self._told_markets[symbol] = self._dialect.indexer.market_row(symbol)
        self._tell(MARKETS, None, {"trading": {symbol: {"id": str(self._dialect.grid(symbol).perpetual), **row}}})

    def on_status(self, event: MarketStatusChanged) -> None:
        said = {"id": str(self._dialect.grid(event.market).perpetual), "status": wire.STATUS.get(event.status, "INITIALIZING")}
        self._told_markets.setdefault(event.market, {})["status"] = said["status"]
        self._tell(MARKETS, None, {"trading": {event.market: said}})

    def _tell_trading(self) -> None:
        """What changed of volumes, open interest and funding since it was told last."""
        changed = {}
        for symbol in self._exchange.markets:
            row = self._dialect.indexer.market_row(symbol)
            before = self._told_markets.get(symbol, {})
            fields = {name: value for name, value in row.items() if name != "oraclePrice" and before.get(name) != value}
            if fields:
                changed[symbol] = {"id": str(self._dialect.grid(symbol).perpetual), **fields}
                self._told_markets[symbol] = row
        if changed:
            self._tell(MARKETS, None, {"trading": changed})

    def _tell_trades(self) -> None:
        traded, self._trades = self._trades, defaultdict(list)
        indexer = self._dialect.indexer
        now = self._dialect.now_ns()
        for symbol, events in traded.items():
            self._tell(TRADES, symbol, {"trades": [indexer.trade_row(event, height=False) for event in reversed(events)]})
            for resolution, minutes in RESOLUTIONS.items():
                ident = f"{symbol}/{resolution}"
                if any(True for _ in self._dialect.subscribers(_key(CANDLES, ident))):
                    interval = minutes * MINUTE_NS
                    found = indexer.candles(symbol, resolution, now // interval * interval, now + 1)
                    if found:
                        self._tell(CANDLES, ident, found[0])

    # ---- blocks

    def tell_block(
        self, visible_ns: int, height: int, ts_ns: int, events: Sequence[AnyEvent], ended: Sequence[tuple[ClobOrder, str, str]]
    ) -> None:
        """A block reaches the indexer: prints, what happened to accounts, the height. `ended`: (order, status, reason) beside events."""
        self._dialect.indexer.catch_up(visible_ns)
        if not self._dialect.sessions:
            self._trades.clear()
            return
        self._tell_trades()
        if height % TRADING_EVERY == 0:
            self._tell_trading()
        self._tell_accounts(height, ts_ns, events, ended)
        self._tell(HEIGHT, HEIGHT, {"blockHeight": str(height), "time": wire.iso(ts_ns)})

    def tell_memory(self, visible_ns: int, events: Sequence[AnyEvent], ended: Sequence[tuple[ClobOrder, str, str]] = ()) -> None:
        """What the validator's memory did to short-term orders, before any block."""
        self._dialect.indexer.catch_up(visible_ns)
        if self._dialect.sessions:
            self._tell_accounts(0, 0, events, ended)

    def _tell_accounts(self, height: int, ts_ns: int, events: Iterable[AnyEvent], ended: Iterable[tuple[ClobOrder, str, str]]) -> None:
        said: dict[int, dict[str, Any]] = {}

        def of(account: int) -> dict[str, Any]:
            return said.setdefault(account, defaultdict(list))

        for event in events:
            teller = _TELLERS.get(type(event))
            if teller is not None:
                teller(self, of, event, height, ts_ns)
        for order, status, reason in ended:
            of(order.owner.account)["orders"].append(self._removal(order, status, reason))
        at = str(height or self._dialect.indexer.height)
        for account, contents in said.items():
            if not any(contents.values()):
                continue
            owner = self._dialect.subaccount_of(account)
            self._tell(SUBACCOUNTS, owner.channel_id, {**contents, "blockHeight": at})
            parent = f"{owner.address}/{owner.number % 128}"
            if any(True for _ in self._dialect.subscribers(_key(PARENTS, parent))):
                marked = {
                    name: [{**row, "subaccountNumber": owner.number} for row in rows] if isinstance(rows, list) else rows
                    for name, rows in contents.items()
                }
                self._tell(PARENTS, parent, {**marked, "blockHeight": at})

    def _removal(self, order: ClobOrder, status: str, reason: str) -> dict[str, Any]:
        spec = self._exchange.markets[order.symbol].spec
        said: dict[str, Any] = {
            "id": order.uuid,
            "subaccountId": order.owner.uuid,
            "clientId": str(order.client_id),
            "clobPairId": str(order.clob_pair),
            "orderFlags": str(order.flags),
            "status": status,
            "removalReason": wire.REASON_PREFIX + reason,
            "totalOptimisticFilled": wire.text(spec.size(self._dialect.clob.filled(order))),
            "ticker": order.symbol,
        }
        if order.short_term:
            said["goodTilBlock"] = str(order.good_til_block)
        else:
            said["goodTilBlockTime"] = wire.iso(order.good_til_time * 10**9)
        return said

    def _on_accepted(self, of: Callable[[int], dict[str, Any]], event: OrderAccepted, height: int, ts_ns: int) -> None:
        order = self._dialect.clob.of_core(event.order_id)
        if order.short_term:
            row = OrderRow(order, wire.BEST_EFFORT_OPENED, order.filled_before)
        else:
            row = OrderRow(order, wire.UNTRIGGERED if event.order.trigger is not None else wire.OPEN, 0, height, height, ts_ns)
        of(order.owner.account)["orders"].append(self._dialect.indexer.order_row(row, stream=True))

    def _on_rejected(self, of: Callable[[int], dict[str, Any]], event: OrderRejected, height: int, ts_ns: int) -> None:
        order = self._dialect.clob.of_core(event.order_id)
        status = wire.CANCELED if height else wire.BEST_EFFORT_CANCELED
        of(order.owner.account)["orders"].append(self._removal(order, status, order.reason or "INTERNAL_ERROR"))

    def _on_triggered(self, of: Callable[[int], dict[str, Any]], event: OrderTriggered, height: int, ts_ns: int) -> None:
        order = self._dialect.clob.of_core(event.order_id)
        row = OrderRow(order, wire.OPEN, 0, height, height, ts_ns)
        of(event.account)["orders"].append(self._dialect.indexer.order_row(row, stream=True))

    def _on_filled(self, of: Callable[[int], dict[str, Any]], event: OrderFilled, height: int, ts_ns: int) -> None:
        indexer = self._dialect.indexer
        of(event.account)["fills"].append(indexer.fill_row(event, height, ts_ns, stream=True))
        if not event.order_id:
            return
        order = self._dialect.clob.of_core(event.order_id)
        filled = order.filled_before + event.filled
        known = indexer.orders.get(order.uuid)
        ended = known.status if known is not None and known.status in (wire.BEST_EFFORT_CANCELED, wire.CANCELED) else wire.OPEN
        created = known.created_height if known is not None and known.created_height else height
        row = OrderRow(order, wire.FILLED if filled >= order.size else ended, filled, created, height, ts_ns)
        of(event.account)["orders"].append(indexer.order_row(row, stream=True))

    def _on_cancelled(self, of: Callable[[int], dict[str, Any]], event: OrderCancelled, height: int, ts_ns: int) -> None:
        order = self._dialect.clob.of_core(event.order_id)
        reason = order.reason or wire.REASONS.get(event.reason, "INTERNAL_ERROR")
        if order.superseded or reason in NOT_TOLD or order.reason == EXPIRED:
            return
        status = wire.CANCELED if height else wire.BEST_EFFORT_CANCELED
        of(event.account)["orders"].append(self._removal(order, status, reason))

    def _on_expired(self, of: Callable[[int], dict[str, Any]], event: OrderExpired, height: int, ts_ns: int) -> None:
        order = self._dialect.clob.of_core(event.order_id)
        of(event.account)["orders"].append(self._removal(order, wire.CANCELED, "EXPIRED"))

    def _on_position(self, of: Callable[[int], dict[str, Any]], event: PositionChanged, height: int, ts_ns: int) -> None:
        rows = self._dialect.indexer.of(event.account)
        row = rows.open.get(event.market) or next((r for r in reversed(rows.closed) if r.market == event.market), None)
        if row is None:
            return
        said = self._dialect.indexer.position_row(row, rows.owner)
        for name in ("createdAt", "createdAtHeight", "closedAt"):
            del said[name]
        said["address"] = rows.owner.address
        said["positionId"] = wire.event_uuid("position", rows.owner.uuid, row.market, row.created_height)
        positions = of(event.account)["perpetualPositions"]
        positions[:] = [other for other in positions if other["positionId"] != said["positionId"]]
        positions.append(said)

    def _on_balance(self, of: Callable[[int], dict[str, Any]], event: BalanceChanged, height: int, ts_ns: int) -> None:
        rows = self._dialect.indexer.of(event.account)
        contents = of(event.account)
        contents["assetPositions"] = [{**self._dialect.indexer.asset_row(rows), "address": rows.owner.address}]
        if event.reason in (BalanceReason.DEPOSIT, BalanceReason.WITHDRAWAL) and rows.transfers:
            contents["transfers"] = self._dialect.indexer.transfer_row(rows.transfers[-1])


_TELLERS: Final[Mapping[type, Callable[..., None]]] = {
    OrderAccepted: Stream._on_accepted,
    OrderRejected: Stream._on_rejected,
    OrderTriggered: Stream._on_triggered,
    OrderFilled: Stream._on_filled,
    OrderCancelled: Stream._on_cancelled,
    OrderExpired: Stream._on_expired,
    PositionChanged: Stream._on_position,
    BalanceChanged: Stream._on_balance,
}


def _id_of(channel: str, ident: Any) -> Any:
    """Two channels have one subject, whatever a client names."""
    return None if channel == MARKETS else HEIGHT if channel == HEIGHT else ident


def _key(channel: str, ident: str | None) -> str:
    return channel if ident is None else f"{channel}/{ident}"
