"""E39: a reload tightens what is open and never loosens it; what it refuses it lists."""

from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from strategies import registry
from strategies.reload import HeldConfigs, Tighter, directions, tighten
from strategies.risk.limits import RiskLimits

D = Decimal


class Care(StrEnum):
    NONE = "none"
    SOME = "some"
    FULL = "full"


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    stop_loss: Decimal | None = Field(default=D("0.02"), json_schema_extra={"tighter": "lower"})
    distance: Decimal = Field(default=D("0.1"), json_schema_extra={"tighter": "higher"})


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    max_age: int | None = Field(default=10, json_schema_extra={"tighter": "lower"})
    protect: bool = Field(default=False, json_schema_extra={"tighter": "higher"})
    care: Care = Field(default=Care.SOME, json_schema_extra={"tighter": "higher"})
    interval: float = Field(default=1.0, json_schema_extra={"tighter": "none"})
    venues: tuple[str, ...] = ("a", "b")
    quantity: Decimal = D(1)
    inner: Inner = Inner()


def test_e39_tighter_reaches_what_is_open_looser_does_not() -> None:
    new = Config(
        max_age=20,
        protect=True,
        care=Care.NONE,
        interval=9.0,
        venues=("c",),
        quantity=D(5),
        inner=Inner(stop_loss=D("0.01"), distance=D("0.05")),
    )
    found = tighten(Config(), new)
    assert found.config == Config(protect=True, interval=9.0, inner=Inner(stop_loss=D("0.01")))
    assert {change.name for change in found.refused} == {"max_age", "care", "venues", "quantity", "inner.distance"}
    told = {change.name: str(change) for change in found.changes}
    assert told["max_age"] == "max_age: 10 -> 20; what is open keeps 10: it is looser, only a lower value is tighter"
    assert "as long as it lives" in told["venues"]
    assert told["inner.stop_loss"] == "inner.stop_loss: 0.02 -> 0.01"


@pytest.mark.parametrize(("old", "new", "kept"), [(None, 5, 5), (5, None, 5), (None, None, None)])
def test_e39_none_is_no_limit(old: int | None, new: int | None, kept: int | None) -> None:
    assert tighten(Config(max_age=old), Config(max_age=new)).config.max_age == kept


def test_another_class_is_no_change_of_parameters() -> None:
    with pytest.raises(TypeError, match="cannot be changed into"):
        tighten(Config(), Inner())


def test_e39_each_open_pair_keeps_the_tightest_it_ever_had_over_restarts() -> None:
    held = HeldConfigs(Config(max_age=10))
    assert held.of("p1").max_age == 10
    held.change(Config(max_age=5), ["p1"])
    refused = held.change(Config(max_age=30, venues=("x",)), ["p1", "p2"])
    assert (held.of("p1").max_age, held.of("p2").max_age, held.of("new").max_age) == (5, 5, 30)
    assert held.of("p1").venues == ("a", "b")
    held.change(Config(max_age=20), ["p1", "p2"])
    assert (held.of("p1").max_age, held.of("new").max_age) == (5, 20), "tighter than the last file, looser than the promise"
    assert [change.name for change in refused["p1"] if not change.applies] == ["max_age", "venues"]
    again = HeldConfigs(Config(max_age=40))
    again.restore(held.dump())
    assert (again.of("p1").max_age, again.of("other").max_age) == (5, 40)
    tighter_file = HeldConfigs(Config(max_age=2))
    tighter_file.restore({**held.dump(), "p3": {"max_age": 7, "gone": 1, "inner": {"gone": 2}}})
    assert (tighter_file.of("p1").max_age, tighter_file.of("p3").max_age) == (2, 2)
    held.change(Config(), [])
    assert held.dump() == {}, "what is closed is forgotten"


configs_ = st.builds(
    Config,
    max_age=st.none() | st.integers(1, 50),
    protect=st.booleans(),
    care=st.sampled_from(Care),
    interval=st.floats(0.1, 10),
    venues=st.sampled_from([("a", "b"), ("c",)]),
    quantity=st.decimals(min_value=1, max_value=9, places=1),
    inner=st.builds(
        Inner,
        stop_loss=st.none() | st.decimals(min_value=D("0.01"), max_value=D("0.5"), places=2),
        distance=st.decimals(min_value=D("0.01"), max_value=D("0.5"), places=2),
    ),
)


def looser(before: Any, after: Any, way: Tighter) -> bool:
    if before == after or way is Tighter.NONE:
        return False
    if way is Tighter.FIXED:
        return True
    if after is None:
        return True
    if before is None:
        return False
    ranks = list(Care)
    first, second = (ranks.index(before), ranks.index(after)) if isinstance(before, Care) else (before, after)
    return bool(second > first) if way is Tighter.LOWER else bool(second < first)


def flat(config: BaseModel, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else {f"{prefix}{name}": value}
    return found


@given(st.lists(configs_, min_size=2, max_size=6))
def test_e39_no_sequence_of_reloads_loosens_an_open_pair(configs: list[Config]) -> None:
    ways = dict(directions(Config))
    held = HeldConfigs(configs[0])
    before = flat(held.of("p"))
    for config in configs[1:]:
        told = {change.name: change.applies for change in held.change(config, ["p"])["p"]}
        after, wanted = flat(held.of("p")), flat(config)
        for name, way in ways.items():
            assert not looser(before[name], after[name], way), name
            assert after[name] in (before[name], wanted[name])
            assert (name in told) == (before[name] != wanted[name])
            assert not told.get(name) or after[name] == wanted[name]
        assert held.config == config, "new positions get what was asked for"
        before = after


@pytest.mark.parametrize("name", registry.names())
def test_e39_every_strategy_says_for_its_fields_which_way_is_tighter(name: str) -> None:
    """At least its limits: a strategy whose every field is fixed could never be tightened."""
    ways = dict(directions(registry.load(name).config_class))
    assert Tighter.LOWER in ways.values()
    assert Tighter.HIGHER in ways.values()


def test_e39_risk_limits_all_say_which_way_is_tighter() -> None:
    assert Tighter.FIXED not in dict(directions(RiskLimits)).values()
