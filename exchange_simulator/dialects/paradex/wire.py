"""JSON as the venue writes it: numbers as text, times in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from exchange_simulator.core.events import FundingPaid, OrderFilled, Trade
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.market import MarketState
from exchange_simulator.core.orders import Order, Position
from exchange_simulator.core.types import (
    NANOS_PER_HOUR,
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
    fraction,
    money,
)
from exchange_simulator.dialects.history import Candle, DayStats, PastFunding

MS: Final = 10**6
SIDES: Final = {Side.BUY: "BUY", Side.SELL: "SELL"}
FILL_TYPES: Final = {
    TradeKind.NORMAL: "FILL",
    TradeKind.LIQUIDATION: "LIQUIDATION",
    TradeKind.ADL: "UNWIND_TRANSFER",
    TradeKind.SETTLEMENT: "SETTLE_MARKET",
}
CANCELED: Final = {
    CancelReason.USER: "USER_CANCELED",
    CancelReason.IOC: "IOC_REMAINDER",
    CancelReason.NO_LIQUIDITY: "IOC_NO_MATCH",
    CancelReason.SLIPPAGE: "IOC_MAX_SLIPPAGE",
    CancelReason.POST_ONLY: "POST_ONLY_WOULD_CROSS",
    CancelReason.SELF_TRADE: "STP_EXPIRE_TAKER",
    CancelReason.REDUCE_ONLY: "REDUCE_ONLY_WOULD_INCREASE",
    CancelReason.MARGIN: "NOT_ENOUGH_MARGIN",
    CancelReason.LIQUIDATION: "LIQUIDATION",
    CancelReason.REJECTED_ON_TRIGGER: "NOT_ENOUGH_MARGIN",
    CancelReason.DELISTED: "MARKET_SETTLED",
}
"""USER_CANCELED, NOT_ENOUGH_MARGIN and POST_ONLY_WOULD_CROSS are the venue's; the others are ours, as it publishes no list."""
REFUSED: Final = {
    RejectReason.INSUFFICIENT_MARGIN: "NOT_ENOUGH_MARGIN",
    RejectReason.REDUCE_ONLY: "REDUCE_ONLY_WOULD_INCREASE",
    RejectReason.MIN_SIZE: "ORDER_SIZE_BELOW_MIN",
    RejectReason.MIN_NOTIONAL: "ORDER_SIZE_BELOW_MIN",
    RejectReason.POST_ONLY_WOULD_CROSS: "POST_ONLY_WOULD_CROSS",
    RejectReason.MAX_SIZE: "ORDER_EXCEEDS_POSITION_LIMIT",
    RejectReason.PRICE_BAND: "PRICE_BAND_BREACHED",
    RejectReason.TOO_MANY_ORDERS: "EXCEEDS_MAX_OPEN_ORDERS",
    RejectReason.MARKET_STATUS: "INVALID_MARKET_STATE",
    RejectReason.NO_MARK_PRICE: "INVALID_MARKET_STATE",
    RejectReason.DUPLICATE_CLIENT_ID: "DUPLICATED_CLIENT_ID",
}


def text(value: Decimal) -> str:
    """A number as the venue prints it."""
    plain = format(value, "f")
    return (plain.rstrip("0").rstrip(".") or "0") if "." in plain else plain


def usd(units: int) -> str:
    """Money, to the venue's eight decimals."""
    return text(round(money(units), 8))


def base_of(symbol: str) -> str:
    return symbol.partition("-")[0]


# ---- markets


