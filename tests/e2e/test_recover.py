"""After a crash: `perpkit recover` shows what is proved, and with --apply brings it to hedged or flat without adding."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from database.connect import sqlite_url
from database.journal import Journal
from database.records import FillCause, FillRecord, IntentRecord, IntentState, Leg, PairRecord, PairState, RunRecord
from exchange_clients.model import Fill, Purpose, Side
from exchange_simulator.dialects.base import RequestFault
from perpkit.cli.main import run
from strategies.execution.desk import Desk, Ticket
from strategies.execution.engine import ExecutionEngine
from strategies.execution.plan import ExecutionLimits, PairPlan, Tactic
from tests.e2e.conftest import Served, serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

LONG, SHORT = "lighter", "hyperliquid"
QUANTITY = Decimal("0.02")
Call = Callable[..., tuple[int, Any]]


class Wreck:
    """A pair as a killed process leaves it: what was sent stands at the venues, the journal knows as much as it had time for."""

    def __init__(self, served: list[Served], home: Path) -> None:
        self.served = {one.bench.spec.name: one for one in served}
        self.home = home
        self.ids = {Leg.LONG: f"BTC-USDC-PERP.{LONG}", Leg.SHORT: f"BTC-USDC-PERP.{SHORT}"}
        plan = PairPlan(
            symbol="BTC",
            long_instrument=self.ids[Leg.LONG],
            short_instrument=self.ids[Leg.SHORT],
            first_leg=Leg.LONG,
            quantity=QUANTITY,
            slice_quantity=QUANTITY,
            tactics=(Tactic.CROSS,),
            worst_naked_usd=Decimal(1_000),
            limits=ExecutionLimits(naked_cap_usd=Decimal(5_000), resolve_deadline_s=20.0),
        )
        self.created = min(one.bench.now() for one in served)
        self.pair = PairRecord(
            pair_id="pair-1",
            strategy="funding_arbitrage",
            account="main",
            symbol="BTC",
            state=PairState.OPENING,
            long_venue=LONG,
            long_instrument=self.ids[Leg.LONG],
            short_venue=SHORT,
            short_instrument=self.ids[Leg.SHORT],
            first_leg=Leg.LONG,
            quantity=QUANTITY,
            foreign_long=Decimal(0),
            foreign_short=Decimal(0),
            plan=msgspec.json.encode(plan).decode(),
            created_at=self.created,
            updated_at=self.created,
        )

    def venue(self, leg: Leg) -> Served:
        return self.served[LONG if leg is Leg.LONG else SHORT]

    def position(self, leg: Leg) -> Decimal:
        bench = self.venue(leg).bench
        return self.venue(leg).call(bench.position)

    def send(self, leg: Leg) -> tuple[IntentRecord, Fill]:
        """An order of ours that fills whole, and what the venue says of it."""
        bench = self.venue(leg).bench
        side, price = ("buy", Decimal(50_100)) if leg is Leg.LONG else ("sell", Decimal(49_900))

        async def trade() -> tuple[str, Fill]:
            client = await bench.connected()
            mine = client.new_client_order_id()
            result = await client.place_limit_order(
                "BTC", QUANTITY, price, side, time_in_force="IOC", client_order_id=mine, purpose=Purpose.ENTRY, wait_for="terminal"
            )
            assert result.filled_size == QUANTITY
            (fill,) = await client.get_user_trade_history("BTC", since_ns=0)
            await client.disconnect()
            return mine, fill

        mine, fill = self.venue(leg).wait(trade())
        intent = IntentRecord(
            intent_id=f"i-{leg}",
            pair_id=self.pair.pair_id,
            leg=leg,
            venue=self.pair.venue(leg),
            account="main",
            instrument=self.ids[leg],
            client_order_id=mine,
            side=side,
            quantity=QUANTITY,
            limit_price=price,
            reference_price=Decimal(50_000),
            reduce_only=False,
            time_in_force="IOC",
            purpose="entry",
            reason="open",
            state=IntentState.PREPARED,
            created_at=self.created,
            updated_at=self.created,
        )
        return intent, fill

    def booked(self, intent: IntentRecord, fill: Fill) -> tuple[IntentRecord, FillRecord]:
        """The same, as a journal that had time to write it down has it."""
        record = FillRecord(
            venue=intent.venue,
            account="main",
            trade_id=fill.trade_id,
            pair_id=intent.pair_id,
            leg=intent.leg,
            instrument=intent.instrument,
            intent_id=intent.intent_id,
            client_order_id=intent.client_order_id,
            order_id=fill.order_id,
            side=intent.side,
            price=fill.price,
            quantity=fill.quantity,
            fee=fill.fee,
            fee_asset=fill.fee_asset,
            liquidity=fill.liquidity.value,
            kind=FillCause.TRADE,
            ts_venue=fill.ts_venue_ns,
            recorded_at=fill.ts_venue_ns,
        )
        return msgspec.structs.replace(intent, state=IntentState.SETTLED), record

    def journal(self, *records: Any, state: PairState = PairState.OPENING) -> None:
        journal = Journal.open(sqlite_url(self.home / "journal.db"))
        journal.write(msgspec.structs.replace(self.pair, state=state), *records)
        journal.close()

    def state(self) -> PairState:
        journal = Journal.open(sqlite_url(self.home / "journal.db"), read_only=True)
        try:
            (pair,) = journal.pairs()
            return pair.state
        finally:
            journal.close()


@pytest.fixture
def all_venues(keyless: None) -> Iterator[list[Served]]:
    """The pair's two: `recover` asks no others, and refuses addresses of those."""
    with ExitStack() as stack:
        yield [stack.enter_context(serve(name)) for name in (LONG, SHORT)]


