"""`perpkit run` as a process: what it prints, how it ends, what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from database.connect import sqlite_url
from database.journal import Journal
from perpkit.cli.main import run as command
from tests.bot.test_environments import YAML

FILE = YAML.split("backtest:")[0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bot.yaml"
    path.write_text(FILE)
    return path


@pytest.mark.slow
def test_a_demo_bot_runs_until_it_is_told_to_stop(file: Path) -> None:
    home = file.parent / "home"
    line = [sys.executable, "-m", "perpkit", "run", str(file), "--env", "demo", "--home", str(home), "--json"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    told = []
    try:
        assert process.stdout is not None
        for text in process.stdout:
            told.append(json.loads(text))
            if told[-1].get("text", "").startswith("running"):
                break
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    told += [json.loads(text) for text in out.splitlines()]
    said = [entry["text"] for entry in told if entry["type"] == "message"]
    assert any(text.startswith("stopping: SIGTERM") for text in said), (said, err)
    assert any(text.startswith("funding_arbitrage:main: left ") for text in said)
    assert {entry["type"] for entry in told} <= {"message", "event", "decision", "position"}
    assert process.returncode in (0, 1)
    (journal_file,) = home.glob("demo/*/demo.db")
    journal = Journal.open(sqlite_url(journal_file), read_only=True)
    (record,) = journal.runs()
    journal.close()
    assert record.ended_at is not None
    assert record.ending
    assert process.returncode == (1 if "alert" in record.ending or "unsettled" in record.ending else 0)
    assert list(home.glob("demo/*/run.log"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = command(["run", *arguments])
    return code, capsys.readouterr().err


def test_live_asks_first(file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/null").open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        code, said = refused(capsys, str(file), "--env", "live", "--home", str(file.parent / "home"))
    assert code == 2
    assert "real orders" in said
    assert "--yes" in said
    assert not (file.parent / "home").exists()


def test_live_without_keys_names_them(file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTER_API_KEY_PRIVATE_KEY", raising=False)
    code, said = refused(capsys, str(file), "--env", "live", "--yes", "--home", str(file.parent / "home"))
    assert code == 3
    assert "LIGHTER_API_KEY_PRIVATE_KEY" in said


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        (FILE.replace("min_profit", "min_proft"), (), "did you mean min_profit?"),
        (FILE, ("--endpoint", "http://127.0.0.1:1"), "does not say whose address"),
        (FILE, ("--endpoint", "okx=http://127.0.0.1:1"), "okx is not asked"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(
    file: Path, capsys: pytest.CaptureFixture[str], text: str, arguments: tuple[str, ...], said: str
) -> None:
    file.write_text(text)
    code, told = refused(capsys, str(file), "--home", str(file.parent / "home"), *arguments)
    assert code == 2
    assert said in told
    assert len(told.strip().splitlines()) == 1


def test_an_address_that_nobody_answers_is_a_venue_that_failed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends = [part for venue in ("lighter", "hyperliquid") for part in ("--endpoint", f"{venue}=http://127.0.0.1:1")]
    code, told = refused(capsys, str(file), "--home", str(file.parent / "home"), *ends)
    assert code == 4
    assert told.startswith("perpkit: lighter:")


def test_no_file_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = refused(capsys)
    assert code == 2
    assert "no configuration was given" in told