def market(found: Market) -> dict[str, Any]:
    tier = found.tiers[0]
    initial = fraction(tier.initial)
    fee = {
        "maker_fee": {"fee": text(fraction(found.maker_fee)), "fee_cap": "0.5", "fee_floor": "-0.5"},
        "taker_fee": {"fee": text(fraction(found.taker_fee)), "fee_cap": "0.5", "fee_floor": "-0.5"},
    }
    return {
        "symbol": found.symbol,
        "base_currency": base_of(found.symbol),
        "quote_currency": "USD",
        "settlement_currency": "USDC",
        "order_size_increment": text(found.step_size),
        "price_tick_size": text(found.tick_size),
        "min_notional": text(money(found.min_notional)),
        "open_at": 0,
        "expiry_at": 0,
        "asset_kind": "PERP",
        "market_kind": "cross",
        "trading_mode": "STANDARD",
        "position_limit": "10000",
        "price_bands_width": text(fraction(found.price_band)),
        "max_open_orders": 150,
        "max_funding_rate": text(fraction(found.funding_cap)),
        "delta1_cross_margin_params": {
            "imf_base": text(initial),
            "imf_shift": "0",
            "imf_factor": "0",
            "mmf_factor": text(fraction(tier.maintenance) / initial),
        },
        "price_feed_id": "",
        "oracle_ewma_factor": "0.2",
        "max_order_size": text(found.size(found.max_size)) if found.max_size else "10000",
        "max_funding_rate_change": "0.0005",
        "max_tob_spread": "0.02",
        "max_slippage": "0.05",
        "interest_rate": "0.0001",
        "clamp_rate": "0.0005",
        "funding_multiplier": 1,
        "funding_period_hours": found.funding_interval_ns // NANOS_PER_HOUR,
        "fee_config": {"api_fee": fee, "interactive_fee": fee, "rpi_fee": fee},
        "tags": [],
    }


def summary(exchange: Exchange, state: MarketState, day: DayStats, now_ms: int) -> dict[str, Any]:
    spec = state.spec
    bid, ask = exchange.best(spec.symbol)
    volume = money(day.value * spec.notional_unit)
    sizes = [exchange.depth(spec.symbol, side, 1) for side in (Side.BUY, Side.SELL)]
    change = Decimal(day.close - day.open) / day.open if day.open else Decimal(0)
    return {
        "symbol": spec.symbol,
        "mark_price": text(spec.ref_price(state.mark)),
        "underlying_price": text(spec.ref_price(state.index)),
        "last_traded_price": text(spec.price(state.last)) if state.last else "",
        "bid": text(spec.price(bid)) if bid else "",
        "ask": text(spec.price(ask)) if ask else "",
        "bid_size": text(spec.size(sizes[0][0][1])) if sizes[0] else "",
        "ask_size": text(spec.size(sizes[1][0][1])) if sizes[1] else "",
        "volume_24h": text(volume),
        "total_volume": text(volume * 30),
        "open_interest": text(spec.size(exchange.open_interest(spec.symbol))),
        "funding_rate": text(fraction(exchange.funding_estimate(spec.symbol))),
        "price_change_rate_24h": text(round(change, 6)),
        "created_at": now_ms,
    }


def levels(exchange: Exchange, spec: Market, side: Side, count: int = 0) -> list[tuple[Decimal, Decimal]]:
    return [(spec.price(price), spec.size(size)) for price, size, _ in exchange.depth(spec.symbol, side, count)]


def public_trade(event: Trade, spec: Market) -> dict[str, Any]:
    return {
        "id": trade_id(event.ts_ns, event.trade_id),
        "market": event.market,
        "side": SIDES[event.taker_side],
        "size": text(spec.size(event.size)),
        "price": text(spec.price(event.price)),
        "created_at": event.ts_ns // MS,
        "trade_type": FILL_TYPES[event.kind],
    }


def trade_id(ts_ns: int, number: int) -> str:
    return f"{ts_ns // MS}{number:015d}"


