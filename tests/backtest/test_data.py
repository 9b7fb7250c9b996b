"""Files that cannot be right end a run with their place; holes are reported; nothing is filled."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from database.database import Database
from database.funding_store import FundingStore
from database.market_data import SettledRate
from perpkit.backtest.data.candles import CandleTable, QuoteTable, read_candles, read_quotes
from perpkit.backtest.data.funding import FundingTable, read_funding
from perpkit.backtest.data.service import FundingDatabase, SqlFunding
from perpkit.backtest.data.tables import DataError, rows
from tests.backtest.history import write

D = Decimal
H = 3_600 * 10**9
FUNDING = "time,rate"
BARS = "time,open,high,low,close"


def funding(folder: Path, rows: list[tuple[object, ...]], *, head: str = FUNDING, **table: Any) -> Any:
    write(folder / "f.csv", head, rows)
    return read_funding(folder, FundingTable.model_validate({"file": "f.csv", "interval_hours": 8, **table}))


def bars(folder: Path, rows: list[tuple[object, ...]], **table: Any) -> Any:
    write(folder / "c.csv", BARS, rows)
    return read_candles(folder, CandleTable.model_validate({"file": "c.csv", "interval_hours": 1, **table}))


def test_settlements_are_read_exactly_and_late_stamps_snap_to_their_time(tmp_path: Path) -> None:
    found = funding(tmp_path, [("2024-01-01T00:00:00Z", "0.00012345678901"), ("2024-01-01T08:00:00.700Z", "-1e-5")])
    assert [(s.ts_ns // H % 24, s.rate, s.interval_ns) for s in found.settlements] == [
        (0, D("0.00012345678901"), 8 * H),
        (8, D("-1e-5"), 8 * H),
    ]
    assert found.gaps == ()


@pytest.mark.parametrize(
    ("table", "time"),
    [
        ({"time_zone": "+03:00"}, "2024-01-01 11:00:00"),
        ({"time_zone": "Europe/London"}, "2024-07-01 09:00:00"),
        ({}, "2024-01-01T11:00:00+03:00"),
        ({}, 1_704_096_000),
        ({}, 1_704_096_000_000),
        ({}, 1_704_096_000_000_000_000),
        ({"offset_hours": 4}, "2024-01-01T12:00:00Z"),
    ],
)
def test_times_say_their_zone_or_the_configuration_does(tmp_path: Path, table: dict[str, Any], time: object) -> None:
    (settlement,) = funding(tmp_path, [(time, "0.0001")], **table).settlements
    assert settlement.ts_ns // H % 8 == int(str(table.get("offset_hours", 0)))
    assert settlement.ts_ns // H % 24 == (12 if "offset_hours" in table else 8)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([("2024-01-01 08:00:00", "0.0001")], r"f\.csv:2: the time .* does not say its zone; say it: time_zone"),
        ([("2024-01-01T11:00:00Z", "0.0001")], r"f\.csv:2: .*3 h off the whole multiples of 8 h; wrong time_zone\?"),
        ([("2024-01-01T08:00:00Z", "nan")], r"f\.csv:2: rate is 'nan', not a number"),
        ([("2024-01-01T08:00:00Z", "")], r"f\.csv:2: no value in column 'rate'"),
        ([("2024-01-01T08:00:00Z", "1.5")], r"f\.csv:2: a funding rate of 1\.5 per interval; rates are fractions"),
        ([("2024-01-01T08:00:00Z", "1"), ("2024-01-01T00:00:00Z", "1")], "a funding rate of 1 "),
        ([("2024-01-01T08:00:00Z", "0"), ("2024-01-01T00:00:00Z", "0")], r"f\.csv:3: 2024-01-01 00:00 comes after 2024-01-01 08:00"),
        ([("2024-01-01T08:00:00Z", "0"), ("2024-01-01T08:00:10Z", "0")], r"f\.csv:3: the same settlement twice"),
        ([("yesterday", "0")], r"f\.csv:2: time 'yesterday' is no time"),
        ([("2024-01-01T08:00:00Z", "0", "9")], r"f\.csv:2: the row has not as many cells as the header"),
        ([], "no rows"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, lines: list[tuple[object, ...]], told: str) -> None:
    with pytest.raises(DataError, match=told):
        funding(tmp_path, lines)


def test_a_time_that_the_clock_skipped_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist in Europe/London"):
        funding(tmp_path, [("2024-03-31 01:00:00", "0")], time_zone="Europe/London")


def test_holes_are_told_and_not_filled(tmp_path: Path) -> None:
    found = funding(tmp_path, [("2024-01-01T00:00Z", "0"), ("2024-01-02T00:00Z", "0"), ("2024-01-02T08:00Z", "0")])
    assert [str(gap) for gap in found.gaps] == ["2024-01-01 00:00 to 2024-01-02 00:00"]
    assert len(found.settlements) == 3


def test_a_series_that_settles_more_often_from_some_day_on(tmp_path: Path) -> None:
    hours = [0, 8, 16, 17, 18, 19]
    found = funding(tmp_path, [(f"2024-01-01T{h:02}:00Z", "0") for h in hours], interval_hours="auto")
    assert [s.interval_ns // H for s in found.settlements] == [8, 8, 8, 1, 1, 1]
    assert found.gaps == ()


def test_a_rate_without_an_interval_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"f\.csv:2: a rate without an interval; add a column interval_hours"):
        funding(tmp_path, [("2024-01-01T00:00Z", "0")], interval_hours=None)
    own = funding(tmp_path, [("2024-01-01T00:00Z", "0", 4)], head="time,rate,interval_hours", interval_hours=None)
    assert own.settlements[0].interval_ns == 4 * H


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([("2024-01-01T00:00Z", 10, 9, 8, 9)], r"c\.csv:2: open 10, high 9, low 8, close 9 are no bar"),
        ([("2024-01-01T00:00Z", 0, 1, 0, 1)], "are no bar"),
        ([("2024-01-01T00:00Z", 1, "inf", 1, 1)], "high is 'inf', not a number"),
        ([("2024-01-01T00:00Z", 1, 1, 1, 1), ("2024-01-01T00:30Z", 1, 1, 1, 1)], r"c\.csv:3: the bar begins 1800 s after the one before"),
        ([("2024-01-01T01:00Z", 1, 1, 1, 1), ("2024-01-01T00:00Z", 1, 1, 1, 1)], r"c\.csv:3: .* comes after"),
        ([("2024-01-01T01:00Z", 1, 1, 1, 1), ("2024-01-01T01:00Z", 1, 1, 1, 1)], r"c\.csv:3: the same bar twice"),
    ],
)
def test_bars_that_cannot_be(tmp_path: Path, lines: list[tuple[object, ...]], told: str) -> None:
    with pytest.raises(DataError, match=told):
        bars(tmp_path, lines)


def test_bars_may_be_stamped_at_their_end(tmp_path: Path) -> None:
    found = bars(tmp_path, [("2024-01-01T01:00Z", 1, 2, 1, 2), ("2024-01-01T04:00Z", 1, 2, 1, 2)], time_is="close")
    assert [b.ts_ns // H % 24 for b in found.bars] == [0, 3]
    assert [str(gap) for gap in found.gaps] == ["2024-01-01 01:00 to 2024-01-01 03:00"]


def test_crossed_quotes_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "q.csv", "time,bid,bid_size,ask,ask_size", [("2024-01-01T00:00Z", 10, 1, 11, 1), ("2024-01-01T00:01Z", 11, 1, 11, 1)])
    reader = read_quotes(tmp_path, QuoteTable(file="q.csv"))
    assert next(reader).ask == 11
    with pytest.raises(DataError, match=r"q\.csv:3: 11 x 1 against 11 x 1 is no quote"):
        next(reader)


def test_rows_are_picked_and_columns_named(tmp_path: Path) -> None:
    write(tmp_path / "f.csv", "When,Coin,Funding Rate", [("2024-01-01T00:00Z", "ETH", "9"), ("2024-01-01T00:00Z", "BTC", "0.001")])
    table = {"file": "f.csv", "interval_hours": 8, "where": {"coin": "BTC"}, "columns": {"time": "When"}}
    assert read_funding(tmp_path, FundingTable.model_validate(table)).settlements[0].rate == D("0.001")
    with pytest.raises(DataError, match="no row where Coin is SOL"):
        read_funding(tmp_path, FundingTable.model_validate({**table, "where": {"Coin": "SOL"}}))
    with pytest.raises(DataError, match=r"there is no column 'market'; columns are When, Coin, Funding Rate"):
        read_funding(tmp_path, FundingTable.model_validate({**table, "where": {"market": "SOL"}}))
    with pytest.raises(DataError, match=r"there is no column 'Zeit'"):
        read_funding(tmp_path, FundingTable.model_validate({**table, "columns": {"time": "Zeit"}}))


def test_parquet_says_the_same_as_csv(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    from datetime import UTC, datetime

    times = [datetime(2024, 1, 1, h, tzinfo=UTC) for h in (0, 8, 16)]
    aware = pa.table({"time": pa.array(times, pa.timestamp("us", "UTC")), "rate": [0.0001, -0.00025, 0.0], "venue": ["a", "a", "a"]})
    pq.write_table(aware, tmp_path / "f.parquet")
    found = read_funding(tmp_path, FundingTable(file="f.parquet", interval_hours=D(8), where={"venue": "a"}))
    csv = funding(tmp_path, [(t.isoformat(), r) for t, r in zip(times, ("0.0001", "-0.00025", "0"), strict=True)])
    assert [(s.ts_ns, s.rate) for s in found.settlements] == [(s.ts_ns, s.rate) for s in csv.settlements]
    naive = pa.table({"time": pa.array([t.replace(tzinfo=None) for t in times], pa.timestamp("us")), "rate": [0.0, 0.0, float("nan")]})
    pq.write_table(naive, tmp_path / "n.parquet")
    with pytest.raises(DataError, match=r"n\.parquet:1: the time .* does not say its zone"):
        read_funding(tmp_path, FundingTable(file="n.parquet", interval_hours=D(8)))
    with pytest.raises(DataError, match=r"n\.parquet:3: rate is nan, not a number"):
        read_funding(tmp_path, FundingTable(file="n.parquet", interval_hours=D(8), time_zone="UTC"))


def test_what_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"no")
    (tmp_path / "x.json").write_text('{"a": 1}')
    (tmp_path / "x.csv").write_bytes(b"time,rate\n\xff\xfe,1\n")
    for name, told in (
        ("x.parquet", "not a Parquet file"),
        ("x.json", "not a JSON array"),
        ("x.csv", "not a CSV text"),
        ("x.txt", "no such"),
    ):
        with pytest.raises(DataError, match=told):
            list(rows(tmp_path, FundingTable(file=name, interval_hours=D(8))))


def test_the_services_database_is_read_where_it_is_and_missed_in_words(tmp_path: Path) -> None:
    import sqlite3

    url = f"sqlite:///{tmp_path / 'service.db'}"
    with pytest.raises(DataError, match="perpkit db import brings histories in"):
        SqlFunding(url)
    sqlite3.connect(tmp_path / "other.db").execute("create table funding_rates (a)").connection.close()
    with pytest.raises(DataError, match="has no tables of ours"):
        SqlFunding(str(tmp_path / "other.db"))
    with Database.open(url) as database:
        store = FundingStore(database)

        def row(instrument: str, n: int, rate: str) -> SettledRate:
            at_ns = 1_704_096_000 * 10**9 + n * 8 * H
            return SettledRate(venue="a", instrument=instrument, symbol="BTC", settled_at=at_ns, rate=D(rate), interval_hours=D(8))

        store.add_settled([*(row("BTC-USDT-PERP.a", n, "0.0001") for n in range(3)), row("BTC-USDC-PERP.a", 0, "0.5")])
    with pytest.raises(DataError, match=r"several markets of it; name one: BTC-USDC-PERP\.a, BTC-USDT-PERP\.a"):
        SqlFunding(url).read("a", "BTC")
    found = SqlFunding(url).read("a", "BTC-USDT-PERP.a")
    assert [(s.ts_ns // H % 24, s.rate) for s in found.settlements] == [(8, D("0.0001")), (16, D("0.0001")), (0, D("0.0001"))]
    by_file = FundingDatabase(database=str(tmp_path / "service.db"), venue="a", symbol="BTC-USDT-PERP.a").read()
    assert by_file.settlements == found.settlements
    with pytest.raises(DataError, match="no such market"):
        SqlFunding(url).read("a", "ETH")


def test_a_moment_is_exact_to_the_nanosecond(tmp_path: Path) -> None:
    found = list(rows_of(tmp_path, [("2024-01-01T08:00:00.123456789Z",), ("2024-01-01T08:00:00.1234567Z",), ("2024-01-01T08:00:00Z",)]))
    assert [ns % 10**9 for ns in found] == [123456789, 123456700, 0]


def rows_of(folder: Path, lines: list[tuple[object, ...]]) -> list[int]:
    write(folder / "t.csv", "time", lines)
    return [cells.time_ns() for cells in rows(folder, FundingTable(file="t.csv", interval_hours=D(8)))]
