"""Positions of bots for the page: the figures of `perpkit report`, from journals that come, go, and are being written."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import msgspec
import pytest

from database.connect import sqlite_url
from database.journal import Journal
from database.records import DecisionRecord, LedgerKind, Leg, PairState, RunRecord
from exchange_clients.model import InstrumentId
from exchange_clients.transport.clock import SystemClock
from exchange_clients.transport.offload import ThreadOffload
from perpkit.cli.main import run
from perpkit.service.positions import JournalPositions, Source, journals_of
from strategies.execution import ledger
from tests.strategies.test_ledger import HOLDING, NOW, PAIR, Story, closed_pair

HOUR = 3_600 * 10**9
CLOSED = msgspec.structs.replace(PAIR, opened_at=NOW, closed_at=NOW + 2 * HOUR, state=PairState.CLOSED)
OPEN = msgspec.structs.replace(PAIR, pair_id="p-open", state=PairState.HEDGED, opened_at=NOW + HOUR, closed_at=None, created_at=NOW + HOUR)


def ran(environment: str) -> RunRecord:
    return RunRecord(
        run_id=f"r-{environment}",
        strategy=PAIR.strategy,
        account=PAIR.account,
        environment=environment,
        config="{}",
        started_at=0,
        heartbeat_at=NOW,
    )


def write(path: Path, environment: str = "live") -> Journal:
    """A closed pair whose venue shows a dollar less than its records, an open one, and a grid's holding. The writer stays open."""
    journal = Journal.open(sqlite_url(path))
    story = closed_pair()
    booked = ledger.lines(
        CLOSED, story.fills, story.funding, story.result(CLOSED, venue_totals={Leg.LONG: D("18.00")}), NOW, intents=story.intents
    )
    still = Story().trade(Leg.LONG, "buy", "1", "100", mid="100", fee="0.05").trade(Leg.SHORT, "sell", "1", "101", mid="101", fee="0.06")
    decision = DecisionRecord(
        decision_id="d1",
        strategy=PAIR.strategy,
        account=PAIR.account,
        pair_id="p-open",
        symbol="X",
        kind="enter",
        rule="edge",
        outcome="open",
        inputs="{}",
        thresholds="{}",
        ages="{}",
        ts=NOW,
    )
    journal.write(ran(environment), CLOSED, *story.intents, *story.fills, *story.funding, *booked, OPEN, HOLDING, decision)
    renamed: dict[str, Any] = {"pair_id": "p-open"}
    for intent in still.intents:
        journal.write(
            msgspec.structs.replace(intent, intent_id=f"o-{intent.intent_id}", client_order_id=f"o-{intent.intent_id}", **renamed)
        )
    for fill in still.fills:
        journal.write(msgspec.structs.replace(fill, intent_id=f"o-{fill.intent_id}", trade_id=f"o-{fill.trade_id}", **renamed))
    return journal


