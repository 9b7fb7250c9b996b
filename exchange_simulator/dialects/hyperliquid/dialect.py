"""Hyperliquid's wire protocol over a simulated exchange: two REST paths and one socket.

Deviations from the venue, on purpose: the account's collateral belongs to the main dex; a month of candles has thirty days; fills are told
at once, not per block. Words that no source states are marked in docs/venues/hyperliquid.md.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Final

import msgspec

from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.events import (
    AnyEvent,
    BalanceChanged,
    BookDelta,
    FundingPaid,
    Liquidated,
    MarkChanged,
    MarketChanged,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderOpened,
    OrderRejected,
    OrderTriggered,
    PositionChanged,
    Trade,
)
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import (
    ANONYMOUS,
    UNIT,
    AmendMode,
    ClientIds,
    MarginTier,
    Market,
    ReduceOnlyMode,
    Rules,
    SelfTrade,
    TradeKind,
    money,
    to_fraction,
    to_money,
)
from exchange_simulator.dialects.base import Batch, Budget, Dialect, Faults, Received, Refusal, Reply, Route, Session, SimAccount
from exchange_simulator.dialects.hyperliquid import wire
from exchange_simulator.dialects.hyperliquid.actions import Actions
from exchange_simulator.dialects.hyperliquid.info import INTERVALS, MINUTE_NS, Info
from exchange_simulator.dialects.hyperliquid.wallets import Nonces, Wallet

MS: Final = 10**6
BOOK_EVERY_S: Final = 0.5
BLOCK_S: Final = 0.1
STATE_EVERY_S: Final = 1.0
SILENCE_S: Final = 60.0
QUIET_BOOK_S: Final = 5.0
MAX_SUBSCRIPTIONS: Final = 1000
MAX_USERS: Final = 10
LEVERAGES: Final = {"BTC": 40, "ETH": 25, "SOL": 20, "XRP": 20}
COIN_TYPES: Final = ("l2Book", "bbo", "trades", "activeAssetCtx", "candle")
USER_TYPES: Final = (
    "orderUpdates",
    "userEvents",
    "userFills",
    "userFundings",
    "userNonFundingLedgerUpdates",
    "clearinghouseState",
    "openOrders",
    "spotState",
    "webData2",
    "notification",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One subscription of a session."""

    kind: str
    subject: str = ""
    """The coin or the user."""
    detail: str = ""
    """Interval, dex, or coin."""
    fast: bool = False

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.subject}:{self.detail}"


