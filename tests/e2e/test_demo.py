"""The main job, run as a user runs it: over sockets, in memory, from recordings."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perpkit.demo import DemoOptions, DemoReport, run_demo
from perpkit.demo.show import DemoFailed


def in_memory(home: Path, **options: Any) -> DemoReport:
    return run_demo(DemoOptions(in_memory=True, home=home, live=False, quiet=True, **options))


def dump(home: Path) -> list[str]:
    """Every row of the journal, as text."""
    connection = sqlite3.connect(home / "journal.db")
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def check(report: DemoReport) -> None:
    assert report.succeeded
    assert report.state == "closed"
    assert report.flat
    assert report.settlements >= 4
    assert len(report.faults) >= 2
    assert {d.kind for d in report.decisions} >= {"enter", "exit"}
    assert report.price + report.funding + report.fees + report.slippage == report.total
    assert sum((v.total for v in report.venues), Decimal(0)) == report.total
    assert report.fees < 0
    assert report.unexplained is not None
    assert abs(report.unexplained) < Decimal("0.01")


@pytest.mark.slow
def test_the_same_seed_reproduces_the_run_exactly(tmp_path: Path) -> None:
    first, second, other = (in_memory(tmp_path / name, seed=seed) for name, seed in (("a", 11), ("b", 11), ("c", 12)))
    check(first)
    check(other)
    assert {**_plain(first), "real_seconds": 0} == {**_plain(second), "real_seconds": 0}
    assert dump(tmp_path / "a") == dump(tmp_path / "b")
    assert _plain(first)["total"] != _plain(other)["total"]


def test_a_folder_of_somebody_else_is_never_emptied(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DemoFailed, match="choose another"):
        in_memory(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


@pytest.mark.slow
def test_recordings_drive_the_market(tmp_path: Path, payloads: Path) -> None:
    report = in_memory(tmp_path / "home", data=payloads)
    check(report)
    assert report.symbol == "BTC"
    assert any("fundingHistory" in note for note in report.notes)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_command_over_real_sockets(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-m", "perpkit", "demo", "--json", "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["state"] == "closed"
    assert report["flat"] is True
    assert report["mode"].startswith("sockets")
    told = subprocess.run(
        [sys.executable, "-m", "perpkit", "why", report["pair_id"], "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stderr[-2000:]
    assert "enter" in told.stdout
    assert "fill" in told.stdout


def _plain(report: DemoReport) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(report)
    return found