def kline(found: Candle, spec: Market) -> list[Any]:
    prices = (float(spec.price(price)) for price in (found.open, found.high, found.low, found.close))
    return [found.start_ns // MS, *prices, float(spec.size(found.volume))]


def funding_row(symbol: str, past: PastFunding, index: Decimal) -> dict[str, Any]:
    hours = past.interval_ns // NANOS_PER_HOUR
    rate = fraction(past.rate)
    return {
        "market": symbol,
        "funding_index": text(index),
        "funding_premium": text(rate),
        "funding_rate": text(rate),
        "funding_rate_8h": text(round(rate * 8 / hours, 12)),
        "funding_period_hours": hours,
        "created_at": past.ts_ns // MS,
    }


# ---- orders


@dataclass(slots=True, eq=False)
class Ticket:
    """One order as the venue's gateway knows it: from acceptance on, before the exchange has looked at it."""

    id: str
    account: int
    market: str
    side: str
    type: str
    instruction: str
    size: Decimal
    price: str
    client_id: str
    flags: list[str]
    stp: str
    trigger_price: str
    created_ms: int
    signed_ms: int = 0
    order: Order | None = None
    reason: str = ""
    """Why it ended, where the exchange's own reason does not say it."""
    request: dict[str, str] | None = None
    published: list[tuple[str, str]] = field(default_factory=list)

    @property
    def closed(self) -> bool:
        return bool(self.reason and self.order is None) or (self.order is not None and self.order.status.terminal)


def of_core(order: Order, number: str) -> Ticket:
    """Of an order that came another way than through the gateway."""
    request, spec = order.request, order.market.spec
    kind, market = "LIMIT", request.type is OrderType.MARKET
    if request.trigger is not None:
        stem = "TAKE_PROFIT" if request.trigger.kind is TriggerKind.TAKE_PROFIT else "STOP_LOSS" if order.reduce_only else "STOP"
        kind = f"{stem}_{'MARKET' if market else 'LIMIT'}"
    elif market:
        kind = "MARKET"
    immediate = request.time_in_force is TimeInForce.IOC and kind == "LIMIT"
    return Ticket(
        id=number,
        account=order.account.id,
        market=order.market.symbol,
        side=SIDES[order.side],
        type=kind,
        instruction="POST_ONLY" if request.post_only is not PostOnly.OFF else "IOC" if immediate else "GTC",
        size=spec.size(order.size),
        price=text(spec.price(order.price)) if not market else "0",
        client_id=order.client_id,
        flags=["REDUCE_ONLY"] if order.reduce_only else [],
        stp="EXPIRE_TAKER",
        trigger_price=text(spec.price(order.trigger_price)) if request.trigger is not None else "",
        created_ms=order.created_ns // MS,
        order=order,
    )


def order_row(ticket: Ticket, address: str, now_ms: int, seq: int, *, remaining: int | None = None) -> dict[str, Any]:
    """`remaining` (steps): as an event told it, instead of as it is now."""
    order = ticket.order
    size, price, trigger, average = ticket.size, ticket.price, ticket.trigger_price, ""
    status, reason, left = ("CLOSED" if ticket.reason else "NEW"), ticket.reason, ticket.size
    updated = ticket.created_ms
    if order is not None:
        spec = order.market.spec
        size, left = spec.size(order.size), spec.size(order.remaining if remaining is None else remaining)
        if order.request.type is not OrderType.MARKET:
            price = text(spec.price(order.price))
        if order.request.trigger is not None:
            trigger = text(spec.price(order.trigger_price))
        average = text(round(spec.price(order.value) / order.filled, 8)) if order.filled else ""
        status, reason = _state(order, ticket, remaining)
        if order.status is OrderStatus.REJECTED:
            left = size
        elif status == "CLOSED" and remaining is None:
            left = size - spec.size(order.filled)
        updated = max(updated, order.updated_ns // MS)
    row = {
        "id": ticket.id,
        "account": address,
        "market": ticket.market,
        "side": ticket.side,
        "type": ticket.type,
        "size": text(size),
        "remaining_size": text(left),
        "price": price,
        "status": status,
        "created_at": ticket.created_ms,
        "last_updated_at": updated,
        "timestamp": ticket.signed_ms,
        "cancel_reason": reason,
        "client_id": ticket.client_id,
        "seq_no": seq,
        "instruction": ticket.instruction,
        "avg_fill_price": average,
        "stp": ticket.stp,
        "received_at": ticket.created_ms,
        "published_at": now_ms,
        "flags": ticket.flags,
        "trigger_price": trigger or "0",
    }
    return row | ({"request_info": ticket.request} if ticket.request is not None else {})


def _state(order: Order, ticket: Ticket, remaining: int | None) -> tuple[str, str]:
    if remaining is not None:
        return ("CLOSED" if remaining == 0 else "OPEN"), ""
    match order.status:
        case OrderStatus.UNTRIGGERED | OrderStatus.WAITING:
            return "UNTRIGGERED", ""
        case OrderStatus.NEW:
            return "NEW", ""
        case OrderStatus.OPEN:
            return "OPEN", ""
        case OrderStatus.FILLED:
            return "CLOSED", ""
        case OrderStatus.REJECTED:
            return "CLOSED", REFUSED.get(order.reject_reason, "REJECTED") if order.reject_reason is not None else "REJECTED"
        case OrderStatus.EXPIRED:
            return "CLOSED", "ORDER_EXPIRED"
    reason = CANCELED.get(order.cancel_reason, "CANCELED_BY_SYSTEM") if order.cancel_reason is not None else ""
    return "CLOSED", ticket.reason or reason


def fill(event: OrderFilled, state: MarketState, order_id: str, address: str) -> dict[str, Any]:
    spec = state.spec
    return {
        "id": trade_id(event.ts_ns, event.trade_id),
        "account": address,
        "market": event.market,
        "order_id": order_id,
        "client_id": event.client_id,
        "side": SIDES[event.side],
        "liquidity": "MAKER" if event.liquidity is Liquidity.MAKER else "TAKER",
        "price": text(spec.price(event.price)),
        "size": text(spec.size(event.size)),
        "remaining_size": text(spec.size(event.remaining)),
        "fee": usd(event.fee),
        "fee_currency": "USDC",
        "fill_type": FILL_TYPES[event.kind],
        "realized_pnl": usd(event.realised),
        "realized_funding": "0",
        "underlying_price": text(spec.ref_price(state.index)),
        "created_at": event.ts_ns // MS,
        "orderbook_seq_no": event.seq,
    }


# ---- account


def position(found: Position, exchange: Exchange, address: str, now_ms: int, seq: int, index: Decimal) -> dict[str, Any]:
    state = found.market
    spec, size = state.spec, spec_size(found)
    entry = round(money(found.cost) / size, 8) if found.size else Decimal(0)
    liquidation = exchange.liquidation_price(found.account.id, spec.symbol) if found.size else None
    cost = usd(found.cost)
    return {
        "id": f"{address}-{spec.symbol}",
        "account": address,
        "market": spec.symbol,
        "status": "OPEN" if found.size else "CLOSED",
        "side": "SHORT" if found.size < 0 else "LONG",
        "size": text(size),
        "average_entry_price": text(entry),
        "average_entry_price_usd": text(entry),
        "average_exit_price": "",
        "unrealized_pnl": usd(state.unrealised(found)) if found.size else "0",
        "unrealized_funding_pnl": "0",
        "realized_positional_pnl": usd(found.realised + found.funding),
        "realized_positional_funding_pnl": usd(found.funding),
        "cached_funding_index": text(index),
        "leverage": text(round(1 / fraction(found.initial), 2)),
        "liquidation_price": text(round(spec.ref_price(liquidation), 8)) if liquidation is not None else "",
        "cost": cost,
        "cost_usd": cost,
        "last_fill_id": "",
        "created_at": found.opened_ns // MS,
        "closed_at": 0,
        "last_updated_at": now_ms,
        "seq_no": seq,
    }


def spec_size(found: Position) -> Decimal:
    return found.market.spec.size(found.size)


def account(exchange: Exchange, number: int, address: str, now_ms: int, seq: int) -> dict[str, Any]:
    owner = exchange.account(number)
    equity = exchange.equity(number)
    unrealised = sum(p.market.unrealised(p) for p in owner.positions.values() if p.size)
    maintenance = exchange.maintenance_margin(number)
    return {
        "account": address,
        "account_value": usd(equity),
        "free_collateral": usd(exchange.available(number)),
        "initial_margin_requirement": usd(exchange.initial_margin(number)),
        "maintenance_margin_requirement": usd(maintenance),
        "margin_cushion": usd(equity - maintenance),
        "total_collateral": usd(equity - unrealised),
        "settlement_asset": "USDC",
        "status": "ACTIVE",
        "seq_no": seq,
        "updated_at": now_ms,
    }


def margin_entry(found: Position) -> dict[str, Any]:
    return {
        "market": found.market.symbol,
        "leverage": round(1 / fraction(found.initial)),
        "margin_type": "ISOLATED" if found.mode is MarginMode.ISOLATED else "CROSS",
        "isolated_margin_leverage": 0,
    }


def payment(event: FundingPaid, number: int, address: str, index: Decimal) -> dict[str, Any]:
    return {
        "id": f"{event.ts_ns // MS}{number:012d}",
        "account": address,
        "market": event.market,
        "payment": usd(event.amount),
        "index": text(index),
        "fill_id": "",
        "created_at": event.ts_ns // MS,
    }


def is_listed(state: MarketState) -> bool:
    return state.spec.status is not MarketStatus.DELISTED
