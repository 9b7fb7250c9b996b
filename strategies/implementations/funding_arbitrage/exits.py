"""When to leave, as one pure function: rules in their order, with hysteresis, each with the figures it looked at.

Critical rules act at once. The others wait for the minimum hold, then, bounded, for a calm spread, for the break-even and for a settlement
that is about to pay. Whatever is unknown forces nothing and forgets nothing (PAINS 9).
"""

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from exchange_clients.model import NS_PER_HOUR, FundingRateSample, MarketStatus
from funding_rate_service.opportunity import FundingQuote, falls_due, judge_pair, pair_funding

from .config import FundingArbitrageConfig, RiskConfig
from .entry import NS_PER_MINUTE, filters

ENDING = frozenset({MarketStatus.REDUCE_ONLY, MarketStatus.DELISTED})
"""A market in these is about to go, or gone: what can still be closed is closed (PAINS 28)."""


class Alternative(msgspec.Struct, frozen=True):
    """The best pair that is not held. `blocked`: it cannot be had beside this one (same asset, no free place, no free balance)."""

    long: FundingQuote
    short: FundingQuote
    blocked: bool


class HoldView(msgspec.Struct, frozen=True, kw_only=True):
    """A held pair at one look. Rates per hour; amounts in USD; None is unknown.

    `pnl_if_closed`: unified result including the cost of closing now, which is `close_cost`. `liquidation_distance`: the nearer leg's, as
    fraction of its price. `imbalance`: delta over the larger leg. `long`, `short`: the running rates, where they are believed.
    `spread`: the wider of the two. `rotations`: exits for better pairs within 24 h.
    """

    now_ns: int = 0
    age_hours: Decimal
    notional_usd: Decimal
    entry_edge_hourly: Decimal
    edge_hourly: Decimal | None
    pnl_if_closed: Decimal | None
    liquidation_distance: Decimal | None
    settlements_seen: int
    close_cost: Decimal | None = None
    imbalance: Decimal = Decimal(0)
    spread: Decimal | None = None
    long: FundingRateSample | None = None
    short: FundingRateSample | None = None
    long_status: MarketStatus = MarketStatus.ACTIVE
    short_status: MarketStatus = MarketStatus.ACTIVE
    long_ends_ns: int | None = None
    short_ends_ns: int | None = None
    alternative: Alternative | None = None
    rotations: int = 0
    doubt: str = ""
    """Why a rate is unknown."""


class HoldMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What rules with hysteresis remember between looks: looks in a row, and since when an exit that is due waits.

    `intervals`: hours between settlements of both legs when last looked at.
    """

    flips: int = 0
    erosions: int = 0
    imbalances: int = 0
    due_ns: int | None = None
    intervals: tuple[Decimal, Decimal] | None = None


class Exit(msgspec.Struct, frozen=True):
    """Leave, by this rule."""

    rule: str
    detail: str
    critical: bool


class HoldVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: "exit" or "hold". A hold whose `rule` is "wait" has an exit that is due and a reason to wait. `memory` is for the next look.

    `hold_value`: what funding brings until the horizon or the age limit at present rates, USD; None when a rate is unknown.
    """

    kind: str
    rule: str
    detail: str
    memory: HoldMemory
    critical: bool = False
    hold_value: Decimal | None = None


