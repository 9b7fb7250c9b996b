"""What a pair does next, as one pure function of what is proved. The safety rules of the two legs are in this file.

A leg is *busy* while an order of ours on it is not settled, refused or proved absent; nothing new is sent on a busy leg (E2).
Own quantities come from own fills alone (E6, E13), as positive magnitudes in the direction of the leg. Opening: the first leg leads,
the other follows to the same quantity. Everything else only reduces: the larger leg towards the smaller (E14), and while closing
both to nothing. No order reduces more than its leg holds (E15, E17).
"""

from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum

from database.records import Leg, PairState
from exchange_clients.model import Instrument, Purpose

from .lots import floor_to, tradable
from .plan import ExecutionLimits, ExternalPolicy, OfflinePolicy


@dataclass(frozen=True, slots=True)
class LegView:
    """What is proved about one leg.

    `adding`: busy with an order that adds. `stuck`: busy for longer than an outcome may stay unknown. `*_failures`: orders in a row
    that changed nothing. `venue_up` False: reads from the venue fail at present, since `offline_s`. `paused`: the venue refuses orders of
    everybody for now; `was_paused`: it did so last time. `price` is the last that is known, for values only.
    """

    instrument: Instrument
    price: Decimal | None
    own: Decimal
    busy: bool = False
    adding: bool = False
    stuck: bool = False
    add_failures: int = 0
    reduce_failures: int = 0
    venue_up: bool = True
    offline_s: float = 0.0
    paused: bool = False
    was_paused: bool = False

    @property
    def usable(self) -> bool:
        """The venue answers and takes orders."""
        return self.venue_up and not self.paused

    @property
    def small(self) -> bool:
        """Holds something, but less than the venue's minimum order."""
        return self.own > 0 and not tradable(self.instrument, self.own, self.price)


@dataclass(frozen=True, slots=True)
class PairView:
    """What is proved about a pair.

    `open_delta_s`: how long the delta has been outside its tolerance; `tactics`: rungs of the first leg's ladder; `opened`: it was
    hedged once. `mispriced`: the first leg's resting order would not break even any more. `keep`: both legs are wanted down to this.
    `changed`: somebody else changed our share of a position.
    """

    state: PairState
    long: LegView
    short: LegView
    first_leg: Leg
    target: Decimal
    slice_quantity: Decimal
    tactics: int
    limits: ExecutionLimits
    orders_sent: int = 0
    open_delta_s: float = 0.0
    opening_s: float = 0.0
    may_enter: bool = True
    opened: bool = False
    mispriced: bool = False
    keep: Decimal | None = None
    changed: bool = False

    def leg(self, leg: Leg) -> LegView:
        """One side."""
        return self.long if leg is Leg.LONG else self.short

    @property
    def tolerance(self) -> Decimal:
        """One largest step of the two legs."""
        return max(self.long.instrument.step_size, self.short.instrument.step_size)

    @property
    def delta(self) -> Decimal:
        """Long minus short, base units."""
        return self.long.own - self.short.own

    @property
    def balanced(self) -> bool:
        """The delta is less than one largest step."""
        return abs(self.delta) < self.tolerance

    @property
    def flat(self) -> bool:
        """Neither leg holds anything."""
        return self.long.own == 0 and self.short.own == 0

    @property
    def idle(self) -> bool:
        """No order of ours may still change a position."""
        return not self.long.busy and not self.short.busy

    @property
    def spent(self) -> bool:
        """The order budget of this pair is used up."""
        return self.orders_sent >= self.limits.max_orders


