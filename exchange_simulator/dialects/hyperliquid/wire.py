"""The venue's JSON objects, made from the exchange's state.

Sources: recorded replies under payloads/hyperliquid, https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from exchange_simulator.core.events import FundingPaid, OrderFilled, Trade
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.market import MarketState
from exchange_simulator.core.orders import Order, Position
from exchange_simulator.core.types import (
    UNIT,
    CancelReason,
    Liquidity,
    MarginMode,
    Market,
    MarketStatus,
    OrderStatus,
    OrderType,
    PostOnly,
    RejectReason,
    Side,
    TimeInForce,
    TradeKind,
    TriggerKind,
    money,
)
from exchange_simulator.dialects.history import Candle, DayStats

MS: Final = 10**6
ZERO_HASH: Final = "0x" + "0" * 64
HOUSE: Final = "0x" + "ff" * 20
"""Shown for liquidity without an owner."""

CANCELLED: Final = {
    CancelReason.SCHEDULED: "scheduledCancel",
    CancelReason.NO_LIQUIDITY: "iocCancelRejected",
    CancelReason.SLIPPAGE: "marketOrderNoLiquidityRejected",
    CancelReason.POST_ONLY: "badAloPxRejected",
    CancelReason.SELF_TRADE: "selfTradeCanceled",
    CancelReason.REDUCE_ONLY: "reduceOnlyCanceled",
    CancelReason.MARGIN: "marginCanceled",
    CancelReason.LIQUIDATION: "liquidatedCanceled",
    CancelReason.SIBLING_FILLED: "siblingFilledCanceled",
    CancelReason.DELISTED: "delistedCanceled",
}
"""All others are plain "canceled"."""
REJECTED: Final = {
    RejectReason.BAD_PRICE: "tickRejected",
    RejectReason.MIN_NOTIONAL: "minTradeNtlRejected",
    RejectReason.MIN_SIZE: "minTradeNtlRejected",
    RejectReason.INSUFFICIENT_MARGIN: "perpMarginRejected",
    RejectReason.REDUCE_ONLY: "reduceOnlyRejected",
    RejectReason.POST_ONLY_WOULD_CROSS: "badAloPxRejected",
    RejectReason.BAD_TRIGGER: "badTriggerPxRejected",
    RejectReason.PRICE_BAND: "oracleRejected",
    RejectReason.TOO_MANY_ORDERS: "tooManyOpenOrdersRejected",
}


def text(value: Decimal) -> str:
    """A number as the venue prints it: plain, at least one decimal."""
    plain = format(value.normalize(), "f")
    return plain if "." in plain else plain + ".0"


def usd(units: int, decimals: int = 6) -> str:
    """Money units, cut to the venue's millionths."""
    quantum = 10 ** (12 - decimals)
    return text(Decimal(abs(units) // quantum * (1 if units >= 0 else -1)).scaleb(-decimals))


def rate(units: int) -> str:
    """A fraction, to ten decimals."""
    return text(round(Decimal(units).scaleb(-12), 10))


def dex_of(symbol: str) -> str:
    return symbol.rpartition(":")[0]


def size_decimals(market: Market) -> int:
    return -int(market.step_size.normalize().as_tuple().exponent)


def leverage_limit(market: Market) -> int:
    return int(market.max_leverage)


def valid_price(market: Market, price: Decimal) -> bool:
    """On the tick, and of at most five significant figures unless whole."""
    if price <= 0 or price % market.tick_size != 0:
        return False
    return price == price.to_integral_value() or len(price.normalize().as_tuple().digits) <= 5


# ---- markets


def universe_entry(market: Market) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "szDecimals": max(0, size_decimals(market)),
        "name": market.symbol,
        "maxLeverage": leverage_limit(market),
        "marginTableId": leverage_limit(market),
    }
    if market.isolated_only:
        entry |= {"onlyIsolated": True, "marginMode": "strictIsolated"}
    if market.status is MarketStatus.DELISTED:
        entry["isDelisted"] = True
    return entry


def meta(markets: Iterable[Market], collateral: int = 0) -> dict[str, Any]:
    listed = list(markets)
    tables = {
        leverage_limit(m): {
            "description": "",
            "marginTiers": [{"lowerBound": usd(tier.floor), "maxLeverage": UNIT // tier.initial} for tier in m.tiers],
        }
        for m in listed
    }
    return {"universe": [universe_entry(m) for m in listed], "marginTables": sorted(tables.items()), "collateralToken": collateral}


def asset_ctx(exchange: Exchange, market: MarketState, day: DayStats) -> dict[str, Any]:
    spec = market.spec
    bid, ask = exchange.best(spec.symbol)
    dead = spec.status is MarketStatus.DELISTED
    mid = spec.price(bid + ask) / 2 if bid and ask and not dead else None
    index = spec.ref_price(market.index)
    impact = [text(spec.price(bid)), text(spec.price(ask))] if bid and ask and not dead else None
    premium = (mid - index) / index if mid is not None and index else None
    return {
        "funding": rate(0 if dead else exchange.funding_estimate(spec.symbol)),
        "openInterest": text(spec.size(exchange.open_interest(spec.symbol))),
        "prevDayPx": text(spec.price(day.open) if day.open else spec.ref_price(market.mark)),
        "dayNtlVlm": text(money(day.value * spec.notional_unit)),
        "premium": text(round(premium, 8)) if premium is not None else None,
        "oraclePx": text(index),
        "markPx": text(spec.ref_price(market.mark)),
        "midPx": text(mid) if mid is not None else None,
        "impactPxs": impact,
        "dayBaseVlm": text(spec.size(day.volume)),
    }


def book(exchange: Exchange, market: Market, now_ms: int, *, levels: int = 20) -> dict[str, Any]:
    def side(which: Side) -> list[dict[str, Any]]:
        found = exchange.depth(market.symbol, which, levels)
        return [{"px": text(market.price(price)), "sz": text(market.size(size)), "n": max(1, orders)} for price, size, orders in found]

    return {"coin": market.symbol, "time": now_ms, "levels": [side(Side.BUY), side(Side.SELL)]}


def trade(event: Trade, market: Market, users: list[str]) -> dict[str, Any]:
    return {
        "coin": event.market,
        "side": "B" if event.taker_side is Side.BUY else "A",
        "px": text(market.price(event.price)),
        "sz": text(market.size(event.size)),
        "time": event.ts_ns // MS,
        "hash": ZERO_HASH,
        "tid": event.trade_id,
        "users": users,
    }


def candle(found: Candle, market: Market, interval: str, interval_ns: int) -> dict[str, Any]:
    start = found.start_ns // MS
    return {
        "t": start,
        "T": start + interval_ns // MS - 1,
        "s": market.symbol,
        "i": interval,
        "o": text(market.price(found.open)),
        "c": text(market.price(found.close)),
        "h": text(market.price(found.high)),
        "l": text(market.price(found.low)),
        "v": text(market.size(found.volume)),
        "n": found.trades,
    }


# ---- orders


def status_word(order: Order) -> str:
    """As `orderStatus`, history and `orderUpdates` say it."""
    match order.status:
        case OrderStatus.FILLED:
            return "filled"
        case OrderStatus.REJECTED:
            return REJECTED.get(order.reject_reason, "rejected") if order.reject_reason is not None else "rejected"
        case OrderStatus.CANCELLED | OrderStatus.EXPIRED:
            return cancel_word(order.cancel_reason, order.filled)
    return "open"


def cancel_word(reason: CancelReason | None, filled: int) -> str:
    if reason is CancelReason.NO_LIQUIDITY and filled:
        return "canceled"
    return CANCELLED.get(reason, "canceled") if reason is not None else "canceled"


def order(found: Order, *, remaining: int | None = None) -> dict[str, Any]:
    """`sz` is what remains; ended by filling it is zero, ended otherwise it is what was left."""
    request, spec = found.request, found.market.spec
    trigger = request.trigger
    waiting = trigger is not None and found.status in (OrderStatus.UNTRIGGERED, OrderStatus.WAITING)
    left = found.remaining if remaining is None else remaining
    return {
        "coin": spec.symbol,
        "side": "B" if found.side is Side.BUY else "A",
        "limitPx": text(spec.price(found.price)),
        "sz": text(spec.size(left)),
        "oid": found.id,
        "timestamp": found.created_ns // MS,
        "triggerCondition": _condition(found) if waiting else "N/A",
        "isTrigger": waiting,
        "triggerPx": text(spec.price(found.trigger_price)) if waiting else "0.0",
        "children": [],
        "isPositionTpsl": request.close_position,
        "reduceOnly": found.reduce_only,
        "orderType": _type_name(found),
        "origSz": text(spec.size(request.size or found.size)),
        "tif": None if trigger is not None else _tif(found),
        "cloid": request.client_id or None,
    }


def update_order(found: Order, remaining: int) -> dict[str, Any]:
    """The shorter form of `orderUpdates`."""
    whole = order(found, remaining=remaining)
    short = {name: whole[name] for name in ("coin", "side", "limitPx", "sz", "oid", "timestamp", "origSz")}
    return {**short, "cloid": whole["cloid"]} if whole["cloid"] else short


def _condition(found: Order) -> str:
    trigger = found.request.trigger
    assert trigger is not None
    return f"Price {'above' if trigger.above else 'below'} {found.market.spec.price(found.trigger_price).normalize():f}"


def _type_name(found: Order) -> str:
    trigger, market = found.request.trigger, found.request.type is OrderType.MARKET
    if trigger is None:
        return "Limit"
    name = "Take Profit" if trigger.kind is TriggerKind.TAKE_PROFIT else "Stop"
    return f"{name} {'Market' if market else 'Limit'}"


def _tif(found: Order) -> str:
    if found.request.time_in_force is TimeInForce.IOC:
        return "Ioc"
    return "Alo" if found.request.post_only is not PostOnly.OFF else "Gtc"


# ---- account


def fill(event: OrderFilled, market: Market, liquidated: str | None, mark: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "coin": event.market,
        "px": text(market.price(event.price)),
        "sz": text(market.size(event.size)),
        "side": "B" if event.side is Side.BUY else "A",
        "time": event.ts_ns // MS,
        "startPosition": text(market.size(event.position_before)),
        "dir": _direction(event),
        "closedPnl": usd(event.realised),
        "hash": ZERO_HASH,
        "oid": event.order_id,
        "crossed": event.liquidity is Liquidity.TAKER,
        "fee": usd(event.fee),
        "tid": event.trade_id,
        "feeToken": "USDC",
        "twapId": None,
    }
    if event.client_id:
        row["cloid"] = event.client_id
    if liquidated is not None:
        row["liquidation"] = {"liquidatedUser": liquidated, "markPx": text(market.ref_price(mark)), "method": "market"}
    return row


def _direction(event: OrderFilled) -> str:
    if event.kind is TradeKind.ADL:
        return "Auto-Deleveraging"
    if event.kind is TradeKind.SETTLEMENT:
        return "Settlement"
    before = event.position_before
    after = before + (event.size if event.side is Side.BUY else -event.size)
    if event.kind is TradeKind.LIQUIDATION and event.order_id == 0:
        return f"Liquidated Cross {'Long' if before > 0 else 'Short'}"
    if before * after < 0:
        return "Long > Short" if before > 0 else "Short > Long"
    if abs(after) > abs(before):
        return "Open Long" if after > 0 else "Open Short"
    return "Close Long" if before > 0 else "Close Short"


def funding_delta(event: FundingPaid, market: Market) -> dict[str, Any]:
    """`usdc` negative: paid."""
    return {
        "coin": event.market,
        "usdc": usd(event.amount),
        "szi": text(market.size(event.size)),
        "fundingRate": rate(event.rate),
        "nSamples": None,
    }


def leverage(position: Position) -> dict[str, Any]:
    """Isolated positions also tell their own collateral."""
    value = min(UNIT // position.initial, leverage_limit(position.market.spec))
    if position.mode is MarginMode.CROSS:
        return {"type": "cross", "value": value}
    raw = position.margin - position.cost
    return {"type": "isolated", "value": value, "rawUsd": usd(raw)}


def position(exchange: Exchange, held: Position) -> dict[str, Any]:
    spec, market = held.market.spec, held.market
    notional = abs(held.size) * market.mark * spec.ref_unit
    unrealised = market.unrealised(held)
    margin = held.margin + unrealised if held.mode is MarginMode.ISOLATED else market.initial_margin(abs(held.size), held.initial)
    liquidation = exchange.liquidation_price(held.account.id, spec.symbol)
    entry = money(abs(held.cost)) / spec.size(abs(held.size))
    return {
        "type": "oneWay",
        "position": {
            "coin": spec.symbol,
            "szi": text(spec.size(held.size)),
            "leverage": leverage(held),
            "entryPx": text(round(entry, 8)),
            "positionValue": usd(notional),
            "unrealizedPnl": usd(unrealised),
            "returnOnEquity": text(round(Decimal(unrealised) / Decimal(margin), 8)) if margin > 0 else "0.0",
            "liquidationPx": text(spec.ref_price(liquidation)) if liquidation is not None else None,
            "marginUsed": usd(margin),
            "maxLeverage": leverage_limit(spec),
            "cumFunding": {"allTime": usd(-held.funding), "sinceOpen": usd(-held.funding), "sinceChange": "0.0"},
        },
    }


def clearinghouse(exchange: Exchange, account: int | None, dex: str, now_ms: int) -> dict[str, Any]:
    """The collateral is the main dex's; builder dexes show their positions. An address without an account shows zeros, not an error."""
    held = [] if account is None else [p for p in exchange.account(account).positions.values() if p.size and dex_of(p.market.symbol) == dex]
    equity = exchange.equity(account) if account is not None and dex == "" else 0
    cross = [p for p in held if p.mode is MarginMode.CROSS]
    isolated = sum(p.margin + p.market.unrealised(p) for p in held if p.mode is MarginMode.ISOLATED)
    notional = sum(abs(p.size) * p.market.mark * p.market.spec.ref_unit for p in held)
    signed = sum(p.size * p.market.mark * p.market.spec.ref_unit for p in held)
    used = sum(p.market.initial_margin(abs(p.size), p.initial) for p in cross)
    maintenance = sum(p.market.maintenance_margin(p.size) for p in cross)

    def summary(value: int, margin: int) -> dict[str, str]:
        return {
            "accountValue": usd(value),
            "totalNtlPos": usd(notional),
            "totalRawUsd": usd(value - signed),
            "totalMarginUsed": usd(margin),
        }

    return {
        "marginSummary": summary(equity, used + isolated),
        "crossMarginSummary": summary(equity - isolated, used),
        "crossMaintenanceMarginUsed": usd(maintenance),
        "withdrawable": usd(max(0, exchange.available(account))) if account is not None and dex == "" else "0.0",
        "assetPositions": [position(exchange, p) for p in held],
        "time": now_ms,
    }


def ref_of(market: MarketState) -> Decimal:
    """The reference that prices are compared with."""
    return market.spec.ref_price(market.mark or market.index)


def average(found: Order) -> str:
    """Average fill price, to the venue's precision."""
    spec = found.market.spec
    return text(round(Decimal(found.value) * spec.tick_size / found.filled, 8)) if found.filled else "0.0"
