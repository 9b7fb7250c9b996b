"""Paradex's wire protocol over a simulated exchange: REST under `/v1`, JSON-RPC and binary (SBE) frames on one socket path.

Deviations from the venue, on purpose: funding is settled at whole multiples of the market's period, as the exchange does it, and each
settlement is a row of `funding/payments` (the venue accrues by the second and tells a row per fill); there is no liquidity for retail
orders alone, so interactive books show the same levels. Words that no source states are marked in docs/venues/paradex.md.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Final

from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.events import (
    AnyEvent,
    BalanceChanged,
    BookDelta,
    MarkChanged,
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
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import (
    ANONYMOUS,
    NANOS_PER_HOUR,
    UNIT,
    ClientIds,
    MarginTier,
    Market,
    Rules,
    SelfTrade,
    Side,
    fraction,
    to_fraction,
    to_money,
)
from exchange_simulator.dialects.base import (
    Batch,
    Binary,
    Budget,
    Dialect,
    Faults,
    Received,
    Refusal,
    Reply,
    Route,
    Session,
    SimAccount,
)
from exchange_simulator.dialects.paradex import sbe, wire
from exchange_simulator.dialects.paradex.gateway import Gateway
from exchange_simulator.dialects.paradex.rest import MAINNET, Rest
from exchange_simulator.dialects.paradex.signatures import (
    Owner,
    Owners,
    contract_address,
    public_key_of,
    seeded_key,
)
from exchange_simulator.dialects.paradex.wire import MS, Ticket

BOOK_EVERY_S: Final = 0.05
BBO_EVERY_S: Final = 0.01
SUMMARY_EVERY_S: Final = 0.5
HEARTBEAT_S: Final = 20.0
PERIODIC_LEVELS: Final = 15
LEVERAGES: Final = {"BTC": 50, "ETH": 50, "SOL": 20}
PRIVATE: Final = ("orders", "fills", "positions", "account", "balance_events", "funding_payments", "transaction", "transfers", "tradebusts")
RPC_CODES: Final = {"INVALID_TOKEN": 40111, "UNAUTHORIZED_ERROR": 40300, "RATE_LIMITED": 42901}


class ParadexDialect(Dialect):
    name = "paradex"
    ws_paths: ClassVar = {"public": "/v1", "private": "/v1"}
    chain_id: int | str | None = MAINNET
    heartbeat_s: ClassVar[float | None] = 55.0

    def __init__(
        self,
        exchange: Exchange,
        runtime: Runtime,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        budget: Budget | None = None,
        log_size: int = 100_000,
        versions: Sequence[int] = (1, 2),
        private_sbe: bool = False,
        chain_id: str = MAINNET,
    ) -> None:
        """`versions` of the schema that a socket may ask for. `private_sbe`: the account's events are binary too."""
        super().__init__(exchange, runtime, seed=seed, faults=faults, budget=budget, log_size=log_size)
        self.chain_id = chain_id
        self.versions = tuple(versions)
        self.private_sbe = private_sbe
        self.system_status = "ok"
        """ok, post_only, cancel_only, maintenance."""
        self.owners = Owners(chain_id)
        self.gateway = Gateway(self)
        self._rest = Rest(self)
        self._seed = seed
        self._seq = 0
        self._who: dict[int, int] = {}
        self._guarded: set[int] = set()
        self._version: dict[int, int] = {}
        self._spoke_at: dict[int, float] = {}
        self._book_seq: dict[str, int] = {}
        self._changes: dict[str, dict[tuple[Side, int], int]] = {}
        self._last_best: dict[str, tuple[int, ...]] = {}
        self._books: Batch[str, None] = Batch(self.agenda, BOOK_EVERY_S, self._push_books)
        self._bbos: Batch[str, None] = Batch(self.agenda, BBO_EVERY_S, self._push_bbos)
        self._summaries: Batch[str, None] = Batch(self.agenda, SUMMARY_EVERY_S, self._push_summaries)
        self._states: Batch[tuple[int, str], None] = Batch(self.agenda, 0.0, self._push_states)
        self._readers: dict[type, Callable[[Any], None]] = {
            BookDelta: self._on_book,
            Trade: self._on_trade,
            OrderAccepted: lambda e: self._on_order(e.order_id, None),
            OrderRejected: lambda e: self._on_order(e.order_id, None),
            OrderOpened: lambda e: self._on_order(e.order_id, e.remaining),
            OrderTriggered: lambda e: self._on_order(e.order_id, None),
            OrderAmended: lambda e: self._on_order(e.order_id, None),
            OrderCancelled: lambda e: self._on_order(e.order_id, None),
            OrderExpired: lambda e: self._on_order(e.order_id, None),
            OrderFilled: self._on_filled,
            PositionChanged: lambda e: self._on_state(e.account, e.market),
            BalanceChanged: lambda e: self._on_state(e.account, ""),
            MarkChanged: self._on_mark,
        }

    # ---- what the venue is

    @classmethod
    def rules(cls) -> Rules:
        return Rules(
            client_ids=ClientIds.OPEN,
            self_trade=SelfTrade.CANCEL_TAKER,
            post_only_late=True,
            max_open_orders_per_market=150,
        )

    @classmethod
    def listing(cls, base: str, *, tick_size: Decimal, step_size: Decimal) -> Market:
        """`base` as the venue writes it (`kPEPE`)."""
        leverage = LEVERAGES.get(base, 10)
        return Market(
            f"{base}-USD-PERP",
            tick_size=tick_size,
            step_size=step_size,
            tiers=(MarginTier(0, UNIT // leverage, UNIT // leverage // 2),),
            maker_fee=to_fraction("0.00003"),
            taker_fee=to_fraction("0.00045"),
            min_notional=to_money(10),
            funding_interval_ns=8 * NANOS_PER_HOUR,
            funding_cap=to_fraction("0.02" if base in ("BTC", "ETH", "SOL") else "0.05"),
            price_band=to_fraction("0.2"),
        )

    def open_account(self, deposit: Decimal) -> SimAccount:
        """An account that signs with its own key."""
        number = self.owners.newest() + 1
        key = seeded_key(f"perpkit simulated {self.name} {self._seed} {number}")
        public = public_key_of(key)
        l1_address = hex(seeded_key(f"l1 {self._seed} {number}") % 2**160 | 1 << 159)
        address = contract_address(public)
        self._register(Owner(number, address, l1_address, [public]), deposit)
        keys = {"PARADEX_L2_PRIVATE_KEY": hex(key), "PARADEX_L1_ADDRESS": l1_address, "PARADEX_L2_ADDRESS": address}
        return SimAccount(number, keys)

    def adopt(self, private_key: int, deposit: Decimal, *, l1_address: str = "0x" + "1" * 40) -> Owner:
        """An account of a given Stark key."""
        public = public_key_of(private_key)
        owner = Owner(self.owners.newest() + 1, contract_address(public), l1_address, [public])
        self._register(owner, deposit)
        return owner

    def add_subkey(self, of: SimAccount) -> SimAccount:
        """The same account, signed for by a new subkey."""
        owner = self.owners.of_account(of.account)
        assert owner is not None
        key = seeded_key(f"subkey {self._seed} {of.account} {len(owner.keys)}")
        owner.keys.append(public_key_of(key))
        return SimAccount(of.account, {**of.environ, "PARADEX_L2_PRIVATE_KEY": hex(key), "PARADEX_L2_ADDRESS": owner.address})

    def expire_tokens(self) -> None:
        """Every session token ends now, whatever it says."""
        self.owners.revoke_all()

    def _register(self, owner: Owner, deposit: Decimal) -> None:
        self.owners.add(owner)
        self.exchange.open_account(self.now_ns(), owner.account, deposit=to_money(deposit))

    # ---- helpers

    def now_ms(self) -> int:
        return self.now_ns() // MS

    def _now_us(self) -> int:
        return self.now_ns() // 1000

    def sequence(self) -> int:
        """Numbers of the account's events: rising, with holes."""
        self._seq = max(self._seq + 1, self.now_ns())
        return self._seq

    def address(self, account: int) -> str:
        owner = self.owners.of_account(account)
        return owner.address if owner is not None else "0x0"

    def row_of(self, ticket: Ticket, *, remaining: int | None = None) -> dict[str, Any]:
        return wire.order_row(ticket, self.address(ticket.account), self.now_ms(), self.sequence(), remaining=remaining)

    def funding_index(self, symbol: str, until_ns: int | None = None) -> Decimal:
        """Quote currency per base unit paid by a long since the beginning."""
        spec = self.exchange.markets[symbol].spec
        rows = (row for row in self.history.funding[symbol] if until_ns is None or row.ts_ns <= until_ns)
        return sum((fraction(row.rate) * spec.ref_price(row.ref_price) for row in rows), Decimal(0))

    def summary(self, state: Any) -> dict[str, Any]:
        return wire.summary(self.exchange, state, self.history.day(state.symbol, self.now_ns()), self.now_ms())

    def account_row(self, account: int) -> dict[str, Any]:
        return wire.account(self.exchange, account, self.address(account), self.now_ms(), self.sequence())

    def position_row(self, account: int, market: str) -> dict[str, Any]:
        position = self.exchange.position(account, market)
        index = self.funding_index(market)
        return wire.position(position, self.exchange, self.address(account), self.now_ms(), self.sequence(), index)

    def fill_row(self, event: OrderFilled) -> dict[str, Any]:
        order = self.exchange.order(event.order_id) if event.order_id else None
        number = self.gateway.of_core(order).id if order is not None else ""
        return wire.fill(event, self.exchange.markets[event.market], number, self.address(event.account))

    # ---- HTTP

    def routes(self) -> Sequence[Route]:
        return self._rest.routes()

    def refuse(self, refusal: Refusal, received: Received) -> Reply:
        return Reply({"error": refusal.code, "message": refusal.message, "data": None}, refusal.status if refusal.status != 200 else 400)

    def limited(self, retry_after_s: float, received: Received) -> Reply:
        headers = {"x-ratelimit-limit": str(self.budget.limit if self.budget else 0), "x-ratelimit-remaining": "0"}
        return Reply({"error": "TOO_MANY_REQUESTS", "message": "rate limit exceeded", "data": None}, 429, headers)

    # ---- sockets

    def admit(self, received: Received) -> Reply | None:
        """Binary market data is all there is: a socket that does not ask for a known schema is refused."""
        wanted = (received.params.get("sbeSchemaId"), received.params.get("sbeSchemaVersion"))
        if wanted[0] == "1" and wanted[1] in [str(version) for version in self.versions]:
            return None
        return Reply({"error": "UNSUPPORTED_SBE_SCHEMA", "message": f"unsupported SBE schema {wanted}"}, 400)

    def on_connect(self, session: Session) -> None:
        self._version[session.number] = int(session.params["sbeSchemaVersion"])
        if not self._spoke_at:
            self.agenda.after(HEARTBEAT_S / 4, self._beat)
        self._spoke_at[session.number] = asyncio.get_running_loop().time()

    def on_disconnect(self, session: Session) -> None:
        number = session.number
        self._spoke_at.pop(number, None)
        self._version.pop(number, None)
        account = self._who.pop(number, None)
        if number in self._guarded:
            self._guarded.discard(number)
            if account is not None and self.serving:
                self.gateway.cancel_all(account, reason="CANCEL_ON_DISCONNECT")

    def on_stop(self) -> None:
        self.gateway.forget_queue()
        for batch in (self._books, self._bbos, self._summaries, self._states):
            batch.clear()

    def _beat(self) -> None:
        """While anybody is connected: who was told nothing for 20 s is told so."""
        now = asyncio.get_running_loop().time()
        for session in list(self.sessions.values()):
            if now - self._spoke_at.get(session.number, now) >= HEARTBEAT_S - 0.001:
                self._say(session, sbe.heartbeat(self._version[session.number], self._now_us(), self.sequence()))
        if self._spoke_at:
            self.agenda.after(HEARTBEAT_S / 4, self._beat)

    def _say(self, session: Session, message: Any, *, channel: str = "") -> None:
        if session.number in self._spoke_at:
            self._spoke_at[session.number] = asyncio.get_running_loop().time()
        session.send(message, channel=channel)

    def _tell(self, channel: str, make: Callable[[int], Binary]) -> None:
        """To every subscriber, encoded once for each version of the schema."""
        made: dict[int, Binary] = {}
        for session in list(self.subscribers(channel)):
            version = self._version[session.number]
            if version not in made:
                made[version] = make(version)
            self._say(session, made[version], channel=channel)

    def _tell_account(self, account: int, channels: Iterable[str], row: dict[str, Any], make: Callable[[int], Binary]) -> None:
        for channel in channels:
            for session in list(self.subscribers(channel)):
                if self._who.get(session.number) == account:
                    event: Any = {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": row}}
                    self._say(session, make(self._version[session.number]) if self.private_sbe else event, channel=channel)

    async def on_message(self, session: Session, received: Received) -> None:
        try:
            message = json.loads(received.body)
            method, number = message["method"], message.get("id")
            params = message.get("params") or {}
        except (ValueError, TypeError, KeyError, AttributeError):
            self._say(session, {"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": None})
            return
        result, after = self._call(session, str(method), params)
        now_us = self._now_us()
        self._say(session, {"jsonrpc": "2.0", "result": result, "usIn": now_us, "usOut": now_us, "usDiff": 0, "id": number})
        for channel, first in after:
            self._say(session, first, channel=channel)

    def refuse_message(self, refusal: Refusal, session: Session, received: Received) -> None:
        try:
            number = json.loads(received.body).get("id")
        except (ValueError, AttributeError):
            number = None
        if isinstance(refusal.code, int):
            error: dict[str, Any] = {"code": refusal.code, "message": refusal.message}
        else:
            error = {"code": RPC_CODES.get(refusal.code, 100), "message": refusal.message, "data": refusal.code}
        self._say(session, {"jsonrpc": "2.0", "error": error, "usIn": self._now_us(), "usDiff": 1, "id": number})

    def _call(self, session: Session, method: str, params: Mapping[str, Any]) -> tuple[Any, list[tuple[str, Any]]]:
        """(result, what is pushed right behind it)."""
        match method:
            case "auth":
                owner = self.owners.owner_of(str(params.get("bearer")), self.now_ns() / 1e9)
                if owner is None:
                    raise Refusal(40111, "Invalid Bearer Token")
                self._who[session.number] = owner.account
                return {"node_id": "simulated"}, []
            case "subscribe":
                channel = str(params.get("channel"))
                first = self._subscribe(session, channel)
                return {"channel": channel}, [(channel, message) for message in first]
            case "unsubscribe":
                channel = str(params.get("channel"))
                if session.subscriptions.pop(channel, None) is None:
                    raise Refusal(-32600, "not subscribed")
                return {"channel": channel}, []
        return self._order_call(session, method, params), []

    def _order_call(self, session: Session, method: str, params: Mapping[str, Any]) -> Any:
        owner = self.owners.of_account(self._who.get(session.number, 0))
        if owner is None:
            raise Refusal(40300, "Permission denied")
        account = owner.account
        match method:
            case "order.create":
                ticket = self.gateway.place(owner, dict(params))
                return {"order": self.row_of(ticket), "received_at": self.now_ns(), "created_at": self.now_ms()}
            case "order.create_batch":
                outcomes = self.gateway.place_batch(owner, params.get("orders"))
                return {"results": [{"order": self.row_of(o)} if isinstance(o, Ticket) else {"error": str(o.code)} for o in outcomes]}
            case "order.modify":
                return {"order": self.row_of(self.gateway.modify(owner, str(params.get("id")), dict(params)))}
            case "order.cancel":
                ticket = self.gateway.of(account, order_id=str(params.get("id") or ""), client_id=str(params.get("client_id") or ""))
                self.gateway.cancel(ticket)
                return {"order_id": ticket.id, "status": "QUEUED_FOR_CANCELLATION"}
            case "order.cancel_batch":
                return self.gateway.cancel_ids(owner, params)
            case "order.cancel_all":
                self.gateway.cancel_all(account, str(params.get("market") or ""))
                return {"status": "ok"}
            case "order.cancel_on_disconnect":
                (self._guarded.add if params.get("enabled") else self._guarded.discard)(session.number)
                return {"enabled": bool(params.get("enabled"))}
        raise Refusal(-32601, "Method not found")

    def _subscribe(self, session: Session, channel: str) -> list[Any]:
        """What comes right behind the acknowledgement."""
        if channel in session.subscriptions:
            raise Refusal(-32600, "already subscribed")
        kind, _, rest = channel.partition(".")
        version = self._version[session.number]
        if kind in PRIVATE:
            if session.number not in self._who:
                raise Refusal(40300, "Permission denied")
            session.subscriptions[channel] = None
            return []
        first: list[Any] = []
        if kind == "order_book":
            first = [self._book_frame(version, *self._book_kind(session, rest))]
        elif kind in ("bbo", "markets_summary", "funding_data") and rest in self.exchange.markets:
            makers = {"bbo": self._bbo_frame, "markets_summary": self._summary_frame, "funding_data": self._funding_frame}
            first = [makers[kind](version, rest)]
        elif not (kind == "trades" and (rest == "ALL" or rest in self.exchange.markets)):
            raise Refusal(-32600, "invalid subscribe request: invalid channel")
        session.subscriptions[channel] = None
        return first

    # ---- market data

    def _book_kind(self, session: Session, rest: str) -> tuple[str, int]:
        """(market, ticks per step of a periodic book, 0 for deltas)."""
        market, _, form = rest.partition(".")
        if market not in self.exchange.markets:
            raise Refusal(-32600, "invalid subscribe request: invalid channel")
        held = [one for one in session.subscriptions if one.startswith(f"order_book.{market}.")]
        if held:
            raise Refusal(-32600, "order book channels of one market cannot share an SBE session")
        if form in ("deltas", "interactive_deltas"):
            return market, 0
        name, *parts = form.split("@")
        if name not in ("snapshot", "interactive") or not parts or parts[0] != str(PERIODIC_LEVELS):
            raise Refusal(-32600, "no parameters expected for deltas topic" if name.endswith("deltas") else "invalid channel")
        step = Decimal(parts[2].replace("_", ".")) if len(parts) > 2 else self.exchange.markets[market].spec.tick_size
        return market, int(step / self.exchange.markets[market].spec.tick_size)

    def _best(self, market: str) -> tuple[int, ...]:
        """Bid, its size, ask, its size in units of 1e-8; null where there is none."""
        spec, found = self.exchange.markets[market].spec, []
        for side in (Side.BUY, Side.SELL):
            level = self.exchange.depth(market, side, 1)
            found += [sbe.e8(spec.price(level[0][0])), sbe.e8(spec.size(level[0][1]))] if level else [sbe.NULL, sbe.NULL]
        return tuple(found)

    def _levels(self, market: str, side: Side, group: int) -> list[tuple[int, int]]:
        spec = self.exchange.markets[market].spec
        if not group:
            return [(sbe.e8(price), sbe.e8(size)) for price, size in wire.levels(self.exchange, spec, side)]
        steps: dict[int, int] = {}
        for price, size, _ in self.exchange.depth(market, side):
            at = price // group * group if side is Side.BUY else -(-price // group) * group
            steps[at] = steps.get(at, 0) + size
        return [(sbe.e8(spec.price(at)), sbe.e8(spec.size(size))) for at, size in list(steps.items())[:PERIODIC_LEVELS]]

    def _book_frame(self, version: int, market: str, group: int) -> Binary:
        bids, asks = (self._levels(market, side, group) for side in (Side.BUY, Side.SELL))
        seq = self._book_seq.setdefault(market, 1_000)
        return sbe.book(version, self._now_us(), seq, market, snapshot=True, bids=bids, asks=asks, best=self._best(market))

    def _delta_frame(self, version: int, market: str, changes: Mapping[tuple[Side, int], int]) -> Binary:
        spec = self.exchange.markets[market].spec
        sides: dict[Side, list[tuple[int, int]]] = {Side.BUY: [], Side.SELL: []}
        for (side, price), size in changes.items():
            sides[side].append((sbe.e8(spec.price(price)), sbe.e8(spec.size(size))))
        seq, best = self._book_seq[market], self._best(market)
        return sbe.book(version, self._now_us(), seq, market, snapshot=False, bids=sides[Side.BUY], asks=sides[Side.SELL], best=best)

    def _bbo_frame(self, version: int, market: str) -> Binary:
        return sbe.bbo(version, self._now_us(), self.sequence(), market, self._best(market))

    def _summary_frame(self, version: int, market: str) -> Binary:
        rate = self.exchange.funding_estimate(market)
        return sbe.summary(version, self._now_us(), self.sequence(), self.summary(self.exchange.markets[market]), rate)

    def _funding_frame(self, version: int, market: str) -> Binary:
        hours = self.exchange.markets[market].spec.funding_interval_ns // NANOS_PER_HOUR
        rate = fraction(self.exchange.funding_estimate(market))
        return sbe.funding(version, self._now_us(), self.sequence(), market, rate, self.funding_index(market), hours)

    def publish(self, event: AnyEvent) -> None:
        reader = self._readers.get(type(event))
        if reader is not None:
            reader(event)

    def _on_book(self, event: BookDelta) -> None:
        if self.sessions:
            self._changes.setdefault(event.market, {})[event.side, event.price] = event.size
            self._books.put(event.market, None)
            self._bbos.put(event.market, None)

    def _push_books(self, dirty: dict[str, None]) -> None:
        for market in dirty:
            changes = self._changes.pop(market, {})
            self._book_seq[market] = self._book_seq.get(market, 1_000) + 1
            for form in ("deltas", "interactive_deltas"):
                self._tell(f"order_book.{market}.{form}", lambda version, m=market, c=changes: self._delta_frame(version, m, c))  # type: ignore[misc]
            for channel in {c for s in self.sessions.values() for c in s.subscriptions if c.startswith(f"order_book.{market}.")}:
                if "@" in channel:
                    group = self._group_of(channel, market)
                    self._tell(channel, lambda version, m=market, g=group: self._book_frame(version, m, g))  # type: ignore[misc]

    def _group_of(self, channel: str, market: str) -> int:
        parts = channel.split("@")
        tick = self.exchange.markets[market].spec.tick_size
        return int(Decimal(parts[3].replace("_", ".")) / tick) if len(parts) > 3 else 1

    def _push_bbos(self, dirty: dict[str, None]) -> None:
        for market in dirty:
            best = self._best(market)
            if self._last_best.get(market) != best:
                self._last_best[market] = best
                self._tell(f"bbo.{market}", lambda version, m=market: self._bbo_frame(version, m))  # type: ignore[misc]

    def _on_mark(self, event: MarkChanged) -> None:
        if self.sessions:
            self._summaries.put(event.market, None)

    def _push_summaries(self, dirty: dict[str, None]) -> None:
        for market in dirty:
            self._tell(f"markets_summary.{market}", lambda version, m=market: self._summary_frame(version, m))  # type: ignore[misc]
            self._tell(f"funding_data.{market}", lambda version, m=market: self._funding_frame(version, m))  # type: ignore[misc]

    def _on_trade(self, event: Trade) -> None:
        row = wire.public_trade(event, self.exchange.markets[event.market].spec)
        for channel in (f"trades.{event.market}", "trades.ALL"):
            self._tell(channel, lambda version: sbe.trade(version, self._now_us(), row))

    # ---- the account's events

    def tell_order(self, ticket: Ticket, *, remaining: int | None = None) -> None:
        row = self.row_of(ticket, remaining=remaining)
        channels = ("orders.ALL", f"orders.{ticket.market}")
        self._tell_account(ticket.account, channels, row, lambda version: sbe.order(version, self._now_us(), row))

    def _on_order(self, order_id: int, remaining: int | None) -> None:
        order = self.exchange.order(order_id)
        if order is not None and order.account.id != ANONYMOUS:
            self.tell_order(self.gateway.of_core(order), remaining=remaining)

    def _on_filled(self, event: OrderFilled) -> None:
        row = self.fill_row(event)
        channels = ("fills.ALL", f"fills.{event.market}")
        self._tell_account(event.account, channels, row, lambda version: sbe.fill(version, self._now_us(), row))
        if event.order_id:
            self._on_order(event.order_id, event.remaining)

    def _on_state(self, account: int, market: str) -> None:
        if account != ANONYMOUS and self.sessions:
            self._states.put((account, market), None)

    def _push_states(self, dirty: dict[tuple[int, str], None]) -> None:
        for account, market in dirty:
            if market:
                row = self.position_row(account, market)
                state = self.exchange.markets[market]
                mark = state.spec.ref_price(state.mark)
                self._tell_account(
                    account,
                    ("positions",),
                    row,
                    lambda version, r=row, p=mark: sbe.position(version, self._now_us(), r, p),  # type: ignore[misc]
                )
        for account in {account for account, _ in dirty}:
            row = self.account_row(account)
            self._tell_account(account, ("account",), row, lambda version, r=row: sbe.account(version, self._now_us(), r))  # type: ignore[misc]
