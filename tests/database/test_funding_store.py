"""Market data goes in once and comes out exactly, on SQLite and PostgreSQL."""

from collections.abc import Iterator
from decimal import Decimal

import msgspec
import pytest
from sqlalchemy import text

from database.database import Database
from database.errors import JournalConflict
from database.funding_store import FundingStore
from database.market_data import FoundOpportunity, SettledRate
from exchange_clients.model import RateKind
from tests.database.market_rows import DAY, HOUR, MINUTE, T0, collection, market, sample

BTC = "BTC-USDC-PERP.toy"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with Database.open(url) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> FundingStore:
    return FundingStore(database)


def test_a_round_is_read_back_exactly_as_history_latest_and_log(store: FundingStore) -> None:
    first = sample(cap=Decimal("0.02"), bid=Decimal("1E-18"), ask=Decimal("100000.10"))
    bare = sample(symbol="ETH", next_funding_at=None, mark=None, index=None, open_interest_usd=None, volume_24h_usd=None, latency_ms=None)
    assert store.record_collection(collection(markets=2), [first, bare]) == 2
    assert store.latest() == [first, bare]
    assert [str(s.ask) for s in store.latest(symbol="BTC")] == ["100000.10"], "digit for digit"
    assert store.samples(BTC, T0, T0 + 1) == [first]
    assert store.collections() == [collection(markets=2)]


def test_a_round_that_comes_twice_is_one_round(store: FundingStore) -> None:
    assert store.record_collection(collection(), [sample()]) == 1
    assert store.record_collection(collection(), [sample()]) == 0
    assert len(store.samples(BTC, 0, T0 + DAY)) == len(store.collections()) == 1


def test_a_known_sample_is_never_changed(store: FundingStore) -> None:
    store.add_samples([sample(rate="0.0001")])
    assert store.add_samples([sample(rate="0.0009")]) == 0
    assert store.samples(BTC, 0, T0 + DAY) == store.latest() == [sample(rate="0.0001")]


def test_latest_never_goes_back_in_time(store: FundingStore) -> None:
    store.record_collection(collection(at=T0 + MINUTE), [sample(at=T0 + MINUTE, rate="2", open_interest_usd=Decimal(5))])
    store.record_collection(collection(), [sample(rate="1", open_interest_usd=Decimal(4))])
    assert [s.rate for s in store.latest()] == [2]
    assert [(m.open_interest_usd, m.last_seen) for m in store.markets()] == [(Decimal(5), T0 + MINUTE)]
    assert [s.rate for s in store.samples(BTC, 0, T0 + DAY)] == [1, 2]
    mixed = [sample(at=T0 + 3 * MINUTE, rate="4"), sample(at=T0 + 2 * MINUTE, rate="3")]
    store.add_samples(mixed)
    assert [s.rate for s in store.latest()] == [4]


def test_a_round_is_written_whole_or_not_at_all(store: FundingStore, database: Database) -> None:
    bad = msgspec.structs.replace(sample(symbol="ETH"), rate=Decimal("NaN"))
    with pytest.raises(Exception, match="not a finite amount"):
        store.record_collection(collection(), [sample(), bad])
    assert (store.latest(), store.collections(), store.markets()) == ([], [], [])
    twice = text("INSERT INTO venues (venue, first_seen) VALUES ('a', 1)")
    with pytest.raises(JournalConflict), database.write() as connection:  # noqa: PT012 - the second one fails
        connection.execute(twice)
        connection.execute(twice)
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM venues")).scalar() == 0


def test_a_failed_round_is_told_and_touches_no_market(store: FundingStore) -> None:
    store.record_collection(collection(), [sample()])
    failed = msgspec.structs.replace(collection(at=T0 + MINUTE, markets=0), outcome="failed", error="timeout after 10 s", latency_ms=None)
    store.record_collection(failed, [])
    assert [c.error for c in store.collections()] == ["timeout after 10 s", ""]
    assert [c.error for c in store.collections(venue="toy", last=1)] == ["timeout after 10 s"]
    assert store.collections(venue="other") == []
    assert store.latest() == [sample()]


def test_what_a_venue_says_of_its_markets(store: FundingStore) -> None:
    store.record_collection(collection(at=T0 + MINUTE), [sample(at=T0 + MINUTE)])
    store.put_markets([market(), market("other", "ETH")], T0 + 2 * MINUTE)
    known, new = store.markets()
    assert known == market(
        open_interest_usd=Decimal("12345678.90"), volume_24h_usd=Decimal("987654321.0"), first_seen=T0 + MINUTE, last_seen=T0 + 2 * MINUTE
    )
    assert (new.venue, new.first_seen, new.open_interest_usd) == ("other", T0 + 2 * MINUTE, None)
    store.put_markets([market(maker_fee=None, status="delisted")], T0 + DAY)
    (gone,) = store.markets("toy")
    assert (gone.maker_fee, gone.status, gone.first_seen) == (None, "delisted", T0 + MINUTE)


