"""GF(p^5) = GF(p)[z] / (z^5 - 3) over the Goldilocks field, packed: one element is one Python int.

Coefficient i stands in bits [160 i, 160 i + 160), not reduced. So a sum is one int addition, and a product is one int multiplication
(Kronecker substitution) followed by a reduction of all five slots at once with masks.

Bounds: `mul` and `square` take slots below 2^76 and give slots below 3 * 2^64, called reduced. `NEGATOR` has 4p in every slot, so
`a + NEGATOR - b` is a - b for a reduced b. Only `unpack` gives canonical coefficients; never compare packed elements.
"""

from __future__ import annotations

from collections.abc import Sequence

from exchange_clients.crypto import goldilocks
from exchange_clients.crypto.goldilocks import P

BYTES = 5 * goldilocks.BYTES
SLOT = 160
_ALL = 5 * SLOT


def _every(slot: int) -> int:
    return sum(slot << (SLOT * i) for i in range(5))


_LOW = _every(2**64 - 1)
_MIDDLE = _every(2**32 - 1)
_HIGH = _every(2**64 - 1)
_WHOLE = (1 << _ALL) - 1
_ONE_P = _every(P)
NEGATOR = _every(4 * P)

ZERO = 0
ONE = 1


def pack(limbs: Sequence[int]) -> int:
    a, b, c, d, e = limbs
    return a | b << SLOT | c << 2 * SLOT | d << 3 * SLOT | e << 4 * SLOT


def unpack(a: int) -> tuple[int, int, int, int, int]:
    """The five coefficients, each in [0, p)."""
    mask = (1 << SLOT) - 1
    return (
        (a & mask) % P,
        (a >> SLOT & mask) % P,
        (a >> 2 * SLOT & mask) % P,
        (a >> 3 * SLOT & mask) % P,
        (a >> 4 * SLOT) % P,
    )


def to_bytes(a: int) -> bytes:
    return goldilocks.to_bytes(unpack(a))


def from_bytes(data: bytes) -> int:
    """Raises ValueError unless `data` is the one encoding of an element."""
    if len(data) != BYTES:
        raise ValueError(f"an element has {BYTES} bytes, not {len(data)}")
    return pack(goldilocks.from_bytes(data))


def mul(a: int, b: int) -> int:
    # z^5 = 3 folds the upper slots down; then 2^64 = 2^32 - 1 and 2^96 = -1 (mod p) in every slot, with p added against borrowing.
    c = a * b
    c = (c & _WHOLE) + 3 * (c >> _ALL)
    return (c & _LOW) + (c >> 64 & _MIDDLE) * 0xFFFF_FFFF - (c >> 96 & _HIGH) + _ONE_P


def square(a: int) -> int:
    c = a * a
    c = (c & _WHOLE) + 3 * (c >> _ALL)
    return (c & _LOW) + (c >> 64 & _MIDDLE) * 0xFFFF_FFFF - (c >> 96 & _HIGH) + _ONE_P


def times_z(a: int, factor: int) -> int:
    """`factor` * z * a, not reduced: slots grow by a factor of 3 * `factor`."""
    return ((a << SLOT & _WHOLE) + 3 * (a >> 4 * SLOT)) * factor


def power(a: int, exponent: int) -> int:
    result = ONE
    for bit in bin(exponent)[2:]:
        result = square(result)
        if bit == "1":
            result = mul(result, a)
    return result


_FIFTH_ROOT = 1041288259238279555
_FROBENIUS = tuple(tuple(pow(_FIFTH_ROOT, i * n, P) for i in range(5)) for n in range(5))


def frobenius(a: int, times: int = 1) -> int:
    """a^(p^times): coefficient i times a fifth root of unity to the power i * times."""
    roots = _FROBENIUS[times]
    return pack([x * r % P for x, r in zip(unpack(a), roots, strict=True)])


def _conjugates(a: int) -> int:
    """a^(p + p^2 + p^3 + p^4); times a it is the norm of a, which lies in GF(p)."""
    pair = mul(frobenius(a), frobenius(a, 2))
    return mul(pair, frobenius(pair, 2))


def inverse(a: int) -> int:
    """1/a, and 0 for 0."""
    rest = _conjugates(a)
    return mul(rest, goldilocks.inverse(unpack(mul(a, rest))[0]))


def is_zero(a: int) -> bool:
    return unpack(a) == (0, 0, 0, 0, 0)


def legendre(a: int) -> int:
    """1 for a non-zero square, -1 for a non-square, 0 for 0."""
    norm = unpack(mul(a, _conjugates(a)))[0]
    symbol = pow(norm, (P - 1) // 2, P)
    return -1 if symbol == P - 1 else symbol


def sqrt(a: int) -> int | None:
    """The square root whose first non-zero coefficient is odd, or None where there is none.

    a^(1 + p + p^2 + p^3 + p^4) is the norm, in GF(p); dividing its root by a^((p + p^2 + p^3 + p^4) / 2) gives the root of a.
    """
    if is_zero(a):
        return ZERO
    half = power(a, (P + 1) // 2)
    halves = mul(frobenius(half), frobenius(half, 3))  # a^((p + 1)/2 * (p + p^3)) = a^((p + p^2 + p^3 + p^4) / 2)
    norm_root = goldilocks.sqrt(unpack(mul(a, square(halves)))[0])
    if norm_root is None:
        return None
    limbs = unpack(mul(inverse(halves), norm_root))
    leading = next(limb for limb in limbs if limb)
    return pack(limbs) if leading & 1 else pack([-limb % P for limb in limbs])
