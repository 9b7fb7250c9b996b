"""The venue's JSON objects, made from the exchange's state. Units as on the wire: strings in quote and base, times in ms unless named.

Sources: recorded replies under payloads/lighter, https://apidocs.lighter.xyz/docs/websocket-reference, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from exchange_simulator.core.events import FundingPaid, OrderFilled, Trade
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.market import MarketState
from exchange_simulator.core.orders import Account, Order, Position
from exchange_simulator.core.types import (
    REF,
    UNIT,
    CancelReason,
    Liquidity,
    MarginMode,
    MarketStatus,
    OrderStatus,
    OrderType,
    PostOnly,
    PriceSource,
    RejectReason,
    Side,
    TimeInForce,
    TradeKind,
    TriggerKind,
)
from exchange_simulator.dialects.history import Candle, DayStats, PastFunding

ASK_BASE = 2**48
BID_BASE = 2**49
MS = 10**6
FEE_TICK = UNIT // 10**6
MARGIN_TICK = UNIT // 10**4
"""Margin fractions of markets are in 1e-4."""
USDC_ASSET = 3
HOUSE = 1
"""The account shown for liquidity without an owner."""

_CANCELLED = {
    CancelReason.IOC: "canceled-not-enough-liquidity",
    CancelReason.FOK: "canceled-not-enough-liquidity",
    CancelReason.NO_LIQUIDITY: "canceled-not-enough-liquidity",
    CancelReason.SLIPPAGE: "canceled-too-much-slippage",
    CancelReason.POST_ONLY: "canceled-post-only",
    CancelReason.SELF_TRADE: "canceled-self-trade",
    CancelReason.REDUCE_ONLY: "canceled-reduce-only",
    CancelReason.MARGIN: "canceled-margin-not-allowed",
    CancelReason.LIQUIDATION: "canceled-liquidation",
    CancelReason.SIBLING_FILLED: "canceled-oco",
    CancelReason.PARENT_CANCELLED: "canceled-child",
}
_REJECTED = {
    RejectReason.INSUFFICIENT_MARGIN: "canceled-margin-not-allowed",
    RejectReason.REDUCE_ONLY: "canceled-reduce-only",
    RejectReason.POST_ONLY_WOULD_CROSS: "canceled-post-only",
    RejectReason.MARKET_STATUS: "canceled-position-not-allowed",
}
_LIVE = {
    OrderStatus.NEW: "in-progress",
    OrderStatus.WAITING: "pending",
    OrderStatus.UNTRIGGERED: "pending",
    OrderStatus.OPEN: "open",
    OrderStatus.FILLED: "filled",
    OrderStatus.EXPIRED: "canceled-expired",
}
_TRADE_TYPES = {
    TradeKind.NORMAL: "trade",
    TradeKind.LIQUIDATION: "liquidation",
    TradeKind.ADL: "deleverage",
    TradeKind.SETTLEMENT: "market-settlement",
}
_MARKET_STATUS = {MarketStatus.ACTIVE: "active"}


def usdc(units: int, decimals: int = 6) -> str:
    """Money units as a string, cut to `decimals`."""
    whole, rest = divmod(abs(units) // 10 ** (12 - decimals), 10**decimals)
    return f"{'-' if units < 0 and (whole or rest) else ''}{whole}.{rest:0{decimals}d}"


def percent(rate: int) -> str:
    """A rate in fraction units as percent with four decimals, cut toward zero."""
    return usdc(rate * 100, 4)


def order_index(order_id: int, side: Side) -> int:
    """Asks count up from 2**48, bids down from 2**49: disjoint ranges, both above every client id."""
    return ASK_BASE + order_id if side is Side.SELL else BID_BASE - order_id


def order_id(index: int) -> int:
    """The exchange's id of an order index."""
    return index - ASK_BASE if index < (ASK_BASE + BID_BASE) // 2 else BID_BASE - index


