"""The venue's JSON objects, made from the exchange's state. Every number is text; sizes are contracts.

Sources: recorded messages under payloads/okx; https://www.okx.com/docs-v5/en, read 2026-08.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final
from zlib import crc32

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
    Side,
    TimeInForce,
    TradeKind,
    TriggerKind,
    fraction,
    money,
)
from exchange_simulator.dialects.history import Candle, DayStats

MS: Final = 10**6
ORDER_BASE: Final = 2_500_000_000_000_000_000
ALGO_BASE: Final = 1_800_000_000_000_000_000
FORCED_BASE: Final = 2_600_000_000_000_000_000
"""Numbers of orders, of trigger orders (one exchange order has both), and of orders that nobody sent."""
LINEAR_LOT: Final = Decimal("0.001")
INVERSE_LOT: Final = Decimal(1)
FEE_GROUP: Final = "4"
FIRST_CODE: Final = 10458

STATES: Final = {
    MarketStatus.ACTIVE: "live",
    MarketStatus.POST_ONLY: "post_only",
    MarketStatus.CANCEL_ONLY: "suspend",
    MarketStatus.REDUCE_ONLY: "live",
    MarketStatus.HALTED: "suspend",
}
CANCEL_SOURCES: Final = {
    CancelReason.USER: "1",
    CancelReason.SCHEDULED: "20",
    CancelReason.IOC: "14",
    CancelReason.NO_LIQUIDITY: "14",
    CancelReason.SLIPPAGE: "14",
    CancelReason.FOK: "13",
    CancelReason.POST_ONLY: "31",
    CancelReason.SELF_TRADE: "32",
    CancelReason.REDUCE_ONLY: "17",
    CancelReason.MARGIN: "2",
    CancelReason.LIQUIDATION: "3",
    CancelReason.SIBLING_FILLED: "36",
    CancelReason.DELISTED: "7",
}
CATEGORIES: Final = {
    TradeKind.NORMAL: "normal",
    TradeKind.LIQUIDATION: "full_liquidation",
    TradeKind.ADL: "adl",
    TradeKind.SETTLEMENT: "delivery",
}
_FORCED_SUBTYPES: Final = {
    (TradeKind.LIQUIDATION, Side.SELL): "104",
    (TradeKind.LIQUIDATION, Side.BUY): "105",
    (TradeKind.ADL, Side.SELL): "125",
    (TradeKind.ADL, Side.BUY): "126",
    (TradeKind.SETTLEMENT, Side.SELL): "112",
    (TradeKind.SETTLEMENT, Side.BUY): "113",
}


def text(value: Decimal) -> str:
    """A number as the venue prints it: plain, without trailing zeros."""
    plain = format(value, "f")
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain in ("-0", "") else plain


def lot(market: Market) -> Decimal:
    return INVERSE_LOT if market.inverse else LINEAR_LOT


def contract(market: Market) -> Decimal:
    """Coins (quote units of an inverse market) in one contract."""
    return market.step_size / lot(market)


def contracts(market: Market, steps: int) -> str:
    return text(steps * lot(market))


def amount(units: int, market: MarketState, price: Decimal | None = None) -> Decimal:
    """Money as the currency that the market settles in: of an inverse one the coin, at that price (default: mark)."""
    if not market.spec.inverse:
        return money(units)
    at = market.spec.ref_price(market.mark) if price is None else price
    return round(money(units) / at, 12) if at else Decimal(0)


def coins(market: Market, steps: int, price: Decimal) -> Decimal:
    """A size in coins."""
    size = market.size(steps)
    return round(size / price, 8) if market.inverse and price else size


def family(market: Market) -> str:
    return market.symbol.removesuffix("-SWAP")


def base_of(market: Market) -> str:
    return market.symbol.partition("-")[0]


def quote_of(market: Market) -> str:
    return market.symbol.split("-")[1]


def settle(market: Market) -> str:
    return base_of(market) if market.inverse else quote_of(market)


# ---- markets


def instrument(market: Market, code: int) -> dict[str, Any]:
    return {
        "alias": "",
        "baseCcy": "",
        "category": "1",
        "ctMult": "1",
        "ctType": "inverse" if market.inverse else "linear",
        "ctVal": text(contract(market)),
        "ctValCcy": quote_of(market) if market.inverse else base_of(market),
        "expTime": "",
        "groupId": FEE_GROUP,
        "instFamily": family(market),
        "instId": market.symbol,
        "instIdCode": code,
        "instType": "SWAP",
        "lever": text(market.max_leverage.quantize(Decimal("0.01"))),
        "listTime": "1611916828000",
        "lotSz": text(lot(market)),
        "maxLmtAmt": "20000000",
        "maxLmtSz": contracts(market, market.max_size) if market.max_size else "100000000",
        "maxMktAmt": "",
        "maxMktSz": "30000",
        "minSz": contracts(market, market.min_size),
        "optType": "",
        "quoteCcy": "",
        "ruleType": "normal",
        "settleCcy": settle(market),
        "state": STATES[market.status],
        "stk": "",
        "tickSz": text(market.tick_size),
        "uly": family(market),
        "upcChg": [],
    }


def levels(exchange: Exchange, market: Market, side: Side, depth: int) -> list[list[str]]:
    found = exchange.depth(market.symbol, side, depth)
    return [level(market, price, size, orders) for price, size, orders in found]


def level(market: Market, price: int, size: int, orders: int = 1) -> list[str]:
    return [text(market.price(price)), contracts(market, size), "0", str(max(1, orders) if size else 0)]


def quotes(exchange: Exchange, market: Market, now_ms: int, seq: int, *, depth: int) -> dict[str, Any]:
    return {
        "asks": levels(exchange, market, Side.SELL, depth),
        "bids": levels(exchange, market, Side.BUY, depth),
        "ts": str(now_ms),
        "seqId": seq,
    }


def ticker(exchange: Exchange, market: MarketState, day: DayStats, now_ms: int) -> dict[str, Any]:
    spec = market.spec
    last = spec.price(market.last) if market.last else spec.ref_price(market.mark)
    (bid, bid_size), (ask, ask_size) = (_best(exchange, spec, side) for side in (Side.BUY, Side.SELL))
    average = spec.price(day.value) / day.volume if day.volume else last
    return {
        "instType": "SWAP",
        "instId": spec.symbol,
        "last": text(last),
        "lastSz": "1",
        "askPx": ask,
        "askSz": ask_size,
        "bidPx": bid,
        "bidSz": bid_size,
        "open24h": text(spec.price(day.open)) if day.open else text(last),
        "high24h": text(spec.price(day.high)) if day.high else text(last),
        "low24h": text(spec.price(day.low)) if day.low else text(last),
        "volCcy24h": text(coins(spec, day.volume, average)),
        "vol24h": contracts(spec, day.volume),
        "sodUtc0": text(last),
        "sodUtc8": text(last),
        "ts": str(now_ms),
    }


def _best(exchange: Exchange, market: Market, side: Side) -> tuple[str, str]:
    found = levels(exchange, market, side, 1)
    return (found[0][0], found[0][1]) if found else ("", "")


def trade(event: Trade, market: Market) -> dict[str, Any]:
    return {
        "instId": event.market,
        "tradeId": str(event.trade_id),
        "px": text(market.price(event.price)),
        "sz": contracts(market, event.size),
        "side": event.taker_side.value,
        "ts": str(event.ts_ns // MS),
    }


def candle(found: Candle, market: Market, *, closed: bool) -> list[str]:
    average = market.price(found.value) / found.volume if found.volume else market.price(found.close)
    volume = coins(market, found.volume, average)
    prices = [text(market.price(ticks)) for ticks in (found.open, found.high, found.low, found.close)]
    value = text(market.size(found.volume) if market.inverse else market.price(found.value) * market.step_size)
    return [str(found.start_ns // MS), *prices, contracts(market, found.volume), text(volume), value, "1" if closed else "0"]


def mark_price(market: MarketState, now_ms: int) -> dict[str, Any]:
    return {"instType": "SWAP", "instId": market.symbol, "markPx": text(market.spec.ref_price(market.mark)), "ts": str(now_ms)}


def index_ticker(market: MarketState, now_ms: int) -> dict[str, Any]:
    price = text(market.spec.ref_price(market.index))
    names = ("high24h", "low24h", "open24h", "sodUtc0", "sodUtc8")
    return {"instId": family(market.spec), "idxPx": price, **dict.fromkeys(names, price), "ts": str(now_ms)}


def funding(exchange: Exchange, market: MarketState, last: int, now_ms: int) -> dict[str, Any]:
    spec = market.spec
    cap = text(fraction(spec.funding_cap)) if spec.funding_cap else ""
    return {
        "instType": "SWAP",
        "instId": spec.symbol,
        "method": "current_period",
        "formulaType": "noRate",
        "fundingRate": text(fraction(exchange.funding_estimate(spec.symbol))),
        "fundingTime": str(market.next_funding_ns // MS),
        "nextFundingRate": "",
        "nextFundingTime": str((market.next_funding_ns + spec.funding_interval_ns) // MS),
        "minFundingRate": f"-{cap}" if cap else "",
        "maxFundingRate": cap,
        "premium": "0",
        "settState": "settled",
        "settFundingRate": text(fraction(last)),
        "interestRate": "",
        "impactValue": "",
        "ts": str(now_ms),
    }


def open_interest(exchange: Exchange, market: MarketState, now_ms: int) -> dict[str, Any]:
    spec, steps = market.spec, exchange.open_interest(market.symbol)
    price = spec.ref_price(market.mark)
    held = coins(spec, steps, price)
    return {
        "instType": "SWAP",
        "instId": spec.symbol,
        "oi": contracts(spec, steps),
        "oiCcy": text(held),
        "oiUsd": text(spec.size(steps) if spec.inverse else held * price),
        "ts": str(now_ms),
    }


# ---- orders


def order_id(order: Order) -> str:
    return str(ORDER_BASE + order.id)


def algo_id(order: Order) -> str:
    return str(ALGO_BASE + order.id)


def state(order: Order, filled: int) -> str:
    match order.status:
        case OrderStatus.FILLED:
            return "filled"
        case OrderStatus.CANCELLED | OrderStatus.EXPIRED | OrderStatus.REJECTED:
            return "canceled"
    return "partially_filled" if filled else "live"


def order(found: Order, *, filled: int | None = None, status: str | None = None) -> dict[str, Any]:
    """As by REST. `filled` and `status` are those of the moment that is told."""
    request, market = found.request, found.market
    spec = market.spec
    done = found.filled if filled is None else filled
    word = state(found, done) if status is None else status
    source = CANCEL_SOURCES.get(found.cancel_reason, "0") if found.cancel_reason is not None and word == "canceled" else ""
    algo = request.trigger is not None
    return {
        "instType": "SWAP",
        "instId": spec.symbol,
        "ordId": order_id(found),
        "clOrdId": "" if algo else found.client_id,
        "algoId": algo_id(found) if algo else "",
        "algoClOrdId": found.client_id if algo else "",
        "tag": "",
        "px": text(spec.price(found.price)) if request.type is OrderType.LIMIT else "",
        "sz": contracts(spec, found.size),
        "side": found.side.value,
        "posSide": "net",
        "ordType": order_type(found),
        "tdMode": found.position.mode.value,
        "state": word,
        "accFillSz": contracts(spec, done),
        "avgPx": text(round(Decimal(found.value) * spec.tick_size / found.filled, 10)) if found.filled else "",
        "fillPx": "",
        "fillSz": "0",
        "fillTime": "",
        "tradeId": "",
        "fee": text(-amount(found.fee, market, Decimal(found.value) * spec.tick_size / found.filled if found.filled else None)),
        "feeCcy": settle(spec),
        "rebate": "0",
        "rebateCcy": settle(spec),
        "pnl": "0",
        "lever": leverage(found.position),
        "reduceOnly": "true" if found.reduce_only else "false",
        "category": "normal",
        "source": "7" if algo else "",
        "cancelSource": source,
        "cancelSourceReason": "",
        "stpMode": found.self_trade.value,
        "attachAlgoOrds": [],
        "linkedAlgoOrd": {"algoId": ""},
        "cTime": str(found.created_ns // MS),
        "uTime": str(found.updated_ns // MS),
    }


def order_type(found: Order) -> str:
    request = found.request
    if request.type is OrderType.MARKET:
        return "market"
    if request.post_only is not PostOnly.OFF:
        return "post_only"
    return {TimeInForce.GTC: "limit", TimeInForce.IOC: "ioc", TimeInForce.FOK: "fok"}[request.time_in_force]


def streamed(row: dict[str, Any], **more: str) -> dict[str, Any]:
    """What the stream adds to an order."""
    own = dict.fromkeys(("amendResult", "amendSource", "reqId", "msg", "execType", "fillFee", "fillFeeCcy", "fillPnl", "notionalUsd"), "")
    return {**row, **own, "code": "0", **more}


def fill_terms(event: OrderFilled, market: MarketState) -> dict[str, str]:
    """The part of a streamed order that tells an execution."""
    price = market.spec.price(event.price)
    return {
        "fillPx": text(price),
        "fillSz": contracts(market.spec, event.size),
        "fillTime": str(event.ts_ns // MS),
        "tradeId": str(event.trade_id),
        "execType": _exec_type(event),
        "fillFee": text(-amount(event.fee, market, price)),
        "fillFeeCcy": settle(market.spec),
        "fillPnl": text(amount(event.realised, market, price)),
        "category": CATEGORIES[event.kind],
    }


def _exec_type(event: OrderFilled) -> str:
    return "M" if event.liquidity is Liquidity.MAKER else "T"


def forced_order(event: OrderFilled, market: MarketState) -> dict[str, Any]:
    """The order of a liquidation, an ADL or the end of a market, filled at once."""
    spec, size = market.spec, contracts(market.spec, event.size)
    return {
        "instType": "SWAP",
        "instId": spec.symbol,
        "ordId": str(FORCED_BASE + event.trade_id),
        "clOrdId": "",
        "algoId": "",
        "algoClOrdId": "",
        "px": "",
        "sz": size,
        "side": event.side.value,
        "posSide": "net",
        "ordType": "market",
        "tdMode": "cross",
        "state": "filled",
        "accFillSz": size,
        "avgPx": text(spec.price(event.price)),
        "fee": text(-amount(event.fee, market)),
        "feeCcy": settle(spec),
        "reduceOnly": "true",
        "cancelSource": "",
        "cancelSourceReason": "",
        "cTime": str(event.ts_ns // MS),
        "uTime": str(event.ts_ns // MS),
    }


def algo(found: Order, word: str) -> dict[str, Any]:
    """A trigger order; `word` is its state."""
    request, spec = found.request, found.market.spec
    assert request.trigger is not None
    kind = "tp" if request.trigger.kind is TriggerKind.TAKE_PROFIT else "sl"
    legs = dict.fromkeys(("tpTriggerPx", "tpOrdPx", "tpTriggerPxType", "slTriggerPx", "slOrdPx", "slTriggerPxType"), "")
    legs |= {
        f"{kind}TriggerPx": text(spec.price(found.trigger_price)),
        f"{kind}TriggerPxType": request.trigger.source.value,
        f"{kind}OrdPx": "-1" if request.type is OrderType.MARKET else text(spec.price(found.price)),
    }
    released = word == "effective"
    return {
        "instType": "SWAP",
        "instId": spec.symbol,
        "algoId": algo_id(found),
        "algoClOrdId": found.client_id,
        "clOrdId": "",
        "ordId": order_id(found) if released else "",
        "ordIdList": [order_id(found)] if released else [],
        "ordType": "conditional",
        "state": word,
        "side": found.side.value,
        "posSide": "net",
        "tdMode": found.position.mode.value,
        "sz": contracts(spec, request.size),
        **legs,
        "triggerPx": "",
        "ordPx": "",
        "reduceOnly": "true" if request.reduce_only else "false",
        "closeFraction": "",
        "actualSz": contracts(spec, request.size) if released else "",
        "actualPx": "",
        "actualSide": kind if released else "",
        "failCode": "",
        "last": text(spec.price(found.market.last)) if found.market.last else "",
        "triggerTime": str(found.updated_ns // MS) if released else "",
        "cTime": str(found.created_ns // MS),
        "uTime": str(found.updated_ns // MS),
    }


def fill(event: OrderFilled, market: MarketState, client_id: str) -> dict[str, Any]:
    """As by REST."""
    terms = fill_terms(event, market)
    return {
        "instType": "SWAP",
        "instId": event.market,
        "tradeId": terms["tradeId"],
        "ordId": str(ORDER_BASE + event.order_id) if event.order_id else str(FORCED_BASE + event.trade_id),
        "clOrdId": client_id,
        "billId": str(event.seq),
        "tag": "",
        "side": event.side.value,
        "posSide": "net",
        "fillPx": terms["fillPx"],
        "fillSz": terms["fillSz"],
        "fillPnl": terms["fillPnl"],
        "fee": terms["fillFee"],
        "feeCcy": terms["fillFeeCcy"],
        "feeRate": "",
        "execType": terms["execType"],
        "subType": _FORCED_SUBTYPES.get((event.kind, event.side), "1" if event.side is Side.BUY else "2"),
        "fillTime": terms["fillTime"],
        "ts": str(event.ts_ns // MS),
    }


# ---- account


def leverage(position: Position) -> str:
    return text(round(UNIT / Decimal(position.initial), 2))


def entry_price(position: Position) -> Decimal:
    spec = position.market.spec
    return spec.entry_price(position.size, position.cost)


def position(exchange: Exchange, held: Position, now_ms: int) -> dict[str, Any]:
    market = held.market
    spec = market.spec
    flat = held.size == 0
    liquidation = None if flat else exchange.liquidation_price(held.account.id, spec.symbol)
    mark = text(spec.ref_price(market.mark))
    return {
        "instType": "SWAP",
        "instId": spec.symbol,
        "mgnMode": held.mode.value,
        "posId": f"{held.account.id}{crc32(spec.symbol.encode())}",
        "posSide": "net",
        "pos": contracts(spec, held.size),
        "availPos": "",
        "avgPx": "" if flat else text(round(entry_price(held), 8)),
        "markPx": mark,
        "last": text(spec.price(market.last)) if market.last else mark,
        "lever": leverage(held),
        "liqPx": text(spec.ref_price(liquidation)) if liquidation is not None else "",
        "imr": ""
        if flat or held.mode is MarginMode.ISOLATED
        else text(amount(market.initial_margin(abs(held.size), held.initial), market)),
        "mmr": "" if flat else text(amount(market.maintenance_margin(held.size), market)),
        "margin": text(amount(held.margin, market)) if held.mode is MarginMode.ISOLATED else "",
        "mgnRatio": "",
        "notionalUsd": "" if flat else text(money(market.notional(held.size))),
        "upl": "" if flat else text(amount(market.unrealised(held), market)),
        "uplRatio": "",
        "realizedPnl": text(amount(held.realised + held.funding, market)),
        "pnl": text(amount(held.realised, market)),
        "fee": "0",
        "fundingFee": text(amount(held.funding, market)),
        "liqPenalty": "0",
        "adl": "1",
        "ccy": settle(spec),
        "cTime": str(held.opened_ns // MS),
        "uTime": str(now_ms),
    }


def bill(event: FundingPaid, market: MarketState) -> dict[str, Any]:
    """One funding payment; negative was paid."""
    change = text(amount(event.amount, market, market.spec.ref_price(event.ref_price)))
    return {
        "billId": str(event.seq),
        "ts": str(event.ts_ns // MS),
        "type": "8",
        "subType": "174" if event.amount >= 0 else "173",
        "instId": event.market,
        "instType": "SWAP",
        "ccy": settle(market.spec),
        "balChg": change,
        "bal": "",
        "posBalChg": "0",
        "posBal": "0",
        "pnl": change,
        "fee": "0",
        "px": text(market.spec.ref_price(event.ref_price)),
        "sz": contracts(market.spec, abs(event.size)),
        "ordId": "",
        "tradeId": "",
        "mgnMode": "cross",
        "execType": "",
        "from": "",
        "to": "",
        "notes": "",
    }


def coin_balance(coin: str, now_ms: int) -> dict[str, Any]:
    """A message of the stream has the currencies that changed; of coins these accounts hold nothing."""
    nothing = dict.fromkeys(("eq", "cashBal", "availBal", "availEq", "upl", "imr", "mmr"), "0")
    detail = {"ccy": coin, **nothing, "uTime": str(now_ms)}
    return {"totalEq": "", "adjEq": "", "details": [detail], "uTime": str(now_ms)}


def balance(exchange: Exchange, account: int, mode: str, now_ms: int) -> dict[str, Any]:
    """All collateral is USDT. In futures mode (2) the figures of the whole account are absent."""
    equity, available = exchange.equity(account), max(0, exchange.available(account))
    positions = exchange.account(account).positions.values()
    pnl = sum(p.market.unrealised(p) for p in positions if p.size)
    imr, mmr = exchange.initial_margin(account), exchange.maintenance_margin(account)
    cash = exchange.account(account).balance + sum(p.margin for p in positions)
    detail = {
        "ccy": "USDT",
        "eq": text(money(equity)),
        "cashBal": text(money(cash)),
        "availBal": text(money(available)),
        "availEq": text(money(available)),
        "frozenBal": text(money(imr)),
        "ordFrozen": "0",
        "upl": text(money(pnl)),
        "imr": text(money(imr)),
        "mmr": text(money(mmr)),
        "eqUsd": text(money(equity)),
        "isoEq": "0",
        "disEq": text(money(equity)),
        "uTime": str(now_ms),
    }
    whole = mode != "2"
    return {
        "totalEq": text(money(equity)),
        "adjEq": text(money(equity)) if whole else "",
        "imr": text(money(equity - available)) if whole else "",
        "mmr": text(money(mmr)) if whole else "",
        "mgnRatio": "",
        "isoEq": "0",
        "ordFroz": "",
        "notionalUsd": "",
        "upl": text(money(pnl)) if whole else "",
        "details": [detail],
        "uTime": str(now_ms),
    }
