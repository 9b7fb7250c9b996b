"""Aster's wire protocol over a simulated exchange: API v3 and v1 by REST, combined and single streams, the account's stream by listen key.

Deviations from the venue, on purpose: a month of candles has thirty days; client ids count as in use among open orders only. Words that no
source states are marked in docs/venues/aster.md.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Final

from aiohttp import web

from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.events import (
    AnyEvent,
    BalanceChanged,
    BookDelta,
    FundingPaid,
    LeverageChanged,
    Liquidated,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderTriggered,
    PositionChanged,
    Trade,
)
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import (
    ANONYMOUS,
    UNIT,
    AmendMode,
    BalanceReason,
    ClientIds,
    MarginTier,
    Market,
    PositionReason,
    PriceSource,
    ReduceOnlyMode,
    Rules,
    SelfTrade,
    to_fraction,
    to_money,
)
from exchange_simulator.dialects.aster import wire
from exchange_simulator.dialects.aster.rest import Rest
from exchange_simulator.dialects.aster.signatures import bad_key, check_hmac, missing, recover, sent, split
from exchange_simulator.dialects.aster.streams import Streams
from exchange_simulator.dialects.aster.wallets import LISTEN_KEY_NS, Nonces, Wallet
from exchange_simulator.dialects.base import Batch, Budget, Dialect, Faults, Received, Refusal, Reply, Route, Session, SimAccount

MS: Final = 10**6
HOUR_NS: Final = 3600 * 10**9
DAY_S: Final = 86_400.0
MESSAGES_PER_S: Final = 10
MAX_STREAMS: Final = 200
INTERVALS_HOURS: Final = {"ETH": 4, "SOL": 1}
"""Funding intervals of markets that have not the usual eight hours."""
REASONS: Final = {
    PositionReason.MARGIN: "MARGIN_TRANSFER",
    PositionReason.FUNDING: "FUNDING_FEE",
    BalanceReason.DEPOSIT: "DEPOSIT",
    BalanceReason.WITHDRAWAL: "WITHDRAW",
    BalanceReason.MARGIN: "MARGIN_TRANSFER",
    BalanceReason.INSURANCE: "INSURANCE_CLEAR",
}
"""Why an account changed; ORDER otherwise."""


class AsterDialect(Dialect):
    name = "aster"
    ws_paths: ClassVar = {"public": "/stream", "private": "/ws"}
    chain_id = 1666

    def __init__(
        self,
        exchange: Exchange,
        runtime: Runtime,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        budget: Budget | None = None,
        log_size: int = 100_000,
        chain_id: int = 1666,
    ) -> None:
        """`chain_id`: 1666 for what mainnet signs, 714 for the testnet."""
        super().__init__(exchange, runtime, seed=seed, faults=faults, budget=budget, log_size=log_size)
        self.chain_id = chain_id
        self.born_ms = self.now_ms() - 30 * 86_400_000
        """When the markets began."""
        self.untold_intervals: set[str] = set()
        """Markets that fundingInfo leaves out."""
        self.triggered: set[int] = set()
        self.order_limits = {"1m": Budget(1200, 60.0), "10s": Budget(300, 10.0)}
        self._seed = seed
        self._wallets: dict[int, Wallet] = {}
        self._nonces: dict[str, Nonces] = {}
        self._spoke: dict[int, deque[float]] = {}
        self._single: set[int] = set()
        """Sessions that read bare events."""
        self._client_ids = itertools.count(1)
        self._reasons: dict[int, str] = {}
        self._touched: dict[int, dict[str, None]] = {}
        self.streams = Streams(self)
        self.rest = Rest(self)
        self._accounts: Batch[int, None] = Batch(self.agenda, 0.0, self._push_accounts)
        self._readers: dict[type, Callable[[Any], None]] = {
            BookDelta: self.streams.on_book,
            Trade: self.streams.on_trade,
            OrderAccepted: self._on_accepted,
            OrderTriggered: self._on_triggered,
            OrderFilled: self._on_filled,
            OrderCancelled: lambda e: self._tell_order(e.order_id, self._end_word(e), self._end_word(e), e.filled, e.ts_ns),
            OrderExpired: lambda e: self._tell_order(e.order_id, "EXPIRED", "EXPIRED", e.filled, e.ts_ns),
            OrderAmended: self._on_amended,
            PositionChanged: self._on_position,
            BalanceChanged: self._on_balance,
            FundingPaid: self._on_funding,
            LeverageChanged: self._on_leverage,
            Liquidated: self._on_liquidated,
        }

    # ---- what the venue is

    @classmethod
    def rules(cls) -> Rules:
        return Rules(
            reduce_only=ReduceOnlyMode.AT_MATCH,
            self_trade=SelfTrade.CANCEL_TAKER,
            amend=AmendMode.IN_PLACE,
            client_ids=ClientIds.OPEN,
            refuse_met_trigger=True,
            max_open_orders_per_market=200,
            default_initial=UNIT // 20,
        )

    @classmethod
    def listing(cls, base: str, *, tick_size: Decimal, step_size: Decimal) -> Market:
        """`base` as the venue calls it (`1000PEPE`); with a quote behind a slash (`BTC/USD1`) for markets not in USDT."""
        asset, _, quote = base.partition("/")
        most = {"BTC": 100, "ETH": 100}.get(asset, 50)
        return Market(
            f"{asset}{quote or wire.QUOTE}",
            tick_size=tick_size,
            step_size=step_size,
            tiers=(
                MarginTier(0, UNIT // most, UNIT // most * 2 // 5),
                MarginTier(to_money(2_000_000), UNIT // (most // 2), UNIT // most),
            ),
            maker_fee=to_fraction("0.0001"),
            taker_fee=to_fraction("0.00035"),
            min_notional=to_money(5),
            funding_interval_ns=INTERVALS_HOURS.get(asset, 8) * HOUR_NS,
            funding_cap=to_fraction("0.02"),
            funding_price=PriceSource.MARK,
            price_band=to_fraction("0.15"),
        )

    def open_account(self, deposit: Decimal) -> SimAccount:
        """An account whose agent's key is the one given out. The account's own key signs too, see `user_key`."""
        number = max([*self._wallets, 1000]) + 1
        user, agent = _address(self._key(f"user-{number}")), self._key(f"agent-{number}")
        wallet = Wallet(
            number, user, {user.lower(), _address(agent).lower()}, self._key(f"api-{number}")[2:], self._key(f"secret-{number}")[2:]
        )
        self._wallets[number] = wallet
        self.exchange.open_account(self.now_ns(), number, deposit=to_money(deposit))
        environ = {"ASTER_USER_ADDRESS": user, "ASTER_SIGNER_ADDRESS": _address(agent), "ASTER_SIGNER_PRIVATE_KEY": agent}
        return SimAccount(number, environ)

    def legacy_keys(self, of: SimAccount) -> SimAccount:
        """The same account with its keys of API v1."""
        wallet = self._wallets[of.account]
        return SimAccount(of.account, {"ASTER_API_KEY": wallet.api_key, "ASTER_API_SECRET": wallet.api_secret})

    def user_key(self, of: SimAccount) -> str:
        """The private key of the main wallet."""
        return self._key(f"user-{of.account}")

    def another_agent(self, of: SimAccount) -> SimAccount:
        """The same account with another agent, as a second process should have."""
        wallet = self._wallets[of.account]
        key = self._key(f"agent-{of.account}-{len(wallet.agents)}")
        wallet.agents.add(_address(key).lower())
        return SimAccount(of.account, {**of.environ, "ASTER_SIGNER_ADDRESS": _address(key), "ASTER_SIGNER_PRIVATE_KEY": key})

    def wallet(self, account: int) -> Wallet:
        return self._wallets[account]

    def _key(self, name: str) -> str:
        from eth_utils.crypto import keccak

        return "0x" + keccak(text=f"perpkit simulated {self.name} {self._seed} {name}").hex()

    def next_client_id(self) -> int:
        return next(self._client_ids)

    # ---- HTTP

    def now_ms(self) -> int:
        return self.now_ns() // MS

    def routes(self) -> Sequence[Route]:
        return self.rest.routes()

    def app(self, *, tunnel: bool = False) -> web.Application:
        """Single streams have their name, the account's its key, in the path."""
        app = super().app(tunnel=tunnel)
        app.router.add_get("/ws/{name:.+}", self._socket)
        return app

    def charge(self, received: Received, weight: int) -> None:
        """Requests are weighed by what they ask for."""
        if self.budget is not None and (wait_s := self.budget.charge(received.remote, weight, self.clock.elapsed())):
            raise _TooMany(wait_s)

    def count_orders(self, wallet: Wallet, count: int) -> None:
        now = self.clock.elapsed()
        for limit in self.order_limits.values():
            if wait_s := limit.charge(str(wallet.account), count, now):
                raise _TooMany(wait_s, -1015, "Too many new orders; current limit is %s orders per %s.")

    def usage(self, received: Received, wallet: Wallet | None) -> Mapping[str, str]:
        """What was used, as headers."""
        headers = {}
        if self.budget is not None:
            headers["X-MBX-USED-WEIGHT-1M"] = str(self.budget.limit - self.budget.left(received.remote))
        if wallet is not None and received.method in ("POST", "PUT"):
            for name, limit in self.order_limits.items():
                headers[f"X-MBX-ORDER-COUNT-{name.upper()}"] = str(limit.limit - limit.left(str(wallet.account)))
        return headers

    def refuse(self, refusal: Refusal, received: Received) -> Reply:
        if isinstance(refusal, _TooMany):
            return self.limited(refusal.wait_s, received, refusal)
        return Reply({"code": refusal.code, "msg": refusal.message}, refusal.status if refusal.status != 200 else 400)

    def limited(self, retry_after_s: float, received: Received, refusal: Refusal | None = None) -> Reply:
        refusal = refusal or _TooMany(retry_after_s)
        return Reply({"code": refusal.code, "msg": refusal.message}, 429, {"Retry-After": str(int(retry_after_s) + 1)})

    # ---- who asks

    def authenticate(self, received: Received, *, stream: bool) -> Wallet:
        """
        Raises:
            Refusal: nobody known, or not properly signed.
        """
        if not received.path.startswith("/fapi/v3/"):
            key = received.headers.get("X-MBX-APIKEY", "")
            wallet = next((w for w in self._wallets.values() if key and w.api_key == key), None)
            if wallet is None:
                raise bad_key()
            if not stream:
                check_hmac(received, wallet.api_secret, self.now_ms())
            return wallet
        return self._agent(received)

    def _agent(self, received: Received) -> Wallet:
        message, signature = split(sent(received))
        named = {name: received.params.get(name, "") for name in ("nonce", "user", "signer")}
        for name in ("nonce", "signer"):
            if not named[name]:
                raise missing(name)
        signer = recover(message, signature, int(self.chain_id or 0))
        if signer != named["signer"].lower():
            raise Refusal(-1022, "Signature for this request is not valid.", status=400)
        wallet = next((w for w in self._wallets.values() if signer in w.agents), None)
        if wallet is None or named["user"].lower() not in ("", wallet.user.lower()):
            raise bad_key()
        if not wallet.deposited:
            raise Refusal(-5050, "DEPOSIT_REQUIRED", status=400)
        if not named["nonce"].isdecimal():
            raise missing("nonce")
        self._nonces.setdefault(signer, Nonces()).use(int(named["nonce"]), self.now_ns() // 1000)
        return wallet

    # ---- the account's stream

    def listen_key(self, wallet: Wallet, *, new: bool) -> str:
        """An hour from now. `new`: made where there is none.

        Raises:
            Refusal: there is none to extend.
        """
        now = self.now_ns()
        if not wallet.listen_key or now >= wallet.listen_until_ns:
            if not new:
                raise Refusal(-1125, "This listenKey does not exist.", status=400)
            wallet.listen_key = f"{self.rng.getrandbits(256):064x}"
        wallet.listen_until_ns = now + LISTEN_KEY_NS
        self.agenda.after(LISTEN_KEY_NS / 1e9, self._expire_key, wallet)
        return wallet.listen_key

    def _expire_key(self, wallet: Wallet) -> None:
        if wallet.listen_key and self.now_ns() >= wallet.listen_until_ns:
            self.end_listen_key(wallet)

    def end_listen_key(self, wallet: Wallet) -> None:
        """Who listens is told once, and then nothing more; the sockets stay open."""
        channel = f"user:{wallet.account}"
        for session in list(self.subscribers(channel)):
            session.send({"e": "listenKeyExpired", "E": self.now_ms()}, channel=channel)
            session.subscriptions.pop(channel, None)
        wallet.listen_key = ""

    def expire_tokens(self) -> None:
        for wallet in self._wallets.values():
            self.end_listen_key(wallet)

    # ---- sockets

    def wraps(self, session: Session) -> bool:
        return session.number not in self._single

    def on_connect(self, session: Session) -> None:
        self._spoke[session.number] = deque()
        self.agenda.after(DAY_S, session.close, 1001)
        if session.path.startswith("/ws"):
            self._single.add(session.number)
            self._join(session, session.path.removeprefix("/ws").strip("/").split("/"))
        else:
            self._join(session, session.params.get("streams", "").split("/"))

    def _join(self, session: Session, names: Sequence[str]) -> None:
        """Streams that stand in the address; a listen key among them is the account's."""
        for name in filter(None, names):
            wallet = next((w for w in self._wallets.values() if w.listen_key == name and self.now_ns() < w.listen_until_ns), None)
            session.subscriptions[f"user:{wallet.account}" if wallet is not None else name] = True
        self.streams.begin_marks(session)

    def on_disconnect(self, session: Session) -> None:
        self._spoke.pop(session.number, None)
        self._single.discard(session.number)

    def on_stop(self) -> None:
        self.streams.clear()
        self._accounts.clear()

    async def on_message(self, session: Session, received: Received) -> None:
        spoke, now = self._spoke[session.number], asyncio.get_running_loop().time()
        while spoke and spoke[0] <= now - 1.0:
            spoke.popleft()
        spoke.append(now)
        if len(spoke) > MESSAGES_PER_S:
            session.close(1008)
            return
        try:
            message = json.loads(received.body)
        except ValueError as e:
            raise Refusal(3, f"Invalid JSON: {e}") from None
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            raise Refusal(2, "Invalid request: missing field `method`")
        session.send({"result": self._do(session, message["method"], message.get("params") or []), "id": message.get("id")})

    def refuse_message(self, refusal: Refusal, session: Session, received: Received) -> None:
        session.send({"code": refusal.code, "msg": refusal.message})

    def _do(self, session: Session, method: str, params: Any) -> Any:
        if not isinstance(params, list):
            raise Refusal(2, "Invalid request: params must be a list")
        match method:
            case "SUBSCRIBE":
                if len(session.subscriptions) + len(params) > MAX_STREAMS:
                    raise Refusal(2, "Invalid request: too many streams")
                session.subscriptions |= {str(name): True for name in params}
                self.streams.begin_marks(session)
            case "UNSUBSCRIBE":
                for name in params:
                    session.subscriptions.pop(str(name), None)
            case "LIST_SUBSCRIPTIONS":
                return [name for name in session.subscriptions if not name.startswith("user:")]
            case "GET_PROPERTY":
                return self.wraps(session)
            case "SET_PROPERTY":
                if len(params) != 2 or params[0] != "combined":
                    raise Refusal(0, "Unknown property")
                (self._single.discard if params[1] else self._single.add)(session.number)
            case _:
                raise Refusal(2, f"Invalid request: unknown variant `{method}`")
        return None

    # ---- what happens to accounts

    def publish(self, event: AnyEvent) -> None:
        reader = self._readers.get(type(event))
        if reader is not None:
            reader(event)

    def _tell_account(self, account: int, message: Mapping[str, Any]) -> None:
        if account != ANONYMOUS and account in self._wallets:
            self.push(f"user:{account}", message)

    def _tell_order(
        self,
        order_id: int,
        execution: str,
        status: str,
        filled: int,
        ts_ns: int,
        *,
        fill: OrderFilled | None = None,
        conditional: bool = False,
    ) -> None:
        order = self.exchange.order(order_id)
        if order is None or order.account.id == ANONYMOUS:
            return
        triggered = order_id in self.triggered and not conditional
        update = wire.order_update(order, execution, status, filled, ts_ns, triggered=triggered, fill=fill)
        self._tell_account(order.account.id, self._event("ORDER_TRADE_UPDATE", ts_ns, o=update))

    def _event(self, name: str, ts_ns: int, **more: Any) -> dict[str, Any]:
        return {"e": name, "E": self.now_ms(), "T": ts_ns // MS, **more}

    @staticmethod
    def _end_word(event: OrderCancelled) -> str:
        return "EXPIRED" if event.reason in wire.EXPIRED else "CANCELED"

    def _on_accepted(self, event: OrderAccepted) -> None:
        self._tell_order(event.order_id, "NEW", "NEW", 0, event.ts_ns)

    def _on_triggered(self, event: OrderTriggered) -> None:
        """The conditional order ends, and under the same ids another begins."""
        self._tell_order(event.order_id, "EXPIRED", "EXPIRED", 0, event.ts_ns, conditional=True)
        self.triggered.add(event.order_id)
        self._tell_order(event.order_id, "NEW", "NEW", 0, event.ts_ns)

    def _on_amended(self, event: OrderAmended) -> None:
        order = self.exchange.order(event.order_id)
        filled = event.size - event.remaining
        if order is not None:
            self._tell_order(event.order_id, "AMENDMENT", "PARTIALLY_FILLED" if filled else "NEW", filled, event.ts_ns)

    def _on_filled(self, event: OrderFilled) -> None:
        if event.order_id:
            state = "FILLED" if event.remaining == 0 else "PARTIALLY_FILLED"
            self._tell_order(event.order_id, "TRADE", state, event.filled, event.ts_ns, fill=event)
            return
        update = wire.forced_update(event, self.exchange.markets[event.market].spec)
        self._tell_account(event.account, self._event("ORDER_TRADE_UPDATE", event.ts_ns, o=update))

    def _on_position(self, event: PositionChanged) -> None:
        wallet = self._wallets.get(event.account)
        if wallet is not None:
            wallet.touched_ns[event.market] = event.ts_ns
            self._changed(event.account, REASONS.get(event.reason, "ORDER"))
            self._touched.setdefault(event.account, {})[event.market] = None

    def _on_balance(self, event: BalanceChanged) -> None:
        if event.reason is not BalanceReason.FUNDING:  # told with its payment
            self._changed(event.account, REASONS.get(event.reason, "ORDER"))

    def _changed(self, account: int, reason: str) -> None:
        if self.sessions and account in self._wallets:
            self._reasons.setdefault(account, reason)
            self._accounts.put(account, None)

    def _balance_rows(self, account: int, change: int = 0) -> list[dict[str, str]]:
        cross = self.exchange.account(account).balance
        whole = wire.wallet_balance(self.exchange, account)
        return [{"a": wire.QUOTE, "wb": wire.usd(whole), "cw": wire.usd(cross), "bc": wire.usd(change)}]

    def _push_accounts(self, dirty: dict[int, None]) -> None:
        """Balances, and the positions that changed."""
        for account in dirty:
            markets = self._touched.pop(account, {})
            positions = [wire.position_change(self.exchange.position(account, symbol)) for symbol in markets]
            change = {"m": self._reasons.pop(account, "ORDER"), "B": self._balance_rows(account), "P": positions}
            self._tell_account(account, self._event("ACCOUNT_UPDATE", self.now_ns(), a=change))

    def _on_funding(self, event: FundingPaid) -> None:
        change = (
            {"m": "FUNDING_FEE", "B": self._balance_rows(event.account, event.amount), "P": []} if event.account in self._wallets else None
        )
        if change is not None:
            self._tell_account(event.account, self._event("ACCOUNT_UPDATE", event.ts_ns, a=change))

    def _on_leverage(self, event: LeverageChanged) -> None:
        held = self.exchange.position(event.account, event.market)
        self._tell_account(
            event.account, self._event("ACCOUNT_CONFIG_UPDATE", event.ts_ns, ac={"s": event.market, "l": wire.leverage(held)})
        )

    def _on_liquidated(self, event: Liquidated) -> None:
        """Public: somebody's."""
        market = self.exchange.markets[event.market].spec
        size, price = wire.text(market.size(event.size)), wire.text(market.ref_price(event.mark))
        order = {
            "s": event.market,
            "S": event.side.upper(),
            "o": "LIMIT",
            "f": "IOC",
            "q": size,
            "p": price,
            "ap": price,
            "X": "FILLED",
            "l": size,
            "z": size,
            "T": event.ts_ns // MS,
        }
        for name in (f"{event.market.lower()}@forceOrder", "!forceOrder@arr"):
            self.streams.tell(name, lambda: {"e": "forceOrder", "E": self.now_ms(), "o": order})


class _TooMany(Refusal):
    """One request too many."""

    def __init__(self, wait_s: float, code: int = -1003, message: str = "") -> None:
        super().__init__(code, message or "Too many requests; current limit is 2400 request weight per 1 MINUTE.", status=429)
        self.wait_s = wait_s


def _address(key: str) -> str:
    from eth_account import Account

    return str(Account.from_key(key).address)
