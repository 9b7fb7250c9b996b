"""The commands that read the journal, against a real one."""

import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from database.connect import sqlite_url
from database.journal import Journal
from database.records import (
    DecisionRecord,
    FillCause,
    FillRecord,
    FundingRecord,
    IntentRecord,
    IntentState,
    LedgerKind,
    LedgerLine,
    Leg,
    PairRecord,
    PairState,
    RunRecord,
)
from perpkit.cli.main import run
from strategies.risk.fence import Heartbeat

T0 = 1_700_000_000_000_000_000
S = 1_000_000_000


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A state folder whose journal holds one pair: opened, paid funding once, long 0.02 and short 0.02."""
    journal = Journal.open(sqlite_url(tmp_path / "journal.db"))
    pair = PairRecord(
        pair_id="pair-abc",
        strategy="funding_arbitrage",
        account="main",
        symbol="BTC",
        state=PairState.HEDGED,
        long_venue="lighter",
        long_instrument="BTC-USDC-PERP.lighter",
        short_venue="hyperliquid",
        short_instrument="BTC-USDC-PERP.hyperliquid",
        first_leg=Leg.LONG,
        quantity=Decimal("0.02"),
        foreign_long=Decimal("0.5"),
        foreign_short=Decimal(0),
        plan="{}",
        created_at=T0,
        updated_at=T0 + 9 * S,
        opened_at=T0 + 3 * S,
    )
    decision = DecisionRecord(
        decision_id="d1",
        strategy="funding_arbitrage",
        account="main",
        pair_id="pair-abc",
        symbol="BTC",
        kind="enter",
        rule="net_edge",
        outcome="open",
        inputs='{"edge":"0.0012"}',
        thresholds='{"min_profit":"0.001"}',
        ages="{}",
        ts=T0,
    )
    intents, fills = [], []
    for number, (leg, side, venue) in enumerate([(Leg.LONG, "buy", "lighter"), (Leg.SHORT, "sell", "hyperliquid")], start=1):
        intents.append(
            IntentRecord(
                intent_id=f"i{number}",
                pair_id="pair-abc",
                leg=leg,
                venue=venue,
                account="main",
                instrument=pair.instrument(leg),
                client_order_id=str(number),
                side=side,
                quantity=Decimal("0.02"),
                limit_price=Decimal("60000"),
                reference_price=Decimal("60000"),
                reduce_only=False,
                time_in_force="IOC",
                purpose="entry",
                reason="open",
                state=IntentState.SETTLED,
                created_at=T0 + number * S,
                updated_at=T0 + number * S,
            )
        )
        fills.append(
            FillRecord(
                venue=venue,
                account="main",
                trade_id=f"t{number}",
                pair_id="pair-abc",
                leg=leg,
                instrument=pair.instrument(leg),
                intent_id=f"i{number}",
                client_order_id=str(number),
                order_id=f"o{number}",
                side=side,
                price=Decimal("60000"),
                quantity=Decimal("0.02"),
                fee=Decimal("0.3"),
                fee_asset="USDC",
                liquidity="taker",
                kind=FillCause.TRADE,
                ts_venue=T0 + number * S + S // 2,
                recorded_at=T0 + number * S + S // 2,
            )
        )
    funding = FundingRecord(
        venue="hyperliquid",
        account="main",
        record_id="f1",
        pair_id="pair-abc",
        leg=Leg.SHORT,
        instrument=pair.short_instrument,
        amount=Decimal("0.15"),
        rate=Decimal("0.000125"),
        position=Decimal("-0.02"),
        ts_venue=T0 + 5 * S,
        recorded_at=T0 + 5 * S,
    )
    line = LedgerLine(
        pair_id="pair-abc",
        kind=LedgerKind.SLIPPAGE,
        venue="hyperliquid",
        record_id="t2",
        amount=Decimal("-0.15"),
        asset="USDC",
        ts=T0 + 6 * S,
    )
    journal.write(pair, decision, *intents, *fills, funding, line)
    journal.close()
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    code = run([*arguments, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


@pytest.mark.slow
def test_why_tells_the_story_in_order(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, err = call(capsys, "why", "pair-a", "--home", str(home))
    assert (code, err) == (0, "")
    assert [event["what"] for event in told["events"]] == ["decision", "order", "fill", "order", "fill", "funding", "ledger"]
    assert told["events"][0]["detail"] == {"inputs": {"edge": "0.0012"}, "thresholds": {"min_profit": "0.001"}}
    assert told["events"][0]["time"] == "2023-11-14T22:13:20.000Z"
    assert "0.15 received from hyperliquid" in told["events"][5]["text"]


@pytest.mark.slow
def test_why_for_people_shows_inputs_below_the_decision(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["why", "--home", str(home)]) == 0
    out = capsys.readouterr().out
    assert "enter: net_edge -> open" in out
    assert "inputs: edge 0.0012" in out


@pytest.mark.slow
def test_positions_adds_own_share_to_what_was_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, _ = call(capsys, "positions", "--offline", "--home", str(home))
    assert code == 0
    assert {leg["leg"]: leg["expected"] for leg in told["legs"]} == {"long": "0.52", "short": "-0.02"}
    assert all(leg["proved"] is None and not leg["agrees"] for leg in told["legs"])


def virtual(home: Path, environment: str) -> None:
    """What is open was opened there."""
    journal = Journal.open(sqlite_url(home / "journal.db"))
    journal.write(
        RunRecord(
            run_id="r1",
            strategy="funding_arbitrage",
            account="main",
            environment=environment,
            config="",
            started_at=T0 - S,
            heartbeat_at=T0,
        )
    )
    journal.close()


@pytest.mark.slow
@pytest.mark.parametrize("environment", ["paper", "shadow", "demo"])
def test_no_venue_is_asked_about_a_virtual_account(environment: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    virtual(home, environment)
    assert run(["positions", "--home", str(home), "--json"]) == 0
    legs = json.loads(capsys.readouterr().out)["legs"]
    assert [leg["own"] for leg in legs] == ["0.02", "-0.02"]
    assert {leg["note"] for leg in legs} == {f"{environment}: a virtual account, asked of nobody"}
    assert run(["stress", "--home", str(home)]) == 2
    assert f"pair-abc was opened in {environment}: its account is virtual" in capsys.readouterr().err


@pytest.mark.parametrize("environment", ["paper", "shadow", "demo"])
def test_recover_says_that_virtual_accounts_live_with_their_bot(environment: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without keys; and a real account beside it is not asked."""
    virtual(home, environment)
    assert run(["recover", "--home", str(home), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (pair,) = told["pairs"]
    assert pair["allowed"] == f"start its bot again: {environment} is a virtual account, and it recovers by itself"
    assert {leg["not_proved"] for leg in pair["legs"].values()} == {f"{environment}: a virtual account, asked of nobody"}
    assert run(["recover", "--home", str(home)]) == 0
    assert "a virtual account" in capsys.readouterr().out


def test_a_missing_journal_names_those_of_other_environments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("paper.db", "demo/1/demo.db", "demo/2/demo.db"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert run(["positions", "--home", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"there is --journal {tmp_path}/paper.db, --journal {tmp_path}/demo/2/demo.db" in told


@pytest.mark.parametrize("command", ["why", "positions"])
def test_no_journal_is_one_line_with_the_next_step(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, err = call(capsys, command, "--home", str(tmp_path / "nowhere"))
    assert code == 2
    assert told["error"]["kind"] == "usage"
    assert err.count("\n") == 1
    assert "--home" in err


@pytest.mark.slow
def test_unknown_pair_names_the_known_ones(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, _ = call(capsys, "why", "nothing", "--home", str(home))
    assert code == 2
    assert "pair-abc" in told["error"]["hint"]


@pytest.mark.slow
def test_garbage_journal_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "journal.db").write_bytes(b"this is no database, but long enough to look like a page of one" * 20)
    code, told, err = call(capsys, "why", "--home", str(tmp_path))
    assert code == 4
    assert told["error"]["kind"] == "journal"
    assert "Traceback" not in err


def test_the_watchdog_says_at_its_start_that_its_keys_are_of_another_account(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = "0x" + "12" * 20, "mainnet:0x" + "ab" * 20
    monkeypatch.setenv("HYPERLIQUID_PRIVATE_KEY", "0x" + "12" * 32)
    monkeypatch.setenv("HYPERLIQUID_ACCOUNT_ADDRESS", ours)
    Heartbeat(home, "funding_arbitrage", "main").beat(time.time_ns(), 1, accounts={"hyperliquid": theirs, "lighter": "mainnet:7"})
    watch = ["watchdog", "--once", "--venue", "hyperliquid", "--home", str(home)]
    assert run(watch) == 2
    told = capsys.readouterr().err
    assert f"hyperliquid: these keys are of mainnet:{ours}, but funding_arbitrage:main trades {theirs}" in told
    monkeypatch.setenv("HYPERLIQUID_ACCOUNT_ADDRESS", theirs.removeprefix("mainnet:"))
    assert run(watch) == 0


def test_a_watchdog_that_does_not_know_the_accounts_of_a_silent_bot_fails(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Heartbeat(home, "funding_arbitrage", "main").beat(T0, 1, accounts={"hyperliquid": "mainnet:0x" + "ab" * 20})
    assert run(["watchdog", "--once", "--home", str(home)]) == 1
    assert "nothing was done: lighter: funding_arbitrage:main never said which account it trades there" in capsys.readouterr().out