@pytest.fixture
def wreck(all_venues: list[Served], keys: None, tmp_path: Path) -> Wreck:
    return Wreck(all_venues, tmp_path)


@pytest.fixture
def call(wreck: Wreck, settings: list[str], capsys: pytest.CaptureFixture[str]) -> Call:
    """A command on the wreck: exit code, and its JSON."""

    def do(*arguments: str) -> tuple[int, Any]:
        code = run([*arguments, "--home", str(wreck.home), "--json", *settings])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, json.loads(out)

    return do


def test_a_hedged_pair_needs_nothing(wreck: Wreck, call: Call) -> None:
    records = [record for leg in Leg for record in wreck.booked(*wreck.send(leg))]
    wreck.journal(*records, state=PairState.HEDGED)
    code, told = call("recover")
    (pair,) = told["pairs"]
    assert (code, pair["proved"], Decimal(pair["delta"])) == (0, True, Decimal(0))
    assert pair["allowed"].startswith("hold")
    code, told = call("positions")
    assert code == 0
    assert {leg["leg"]: Decimal(leg["proved"]) for leg in told["legs"]} == {"long": QUANTITY, "short": -QUANTITY}


def test_a_fill_that_the_journal_never_saw_is_found(wreck: Wreck, call: Call) -> None:
    intent, _ = wreck.send(Leg.LONG)
    wreck.journal(intent)
    code, told = call("recover")
    (pair,) = told["pairs"]
    assert (code, pair["proved"], Decimal(pair["delta"])) == (1, True, QUANTITY)
    assert Decimal(pair["legs"]["long"]["unseen_fills"]) == QUANTITY
    assert "filled" in pair["legs"]["long"]["unsettled"][intent.client_order_id]
    assert pair["allowed"] == "reduce the long leg by 0.02, reduce-only"
    assert wreck.position(Leg.LONG) == QUANTITY, "looking changes nothing"


def test_an_order_that_never_arrived_is_told(wreck: Wreck, call: Call) -> None:
    intent, _ = wreck.send(Leg.LONG)
    never = msgspec.structs.replace(intent, intent_id="i-never", client_order_id=str(int(intent.client_order_id) + 1))
    bench = wreck.venue(Leg.LONG).bench

    async def flatten() -> None:
        client = await bench.connected()
        await client.place_limit_order("BTC", QUANTITY, Decimal(49_900), "sell", True, time_in_force="IOC", wait_for="terminal")
        await client.disconnect()

    wreck.venue(Leg.LONG).wait(flatten())
    wreck.journal(never)
    code, told = call("recover")
    (pair,) = told["pairs"]
    assert (code, pair["proved"]) == (1, True)
    assert pair["legs"]["long"]["unsettled"] == {never.client_order_id: "the venue does not know it"}
    assert pair["allowed"] == "nothing is held: the record is closed"


