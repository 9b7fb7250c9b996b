"""Answers of the API against an independent calculation on recorded funding series: fractions and floats here, nothing of the service."""

import asyncio
import csv
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import pytest

from database.market_data import Market, RateSample, SettledRate
from exchange_clients.model import MarketStatus, RateKind
from tests.service import scene
from tests.service.asking import Asking, asking

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
HOUR = 3600
V1 = "/api/v1"


@dataclass(frozen=True)
class Row:
    """A recorded settlement; `at` in seconds, as exactly as it was recorded."""

    at: Fraction
    rate: str
    hours: int


@dataclass(frozen=True)
class Series:
    """A recorded market, with fees made up for it."""

    dex: str
    instrument: str
    rows: list[Row]
    taker: str


def from_csv(path: Path, hours: int, ahead: int) -> list[Row]:
    """`ahead`: by how many hours the recorder's clock was ahead of UTC (payloads/INDEX.md, time traps)."""
    with path.open() as file:
        return [
            Row(Fraction(int(datetime.fromisoformat(r["Date"]).replace(tzinfo=UTC).timestamp()) - ahead * HOUR), r["Funding Rate"], hours)
            for r in csv.DictReader(file)
        ]


def from_hyperliquid(path: Path) -> list[Row]:
    """Each settlement's interval is the time since the one before: the series goes from eight hours to one."""
    found = json.loads(path.read_text(), parse_float=str)
    times = [Fraction(entry["time"], 1000) for entry in found]
    gaps = [8, *(round((b - a) / HOUR) for a, b in pairwise(times))]
    return [Row(t, e["fundingRate"], 8 if gap > 1 else 1) for t, e, gap in zip(times, found, gaps, strict=True)]


def load(folder: Path) -> list[Series]:
    history = folder / "funding_history"
    found = [
        Series("binance", "BTC-USDT-PERP.binance", from_csv(history / "binance_BTC-USDT_2020-01-01_2024-01-01.csv", 8, 3), "0.0005"),
        Series("bybit", "BTC-USDT-PERP.bybit", from_csv(history / "bybit_BTC-USDT_2021-01-01_2024-01-01.csv", 8, 3), "0.00055"),
        Series("gate", "BTC-USDT-PERP.gate", from_csv(history / "gate_BTC-USDT_2020-01-01_2024-01-01.csv", 8, 0), "0.0004"),
        Series("dydx", "BTC-USD-PERP.dydx", from_csv(history / "dydx_v3_BTC-USDT_2022-01-01_2024-01-01.csv", 1, 0), "0.0002"),
        Series(
            "hyperliquid",
            "BTC-USDC-PERP.hyperliquid",
            from_hyperliquid(history / "hyperliquid_BTC_fundingHistory_20230512_20230717.json"),
            "0.00045",
        ),
    ]
    first, last = seconds("2023-04-01T00:00:00Z"), seconds("2023-08-01T00:00:00Z")
    return [replace(one, rows=[row for row in one.rows if first <= row.at < last]) for one in found]


def ns(at: Fraction) -> int:
    return int(at * 1_000_000_000)


def seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@pytest.fixture(scope="module")
def series(payloads: Path) -> list[Series]:
    return load(payloads)


