"""Forms of the chain and its indexer: addresses, ids, numbers, times, grids. Written from the wire protocol, independent of any client."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_UP, Decimal
from typing import Any, Final
from uuid import UUID, uuid5

from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.market import MarketState
from exchange_simulator.core.types import NANOS_PER_HOUR, CancelReason, Market, MarketStatus, TradeKind, fraction, money
from exchange_simulator.dialects.history import Candle, DayStats, PastFunding

NAMESPACE: Final = UUID("0f9da948-a6fb-4c45-9edc-4685c3f3317d")
PREFIX: Final = "dydx"
USDC: Final = "ibc/8E27BA2D5493AF5636760E354E46004562C46AB7EC0CC4C1CA14E9E20E2545B5"
QUANTUM_CONVERSION: Final = -9
PERPETUAL_OFFSET: Final = 1000
"""Ids of perpetuals and of oracle markets differ from those of clob pairs, as they may on the venue."""
PPM: Final = 10**6
_CHARSET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)

# Addresses


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            check ^= generator if top >> bit & 1 else 0
    return check


def _expanded(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def _regroup(data: bytes | list[int], have: int, want: int) -> list[int] | None:
    bits = value = 0
    out = []
    for item in data:
        value = value << have | item
        bits += have
        while bits >= want:
            bits -= want
            out.append(value >> bits & (1 << want) - 1)
    rest = value & (1 << bits) - 1
    if have < want:
        return [*out, rest << want - bits] if bits else out
    if want < have and bits:
        out.append(rest << want - bits)
    return out


def address_of(public_key: bytes) -> str:
    """The bech32 address of a compressed secp256k1 key."""
    return bech32(_ripemd160(hashlib.sha256(public_key).digest()))


def _ripemd160(data: bytes) -> bytes:
    try:
        return hashlib.new("ripemd160", data).digest()
    except ValueError:  # an OpenSSL without its old algorithms
        from Crypto.Hash import RIPEMD160  # type: ignore[import-not-found, unused-ignore]

        return bytes(RIPEMD160.new(data).digest())


def bech32(data: bytes) -> str:
    words = _regroup(data, 8, 5) or []
    check = _polymod([*_expanded(PREFIX), *words, 0, 0, 0, 0, 0, 0]) ^ 1
    words += [check >> 5 * (5 - i) & 31 for i in range(6)]
    return f"{PREFIX}1{''.join(_CHARSET[w] for w in words)}"


def is_address(text: str) -> bool:
    """Whether it is a well-formed address of this chain with a right checksum."""
    prefix, _, rest = text.rpartition("1")
    if prefix != PREFIX or len(rest) < 7 or any(c not in _CHARSET for c in rest):
        return False
    return _polymod(_expanded(prefix) + [_CHARSET.index(c) for c in rest]) == 1


# Ids


def subaccount_uuid(address: str, number: int) -> str:
    return str(uuid5(NAMESPACE, f"{address}-{number}"))


def order_uuid(address: str, number: int, client_id: int, clob_pair: int, flags: int) -> str:
    return str(uuid5(NAMESPACE, f"{subaccount_uuid(address, number)}-{client_id}-{clob_pair}-{flags}"))


def event_uuid(*parts: object) -> str:
    return str(uuid5(NAMESPACE, "-".join(map(str, parts))))


def event_id(height: int, number: int) -> str:
    """The hex id of a trade: height, transaction, event."""
    return f"{height:08x}00000002{number & 0xFFFFFFFF:08x}"


# Numbers and times


def text(value: Decimal) -> str:
    """Plain digits without trailing zeros."""
    plain = format(value, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain in ("-0", "") else plain


def usd(units: int) -> str:
    """Money to a millionth, rounded against the owner."""
    return text(money(units).quantize(Decimal("0.000001"), ROUND_UP if units < 0 else "ROUND_DOWN"))


def fee(units: int) -> str:
    """Fees are rounded up to a millionth, rebates down."""
    return text(money(units).quantize(Decimal("0.000001"), "ROUND_CEILING"))


def iso(ts_ns: int) -> str:
    stamp = datetime.fromtimestamp(ts_ns // 10**9, UTC)
    return f"{stamp:%Y-%m-%dT%H:%M:%S}.{ts_ns // 10**6 % 1000:03d}Z"


def from_iso(stamp: str) -> int:
    """Raises ValueError."""
    moment = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 10**9 + delta.microseconds * 1000


# Markets


@dataclass(frozen=True, slots=True)
class Grid:
    """How a market's sizes and prices count on the chain."""

    clob_pair: int
    atomic_resolution: int
    quantum_conversion: int
    step_base_quantums: int
    subticks_per_tick: int

    @property
    def perpetual(self) -> int:
        return self.clob_pair + PERPETUAL_OFFSET