def test_a_venue_that_is_down_proves_nothing(wreck: Wreck, call: Call) -> None:
    intent, _ = wreck.send(Leg.LONG)
    wreck.journal(intent)
    served = wreck.venue(Leg.LONG)
    served.call(lambda: served.bench.hands.requests(RequestFault(status=503), times=10_000))
    code, told = call("recover")
    (pair,) = told["pairs"]
    assert (code, pair["proved"]) == (5, False)
    assert pair["legs"]["long"]["position"] is None
    assert pair["allowed"].startswith("nothing but asking again")
    code, told = call("positions")
    assert code == 1
    assert "not proved" in next(leg["note"] for leg in told["legs"] if leg["leg"] == "long")


def test_a_position_that_is_not_ours_is_left_to_a_human(wreck: Wreck, call: Call) -> None:
    wreck.send(Leg.LONG)
    wreck.journal()
    code, told = call("recover")
    assert code == 5
    assert told["pairs"][0]["allowed"].startswith("a human looks")


def test_apply_reduces_what_is_naked_and_closes_the_record(wreck: Wreck, call: Call) -> None:
    intent, _ = wreck.send(Leg.LONG)
    wreck.journal(intent)
    code, told = call("recover", "--apply")
    assert (code, told["pairs"]) == (0, [])
    assert (wreck.position(Leg.LONG), wreck.position(Leg.SHORT)) == (Decimal(0), Decimal(0))
    assert wreck.state() is PairState.CLOSED


def test_apply_twice_is_apply_once(wreck: Wreck, call: Call) -> None:
    intent, _ = wreck.send(Leg.LONG)
    wreck.journal(intent)
    call("recover", "--apply")
    sent = len(wreck.venue(Leg.LONG).bench.commands())
    assert call("recover", "--apply") == (0, {"pairs": [], "holdings": []})
    assert len(wreck.venue(Leg.LONG).bench.commands()) == sent


def test_apply_refuses_while_an_engine_runs(wreck: Wreck, call: Call) -> None:
    wreck.journal()
    owner = Journal.open(sqlite_url(wreck.home / "journal.db"))
    try:
        code, told = call("recover", "--apply")
    finally:
        owner.close()
    assert code == 4
    assert "another process owns" in told["error"]["message"]


# ---- close


def hedged(wreck: Wreck, *more: Any) -> None:
    wreck.journal(*[record for leg in Leg for record in wreck.booked(*wreck.send(leg))], *more, state=PairState.HEDGED)


def history(wreck: Wreck) -> tuple[list[Any], list[Any], list[Any]]:
    """Decisions, intents, audit entries."""
    journal = Journal.open(sqlite_url(wreck.home / "journal.db"), read_only=True)
    try:
        return journal.decisions("pair-1"), journal.intents("pair-1"), journal.audit()
    finally:
        journal.close()


@pytest.mark.parametrize("what", ["pair-1", "pai", "all"])
def test_e19_close_without_a_bot_decides_on_disk_then_reduces(what: str, wreck: Wreck, call: Call) -> None:
    hedged(wreck)
    code, told = call("close", what, "--reason", "going home")
    assert (code, told["closed"]) == (0, [{"id": "pair-1", "state": "closed", "reason": told["closed"][0]["reason"], "left": {}}])
    assert (wreck.position(Leg.LONG), wreck.position(Leg.SHORT)) == (Decimal(0), Decimal(0))
    decisions, intents, audit = history(wreck)
    closing = [intent for intent in intents if intent.purpose == "close"]
    assert {intent.leg for intent in closing} == set(Leg)
    assert all(intent.reduce_only and intent.created_at >= decisions[-1].ts for intent in closing)
    assert (decisions[-1].rule, decisions[-1].outcome.split(" (")[0]) == ("requested", "going home")
    assert [entry.action for entry in audit] == ["close"]
    assert call("close", "all") == (0, {"closed": []})


def test_close_does_not_answer_virtual_positions_with_real_orders(wreck: Wreck, call: Call) -> None:
    run_of_paper = RunRecord(
        run_id="r1",
        strategy="funding_arbitrage",
        account="main",
        environment="paper",
        config="",
        started_at=wreck.created - 1,
        heartbeat_at=wreck.created,
    )
    hedged(wreck, run_of_paper)
    sent = len(wreck.venue(Leg.LONG).bench.commands())
    code, told = call("close", "pair-1")
    assert code == 2
    assert "was opened in paper" in told["error"]["message"]
    assert len(wreck.venue(Leg.LONG).bench.commands()) == sent
    code, told = call("recover", "--apply")
    assert code == 2
    assert "was opened in paper" in told["error"]["message"]


