"""Hours are the exact sum of their samples, and nothing that is not summed up is ever deleted."""

from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from database import rollup
from database.database import Database
from database.funding_store import FundingStore
from database.market_data import FoundOpportunity, HourlyRate
from database.market_rows import put
from database.rollup import Retained, summed
from exchange_clients.model import RateKind
from tests.database.market_rows import DAY, HOUR, MINUTE, T0, collection, sample

BTC = "BTC-USDC-PERP.toy"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with Database.open(url) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> FundingStore:
    return FundingStore(database)


def hours(store: FundingStore, instrument: str = BTC) -> list[HourlyRate]:
    return store.hourly(instrument, 0, T0 + 400 * DAY)


def test_a_long_time_without_samples_is_passed_in_one_step(
    store: FundingStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_samples([sample(at=T0 - 300 * DAY), sample(at=T0 - 200 * DAY + 5 * HOUR), sample(symbol="ETH", at=T0)])
    steps = 0
    write = database.write

    def counted() -> Any:
        nonlocal steps
        steps += 1
        return write()

    monkeypatch.setattr(database, "write", counted)
    assert store.roll_up(T0 + HOUR) == 3
    assert steps < 12
    assert [hour.hour for hour in hours(store)] == [T0 - 300 * DAY, T0 - 200 * DAY + 5 * HOUR]
    assert len(hours(store, "ETH-USDC-PERP.toy")) == 1
    steps = 0
    assert store.retain(T0 + HOUR, raw_days=90).samples == 2
    assert steps < 6


def test_a_rate_of_very_many_decimals_stops_no_roll_up(store: FundingStore) -> None:
    tiny = "0." + "0" * 70 + "1"
    store.add_samples([sample(rate=tiny, interval_hours=Decimal(3)), sample(symbol="ETH"), sample(at=T0 + 1, rate="0.0003")])
    assert store.roll_up(T0 + HOUR) == 2
    (hour,) = hours(store)
    assert hour.low == Decimal("0." + "0" * 71 + "33333")
    assert hour.high == Decimal("0.0000375")


def test_an_hour_is_the_sum_of_its_samples_and_ends_before_the_next(store: FundingStore) -> None:
    rates = ["0.0001", "0.0003", "-0.0002"]
    store.add_samples([sample(at=T0 + i * 20 * MINUTE, rate=rate) for i, rate in enumerate(rates)])
    store.add_samples([sample(at=T0 + HOUR, rate="0.0008", open_interest_usd=Decimal(7)), sample(at=T0 + HOUR - 1, rate="0.0006")])
    assert store.roll_up(T0 + HOUR + 30 * MINUTE) == 1, "the second hour has not ended"
    (first,) = hours(store)
    assert first == HourlyRate(
        venue="toy",
        instrument=BTC,
        symbol="BTC",
        hour=T0,
        kind=RateKind.PREDICTED,
        samples=4,
        mean=Decimal("0.000025"),
        low=Decimal("-0.000025"),
        high=Decimal("0.000075"),
        last=Decimal("0.000075"),
        interval_hours=Decimal(8),
        open_interest_usd=Decimal("12345678.90"),
        volume_24h_usd=Decimal("987654321.0"),
    )
    assert store.roll_up(T0 + 2 * HOUR) == 1
    assert [(h.hour, h.samples, h.open_interest_usd) for h in hours(store)][1:] == [(T0 + HOUR, 1, Decimal(7))]


def test_rolling_up_again_changes_nothing(store: FundingStore) -> None:
    store.add_samples([sample(at=T0 + i * MINUTE, rate=f"0.000{i}") for i in range(90)])
    assert store.roll_up(T0 + DAY) == 2
    once = hours(store)
    assert store.roll_up(T0 + DAY) == store.roll_up(T0) == 0
    assert hours(store) == once


def test_intervals_that_change_and_kinds_that_differ_do_not_mix(store: FundingStore) -> None:
    store.add_samples(
        [
            sample(at=T0, rate="0.0008", interval_hours=Decimal(8)),
            sample(at=T0 + MINUTE, rate="0.0003", interval_hours=Decimal(1)),
            sample(at=T0 + 2 * MINUTE, rate="0.01", kind=RateKind.SETTLED),
        ]
    )
    store.roll_up(T0 + HOUR)
    predicted, settled = hours(store)
    assert (predicted.kind, predicted.samples, predicted.mean, predicted.interval_hours) == (
        RateKind.PREDICTED,
        2,
        Decimal("0.0002"),
        Decimal(1),
    )
    assert (settled.kind, settled.samples, settled.mean) == (RateKind.SETTLED, 1, Decimal("0.00125"))


def test_late_samples_are_summed_up_with_those_of_their_hour(store: FundingStore) -> None:
    store.add_samples([sample(at=T0 + i * MINUTE) for i in range(180)])
    store.roll_up(T0 + 3 * HOUR)
    store.add_samples([sample(at=T0 + HOUR + 1, rate="0.8"), sample("other", at=T0 + 1)])
    assert store.roll_up(T0 + 3 * HOUR) == 2, "the hour that changed, and the other market's"
    assert [h.samples for h in hours(store)] == [60, 61, 60]
    assert hours(store)[1].high == Decimal("0.1")


def test_roll_up_goes_on_where_it_was_stopped(store: FundingStore, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "CHUNK", 2)
    store.add_samples([sample(symbol=f"S{n}", at=T0) for n in range(7)])
    calls = []

    def stop_in_the_third_chunk(*given: Any, **named: Any) -> int:
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return put(*given, **named)

    monkeypatch.setattr("database.rollup.put", stop_in_the_third_chunk)
    with pytest.raises(KeyboardInterrupt):
        store.roll_up(T0 + HOUR)
    assert sum(len(hours(store, f"S{n}-USDC-PERP.toy")) for n in range(7)) == 4
    assert store.roll_up(T0 + HOUR) == 3
    assert sum(len(hours(store, f"S{n}-USDC-PERP.toy")) for n in range(7)) == 7


NINETY = 90 * DAY


def test_old_samples_go_whole_hours_at_a_time_and_their_sum_stays(store: FundingStore) -> None:
    store.add_samples([sample(venue, at=T0 + i * 10 * MINUTE) for venue in ("toy", "other") for i in range(18)])
    store.roll_up(T0 + 3 * HOUR)
    gone = store.retain(T0 + NINETY + HOUR + 30 * MINUTE)
    assert gone == Retained(samples=12, opportunities=0, collections=0, kept=0)
    assert next(s.observed_at for s in store.samples(BTC, 0, T0 + DAY)) == T0 + HOUR
    assert [h.samples for h in hours(store)] == [6, 6, 6]
    assert len(store.latest()) == 2
    assert store.retain(T0 + NINETY + HOUR + 30 * MINUTE).samples == 0


def test_what_is_not_rolled_up_stays(store: FundingStore) -> None:
    store.add_samples([sample(at=T0 + i * 30 * MINUTE) for i in range(6)])
    assert store.retain(T0 + 200 * DAY) == Retained(samples=0, opportunities=0, collections=0, kept=6)
    store.roll_up(T0 + HOUR)
    assert store.retain(T0 + 200 * DAY) == Retained(samples=2, opportunities=0, collections=0, kept=4)
    assert len(store.samples(BTC, 0, T0 + DAY)) == 4


def test_samples_that_come_for_an_hour_whose_samples_are_gone_are_kept_and_do_not_spoil_it(store: FundingStore) -> None:
    store.add_samples([sample(at=T0 + i * 10 * MINUTE) for i in range(12)])
    store.roll_up(T0 + 2 * HOUR)
    store.retain(T0 + 200 * DAY)
    before = hours(store)
    store.add_samples([sample(at=T0 + HOUR + 1, rate="9")])
    store.roll_up(T0 + 2 * HOUR)
    assert store.retain(T0 + 200 * DAY) == Retained(samples=0, opportunities=0, collections=0, kept=1)
    assert hours(store) == before
    assert [s.rate for s in store.samples(BTC, 0, T0 + DAY)] == [9]
    assert [s.observed_at for s in store.latest()] == [T0 + 110 * MINUTE], "older than the latest, though newer than all that is left"


def test_a_missing_hourly_row_keeps_its_samples(store: FundingStore, database: Database) -> None:
    store.add_samples([sample(at=T0 + i * 20 * MINUTE) for i in range(9)])
    store.roll_up(T0 + 3 * HOUR)
    with database.write() as connection:
        connection.execute(text("DELETE FROM funding_rates_hourly WHERE hour = :hour"), {"hour": T0 + HOUR})
    assert store.retain(T0 + 200 * DAY) == Retained(samples=6, opportunities=0, collections=0, kept=3)
    assert [s.observed_at for s in store.samples(BTC, 0, T0 + DAY)] == [T0 + HOUR + i * 20 * MINUTE for i in range(3)]


def test_logs_and_opportunities_have_their_own_time(store: FundingStore) -> None:
    def found(at: int) -> FoundOpportunity:
        figures = dict.fromkeys(("hourly", "net", "costs", "horizon_hours"), Decimal(1))
        return FoundOpportunity(ts=at, symbol="BTC", long_instrument=BTC, short_instrument="BTC-USDC-PERP.other", **figures)

    for day in range(3):
        store.record_collection(collection(at=T0 + day * DAY), [])
        store.add_opportunities([found(T0 + day * DAY)])
    gone = store.retain(T0 + 11 * DAY, opportunity_days=10, log_days=9)
    assert (gone.opportunities, gone.collections) == (1, 2)
    assert [o.ts for o in store.opportunities(0, T0 + DAY * 9)] == [T0 + DAY, T0 + 2 * DAY]
    assert [c.started_at for c in store.collections()] == [T0 + 2 * DAY]


rates = st.decimals(min_value=-1, max_value=1, places=18)


@given(st.lists(st.tuples(st.integers(0, 3 * 60 - 1), rates, st.sampled_from([1, 2, 3, 4, 8, 24])), min_size=1, max_size=40))
def test_every_hour_is_exact_whatever_comes(told: list[tuple[int, Decimal, int]]) -> None:
    """Beside an independent calculation in fractions, rounded once to 28 digits."""
    rows = [
        SimpleNamespace(
            market_id=1,
            observed_at=T0 + minute * MINUTE,
            rate=rate,
            interval_hours=Decimal(hours),
            kind="predicted",
            open_interest_usd=None,
            volume_24h_usd=None,
        )
        for minute, rate, hours in sorted(told, key=lambda one: one[0])
    ]
    once = Context(prec=28, rounding=ROUND_HALF_EVEN)

    def rounded(exact: Fraction) -> Decimal:
        return once.divide(Decimal(exact.numerator), Decimal(exact.denominator))

    found = {row["hour"]: row for row in summed(rows)}
    assert set(found) == {T0 + minute // 60 * HOUR for minute, _, _ in told}
    for hour, row in found.items():
        exact = [Fraction(r.rate) / Fraction(r.interval_hours) for r in rows if hour <= r.observed_at < hour + HOUR]
        assert row["samples"] == len(exact)
        assert row["mean"] == rounded(sum(exact, Fraction(0)) / len(exact))
        assert (row["low"], row["high"], row["last"]) == (rounded(min(exact)), rounded(max(exact)), rounded(exact[-1]))


def test_a_rate_per_hour_without_an_end_is_rounded_once(store: FundingStore) -> None:
    store.add_samples([msgspec.structs.replace(sample(), rate=Decimal("0.0001"), interval_hours=Decimal(3))])
    store.roll_up(T0 + HOUR)
    assert hours(store)[0].mean == Decimal("0.00003333333333333333333333333333")
