"""Limits: every field documented, directions, what a reload may do (E39)."""

from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from strategies.risk.limits import MarginPolicy, RiskLimits, direction, tightens, tightest

D = Decimal


def test_every_limit_says_its_unit_and_direction() -> None:
    for name, field in RiskLimits.model_fields.items():
        assert direction(name) in ("lower", "higher", "none"), name
        assert field.description, name


def test_an_unknown_limit_is_an_error() -> None:
    with pytest.raises(ValidationError, match="max_order"):
        RiskLimits.model_validate({"max_order": 5})


def test_distances_must_rise_and_figures_must_be_read_often_enough() -> None:
    with pytest.raises(ValidationError, match="must rise"):
        RiskLimits(shrink_liquidation_distance=D("0.2"))
    with pytest.raises(ValidationError, match="at most half"):
        RiskLimits(check_s=15)


@pytest.mark.parametrize(
    ("name", "tighter", "looser"),
    [
        ("max_order_usd", D(10), D(1_000_000)),
        ("max_daily_loss_usd", D(10), None),
        ("max_quote_divergence", D("0.01"), None),
        ("failed_open_pause_s", 9_999.0, 1.0),
        ("close_liquidation_distance", D("0.06"), D("0.01")),
        ("margin_policy", MarginPolicy.ACT, MarginPolicy.OFF),
        ("check_s", 1.0, 3_600.0),
    ],
)
def test_e39_a_reload_takes_what_tightens_and_names_what_would_loosen(name: str, tighter: object, looser: object) -> None:
    old = RiskLimits(max_quote_divergence=D("0.02"), margin_policy=MarginPolicy.WARN)
    good, bad = old.model_copy(update={name: tighter}), old.model_copy(update={name: looser})
    assert tightens(old, good) == []
    assert getattr(tightest(old, good), name) == tighter
    assert tightens(old, bad) == [name]
    assert getattr(tightest(old, bad), name) == getattr(old, name)


def test_e39_a_limit_that_was_none_may_only_become_one() -> None:
    free = RiskLimits(max_order_usd=None)
    assert tightens(free, RiskLimits(max_order_usd=D(10**9))) == []


def test_the_page_about_risk_lists_every_limit_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "risk.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    shown = {row[1].strip().strip("`"): row[2].strip() for row in rows}
    for name, field in RiskLimits.model_fields.items():
        default = field.default
        value = "none" if default is None else f"{default:g}" if isinstance(default, float) else str(default)
        assert shown.get(name) == value, name