class Asked:
    """A provider over these journals."""

    def __init__(self, *sources: Source, **marks: str) -> None:
        self.offload = ThreadOffload(workers=1)
        prices = {name: D(price) for name, price in marks.items()}
        self.provider = JournalPositions(
            lambda: sources, self.offload, SystemClock(), marks=lambda instrument: prices.get(instrument.venue)
        )

    def all(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = asyncio.run(self._then_close(self.provider.positions()))
        return found

    def one(self, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = asyncio.run(self._then_close(self.provider.pair(name)))
        return found

    async def _then_close(self, work: Any) -> Any:
        try:
            return await work
        finally:
            self.offload.close()


def test_figures_are_those_of_the_report_while_the_bot_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = write(tmp_path / "journal.db")
    try:
        told = {one["pair_id"]: one for one in Asked(*(Source(url) for url in journals_of(tmp_path))).all()}
        run(["report", "--home", str(tmp_path), "--json"])
        owners = {one["id"]: one for one in json.loads(capsys.readouterr().out)["owners"]}
    finally:
        journal.close()
    assert set(told) == set(owners)
    for name, one in told.items():
        parts = owners[name]["parts"]
        assert D(one["pnl"]["total"]) == pytest.approx(D(parts["total"]), abs=D("1e-12"))
        assert D(one["pnl"]["price"]) == pytest.approx(D(parts["exposure"]) + D(parts["basis"]), abs=D("1e-12"))
        for part in ("funding", "fees", "slippage", "unwind"):
            assert D(one["pnl"][part]) == pytest.approx(D(parts[part]), abs=D("1e-12"))
    assert next(iter(told)) == "p-open"
    assert told[CLOSED.pair_id]["state"] == "closed"
    assert (told["p-open"]["kind"], told["p-open"]["decisions_count"], told["p-open"]["environment"]) == ("pair", 1, "live")
    assert (told["p-open"]["long"]["quantity"], told["p-open"]["long"]["entry_price"]) == ("1", "100")
    holding = told[HOLDING.holding_id]
    assert holding["kind"] == "holding"
    assert sum(holding[side] is None for side in ("long", "short")) == 1


def test_an_open_pair_is_valued_at_the_service_s_marks_of_its_own_world_alone(tmp_path: Path) -> None:
    live, demo = tmp_path / "journal.db", tmp_path / "demo.db"
    write(live).close()
    write(demo, "demo").close()
    long, short = (InstrumentId.parse(name).venue for name in (OPEN.long_instrument, OPEN.short_instrument))
    marks = {long: "102", short: "102"}

    def open_pair(source: Source) -> dict[str, Any]:
        return next(one for one in Asked(source, **marks).all() if one["pair_id"] == "p-open")

    valued = open_pair(Source(sqlite_url(live)))
    assert (valued["long"]["mark"], valued["valued"]) == ("102", True)
    assert D(valued["pnl"]["price"]) == D(2) - D(1)
    other = open_pair(Source(sqlite_url(demo)))
    assert (other["long"]["mark"], other["valued"], other["pnl"]["price"]) == (None, False, "0")
    assert open_pair(Source(sqlite_url(demo), own_world=True))["long"]["mark"] == "102"


def test_a_pair_of_which_one_mark_is_unknown_claims_no_half_of_its_result(tmp_path: Path) -> None:
    """A venue that has just become stale must not make a loss of the other leg's move."""
    write(tmp_path / "journal.db").close()
    long = InstrumentId.parse(OPEN.long_instrument).venue
    told = next(one for one in Asked(Source(sqlite_url(tmp_path / "journal.db")), **{long: "90"}).all() if one["pair_id"] == "p-open")
    assert (told["long"]["mark"], told["short"]["mark"], told["valued"]) == ("90", None, False)
    assert told["pnl"]["price"] == "0"


def test_one_pair_has_its_ledger_and_decisions(tmp_path: Path) -> None:
    write(tmp_path / "journal.db").close()
    asked = Asked(Source(sqlite_url(tmp_path / "journal.db")))
    told = asked.one(CLOSED.pair_id)
    assert told is not None
    explained = D(told["pnl"]["total"])
    assert sum(D(line["amount"]) for line in told["ledger"]) == pytest.approx(explained + D(told["pnl"]["unexplained"]), abs=D("1e-9"))
    assert [line["kind"] for line in told["ledger"] if line["kind"] == LedgerKind.UNEXPLAINED.value]
    opened = asked.one("p-open")
    assert opened is not None
    assert [d["text"] for d in opened["decisions"]] == ["edge: open"]
    assert asked.one("nothing") is None


def test_a_journal_that_is_not_there_or_broken_leaves_the_others(tmp_path: Path) -> None:
    write(tmp_path / "journal.db").close()
    broken = tmp_path / "paper.db"
    broken.write_bytes(b"no database" * 100)
    sources = [Source(sqlite_url(tmp_path / name)) for name in ("nowhere.db", "paper.db", "journal.db")]
    assert len(Asked(*sources).all()) == 3
    assert not (tmp_path / "nowhere.db").exists()
    assert Asked().all() == []
