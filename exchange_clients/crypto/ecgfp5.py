"""ECgFp5: y^2 = x (x^2 + 2x + 263z) over GF(p^5), a group of prime order with one canonical 40-byte encoding per element.

The group is the curve's points that are not of the form 2Q, with (0, 0) as neutral element N; formulas are complete, without special cases.
A point is (X, Z, U, T) with x = X/Z and u = x/y = U/T, packed coordinates of `quintic`; its encoding is w = y/x = T/U, and 0 for N.

Source: T. Pornin, "EcGFp5: a Specialized Elliptic Curve", IACR ePrint 2022/274.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from exchange_clients.crypto import quintic
from exchange_clients.crypto.goldilocks import P
from exchange_clients.crypto.quintic import NEGATOR, inverse, legendre, mul, pack, sqrt, square, times_z

ORDER = 1067993516717146951041484916571792702745057740581727230159139685185762082554198619328292418486241
"""Of the group; scalars are ints in [0, ORDER)."""
SCALAR_BYTES = 40

Point = tuple[int, int, int, int]
Affine = tuple[int, int]
"""(x, u), both reduced."""

NEUTRAL: Point = (quintic.ZERO, quintic.ONE, quintic.ZERO, quintic.ONE)

_A = 2
_B = 263  # the coefficient of z: b = 263 z
_4B = pack((0, 4 * _B, 0, 0, 0))
_HALF = (P + 1) // 2
_WINDOW = 5
_ROWS = 64  # 64 windows of 5 bits cover a scalar below 2^319 and the carry of signed digits


def add(p: Point, q: Point) -> Point:
    x1, z1, u1, t1 = p
    x2, z2, u2, t2 = q
    xx, zz, uu, tt = mul(x1, x2), mul(z1, z2), mul(u1, u2), mul(t1, t2)
    cross_xz = mul(x1 + z1, x2 + z2) + 2 * NEGATOR - xx - zz
    cross_ut = mul(u1 + t1, u2 + t2) + 2 * NEGATOR - uu - tt
    return _finish(xx, times_z(zz, _B), uu, tt, cross_xz, cross_ut)


def add_affine(p: Point, q: Affine) -> Point:
    """`add` for a q with Z = T = 1."""
    x1, z1, u1, t1 = p
    x2, u2 = q
    return _finish(mul(x1, x2), times_z(z1, _B), mul(u1, u2), t1, x1 + mul(x2, z1), u1 + mul(u2, t1))


def _finish(xx: int, bzz: int, uu: int, tt: int, cross_xz: int, cross_ut: int) -> Point:
    total = xx + bzz
    t8 = mul(tt, total)
    t9 = mul(uu, times_z(cross_xz, 2 * _B) + 2 * total)
    t10 = mul(tt + 2 * uu, cross_xz + total)
    return times_z(t10 + NEGATOR - t8, _B), t8 + NEGATOR - t9, mul(cross_ut, bzz + NEGATOR - xx), t8 + t9


def double(p: Point) -> Point:
    x, z, u, t = p
    t1 = mul(z, t)
    t2 = mul(t1, t)
    z1 = mul(t1, u)
    w1 = t2 + NEGATOR - mul(2 * (x + z), square(u))
    zz, ww = square(z1), square(w1)
    return times_z(zz, 4 * _B), ww, square(w1 + z1) + 2 * NEGATOR - zz - ww, 2 * square(t2) + 5 * NEGATOR - 4 * zz - ww


def is_neutral(p: Point) -> bool:
    return quintic.is_zero(p[2])


def encode(p: Point) -> int:
    """w as a field element."""
    return mul(p[3], inverse(p[2]))


def decode(w: int) -> Point | None:
    """The point with encoding w, or None where there is none.

    x is the non-square root of x^2 - (w^2 - a) x + b = 0.
    """
    if quintic.is_zero(w):
        return NEUTRAL
    e = square(w) + NEGATOR - _A
    root = sqrt(square(e) + NEGATOR - _4B)
    if root is None:
        return None
    x = mul(e + root, _HALF)
    if legendre(x) == 1:
        x = mul(e + NEGATOR - root, _HALF)
    return x, quintic.ONE, quintic.ONE, w


def to_affine(points: Sequence[Point]) -> list[Affine]:
    """All points as (x, u), with one inversion (Montgomery's trick)."""
    prefixes = [quintic.ONE]
    for _, z, _, t in points:
        prefixes.append(mul(prefixes[-1], mul(z, t)))
    rest = inverse(prefixes.pop())
    result: list[Affine] = []
    for (x, z, u, t), prefix in zip(reversed(points), reversed(prefixes), strict=True):
        own = mul(rest, prefix)
        result.append((mul(x, mul(t, own)), mul(u, mul(z, own))))
        rest = mul(rest, mul(z, t))
    result.reverse()
    return result


class Multiples:
    """1 to 16 times 32^i times a point, for every i: a product is then 64 additions. Costs about 20 ms and 300 kB to make."""

    __slots__ = ("rows",)

    def __init__(self, point: Point) -> None:
        points: list[Point] = []
        for _ in range(_ROWS):
            first = last = point
            points.append(last)
            for _ in range(2 ** (_WINDOW - 1) - 1):
                last = add(last, first)
                points.append(last)
            point = double(last)
        affine = to_affine(points)
        width = 2 ** (_WINDOW - 1)
        self.rows = [affine[i : i + width] for i in range(0, len(affine), width)]


def combine(terms: Iterable[tuple[Multiples, int]]) -> Point:
    """The sum of scalar * point over `terms`; scalars in [0, ORDER)."""
    result = NEUTRAL
    for multiples, scalar in terms:
        for row in multiples.rows:
            digit = scalar & 31
            scalar >>= _WINDOW
            if digit > 16:
                scalar += 1
                x, u = row[31 - digit]
                result = add_affine(result, (x, NEGATOR - u))
            elif digit:
                result = add_affine(result, row[digit - 1])
    return result


def multiply(point: Point, scalar: int) -> Point:
    """scalar * point by doubling and adding; for a point that is used once."""
    result = NEUTRAL
    for bit in bin(scalar)[2:]:
        result = double(result)
        if bit == "1":
            result = add(result, point)
    return result


def scalar_to_bytes(scalar: int) -> bytes:
    return scalar.to_bytes(SCALAR_BYTES, "little")


def scalar_from_bytes(data: bytes) -> int:
    """Raises ValueError unless `data` is 40 bytes of a scalar below ORDER."""
    scalar = int.from_bytes(data, "little")
    if len(data) != SCALAR_BYTES or scalar >= ORDER:
        raise ValueError("not a scalar: 40 little-endian bytes below the group order")
    return scalar
