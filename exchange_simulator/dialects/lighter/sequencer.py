"""From an accepted transaction to the exchange. `code 200` means queued with a valid signature, not done.

What the API checks at once refuses with a code and leaves the nonce unused; everything later ends in order pushes or in nothing. Thresholds
of the accidental-price checks (factor 2 and 10 from mark) are assumed: the venue does not publish them. TWAP orders are refused (21710).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exchange_simulator.core.market import MarketState
from exchange_simulator.core.orders import Order, Position
from exchange_simulator.core.types import (
    REF,
    GroupKind,
    MarginMode,
    MarketStatus,
    NewOrder,
    OrderStatus,
    OrderType,
    PostOnly,
    RejectReason,
    SelfTrade,
    Side,
    TimeInForce,
    Trigger,
    TriggerKind,
)
from exchange_simulator.dialects.base import Budget
from exchange_simulator.dialects.lighter.accounts import ApiKey, Owner, next_nonce
from exchange_simulator.dialects.lighter.errors import refusal
from exchange_simulator.dialects.lighter.tx import Attribute, Tx, TxType
from exchange_simulator.dialects.lighter.wire import ASK_BASE, MARGIN_TICK, MS, order_id

if TYPE_CHECKING:
    from exchange_simulator.dialects.lighter.dialect import LighterDialect

MAX_CLIENT_INDEX = 2**48 - 1
MAX_BASE_AMOUNT = 2**48 - 1
MAX_PRICE = 2**32 - 1
MINUTE_NS = 60 * 10**9
DAY_NS = 24 * 60 * MINUTE_NS
KEPT = 50_000

LIMIT, MARKET, STOP_LOSS, STOP_LOSS_LIMIT, TAKE_PROFIT, TAKE_PROFIT_LIMIT, TWAP = range(7)
IOC, GOOD_TILL_TIME, POST_ONLY = range(3)
_TRIGGERED = (STOP_LOSS, STOP_LOSS_LIMIT, TAKE_PROFIT, TAKE_PROFIT_LIMIT)
_AT_MARKET = (MARKET, STOP_LOSS, TAKE_PROFIT)
_STOPS = (STOP_LOSS, STOP_LOSS_LIMIT)
_GROUPS = {1: GroupKind.OTO, 2: GroupKind.OCO, 3: GroupKind.OTOCO}
_SELF_TRADE = (SelfTrade.CANCEL_MAKER, SelfTrade.CANCEL_TAKER, SelfTrade.CANCEL_BOTH, SelfTrade.REDUCE)

FAILED, PENDING, EXECUTED = 0, 1, 2


@dataclass(slots=True)
class Record:
    """One accepted transaction, as `GET /tx` tells it."""

    tx: Tx
    hash: str
    sequence: int
    queued_ns: int
    executes_ns: int
    status: int = PENDING
    executed_ns: int = 0


class Sequencer:
    """Checks, queues and executes transactions."""

    def __init__(self, dialect: LighterDialect) -> None:
        self._dialect = dialect
        self._exchange = dialect.exchange
        self.records: dict[str, Record] = {}
        self._sequence = 0
        self._limits: dict[str, Budget] = {}
        self._checks: dict[TxType, Callable[[Tx, Owner], float]] = {
            TxType.CREATE_ORDER: self._check_create,
            TxType.CREATE_GROUPED_ORDERS: self._check_group,
            TxType.CANCEL_ORDER: self._check_cancel,
            TxType.CANCEL_ALL_ORDERS: self._check_cancel_all,
            TxType.MODIFY_ORDER: self._check_modify,
            TxType.UPDATE_LEVERAGE: self._check_leverage,
            TxType.UPDATE_MARGIN: self._check_margin,
            TxType.CHANGE_PUB_KEY: self._check_key,
            TxType.APPROVE_INTEGRATOR: lambda tx, owner: 0.0,
        }
        self._actions: dict[TxType, Callable[[Tx, Owner], bool]] = {
            TxType.CREATE_ORDER: self._create,
            TxType.CREATE_GROUPED_ORDERS: self._create_group,
            TxType.CANCEL_ORDER: self._cancel,
            TxType.CANCEL_ALL_ORDERS: self._cancel_all,
            TxType.MODIFY_ORDER: self._modify,
            TxType.UPDATE_LEVERAGE: self._set_leverage,
            TxType.UPDATE_MARGIN: self._move_margin,
            TxType.CHANGE_PUB_KEY: lambda tx, owner: True,
            TxType.APPROVE_INTEGRATOR: self._approve,
        }

    # acceptance

    def accept(self, txs: Sequence[Tx]) -> list[Record]:
        """All of them or none.

        Raises:
            Refusal: nothing was queued and no nonce used.
        """
        first = txs[0]
        if any((tx.account, tx.api_key) != (first.account, first.api_key) for tx in txs):
            raise refusal(21121)
        owner = self._dialect.owners.get(first.account)
        if first.api_key > 254:
            raise refusal(21110)
        self._count(owner, txs)
        key = self._signing_key(first, owner)
        expected = key.next_nonce
        accepted: list[tuple[Tx, str, float]] = []
        for tx in txs:
            digest = tx.hash(self._dialect.owners.chain_id)
            self._dialect.owners.check_signature(tx, key, digest)
            if tx.number("ExpiredAt") * MS < self._dialect.now_ns():
                raise refusal(21711)
            expected = next_nonce(key, tx, expected)
            accepted.append((tx, digest.hex(), self._check(tx, owner)))
        key.next_nonce = expected
        if first.type is TxType.CHANGE_PUB_KEY:
            key.registered_us = self._dialect.now_ns() // 1000
            owner.keys[first.api_key] = key
        return [self._queue(tx, name, owner, delay_s) for tx, name, delay_s in accepted]

    def _count(self, owner: Owner, txs: Sequence[Tx]) -> None:
        """Tiers without a budget of their own have a limit per type of transaction."""
        if self._dialect.budget is None or not owner.tier.orders_per_minute:
            return
        limit = self._limits.setdefault(owner.tier.name, Budget(owner.tier.orders_per_minute, 60.0))
        now_s = self._dialect.clock.monotonic()
        if any(limit.charge(f"{owner.index} {tx.type}", 1, now_s) for tx in txs):
            raise refusal(23000, status=429)

    def _signing_key(self, tx: Tx, owner: Owner) -> ApiKey:
        """A registration is signed by the key it registers."""
        if tx.type is not TxType.CHANGE_PUB_KEY:
            return owner.key(tx.api_key)
        known = owner.keys.get(tx.api_key)
        return ApiKey(tx.public_key(), known.next_nonce if known is not None else 0)

    def _check(self, tx: Tx, owner: Owner) -> float:
        """Seconds until execution."""
        integrator = tx.attributes().get(Attribute.INTEGRATOR_ACCOUNT)
        if integrator is not None and integrator not in owner.integrators:
            raise refusal(21149)
        return self._checks[tx.type](tx, owner)

    def _queue(self, tx: Tx, name: str, owner: Owner, delay_s: float) -> Record:
        self._sequence += 1
        now = self._dialect.now_ns()
        record = self.records[name] = Record(tx, name, self._sequence, now, now + int(delay_s * 10**9))
        if len(self.records) > KEPT:
            del self.records[next(iter(self.records))]
        for order in self._orders_of(tx):
            owner.in_flight.add(order.number("ClientOrderIndex"))
        self._dialect.agenda.after(delay_s, self._execute, record, owner)
        return record

    def _orders_of(self, tx: Tx) -> list[Tx]:
        if tx.type is TxType.CREATE_ORDER:
            return [tx]
        return tx.orders() if tx.type is TxType.CREATE_GROUPED_ORDERS else []

    def _execute(self, record: Record, owner: Owner) -> None:
        for order in self._orders_of(record.tx):
            owner.in_flight.discard(order.number("ClientOrderIndex"))
        record.status = EXECUTED if self._actions[record.tx.type](record.tx, owner) else FAILED
        record.executed_ns = self._dialect.now_ns()
        self._dialect.stream.executed(record)

    # checks

    def _market(self, tx: Tx) -> MarketState:
        market = self._dialect.market(tx.number("MarketIndex"))
        if market is None:
            raise refusal(21602)
        return market

    def _position(self, tx: Tx) -> Position:
        return self._exchange.position(tx.account, self._market(tx).symbol)

    def _check_create(self, tx: Tx, owner: Owner) -> float:
        market = self._market(tx)
        if market.spec.status in (MarketStatus.HALTED, MarketStatus.DELISTED, MarketStatus.CANCEL_ONLY):
            raise refusal(21605)
        self._check_form(tx)
        self._check_client_index(tx.number("ClientOrderIndex"), owner)
        self._check_counts(tx, market)
        order = self._new_order(tx, market)
        self._check_amount(order, market)
        self._check_price(order, market)
        taker = order.trigger is None and (order.type is OrderType.MARKET or self._crosses(order, market))
        if not taker and order.trigger is None and not order.reduce_only:
            position = self._exchange.position(tx.account, market.symbol)
            if not self._exchange.ledger.affords(position, order.side, order.size, order.price):
                raise refusal(21739)
        return owner.tier.taker_s if taker else owner.tier.maker_s

    def _check_form(self, tx: Tx) -> None:
        kind, tif, expiry = tx.number("Type"), tx.number("TimeInForce"), tx.number("OrderExpiry")
        base, trigger = tx.number("BaseAmount"), tx.number("TriggerPrice")
        if base > MAX_BASE_AMOUNT or (base == 0 and not (tx.number("ReduceOnly") and kind in _TRIGGERED)):
            raise refusal(21701)
        if not 1 <= tx.number("Price") <= MAX_PRICE:
            raise refusal(21702)
        if tx.number("IsAsk") > 1:
            raise refusal(21703)
        if kind > TWAP:
            raise refusal(21704)
        if kind == TWAP:
            raise refusal(21710)
        if tif > POST_ONLY or (kind in _AT_MARKET and tif != IOC):
            raise refusal(21705)
        if tx.number("ReduceOnly") > 1:
            raise refusal(21740)
        if (kind in _TRIGGERED) != (trigger > 0) or trigger > MAX_PRICE:
            raise refusal(21729)
        at_once = kind == MARKET or (kind == LIMIT and tif == IOC)
        now = self._dialect.now_ns()
        if at_once != (expiry == 0) or (expiry and not now + 5 * MINUTE_NS <= expiry * MS + 10**9 <= now + 30 * DAY_NS + 10**9):
            raise refusal(21711)

    def _check_client_index(self, index: int, owner: Owner) -> None:
        if index > MAX_CLIENT_INDEX:
            raise refusal(21727)
        if index and (index in owner.in_flight or self._live(owner.index, index) is not None):
            raise refusal(21728)

    def _check_counts(self, tx: Tx, market: MarketState) -> None:
        orders = self._exchange.open_orders(tx.account)
        here = [o for o in orders if o.market is market]
        if tx.number("Type") in _TRIGGERED:
            if sum(o.status is not OrderStatus.OPEN for o in orders) >= 500:
                raise refusal(21719)
            if sum(o.status is not OrderStatus.OPEN for o in here) >= 16:
                raise refusal(21720)
        elif sum(o.status is OrderStatus.OPEN for o in orders) >= 1500:
            raise refusal(21717)
        elif sum(o.status is OrderStatus.OPEN for o in here) >= 1000:
            raise refusal(21718)

    def _check_amount(self, order: NewOrder, market: MarketState) -> None:
        spec = market.spec
        if order.reduce_only:
            return
        if order.size < spec.min_size or order.size * order.price * spec.notional_unit < spec.min_notional:
            raise refusal(21706)

    def _check_price(self, order: NewOrder, market: MarketState) -> None:
        if order.type is OrderType.MARKET or order.trigger is not None or not market.mark:
            return
        price, mark = order.price * REF, market.mark
        if price > 10 * mark or price * 10 < mark:
            raise refusal(21734)
        if price > 2 * mark if order.side is Side.BUY else price * 2 < mark:
            raise refusal(21733)

    def _crosses(self, order: NewOrder, market: MarketState) -> bool:
        return order.post_only is PostOnly.OFF and market.book.side(order.side.opposite).reached_by(order.price)

    def _check_group(self, tx: Tx, owner: Owner) -> float:
        orders = tx.orders()
        kind = _GROUPS.get(tx.number("GroupingType"))
        if kind is None:
            raise refusal(21741)
        if len(orders) != (3 if kind is GroupKind.OTOCO else 2):
            raise refusal(21742)
        parent = None if kind is GroupKind.OCO else orders[0]
        children = orders if parent is None else orders[1:]
        if len({o.number("MarketIndex") for o in orders}) != 1 or any(o.number("Type") not in _TRIGGERED for o in children):
            raise refusal(21743)
        if parent is not None and any(c.number("IsAsk") == parent.number("IsAsk") or c.number("BaseAmount") for c in children):
            raise refusal(21743)
        if len({c.number("OrderExpiry") for c in children}) != 1 or any(not c.number("ReduceOnly") for c in children):
            raise refusal(21743)
        indexes = [o.number("ClientOrderIndex") for o in orders if o.number("ClientOrderIndex")]
        if len(indexes) != len(set(indexes)):
            raise refusal(21727)
        for child in children:
            self._market(child)
            self._check_form(child)
            self._check_client_index(child.number("ClientOrderIndex"), owner)
            self._check_counts(child, self._market(child))
        return self._check_create(parent, owner) if parent is not None else owner.tier.maker_s

    def _live(self, account: int, index: int) -> Order | None:
        """A live order of the account by client or exchange index."""
        order = self._exchange.order_by_client_id(account, str(index)) if index < ASK_BASE else self._exchange.order(order_id(index))
        if order is None or order.status.terminal:
            return None
        if order.account.id != account:
            raise refusal(21707)
        return order

    def _check_live(self, tx: Tx, owner: Owner) -> None:
        self._market(tx)
        index = tx.number("Index")
        if index not in owner.in_flight and self._live(owner.index, index) is None:
            raise refusal(21715)

    def _check_cancel(self, tx: Tx, owner: Owner) -> float:
        self._check_live(tx, owner)
        return owner.tier.cancel_s

    def _check_modify(self, tx: Tx, owner: Owner) -> float:
        self._check_live(tx, owner)
        if not 1 <= tx.number("BaseAmount") <= MAX_BASE_AMOUNT:
            raise refusal(21701)
        if not 1 <= tx.number("Price") <= MAX_PRICE:
            raise refusal(21702)
        return owner.tier.maker_s

    def _check_cancel_all(self, tx: Tx, owner: Owner) -> float:
        tif, time_ns = tx.number("TimeInForce"), tx.number("Time") * MS
        if tif > 2:
            raise refusal(21713)
        now = self._dialect.now_ns()
        if (tif == 1) != (time_ns > 0) or (tif == 1 and not now + 5 * MINUTE_NS <= time_ns + 10**9 <= now + 15 * DAY_NS + 10**9):
            raise refusal(21714)
        market = tx.attributes().get(Attribute.CANCEL_ALL_MARKET)
        if market is not None and self._dialect.market(market) is None:
            raise refusal(21602)
        return owner.tier.cancel_s

    def _check_leverage(self, tx: Tx, owner: Owner) -> float:
        position = self._position(tx)
        fraction = tx.number("InitialMarginFraction") * MARGIN_TICK
        if not position.market.spec.tiers[0].initial <= fraction <= 10_000 * MARGIN_TICK:
            raise refusal(21113)
        if tx.number("MarginMode") > 1:
            raise refusal(21613)
        orders = any(o.position is position for o in position.account.orders.values())
        if position.mode is not _mode(tx) and (position.size or orders):
            raise refusal(21132)
        return owner.tier.maker_s

    def _check_margin(self, tx: Tx, owner: Owner) -> float:
        position = self._position(tx)
        if tx.number("Direction") > 1:
            raise refusal(21615)
        if not position.size:
            raise refusal(21614)
        if position.mode is not MarginMode.ISOLATED:
            raise refusal(21613)
        if tx.number("Direction") == 1 and tx.number("USDCAmount") * 10**6 > self._exchange.available(owner.index):
            raise refusal(21301)
        return owner.tier.maker_s

    def _check_key(self, tx: Tx, owner: Owner) -> float:
        from eth_account import Account
        from eth_account.messages import encode_defunct

        try:
            signer = Account.recover_message(encode_defunct(text=tx.registration_text()), signature=str(tx.info.get("L1Sig", "")))
        except Exception:  # whatever the library finds wrong with the signature's form
            raise refusal(21504) from None
        if str(signer).lower() != owner.l1_address.lower():
            raise refusal(21504)
        return 0.0

    # execution

    def _new_order(self, tx: Tx, market: MarketState, *, size: int = 0) -> NewOrder:
        """`size` is what an amount of 0 stands for."""
        kind, tif = tx.number("Type"), tx.number("TimeInForce")
        side = Side.SELL if tx.number("IsAsk") else Side.BUY
        amount = tx.number("BaseAmount") or size
        trigger = None
        if kind in _TRIGGERED:
            stop = kind in _STOPS
            trigger = Trigger(
                tx.number("TriggerPrice"),
                above=stop is (side is Side.BUY),
                kind=TriggerKind.STOP if stop else TriggerKind.TAKE_PROFIT,
            )
        client_index = tx.number("ClientOrderIndex")
        return NewOrder(
            account=tx.account,
            market=market.symbol,
            side=side,
            size=amount,
            price=tx.number("Price"),
            type=OrderType.MARKET if kind in _AT_MARKET else OrderType.LIMIT,
            time_in_force=TimeInForce.IOC if tif == IOC else TimeInForce.GTC,
            post_only=PostOnly.REJECT if tif == POST_ONLY else PostOnly.OFF,
            reduce_only=bool(tx.number("ReduceOnly")),
            client_id=str(client_index) if client_index else "",
            expires_ns=tx.number("OrderExpiry") * MS,
            trigger=trigger,
            close_position=amount == 0,
            self_trade=_SELF_TRADE[min(3, tx.attributes().get(Attribute.SELF_TRADE_BEHAVIOUR, 0))],
        )

    def _create(self, tx: Tx, owner: Owner) -> bool:
        order = self._exchange.submit(self._dialect.now_ns(), self._new_order(tx, self._market(tx)))
        return order.status is not OrderStatus.REJECTED

    def _create_group(self, tx: Tx, owner: Owner) -> bool:
        orders, kind = tx.orders(), _GROUPS[tx.number("GroupingType")]
        size = 0 if kind is GroupKind.OCO else orders[0].number("BaseAmount")
        news = [self._new_order(order, self._market(order), size=size) for order in orders]
        placed = self._exchange.submit_group(self._dialect.now_ns(), kind, news)
        return all(order.status is not OrderStatus.REJECTED for order in placed)

    def _cancel(self, tx: Tx, owner: Owner) -> bool:
        order = self._live(owner.index, tx.number("Index"))
        return order is not None and self._exchange.cancel(self._dialect.now_ns(), owner.index, order.id) is None

    def _modify(self, tx: Tx, owner: Owner) -> bool:
        order = self._live(owner.index, tx.number("Index"))
        if order is None:
            return False
        changed = self._exchange.amend(
            self._dialect.now_ns(),
            owner.index,
            order.id,
            price=tx.number("Price"),
            size=tx.number("BaseAmount"),
            trigger_price=tx.number("TriggerPrice"),
        )
        return not isinstance(changed, RejectReason)

    def _cancel_all(self, tx: Tx, owner: Owner) -> bool:
        now, tif = self._dialect.now_ns(), tx.number("TimeInForce")
        if tif == 0:
            index = tx.attributes().get(Attribute.CANCEL_ALL_MARKET)
            market = self._dialect.market(index) if index is not None else None
            self._exchange.cancel_all(now, owner.index, market.symbol if market is not None else "")
            return True
        at_ns = tx.number("Time") * MS if tif == 1 else 0
        if at_ns and at_ns <= now:
            return False
        self._exchange.schedule_cancel_all(now, owner.index, at_ns)
        return True

    def _set_leverage(self, tx: Tx, owner: Owner) -> bool:
        now, symbol = self._dialect.now_ns(), self._market(tx).symbol
        refused = self._exchange.set_margin_mode(now, owner.index, symbol, _mode(tx))
        if refused is None:
            refused = self._exchange.set_leverage(now, owner.index, symbol, tx.number("InitialMarginFraction") * MARGIN_TICK)
        return refused is None

    def _move_margin(self, tx: Tx, owner: Owner) -> bool:
        amount = tx.number("USDCAmount") * 10**6
        signed = amount if tx.number("Direction") == 1 else -amount
        return self._exchange.move_isolated_margin(self._dialect.now_ns(), owner.index, self._market(tx).symbol, signed) is None

    def _approve(self, tx: Tx, owner: Owner) -> bool:
        integrator = tx.number("IntegratorAccountIndex")
        if tx.number("ApprovalExpiry"):
            owner.integrators.add(integrator)
        else:
            owner.integrators.discard(integrator)
        return True


def _mode(tx: Tx) -> MarginMode:
    return MarginMode.ISOLATED if tx.number("MarginMode") else MarginMode.CROSS