@pytest.fixture(scope="module")
def ask(series: list[Series], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A service whose store holds the recorded settlements, and as samples what was known at each of them in 2023: `ask(path)`."""
    loop = asyncio.new_event_loop()
    opened = asking(tmp_path_factory.mktemp("answers"), filled=False)
    service: Asking = loop.run_until_complete(opened.__aenter__())
    store = service.service.store
    for one in series:
        names: dict[str, Any] = {"venue": one.dex, "instrument": one.instrument, "symbol": "BTC"}
        market = Market(**names, taker_fee=Decimal(one.taker), maker_fee=Decimal(0), status=MarketStatus.ACTIVE)
        store.put_markets([market], 1)
        store.add_settled(
            [SettledRate(**names, settled_at=ns(r.at), rate=Decimal(r.rate), interval_hours=Decimal(r.hours)) for r in one.rows]
        )
        store.add_samples(
            [
                RateSample(
                    **names,
                    observed_at=ns(r.at),
                    rate=Decimal(r.rate),
                    interval_hours=Decimal(r.hours),
                    kind=RateKind.PREDICTED,
                    next_funding_at=ns(r.at) // 10**9 * 10**9 + r.hours * HOUR * 10**9,
                )
                for r in one.rows
            ]
        )
    yield lambda path: loop.run_until_complete(service(V1 + path))
    loop.run_until_complete(opened.__aexit__(None, None, None))
    loop.close()


def close(told: str | None, expected: float | Fraction) -> bool:
    return told is not None and math.isclose(float(told), float(expected), rel_tol=1e-9, abs_tol=1e-18)


def within(rows: Iterable[Row], start: int, end: int) -> list[Row]:
    return sorted((r for r in rows if start <= r.at < end), key=lambda r: r.at)


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize(("period", "days", "until"), [("30d", 30, "2023-06-15T12:00:00Z"), ("3d", 3, "2023-06-01T00:00:00Z")])
def test_history_is_what_was_recorded(ask: Any, series: list[Series], place: int, period: str, days: int, until: str) -> None:
    one = series[place]
    expected = within(one.rows, seconds(until) - days * 24 * HOUR, seconds(until))
    assert expected
    told = ask(f"/history/funding-rates/{one.dex}/BTC?period={period}&until={until}&limit=5000").json
    assert told["instrument"] == one.instrument
    assert [(Fraction(p["rate"]), int(p["interval_hours"])) for p in told["points"]] == [(Fraction(r.rate), r.hours) for r in expected]
    for point, row in zip(told["points"], expected, strict=True):
        assert abs(datetime.fromisoformat(point["time"]).timestamp() - float(row.at)) < 0.001
        assert close(point["hourly"], Fraction(row.rate) / row.hours)
        assert point["kind"] == "settled"
    cut = ask(f"/history/funding-rates/{one.dex}/BTC?period={period}&until={until}&limit=7").json
    assert cut["points"] == told["points"][-7:]
    assert (cut["truncated"], told["truncated"]) == (True, False)


def by_hour(rows: list[Row], start: int, end: int) -> list[Fraction]:
    """The rate of every full hour between the two that a settlement covers; where two do, that of the earlier settlement."""
    hours: dict[int, Fraction] = {}
    for row in rows:
        last = round(row.at / HOUR)
        for hour in range(last - row.hours, last):
            hours.setdefault(hour, Fraction(row.rate) / row.hours)
    return [rate for hour, rate in sorted(hours.items()) if start <= hour * HOUR and (hour + 1) * HOUR <= end]


@pytest.mark.parametrize(("period", "days"), [("30d", 30), ("7d", 7)])
@pytest.mark.parametrize("until", ["2023-06-15T12:00:00Z", "2023-07-05T00:30:00Z"])
def test_statistics_are_those_of_the_hours(ask: Any, series: list[Series], period: str, days: int, until: str) -> None:
    told = {m["dex"]: m for m in ask(f"/stats/funding-rates/BTC?period={period}&until={until}").json["markets"]}
    assert set(told) == {one.dex for one in series}
    end = seconds(until)
    for one in series:
        rows, found = within(one.rows, end - days * 24 * HOUR, end), told[one.dex]
        rates = by_hour(rows, end - days * 24 * HOUR, end)
        assert (found["settlements"], found["hours"]) == (len(rows), len(rates))
        mean = sum(rates) / len(rates)
        around = [float(rate - mean) for rate in rates]
        variance = math.fsum(x * x for x in around) / len(around)
        flips = sum(1 for a, b in pairwise(rates) if (a > 0 > b) or (a < 0 < b))
        phi = math.fsum(a * b for a, b in pairwise(around)) / math.fsum(x * x for x in around[:-1])
        assert close(found["mean"], mean)
        assert close(found["mean_annual"], mean * 24 * 365)
        assert close(found["lowest"], min(rates))
        assert close(found["highest"], max(rates))
        assert close(found["last"], rates[-1])
        assert math.isclose(float(found["volatility"]), math.sqrt(variance), rel_tol=1e-9)
        assert close(found["sign_flips_per_day"], Fraction(flips * 24, len(rates)))
        assert math.isclose(float(found["half_life_hours"]), math.log(0.5) / math.log(phi), rel_tol=1e-6)


def test_a_change_of_the_interval_is_read_rightly_on_both_sides(ask: Any, series: list[Series]) -> None:
    """Hyperliquid settled each eight hours, then each hour: read with one interval the mean would be wrong by a factor."""
    rows = series[4].rows
    change = next(r.at for r in rows if r.hours == 1)
    until = datetime.fromtimestamp(int(change) + 3 * 24 * HOUR, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = ask(f"/history/funding-rates/hyperliquid/BTC?period=7d&until={until}&limit=5000").json["points"]
    assert {p["interval_hours"] for p in told} == {"1", "8"}
    (found,) = ask(f"/stats/funding-rates/BTC?period=7d&until={until}&dex=hyperliquid").json["markets"]
    rates = by_hour(within(rows, seconds(until) - 7 * 24 * HOUR, seconds(until)), seconds(until) - 7 * 24 * HOUR, seconds(until))
    assert close(found["mean"], sum(rates) / len(rates))


def best_at(series: list[Series], at: int, hours: int) -> list[tuple[str, Fraction, Fraction]]:
    """(pair, funding, net) of every pair that loses no more than a hundredth, best first."""
    known: dict[str, tuple[Series, Row]] = {}
    for one in series:
        rows = [r for r in one.rows if 0 <= at - r.at <= 180]
        if rows:
            known[one.instrument] = (one, max(rows, key=lambda r: r.at))
    found = []
    for (a, (long, l_row)), (b, (short, s_row)) in permutations(known.items(), 2):
        paid, got = (
            Fraction(row.rate) * sum(1 for n in range(1, 200) if at < int(row.at) + n * row.hours * HOUR <= at + hours * HOUR)
            for row in (l_row, s_row)
        )
        if Fraction(l_row.rate) / l_row.hours > Fraction(s_row.rate) / s_row.hours:
            continue
        net = got - paid - 2 * Fraction(long.taker) - 2 * Fraction(short.taker)
        if net >= Fraction(-1, 100):
            found.append((f"{a}/{b}", got - paid, net))
    return sorted(found, key=lambda f: (-f[2], f[0]))


@pytest.mark.parametrize("hours", [24, 168])
def test_opportunities_of_a_past_moment_are_those_of_that_moment(ask: Any, series: list[Series], hours: int) -> None:
    told_some = 0
    for day in range(12, 43, 3):
        moment = seconds("2023-05-01T00:00:30Z") + day * 24 * HOUR
        at = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        expected = best_at(series, moment, hours)
        told = ask(f"/opportunities?at={at}&horizon_hours={hours}&limit=100&min_profit=-0.01").json
        assert [o["pair"] for o in told["opportunities"]] == [pair for pair, _, _ in expected], at
        for found, (_, funding, net) in zip(told["opportunities"], expected, strict=True):
            assert close(found["funding"], funding)
            assert close(found["net"], net)
            assert found["costs"]["slippage_known"] is False
            told_some += 1
        assert told["total"] == len(expected)
        late = datetime.fromtimestamp(moment + 600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert ask(f"/opportunities?at={late}").json["total"] == 0  # what was known then was too old
    assert told_some > 50


def test_a_comparison_is_the_order_and_the_width_of_the_rates(series: list[Series], tmp_path: Path) -> None:
    rows = {one.dex: next(r for r in one.rows if r.at >= seconds("2023-06-20T00:00:00Z") - 60) for one in series if one.dex in scene.VENUES}

    async def main() -> None:
        async with asking(tmp_path, filled=False) as ask:
            now_ns = ask.service.now_ns()
            for one in series:
                if one.dex in rows:
                    quote = scene.quote(one.instrument, rows[one.dex].rate, now_ns, hours=str(rows[one.dex].hours))
                    scene.put(ask.service.board, [quote], now_ns)
            told = (await ask(V1 + "/funding-rates/compare?symbol=BTC")).json
        expected = sorted((Fraction(r.rate) / r.hours, dex) for dex, r in rows.items())
        assert [rate["dex"] for rate in told["rates"]] == [dex for _, dex in expected]
        width = expected[-1][0] - expected[0][0]
        assert close(told["spread"]["hourly"], width)
        assert close(told["spread"]["annual"], width * 8760)
        for rate, (hourly, _) in zip(told["rates"], expected, strict=True):
            assert close(rate["hourly"], hourly)
            assert close(rate["rate_8h"], hourly * 8)

    asyncio.run(main())
