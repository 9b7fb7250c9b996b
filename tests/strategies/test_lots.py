"""How much: exact on both venues, above both minima, closable on both; refused rather than bent."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.execution.lots import CLOSABLE_MARGIN, LotRefused, common_lot, common_step, floor_to
from strategies.execution.plan import slice_quantity
from tests.strategies.instruments import instrument

STEPS = st.sampled_from(["0.00001", "0.0001", "0.001", "0.01", "0.1", "1", "10", "1000", "0.005", "0.025", "3", "0.3"])
PRICE = Decimal(100_000)


def test_an_inverse_market_is_no_leg() -> None:
    linear = instrument("a")
    inverse = msgspec.structs.replace(linear, id=msgspec.structs.replace(linear.id, inverse=True))
    for legs in ((linear, inverse), (inverse, linear)):
        with pytest.raises(LotRefused, match=r"inverse: the quantity of .* is in quote currency"):
            common_lot(Decimal(1), *legs, long_price=PRICE, short_price=PRICE)


@pytest.mark.parametrize(
    ("a", "b", "both"), [("0.001", "0.0001", "0.001"), ("0.3", "0.2", "0.6"), ("1000", "1", "1000"), ("0.025", "0.01", "0.05")]
)
def test_e23_the_common_step_is_a_whole_number_of_both(a: str, b: str, both: str) -> None:
    assert common_step(Decimal(a), Decimal(b)) == Decimal(both)


@given(
    wanted=st.decimals(min_value="0.00001", max_value="1000000", allow_nan=False, places=6),
    steps=st.tuples(STEPS, STEPS),
    minima=st.tuples(st.sampled_from(["0", "0.001", "5"]), st.sampled_from(["0", "0.01", "700"])),
    notionals=st.tuples(st.sampled_from(["0", "5", "10"]), st.sampled_from(["0", "10", "100"])),
    price=st.sampled_from(["0.00001", "0.5", "30", "100000"]),
)
def test_e23_a_lot_is_exact_and_closable_on_both_or_refused(
    wanted: Decimal, steps: tuple[str, str], minima: tuple[str, str], notionals: tuple[str, str], price: str
) -> None:
    long = instrument("a", step=steps[0], min_quantity=minima[0], min_notional=notionals[0])
    short = instrument("b", step=steps[1], min_quantity=minima[1], min_notional=notionals[1])
    at = Decimal(price)
    try:
        lot = common_lot(wanted, long, short, long_price=at, short_price=at)
    except LotRefused:
        step = common_step(long.step_size, short.step_size)
        floored = floor_to(wanted, step)
        worth = max(long.min_notional, short.min_notional) * CLOSABLE_MARGIN
        assert floored == 0 or floored < max(long.min_quantity, short.min_quantity) or floored * at < worth
        return
    assert 0 < lot <= wanted
    assert wanted - lot < common_step(long.step_size, short.step_size)
    for leg in (long, short):
        assert lot % leg.step_size == 0
        assert lot >= leg.min_quantity
        assert lot * at >= leg.min_notional * CLOSABLE_MARGIN


@pytest.mark.parametrize(
    ("wanted", "price", "rule"),
    [
        ("0", "1", "quantity"),
        ("NaN", "1", "quantity"),
        ("0.0001", "100000", "step"),
        ("0.002", "2000", "min_notional"),
        ("1", "0", "price"),
    ],
)
def test_e23_a_refusal_names_its_rule(wanted: str, price: str, rule: str) -> None:
    with pytest.raises(LotRefused, match=rule):
        common_lot(Decimal(wanted), instrument("a"), instrument("b"), long_price=Decimal(price), short_price=Decimal(price))


def test_e23_the_venues_maximum_is_kept() -> None:
    lot = common_lot(Decimal(9), instrument("a", max_quantity="5.5"), instrument("b", step="1"), long_price=PRICE, short_price=PRICE)
    assert lot == 5


@given(
    quantity=st.integers(1, 5_000),
    cap=st.integers(20, 100_000),
    steps=st.tuples(st.sampled_from(["0.001", "0.01"]), st.sampled_from(["0.001", "0.0001"])),
)
def test_e12_a_slice_is_within_the_cap_and_acceptable(quantity: int, cap: int, steps: tuple[str, str]) -> None:
    long, short = instrument("a", step=steps[0]), instrument("b", step=steps[1])
    price, step = Decimal(10_000), common_step(long.step_size, short.step_size)
    total = quantity * step
    piece = slice_quantity(total, price, Decimal(cap), long, short)
    smallest = max(step, Decimal("0.001"))
    assert piece % step == 0
    assert piece <= max(total, smallest)
    assert piece * price <= cap or piece == smallest
