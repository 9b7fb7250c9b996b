"""The recorded funding histories: what the docs say of their clocks and prices, and the example files over a stretch of them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from statistics import median

import pytest
import yaml

from perpkit.backtest.data.candles import Bar, CandleTable, read_candles
from perpkit.backtest.data.funding import FundingTable, read_funding
from perpkit.backtest.data.tables import DataError
from perpkit.backtest.runner import RunSpec, checked, run_one
from perpkit.cli.backtest import moment

THREE = "binance_bybit_okx_bitcoin_8h_20230101_20240701.csv"
EXAMPLES = Path(__file__).parents[2] / "examples" / "backtest"


@pytest.fixture
def histories(payloads: Path) -> Path:
    return payloads / "funding_history"


@pytest.mark.parametrize(
    ("venue", "zone", "more"),
    [
        ("binance", "+03:00", {}),
        ("bybit", "+03:00", {}),
        ("mexc", "+03:00", {}),
        ("gate", "UTC", {}),
        ("kucoin", "+03:00", {"offset_hours": 4}),
    ],
)
def test_each_series_is_read_on_its_own_clock_and_refused_on_another(histories: Path, venue: str, zone: str, more: dict[str, int]) -> None:
    (path,) = histories.glob(f"{venue}_BTC-USDT_*.csv")
    table = {"file": path.name, "interval_hours": 8, **more}
    found = read_funding(histories, FundingTable.model_validate({**table, "time_zone": zone}))
    assert len(found.settlements) > 3_000
    assert len(found.gaps) == (1 if venue == "gate" else 0)
    with pytest.raises(DataError, match="wrong time_zone"):
        read_funding(histories, FundingTable.model_validate({**table, "time_zone": "+01:00"}))


def test_hyperliquid_turns_from_eight_hours_to_one(histories: Path) -> None:
    table = {"file": "hyperliquid_BTC_fundingHistory_20230512_20230717.json", "interval_hours": "auto", "tolerance_s": 1800}
    found = read_funding(histories, FundingTable.model_validate(table))
    hours = [s.interval_ns // (3_600 * 10**9) for s in found.settlements]
    assert set(hours) == {1, 8}
    assert hours == sorted(hours, reverse=True)


def test_bybit_and_okx_share_a_clock_and_binance_does_not(histories: Path) -> None:
    closes = {}
    for venue in ("binance", "bybit", "okx"):
        where = {"exchange": venue, "pair": "BTCUSDT"}
        table = {"file": THREE, "where": where, "time_zone": "Europe/London", "interval_hours": 8}
        closes[venue] = [bar.close for bar in read_candles(histories, CandleTable.model_validate(table)).bars]
    apart = {
        other: median(abs(a / b - 1) * 10_000 for a, b in zip(closes["bybit"], closes[other], strict=True)) for other in ("okx", "binance")
    }
    assert apart["okx"] < 5
    assert apart["binance"] > 30


def test_bars_of_bybit_and_okx_are_stamped_at_their_middle_and_binances_at_their_open(histories: Path) -> None:
    """Every close lies within the bar that the other venue has at that moment, and with no other reading of the stamps."""

    def bars(venue: str, stamped: str) -> tuple[Bar, ...]:
        where = {"exchange": venue, "pair": "BTCUSDT"}
        table = {"file": THREE, "where": where, "time_zone": "Europe/London", "interval_hours": 8, "time_is": stamped}
        return read_candles(histories, CandleTable.model_validate(table)).bars

    length = 8 * 3_600 * 10**9

    def within(shown: tuple[Bar, ...], others: tuple[Bar, ...]) -> Decimal:
        """The share of closes that the other's bar holds, give or take what lies between two venues."""
        by_start = {bar.ts_ns: bar for bar in others}
        phase = others[0].ts_ns % length
        met = []
        for bar in shown:
            last_ns = bar.ts_ns + length - 1
            other = by_start.get((last_ns - phase) // length * length + phase)
            if other is not None:
                met.append(other.low * Decimal("0.9992") <= bar.close <= other.high * Decimal("1.0008"))
        return Decimal(sum(met)) / len(met)

    binance = bars("binance", "open")
    for venue in ("bybit", "okx"):
        found = bars(venue, "middle")
        assert within(found, binance) == within(binance, found) == 1
        for other in ("open", "close"):
            found = bars(venue, other)
            assert min(within(found, binance), within(binance, found)) < Decimal("0.9")


@pytest.mark.parametrize("name", [path.name for path in sorted(EXAMPLES.glob("*.yaml"))])
def test_the_examples_are_good_files(name: str) -> None:
    config, bot = checked(yaml.safe_load((EXAMPLES / name).read_text()))
    assert set(bot.venues) == set(config.venues)


@pytest.mark.slow
def test_an_example_runs_and_explains_every_cent(histories: Path) -> None:
    values = yaml.safe_load((EXAMPLES / "bybit_okx.yaml").read_text())
    start, end = moment("--from", "2023-02-01"), moment("--to", "2023-02-05")
    found = run_one(RunSpec(bot=values, data=str(histories), from_ns=start, to_ns=end))
    assert found.split.unexplained == 0
    assert found.gaps == found.warnings == ()
    assert abs(sum((p.total for p in found.positions), Decimal(0)) - found.summary.total) < Decimal("0.00001")  # rows are rounded
