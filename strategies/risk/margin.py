"""What a move of the price does to every account that holds something: equity, maintenance, who is liquidated first, and what to do. Pure.

A move is a fraction of the price: 0.1 is ten percent up. Cross positions of a venue stand behind each other; an isolated one stands alone.
A position is held to the maintenance fraction of its whole size's tier (venues that count tier by tier ask for less), and an account to the
venue's own figure where that is more.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from exchange_clients.model import ZERO, AccountState, Instrument, LeverageInfo, MarginMode, Position
from strategies.execution.lots import floor_to

from .limits import RiskLimits

MOVES = tuple(Decimal(m) / 100 for m in (-50, -40, -30, -20, -15, -10, -5, 0, 5, 10, 15, 20, 30, 40, 50, 75, 100))
FARTHEST_UP = Decimal(10)
_OUTWARD = tuple(Decimal(m) / 100 for m in (0, 1, 2, 3, 5, 7, 10, 13, 16, 20, 25, 30, 40, 50, 60, 70, 80, 90, 95, 99))
_BISECTIONS = 30
_CENT = Decimal("0.01")


class Tier(msgspec.Struct, frozen=True):
    """From this notional (USD) on, this maintenance fraction."""

    notional: Decimal
    maintenance: Decimal


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """One position. `equity`: what stands behind an isolated one alone, at `mark`; None: cross. `liquidation_price`: the venue's word."""

    venue: str
    instrument: str
    base: str
    quantity: Decimal
    mark: Decimal
    tiers: tuple[Tier, ...]
    equity: Decimal | None = None
    liquidation_price: Decimal | None = None

    def maintenance(self, price: Decimal) -> Decimal:
        """Needed at a price."""
        notional = abs(self.quantity) * price
        rate = self.tiers[0].maintenance
        for tier in self.tiers:
            if notional >= tier.notional:
                rate = tier.maintenance
        return notional * rate


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One venue: equity behind its cross positions, and everything it holds, whoever's it is."""

    venue: str
    equity: Decimal
    available: Decimal
    held: tuple[Held, ...]
    factor: Decimal = Decimal(1)
    """The venue's own maintenance over ours, where that is more than one."""

    @property
    def cross(self) -> tuple[Held, ...]:
        """Positions that stand behind each other."""
        return tuple(h for h in self.held if h.equity is None)

    def of(self, instrument: str) -> Held | None:
        """The position in a market."""
        return next((h for h in self.held if h.instrument == instrument), None)

    def reduced(self, instrument: str, quantity: Decimal) -> "Account":
        """As if so much of a position had been closed at its mark. An isolated position frees its share of margin."""
        held, freed = [], ZERO
        for one in self.held:
            if one.instrument == instrument:
                left = max(abs(one.quantity) - quantity, ZERO) * (1 if one.quantity > 0 else -1)
                kept = None if one.equity is None else one.equity * left / one.quantity
                freed = ZERO if one.equity is None or kept is None else one.equity - kept
                one = msgspec.structs.replace(one, quantity=left, equity=kept)
            if one.quantity:
                held.append(one)
        return msgspec.structs.replace(self, equity=self.equity + freed, available=self.available + freed, held=tuple(held))


class Missing(Exception):
    """A figure that the forecast needs is not known; the message says which."""