def grid_of(market: Market, clob_pair: int) -> Grid:
    """The coarsest grid on which a step is at least a million quantums and a tick a whole number of subticks."""
    step = market.step_size.normalize()
    resolution = int(step.as_tuple().exponent) - 6
    quantums = int(step.scaleb(-resolution))
    conversion = QUANTUM_CONVERSION
    while (subticks := market.tick_size.scaleb(6 + resolution - conversion)) % 1 or subticks < 1:
        conversion -= 1
    return Grid(clob_pair, resolution, conversion, quantums, int(subticks))


STATUS: Final = {
    MarketStatus.ACTIVE: "ACTIVE",
    MarketStatus.POST_ONLY: "POST_ONLY",
    MarketStatus.REDUCE_ONLY: "CANCEL_ONLY",
    MarketStatus.CANCEL_ONLY: "CANCEL_ONLY",
    MarketStatus.HALTED: "PAUSED",
    MarketStatus.DELISTED: "FINAL_SETTLEMENT",
}
CHAIN_STATUS: Final = {"ACTIVE": 1, "PAUSED": 2, "CANCEL_ONLY": 3, "POST_ONLY": 4, "INITIALIZING": 5, "FINAL_SETTLEMENT": 6}


def market(exchange: Exchange, state: MarketState, grid: Grid, day: DayStats, *, isolated: bool) -> dict[str, Any]:
    """A row of /perpetualMarkets."""
    spec = state.spec
    hours = Decimal(spec.funding_interval_ns) / NANOS_PER_HOUR
    oracle = spec.ref_price(state.mark)
    change = spec.price(day.close - day.open) if day.trades else Decimal(0)
    return {
        "clobPairId": str(grid.clob_pair),
        "ticker": spec.symbol,
        "status": STATUS.get(spec.status, "INITIALIZING"),
        "oraclePrice": text(oracle) if state.mark else None,
        "priceChange24H": text(change),
        "volume24H": text(Decimal(day.value) * spec.tick_size * spec.step_size),
        "trades24H": day.trades,
        "nextFundingRate": text(fraction(exchange.funding_estimate(spec.symbol)) / hours),
        "initialMarginFraction": text(fraction(spec.tiers[0].initial)),
        "maintenanceMarginFraction": text(fraction(spec.tiers[0].maintenance)),
        "openInterest": text(spec.size(exchange.open_interest(spec.symbol))),
        "atomicResolution": grid.atomic_resolution,
        "quantumConversionExponent": grid.quantum_conversion,
        "tickSize": text(spec.tick_size),
        "stepSize": text(spec.step_size),
        "stepBaseQuantums": grid.step_base_quantums,
        "subticksPerTick": grid.subticks_per_tick,
        "marketType": "ISOLATED" if isolated else "CROSS",
        "openInterestLowerCap": "0",
        "openInterestUpperCap": "0",
        "baseOpenInterest": text(spec.size(exchange.open_interest(spec.symbol))),
        "defaultFundingRate1H": "0",
    }


