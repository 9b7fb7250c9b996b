"""Prices that should be one and are not: a market's mark and its index, and the quote assets of two legs. Pure."""

from collections.abc import Mapping
from decimal import Decimal

from exchange_clients.model import InstrumentId

from .figures import Reference


def mark_index(instrument: InstrumentId, held: Reference | None, limit: Decimal | None) -> str | None:
    """Why the mark may not be believed, or None. A missing figure is a no as soon as there is a limit (E22)."""
    if limit is None:
        return None
    if held is None or held.mark is None or held.index is None or held.index <= 0:
        known = f"mark {_of(held, 'mark')}, index {_of(held, 'index')}"
        return f"max_mark_index_divergence: {instrument}: {known}, limit {limit}"
    away = abs(held.mark - held.index) / held.index
    return f"max_mark_index_divergence: {instrument}: mark is {away:.5f} from its index, limit {limit}" if away > limit else None


def quotes(held: Mapping[InstrumentId, Reference | None], limit: Decimal | None) -> str | None:
    """Why the quote assets of several legs in one base may not be taken for the same money, or None.

    The same base has one worth: its index in USDC over its index in USDT is the price of USDT in USDC. Legs in one quote asset have nothing
    to diverge.
    """
    if limit is None:
        return None
    legs = sorted(held)
    for one in legs:
        for other in legs:
            if one >= other or one.base != other.base or one.quote == other.quote:
                continue
            first, second = held[one], held[other]
            a, b = (None if r is None else r.index for r in (first, second))
            names = f"{one.quote} on {one.venue} and {other.quote} on {other.venue}"
            if a is None or b is None or a <= 0 or b <= 0:
                return f"max_quote_divergence: {names}: an index of {one.base} is not known, limit {limit}"
            away = abs(a / b - 1)
            if away > limit:
                return f"max_quote_divergence: {names} are {away:.5f} apart by the index of {one.base}, limit {limit}"
    return None


def _of(held: Reference | None, name: str) -> str:
    value = None if held is None else getattr(held, name)
    return "not known" if value is None else str(value)
