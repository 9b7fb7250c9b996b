"""dYdX v4 over a simulated exchange: a validator (gRPC) that takes orders, and an indexer (HTTP, socket) that tells of them later.

Deviations from the venue, on purpose: one validator and one indexer; the exchange binds margin for resting orders; prints, candles and
market figures are known to the indexer at once; blocks have one fixed distance. Words that no source states are marked in
docs/venues/dydx.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Final

from exchange_clients.transport.runtime import Runtime
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
    OrderRejected,
    Trade,
)
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import (
    AmendMode,
    BalanceReason,
    CancelReason,
    ClientIds,
    MarginTier,
    Market,
    PriceSource,
    ReduceOnlyMode,
    Rules,
    SelfTrade,
    to_fraction,
    to_money,
)
from exchange_simulator.dialects.base import GRPC, Budget, Dialect, Faults, Received, Refusal, Reply, Route, Session, SimAccount
from exchange_simulator.dialects.dydx import wire
from exchange_simulator.dialects.dydx.chain import CLOB, SECP256K1_ORDER, Chain, Message, Rejected, Tx, Wallet, sdk, valid_authenticator
from exchange_simulator.dialects.dydx.clob import EXPIRED, Clob, ClobOrder, Subaccount
from exchange_simulator.dialects.dydx.endpoints import Endpoints
from exchange_simulator.dialects.dydx.indexer import ACCOUNT_EVENTS, Indexer
from exchange_simulator.dialects.dydx.node import Node
from exchange_simulator.dialects.dydx.stream import Stream

GENESIS: Final = 60_000_000
BLOCK_S: Final = 0.64
SWEEP_BLOCKS: Final = 2
"""Blocks after its good-til-block until the indexer says that a short-term order is gone."""
MARGINS: Final = {"BTC": ("0.02", "0.012"), "ETH": ("0.02", "0.012"), "SOL": ("0.05", "0.03")}
OTHER_MARGINS: Final = ("0.1", "0.05")


class Inbox:
    """Events of accounts on their way to the indexer: through the next block, or from the validator's memory at once."""

    def __init__(self, is_memory: Callable[[AnyEvent], bool], at_once: Callable[[AnyEvent], None]) -> None:
        self._is_memory = is_memory
        self._at_once = at_once
        self._waiting: list[AnyEvent] = []
        self._block: list[AnyEvent] | None = None

    def put(self, event: AnyEvent) -> None:
        if self._is_memory(event):
            self._at_once(event)
        elif self._block is not None and _enters(event):
            self._block.append(event)
        else:
            self._waiting.append(event)

    def open(self) -> None:
        """A block is being made: it holds what waited."""
        self._block, self._waiting = self._waiting, []

    def close(self) -> list[AnyEvent]:
        held, self._block = self._block or [], None
        return held


def _enters(event: AnyEvent) -> bool:
    """What a message of a block causes belongs to it; what it leads to in the book is in the next one."""
    if isinstance(event, OrderCancelled):
        return event.reason is CancelReason.USER
    if isinstance(event, BalanceChanged):
        return event.reason in (BalanceReason.DEPOSIT, BalanceReason.WITHDRAWAL)
    return isinstance(event, OrderAccepted | OrderRejected | OrderExpired)


