"""What a human may set. Every key does something; unknown keys are refused.

`tighter` in a field's schema tells a reload which way protects an open position more ("lower", "higher"), or that the key concerns no open
position ("none"); a key without it keeps its old value for open positions.
"""

from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from exchange_clients.model import MarginMode
from strategies.execution.attempts import AttemptLimits
from strategies.execution.plan import ExecutionLimits, ExternalPolicy, Mode, OfflinePolicy

NONE: dict[str, Any] = {"tighter": "none"}
LOWER: dict[str, Any] = {"tighter": "lower"}
HIGHER: dict[str, Any] = {"tighter": "higher"}


class RiskConfig(BaseModel):
    """When to leave a position. Fractions unless the name says otherwise; `strategy` switches rule groups.

    `min_erosion_threshold`: leave when the edge has fallen below this share of the edge at entry, unless what is left of it still earns
    back costs that have not been earned; `severe_erosion_ratio`: below this share at once. `flip_margin`: how far below zero, per hour,
    the edge must be to count as flipped. `*_confirmations`: looks in a row. `min_profit_improvement`: by how much of the notional another
    pair must be better over the horizon, after closing this one and opening that one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: Literal["combined", "funding_flip", "profit_target", "time_based"] = "combined"
    min_erosion_threshold: Decimal = Field(default=Decimal("0.5"), ge=0, lt=1, json_schema_extra=HIGHER)
    severe_erosion_ratio: Decimal = Field(default=Decimal("0.2"), ge=0, lt=1, json_schema_extra=HIGHER)
    flip_margin: Decimal = Field(default=Decimal("0.000002"), ge=0, json_schema_extra=LOWER)
    flip_confirmations: int = Field(default=2, ge=1, json_schema_extra=LOWER)
    erosion_confirmations: int = Field(default=3, ge=1, json_schema_extra=LOWER)
    imbalance_confirmations: int = Field(default=2, ge=1, json_schema_extra=LOWER)
    min_hold_hours: Decimal = Field(default=Decimal(4), ge=0, json_schema_extra=LOWER)
    max_position_age_hours: Decimal = Field(default=Decimal(168), gt=0, json_schema_extra=LOWER)
    profit_target_pct: Decimal | None = Field(default=None, gt=0, json_schema_extra=LOWER)
    stop_loss_pct: Decimal | None = Field(default=Decimal("0.02"), gt=0, json_schema_extra=LOWER)
    enable_better_opportunity: bool = Field(default=True, json_schema_extra=NONE)
    min_profit_improvement: Decimal = Field(default=Decimal("0.002"), ge=0, json_schema_extra=NONE)
    max_rotations_per_day: int = Field(default=2, ge=0, json_schema_extra=NONE)
    enable_liquidation_prevention: bool = Field(default=True, json_schema_extra=HIGHER)
    min_liquidation_distance_pct: Decimal = Field(default=Decimal("0.10"), gt=0, lt=Decimal("0.5"), json_schema_extra=HIGHER)
    delisting_exit_hours: Decimal = Field(default=Decimal(24), ge=0, json_schema_extra=HIGHER)
    check_interval_seconds: float = Field(default=60.0, gt=0, json_schema_extra=LOWER)

    @model_validator(mode="after")
    def _consistent(self) -> "RiskConfig":
        if self.severe_erosion_ratio > self.min_erosion_threshold:
            raise ValueError("severe_erosion_ratio is above min_erosion_threshold: severe is the smaller share")
        if self.min_hold_hours > self.max_position_age_hours:
            raise ValueError("min_hold_hours is above max_position_age_hours")
        return self


class ExecutionConfig(BaseModel):
    """How orders are sent, and how the engine waits, gives up and cools down."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = Mode.MARKET_ONLY
    naked_cap_usd: Decimal = Field(default=Decimal(500), gt=0)
    hedge_deadline_seconds: float = Field(default=5.0, gt=0)
    maker_timeout_seconds: float = Field(default=10.0, gt=0)
    offline_policy: OfflinePolicy = OfflinePolicy.HOLD_HEDGED
    external_policy: ExternalPolicy = ExternalPolicy.REBALANCE
    failed_open_cooldown_seconds: float = Field(default=300.0, ge=0, json_schema_extra=NONE)
    max_failed_opens: int = Field(default=5, ge=1, json_schema_extra=NONE)
    failed_open_budget_usd: Decimal = Field(default=Decimal(25), gt=0, json_schema_extra=NONE)

    def limits(self, maker_offset: Decimal = Decimal(0)) -> ExecutionLimits:
        """For the engine."""
        return ExecutionLimits(
            naked_cap_usd=self.naked_cap_usd,
            hedge_deadline_s=self.hedge_deadline_seconds,
            maker_timeout_s=self.maker_timeout_seconds,
            maker_offset=maker_offset,
            offline_policy=self.offline_policy,
            external_policy=self.external_policy,
        )

    def attempts(self) -> AttemptLimits:
        """For cool-downs."""
        return AttemptLimits(
            cooldown_s=self.failed_open_cooldown_seconds, max_failures=self.max_failed_opens, budget_usd=self.failed_open_budget_usd
        )


