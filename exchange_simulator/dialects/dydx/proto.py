"""Protobuf by field tables: a reader and a writer of the wire format, as far as the chain's messages need it.

Read strictly, as the chain does: a message with a field that its table does not name is refused. Written from the wire format, independent
of any client. Field numbers: cosmos-sdk and dydxprotocol/v4-chain `proto/`, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final


class WireError(ValueError):
    """These bytes are not such a message."""


class Kind(IntEnum):
    UINT = 0
    """Any unsigned varint: uint32, uint64, bool, enum, and int64 that is never negative."""
    SINT = 1
    """Zigzag."""
    FIXED32 = 2
    BYTES = 3
    TEXT = 4
    MESSAGE = 5


_WIRE_TYPE: Final = {Kind.UINT: 0, Kind.SINT: 0, Kind.FIXED32: 5, Kind.BYTES: 2, Kind.TEXT: 2, Kind.MESSAGE: 2}
_EMPTY: Final[Mapping[Kind, Any]] = {Kind.UINT: 0, Kind.SINT: 0, Kind.FIXED32: 0, Kind.BYTES: b"", Kind.TEXT: "", Kind.MESSAGE: None}
MAX_UINT64: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message."""

    number: int
    kind: Kind = Kind.UINT
    many: bool = False
    of: Mapping[str, Field] | None = None


Schema = Mapping[str, Field]


def uint(number: int, *, many: bool = False) -> Field:
    return Field(number, Kind.UINT, many)


def sint(number: int) -> Field:
    return Field(number, Kind.SINT)


def fixed32(number: int) -> Field:
    return Field(number, Kind.FIXED32)


def blob(number: int, *, many: bool = False) -> Field:
    return Field(number, Kind.BYTES, many)


def text(number: int) -> Field:
    return Field(number, Kind.TEXT)


def message(number: int, of: Schema, *, many: bool = False) -> Field:
    return Field(number, Kind.MESSAGE, many, of)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise WireError("a number ends in the middle")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > MAX_UINT64:
                raise WireError("a number has more than 64 bits")
            return value, at
        shift += 7


