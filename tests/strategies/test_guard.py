"""What a guard forbids is never recorded or sent; what reduces is never asked about."""

from decimal import Decimal
from pathlib import Path

import pytest

from database.records import Leg, PairState
from exchange_clients.model import Purpose
from strategies.execution.engine import EntryRefused, ExecutionEngine
from strategies.execution.guard import OrderCheck
from tests.strategies.stack import VENUES, Stack, run_stack

D = Decimal
LONG, SHORT = VENUES


class Warden:
    """Says no to what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.entries: str | None = None
        self.whole: str | None = None
        self.orders: dict[Purpose, str] = {}
        self.admitted: list[OrderCheck] = []
        self.asked: list[OrderCheck] = []

    def entry_block(self, *venues: str) -> str | None:
        return self.entries

    async def admit(self, *legs: OrderCheck) -> str | None:
        self.admitted += legs
        return self.whole

    def order_block(self, order: OrderCheck) -> str | None:
        self.asked.append(order)
        return self.orders.get(order.purpose)


async def guarded(s: Stack) -> Warden:
    warden = Warden()
    await s.up(start=False)
    assert s.journal is not None
    s.engine = ExecutionEngine(s.journal, s.clients, s.runtime, strategy="test", account="main", observer=s.story, guard=warden)
    await s.engine.start()
    return warden


def test_e18_a_guard_is_asked_about_every_order_that_adds_and_never_about_an_exit(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        warden = await guarded(s)
        record = await s.open(slice_="0.005")
        assert record.state is PairState.HEDGED
        assert [(o.venue, o.quantity, o.purpose) for o in warden.admitted] == [
            (LONG, D("0.01"), Purpose.ENTRY),
            (SHORT, D("0.01"), Purpose.HEDGE),
        ]
        assert s.journal is not None
        sent = [(i.client_order_id, i.quantity, i.limit_price) for i in s.journal.intents(record.pair_id)]
        assert [(o.client_order_id, o.quantity, o.price) for o in warden.asked] == sent
        assert {o.owner for o in warden.asked} == {record.pair_id}
        warden.entries = warden.whole = "no"
        warden.orders = dict.fromkeys(Purpose, "no")
        asked = len(warden.asked)
        assert (await s.close(record.pair_id)).state is PairState.CLOSED
        assert len(warden.asked) == asked
        assert s.positions() == {LONG: D(0), SHORT: D(0)}

    run_stack(tmp_path, main, start=False)


@pytest.mark.parametrize("what", ["entries", "whole"])
def test_e21_what_the_guard_does_not_admit_is_not_planned(tmp_path: Path, what: str) -> None:
    async def main(s: Stack) -> None:
        warden = await guarded(s)
        setattr(warden, what, "too much already")
        with pytest.raises(EntryRefused, match="too much already"):
            await s.open()
        assert s.journal is not None
        assert s.journal.pairs() == []
        setattr(warden, what, None)
        assert (await s.open()).state is PairState.HEDGED, "nothing of the refused plan stands in the way"

    run_stack(tmp_path, main, start=False)


@pytest.mark.parametrize("purpose", [Purpose.ENTRY, Purpose.HEDGE])
def test_e08_an_order_that_the_guard_forbids_leaves_no_intent_and_no_leg(tmp_path: Path, purpose: Purpose) -> None:
    async def main(s: Stack) -> None:
        warden = await guarded(s)
        warden.orders = {purpose: "larger than allowed"}
        record = await s.open(slice_="0.005")
        assert record.state is PairState.CLOSED, record.reason
        assert s.positions() == {LONG: D(0), SHORT: D(0)}
        assert s.journal is not None
        kinds = [(i.leg, i.purpose) for i in s.journal.intents(record.pair_id)]
        assert kinds == ([] if purpose is Purpose.ENTRY else [(Leg.LONG, "entry"), (Leg.LONG, "unwind")])
        assert {f["reason"] for f in s.story.of("order.blocked")} == {"larger than allowed"}

    run_stack(tmp_path, main, start=False)
