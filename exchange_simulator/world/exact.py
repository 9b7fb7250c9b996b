"""Arithmetic that gives the same bits on every machine and every Python.

IEEE 754 fixes + - * / and sqrt, `math.frexp` and `math.ldexp` are exact; `exp`, `log`, `sin` and `erf` of the C library are not fixed
and may differ in the last bit. Everything the world computes goes through this module: no libm call, no `random.gauss`, no object hash.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from random import Random

_MASK = (1 << 64) - 1
_LN2 = 0.6931471805599453
_TO_UNIT = 1.0 / (1 << 53)


def mix(*parts: int) -> int:
    """64 well-mixed bits of some integers (splitmix64 finaliser, chained); the key of everything drawn out of sequence."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = (state ^ (part & _MASK)) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state = ((state ^ (state >> 31)) + 0x9E3779B97F4A7C15) & _MASK
    return state


def text_key(text: str) -> int:
    """64 bits of a name; unlike `hash()` the same in every process."""
    return mix(*text.encode())


def unit(bits: int) -> float:
    """64 bits to [0, 1)."""
    return (bits >> 11) * _TO_UNIT


def stream(*parts: int) -> Random:
    """A generator of its own for one purpose. Use only its `.random()` and `.getrandbits()`: no other method is stable across Pythons."""
    return Random(mix(*parts))


def log(x: float) -> float:
    """Natural logarithm of a positive number, relative error below 1e-14."""
    if not x > 0.0:
        raise ValueError(f"log of {x}")
    mantissa, exponent = math.frexp(x)
    if mantissa < 0.7071067811865476:
        mantissa *= 2.0
        exponent -= 1
    t = (mantissa - 1.0) / (mantissa + 1.0)
    square = t * t
    series = 0.0
    for k in range(21, 0, -2):
        series = series * square + 1.0 / k
    return 2.0 * t * series + exponent * _LN2


def exp(x: float) -> float:
    """Exponential for |x| < 700, relative error below 1e-14."""
    shift = math.floor(x / _LN2 + 0.5)
    rest = x - shift * _LN2
    series = 1.0
    for k in range(14, 0, -1):
        series = 1.0 + series * rest / k
    return math.ldexp(series, shift)


def normal_quantile(u: float) -> float:
    """Inverse of the standard normal distribution function for 0 < u < 1 (Wichura's algorithm AS 241, PPND7; error below 1e-6)."""
    q = u - 0.5
    if -0.425 <= q <= 0.425:
        r = 0.180625 - q * q
        top = ((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179
        return q * top / (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1.0)
    r = math.sqrt(-log(u if q < 0.0 else 1.0 - u))
    if r <= 5.0:
        r -= 1.6
        top = ((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777
        value = top / ((0.12021132975 * r + 0.73700164250) * r + 1.0)
    else:
        r -= 5.0
        top = ((0.017337203997 * r + 0.42868294337) * r + 3.0812263860) * r + 6.6579051150
        value = top / ((0.012258202635 * r + 0.24197894225) * r + 1.0)
    return -value if q < 0.0 else value


def normal(rng: Random) -> float:
    """One standard normal number from one draw."""
    u = rng.random()
    return normal_quantile(u if u > 0.0 else _TO_UNIT)


def interpolate(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Piecewise linear through (xs, ys), constant beyond the ends; xs ascending."""
    if x <= xs[0]:
        return ys[0]
    if x >= xs[-1]:
        return ys[-1]
    i = bisect_right(xs, x)
    x0, x1 = xs[i - 1], xs[i]
    return ys[i - 1] + (ys[i] - ys[i - 1]) * (x - x0) / (x1 - x0)


def quantile(table: Sequence[float], u: float) -> float:
    """Value at probability u of a table of equally spaced quantiles (first = minimum, last = maximum)."""
    at = u * (len(table) - 1)
    i = int(at)
    if i >= len(table) - 1:
        return table[-1]
    return table[i] + (table[i + 1] - table[i]) * (at - i)
