"""What the indexer knows: rows of accounts, how they come about, how they are told.

It follows the chain: an account's rows show what blocks held, `lag_s` after each, and what the validator's memory did to short-term
orders. Market-wide figures (books, prints, candles, oracle prices) are the exchange's own of this moment. Removal reasons are told on
the stream only. Source: dydxprotocol/v4-chain `indexer/services/comlink`, read 2026-11.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from exchange_simulator.core.events import (
    AnyEvent,
    BalanceChanged,
    FundingPaid,
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
from exchange_simulator.core.types import BalanceReason, Side, money
from exchange_simulator.dialects.base import Refusal
from exchange_simulator.dialects.dydx import wire
from exchange_simulator.dialects.dydx.clob import CONDITIONAL, EXPIRED, IOC, POST_ONLY, STOP_LOSS, ClobOrder, Subaccount

if TYPE_CHECKING:
    from exchange_simulator.dialects.dydx.dialect import DydxDialect

BOOK_LEVELS: Final = 100
KEPT: Final = 20_000
MINUTE_NS: Final = 60 * 10**9
RESOLUTIONS: Final = {"1MIN": 1, "5MINS": 5, "15MINS": 15, "30MINS": 30, "1HOUR": 60, "4HOURS": 240, "1DAY": 1440}
ACCOUNT_EVENTS: Final = frozenset(
    {
        OrderAccepted,
        OrderRejected,
        OrderTriggered,
        OrderFilled,
        OrderCancelled,
        OrderExpired,
        OrderAmended,
        PositionChanged,
        BalanceChanged,
        FundingPaid,
    }
)


@dataclass(slots=True)
class OrderRow:
    """One order. Heights are 0 while only the validator's memory told of it."""

    order: ClobOrder
    status: str
    filled: int = 0
    created_height: int = 0
    updated_height: int = 0
    updated_ns: int = 0


@dataclass(slots=True)
class FillRow:
    event: OrderFilled
    height: int
    ts_ns: int


@dataclass(slots=True)
class PaymentRow:
    event: FundingPaid
    height: int
    ts_ns: int


@dataclass(slots=True)
class TransferRow:
    amount: int
    height: int
    ts_ns: int
    sender: Mapping[str, Any]
    recipient: Mapping[str, Any]
    kind: str
    tx_hash: str


@dataclass(slots=True)
class PositionRow:
    """One position from its opening to its close. Sizes in steps, signed; values in ticks x steps."""

    market: str
    created_ns: int
    created_height: int
    size: int = 0
    max_size: int = 0
    sum_open: int = 0
    open_value: int = 0
    sum_close: int = 0
    close_value: int = 0
    net_funding: int = 0
    long: bool = True
    closed_ns: int = 0
    liquidated: bool = False

    def open(self, sign: int, size: int, price: int) -> None:
        self.size += sign * size
        self.long = sign > 0
        self.max_size = max(self.max_size, self.size, key=abs)
        self.sum_open += size
        self.open_value += size * price

    def close(self, size: int, price: int) -> None:
        self.size -= size if self.long else -size
        self.sum_close += size
        self.close_value += size * price


@dataclass(slots=True)
class AccountRows:
    """What the indexer knows of one subaccount."""

    owner: Subaccount
    known: bool = False
    """Whether any of its money has been heard of."""
    balance: int = 0
    costs: dict[str, int] = field(default_factory=dict)
    open: dict[str, PositionRow] = field(default_factory=dict)
    closed: deque[PositionRow] = field(default_factory=lambda: deque(maxlen=KEPT))
    orders: dict[str, OrderRow] = field(default_factory=dict)
    """By uuid, in order of their coming."""
    fills: deque[FillRow] = field(default_factory=lambda: deque(maxlen=KEPT))
    payments: deque[PaymentRow] = field(default_factory=lambda: deque(maxlen=KEPT))
    transfers: deque[TransferRow] = field(default_factory=lambda: deque(maxlen=KEPT))
    updated_height: int = 0


