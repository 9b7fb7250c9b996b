"""How much: the smallest of everything that limits a position, each limit named. Pure."""

from decimal import Decimal

import msgspec

from exchange_clients.model import ZERO, BookLevel, Instrument

ENTRY_DISTANCE = Decimal("1.5")
"""An entry keeps this multiple of the minimum liquidation distance, so that no ordinary move after it forces the exit (E24)."""


class LegMoney(msgspec.Struct, frozen=True, kw_only=True):
    """What one leg may use. USD; `exposure` is what this strategy holds on the venue already; levels are those the order would take.

    `fee`: what an order costs, as a fraction: it leaves the balance too.
    """

    instrument: Instrument
    price: Decimal
    available: Decimal
    equity: Decimal
    exposure: Decimal
    levels: tuple[BookLevel, ...]
    bound: Decimal
    fee: Decimal = ZERO
    maintenance: Decimal | None = None
    """As the account is told; None: as the market says."""
    first_tier: Decimal | None = None
    """USD up to which these margins hold; None: for every size."""
    leverage: Decimal | None = None
    """Of the account in this market; None: the venue does not say, its initial margin counts alone."""
    held: Decimal | None = ZERO
    """Worth of all positions of the account there, whoever holds them: the same equity stands behind them. None: not known."""
    isolated: bool = False
    """Nothing but its own margin stands behind the position."""


class SizeLimit(msgspec.Struct, frozen=True):
    """One reason a position cannot be larger, in USD."""

    rule: str
    usd: Decimal


def max_leverage_for(distance: Decimal, maintenance: Decimal) -> Decimal:
    """The leverage at which liquidation is `distance` (fraction of the price) away: equity/notional - maintenance = distance (E24)."""
    return 1 / (distance + maintenance)


def usable_leverage(leg: LegMoney) -> Decimal | None:
    """What a unit of margin carries: the account's leverage, at most what the initial margin allows; None when that is unknown."""
    initial = leg.instrument.initial_margin
    if initial is None:
        return None
    return 1 / initial if leg.leverage is None else min(leg.leverage, 1 / initial)


def depth_usd(levels: tuple[BookLevel, ...], bound: Decimal, *, buy: bool) -> Decimal:
    """What the book offers within the bound."""
    return sum((x.price * x.size for x in levels if (x.price <= bound if buy else x.price >= bound)), ZERO)


def limits(
    leg: LegMoney, *, buy: bool, buffer: Decimal, min_distance: Decimal, max_exposure: Decimal, depth_share: Decimal
) -> list[SizeLimit] | str:
    """The limits of one leg, or the name of the figure that is missing (E22). The balance is what leaves the buffer after the trade."""
    venue = leg.instrument.id.venue
    maintenance = leg.instrument.maintenance_margin if leg.maintenance is None else leg.maintenance
    most = usable_leverage(leg)
    if maintenance is None or most is None:
        return f"{venue} does not say its margin fractions"
    if leg.held is None:
        return f"{venue} does not say what the account's positions are worth"
    if leg.isolated and (near := _too_near(leg, min_distance, maintenance)) is not None:
        return near
    room = leg.equity * max_leverage_for(min_distance, maintenance) * (1 - buffer) - max(leg.exposure, leg.held)
    found = [
        SizeLimit(f"balance on {venue}", (leg.available - leg.equity * buffer) / (1 / most + leg.fee)),
        SizeLimit(f"liquidation distance on {venue}", room),
        SizeLimit(f"max_total_exposure_usd on {venue}", max_exposure - leg.exposure),
        SizeLimit(f"depth on {venue}", depth_usd(leg.levels, leg.bound, buy=buy) * depth_share),
    ]
    return found if leg.first_tier is None else [*found, SizeLimit(f"first margin tier on {venue}", leg.first_tier)]


def _too_near(leg: LegMoney, min_distance: Decimal, maintenance: Decimal) -> str | None:
    """Why an isolated position is too near to its liquidation whatever its size; None: its leverage keeps the distance (E24)."""
    most, venue = max_leverage_for(min_distance, maintenance), leg.instrument.id.venue
    if leg.leverage is None:
        return f"{venue}: margin is isolated and the venue does not show its leverage: set target_leverage to at most {most:.2f}"
    if leg.leverage > most:
        away = 1 / leg.leverage - maintenance
        return (
            f"{venue}: isolated at {leg.leverage}x it is liquidated {away:.4f} away, {min_distance} is needed:"
            f" set target_leverage to at most {most:.2f}"
        )
    return None


def left_after(leg: LegMoney, usd: Decimal) -> Decimal | None:
    """What stays available after an order worth `usd`: margin and fee taken off; None when the margin is unknown."""
    most = usable_leverage(leg)
    return None if most is None else leg.available - usd / most - usd * leg.fee


def smallest(found: list[SizeLimit]) -> SizeLimit:
    """The limit that binds."""
    return min(found, key=lambda limit: (limit.usd, limit.rule))
