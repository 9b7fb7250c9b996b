"""Entry rules of funding arbitrage as a pure function, and the proof that every parameter does something."""

import ast
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from exchange_clients.model import (
    NS_PER_HOUR,
    NS_PER_S,
    BookLevel,
    FeeRates,
    KeyInfo,
    MarginMode,
    MarketStatus,
    PositionMode,
)
from funding_rate_service.opportunity import Persistence
from strategies.execution.attempts import Attempts, after_failure
from strategies.gate import LegFacts
from strategies.implementations.funding_arbitrage.config import ExecutionConfig, FundingArbitrageConfig
from strategies.implementations.funding_arbitrage.entry import EntryView, Verdict, judge_entry
from tests.strategies.instruments import instrument
from tests.strategies.quotes import NOW, quote

D = Decimal
VENUES = {"exchanges": ["a", "b"]}
MINUTE = 60 * NS_PER_S


def levels(side: int, size: str = "100") -> tuple[BookLevel, ...]:
    """Around 100, a cent from the mid, five levels."""
    return tuple(BookLevel(D(100) + side * D("0.01") * number, D(size)) for number in range(1, 6))


def facts(venue: str, **changes: object) -> LegFacts:
    """A venue where nothing speaks against an entry: 10 000 USD, 5 % initial and 2 % maintenance margin."""
    market = msgspec.structs.replace(instrument(venue, tick="0.01"), initial_margin=D("0.05"), maintenance_margin=D("0.02"))
    fields: dict[str, object] = {
        "instrument": market,
        "connected": True,
        "clock_skew_ms": 3,
        "loop_lag_ms": D("1.5"),
        "rooms": {"orders": D("0.9")},
        "bids": levels(-1),
        "asks": levels(1),
        "book_age_s": D("0.1"),
        "available": D(10_000),
        "equity": D(10_000),
        "fees": FeeRates(maker=D("0.0001"), taker=D("0.0004")),
        "key": KeyInfo(expires_ns=NOW + 200 * NS_PER_HOUR, can_trade=True, position_mode=PositionMode.ONE_WAY),
        "venue_now_ns": NOW,
        "held_leverage": D(10),
        "held_margin_mode": MarginMode.CROSS,
        "max_leverage": D(20),
        "can_set_leverage": True,
        "margin_modes": (MarginMode.CROSS, MarginMode.ISOLATED),
        "holds": False,
        "maintenance_margin": market.maintenance_margin,
        **changes,
    }
    return LegFacts(**fields)  # type: ignore[arg-type]


def view(of_a: dict[str, Any] | None = None, of_b: dict[str, Any] | None = None, /, **changes: Any) -> EntryView:
    """Long at a for nothing, short at b for 0.0002 an hour: 0.0048 in 24 h, the round trip costs about 0.0020."""
    fields: dict[str, Any] = {
        "now_ns": NOW,
        "long": quote("a", "0", volume_24h_usd=D(10**6), open_interest_usd=D(10**6)),
        "short": quote("b", "0.0002", volume_24h_usd=D(10**6), open_interest_usd=D(10**6)),
        "long_facts": facts("a", **(of_a or {})),
        "short_facts": facts("b", **(of_b or {})),
        **changes,
    }
    return EntryView(**fields)


def config(**given: Any) -> FundingArbitrageConfig:
    return FundingArbitrageConfig.model_validate({**VENUES, **given})


def verdict(seen: EntryView, **given: Any) -> Verdict:
    return judge_entry(seen, config(**given))


def rule(seen: EntryView, **given: Any) -> str:
    """ "enter", "ask", or the rule that said no first."""
    found = verdict(seen, **given)
    return found.rule if found.kind == "skip" else found.kind


def usd(seen: EntryView, **given: Any) -> Decimal:
    found = verdict(seen, **given)
    assert found.size is not None, found.detail
    return found.size.usd


