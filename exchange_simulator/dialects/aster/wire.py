"""The venue's JSON objects, made from the exchange's state.

Sources: recorded replies under payloads/aster, https://github.com/asterdex/api-docs (V3 futures), read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from exchange_simulator.core.events import OrderFilled, Trade
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
    PriceSource,
    RejectReason,
    Side,
    TimeInForce,
    TradeKind,
    TriggerKind,
    money,
)
from exchange_simulator.dialects.base import Refusal
from exchange_simulator.dialects.history import Candle, DayStats

MS: Final = 10**6
QUOTE: Final = "USDT"
FORCED_ID: Final = 9_000_000_000
"""Ids of the venue's own orders begin here."""
TAKE_BOUND: Final = Decimal("0.05")

EXPIRED: Final = frozenset(
    {
        CancelReason.IOC,
        CancelReason.NO_LIQUIDITY,
        CancelReason.SLIPPAGE,
        CancelReason.FOK,
        CancelReason.POST_ONLY,
        CancelReason.SELF_TRADE,
        CancelReason.REDUCE_ONLY,
        CancelReason.MARGIN,
        CancelReason.REJECTED_ON_TRIGGER,
    }
)
"""What ends an order by itself; all else is CANCELED."""
STATUSES: Final = {
    MarketStatus.ACTIVE: "TRADING",
    MarketStatus.HALTED: "PENDING_TRADING",
    MarketStatus.CANCEL_ONLY: "SETTLING",
    MarketStatus.REDUCE_ONLY: "PRE_SETTLE",
    MarketStatus.DELISTED: "CLOSE",
}
REJECTED: Final = {
    RejectReason.INSUFFICIENT_MARGIN: (-2019, "Margin is insufficient."),
    RejectReason.REDUCE_ONLY: (-2022, "ReduceOnly Order is rejected."),
    RejectReason.MIN_NOTIONAL: (-4164, "Order's notional must be no smaller than 5.0 (unless you choose reduce only)"),
    RejectReason.MIN_SIZE: (-4003, "Quantity less than or equal to zero."),
    RejectReason.BAD_SIZE: (-4003, "Quantity less than or equal to zero."),
    RejectReason.MAX_SIZE: (-4005, "Quantity greater than max quantity."),
    RejectReason.BAD_PRICE: (-4001, "Price less than 0."),
    RejectReason.PRICE_BAND: (-4016, "Limit price can't be farther from the mark price."),
    RejectReason.BAD_TRIGGER: (-2021, "Order would immediately trigger."),
    RejectReason.TOO_MANY_ORDERS: (-2025, "Reach max open order limit."),
    RejectReason.MARKET_STATUS: (-4140, "Invalid symbol status for opening position."),
    RejectReason.NO_MARK_PRICE: (-4140, "Invalid symbol status for opening position."),
    RejectReason.DUPLICATE_CLIENT_ID: (-4116, "ClientOrderId is duplicated."),
    RejectReason.POST_ONLY_WOULD_CROSS: (
        -5022,
        "Due to the order could not be executed as maker, the Post Only order will be rejected.",
    ),
    RejectReason.UNKNOWN_ORDER: (-2011, "Unknown order sent."),
    RejectReason.BAD_LEVERAGE: (-4028, "Leverage is not valid"),
    RejectReason.MARGIN_MODE: (-4048, "Margin type cannot be changed if there exists position."),
}


def refused(reason: RejectReason | None) -> Refusal:
    code, message = REJECTED.get(reason, (-2010, "New order rejected.")) if reason is not None else (-2010, "New order rejected.")
    return Refusal(code, message, status=400)


def text(value: Decimal) -> str:
    """Plain digits."""
    return format(value.normalize(), "f")


def usd(units: int) -> str:
    """Money units to eight decimals."""
    return format(money(units).quantize(Decimal("0.00000001")), "f")


def rate(units: int) -> str:
    return format(Decimal(units).scaleb(-12).quantize(Decimal("0.00000001")), "f")


def base_of(symbol: str) -> tuple[str, str]:
    """(base, quote)."""
    quote = next((q for q in (QUOTE, "USD1", "USDF") if symbol.endswith(q)), QUOTE)
    return symbol.removesuffix(quote), quote


# ---- markets


