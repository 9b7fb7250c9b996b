"""The tracker loses no quantity and counts none twice, whatever order evidence comes in; client order ids never repeat (E3)."""

import asyncio
import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange_clients.errors import ConfigError, Outcome
from exchange_clients.model import Fill, InstrumentId, Liquidity, OrderAck, OrderInfo, OrderIntent, OrderStatus, Side
from exchange_clients.orders import FileIdStore, MemoryIdStore, OrderTracker, format_client_id
from exchange_clients.spec import IdFormat
from exchange_clients.transport.clock import NS_PER_S, SteppingClock

BTC = InstrumentId("BTC", "USDC", "toy")
TOTAL = Decimal(10)


def make_fill(n: int, quantity: int, named: bool) -> Fill:
    return Fill(
        instrument=BTC,
        trade_id=f"t{n}",
        order_id="v1",
        client_order_id="c1" if named else None,
        side=Side.SELL,
        price=Decimal(100 + n),
        quantity=Decimal(quantity),
        fee=Decimal(0),
        fee_asset="USDC",
        liquidity=Liquidity.MAKER,
        ts_venue_ns=n,
    )


def make_view(status: OrderStatus, filled: int, named: bool) -> OrderInfo:
    return OrderInfo(
        instrument=BTC,
        order_id="v1",
        client_order_id="c1" if named else None,
        side=Side.SELL,
        size=TOTAL,
        price=Decimal(100),
        status=status,
        filled_size=Decimal(filled),
    )


Event = tuple[str, object]


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[Event], int]:
    """Everything a venue might say about one order, in any order and repeatedly, and what was truly filled."""
    sizes = draw(st.lists(st.integers(1, 4), max_size=5).filter(lambda s: sum(s) <= 10))
    named = draw(st.booleans())
    events: list[Event] = []
    so_far = 0
    for n, size in enumerate(sizes):
        so_far += size
        events.append(("fill", make_fill(n, size, named)))
        if draw(st.booleans()):
            events.append(("view", make_view(OrderStatus.PARTIALLY_FILLED, so_far, named)))
    events.append(("view", make_view(OrderStatus.FILLED if so_far == 10 else OrderStatus.CANCELED, so_far, named)))
    events.append(("view", make_view(OrderStatus.OPEN, 0, named)))
    ending = draw(st.sampled_from(["ack", "ack_filled", "unknown"]))
    events.append((ending, draw(st.integers(0, so_far)) if ending == "ack_filled" else 0))
    repeats = draw(st.lists(st.sampled_from(events), max_size=6))
    return draw(st.permutations(events + [e for e in repeats if e[0] in ("fill", "view")])), so_far


@given(lives())
@settings(max_examples=400)
def test_the_tracker_ends_with_the_truth(life: tuple[list[Event], int]) -> None:
    events, truth = life
    told: list[OrderInfo] = []
    heard: list[str] = []
    tracker = OrderTracker(SteppingClock(0), told.append, lambda fill: heard.append(fill.trade_id))
    intent = OrderIntent(instrument=BTC, side=Side.SELL, quantity=TOTAL, price=Decimal(100), client_order_id="c1")
    order = tracker.submitted("c1", intent)
    for kind, what in events:
        if isinstance(what, Fill):
            tracker.on_fill(what)
        elif isinstance(what, OrderInfo):
            tracker.on_order(what)
        elif kind == "unknown":
            tracker.settle(order, Outcome.UNKNOWN, None)
        else:
            ack = OrderAck(client_order_id="c1", order_id="v1", status=OrderStatus.OPEN, filled_size=Decimal(str(what)))
            tracker.acked(order, ack)
        assert order.filled <= truth, "nothing is invented"
    tracker.on_order(make_view(OrderStatus.FILLED if truth == 10 else OrderStatus.CANCELED, truth, True))

    trades = {what.trade_id for _, what in events if isinstance(what, Fill)}
    assert sorted(heard) == sorted(trades), "each trade once"
    assert order.filled == order.fill_quantity == truth
    assert order.status is (OrderStatus.FILLED if truth == 10 else OrderStatus.CANCELED)
    assert tracker.live() == ()
    ours = [info for info in told if info.client_order_id == "c1"]
    assert [i.filled_size for i in ours] == sorted(i.filled_size for i in ours), "a fill never falls"
    ended = [i.status.is_terminal for i in ours]
    assert ended == sorted(ended), "an order that the venue ended stays ended"


# ---- ids