class Indexer:
    """Rows, how they come about, and how they look as JSON."""

    def __init__(self, dialect: DydxDialect) -> None:
        self._dialect = dialect
        self._exchange = dialect.exchange
        self.accounts: dict[int, AccountRows] = {}
        self.height = dialect.chain.height
        self.block_ns = dialect.chain.block_ns
        self.orders: dict[str, OrderRow] = {}
        self.trade_heights: dict[int, int] = {}
        self._queue: deque[tuple[int, Callable[..., None], tuple[Any, ...]]] = deque()
        self._readers: dict[type, Callable[[Any, int, int], None]] = {
            OrderAccepted: self._on_accepted,
            OrderRejected: self._on_rejected,
            OrderTriggered: self._on_triggered,
            OrderFilled: self._on_filled,
            OrderCancelled: self._on_cancelled,
            OrderExpired: self._on_expired,
            PositionChanged: self._on_position,
            BalanceChanged: self._on_balance,
            FundingPaid: self._on_payment,
        }

    # ---- learning

    def later(self, visible_ns: int, fn: Callable[..., None], *arguments: Any) -> None:
        """Something that is known from that time on; times never go back."""
        self._queue.append((visible_ns, fn, arguments))

    def catch_up(self, until_ns: int = 0) -> None:
        """Learn what is due by now, and by `until_ns`: timers and clock differ by a hair."""
        now = max(self._dialect.now_ns(), until_ns)
        while self._queue and self._queue[0][0] <= now:
            _, fn, arguments = self._queue.popleft()
            fn(*arguments)

    def learn(self, height: int, ts_ns: int, events: Sequence[AnyEvent]) -> None:
        """Height 0: from the validator's memory, before any block."""
        if height:
            self.height, self.block_ns = height, ts_ns
        for event in events:
            self._readers[type(event)](event, height, ts_ns) if type(event) in self._readers else None

    def of(self, account: int) -> AccountRows:
        found = self.accounts.get(account)
        if found is None:
            found = self.accounts[account] = AccountRows(self._dialect.subaccount_of(account))
        return found

    def _row(self, order_id: int) -> OrderRow:
        """The row of the exchange's order; made when nothing was known of it."""
        order = self._dialect.clob.of_core(order_id)
        row = self.orders.get(order.uuid)
        if row is None:
            row = OrderRow(order, wire.OPEN)
            self._keep(row)
        return row

    def _keep(self, row: OrderRow) -> None:
        rows = self.of(row.order.owner.account).orders
        rows.pop(row.order.uuid, None)
        rows[row.order.uuid] = self.orders[row.order.uuid] = row
        if len(rows) > KEPT:
            oldest = next(iter(rows))
            del rows[oldest]
            self.orders.pop(oldest, None)

    def _on_accepted(self, event: OrderAccepted, height: int, ts_ns: int) -> None:
        order = self._dialect.clob.of_core(event.order_id)
        if order.short_term:
            row = self.orders.get(order.uuid)
            if row is not None and row.order.good_til_block < order.good_til_block and order.filled_before:
                row.order, row.status = order, wire.BEST_EFFORT_OPENED
            else:
                self._keep(OrderRow(order, wire.BEST_EFFORT_OPENED, order.filled_before))
            return
        status = wire.UNTRIGGERED if event.order.trigger is not None else wire.OPEN
        self._keep(OrderRow(order, status, 0, height, height, ts_ns))

    def _on_rejected(self, event: OrderRejected, height: int, ts_ns: int) -> None:
        order = self._dialect.clob.of_core(event.order_id)
        status = wire.BEST_EFFORT_CANCELED if order.short_term else wire.CANCELED
        self._keep(OrderRow(order, status, order.filled_before, height, height, ts_ns if height else 0))

    def unplaced(self, order: ClobOrder, height: int, ts_ns: int) -> None:
        """Removed before it reached the book."""
        status = wire.BEST_EFFORT_CANCELED if order.short_term else wire.CANCELED
        self._keep(OrderRow(order, status, 0, height, height, ts_ns))

    def _touch(self, row: OrderRow, height: int, ts_ns: int) -> None:
        if height:
            row.created_height = row.created_height or height
            row.updated_height, row.updated_ns = height, ts_ns

    def _on_triggered(self, event: OrderTriggered, height: int, ts_ns: int) -> None:
        row = self._row(event.order_id)
        row.status = wire.OPEN
        self._touch(row, height, ts_ns)

    def _on_filled(self, event: OrderFilled, height: int, ts_ns: int) -> None:
        rows = self.of(event.account)
        rows.fills.append(FillRow(event, height, ts_ns))
        if event.order_id:
            row = self._row(event.order_id)
            order = self._dialect.clob.of_core(event.order_id)
            row.filled = max(row.filled, order.filled_before + event.filled)
            if row.filled >= order.size:
                row.status = wire.FILLED
            elif row.status == wire.BEST_EFFORT_OPENED:
                row.status = wire.OPEN
            self._touch(row, height, ts_ns)
        self._move(rows, event, height, ts_ns)

    def _move(self, rows: AccountRows, event: OrderFilled, height: int, ts_ns: int) -> None:
        sign, left = (1 if event.side is Side.BUY else -1), event.size
        held = rows.open.get(event.market)
        if held is not None and held.size * sign < 0:
            closing = min(left, abs(held.size))
            held.close(closing, event.price)
            left -= closing
            if held.size == 0:
                held.closed_ns = ts_ns
                held.liquidated = event.kind.value == "liquidation"
                rows.closed.append(rows.open.pop(event.market))
                held = None
        if left:
            if held is None:
                held = rows.open[event.market] = PositionRow(event.market, ts_ns, height)
            held.open(sign, left, event.price)

    def _on_cancelled(self, event: OrderCancelled, height: int, ts_ns: int) -> None:
        order = self._dialect.clob.of_core(event.order_id)
        if order.superseded:
            return
        if order.reason == EXPIRED:
            return  # the indexer learns of it by its own sweep
        row = self._row(event.order_id)
        row.status = wire.CANCELED if height else wire.BEST_EFFORT_CANCELED
        self._touch(row, height, ts_ns)

    def _on_expired(self, event: OrderExpired, height: int, ts_ns: int) -> None:
        row = self._row(event.order_id)
        row.status = wire.CANCELED
        self._touch(row, height, ts_ns)

    def outlived(self, order: ClobOrder, height: int, ts_ns: int) -> None:
        """The block that a short-term order was good until is past: nothing more can happen to it."""
        row = self.orders.get(order.uuid)
        if row is not None and row.order is order and row.status != wire.FILLED:
            row.status = wire.CANCELED
            self._touch(row, height, ts_ns)

    def _on_position(self, event: PositionChanged, height: int, ts_ns: int) -> None:
        rows = self.of(event.account)
        rows.costs[event.market] = event.cost
        rows.updated_height = height

    def _on_balance(self, event: BalanceChanged, height: int, ts_ns: int) -> None:
        rows = self.of(event.account)
        rows.known = True
        rows.balance = event.balance
        rows.updated_height = height
        if event.reason in (BalanceReason.DEPOSIT, BalanceReason.WITHDRAWAL):
            self._on_transfer(rows, event, height, ts_ns)

    def _on_transfer(self, rows: AccountRows, event: BalanceChanged, height: int, ts_ns: int) -> None:
        mine = {"address": rows.owner.address, "subaccountNumber": rows.owner.number}
        other = self._dialect.counterparty(rows.owner, event)
        came = event.delta > 0
        inside = "subaccountNumber" in other
        kind = ("TRANSFER_IN" if came else "TRANSFER_OUT") if inside else ("DEPOSIT" if came else "WITHDRAWAL")
        sender, recipient = (other, mine) if came else (mine, other)
        rows.transfers.append(TransferRow(abs(event.delta), height, ts_ns, sender, recipient, kind, f"{event.seq:064X}"))

    def _on_payment(self, event: FundingPaid, height: int, ts_ns: int) -> None:
        rows = self.of(event.account)
        rows.payments.append(PaymentRow(event, height, ts_ns))
        if event.market in rows.open:
            rows.open[event.market].net_funding += event.amount

    # ---- rows as JSON

    def market_row(self, symbol: str) -> dict[str, Any]:
        state = self._exchange.markets[symbol]
        day = self._dialect.history.day(symbol, self._dialect.now_ns())
        return wire.market(self._exchange, state, self._dialect.grid(symbol), day, isolated=symbol in self._dialect.isolated)

    def book(self, symbol: str) -> dict[str, Any]:
        spec = self._exchange.markets[symbol].spec

        def rows(side: Side) -> list[dict[str, str]]:
            found = self._exchange.depth(symbol, side, BOOK_LEVELS)
            return [{"price": wire.text(spec.price(price)), "size": wire.text(spec.size(size))} for price, size, _ in found]

        return {"bids": rows(Side.BUY), "asks": rows(Side.SELL)}

    def trade_row(self, event: Trade, *, height: bool = True) -> dict[str, Any]:
        spec = self._exchange.markets[event.market].spec
        at = self.trade_heights.get(event.trade_id, self._dialect.chain.height)
        row = {
            "id": wire.event_id(at, event.trade_id),
            "side": event.taker_side.value.upper(),
            "size": wire.text(spec.size(event.size)),
            "price": wire.text(spec.price(event.price)),
            "type": wire.TRADE_TYPE[event.kind],
            "createdAt": wire.iso(event.ts_ns),
        }
        return {**row, "createdAtHeight": str(at)} if height else row

    def trades(self, symbol: str) -> list[Trade]:
        """Newest first."""
        return list(reversed(self._dialect.history.trades[symbol]))

    def candles(self, symbol: str, resolution: str, start_ns: int, end_ns: int) -> list[dict[str, Any]]:
        """Newest first; those that start in [start, end)."""
        spec = self._exchange.markets[symbol].spec
        open_interest = wire.text(spec.size(self._exchange.open_interest(symbol)))
        found = self._dialect.history.candles(symbol, RESOLUTIONS[resolution] * MINUTE_NS, start_ns, end_ns - 1)
        return [wire.candle(row, spec, resolution, open_interest) for row in reversed(found)]

    def order_row(self, row: OrderRow, *, stream: bool = False) -> dict[str, Any]:
        """With `stream` as v4_subaccounts tells it."""
        order = row.order
        spec = self._exchange.markets[order.symbol].spec
        said: dict[str, Any] = {
            "id": order.uuid,
            "subaccountId": order.owner.uuid,
            "clientId": str(order.client_id),
            "clobPairId": str(order.clob_pair),
            "side": order.side.value.upper(),
            "size": wire.text(spec.size(order.size)),
            "totalFilled": wire.text(spec.size(row.filled)),
            "price": wire.text(spec.price(order.price)),
            "type": order_type(order),
            "status": row.status,
            "timeInForce": "IOC" if order.time_in_force == IOC else "GTT",
            "reduceOnly": order.reduce_only,
            "orderFlags": str(order.flags),
            "clientMetadata": str(order.client_metadata),
            "orderRouterAddress": "",
            "postOnly": order.time_in_force == POST_ONLY,
            "ticker": order.symbol,
        }
        if order.short_term:
            said["goodTilBlock"] = str(order.good_til_block)
        else:
            said["goodTilBlockTime"] = wire.iso(order.good_til_time * 10**9)
        if order.flags == CONDITIONAL:
            said["triggerPrice"] = wire.text(spec.price(order.trigger))
        if row.updated_height:
            said["createdAtHeight"] = str(row.created_height)
            said["updatedAt"] = wire.iso(row.updated_ns)
            said["updatedAtHeight"] = str(row.updated_height)
        if not stream:
            said["subaccountNumber"] = order.owner.number
        return said

    def fill_row(self, event: OrderFilled, height: int, ts_ns: int, *, stream: bool = False) -> dict[str, Any]:
        spec = self._exchange.markets[event.market].spec
        order = self._dialect.clob.of_core(event.order_id) if event.order_id else None
        owner = self._dialect.subaccount_of(event.account)
        said: dict[str, Any] = {
            "id": wire.event_uuid("fill", event.trade_id, event.liquidity.value),
            "side": event.side.value.upper(),
            "liquidity": event.liquidity.value.upper(),
            "type": wire.fill_type(event.kind, ordered=order is not None),
            "price": wire.text(spec.price(event.price)),
            "size": wire.text(spec.size(event.size)),
            "createdAt": wire.iso(ts_ns),
            "createdAtHeight": str(height),
            "clientMetadata": str(order.client_metadata) if order is not None else "0",
        }
        if order is not None:
            said["orderId"] = order.uuid
        if stream:
            said["subaccountId"] = owner.uuid
            said["clobPairId"] = str(self._dialect.grid(event.market).clob_pair)
            said["quoteAmount"] = wire.text(spec.price(event.price) * spec.size(event.size))
            said["ticker"] = event.market
            said["transactionHash"] = f"{event.trade_id:064X}"
        else:
            said["market"] = event.market
            said["marketType"] = "PERPETUAL"
            said["subaccountNumber"] = owner.number
            said["fee"] = wire.fee(event.fee)  # the socket tells none
            said["affiliateRevShare"] = "0"
        return said

    def position_row(self, row: PositionRow, owner: Subaccount) -> dict[str, Any]:
        state = self._exchange.markets[row.market]
        spec = state.spec
        entry = spec.price(1) * row.open_value / row.sum_open if row.sum_open else Decimal(0)
        leave = spec.price(1) * row.close_value / row.sum_close if row.sum_close else None
        sign = 1 if row.long else -1
        realised = money(row.net_funding) + (sign * (leave - entry) * spec.size(row.sum_close) if leave is not None else 0)
        size = spec.size(row.size)
        return {
            "market": row.market,
            "status": ("LIQUIDATED" if row.liquidated else "CLOSED") if row.closed_ns else "OPEN",
            "side": "LONG" if row.long else "SHORT",
            "size": wire.text(size),
            "maxSize": wire.text(spec.size(row.max_size)),
            "entryPrice": wire.text(entry),
            "exitPrice": None if leave is None else wire.text(leave),
            "realizedPnl": wire.text(realised),
            "unrealizedPnl": wire.text(size * (spec.ref_price(state.mark) - entry)),
            "createdAt": wire.iso(row.created_ns),
            "createdAtHeight": str(row.created_height),
            "closedAt": wire.iso(row.closed_ns) if row.closed_ns else None,
            "sumOpen": wire.text(spec.size(row.sum_open)),
            "sumClose": wire.text(spec.size(row.sum_close)),
            "netFunding": wire.text(money(row.net_funding)),
            "subaccountNumber": owner.number,
        }

    def transfer_row(self, row: TransferRow) -> dict[str, Any]:
        return {
            "id": wire.event_uuid("transfer", row.tx_hash),
            "sender": row.sender,
            "recipient": row.recipient,
            "size": wire.usd(row.amount),
            "createdAt": wire.iso(row.ts_ns),
            "createdAtHeight": str(row.height),
            "symbol": "USDC",
            "type": row.kind,
            "transactionHash": row.tx_hash,
        }

    def usdc(self, rows: AccountRows) -> int:
        """The quote balance: what was paid for positions is taken off."""
        return rows.balance - sum(rows.costs.values())

    def asset_row(self, rows: AccountRows) -> dict[str, Any]:
        units = self.usdc(rows)
        return {
            "size": wire.usd(abs(units)),
            "symbol": "USDC",
            "side": "LONG" if units >= 0 else "SHORT",
            "assetId": "0",
            "subaccountNumber": rows.owner.number,
        }

    def subaccount_row(self, rows: AccountRows) -> dict[str, Any]:
        equity = self.usdc(rows)
        bound = 0
        for symbol, row in rows.open.items():
            state = self._exchange.markets[symbol]
            equity += row.size * state.mark * state.spec.ref_unit
            bound += state.initial_margin(abs(row.size), self._exchange.position(rows.owner.account, symbol).initial)
        return {
            "address": rows.owner.address,
            "subaccountNumber": rows.owner.number,
            "equity": wire.usd(equity),
            "freeCollateral": wire.usd(equity - bound),
            "openPerpetualPositions": {symbol: self.position_row(row, rows.owner) for symbol, row in rows.open.items()},
            "assetPositions": {"USDC": self.asset_row(rows)} if self.usdc(rows) else {},
            "marginEnabled": True,
            "updatedAtHeight": str(rows.updated_height or self.height),
            "latestProcessedBlockHeight": str(self.height),
        }

    def open_orders(self, rows: AccountRows) -> list[OrderRow]:
        """As a subscription shows them: live ones, and those removed by a node that a block may still fill."""

        def shown(row: OrderRow) -> bool:
            lately = row.status == wire.BEST_EFFORT_CANCELED and row.order.good_til_block > self.height - self._dialect.short_block_window
            return row.status in wire.LIVE_STATUSES or lately

        return [row for row in rows.orders.values() if shown(row)]

    def _children(self, address: str, parent: int) -> list[AccountRows]:
        found = [rows for rows in self.of_address(address) if rows.owner.number % 128 == parent]
        if not found:
            raise Refusal("subaccount", f"No subaccounts found for address {address} and parentSubaccountNumber {parent}", status=404)
        return found

    def of_address(self, address: str) -> list[AccountRows]:
        rows = [self.of(owner.account) for owner in self._dialect.subaccounts() if owner.address == address]
        return [row for row in rows if row.known]

    def parent_row(self, address: str, parent: int) -> dict[str, Any]:
        rows = [self.subaccount_row(child) for child in self._children(address, parent)]
        return {
            "address": address,
            "parentSubaccountNumber": parent,
            "equity": wire.text(sum((Decimal(row["equity"]) for row in rows), Decimal(0))),
            "freeCollateral": wire.text(sum((Decimal(row["freeCollateral"]) for row in rows), Decimal(0))),
            "childSubaccounts": rows,
        }


def order_type(order: ClobOrder) -> str:
    """The indexer knows it from flags and condition alone: an order at market shows as LIMIT."""
    if order.flags != CONDITIONAL:
        return "LIMIT"
    return "STOP_LIMIT" if order.condition == STOP_LOSS else "TAKE_PROFIT"
