"""Histories in and out of the database: exact both ways, and never half imported."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from database.database import Database
from database.funding_store import FundingStore
from database.market_data import Collection, Outcome, RateSample, SettledRate
from exchange_clients.model import NS_PER_HOUR, NS_PER_S, RateKind
from funding_rate_service.transfer import What, pieces
from perpkit.backtest.data.funding import FundingTable, read_funding
from perpkit.backtest.data.service import SqlFunding
from perpkit.backtest.runner import run_one
from perpkit.cli.main import run
from tests.backtest import history as h

T0 = 1_767_225_600 * NS_PER_S
D = Decimal
BINANCE = "binance_BTC-USDT_2020-01-01_2024-01-01.csv"


def perpkit(*arguments: object) -> int:
    return run([str(a) for a in arguments])


def store_at(path: Path) -> FundingStore:
    return FundingStore(Database.open(f"sqlite:///{path}"))


def filled(path: Path) -> FundingStore:
    """Markets of two venues, with figures that a float would spoil."""
    store = store_at(path)
    for venue, instrument in (("okx", "BTC-USDT-PERP.okx"), ("hyperliquid", "PEPE-USDC-PERP.hyperliquid")):
        symbol = instrument.partition("-")[0]
        samples = [
            RateSample(
                venue=venue,
                instrument=instrument,
                symbol=symbol,
                observed_at=T0 + n * 60 * NS_PER_S + 123_456_789,
                rate=D("-0.000012345678901234567891"),
                interval_hours=D(8),
                kind=RateKind.PREDICTED,
                next_funding_at=T0 + 8 * NS_PER_HOUR if n % 2 else None,
                cap=D("0.00375"),
                mark=D("94742.6138") if n else None,
                open_interest_usd=D("123456789012345.12"),
                latency_ms=n,
            )
            for n in range(5)
        ]
        store.record_collection(Collection(venue=venue, started_at=T0, ended_at=T0 + 1, outcome=Outcome.OK, markets=1), samples)
        store.add_settled(
            [
                SettledRate(
                    venue=venue,
                    instrument=instrument,
                    symbol=symbol,
                    settled_at=T0 + n * NS_PER_HOUR,
                    rate=D("0.0001") / 3,
                    interval_hours=D(1),
                )
                for n in range(100)
            ]
        )
    store.roll_up(T0 + 2 * NS_PER_HOUR)
    return store


def everything(store: FundingStore, what: What) -> list[Any]:
    return [row for _, rows in pieces(store, what, 0, 2**62) for row in rows]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("what", ["settled", "samples"])
def test_what_goes_out_comes_back_equal(tmp_path: Path, what: str, kind: str) -> None:
    before = everything(filled(tmp_path / "a.db"), What(what))
    file = tmp_path / f"rates.{kind}"
    assert perpkit("db", "export", file, "--what", what, "--database", tmp_path / "a.db") == 0
    assert perpkit("db", "import", file, "--what", what, "--database", tmp_path / "b.db") == 0
    assert everything(store_at(tmp_path / "b.db"), What(what)) == before
    assert len(before) > 0


def test_hours_go_out_and_a_span_is_half_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(tmp_path / "a.db")
    assert perpkit("db", "export", tmp_path / "h.csv", "--what", "hourly", "--database", tmp_path / "a.db") == 0
    with (tmp_path / "h.csv").open(encoding="utf-8") as file:
        hours = list(csv.DictReader(file))
    assert [row["samples"] for row in hours] == ["5", "5"]
    span = ("--from", "2026-01-01T02:00Z", "--to", "2026-01-01T04:00Z")
    assert perpkit("db", "export", tmp_path / "s.csv", *span, "--venue", "okx", "--database", tmp_path / "a.db") == 0
    with (tmp_path / "s.csv").open(encoding="utf-8") as file:
        assert [row["settled_at"] for row in csv.DictReader(file)] == ["2026-01-01T02:00:00Z", "2026-01-01T03:00:00Z"]
    assert perpkit("db", "export", tmp_path / "n.csv", "--from", "2030-01-01", "--database", tmp_path / "a.db") == 2
    assert not (tmp_path / "n.csv").exists()
    assert "perpkit db status" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_an_import_may_be_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(tmp_path / "a.db")
    perpkit("db", "export", tmp_path / "r.csv", "--database", tmp_path / "a.db")
    for new in (200, 0):
        capsys.readouterr()
        assert perpkit("db", "import", tmp_path / "r.csv", "--database", tmp_path / "b.db", "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["rows"], told["new"]) == (200, new)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("okx,BTC-USDT-PERP.okx,BTC,2026-01-01T00:00:00Z,abc,8", "r.csv:3: rate is 'abc', not a number"),
        ("okx,BTC-USDT-PERP.okx,BTC,yesterday,0.1,8", "r.csv:3: settled_at 'yesterday' is no time"),
        ("okx,BTC-USDT-PERP.okx,BTC,2026-01-01T00:00:00,0.1,8", "r.csv:3: the time 2026-01-01 00:00:00 does not say its zone"),
        ("okx,BTC-USDT-PERP.okx,BTC,2026-01-01T00:00:00Z,1e9,8", "r.csv:3: a funding rate of 1E+9 per 8 h"),
        ("okx,BTC-USDT-PERP.okx,BTC,2026-01-01T00:00:00Z,0.1,0", "r.csv:3: a funding rate of 0.1 per 0 h"),
        ("okx,BTC-USDT-PERP.okx,BTC,2026-01-01T00:00:00Z,NaN,8", "r.csv:3: rate is 'NaN', not a number"),
        ("okx,BTC-USDT-PERP.okx,BTC,2026-01-01T00:00:00Z,,8", "r.csv:3: no value in column 'rate'"),
        ("okx,BTC-USDT-PERP.okx,ETH,2026-01-01T00:00:00Z,0.1,8", "r.csv:3: BTC-USDT-PERP.okx is not ETH at okx"),
        ("okx,nonsense,BTC,2026-01-01T00:00:00Z,0.1,8", "r.csv:3: 'nonsense' is not an instrument id"),
        ("okx,BTC-USDT-PERP.okx,BTC,2026-01-01T00:00:00Z,1e999999999,8", "r.csv:3: rate is '1e999999999', not a number that can be meant"),
        (f"okx,BTC-USDT-PERP.okx,BTC,2026-01-01T00:00:00Z,0.{'1' * 90_000},8", "r.csv:3: rate is '0.1111"),
        ("okx,BTC-USDT-PERP.okx,BTC,2026-01-01T00:00:00Z,0.1,1e-40", "r.csv:3: a funding rate of 0.1 per 1E-40 h"),
        ("okx,BTC-USDT-PERP.okx,BTC,2026-01-01T00:00:00Z,0.1,1e30", "r.csv:3: a funding rate of 0.1 per 1E+30 h"),
        ("okx,BTC-USDT-PERP.okx,BTC,9999-12-31T23:59:59Z,0.1,8", "r.csv:3: 9999-12-31T23:59:59Z lies in the far future"),
        ("okx,BTC-USDT-PERP.okx,BTC,9999-12-31T23:59:59-14:00,0.1,8", "r.csv:3: the time 9999-12-31 23:59:59-14:00 lies beyond"),
        (f"okx,BTC-USDT-PERP.okx,BTC,{'9' * 5_000},0.1,8", "r.csv:3: settled_at '9999"),
        ("okx,BTC-USDT-PERP.okx,BTC,2026-01-01T00:00:00Z", "r.csv:3: the row has not as many cells as the header"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str, told: str) -> None:
    good = "okx,BTC-USDT-PERP.okx,BTC,2026-01-01T08:00:00Z,0.0001,8"
    (tmp_path / "fine.csv").write_text(f"venue,instrument,symbol,settled_at,rate,interval_hours\n{good}\n", encoding="utf-8")
    (tmp_path / "r.csv").write_text(f"venue,instrument,symbol,settled_at,rate,interval_hours\n{good}\n{broken}\n", encoding="utf-8")
    store = store_at(tmp_path / "a.db")
    assert perpkit("db", "import", tmp_path / "fine.csv", tmp_path / "r.csv", "--database", tmp_path / "a.db") == 2
    assert told in capsys.readouterr().err
    assert everything(store, What.SETTLED) == []


def test_a_file_made_to_break_its_reader_is_an_error_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    pq.write_table(pa.table({"time": pa.array([2**48], pa.timestamp("s")), "rate": ["0.1"]}), tmp_path / "late.parquet")
    (tmp_path / "deep.json").write_text('[{"time":' + "[" * 100_000, encoding="utf-8")
    for name in ("late.parquet", "deep.json"):
        options = ("--venue", "okx", "--symbol", "BTC", "--interval-hours", "8", "--database", tmp_path / "a.db")
        assert perpkit("db", "import", tmp_path / name, *options) == 2
        assert f"perpkit: {name}: not a " in capsys.readouterr().err


def test_a_recorded_history_of_another_venue_is_imported_as_it_is(payloads: Path, tmp_path: Path) -> None:
    """The file's clock is UTC+3 and it does not say its interval; rows are compared with the file read by itself."""
    file = payloads / "funding_history" / BINANCE
    options = ("--columns", "time=Date", "--columns", "rate=Funding Rate", "--time-zone", "+03:00", "--interval-hours", "auto")
    named = ("--venue", "binance", "--symbol", "BTC-USDT")
    assert perpkit("db", "import", file, *named, *options, "--database", tmp_path / "a.db") == 0
    with file.open(encoding="utf-8") as text:
        lines = list(csv.DictReader(text))
    found = store_at(tmp_path / "a.db").settled("BTC-USDT-PERP.binance", 0, 2**62)
    assert [row.rate for row in found] == [D(line["Funding Rate"]) for line in lines]
    assert {row.interval_hours for row in found} == {D(8)}
    assert {row.settled_at // NS_PER_HOUR % 24 for row in found} == {0, 8, 16}
    table = FundingTable(file=file.name, columns={"time": "Date", "rate": "Funding Rate"}, time_zone="+03:00", interval_hours="auto")
    read = read_funding(file.parent, table)
    assert SqlFunding(str(tmp_path / "a.db")).read("binance", "BTC").settlements == read.settlements
    wrong = ("--columns", "time=Date", "--columns", "rate=Funding Rate", "--time-zone", "+04:00", "--interval-hours", "8")
    assert perpkit("db", "import", file, *named, *wrong, "--database", tmp_path / "b.db") == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "name the market: --venue and --symbol"),
        (("--venue", "okx"), "--venue and --symbol belong together"),
        (("--venue", "nowhere", "--symbol", "BTC"), "write --symbol BTC-USDT"),
        (("--venue", "okx", "--symbol", "BTC-USDT-PERP.lighter"), "is of lighter, --venue says okx"),
        (("--venue", "okx", "--symbol", "BTC", "--columns", "time"), "is not NAME=VALUE"),
        (("--venue", "okx", "--symbol", "BTC"), "a rate without an interval"),
        (("--venue", "okx", "--symbol", "BTC", "--interval-hours", "often"), "--interval-hours"),
        (("--venue", "okx", "--symbol", "BTC", "--time-zone", "Mars"), "no time zone 'Mars'"),
        (("--venue", "okx", "--symbol", "BTC", "--columns", "rate=Rate%"), "there is no column 'Rate%'"),
    ],
)
def test_wrong_options_say_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], told: str) -> None:
    (tmp_path / "r.csv").write_text("time,rate\n2026-01-01T00:00:00Z,0.0001\n", encoding="utf-8")
    assert perpkit("db", "import", tmp_path / "r.csv", *options, "--database", tmp_path / "a.db") == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "a.db").exists()


def test_a_backtest_runs_from_the_services_database(tmp_path: Path) -> None:
    """The same run, its settlements once from files and once from the database: the same result to the last byte."""
    for name, rate, every in (("a", "0.0008", 8), ("b", "-0.0001", 1)):
        h.flat(tmp_path / f"{name}.csv", 100, 24 * 3 + 1)
        h.funding(tmp_path / f"{name}_funding.csv", rate, every=every, hours=24 * 3)
        named = ("--venue", name, "--symbol", "X-USDT", "--interval-hours", str(every))
        assert perpkit("db", "import", tmp_path / f"{name}_funding.csv", *named, "--database", tmp_path / "service.db") == 0
    files = {name: h.market(name, every=every) for name, every in (("a", 8), ("b", 1))}
    tables = {
        name: {**model, "funding": {"database": str(tmp_path / "service.db"), "venue": name, "symbol": "X"}}
        for name, model in files.items()
    }
    one = run_one(h.spec(h.bot(files), tmp_path, 1, 70))
    other = run_one(h.spec(h.bot(tables), tmp_path, 1, 70))
    assert one.positions
    assert one.positions == other.positions
    assert one.curves == other.curves