class HyperliquidDialect(Dialect):
    name = "hyperliquid"
    ws_paths: ClassVar = {"public": "/ws"}
    significant_figures: ClassVar[int] = 5

    def __init__(
        self,
        exchange: Exchange,
        runtime: Runtime,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        budget: Budget | None = None,
        log_size: int = 100_000,
        mainnet: bool = True,
        lookup_lag_s: float = 0.4,
    ) -> None:
        """`mainnet`: which network's signatures are right. `lookup_lag_s`: for so long an order lookup does not know a new order."""
        super().__init__(exchange, runtime, seed=seed, faults=faults, budget=budget, log_size=log_size)
        self.mainnet = mainnet
        self.lookup_lag_s = lookup_lag_s
        self.initial_actions = 10_000
        self.base_fees = (to_fraction("0.00015"), to_fraction("0.00045"))
        self.wallets: dict[str, Wallet] = {}
        self._by_account: dict[int, Wallet] = {}
        self._nonces: dict[str, Nonces] = {}
        self._seed = seed
        self._symbols: dict[str, list[str]] = {"": []}
        self._last_bbo: dict[str, Any] = {}
        self._spoke_at: dict[int, float] = {}
        self._actions = Actions(self)
        self._info = Info(self)
        self._books: Batch[str, None] = Batch(self.agenda, BOOK_EVERY_S, self._push_books)
        self._bbos: Batch[str, None] = Batch(self.agenda, BLOCK_S, self._push_bbos)
        self._contexts: Batch[str, None] = Batch(self.agenda, STATE_EVERY_S, self._push_contexts)
        self._candles: Batch[str, None] = Batch(self.agenda, STATE_EVERY_S, self._push_candles)
        self._states: Batch[int, None] = Batch(self.agenda, BOOK_EVERY_S, self._push_states)
        self._readers: dict[type, Callable[[Any], None]] = {
            BookDelta: self._on_book,
            Trade: self._on_trade,
            OrderAccepted: self._on_accepted,
            OrderRejected: self._on_rejected,
            OrderOpened: lambda e: self._tell_order(e.order_id, "open", e.remaining),
            OrderTriggered: lambda e: self._tell_order(e.order_id, "triggered", None),
            OrderFilled: self._on_filled,
            OrderCancelled: lambda e: self._tell_order(e.order_id, wire.cancel_word(e.reason, e.filled), e.remaining),
            OrderExpired: lambda e: self._tell_order(e.order_id, "canceled", e.remaining),
            PositionChanged: lambda e: self._on_state(e.account),
            BalanceChanged: lambda e: self._on_state(e.account),
            FundingPaid: self._on_funding,
            MarkChanged: self._on_mark,
            MarketChanged: lambda e: self._list(e.market.symbol),
            Liquidated: self._on_liquidated,
        }
        for symbol in exchange.markets:
            self._list(symbol)

    # ---- what the venue is

    @classmethod
    def rules(cls) -> Rules:
        return Rules(
            reduce_only=ReduceOnlyMode.AT_MATCH,
            self_trade=SelfTrade.CANCEL_MAKER,
            amend=AmendMode.REPLACE,
            client_ids=ClientIds.ANY,
            refuse_met_trigger=True,
            max_open_orders=1000,
            default_initial=UNIT // 20,
        )

    @classmethod
    def listing(cls, base: str, *, tick_size: Decimal, step_size: Decimal) -> Market:
        """`base` is the coin (`kPEPE`, `xyz:TSLA`). The tick follows from the step: a millionth of the inverse.

        Raises:
            ValueError: the step is no power of ten between 1 and 0.000001.
        """
        step = step_size.normalize()
        decimals = -int(step.as_tuple().exponent)
        if step.as_tuple().digits != (1,) or not 0 <= decimals <= 6:
            raise ValueError(f"{base}: the venue has steps of 1, 0.1, ... 0.000001, not {step_size}")
        leverage = LEVERAGES.get(base, 10)
        return Market(
            base,
            tick_size=Decimal(1).scaleb(decimals - 6),
            step_size=Decimal(1).scaleb(-decimals),
            tiers=(MarginTier(0, UNIT // leverage, UNIT // leverage // 2),),
            maker_fee=to_fraction("0.00015"),
            taker_fee=to_fraction("0.00045"),
            min_notional=to_money(10),
            funding_cap=to_fraction("0.04"),
        )

    def open_account(self, deposit: Decimal) -> SimAccount:
        """An account with an approved agent, whose key is the one given out."""
        number = max([*self._by_account, 1000]) + 1
        master, agent = self._key(f"master-{number}"), self._key(f"agent-{number}")
        wallet = Wallet(_address(master), number)
        wallet.agents[_address(agent)] = ("bot", self.now_ms() + 180 * 86_400_000)
        self._register(wallet, deposit)
        return SimAccount(number, {"HYPERLIQUID_PRIVATE_KEY": agent, "HYPERLIQUID_ACCOUNT_ADDRESS": wallet.address})

    def open_sub_account(self, of: SimAccount, deposit: Decimal, *, name: str = "sub") -> SimAccount:
        """Another account under the same master and agent, traded for by its address as vault."""
        number = max(self._by_account) + 1
        wallet = Wallet(_address(self._key(f"sub-{number}")), number, master=self._by_account[of.account].address, name=name)
        self._register(wallet, deposit)
        return SimAccount(number, {**of.environ, "HYPERLIQUID_VAULT_ADDRESS": wallet.address})

    def master_key(self, of: SimAccount) -> str:
        """The private key of the account itself, which may also transfer and approve."""
        return self._key(f"master-{of.account}")

    def _key(self, name: str) -> str:
        from eth_utils.crypto import keccak

        return "0x" + keccak(text=f"perpkit simulated {self.name} {self._seed} {name}").hex()

    def _register(self, wallet: Wallet, deposit: Decimal) -> None:
        self.wallets[wallet.address] = self._by_account[wallet.account] = wallet
        self.exchange.open_account(self.now_ns(), wallet.account, deposit=to_money(deposit))

    # ---- markets

    def _list(self, symbol: str) -> None:
        listed = self._symbols.setdefault(wire.dex_of(symbol), [])
        if symbol not in listed:
            listed.append(symbol)

    def dexes(self) -> list[str]:
        """The main one first."""
        return list(self._symbols)

    def markets_of(self, dex: str) -> list[Market]:
        return [self.exchange.markets[symbol].spec for symbol in self._symbols[dex]]

    def symbol_of(self, asset: int) -> str | None:
        """The coin of an asset number."""
        dex, index = (0, asset) if asset < 100_000 else divmod(asset - 100_000, 10_000)
        names = self.dexes()
        if (asset >= 100_000 and dex == 0) or dex >= len(names):
            return None
        listed = self._symbols[names[dex]]
        return listed[index] if index < len(listed) else None

    # ---- HTTP

    def now_ms(self) -> int:
        return self.now_ns() // MS

    def routes(self) -> Sequence[Route]:
        return (Route("POST", "/info", self._post_info, cost=0), Route("POST", "/exchange", self._post_exchange, cost=0))

    def charge(self, remote: str, weight: int) -> None:
        """Requests are weighed by what they ask for."""
        if self.budget is not None and self.budget.charge(remote, weight, self.clock.elapsed()):
            raise Refusal("limit", "null", status=429)

    async def _post_info(self, received: Received) -> Reply:
        return Reply(self._info.answer(_json(received), received.remote))

    async def _post_exchange(self, received: Received) -> Reply:
        body = _json(received)
        action = body.get("action") if isinstance(body, dict) else None
        batch = max((len(v) for v in action.values() if isinstance(v, list)), default=0) if isinstance(action, dict) else 0
        self.charge(received.remote, 1 + batch // 40)
        return Reply(self._actions.execute(received.body))

    def refuse(self, refusal: Refusal, received: Received) -> Reply:
        if refusal.status != 200:
            return Reply(refusal.message.encode(), refusal.status, {"Content-Type": "text/plain; charset=utf-8"})
        return Reply({"status": "err", "response": refusal.message})

    def limited(self, retry_after_s: float, received: Received) -> Reply:
        return Reply(b"null", 429)

    # ---- signers

    def use_nonce(self, signer: str, nonce: int) -> None:
        self._nonces.setdefault(signer, Nonces()).use(nonce, self.now_ms())

    def action_budget(self, wallet: Wallet) -> tuple[int, str]:
        """(actions allowed in the life of the account, volume traded in USD)."""
        volume = self._info.volume(wallet)
        return self.initial_actions + int(money(volume)), wire.usd(volume)

    # ---- sockets

    def on_stop(self) -> None:
        for batch in (self._books, self._bbos, self._contexts, self._candles, self._states):
            batch.clear()

    def on_connect(self, session: Session) -> None:
        if not self._spoke_at:
            self.agenda.after(QUIET_BOOK_S, self._housekeeping)
        self._spoke_at[session.number] = asyncio.get_running_loop().time()

    def on_disconnect(self, session: Session) -> None:
        self._spoke_at.pop(session.number, None)

    def _housekeeping(self) -> None:
        """While anybody is connected: a connection to which nothing was sent for a minute is closed, and quiet books are told again."""
        now = asyncio.get_running_loop().time()
        for session in list(self.sessions.values()):
            if now - self._spoke_at.get(session.number, now) > SILENCE_S:
                session.close(1000)
        self._push_books({w.subject: None for s in self.sessions.values() for w in s.subscriptions.values() if w.kind == "l2Book"})
        if self._spoke_at:
            self.agenda.after(QUIET_BOOK_S, self._housekeeping)

    def _say(self, session: Session, message: Any, *, channel: str = "") -> None:
        self._spoke_at[session.number] = asyncio.get_running_loop().time()
        session.send(message, channel=channel)

    def _tell(self, key: str, make: Callable[..., Any], *arguments: Any) -> None:
        """To every subscriber of `key` what `make` says, made once and only if there is one."""
        payload: bytes | None = None
        for session in list(self.subscribers(key)):
            if payload is None:
                payload = msgspec.json.encode(make(*arguments))
            self._say(session, payload, channel=key)

    async def on_message(self, session: Session, received: Received) -> None:
        try:
            message = json.loads(received.body)
            method = message["method"]
        except (ValueError, TypeError, KeyError):
            raise Refusal(
                "request", f"Error parsing JSON into valid websocket request: {received.body.decode('utf-8', 'replace')}"
            ) from None
        match method:
            case "ping":
                self._say(session, {"channel": "pong"})
            case "subscribe" | "unsubscribe":
                self._subscription(session, method, message.get("subscription"))
            case "post":
                self._post(session, message)
            case _:
                raise Refusal("request", f"Error parsing JSON into valid websocket request: {received.body.decode('utf-8', 'replace')}")

    def refuse_message(self, refusal: Refusal, session: Session, received: Received) -> None:
        self._say(session, {"channel": "error", "data": refusal.message})

    def _post(self, session: Session, message: dict[str, Any]) -> None:
        request, number = message.get("request", {}), message.get("id")
        try:
            if request.get("type") == "action":
                payload: Any = self._actions.execute(msgspec.json.encode(request["payload"]))
                response = {"type": "action", "payload": payload}
            else:
                data = self._info.answer(request["payload"], session.remote)
                response = {"type": "info", "payload": {"type": request["payload"]["type"], "data": data}}
        except Refusal as refusal:
            if refusal.status == 200:
                response = {"type": "action", "payload": {"status": "err", "response": refusal.message}}
            else:
                response = {"type": "error", "payload": refusal.message}
        except KeyError as e:
            response = {"type": "error", "payload": f"missing field {e}"}
        self._say(session, {"channel": "post", "data": {"id": number, "response": response}})

    def _subscription(self, session: Session, method: str, subscription: Any) -> None:
        wanted = self._wanted(subscription)
        echo = dict(subscription)
        if wanted.kind == "l2Book":
            echo = {**echo, "nSigFigs": echo.get("nSigFigs"), "mantissa": echo.get("mantissa")}
        said = json.dumps(subscription, separators=(",", ":"))
        if method == "unsubscribe":
            if session.subscriptions.pop(wanted.key, None) is None:
                raise Refusal("subscription", f"Already unsubscribed: {said}")
        elif wanted.key in session.subscriptions:
            raise Refusal("subscription", f"Already subscribed: {said}")
        else:
            self._admit(session, wanted)
            session.subscriptions[wanted.key] = wanted
        self._say(session, {"channel": "subscriptionResponse", "data": {"method": method, "subscription": echo}})
        if method == "subscribe" and (first := self._first(wanted)) is not None:
            self._say(session, first, channel=wanted.key)

    def _admit(self, session: Session, wanted: Wanted) -> None:
        mine = [s for s in self.sessions.values() if s.remote == session.remote]
        if sum(len(s.subscriptions) for s in mine) >= MAX_SUBSCRIPTIONS:
            raise Refusal("subscription", f"Cannot track more than {MAX_SUBSCRIPTIONS} total subscriptions.")
        if wanted.kind in USER_TYPES:
            users = {other.subject for s in mine for other in s.subscriptions.values() if other.kind in USER_TYPES} | {wanted.subject}
            if len(users) > MAX_USERS:
                raise Refusal("subscription", f"Cannot track more than {MAX_USERS} total users.")

    def _wanted(self, subscription: Any) -> Wanted:
        wrong = Refusal("subscription", f"Invalid subscription {json.dumps(subscription, separators=(',', ':'))}")
        if not isinstance(subscription, dict):
            raise wrong
        kind, coin, user = subscription.get("type"), subscription.get("coin"), subscription.get("user")
        if kind == "allMids":
            dex = subscription.get("dex") or ""
            if dex not in self.dexes():
                raise wrong
            return Wanted(kind, detail=dex)
        if kind in COIN_TYPES:
            if coin not in self.exchange.markets:
                raise wrong
            if kind != "candle":
                return Wanted(kind, coin, fast=bool(subscription.get("fast")))
            if subscription.get("interval") not in INTERVALS:
                raise wrong
            return Wanted(kind, coin, subscription["interval"])
        if not isinstance(user, str) or len(user) != 42:
            raise wrong
        if kind == "activeAssetData" and coin in self.exchange.markets:
            return Wanted(kind, user.lower(), coin)
        if kind in USER_TYPES:
            return Wanted(kind, user.lower(), str(subscription.get("dex") or ""))
        raise wrong

    def _first(self, wanted: Wanted) -> Any:
        """What comes right after the acknowledgement; `orderUpdates` and `userEvents` have no snapshot."""
        kind, subject = wanted.kind, wanted.subject
        match kind:
            case "allMids":
                return self._mids(wanted.detail)
            case "l2Book":
                return {"channel": kind, "data": self._book(subject, fast=wanted.fast)}
            case "bbo":
                return {"channel": kind, "data": self._bbo(subject)}
            case "activeAssetCtx":
                return self._context(subject)
            case "candle":
                return self._candle(subject, wanted.detail)
            case "userFills":
                rows = list(reversed(self._info.fills(subject)))[:2000]
                return {"channel": kind, "data": {"isSnapshot": True, "user": subject, "fills": rows}}
            case "userFundings":
                rows = [{"time": row["time"], **row["delta"]} for row in self._info.fundings(subject)]
                for row in rows:
                    del row["type"]
                return {"channel": kind, "data": {"isSnapshot": True, "user": subject, "fundings": rows}}
            case "clearinghouseState" | "openOrders" | "spotState" | "webData2":
                return self._state(kind, subject, wanted.detail)
            case "activeAssetData":
                return {"channel": kind, "data": self._info.asset_data(subject, wanted.detail)}
        return None

    def publish(self, event: AnyEvent) -> None:
        reader = self._readers.get(type(event))
        if reader is not None:
            reader(event)

    # ---- market data

    def _book(self, symbol: str, *, fast: bool) -> dict[str, Any]:
        return wire.book(self.exchange, self.exchange.markets[symbol].spec, self.now_ms(), levels=5 if fast else 20)

    def _bbo(self, symbol: str) -> dict[str, Any]:
        book = wire.book(self.exchange, self.exchange.markets[symbol].spec, self.now_ms(), levels=1)
        return {"coin": symbol, "time": book["time"], "bbo": [side[0] if side else None for side in book["levels"]]}

    def _on_book(self, event: BookDelta) -> None:
        if self.sessions:
            self._books.put(event.market, None)
            self._bbos.put(event.market, None)

    def _on_mark(self, event: MarkChanged) -> None:
        if self.sessions:
            self._contexts.put(event.market, None)

    def _push_books(self, dirty: dict[str, None]) -> None:
        for symbol in dirty:
            key = f"l2Book:{symbol}:"
            full: bytes | None = None
            for session in list(self.subscribers(key)):
                if session.subscriptions[key].fast:
                    self._say(session, {"channel": "l2Book", "data": self._book(symbol, fast=True)}, channel=key)
                else:
                    full = full or msgspec.json.encode({"channel": "l2Book", "data": self._book(symbol, fast=False)})
                    self._say(session, full, channel=key)

    def _push_bbos(self, dirty: dict[str, None]) -> None:
        for symbol in dirty:
            best = self._bbo(symbol)
            if self._last_bbo.get(symbol) != best["bbo"]:
                self._last_bbo[symbol] = best["bbo"]
                self._tell(f"bbo:{symbol}:", _message, "bbo", best)

    def _push_contexts(self, dirty: dict[str, None]) -> None:
        for symbol in dirty:
            self._tell(f"activeAssetCtx:{symbol}:", self._context, symbol)
        for dex in {wire.dex_of(symbol) for symbol in dirty}:
            self._tell(f"allMids::{dex}", self._mids, dex)

    def _mids(self, dex: str) -> dict[str, Any]:
        return _message("allMids", {"mids": self._info.mids(dex)})

    def _context(self, symbol: str) -> dict[str, Any]:
        return _message("activeAssetCtx", {"coin": symbol, "ctx": self._info.ctx(symbol)})

    def _candle(self, symbol: str, interval: str) -> dict[str, Any] | None:
        interval_ns = INTERVALS[interval] * MINUTE_NS
        now = self.now_ns()
        found = self.history.candles(symbol, interval_ns, now // interval_ns * interval_ns, now)
        return (
            {"channel": "candle", "data": wire.candle(found[-1], self.exchange.markets[symbol].spec, interval, interval_ns)}
            if found
            else None
        )

    def _push_candles(self, dirty: dict[str, None]) -> None:
        intervals = {w.detail for s in self.sessions.values() for w in s.subscriptions.values() if w.kind == "candle"}
        for symbol in dirty:
            for interval in sorted(intervals):
                self._tell(f"candle:{symbol}:{interval}", self._candle, symbol, interval)

    def _address(self, account: int) -> str:
        wallet = self._by_account.get(account)
        return wallet.address if wallet is not None else wire.HOUSE

    def _trades(self, event: Trade) -> dict[str, Any]:
        return _message("trades", [self.trade_row(event)])

    def trade_row(self, event: Trade) -> dict[str, Any]:
        maker, taker = self._address(event.maker_account), self._address(event.taker_account)
        users = [taker, maker] if event.taker_side == "buy" else [maker, taker]
        return wire.trade(event, self.exchange.markets[event.market].spec, users)

    def _on_trade(self, event: Trade) -> None:
        self._tell(f"trades:{event.market}:", self._trades, event)
        if self.sessions:
            self._candles.put(event.market, None)

    # ---- the account

    def _on_accepted(self, event: OrderAccepted) -> None:
        order = self.exchange.order(event.order_id)
        if order is not None and event.order.trigger is not None and not (order.group is not None and order.group.parent is not None):
            self._tell_order(event.order_id, "open", None)

    def _on_rejected(self, event: OrderRejected) -> None:
        self._tell_order(event.order_id, wire.REJECTED.get(event.reason, "rejected"), None)

    def _tell_order(self, order_id: int, status: str, remaining: int | None) -> None:
        order = self.exchange.order(order_id)
        if order is None or order.account.id == ANONYMOUS:
            return
        left = order.remaining if remaining is None else remaining
        update = {"order": wire.update_order(order, left), "status": status, "statusTimestamp": self.now_ms()}
        self._tell(f"orderUpdates:{self._address(order.account.id)}:", _message, "orderUpdates", [update])

    def fill_row(self, event: OrderFilled) -> dict[str, Any]:
        market = self.exchange.markets[event.market]
        liquidated: str | None = None
        if event.kind is TradeKind.LIQUIDATION and (trade := self.history.trade.get(event.trade_id)) is not None:
            liquidated = self._address(trade.taker_account)
        return wire.fill(event, market.spec, liquidated, market.mark)

    def _on_filled(self, event: OrderFilled) -> None:
        user = self._address(event.account)
        row = self.fill_row(event)
        self._tell(f"userFills:{user}:", _message, "userFills", {"user": user, "fills": [row]})
        self._tell(f"userEvents:{user}:", _message, "user", {"fills": [row]})
        if event.order_id:
            self._tell_order(event.order_id, "filled" if event.remaining == 0 else "open", event.remaining)

    def _on_funding(self, event: FundingPaid) -> None:
        user = self._address(event.account)
        row = {"time": event.ts_ns // MS, **wire.funding_delta(event, self.exchange.markets[event.market].spec)}
        self._tell(f"userFundings:{user}:", _message, "userFundings", {"user": user, "fundings": [row]})
        self._tell(f"userEvents:{user}:", _message, "user", {"funding": row})

    def _on_liquidated(self, event: Liquidated) -> None:
        user = self._address(event.account)
        market = self.exchange.markets[event.market].spec
        row = {
            "lid": event.seq,
            "liquidator": wire.HOUSE,
            "liquidated_user": user,
            "liquidated_ntl_pos": wire.text(market.size(event.size) * market.ref_price(event.mark)),
            "liquidated_account_value": wire.usd(self.exchange.equity(event.account)),
        }
        self._tell(f"userEvents:{user}:", _message, "user", {"liquidation": row})

    def _on_state(self, account: int) -> None:
        if account != ANONYMOUS and self.sessions:
            self._states.put(account, None)

    def _state(self, kind: str, user: str, dex: str) -> dict[str, Any]:
        match kind:
            case "clearinghouseState":
                data: dict[str, Any] = {"dex": dex, "user": user, kind: self._info.state(user, dex)}
            case "openOrders":
                data = {"dex": dex, "user": user, "orders": self._info.open_orders(user, dex)}
            case "spotState":
                data = {"user": user, kind: self._info.spot_state(user)}
            case _:
                data = {
                    "user": user,
                    "clearinghouseState": self._info.state(user, ""),
                    "openOrders": self._info.open_orders(user, ""),
                    "serverTime": self.now_ms(),
                }
        return {"channel": kind, "data": data}

    def _push_states(self, dirty: dict[int, None]) -> None:
        for account in dirty:
            user = self._address(account)
            for dex in self.dexes():
                for kind in ("clearinghouseState", "openOrders"):
                    self._tell(f"{kind}:{user}:{dex}", self._state, kind, user, dex)
            self._tell(f"spotState:{user}:", self._state, "spotState", user, "")
            self._tell(f"webData2:{user}:", self._state, "webData2", user, "")


def _message(channel: str, data: Any) -> dict[str, Any]:
    return {"channel": channel, "data": data}


def _address(key: str) -> str:
    from eth_account import Account

    return str(Account.from_key(key).address).lower()


def _json(received: Received) -> Any:
    """The body; the venue wants its content type said."""
    if not received.headers.get("Content-Type", "").startswith("application/json"):
        raise Refusal("type", "Expected request with `Content-Type: application/json`", status=415)
    try:
        return received.json()
    except ValueError as e:
        raise Refusal("json", f"Failed to parse the request body as JSON: {e}", status=400) from None