def test_samples_of_a_span_newest_or_oldest_first(store: FundingStore) -> None:
    store.add_samples([sample(at=T0 + i * MINUTE, rate=str(i)) for i in range(10)])
    assert [int(s.rate) for s in store.samples(BTC, T0 + 2 * MINUTE, T0 + 5 * MINUTE)] == [2, 3, 4]
    assert [int(s.rate) for s in store.samples(BTC, 0, T0 + DAY, 2, newest_first=True)] == [9, 8]
    assert store.samples("XRP-USDC-PERP.toy", 0, T0 + DAY) == []
    points = store.rates([BTC, "XRP-USDC-PERP.toy"], T0, T0 + 2 * MINUTE)
    assert [(p.at, p.rate, p.interval_hours, p.kind) for p in points[BTC]] == [
        (T0, Decimal(0), Decimal(8), RateKind.PREDICTED),
        (T0 + MINUTE, Decimal(1), Decimal(8), RateKind.PREDICTED),
    ]
    assert points["XRP-USDC-PERP.toy"] == []


def test_every_market_as_it_was_at_a_past_time(store: FundingStore) -> None:
    store.add_samples([sample(venue, at=T0 + i * MINUTE, rate=str(i)) for venue in ("toy", "other") for i in range(5)])
    store.add_samples([sample("late", at=T0 + 3 * MINUTE), sample("old", at=T0 - HOUR)])
    found = store.as_of(T0 + 2 * MINUTE + 1, max_age_s=180)
    assert [(s.venue, int(s.rate)) for s in found] == [("other", 2), ("toy", 2)]
    assert len(store.as_of(T0 + 3 * MINUTE, max_age_s=180)) == 3
    assert {s.venue for s in store.as_of(T0 + 3 * MINUTE, max_age_s=7200)} == {"toy", "other", "late", "old"}


def test_settled_rates_come_once_and_apart_from_predicted_ones(store: FundingStore) -> None:
    def settled(hour: int, rate: str = "0.0001", symbol: str = "BTC") -> SettledRate:
        instrument = f"{symbol}-USDC-PERP.toy"
        return SettledRate(
            venue="toy", instrument=instrument, symbol=symbol, settled_at=T0 + hour * HOUR, rate=Decimal(rate), interval_hours=Decimal(1)
        )

    assert store.add_settled([settled(2), settled(0), settled(1)]) == 3
    assert store.add_settled([settled(2, "9"), settled(3), settled(5, symbol="ETH")]) == 2
    assert store.settled(BTC, T0, T0 + 3 * HOUR) == [settled(0), settled(1), settled(2)]
    store.put_markets([market(symbol="NEW")], T0)
    assert store.newest_settled() == {BTC: T0 + 3 * HOUR, "ETH-USDC-PERP.toy": T0 + 5 * HOUR}
    assert store.latest() == store.samples(BTC, 0, T0 + DAY) == []


def test_opportunities_name_their_markets(store: FundingStore) -> None:
    store.put_markets([market(), market("other")], T0)

    def found(at: int, symbol: str = "BTC") -> FoundOpportunity:
        return FoundOpportunity(
            ts=at,
            symbol=symbol,
            long_instrument="BTC-USDC-PERP.toy",
            short_instrument=f"{symbol}-USDC-PERP.other",
            hourly=Decimal("0.0000125"),
            net=Decimal("-0.0003"),
            costs=Decimal("0.001"),
            horizon_hours=Decimal(24),
        )

    assert store.add_opportunities([found(T0), found(T0 + 5), found(T0 + 5, "ETH")]) == 3
    assert store.add_opportunities([found(T0)]) == 0
    assert store.opportunities(T0, T0 + 1) == [found(T0)]
    assert store.opportunities(0, T0 + 9, symbol="ETH") == [found(T0 + 5, "ETH")]
    assert [m.instrument for m in store.markets("other")] == ["BTC-USDC-PERP.other", "ETH-USDC-PERP.other"], "made by name"
    with pytest.raises(ValueError, match="not an instrument id"):
        store.add_opportunities([msgspec.structs.replace(found(T0 + 6), long_instrument="unknown")])


def test_figures_tell_rows_and_span(store: FundingStore) -> None:
    assert {f.table: (f.rows, f.first) for f in store.figures()}["funding_rates"] == (0, None)
    store.add_samples([sample(at=T0), sample("other", at=T0 + DAY)])
    by_table = {f.table: f for f in store.figures()}
    rates = by_table["funding_rates"]
    assert (rates.rows, rates.first, rates.last) == (2, T0, T0 + DAY)
    assert by_table["venue_symbols"].rows == 2
