"""When to leave, as one pure function: rules in their order, with hysteresis, each with the figures it looked at."""

from decimal import Decimal

import msgspec

from .config import RiskConfig


class HoldView(msgspec.Struct, frozen=True, kw_only=True):
    """A held pair at one look. Rates per hour; amounts in USD; None is unknown.

    `pnl_if_closed`: unified result including the cost of closing now. `liquidation_distance`: the nearer leg's, as fraction of its price.
    """

    age_hours: Decimal
    notional_usd: Decimal
    entry_edge_hourly: Decimal
    edge_hourly: Decimal | None
    pnl_if_closed: Decimal | None
    liquidation_distance: Decimal | None
    settlements_seen: int


class HoldMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What rules with hysteresis remember between looks."""

    flips: int = 0
    erosions: int = 0


class Exit(msgspec.Struct, frozen=True):
    """Leave, by this rule."""

    rule: str
    detail: str
    critical: bool


def judge(view: HoldView, memory: HoldMemory, config: RiskConfig) -> tuple[Exit | None, HoldMemory]:
    """The first rule that says leave, and what to remember. A missing figure never forces an exit and never resets a count (PAINS 9)."""
    edge = view.edge_hourly
    if edge is not None:
        memory = HoldMemory(
            flips=memory.flips + 1 if edge < -config.flip_margin else 0,
            erosions=memory.erosions + 1 if edge < view.entry_edge_hourly * config.min_erosion_threshold else 0,
        )
    for found in (_critical(view, config), _patient(view, memory, config)):
        if found is not None:
            return found, memory
    return None, memory


def _critical(view: HoldView, config: RiskConfig) -> Exit | None:
    distance = view.liquidation_distance
    if config.enable_liquidation_prevention and distance is not None and distance < config.min_liquidation_distance_pct / 2:
        return Exit("liquidation_distance", f"{distance:.4f} is below half of {config.min_liquidation_distance_pct}", True)
    if config.stop_loss_pct is not None and view.pnl_if_closed is not None and view.notional_usd > 0:
        loss = -view.pnl_if_closed / view.notional_usd
        if loss >= config.stop_loss_pct:
            return Exit("stop_loss", f"closing now loses {loss:.5f} of the notional, limit {config.stop_loss_pct}", True)
    return None


def _patient(view: HoldView, memory: HoldMemory, config: RiskConfig) -> Exit | None:
    combined = config.strategy == "combined"
    if view.age_hours >= config.max_position_age_hours and (combined or config.strategy == "time_based"):
        return Exit("age", f"{view.age_hours:.2f} h, limit {config.max_position_age_hours}", False)
    if view.age_hours < config.min_hold_hours:
        return None
    if combined or config.strategy == "funding_flip":
        found = _funding(view, memory, config)
        if found is not None:
            return found
    target = config.profit_target_pct
    known = view.pnl_if_closed is not None and view.notional_usd > 0
    if target is not None and view.pnl_if_closed is not None and known and (combined or config.strategy == "profit_target"):
        gain = view.pnl_if_closed / view.notional_usd
        if gain >= target:
            return Exit("profit_target", f"closing now gains {gain:.5f} of the notional, target {target}", False)
    return None


def _funding(view: HoldView, memory: HoldMemory, config: RiskConfig) -> Exit | None:
    edge = view.edge_hourly
    if edge is None:
        return None
    if memory.flips >= config.flip_confirmations:
        return Exit("funding_flip", f"edge {edge:.8f} per hour, {memory.flips} looks in a row below -{config.flip_margin}", False)
    if memory.erosions >= config.erosion_confirmations:
        share = edge / view.entry_edge_hourly if view.entry_edge_hourly > 0 else Decimal(0)
        severe = share < config.severe_erosion_ratio
        rule, limit = ("severe_erosion", config.severe_erosion_ratio) if severe else ("erosion", config.min_erosion_threshold)
        return Exit(rule, f"edge is {share:.3f} of the edge at entry, limit {limit}, {memory.erosions} looks in a row", severe)
    return None