def parts(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """(field number, wire type, raw value) in order: an int for types 0, 1 and 5, bytes for 2. Raises WireError."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise WireError("field number 0")
        if wire == 0:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == 2:
            length, at = _varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise WireError(f"wire type {wire}")
        if at + length > len(data):
            raise WireError("a field ends in the middle")
        chunk = data[at : at + length]
        at += length
        yield number, wire, chunk if wire == 2 else int.from_bytes(chunk, "little")


def _value(field: Field, raw: Any) -> Any:
    match field.kind:
        case Kind.TEXT:
            try:
                return raw.decode()
            except UnicodeDecodeError as e:
                raise WireError("text is not UTF-8") from e
        case Kind.MESSAGE:
            assert field.of is not None
            return decode(field.of, raw)
        case Kind.SINT:
            return raw >> 1 ^ -(raw & 1)
    return raw


def _unpacked(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def decode(schema: Schema, data: bytes) -> dict[str, Any]:
    """Every field by name; absent ones are 0, empty, or None for a message.

    Raises:
        WireError: malformed, or a field that the table does not name.
    """
    names = {field.number: (name, field) for name, field in schema.items()}
    found: dict[str, Any] = {name: [] if field.many else _EMPTY[field.kind] for name, field in schema.items()}
    for number, wire, raw in parts(data):
        if number not in names:
            raise WireError(f"unknown field {number}")
        name, field = names[number]
        if wire == 2 and field.many and field.kind is Kind.UINT:
            found[name].extend(_unpacked(raw))
            continue
        if wire != _WIRE_TYPE[field.kind]:
            raise WireError(f"field {name} has wire type {wire}")
        if field.many:
            found[name].append(_value(field, raw))
        else:
            found[name] = _value(field, raw)
    return found


def _write_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _written(field: Field, value: Any) -> bytes:
    data: bytes
    tag = _write_varint(field.number << 3 | _WIRE_TYPE[field.kind])
    match field.kind:
        case Kind.UINT:
            return tag + _write_varint(value)
        case Kind.SINT:
            return tag + _write_varint(value << 1 if value >= 0 else (-value << 1) - 1)
        case Kind.FIXED32:
            return tag + int(value).to_bytes(4, "little")
        case Kind.TEXT:
            data = value.encode()
        case Kind.MESSAGE:
            assert field.of is not None
            data = encode(field.of, value)
        case _:
            data = bytes(value)
    return tag + _write_varint(len(data)) + data


def encode(schema: Schema, values: Mapping[str, Any]) -> bytes:
    """The message's bytes, fields in order of their numbers. Zero and empty are left out, as proto3 does; an empty message is written."""
    out: list[bytes] = []
    for name, field in sorted(schema.items(), key=lambda item: item[1].number):
        value = values.get(name)
        if field.many:
            out.extend(_written(field, each) for each in value or ())
        elif value is not None and (value or field.kind is Kind.MESSAGE):
            out.append(_written(field, value))
    return b"".join(out)


# Messages

ANY: Final[Schema] = {"type_url": text(1), "value": blob(2)}
COIN: Final[Schema] = {"denom": text(1), "amount": text(2)}
TX_RAW: Final[Schema] = {"body_bytes": blob(1), "auth_info_bytes": blob(2), "signatures": blob(3, many=True)}
TX_BODY: Final[Schema] = {
    "messages": message(1, ANY, many=True),
    "memo": text(2),
    "timeout_height": uint(3),
    "extension_options": message(1023, ANY, many=True),
    "non_critical_extension_options": message(2047, ANY, many=True),
}
FEE: Final[Schema] = {"amount": message(1, COIN, many=True), "gas_limit": uint(2), "payer": text(3), "granter": text(4)}
SINGLE: Final[Schema] = {"mode": uint(1)}
MODE_INFO: Final[Schema] = {"single": message(1, SINGLE), "multi": blob(2)}
SIGNER_INFO: Final[Schema] = {"public_key": message(1, ANY), "mode_info": message(2, MODE_INFO), "sequence": uint(3)}
AUTH_INFO: Final[Schema] = {"signer_infos": message(1, SIGNER_INFO, many=True), "fee": message(2, FEE), "tip": blob(3)}
SIGN_DOC: Final[Schema] = {"body_bytes": blob(1), "auth_info_bytes": blob(2), "chain_id": text(3), "account_number": uint(4)}
PUB_KEY: Final[Schema] = {"key": blob(1)}
TX_EXTENSION: Final[Schema] = {"selected_authenticators": uint(1, many=True)}

SUBACCOUNT_ID: Final[Schema] = {"owner": text(1), "number": uint(2)}
ORDER_ID: Final[Schema] = {
    "subaccount_id": message(1, SUBACCOUNT_ID),
    "client_id": fixed32(2),
    "order_flags": uint(3),
    "clob_pair_id": uint(4),
}
TWAP_PARAMETERS: Final[Schema] = {"duration": uint(1), "interval": uint(2), "price_tolerance": uint(3)}
BUILDER_CODE: Final[Schema] = {"builder_address": text(1), "fee_ppm": uint(2)}
ORDER: Final[Schema] = {
    "order_id": message(1, ORDER_ID),
    "side": uint(2),
    "quantums": uint(3),
    "subticks": uint(4),
    "good_til_block": uint(5),
    "good_til_block_time": fixed32(6),
    "time_in_force": uint(7),
    "reduce_only": uint(8),
    "client_metadata": uint(9),
    "condition_type": uint(10),
    "conditional_order_trigger_subticks": uint(11),
    "twap_parameters": message(12, TWAP_PARAMETERS),
    "builder_code_parameters": message(13, BUILDER_CODE),
    "order_router_address": text(14),
}
MSG_PLACE_ORDER: Final[Schema] = {"order": message(1, ORDER)}
MSG_CANCEL_ORDER: Final[Schema] = {"order_id": message(1, ORDER_ID), "good_til_block": uint(2), "good_til_block_time": fixed32(3)}
ORDER_BATCH: Final[Schema] = {"clob_pair_id": uint(1), "client_ids": uint(2, many=True)}
MSG_BATCH_CANCEL: Final[Schema] = {
    "subaccount_id": message(1, SUBACCOUNT_ID),
    "short_term_cancels": message(2, ORDER_BATCH, many=True),
    "good_til_block": uint(3),
}
LEVERAGE_ENTRY: Final[Schema] = {"clob_pair_id": uint(1), "custom_imf_ppm": uint(2)}
MSG_UPDATE_LEVERAGE: Final[Schema] = {
    "subaccount_id": message(1, SUBACCOUNT_ID),
    "clob_pair_leverage": message(2, LEVERAGE_ENTRY, many=True),
}
TRANSFER: Final[Schema] = {
    "sender": message(1, SUBACCOUNT_ID),
    "recipient": message(2, SUBACCOUNT_ID),
    "asset_id": uint(3),
    "amount": uint(4),
}
MSG_CREATE_TRANSFER: Final[Schema] = {"transfer": message(1, TRANSFER)}
MSG_DEPOSIT: Final[Schema] = {"sender": text(1), "recipient": message(2, SUBACCOUNT_ID), "asset_id": uint(3), "quantums": uint(4)}
MSG_WITHDRAW: Final[Schema] = {"sender": message(2, SUBACCOUNT_ID), "recipient": text(1), "asset_id": uint(3), "quantums": uint(4)}
MSG_SEND: Final[Schema] = {"from_address": text(1), "to_address": text(2), "amount": message(3, COIN, many=True)}
MSG_ADD_AUTHENTICATOR: Final[Schema] = {"sender": text(1), "authenticator_type": text(2), "data": blob(3)}
MSG_REMOVE_AUTHENTICATOR: Final[Schema] = {"sender": text(1), "id": uint(2)}

TX_RESPONSE: Final[Schema] = {
    "height": uint(1),
    "txhash": text(2),
    "codespace": text(3),
    "code": uint(4),
    "data": text(5),
    "raw_log": text(6),
    "info": text(8),
    "gas_wanted": uint(9),
    "gas_used": uint(10),
    "tx": message(11, ANY),
    "timestamp": text(12),
}
BROADCAST_REQUEST: Final[Schema] = {"tx_bytes": blob(1), "mode": uint(2)}
BROADCAST_RESPONSE: Final[Schema] = {"tx_response": message(1, TX_RESPONSE)}
SIMULATE_REQUEST: Final[Schema] = {"tx": blob(1), "tx_bytes": blob(2)}
GAS_INFO: Final[Schema] = {"gas_wanted": uint(1), "gas_used": uint(2)}
RESULT: Final[Schema] = {"data": blob(1), "log": text(2)}
SIMULATE_RESPONSE: Final[Schema] = {"gas_info": message(1, GAS_INFO), "result": message(2, RESULT)}
GET_TX_REQUEST: Final[Schema] = {"hash": text(1)}
GET_TX_RESPONSE: Final[Schema] = {"tx": blob(1), "tx_response": message(2, TX_RESPONSE)}

BASE_ACCOUNT: Final[Schema] = {"address": text(1), "pub_key": message(2, ANY), "account_number": uint(3), "sequence": uint(4)}
ADDRESS_REQUEST: Final[Schema] = {"address": text(1)}
ACCOUNT_RESPONSE: Final[Schema] = {"account": message(1, ANY)}
ACCOUNT_INFO_RESPONSE: Final[Schema] = {"info": message(1, BASE_ACCOUNT)}
BALANCE_REQUEST: Final[Schema] = {"address": text(1), "denom": text(2)}
BALANCE_RESPONSE: Final[Schema] = {"balance": message(1, COIN)}
PAGE_RESPONSE: Final[Schema] = {"next_key": blob(1), "total": uint(2)}
ALL_BALANCES_REQUEST: Final[Schema] = {"address": text(1), "pagination": blob(2), "resolve_denom": uint(3)}
ALL_BALANCES_RESPONSE: Final[Schema] = {"balances": message(1, COIN, many=True), "pagination": message(2, PAGE_RESPONSE)}

TIMESTAMP: Final[Schema] = {"seconds": uint(1), "nanos": uint(2)}
HEADER: Final[Schema] = {"chain_id": text(2), "height": uint(3), "time": message(4, TIMESTAMP)}
BLOCK: Final[Schema] = {"header": message(1, HEADER)}
BLOCK_ID: Final[Schema] = {"hash": blob(1)}
LATEST_BLOCK_RESPONSE: Final[Schema] = {"block_id": message(1, BLOCK_ID), "block": message(2, BLOCK), "sdk_block": message(3, BLOCK)}
NODE_INFO: Final[Schema] = {"network": text(4), "version": text(5), "moniker": text(7)}
VERSION_INFO: Final[Schema] = {"name": text(1), "app_name": text(2), "version": text(3)}
NODE_INFO_RESPONSE: Final[Schema] = {"default_node_info": message(1, NODE_INFO), "application_version": message(2, VERSION_INFO)}

AUTHENTICATORS_REQUEST: Final[Schema] = {"account": text(1)}
AUTHENTICATOR: Final[Schema] = {"id": uint(1), "type": text(2), "config": blob(3)}
AUTHENTICATORS_RESPONSE: Final[Schema] = {"account_authenticators": message(1, AUTHENTICATOR, many=True)}

ID_REQUEST: Final[Schema] = {"id": uint(1)}
PAGED_REQUEST: Final[Schema] = {"pagination": blob(1)}
PERPETUAL_METADATA: Final[Schema] = {"perpetual_id": uint(1)}
CLOB_PAIR: Final[Schema] = {
    "id": uint(1),
    "perpetual_clob_metadata": message(2, PERPETUAL_METADATA),
    "step_base_quantums": uint(4),
    "subticks_per_tick": uint(5),
    "quantum_conversion_exponent": sint(6),
    "status": uint(7),
}
CLOB_PAIR_RESPONSE: Final[Schema] = {"clob_pair": message(1, CLOB_PAIR)}
CLOB_PAIR_ALL_RESPONSE: Final[Schema] = {"clob_pair": message(1, CLOB_PAIR, many=True), "pagination": message(2, PAGE_RESPONSE)}
EQUITY_TIER: Final[Schema] = {"usd_tnc_required": blob(1), "limit": uint(2)}
EQUITY_TIERS: Final[Schema] = {
    "short_term_order_equity_tiers": message(1, EQUITY_TIER, many=True),
    "stateful_order_equity_tiers": message(2, EQUITY_TIER, many=True),
}
EQUITY_TIERS_RESPONSE: Final[Schema] = {"equity_tier_limit_config": message(1, EQUITY_TIERS)}
PER_BLOCKS: Final[Schema] = {"num_blocks": uint(1), "limit": uint(2)}
BLOCK_RATE: Final[Schema] = {
    "max_stateful_orders_per_n_blocks": message(2, PER_BLOCKS, many=True),
    "max_short_term_orders_and_cancels_per_n_blocks": message(4, PER_BLOCKS, many=True),
}
BLOCK_RATE_RESPONSE: Final[Schema] = {"block_rate_limit_config": message(1, BLOCK_RATE)}
TRANSACTION_ORDERING: Final[Schema] = {"block_height": uint(1), "transaction_index": uint(2)}
PLACEMENT: Final[Schema] = {"order": message(1, ORDER), "placement_index": message(2, TRANSACTION_ORDERING)}
STATEFUL_ORDER_REQUEST: Final[Schema] = {"order_id": message(1, ORDER_ID)}
STATEFUL_ORDER_RESPONSE: Final[Schema] = {"order_placement": message(1, PLACEMENT), "fill_amount": uint(2), "triggered": uint(3)}
LEVERAGE_RESPONSE: Final[Schema] = {"clob_pair_leverage": message(1, LEVERAGE_ENTRY, many=True)}

ASSET_POSITION: Final[Schema] = {"asset_id": uint(1), "quantums": blob(2), "index": uint(3)}
PERPETUAL_POSITION: Final[Schema] = {"perpetual_id": uint(1), "quantums": blob(2), "funding_index": blob(3), "quote_balance": blob(4)}
SUBACCOUNT: Final[Schema] = {
    "id": message(1, SUBACCOUNT_ID),
    "asset_positions": message(2, ASSET_POSITION, many=True),
    "perpetual_positions": message(3, PERPETUAL_POSITION, many=True),
    "margin_enabled": uint(4),
}
SUBACCOUNT_RESPONSE: Final[Schema] = {"subaccount": message(1, SUBACCOUNT)}

FEE_TIER: Final[Schema] = {
    "name": text(1),
    "absolute_volume_requirement": uint(2),
    "total_volume_share_requirement_ppm": uint(3),
    "maker_volume_share_requirement_ppm": uint(4),
    "maker_fee_ppm": sint(5),
    "taker_fee_ppm": sint(6),
}
USER_REQUEST: Final[Schema] = {"user": text(1)}
USER_FEE_TIER_RESPONSE: Final[Schema] = {"index": uint(1), "tier": message(2, FEE_TIER)}
FEE_TIERS: Final[Schema] = {"tiers": message(1, FEE_TIER, many=True)}
FEE_PARAMS_RESPONSE: Final[Schema] = {"params": message(1, FEE_TIERS)}
STAKING_TIER_RESPONSE: Final[Schema] = {"fee_tier_name": text(1), "staked_base_tokens": text(2), "discount_ppm": uint(3)}
CLOB_PAIR_ID_REQUEST: Final[Schema] = {"clob_pair_id": uint(1)}
FEE_DISCOUNT: Final[Schema] = {
    "clob_pair_id": uint(1),
    "start_time": message(2, TIMESTAMP),
    "end_time": message(3, TIMESTAMP),
    "charge_ppm": uint(4),
}
FEE_DISCOUNT_RESPONSE: Final[Schema] = {"params": message(1, FEE_DISCOUNT)}
FEE_DISCOUNTS_RESPONSE: Final[Schema] = {"params": message(1, FEE_DISCOUNT, many=True)}

PERPETUAL_PARAMS: Final[Schema] = {
    "id": uint(1),
    "ticker": text(2),
    "market_id": uint(3),
    "atomic_resolution": sint(4),
    "default_funding_ppm": sint(5),
    "liquidity_tier": uint(6),
    "market_type": uint(7),
}
PERPETUAL: Final[Schema] = {"params": message(1, PERPETUAL_PARAMS), "funding_index": blob(2), "open_interest": blob(3)}
PERPETUAL_RESPONSE: Final[Schema] = {"perpetual": message(1, PERPETUAL)}
PERPETUALS_RESPONSE: Final[Schema] = {"perpetual": message(1, PERPETUAL, many=True), "pagination": message(2, PAGE_RESPONSE)}
MARKET_PRICE: Final[Schema] = {"id": uint(1), "exponent": sint(2), "price": uint(3)}
MARKET_PRICE_RESPONSE: Final[Schema] = {"market_price": message(1, MARKET_PRICE)}
MARKET_PRICES_RESPONSE: Final[Schema] = {"market_prices": message(1, MARKET_PRICE, many=True), "pagination": message(2, PAGE_RESPONSE)}


def signed_bytes(value: int) -> bytes:
    """A big integer as the chain writes it: a sign byte (2 positive, 3 negative), then the magnitude, which is empty for zero."""
    magnitude = abs(value)
    return bytes([3 if value < 0 else 2]) + magnitude.to_bytes((magnitude.bit_length() + 7) // 8, "big")
