"""What would make a backtest look better than the history was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exchange_simulator.simloop import Simulation, run
from perpkit.backtest.data.funding import FundingTable, read_funding
from perpkit.backtest.market import HistoryFunding, Player, Step
from perpkit.backtest.runner import run_one
from perpkit.backtest.walk_forward import NullTest, null_test_words
from perpkit.cli.main import run as command
from tests.backtest.history import MORNING, bot, candles, flat, funding, market, ns, spec, stamp, write

D = Decimal
H = 3_600 * 10**9


def values(**more: Any) -> dict[str, Any]:
    return bot({"alpha": market("alpha", every=8), "beta": market("beta", every=8)}, **more)


def test_prices_that_end_before_the_run_are_a_gap(tmp_path: Path) -> None:
    """They stood still, could be traded, and a pair earned funding on them without a word."""
    flat(tmp_path / "alpha.csv", 100, 13)
    flat(tmp_path / "beta.csv", 100, 40)
    for name in ("alpha", "beta"):
        funding(tmp_path / f"{name}_funding.csv", "0.002" if name == "beta" else 0, every=8, hours=40)
    found = run_one(spec(values(), tmp_path, 9, 30))
    assert found.gaps == ("alpha: no bars from 2024-01-01 13:00 to 2024-01-02 06:00: the market was not readable",)
    (position,) = found.positions
    assert position.state == "hedged"  # nobody knows at what price it could be closed
    assert [w.split(":")[0] for w in found.warnings] == ["alpha X", "beta X"]
    assert "still open at the end" in found.warnings[0]


def test_bars_that_begin_after_the_run_are_a_gap(tmp_path: Path) -> None:
    write(tmp_path / "alpha.csv", "time,open,high,low,close", ((stamp(n), 100, 100, 100, 100) for n in range(5, 13)))
    flat(tmp_path / "beta.csv", 100, 13)
    for name in ("alpha", "beta"):
        funding(tmp_path / f"{name}_funding.csv", 0, every=8, hours=16)
    found = run_one(spec(values(), tmp_path, 0, 12))
    assert found.gaps == ("alpha: no bars from 2024-01-01 00:00 to 2024-01-01 05:00: the market was not readable",)


def test_bars_that_never_begin_together_are_told(tmp_path: Path) -> None:
    flat(tmp_path / "alpha.csv", 100, 7)
    write(tmp_path / "beta.csv", "time,open,high,low,close", ((stamp(n - 0.5), 100, 100, 100, 100) for n in range(8)))
    for name in ("alpha", "beta"):
        funding(tmp_path / f"{name}_funding.csv", 0, every=8, hours=8)
    (warning,) = run_one(spec(values(), tmp_path, 0, 6)).warnings
    assert warning.startswith("X: bars of alpha and beta never begin together")


def test_quotes_that_stop_are_told_and_none_is_lost(tmp_path: Path) -> None:
    flat(tmp_path / "alpha.csv", 100, 13)
    rows = [(stamp(n), "99.99", 50, "100.01", 50) for n in (0, 0.5, 1, 4, 4.5)]
    write(tmp_path / "beta.csv", "time,bid,bid_size,ask,ask_size", rows)
    for name in ("alpha", "beta"):
        funding(tmp_path / f"{name}_funding.csv", 0, every=8, hours=16)
    chosen = values()
    beta = chosen["backtest"]["venues"]["beta"]["markets"]["X"]
    del beta["candles"]
    beta["quotes"] = {"file": "beta.csv"}
    found = run_one(spec(chosen, tmp_path, 0, 12))
    assert found.gaps == (
        "beta: no records from 2024-01-01 01:00 to 2024-01-01 04:00: the last prices stood still",
        "beta: no records from 2024-01-01 04:30 to 2024-01-01 12:00: the last prices stood still",
    )


def test_e22_a_rate_that_the_history_does_not_have_is_not_known(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", "time,rate", [(stamp(n), "0.001") for n in (16, 24, 48)])
    history = read_funding(tmp_path, FundingTable(file="x.csv", interval_hours=D(8)))
    start = ns(MORNING)
    settled, coming = (HistoryFunding({"X": history}, start, coming=coming) for coming in (False, True))

    def known(source: HistoryFunding, hour: float, market: str = "X") -> bool:
        return source.known(market, start + int(hour * H), 8 * H)

    assert [h for h in range(0, 72, 4) if known(settled, h)] == [16, 20, 24, 28, 32, 48, 52, 56]
    assert [h for h in range(0, 72, 4) if known(coming, h)] == [8, 12, 16, 20, 40, 44]
    assert not known(settled, 20, "Y")


def test_e22_no_pair_is_entered_on_a_rate_before_the_history_begins(tmp_path: Path) -> None:
    """It was seen as 0, and the leg was charged nothing while the other one was paid."""
    for name in ("alpha", "beta"):
        flat(tmp_path / f"{name}.csv", 100, 20)
    write(tmp_path / "alpha_funding.csv", "time,rate", [(stamp(n), "0.002") for n in (32, 40)])
    funding(tmp_path / "beta_funding.csv", "0.002", every=8, hours=24)
    found = run_one(spec(values(), tmp_path, 1, 19))
    assert found.positions == ()
    assert found.split.funding == 0


def test_what_a_grid_holds_is_closed_at_the_end_and_paid_for(tmp_path: Path) -> None:
    candles(tmp_path / "alpha.csv", [(100, 100, 98, 98), (98, 98, 96, 96), (96, 96, 95, 95)])
    funding(tmp_path / "alpha_funding.csv", 0, every=8, hours=8)
    grid = {
        "strategy": "grid",
        "venues": ["alpha"],
        "parameters": {
            "symbols": ["X"],
            "grid_step": "0.4",
            "take_profit": "0.5",
            "order_notional_usd": "200",
            "check_interval_seconds": 60,
            "wait_time": 60,
        },
        "backtest": {"venues": {"alpha": {"quote": "USDT", "markets": {"X": market("alpha", every=8)}}}},
    }
    found = run_one(spec(grid, tmp_path, 0, 3))
    (holding,) = found.positions
    assert (holding.state, found.summary.losers) == ("closed", 1)
    assert holding.reason.startswith("end of history")
    assert [line[-1] for line in found.curves.exposure.values()] == [0]
    assert found.split.unexplained == 0
    assert found.summary.total == holding.total
    assert any(a.startswith("Pairs and holdings that are open when the history ends are closed") for a in found.assumptions)
    assert any("a grid" in a and "earns more here" in a for a in found.assumptions)
    kept = {**grid, "backtest": {**grid["backtest"], "close_at_end": False}}  # type: ignore[dict-item]
    left = run_one(spec(kept, tmp_path, 0, 3))
    assert left.positions[0].state == "open"
    assert left.summary.total > found.summary.total  # the fee and the spread of leaving
    assert "still open at the end" in left.warnings[0]


def test_bars_do_not_leap_over_a_liquidation(tmp_path: Path) -> None:
    """The short lost its 800 and no more, the long was closed at the far end: being liquidated earned 796."""
    bars = [(100, 100, 100, 100)] * 13 + [(100, 260, 100, 250)] + [(250,) * 4] * 4
    for name, rate in (("alpha", "0"), ("beta", "0.002")):
        candles(tmp_path / f"{name}.csv", bars)
        funding(tmp_path / f"{name}_funding.csv", rate, every=8, hours=24)
    chosen = bot({n: market(n, every=8) for n in ("alpha", "beta")}, deposits={"alpha": 800, "beta": 800})
    found = run_one(spec(chosen, tmp_path, 9, 15))
    assert found.summary.liquidations == 1
    assert -10 < found.summary.total < 0
    assert abs(found.split.price) < 10


def test_the_deepest_fall_is_seen_between_the_points_of_the_curve(tmp_path: Path) -> None:
    """A spike of 8 % on one leg, gone long before the next of ten points."""
    for name in ("alpha", "beta"):
        candles(tmp_path / f"{name}.csv", [(100, 100, 92 if name == "alpha" and n == 14 else 100, 100) for n in range(60)])
    funding(tmp_path / "alpha_funding.csv", 0, every=8, hours=64)
    funding(tmp_path / "beta_funding.csv", "0.002", every=8, hours=64)
    chosen = values()
    chosen["backtest"]["samples"] = 10
    found = run_one(spec(chosen, tmp_path, 9, 59))
    assert min(found.curves.equity) > 19_990
    assert found.summary.max_drawdown_usd > 75  # 999 x 8 %


def test_random_signs_keep_what_lies_between_venues_that_settle_together(tmp_path: Path) -> None:
    """Signs of their own made differences of twice the rate where the history has none."""
    for name in ("alpha", "beta"):
        flat(tmp_path / f"{name}.csv", 100, 72)
        funding(tmp_path / f"{name}_funding.csv", "0.002", every=8, hours=80)
    for seed in (1, 2):
        chance = spec(values(), tmp_path, 1, 71)
        found = run_one(type(chance)(**{f: getattr(chance, f) for f in chance.__struct_fields__ if f != "flip_seed"}, flip_seed=seed))
        assert found.positions == ()


@pytest.mark.parametrize(
    ("runs", "positions", "told"),
    [
        (4, 0, "no position was opened"),
        (4, 3, "its funding beats 2 of 4 runs with random funding signs, its result 4 .*; fewer than 19 runs cannot tell"),
        (19, 3, "its funding beats 2 of 19 .* its result 4 [^;]*$"),
    ],
)
def test_a_null_test_says_no_more_than_it_knows(runs: int, positions: int, told: str) -> None:
    import re

    found = NullTest(
        runs=runs,
        real=D(1),
        percentile=round(D(4) / (runs + 1), 4),
        totals=(D(0),) * runs,
        funding_real=D(1),
        funding_percentile=round(D(2) / (runs + 1), 4),
        positions=positions,
    )
    assert re.search(told, null_test_words(found))


def test_the_null_test_of_choices_has_the_parameters_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The runs it was compared with had those of the file."""
    import yaml

    for name in ("alpha", "beta"):
        flat(tmp_path / f"{name}.csv", 100, 13)
        funding(tmp_path / f"{name}_funding.csv", "0.002" if name == "beta" else 0, every=8, hours=16)
    (tmp_path / "bot.yaml").write_text(yaml.safe_dump(values()))
    base = [str(tmp_path / "bot.yaml"), "--from", "2024-01-01", "--to", "2024-01-01T12:00", "--data", str(tmp_path)]
    options = ["--set", "parameters.min_profit=1,0", "--walk-forward", "2", "--null-test", "2", "--jobs", "1", "--json"]
    assert command(["backtest", *base, "--out", str(tmp_path / "out"), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["summary"]["positions"] == 0  # nothing earns 100 % in a day
    assert {D(str(total)) for total in found["null_test"]["totals"]} == {0}


def test_the_best_of_a_sweep_says_that_it_was_chosen(tmp_path: Path) -> None:
    import yaml

    for name in ("alpha", "beta"):
        flat(tmp_path / f"{name}.csv", 100, 7)
        funding(tmp_path / f"{name}_funding.csv", 0, every=8, hours=8)
    (tmp_path / "bot.yaml").write_text(yaml.safe_dump(values()))
    options = ["--set", "parameters.min_profit=0,0.001", "--jobs", "1"]
    where = ["--from", "2024-01-01", "--to", "2024-01-01T06:00", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert command(["sweep", str(tmp_path / "bot.yaml"), *where, *options]) == 0
    assert "the best of 2 runs" in (tmp_path / "out" / "report.html").read_text()
    assert "the best of 2 runs" in json.loads((tmp_path / "out" / "sweep.json").read_text())[0]["warnings"][0]


def test_nobody_sees_one_venues_new_price_beside_anothers_old_one() -> None:
    """A bot without latency could trade the second venue between two steps of one moment."""
    seen: list[tuple[int, ...]] = []

    class Moves:
        def __init__(self, number: int) -> None:
            self.number = number

        def steps(self) -> Iterator[Step]:
            for ts_ns in (H, 2 * H):
                yield ts_ns, self.number, self, ts_ns

        def apply(self, ts_ns: int, change: int) -> None:
            prices[self.number] = change
            asyncio.get_running_loop().call_soon(lambda: seen.append(tuple(prices)))

    prices = [0, 0]

    async def play(sim: Simulation) -> None:
        await Player(sim.loop, 0, [Moves(0), Moves(1)]).play()

    run(play, seed=1, epoch_ns=0)
    assert set(seen) == {(H, H), (2 * H, 2 * H)}