def candle(row: Candle, spec: Market, resolution: str, open_interest: str) -> dict[str, Any]:
    value = Decimal(row.value) * spec.tick_size * spec.step_size
    return {
        "startedAt": iso(row.start_ns),
        "ticker": spec.symbol,
        "resolution": resolution,
        "low": text(spec.price(row.low)),
        "high": text(spec.price(row.high)),
        "open": text(spec.price(row.open)),
        "close": text(spec.price(row.close)),
        "baseTokenVolume": text(spec.size(row.volume)),
        "usdVolume": text(value),
        "trades": row.trades,
        "startingOpenInterest": open_interest,
        "orderbookMidPriceOpen": text(spec.price(row.open)),
        "orderbookMidPriceClose": text(spec.price(row.close)),
    }


def past_funding(row: PastFunding, spec: Market, height: int) -> dict[str, Any]:
    hours = Decimal(row.interval_ns) / NANOS_PER_HOUR
    return {
        "ticker": spec.symbol,
        "rate": text(fraction(row.rate) / hours),
        "price": text(spec.ref_price(row.ref_price)),
        "effectiveAt": iso(row.ts_ns),
        "effectiveAtHeight": str(height),
    }


TRADE_TYPE: Final = {
    TradeKind.NORMAL: "LIMIT",
    TradeKind.LIQUIDATION: "LIQUIDATED",
    TradeKind.ADL: "DELEVERAGED",
    TradeKind.SETTLEMENT: "DELEVERAGED",
}


def fill_type(kind: TradeKind, *, ordered: bool) -> str:
    """`ordered`: it filled an order of the account; else it was done to it."""
    if kind is TradeKind.LIQUIDATION:
        return "LIQUIDATION" if ordered else "LIQUIDATED"
    if kind is TradeKind.ADL:
        return "OFFSETTING"
    return TRADE_TYPE[kind]


REASON_PREFIX: Final = "ORDER_REMOVAL_REASON_"
REASONS: Final = {
    CancelReason.USER: "USER_CANCELED",
    CancelReason.SCHEDULED: "USER_CANCELED",
    CancelReason.IOC: "IMMEDIATE_OR_CANCEL_WOULD_REST_ON_BOOK",
    CancelReason.NO_LIQUIDITY: "IMMEDIATE_OR_CANCEL_WOULD_REST_ON_BOOK",
    CancelReason.SLIPPAGE: "IMMEDIATE_OR_CANCEL_WOULD_REST_ON_BOOK",
    CancelReason.FOK: "FOK_ORDER_COULD_NOT_BE_FULLY_FULLED",
    CancelReason.POST_ONLY: "POST_ONLY_WOULD_CROSS_MAKER_ORDER",
    CancelReason.SELF_TRADE: "SELF_TRADE_ERROR",
    CancelReason.REDUCE_ONLY: "REDUCE_ONLY_RESIZE",
    CancelReason.MARGIN: "UNDERCOLLATERALIZED",
    CancelReason.LIQUIDATION: "UNDERCOLLATERALIZED",
    CancelReason.REPLACED: "REPLACED",
    CancelReason.REJECTED_ON_TRIGGER: "UNDERCOLLATERALIZED",
    CancelReason.DELISTED: "FINAL_SETTLEMENT",
}

OPEN: Final = "OPEN"
FILLED: Final = "FILLED"
CANCELED: Final = "CANCELED"
BEST_EFFORT_OPENED: Final = "BEST_EFFORT_OPENED"
BEST_EFFORT_CANCELED: Final = "BEST_EFFORT_CANCELED"
UNTRIGGERED: Final = "UNTRIGGERED"
STATUSES: Final = (OPEN, FILLED, CANCELED, BEST_EFFORT_OPENED, BEST_EFFORT_CANCELED, UNTRIGGERED)
LIVE_STATUSES: Final = (OPEN, BEST_EFFORT_OPENED, UNTRIGGERED)
