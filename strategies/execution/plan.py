"""How: which leg first, how each order is priced, how large a slice may stand unhedged, and when to give up."""

from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from database.records import Leg
from exchange_clients.model import ZERO, Instrument

from .lots import common_step, floor_to

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient


class Tactic(StrEnum):
    """How one order meets the market. TOUCH: post-only at the own best price. INSIDE: post-only inside the spread.
    CROSS: immediate or cancel within the bound. MARKET: the same with the widest bound."""

    TOUCH = "touch"
    INSIDE = "inside"
    CROSS = "cross"
    MARKET = "market"

    @property
    def rests(self) -> bool:
        """True when the order waits on the book."""
        return self in (Tactic.TOUCH, Tactic.INSIDE)


class Mode(StrEnum):
    """Execution modes by their configuration names; each is a ladder of tactics for the first leg, tried from left to right."""

    LIMIT_ONLY = "limit_only"
    LIMIT_WITH_FALLBACK = "limit_with_fallback"
    MARKET_ONLY = "market_only"
    AGGRESSIVE_LIMIT = "aggressive_limit"
    ADAPTIVE = "adaptive"


LADDERS: dict[Mode, tuple[Tactic, ...]] = {
    Mode.LIMIT_ONLY: (Tactic.TOUCH, Tactic.TOUCH, Tactic.TOUCH),
    Mode.LIMIT_WITH_FALLBACK: (Tactic.TOUCH, Tactic.CROSS, Tactic.CROSS),
    Mode.MARKET_ONLY: (Tactic.CROSS, Tactic.CROSS, Tactic.CROSS),
    Mode.AGGRESSIVE_LIMIT: (Tactic.TOUCH, Tactic.INSIDE, Tactic.CROSS, Tactic.MARKET),
}


EXIT_LADDERS: dict[Mode, tuple[Tactic, ...]] = {
    Mode.LIMIT_ONLY: (Tactic.TOUCH, Tactic.TOUCH, Tactic.INSIDE, Tactic.CROSS),
    Mode.LIMIT_WITH_FALLBACK: (Tactic.TOUCH, Tactic.CROSS),
    Mode.MARKET_ONLY: (Tactic.CROSS,),
    Mode.AGGRESSIVE_LIMIT: (Tactic.TOUCH, Tactic.INSIDE, Tactic.CROSS),
}
"""The same for the leg that leads a patient exit. Each ends by taking: an exit that may only rest might never end."""


class OfflinePolicy(StrEnum):
    """What becomes of a hedged pair while one venue cannot be reached. HOLD_HEDGED: nothing. REDUCE: after a time the leg that can be
    reached is reduced to what may stand naked, as if the other one were gone."""

    HOLD_HEDGED = "hold_hedged"
    REDUCE = "reduce"


class ExternalPolicy(StrEnum):
    """What is done when somebody else changed our share of a position. REBALANCE: the larger leg follows. ALERT: a human looks first."""

    REBALANCE = "rebalance"
    ALERT = "alert"


def ladder(mode: Mode, *, spread_bps: Decimal, wide_bps: Decimal = Decimal(5)) -> tuple[Tactic, ...]:
    """The tactics of a mode; ADAPTIVE crosses a tight spread and works a wide one."""
    if mode is Mode.ADAPTIVE:
        return LADDERS[Mode.AGGRESSIVE_LIMIT if spread_bps > wide_bps else Mode.MARKET_ONLY]
    return LADDERS[mode]


def exit_ladder(mode: Mode, *, spread_bps: Decimal, wide_bps: Decimal = Decimal(5)) -> tuple[Tactic, ...]:
    """The tactics of a mode for a patient exit."""
    if mode is Mode.ADAPTIVE:
        return EXIT_LADDERS[Mode.AGGRESSIVE_LIMIT if spread_bps > wide_bps else Mode.MARKET_ONLY]
    return EXIT_LADDERS[mode]


class ExecutionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one pair's execution; every loop of the engine ends by one of them (E20).

    `*_bps` are worst prices away from the touch, by attempt (the last repeats). Times are seconds of asyncio time. `maker_offset` is the
    fraction of the price by which a TOUCH order sits behind its own best price. `hedge_overrun_bps` is by how much a hedge may miss the
    plan's `max_price_cost` before the first leg is unwound instead. `offline_reduce_s` belongs to OfflinePolicy.REDUCE.
    """

    naked_cap_usd: Decimal = Decimal(500)
    hedge_deadline_s: float = 5.0
    maker_timeout_s: float = 10.0
    open_deadline_s: float = 60.0
    resolve_deadline_s: float = 60.0
    absent_grace_s: float = 1.0
    poll_s: float = 0.25
    book_age_s: float = 2.0
    entry_bps: tuple[Decimal, ...] = (Decimal(10), Decimal(20), Decimal(30))
    hedge_bps: tuple[Decimal, ...] = (Decimal(20), Decimal(50), Decimal(100))
    reduce_bps: tuple[Decimal, ...] = (Decimal(20), Decimal(50), Decimal(100), Decimal(300))
    max_hedge_attempts: int = 3
    max_reduce_attempts: int = 8
    max_orders: int = 200
    maker_offset: Decimal = Decimal(0)
    hedge_overrun_bps: Decimal = Decimal(20)
    offline_policy: OfflinePolicy = OfflinePolicy.HOLD_HEDGED
    offline_reduce_s: float = 300.0
    external_policy: ExternalPolicy = ExternalPolicy.REBALANCE


class PairPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy wants executed; journaled with the pair.

    `quantity` is exact on both venues. `slice_quantity` bounds what may be filled on the first leg before it is hedged.
    `max_price_cost` protects the break-even: (long price - short price) / short price is never above it, for the first leg at the price at
    which the other one can be hedged, for the hedge at what the first leg paid; None leaves only the bounds by basis points.
    `exit_tactics` are for the leg that leads a patient exit; an urgent one takes.
    The engine puts in: `listings`, the two markets as they were, because after a delisting and a restart the venue may not know them any
    more; `prices`, the mids when the plan was taken; `keep`, to what both legs are being reduced after `begin_shrink`; `closing`, why the
    pair is to be closed once it can be.
    """

    symbol: str
    long_instrument: str
    short_instrument: str
    first_leg: Leg
    quantity: Decimal
    slice_quantity: Decimal
    tactics: tuple[Tactic, ...]
    worst_naked_usd: Decimal
    expected: dict[str, str] = {}
    limits: ExecutionLimits = ExecutionLimits()
    max_price_cost: Decimal | None = None
    exit_tactics: tuple[Tactic, ...] = (Tactic.CROSS,)
    listings: dict[Leg, Instrument] = {}
    prices: dict[Leg, Decimal] = {}
    keep: Decimal | None = None
    closing: str | None = None


async def recall(plan: PairPlan, leg: Leg, client: "BaseExchangeClient") -> Instrument:
    """The market of a leg, known to its client from now on, although the venue may list it no more or not answer.

    Raises:
        VenueError: the plan does not know it, and the venue's markets cannot be loaded or do not have it.
    """
    known = plan.listings.get(leg)
    if known is None:
        await client.instruments.load_all()
        return client.instruments.get(plan.long_instrument if leg is Leg.LONG else plan.short_instrument)
    return client.instruments.remember(known)


def slice_quantity(quantity: Decimal, price: Decimal, cap_usd: Decimal, long: Instrument, short: Instrument) -> Decimal:
    """Even slices of `quantity`, each at most the cap and at least what both venues accept.

    A cap below the venues' own minima gives the smallest lot they accept; the caller compares `worst_naked_usd` with the cap and decides.
    """
    step = common_step(long.step_size, short.step_size)
    least = max(step, *(ceil_to(smallest(i, price), step) for i in (long, short)))
    most = max(floor_to(min(quantity, cap_usd / price), step), least)
    if most >= quantity:
        return quantity
    count = (quantity / most).to_integral_value(ROUND_CEILING)
    return max(ceil_to(quantity / count, step), least)


def smallest(instrument: Instrument, price: Decimal | None) -> Decimal:
    """The smallest order that a venue takes at a price, not yet rounded to a step."""
    return max(instrument.min_quantity, ZERO if not price else instrument.min_notional / price)


def ceil_to(quantity: Decimal, step: Decimal) -> Decimal:
    """`quantity` rounded up to a multiple of `step`; for minima only, never for what is ordered."""
    return (quantity / step).to_integral_value(ROUND_CEILING) * step