def test_what_speaks_for_an_entry_enters_with_every_check_written_down() -> None:
    found = verdict(view())
    assert found.kind == "enter", found.detail
    assert {c.rule for c in found.checks} >= {
        "market_status",
        "connected",
        "clock_skew",
        "loop_lag",
        "rate_limit",
        "book",
        "balance",
        "key",
        "position_mode",
        "leverage",
        "balance_after",
        "edge_at_size",
        "settlement_clock",
        "cooldown",
    }
    assert all(c.ok for c in found.checks)


def test_before_the_venues_are_asked_there_is_no_yes() -> None:
    assert rule(view(long_facts=None, short_facts=None)) == "ask"


@pytest.mark.parametrize(
    ("long", "expected"),
    [
        ({"instrument": msgspec.structs.replace(facts("a").instrument, status=MarketStatus.HALTED)}, "market_status"),
        ({"instrument": msgspec.structs.replace(facts("a").instrument, ends_ns=NOW + 10**18)}, "delisting"),
        ({"connected": False}, "connected"),
        ({"clock_skew_ms": None}, "clock_skew"),
        ({"clock_skew_ms": 501}, "clock_skew"),
        ({"loop_lag_ms": D("100.1")}, "loop_lag"),
        ({"rooms": {"orders": D("0.29")}}, "rate_limit"),
        ({"book_age_s": D("2.1")}, "book"),
        ({"book_age_s": D("-0.1")}, "book"),
        ({"bids": ()}, "book"),
        ({"bids": levels(1), "asks": levels(-1)}, "book"),
        ({"available": None}, "balance"),
        ({"equity": None}, "balance"),
        ({"available": D(5)}, "balance on a"),
        ({"key": KeyInfo(expires_ns=NOW + 167 * NS_PER_HOUR)}, "key"),
        ({"key": KeyInfo(can_trade=False)}, "key"),
        ({"key": KeyInfo(position_mode=PositionMode.HEDGE)}, "position_mode"),
        ({"key": None}, "enter"),
        ({"instrument": instrument("a"), "maintenance_margin": None}, "margin"),
        ({"fees": FeeRates(maker=D(0), taker=D("0.01"))}, "min_profit at the depth there is"),
        ({"asks": levels(1, "1")}, "enter"),
        ({"asks": levels(1, "0.001"), "bids": levels(-1, "0.001")}, "min_notional"),
    ],
)
def test_e21_e22_each_leg_must_say_yes_to_everything(long: dict[str, Any], expected: str) -> None:
    assert rule(view(long)) == expected
    assert rule(view(None, {**long, **_as_b(long)})) == expected.replace(" on a", " on b")


def _as_b(fields: dict[str, Any]) -> dict[str, Any]:
    """The same trouble on the other venue."""
    if "instrument" not in fields:
        return {}
    market = fields["instrument"]
    return {"instrument": msgspec.structs.replace(market, id=msgspec.structs.replace(market.id, venue="b"))}


def test_e21_an_unreadable_venue_is_a_no() -> None:
    assert rule(view(short_facts=None, unreadable="b: timeout")) == "readable"


def test_e21_the_balance_keeps_its_buffer_after_the_trade() -> None:
    """By hand: 1 000 USD, 10 % stay, 10x and a fee of 0.0004: at most 900 / (0.1 + 0.0004) = 8 964.1 USD."""
    poor = {"available": D(1_000), "equity": D(1_000)}
    found = verdict(view(poor), default_position_size_usd=10_000, max_depth_share=1)
    assert found.size is not None
    limits = {x.rule: x.usd for x in found.size.limits}
    assert limits["balance on a"] == D(900) / (D("0.1") + D("0.0004"))
    left = poor["available"] - found.size.usd * (D("0.1") + D("0.0004"))
    assert left >= 100
    assert found.size.binding.rule == "liquidation distance on a"


