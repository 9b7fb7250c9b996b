"""Configuration and exit rules of funding arbitrage."""

from decimal import Decimal

import msgspec
import pytest

from exchange_clients.model import NS_PER_HOUR, FundingRateSample, MarketStatus, RateKind
from strategies import registry
from strategies.base_strategy import InvalidParameters
from strategies.implementations.funding_arbitrage.config import FundingArbitrageConfig, RiskConfig
from strategies.implementations.funding_arbitrage.exits import Alternative, HoldMemory, HoldVerdict, HoldView, judge
from strategies.implementations.funding_arbitrage.strategy import FundingArbitrage
from tests.strategies.quotes import NOW, quote

D = Decimal
VENUES = {"exchanges": ["a", "b"]}


def sample(rate: str, hours: int = 1, *, next_in_h: str = "0.5") -> FundingRateSample:
    return FundingRateSample(
        raw_rate=D(rate), interval_hours=D(hours), kind=RateKind.PREDICTED, next_funding_time=NOW + int(D(next_in_h) * NS_PER_HOUR)
    )


CALM = HoldView(
    now_ns=NOW,
    age_hours=D(10),
    notional_usd=D(1000),
    entry_edge_hourly=D("0.0001"),
    edge_hourly=D("0.0001"),
    pnl_if_closed=D(0),
    liquidation_distance=D("0.5"),
    settlements_seen=3,
    close_cost=D(1),
    spread=D("0.0001"),
    long=sample("0"),
    short=sample("0.0001"),
)


RISK_KEYS = frozenset(RiskConfig.model_fields)


def config(**given: object) -> FundingArbitrageConfig:
    """Exits as soon as a rule says so, unless said otherwise; `risk_config` keys may be given bare."""
    risk = {name: given.pop(name) for name in list(given) if name in RISK_KEYS}
    values = {"enable_exit_polling": False, **VENUES, **given, "risk_config": risk}
    return FundingArbitrageConfig.model_validate(values)


def look(view: HoldView, memory: HoldMemory | None = None, **given: object) -> HoldVerdict:
    return judge(view, memory or HoldMemory(), config(**given))


