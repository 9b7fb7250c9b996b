"""The demo as a command, and the commands that read what it left."""

import fcntl
import json
from pathlib import Path

import pytest

from perpkit.cli.main import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_demo_then_why_positions_and_recover(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "demo"
    code = run(["demo", "--in-memory", "--home", str(home), "--json"])
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (code, err) == (0, ""), report
    assert (report["state"], report["flat"]) == ("closed", True)
    assert report["faults"]
    assert report["opened_at"].endswith("Z")
    assert all(decision["at"].endswith("Z") for decision in report["decisions"])
    assert run(["why", report["pair_id"], "--home", str(home), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pair"]["opened_at"], told["pair"]["plan"]["symbol"]) == (report["opened_at"], report["symbol"])
    kinds = [event["what"] for event in told["events"]]
    assert kinds[0] == "decision"
    assert {"decision", "order", "fill", "funding", "ledger"} <= set(kinds)
    assert kinds.count("fill") == report["fills"]
    for command in ("positions", "recover"):
        assert run([command, "--home", str(home), "--json"]) == 0
        assert not any(json.loads(capsys.readouterr().out).values()), "nothing is open after the demo"


def test_demo_does_not_empty_a_folder_that_is_not_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    precious = tmp_path / "thesis.tex"
    precious.write_text("years of work", encoding="utf-8")
    assert run(["demo", "--in-memory", "--home", str(tmp_path)]) == 2
    assert precious.read_text(encoding="utf-8") == "years of work"
    assert "--home" in capsys.readouterr().err


def test_a_second_demo_leaves_the_first_ones_folder_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "demo"
    home.mkdir()
    (home / "journal.db").write_text("of the first", encoding="utf-8")
    with (home / "demo.log").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert run(["demo", "--in-memory", "--home", str(home)]) == 1
    assert "another demo is running" in capsys.readouterr().err
    assert (home / "journal.db").read_text(encoding="utf-8") == "of the first"


def test_recordings_that_are_not_there_cost_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "demo"
    assert run(["demo", "--home", str(home), "--data", str(tmp_path / "nowhere")]) == 2
    assert "nowhere is no folder" in capsys.readouterr().err
    assert not home.exists()
