"""`perpkit why` over recorded decisions: holdings, assets, one decision, and another configuration."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from database.connect import sqlite_url
from database.journal import Journal
from database.records import DecisionRecord, HoldingRecord, HoldingState, IntentRecord, IntentState, Leg, PairRecord, PairState
from perpkit.cli.main import run
from strategies.implementations.funding_arbitrage import recorder
from strategies.implementations.funding_arbitrage.config import FundingArbitrageConfig
from strategies.implementations.funding_arbitrage.entry import EntryView, judge_entry
from strategies.implementations.funding_arbitrage.exits import HoldMemory, judge
from tests.strategies.quotes import NOW
from tests.strategies.test_funding_arbitrage_entry import view
from tests.strategies.test_funding_arbitrage_rules import change

D = Decimal
CONFIG = FundingArbitrageConfig.model_validate({"exchanges": ["a", "b"], "enable_exit_polling": False})


def decision(number: int, kind: str, rule: str, outcome: str, inputs: str, pair_id: str | None = None, **more: str) -> DecisionRecord:
    fields = {"strategy": "funding_arbitrage", "symbol": "BTC", **more}
    return DecisionRecord(
        decision_id=f"d{number}",
        account="main",
        pair_id=pair_id,
        kind=kind,
        rule=rule,
        outcome=outcome,
        inputs=inputs,
        thresholds="{}",
        ages="{}",
        ts=NOW + number,
        **fields,
    )


def judged(number: int, seen: EntryView, pair_id: str | None = None) -> DecisionRecord:
    """As the strategy writes it."""
    found = judge_entry(seen, CONFIG)
    return decision(number, found.kind, found.rule, found.detail, recorder.inputs(seen, {"edge_hourly": D("0.0002")}), pair_id)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A pair that was entered, held and left for a flip; an asset passed over; a grid's holding."""
    pair = PairRecord(
        pair_id="p1",
        strategy="funding_arbitrage",
        account="main",
        symbol="BTC",
        state=PairState.CLOSED,
        long_venue="a",
        long_instrument="BTC-USDC-PERP.a",
        short_venue="b",
        short_instrument="BTC-USDC-PERP.b",
        first_leg=Leg.LONG,
        quantity=D(1),
        foreign_long=D(0),
        foreign_short=D(0),
        plan="{}",
        created_at=NOW,
        updated_at=NOW,
    )
    records: list[Any] = [pair, judged(1, view(), "p1"), judged(2, view(live_pairs=10))]
    flipped, memory = change(edge_hourly=D("-0.00001")), HoldMemory()
    for number in (3, 4):
        found = judge(flipped, memory, CONFIG)
        told = recorder.inputs(flipped, {"edge_hourly": flipped.edge_hourly}, memory, found.memory)
        records.append(decision(number, found.kind, found.rule, found.detail, told, "p1"))
        memory = found.memory
    records.append(decision(5, "exit", "requested", "by hand", "{}", "p1"))
    records.append(
        HoldingRecord(
            holding_id="h1",
            strategy="grid",
            account="main",
            venue="a",
            instrument="ETH-USDC-PERP.a",
            foreign_quantity=D(0),
            state=HoldingState.OPEN,
            plan="{}",
            reason="",
            created_at=NOW - 1,
            updated_at=NOW,
        )
    )
    records.append(decision(6, "enter", "grid", "first order", '{"price":"99.5"}', "h1", strategy="grid", symbol="ETH"))
    records.append(
        IntentRecord(
            intent_id="i1",
            pair_id="h1",
            leg=Leg.LONG,
            venue="a",
            account="main",
            instrument="ETH-USDC-PERP.a",
            client_order_id="1",
            side="buy",
            quantity=D(1),
            limit_price=D("99.5"),
            reference_price=None,
            reduce_only=False,
            time_in_force="GTC",
            purpose="entry",
            reason="rung 1",
            state=IntentState.WORKING,
            created_at=NOW + 7,
            updated_at=NOW + 7,
        )
    )
    journal = Journal.open(sqlite_url(tmp_path / "journal.db"))
    journal.write(*records)
    journal.close()
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], home: Path, *arguments: str) -> tuple[int, Any]:
    code = run(["why", *arguments, "--home", str(home), "--json"])
    return code, json.loads(capsys.readouterr().out)


def write(home: Path, text: str) -> str:
    (home / "other.yaml").write_text(text)
    return str(home / "other.yaml")


SAME = "{exchanges: [a, b], enable_exit_polling: false}"


@pytest.mark.slow
def test_the_same_configuration_comes_out_the_same(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for about in ("p1", "BTC"):
        code, found = call(capsys, home, about, "--config", write(home, SAME))
        assert (code, found["different"]) == (0, 0)
        rows = found["decisions"]
        assert [r["would_be"]["rule"] for r in rows if r["would_be"]] == [r["was"]["rule"] for r in rows if r["would_be"]]
        assert [r["decision"] for r in rows if r["would_be"] is None] == ["d5"]


@pytest.mark.slow
def test_another_configuration_shows_what_would_have_come_out_differently(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "{exchanges: [a, b], enable_exit_polling: false, max_positions: 11, min_profit: '0.0029', risk_config: {flip_confirmations: 3}}"
    code, found = call(capsys, home, "p1", "--config", write(home, text))
    assert code == 0
    assert {r["decision"]: (r["would_be"]["kind"], r["would_be"]["rule"]) for r in found["decisions"] if r["different"]} == {
        "d1": ("skip", "min_profit"),
        "d4": ("hold", "none"),
    }
    assert run(["why", "p1", "--home", str(home), "--config", str(home / "other.yaml")]) == 0
    out = capsys.readouterr().out
    assert "5 decisions" not in out
    assert "4 decisions, 2 would have come out differently" in out
    assert "it would not have been entered" in out
    code, found = call(capsys, home, "BTC", "--config", write(home, "{exchanges: [a, b], enable_exit_polling: false, max_positions: 11}"))
    assert {r["decision"]: r["would_be"]["kind"] for r in found["decisions"] if r["different"]} == {"d2": "enter"}


@pytest.mark.slow
def test_one_decision_shows_everything_it_looked_at(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = call(capsys, home, "--decision", "d1")
    assert code == 0
    again = msgspec.convert(found["inputs"]["view"], EntryView, strict=False)
    assert again == view()
    assert run(["why", "--decision", "d1", "--home", str(home)]) == 0
    assert "view.short.sample.raw_rate" in capsys.readouterr().out
    code, found = call(capsys, home, "--decision", "nothing")
    assert code == 2


@pytest.mark.slow
def test_a_holding_has_a_story_too_and_its_decisions_are_not_judged_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = call(capsys, home, "h1")
    assert code == 0
    assert found["holding"]["instrument"] == "ETH-USDC-PERP.a"
    assert [event["what"] for event in found["events"]] == ["decision", "order"]
    code, found = call(capsys, home, "h1", "--config", write(home, SAME))
    assert code == 2
    assert "cannot be judged again" in found["error"]["message"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [("{exchanges: [a, b], max_postions: 3}", "did you mean max_positions"), ("[1, 2]", "must be a mapping"), ("{a: [}", "not YAML")],
)
def test_a_bad_configuration_is_one_line(home: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    code, found = call(capsys, home, "p1", "--config", write(home, text))
    assert code == 2
    assert message in found["error"]["message"]