def account(
    venue: str,
    state: AccountState | None,
    positions: Iterable[Position],
    instruments: Callable[[Position], Instrument],
    leverage: Mapping[str, LeverageInfo],
    marks: Callable[[str], Decimal | None],
) -> Account:
    """From what a venue tells. Raises Missing."""
    if state is None or state.equity is None:
        raise Missing(f"{venue} tells no equity")
    held = []
    for position in positions:
        instrument = instruments(position)
        name = str(instrument.id)
        mark = position.mark_price or marks(name)
        if mark is None or mark <= 0:
            raise Missing(f"{name} has no mark")
        if instrument.id.inverse:
            raise Missing(f"{name} is inverse")
        tiers = tiers_of(instrument, leverage.get(name))
        one = Held(
            venue=venue,
            instrument=name,
            base=instrument.id.base,
            quantity=position.quantity,
            mark=mark,
            tiers=tiers,
            liquidation_price=position.liquidation_price if position.liquidation_price and position.liquidation_price > 0 else None,
        )
        if position.margin_mode is MarginMode.ISOLATED or instrument.only_isolated:
            one = msgspec.structs.replace(one, equity=_isolated(one, position))
        held.append(one)
    behind = state.equity - sum((h.equity for h in held if h.equity is not None), ZERO)
    built = Account(venue=venue, equity=behind, available=state.available or ZERO, held=tuple(held))
    ours = sum((h.maintenance(h.mark) for h in built.held), ZERO)
    if state.maintenance_margin is not None and ours > 0 and state.maintenance_margin > ours:
        built = msgspec.structs.replace(built, factor=state.maintenance_margin / ours)
    return _calibrated(built)


def _calibrated(built: Account) -> Account:
    """Where a venue liquidates a cross position earlier than we reckon, it sees less behind it: as much less as explains its price."""
    cross = msgspec.structs.replace(built, held=built.cross)
    excess = ZERO
    for held in cross.held:
        price = held.liquidation_price
        if price is not None and price / held.mark - 1 <= FARTHEST_UP:
            told = after(cross, price / held.mark - 1, held.base)
            excess = max(excess, told.equity - told.maintenance)
    return msgspec.structs.replace(built, equity=built.equity - excess)


def tiers_of(instrument: Instrument, leverage: LeverageInfo | None) -> tuple[Tier, ...]:
    """The maintenance fraction grows as the venue's maximum leverage falls from tier to tier; one where it names none. Raises Missing."""
    base = instrument.maintenance_margin
    if base is None and leverage is not None:
        base = leverage.maintenance_margin
    if base is None:
        raise Missing(f"{instrument.id.venue} does not say the maintenance margin of {instrument.id}")
    brackets = () if leverage is None else leverage.brackets
    if not brackets or brackets[0][1] <= 0:
        return (Tier(ZERO, base),)
    first = brackets[0][1]
    return tuple(Tier(notional, base * first / most) for notional, most in brackets if most > 0)


def _isolated(held: Held, position: Position) -> Decimal:
    """What stands behind an isolated position: read back from the venue's liquidation price, else its margin. Raises Missing."""
    price = held.liquidation_price
    if price is not None:
        return held.maintenance(price) - held.quantity * (price - held.mark)
    if position.margin_used is None:
        raise Missing(f"{held.instrument} is isolated and the venue does not say its margin")
    return position.margin_used


