"""`perpkit report` over a real journal: what it says is the sum of the records, run by run and day by day."""

import csv
import io
import json
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import msgspec
import pytest

from database.connect import sqlite_url
from database.journal import Journal
from database.records import LedgerKind, Leg, PairState, RunRecord
from perpkit.cli.main import run
from strategies.execution import ledger
from tests.strategies.test_ledger import HOLDING, NOW, PAIR, Story, closed_pair

DAY = 24 * 3_600 * 1_000_000_000
pytestmark = pytest.mark.slow


def of_pair(story: Story, name: str) -> list[Any]:
    """The story's records under another pair's id."""
    told: list[Any] = [
        msgspec.structs.replace(i, pair_id=name, intent_id=f"{name}-{i.intent_id}", client_order_id=f"{name}-{i.client_order_id}")
        for i in story.intents
    ]
    for f in story.fills:
        named = None if f.intent_id is None else f"{name}-{f.intent_id}"
        told.append(msgspec.structs.replace(f, pair_id=name, intent_id=named, trade_id=f"{name}-{f.trade_id}"))
    return [*told, *(msgspec.structs.replace(p, pair_id=name, record_id=f"{name}-{p.record_id}") for p in story.funding)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """One pair that earned 0.13 (and whose venue shows one dollar less), one failed open of -1.10, one grid, in one run."""
    journal = Journal.open(sqlite_url(tmp_path / "journal.db"))
    story = closed_pair()
    good = msgspec.structs.replace(PAIR, opened_at=NOW, closed_at=NOW + 2 * DAY)
    booked = ledger.lines(
        good, story.fills, story.funding, story.result(good, venue_totals={Leg.LONG: D("18.00")}), NOW, intents=story.intents
    )
    assert [line.amount for line in booked if line.kind is LedgerKind.UNEXPLAINED] == [D("-1.00")]
    failed = Story().trade(Leg.LONG, "buy", "1", "100", mid="100", fee="0.05")
    failed.trade(Leg.LONG, "sell", "1", "99", mid="99.5", fee="0.05", after_s=6, purpose="unwind")
    grid = Story().trade(Leg.LONG, "buy", "1", "100", mid="100").trade(Leg.LONG, "sell", "1", "101", mid="101", after_s=9)
    journal.write(
        good,
        *story.intents,
        *story.fills,
        *story.funding,
        *booked,
        msgspec.structs.replace(PAIR, pair_id="q1", closed_at=NOW + DAY, created_at=NOW + 1, state=PairState.CLOSED),
        *of_pair(failed, "q1"),
        HOLDING,
        *of_pair(grid, "h1"),
        RunRecord(
            run_id="r1",
            strategy="s",
            account="a",
            environment="paper",
            config="strategy: s",
            started_at=NOW - 1,
            heartbeat_at=NOW + 3 * DAY,
            ended_at=NOW + 3 * DAY,
            ending="flat",
        ),
    )
    journal.close()
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    code = run([*arguments, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


def test_e27_everything_adds_up(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, err = call(capsys, "report", "--home", str(home))
    assert (code, err) == (1, ""), "a venue shows what no record explains: somebody should look"
    parts = {owner["id"]: D(owner["parts"]["total"]) for owner in told["owners"]}
    assert parts == {"p1": D("0.13"), "q1": D("-1.10"), "h1": D(1)}
    whole = told["totals"]
    assert (D(whole["total"]), D(whole["unexplained"]), whole["failed_opens"], D(whole["failed_opens_result"])) == (
        D("0.03"),
        D("-1.00"),
        1,
        D("-1.10"),
    )
    assert sum(D(day["total"]) for day in told["days"]) == D("0.03") - D("1.00")
    (made,) = told["runs"]
    assert (made["run_id"], made["count"], D(made["total"])) == ("r1", 2, D("-0.97")), "the grid is another strategy's"
    assert "config" not in made


def test_a_pair_in_three_views(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, _ = call(capsys, "report", "p1", "--home", str(home))
    (owner,) = told["owners"]
    assert code == 1
    assert {name: D(value) for name, value in owner["parts"].items()} == {
        "exposure": 0,
        "basis": D("0.6"),
        "slippage": D("-1.0"),
        "unwind": 0,
        "fees": D("-0.27"),
        "funding": D("0.80"),
        "total": D("0.13"),
    }
    long, short = (venue["cash"] for venue in owner["venues"])
    assert (D(long["total"]), D(long["equity_change"]), D(long["unexplained"])) == (D("19.00"), D("18.00"), D("-1.00"))
    assert (D(short["total"]), short["unexplained"]) == (D("-18.87"), None)
    assert run(["report", "p1", "--home", str(home)]) == 1
    out = capsys.readouterr().out
    assert all(word in out for word in ("account gained", "basis", "0.60", "unexplained"))


def test_a_run_and_a_failed_open_by_the_beginning_of_their_ids(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, told, _ = call(capsys, "report", "r", "--home", str(home))
    assert [owner["id"] for owner in told["owners"]] == ["p1", "q1"]
    code, told, _ = call(capsys, "report", "q", "--home", str(home))
    assert (code, told["owners"][0]["failed_open"], D(told["owners"][0]["parts"]["unwind"])) == (0, True, D("-0.55"))
    assert run(["report", "--home", str(home)]) == 1
    assert "failed opens: 1, together -1.10 USD" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["-", "file"])
def test_csv_adds_up(where: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = "-" if where == "-" else str(home / "out.csv")
    assert run(["report", "--home", str(home), "--csv", target]) == 0
    out = capsys.readouterr().out
    text = out if where == "-" else Path(target).read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 4 + 2 + 1 + 2 + 2
    assert sum(D(row["amount"]) for row in rows) == D("0.03") - D("1.00")


@pytest.mark.parametrize(("what", "words"), [("nosuch", "no pair, holding or run"), ("", "beginning of 4 ids")])
def test_a_wrong_id_is_told(what: str, words: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, err = call(capsys, "report", what, "--home", str(home))
    assert (code, err.count("\n")) == (2, 1)
    assert words in told["error"]["message"]


def test_an_empty_journal_has_nothing_to_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Journal.open(sqlite_url(tmp_path / "journal.db")).close()
    assert run(["report", "--home", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "nothing was traded yet\n"
