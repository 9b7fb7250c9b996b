"""Recorded funding, worked out twice: by the product and by plain loops that share no code with it (`recorded.py`)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from database.market_data import SettledRate
from exchange_clients.model import NS_PER_HOUR, NS_PER_MS, FundingRateSample, InstrumentId, RateKind
from funding_rate_service.api import shapes
from funding_rate_service.opportunity import FundingQuote, Persistence, pair_detail, pair_history, persistence
from funding_rate_service.opportunity.persistence import hourly
from tests.service import asking, recorded, scene

D = Decimal
NEAR = 1e-9
HOUR_MS = 3_600_000
TOLD = ("gate", "kucoin", "dydx")
"""Over HTTP: each clock, each interval."""


@pytest.fixture(scope="module")
def series(payloads: Path) -> dict[str, list[recorded.Settled]]:
    return {venue: recorded.read(payloads / "funding_history", venue) for venue in (*recorded.SERIES, "hyperliquid")}


def samples(settled: list[recorded.Settled]) -> list[FundingRateSample]:
    return [
        FundingRateSample(raw_rate=D(s.rate), interval_hours=D(s.hours), kind=RateKind.SETTLED, settled_at=s.ms * NS_PER_MS)
        for s in settled
    ]


def hour_of(text: str) -> int:
    """Hours since the epoch."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) // 3600


def agree(found: Persistence | None, expected: recorded.Figures) -> None:
    assert found is not None
    assert found.points == expected.points
    for ours, theirs in (
        (found.mean, expected.mean),
        (found.volatility, expected.volatility),
        (found.low, expected.low),
        (found.high, expected.high),
        (found.sign_flips_per_day, expected.flips_per_day),
        (found.autocorrelation, expected.correlation),
        (found.half_life_hours, expected.half_life),
    ):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert float(ours) == pytest.approx(theirs, rel=NEAR, abs=1e-18)


@pytest.mark.parametrize("venue", [*recorded.SERIES, "hyperliquid"])
@pytest.mark.parametrize("days", [1, 7, 30])
def test_hourly_series_and_statistics_of_every_venue(series: dict[str, list[recorded.Settled]], venue: str, days: int) -> None:
    for end in ("2023-06-09T00:00", "2023-06-20T13:00", "2023-07-10T05:00"):
        first = hour_of(end) - days * 24
        found = hourly(samples(series[venue]), first * NS_PER_HOUR, hour_of(end) * NS_PER_HOUR)
        expected = recorded.by_hour(series[venue], first, days * 24)
        assert [x is None for x in found] == [x is None for x in expected]
        assert [float(x) for x in found if x is not None] == pytest.approx([x for x in expected if x is not None], rel=NEAR)
        if sum(x is not None for x in expected) >= 12:
            agree(persistence(found), recorded.figures(expected))