# ---- the forecast


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One venue after a move. `liquidated`: markets whose account would be below maintenance."""

    venue: str
    equity: Decimal
    maintenance: Decimal
    liquidated: tuple[str, ...]


def after(account_: Account, move: Decimal, base: str | None) -> Outcome:
    """The venue when the price of `base` (None: of everything) has moved."""
    equity, needed, gone = account_.equity, ZERO, []
    total_equity, total_needed = account_.equity, ZERO
    for held in account_.held:
        price = held.mark * (1 + (move if base in (None, held.base) else ZERO))
        gain, maintenance = held.quantity * (price - held.mark), held.maintenance(price) * account_.factor
        if held.equity is None:
            equity += gain
            needed += maintenance
            total_equity += gain
        else:
            total_equity += held.equity + gain
            if held.equity + gain < maintenance:
                gone.append(held.instrument)
        total_needed += maintenance
    if account_.cross and equity < needed:
        gone += [h.instrument for h in account_.cross]
    return Outcome(venue=account_.venue, equity=total_equity, maintenance=total_needed, liquidated=tuple(gone))


def distance(account_: Account, instrument: str, *, up: bool) -> Decimal | None:
    """How far the price of a market may move in one direction before that position is liquidated; None: it never is within reach."""
    held = account_.of(instrument)
    if held is None:
        return None
    return _reach(lambda move: instrument in after(account_, move if up else -move, held.base).liquidated, FARTHEST_UP if up else None)


def nearest(account_: Account, instrument: str) -> Decimal | None:
    """The nearer of the two directions."""
    ways = [d for d in (distance(account_, instrument, up=up) for up in (False, True)) if d is not None]
    return min(ways, default=None)


def _reach(liquidated: Callable[[Decimal], bool], farthest: Decimal | None) -> Decimal | None:
    """The smallest move that liquidates, to about a thousandth of a percent; None when not even the farthest does."""
    steps = [*_OUTWARD, *([Decimal(m) for m in range(1, int(farthest) + 1)] if farthest is not None else [])]
    low = ZERO
    for step in steps:
        if liquidated(step):
            high = step
            break
        low = step
    else:
        return None
    for _ in range(_BISECTIONS):
        if high - low < Decimal("0.00001"):
            break
        middle = (low + high) / 2
        low, high = (low, middle) if liquidated(middle) else (middle, high)
    return low


class StressRow(msgspec.Struct, frozen=True, kw_only=True):
    """One move, all venues."""

    move: Decimal
    venues: tuple[Outcome, ...]

    @property
    def total(self) -> Decimal:
        """Equity of all venues together."""
        return sum((v.equity for v in self.venues), ZERO)


class LegStress(msgspec.Struct, frozen=True, kw_only=True):
    """One position: where it is liquidated. Prices and distances None: not within reach. `venue_price`: the venue's own word."""

    venue: str
    instrument: str
    quantity: Decimal
    mark: Decimal
    down: Decimal | None
    up: Decimal | None
    venue_price: Decimal | None

    @property
    def nearest(self) -> Decimal | None:
        """The nearer distance."""
        return min((d for d in (self.down, self.up) if d is not None), default=None)

    @property
    def price(self) -> Decimal | None:
        """The nearer liquidation price."""
        if self.down is not None and (self.up is None or self.down <= self.up):
            return self.mark * (1 - self.down)
        return None if self.up is None else self.mark * (1 + self.up)


class Stress(msgspec.Struct, frozen=True, kw_only=True):
    """The whole table for moves of one base (None: of everything together)."""

    base: str | None
    rows: tuple[StressRow, ...]
    legs: tuple[LegStress, ...]

    @property
    def breaks_first(self) -> LegStress | None:
        """The position that is liquidated by the smallest move; None when none is."""
        near = [(leg.nearest, leg) for leg in self.legs if leg.nearest is not None]
        return min(near, key=lambda found: (found[0], found[1].venue))[1] if near else None


def stress(accounts: Sequence[Account], base: str | None = None, moves: Sequence[Decimal] = MOVES) -> Stress:
    """The table."""
    legs = []
    for one in accounts:
        for held in one.held:
            if base is None or held.base == base:
                down, up = distance(one, held.instrument, up=False), distance(one, held.instrument, up=True)
                legs.append(
                    LegStress(
                        venue=one.venue,
                        instrument=held.instrument,
                        quantity=held.quantity,
                        mark=held.mark,
                        down=down,
                        up=up,
                        venue_price=held.liquidation_price,
                    )
                )
    rows = tuple(StressRow(move=move, venues=tuple(after(one, move, base) for one in accounts)) for move in moves)
    return Stress(base=base, rows=rows, legs=tuple(legs))


# ---- what to do


class Do(StrEnum):
    """In rising order of weight."""

    NONE = "none"
    WARN = "warn"
    ADD_MARGIN = "add_margin"
    SHRINK = "shrink"
    CLOSE = "close"


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """For one pair. `quantity`: what both legs are reduced by. `usd`: to the isolated position on `venue`, or to be transferred there."""

    do: Do
    detail: str
    venue: str = ""
    instrument: str = ""
    distance: Decimal | None = None
    quantity: Decimal = ZERO
    usd: Decimal = ZERO


class PairLegs(msgspec.Struct, frozen=True, kw_only=True):
    """What a pair holds: (venue, instrument, own absolute quantity) per leg, its common step, and what must be left to be closable."""

    legs: tuple[tuple[str, str, Decimal], ...]
    step: Decimal
    smallest: Decimal


