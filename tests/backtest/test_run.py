"""Runs as a whole: the same bytes twice, gaps, what a strategy may know, chance, stretches, sweeps, the page, the command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from perpkit.backtest.report import html
from perpkit.backtest.result import RunResult, encode
from perpkit.backtest.runner import InvalidSpec, RunSpec, run_one
from perpkit.backtest.sweep import grid, override, parse_choices, run_all
from perpkit.backtest.walk_forward import null_test, null_test_card, stretches, walk_forward, walk_forward_card
from perpkit.cli.main import run as command
from tests.backtest.history import bot, candles, flat, funding, market, ns, spec, stamp, write

D = Decimal
HOURS = 18


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prices that wave a little, funding that pays the short on beta."""
    made = tmp_path_factory.mktemp("history")
    bars = [(100 + n % 3, 103 + n % 3, 98 + n % 3, 100 + (n + 1) % 3) for n in range(HOURS + 2)]
    for name in ("alpha", "beta"):
        candles(made / f"{name}.csv", bars)
    funding(made / "alpha_funding.csv", "0.00001", every=1, hours=HOURS)
    funding(made / "beta_funding.csv", "0.002", every=8, hours=HOURS)
    return made


def values(**more: Any) -> dict[str, Any]:
    return bot({"alpha": market("alpha", every=1), "beta": market("beta", every=8)}, **more)


@pytest.fixture(scope="module")
def result(folder: Path) -> RunResult:
    return run_one(spec(values(), folder, 0, HOURS))


IN_ANOTHER_PROCESS = """
import hashlib, json, sys
from perpkit.backtest.report import html
from perpkit.backtest.result import encode
from perpkit.backtest.runner import RunSpec, run_one
found = run_one(RunSpec(**json.load(sys.stdin)))
print(hashlib.sha256(encode(found)).hexdigest(), hashlib.sha256(html(found)).hexdigest())
"""


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes_in_any_process(folder: Path, result: RunResult) -> None:
    import hashlib

    plain = spec(values(), folder, 0, HOURS)
    told = json.dumps({name: getattr(plain, name) for name in ("bot", "data", "from_ns", "to_ns", "seed")})
    here = " ".join(hashlib.sha256(found).hexdigest() for found in (encode(result), html(result)))
    for hash_seed in ("1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(
            [sys.executable, "-c", IN_ANOTHER_PROCESS], input=told, capture_output=True, text=True, env=environment, timeout=50, check=True
        )
        assert done.stdout.strip() == here


def test_another_seed_is_another_latency_and_nothing_else(folder: Path, result: RunResult) -> None:
    other = run_one(spec(values(), folder, 0, HOURS, seed=2))
    assert encode(other) != encode(result)
    assert other.positions[0].opened_ns != result.positions[0].opened_ns
    assert other.split.funding == result.split.funding


def test_positions_curves_and_accounts_tell_the_same(result: RunResult) -> None:
    assert len(result.positions) >= 1
    assert sum((p.total for p in result.positions), D(0)) == result.summary.total == result.split.total
    assert sum((v.equity - v.deposit for v in result.venues), D(0)) == result.summary.total
    assert result.curves.equity[-1] == round(result.summary.equity, 4)
    assert result.curves.funding[-1] == round(result.split.funding, 4)
    assert max(abs(v) for v in result.curves.exposure["X alpha"]) > 900
    assert result.curves.exposure["X beta"][-1] == 0
    assert any("queue model behind" in a for a in result.assumptions)
    assert any("commands take 50 ms there" in a for a in result.assumptions)


