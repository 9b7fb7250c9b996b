"""Backpack's wire protocol over a simulated exchange: REST with signed requests, and one socket that acknowledges nothing.

Deviations from the venue, on purpose: all markets are perpetuals in USDC; margin is the core's own (tiers, no square root); settlements and
past positions are empty lists. Words and habits that no source states are marked in docs/venues/backpack.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Final

from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.events import (
    AnyEvent,
    BookDelta,
    MarkChanged,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderTriggered,
    PositionChanged,
    Trade,
)
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import (
    ANONYMOUS,
    UNIT,
    CancelReason,
    ClientIds,
    Liquidity,
    MarginTier,
    Market,
    MarketStatus,
    OrderStatus,
    ReduceOnlyMode,
    RejectReason,
    Rules,
    SelfTrade,
    Side,
    TradeKind,
    to_fraction,
    to_money,
)
from exchange_simulator.dialects.backpack import wire
from exchange_simulator.dialects.backpack.rest import INTERVALS_S, Rest
from exchange_simulator.dialects.backpack.signatures import check_time, signed_text, verify
from exchange_simulator.dialects.base import Batch, Budget, Dialect, Faults, Received, Refusal, Reply, Route, Session, SimAccount

DEFAULT_LEVERAGE: Final = 20
LEVERAGES: Final = {"BTC": 50, "ETH": 50, "SOL": 50}
SPEEDS_S: Final = {"depth": 0.0, "depth.200ms": 0.2, "depth.600ms": 0.6, "depth.1000ms": 1.0}
STATE_EVERY_S: Final = 1.0
INVALID_STREAM: Final = 4006
BAD_SIGNATURE: Final = 4002
PUBLIC: Final = ("bookTicker", "trade", "ticker", "markPrice", "openInterest", *SPEEDS_S)
PRIVATE: Final = ("account.orderUpdate", "account.positionUpdate", "account.balanceUpdate", "account.rfqUpdate")
ORDERS, POSITIONS = PRIVATE[:2]


@dataclass(slots=True)
class Owner:
    """Whose key it is."""

    api_key: str
    account: int
    leverage_limit: str = str(DEFAULT_LEVERAGE)


class Updates:
    """The book changes of one stream since it last spoke: one message per market, numbered from the first change to the last."""

    def __init__(self, dialect: BackpackDialect, stream: str) -> None:
        self.dialect = dialect
        self.stream = stream
        self._levels: dict[str, dict[tuple[Side, int], int]] = {}
        self._first: dict[str, int] = {}
        self.batch: Batch[str, None] = Batch(dialect.agenda, SPEEDS_S[stream], self._flush)

    def add(self, event: BookDelta, number: int) -> None:
        if next(self.dialect.subscribers(f"{self.stream}.{event.market}"), None) is None:
            self._forget(event.market)
            return
        self._first.setdefault(event.market, number)
        self._levels.setdefault(event.market, {})[event.side, event.price] = event.size
        self.batch.put(event.market, None)

    def _forget(self, symbol: str) -> None:
        self._levels.pop(symbol, None)
        self._first.pop(symbol, None)

    def _flush(self, dirty: dict[str, None]) -> None:
        for symbol in dirty:
            if symbol in self._levels:
                spec = self.dialect.exchange.markets[symbol].spec
                changed = self._levels[symbol].items()
                bids, asks = (
                    [[wire.text(spec.price(price)), wire.text(spec.size(size))] for (at, price), size in changed if at is side]
                    for side in (Side.BUY, Side.SELL)
                )
                first, last = self._first[symbol], self.dialect.number(symbol)
                self._forget(symbol)
                self.dialect.tell(f"{self.stream}.{symbol}", {"e": "depth", "s": symbol, "U": first, "u": last, "a": asks, "b": bids})


class BackpackDialect(Dialect):
    name = "backpack"
    ws_paths: ClassVar = {"public": "/"}
    heartbeat_s: ClassVar[float | None] = 60.0

    def __init__(
        self,
        exchange: Exchange,
        runtime: Runtime,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        budget: Budget | None = None,
        log_size: int = 20_000,
        cancel_delay_s: float = 0.0,
    ) -> None:
        """`cancel_delay_s`: cancels are answered with 202 and done so much later; 0 does them at once."""
        super().__init__(exchange, runtime, seed=seed, faults=faults, budget=budget, log_size=log_size)
        self.cancel_delay_s = cancel_delay_s
        self.history_budget = Budget(30, 60.0)
        self.owners: dict[str, Owner] = {}
        self.exits: dict[int, dict[str, str]] = {}
        """What orders have attached, by id."""
        self._seed = seed
        self._by_account: dict[int, Owner] = {}
        self._numbered: dict[str, int] = {}
        self._placing: dict[str, str] | None = None
        self._announced: set[int] = set()
        self._last_best: dict[str, tuple[Any, ...]] = {}
        self._rest = Rest(self)
        self._updates = [Updates(self, stream) for stream in SPEEDS_S]
        self._bests: Batch[str, None] = Batch(self.agenda, 0.0, self._push_bests)
        self._marks: Batch[str, None] = Batch(self.agenda, STATE_EVERY_S, self._push_marks)
        self._klines: Batch[str, None] = Batch(self.agenda, STATE_EVERY_S, self._push_klines)
        self._interests: Batch[str, None] = Batch(self.agenda, 60.0, self._push_interests)
        self._readers: dict[type, Callable[[Any], None]] = {
            BookDelta: self._on_book,
            Trade: self._on_trade,
            MarkChanged: self._on_mark,
            OrderAccepted: self._on_accepted,
            OrderRejected: self._on_rejected,
            OrderTriggered: lambda e: self._tell_order(e.order_id, "orderAccepted", "New"),
            OrderFilled: self._on_filled,
            OrderCancelled: self._on_cancelled,
            OrderExpired: lambda e: self._tell_order(e.order_id, "orderCancelled", "Cancelled"),
            OrderAmended: self._on_amended,
            PositionChanged: self._on_position,
        }

    # ---- what the venue is

    @classmethod
    def rules(cls) -> Rules:
        return Rules(
            reduce_only=ReduceOnlyMode.CLAMP,
            reduce_only_ignores_minimum=False,
            self_trade=SelfTrade.CANCEL_TAKER,
            client_ids=ClientIds.OPEN,
            max_open_orders=1000,
            default_initial=UNIT // DEFAULT_LEVERAGE,
        )

    @classmethod
    def listing(cls, base: str, *, tick_size: Decimal, step_size: Decimal) -> Market:
        """`base` as the venue writes it (`kBONK`, `NVDA.US`)."""
        leverage = LEVERAGES.get(base, 10)
        return Market(
            f"{base}_USDC_PERP",
            tick_size=tick_size,
            step_size=step_size,
            tiers=(MarginTier(0, UNIT // leverage, UNIT // leverage // 2),),
            maker_fee=to_fraction("0.0002"),
            taker_fee=to_fraction("0.0005"),
            funding_cap=to_fraction("0.01"),
            price_band=to_fraction("0.25"),
        )

    def open_account(self, deposit: Decimal) -> SimAccount:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        number = max([*self._by_account, 1000]) + 1
        seed = hashlib.sha256(f"perpkit simulated backpack {self._seed} {number}".encode()).digest()
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        owner = Owner(base64.b64encode(public).decode(), number)
        self.owners[owner.api_key] = self._by_account[number] = owner
        self.exchange.open_account(self.now_ns(), number, deposit=to_money(deposit))
        secret = base64.b64encode(seed).decode()
        return SimAccount(number, {"BACKPACK_API_KEY": owner.api_key, "BACKPACK_API_SECRET": secret})

    @staticmethod
    def base_of(symbol: str) -> str:
        return symbol.removesuffix("_USDC_PERP")

    def number(self, symbol: str) -> int:
        """Of the last change of that book."""
        return self._numbered.get(symbol, 1_000_000)

    def fees(self, account: int) -> tuple[int, int]:
        """(maker, taker) of an account, as of the first market unless they were set for it."""
        own = self.exchange.account(account).fees.get("")
        if own is not None:
            return own
        spec = next(iter(self.exchange.markets.values())).spec
        return spec.maker_fee, spec.taker_fee

    def related(self, order: Order) -> int:
        """The entry that an exit belongs to; 0 for any other order."""
        parent = order.group.parent if order.group is not None else None
        return parent.id if parent is not None and parent is not order else 0

    @contextmanager
    def placing(self, exits: dict[str, str]) -> Iterator[None]:
        """While the next order with attached exits is submitted: its events tell of them."""
        self._placing = exits
        try:
            yield
        finally:
            self._placing = None

    # ---- HTTP

    def routes(self) -> Sequence[Route]:
        return self._rest.routes()

    def budget_key(self, received: Received) -> str:
        return received.headers.get("X-API-Key", received.remote)

    def refuse(self, refusal: Refusal, received: Received) -> Reply:
        return Reply({"code": refusal.code, "message": refusal.message}, refusal.status)

    def limited(self, retry_after_s: float, received: Received) -> Reply:
        """No word on how long to wait."""
        return Reply({"code": "TOO_MANY_REQUESTS", "message": "Too many requests"}, 429)

    def unavailable(self, status: int, received: Received) -> Reply:
        if status == 429:
            return self.limited(0, received)
        if status == 503:
            text = "Unknown error, please check your request or try again later."
            return Reply({"code": "SERVICE_UNAVAILABLE", "message": text}, status)
        return super().unavailable(status, received)

    # ---- socket

    def on_stop(self) -> None:
        for batch in (self._bests, self._marks, self._klines, self._interests, *(u.batch for u in self._updates)):
            batch.clear()

    async def on_message(self, session: Session, received: Received) -> None:
        """A subscription is never acknowledged; what cannot be is refused, the rest of its frame holds."""
        try:
            message = json.loads(received.body)
            method, streams = message["method"], message["params"]
        except (ValueError, TypeError, KeyError):
            raise Refusal(4000, "Invalid request") from None
        if method == "UNSUBSCRIBE":
            for key in [key for key in session.subscriptions if key.partition("|")[0] in streams]:
                del session.subscriptions[key]
            return
        if method != "SUBSCRIBE":
            raise Refusal(4000, "Invalid request")
        owner = self._signer(message.get("signature")) if any(str(s).startswith("account.") for s in streams) else None
        refused = [stream for stream in streams if not self._subscribe(session, str(stream), owner)]
        if refused:
            raise Refusal(INVALID_STREAM, "Invalid stream")

    def _signer(self, signature: Any) -> Owner:
        if not isinstance(signature, list) or len(signature) != 4:
            raise Refusal(BAD_SIGNATURE, "Invalid signature")
        api_key, signed, timestamp, window = (str(part) for part in signature)
        try:
            verify(api_key, signed, signed_text("subscribe", [{}], timestamp, window))
            check_time(timestamp, window, self.now_ns() // wire.MS)
        except Refusal as refusal:
            raise Refusal(BAD_SIGNATURE, refusal.message) from None
        owner = self.owners.get(api_key)
        if owner is None:
            raise Refusal(BAD_SIGNATURE, "Unauthorized")
        return owner

    def refuse_message(self, refusal: Refusal, session: Session, received: Received) -> None:
        """It does not say which of the streams it means."""
        session.send({"id": None, "error": {"code": refusal.code, "message": refusal.message}})

    def _subscribe(self, session: Session, stream: str, owner: Owner | None) -> bool:
        if owner is not None and stream.startswith("account."):
            name = next((p for p in PRIVATE if stream == p or stream.removeprefix(f"{p}.") in self.exchange.markets), None)
            if name is None:
                return False
            session.subscriptions[f"{stream}|{owner.account}"] = None
            if name == POSITIONS:
                self._push_open_positions(session, stream, owner)
            return True
        if not self._is_public(stream):
            return False
        session.subscriptions[stream] = None
        return True

    def _is_public(self, stream: str) -> bool:
        if stream == "liquidation":
            return True
        if stream.startswith("kline."):
            interval, _, symbol = stream.removeprefix("kline.").partition(".")
            return interval in INTERVALS_S and self._is_listed(symbol)
        return any(stream.startswith(f"{name}.") and self._is_listed(stream.removeprefix(f"{name}.")) for name in PUBLIC)

    def _is_listed(self, symbol: str) -> bool:
        state = self.exchange.markets.get(symbol)
        return state is not None and state.spec.status is not MarketStatus.DELISTED

    def tell(self, stream: str, data: dict[str, Any]) -> None:
        """To all who subscribed to a public stream."""
        now_us = self.now_ns() // wire.US
        self.push(stream, {"stream": stream, "data": {"E": now_us, "T": now_us, **data}})

    def _tell_owner(self, name: str, account: int, symbol: str, data: dict[str, Any]) -> None:
        """To the account's subscribers of that stream, of all markets or of this one."""
        now_us = self.now_ns() // wire.US
        for stream in (name, f"{name}.{symbol}"):
            self.push(f"{stream}|{account}", {"stream": stream, "data": {**data, "E": now_us, "T": now_us}})

    def publish(self, event: AnyEvent) -> None:
        reader = self._readers.get(type(event))
        if reader is not None:
            reader(event)

    # ---- market data

    def _on_book(self, event: BookDelta) -> None:
        number = self._numbered[event.market] = self.number(event.market) + 1
        if self.sessions:
            for updates in self._updates:
                updates.add(event, number)
            self._bests.put(event.market, None)

    def _push_bests(self, dirty: dict[str, None]) -> None:
        for symbol in dirty:
            spec = self.exchange.markets[symbol].spec
            sides = [self.exchange.depth(symbol, side, 1) for side in (Side.BUY, Side.SELL)]
            (bid, bid_size), (ask, ask_size) = (
                (wire.text(spec.price(side[0][0])), wire.text(spec.size(side[0][1]))) if side else (None, None) for side in sides
            )
            best = (bid, bid_size, ask, ask_size)
            if self._last_best.get(symbol) != best:
                self._last_best[symbol] = best
                data = {"e": "bookTicker", "s": symbol, "a": ask, "A": ask_size, "b": bid, "B": bid_size, "u": str(self.number(symbol))}
                self.tell(f"bookTicker.{symbol}", data)

    def _on_mark(self, event: MarkChanged) -> None:
        if self.sessions:
            self._marks.put(event.market, None)

    def _push_marks(self, dirty: dict[str, None]) -> None:
        for symbol in dirty:
            state = self.exchange.markets[symbol]
            data = {
                "e": "markPrice",
                "s": symbol,
                "p": wire.text(state.spec.ref_price(state.mark)),
                "i": wire.text(state.spec.ref_price(state.index)),
                "f": wire.text(Decimal(self.exchange.funding_estimate(symbol)).scaleb(-12)),
                "n": state.next_funding_ns // wire.MS,
            }
            self.tell(f"markPrice.{symbol}", data)

    def _on_trade(self, event: Trade) -> None:
        spec = self.exchange.markets[event.market].spec
        orders = (event.maker_order_id or event.seq, event.taker_order_id or event.seq + 1)
        buyer, seller = orders[::-1] if event.taker_side is Side.BUY else orders
        price, size = wire.text(spec.price(event.price)), wire.text(spec.size(event.size))
        data = {
            "e": "trade",
            "s": event.market,
            "p": price,
            "q": size,
            "b": str(buyer),
            "a": str(seller),
            "t": event.trade_id,
            "m": event.taker_side is Side.SELL,
            "T": event.ts_ns // wire.US,
        }
        self.tell(f"trade.{event.market}", data)
        if event.kind is TradeKind.LIQUIDATION:
            self.tell("liquidation", {"e": "liquidation", "s": event.market, "S": wire.SIDES[event.taker_side], "p": price, "q": size})
        if self.sessions:
            self._klines.put(event.market, None)
            self._interests.put(event.market, None)

    def _push_klines(self, dirty: dict[str, None]) -> None:
        now = self.now_ns()
        wanted = {stream for session in self.sessions.values() for stream in session.subscriptions if stream.startswith("kline.")}
        for symbol in dirty:
            state = self.exchange.markets[symbol]
            for interval, length_s in INTERVALS_S.items():
                stream = f"kline.{interval}.{symbol}"
                length = length_s * 10**9
                found = self.history.candles(symbol, length, now // length * length, now) if stream in wanted else None
                if found:
                    row = self._rest.kline_row(state, found[-1], length_s)
                    ends = {"t": row["start"].replace(" ", "T"), "T": row["end"].replace(" ", "T")}
                    names = {"o": "open", "c": "close", "h": "high", "l": "low", "v": "volume"}
                    data = {"e": "kline", "s": symbol, **ends, **{k: row[v] for k, v in names.items()}, "n": found[-1].trades, "X": False}
                    self.push(stream, {"stream": stream, "data": {**data, "E": now // wire.US}})
            day = self._rest._ticker(state)
            names = {"o": "firstPrice", "c": "lastPrice", "h": "high", "l": "low", "v": "volume", "V": "quoteVolume"}
            self.tell(f"ticker.{symbol}", {"e": "ticker", "s": symbol, **{k: day[v] for k, v in names.items()}, "n": int(day["trades"])})

    def _push_interests(self, dirty: dict[str, None]) -> None:
        for symbol in dirty:
            open_size = self.exchange.markets[symbol].spec.size(self.exchange.open_interest(symbol))
            self.tell(f"openInterest.{symbol}", {"e": "openInterest", "s": symbol, "o": wire.text(open_size)})

    # ---- the account

    def _tell_order(self, order_id: int, kind: str, word: str, **more: Any) -> None:
        order = self.exchange.order(order_id)
        if order is None or order.account.id == ANONYMOUS:
            return
        event = wire.order_event(order, kind, word, related=self.related(order), exits=self.exits.get(order.id))
        self._tell_owner(ORDERS, order.account.id, order.market.spec.symbol, {**event, **more})

    def _on_accepted(self, event: OrderAccepted) -> None:
        """Exits of an entry are told once it has filled."""
        order = self.exchange.order(event.order_id)
        if order is None or self.related(order) or (event.group is not None and order.reduce_only and order.request.trigger is not None):
            return
        if self._placing is not None:
            self.exits[order.id], self._placing = self._placing, None
        waits = event.order.trigger is not None
        self._tell_order(event.order_id, "triggerPlaced" if waits else "orderAccepted", "TriggerPending" if waits else "New")

    def _on_rejected(self, event: OrderRejected) -> None:
        """What is refused at the door is told there alone; a reduce-only order with nothing to reduce expires."""
        if event.reason is RejectReason.REDUCE_ONLY:
            self._tell_order(event.order_id, "orderExpired", "Expired", R="ReduceOnlyNotReduced")

    def _on_cancelled(self, event: OrderCancelled) -> None:
        order = self.exchange.order(event.order_id)
        if order is None or (event.reason is CancelReason.PARENT_CANCELLED and order.id not in self._announced):
            return
        if event.reason is CancelReason.REJECTED_ON_TRIGGER:
            self._tell_order(event.order_id, "triggerFailed", "TriggerFailed")
        elif (reason := wire.expiry(order)) is not None:
            self._tell_order(event.order_id, "orderExpired", "Expired", R=reason)
        else:
            self._tell_order(event.order_id, "orderCancelled", "Cancelled")
        self._follow_exits(order)

    def _on_amended(self, event: OrderAmended) -> None:
        order = self.exchange.order(event.order_id)
        if order is not None and (not self.related(order) or order.id in self._announced):
            self._tell_order(event.order_id, "orderModified", wire.status(order))

    def _on_filled(self, event: OrderFilled) -> None:
        spec = self.exchange.markets[event.market].spec
        fill = {
            "t": event.trade_id,
            "l": wire.text(spec.size(event.size)),
            "L": wire.text(spec.price(event.price)),
            "m": event.liquidity is Liquidity.MAKER,
            "n": wire.usd(event.fee),
            "N": "USDC",
            "O": wire.ORIGINS[event.kind],
            "z": wire.text(spec.size(event.filled)),
        }
        word = "PartiallyFilled" if event.remaining else "Filled"
        if event.order_id:
            self._tell_order(event.order_id, "orderFill", word, **fill)
            order = self.exchange.order(event.order_id)
            if order is not None and not event.remaining:
                self._follow_exits(order)
        elif event.account != ANONYMOUS:
            size = wire.text(spec.size(event.size))
            made = {"e": "orderFill", "s": event.market, "S": wire.SIDES[event.side], "o": "MARKET", "f": "IOC", "q": size, "X": "Filled"}
            order_id = str(wire.venue_order(event))
            self._tell_owner(ORDERS, event.account, event.market, {**made, "i": order_id, **fill, "z": size})

    def _follow_exits(self, entry: Order) -> None:
        """The exits of an entry that ended begin to wait."""
        if entry.group is not None and entry.group.parent is entry:
            self.agenda.after(0.0, self._announce_exits, entry)

    def _announce_exits(self, entry: Order) -> None:
        assert entry.group is not None
        for child in entry.group.orders[1:]:
            if child.status is OrderStatus.UNTRIGGERED and child.id not in self._announced:
                self._announced.add(child.id)
                self._tell_order(child.id, "triggerPlaced", "TriggerPending")

    def _position_data(self, account: int, symbol: str) -> dict[str, Any]:
        position = self.exchange.position(account, symbol)
        if not position.size:
            mark = self.exchange.markets[symbol]
            return {"s": symbol, "i": 1, "q": "0", "Q": "0", "M": wire.text(mark.spec.ref_price(mark.mark)), "p": "0", "P": "0", "l": "0"}
        row = self._rest.position_row(position)
        return {
            "s": symbol,
            "i": int(row["positionId"]),
            "q": row["netQuantity"],
            "Q": row["netExposureQuantity"],
            "B": row["entryPrice"],
            "b": row["breakEvenPrice"],
            "M": row["markPrice"],
            "l": row["estLiquidationPrice"],
            "f": row["imf"],
            "m": row["mmf"],
            "n": row["netExposureNotional"],
            "p": row["pnlRealized"],
            "P": row["pnlUnrealized"],
        }

    def _on_position(self, event: PositionChanged) -> None:
        if event.account != ANONYMOUS and self.sessions:
            kind = "positionAdjusted" if event.size else "positionClosed"
            self._tell_owner(POSITIONS, event.account, event.market, {"e": kind, **self._position_data(event.account, event.market)})

    def _push_open_positions(self, session: Session, stream: str, owner: Owner) -> None:
        """On subscribing, without an event's name."""
        now_us = self.now_ns() // wire.US
        for symbol, position in self.exchange.account(owner.account).positions.items():
            if position.size:
                data = {**self._position_data(owner.account, symbol), "E": now_us, "T": now_us}
                session.send({"stream": stream, "data": data}, channel=f"{stream}|{owner.account}")