def rule(view: HoldView, memory: HoldMemory | None = None, **given: object) -> str | None:
    found = look(view, memory, **given)
    return found.rule if found.kind == "exit" else None


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
        ({**VENUES, "max_sign_flips_per_day": 1}, "persistence_lookback_hours"),
        ({**VENUES, "risk_config": {"severe_erosion_ratio": "0.6"}}, "severe_erosion_ratio"),
        ({**VENUES, "risk_config": {"min_hold_hours": 200}}, "min_hold_hours"),
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
    ("changes", "given", "expected"),
    [
        ({"liquidation_distance": D("0.09")}, {}, "liquidation_distance"),
        ({"liquidation_distance": D("0.09")}, {"enable_liquidation_prevention": False}, None),
        ({"liquidation_distance": D("0.11")}, {}, None),
        ({"liquidation_distance": D("0.11")}, {"min_liquidation_distance_pct": "0.12"}, "liquidation_distance"),
        ({"liquidation_distance": None}, {}, None),
        ({"long_status": MarketStatus.REDUCE_ONLY, "age_hours": D("0.1")}, {}, "delisting"),
        ({"short_status": MarketStatus.DELISTED}, {}, "delisting"),
        ({"short_ends_ns": NOW + 24 * NS_PER_HOUR}, {}, "delisting"),
        ({"long_ends_ns": NOW + 24 * NS_PER_HOUR + 1}, {}, None),
        ({"long_ends_ns": NOW + 24 * NS_PER_HOUR + 1, "age_hours": D("0.1")}, {"delisting_exit_hours": 25}, "delisting"),
        ({"short_status": MarketStatus.HALTED}, {}, None),
        ({"short_status": MarketStatus.UNKNOWN}, {}, None),
        ({"liquidation_distance": D("0.09"), "pnl_if_closed": D(-500)}, {}, "liquidation_distance"),
        ({"pnl_if_closed": D(-20), "short_status": MarketStatus.DELISTED}, {}, "stop_loss"),
        ({"age_hours": D(168), "pnl_if_closed": D(30)}, {"profit_target_pct": "0.02"}, "profit_target"),
        ({"age_hours": D(168)}, {"strategy": "time_based"}, "age"),
        ({"age_hours": D(100)}, {"max_position_age_hours": 100}, "age"),
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
def test_each_rule_fires_on_its_figure_and_in_its_order(changes: dict[str, object], given: dict[str, object], expected: str | None) -> None:
    assert rule(change(**changes), None, **given) == expected


def test_a_flip_needs_confirmation_and_a_margin() -> None:
    flipped = change(edge_hourly=D("-0.00001"))
    first = look(flipped)
    assert (first.kind, first.memory.flips) == ("hold", 1)
    second = look(flipped, first.memory)
    assert (second.kind, second.rule) == ("exit", "funding_flip")
    assert look(change(edge_hourly=D("-0.000001")), HoldMemory(flips=1)).memory.flips == 0
    assert rule(flipped, first.memory, flip_confirmations=3) is None
    assert rule(flipped, first.memory, flip_margin="0.0001") is None
    assert rule(flipped, first.memory, strategy="time_based") is None


def test_erosion_is_severe_below_its_ratio() -> None:
    two = HoldMemory(erosions=2)
    assert rule(change(edge_hourly=D("0.00004")), two) == "erosion"
    assert rule(change(edge_hourly=D("0.00001")), two) == "severe_erosion"
    assert rule(change(edge_hourly=D("0.00001")), two, severe_erosion_ratio="0.05") == "erosion"
    assert rule(change(edge_hourly=D("0.00006")), two) is None
    assert rule(change(edge_hourly=D("0.00006")), two, min_erosion_threshold="0.7") == "erosion"
    assert rule(change(edge_hourly=D("0.00004")), two, erosion_confirmations=4) is None


def test_pains_11_erosion_does_not_throw_away_costs_that_holding_still_earns_back() -> None:
    """The edge fell to 0.00004 per hour: 24 settlements bring 0.96 USD on 1000."""
    two = HoldMemory(erosions=2)
    weak = {"edge_hourly": D("0.00004"), "short": sample("0.00004")}
    worth = look(change(**weak, pnl_if_closed=D("-0.95")), two)
    assert (worth.kind, worth.rule) == ("hold", "outweighed")
    assert worth.hold_value == D("0.96")
    assert rule(change(**weak, pnl_if_closed=D("-0.97")), two) == "erosion", "it cannot be earned back within the horizon"
    assert rule(change(**weak, pnl_if_closed=D("0.1")), two) == "erosion", "the costs have been earned"
    assert rule(change(**weak, pnl_if_closed=D("-0.95"), age_hours=D(160)), two) == "erosion", "only eight hours are left"
    assert rule(change(**weak, pnl_if_closed=D("-0.95")), two, profitability_horizon_hours=12) == "erosion"


def test_a_missing_rate_forces_nothing_and_forgets_nothing() -> None:
    kept = HoldMemory(flips=1, erosions=2)
    found = look(change(edge_hourly=None, long=None, doubt="0.9 is beyond the venue's own cap"), kept)
    assert found.kind == "hold"
    assert "beyond the venue's own cap" in found.detail
    assert (found.memory.flips, found.memory.erosions) == (1, 2)
    assert rule(change(edge_hourly=None, short=None), HoldMemory(flips=9, erosions=9)) is None


def test_exits_wait_for_the_minimum_hold_except_the_critical_ones() -> None:
    young = change(age_hours=D(1), edge_hourly=D("-0.001"))
    assert rule(young, HoldMemory(flips=9)) is None
    assert rule(young, HoldMemory(flips=9), min_hold_hours=1) == "funding_flip"
    assert rule(msgspec.structs.replace(young, liquidation_distance=D("0.01")), HoldMemory(flips=9)) == "liquidation_distance"


def test_an_imbalance_that_stays_is_an_exit() -> None:
    askew = change(imbalance=D("0.1"), age_hours=D("0.1"))
    first = look(askew)
    assert first.kind == "hold"
    assert rule(askew, first.memory) == "imbalance"
    assert rule(askew, first.memory, imbalance_confirmations=3) is None
    assert look(CALM, first.memory).memory.imbalances == 0


DUE = {"age_hours": D(168)}


@pytest.mark.parametrize(
    ("changes", "given", "why"),
    [
        ({"spread": D("0.006")}, {}, "a spread of 0.006"),
        ({"spread": D("0.006")}, {"enable_wide_spread_protection": False}, None),
        ({"spread": D("0.006")}, {"max_spread_threshold_pct": "0.01"}, None),
        ({"pnl_if_closed": D(-1)}, {}, "closing now loses"),
        ({"pnl_if_closed": D(-1)}, {"enable_break_even_alignment": False}, None),
        ({"pnl_if_closed": None, "spread": None}, {}, None),
        ({"pnl_if_closed": D(-1)}, {"enable_exit_polling": False}, None),
        ({"short": sample("0.0001", next_in_h="0.05")}, {"enable_exit_polling": False}, "falls due to us"),
        ({"short": sample("0.0001", next_in_h="0.05")}, {"settlement_guard_minutes": 2}, None),
        ({"long": sample("0.0001", next_in_h="0.05")}, {}, None),
        ({"long": sample("0.0002", next_in_h="0.05"), "short": sample("0.0001", next_in_h="0.05")}, {}, None),
        ({"spread": D("0.006"), "pnl_if_closed": D(-100)}, {}, None),
    ],
)
def test_an_exit_that_is_not_critical_waits_for_its_moment(changes: dict[str, object], given: dict[str, object], why: str | None) -> None:
    found = look(change(**{**DUE, **changes}), None, **{"enable_exit_polling": True, **given})
    if why is None:
        assert found.kind == "exit"
        return
    assert (found.kind, found.rule) == ("hold", "wait")
    assert why in found.detail
    assert found.memory.due_ns == NOW


def test_e18_what_is_critical_or_severe_waits_for_nothing() -> None:
    wide = {"spread": D("0.006"), "short": sample("0.0001", next_in_h="0.05"), "age_hours": D(10)}
    severe = change(**wide, edge_hourly=D("0.00001"))
    assert rule(severe, HoldMemory(erosions=2), enable_exit_polling=True) == "severe_erosion"
    assert rule(change(**wide, pnl_if_closed=D(-20)), enable_exit_polling=True) == "stop_loss"
    assert rule(change(**wide, long_status=MarketStatus.REDUCE_ONLY), enable_exit_polling=True) == "delisting"


def test_waiting_is_bounded_and_starts_anew_when_the_reason_to_leave_has_gone() -> None:
    waits = {"enable_exit_polling": True, "exit_polling_max_duration_minutes": 10}
    wide = change(**DUE, spread=D("0.006"))
    first = look(wide, None, **waits)
    later = msgspec.structs.replace(wide, now_ns=NOW + 599 * 10**9)
    assert look(later, first.memory, **waits).rule == "wait"
    assert look(later, first.memory, **{**waits, "exit_polling_max_duration_minutes": 5}).kind == "exit"
    assert look(msgspec.structs.replace(wide, now_ns=NOW + 600 * 10**9), first.memory, **waits).kind == "exit"
    assert look(CALM, first.memory, **waits).memory.due_ns is None


def test_continuous_funding_is_no_settlement_to_wait_for() -> None:
    continuous = msgspec.structs.replace(sample("0.0001"), next_funding_time=None)
    assert rule(change(**DUE, short=continuous)) == "age"


def alternative(rate: str = "0.0004", *, blocked: bool = True, **changes: object) -> Alternative:
    """Round trip costs 0.0020; 24 settlements of 0.0004 bring 0.0096, net 0.0076."""
    return Alternative(quote("a", "0", base="ETH"), quote("b", rate, base="ETH", **changes), blocked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "given", "leaves"),
    [
        ({}, {}, True),  # 0.0076 - 24 * 0.0001 - 1/1000 = 0.0042 better
        ({}, {"min_profit_improvement": "0.0041"}, True),
        ({}, {"min_profit_improvement": "0.0043"}, False),
        ({}, {"enable_better_opportunity": False}, False),
        ({}, {"strategy": "funding_flip"}, False),
        ({"close_cost": D(4)}, {}, False),
        ({"close_cost": None}, {}, False),
        ({"short": sample("0.0003")}, {}, False),
        ({"rotations": 2}, {}, False),
        ({"rotations": 2}, {"max_rotations_per_day": 3}, True),
        ({"alternative": alternative(blocked=False)}, {}, False),
        ({"alternative": alternative(tradable=False)}, {}, False),
        ({"alternative": None}, {}, False),
        ({"age_hours": D(1)}, {}, False),
    ],
)
def test_a_better_pair_must_be_better_after_the_cost_of_switching(
    changes: dict[str, object], given: dict[str, object], leaves: bool
) -> None:
    found = rule(change(**{"alternative": alternative(), **changes}), None, **given)
    assert found == ("better_opportunity" if leaves else None)


def test_pains_7_the_interval_of_each_leg_is_remembered_and_its_change_is_a_change_of_memory() -> None:
    before = look(CALM)
    assert before.memory.intervals == (D(1), D(1))
    assert look(CALM, before.memory).memory == before.memory
    assert look(change(long=sample("0", 4)), before.memory).memory.intervals == (D(4), D(1))