def test_a_strategy_does_not_see_the_rate_before_it_is_settled(tmp_path: Path) -> None:
    """beta pays nothing until one huge settlement at 08:00, which only a look ahead could have earned; from 08:00 on it is known."""
    for name in ("alpha", "beta"):
        flat(tmp_path / f"{name}.csv", 100, 13)
    funding(tmp_path / "alpha_funding.csv", "0", every=1, hours=13)
    write(tmp_path / "beta_funding.csv", "time,rate", [(stamp(0), 0), (stamp(8), "0.01")])
    honest = run_one(spec(values(), tmp_path, 0, 12))
    assert honest.positions[0].opened_ns is not None
    assert honest.positions[0].opened_ns > honest.from_ns + 8 * 3_600 * 10**9
    assert honest.split.funding == 0
    ahead = values()
    ahead["backtest"]["rates"] = "coming"
    seen = run_one(spec(ahead, tmp_path, 0, 12))
    assert seen.split.funding == D("9.99")  # 9.99 x 100 x 1 %
    assert any("look ahead" in a for a in seen.assumptions)


def test_gaps_charge_nothing_close_the_market_and_are_told(tmp_path: Path) -> None:
    flat(tmp_path / "alpha.csv", 100, 20)
    rows = [(stamp(n), 100, 100, 100, 100) for n in range(20) if not 3 <= n < 6]
    write(tmp_path / "beta.csv", "time,open,high,low,close", rows)
    write(tmp_path / "alpha_funding.csv", "time,rate", [(stamp(n), 0) for n in range(20) if n not in (10, 11)])
    funding(tmp_path / "beta_funding.csv", "0.0001", every=8, hours=20)
    found = run_one(spec(values(), tmp_path, 0, 19))
    assert "beta: no bars from 2024-01-01 03:00 to 2024-01-01 06:00: the market was not readable" in found.gaps
    assert "alpha X: no funding records from 2024-01-01 09:00 to 2024-01-01 12:00: nothing was charged" in found.gaps
    assert "alpha X: 2 settlements have no record and charged nothing" in found.warnings


def test_prices_that_do_not_belong_together_are_told(tmp_path: Path) -> None:
    flat(tmp_path / "alpha.csv", 100, 13)
    flat(tmp_path / "beta.csv", "100.5", 13)
    for name, every in (("alpha", 1), ("beta", 8)):
        funding(tmp_path / f"{name}_funding.csv", 0, every=every, hours=13)
    (warning,) = run_one(spec(values(), tmp_path, 0, 12)).warnings
    assert re.match(r"X: bars of alpha and beta close 50 bps apart at the median: another time_zone", warning)


def test_random_signs_take_the_edge_away(folder: Path, result: RunResult) -> None:
    found = null_test(spec(values(), folder, 0, HOURS), result, 2, jobs=1)
    assert found.real == result.summary.total
    assert len(set(found.totals)) == 2
    assert found.percentile == round(D(sum(1 for t in found.totals if t < found.real)) / 3, 4)
    assert found.funding_real == result.split.funding > 0
    assert "its funding beats" in null_test_card(found)


def test_stretches_and_parameters_chosen_on_the_one_before(folder: Path) -> None:
    plain = spec(values(), folder, 0, 12)
    parts = stretches(plain, 3)
    assert [(p.to_ns - p.from_ns) // (3_600 * 10**9) for p in parts] == [4, 4, 4]
    assert parts[0].from_ns == plain.from_ns
    assert parts[-1].to_ns == plain.to_ns
    found = walk_forward(plain, 2, {"parameters.default_position_size_usd": [500, 1000]}, jobs=1)
    (fold,) = found.folds
    both = [run_one(s) for s in grid(stretches(plain, 2)[0], {"parameters.default_position_size_usd": [500, 1000]})]
    best = max(both, key=lambda r: r.summary.total)
    assert fold.trained == best.summary.total
    assert fold.chosen == best.overrides
    assert "Walk-forward" in walk_forward_card(found)
    with pytest.raises(InvalidSpec, match="at least two"):
        stretches(plain, 1)


@pytest.mark.slow
def test_a_sweep_runs_in_processes_and_keeps_the_order(folder: Path, result: RunResult) -> None:
    plain = spec(values(), folder, 0, HOURS)
    specs = grid(plain, parse_choices(["parameters.default_position_size_usd=1000,500"]))
    found = run_all(specs, jobs=2)
    assert [r.overrides for r in found] == [
        {"parameters.default_position_size_usd": "1000"},
        {"parameters.default_position_size_usd": "500"},
    ]
    assert found[0].split == result.split
    bad = override(plain, {"backtest.venues.alpha.markets.X.candles.file": "x.csv"})
    with pytest.raises(InvalidSpec, match=r"x\.csv: there is no such file"):
        run_all([bad], jobs=1)


@pytest.mark.parametrize("text", ["a.b", "=1", "a=", "a=[1,2"])
def test_settings_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InvalidSpec):
        parse_choices([text])