@dataclass(frozen=True, slots=True)
class Send:
    """Send one order on a leg: add in the leg's direction, or reduce. `attempt` counts failures before it: how far to bend the price."""

    leg: Leg
    quantity: Decimal
    reduce: bool
    purpose: Purpose
    attempt: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Take the working order of a leg off the book."""

    leg: Leg


@dataclass(frozen=True, slots=True)
class Move:
    """Go to another state. CLOSED is only entered when both venues prove it (E7)."""

    state: PairState
    reason: str


class Pause(StrEnum):
    """WAIT: until something happens or a moment passes. REST: nothing to do in this state."""

    WAIT = "wait"
    REST = "rest"


Step = Send | Cancel | Move | Pause


def decide(view: PairView) -> list[Step]:
    """The steps to take now: a Move or Pause alone, or at most one Send or Cancel per leg."""
    if view.state in (PairState.OPENING, PairState.REPAIRING, PairState.CLOSING):
        for leg in Leg:
            if view.leg(leg).stuck:
                return [Move(PairState.ALERT, f"the outcome of an order on the {leg} leg stays unknown")]
    match view.state:
        case PairState.OPENING:
            return _opening(view)
        case PairState.REPAIRING:
            return _repairing(view)
        case PairState.CLOSING:
            return _closing(view)
        case PairState.HEDGED if view.idle:
            return [_hedged(view)]
        case _:
            return [Pause.REST]


def _hedged(view: PairView) -> Step:
    if not view.balanced:
        if view.changed and view.limits.external_policy is ExternalPolicy.ALERT:
            return Move(PairState.ALERT, f"externally changed: long {view.long.own}, short {view.short.own} remain")
        cause = "externally changed: " if view.changed else ""
        return Move(PairState.REPAIRING, f"{cause}delta {view.delta} is not less than one step of {view.tolerance}")
    alone = _alone(view)
    if alone is not None and _beyond_cap(view, alone) > 0:
        return Move(PairState.REPAIRING, f"the {alone.other} leg's venue is offline; by policy the {alone} leg is reduced")
    return Pause.REST


def _opening(view: PairView) -> list[Step]:
    lead_leg, follow_leg = view.first_leg, view.first_leg.other
    lead, follow = view.leg(lead_leg), view.leg(follow_leg)
    ahead = lead.own - follow.own
    off: list[Step] = [Cancel(lead_leg)] if lead.busy and (view.mispriced or not view.may_enter) else []
    if view.balanced:
        if not view.idle:
            return off or [Pause.WAIT]
        more = min(view.slice_quantity, floor_to(view.target - lead.own, lead.instrument.step_size))
        stop = _why_stop(view, more)
        return [_opened(view, stop) if stop else Send(lead_leg, more, False, Purpose.ENTRY, lead.add_failures)]
    if ahead < 0:
        return _stop_adding(view) or [Move(PairState.REPAIRING, f"the second leg is ahead by {-ahead}")]
    if follow.busy:
        return off or [Pause.WAIT]
    hedge = floor_to(ahead, follow.instrument.step_size)
    problem = _why_not_hedge(view, follow, hedge, lead_busy=lead.busy)
    if problem:
        return _stop_adding(view) or [Move(PairState.REPAIRING, f"{problem}: {ahead} is not hedged")]
    if not tradable(follow.instrument, hedge, follow.price):
        return off or [Pause.WAIT]
    return [*off, Send(follow_leg, hedge, False, Purpose.HEDGE, follow.add_failures)]


def _why_stop(view: PairView, more: Decimal) -> str:
    """Why the first leg gets no further order, or nothing."""
    lead, follow = view.leg(view.first_leg), view.leg(view.first_leg.other)
    if more <= 0:
        return "filled as planned"
    if not (tradable(lead.instrument, more, lead.price) and tradable(follow.instrument, more, follow.price)):
        return "the rest is below a minimum"
    if not view.may_enter:
        return "entries are blocked"
    if not (lead.usable and follow.usable):
        return "a venue is down"
    if view.opening_s >= view.limits.open_deadline_s:
        return "opening took too long"
    if lead.add_failures >= view.tactics:
        return "the first leg does not fill"
    return "order budget spent" if view.spent else ""


def _why_not_hedge(view: PairView, follow: LegView, hedge: Decimal, *, lead_busy: bool) -> str:
    """Why the second leg cannot follow any more, or nothing."""
    if view.open_delta_s >= view.limits.hedge_deadline_s:
        return "hedge deadline passed"
    if follow.add_failures >= view.limits.max_hedge_attempts:
        return "hedge attempts spent"
    if view.spent:
        return "order budget spent"
    if not follow.usable:
        return "the venue of the hedge is down"
    if not lead_busy and not tradable(follow.instrument, hedge, follow.price):
        return "the hedge is below a minimum"
    return ""


def _opened(view: PairView, why: str) -> Move:
    if view.flat:
        return Move(PairState.CLOSED, f"failed open: {why}")
    if view.long.small or view.short.small:
        return Move(PairState.CLOSING, f"opened too little to hold: {why}")
    return Move(PairState.HEDGED, why)


def _stop_adding(view: PairView) -> list[Step]:
    """Orders that add are taken off, then waited for; empty when no leg is busy."""
    if view.idle:
        return []
    return [Cancel(leg) for leg in Leg if view.leg(leg).adding] or [Pause.WAIT]


def _repairing(view: PairView) -> list[Step]:
    waiting = _stop_adding(view)
    if waiting:
        return waiting
    alone = _alone(view)
    if alone is not None and (view.balanced or view.leg(alone).own < view.leg(alone.other).own):
        return [_lighten(view, alone)]
    if view.balanced:
        if view.flat:
            return [Move(PairState.CLOSED, "ended flat" if view.opened else "failed open: ended flat")]
        if view.long.small or view.short.small:
            return [Move(PairState.CLOSING, "too little is left to hold")]
        return [_shrunk(view)]
    leg = Leg.LONG if view.delta > 0 else Leg.SHORT
    side = view.leg(leg)
    if side.reduce_failures > 0 and not tradable(side.instrument, abs(view.delta), side.price):
        return [Move(PairState.CLOSING, f"a delta of {view.delta} is too small to be traded alone")]
    return [_reduce(view, leg, abs(view.delta), Purpose.UNWIND)]


def _shrunk(view: PairView) -> Step:
    """Balanced: the next slice of a decided reduction of both legs, or back to rest."""
    lead = _lead(view)
    more = view.leg(lead).own - (view.leg(lead).own if view.keep is None else view.keep)
    if more < view.tolerance:
        return Move(PairState.HEDGED, "balanced" if view.keep is None else f"both legs reduced to {view.keep}")
    if not (view.long.usable and view.short.usable):
        return Pause.WAIT
    slices = (more / view.slice_quantity).to_integral_value(ROUND_CEILING)
    even = floor_to(more / slices, view.tolerance)
    return _reduce(view, lead, even if even > 0 else min(more, view.slice_quantity), Purpose.CLOSE)


def _lead(view: PairView) -> Leg:
    """Which leg goes first: the plan's, but a venue that refused everybody's orders lately has to show first that it takes them."""
    lead = view.first_leg if view.leg(view.first_leg).own > 0 else view.first_leg.other
    other = view.leg(lead.other)
    return lead.other if other.was_paused and other.own > 0 else lead


def _alone(view: PairView) -> Leg | None:
    """The leg that is treated as if it were the only one: by policy, after the other one's venue was not reached for too long."""
    if view.limits.offline_policy is not OfflinePolicy.REDUCE:
        return None
    gone = [leg for leg in Leg if not view.leg(leg).venue_up and view.leg(leg).offline_s >= view.limits.offline_reduce_s]
    return gone[0].other if len(gone) == 1 and view.leg(gone[0].other).usable else None


