"""What each parameter means and in which unit: for `perpkit config check` and the files that `perpkit config new` writes."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from strategies.reload import Tighter, direction

UNITS = (
    ("_usd", "USD"),
    ("_hours", "hours"),
    ("_minutes", "minutes"),
    ("_seconds", "seconds"),
    ("_ms", "milliseconds"),
    ("_bps", "basis points"),
    ("_percentage", "percent"),
    ("_pct", "fraction"),
    ("_ratio", "fraction"),
    ("_share", "fraction"),
    ("_threshold", "fraction"),
    ("_distance", "fraction of the price"),
    ("_divergence", "fraction"),
    ("_fee", "fraction"),
    ("_steps", "grid steps"),
    ("_per_second", "per second"),
    ("_per_day", "per day"),
    ("_s", "seconds"),
)
UNIT_OF = {
    "min_profit": "fraction over the horizon",
    "min_profit_improvement": "fraction of the notional",
    "flip_margin": "fraction per hour",
    "target_margin": "USD",
    "min_volume_24h": "USD",
    "target_leverage": "times",
    "grid_step": "percent",
    "take_profit": "percent",
    "wait_time": "seconds",
    "skew": "grid steps",
    "stop_price": "quote per base",
    "pause_price": "quote per base",
    "stop_low": "quote per base",
    "stop_high": "quote per base",
    "pause_low": "quote per base",
    "pause_high": "quote per base",
    "balances": "USD",
    "max_margin_use": "fraction",
    "breaker_error_rate": "fraction",
}

MEANINGS: Mapping[str, str] = {
    "exchanges": "venues to trade on; those of `venues` when left out",
    "exchange": "the venue to trade on",
    "mandatory_exchange": "one leg of every pair is on this venue",
    "symbols": "base assets to trade, as in [BTC, ETH]; all when left out",
    "account_name": "the account that the bot must run on",
    "max_positions": "pairs open at once",
    "max_new_positions_per_cycle": "pairs opened in one cycle",
    "target_margin": "margin per leg; times the leverage it is the size, in place of default_position_size_usd",
    "default_position_size_usd": "wanted worth of one leg",
    "max_position_size_usd": "worth of one leg at most",
    "max_total_exposure_usd": "worth of all legs on one venue at most",
    "balance_buffer_pct": "of the available balance, what is never used",
    "max_depth_share": "of the depth within the price bound, what one order may take",
    "min_profit": "net edge over the horizon that is worth entering",
    "profitability_horizon_hours": "for how long the edge is counted",
    "max_break_even_hours": "entered only when the costs are earned back by then",
    "limit_order_offset_pct": "how far behind its own best price a resting order waits",
    "max_entry_price_divergence_pct": "distance of the two venues' mids that is still entered",
    "max_spread_threshold_pct": "spread of a book that counts as wide",
    "enable_wide_spread_protection": "a wide spread keeps out, and lets exits that are not critical wait",
    "reentry_cooldown_minutes": "how long a pair that was left is not entered again",
    "wide_spread_cooldown_minutes": "how long a market is left alone after a wide spread",
    "enable_break_even_alignment": "entry prices never cost more than the edge over the horizon; patient exits wait for break-even",
    "min_oi_usd": "open interest of each leg's market at least",
    "max_oi_usd": "open interest of each leg's market at most",
    "min_volume_24h": "volume of each leg's market at least",
    "persistence_lookback_hours": "the edge must also hold when it returns to its mean of that time as fast as it used to",
    "max_sign_flips_per_day": "how often the rate difference changed its sign in that time",
    "settlement_guard_minutes": "no entry so shortly before a settlement that costs, no exit before one that pays",
    "enable_exit_polling": "exits that are not critical wait for a calm spread and break-even",
    "exit_polling_max_duration_minutes": "for how long they wait",
    "exit_poll_seconds": "how often they look meanwhile",
    "max_rate_age_seconds": "age of a funding rate that is still used",
    "max_book_age_seconds": "age of a book that is still entered on",
    "max_clock_skew_ms": "distance of our clock from a venue's",
    "max_loop_lag_ms": "lateness of the event loop",
    "target_leverage": "set on the market before an entry and read back; the account's own when left out",
    "margin_mode": "cross or isolated: set and read back; the account's own when left out",
    "decision_record_minutes": "the same answer about the same pair is written again only after so long",
    "dry_run": "decide and write down, send nothing",
    "execution.mode": "limit_only, limit_with_fallback, market_only, aggressive_limit or adaptive",
    "execution.naked_cap_usd": "worth that may stand unhedged while a pair is opened or closed",
    "execution.hedge_deadline_seconds": "after it the unhedged part is taken back",
    "execution.maker_timeout_seconds": "how long a resting order waits before the next tactic",
    "execution.offline_policy": "what happens to a pair when a venue goes offline",
    "execution.external_policy": "what happens when somebody else changes a leg",
    "execution.failed_open_cooldown_seconds": "pause of a pair of venues after a failed open, longer each time",
    "execution.max_failed_opens": "failed opens in a row after which a pair of venues is left",
    "execution.failed_open_budget_usd": "what failed opens of a pair of venues may cost together",
    "risk_config.strategy": "combined, funding_flip, profit_target or time_based: which exit rules are on",
    "risk_config.min_erosion_threshold": "leave when the edge is below this share of the edge at entry",
    "risk_config.severe_erosion_ratio": "below this share leave at once",
    "risk_config.flip_margin": "how far below zero the edge must be to count as flipped",
    "risk_config.flip_confirmations": "looks in a row that must see the flip",
    "risk_config.erosion_confirmations": "looks in a row that must see the erosion",
    "risk_config.imbalance_confirmations": "looks in a row that must see unequal legs",
    "risk_config.min_hold_hours": "not left before, except by a critical rule",
    "risk_config.max_position_age_hours": "left after it",
    "risk_config.profit_target_pct": "leave when the pair earned this much of its worth, closing included",
    "risk_config.stop_loss_pct": "leave when it lost this much of its worth, closing included",
    "risk_config.enable_better_opportunity": "leave for a pair that is better by min_profit_improvement",
    "risk_config.min_profit_improvement": "how much better another pair must be, after closing this and opening that",
    "risk_config.max_rotations_per_day": "such changes a day",
    "risk_config.enable_liquidation_prevention": "leave when liquidation is near",
    "risk_config.min_liquidation_distance_pct": "price move to liquidation: entered with 1.5 times of it, left below it",
    "risk_config.delisting_exit_hours": "so long before the announced end of a market it is left",
    "risk_config.check_interval_seconds": "how often open pairs are judged",
    "mode": "take_profit_grid (each entry has its take-profit) or two_sided (a ladder on both sides)",
    "direction": "buy or sell: the side of the entries",
    "grid_step": "distance between entries",
    "take_profit": "distance of the take-profit from its entry",
    "take_profit_basis": "price, or margin (divided by the leverage)",
    "order_notional_usd": "worth of one entry",
    "max_orders": "positions and resting entries together",
    "max_margin_usd": "margin of the whole grid of a symbol",
    "wait_time": "between entries, scaled by how full the grid is",
    "stop_price": "crossed: everything is cancelled and closed, the grid halts until resumed",
    "pause_price": "crossed: no entries while the price is beyond it",
    "stop_loss_enabled": "single positions are closed at stop_loss_percentage",
    "stop_loss_percentage": "loss of a single position against its entry price",
    "position_timeout_minutes": "age after which recovery_mode decides about a position",
    "recovery_mode": "none (tell it) or aggressive (cancel the take-profit, close by market)",
    "post_only_tick_multiplier": "ticks that entries keep from the other side of the book",
    "post_only_retries": "new prices for a rejected post-only before the entry waits wait_time",
    "entry_reprice_steps": "an unfilled entry moves when the market has run so far from it",
    "boost_mode": "no resting take-profit: at its price the position is closed by market",
    "two_sided.levels_per_side": "entries on each side",
    "two_sided.recentre_drift_steps": "the ladder moves when the price is so far from its reference",
    "two_sided.recentre_min_seconds": "not more often than this",
    "two_sided.max_inventory_usd": "no entry that could take the position beyond it; one side of the ladder when left out",
    "two_sided.skew": "shift of the ladder against a full inventory",
    "two_sided.stop_low": "as stop_price, below",
    "two_sided.stop_high": "as stop_price, above",
    "two_sided.pause_low": "as pause_price, below",
    "two_sided.pause_high": "as pause_price, above",
    "check_interval_seconds": "how often it looks",
    "min_liquidation_distance_pct": "price move to liquidation that an entry must leave",
    "min_key_hours": "the key must be valid for so long",
    "max_close_attempts": "market closes without progress before an alert",
    "balance_usd": "what the virtual account of each venue starts with",
    "balances": "the same, differing by venue",
    "entry_latency_ms": "an order's way to the venue",
    "report_latency_ms": "the answer's way back",
    "maker_fee": "where the venue publishes none",
    "taker_fee": "where the venue publishes none",
    "book_levels": "levels of the live book that are followed",
    "trade_grace_ms": "a level that shrank counts for the queue only so much later",
}


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One key with what is known of it. `name` is its full path inside its section."""

    name: str
    value: Any
    default: Any
    required: bool
    given: bool
    unit: str
    meaning: str
    tighter: Tighter


def parameters(model: type[BaseModel], config: BaseModel | None = None, *, prefix: str = "", given: object = None) -> Iterator[Parameter]:
    """Every key of a configuration class, nested ones too, with its value in `config` and whether `given` (as written) has it."""
    for name, field in model.model_fields.items():
        value = None if config is None else getattr(config, name)
        written = given.get(name) if isinstance(given, Mapping) else None
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from parameters(inner, value, prefix=f"{prefix}{name}.", given=written)
            continue
        yield Parameter(
            name=f"{prefix}{name}",
            value=value,
            default=None if field.is_required() else field.get_default(call_default_factory=True),
            required=field.is_required(),
            given=isinstance(given, Mapping) and name in given,
            unit=unit_of(name),
            meaning=meaning_of(f"{prefix}{name}", field),
            tighter=direction(field),
        )


def unit_of(name: str) -> str:
    """The unit that a name says; empty for counts, words and switches."""
    return UNIT_OF.get(name) or next((unit for suffix, unit in UNITS if name.endswith(suffix)), "")


def meaning_of(name: str, field: FieldInfo) -> str:
    """In words: what the field says of itself, else what stands here."""
    return field.description or MEANINGS.get(name, "")
