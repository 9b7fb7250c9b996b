"""Amends in the tracker: whatever order the words of two venue orders of one id come in, no order and no fill is lost or made up."""

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from exchange_clients.errors import Disconnected, OrderRefused, VenueError
from exchange_clients.model import Fill, InstrumentId, Liquidity, OrderInfo, OrderIntent, OrderStatus, Side
from exchange_clients.orders import OrderTracker
from exchange_clients.transport.clock import SteppingClock

BTC = InstrumentId("BTC", "USDC", "toy")
OPEN, CANCELED, FILLED = OrderStatus.OPEN, OrderStatus.CANCELED, OrderStatus.FILLED
OLD, NEW = 10, 16


def view(order_id: str, status: OrderStatus, filled: int, size: int, ts_ns: int) -> OrderInfo:
    return OrderInfo(
        instrument=BTC,
        order_id=order_id,
        client_order_id="c1",
        side=Side.BUY,
        size=Decimal(size),
        price=Decimal(100),
        status=status,
        filled_size=Decimal(filled),
        updated_ns=ts_ns,
    )


def fill(n: int, order_id: str, quantity: int) -> Fill:
    return Fill(
        instrument=BTC,
        trade_id=f"t{n}",
        order_id=order_id,
        client_order_id="c1",
        side=Side.BUY,
        price=Decimal(100),
        quantity=Decimal(quantity),
        fee=Decimal(0),
        fee_asset="USDC",
        liquidity=Liquidity.MAKER,
        ts_venue_ns=n,
    )


@st.composite
def stories(draw: st.DrawFn) -> tuple[bool, str, list[Any], list[Any], int, OrderStatus]:
    """(keeps id, how the send ends, events while it travels, events afterwards, truly filled, true end)."""
    keeps = draw(st.booleans())
    before, after = draw(st.integers(0, 4)), draw(st.integers(0, NEW - 4))
    new = "v1" if keeps else "v2"
    ended = draw(st.booleans()) or before + after == NEW
    total = before + after
    end = FILLED if total == NEW else CANCELED if ended else OPEN
    words: list[Any] = []
    if before:
        words += [fill(1, "v1", before), view("v1", OrderStatus.PARTIALLY_FILLED, before, OLD, 10)]
    if not keeps:
        words.append(view("v1", CANCELED, before, OLD, 20))
    words.append(view(new, OrderStatus.PARTIALLY_FILLED if before else OPEN, before, NEW, 21))
    if after:
        words.append(fill(2, new, after))
    words.append(view(new, end if ended else OrderStatus.PARTIALLY_FILLED if total else OPEN, total, NEW, 30))
    again = draw(st.lists(st.sampled_from(words), max_size=4))
    cut = draw(st.integers(0, len(words)))
    return keeps, draw(st.sampled_from(["yes", "lost"])), words[:cut], [*words[cut:], *again, words[-1]], total, end


@given(stories())
@settings(max_examples=600)
def test_an_amended_order_ends_with_the_truth(story: tuple[bool, str, list[Any], list[Any], int, OrderStatus]) -> None:
    keeps, answer, during, later, total, end = story
    heard: list[str] = []
    tracker = OrderTracker(SteppingClock(0), lambda info: None, lambda one: heard.append(one.trade_id))

    def tell(words: list[Any]) -> None:
        for word in words:
            if isinstance(word, Fill):
                tracker.on_fill(word)
            else:
                tracker.on_order(word)

    intent = OrderIntent(instrument=BTC, side=Side.BUY, quantity=Decimal(OLD), price=Decimal(100), client_order_id="c1")
    order = tracker.submitted("c1", intent)
    tracker.on_order(view("v1", OPEN, 0, OLD, 5))
    wanted = OrderIntent(instrument=BTC, side=Side.BUY, quantity=Decimal(NEW), price=Decimal(100), client_order_id="c1")
    try:
        with tracker.amending(order):
            tell(during)
            if answer == "lost":
                raise Disconnected("no answer")
            tracker.amended(order, wanted, None if keeps else "v2")
    except VenueError:
        pass
    tell(later)
    info = order.info()
    assert tracker.find("c1") is order
    assert info.filled_size == total
    assert info.status is ((OrderStatus.PARTIALLY_FILLED if total else OPEN) if end is OPEN else end)
    assert info.size == NEW
    assert len(heard) == len(set(heard))
    assert (order in tracker.live()) == (end is OPEN)


def test_a_refused_amend_changes_nothing() -> None:
    tracker = OrderTracker(SteppingClock(0), lambda info: None, lambda one: None)
    intent = OrderIntent(instrument=BTC, side=Side.BUY, quantity=Decimal(OLD), price=Decimal(100), client_order_id="c1")
    order = tracker.submitted("c1", intent)
    tracker.on_order(view("v1", OPEN, 0, OLD, 5))
    try:
        with tracker.amending(order):
            raise OrderRefused("no")
    except OrderRefused:
        pass
    assert order.info().size == OLD
    assert order.info().status is OPEN
    tracker.on_fill(fill(1, "v1", OLD))
    assert order.info().status is FILLED