def test_close_of_a_bot_that_cannot_be_asked_says_what_to_do(wreck: Wreck, call: Call) -> None:
    hedged(wreck)
    owner = Journal.open(sqlite_url(wreck.home / "journal.db"))
    try:
        code, told = call("close", "pair-1")
        assert code == 2
        assert "control: {}" in told["error"]["hint"]
        stale = wreck.home / "journal.db.control"
        stale.write_text(json.dumps({"url": "http://127.0.0.1:9", "key": "ppk_x", "pid": 1}), encoding="utf-8")
        code, told = call("close", "pair-1")
        assert (code, told["error"]["kind"]) == (4, "unreachable")
        assert "ppk_x" not in json.dumps(told)
    finally:
        owner.close()


def test_close_of_something_that_is_not_there(wreck: Wreck, call: Call) -> None:
    wreck.journal(state=PairState.HEDGED)
    code, told = call("close", "nosuch")
    assert code == 2
    assert told["error"] | {"kind": ""} == {
        "kind": "",
        "message": "nothing open is called 'nosuch'",
        "hint": "open: pair-1",
        "exit_code": 2,
    }


def test_close_holds_while_a_venue_is_down_and_says_that_it_is_not_closed(wreck: Wreck, call: Call) -> None:
    hedged(wreck)
    served = wreck.venue(Leg.SHORT)
    served.call(lambda: served.bench.hands.requests(RequestFault(status=503), times=100_000))
    code, told = call("close", "pair-1", "--wait", "3")
    assert code in (4, 5)
    if code == 5:
        assert told["closed"][0]["state"] != "closed"
    assert wreck.position(Leg.LONG) + wreck.position(Leg.SHORT) == 0, "still hedged"


def holding(wreck: Wreck) -> str:
    """Two hundredths bought, and a take-profit that rests; left as a bot leaves it that was stopped."""
    served = wreck.venue(Leg.LONG)
    bench = served.bench

    async def trade() -> str:
        client = await bench.connected()
        journal = Journal.open(sqlite_url(wreck.home / "journal.db"))
        engine = ExecutionEngine(journal, {LONG: client}, bench.runtime, strategy="grid", account="main")
        desk = Desk.beside(engine, bench.runtime)
        await engine.start()
        await desk.start()
        held = await desk.open_holding(wreck.ids[Leg.LONG], sign=1, reason="test")
        order = await held.place(Ticket(side=Side.BUY, quantity=QUANTITY))
        await order.ended()
        await held.place(Ticket(side=Side.SELL, quantity=QUANTITY, price=Decimal(60_000), reduce_only=True, tag="tp"))
        await desk.stop()
        await engine.stop()
        journal.close()
        await client.disconnect()
        return held.holding_id

    return served.wait(trade())


def test_a_holding_is_shown_proved_and_closed(wreck: Wreck, capsys: pytest.CaptureFixture[str]) -> None:
    name = holding(wreck)

    def call(*arguments: str) -> tuple[int, Any]:
        code = run([*arguments, "--home", str(wreck.home), "--json", *wreck.venue(Leg.LONG).options])
        return code, json.loads(capsys.readouterr().out)

    assert wreck.position(Leg.LONG) == QUANTITY
    code, told = call("positions")
    assert [(leg["holding_id"], Decimal(leg["own"]), leg["agrees"]) for leg in told["legs"]] == [(name, QUANTITY, True)]
    code, told = call("recover")
    (one,) = told["holdings"]
    assert (code, one["holding_id"], one["proved"], told["pairs"]) == (0, name, True, [])
    assert one["allowed"].startswith("its bot goes on")
    assert call("recover", "--apply")[0] == 0
    assert wreck.position(Leg.LONG) == QUANTITY, "what is held and protected stays"
    code, told = call("close", name)
    assert (code, told["closed"][0]["state"], told["closed"][0]["left"]) == (0, "closed", {})
    assert wreck.position(Leg.LONG) == 0
    bench = wreck.venue(Leg.LONG).bench
    assert list(wreck.venue(Leg.LONG).call(lambda: list(bench.exchange.open_orders(bench.account.account)))) == []
