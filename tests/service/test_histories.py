"""What history says of markets and pairs: hours without a record stay holes, and nothing counts before it was known."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal as D
from pathlib import Path

import pytest

from database.connect import sqlite_url
from database.database import Database
from database.funding_store import FundingStore
from database.market_data import SettledRate
from exchange_clients.model import NS_PER_HOUR, InstrumentId
from funding_rate_service.histories import market_history, pair_histories
from funding_rate_service.opportunity import persistence

START = 490_000 * NS_PER_HOUR
LONG, SHORT = InstrumentId.parse("BTC-USDC-PERP.hyperliquid"), InstrumentId.parse("BTC-USDT-PERP.okx")
HOLES = {9, 10, 11, 20}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FundingStore]:
    database = Database.open(sqlite_url(tmp_path / "service.db"))
    yield FundingStore(database)
    database.close()


def settled(of: InstrumentId, hour: int, rate: str, hours: str = "1") -> SettledRate:
    """One that settles at the end of an hour of the series."""
    at = START + (hour + 1) * NS_PER_HOUR
    return SettledRate(venue=of.venue, instrument=str(of), symbol="BTC", settled_at=at, rate=D(rate), interval_hours=D(hours))


def test_an_hour_after_a_hole_is_no_neighbour_of_the_hour_before_it(store: FundingStore) -> None:
    rates = [None if hour in HOLES else D((hour * 7) % 11) / 1_000_000 for hour in range(30)]
    store.add_settled([settled(SHORT, hour, f"{rate:f}") for hour, rate in enumerate(rates) if rate is not None])
    store.add_settled([settled(LONG, hour, "0") for hour in range(30)])
    end = START + 30 * NS_PER_HOUR
    expected = persistence(rates)
    assert expected is not None
    assert expected != persistence([rate for rate in rates if rate is not None])
    assert pair_histories(store, [(LONG, SHORT)], end)[LONG, SHORT].statistics == expected
    found = market_history(store, SHORT, START, end + 1)
    assert found.statistics == expected
    assert found.series == [rate for rate in rates if rate is not None]


def test_what_settles_later_was_not_known(store: FundingStore) -> None:
    """Five hours into an interval of eight, the rate that is charged at its end is nobody's knowledge, though it counts for those hours."""
    store.add_settled([settled(SHORT, hour, "0.0008", "8") for hour in (7, 15, 23)])
    store.add_settled([settled(LONG, hour, "0") for hour in range(24)])
    then = pair_histories(store, [(LONG, SHORT)], START + 21 * NS_PER_HOUR, hours=21)[LONG, SHORT]
    assert then.short == [D("0.0001")] * 16 + [None] * 5
    later = pair_histories(store, [(LONG, SHORT)], START + 24 * NS_PER_HOUR, hours=24)[LONG, SHORT]
    assert later.short == [D("0.0001")] * 24