def symbol(market: Market, onboard_ms: int) -> dict[str, Any]:
    base, quote = base_of(market.symbol)
    tick, step = text(market.tick_size), text(market.step_size)
    least, most = text(market.size(market.min_size)), text(market.size(market.max_size) if market.max_size else Decimal(1_000_000))
    band = Decimal(market.price_band).scaleb(-12)
    return {
        "symbol": market.symbol,
        "pair": market.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": onboard_ms,
        "status": STATUSES.get(market.status, "TRADING"),
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": base,
        "quoteAsset": quote,
        "marginAsset": quote,
        "pricePrecision": 8,
        "quantityPrecision": 8,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "settlePlan": 0,
        "triggerProtect": "0.1500",
        "liquidationFee": "0.025000",
        "marketTakeBound": text(TAKE_BOUND),
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "10000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": least, "maxQty": most, "stepSize": step},
            {"filterType": "MARKET_LOT_SIZE", "minQty": least, "maxQty": most, "stepSize": step},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 100},
            {"filterType": "MIN_NOTIONAL", "notional": text(money(market.min_notional))},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": text(1 + band),
                "multiplierDown": text(1 - band),
                "multiplierDecimal": 4,
            },
        ],
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "HIDDEN"],
    }


def brackets(market: Market) -> dict[str, Any]:
    rows = []
    for place, tier in enumerate(market.tiers):
        cap = market.tiers[place + 1].floor if place + 1 < len(market.tiers) else 100_000_000 * UNIT
        rows.append(
            {
                "bracket": place + 1,
                "initialLeverage": UNIT // tier.initial,
                "notionalCap": int(money(cap)),
                "notionalFloor": int(money(tier.floor)),
                "maintMarginRatio": float(Decimal(tier.maintenance).scaleb(-12)),
                "cum": 0,
            }
        )
    return {"symbol": market.symbol, "brackets": rows}


def levels(exchange: Exchange, market: Market, side: Side, count: int) -> list[list[str]]:
    found = exchange.depth(market.symbol, side, count)
    return [[text(market.price(price)), text(market.size(size))] for price, size, _ in found]


def premium(exchange: Exchange, market: MarketState, now_ms: int) -> dict[str, Any]:
    spec = market.spec
    return {
        "symbol": spec.symbol,
        "markPrice": text(spec.ref_price(market.mark)),
        "indexPrice": text(spec.ref_price(market.index)),
        "estimatedSettlePrice": text(spec.ref_price(market.index)),
        "lastFundingRate": rate(exchange.funding_estimate(spec.symbol)),
        "interestRate": "0.00010000",
        "nextFundingTime": market.next_funding_ns // MS,
        "time": now_ms,
    }


def funding_info(market: Market, now_ms: int) -> dict[str, Any]:
    cap = float(Decimal(market.funding_cap).scaleb(-12)) if market.funding_cap else None
    return {
        "symbol": market.symbol,
        "interestRate": "0.00010000",
        "time": now_ms,
        "fundingIntervalHours": market.funding_interval_ns // (3600 * 10**9),
        "fundingFeeCap": cap,
        "fundingFeeFloor": -cap if cap is not None else None,
    }


def day_ticker(market: MarketState, day: DayStats, now_ms: int) -> dict[str, Any]:
    spec = market.spec
    last = spec.price(market.last) if market.last else spec.ref_price(market.mark)
    first = spec.price(day.open) if day.open else last
    return {
        "symbol": spec.symbol,
        "priceChange": text(last - first),
        "priceChangePercent": text(round((last - first) / first * 100, 3)) if first else "0",
        "weightedAvgPrice": text(last),
        "lastPrice": text(last),
        "lastQty": "0",
        "openPrice": text(first),
        "highPrice": text(spec.price(day.high) if day.high else last),
        "lowPrice": text(spec.price(day.low) if day.low else last),
        "volume": text(spec.size(day.volume)),
        "quoteVolume": text(money(day.value * spec.notional_unit)),
        "openTime": now_ms - 86_400_000,
        "closeTime": now_ms,
        "firstId": 0,
        "lastId": 0,
        "count": day.trades,
    }


def trade(event: Trade, market: Market) -> dict[str, Any]:
    price, size = market.price(event.price), market.size(event.size)
    return {
        "id": event.trade_id,
        "price": text(price),
        "qty": text(size),
        "quoteQty": text(price * size),
        "time": event.ts_ns // MS,
        "isBuyerMaker": event.taker_side is Side.SELL,
    }


def agg_trade(event: Trade, market: Market) -> dict[str, Any]:
    return {
        "a": event.trade_id,
        "p": text(market.price(event.price)),
        "q": text(market.size(event.size)),
        "f": event.trade_id,
        "l": event.trade_id,
        "T": event.ts_ns // MS,
        "m": event.taker_side is Side.SELL,
    }


