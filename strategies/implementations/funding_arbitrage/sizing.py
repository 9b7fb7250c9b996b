"""How much: the smallest of everything that limits a position, each limit named. Pure."""

from decimal import Decimal

import msgspec

from exchange_clients.model import BookLevel, Instrument


class LegMoney(msgspec.Struct, frozen=True, kw_only=True):
    """What one leg may use. USD; `exposure` is what this strategy holds on the venue already; levels are those the order would take."""

    instrument: Instrument
    price: Decimal
    available: Decimal
    equity: Decimal
    exposure: Decimal
    levels: tuple[BookLevel, ...]
    bound: Decimal
    leverage: Decimal | None = None
    """Of the account in this market; None: the venue does not say, its initial margin counts alone."""


class SizeLimit(msgspec.Struct, frozen=True):
    """One reason a position cannot be larger, in USD."""

    rule: str
    usd: Decimal


def max_leverage_for(distance: Decimal, maintenance: Decimal) -> Decimal:
    """The leverage at which liquidation is `distance` (fraction of the price) away: equity/notional - maintenance = distance (E24)."""
    return 1 / (distance + maintenance)


def depth_usd(levels: tuple[BookLevel, ...], bound: Decimal, *, buy: bool) -> Decimal:
    """What the book offers within the bound."""
    return sum((x.price * x.size for x in levels if (x.price <= bound if buy else x.price >= bound)), Decimal(0))


def limits(
    leg: LegMoney, *, buy: bool, buffer: Decimal, min_distance: Decimal, max_exposure: Decimal, depth_share: Decimal
) -> list[SizeLimit] | str:
    """The limits of one leg, or the name of the figure that is missing (E22)."""
    venue = leg.instrument.id.venue
    maintenance, initial = leg.instrument.maintenance_margin, leg.instrument.initial_margin
    if maintenance is None or initial is None:
        return f"{venue} does not say its margin fractions"
    free = leg.available * (1 - buffer)
    most = 1 / initial if leg.leverage is None else min(leg.leverage, 1 / initial)
    room = leg.equity * max_leverage_for(min_distance, maintenance) * (1 - buffer) - leg.exposure
    return [
        SizeLimit(f"balance on {venue}", free * most),
        SizeLimit(f"liquidation distance on {venue}", room),
        SizeLimit(f"max_total_exposure_usd on {venue}", max_exposure - leg.exposure),
        SizeLimit(f"depth on {venue}", depth_usd(leg.levels, leg.bound, buy=buy) * depth_share),
    ]


def smallest(found: list[SizeLimit]) -> SizeLimit:
    """The limit that binds."""
    return min(found, key=lambda limit: (limit.usd, limit.rule))
