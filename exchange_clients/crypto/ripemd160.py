"""RIPEMD-160 in plain Python: the libraries that Python is linked with no longer offer it everywhere.

Source: H. Dobbertin, A. Bosselaers, B. Preneel, "RIPEMD-160: A Strengthened Version of RIPEMD" (1996), appendix A. Used once per key.
"""

from __future__ import annotations

from typing import Final

_MASK: Final = 0xFFFFFFFF
_START: Final = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
_LEFT_K: Final = (0x00000000, 0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xA953FD4E)
_RIGHT_K: Final = (0x50A28BE6, 0x5C4DD124, 0x6D703EF3, 0x7A6D76E9, 0x00000000)
_RHO: Final = (7, 4, 13, 1, 10, 6, 15, 3, 12, 0, 9, 5, 2, 14, 11, 8)
_SHIFTS: Final = (
    (11, 14, 15, 12, 5, 8, 7, 9, 11, 13, 14, 15, 6, 7, 9, 8),
    (12, 13, 11, 15, 6, 9, 9, 7, 12, 15, 11, 13, 7, 8, 7, 7),
    (13, 15, 14, 11, 7, 7, 6, 8, 13, 14, 13, 12, 5, 5, 6, 9),
    (14, 11, 12, 14, 8, 6, 5, 5, 15, 12, 15, 14, 9, 9, 8, 6),
    (15, 12, 13, 13, 9, 5, 8, 6, 14, 11, 12, 11, 8, 6, 5, 5),
)
"""By round and message word."""


def _orders(first: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The message words of the five rounds: each round permutes the one before."""
    rounds = [first]
    for _ in range(4):
        rounds.append(tuple(_RHO[word] for word in rounds[-1]))
    return tuple(rounds)


_LEFT: Final = _orders(tuple(range(16)))
_RIGHT: Final = _orders(tuple((9 * i + 5) % 16 for i in range(16)))


def _mix(round_: int, x: int, y: int, z: int) -> int:
    if round_ == 0:
        return x ^ y ^ z
    if round_ == 1:
        return (x & y) | (~x & z)
    if round_ == 2:
        return (x | ~y) ^ z
    if round_ == 3:
        return (x & z) | (y & ~z)
    return x ^ (y | ~z)


def _rotated(value: int, by: int) -> int:
    value &= _MASK
    return (value << by | value >> (32 - by)) & _MASK


def _line(state: tuple[int, ...], words: list[int], orders: tuple[tuple[int, ...], ...], keys: tuple[int, ...], mixes: range) -> list[int]:
    a, b, c, d, e = state
    for round_, (order, key, mix) in enumerate(zip(orders, keys, mixes, strict=True)):
        for word in order:
            turned = _rotated(a + _mix(mix, b, c, d) + words[word] + key, _SHIFTS[round_][word]) + e
            a, b, c, d, e = e, turned & _MASK, b, _rotated(c, 10), d
    return [a, b, c, d, e]


def ripemd160(data: bytes) -> bytes:
    """The 20 byte digest."""
    padded = data + b"\x80" + b"\x00" * ((55 - len(data)) % 64) + (8 * len(data)).to_bytes(8, "little")
    state: tuple[int, ...] = _START
    for start in range(0, len(padded), 64):
        words = [int.from_bytes(padded[i : i + 4], "little") for i in range(start, start + 64, 4)]
        left = _line(state, words, _LEFT, _LEFT_K, range(5))
        right = _line(state, words, _RIGHT, _RIGHT_K, range(4, -1, -1))
        state = tuple((state[(i + 1) % 5] + left[(i + 2) % 5] + right[(i + 3) % 5]) & _MASK for i in range(5))
    return b"".join(word.to_bytes(4, "little") for word in state)