def judge(view: HoldView, memory: HoldMemory, config: FundingArbitrageConfig) -> HoldVerdict:
    """The first rule that says leave, unless it may wait; and what to remember."""
    risk = config.risk_config
    memory = _remember(view, memory, risk)
    value = hold_value(view, config)
    critical = next(_critical(view, memory, risk), None)
    if critical is not None:
        found = HoldVerdict(kind="exit", rule=critical.rule, detail=critical.detail, memory=memory, critical=True, hold_value=value)
        return msgspec.structs.replace(found, memory=msgspec.structs.replace(memory, due_ns=None))
    notes: list[str] = []
    due = next(_patient(view, memory, config, value, notes), None)
    if due is None:
        kept = "; ".join(notes) or ("no rule says leave" + (f"; {view.doubt}" if view.doubt else ""))
        rule = "outweighed" if notes else "none"
        blind = view.edge_hourly is None or view.pnl_if_closed is None  # then nobody knows whether it is still due
        memory = msgspec.structs.replace(memory, due_ns=memory.due_ns if blind else None)
        return HoldVerdict(kind="hold", rule=rule, detail=kept, memory=memory, hold_value=value)
    if not due.critical:
        since = view.now_ns if memory.due_ns is None else memory.due_ns
        waits = list(_waits(view, config, since))
        if waits:
            memory = msgspec.structs.replace(memory, due_ns=since)
            return HoldVerdict(kind="hold", rule="wait", detail=f"{due.rule} is due; {'; '.join(waits)}", memory=memory, hold_value=value)
    memory = msgspec.structs.replace(memory, due_ns=None)
    return HoldVerdict(kind="exit", rule=due.rule, detail=due.detail, memory=memory, critical=due.critical, hold_value=value)


def hold_value(view: HoldView, config: FundingArbitrageConfig) -> Decimal | None:
    """What holding on is worth: the settlements that fall due until the horizon or the age limit, at present rates. Costs of leaving come
    now or then."""
    if view.long is None or view.short is None:
        return None
    hours = max(Decimal(0), min(config.profitability_horizon_hours, config.risk_config.max_position_age_hours - view.age_hours))
    return pair_funding(view.long, view.short, view.now_ns, hours) * view.notional_usd


def _remember(view: HoldView, memory: HoldMemory, risk: RiskConfig) -> HoldMemory:
    """Counts stop at what they are compared with; an unknown edge leaves them as they are."""
    edge = view.edge_hourly
    flips, erosions = memory.flips, memory.erosions
    if edge is not None:
        flips = min(flips + 1, risk.flip_confirmations) if edge < -risk.flip_margin else 0
        eroded = edge < view.entry_edge_hourly * risk.min_erosion_threshold
        erosions = min(erosions + 1, risk.erosion_confirmations) if eroded else 0
    imbalances = min(memory.imbalances + 1, risk.imbalance_confirmations) if view.imbalance > 0 else 0
    intervals = memory.intervals
    if view.long is not None and view.short is not None:
        intervals = view.long.interval_hours, view.short.interval_hours
    return HoldMemory(flips=flips, erosions=erosions, imbalances=imbalances, due_ns=memory.due_ns, intervals=intervals)


def _critical(view: HoldView, memory: HoldMemory, risk: RiskConfig) -> Iterator[Exit]:
    distance, least = view.liquidation_distance, risk.min_liquidation_distance_pct
    if risk.enable_liquidation_prevention and distance is not None and distance < least:
        yield Exit("liquidation_distance", f"{distance:.4f} is below {least}", True)
    if memory.imbalances >= risk.imbalance_confirmations:
        yield Exit("imbalance", f"{view.imbalance:.4f} of the larger leg is not hedged, {memory.imbalances} looks in a row", True)
    if risk.stop_loss_pct is not None and view.pnl_if_closed is not None and view.notional_usd > 0:
        loss = -view.pnl_if_closed / view.notional_usd
        if loss >= risk.stop_loss_pct:
            yield Exit("stop_loss", f"closing now loses {loss:.5f} of the notional, limit {risk.stop_loss_pct}", True)
    for leg, status, ends_ns in (("long", view.long_status, view.long_ends_ns), ("short", view.short_status, view.short_ends_ns)):
        if status in ENDING:
            yield Exit("delisting", f"the market of the {leg} leg is {status}", True)
        elif ends_ns is not None and ends_ns - view.now_ns <= int(risk.delisting_exit_hours * NS_PER_HOUR):
            left = Decimal(ends_ns - view.now_ns) / NS_PER_HOUR
            yield Exit("delisting", f"the market of the {leg} leg ends in {left:.2f} h, limit {risk.delisting_exit_hours}", True)


