"""The prime field of order p = 2^64 - 2^32 + 1 ("Goldilocks"). Elements are plain ints in [0, p)."""

from __future__ import annotations

from collections.abc import Iterable

P = 2**64 - 2**32 + 1
BYTES = 8

_TWO_ADICITY = 32
_ROOT_OF_UNITY = pow(7, (P - 1) >> _TWO_ADICITY, P)
"""Of order 2^32; 7 generates the multiplicative group."""


def inverse(a: int) -> int:
    """1/a, and 0 for 0."""
    return pow(a, -1, P) if a % P else 0


def sqrt(a: int) -> int | None:
    """One square root of `a`, or None where there is none (Tonelli-Shanks)."""
    a %= P
    if a == 0:
        return 0
    if pow(a, (P - 1) // 2, P) != 1:
        return None
    odd = (P - 1) >> _TWO_ADICITY
    root = pow(a, (odd + 1) // 2, P)
    error = pow(a, odd, P)
    factor, order = _ROOT_OF_UNITY, _TWO_ADICITY
    while error != 1:
        power, square = 0, error
        while square != 1:
            square = square * square % P
            power += 1
        shift = pow(factor, 1 << (order - power - 1), P)
        root = root * shift % P
        factor = shift * shift % P
        error = error * factor % P
        order = power
    return root


def to_bytes(elements: Iterable[int]) -> bytes:
    """Eight little-endian bytes for each element."""
    return b"".join(e.to_bytes(BYTES, "little") for e in elements)


def from_bytes(data: bytes, *, pad: bool = False) -> list[int]:
    """Elements from little-endian limbs of eight bytes; `pad` allows a shorter last limb.

    Raises:
        ValueError: a limb is not below p, or the length does not fit.
    """
    if len(data) % BYTES and not pad:
        raise ValueError(f"{len(data)} bytes are not a whole number of field elements")
    limbs = [int.from_bytes(data[i : i + BYTES], "little") for i in range(0, len(data), BYTES)]
    if any(limb >= P for limb in limbs):
        raise ValueError("a limb is not below the field order")
    return limbs
