"""What a human may set. Every key does something; unknown keys are refused."""

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from exchange_clients.model import MarginMode
from strategies.execution.attempts import AttemptLimits
from strategies.execution.plan import ExecutionLimits, Mode

Positive = Field(gt=0)
Fraction = Field(gt=0, lt=1)


class RiskConfig(BaseModel):
    """When to leave a position. Fractions unless the name says otherwise; `strategy` switches rule groups.

    `min_erosion_threshold`: leave when the edge has fallen below this share of the edge at entry; `severe_erosion_ratio`: the same without
    waiting for a calm spread. `flip_margin`: how far below zero, per hour, the edge must be to count as flipped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: Literal["combined", "funding_flip", "profit_target", "time_based"] = "combined"
    min_erosion_threshold: Decimal = Field(default=Decimal("0.5"), ge=0, lt=1)
    severe_erosion_ratio: Decimal = Field(default=Decimal("0.2"), ge=0, lt=1)
    flip_margin: Decimal = Field(default=Decimal("0.000002"), ge=0)
    flip_confirmations: int = Field(default=2, ge=1)
    erosion_confirmations: int = Field(default=3, ge=1)
    min_hold_hours: Decimal = Field(default=Decimal(4), ge=0)
    max_position_age_hours: Decimal = Field(default=Decimal(168), gt=0)
    profit_target_pct: Decimal | None = Field(default=None, gt=0)
    stop_loss_pct: Decimal | None = Field(default=Decimal("0.02"), gt=0)
    enable_liquidation_prevention: bool = True
    min_liquidation_distance_pct: Decimal = Field(default=Decimal("0.10"), gt=0, lt=1)
    check_interval_seconds: float = Field(default=60.0, gt=0)


class ExecutionConfig(BaseModel):
    """How orders are sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = Mode.MARKET_ONLY
    naked_cap_usd: Decimal = Field(default=Decimal(500), gt=0)
    hedge_deadline_seconds: float = Field(default=5.0, gt=0)
    maker_timeout_seconds: float = Field(default=10.0, gt=0)
    failed_open_cooldown_seconds: float = Field(default=300.0, ge=0)
    max_failed_opens: int = Field(default=5, ge=1)
    failed_open_budget_usd: Decimal = Field(default=Decimal(25), gt=0)

    def limits(self) -> ExecutionLimits:
        """For the engine."""
        return ExecutionLimits(
            naked_cap_usd=self.naked_cap_usd, hedge_deadline_s=self.hedge_deadline_seconds, maker_timeout_s=self.maker_timeout_seconds
        )

    def attempts(self) -> AttemptLimits:
        """For cool-downs."""
        return AttemptLimits(
            cooldown_s=self.failed_open_cooldown_seconds, max_failures=self.max_failed_opens, budget_usd=self.failed_open_budget_usd
        )


class FundingArbitrageConfig(BaseModel):
    """Parameters of the strategy; USD, hours, fractions as the names say.

    `target_leverage`, `margin_mode`: set on both markets before an entry and read back; left out, the account's own settings stay.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    exchanges: tuple[str, ...] = Field(min_length=2)
    mandatory_exchange: str | None = None
    symbols: tuple[str, ...] | None = None
    account_name: str = "main"
    max_positions: int = Field(default=10, ge=1)
    max_new_positions_per_cycle: int = Field(default=2, ge=1)
    default_position_size_usd: Decimal = Field(default=Decimal(1000), gt=0)
    max_position_size_usd: Decimal = Field(default=Decimal(10_000), gt=0)
    max_total_exposure_usd: Decimal = Field(default=Decimal(50_000), gt=0)
    balance_buffer_pct: Decimal = Field(default=Decimal("0.10"), ge=0, lt=1)
    max_depth_share: Decimal = Field(default=Decimal("0.25"), gt=0, le=1)
    min_profit: Decimal = Field(default=Decimal("0.0005"), ge=0)
    profitability_horizon_hours: Decimal = Field(default=Decimal(24), gt=0)
    max_break_even_hours: Decimal | None = Field(default=None, gt=0)
    max_entry_price_divergence_pct: Decimal = Field(default=Decimal("0.01"), gt=0)
    max_spread_threshold_pct: Decimal = Field(default=Decimal("0.005"), gt=0)
    min_oi_usd: Decimal | None = Field(default=None, ge=0)
    max_oi_usd: Decimal | None = Field(default=None, gt=0)
    min_volume_24h: Decimal | None = Field(default=None, ge=0)
    max_rate_age_seconds: Decimal = Field(default=Decimal(120), gt=0)
    max_clock_skew_ms: int = Field(default=500, gt=0)
    max_loop_lag_ms: int = Field(default=100, gt=0)
    target_leverage: Decimal | None = Field(default=None, ge=1)
    margin_mode: MarginMode | None = None
    dry_run: bool = False
    execution: ExecutionConfig = ExecutionConfig()
    risk_config: RiskConfig = RiskConfig()

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
        return self