def test_e24_an_entry_keeps_more_than_the_distance_that_forces_an_exit() -> None:
    poor = {"available": D(1_000), "equity": D(1_000)}
    size = usd(view(poor), default_position_size_usd=10_000, max_depth_share=1)
    distance = D(1_000) / size - D("0.02")
    assert distance >= D("0.15")


def test_e24_margins_hold_for_the_first_tier_only() -> None:
    found = verdict(view({"first_tier_usd": D(300)}))
    assert found.size is not None
    assert found.size.binding.rule == "first margin tier on a"


def test_e25_the_edge_is_that_of_the_size_through_the_live_books() -> None:
    """By hand: four fees of 0.0004, and four times a cent away from a mid of 100."""
    found = verdict(view())
    assert found.size is not None
    mid = D(100)
    away = D("0.01") / mid
    assert found.size.costs.total == 4 * D("0.0004") + 4 * away
    assert found.size.net == 24 * D("0.0002") - found.size.costs.total


def test_e25_a_thin_book_makes_the_position_smaller_until_the_edge_carries_it() -> None:
    thin = {"asks": tuple(BookLevel(D(100) + D("0.05") * n, D(2)) for n in range(1, 21))}
    whole = verdict(view(), max_depth_share=1)
    found = verdict(view(thin), max_depth_share=1)
    assert whole.size is not None
    assert found.size is not None
    assert found.size.usd < whole.size.usd
    assert found.edge is not None
    assert found.size.net == found.edge.horizon.funding - found.size.costs.total >= D("0.0005")
    assert found.size.net < found.edge.horizon.net, "what the quotes promised"


def test_break_even_is_protected_by_the_plan() -> None:
    """24 settlements of 0.0002 less fees and the way out: what the way in may cost, here with both mids equal."""
    found = verdict(view())
    assert found.size is not None
    assert found.size.max_price_cost == D("0.0048") - D("0.0016") - 2 * D("0.0001")
    free = verdict(view(), enable_break_even_alignment=False)
    assert free.size is not None
    assert free.size.max_price_cost == D("0.01")


# ---- every parameter

PAST = Persistence(points=168, mean=D("0.0002"), volatility=D("0.0001"), sign_flips_per_day=D(3), half_life_hours=D(5))
SOON = {"long": quote("a", "0.0001", next_in_h="0.05"), "short": quote("b", "0.0009", next_in_h="0.5")}
WIDE = {"short": quote("b", "0.002", bid=D("99.7"), ask=D("100.3"))}
"""Half a percent and more from bid to ask; the edge would pay for it."""
LIMITS = ExecutionConfig().limits()

Case = tuple[Callable[[], object], object, Callable[[], object], object]
"""What comes out with one value, and with another."""