def _patient(view: HoldView, memory: HoldMemory, config: FundingArbitrageConfig, value: Decimal | None, notes: list[str]) -> Iterator[Exit]:
    risk = config.risk_config
    if view.age_hours < risk.min_hold_hours:
        return
    combined = risk.strategy == "combined"
    if combined or risk.strategy == "funding_flip":
        yield from _funding(view, memory, risk, value, notes)
    target = risk.profit_target_pct
    if target is not None and view.pnl_if_closed is not None and view.notional_usd > 0 and (combined or risk.strategy == "profit_target"):
        gain = view.pnl_if_closed / view.notional_usd
        if gain >= target:
            yield Exit("profit_target", f"closing now gains {gain:.5f} of the notional, target {target}", False)
    if combined and risk.enable_better_opportunity:
        yield from _better(view, config)
    if view.age_hours >= risk.max_position_age_hours and (combined or risk.strategy == "time_based"):
        yield Exit("age", f"{view.age_hours:.2f} h, limit {risk.max_position_age_hours}", False)


def _funding(view: HoldView, memory: HoldMemory, risk: RiskConfig, value: Decimal | None, notes: list[str]) -> Iterator[Exit]:
    edge = view.edge_hourly
    if edge is None:
        return
    if memory.flips >= risk.flip_confirmations:
        yield Exit("funding_flip", f"edge {edge:.8f} per hour, {memory.flips} looks in a row below -{risk.flip_margin}", False)
    if memory.erosions < risk.erosion_confirmations:
        return
    share = edge / view.entry_edge_hourly if view.entry_edge_hourly > 0 else Decimal(0)
    looks = f"{memory.erosions} looks in a row"
    if share < risk.severe_erosion_ratio:
        yield Exit("severe_erosion", f"edge is {share:.3f} of the edge at entry, limit {risk.severe_erosion_ratio}, {looks}", True)
    elif value is not None and view.pnl_if_closed is not None and view.pnl_if_closed < 0 <= view.pnl_if_closed + value:
        notes.append(
            f"edge is {share:.3f} of the edge at entry, but closing now loses {-view.pnl_if_closed:.4f}"
            f" and holding is expected to bring {value:.4f}"
        )
    else:
        yield Exit("erosion", f"edge is {share:.3f} of the edge at entry, limit {risk.min_erosion_threshold}, {looks}", False)


def _better(view: HoldView, config: FundingArbitrageConfig) -> Iterator[Exit]:
    """Another pair is better after leaving this one and entering that one, and cannot be had beside it."""
    other, hours = view.alternative, config.profitability_horizon_hours
    if other is None or not other.blocked or view.long is None or view.short is None or view.close_cost is None or view.notional_usd <= 0:
        return
    if view.rotations >= config.risk_config.max_rotations_per_day:
        return
    rules, edge = judge_pair(other.long, other.short, filters(config), view.now_ns)
    if rules or edge is None:
        return
    here = pair_funding(view.long, view.short, view.now_ns, hours)
    gain = edge.horizon.net - here - view.close_cost / view.notional_usd
    if gain >= config.risk_config.min_profit_improvement:
        name = f"{other.long.instrument.base} long {other.long.instrument.venue} short {other.short.instrument.venue}"
        detail = (
            f"{name} is better by {gain:.6f} over {hours} h after closing and opening, wanted {config.risk_config.min_profit_improvement}"
        )
        yield Exit("better_opportunity", detail, False)


def _waits(view: HoldView, config: FundingArbitrageConfig, since_ns: int) -> Iterator[str]:
    """Why an exit that is due and not critical may wait a little."""
    minutes = config.settlement_guard_minutes
    if view.long is not None and view.short is not None:
        due = falls_due(view.long, view.short, view.now_ns, minutes / 60)
        if due > 0:
            yield f"{due:.8f} of the notional falls due to us within {minutes} minutes"
    if not config.enable_exit_polling or view.now_ns - since_ns >= int(config.exit_polling_max_duration_minutes * NS_PER_MINUTE):
        return
    limit = config.max_spread_threshold_pct
    if config.enable_wide_spread_protection and view.spread is not None and view.spread > limit:
        yield f"a spread of {view.spread:.6f} is above {limit}"
    if config.enable_break_even_alignment and view.pnl_if_closed is not None and view.pnl_if_closed < 0:
        yield f"closing now loses {-view.pnl_if_closed:.4f}"
