"""Money and time come back exactly, and what is neither is refused, on every database."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, select
from sqlalchemy.exc import StatementError

from database.connect import connect
from database.times import ns_to_text, text_to_ns
from database.types import DecimalText, EpochNs, UtcNs

LAST_TEXT = 253_402_300_799_999_999_999
"""The end of the year 9999."""
LAST_EPOCH = 2**63 - 1

EXACT = Table(
    "exact",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("amount", DecimalText()),
    Column("ts", UtcNs()),
    Column("at", EpochNs()),
)

amounts = st.builds(
    lambda sign, digits, places: Decimal((sign, tuple(int(d) for d in str(digits)), -places)),
    st.integers(0, 1),
    st.integers(0, 10**36),
    st.integers(0, 36),
)


@pytest.fixture
def connection(url: str) -> Iterator[Any]:
    opened = connect(url)
    with opened.connection.begin():
        EXACT.create(opened.connection)
    yield opened.connection
    opened.connection.close()
    opened.connection.engine.dispose()


@given(amount=amounts, ts=st.integers(0, LAST_TEXT), at=st.integers(0, LAST_EPOCH))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_goes_in_comes_out(connection: Any, amount: Decimal, ts: int, at: int) -> None:
    with connection.begin():
        connection.execute(EXACT.delete())
        connection.execute(EXACT.insert().values(amount=amount, ts=ts, at=at))
        row = connection.execute(select(EXACT)).one()
    assert (row.amount.as_tuple(), row.ts, row.at) == (amount.as_tuple(), ts, at)


@given(times=st.lists(st.integers(0, LAST_TEXT), min_size=2, max_size=6, unique=True))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_database_orders_times_as_they_were(connection: Any, times: list[int]) -> None:
    with connection.begin():
        connection.execute(EXACT.delete())
        connection.execute(EXACT.insert(), [{"ts": ts, "at": ts % LAST_EPOCH} for ts in times])
        assert connection.execute(select(EXACT.c.ts).order_by(EXACT.c.ts)).scalars().all() == sorted(times)
        after = select(EXACT.c.ts).where(EXACT.c.ts > min(times))
        assert sorted(connection.execute(after).scalars()) == sorted(times)[1:]


@pytest.mark.parametrize(
    "bad",
    [
        {"amount": 1.5},
        {"amount": Decimal("NaN")},
        {"amount": Decimal("Infinity")},
        {"amount": Decimal("1E+90")},
        {"amount": Decimal("1E-90")},
        {"ts": -1},
        {"ts": LAST_TEXT + 1},
        {"at": -1},
        {"at": LAST_EPOCH + 1},
        {"at": 1.0},
        {"at": True},
    ],
)
def test_what_is_not_exact_is_refused(connection: Any, bad: dict[str, Any]) -> None:
    with pytest.raises(StatementError), connection.begin():
        connection.execute(EXACT.insert().values(**bad))
    with connection.begin():
        assert connection.execute(select(EXACT)).all() == []


def test_exponents_are_written_out(connection: Any) -> None:
    with connection.begin():
        connection.execute(EXACT.insert().values(amount=Decimal("1E+3")))
        assert str(connection.execute(select(EXACT.c.amount)).scalar_one()) == "1000"


@pytest.mark.parametrize("ts_ns", [0, 1, 999_999_999, 1_795_260_000_123_456_789, LAST_TEXT])
def test_times_round_trip_and_sort(ts_ns: int) -> None:
    assert text_to_ns(ns_to_text(ts_ns)) == ts_ns
    assert ts_ns == 0 or ns_to_text(ts_ns - 1) < ns_to_text(ts_ns)


@pytest.mark.parametrize("text", ["", "2026-11-21T11:19:20Z", "2026-11-21T11:19:20.123456789", "2026-11-21 11:19:20.12345678Z"])
def test_a_time_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"UTC time|does not match"):
        text_to_ns(text)