def block_height(ts_ns: int) -> int:
    """A block every 400 ms."""
    return ts_ns // 400_000_000


def status_of(order: Order) -> str:
    if order.status is OrderStatus.REJECTED:
        assert order.reject_reason is not None
        return _REJECTED.get(order.reject_reason, "canceled")
    if order.status is OrderStatus.CANCELLED:
        assert order.cancel_reason is not None
        return _CANCELLED.get(order.cancel_reason, "canceled")
    return _LIVE[order.status]


def type_of(order: Order) -> str:
    trigger, market = order.request.trigger, order.request.type is OrderType.MARKET
    if trigger is None:
        return "market" if market else "limit"
    name = "stop-loss" if trigger.kind is TriggerKind.STOP else "take-profit"
    return name if market else f"{name}-limit"


def _time_in_force(order: Order) -> str:
    if order.request.post_only is not PostOnly.OFF:
        return "post-only"
    if order.request.type is OrderType.MARKET or order.request.time_in_force is not TimeInForce.GTC:
        return "immediate-or-cancel"
    return "good-till-time"


def _trigger_status(order: Order) -> str:
    if order.status is OrderStatus.WAITING:
        return "parent-order"
    if order.request.trigger is None:
        return "na"
    return "mark-price" if order.status is OrderStatus.UNTRIGGERED else "ready"


