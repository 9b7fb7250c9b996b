"""What a human may set. Every key does something; unknown keys are refused."""

from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from exchange_clients.model import MarginMode, Side

PERCENT = Decimal(100)
LOWER: dict[str, Any] = {"tighter": "lower"}
HIGHER: dict[str, Any] = {"tighter": "higher"}
FREE: dict[str, Any] = {"tighter": "none"}
"""Which way a reloaded value protects more (`strategies.reload`); a field that says nothing stays as it is for what is open."""


class Mode(StrEnum):
    """TAKE_PROFIT_GRID: one direction, each fill has its take-profit. TWO_SIDED: a ladder on both sides of a reference price."""

    TAKE_PROFIT_GRID = "take_profit_grid"
    TWO_SIDED = "two_sided"


class RecoveryMode(StrEnum):
    """What is done with a position older than `position_timeout_minutes`: NONE tells it, AGGRESSIVE closes it by market."""

    NONE = "none"
    AGGRESSIVE = "aggressive"


class TwoSidedConfig(BaseModel):
    """The ladder of mode `two_sided`.

    `levels_per_side`: entries on each side, `grid_step` apart from the reference price and from each other. `recentre_drift_steps`: the
    ladder moves when it should stand so many steps away from its reference, not more often than every `recentre_min_seconds`.
    `max_inventory_usd`: no entry that could take the position beyond this value; left out, it is one side of the ladder.
    `skew`: steps by which the ladder is shifted against a full inventory when it is recentred (0: symmetric).
    `stop_low`, `stop_high`, `pause_low`, `pause_high`: as `stop_price` and `pause_price`, below and above.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    levels_per_side: int = Field(default=5, ge=1, le=50, json_schema_extra=LOWER)
    recentre_drift_steps: Decimal = Field(default=Decimal(3), gt=0, json_schema_extra=FREE)
    recentre_min_seconds: float = Field(default=300.0, ge=0, json_schema_extra=FREE)
    max_inventory_usd: Decimal | None = Field(default=None, gt=0, json_schema_extra=LOWER)
    skew: Decimal = Field(default=Decimal(0), ge=0, le=10, json_schema_extra=FREE)
    stop_low: Decimal | None = Field(default=None, gt=0)
    stop_high: Decimal | None = Field(default=None, gt=0)
    pause_low: Decimal | None = Field(default=None, gt=0)
    pause_high: Decimal | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> "TwoSidedConfig":
        given = [(n, v) for n in ("stop_low", "pause_low", "pause_high", "stop_high") if (v := getattr(self, n)) is not None]
        for (low, below), (high, above) in pairwise(given):
            if below >= above:
                raise ValueError(f"{low} {below} must be below {high} {above}")
        return self


class GridConfig(BaseModel):
    """Parameters of the strategy. One grid per symbol, all alike.

    Percent: `grid_step` (between entries), `take_profit` (of the entry price; of the margin with `take_profit_basis: margin`, so divided by
    the leverage), `stop_loss_percentage` (loss of a single position against its entry price). USD: `order_notional_usd` (of one entry),
    `max_margin_usd` (of the whole grid of a symbol: position and resting entries by the leverage). Prices in quote currency per base unit:
    `stop_price` (for `buy` crossed downward, for `sell` upward: everything is cancelled and closed, the grid halts until it is resumed),
    `pause_price` (the same way, but no close: no entries while the price is beyond it). Both lie on the losing side of the market.

    `max_orders`: positions and resting entries together (mode take_profit_grid). `wait_time`: seconds between entries, scaled by how full
    the grid is. `post_only_tick_multiplier`: entries join their own side of the book and keep at least so many ticks from the other one.
    `post_only_retries`: new prices from a fresh book for a rejected post-only, before the entry waits `wait_time`. `entry_reprice_steps`:
    an unfilled entry moves when the market has run so many steps away from it. `boost_mode`: no resting take-profit; at its price the
    position is closed by market. `position_timeout_minutes`, `recovery_mode`: see RecoveryMode.

    `account_name`: given, the bot must run on that account. `target_leverage`, `margin_mode`: set on the market before the first entry and
    read back; left out, the account's own settings stay. `balance_buffer_pct`, `min_liquidation_distance_pct`: fractions.
    `max_close_attempts`: market closes without progress before ALERT.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    exchange: str
    symbols: tuple[str, ...] = Field(min_length=1)
    account_name: str | None = None
    mode: Mode = Mode.TAKE_PROFIT_GRID
    direction: Literal["buy", "sell"] = "buy"
    grid_step: Decimal = Field(gt=0, lt=50, json_schema_extra=FREE)
    take_profit: Decimal | None = Field(default=None, ge=0, json_schema_extra=FREE)
    take_profit_basis: Literal["price", "margin"] = Field(default="price", json_schema_extra=FREE)
    order_notional_usd: Decimal = Field(gt=0, json_schema_extra=LOWER)
    target_leverage: Decimal | None = Field(default=None, ge=1, json_schema_extra=LOWER)
    margin_mode: MarginMode | None = None
    max_orders: int = Field(default=10, ge=1, le=200, json_schema_extra=LOWER)
    max_margin_usd: Decimal | None = Field(default=None, gt=0, json_schema_extra=LOWER)
    wait_time: float = Field(default=30.0, ge=0, json_schema_extra=HIGHER)
    stop_price: Decimal | None = Field(default=None, gt=0)
    pause_price: Decimal | None = Field(default=None, gt=0)
    stop_loss_enabled: bool = Field(default=False, json_schema_extra=HIGHER)
    stop_loss_percentage: Decimal | None = Field(default=None, gt=0, lt=100, json_schema_extra=LOWER)
    position_timeout_minutes: Decimal | None = Field(default=None, gt=0, json_schema_extra=LOWER)
    recovery_mode: RecoveryMode = Field(default=RecoveryMode.NONE, json_schema_extra=HIGHER)
    post_only_tick_multiplier: int = Field(default=1, ge=1, json_schema_extra=FREE)
    post_only_retries: int = Field(default=3, ge=0, json_schema_extra=FREE)
    entry_reprice_steps: Decimal = Field(default=Decimal("0.5"), gt=0, json_schema_extra=FREE)
    boost_mode: bool = Field(default=False, json_schema_extra=FREE)
    two_sided: TwoSidedConfig = TwoSidedConfig()
    check_interval_seconds: float = Field(default=1.0, gt=0, json_schema_extra=FREE)
    balance_buffer_pct: Decimal = Field(default=Decimal("0.10"), ge=0, lt=1, json_schema_extra=HIGHER)
    min_liquidation_distance_pct: Decimal = Field(default=Decimal("0.10"), gt=0, lt=1, json_schema_extra=HIGHER)
    max_book_age_seconds: Decimal = Field(default=Decimal(2), gt=0, json_schema_extra=LOWER)
    max_clock_skew_ms: int = Field(default=500, gt=0, json_schema_extra=LOWER)
    max_loop_lag_ms: int = Field(default=100, gt=0, json_schema_extra=LOWER)
    min_key_hours: Decimal = Field(default=Decimal(24), ge=0, json_schema_extra=HIGHER)
    max_close_attempts: int = Field(default=8, ge=1, json_schema_extra=FREE)
    dry_run: bool = Field(default=False, json_schema_extra=HIGHER)

    @property
    def side(self) -> Side:
        """Of the entries of mode take_profit_grid."""
        return Side(self.direction)

    @property
    def step(self) -> Decimal:
        """`grid_step` as a fraction."""
        return self.grid_step / PERCENT

    @property
    def longest_hold_hours(self) -> Decimal:
        """For so long a key must still be valid when something is entered."""
        return self.min_key_hours

    @property
    def two_sides(self) -> bool:
        """Mode two_sided."""
        return self.mode is Mode.TWO_SIDED

    def gain(self, leverage: Decimal | None) -> Decimal:
        """The take-profit distance as a fraction of the entry price; in mode two_sided one step."""
        if self.two_sides or self.take_profit is None:
            return self.step
        percent = self.take_profit / PERCENT
        if self.take_profit_basis == "price":
            return percent
        held = self.target_leverage or leverage
        if held is None:
            raise ValueError("take_profit_basis margin needs the leverage, and the venue does not show it: set target_leverage")
        return percent / held

    @model_validator(mode="after")
    def _consistent(self) -> "GridConfig":
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("symbols: each once")
        if self.stop_loss_enabled and self.stop_loss_percentage is None:
            raise ValueError("stop_loss_enabled needs stop_loss_percentage")
        if self.stop_loss_percentage is not None and not self.stop_loss_enabled:
            raise ValueError("stop_loss_percentage does nothing without stop_loss_enabled: true")
        if self.recovery_mode is RecoveryMode.AGGRESSIVE and self.position_timeout_minutes is None:
            raise ValueError("recovery_mode aggressive needs position_timeout_minutes")
        if len(self.symbols) > 1 and any(p is not None for p in self._prices()):
            raise ValueError("stop and pause prices belong to one market: give this bot one symbol")
        if self.two_sides:
            self._check_two_sided()
        else:
            self._check_take_profit_grid()
        return self

    def _prices(self) -> tuple[Decimal | None, ...]:
        t = self.two_sided
        return (self.stop_price, self.pause_price, t.stop_low, t.stop_high, t.pause_low, t.pause_high)

    def _check_two_sided(self) -> None:
        for name, instead in (
            ("direction", "it has both"),
            ("take_profit", "it is one grid_step"),
            ("take_profit_basis", "take-profits are one grid_step away"),
            ("stop_price", "use two_sided.stop_low and two_sided.stop_high"),
            ("pause_price", "use two_sided.pause_low and two_sided.pause_high"),
            ("max_orders", "use two_sided.levels_per_side"),
        ):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} does nothing in mode two_sided: {instead}")
        if self.two_sided.levels_per_side * self.grid_step >= PERCENT:
            raise ValueError("levels_per_side times grid_step reaches a price of zero")

    def _check_take_profit_grid(self) -> None:
        if self.two_sided != TwoSidedConfig():
            raise ValueError("the section two_sided does nothing in mode take_profit_grid")
        if self.take_profit is None:
            raise ValueError("take_profit is required in mode take_profit_grid")
        if self.take_profit == 0 and not self.boost_mode:
            raise ValueError("take_profit 0 earns nothing and pays fees: only boost_mode may have it")
        if self.stop_price is not None and self.pause_price is not None:
            beyond = self.pause_price > self.stop_price if self.direction == "buy" else self.pause_price < self.stop_price
            if not beyond:
                word = "above" if self.direction == "buy" else "below"
                raise ValueError(f"pause_price must be {word} stop_price for direction {self.direction}: it comes first")
