"""`perpkit halt`, `resume` and `stress` as a user types them, and a halt from another process (E42)."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from database.connect import sqlite_url
from database.journal import Journal
from exchange_clients.transport.runtime import Runtime
from perpkit.cli.main import run
from strategies.execution.engine import EntryRefused
from strategies.risk import RiskLimits
from strategies.risk.halt import HaltFile
from tests.risk.scene import LONG, started, until
from tests.risk.test_watchdog import keys, options, output, process
from tests.strategies.stack import stack

D = Decimal


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = run([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_halt_and_resume_say_what_is_and_what_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(tmp_path)]
    assert run(["resume", *home]) == 0
    assert "nothing was halted" in capsys.readouterr().out
    assert run(["halt", "flood in the cellar", *home]) == 0
    assert "halted: flood in the cellar; `perpkit resume` ends it" in capsys.readouterr().out
    code, told = call(capsys, "halt", "again", *home)
    assert (code, told["reason"], told["new"]) == (0, "flood in the cellar", False)
    code, told = call(capsys, "resume", *home)
    assert (code, told["was"]["reason"]) == (0, "flood in the cellar")
    assert HaltFile(tmp_path).read() is None


def test_a_halt_needs_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["halt", "--home", str(tmp_path)]) == 2
    assert not (tmp_path / "HALT").exists()


POSITIONS = [
    {
        "venue": "lighter",
        "equity": "300",
        "positions": [{"instrument": "BTC-USDC-PERP.lighter", "quantity": "10", "mark": "100", "maintenance": "0.025"}],
    },
    {
        "venue": "hyperliquid",
        "equity": "200",
        "positions": [{"instrument": "BTC-USDC-PERP.hyperliquid", "quantity": "-10", "mark": "100", "maintenance": "0.025"}],
    },
]


def test_stress_from_a_file_says_which_leg_breaks_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "positions.json"
    path.write_text(json.dumps(POSITIONS))
    code, told = call(capsys, "stress", "--positions", str(path), "--base", "BTC")
    assert code == 0
    assert told["breaks_first"]["venue"] == "hyperliquid"
    assert abs(D(told["breaks_first"]["distance"]) - D("0.17073")) < D("0.0001")
    assert told["rows"][0]["move"] == "-0.5"
    assert run(["stress", "--positions", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "breaks first" in shown
    assert "117.07" in shown
    assert run(["stress", "--positions", str(path), "--min-distance", "0.2"]) == 1


def test_stress_says_what_is_wrong_with_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "positions.json"
    path.write_text(json.dumps([{**POSITIONS[0], "equty": "1"}]))
    assert run(["stress", "--positions", str(path)]) == 2
    assert "equty" in capsys.readouterr().err
    path.write_text(json.dumps(POSITIONS))
    assert run(["stress", "--positions", str(path), "--base", "ETH"]) == 2
    assert "held: BTC" in capsys.readouterr().err


def test_the_watchdog_refuses_an_impatient_threshold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watchdog", "--once", "--silence", "1", "--home", str(tmp_path)]) == 2
    assert "5 or more" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_e42_a_halt_of_another_process_stops_a_running_bot_and_stress_asks_the_venues(tmp_path: Path) -> None:
    runtime = Runtime.system()
    async with stack(runtime, tmp_path, start=False) as s:
        scene = await started(s, RiskLimits(max_order_usd=None, max_loop_lag_s=5, max_clock_skew_s=5), tmp_path)
        record = await s.open()
        other = await process("perpkit", "halt", "flood", "--home", str(tmp_path))
        out = await output(other)
        assert other.returncode == 0, out
        await asyncio.sleep(1.0)
        with pytest.raises(EntryRefused, match="halted: flood"):
            await s.open()
        stressed = await process("perpkit", "stress", "--home", str(tmp_path), *options(s, tmp_path), environ=keys(s), json="--json")
        told = json.loads(await output(stressed))
        assert {leg["venue"]: D(leg["quantity"]) for leg in told["legs"]} == s.positions()
        await s.close(record.pair_id)
        assert set(s.positions().values()) == {D(0)}
        other = await process("perpkit", "resume", "--home", str(tmp_path))
        await output(other)
        await until(lambda: scene.risk.entry_block(LONG) is None, within_s=5)
        await scene.down()
    journal = Journal.open(sqlite_url(tmp_path / "journal.db"), read_only=True)
    assert [entry.action for entry in journal.audit()] == ["halt", "resume"]
    journal.close()
    runtime.offload.close()
