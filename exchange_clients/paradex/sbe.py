"""Binary frames (SBE, schema 1): fixed offsets, little endian. What a newer version appends is skipped; what an older one lacks is empty.

Decimals are int64 in units of 1e-8 (a few 1e-12), null is the smallest one; times are microseconds. Public messages keep the integers,
their readers scale them; private ones become the same types as their JSON form.

Source: dossier 2.1; https://docs.paradex.trade/ws/general-information/binary-encoding-sbe, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from struct import Struct
from struct import error as StructError
from typing import Any, Final, NamedTuple

import msgspec

from exchange_clients.errors import DecodeError
from exchange_clients.paradex import messages as m

SCHEMA: Final = 1
UNIT: Final = 10**8
NULL: Final = -(2**63)
_HEADER: Final = Struct("<HHHH")
_GROUP: Final = Struct("<HH")
_PAIR: Final = Struct("<qq")
SIDES: Final = {1: "BUY", 2: "SELL"}
TYPES: Final = (
    "",
    "LIMIT",
    "MARKET",
    "STOP_LIMIT",
    "STOP_MARKET",
    "TAKE_PROFIT_LIMIT",
    "TAKE_PROFIT_MARKET",
    "STOP_LOSS_LIMIT",
    "STOP_LOSS_MARKET",
)
STATUSES: Final = {1: "NEW", 2: "UNTRIGGERED", 3: "OPEN", 4: "CLOSED"}
INSTRUCTIONS: Final = {1: "GTC", 2: "IOC", 3: "POST_ONLY", 4: "RPI"}
STP: Final = {1: "EXPIRE_MAKER", 2: "EXPIRE_TAKER", 3: "EXPIRE_BOTH"}
FILL_TYPES: Final = {1: "FILL", 2: "LIQUIDATION", 3: "UNWIND_TRANSFER", 4: "SETTLE_MARKET", 5: "RPI", 6: "BLOCK_TRADE"}
LIQUIDITY: Final = {1: "MAKER", 2: "TAKER"}
FLAGS: Final = ("REDUCE_ONLY", "STOP_CONDITION_BELOW_TRIGGER", "STOP_CONDITION_ABOVE_TRIGGER", "INTERACTIVE", "TARGET_STRATEGY_VWAP", "MMP")
_REQUEST_STATUSES: Final = {1: "PENDING", 2: "PROCESSED", 3: "REJECTED", 4: "SUCCESS"}


class Book(NamedTuple):
    """`bids` and `asks` are flat: price, size, price, size."""

    market: str
    sequence: int
    ts_us: int
    is_snapshot: bool
    bids: tuple[int, ...]
    asks: tuple[int, ...]


class Bbo(NamedTuple):
    market: str
    sequence: int
    ts_us: int
    bid: int
    bid_size: int
    ask: int
    ask_size: int


class Trade(NamedTuple):
    """`id` is the venue's text from version 2 on; before that its shortened number."""

    market: str
    id: str
    side: int
    price: int
    size: int
    created_us: int
    kind: int


class Summary(NamedTuple):
    """`funding_rate` in units of 1e-12 where the version has it so."""

    market: str
    ts_us: int
    mark: int
    index_price: int
    last: int
    volume_usd: int
    open_interest: int
    funding_rate: int


class Funding(NamedTuple):
    market: str
    rate: int
    funding_index: int
    created_us: int
    premium: int
    rate_8h: int
    period_hours: int


class Heartbeat(NamedTuple):
    ts_us: int


class Unknown(NamedTuple):
    """A message of a kind that we do not know."""

    template: int


def decimal(value: int) -> Decimal | None:
    return None if value == NULL else Decimal(value).scaleb(-8)


def _text(value: int) -> str:
    return "" if value == NULL else format(Decimal(value).scaleb(-8), "f")


def _sure(value: int) -> Decimal:
    """A number that must be there."""
    if value == NULL:
        raise DecodeError("a number is missing that must be there")
    return Decimal(value).scaleb(-8)


def _ms(us: int) -> int:
    return 0 if us == NULL else us // 1000


def _strings(data: bytes, offset: int, count: int) -> list[str]:
    """The texts behind a block; those that an older version does not have are empty."""
    found: list[str] = []
    end = len(data)
    for _ in range(count):
        if offset >= end:
            found.append("")
            continue
        start = offset + 1
        offset = start + data[offset]
        if offset > end:
            raise DecodeError("a text reaches beyond its frame")
        found.append(data[start:offset].decode())
    return found


