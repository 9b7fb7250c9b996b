"""The demo as a command, and the commands that read what it left."""

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
    assert run(["why", report["pair_id"], "--home", str(home), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
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
