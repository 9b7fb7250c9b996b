"""The order book of the chain: what CheckTx asks of orders and cancels, and how they reach the exchange.

Short-term orders match at once in the validator's memory; stateful ones are placed by the block after their checks. Rules and codes:
dydxprotocol/v4-chain `protocol/x/clob`, read 2026-11. Short-term cancels of unknown orders pass, as there.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from exchange_simulator.core.market import MarketState
from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import (
    MarketStatus,
    NewOrder,
    OrderStatus,
    OrderType,
    PostOnly,
    RejectReason,
    Side,
    TimeInForce,
    Trigger,
    TriggerKind,
    money,
)
from exchange_simulator.dialects.dydx import proto, wire
from exchange_simulator.dialects.dydx.chain import MAX_SUBACCOUNT, Message, Rejected, Tx, Wallet

if TYPE_CHECKING:
    from exchange_simulator.dialects.dydx.dialect import DydxDialect

SHORT_TERM, CONDITIONAL, LONG_TERM = 0, 32, 64
GTT, IOC, POST_ONLY, FOK = range(4)
BUY, SELL = 1, 2
STOP_LOSS, TAKE_PROFIT = 1, 2
STATEFUL_WINDOW_S: Final = 95 * 86_400
MAX_BATCH: Final = 100
EXPIRED: Final = "INDEXER_EXPIRED"
EQUITY_TIERS: Final = ((0, 0), (20, 10), (100, 20), (1_000, 40), (10_000, 100), (100_000, 200))
"""Net collateral in USD from which so many stateful orders may be open."""
SHORT_TERM_PER: Final = (5, 4000)
STATEFUL_PER: Final = ((1, 2), (100, 20))
"""(blocks, orders) per account."""


@dataclass(frozen=True, slots=True)
class Subaccount:
    """A subaccount and the exchange's account that stands for it."""

    address: str
    number: int
    account: int

    @property
    def uuid(self) -> str:
        return wire.subaccount_uuid(self.address, self.number)

    @property
    def channel_id(self) -> str:
        return f"{self.address}/{self.number}"


@dataclass(slots=True, eq=False)
class ClobOrder:
    """An order as the chain knows it; `core_id` is 0 until it reached the exchange. A replacement is another one with the same uuid."""

    uuid: str
    owner: Subaccount
    client_id: int
    flags: int
    clob_pair: int
    symbol: str
    side: Side
    quantums: int
    subticks: int
    size: int
    """Steps, all that was ever filled under this id included."""
    price: int
    good_til_block: int
    good_til_time: int
    time_in_force: int
    reduce_only: bool
    client_metadata: int
    condition: int
    trigger: int
    """Ticks."""
    hash: bytes
    raw: Mapping[str, Any]
    core_id: int = 0
    filled_before: int = 0
    superseded: bool = False
    reason: str = ""
    """Why it was removed, where the exchange's own reason does not say."""

    @property
    def key(self) -> tuple[int, int, int, int]:
        return (self.owner.account, self.client_id, self.flags, self.clob_pair)

    @property
    def short_term(self) -> bool:
        return self.flags == SHORT_TERM


def clob(code: int, log: str) -> Rejected:
    return Rejected("clob", code, log)


class _Window:
    """So many per account in so many blocks."""

    def __init__(self, blocks: int, limit: int) -> None:
        self.blocks = blocks
        self.limit = limit
        self._spent: dict[str, deque[int]] = {}

    def check(self, address: str, height: int) -> None:
        spent = self._spent.setdefault(address, deque())
        while spent and spent[0] <= height - self.blocks:
            spent.popleft()
        if len(spent) >= self.limit:
            raise clob(
                5001,
                f"Rate of {len(spent) + 1} exceeds the limit of {self.limit} per {self.blocks} blocks: Block rate limit exceeded",
            )

    def spend(self, address: str, height: int) -> None:
        self._spent[address].append(height)


