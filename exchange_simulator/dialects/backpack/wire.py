"""Backpack's words for what is in the exchange: numbers as text, three kinds of time, orders and fills."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from exchange_simulator.core.events import OrderFilled
from exchange_simulator.core.market import MarketState
from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import (
    UNIT,
    CancelReason,
    MarketStatus,
    OrderStatus,
    OrderType,
    RejectReason,
    SelfTrade,
    Side,
    TimeInForce,
    TradeKind,
    fraction,
    money,
)

MS: Final = 10**6
US: Final = 10**3
SIDES: Final = {Side.BUY: "Bid", Side.SELL: "Ask"}
SELF_TRADE: Final = {"RejectTaker": SelfTrade.CANCEL_TAKER, "RejectMaker": SelfTrade.CANCEL_MAKER, "RejectBoth": SelfTrade.CANCEL_BOTH}
STATES: Final = {
    MarketStatus.ACTIVE: "Open",
    MarketStatus.POST_ONLY: "PostOnly",
    MarketStatus.CANCEL_ONLY: "CancelOnly",
    MarketStatus.REDUCE_ONLY: "CancelOnly",
    MarketStatus.HALTED: "Closed",
    MarketStatus.DELISTED: "Closed",
}
EXPIRY: Final = {
    CancelReason.IOC: "ImmediateOrCancel",
    CancelReason.NO_LIQUIDITY: "ImmediateOrCancel",
    CancelReason.SLIPPAGE: "PriceImpact",
    CancelReason.FOK: "FillOrKill",
    CancelReason.POST_ONLY: "PostOnlyTaker",
    CancelReason.SELF_TRADE: "SelfTradePrevention",
    CancelReason.REDUCE_ONLY: "ReduceOnlyNotReduced",
    CancelReason.MARGIN: "InsufficientMargin",
    CancelReason.LIQUIDATION: "Liquidation",
}
"""Ends that the venue calls expiries; of the others a trigger that failed has its own word, the rest were cancelled."""
ORIGINS: Final = {
    TradeKind.NORMAL: "USER",
    TradeKind.LIQUIDATION: "LIQUIDATION_AUTOCLOSE",
    TradeKind.ADL: "ADL_AUTOCLOSE",
    TradeKind.SETTLEMENT: "SETTLEMENT_AUTOCLOSE",
}
SYSTEM_ORDERS: Final = {
    TradeKind.NORMAL: None,
    TradeKind.LIQUIDATION: "LiquidatePositionOnBook",
    TradeKind.ADL: "LiquidatePositionOnAdl",
    TradeKind.SETTLEMENT: "OrderBookClosed",
}
EXITS: Final = tuple(f"{kind}{what}" for kind in ("stopLoss", "takeProfit") for what in ("TriggerPrice", "LimitPrice", "TriggerBy"))


def text(value: Decimal) -> str:
    """A plain number."""
    plain = f"{value:f}"
    return plain.rstrip("0").rstrip(".") or "0" if "." in plain else plain


def naive(ts_ns: int, *, separator: str = "T", millis: bool = True) -> str:
    """UTC without saying so; whole seconds have no fraction."""
    moment = datetime.fromtimestamp(ts_ns // 10**9, UTC).replace(tzinfo=None)
    part = ts_ns // MS % 1000
    return moment.isoformat(separator) + (f".{part:03d}" if millis and part else "")


def usd(units: int) -> str:
    """Money, to a millionth."""
    return text(round(money(units), 6))


def market(state: MarketState, base: str) -> dict[str, Any]:
    spec = state.spec
    cap = text(fraction(spec.funding_cap) * 10_000) if spec.funding_cap else None
    band = fraction(spec.price_band)
    tier = spec.tiers[0]

    def function(base_fraction: int) -> dict[str, str]:
        return {"type": "sqrt", "base": text(fraction(base_fraction)), "factor": "0.0001275"}

    return {
        "symbol": spec.symbol,
        "baseSymbol": base,
        "quoteSymbol": "USDC",
        "marketType": "PERP",
        "createdAt": "2025-01-21T06:34:54.691858",
        "filters": {
            "price": {
                "tickSize": text(spec.tick_size),
                "minPrice": text(spec.tick_size),
                "maxPrice": None,
                "minMultiplier": text(1 - band) if band else None,
                "maxMultiplier": text(1 + band) if band else None,
                "minImpactMultiplier": "0.97",
                "maxImpactMultiplier": "1.03",
                "meanMarkPriceBand": {"minMultiplier": "0.9", "maxMultiplier": "1.1"},
                "meanPremiumBand": {"tolerancePct": "0.05"},
            },
            "quantity": {
                "minQuantity": text(spec.size(spec.min_size)),
                "maxQuantity": text(spec.size(spec.max_size)) if spec.max_size else None,
                "stepSize": text(spec.step_size),
            },
        },
        "imfFunction": function(tier.initial),
        "mmfFunction": function(tier.maintenance),
        "fundingInterval": spec.funding_interval_ns // MS,
        "fundingRateUpperBound": cap,
        "fundingRateLowerBound": f"-{cap}" if cap else None,
        "openInterestLimit": "0",
        "orderBookState": STATES.get(spec.status, "Closed"),
        "visible": spec.status is not MarketStatus.DELISTED,
    }


def expiry(order: Order) -> str | None:
    """Why the venue says that it expired, None for what did not."""
    if order.status is OrderStatus.REJECTED:
        return "ReduceOnlyNotReduced" if order.reject_reason is RejectReason.REDUCE_ONLY else "Unknown"
    if order.cancel_reason is CancelReason.NO_LIQUIDITY and order.request.type is OrderType.MARKET:
        return "InsufficientLiquidity"
    return EXPIRY.get(order.cancel_reason) if order.cancel_reason is not None else None


def status(order: Order) -> str:
    match order.status:
        case OrderStatus.UNTRIGGERED | OrderStatus.WAITING:
            return "TriggerPending"
        case OrderStatus.OPEN | OrderStatus.NEW:
            return "PartiallyFilled" if order.filled else "New"
        case OrderStatus.FILLED:
            return "Filled"
    if order.cancel_reason is CancelReason.REJECTED_ON_TRIGGER:
        return "TriggerFailed"
    return "Expired" if expiry(order) is not None else "Cancelled"


def order_row(order: Order, *, related: int = 0, exits: dict[str, str] | None = None, past: bool = False) -> dict[str, Any]:
    """`past`: as history has it, with texts for times and the reason of an expiry."""
    spec, request = order.market.spec, order.request
    waits = request.trigger is not None
    row: dict[str, Any] = {
        "id": str(order.id),
        "clientId": int(order.client_id) if order.client_id else None,
        "createdAt": naive(order.created_ns) if past else order.created_ns // MS,
        "symbol": spec.symbol,
        "orderType": "Limit" if request.type is OrderType.LIMIT else "Market",
        "side": SIDES[order.side],
        "status": status(order),
        "executedQuantity": text(spec.size(order.filled)),
        "executedQuoteQuantity": usd(order.value * spec.notional_unit),
        "timeInForce": request.time_in_force.value.upper(),
        "reduceOnly": request.reduce_only or None,
        "selfTradePrevention": next(name for name, rule in SELF_TRADE.items() if rule is order.self_trade),
        "triggerPrice": text(spec.price(order.trigger_price)) if waits else None,
        "triggerBy": "MarkPrice" if waits else None,
        "triggerQuantity": text(spec.size(order.size)) if waits else None,
        "triggeredAt": None,
        "relatedOrderId": str(related) if related else None,
        "strategyId": None,
        **dict.fromkeys(EXITS),
        **(exits or {}),
    }
    if not waits:
        row["quantity"] = text(spec.size(order.size))
    if request.type is OrderType.LIMIT:
        row |= {"price": text(spec.price(order.price)), "postOnly": request.post_only.value != "off"}
    if past:
        row |= {"expiryReason": expiry(order), "systemOrderType": None, "quantity": row.get("quantity"), "quoteQuantity": None}
    return row


def order_event(order: Order, kind: str, word: str, *, related: int = 0, exits: dict[str, str] | None = None) -> dict[str, Any]:
    """What every order event says; the caller adds what is special to it."""
    spec, request = order.market.spec, order.request
    event: dict[str, Any] = {
        "e": kind,
        "s": spec.symbol,
        "S": SIDES[order.side],
        "o": request.type.value.upper(),
        "f": request.time_in_force.value.upper() if request.time_in_force is not TimeInForce.GTC else "GTC",
        "q": text(spec.size(order.size)),
        "X": word,
        "i": str(order.id),
        "z": text(spec.size(order.filled)),
        "Z": usd(order.value * spec.notional_unit),
        "V": next(name for name, rule in SELF_TRADE.items() if rule is order.self_trade),
        "O": "USER",
        "r": request.reduce_only,
        "y": request.post_only.value != "off",
    }
    if order.client_id:
        event["c"] = int(order.client_id)
    if request.type is OrderType.LIMIT:
        event["p"] = text(spec.price(order.price))
    if request.trigger is not None:
        event |= {"P": text(spec.price(order.trigger_price)), "B": "MarkPrice", "Y": text(spec.size(order.size))}
        del event["q"]
    if related:
        event["I"] = str(related)
    letters = dict(zip(EXITS, "bkgajd", strict=True))
    event |= {letters[name]: value for name, value in (exits or {}).items()}
    return event


def fill_row(fill: OrderFilled, state: MarketState) -> dict[str, Any]:
    spec = state.spec
    return {
        "tradeId": fill.trade_id,
        "orderId": str(fill.order_id or venue_order(fill)),
        "clientId": fill.client_id or None,
        "symbol": spec.symbol,
        "side": SIDES[fill.side],
        "price": text(spec.price(fill.price)),
        "quantity": text(spec.size(fill.size)),
        "fee": usd(fill.fee),
        "feeSymbol": "USDC",
        "isMaker": fill.liquidity.value == "maker",
        "systemOrderType": SYSTEM_ORDERS[fill.kind],
        "timestamp": naive(fill.ts_ns),
    }


def venue_order(fill: OrderFilled) -> int:
    """The order that the venue made for a fill that nobody ordered."""
    return 10**12 + fill.trade_id


def leverage(initial: int) -> str:
    return text((UNIT / Decimal(initial)).quantize(Decimal("1e-6")))