def kline(found: Candle, market: Market, interval_ns: int) -> list[Any]:
    start = found.start_ns // MS
    value = text(money(found.value * market.notional_unit))
    prices = [text(market.price(p)) for p in (found.open, found.high, found.low, found.close)]
    return [start, *prices, text(market.size(found.volume)), start + interval_ns // MS - 1, value, found.trades, "0", "0", "0"]


def kline_event(found: Candle, market: Market, interval: str, interval_ns: int, now_ms: int) -> dict[str, Any]:
    row = kline(found, market, interval_ns)
    return {
        "e": "kline",
        "E": now_ms,
        "s": market.symbol,
        "k": {
            "t": row[0],
            "T": row[6],
            "s": market.symbol,
            "i": interval,
            "f": found.last_trade_id,
            "L": found.last_trade_id,
            "o": row[1],
            "h": row[2],
            "l": row[3],
            "c": row[4],
            "v": row[5],
            "n": found.trades,
            "x": now_ms > row[6],
            "q": row[7],
            "V": "0",
            "Q": "0",
            "B": "0",
        },
    }


# ---- orders


def status_word(order: Order) -> str:
    match order.status:
        case OrderStatus.FILLED:
            return "FILLED"
        case OrderStatus.REJECTED:
            return "REJECTED"
        case OrderStatus.EXPIRED:
            return "EXPIRED"
        case OrderStatus.CANCELLED:
            return "EXPIRED" if order.cancel_reason in EXPIRED else "CANCELED"
    return "PARTIALLY_FILLED" if order.filled else "NEW"


def time_in_force(order: Order) -> str:
    if order.request.post_only is not PostOnly.OFF:
        return "GTX"
    return {TimeInForce.IOC: "IOC", TimeInForce.FOK: "FOK"}.get(order.request.time_in_force, "GTC")


def type_word(order: Order, *, triggered: bool) -> str:
    trigger, market = order.request.trigger, order.request.type is OrderType.MARKET
    if trigger is None or triggered:
        return "MARKET" if market else "LIMIT"
    return ("TAKE_PROFIT" if trigger.kind is TriggerKind.TAKE_PROFIT else "STOP") + ("_MARKET" if market else "")


def average(order: Order) -> Decimal:
    return order.market.spec.price(1) * order.value / order.filled if order.filled else Decimal(0)


def _price(order: Order) -> str:
    return "0" if order.request.type is OrderType.MARKET else text(order.market.spec.price(order.price))


def _working_type(order: Order) -> str:
    trigger = order.request.trigger
    return "MARK_PRICE" if trigger is not None and trigger.source is PriceSource.MARK else "CONTRACT_PRICE"


def order(found: Order, *, triggered: bool) -> dict[str, Any]:
    spec, request = found.market.spec, found.request
    filled = text(spec.size(found.filled))
    return {
        "orderId": found.id,
        "symbol": spec.symbol,
        "status": status_word(found),
        "clientOrderId": request.client_id,
        "price": _price(found),
        "avgPrice": text(round(average(found), 8)),
        "origQty": text(spec.size(0 if request.close_position else found.size)),
        "executedQty": filled,
        "cumQty": filled,
        "cumQuote": text(money(found.value * spec.notional_unit)),
        "timeInForce": time_in_force(found),
        "type": type_word(found, triggered=triggered),
        "reduceOnly": found.reduce_only,
        "closePosition": request.close_position,
        "side": found.side.upper(),
        "positionSide": "BOTH",
        "stopPrice": text(spec.price(found.trigger_price)) if request.trigger is not None else "0",
        "workingType": _working_type(found),
        "priceProtect": False,
        "origType": type_word(found, triggered=False),
        "time": found.created_ns // MS,
        "updateTime": found.updated_ns // MS,
        "newChainData": {"hash": f"0x{found.id:064x}"},
    }


def order_update(
    found: Order, execution: str, status: str, filled: int, ts_ns: int, *, triggered: bool, fill: OrderFilled | None = None
) -> dict[str, Any]:
    """`o` of ORDER_TRADE_UPDATE. `filled` is as of the event, not as of now."""
    spec, request = found.market.spec, found.request
    return {
        "s": spec.symbol,
        "c": request.client_id,
        "S": found.side.upper(),
        "o": type_word(found, triggered=triggered),
        "f": time_in_force(found),
        "q": text(spec.size(0 if request.close_position else found.size)),
        "p": _price(found),
        "ap": text(round(average(found), 8)) if filled else "0",
        "sp": text(spec.price(found.trigger_price)) if request.trigger is not None else "0",
        "x": execution,
        "X": status,
        "i": found.id,
        **_fill_part(fill, spec, filled),
        "T": ts_ns // MS,
        "b": "0",
        "a": "0",
        "R": found.reduce_only,
        "wt": _working_type(found),
        "ot": type_word(found, triggered=False),
        "ps": "BOTH",
        "cp": request.close_position,
        "pP": False,
        "si": 0,
        "ss": 0,
    }


def _fill_part(fill: OrderFilled | None, spec: Market, filled: int) -> dict[str, Any]:
    z = text(spec.size(filled))
    if fill is None:
        return {"l": "0", "z": z, "L": "0", "N": QUOTE, "n": "0", "t": 0, "m": False, "rp": "0"}
    return {
        "l": text(spec.size(fill.size)),
        "z": z,
        "L": text(spec.price(fill.price)),
        "N": base_of(spec.symbol)[1],
        "n": usd(fill.fee),
        "t": fill.trade_id,
        "m": fill.liquidity is Liquidity.MAKER,
        "rp": usd(fill.realised),
    }


def forced_client_id(fill: OrderFilled) -> str:
    if fill.kind is TradeKind.ADL:
        return "adl_autoclose"
    stamp = fill.ts_ns // MS
    return f"settlement_autoclose-{stamp}" if fill.kind is TradeKind.SETTLEMENT else f"autoclose-{stamp}"


def forced_update(fill: OrderFilled, spec: Market) -> dict[str, Any]:
    """An order of the venue's own that closes a position: by the book, or (ADL) by another account."""
    adl = fill.kind is TradeKind.ADL
    return {
        "s": spec.symbol,
        "c": forced_client_id(fill),
        "S": fill.side.upper(),
        "o": "LIMIT",
        "f": "IOC",
        "q": text(spec.size(fill.size)),
        "p": text(spec.price(fill.price)),
        "ap": text(spec.price(fill.price)),
        "sp": "0",
        "x": "CALCULATED" if adl else "TRADE",
        "X": "NEW_ADL" if adl else "FILLED",
        "i": FORCED_ID + fill.trade_id,
        **_fill_part(fill, spec, fill.size),
        "T": fill.ts_ns // MS,
        "b": "0",
        "a": "0",
        "R": False,
        "wt": "CONTRACT_PRICE",
        "ot": "LIMIT",
        "ps": "BOTH",
        "cp": False,
        "pP": False,
        "si": 0,
        "ss": 0,
    }


def forced_order(fill: OrderFilled, spec: Market) -> dict[str, Any]:
    """The same as a row of `forceOrders`."""
    price, size, stamp = text(spec.price(fill.price)), text(spec.size(fill.size)), fill.ts_ns // MS
    return {
        "orderId": FORCED_ID + fill.trade_id,
        "symbol": spec.symbol,
        "status": "FILLED",
        "clientOrderId": forced_client_id(fill),
        "price": price,
        "avgPrice": price,
        "origQty": size,
        "executedQty": size,
        "cumQuote": text(spec.price(fill.price) * spec.size(fill.size)),
        "timeInForce": "IOC",
        "type": "LIMIT",
        "reduceOnly": False,
        "closePosition": False,
        "side": fill.side.upper(),
        "positionSide": "BOTH",
        "stopPrice": "0",
        "workingType": "CONTRACT_PRICE",
        "origType": "LIMIT",
        "time": stamp,
        "updateTime": stamp,
    }


def user_trade(fill: OrderFilled, spec: Market) -> dict[str, Any]:
    price, size = spec.price(fill.price), spec.size(fill.size)
    quote = base_of(spec.symbol)[1]
    return {
        "symbol": spec.symbol,
        "id": fill.trade_id,
        "orderId": fill.order_id or FORCED_ID + fill.trade_id,
        "side": fill.side.upper(),
        "price": text(price),
        "qty": text(size),
        "quoteQty": text(price * size),
        "commission": usd(fill.fee),
        "commissionAsset": quote,
        "time": fill.ts_ns // MS,
        "maker": fill.liquidity is Liquidity.MAKER,
        "buyer": fill.side is Side.BUY,
        "realizedPnl": usd(fill.realised),
        "marginAsset": quote,
        "positionSide": "BOTH",
    }


# ---- account


def leverage(held: Position) -> int:
    return min(UNIT // held.initial, int(held.market.spec.max_leverage))


def entry_price(held: Position) -> Decimal:
    return round(money(held.cost) / held.market.spec.size(held.size), 8) if held.size else Decimal(0)


def position_risk(exchange: Exchange, account: int, held: Position, updated_ms: int) -> dict[str, Any]:
    market, spec = held.market, held.market.spec
    liquidation = exchange.liquidation_price(account, spec.symbol) if held.size else None
    notional = spec.size(held.size) * spec.ref_price(market.mark)
    isolated = held.mode is MarginMode.ISOLATED
    return {
        "symbol": spec.symbol,
        "positionAmt": text(spec.size(held.size)),
        "entryPrice": text(entry_price(held)),
        "markPrice": text(spec.ref_price(market.mark)),
        "unRealizedProfit": usd(market.unrealised(held)),
        "liquidationPrice": text(round(spec.ref_price(liquidation), 8)) if liquidation is not None else "0",
        "leverage": str(leverage(held)),
        "maxNotionalValue": "100000000",
        "marginType": "isolated" if isolated else "cross",
        "isolatedMargin": usd(held.margin + market.unrealised(held)) if isolated else "0.00000000",
        "isAutoAddMargin": "false",
        "positionSide": "BOTH",
        "notional": text(notional),
        "isolatedWallet": usd(held.margin) if isolated else "0",
        "updateTime": updated_ms,
    }


def position_change(held: Position) -> dict[str, Any]:
    spec, isolated = held.market.spec, held.mode is MarginMode.ISOLATED
    return {
        "s": spec.symbol,
        "pa": text(spec.size(held.size)),
        "ep": text(entry_price(held)),
        "cr": usd(held.realised),
        "up": usd(held.market.unrealised(held)),
        "mt": "isolated" if isolated else "cross",
        "iw": usd(held.margin) if isolated else "0",
        "ps": "BOTH",
        "ma": base_of(spec.symbol)[1],
    }


def wallet_balance(exchange: Exchange, account: int) -> int:
    owner = exchange.account(account)
    return owner.balance + sum(held.margin for held in owner.positions.values())


def account(exchange: Exchange, number: int, positions: Iterable[Position], *, can_trade: bool, now_ms: int) -> dict[str, Any]:
    balance, equity = wallet_balance(exchange, number), exchange.equity(number)
    available, pnl = max(0, exchange.available(number)), exchange.equity(number) - balance
    initial, maintenance = exchange.initial_margin(number), exchange.maintenance_margin(number)
    totals = {
        "totalInitialMargin": usd(initial),
        "totalMaintMargin": usd(maintenance),
        "totalWalletBalance": usd(balance),
        "totalUnrealizedProfit": usd(pnl),
        "totalMarginBalance": usd(equity),
        "totalPositionInitialMargin": usd(initial),
        "totalOpenOrderInitialMargin": "0.00000000",
        "totalCrossWalletBalance": usd(exchange.account(number).balance),
        "totalCrossUnPnl": usd(pnl),
        "availableBalance": usd(available),
        "maxWithdrawAmount": usd(available),
    }
    asset = {
        "asset": QUOTE,
        "walletBalance": usd(balance),
        "unrealizedProfit": usd(pnl),
        "marginBalance": usd(equity),
        "maintMargin": usd(maintenance),
        "initialMargin": usd(initial),
        "positionInitialMargin": usd(initial),
        "openOrderInitialMargin": "0.00000000",
        "crossWalletBalance": totals["totalCrossWalletBalance"],
        "crossUnPnl": usd(pnl),
        "availableBalance": usd(available),
        "maxWithdrawAmount": usd(available),
        "marginAvailable": True,
        "updateTime": now_ms,
    }
    other = {**asset, "asset": "USDF", "walletBalance": "0.00000000", "marginBalance": "0.00000000"}  # shows the joint free margin too
    rows = [
        {
            "symbol": held.market.symbol,
            "initialMargin": "0",
            "maintMargin": usd(held.market.maintenance_margin(held.size)),
            "unrealizedProfit": usd(held.market.unrealised(held)),
            "positionInitialMargin": "0",
            "openOrderInitialMargin": "0",
            "leverage": str(leverage(held)),
            "isolated": held.mode is MarginMode.ISOLATED,
            "entryPrice": text(entry_price(held)),
            "maxNotional": "100000000",
            "positionSide": "BOTH",
            "positionAmt": text(held.market.spec.size(held.size)),
            "updateTime": 0,
        }
        for held in positions
    ]
    flags = {"feeTier": 0, "canTrade": can_trade, "canDeposit": True, "canWithdraw": True, "updateTime": 0}
    return {**flags, **totals, "assets": [asset, other], "positions": rows}