FORMS = st.sampled_from(list(IdFormat))
FITS: dict[IdFormat, Callable[[str], bool]] = {
    IdFormat.UINT32: lambda text: text.isdigit() and 0 < int(text) < 2**32,
    IdFormat.UINT48: lambda text: text.isdigit() and 0 < int(text) < 2**48,
    IdFormat.HEX128: lambda text: len(text) == 34 and text.startswith("0x") and int(text, 16) > 0,
    IdFormat.TEXT32: lambda text: len(text) <= 32 and text.isascii() and text.isalnum() and text[0].isalpha(),
}
JUMP = st.integers(-400 * 86_400, 400 * 86_400)


STEPS = st.tuples(st.sampled_from(["take", "restart", "jump"]), st.integers(0, 2), st.integers(1, 1200), JUMP)


@given(form=FORMS, steps=st.lists(STEPS, max_size=12))
@settings(max_examples=60, deadline=None)
def test_e3_ids_never_repeat_over_restarts_clock_jumps_and_processes(form: IdFormat, steps: list[tuple[str, int, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state" / "ids"
        now = 1_795_000_000 * NS_PER_S
        stores = [FileIdStore(path, form, SteppingClock(now)) for _ in range(3)]
        seen: set[str] = set()
        for action, which, count, jump in steps:
            if action == "take":
                taken = [stores[which].next_id() for _ in range(count)]
                assert all(FITS[form](text) for text in taken)
                assert seen.isdisjoint(taken)
                seen.update(taken)
                assert len(set(taken)) == count
            elif action == "restart":
                stores[which] = FileIdStore(path, form, SteppingClock(now))
            else:
                now = max(1_790_000_000, now // NS_PER_S + jump) * NS_PER_S


@given(form=FORMS, used=st.integers(1, 500), seconds=st.integers(60, 10**6))
@settings(max_examples=40, deadline=None)
def test_a_lost_file_repeats_nothing_while_the_clock_runs_on(form: IdFormat, used: int, seconds: int) -> None:
    start = 1_795_000_000 * NS_PER_S
    with tempfile.TemporaryDirectory() as folder:
        first = FileIdStore(Path(folder) / "a", form, SteppingClock(start))
        before = {first.next_id() for _ in range(used)}
        second = FileIdStore(Path(folder) / "b", form, SteppingClock(start + seconds * NS_PER_S))
        memory = MemoryIdStore(form, SteppingClock(start + seconds * NS_PER_S))
        after = {second.next_id() for _ in range(used)} | {memory.next_id() for _ in range(used)}
    assert before.isdisjoint(after)


@given(form=FORMS, turns=st.lists(st.integers(0, 2), max_size=60))
@settings(max_examples=40, deadline=None)
def test_clients_that_start_in_one_tick_of_the_clock_share_no_id(form: IdFormat, turns: list[int]) -> None:
    """Each with a clock of its own; one gave an id before the loop ran."""
    stores = [MemoryIdStore(form, SteppingClock(1_795_000_000 * NS_PER_S)) for _ in range(3)]
    early = stores[0].next_id()

    async def inside() -> list[str]:
        return [stores[which].next_id() for which in [0, *turns]]

    taken = asyncio.run(inside())
    assert len(set(taken)) == len(taken)
    assert taken[0] != early


def test_ids_that_cannot_be_made_durable_are_not_given(tmp_path: Path) -> None:
    clock = SteppingClock(1_795_000_000 * NS_PER_S)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError, match="cannot be reserved"):
        FileIdStore(blocked / "ids", IdFormat.UINT48, clock).next_id()
    damaged = tmp_path / "ids"
    damaged.write_text("rubbish")
    with pytest.raises(ConfigError, match="damaged"):
        FileIdStore(damaged, IdFormat.UINT48, clock).next_id()
    damaged.write_text(str(2**32 - 10))
    with pytest.raises(ConfigError, match="used up"):
        FileIdStore(damaged, IdFormat.UINT32, clock).next_id()
    assert damaged.read_text() == str(2**32 - 10)


def test_a_full_disk_stops_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileIdStore(tmp_path / "ids", IdFormat.UINT48, SteppingClock(1_795_000_000 * NS_PER_S))
    store.next_id()
    monkeypatch.setattr("exchange_clients.orders.os.pwrite", lambda *_: 7)
    for _ in range(999):
        store.next_id()
    with pytest.raises(ConfigError, match="No space left"):
        store.next_id()


def test_forms() -> None:
    assert format_client_id(255, IdFormat.HEX128) == "0x000000000000000000000000000000ff"
    assert format_client_id(255, IdFormat.TEXT32) == "pff"
    assert format_client_id(255, IdFormat.UINT48) == "255"
