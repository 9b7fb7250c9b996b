"""Readers against what an independent book builder found, and the time traps of the funding files."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from exchange_simulator.core.types import Side
from exchange_simulator.world.recordings import (
    HOUR_NS,
    RecordingError,
    StreamReader,
    london_to_utc,
    open_stream,
    read_hyperliquid_history,
    read_settlement_csv,
    read_three_venue_bars,
)

BINANCE_4 = "binance_usdm_4symbols_20210722_with_rest_snapshots.jsonl"
BINANCE_DEPTH = "binance_usdm_btcusdt_20240808_depth.jsonl"
OKX = "okx_books_20220513_BTC-USDT_UNI-USD-SWAP.jsonl"
HYPERLIQUID = "hyperliquid_btc_l2book_trades_20250126_a.jsonl"


def expected_of(stream: Path) -> dict[str, dict[str, object]]:
    found = json.loads(stream.with_name(stream.name.replace(".jsonl", ".expected.json")).read_text())
    return {found["symbol"]: found} if "symbol" in found else found


def read(stream: Path) -> tuple[StreamReader, int]:
    reader = open_stream(stream)
    return reader, sum(len(step.trades) for step in reader)


def assert_final(reader: StreamReader, symbol: str, expected: dict[str, object]) -> None:
    book = reader.books[symbol]
    bids, asks = book.best(10)
    assert [[str(p), str(q)] for p, q in bids] == expected["final_bids"]
    assert [[str(p), str(q)] for p, q in asks] == expected["final_asks"]
    assert book.applied == expected.get("applied", expected.get("book_messages"))


@pytest.mark.parametrize("name", [BINANCE_4, OKX])
def test_books_equal_the_expected_ones(payloads: Path, name: str) -> None:
    reader, _ = read(payloads / "streams" / name)
    for symbol, expected in expected_of(payloads / "streams" / name).items():
        assert_final(reader, symbol, expected)


@pytest.mark.slow
def test_a_long_stream_passes_its_checkpoints_and_ends_as_expected(payloads: Path) -> None:
    stream = payloads / "streams" / BINANCE_DEPTH
    reader = open_stream(stream)
    checkpoints = {c["applied_events"]: c for c in json.loads(stream.with_suffix(".expected.json").read_text())["checkpoints"]}
    seen = 0
    for _ in reader:
        book = reader.books["BTCUSDT"]
        if (c := checkpoints.get(book.applied)) is None:
            continue
        seen += 1
        bids, asks = book.best(1)
        assert [[str(x) for x in side[0]] for side in (bids, asks)] == [c["best_bid"], c["best_ask"]]
        assert (len(book.bids.sizes), len(book.asks.sizes)) == (c["n_bids"], c["n_asks"])
    assert seen == len(checkpoints) == 4
    assert_final(reader, "BTCUSDT", expected_of(stream)["BTCUSDT"])


def test_backfilled_trades_are_not_replayed(payloads: Path) -> None:
    reader, trades = read(payloads / "streams" / HYPERLIQUID)
    assert (reader.books["BTC"].applied, trades) == (29, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "symbol"), [(OKX, "BTC-USDT"), (BINANCE_4, "SUSHIUSDT")])
def test_trade_sides_are_the_takers(payloads: Path, name: str, symbol: str) -> None:
    """A taker buys at the ask: above the middle of the book of that moment."""
    reader = open_stream(payloads / "streams" / name)
    agree = []
    for step in reader:
        book = reader.books.get(symbol)
        for trade in step.trades:
            if trade.symbol == symbol and book is not None and book.ready:
                (bid,), (ask,) = book.best(1)
                agree.append((trade.side is Side.BUY) == (trade.price > (bid[0] + ask[0]) / 2))
    assert len(agree) >= 35
    assert sum(agree) / len(agree) > 0.8


def rewritten(source: Path, target: Path, drop: int) -> Path:
    lines = source.read_text().splitlines()
    del lines[drop]
    target.write_text("\n".join(lines))
    return target


def test_a_missing_update_is_an_error(payloads: Path, tmp_path: Path) -> None:
    source = payloads / "streams" / BINANCE_4
    lines = source.read_text().splitlines()
    depth = [i for i, line in enumerate(lines) if "sushiusdt@depth" in line]
    with pytest.raises(RecordingError, match="SUSHIUSDT misses updates"):
        read(rewritten(source, tmp_path / BINANCE_4, depth[100]))


def test_a_wrong_checksum_is_an_error(payloads: Path, tmp_path: Path) -> None:
    source = payloads / "streams" / OKX
    updates = [i for i, line in enumerate(source.read_text().splitlines()) if '"action":"update"' in line and "UNI-USD-SWAP" in line]
    with pytest.raises(RecordingError, match="UNI-USD-SWAP checksum"):
        read(rewritten(source, tmp_path / OKX, updates[20]))


def test_an_unknown_recording_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"notes\.txt: not a recording"):
        open_stream(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("name", "rows", "hours"),
    [
        ("binance_BTC-USDT_2020-01-01_2024-01-01.csv", 4383, {0, 8, 16}),
        ("bybit_BTC-USDT_2021-01-01_2024-01-01.csv", 3285, {0, 8, 16}),
        ("gate_BTC-USDT_2020-01-01_2024-01-01.csv", 4290, {0, 8, 16}),
        ("mexc_BTC-USDT_2021-01-01_2024-01-01.csv", 3285, {0, 8, 16}),
        ("kucoin_BTC-USDT_2021-01-01_2024-01-01.csv", 3285, {4, 12, 20}),
        ("dydx_v3_BTC-USDT_2022-01-01_2024-01-01.csv", 17520, set(range(24))),
    ],
)
def test_settlements_are_on_the_utc_grid(payloads: Path, name: str, rows: int, hours: set[int]) -> None:
    series = read_settlement_csv(payloads / "funding_history" / name)
    assert len(series.points) == rows
    assert {p.ts_ns // HOUR_NS % 24 for p in series.points} == hours
    assert all(p.ts_ns % HOUR_NS == 0 for p in series.points)
    assert {p.interval_hours for p in series.points} == ({1} if len(hours) == 24 else {8})


@pytest.mark.slow
def test_both_clocks_of_the_binance_series_agree(payloads: Path) -> None:
    """One file is in UTC+3, the other in UK local time: shifted to UTC they hold the same rates at the same times, summer and winter."""
    folder = payloads / "funding_history"
    fetched = {p.ts_ns: p.rate for p in read_settlement_csv(folder / "binance_BTC-USDT_2020-01-01_2024-01-01.csv").points}
    bars = read_three_venue_bars(folder / "binance_bybit_okx_bitcoin_8h_20230101_20240701.csv")
    rates = {bar.ts_ns: bar.funding for bar in bars["binance", "BTCUSDT", "perpetual"] if bar.funding is not None}
    common = sorted(rates.keys() & fetched.keys())
    assert len(common) > 1_050
    assert [rates[t] for t in common] == [fetched[t] for t in common]
    assert {t // HOUR_NS % 24 for t in rates} == {0, 8, 16}


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2023-03-25 16:00", "2023-03-25 16:00"),
        ("2023-03-26 09:00", "2023-03-26 08:00"),
        ("2023-10-29 01:00", "2023-10-29 00:00"),
        ("2023-10-29 08:00", "2023-10-29 08:00"),
        ("2024-03-31 09:00", "2024-03-31 08:00"),
    ],
)
def test_uk_time(local: str, utc: str) -> None:
    assert london_to_utc(datetime.fromisoformat(local)) == datetime.fromisoformat(utc)


def test_the_hyperliquid_series_changes_its_interval(payloads: Path) -> None:
    points = read_hyperliquid_history(next((payloads / "funding_history").glob("hyperliquid_*"))).points
    assert Counter(p.interval_hours for p in points) == {8: 82, 1: 956}
    first = next(p for p in points if p.interval_hours == 1)
    assert datetime.fromtimestamp(first.ts_ns / 1e9).astimezone().timestamp() == 1686186000  # 2023-06-08 01:00 UTC
    assert str(first.rate) == "0.0000125"
    assert all(p.premium is not None for p in points)
