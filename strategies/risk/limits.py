"""What a bot may risk: the `risk:` section of its configuration. Every field says its unit and which direction protects more.

`tighter` in a field's extra data: "lower" or "higher" is the direction that protects more; "none" is no protection and may change freely.
None as a value means no limit, the loosest of all.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

LOWER: dict[str, Any] = {"tighter": "lower"}
HIGHER: dict[str, Any] = {"tighter": "higher"}


class MarginPolicy(StrEnum):
    """What the margin watch may do. WARN: say it. ACT: move isolated margin, shrink both legs in lock-step, close."""

    OFF = "off"
    WARN = "warn"
    ACT = "act"


_STRICTNESS: dict[StrEnum, int] = {MarginPolicy.OFF: 0, MarginPolicy.WARN: 1, MarginPolicy.ACT: 2}


class RiskLimits(BaseModel):
    """Limits of one bot on one account. Amounts in USD (stablecoins one to one), fractions as fractions, times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_order_usd: Decimal | None = Field(default=Decimal(25_000), gt=0, json_schema_extra=LOWER, description="worth of one adding order")
    max_orders_per_second: float = Field(
        default=5.0, gt=0, json_schema_extra=LOWER, description="adding orders of this bot, over one second"
    )
    max_venue_exposure_usd: Decimal | None = Field(
        default=Decimal(100_000),
        gt=0,
        json_schema_extra=LOWER,
        description="absolute worth of own positions and adding orders on one venue",
    )
    max_total_exposure_usd: Decimal | None = Field(
        default=Decimal(200_000), gt=0, json_schema_extra=LOWER, description="the same over all venues; both legs of a pair count"
    )
    max_naked_usd: Decimal | None = Field(
        default=Decimal(5_000), gt=0, json_schema_extra=LOWER, description="unhedged worth over all pairs; more of it blocks entries"
    )
    max_daily_loss_usd: Decimal | None = Field(
        default=Decimal(1_000),
        gt=0,
        json_schema_extra=LOWER,
        description="loss of this bot since 00:00 UTC, unrealised included; then it halts",
    )
    max_failed_opens: int = Field(default=3, ge=1, json_schema_extra=LOWER, description="failed opens in a row, then entries pause")
    failed_open_pause_s: float = Field(
        default=1_800.0, ge=0, json_schema_extra=HIGHER, description="how long they pause after the last of them"
    )
    max_clock_skew_s: float = Field(default=0.5, gt=0, json_schema_extra=LOWER, description="distance of our clock from the venue's")
    max_loop_lag_s: float = Field(
        default=0.1, gt=0, json_schema_extra=LOWER, description="lateness of the event loop in the last five seconds"
    )
    max_data_age_s: float = Field(
        default=20.0, gt=0, json_schema_extra=LOWER, description="age of account, positions and marks that limits use"
    )
    max_margin_use: Decimal | None = Field(
        default=Decimal("0.9"),
        gt=0,
        le=1,
        json_schema_extra=LOWER,
        description="share of a venue's equity bound as margin, after the order",
    )
    max_quote_divergence: Decimal | None = Field(
        default=None,
        gt=0,
        lt=1,
        json_schema_extra=LOWER,
        description="distance of the quote assets of two legs (USDC, USDT) from each other",
    )
    max_mark_index_divergence: Decimal | None = Field(
        default=None, gt=0, lt=1, json_schema_extra=LOWER, description="distance of a market's mark from its index"
    )

    breaker_failures: int = Field(default=5, ge=1, json_schema_extra=LOWER, description="failures in a row that stop entries on a venue")
    breaker_unknown: int = Field(default=3, ge=1, json_schema_extra=LOWER, description="orders of unknown outcome in the window that do")
    breaker_error_rate: Decimal = Field(
        default=Decimal("0.5"), gt=0, le=1, json_schema_extra=LOWER, description="share of failures that does"
    )
    breaker_samples: int = Field(
        default=10, ge=1, json_schema_extra=LOWER, description="answers in the window before a share means anything"
    )
    breaker_window_s: float = Field(default=60.0, gt=0, json_schema_extra=HIGHER, description="the window")
    breaker_pause_s: float = Field(
        default=60.0, gt=0, json_schema_extra=HIGHER, description="how long entries stop, doubled each time in a row"
    )
    breaker_max_pause_s: float = Field(default=3_600.0, gt=0, json_schema_extra=HIGHER, description="the longest of these pauses")
    liquidation_pause_s: float = Field(
        default=3_600.0, ge=0, json_schema_extra=HIGHER, description="no entry on a venue after it closed a position"
    )

    margin_policy: MarginPolicy = Field(default=MarginPolicy.ACT, json_schema_extra=HIGHER, description="off, warn or act")
    warn_liquidation_distance: Decimal = Field(
        default=Decimal("0.14"), gt=0, lt=1, json_schema_extra=HIGHER, description="price move to liquidation that is told"
    )
    shrink_liquidation_distance: Decimal = Field(
        default=Decimal("0.12"), gt=0, lt=1, json_schema_extra=HIGHER, description="below it margin is added, or both legs are reduced"
    )
    target_liquidation_distance: Decimal = Field(
        default=Decimal("0.15"), gt=0, lt=1, json_schema_extra=HIGHER, description="what these actions bring back"
    )
    close_liquidation_distance: Decimal = Field(
        default=Decimal("0.05"), gt=0, lt=1, json_schema_extra=HIGHER, description="below it the pair is closed"
    )
    isolated_share: Decimal = Field(
        default=Decimal("0.5"),
        ge=0,
        le=1,
        json_schema_extra=LOWER,
        description="of the available collateral, what may be moved to an isolated position",
    )

    dead_man_s: float | None = Field(
        default=60.0,
        ge=5,
        json_schema_extra=LOWER,
        description="venue-side cancel-all after silence, while only own entry orders rest; null: never armed",
    )
    check_s: float = Field(default=5.0, gt=0, json_schema_extra=LOWER, description="how often venues are asked for the figures")

    @model_validator(mode="after")
    def _ordered(self) -> "RiskLimits":
        if not self.close_liquidation_distance < self.shrink_liquidation_distance < self.target_liquidation_distance:
            raise ValueError("liquidation distances must rise: close_ < shrink_ < target_liquidation_distance")
        if self.check_s > self.max_data_age_s / 2:
            raise ValueError(f"check_s {self.check_s:g} must be at most half of max_data_age_s {self.max_data_age_s:g}")
        return self


def direction(name: str) -> str:
    """Which direction of a limit protects more: "lower", "higher" or "none"."""
    extra = RiskLimits.model_fields[name].json_schema_extra
    assert isinstance(extra, Mapping), name
    return str(extra["tighter"])


def tightens(old: RiskLimits, new: RiskLimits) -> list[str]:
    """The names of the limits that `new` loosens; empty when it only tightens (E39)."""
    return [name for name in RiskLimits.model_fields if _looser(direction(name), getattr(old, name), getattr(new, name))]


def tightest(old: RiskLimits, new: RiskLimits) -> RiskLimits:
    """`new` where it tightens, `old` where it would loosen."""
    return new.model_copy(update={name: getattr(old, name) for name in tightens(old, new)})


def _looser(tighter: str, old: Any, new: Any) -> bool:
    if tighter == "none" or old == new:
        return False
    if old is None or new is None:
        return new is None
    if isinstance(old, StrEnum):
        old, new = _STRICTNESS[old], _STRICTNESS[new]
    return bool(new > old) if tighter == "lower" else bool(new < old)