def advise(pair: PairLegs, accounts: Mapping[str, Account], limits: RiskLimits) -> Advice:
    """What the nearer leg's distance to liquidation asks for. Leverage is shifted where that is possible at once (isolated margin from free
    collateral of the same venue); a cross account needs a transfer, which only a human can do: it is told, and the pair is made smaller."""
    near = [(d, venue, name) for venue, name, _ in pair.legs if (d := nearest(accounts[venue], name)) is not None]
    if not near:
        return Advice(do=Do.NONE, detail="no leg is liquidated within reach")
    away, venue, instrument = min(near)
    told = f"{instrument} is {away:.4f} from liquidation"
    if away >= limits.warn_liquidation_distance:
        return Advice(do=Do.NONE, detail=told, venue=venue, instrument=instrument, distance=away)
    missing = needed(accounts[venue], instrument, limits.target_liquidation_distance)
    target = f"{missing:.2f} USD more there would bring {limits.target_liquidation_distance}"

    def say(do: Do, detail: str, *, usd: Decimal = ZERO, quantity: Decimal = ZERO) -> Advice:
        return Advice(do=do, detail=detail, venue=venue, instrument=instrument, distance=away, usd=usd, quantity=quantity)

    if away >= limits.shrink_liquidation_distance:
        return say(Do.WARN, f"{told}, below warn_liquidation_distance {limits.warn_liquidation_distance}; {target}", usd=missing)
    if away < limits.close_liquidation_distance:
        return say(Do.CLOSE, f"{told}, below close_liquidation_distance {limits.close_liquidation_distance}")
    why = f"{told}, below shrink_liquidation_distance {limits.shrink_liquidation_distance}"
    held = accounts[venue].of(instrument)
    if held is not None and held.equity is not None and missing <= accounts[venue].available * limits.isolated_share:
        return say(Do.ADD_MARGIN, f"{why}; {missing:.2f} USD of free collateral go to it", usd=missing)
    size = min(quantity for _, _, quantity in pair.legs)
    less = shrink(pair, accounts, limits)
    if less is None or size - less < pair.smallest:
        return say(Do.CLOSE, f"{why}; what could be left is too small to hold")
    return say(Do.SHRINK, f"{why}; both legs by {less}; {target}", usd=missing, quantity=less)


def needed(account_: Account, instrument: str, target: Decimal) -> Decimal:
    """USD that must be added behind a position to bring its distance to the target, rounded up to a cent."""
    held = account_.of(instrument)
    if held is None:
        return ZERO
    worst = ZERO
    for up in (False, True):
        move = target if up else -target
        price = held.mark * (1 + move)
        if held.equity is not None:
            lacking = held.maintenance(price) * account_.factor - held.equity - held.quantity * (price - held.mark)
        else:
            ahead = msgspec.structs.replace(account_, held=account_.cross)
            told = after(ahead, move, held.base)
            lacking = told.maintenance - told.equity
        worst = max(worst, lacking)
    return worst.quantize(_CENT, "ROUND_CEILING")


def shrink(pair: PairLegs, accounts: Mapping[str, Account], limits: RiskLimits) -> Decimal | None:
    """The smallest quantity, in common steps, by which both legs must be reduced until each is at the target; None: all is not enough.

    Reducing an isolated leg changes no distance, but frees margin, which the next look can put behind what is left.
    """
    high = int(min(quantity for _, _, quantity in pair.legs) / pair.step)

    def enough(steps: int) -> bool:
        left = dict(accounts)
        for venue, name, _ in pair.legs:
            left[venue] = left[venue].reduced(name, steps * pair.step)
        return all(_within(left[venue], name, limits) for venue, name, _ in pair.legs)

    if high < 1 or not enough(high):
        return None
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return floor_to(high * pair.step, pair.step)


def _within(account_: Account, instrument: str, limits: RiskLimits) -> bool:
    """At the target, or able to be brought there by margin that is free."""
    away, held = nearest(account_, instrument), account_.of(instrument)
    if away is None or away >= limits.target_liquidation_distance:
        return True
    able = held is not None and held.equity is not None
    return able and needed(account_, instrument, limits.target_liquidation_distance) <= account_.available * limits.isolated_share
