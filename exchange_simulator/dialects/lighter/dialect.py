"""Lighter over a simulated exchange: REST under `/api/v1`, the socket at `/stream`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from exchange_clients.crypto import schnorr
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.events import AnyEvent, MarketChanged
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.market import MarketState
from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import (
    UNIT,
    MarginTier,
    Market,
    MarketStatus,
    OrderStatus,
    PriceSource,
    ReduceOnlyMode,
    RejectReason,
    Rules,
    to_fraction,
    to_money,
)
from exchange_simulator.dialects.base import Budget, Dialect, Faults, Received, Refusal, Reply, Route, Session, SimAccount
from exchange_simulator.dialects.history import DayStats
from exchange_simulator.dialects.lighter.accounts import TIERS, ApiKey, Owner, Owners, private_key
from exchange_simulator.dialects.lighter.errors import WORDS, refusal
from exchange_simulator.dialects.lighter.rest import Rest, parse_list, token_of
from exchange_simulator.dialects.lighter.sequencer import Record, Sequencer
from exchange_simulator.dialects.lighter.stream import Stream
from exchange_simulator.dialects.lighter.tx import Tx
from exchange_simulator.dialects.lighter.wire import Wire, block_height, decimals

MAINNET_CHAIN, TESTNET_CHAIN = 304, 300
FIRST_ACCOUNT = 100_001
API_KEY_INDEX = 4
_IDS = {"ETH": 0, "BTC": 1, "SOL": 2}
_FIRST_FREE_ID = 3
_STATUS_CODES = {401: 20001, 429: 23000, 404: 29404}


class LighterDialect(Dialect):
    """`tier` names what new accounts pay and wait (`accounts.TIERS`). `verify_every`: one in so many signatures is checked.

    `mute_reduce_only`: a reduce-only order without a position to reduce vanishes without any word, as the venue sometimes does.
    """

    name: ClassVar[str] = "lighter"
    ws_paths: ClassVar[Mapping[str, str]] = {"public": "/stream"}

    def __init__(
        self,
        exchange: Exchange,
        runtime: Runtime,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        limited: bool = True,
        tier: str = "premium",
        chain_id: int = MAINNET_CHAIN,
        verify_every: int = 1,
        mute_reduce_only: bool = False,
        log_size: int = 20_000,
    ) -> None:
        self.tier = TIERS[tier]
        budget = Budget(self.tier.weight_per_minute) if limited else None
        super().__init__(exchange, runtime, seed=seed, faults=faults, budget=budget, log_size=log_size)
        self.chain_id = chain_id
        self.testnet = chain_id == TESTNET_CHAIN
        self.mute_reduce_only = mute_reduce_only
        self.ids: dict[str, int] = {}
        self._symbols: dict[int, str] = {}
        self.owners = Owners(chain_id, verify_every=verify_every)
        self.wire = Wire(exchange, self.ids, self.history.sides)
        self.stream = Stream(self)
        self.sequencer = Sequencer(self)
        self.rest = Rest(self)
        self._seed = seed
        for symbol in exchange.markets:
            self._number(symbol)

    # what the venue is

    @classmethod
    def rules(cls) -> Rules:
        return Rules(
            reduce_only=ReduceOnlyMode.AT_MATCH,
            post_only_late=True,
            default_initial=UNIT // 20,
        )

    @classmethod
    def listing(cls, base: str, *, tick_size: Decimal, step_size: Decimal) -> Market:
        """`base` is the venue's symbol ("BTC", "1000PEPE"); tick and step are powers of ten, as the venue's decimals are."""
        for step in (tick_size, step_size):
            if step != Decimal(1).scaleb(-decimals(step)):
                raise ValueError(f"{step} is not a power of ten of at most 1")
        return Market(
            symbol=base,
            tick_size=tick_size,
            step_size=step_size,
            tiers=(MarginTier(0, to_fraction("0.02"), to_fraction("0.012")),),
            min_size=max(1, int(Decimal("0.0002") / step_size)) if step_size < 1 else 1,
            min_notional=to_money(10),
            funding_cap=to_fraction("0.005"),
            funding_price=PriceSource.INDEX,
            liquidation_fee=to_fraction("0.01"),
        )

    def expire_tokens(self) -> None:
        self.owners.expire_tokens()

    def open_account(self, deposit: Decimal, *, l1_address: str = "", tier: str = "") -> SimAccount:
        """One API key (index 4). `l1_address`: whose Ethereum key may register more."""
        index = FIRST_ACCOUNT + len(self.exchange.ledger.accounts) - 1
        secret = private_key(f"{self._seed}-{index}")
        address = l1_address or "0x" + hashlib.sha256(f"{self._seed}-{index}".encode()).hexdigest()[:40]
        owner = Owner(index, address, TIERS[tier] if tier else self.tier)
        owner.keys[API_KEY_INDEX] = ApiKey(schnorr.public_key(secret), registered_us=self.now_ns() // 1000)
        self.owners.add(owner)
        now = self.now_ns()
        self.exchange.open_account(now, index, deposit=to_money(deposit) if deposit else 0)
        self.exchange.set_fees(now, index, owner.tier.maker_fee, owner.tier.taker_fee)
        environ = {
            "LIGHTER_API_KEY_PRIVATE_KEY": secret.hex(),
            "LIGHTER_ACCOUNT_INDEX": str(index),
            "LIGHTER_API_KEY_INDEX": str(API_KEY_INDEX),
        }
        return SimAccount(index, environ)

    # markets

    def _number(self, symbol: str) -> None:
        index = _IDS.get(symbol, -1)
        if index < 0 or index in self._symbols:
            index = max([_FIRST_FREE_ID - 1, *self._symbols]) + 1
        self.ids[symbol] = index
        self._symbols[index] = symbol

    def market(self, index: int) -> MarketState | None:
        symbol = self._symbols.get(index)
        return None if symbol is None else self.exchange.markets[symbol]

    def listed(self) -> dict[str, int]:
        """Symbol -> market id, by id; delisted markets are gone from every list."""
        found = {self._symbols[i]: i for i in sorted(self._symbols)}
        return {s: i for s, i in found.items() if self.exchange.markets[s].spec.status is not MarketStatus.DELISTED}

    def day(self, symbol: str) -> DayStats:
        return self.history.day(symbol, self.now_ns())

    def market_stats(self, symbol: str) -> dict[str, Any]:
        past = self.history.funding[symbol]
        return self.wire.market_stats(self.exchange.markets[symbol], self.day(symbol), past[-1] if past else None)

    def muted(self, order: Order) -> bool:
        """Dropped without a trace."""
        dropped = order.status is OrderStatus.REJECTED and order.reject_reason is RejectReason.REDUCE_ONLY
        return self.mute_reduce_only and dropped

    # transactions

    def parse_batch(self, types: Any, infos: Any, most: int) -> list[Tx]:
        kinds, bodies = parse_list(types), parse_list(infos)
        if len(kinds) != len(bodies):
            raise refusal(21513)
        if len(kinds) > most:
            raise refusal(21514)
        if not kinds:
            raise refusal(21501)
        return [Tx.parse(kind, body) for kind, body in zip(kinds, bodies, strict=True)]

    def tx_row(self, record: Record) -> dict[str, Any]:
        """A transaction as `GET /tx` tells it."""
        tx = record.tx
        return {
            "hash": record.hash,
            "type": int(tx.type),
            "info": dict(tx.info),
            "event_info": "{}",
            "status": record.status,
            "transaction_index": record.sequence,
            "l1_address": self.owners.get(tx.account).l1_address,
            "account_index": tx.account,
            "nonce": tx.nonce,
            "expire_at": tx.number("ExpiredAt"),
            "block_height": block_height(record.queued_ns),
            "queued_at": record.queued_ns // 10**6,
            "executed_at": record.executed_ns // 10**6,
            "sequence_index": record.sequence,
            "parent_hash": "",
        }

    # the framework's questions

    def routes(self) -> Sequence[Route]:
        return self.rest.routes()

    def publish(self, event: AnyEvent) -> None:
        if isinstance(event, MarketChanged) and event.market.symbol not in self.ids:
            self._number(event.market.symbol)
        self.stream.publish(event)

    def admit(self, received: Received) -> Reply | None:
        if self.budget is None or self.stream.admit(received):
            return None
        return Reply({"code": 23003, "message": WORDS[23003]}, 429)

    def on_connect(self, session: Session) -> None:
        self.stream.connected(session)

    def on_disconnect(self, session: Session) -> None:
        self.stream.disconnected(session)

    def on_stop(self) -> None:
        self.stream.reset()

    async def on_message(self, session: Session, received: Received) -> None:
        self.stream.received(session, received)

    def refuse(self, refusal: Refusal, received: Received) -> Reply:
        return Reply({"code": refusal.code, "message": refusal.message}, refusal.status if refusal.status != 200 else 400)

    def refuse_message(self, refusal: Refusal, session: Session, received: Received) -> None:
        session.send({"error": {"code": refusal.code, "message": refusal.message}})

    def budget_key(self, received: Received) -> str:
        """Calls with a valid-looking token are the account's, others the address's."""
        parts = token_of(received).split(":")
        return f"account {parts[1]}" if len(parts) == 4 else received.remote

    def limited(self, retry_after_s: float, received: Received) -> Reply:
        return Reply({"code": 23000, "message": WORDS[23000]}, 429)

    def unavailable(self, status: int, received: Received) -> Reply:
        code = _STATUS_CODES.get(status)
        if code is None:
            return super().unavailable(status, received)
        return Reply({"code": code, "message": WORDS[code] + (": auth token is expired" if status == 401 else "")}, status)

    def unavailable_message(self, status: int, session: Session, received: Received) -> None:
        code = {401: 20001, 429: 30009}.get(status, 29500)
        session.send({"error": {"code": code, "message": WORDS[code]}})
