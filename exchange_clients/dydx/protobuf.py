"""The protobuf wire format, as far as this venue's messages need it.

A transaction is a dozen short fields: writing them directly is faster than filling generated messages, and needs no package at run time.
Fields are written in the order of their numbers and defaults are left out, as every canonical encoder does; the chain signs over the bytes.

Source: https://protobuf.dev/programming-guides/encoding, read 2026-11.
"""

from __future__ import annotations

from typing import Final

from exchange_clients.errors import DecodeError

Value = int | bytes
Fields = dict[int, list[Value]]

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SHORT: Final = tuple(_encoded(value) for value in range(512))
"""Lengths and field keys, mostly."""


def varint(value: int) -> bytes:
    return _SHORT[value] if value < 512 else _encoded(value)


def number(field: int, value: int) -> bytes:
    """An unsigned integer; nothing for zero."""
    return varint(field << 3) + varint(value) if value else b""


def number_set(field: int, value: int) -> bytes:
    """An unsigned integer whose presence is told, as in a oneof: zero is written."""
    return varint(field << 3) + varint(value)


def fixed32(field: int, value: int) -> bytes:
    return fixed32_set(field, value) if value else b""


def fixed32_set(field: int, value: int) -> bytes:
    return varint(field << 3 | _FIXED32) + value.to_bytes(4, "little")


def data(field: int, value: bytes) -> bytes:
    """Bytes, text or a message; written even when empty, as a message that is present is."""
    return varint(field << 3 | _BYTES) + varint(len(value)) + value


def text(field: int, value: str) -> bytes:
    return data(field, value.encode()) if value else b""


def packed(field: int, values: list[int] | tuple[int, ...]) -> bytes:
    """Repeated unsigned integers."""
    return data(field, b"".join([varint(value) for value in values])) if values else b""


def parse(body: bytes) -> Fields:
    """Every field of a message by number, in the order they came.

    Raises:
        DecodeError: this is no protobuf message.
    """
    found: Fields = {}
    at, end = 0, len(body)
    while at < end:
        key, at = _varint(body, at)
        field, kind = key >> 3, key & 7
        value: Value
        if kind == _VARINT:
            value, at = _varint(body, at)
        elif kind == _BYTES:
            length, at = _varint(body, at)
            value, at = body[at : at + length], at + length
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
            value, at = int.from_bytes(body[at : at + length], "little"), at + length
        else:
            raise DecodeError(f"protobuf field {field} has the unknown type {kind}")
        if at > end or not field:
            raise DecodeError("protobuf message ends within a field")
        found.setdefault(field, []).append(value)
    return found


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(body) or shift > 63:
            raise DecodeError("protobuf message ends within a number")
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def number_of(fields: Fields, field: int) -> int:
    """The last value of an unsigned integer field, zero when it is absent."""
    value = fields.get(field, [0])[-1]
    if not isinstance(value, int):
        raise DecodeError(f"protobuf field {field} is no number")
    return value


def zigzag_of(fields: Fields, field: int) -> int:
    """The last value of a `sint32` or `sint64` field."""
    value = number_of(fields, field)
    return value >> 1 ^ -(value & 1)


def bytes_of(fields: Fields, field: int) -> bytes:
    """The last value of a bytes or message field, empty when it is absent."""
    value = fields.get(field, [b""])[-1]
    if not isinstance(value, bytes):
        raise DecodeError(f"protobuf field {field} is no bytes")
    return value


def text_of(fields: Fields, field: int) -> str:
    try:
        return bytes_of(fields, field).decode()
    except UnicodeDecodeError as e:
        raise DecodeError(f"protobuf field {field} is no text") from e


def messages_of(fields: Fields, field: int) -> list[Fields]:
    """Every value of a repeated message field."""
    found: list[Fields] = []
    for value in fields.get(field, []):
        if not isinstance(value, bytes):
            raise DecodeError(f"protobuf field {field} is no message")
        found.append(parse(value))
    return found


def message_of(fields: Fields, field: int) -> Fields:
    return parse(bytes_of(fields, field))