ENTRY: dict[str, Case] = {
    "exchanges": (lambda: rule(view()), "enter", lambda: rule(view(), exchanges=["a", "c"]), "exchanges"),
    "mandatory_exchange": (
        lambda: rule(view(), exchanges=["a", "b", "c"]),
        "enter",
        lambda: rule(view(), exchanges=["a", "b", "c"], mandatory_exchange="c"),
        "required_venue",
    ),
    "symbols": (lambda: rule(view(), symbols=["BTC"]), "enter", lambda: rule(view(), symbols=["ETH"]), "symbols"),
    "max_positions": (lambda: rule(view(live_pairs=9)), "enter", lambda: rule(view(live_pairs=9), max_positions=9), "max_positions"),
    "max_new_positions_per_cycle": (
        lambda: rule(view(entered=1)),
        "enter",
        lambda: rule(view(entered=1), max_new_positions_per_cycle=1),
        "max_new_positions_per_cycle",
    ),
    "target_margin": (
        lambda: D(999) < usd(view()) <= 1000,
        True,
        lambda: D(199) < usd(view(), target_margin=20) <= 200,
        True,
    ),
    "default_position_size_usd": (lambda: usd(view()) > 990, True, lambda: usd(view(), default_position_size_usd=500) < 501, True),
    "max_position_size_usd": (
        lambda: usd(view(), target_margin=200) > 1_990,
        True,
        lambda: usd(view(), target_margin=200, max_position_size_usd=1_500) < 1_501,
        True,
    ),
    "max_total_exposure_usd": (
        lambda: usd(view(long_exposure=D(49_500)), max_total_exposure_usd=60_000) > 990,
        True,
        lambda: usd(view(long_exposure=D(49_500))) < 501,
        True,
    ),
    "balance_buffer_pct": (
        lambda: rule(view({"available": D(500)}), balance_buffer_pct=0),
        "enter",
        lambda: rule(view({"available": D(500)})),
        "balance on a",
    ),
    "max_depth_share": (
        lambda: usd(view({"asks": levels(1, "3")}), max_depth_share=1) > 990,
        True,
        lambda: usd(view({"asks": levels(1, "3")}), max_depth_share="0.1") < 151,
        True,
    ),
    "min_profit": (lambda: rule(view()), "enter", lambda: rule(view(), min_profit="0.0029"), "min_profit"),
    "profitability_horizon_hours": (lambda: rule(view()), "enter", lambda: rule(view(), profitability_horizon_hours=8), "min_profit"),
    "max_break_even_hours": (
        lambda: rule(view(), max_break_even_hours=11),
        "enter",
        lambda: rule(view(), max_break_even_hours=9),
        "max_break_even_hours",
    ),
    "limit_order_offset_pct": (
        lambda: config().execution.limits(config().limit_order_offset_pct).maker_offset,
        D(0),
        lambda: config().execution.limits(config(limit_order_offset_pct="0.001").limit_order_offset_pct).maker_offset,
        D("0.001"),
    ),
    "max_entry_price_divergence_pct": (
        lambda: rule(view(), max_entry_price_divergence_pct="0.001"),
        "enter",
        lambda: rule(view(), max_entry_price_divergence_pct="0.0001"),
        "max_entry_price_divergence_pct",
    ),
    "max_spread_threshold_pct": (
        lambda: rule(view(**WIDE), max_spread_threshold_pct="0.01") != "wide_spread",
        True,
        lambda: rule(view(**WIDE)),
        "wide_spread",
    ),
    "enable_wide_spread_protection": (
        lambda: rule(view(**WIDE)),
        "wide_spread",
        lambda: rule(view(**WIDE), enable_wide_spread_protection=False) != "wide_spread",
        True,
    ),
    "wide_spread_cooldown_minutes": (
        lambda: rule(view(wide_ns=NOW - 59 * MINUTE)),
        "wide_spread_cooldown",
        lambda: rule(view(wide_ns=NOW - 59 * MINUTE), wide_spread_cooldown_minutes=59),
        "enter",
    ),
    "reentry_cooldown_minutes": (
        lambda: rule(view(left_ns=NOW - 59 * MINUTE)),
        "reentry_cooldown",
        lambda: rule(view(left_ns=NOW - 59 * MINUTE), reentry_cooldown_minutes=59),
        "enter",
    ),
    "enable_break_even_alignment": (
        lambda: getattr(verdict(view()).size, "max_price_cost", None),
        D("0.003"),
        lambda: getattr(verdict(view(), enable_break_even_alignment=False).size, "max_price_cost", None),
        D("0.01"),
    ),
    "min_oi_usd": (lambda: rule(view(), min_oi_usd=10**6), "enter", lambda: rule(view(), min_oi_usd=10**6 + 1), "min_oi_usd"),
    "max_oi_usd": (lambda: rule(view(), max_oi_usd=10**6), "enter", lambda: rule(view(), max_oi_usd=10**6 - 1), "max_oi_usd"),
    "min_volume_24h": (lambda: rule(view(), min_volume_24h=10**6), "enter", lambda: rule(view(), min_volume_24h=10**7), "min_volume_24h"),
    "persistence_lookback_hours": (
        lambda: rule(view(persistence=PAST), persistence_lookback_hours=168),
        "enter",
        lambda: rule(view(persistence=msgspec.structs.replace(PAST, mean=D(0))), persistence_lookback_hours=168),
        "persistence",
    ),
    "max_sign_flips_per_day": (
        lambda: rule(view(persistence=PAST), persistence_lookback_hours=168, max_sign_flips_per_day=3),
        "enter",
        lambda: rule(view(persistence=PAST), persistence_lookback_hours=168, max_sign_flips_per_day=2),
        "max_sign_flips_per_day",
    ),
    "settlement_guard_minutes": (
        lambda: rule(view(**SOON), settlement_guard_minutes=2),
        "enter",
        lambda: rule(view(**SOON)),
        "settlement_clock",
    ),
    "max_rate_age_seconds": (
        lambda: rule(view(long=quote("a", "0", age_s=119))),
        "enter",
        lambda: rule(view(long=quote("a", "0", age_s=119)), max_rate_age_seconds=100),
        "max_rate_age_s",
    ),
    "max_book_age_seconds": (
        lambda: rule(view({"book_age_s": D("1.5")})),
        "enter",
        lambda: rule(view({"book_age_s": D("1.5")}), max_book_age_seconds=1),
        "book",
    ),
    "max_clock_skew_ms": (
        lambda: rule(view({"clock_skew_ms": 400})),
        "enter",
        lambda: rule(view({"clock_skew_ms": 400}), max_clock_skew_ms=300),
        "clock_skew",
    ),
    "max_loop_lag_ms": (
        lambda: rule(view({"loop_lag_ms": D(90)})),
        "enter",
        lambda: rule(view({"loop_lag_ms": D(90)}), max_loop_lag_ms=80),
        "loop_lag",
    ),
    "target_leverage": (lambda: rule(view(), target_leverage=20), "enter", lambda: rule(view(), target_leverage=21), "leverage"),
    "margin_mode": (
        lambda: rule(view({"margin_modes": ()}), margin_mode="cross"),
        "enter",
        lambda: rule(view({"margin_modes": ()}), margin_mode="isolated"),
        "leverage",
    ),
    "dry_run": (lambda: rule(view()), "enter", lambda: rule(view(), dry_run=True), "dry_run"),
    "execution.max_failed_opens": (
        lambda: rule(view(attempts=Attempts(failures=4))),
        "enter",
        lambda: rule(view(attempts=Attempts(failures=4)), execution={"max_failed_opens": 4}),
        "cooldown",
    ),
    "execution.failed_open_budget_usd": (
        lambda: rule(view(attempts=Attempts(cost_usd=D(20)))),
        "enter",
        lambda: rule(view(attempts=Attempts(cost_usd=D(20))), execution={"failed_open_budget_usd": 20}),
        "cooldown",
    ),
    "execution.failed_open_cooldown_seconds": (
        lambda: _cooled(ExecutionConfig()),
        300,
        lambda: _cooled(ExecutionConfig(failed_open_cooldown_seconds=60)),
        60,
    ),
    "risk_config.max_position_age_hours": (
        lambda: rule(view()),
        "enter",
        lambda: rule(view(), risk_config={"max_position_age_hours": 201}),
        "key",
    ),
    "risk_config.min_liquidation_distance_pct": (
        lambda: usd(view({"equity": D(2_00)}), balance_buffer_pct=0) > 990,
        True,
        lambda: usd(view({"equity": D(2_00)}), balance_buffer_pct=0, risk_config={"min_liquidation_distance_pct": "0.2"}) < 626,
        True,
    ),
    "execution.naked_cap_usd": (lambda: LIMITS.naked_cap_usd, 500, lambda: ExecutionConfig(naked_cap_usd=D(9)).limits().naked_cap_usd, 9),
    "execution.hedge_deadline_seconds": (
        lambda: LIMITS.hedge_deadline_s,
        5.0,
        lambda: ExecutionConfig(hedge_deadline_seconds=3).limits().hedge_deadline_s,
        3.0,
    ),
    "execution.maker_timeout_seconds": (
        lambda: LIMITS.maker_timeout_s,
        10.0,
        lambda: ExecutionConfig(maker_timeout_seconds=4).limits().maker_timeout_s,
        4.0,
    ),
    "execution.offline_policy": (
        lambda: LIMITS.offline_policy,
        "hold_hedged",
        lambda: ExecutionConfig.model_validate({"offline_policy": "reduce"}).limits().offline_policy,
        "reduce",
    ),
    "execution.external_policy": (
        lambda: LIMITS.external_policy,
        "rebalance",
        lambda: ExecutionConfig.model_validate({"external_policy": "alert"}).limits().external_policy,
        "alert",
    ),
}