class DydxDialect(Dialect):
    name = "dydx"
    ws_paths: ClassVar = {"public": "/v4/ws"}
    heartbeat_s: ClassVar[float | None] = 30.0

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
        block_s: float = BLOCK_S,
        lag_s: float = 0.05,
        short_block_window: int = 20,
        late_removals: float = 0.1,
        snapshot_gap_s: float = 0.0,
        second_looks: float = 0.0,
    ) -> None:
        """`lag_s`: from a block, or from the validator's memory, to the indexer. `late_removals`: share of vanished levels that batched
        books are told one batch late. `snapshot_gap_s`: how long after its snapshot a subscription counts; updates between are lost.
        `second_looks`: share of removed immediate orders that the next block's proposer, who has another book, matches once more.
        """
        super().__init__(exchange, runtime, seed=seed, faults=faults, budget=budget, log_size=log_size)
        self.chain_id = "dydx-mainnet-1" if mainnet else "dydx-testnet-4"
        self.block_s = block_s
        self.lag_s = lag_s
        self.short_block_window = short_block_window
        self.late_removals = late_removals
        self.snapshot_gap_s = snapshot_gap_s
        self.second_looks = second_looks
        self.halted = False
        """A halted chain makes no blocks: a node upgrade."""
        self.isolated: set[str] = set()
        """Symbols whose market type is ISOLATED."""
        self.charge_ppm: dict[str, int] = {}
        """Symbol -> share of the fee that is charged, for markets with a discount."""
        self.staking_discount_ppm = 0
        self.chain = Chain(str(self.chain_id), GENESIS, block_s)
        self.chain.next_block(self.now_ns())
        self.clob = Clob(self)
        self.indexer = Indexer(self)
        self.stream = Stream(self)
        self._endpoints = Endpoints(self)
        self._node = Node(self)
        self._seed = seed
        self._subaccounts: dict[tuple[str, int], Subaccount] = {}
        self._by_account: dict[int, Subaccount] = {}
        self._grids: dict[str, wire.Grid] = {}
        self._symbols: list[str] = []
        self._moving: tuple[Mapping[str, Any], ...] = ()
        self._counterparties: dict[int, Mapping[str, Any]] = {}
        self._outlived: dict[int, list[ClobOrder]] = defaultdict(list)
        self._ended: list[tuple[ClobOrder, str, str]] = []
        self._looking_again = False
        self._truth = Inbox(self._is_memory, self._learn_memory)
        self._told = Inbox(self._is_memory, self._tell_memory)
        self._readers: dict[type, Callable[[Any], None]] = {
            BookDelta: self.stream.on_book,
            Trade: self.stream.on_trade,
            MarkChanged: self.stream.on_mark,
            MarketChanged: self.stream.on_market,
            MarketStatusChanged: self.stream.on_status,
        }
        exchange.subscribe(self._observe)

    # ---- what the venue is

    @classmethod
    def rules(cls) -> Rules:
        return Rules(
            reduce_only=ReduceOnlyMode.AT_MATCH,
            self_trade=SelfTrade.CANCEL_MAKER,
            amend=AmendMode.REPLACE,
            client_ids=ClientIds.ANY,
            post_only_late=True,
        )

    @classmethod
    def listing(cls, base: str, *, tick_size: Decimal, step_size: Decimal) -> Market:
        initial, maintenance = (to_fraction(part) for part in MARGINS.get(base, OTHER_MARGINS))
        return Market(
            f"{base}-USD",
            tick_size=tick_size,
            step_size=step_size,
            tiers=(MarginTier(0, initial, maintenance),),
            maker_fee=to_fraction("0.0001"),
            taker_fee=to_fraction("0.0005"),
            funding_cap=6 * (initial - maintenance) // 8,
            funding_price=PriceSource.MARK,
        )

    def open_account(self, deposit: Decimal) -> SimAccount:
        """A new address with subaccount 0."""
        return self.open_address(self._key(f"account-{len(self.chain.wallets) + 1}"), deposit)

    def open_address(self, private_key: str, deposit: Decimal) -> SimAccount:
        """The address of that key (hex), with subaccount 0."""
        wallet = self.chain.add(_public_key(private_key))
        account = self.open_subaccount(wallet.address, 0, deposit)
        return SimAccount(account, {"DYDX_PRIVATE_KEY": private_key, "DYDX_ADDRESS": wallet.address, "DYDX_SUBACCOUNT_NUMBER": "0"})

    def open_subaccount(self, address: str, number: int, deposit: Decimal = Decimal(0)) -> int:
        """The exchange's account for it. With a deposit the indexer knows it at once."""
        account = max([*self._by_account, 1000]) + 1
        owner = Subaccount(address, number, account)
        self._subaccounts[address, number] = self._by_account[account] = owner
        rows = self.indexer.of(account)
        rows.balance, rows.known = to_money(deposit), deposit > 0
        self.exchange.open_account(self.now_ns(), account, deposit=to_money(deposit))
        return account

    def permissioned(self, of: SimAccount, *, clob_pairs: Sequence[int] = (), subaccounts: Sequence[int] = (0,)) -> SimAccount:
        """Another key that may place and cancel orders for the account, in those markets (all when none is named)."""
        owner = self._by_account[of.account]
        key = self._key(f"permissioned-{of.account}-{len(self.chain.wallets[owner.address].authenticators)}")
        commands = ",".join(f"{CLOB}{name}" for name in ("MsgPlaceOrder", "MsgCancelOrder", "MsgBatchCancel", "MsgUpdateLeverage"))
        parts = [("SignatureVerification", _public_key(key)), ("MessageFilter", commands.encode())]
        parts.append(("SubaccountFilter", ",".join(map(str, subaccounts)).encode()))
        if clob_pairs:
            parts.append(("ClobPairIdFilter", ",".join(map(str, clob_pairs)).encode()))
        config = json.dumps([{"type": kind, "config": base64.b64encode(value).decode()} for kind, value in parts]).encode()
        number = self.chain.add_authenticator(self.chain.wallets[owner.address], "AllOf", config)
        return SimAccount(of.account, {**of.environ, "DYDX_PRIVATE_KEY": key, "DYDX_AUTHENTICATOR_ID": str(number)})

    def _key(self, name: str) -> str:
        """A key that depends on the seed alone: good for a simulation, for nothing else."""
        digest = hashlib.sha512(f"perpkit simulated {self.name} {self._seed} {name}".encode()).digest()
        return f"{int.from_bytes(digest, 'big') % (SECP256K1_ORDER - 1) + 1:064x}"

    # ---- who and what

    def subaccounts(self) -> Iterable[Subaccount]:
        return list(self._subaccounts.values())

    def find(self, address: str, number: int) -> Subaccount | None:
        return self._subaccounts.get((address, number))

    def subaccount(self, address: str, number: int) -> Subaccount:
        """One that may trade: it has had collateral once."""
        found = self.find(address, number)
        return found if found is not None else self._by_account[self.open_subaccount(address, number)]

    def subaccount_of(self, account: int) -> Subaccount:
        return self._by_account[account]

    def grid(self, symbol: str) -> wire.Grid:
        """Markets are numbered in the order of their listing."""
        if symbol not in self._grids:
            for listed, state in self.exchange.markets.items():
                if listed not in self._grids:
                    self._grids[listed] = wire.grid_of(state.spec, len(self._symbols))
                    self._symbols.append(listed)
        return self._grids[symbol]

    def symbol_of(self, clob_pair: int) -> str | None:
        if len(self._symbols) < len(self.exchange.markets):
            self.grid(next(reversed(self.exchange.markets)))
        return self._symbols[clob_pair] if 0 <= clob_pair < len(self._symbols) else None

    def fees_of(self, owner: Subaccount | None) -> tuple[int, int]:
        """(maker, taker) fractions before any discount of a market."""
        own = self.exchange.account(owner.account).fees.get("") if owner is not None else None
        return own or (to_fraction("0.0001"), to_fraction("0.0005"))

    def counterparty(self, owner: Subaccount, event: BalanceChanged) -> Mapping[str, Any]:
        """Who sent or got the money of a transfer."""
        return self._counterparties.get(event.seq, {"address": owner.address})

    # ---- transactions

    def broadcast(self, raw: bytes) -> tuple[str, Rejected | None]:
        """(hash, why CheckTx said no)."""
        return self.chain.broadcast(raw, self._check, self.clob.at_once)

    def _check(self, tx: Tx, wallet: Wallet) -> None:
        self.exchange.advance(self.now_ns())
        for message in tx.messages:
            if message.name == "MsgCreateTransfer":
                self._check_transfer(message)
            elif message.name == "MsgAddAuthenticator":
                if not valid_authenticator(message.values["authenticator_type"], message.values["data"]):
                    raise Rejected("accountplus", 106, "invalid authenticator data")
            elif message.name == "MsgRemoveAuthenticator" and message.values["id"] not in wallet.authenticators:
                raise Rejected("accountplus", 1, f"authenticator {message.values['id']} not found: authenticator not found")
        self.clob.check(tx, wallet)

    def _check_transfer(self, message: Message) -> None:
        transfer = message.values["transfer"]
        if transfer is None or transfer["sender"] is None or transfer["recipient"] is None or transfer["amount"] == 0:
            raise Rejected("sending", 3, "Invalid transfer amount")
        if transfer["sender"] == transfer["recipient"]:
            raise Rejected("sending", 2, "Sender is the same as recipient")

    def _deliver(self, tx: Tx, wallet: Wallet) -> None:
        """What a block does with one transaction. Raises Rejected."""
        for message in tx.messages:
            values = message.values
            match message.name:
                case "MsgCreateTransfer":
                    self._transfer(values["transfer"])
                case "MsgDepositToSubaccount":
                    self._deposit(wallet, values)
                case "MsgWithdrawFromSubaccount":
                    self._withdraw(wallet, values)
                case "MsgSend":
                    self._send(wallet, values)
                case "MsgAddAuthenticator":
                    self.chain.add_authenticator(wallet, values["authenticator_type"], values["data"])
                case "MsgRemoveAuthenticator":
                    wallet.authenticators.pop(values["id"], None)
        self.clob.deliver(tx)

    def _take(self, address: str, number: int, quantums: int, to: Mapping[str, Any]) -> None:
        owner = self.find(address, number)
        if owner is None:
            raise Rejected("subaccounts", 402, "subaccount update failed: NewlyUndercollateralized")
        self._moving = (to,)
        if self.exchange.withdraw(self.now_ns(), owner.account, quantums * 10**6) is not None:
            raise Rejected("subaccounts", 402, "subaccount update failed: NewlyUndercollateralized")

    def _give(self, address: str, number: int, quantums: int, of: Mapping[str, Any]) -> None:
        account = self.subaccount(address, number).account
        self._moving = (of,)
        self.exchange.deposit(self.now_ns(), account, quantums * 10**6)

    def _transfer(self, transfer: Mapping[str, Any]) -> None:
        sender, recipient, amount = transfer["sender"], transfer["recipient"], transfer["amount"]
        if recipient["owner"] not in self.chain.wallets:
            raise sdk(9, f"account {recipient['owner']} does not exist: unknown address")
        self._take(sender["owner"], sender["number"], amount, _party(recipient))
        self._give(recipient["owner"], recipient["number"], amount, _party(sender))

    def _deposit(self, wallet: Wallet, values: Mapping[str, Any]) -> None:
        amount = values["quantums"]
        if wallet.funds.get(wire.USDC, 0) < amount or values["recipient"] is None:
            raise sdk(5, "spendable balance is smaller than the deposit: insufficient funds")
        wallet.funds[wire.USDC] -= amount
        self._give(values["recipient"]["owner"], values["recipient"]["number"], amount, {"address": wallet.address})

    def _withdraw(self, wallet: Wallet, values: Mapping[str, Any]) -> None:
        recipient = self.chain.wallet(values["recipient"])
        self._take(values["sender"]["owner"], values["sender"]["number"], values["quantums"], {"address": recipient.address})
        recipient.funds[wire.USDC] = recipient.funds.get(wire.USDC, 0) + values["quantums"]

    def _send(self, wallet: Wallet, values: Mapping[str, Any]) -> None:
        recipient = self.chain.wallet(values["to_address"])
        for coin in values["amount"]:
            amount = int(coin["amount"])
            if wallet.funds.get(coin["denom"], 0) < amount:
                raise sdk(5, f"spendable balance is smaller than {amount}{coin['denom']}: insufficient funds")
            wallet.funds[coin["denom"]] -= amount
            recipient.funds[coin["denom"]] = recipient.funds.get(coin["denom"], 0) + amount

    # ---- blocks

    def on_start(self) -> None:
        self.agenda.after(self.block_s, self._tick)

    def on_stop(self) -> None:
        self.stream.stop()

    def _tick(self) -> None:
        self.agenda.after(self.block_s, self._tick)
        if not self.halted:
            self.make_block()

    def make_block(self) -> None:
        """One block now: it holds what happened since the last, and the transactions that waited."""
        now = self.now_ns()
        self.exchange.advance(now)
        self._looking_again = True
        self.clob.look_again()
        self._looking_again = False
        held = self.chain.next_block(now)
        self._truth.open()
        self._told.open()
        for tx in held:
            rejected: Rejected | None = None
            try:
                self._deliver(tx, self.chain.wallet(tx.messages[0].owner))
            except Rejected as e:
                rejected = e
            self.chain.record(tx, rejected)
        self.clob.end_block(self.chain.height)
        truth, told = self._truth.close(), self._told.close()
        height, swept = self.chain.height, self._outlived.pop(self.chain.height, [])
        ended, self._ended = self._ended, []
        visible = now + int(self.lag_s * 10**9)
        self.indexer.later(visible, self.indexer.learn, height, now, truth)
        for order, _, _ in ended:
            self.indexer.later(visible, self.indexer.unplaced, order, height, now)
        for order in swept:
            if order.reason == EXPIRED or self._was_cancelled(order):
                ended.append((order, wire.CANCELED, EXPIRED if order.reason == EXPIRED else "USER_CANCELED"))
            self.indexer.later(visible, self.indexer.outlived, order, height, now)
        if self.serving:
            self.agenda.after(self.lag_s, self.stream.tell_block, visible, height, now, told, ended)

    def _was_cancelled(self, order: ClobOrder) -> bool:
        core = self.exchange.order(order.core_id) if order.core_id else None
        return core is not None and core.cancel_reason is CancelReason.USER and not order.superseded

    def outlived(self, order: ClobOrder) -> None:
        """The block that a short-term order was good until is made; the indexer sweeps it some blocks later."""
        self._outlived[self.chain.height + SWEEP_BLOCKS].append(order)

    def removed_unplaced(self, order: ClobOrder) -> None:
        """The order was removed before it reached the book."""
        if not order.short_term:
            self._ended.append((order, wire.CANCELED, order.reason))
            return
        self.indexer.later(self._soon(), self.indexer.unplaced, order, 0, 0)
        if self.serving:
            self.agenda.after(self.lag_s, self.stream.tell_memory, self._soon(), (), [(order, wire.BEST_EFFORT_CANCELED, order.reason)])

    # ---- events

    def _soon(self) -> int:
        return self.now_ns() + int(self.lag_s * 10**9)

    def _is_memory(self, event: AnyEvent) -> bool:
        """Short-term orders come and go in the validator's memory."""
        if isinstance(event, OrderAccepted | OrderRejected):
            request = event.order
        elif isinstance(event, OrderCancelled):
            order = self.exchange.order(event.order_id)
            if order is None:
                return False
            request = order.request
        else:
            return False
        return bool(request.client_id) and not request.expires_ns

    def _is_secret(self, event: AnyEvent) -> bool:
        """Of another proposer's matching only the fills are ever heard."""
        return self._looking_again and isinstance(event, OrderAccepted | OrderCancelled | OrderRejected)

    def _observe(self, event: AnyEvent) -> None:
        """The truth, whatever the stream is told."""
        if isinstance(event, Trade):
            self.indexer.trade_heights[event.trade_id] = self.chain.height + 1
            if len(self.indexer.trade_heights) > 100_000:
                del self.indexer.trade_heights[next(iter(self.indexer.trade_heights))]
        elif type(event) in ACCOUNT_EVENTS and not self._is_secret(event):
            if isinstance(event, BalanceChanged) and self._moving and event.reason in (BalanceReason.DEPOSIT, BalanceReason.WITHDRAWAL):
                (self._counterparties[event.seq],) = self._moving
                self._moving = ()
            self._truth.put(event)

    def _learn_memory(self, event: AnyEvent) -> None:
        self.indexer.later(self._soon(), self.indexer.learn, 0, 0, [event])

    def _tell_memory(self, event: AnyEvent) -> None:
        if self.serving:
            self.agenda.after(self.lag_s, self.stream.tell_memory, self._soon(), [event])

    def publish(self, event: AnyEvent) -> None:
        reader = self._readers.get(type(event))
        if reader is not None:
            if self.sessions:
                reader(event)
        elif type(event) in ACCOUNT_EVENTS and not self._is_secret(event):
            self._told.put(event)

    # ---- requests

    def routes(self) -> Sequence[Route]:
        return (*self._endpoints.routes(), *self._node.routes())

    def budget_key(self, received: Received) -> str:
        """The indexer and the nodes are counted apart."""
        return received.remote if received.path.startswith("/v4/") else f"node {received.remote}"

    def refuse(self, refusal: Refusal, received: Received) -> Reply:
        if received.method == GRPC:
            return Reply(refusal.message.encode(), refusal.status)
        if not received.path.startswith("/v4/"):
            return Reply({"code": 5 if refusal.status == 404 else 3, "message": refusal.message, "details": []}, refusal.status)
        error: dict[str, Any] = {"msg": refusal.message}
        if refusal.status == 400:
            error = {"value": received.params.get(str(refusal.code)), **error, "param": refusal.code, "location": "query"}
        return Reply({"errors": [error]}, refusal.status)

    def limited(self, retry_after_s: float, received: Received) -> Reply:
        if received.method == GRPC:
            return Reply(b"too many requests", 429)
        return Reply({"errors": [{"msg": "Too many requests"}]}, 429, {"Retry-After": str(int(retry_after_s * 1000) + 1)})

    def limit_headers(self, received: Received) -> Mapping[str, str]:
        """How much of the indexer's budget is left, as every answer says."""
        if self.budget is None:
            return {}
        return {
            "RateLimit-Limit": str(self.budget.limit),
            "RateLimit-Remaining": str(self.budget.left(self.budget_key(received))),
            "RateLimit-Reset": str(self.now_ns() // 10**6 + int(self.budget.period_s * 1000)),
        }

    def fault_headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """The indexer says Retry-After in milliseconds; what is no number of seconds stays as it is."""
        is_seconds = {name: name == "Retry-After" and value.isascii() and value.isdigit() for name, value in headers.items()}
        return {name: f"{value}000" if is_seconds[name] else value for name, value in headers.items()}

    def unavailable(self, status: int, received: Received) -> Reply:
        if received.method == GRPC:
            return Reply({429: b"rate limit exceeded", 500: b"internal error"}.get(status, b"upstream connect error"), status)
        if status == 403:
            return Reply({"errors": [{"code": "GEOBLOCKED", "msg": "the country is not served"}]}, status)
        if status in (429, 500):
            return Reply({"errors": [{"msg": "Too many requests" if status == 429 else "Internal Server Error"}]}, status)
        return super().unavailable(status, received)

    # ---- sockets

    def on_connect(self, session: Session) -> None:
        self.stream.connected(session)

    def on_disconnect(self, session: Session) -> None:
        self.stream.disconnected(session)

    async def on_message(self, session: Session, received: Received) -> None:
        self.stream.on_message(session, received)

    def refuse_message(self, refusal: Refusal, session: Session, received: Received) -> None:
        self.stream.error(session, refusal.message)


def _party(subaccount_id: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"address": subaccount_id["owner"], "subaccountNumber": subaccount_id["number"]}


def _public_key(private_key: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = ec.derive_private_key(int(private_key, 16), ec.SECP256K1()).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