class FundingArbitrageConfig(BaseModel):
    """Parameters of the strategy; USD, hours, fractions as the names say (`_pct` is a fraction too).

    `account_name`: given, the bot must run on that account. `target_margin`: margin per leg, times the leverage it is the size, in place of
    `default_position_size_usd`. `target_leverage`, `margin_mode`: set on both markets before an entry and read back; left out, the
    account's own settings stay. `min_oi_usd`, `max_oi_usd`, `min_volume_24h` concern each leg's market, one-sided USD.
    `limit_order_offset_pct`: how far behind its own best price a resting order waits. `enable_wide_spread_protection`: a spread above
    `max_spread_threshold_pct` keeps out, and for `wide_spread_cooldown_minutes`, and lets exits that are not critical wait.
    `reentry_cooldown_minutes`: for so long a pair that was left, by whom and why ever, is not entered again the same way round.
    `enable_break_even_alignment`: entry prices never cost more than the edge over the horizon, and such exits wait until the pair is not at
    a loss. `enable_exit_polling`: they wait at all, at most `exit_polling_max_duration_minutes`, looking every `exit_poll_seconds`.
    `settlement_guard_minutes`: nothing is entered so shortly before a settlement that costs us, nor left before one that pays us.
    `persistence_lookback_hours`: given, the edge must also hold when it returns to its mean of that time as fast as it used to.
    `decision_record_minutes`: the same answer about the same pair is written again only after so long.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    exchanges: tuple[str, ...] = Field(min_length=2)
    mandatory_exchange: str | None = Field(default=None, json_schema_extra=NONE)
    symbols: tuple[str, ...] | None = Field(default=None, json_schema_extra=NONE)
    account_name: str | None = None
    max_positions: int = Field(default=10, ge=1, json_schema_extra=NONE)
    max_new_positions_per_cycle: int = Field(default=2, ge=1, json_schema_extra=NONE)
    target_margin: Decimal | None = Field(default=None, gt=0, json_schema_extra=NONE)
    default_position_size_usd: Decimal = Field(default=Decimal(1000), gt=0, json_schema_extra=NONE)
    max_position_size_usd: Decimal = Field(default=Decimal(10_000), gt=0, json_schema_extra=NONE)
    max_total_exposure_usd: Decimal = Field(default=Decimal(50_000), gt=0, json_schema_extra=NONE)
    balance_buffer_pct: Decimal = Field(default=Decimal("0.10"), ge=0, lt=1, json_schema_extra=NONE)
    max_depth_share: Decimal = Field(default=Decimal("0.25"), gt=0, le=1, json_schema_extra=NONE)
    min_profit: Decimal = Field(default=Decimal("0.0005"), ge=0, json_schema_extra=NONE)
    profitability_horizon_hours: Decimal = Field(default=Decimal(24), gt=0, json_schema_extra=NONE)
    max_break_even_hours: Decimal | None = Field(default=None, gt=0, json_schema_extra=NONE)
    limit_order_offset_pct: Decimal = Field(default=Decimal(0), ge=0, lt=Decimal("0.05"), json_schema_extra=NONE)
    max_entry_price_divergence_pct: Decimal = Field(default=Decimal("0.01"), gt=0, json_schema_extra=NONE)
    max_spread_threshold_pct: Decimal = Field(default=Decimal("0.005"), gt=0, json_schema_extra=NONE)
    enable_wide_spread_protection: bool = Field(default=True, json_schema_extra=NONE)
    wide_spread_cooldown_minutes: Decimal = Field(default=Decimal(60), ge=0, json_schema_extra=NONE)
    reentry_cooldown_minutes: Decimal = Field(default=Decimal(60), ge=0, json_schema_extra=NONE)
    enable_break_even_alignment: bool = Field(default=True, json_schema_extra=NONE)
    min_oi_usd: Decimal | None = Field(default=None, ge=0, json_schema_extra=NONE)
    max_oi_usd: Decimal | None = Field(default=None, gt=0, json_schema_extra=NONE)
    min_volume_24h: Decimal | None = Field(default=None, ge=0, json_schema_extra=NONE)
    persistence_lookback_hours: Decimal | None = Field(default=None, ge=24, le=720, json_schema_extra=NONE)
    max_sign_flips_per_day: Decimal | None = Field(default=None, ge=0, json_schema_extra=NONE)
    settlement_guard_minutes: Decimal = Field(default=Decimal(5), ge=0, lt=60, json_schema_extra=NONE)
    enable_exit_polling: bool = Field(default=True, json_schema_extra=NONE)
    exit_polling_max_duration_minutes: Decimal = Field(default=Decimal(10), gt=0, json_schema_extra=LOWER)
    exit_poll_seconds: float = Field(default=5.0, gt=0, json_schema_extra=NONE)
    max_rate_age_seconds: Decimal = Field(default=Decimal(120), gt=0, json_schema_extra=NONE)
    max_book_age_seconds: Decimal = Field(default=Decimal(2), gt=0, json_schema_extra=NONE)
    max_clock_skew_ms: int = Field(default=500, gt=0, json_schema_extra=NONE)
    max_loop_lag_ms: int = Field(default=100, gt=0, json_schema_extra=NONE)
    target_leverage: Decimal | None = Field(default=None, ge=1, json_schema_extra=NONE)
    margin_mode: MarginMode | None = Field(default=None, json_schema_extra=NONE)
    decision_record_minutes: Decimal = Field(default=Decimal(15), ge=0, json_schema_extra=NONE)
    dry_run: bool = Field(default=False, json_schema_extra=NONE)
    execution: ExecutionConfig = ExecutionConfig()
    risk_config: RiskConfig = RiskConfig()

    @property
    def longest_hold_hours(self) -> Decimal:
        """For so long a key must be valid."""
        return self.risk_config.max_position_age_hours

    @model_validator(mode="after")
    def _consistent(self) -> "FundingArbitrageConfig":
        if len(set(self.exchanges)) != len(self.exchanges):
            raise ValueError("exchanges: each venue once")
        if self.mandatory_exchange is not None and self.mandatory_exchange not in self.exchanges:
            raise ValueError(f"mandatory_exchange: {self.mandatory_exchange} is not among exchanges")
        if self.default_position_size_usd > self.max_position_size_usd:
            raise ValueError("default_position_size_usd is above max_position_size_usd")
        if self.min_oi_usd is not None and self.max_oi_usd is not None and self.min_oi_usd > self.max_oi_usd:
            raise ValueError("min_oi_usd is above max_oi_usd")
        if self.max_sign_flips_per_day is not None and self.persistence_lookback_hours is None:
            raise ValueError("max_sign_flips_per_day needs persistence_lookback_hours: how far back to count")
        return self