RULES, HELD = "test_funding_arbitrage_rules.py", "test_funding_arbitrage_held.py"
ELSEWHERE: dict[tuple[str, str], tuple[str, ...]] = {
    (HELD, "test_a_strategy_refuses_another_account"): ("account_name",),
    (HELD, "test_the_plan_carries_what_the_configuration_says"): ("execution.mode",),
    (HELD, "test_an_exit_that_waits_is_looked_at_more_often"): ("exit_poll_seconds", "risk_config.check_interval_seconds"),
    (HELD, "test_the_same_answer_is_written_once_in_a_while"): ("decision_record_minutes",),
    (RULES, "test_an_exit_that_is_not_critical_waits_for_its_moment"): ("enable_exit_polling",),
    (RULES, "test_waiting_is_bounded_and_starts_anew_when_the_reason_to_leave_has_gone"): ("exit_polling_max_duration_minutes",),
    (RULES, "test_erosion_is_severe_below_its_ratio"): (
        "risk_config.min_erosion_threshold",
        "risk_config.severe_erosion_ratio",
        "risk_config.erosion_confirmations",
    ),
    (RULES, "test_a_flip_needs_confirmation_and_a_margin"): ("risk_config.flip_margin", "risk_config.flip_confirmations"),
    (RULES, "test_an_imbalance_that_stays_is_an_exit"): ("risk_config.imbalance_confirmations",),
    (RULES, "test_exits_wait_for_the_minimum_hold_except_the_critical_ones"): ("risk_config.min_hold_hours",),
    (RULES, "test_each_rule_fires_on_its_figure_and_in_its_order"): (
        "risk_config.strategy",
        "risk_config.profit_target_pct",
        "risk_config.stop_loss_pct",
        "risk_config.enable_liquidation_prevention",
        "risk_config.delisting_exit_hours",
    ),
    (RULES, "test_a_better_pair_must_be_better_after_the_cost_of_switching"): (
        "risk_config.enable_better_opportunity",
        "risk_config.min_profit_improvement",
        "risk_config.max_rotations_per_day",
    ),
}
"""Parameters whose test needs a held pair or a running strategy: (file, test) -> parameters."""


def source_of(file: str, test: str) -> str:
    """A test with its decorators."""
    text = (Path(__file__).parent / file).read_text()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == test:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
    raise AssertionError(f"{file} has no {test}")


def _cooled(execution: ExecutionConfig) -> int:
    """Seconds to wait after one failed open."""
    held = after_failure(Attempts(), execution.attempts(), now_ns=NOW, cost_usd=D(0), reason="x")
    return (held.until_ns - NOW) // NS_PER_S


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, f"{name}.")
        else:
            yield f"{prefix}{name}"


@pytest.mark.parametrize("key", sorted(keys(FundingArbitrageConfig)))
def test_no_parameter_is_dead(key: str) -> None:
    for (file, test), covered in ELSEWHERE.items():
        if key in covered:
            assert key.rpartition(".")[2] in source_of(file, test)
            return
    one, expected, other, changed = ENTRY[key]
    assert one() == expected
    assert other() == changed