@cache
def _flat(count: int) -> Struct:
    return Struct(f"<{2 * count}q")


def _levels(data: bytes, offset: int) -> tuple[tuple[int, ...], int]:
    """One group of (price, size), flat, and where the next thing begins."""
    length, count = _GROUP.unpack_from(data, offset)
    offset += 4
    if length == 16:
        return (_flat(count).unpack_from(data, offset) if count else ()), offset + 16 * count
    if length < 16:
        raise DecodeError(f"levels of {length} bytes")
    flat: list[int] = []
    for n in range(count):
        flat += _PAIR.unpack_from(data, offset + n * length)
    return tuple(flat), offset + length * count


_BOOK: Final = Struct("<qqB")
_BBO: Final = Struct("<qqqqqq")
_TRADE: Final = Struct("<qqqBqqqB")
_SUMMARY: Final = Struct("<qqqqqqqq")
_FUNDING: Final = Struct("<qqqqqqqh")
_ORDER: Final = Struct("<qqBBBBqqqqqqq32sqqBB")
_FILL: Final = Struct("<qqBBBqqqqq32sqq")
_POSITION: Final = Struct("<qqBqqqqqqqq32sqqqqqB")
_ACCOUNT: Final = Struct("<qqqqqqqqq32sqB")
_INT64: Final = Struct("<q")


def _trade(data: bytes, end: int, version: int) -> Trade:
    _, _, number, side, price, size, created, kind = _TRADE.unpack_from(data, 8)
    market, text = _strings(data, end, 2)
    return Trade(market, text or str(number), side, price, size, created, kind)


def _bbo(data: bytes, end: int, version: int) -> Bbo:
    ts, seq, bid, bid_size, ask, ask_size = _BBO.unpack_from(data, 8)
    return Bbo(_strings(data, end, 1)[0], seq, ts, bid, bid_size, ask, ask_size)


def _book(data: bytes, end: int, version: int) -> Book:
    ts, seq, kind = _BOOK.unpack_from(data, 8)
    if kind > 1:
        raise DecodeError(f"a book package of kind {kind}")
    bids, offset = _levels(data, end)
    asks, offset = _levels(data, offset)
    return Book(_strings(data, offset, 1)[0], seq, ts, kind == 0, bids, asks)


def _summary(data: bytes, end: int, version: int) -> Summary:
    ts, _, mark, index, last, volume, interest, rate = _SUMMARY.unpack_from(data, 8)
    precise = _INT64.unpack_from(data, 8 + 232)[0] if end >= 8 + 240 else NULL
    rate = precise if precise != NULL else rate * 10_000 if rate != NULL else NULL
    return Summary(_strings(data, end, 1)[0], ts, mark, index, last, volume, interest, rate)


def _funding(data: bytes, end: int, version: int) -> Funding:
    _, _, rate, index, created, premium, rate_8h, hours = _FUNDING.unpack_from(data, 8)
    return Funding(_strings(data, end, 1)[0], rate, index, created, premium, rate_8h, hours)


def _heartbeat(data: bytes, end: int, version: int) -> Heartbeat:
    return Heartbeat(_INT64.unpack_from(data, 8)[0])


def _address(raw: bytes) -> str:
    return f"0x{int.from_bytes(raw, 'big'):x}"


def _order(data: bytes, end: int, version: int) -> m.Order:
    (
        _,
        seq,
        status,
        side,
        kind,
        tif,
        price,
        trigger,
        size,
        left,
        average,
        created,
        updated,
        account,
        received,
        published,
        stp,
        flags,
    ) = _ORDER.unpack_from(data, 8)
    order_id, client_id, market, reason, request_id, request_message = _strings(data, end, 6)
    request: m.RequestInfo | None = None
    if end >= 8 + 128 and (request_id or data[8 + 126] in _REQUEST_STATUSES):
        request = m.RequestInfo(request_id, "MODIFY_ORDER", _REQUEST_STATUSES.get(data[8 + 126], ""), request_message)
    if not 0 < kind < len(TYPES):
        raise DecodeError(f"order {order_id} of type {kind}")
    return m.Order(
        id=order_id,
        market=market,
        side=_known(SIDES, side, "side"),
        type=TYPES[kind],
        size=_sure(size),
        status=_known(STATUSES, status, "order status"),
        price=_text(price),
        remaining_size=_sure(left),
        avg_fill_price=_text(average),
        cancel_reason=reason,
        client_id=client_id,
        instruction=INSTRUCTIONS.get(tif, ""),
        flags=[name for bit, name in enumerate(FLAGS) if flags >> bit & 1],
        stp=STP.get(stp, ""),
        trigger_price=_text(trigger),
        account=_address(account),
        created_at=_ms(created),
        last_updated_at=_ms(updated),
        received_at=_ms(received),
        published_at=_ms(published),
        seq_no=seq,
        request_info=request,
    )