def _beyond_cap(view: PairView, alone: Leg) -> Decimal:
    """What a leg holds beyond what may stand naked."""
    side = view.leg(alone)
    allowed = Decimal(0) if not side.price else floor_to(view.limits.naked_cap_usd / side.price, view.tolerance)
    return max(side.own - allowed, Decimal(0))


def _lighten(view: PairView, alone: Leg) -> Step:
    more = _beyond_cap(view, alone)
    return _reduce(view, alone, min(more, view.slice_quantity), Purpose.UNWIND) if more > 0 else Pause.WAIT


def _closing(pair: PairView) -> list[Step]:
    view = replace(pair, long=_without_dust(pair.long, pair.limits), short=_without_dust(pair.short, pair.limits))
    if view.long.adding or view.short.adding:
        return _stop_adding(view)
    alone = _alone(view)
    if alone is not None and not view.flat and (view.balanced or view.leg(alone).own < view.leg(alone.other).own):
        return [Pause.WAIT] if view.leg(alone).busy else [_lighten(view, alone)]
    if not view.balanced:
        leg = Leg.LONG if view.delta > 0 else Leg.SHORT
        if view.leg(leg).busy or (
            view.leg(leg.other).busy and not tradable(view.leg(leg).instrument, abs(view.delta), view.leg(leg).price)
        ):
            return [Pause.WAIT]
        return [_reduce(view, leg, _excess(view, leg), Purpose.CLOSE)]
    if not view.idle:
        return [Pause.WAIT]
    if view.flat:
        dust = [f"{pair.leg(leg).own} on the {leg} leg" for leg in Leg if pair.leg(leg).own > 0]
        return [Move(PairState.CLOSED, f"dust below the venue's minimum: {', '.join(dust)}" if dust else "closed")]
    lead = _lead(view)
    both_up = view.long.usable and view.short.usable
    if not both_up and view.long.own > 0 and view.short.own > 0:
        return [Pause.WAIT]  # hedged while one venue is down: reducing only one leg would open the delta (E18)
    return [_reduce(view, lead, _piece(view, lead), Purpose.CLOSE)]


