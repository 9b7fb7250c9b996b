"""Configuration and exit rules of funding arbitrage."""

from decimal import Decimal

import msgspec
import pytest

from strategies import registry
from strategies.base_strategy import InvalidParameters
from strategies.implementations.funding_arbitrage.config import FundingArbitrageConfig, RiskConfig
from strategies.implementations.funding_arbitrage.exits import HoldMemory, HoldView, judge
from strategies.implementations.funding_arbitrage.strategy import FundingArbitrage

D = Decimal
VENUES = {"exchanges": ["a", "b"]}
CALM = HoldView(
    age_hours=D(10),
    notional_usd=D(1000),
    entry_edge_hourly=D("0.0001"),
    edge_hourly=D("0.0001"),
    pnl_if_closed=D(0),
    liquidation_distance=D("0.5"),
    settlements_seen=3,
)


def rule(view: HoldView, memory: HoldMemory | None = None, **config: object) -> str | None:
    found, _ = judge(view, memory or HoldMemory(), RiskConfig(**config))  # type: ignore[arg-type]
    return None if found is None else found.rule


def change(**changes: object) -> HoldView:
    return msgspec.structs.replace(CALM, **changes)


def test_unknown_keys_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(InvalidParameters, match="max_postions: unknown parameter, did you mean max_positions"):
        FundingArbitrage.validate_parameters({**VENUES, "max_postions": 3})
    with pytest.raises(InvalidParameters, match=r"risk_config\.min_hold_hour: unknown parameter, did you mean min_hold_hours"):
        FundingArbitrage.validate_parameters({**VENUES, "risk_config": {"min_hold_hour": 3}})
    assert FundingArbitrage.get_required_parameters() == ["exchanges"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"exchanges": ["a"]}, "exchanges"),
        ({"exchanges": ["a", "a"]}, "each venue once"),
        ({**VENUES, "mandatory_exchange": "c"}, "mandatory_exchange"),
        ({**VENUES, "default_position_size_usd": 20_000}, "default_position_size_usd"),
        ({**VENUES, "min_oi_usd": 5, "max_oi_usd": 4}, "min_oi_usd"),
        ({**VENUES, "min_profit": "NaN"}, "min_profit"),
    ],
)
def test_inconsistent_values_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidParameters, match=message):
        FundingArbitrage.validate_parameters(values)


def test_the_registry_knows_the_strategy_and_lists_what_there_is() -> None:
    assert registry.load("funding_arbitrage") is FundingArbitrage
    with pytest.raises(LookupError, match="funding_arbitrage"):
        registry.load("no such")
    assert isinstance(FundingArbitrage.validate_parameters(VENUES), FundingArbitrageConfig)


def test_a_calm_pair_is_held() -> None:
    assert rule(CALM) is None


@pytest.mark.parametrize(
    ("changes", "config", "expected"),
    [
        ({"liquidation_distance": D("0.04")}, {}, "liquidation_distance"),
        ({"liquidation_distance": D("0.04")}, {"enable_liquidation_prevention": False}, None),
        ({"liquidation_distance": D("0.06")}, {}, None),
        ({"pnl_if_closed": D(-20)}, {}, "stop_loss"),
        ({"pnl_if_closed": D(-19)}, {}, None),
        ({"pnl_if_closed": D(-500)}, {"stop_loss_pct": None}, None),
        ({"pnl_if_closed": D(30)}, {"profit_target_pct": "0.02"}, "profit_target"),
        ({"pnl_if_closed": D(30)}, {"profit_target_pct": "0.02", "strategy": "funding_flip"}, None),
        ({"pnl_if_closed": D(30), "age_hours": D(1)}, {"profit_target_pct": "0.02"}, None),
        ({"age_hours": D(168)}, {}, "age"),
        ({"age_hours": D(168)}, {"strategy": "profit_target"}, None),
        ({"age_hours": D(168), "pnl_if_closed": D(-20)}, {}, "stop_loss"),
        ({"age_hours": D("0.1"), "pnl_if_closed": D(-20)}, {}, "stop_loss"),
    ],
)
def test_each_rule_fires_on_its_figure_and_in_its_order(
    changes: dict[str, object], config: dict[str, object], expected: str | None
) -> None:
    assert rule(change(**changes), None, **config) == expected


def test_a_flip_needs_confirmation_and_a_margin() -> None:
    flipped = change(edge_hourly=D("-0.00001"))
    found, memory = judge(flipped, HoldMemory(), RiskConfig())
    assert found is None
    assert memory.flips == 1
    found, memory = judge(flipped, memory, RiskConfig())
    assert found is not None
    assert found.rule == "funding_flip"
    assert judge(change(edge_hourly=D("-0.000001")), HoldMemory(flips=1), RiskConfig())[1].flips == 0


def test_erosion_is_severe_below_its_ratio() -> None:
    assert rule(change(edge_hourly=D("0.00004")), HoldMemory(erosions=2)) == "erosion"
    assert rule(change(edge_hourly=D("0.00001")), HoldMemory(erosions=2)) == "severe_erosion"
    assert rule(change(edge_hourly=D("0.00006")), HoldMemory(erosions=2)) is None


def test_a_missing_rate_forces_nothing_and_forgets_nothing() -> None:
    found, memory = judge(change(edge_hourly=None), HoldMemory(flips=1, erosions=2), RiskConfig())
    assert found is None
    assert memory == HoldMemory(flips=1, erosions=2)


def test_exits_wait_for_the_minimum_hold_except_the_critical_ones() -> None:
    young = change(age_hours=D(1), edge_hourly=D("-0.001"))
    assert rule(young, HoldMemory(flips=9)) is None
    assert rule(msgspec.structs.replace(young, liquidation_distance=D("0.01")), HoldMemory(flips=9)) == "liquidation_distance"
