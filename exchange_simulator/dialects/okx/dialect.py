"""OKX's wire protocol over a simulated exchange: REST, and three sockets.

Deviations from the venue, on purpose: one collateral (USDT) stands behind linear and inverse swaps, an inverse one's coin is told at mark;
the switch cancels trigger orders too. What no source states is marked in docs/venues/okx.md.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, ClassVar, Final

from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.events import (
    AnyEvent,
    BalanceChanged,
    BookDelta,
    FundingSettled,
    MarkChanged,
    MarketChanged,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderOpened,
    OrderTriggered,
    PositionChanged,
    Trade,
)
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import (
    ANONYMOUS,
    NANOS_PER_HOUR,
    UNIT,
    AmendMode,
    CancelReason,
    ClientIds,
    MarginTier,
    Market,
    PriceSource,
    ReduceOnlyMode,
    Rules,
    SelfTrade,
    Side,
    to_fraction,
    to_money,
)
from exchange_simulator.dialects.base import Batch, Budget, Dialect, Faults, Received, Refusal, Reply, Route, Session, SimAccount
from exchange_simulator.dialects.okx import wire
from exchange_simulator.dialects.okx.keys import Keys, check_login, check_request, make_keys
from exchange_simulator.dialects.okx.limits import Limits
from exchange_simulator.dialects.okx.rest import BARS, Reads
from exchange_simulator.dialects.okx.trading import Row, Trading

MS: Final = 10**6
API: Final = "/api/v5"
PUBLIC, PRIVATE, BUSINESS = (f"/ws/v5/{role}" for role in ("public", "private", "business"))
BOOK_EVERY_S: Final = 0.1
BBO_EVERY_S: Final = 0.01
STATE_EVERY_S: Final = 0.2
CANDLE_EVERY_S: Final = 1.0
HOUSEKEEPING_S: Final = 5.0
SILENCE_S: Final = 30.0
QUIET_BOOK_S: Final = 60.0
FUNDING_EVERY_S: Final = 60.0
LEVERAGES: Final = {"BTC": 100, "ETH": 100, "SOL": 50}
NO_DATA: Final = 4004
BY_MARKET: Final = ("books", "books5", "bbo-tbt", "trades", "tickers", "mark-price", "funding-rate", "open-interest")
PRIVATE_CHANNELS: Final = {"orders": PRIVATE, "positions": PRIVATE, "account": PRIVATE, "orders-algo": BUSINESS}
BATCH: Final = 20
COMMANDS: Final = {
    "order": "order",
    "batch-orders": "batch-orders",
    "cancel-order": "cancel-order",
    "batch-cancel-orders": "cancel-batch-orders",
    "amend-order": "amend-order",
    "batch-amend-orders": "amend-batch-orders",
}
"""Socket operation -> last part of the REST path."""


class OkxDialect(Dialect):
    name = "okx"
    ws_paths: ClassVar = {"public": PUBLIC, "private": PRIVATE, "business": BUSINESS}

    def __init__(
        self,
        exchange: Exchange,
        runtime: Runtime,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        budget: Budget | None = None,
        log_size: int = 100_000,
        demo: bool = False,
        snapshots: bool = True,
    ) -> None:
        """`demo`: only requests for demo trading are answered. `snapshots` False: books begin with an update."""
        super().__init__(exchange, runtime, seed=seed, faults=faults, budget=budget, log_size=log_size)
        self.demo = demo
        self.snapshots = snapshots
        self.limits = Limits()
        self.keys: dict[str, Keys] = {}
        self._by_account: dict[int, Keys] = {}
        self._logins: dict[int, Keys] = {}
        self._seed = seed
        self._codes: dict[str, int] = {}
        self._sequences: dict[str, int] = {}
        self._told_book_at: dict[str, float] = {}
        self._last_bbo: dict[str, Any] = {}
        self._spoke_at: dict[int, float] = {}
        self._opened_at: dict[int, float] = {}
        self._funding_at = 0.0
        self._released: set[int] = set()
        self._requests: dict[int, str] = {}
        self.trading = Trading(self)
        self.reads = Reads(self)
        self._books: Batch[tuple[str, Side, int], int] = Batch(self.agenda, BOOK_EVERY_S, self._push_books)
        self._bbos: Batch[str, None] = Batch(self.agenda, BBO_EVERY_S, self._push_bbos)
        self._prices: Batch[str, None] = Batch(self.agenda, STATE_EVERY_S, self._push_prices)
        self._candles: Batch[str, None] = Batch(self.agenda, CANDLE_EVERY_S, self._push_candles)
        self._positions: Batch[tuple[int, str], None] = Batch(self.agenda, 0.0, self._push_positions)
        self._balances: Batch[int, None] = Batch(self.agenda, 0.0, self._push_balances)
        self._readers: dict[type, Callable[[Any], None]] = {
            BookDelta: self._on_book,
            Trade: self._on_trade,
            MarkChanged: self._on_mark,
            MarketChanged: lambda e: self._list(e.market.symbol),
            FundingSettled: lambda e: self._tell_funding(e.market),
            OrderAccepted: self._on_accepted,
            OrderOpened: lambda e: self._tell_order(e.order_id, "live"),
            OrderTriggered: self._on_triggered,
            OrderFilled: self._on_filled,
            OrderAmended: self._on_amended,
            OrderCancelled: self._on_ended,
            OrderExpired: self._on_ended,
            PositionChanged: self._on_position,
            BalanceChanged: self._on_balance,
        }
        for symbol in exchange.markets:
            self._list(symbol)

    # ---- what the venue is

    @classmethod
    def rules(cls) -> Rules:
        return Rules(
            reduce_only=ReduceOnlyMode.AT_MATCH,
            reduce_only_ignores_minimum=False,
            self_trade=SelfTrade.CANCEL_MAKER,
            amend=AmendMode.IN_PLACE,
            client_ids=ClientIds.OPEN,
            post_only_late=True,
            refuse_met_trigger=True,
            max_open_orders=4000,
            max_open_orders_per_market=500,
            default_initial=UNIT // 20,
        )

    @classmethod
    def listing(cls, base: str, *, tick_size: Decimal, step_size: Decimal) -> Market:
        """A linear swap in USDT. Contracts are a thousand steps, lots a thousandth of a contract."""
        return cls._market(base, "USDT", tick_size, step_size, inverse=False)

    @classmethod
    def inverse_listing(cls, base: str, *, tick_size: Decimal, contract: Decimal = Decimal(100)) -> Market:
        """A swap settled in its coin, whose contract is so many USD."""
        return cls._market(base, "USD", tick_size, contract, inverse=True)

    @staticmethod
    def _market(base: str, quote: str, tick_size: Decimal, step_size: Decimal, *, inverse: bool) -> Market:
        leverage = LEVERAGES.get(base, 20)
        return Market(
            f"{base}-{quote}-SWAP",
            tick_size=tick_size,
            step_size=step_size,
            tiers=(MarginTier(0, UNIT // leverage, UNIT * 2 // leverage // 5),),
            maker_fee=to_fraction("0.0002"),
            taker_fee=to_fraction("0.0005"),
            funding_interval_ns=8 * NANOS_PER_HOUR,
            funding_cap=to_fraction("0.00375"),
            funding_price=PriceSource.MARK,
            inverse=inverse,
        )

    def open_account(self, deposit: Decimal) -> SimAccount:
        number = max([*self._by_account, 1000]) + 1
        owner = make_keys(str(self._seed), number)
        self.keys[owner.api_key] = self._by_account[number] = owner
        self.exchange.open_account(self.now_ns(), number, deposit=to_money(deposit))
        return SimAccount(number, {"OKX_API_KEY": owner.api_key, "OKX_API_SECRET": owner.secret, "OKX_API_PASSPHRASE": owner.passphrase})

    def owner(self, account: int) -> Keys:
        """Keys and modes of an account, to be changed by tests."""
        return self._by_account[account]

    # ---- markets

    def _list(self, symbol: str) -> None:
        self._codes.setdefault(symbol, wire.FIRST_CODE + 7 * len(self._codes) + (100_000 if self.demo else 0))
        self._sequences.setdefault(symbol, 3_235_851_742)

    def code_of(self, symbol: str) -> int:
        return self._codes[symbol]

    def symbol_of_code(self, code: Any) -> str | None:
        return next((symbol for symbol, own in self._codes.items() if own == code), None)

    def sequence(self, symbol: str) -> int:
        """Number of the last message of its book."""
        return self._sequences[symbol]

    def now_ms(self) -> int:
        return self.now_ns() // MS

    # ---- REST

    def routes(self) -> Sequence[Route]:
        reads = [Route("GET", f"{API}{path}", self._public) for path in self.reads.public]
        reads += [Route("GET", f"{API}{path}", self._private) for path in self.reads.private]
        orders = [Route("POST", f"{API}/trade/{name}", self._command) for name in dict.fromkeys(COMMANDS.values())]
        settings = {
            "/trade/order-algo": self._order_algo,
            "/trade/cancel-algos": self._cancel_algos,
            "/trade/cancel-all-after": self._cancel_all_after,
            "/account/set-leverage": self._set_leverage,
            "/account/set-position-mode": self._set_position_mode,
        }
        return [*reads, *orders, *(Route("POST", f"{API}{path}", handler) for path, handler in settings.items())]

    async def _public(self, received: Received) -> Reply:
        path, query = received.path.removeprefix(API), dict(received.params)
        if (received.headers.get("x-simulated-trading") == "1") != self.demo:
            raise Refusal(50101, "APIKey does not match current environment.", status=401)
        part = query.get("instId", "") if path == "/public/funding-rate" else ""
        self.limits.request(path, received.remote, part, self.clock.elapsed())
        return _answer(self.reads.public[path](query))

    def _signed(self, received: Received, part: str = "") -> Keys:
        owner = check_request(received, self.keys, self.now_ms(), demo=self.demo)
        path = received.path.removeprefix(API)
        if path.rpartition("/")[2] not in COMMANDS.values() or received.method == "GET":
            self.limits.request(path, f"{owner.account}{received.method}", part, self.clock.elapsed())
        return owner

    async def _private(self, received: Received) -> Reply:
        query = dict(received.params)
        path = received.path.removeprefix(API)
        owner = self._signed(received, query.get("instId", "") if path == "/trade/order" else "")
        return _answer(self.reads.private[path](owner, query))

    async def _command(self, received: Received) -> Reply:
        """The row of an order, or rows of a batch."""
        owner = self._signed(received)
        name = received.path.rpartition("/")[2]
        self._not_late(received.headers.get("expTime", ""), name)
        body = _json(received)
        rows = body if isinstance(body, list) else [body]
        code, message, data = self._execute(owner, name, rows, coded=False)
        return Reply(
            {"code": code, "msg": message, "data": data, "inTime": str(self.now_ns() // 1000), "outTime": str(self.now_ns() // 1000)}
        )

    def _execute(self, owner: Keys, name: str, rows: list[Row], *, coded: bool) -> tuple[str, str, list[Row]]:
        if "trade" not in owner.permissions:
            raise Refusal(50114, "Invalid Authority", status=401)
        if not rows or len(rows) > BATCH:
            raise Refusal(51000, f"Parameter args error: 1 to {BATCH} orders", status=400)
        markets: dict[str, int] = {}
        for row in rows:
            key = str(row.get("instIdCode") if coded else row.get("instId"))
            markets[key] = markets.get(key, 0) + 1
        if coded:
            markets = {self.symbol_of_code(int(key)) if key.isdigit() else key: count for key, count in markets.items()}  # type: ignore[misc]
        self.limits.orders(name, str(owner.account), {str(k): v for k, v in markets.items()}, self.clock.elapsed())
        do = self.trading.cancel if "cancel" in name else self.trading.amend if "amend" in name else self.trading.place
        return self.trading.rows(do, owner, rows, coded=coded)

    def _not_late(self, expires: str, name: str) -> None:
        if expires and "cancel" not in name and int(expires) < self.now_ms():
            raise Refusal(50036, "The expTime can't be earlier than the current system time.")

    async def _order_algo(self, received: Received) -> Reply:
        owner = self._signed(received)
        code, message, data = self.trading.rows(self.trading.place_algo, owner, [_json(received)], coded=False)
        return Reply({"code": code, "msg": message, "data": data})

    async def _cancel_algos(self, received: Received) -> Reply:
        owner = self._signed(received)
        code, message, data = self.trading.rows(self.trading.cancel_algo, owner, _json(received), coded=False)
        return Reply({"code": code, "msg": message, "data": data})

    async def _cancel_all_after(self, received: Received) -> Reply:
        owner = self._signed(received)
        seconds = int(_json(received).get("timeOut", "-1"))
        if seconds and not 10 <= seconds <= 120:
            raise Refusal(51000, "Parameter timeOut error")
        at_ns = self.now_ns() + seconds * 10**9 if seconds else 0
        self.exchange.schedule_cancel_all(self.now_ns(), owner.account, at_ns)
        return _answer([{"triggerTime": str(at_ns // MS), "tag": "", "ts": str(self.now_ms())}])

    async def _set_leverage(self, received: Received) -> Reply:
        owner, body = self._signed(received), _json(received)
        symbol, mode = str(body.get("instId", "")), str(body.get("mgnMode", ""))
        if symbol not in self.exchange.markets:
            raise Refusal(51001, "Instrument ID does not exist")
        leverage = Decimal(str(body.get("lever", "0")))
        if leverage < 1 or mode not in ("cross", "isolated"):
            raise Refusal(51000, "Parameter lever error")
        refused = self.exchange.set_leverage(self.now_ns(), owner.account, symbol, int(UNIT / leverage))
        if refused is not None:
            raise Refusal(59102, "Leverage exceeds the maximum limit. Please lower the leverage.")
        return _answer([{"instId": symbol, "lever": wire.text(leverage), "mgnMode": mode, "posSide": ""}])

    async def _set_position_mode(self, received: Received) -> Reply:
        owner, body = self._signed(received), _json(received)
        if any(p.size for p in self.exchange.account(owner.account).positions.values()) or self.exchange.open_orders(owner.account):
            raise Refusal(59000, "Setting failed. Please close all positions and cancel all orders first.")
        owner.position_mode = str(body.get("posMode"))
        return _answer([{"posMode": owner.position_mode}])

    def refuse(self, refusal: Refusal, received: Received) -> Reply:
        return Reply({"code": str(refusal.code), "msg": refusal.message, "data": []}, refusal.status)

    def limited(self, retry_after_s: float, received: Received) -> Reply:
        return Reply({"code": "50011", "msg": "Too Many Requests", "data": []}, 429)

    def unavailable(self, status: int, received: Received) -> Reply:
        if status == 429:
            return self.limited(0.0, received)
        if status == 503:
            return Reply({"code": "50001", "msg": "Service temporarily unavailable. Try again later.", "data": []}, 503)
        return super().unavailable(status, received)

    # ---- sockets

    def on_stop(self) -> None:
        for batch in (self._books, self._bbos, self._prices, self._candles, self._positions, self._balances):
            batch.clear()

    def on_connect(self, session: Session) -> None:
        if not self._spoke_at:
            self.agenda.after(HOUSEKEEPING_S, self._housekeeping)
        self._spoke_at[session.number] = self._opened_at[session.number] = _loop_time()

    def on_disconnect(self, session: Session) -> None:
        for known in (self._spoke_at, self._opened_at, self._logins):
            known.pop(session.number, None)

    def _housekeeping(self) -> None:
        """Who is silent or never subscribes is closed; quiet books and funding rates are told again."""
        now = _loop_time()
        for session in list(self.sessions.values()):
            silent = now - self._spoke_at.get(session.number, now) > SILENCE_S
            idle = not session.subscriptions and now - self._opened_at.get(session.number, now) > SILENCE_S
            if silent or (idle and session.number not in self._logins):
                session.close(NO_DATA)
        for symbol in list(self._sequences):
            if now - self._told_book_at.setdefault(symbol, now) > QUIET_BOOK_S:
                self._tell_book(symbol, {}, quiet=True)
        if now - self._funding_at > FUNDING_EVERY_S:
            self._funding_at = now
            for market in self.reads.listed():
                self._tell_funding(market.symbol)
        if self._spoke_at:
            self.agenda.after(HOUSEKEEPING_S, self._housekeeping)

    def _say(self, session: Session, message: Any, *, channel: str = "") -> None:
        self._spoke_at[session.number] = _loop_time()
        session.send(message, channel=channel)

    def _tell(self, key: str, make: Callable[[], list[Any]], **more: Any) -> None:
        """To every subscriber of `key` what `make` says, made once and only if there is one."""
        data: list[Any] | None = None
        for session in list(self.subscribers(key)):
            data = make() if data is None else data
            self._say(session, {"arg": _echo(session.subscriptions[key]), **more, "data": data}, channel=key)

    async def on_message(self, session: Session, received: Received) -> None:
        self._spoke_at[session.number] = _loop_time()
        if received.body == b"ping":
            self._say(session, b"pong")
            return
        try:
            message = json.loads(received.body)
            operation, arguments = message["op"], message["args"]
        except (ValueError, TypeError, KeyError):
            raise Refusal(60012, f"Invalid request: {received.body.decode('utf-8', 'replace')[:200]}") from None
        if operation in COMMANDS:
            self._socket_command(session, message)
            return
        if operation not in ("subscribe", "unsubscribe", "login"):
            raise Refusal(60019, f"Invalid op: {operation}")
        if not self.limits.operation(session.number, self.clock.elapsed()):
            raise Refusal(60014, "Requests too frequent")
        if operation == "login":
            self._login(session, arguments[0] if arguments else {})
            return
        for argument in arguments:
            try:
                self._subscription(session, operation, argument)
            except Refusal as refusal:
                self.refuse_message(refusal, session, received)

    def refuse_message(self, refusal: Refusal, session: Session, received: Received) -> None:
        self._say(session, {"event": "error", "code": str(refusal.code), "msg": refusal.message, "connId": _conn(session)})

    def unavailable_message(self, status: int, session: Session, received: Received) -> None:
        """Commands are told of trouble; everything else breaks."""
        try:
            message = json.loads(received.body)
        except ValueError:
            message = {}
        if isinstance(message, dict) and message.get("op") in COMMANDS:
            code = "50011" if status == 429 else "50001"
            self._say(session, {"id": message.get("id"), "op": message["op"], "code": code, "msg": f"fault {status}", "data": []})
        else:
            session.drop()

    def _login(self, session: Session, arguments: dict[str, str]) -> None:
        if session.path == PUBLIC:
            raise Refusal(60018, "Wrong URL for login")
        self._logins[session.number] = check_login(arguments, self.keys, self.now_ms())
        self._say(session, {"event": "login", "code": "0", "msg": "", "connId": _conn(session)})

    def _socket_command(self, session: Session, message: dict[str, Any]) -> None:
        """The answer has the command's id."""
        head = {"id": message.get("id"), "op": message["op"]}
        try:
            if session.path != PRIVATE:
                raise Refusal(60028, "The current operation is not supported by this URL. Please use the correct WebSocket URL.")
            owner = self._logins.get(session.number)
            if owner is None:
                raise Refusal(60011, "Please log in")
            name = COMMANDS[message["op"]]
            self._not_late(str(message.get("expTime", "")), name)
            code, text, data = self._execute(owner, name, message["args"], coded=True)
        except Refusal as refusal:
            code, text, data = str(refusal.code), refusal.message, []
        stamp = str(self.now_ns() // 1000)
        self._say(session, {**head, "code": code, "msg": text, "data": data, "inTime": stamp, "outTime": stamp})

    def _subscription(self, session: Session, operation: str, argument: dict[str, str]) -> None:
        key = self._key(session, argument)
        if operation == "unsubscribe":
            session.subscriptions.pop(key, None)
            self._say(session, {"event": "unsubscribe", "arg": argument, "connId": _conn(session)})
            return
        session.subscriptions[key] = argument
        self._say(session, {"event": "subscribe", "arg": argument, "connId": _conn(session)})
        first, more = self._first(session, argument)
        if first is not None:
            self._say(session, {"arg": _echo(argument), **more, "data": first}, channel=key)

    def _key(self, session: Session, argument: dict[str, str]) -> str:
        """The subscription's name, for one account where it is private.

        Raises:
            Refusal: no such channel on this socket, or nobody is logged in.
        """
        channel, name = argument.get("channel", ""), argument.get("instId", "")
        if (path := PRIVATE_CHANNELS.get(channel)) is not None:
            if session.path != path:
                raise _wrong(argument)
            owner = self._logins.get(session.number)
            if owner is None:
                raise Refusal(60011, "Please log in")
            return f"{channel}:{owner.account}"
        known = name in self.exchange.markets
        index = any(name == wire.family(state.spec) for state in self.exchange.markets.values())
        candle = channel.removeprefix("candle") in BARS and channel.startswith("candle")
        public = (channel in BY_MARKET and known) or (channel == "index-tickers" and index) or channel == "instruments"
        if (session.path == PUBLIC and public) or (session.path == BUSINESS and candle and known):
            return f"{channel}:{name}"
        raise _wrong(argument)

    def _first(self, session: Session, argument: dict[str, str]) -> tuple[list[Any] | None, dict[str, Any]]:
        """What comes right after the acknowledgement; orders have no snapshot."""
        channel, name = argument["channel"], argument.get("instId", "")
        match channel:
            case "books" if self.snapshots:
                return [self._book(name)], {"action": "snapshot"}
            case "bbo-tbt" | "books5":
                return [self._quotes(name, 1 if channel == "bbo-tbt" else 5)], {}
            case "positions":
                account = self._logins[session.number].account
                held = [p for p in self.exchange.account(account).positions.values() if p.size]
                return [wire.position(self.exchange, p, self.now_ms()) for p in held], {}
            case "account":
                return [self.reads.balance(self._logins[session.number])], {}
            case "index-tickers":
                return [self._index(name)], {}
            case "mark-price" | "funding-rate" | "tickers" | "open-interest":
                return [self._state(channel, name)], {}
            case "instruments":
                return [wire.instrument(m, self.code_of(m.symbol)) for m in self.reads.listed()], {}
        if channel.startswith("candle"):
            rows = self._candle(name, channel)
            return (rows or None), {}
        return None, {}

    def publish(self, event: AnyEvent) -> None:
        reader = self._readers.get(type(event))
        if reader is not None:
            reader(event)

    # ---- market data

    def _book(self, symbol: str) -> dict[str, Any]:
        """A snapshot, with whatever is not told yet."""
        spec = self.exchange.markets[symbol].spec
        whole = wire.quotes(self.exchange, spec, self.now_ms(), self._sequences[symbol], depth=400)
        return {**whole, "checksum": 0, "prevSeqId": -1}

    def _quotes(self, symbol: str, depth: int) -> dict[str, Any]:
        return wire.quotes(self.exchange, self.exchange.markets[symbol].spec, self.now_ms(), self._sequences[symbol], depth=depth)

    def _on_book(self, event: BookDelta) -> None:
        if self.sessions:
            self._books.put((event.market, event.side, event.price), event.size)
            self._bbos.put(event.market, None)

    def _push_books(self, changed: dict[tuple[str, Side, int], int]) -> None:
        by_market: dict[str, dict[tuple[Side, int], int]] = {}
        for (symbol, side, price), size in changed.items():
            by_market.setdefault(symbol, {})[side, price] = size
        for symbol, levels in by_market.items():
            self._tell_book(symbol, levels)
            self._tell(f"books5:{symbol}", lambda symbol=symbol: [self._quotes(symbol, 5)])  # type: ignore[misc]

    def _tell_book(self, symbol: str, levels: dict[tuple[Side, int], int], *, quiet: bool = False) -> None:
        """One update; numbers rise by more than one. A quiet one repeats its number."""
        self._told_book_at[symbol] = _loop_time()
        spec, before = self.exchange.markets[symbol].spec, self._sequences[symbol]
        if not quiet:
            self._sequences[symbol] = before + self.rng.randint(1, 9)
        sides = {side: [wire.level(spec, p, size) for (s, p), size in levels.items() if s is side] for side in Side}
        data = {"asks": sides[Side.SELL], "bids": sides[Side.BUY], "ts": str(self.now_ms()), "checksum": 0}
        numbers = {"prevSeqId": before, "seqId": self._sequences[symbol]}
        self._tell(f"books:{symbol}", lambda: [{**data, **numbers}], action="update")

    def restart_numbers(self, symbol: str) -> None:
        """Maintenance: the next number is smaller than the last, and names it as its predecessor."""
        before, self._sequences[symbol] = self._sequences[symbol], 3
        data = {"asks": [], "bids": [], "ts": str(self.now_ms()), "checksum": 0, "prevSeqId": before, "seqId": 3}
        self._tell(f"books:{symbol}", lambda: [data], action="update")

    def _push_bbos(self, dirty: dict[str, None]) -> None:
        for symbol in dirty:
            best = self._quotes(symbol, 1)
            if self._last_bbo.get(symbol) != (best["bids"], best["asks"]):
                self._last_bbo[symbol] = (best["bids"], best["asks"])
                self._tell(f"bbo-tbt:{symbol}", lambda best=best: [best])  # type: ignore[misc]

    def _on_trade(self, event: Trade) -> None:
        row = wire.trade(event, self.exchange.markets[event.market].spec)
        self._tell(f"trades:{event.market}", lambda: [{**row, "count": "1", "seqId": self._sequences[event.market]}])
        if self.sessions:
            self._candles.put(event.market, None)

    def _on_mark(self, event: MarkChanged) -> None:
        if self.sessions:
            self._prices.put(event.market, None)

    def _index(self, name: str) -> dict[str, Any]:
        state = next(s for s in self.exchange.markets.values() if wire.family(s.spec) == name)
        return wire.index_ticker(state, self.now_ms())

    def _state(self, channel: str, symbol: str) -> dict[str, Any]:
        market = self.exchange.markets[symbol]
        match channel:
            case "mark-price":
                return wire.mark_price(market, self.now_ms())
            case "funding-rate":
                return self.reads.funding(market.spec)
            case "open-interest":
                return wire.open_interest(self.exchange, market, self.now_ms())
        return self.reads.ticker(market.spec)

    def _push_prices(self, dirty: dict[str, None]) -> None:
        for symbol in dirty:
            for channel in ("mark-price", "tickers", "open-interest"):
                self._tell(f"{channel}:{symbol}", lambda channel=channel, symbol=symbol: [self._state(channel, symbol)])  # type: ignore[misc]
            name = wire.family(self.exchange.markets[symbol].spec)
            self._tell(f"index-tickers:{name}", lambda name=name: [self._index(name)])  # type: ignore[misc]

    def _tell_funding(self, symbol: str) -> None:
        self._tell(f"funding-rate:{symbol}", lambda: [self._state("funding-rate", symbol)])

    def _candle(self, symbol: str, channel: str) -> list[list[str]]:
        bar = channel.removeprefix("candle")
        length, now = self.reads.bar_ns(bar), self.now_ns()
        return self.reads.candles(self.exchange.markets[symbol].spec, bar, now // length * length)[:1]

    def _push_candles(self, dirty: dict[str, None]) -> None:
        wanted = {key for s in self.sessions.values() for key in s.subscriptions if key.startswith("candle")}
        for key in sorted(wanted):
            channel, _, symbol = key.partition(":")
            if symbol in dirty and (rows := self._candle(symbol, channel)):
                self._tell(key, lambda rows=rows: rows)  # type: ignore[misc]

    # ---- orders

    def is_waiting_algo(self, order: Order) -> bool:
        """A trigger order that no price released: then it is no order yet (or never was one)."""
        return order.request.trigger is not None and order.id not in self._released

    def algo_state(self, order: Order) -> str:
        if not self.is_waiting_algo(order):
            return "effective"
        return "canceled" if order.status.terminal else "live"

    @contextmanager
    def amending(self, order: Order, request_id: str) -> Iterator[None]:
        """The stream names the request that changed the order."""
        self._requests[order.id] = request_id
        try:
            yield
        finally:
            self._requests.pop(order.id, None)

    def tell_amend_failed(self, order: Order, request_id: str, refusal: Refusal) -> None:
        row = wire.streamed(wire.order(order), amendResult="-1", reqId=request_id, code=str(refusal.code), msg=refusal.message)
        self.agenda.after(0.05, self._tell_row, order.account.id, row)

    def _tell_row(self, account: int, row: dict[str, Any]) -> None:
        self._tell(f"orders:{account}", lambda: [row])

    def _mine(self, order_id: int) -> Order | None:
        order = self.exchange.order(order_id)
        return order if order is not None and order.account.id != ANONYMOUS else None

    def _tell_order(self, order_id: int, status: str, **more: str) -> None:
        order = self._mine(order_id)
        if order is not None:
            self._tell_row(order.account.id, wire.streamed(wire.order(order, status=status), **more))

    def _tell_algo(self, order: Order, word: str) -> None:
        self._tell(f"orders-algo:{order.account.id}", lambda: [wire.algo(order, word)])

    def _on_accepted(self, event: OrderAccepted) -> None:
        order = self._mine(event.order_id)
        if order is not None and event.order.trigger is not None:
            self._tell_algo(order, "live")

    def _on_triggered(self, event: OrderTriggered) -> None:
        self._released.add(event.order_id)
        order = self._mine(event.order_id)
        if order is not None:
            self._tell_algo(order, "effective")

    def _on_filled(self, event: OrderFilled) -> None:
        if event.account == ANONYMOUS:
            return
        market = self.exchange.markets[event.market]
        terms = wire.fill_terms(event, market)
        order = self.exchange.order(event.order_id) if event.order_id else None
        if order is None:
            self._tell_row(event.account, wire.streamed(wire.forced_order(event, market), **terms))
            return
        row = wire.order(order, filled=event.filled, status="filled" if event.remaining == 0 else "partially_filled")
        self._tell_row(event.account, wire.streamed(row, **terms))

    def _on_amended(self, event: OrderAmended) -> None:
        order = self._mine(event.order_id)
        if order is None:
            return
        if self.is_waiting_algo(order):
            self._tell_algo(order, "live")
            return
        request_id = self._requests.get(event.order_id, "")
        own = {"amendResult": "0", "amendSource": "1"} if not event.by_venue else {"amendSource": "2"}
        self._tell_row(order.account.id, wire.streamed(wire.order(order), reqId=request_id, **own))

    def _on_ended(self, event: OrderCancelled | OrderExpired) -> None:
        order = self._mine(event.order_id)
        if order is None:
            return
        if self.is_waiting_algo(order):
            failed = isinstance(event, OrderCancelled) and event.reason is CancelReason.REJECTED_ON_TRIGGER
            self._tell_algo(order, "order_failed" if failed else "canceled")
        else:
            self._tell_row(order.account.id, wire.streamed(wire.order(order, filled=event.filled, status="canceled")))

    # ---- account

    def _on_position(self, event: PositionChanged) -> None:
        if event.account != ANONYMOUS and self.sessions:
            self._positions.put((event.account, event.market), None)

    def _push_positions(self, dirty: dict[tuple[int, str], None]) -> None:
        for account, symbol in dirty:
            held = self.exchange.position(account, symbol)
            self._tell(f"positions:{account}", lambda held=held: [wire.position(self.exchange, held, self.now_ms())])  # type: ignore[misc]

    def _on_balance(self, event: BalanceChanged) -> None:
        if event.account != ANONYMOUS and self.sessions:
            self._balances.put(event.account, None)

    def _push_balances(self, dirty: dict[int, None]) -> None:
        for account in dirty:
            owner = self._by_account.get(account)
            if owner is not None:
                held = self.exchange.account(account).positions.values()
                coins = sorted({wire.settle(p.market.spec) for p in held if p.market.spec.inverse})
                for coin in coins if owner.account_mode == "2" else ():
                    self._tell(f"account:{account}", lambda coin=coin: [wire.coin_balance(coin, self.now_ms())])  # type: ignore[misc]
                self._tell(f"account:{account}", lambda owner=owner: [self.reads.balance(owner)])  # type: ignore[misc]


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


def _answer(rows: list[Any]) -> Reply:
    return Reply({"code": "0", "msg": "", "data": rows})


def _json(received: Received) -> Any:
    try:
        return received.json()
    except ValueError:
        raise Refusal(50002, "Incorrect json data format", status=400) from None


def _conn(session: Session) -> str:
    return f"{session.number:08x}"


def _echo(argument: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in argument.items() if name != "extraParams"}


def _wrong(argument: dict[str, str]) -> Refusal:
    named = ",".join(f"{name}:{value}" for name, value in argument.items() if name != "extraParams")
    return Refusal(
        60018, f"Wrong URL or {named} doesn't exist. Please use the correct URL, channel and parameters referring to API document."
    )