@dataclass(frozen=True, slots=True)
class Wire:
    """Renders one exchange's state. `ids`: market symbol -> market id."""

    exchange: Exchange
    ids: Mapping[str, int]
    fills: Mapping[int, Mapping[Liquidity, OrderFilled]]
    """Both sides of a trade by trade id, as far as somebody owns them."""

    # orders

    def order(self, order: Order, nonce: int) -> dict[str, Any]:
        spec = order.market.spec
        index = order_index(order.id, order.side)
        client = int(order.client_id or 0)
        remaining = 0 if order.status.terminal else order.remaining
        siblings = order.group.siblings(order) if order.group is not None else []
        parent = order.group.parent if order.group is not None else None
        children = [o for o in order.group.orders[1:] if order is parent] if order.group is not None and parent is not None else []
        expires = order.request.expires_ns // MS
        return {
            "order_index": index,
            "client_order_index": client,
            "order_id": str(index),
            "client_order_id": str(client),
            "market_index": self.ids[spec.symbol],
            "owner_account_index": order.account.id,
            "initial_base_amount": f"{spec.size(order.size):f}",
            "price": f"{spec.price(order.price):f}",
            "nonce": nonce,
            "remaining_base_amount": f"{spec.size(remaining):f}",
            "is_ask": order.side is Side.SELL,
            "base_size": remaining,
            "base_price": order.price,
            "filled_base_amount": f"{spec.size(order.filled):f}",
            "filled_quote_amount": usdc(order.value * spec.notional_unit),
            "side": "",
            "type": type_of(order),
            "time_in_force": _time_in_force(order),
            "reduce_only": order.reduce_only,
            "trigger_price": f"{spec.price(order.trigger_price):f}",
            "order_expiry": expires,
            "status": status_of(order),
            "trigger_status": _trigger_status(order),
            "trigger_time": 0,
            "parent_order_index": order_index(parent.id, parent.side) if parent is not None and parent is not order else 0,
            "parent_order_id": str(order_index(parent.id, parent.side)) if parent is not None and parent is not order else "0",
            "to_trigger_order_id_0": str(order_index(children[0].id, children[0].side)) if children else "0",
            "to_trigger_order_id_1": str(order_index(children[1].id, children[1].side)) if len(children) > 1 else "0",
            "to_cancel_order_id_0": str(order_index(siblings[0].id, siblings[0].side)) if siblings else "0",
            "block_height": block_height(order.updated_ns),
            "timestamp": order.updated_ns // MS,
            "created_at": order.created_ns // MS,
            "updated_at": order.updated_ns // MS,
            "transaction_time": order.updated_ns // 1000,
            "integrator_fee_collector_index": "0",
            "integrator_taker_fee": "0",
            "integrator_maker_fee": "0",
        }

    def book_orders(self, market: MarketState, side: Side, limit: int) -> list[dict[str, Any]]:
        """Single resting orders, best first; liquidity without an owner shows as one order per level."""
        spec = market.spec
        found: list[tuple[int, int, int, int, int, int]] = []
        for price, anonymous, orders in market.book.side(side).best_first():
            if anonymous:
                found.append((order_index(10**12 + price, side), HOUSE, anonymous, anonymous, price, 0))
            found += [(order_index(o.id, side), o.account.id, o.size, o.remaining, price, o.request.expires_ns // MS) for o in orders]
            if len(found) >= limit:
                break
        return [
            {
                "order_index": index,
                "order_id": str(index),
                "owner_account_index": owner,
                "initial_base_amount": f"{spec.size(size):f}",
                "remaining_base_amount": f"{spec.size(remaining):f}",
                "price": f"{spec.price(price):f}",
                "order_expiry": expiry,
                "transaction_time": self.exchange.now_ns // 1000,
            }
            for index, owner, size, remaining, price, expiry in found[:limit]
        ]

    # trades

    def trade(self, trade: Trade) -> dict[str, Any]:
        market = self.exchange.markets[trade.market]
        spec = market.spec
        maker_is_ask = trade.taker_side is Side.BUY
        maker = self._party(trade.maker_account, trade.maker_order_id, trade, Side.SELL if maker_is_ask else Side.BUY)
        taker = self._party(trade.taker_account, trade.taker_order_id, trade, Side.BUY if maker_is_ask else Side.SELL)
        ask, bid = (maker, taker) if maker_is_ask else (taker, maker)
        found: dict[str, Any] = {
            "trade_id": trade.trade_id,
            "trade_id_str": str(trade.trade_id),
            "tx_hash": f"{trade.trade_id:080x}",
            "type": _TRADE_TYPES[trade.kind],
            "market_id": self.ids[trade.market],
            "size": f"{spec.size(trade.size):f}",
            "price": f"{spec.price(trade.price):f}",
            "usd_amount": usdc(trade.price * trade.size * spec.notional_unit),
            "ask_id": ask[1],
            "ask_id_str": str(ask[1]),
            "bid_id": bid[1],
            "bid_id_str": str(bid[1]),
            "ask_client_id": ask[2],
            "ask_client_id_str": str(ask[2]),
            "bid_client_id": bid[2],
            "bid_client_id_str": str(bid[2]),
            "ask_account_id": ask[0],
            "bid_account_id": bid[0],
            "is_maker_ask": maker_is_ask,
            "block_height": block_height(trade.ts_ns),
            "timestamp": trade.ts_ns // MS,
        }
        for name, liquidity in (("taker", Liquidity.TAKER), ("maker", Liquidity.MAKER)):
            fill = self.fills.get(trade.trade_id, {}).get(liquidity)
            if fill is None:
                continue
            fee = round(Decimal(fill.fee) * 10**6 / (fill.price * fill.size * spec.notional_unit))
            if fee:  # the venue leaves a zero fee out
                found[f"{name}_fee"] = fee
            found[f"{name}_position_size_before"] = f"{spec.size(fill.position_before):f}"
        found["transaction_time"] = trade.ts_ns // 1000
        return found

    def _party(self, account: int, order: int, trade: Trade, side: Side) -> tuple[int, int, int]:
        """(account, order index, client index) of one side; liquidity without an owner gets an index of its own."""
        if not order:
            return account or HOUSE, order_index(10**12 + trade.trade_id, side), 0
        found = self.exchange.order(order)
        return account, order_index(order, side), int(found.client_id or 0) if found is not None else 0

    # account

    def position(self, position: Position) -> dict[str, Any]:
        market, account = position.market, position.account
        spec, size = market.spec, position.size
        orders = [o for o in account.orders.values() if o.position is position]
        pending = sum(o.status is not OrderStatus.OPEN for o in orders)
        liquidation = self.exchange.liquidation_price(account.id, spec.symbol) if size else None
        entry = Decimal(position.cost) / (size * spec.notional_unit) * spec.tick_size if size else Decimal(0)
        return {
            "market_id": self.ids[spec.symbol],
            "symbol": spec.symbol,
            "initial_margin_fraction": usdc(position.initial * 100, 2),
            "open_order_count": len(orders) - pending,
            "pending_order_count": pending,
            "position_tied_order_count": sum(o.reduce_only for o in orders),
            "sign": -1 if size < 0 else 1,
            "position": f"{spec.size(abs(size)):f}",
            "avg_entry_price": f"{entry.quantize(spec.tick_size):f}",
            "position_value": usdc(abs(size) * market.mark * spec.ref_unit),
            "unrealized_pnl": usdc(market.unrealised(position)),
            "realized_pnl": usdc(position.realised),
            "liquidation_price": f"{spec.ref_price(liquidation):f}" if liquidation else "0",
            "total_funding_paid_out": usdc(-position.funding),
            "margin_mode": 1 if position.mode is MarginMode.ISOLATED else 0,
            "allocated_margin": usdc(position.margin),
            "total_discount": "0.000000",
        }

    def positions(self, account: Account) -> list[dict[str, Any]]:
        """Markets the account holds, has orders in, or ever touched: a flat one shows its leverage and margin mode."""
        return [self.position(p) for p in account.positions.values()]

    def account(self, account: Account, l1_address: str) -> dict[str, Any]:
        exchange = self.exchange
        equity = exchange.equity(account.id)
        cross = exchange.ledger.cross_equity(account)
        isolated = sum(p.margin for p in account.positions.values())
        orders = account.orders.values()
        pending = sum(o.status is not OrderStatus.OPEN for o in orders)
        return {
            "code": 0,
            "account_type": 0,
            "index": account.id,
            "l1_address": l1_address,
            "cancel_all_time": account.cancel_all_ns // MS,
            "total_order_count": len(orders) - pending,
            "total_isolated_order_count": sum(o.position.mode is MarginMode.ISOLATED for o in orders),
            "pending_order_count": pending,
            "available_balance": usdc(max(0, exchange.available(account.id))),
            "status": 1,
            "collateral": usdc(account.balance + isolated),
            "transaction_time": exchange.now_ns // 1000,
            "account_trading_mode": 0,
            "account_index": account.id,
            "name": "",
            "description": "",
            "can_invite": True,
            "referral_points_percentage": "",
            "can_rfq": False,
            "can_rfq_market_ids": None,
            "created_at": 0,
            "metadata": {"color": ""},
            "positions": self.positions(account),
            "assets": [self.asset(account)],
            "total_asset_value": usdc(equity),
            "cross_asset_value": usdc(cross),
            "cross_initial_margin_requirement": usdc(exchange.initial_margin(account.id)),
            "cross_maintenance_margin_requirement": usdc(exchange.ledger.cross_maintenance(account)),
            "shares": [],
            "pending_unlocks": [],
            "approved_integrators": [],
        }

    def asset(self, account: Account) -> dict[str, Any]:
        return {
            "symbol": "USDC",
            "asset_id": USDC_ASSET,
            "balance": "0.000000",
            "locked_balance": "0.000000",
            "margin_mode": "enabled",
            "margin_balance": usdc(account.balance + sum(p.margin for p in account.positions.values())),
        }

    def stats(self, account: Account) -> dict[str, Any]:
        """The `user_stats` object; leverage is notional over equity, margin usage in percent."""
        exchange = self.exchange
        notional = sum(abs(p.size) * p.market.mark * p.market.spec.ref_unit for p in account.positions.values())
        equity = exchange.equity(account.id)
        available = max(0, exchange.available(account.id))
        used = exchange.initial_margin(account.id) + sum(p.margin for p in account.positions.values())
        figures = {
            "collateral": usdc(account.balance + sum(p.margin for p in account.positions.values())),
            "portfolio_value": usdc(equity),
            "leverage": usdc(notional * UNIT // equity, 2) if equity > 0 else "0.00",
            "available_balance": usdc(available),
            "margin_usage": usdc(used * 100 * UNIT // equity, 2) if equity > 0 else "0.00",
            "buying_power": usdc(available * 20),
        }
        return {**figures, "account_trading_mode": 0, "cross_stats": figures, "total_stats": figures}

    # markets

    def market(self, market: MarketState) -> dict[str, Any]:
        """A row of `orderBooks`."""
        spec = market.spec
        return {
            "symbol": spec.symbol,
            "market_id": self.ids[spec.symbol],
            "market_type": "perp",
            "base_asset_id": 0,
            "quote_asset_id": 0,
            "status": _MARKET_STATUS.get(spec.status, "inactive"),
            "taker_fee": usdc(spec.taker_fee * 100, 4),
            "is_taker_fee_enabled": True,
            "maker_fee": usdc(spec.maker_fee * 100, 4),
            "is_maker_fee_enabled": True,
            "liquidation_fee": usdc(spec.liquidation_fee * 100, 4),
            "min_base_amount": f"{spec.size(spec.min_size):f}",
            "min_quote_amount": usdc(spec.min_notional),
            "order_quote_limit": "281474976.710655",
            "supported_size_decimals": decimals(spec.step_size),
            "supported_price_decimals": decimals(spec.tick_size),
            "supported_quote_decimals": 6,
        }

    def details(self, market: MarketState, day: DayStats) -> dict[str, Any]:
        """A row of `orderBookDetails`. Open interest is in base units here, one-sided."""
        spec = market.spec
        tier = spec.tiers[0]
        return {
            **self.market(market),
            "size_decimals": decimals(spec.step_size),
            "price_decimals": decimals(spec.tick_size),
            "quote_multiplier": 1,
            "default_initial_margin_fraction": max(self.exchange.rules.default_initial, tier.initial) // MARGIN_TICK,
            "min_initial_margin_fraction": tier.initial // MARGIN_TICK,
            "maintenance_margin_fraction": tier.maintenance // MARGIN_TICK,
            "closeout_margin_fraction": tier.maintenance * self.exchange.rules.closeout // UNIT // MARGIN_TICK,
            "last_trade_price": float(spec.price(market.last)),
            "daily_trades_count": day.trades,
            **self._daily(market, day),
            "open_interest": float(spec.size(self.exchange.open_interest(spec.symbol))),
            "daily_chart": {},
            "market_config": {
                "market_margin_mode": 0,
                "insurance_fund_account_index": 281474976710654,
                "liquidation_mode": 0,
                "force_reduce_only": spec.status is MarketStatus.REDUCE_ONLY,
                "trading_hours": "",
                "funding_fee_discounts_enabled": False,
                "hidden": False,
                "rfq_enabled": False,
            },
            "strategy_index": 0,
            "mark_price": self._ref(market, PriceSource.MARK),
            "index_price": self._ref(market, PriceSource.INDEX),
            "funding_clamp_small": "0.0500",
            "funding_clamp_big": "4.0000",
            "base_interest_rate": "0.0100",
            "funding_premium_multiplier": 100,
            "multiplier": 1,
        }

    def _daily(self, market: MarketState, day: DayStats) -> dict[str, Any]:
        spec = market.spec
        change = (day.close - day.open) / day.open * 100 if day.open else 0.0
        return {
            "daily_base_token_volume": float(spec.size(day.volume)),
            "daily_quote_token_volume": float(usdc(day.value * spec.notional_unit)),
            "daily_price_low": float(spec.price(day.low)),
            "daily_price_high": float(spec.price(day.high)),
            "daily_price_change": change,
        }

    def _ref(self, market: MarketState, source: PriceSource) -> str:
        return f"{market.spec.price((market.ref(source) + REF // 2) // REF):f}"

    def market_stats(self, market: MarketState, day: DayStats, last: PastFunding | None) -> dict[str, Any]:
        """Rates in percent per hour; open interest in USD here."""
        spec = market.spec
        bid, ask = self.exchange.best(spec.symbol)
        mid = f"{(bid + ask) * spec.tick_size / 2:.{decimals(spec.tick_size)}f}" if bid and ask else ""
        open_interest = self.exchange.open_interest(spec.symbol) * market.mark * spec.ref_unit
        return {
            "symbol": spec.symbol,
            "market_id": self.ids[spec.symbol],
            "index_price": self._ref(market, PriceSource.INDEX),
            "mark_price": self._ref(market, PriceSource.MARK),
            "mid_price": mid,
            "open_interest": usdc(open_interest),
            "open_interest_limit": "72057594037927936.000000",
            "funding_clamp_small": "0.0500",
            "funding_clamp_big": "4.0000",
            "base_interest_rate": "0.0100",
            "last_trade_price": f"{spec.price(market.last):f}",
            "current_funding_rate": percent(self.exchange.funding_estimate(spec.symbol)),
            "funding_rate": percent(last.rate) if last is not None else "0.0000",
            "funding_timestamp": last.ts_ns // MS if last is not None else 0,
            **self._daily(market, day),
        }

    def levels(self, market: MarketState, side: Side, levels: Iterable[tuple[int, int]]) -> list[dict[str, str]]:
        spec = market.spec
        return [{"price": f"{spec.price(price):f}", "size": f"{spec.size(size):f}"} for price, size in levels]

    def top(self, market: MarketState, side: Side) -> dict[str, str]:
        """Best level; an empty object when the side is empty."""
        best = self.exchange.depth(market.symbol, side, 1)
        return self.levels(market, side, [best[0][:2]])[0] if best else {}

    # funding and candles

    def funding(self, market: MarketState, row: PastFunding) -> dict[str, Any]:
        """A row of `fundings`: rate unsigned in percent per hour, value in USDC per base unit, time in seconds."""
        spec = market.spec
        value = spec.ref_price(row.ref_price) * abs(row.rate) / UNIT
        return {
            "timestamp": row.ts_ns // 10**9,
            "value": f"{value:.8f}",
            "rate": percent(abs(row.rate)),
            "direction": "short" if row.rate < 0 else "long",
        }

    def payment(self, payment: FundingPaid) -> dict[str, Any]:
        """A row of `positionFunding`: `change` is what the account received, negative when it paid."""
        spec = self.exchange.markets[payment.market].spec
        return {
            "timestamp": payment.ts_ns // 10**9,
            "market_id": self.ids[payment.market],
            "funding_id": payment.seq,
            "change": usdc(payment.amount),
            "discount": "0.000000",
            "rate": percent(payment.rate),
            "position_size": f"{spec.size(abs(payment.size)):f}",
            "position_side": "short" if payment.size < 0 else "long",
        }

    def candle(self, market: MarketState, candle: Candle) -> dict[str, Any]:
        """Fields that are zero are left out, as the venue does."""
        spec = market.spec
        row = {
            "t": candle.start_ns // MS,
            "o": float(spec.price(candle.open)),
            "h": float(spec.price(candle.high)),
            "l": float(spec.price(candle.low)),
            "c": float(spec.price(candle.close)),
            "v": float(spec.size(candle.volume)),
            "V": float(usdc(candle.value * spec.notional_unit)),
            "i": candle.last_trade_id,
        }
        return {k: v for k, v in row.items() if v}


def decimals(step: Decimal) -> int:
    """Digits after the point of a power of ten."""
    return max(0, -int(step.normalize().as_tuple().exponent))