def _excess(view: PairView, leg: Leg) -> Decimal:
    """What the larger leg has too much of; with a slice on top where that alone is too small to be traded and has been tried."""
    side, excess = view.leg(leg), abs(view.delta)
    if side.reduce_failures > 0 and not tradable(side.instrument, excess, side.price):
        return min(side.own, excess + _piece(view, leg))
    return excess


def _without_dust(leg: LegView, limits: ExecutionLimits) -> LegView:
    """A rest that is too small to trade, and that the venue refused to close reduce-only, counts as nothing."""
    return replace(leg, own=Decimal(0)) if leg.small and leg.reduce_failures >= limits.max_reduce_attempts else leg


def _piece(view: PairView, lead: Leg) -> Decimal:
    """One slice of a leg. Where that leaves either leg a rest too small to trade: half of it, or all where halves are too small too."""
    side = view.leg(lead)

    def fits(piece: Decimal) -> bool:
        rests = ((leg, leg.own - piece) for leg in (view.long, view.short))
        return all(rest <= 0 or tradable(leg.instrument, rest, leg.price) for leg, rest in rests)

    if side.own <= view.slice_quantity:
        return side.own
    if fits(view.slice_quantity):
        return view.slice_quantity
    half = floor_to(side.own / 2, view.tolerance)
    whole = half <= 0 or not fits(half) or not all(tradable(leg.instrument, half, leg.price) for leg in (view.long, view.short))
    return side.own if whole else half


def _reduce(view: PairView, leg: Leg, quantity: Decimal, purpose: Purpose) -> Step:
    """One reducing order within what the leg holds, or ALERT when the bounded tries are used up (E20)."""
    side = view.leg(leg)
    exact = min(floor_to(quantity, side.instrument.step_size), side.own)
    if side.reduce_failures >= view.limits.max_reduce_attempts or view.spent or exact <= 0:
        why = "budget of orders spent" if view.spent else "cannot be reduced any further"
        return Move(PairState.ALERT, f"{leg} leg {why}: long {view.long.own}, short {view.short.own} remain")
    return Send(leg, exact, True, purpose, side.reduce_failures)