class Clob:
    """Orders of all subaccounts, by id and by the exchange's order."""

    def __init__(self, dialect: DydxDialect) -> None:
        self._dialect = dialect
        self._exchange = dialect.exchange
        self.orders: dict[tuple[int, int, int, int], ClobOrder] = {}
        """The newest of each id."""
        self.by_core: dict[int, ClobOrder] = {}
        self._cancels: dict[tuple[int, int, int, int], int] = {}
        """Short-term cancels and until which block they hold."""
        self._expiring: dict[int, list[ClobOrder]] = {}
        """Good-til-block -> short-term orders."""
        self._short_rate = _Window(*SHORT_TERM_PER)
        self._stateful_rates = [_Window(*per) for per in STATEFUL_PER]
        self._waiting: dict[tuple[int, int, int, int], ClobOrder] = {}
        """Stateful orders that the next block will place."""
        self._cancelling: set[tuple[int, int, int, int]] = set()
        self._second_looks: list[ClobOrder] = []
        """Immediate orders that the next block's proposer will match once more."""
        self._ended_in: dict[tuple[int, int, int, int], tuple[int, int]] = {}
        """Stateful ids that ended: (height, code that refuses to place them again in that block)."""

    # ---- questions

    def live(self, order: ClobOrder) -> Order | None:
        """The exchange's order while it may still fill."""
        found = self._exchange.order(order.core_id) if order.core_id else None
        return found if found is not None and not found.status.terminal else None

    def filled(self, order: ClobOrder) -> int:
        """Steps filled under this id."""
        found = self._exchange.order(order.core_id) if order.core_id else None
        return order.filled_before + (found.filled if found is not None else 0)

    def of_core(self, order_id: int) -> ClobOrder:
        """Orders that no transaction placed are given an identity as long-term ones."""
        known = self.by_core.get(order_id)
        if known is not None:
            return known
        core = self._exchange.order(order_id)
        assert core is not None
        owner = self._dialect.subaccount_of(core.account.id)
        grid = self._dialect.grid(core.market.symbol)
        client_id = 0xF0000000 | order_id & 0x0FFFFFFF
        far = self._dialect.chain.block_ns // 10**9 + STATEFUL_WINDOW_S
        order = ClobOrder(
            wire.order_uuid(owner.address, owner.number, client_id, grid.clob_pair, LONG_TERM),
            owner,
            client_id,
            LONG_TERM,
            grid.clob_pair,
            core.market.symbol,
            core.side,
            core.size * grid.step_base_quantums,
            core.price * grid.subticks_per_tick,
            core.size,
            core.price,
            0,
            far,
            POST_ONLY if core.request.post_only is not PostOnly.OFF else IOC if core.request.time_in_force is TimeInForce.IOC else GTT,
            core.request.reduce_only,
            0,
            0,
            0,
            order_id.to_bytes(32, "big"),
            {},
            core_id=order_id,
        )
        self.orders[order.key] = self.by_core[order_id] = order
        return order

    # ---- CheckTx

    def check(self, tx: Tx, wallet: Wallet) -> None:
        """
        Raises:
            Rejected: the transaction stays out of the mempool.
        """
        waiting: list[tuple[int, int, int, int]] = []
        try:
            for message in tx.messages:
                match message.name:
                    case "MsgPlaceOrder":
                        order = self._check_place(message, wallet)
                        if not order.short_term:
                            self._waiting[order.key] = order
                            waiting.append(order.key)
                    case "MsgCancelOrder":
                        self._check_cancel(message, wallet)
                    case "MsgBatchCancel":
                        self._check_batch(message)
                    case "MsgUpdateLeverage":
                        self._check_leverage(message)
        except Rejected:
            for key in waiting:
                del self._waiting[key]
            raise
        self._cancelling.update(self._key(m.values["order_id"]) for m in tx.messages if m.name == "MsgCancelOrder" and not m.is_short_term)

    def _key(self, order_id: Mapping[str, Any]) -> tuple[int, int, int, int]:
        owner = self._owner(order_id["subaccount_id"])
        return (owner.account, order_id["client_id"], order_id["order_flags"], order_id["clob_pair_id"])

    def _owner(self, subaccount_id: Mapping[str, Any] | None) -> Subaccount:
        number = (subaccount_id or {}).get("number", 0)
        if number > MAX_SUBACCOUNT:
            raise Rejected("subaccounts", 400, "subaccount id number must be <= 128000: invalid subaccount id number")
        return self._dialect.subaccount((subaccount_id or {}).get("owner", ""), number)

    def _market(self, clob_pair: int) -> tuple[MarketState, wire.Grid]:
        symbol = self._dialect.symbol_of(clob_pair)
        if symbol is None:
            raise clob(8, f"Clob {clob_pair} is not a valid clob: ClobPair ID does not reference a valid CLOB")
        return self._exchange.markets[symbol], self._dialect.grid(symbol)

    def _order(self, message: Message) -> ClobOrder:
        """The order of a well-formed message."""
        values = message.values["order"]
        order_id = values["order_id"]
        owner = self._owner(order_id["subaccount_id"])
        state, grid = self._market(order_id["clob_pair_id"])
        flags = order_id["order_flags"]
        return ClobOrder(
            wire.order_uuid(owner.address, owner.number, order_id["client_id"], grid.clob_pair, flags),
            owner,
            order_id["client_id"],
            flags,
            grid.clob_pair,
            state.symbol,
            Side.BUY if values["side"] == BUY else Side.SELL,
            values["quantums"],
            values["subticks"],
            values["quantums"] // grid.step_base_quantums,
            values["subticks"] // grid.subticks_per_tick,
            values["good_til_block"],
            values["good_til_block_time"],
            values["time_in_force"],
            bool(values["reduce_only"]),
            values["client_metadata"],
            values["condition_type"],
            values["conditional_order_trigger_subticks"] // grid.subticks_per_tick,
            hashlib.sha256(message.raw).digest(),
            values,
        )

    def _check_place(self, message: Message, wallet: Wallet) -> ClobOrder:
        self._check_form(message.values["order"])
        order = self._order(message)
        state = self._exchange.markets[order.symbol]
        self._check_status(order, state)
        if order.short_term:
            self._check_block(order.good_til_block)
            self._short_rate.check(wallet.address, self._dialect.chain.height)
            self._check_short_term(order, state)
        else:
            self._check_time(order.good_til_time)
            for rate in self._stateful_rates:
                rate.check(wallet.address, self._dialect.chain.height)
            self._check_stateful(order, state)
            for rate in self._stateful_rates:
                rate.spend(wallet.address, self._dialect.chain.height)
        return order

    def _check_form(self, values: Mapping[str, Any] | None) -> None:
        if values is None or values["order_id"] is None or values["order_id"]["subaccount_id"] is None:
            raise clob(12, "Order cannot be empty: MsgPlaceOrder is invalid")
        flags, tif, condition = values["order_id"]["order_flags"], values["time_in_force"], values["condition_type"]
        if flags not in (SHORT_TERM, CONDITIONAL, LONG_TERM):
            raise clob(3000, f"orderId has invalid order flags {flags}: Invalid order flags")
        if values["side"] not in (BUY, SELL):
            raise clob(3, f"Side must be BUY or SELL, was {values['side']}: Invalid order side")
        if values["quantums"] == 0:
            raise clob(4, "order size quantums cannot be 0: Invalid order quantums")
        if values["subticks"] == 0:
            raise clob(6, "order subticks cannot be 0: Invalid order subticks")
        if tif == FOK:
            raise clob(48, "Fill-or-kill has been deprecated and will be removed in future versions: field has been deprecated")
        if tif not in (GTT, IOC, POST_ONLY):
            raise clob(44, f"Invalid time in force: {tif}: invalid time in force")
        if flags == SHORT_TERM and values["good_til_block"] == 0:
            raise clob(5, "order goodTilBlock cannot be 0: Invalid order goodTilBlock")
        if flags != SHORT_TERM and values["good_til_block_time"] == 0:
            raise clob(3001, "stateful order goodTilBlockTime cannot be 0: Invalid order goodTilBlockTime")
        if flags == LONG_TERM and tif == IOC:
            raise clob(3002, "Long term orders do not currently support IOC: Stateful orders cannot require immediate execution")
        if values["reduce_only"] and (flags == LONG_TERM or tif != IOC):
            raise clob(9003, "Reduce only orders must be IOC and not long-term: Reduce-only is currently disabled for non-IOC orders")
        if (flags == CONDITIONAL) != (condition in (STOP_LOSS, TAKE_PROFIT)):
            raise clob(6000, f"condition type {condition} with order flags {flags}: Conditional type is invalid")
        if (flags == CONDITIONAL) != (values["conditional_order_trigger_subticks"] > 0):
            raise clob(6001, "trigger subticks do not fit the order flags: Conditional order trigger subticks is invalid")
        _, grid = self._market(values["order_id"]["clob_pair_id"])
        if values["quantums"] % grid.step_base_quantums:
            raise clob(4, f"Order Quantums {values['quantums']} must be a multiple of {grid.step_base_quantums}: Invalid order quantums")
        if values["subticks"] % grid.subticks_per_tick:
            raise clob(6, f"Order subticks {values['subticks']} must be a multiple of {grid.subticks_per_tick}: Invalid order subticks")
        if values["conditional_order_trigger_subticks"] % grid.subticks_per_tick:
            raise clob(6001, "trigger subticks must be a multiple of SubticksPerTick: Conditional order trigger subticks is invalid")

    def _check_status(self, order: ClobOrder, state: MarketState) -> None:
        status = state.spec.status
        if status is MarketStatus.ACTIVE or (status is MarketStatus.POST_ONLY and order.time_in_force == POST_ONLY):
            return
        raise clob(
            34, f"Order {order.uuid} not allowed for clob pair with status {wire.STATUS.get(status)}: Order conflicts with ClobPair status"
        )

    def _check_block(self, good_til_block: int) -> None:
        chain = self._dialect.chain
        following = chain.height + 1
        if good_til_block < following:
            raise clob(
                10,
                f"GoodTilBlock {good_til_block} is less than the current blockHeight {following}: The next block height is greater than "
                "the GoodTilBlock of the message",
            )
        if good_til_block > following + self._dialect.short_block_window:
            raise clob(
                11,
                f"The GoodTilBlock {good_til_block} exceeds the current blockHeight {following} plus ShortBlockWindow "
                f"{self._dialect.short_block_window}: The GoodTilBlock of the message is further than ShortBlockWindow blocks into the "
                "future",
            )

    def _check_time(self, good_til_time: int) -> None:
        now_s = self._dialect.chain.block_ns // 10**9
        if good_til_time <= now_s:
            raise clob(
                3003,
                f"Block time {now_s} is greater than GoodTilBlockTime {good_til_time}: The block time is greater than the "
                "GoodTilBlockTime of the message",
            )
        if good_til_time > now_s + STATEFUL_WINDOW_S:
            raise clob(3004, "The GoodTilBlockTime of the message is further than StatefulOrderTimeWindow into the future")

    def _check_short_term(self, order: ClobOrder, state: MarketState) -> None:
        old = self.orders.get(order.key)
        if self._cancels.get(order.key, 0) >= order.good_til_block:
            raise clob(7, f"Order: {order.uuid}: Attempt to place an order that is already canceled")
        if old is not None:
            if old.hash == order.hash:
                raise clob(30, "An order with the same `OrderId` and `OrderHash` has already been processed for this CLOB")
            if self.live(old) is not None and (order.good_til_block, order.hash) <= (old.good_til_block, old.hash):
                raise clob(
                    20,
                    "An order with the same `OrderId` already exists for this CLOB with a greater-than-or-equal `GoodTilBlock` "
                    "or Order Hash",
                )
            filled = self._remembered(old)
            if filled >= order.size:
                raise clob(24, f"Order: {order.uuid}: Order is fully filled")
            if filled and order.time_in_force == IOC:
                raise clob(2004, "IOC/FOK order is already filled, remaining size is cancelled.")
        position = self._exchange.position(order.owner.account, order.symbol)
        if order.reduce_only and position.closable(order.side) == 0:
            raise clob(2001, "Reduce-only orders cannot increase the position size")
        if order.time_in_force == POST_ONLY and state.book.side(order.side.opposite).reached_by(order.price):
            raise clob(2003, "Post-only order would cross one or more maker orders")

    def _remembered(self, old: ClobOrder) -> int:
        """What was filled under the id, as long as the chain remembers it."""
        return self.filled(old) if old.good_til_block + self._dialect.short_block_window >= self._dialect.chain.height else 0

    def _check_stateful(self, order: ClobOrder, state: MarketState) -> None:
        old = self.orders.get(order.key)
        if order.key in self._waiting or (old is not None and self.live(old) is not None):
            raise clob(3005, f"order id {order.uuid}: Existing stateful order has higher-or-equal priority than the new one")
        height, code = self._ended_in.get(order.key, (0, 0))
        if height >= self._dialect.chain.height:
            said = "cancelled" if code == 3008 else "removed"
            raise clob(code, f"Stateful order was previously {said} and therefore cannot be placed")
        self._check_tier(order)
        if order.flags == LONG_TERM:
            position = self._exchange.position(order.owner.account, order.symbol)
            if not self._exchange.ledger.affords(position, order.side, order.size, order.price):
                raise clob(3007, f"Order: {order.uuid}, result: NewlyUndercollateralized: Stateful order collateralization check failed")

    def _check_tier(self, order: ClobOrder) -> None:
        account = order.owner.account
        collateral = money(self._exchange.equity(account))
        limit = max((count for floor, count in EQUITY_TIERS if collateral >= floor), default=0)
        waiting = sum(1 for key in self._waiting if key[0] == account)
        resting = sum(1 for o in self._exchange.open_orders(account) if not self.of_core(o.id).short_term)
        if waiting + resting >= limit:
            raise clob(
                10001,
                f"Opening order would exceed equity tier limit of {limit}. Order count: {waiting + resting}: Subaccount cannot open more "
                "orders due to equity tier limit.",
            )

    def _check_cancel(self, message: Message, wallet: Wallet) -> None:
        values = message.values
        order_id = values["order_id"]
        if order_id is None or order_id["order_flags"] not in (SHORT_TERM, CONDITIONAL, LONG_TERM):
            raise clob(3000, "orderId has invalid order flags: Invalid order flags")
        state, _ = self._market(order_id["clob_pair_id"])
        if state.spec.status is MarketStatus.HALTED:
            raise clob(36, "Operation conflicts with ClobPair status")
        key = self._key(order_id)
        if order_id["order_flags"] == SHORT_TERM:
            self._check_block(values["good_til_block"])
            self._short_rate.check(wallet.address, self._dialect.chain.height)
            if self._cancels.get(key, 0) >= values["good_til_block"]:
                raise clob(9, "A cancel already exists in the memclob for this order with a greater than or equal GoodTilBlock")
            return
        self._check_time(values["good_til_block_time"])
        order = self._waiting.get(key) or self.orders.get(key)
        if order is None or (key not in self._waiting and self.live(order) is None):
            removed = self._ended_in.get(key, (0, 0))[0] >= self._dialect.chain.height
            if removed:
                raise clob(3010, "Stateful order cancellation failed because the order was already removed from state")
            raise clob(3006, "Order Id to cancel does not exist. Stateful order does not exist")
        if key in self._cancelling:
            raise clob(32, "Existing stateful order cancellation has higher-or-equal priority than the new one")
        if values["good_til_block_time"] < order.good_til_time:
            raise clob(29, "cancellation goodTilBlockTime less than stateful order goodTilBlockTime: Invalid stateful order cancellation")

    def _check_batch(self, message: Message) -> None:
        batches = message.values["short_term_cancels"]
        ids = [(batch["clob_pair_id"], client_id) for batch in batches for client_id in batch["client_ids"]]
        if not batches or any(not batch["client_ids"] for batch in batches):
            raise clob(45, "Batch cancel cannot have zero orders specified.: Invalid batch cancel message")
        if len(ids) > MAX_BATCH or len(set(ids)) != len(ids):
            raise clob(45, f"Batch cancel cannot have more than {MAX_BATCH} orders, or duplicates: Invalid batch cancel message")
        for batch in batches:
            self._market(batch["clob_pair_id"])
        self._check_block(message.values["good_til_block"])

    def _check_leverage(self, message: Message) -> None:
        if not message.values["clob_pair_leverage"]:
            raise clob(11002, "clob pair leverage list cannot be empty: Invalid leverage")
        for entry in message.values["clob_pair_leverage"]:
            state, _ = self._market(entry["clob_pair_id"])
            lowest = state.spec.tiers[0].initial // 10**6
            if not lowest <= entry["custom_imf_ppm"] <= wire.PPM:
                raise clob(11003, f"custom imf ppm {entry['custom_imf_ppm']} is out of [{lowest}, {wire.PPM}]: Invalid leverage")
            owner = self._owner(message.values["subaccount_id"])
            position = self._exchange.position(owner.account, state.symbol)
            extra = state.initial_margin(abs(position.size), entry["custom_imf_ppm"] * 10**6) - state.initial_margin(
                abs(position.size), position.initial
            )
            if extra > max(0, self._exchange.available(owner.account)):
                raise clob(11004, "leverage would leave the subaccount undercollateralized: Leverage violates margin requirements")

    # ---- what is done

    def at_once(self, tx: Tx, wallet: Wallet) -> None:
        """Short-term messages, which the validator's memory executes."""
        message = tx.messages[0]
        match message.name:
            case "MsgPlaceOrder":
                order = self._order(message)
                self._short_rate.spend(wallet.address, self._dialect.chain.height)
                self._place_short_term(order)
            case "MsgCancelOrder":
                self._short_rate.spend(wallet.address, self._dialect.chain.height)
                self._cancel_short_term(self._key(message.values["order_id"]), message.values["good_til_block"])
            case "MsgBatchCancel":
                owner = self._owner(message.values["subaccount_id"])
                for batch in message.values["short_term_cancels"]:
                    for client_id in batch["client_ids"]:
                        key = (owner.account, client_id, SHORT_TERM, batch["clob_pair_id"])
                        if self._cancels.get(key, 0) < message.values["good_til_block"]:
                            self._cancel_short_term(key, message.values["good_til_block"])

    def _place_short_term(self, order: ClobOrder) -> None:
        old = self.orders.get(order.key)
        if old is not None:
            order.filled_before = self._remembered(old)
            if self.live(old) is not None:
                old.superseded = True
                self._exchange.cancel(self._dialect.now_ns(), order.owner.account, old.core_id)
        self.orders[order.key] = order
        self._expiring.setdefault(order.good_til_block, []).append(order)
        self._submit(order)

    def _cancel_short_term(self, key: tuple[int, int, int, int], good_til_block: int) -> None:
        self._cancels[key] = good_til_block
        order = self.orders.get(key)
        if order is not None and order.good_til_block <= good_til_block and self.live(order) is not None:
            self._exchange.cancel(self._dialect.now_ns(), order.owner.account, order.core_id)

    def deliver(self, tx: Tx) -> None:
        """Stateful messages in their block.

        Raises:
            Rejected: the block holds the transaction as failed, and nothing of it is done.
        """
        cancels = [self._key(m.values["order_id"]) for m in tx.messages if m.name == "MsgCancelOrder"]
        self._cancelling.difference_update(cancels)
        for key in cancels:
            if (order := self.orders.get(key)) is None or self.live(order) is None:
                raise clob(3006, "Order Id to cancel does not exist. Stateful order does not exist")
        for message in tx.messages:
            match message.name:
                case "MsgPlaceOrder":
                    order = self._order(message)
                    order = self._waiting.pop(order.key, order)
                    self.orders[order.key] = order
                    self._submit(order)
                case "MsgCancelOrder":
                    self._cancel_stateful(message)
                case "MsgUpdateLeverage":
                    self._set_leverage(message)

    def _cancel_stateful(self, message: Message) -> None:
        key = self._key(message.values["order_id"])
        order = self.orders[key]
        self._exchange.cancel(self._dialect.now_ns(), order.owner.account, order.core_id)
        self._ended_in[key] = (self._dialect.chain.height, 3008)

    def _set_leverage(self, message: Message) -> None:
        owner = self._owner(message.values["subaccount_id"])
        for entry in message.values["clob_pair_leverage"]:
            state, _ = self._market(entry["clob_pair_id"])
            if (
                self._exchange.set_leverage(self._dialect.now_ns(), owner.account, state.symbol, entry["custom_imf_ppm"] * 10**6)
                is not None
            ):
                raise clob(11004, "leverage would leave the subaccount undercollateralized: Leverage violates margin requirements")

    def _submit(self, order: ClobOrder) -> None:
        trigger = None
        if order.flags == CONDITIONAL:
            stop = order.condition == STOP_LOSS
            trigger = Trigger(
                order.trigger, above=stop is (order.side is Side.BUY), kind=TriggerKind.STOP if stop else TriggerKind.TAKE_PROFIT
            )
        if self._breaks_isolation(order):
            order.reason = "VIOLATES_ISOLATED_SUBACCOUNT_CONSTRAINTS"
        new = NewOrder(
            account=order.owner.account,
            market=order.symbol,
            side=order.side,
            size=order.size - order.filled_before,
            price=order.price,
            type=OrderType.LIMIT,
            time_in_force=TimeInForce.IOC if order.time_in_force == IOC else TimeInForce.GTC,
            post_only=PostOnly.REJECT if order.time_in_force == POST_ONLY else PostOnly.OFF,
            reduce_only=order.reduce_only,
            client_id=order.uuid,
            expires_ns=order.good_til_time * 10**9,
            trigger=trigger,
        )
        if order.reason:
            self._dialect.removed_unplaced(order)
            return
        core = self._exchange.submit(self._dialect.now_ns(), new)
        order.core_id = core.id
        self.by_core[core.id] = order
        removed = core.status is OrderStatus.CANCELLED and order.short_term and order.time_in_force == IOC
        if removed and self._dialect.second_looks and self._dialect.rng.random() < self._dialect.second_looks:
            self._second_looks.append(order)
        if core.status is OrderStatus.REJECTED:
            order.reason = "UNDERCOLLATERALIZED" if core.reject_reason is RejectReason.INSUFFICIENT_MARGIN else "INTERNAL_ERROR"

    def _breaks_isolation(self, order: ClobOrder) -> bool:
        """A subaccount with a position in an isolated market holds no other."""
        isolated = self._dialect.isolated
        others = [
            p.market.symbol
            for p in self._exchange.account(order.owner.account).positions.values()
            if p.size and p.market.symbol != order.symbol
        ]
        return bool(others) and (order.symbol in isolated or any(symbol in isolated for symbol in others))

    # ---- blocks

    def look_again(self) -> None:
        """The block's proposer, whose book is the one of now, matches what our node could not."""
        looks, self._second_looks = self._second_looks, []
        for order in looks:
            first = self._exchange.order(order.core_id)
            if first is None or first.remaining == 0 or self.orders.get(order.key) is not order:
                continue
            again = replace(order, filled_before=order.filled_before + first.filled)
            request = msgspec.structs.replace(first.request, size=first.remaining)
            core = self._exchange.submit(self._dialect.now_ns(), request)
            again.core_id = core.id
            self.orders[order.key] = self.by_core[core.id] = again

    def end_block(self, height: int) -> None:
        """Short-term orders that are good until this block are gone after it; old cancels and orders are forgotten."""
        for order in self._expiring.pop(height, ()):
            if self.live(order) is not None and not order.superseded:
                order.reason = EXPIRED
                self._exchange.cancel(self._dialect.now_ns(), order.owner.account, order.core_id)
            self._dialect.outlived(order)
        if height % 100 == 0:
            self._cancels = {key: until for key, until in self._cancels.items() if until >= height}
            self._ended_in = {key: found for key, found in self._ended_in.items() if found[0] >= height}

    def chain_order(self, order_id: Mapping[str, Any]) -> tuple[ClobOrder, Order] | None:
        """A stateful order that is in state."""
        order = self.orders.get(self._key(order_id))
        live = self.live(order) if order is not None else None
        return (order, live) if order is not None and live is not None else None

    def encoded(self, order: ClobOrder) -> bytes:
        return proto.encode(proto.ORDER, order.raw)