def test_the_clock_of_each_file_is_read_rightly(series: dict[str, list[recorded.Settled]]) -> None:
    """Before anything is compared: settlements stand on the grid that each venue publishes."""
    grid = {venue: {s.ms // 1000 // 3600 % 24 for s in series[venue]} for venue in recorded.SERIES}
    assert grid["binance"] == grid["bybit"] == grid["mexc"] == grid["gate"] == {0, 8, 16}
    assert grid["kucoin"] == {4, 12, 20}


def test_hyperliquid_counts_by_eight_hours_and_then_by_one(series: dict[str, list[recorded.Settled]]) -> None:
    """The file turns on 2023-06-08: in the month around it a mean that took one interval for all would be eight times off on one side."""
    start = hour_of("2023-06-01T00:00")
    found = hourly(samples(series["hyperliquid"]), start * NS_PER_HOUR, (start + 14 * 24) * NS_PER_HOUR)
    before, after = found[:150], found[24 * 8 :]
    rates = [float(s.rate) for s in series["hyperliquid"] if s.hours == 8 and start < s.ms / HOUR_MS <= start + 144]
    assert len(rates) == 18
    known = [float(x) for x in before[:144] if x is not None]
    assert sum(known) / len(known) == pytest.approx(sum(rates) / 8 / len(rates), rel=NEAR)
    assert all(x is not None for x in after)


@pytest.mark.parametrize(("long", "short"), [("gate", "dydx"), ("dydx", "binance"), ("kucoin", "gate"), ("hyperliquid", "bybit")])
def test_the_difference_of_a_pair(series: dict[str, list[recorded.Settled]], long: str, short: str) -> None:
    first, hours = hour_of("2023-06-01T00:00"), 30 * 24
    found = pair_history(samples(series[long]), samples(series[short]), first * NS_PER_HOUR, (first + hours) * NS_PER_HOUR)
    one, other = (recorded.by_hour(series[v], first, hours) for v in (long, short))
    expected = [None if a is None or b is None else b - a for a, b in zip(one, other, strict=True)]
    agree(persistence(found), recorded.figures(expected))


def at_moment(settled: list[recorded.Settled], venue: str, now_ms: int) -> tuple[FundingQuote, list[tuple[int, float]]]:
    """The quote of a moment: the next settlement and its rate; and the payments that it makes if that rate lasts."""
    coming = next(s for s in settled if s.ms > now_ms)
    whole = round(coming.ms / HOUR_MS) * HOUR_MS  # some were stamped milliseconds late
    quote = scene.quote(f"BTC-USDT-PERP.{venue}", coming.rate, now_ms * NS_PER_MS, hours=str(coming.hours))
    assert quote.sample.next_funding_time is not None
    sample = FundingRateSample(
        raw_rate=D(coming.rate), interval_hours=D(coming.hours), kind=RateKind.PREDICTED, next_funding_time=whole * NS_PER_MS
    )
    payments = [(whole + n * coming.hours * HOUR_MS, float(coming.rate)) for n in range(200)]
    return msgspec.structs.replace(quote, sample=sample), payments


@pytest.mark.parametrize(
    "moment", ["2023-01-17T03:59", "2023-03-26T00:30", "2023-06-30T23:59", "2023-10-29T01:30", "2023-11-09T16:00", "2023-12-30T12:34"]
)
@pytest.mark.parametrize(("long", "short"), [("dydx", "binance"), ("gate", "kucoin"), ("bybit", "dydx"), ("mexc", "gate")])
def test_the_curve_of_a_pair_at_past_moments(series: dict[str, list[recorded.Settled]], long: str, short: str, moment: str) -> None:
    now_ms = int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) * 1000
    (one, paid), (other, got) = (at_moment(series[v], v, now_ms) for v in (long, short))
    found = pair_detail(one, other, now_ns=now_ms * NS_PER_MS)
    costs = 4 * 0.0004 + 4 * (0.02 / 100) / 2
    assert found.hourly is not None
    per_hour = got[0][1] / (got[1][0] - got[0][0]) * HOUR_MS - paid[0][1] / (paid[1][0] - paid[0][0]) * HOUR_MS
    assert float(found.hourly) == pytest.approx(per_hour, rel=NEAR, abs=1e-18)
    for point in found.curve:
        funding = recorded.received(paid, got, now_ms, float(point.hours))
        assert float(point.funding) == pytest.approx(funding, rel=NEAR, abs=1e-15)
        assert point.net is not None
        assert float(point.net) == pytest.approx(funding - costs, rel=NEAR, abs=1e-15)
    first = next((h for h in range(1, 169) if recorded.received(paid, got, now_ms, h) >= costs), None)
    assert found.settled_break_even_hours == first
    if per_hour > 0:
        assert float(found.break_even_hours or 0) == pytest.approx(costs / per_hour, rel=NEAR)
    else:
        assert found.break_even_hours is None


# ---- over HTTP


def stored(settled: list[recorded.Settled], venue: str, shift_ms: int = 0) -> list[SettledRate]:
    instrument = str(InstrumentId("BTC", "USDT", venue))
    return [
        SettledRate(
            venue=venue,
            instrument=instrument,
            symbol="BTC",
            settled_at=(s.ms + shift_ms) * NS_PER_MS,
            rate=D(s.rate),
            interval_hours=D(s.hours),
        )
        for s in settled
    ]


@pytest.mark.slow
def test_history_and_statistics_as_the_api_tells_them(series: dict[str, list[recorded.Settled]], tmp_path: Path) -> None:
    until = "2023-12-28T18:00:00Z"
    last = hour_of("2023-12-28T18:00")

    async def main(ask: asking.Asking) -> None:
        for venue in TOLD:
            kept = [s for s in series[venue] if s.ms / HOUR_MS > last - 40 * 24]
            ask.service.store.add_settled(stored(kept, venue))
        for period, hours in (("7d", 168), ("30d", 720)):
            answer = (await ask(f"/api/v1/stats/funding-rates/BTC?period={period}&until={until}")).as_(shapes.Stats)
            told = {market.dex: market for market in answer.markets}
            assert set(told) >= set(TOLD)
            for venue in TOLD:
                past = [s for s in series[venue] if s.ms / HOUR_MS < last]
                check(told[venue], recorded.figures(recorded.by_hour(past, last - hours, hours)))
        for venue in TOLD:
            answer = (await ask(f"/api/v1/history/funding-rates/{venue}/BTC?period=30d&until={until}&limit=5000")).as_(shapes.History)
            expected = [s for s in series[venue] if last - 720 <= s.ms / HOUR_MS < last]
            assert [D(p.rate) for p in answer.points] == [D(s.rate) for s in expected]
            assert [float(p.hourly) for p in answer.points] == pytest.approx([float(s.rate) / s.hours for s in expected], rel=NEAR)
            times = [datetime.fromisoformat(p.time) for p in answer.points]
            assert times == [datetime.fromtimestamp(s.ms / 1000, UTC).replace(microsecond=s.ms % 1000 * 1000) for s in expected]

    asking.play(tmp_path, main, filled=False)


def check(told: shapes.MarketStats, expected: recorded.Figures) -> None:
    """What the API says of one market."""
    pairs: list[tuple[Any, float | None]] = [
        (told.hours, expected.points),
        (told.mean, expected.mean),
        (told.mean_annual, expected.mean * 8760),
        (told.volatility, expected.volatility),
        (told.lowest, expected.low),
        (told.highest, expected.high),
        (told.sign_flips_per_day, expected.flips_per_day),
        (told.half_life_hours, expected.half_life),
    ]
    for ours, theirs in pairs:
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert float(ours) == pytest.approx(theirs, rel=NEAR, abs=1e-18)


@pytest.mark.slow
def test_a_pair_in_detail_as_the_api_tells_it(series: dict[str, list[recorded.Settled]], tmp_path: Path) -> None:
    """The recorded year, moved by whole hours so that it ends now, behind two quotes of today."""

    async def main(ask: asking.Asking) -> None:
        now_ns = ask.service.now_ns()
        shift = now_ns // NS_PER_HOUR - hour_of("2023-12-20T00:00")
        for venue, there in (("lighter", "dydx"), ("hyperliquid", "binance")):
            kept = [s for s in series[there] if hour_of("2023-12-01T00:00") <= s.ms / HOUR_MS <= hour_of("2023-12-20T00:00") + 0.001]
            moved = [msgspec.structs.replace(row, instrument=f"BTC-USDC-PERP.{venue}") for row in stored(kept, venue, shift * HOUR_MS)]
            ask.service.store.add_settled(moved)
        pair = "BTC-USDC-PERP.lighter/BTC-USDC-PERP.hyperliquid"
        found = (await ask(f"/api/v1/edge?pair={pair}&size=1000")).as_(shapes.Edge)
        first = hour_of("2023-12-20T00:00") - 168
        one, other = (recorded.by_hour(series[v], first, 168) for v in ("dydx", "binance"))
        expected = recorded.figures([None if a is None or b is None else b - a for a, b in zip(one, other, strict=True)])
        assert found.persistence is not None
        told = found.persistence
        assert told.points == expected.points
        assert float(told.mean) == pytest.approx(expected.mean, rel=NEAR)
        assert float(told.volatility) == pytest.approx(expected.volatility, rel=NEAR)
        assert float(told.sign_flips_per_day) == pytest.approx(expected.flips_per_day, rel=NEAR)
        assert float(told.half_life_hours or 0) == pytest.approx(expected.half_life, rel=NEAR)
        now = 0.00011 + 0.00004
        assert found.expected is not None
        assert expected.half_life
        for point in found.expected:
            steps = 4_000
            width = float(point.hours) / steps
            decay = [0.5 ** ((n + 0.5) * width / expected.half_life) for n in range(steps)]
            total = sum((expected.mean + (now - expected.mean) * x) * width for x in decay)
            assert float(point.funding) == pytest.approx(total, rel=1e-5)
        for held in found.curve:
            payments = int(float(held.hours))
            assert float(held.funding) == pytest.approx(payments * now, rel=NEAR)

    asking.play(tmp_path, main)