def test_the_page_needs_no_network_and_shows_everything(result: RunResult) -> None:
    text = html(result, ["<section>mine</section>"]).decode()
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)|url\(|@import|https?://""", text)
    assert "<section>mine</section>" in text
    assert text.count("<svg") >= 5
    for name in (*(v.venue for v in result.venues), *(i.sha256 for i in result.inputs)):
        assert name in text
    assert "prefers-color-scheme: dark" in text
    hostile = html(RunResult(**{**{n: getattr(result, n) for n in RunResult.__struct_fields__}, "label": "<script>x</script>"}))
    assert b"<script>x" not in hostile


def test_the_command_writes_both_files(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    file = tmp_path / "bot.yaml"
    file.write_text(yaml.safe_dump(values()))
    base = ["backtest", str(file), "--data", str(folder), "--from", "2024-01-01", "--out", str(tmp_path / "out")]
    assert command([*base, "--to", "2024-01-01T06:00", "--walk-forward", "2", "--null-test", "1", "--jobs", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    kept = json.loads((tmp_path / "out" / "result.json").read_bytes())
    assert told["summary"] == kept["run"]["summary"]
    assert len(kept["walk_forward"]["folds"]) == 2
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Null test" in page
    assert "Walk-forward" in page
    for extra, what in (
        (["--to", "2023-01-01"], "ends (2023-01-01 00:00) before it begins"),
        (["--to", "tomorrow"], "'tomorrow' is no time"),
        (["--to", "2024-01-02", "--set", "parameters.min_proft=1"], "did you mean min_profit"),
        (["--to", "2024-01-02", "--set", "backtest.venues.alpha.markets.X.tick=1"], "did you mean tick_size"),
        (["--to", "2024-01-02", "--set", "parameters.min_profit=1,2"], "add --walk-forward, or use perpkit sweep"),
        (["--to", "2024-01-02", "--set", "backtest.venues.beta.markets.X.candles.file=b.csv"], "b.csv: there is no such file"),
    ):
        assert command([*base, *extra]) == 2
        assert what in capsys.readouterr().err


def test_a_spec_travels_as_plain_data(folder: Path) -> None:
    import pickle

    plain = spec(values(), folder, 0, 3)
    assert pickle.loads(pickle.dumps(plain)) == plain  # noqa: S301 - our own bytes
    with pytest.raises(InvalidSpec, match="no section `backtest`"):
        run_one(RunSpec(bot={"strategy": "funding_arbitrage", "venues": ["a"]}, data=".", from_ns=0, to_ns=ns_of_a_day()))


def ns_of_a_day() -> int:
    from tests.backtest.history import MORNING

    return ns(MORNING)


def test_a_grid_runs_with_the_same_file_and_its_holding_is_told(tmp_path: Path) -> None:
    """Its market orders join the book; bars have no trades, so an entry fills when the price goes through it."""
    candles(tmp_path / "alpha.csv", [(100, 100.4, 98.6, 99), (99, 101.4, 98.9, 101)] * 3)
    funding(tmp_path / "alpha_funding.csv", "0.0001", every=1, hours=6)
    grid_bot = {
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
        "backtest": {"venues": {"alpha": {"quote": "USDT", "markets": {"X": market("alpha", every=1)}}}},
    }
    found = run_one(spec(grid_bot, tmp_path, 0, 5))
    (holding,) = found.positions
    assert found.venues[0].fills >= 2
    assert holding.venues == ("alpha",)
    assert holding.total == found.summary.total == found.split.total
    assert found.split.unexplained == 0
    assert found.split.funding < 0