def _fill(data: bytes, end: int, version: int) -> m.Fill:
    _, _, kind, side, role, price, size, fee, pnl, created, account, underlying, funding = _FILL.unpack_from(data, 8)
    fill_id, order_id, client_id, _, market, currency = _strings(data, end, 6)
    return m.Fill(
        id=fill_id,
        market=market,
        side=_known(SIDES, side, "side"),
        price=_sure(price),
        size=_sure(size),
        created_at=_ms(created),
        fee=Decimal(0) if fee == NULL else _sure(fee),
        fee_currency=currency,
        liquidity=LIQUIDITY.get(role, ""),
        order_id=order_id,
        client_id=client_id,
        fill_type=_known(FILL_TYPES, kind, "fill type"),
        realized_pnl=_text(pnl),
        realized_funding=_text(funding),
        underlying_price=_text(underlying),
        account=_address(account),
    )


def _position(data: bytes, end: int, version: int) -> m.Position:
    (
        _,
        seq,
        side,
        size,
        entry,
        upnl,
        rpnl,
        mark,
        liquidation,
        leverage,
        updated,
        account,
        entry_usd,
        cost,
        cost_usd,
        index,
        funding,
        status,
    ) = _POSITION.unpack_from(data, 8)
    market, last_fill = _strings(data, end, 2)
    short = size and _known(SIDES, side, "side") == "SELL"
    return m.Position(
        market=market,
        side="SHORT" if short else "LONG",
        size=-_sure(size) if short else _sure(size),
        status={1: "OPEN", 2: "CLOSED"}.get(status, ""),
        average_entry_price=_text(entry),
        average_entry_price_usd=_text(entry_usd),
        unrealized_pnl=_text(upnl),
        unrealized_funding_pnl=_text(funding),
        realized_pnl=_text(rpnl),
        cached_funding_index=_text(index),
        leverage=_text(leverage),
        liquidation_price=_text(liquidation),
        cost=_text(cost),
        cost_usd=_text(cost_usd),
        last_fill_id=last_fill,
        last_updated_at=_ms(updated),
        seq_no=seq,
        account=_address(account),
        mark_price=_text(mark),
    )


def _account(data: bytes, end: int, version: int) -> m.Account:
    _, seq, total, free, imr, mmr, value, _, updated, account, cushion, status = _ACCOUNT.unpack_from(data, 8)
    return m.Account(
        account_value=_sure(value),
        free_collateral=_sure(free),
        total_collateral=_sure(total),
        initial_margin_requirement=_sure(imr),
        maintenance_margin_requirement=_sure(mmr),
        account=_address(account),
        margin_cushion=_text(cushion),
        settlement_asset=_strings(data, end, 1)[0],
        status={1: "ACTIVE", 2: "LIQUIDATION"}.get(status, ""),
        seq_no=seq,
        updated_at=_ms(updated),
    )


def _known(names: dict[int, str], value: int, what: str) -> str:
    try:
        return names[value]
    except KeyError:
        raise DecodeError(f"{what} {value}") from None


_READERS: Final[dict[int, tuple[int, Callable[[bytes, int, int], Any]]]] = {
    1: (50, _trade),
    2: (48, _bbo),
    3: (89, _book),
    4: (216, _summary),
    5: (58, _funding),
    20: (126, _order),
    21: (107, _fill),
    22: (154, _position),
    23: (113, _account),
    40: (16, _heartbeat),
}
"""Template -> shortest block that we can read, reader(frame, end of the block, version)."""


def decode(data: bytes) -> Any:
    """One binary frame.

    Raises:
        DecodeError: another schema, or shorter than it says.
    """
    try:
        length, template, schema, version = _HEADER.unpack_from(data)
        if schema != SCHEMA:
            raise DecodeError(f"schema {schema}")
        known = _READERS.get(template)
        if known is None:
            return Unknown(template)
        if length < known[0]:
            raise DecodeError(f"a block of {length} bytes in template {template}")
        if len(data) < 8 + length:
            raise DecodeError("a block reaches beyond its frame")
        return known[1](data, 8 + length, version)
    except (StructError, ArithmeticError, UnicodeDecodeError, msgspec.ValidationError) as e:
        raise DecodeError(str(e)) from e
