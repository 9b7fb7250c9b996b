"""The order tracker: evidence only adds, whatever order it comes in."""

import asyncio
from decimal import Decimal

import pytest

from exchange_clients import orders
from exchange_clients.errors import ConfigError, DuplicateClientOrderId, Outcome, RequestTimeout
from exchange_clients.model import Fill, InstrumentId, Liquidity, OrderAck, OrderInfo, OrderIntent, OrderStatus, Side
from exchange_clients.orders import Order, OrderTracker
from exchange_clients.transport.clock import SteppingClock

D = Decimal
BTC = InstrumentId("BTC", "USDC", "toy")
S = OrderStatus


class Desk:
    """A tracker and what it told."""

    def __init__(self) -> None:
        self.told: list[OrderInfo] = []
        self.fills: list[Fill] = []
        self.tracker = OrderTracker(SteppingClock(1_000), self.told.append, self.fills.append)

    def sent(self, client_id: str = "c1", quantity: str = "1") -> Order:
        intent = OrderIntent(instrument=BTC, side=Side.BUY, quantity=D(quantity), price=D(100), client_order_id=client_id)
        return self.tracker.submitted(client_id, intent)

    def view(
        self,
        status: OrderStatus,
        filled: str = "0",
        *,
        client_id: str | None = "c1",
        order_id: str | None = "v1",
        size: str = "1",
        reason: str | None = None,
    ) -> Order:
        return self.tracker.on_order(
            OrderInfo(
                instrument=BTC,
                order_id=order_id,
                client_order_id=client_id,
                side=Side.BUY,
                size=D(size),
                price=D(100),
                status=status,
                filled_size=D(filled),
                cancel_reason=reason,
            )
        )

    def fill(
        self,
        trade_id: str,
        quantity: str,
        *,
        client_id: str | None = None,
        order_id: str | None = "v1",
        price: str = "100",
        side: Side = Side.BUY,
    ) -> bool:
        return self.tracker.on_fill(
            Fill(
                instrument=BTC,
                trade_id=trade_id,
                order_id=order_id,
                client_order_id=client_id,
                side=side,
                price=D(price),
                quantity=D(quantity),
                fee=D(0),
                fee_asset="USDC",
                liquidity=Liquidity.TAKER,
                ts_venue_ns=2_000,
            )
        )

    def ack(self, order: Order, status: OrderStatus = S.OPEN, filled: str = "0", order_id: str | None = "v1") -> None:
        assert order.client_order_id is not None
        self.tracker.acked(order, OrderAck(client_order_id=order.client_order_id, order_id=order_id, status=status, filled_size=D(filled)))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_the_plain_life_of_an_order(desk: Desk) -> None:
    order = desk.sent()
    assert order.is_unresolved
    desk.ack(order)
    desk.fill("t1", "0.4", price="99")
    desk.view(S.PARTIALLY_FILLED, "0.4")
    desk.fill("t2", "0.6", price="101")
    assert [(i.status, i.filled_size) for i in desk.told] == [(S.OPEN, D(0)), (S.PARTIALLY_FILLED, D("0.4")), (S.FILLED, D(1))]
    assert order.info().average_price == D("100.2")
    assert order.info().remaining_size == 0
    assert desk.tracker.live() == ()
    assert desk.tracker.find("v1") is order is desk.tracker.find("c1")


def test_e5_fills_count_once_and_self_trades_twice(desk: Desk) -> None:
    order = desk.sent()
    desk.ack(order)
    assert desk.fill("t1", "0.4") is True
    assert desk.fill("t1", "0.4") is False
    assert desk.fill("t1", "0.4", order_id="v9", side=Side.SELL) is True, "the other side of a trade with ourselves"
    assert order.filled == D("0.4")
    assert len(desk.fills) == 2


def test_fill_before_the_ack_by_client_id(desk: Desk) -> None:
    order = desk.sent()
    desk.fill("t1", "1", client_id="c1", order_id="v1")
    assert order.info().status is S.FILLED
    desk.ack(order, S.SUBMITTED, order_id=None)
    desk.ack(order, S.OPEN)
    assert order.info().status is S.FILLED


def test_fill_before_the_ack_by_venue_id_only(desk: Desk) -> None:
    order = desk.sent()
    desk.fill("t1", "0.3", order_id="v1")
    assert order.filled == 0
    assert len(desk.fills) == 1, "listeners hear it at once"
    desk.ack(order)
    assert (order.filled, order.status) == (D("0.3"), S.PARTIALLY_FILLED)
    desk.fill("t1", "0.3")
    assert order.filled == D("0.3")


def test_order_update_before_the_ack_without_client_id_is_the_same_order(desk: Desk) -> None:
    order = desk.sent()
    stranger = desk.view(S.PARTIALLY_FILLED, "0.2", client_id=None)
    assert stranger.external
    desk.fill("t1", "0.2")
    desk.ack(order)
    assert (order.filled, order.fill_quantity, order.status) == (D("0.2"), D("0.2"), S.PARTIALLY_FILLED)
    assert desk.tracker.live() == (order,)
    assert desk.view(S.FILLED, "1", client_id=None) is order
    assert desk.tracker.live() == ()


def test_nothing_regresses(desk: Desk) -> None:
    order = desk.sent()
    desk.view(S.PARTIALLY_FILLED, "0.7")
    desk.ack(order)
    desk.view(S.OPEN, "0.2")
    desk.view(S.OPEN)
    assert (order.filled, order.status) == (D("0.7"), S.PARTIALLY_FILLED)
    desk.view(S.CANCELED, "0.8", reason="user")
    desk.view(S.OPEN, "0.1")
    desk.view(S.EXPIRED, "0.8")
    assert (order.filled, order.status, order.cancel_reason) == (D("0.8"), S.CANCELED, "user")


def test_e6_the_word_filled_fills_nothing(desk: Desk) -> None:
    order = desk.sent()
    desk.ack(order)
    desk.view(S.FILLED, "0")
    assert order.info().status is S.UNKNOWN
    assert desk.tracker.unresolved() == (order,)
    desk.view(S.FILLED, "0.99")
    assert order.info().status is S.PARTIALLY_FILLED
    desk.fill("t1", "0.99")
    desk.fill("t2", "0.01")
    assert order.info().status is S.FILLED


def test_a_cut_reduce_only_order_is_filled_when_its_rest_is(desk: Desk) -> None:
    order = desk.sent()
    desk.ack(order)
    desk.view(S.FILLED, "0.6", size="0.6")
    assert (order.status, order.filled) == (S.FILLED, D("0.6"))


def test_e4_a_closed_order_keeps_taking_fills(desk: Desk) -> None:
    order = desk.sent()
    desk.ack(order)
    desk.view(S.CANCELED, "0.2")
    desk.fill("t1", "0.2")
    assert order.filled == D("0.2"), "what the cancel told already"
    desk.fill("t2", "0.3")
    assert (order.filled, order.status) == (D("0.5"), S.CANCELED)
    desk.fill("t3", "0.5")
    assert order.info().status is S.FILLED


@pytest.mark.parametrize("outcome", [Outcome.NOT_SENT, Outcome.REFUSED])
def test_a_definite_end_of_the_send(desk: Desk, outcome: Outcome) -> None:
    order = desk.sent()
    desk.tracker.settle(order, outcome, DuplicateClientOrderId("no", venue="toy"))
    assert order.info().status is (S.NOT_SENT if outcome is Outcome.NOT_SENT else S.REJECTED)
    assert order.cancel_reason == "toy: no"
    assert desk.tracker.live() == ()


def test_e2_unknown_stays_live_until_evidence(desk: Desk) -> None:
    order = desk.sent()
    desk.tracker.settle(order, Outcome.UNKNOWN, RequestTimeout("no answer"))
    assert order.info().status is S.UNKNOWN
    assert desk.tracker.unresolved() == (order,)
    with pytest.raises(ConfigError, match="used already"):
        desk.sent()
    desk.view(S.UNKNOWN)
    desk.view(S.SUBMITTED)
    assert order.info().status is S.UNKNOWN
    desk.view(S.OPEN)
    assert order.info().status is S.OPEN
    desk.tracker.settle(order, Outcome.UNKNOWN, None)
    assert order.info().status is S.OPEN, "what is proven stays proven"


@pytest.mark.parametrize("outcome", [Outcome.NOT_SENT, Outcome.REFUSED])
def test_streams_outrank_the_end_of_the_send(desk: Desk, outcome: Outcome) -> None:
    order = desk.sent()
    desk.view(S.OPEN)
    desk.tracker.settle(order, outcome, None)
    assert order.info().status is S.OPEN


@pytest.mark.parametrize("status", [S.OPEN, S.PENDING, S.PARTIALLY_FILLED])
def test_an_end_we_only_concluded_gives_way_to_the_venue(desk: Desk, status: OrderStatus) -> None:
    refused, lost = desk.sent("c1"), desk.sent("c2")
    desk.tracker.settle(refused, Outcome.REFUSED, DuplicateClientOrderId("in use"))
    desk.tracker.settle(lost, Outcome.UNKNOWN, None)
    desk.tracker.never_existed(lost)
    assert desk.tracker.live() == ()
    desk.view(status, "0.1" if status is S.PARTIALLY_FILLED else "0", client_id="c1", order_id="v1")
    desk.fill("t9", "0.5", client_id="c2", order_id="v2")
    assert refused.info().status is status
    assert (lost.status, lost.filled) == (S.PARTIALLY_FILLED, D("0.5"))
    assert set(desk.tracker.live()) == {refused, lost}
    desk.view(S.REJECTED, client_id="c1", order_id="v1")
    desk.view(S.OPEN, client_id="c1", order_id="v1")
    assert refused.info().status is S.REJECTED, "what the venue ended stays ended"


def test_never_existed_needs_the_absence_of_fills(desk: Desk) -> None:
    order = desk.sent()
    desk.tracker.settle(order, Outcome.UNKNOWN, None)
    desk.fill("t1", "0.1", client_id="c1")
    desk.tracker.never_existed(order)
    assert order.info().status is S.PARTIALLY_FILLED


def test_e2_a_resend_keeps_its_client_id_once_the_first_is_proven_absent(desk: Desk) -> None:
    first = desk.sent()
    desk.tracker.settle(first, Outcome.UNKNOWN, None)
    desk.tracker.never_existed(first)
    second = desk.sent()
    desk.view(S.OPEN)
    assert (second.status, first.status) == (S.OPEN, S.NOT_SENT)
    assert desk.tracker.find("c1") is second


@pytest.mark.parametrize("told_first", ["fill", "order"])
def test_a_fill_of_somebody_else_is_of_the_order_that_the_venue_names(desk: Desk, told_first: str) -> None:
    """Somebody gives one client id to all of his orders: only the venue's id tells them apart."""
    first = desk.view(S.FILLED, "1", client_id="777", order_id="v1")
    if told_first == "fill":
        desk.fill("t2", "0.4", client_id="777", order_id="v2")
        second = desk.view(S.OPEN, client_id="777", order_id="v2")
    else:
        second = desk.view(S.OPEN, client_id="777", order_id="v2")
        desk.fill("t2", "0.4", client_id="777", order_id="v2")
    desk.fill("t1", "1", client_id="777", order_id="v1")
    assert (first.filled, first.fill_quantity) == (D(1), D(1))
    assert (second.filled, second.fill_quantity) == (D("0.4"), D("0.4"))


def test_strangers_are_marked_external(desk: Desk) -> None:
    order = desk.view(S.OPEN, client_id="theirs", order_id="v7")
    assert order.external
    assert desk.told[-1].external
    again = desk.view(S.CANCELED, "0", client_id="theirs", order_id="v7")
    assert again is order
    reused = desk.view(S.OPEN, client_id="theirs", order_id="v8")
    assert reused is not order
    assert (order.status, reused.status) == (S.CANCELED, S.OPEN)
    assert desk.tracker.find("theirs") is reused


def test_fills_of_a_stranger_before_its_order(desk: Desk) -> None:
    desk.fill("t1", "0.1", client_id="theirs", order_id="v7")
    order = desk.view(S.OPEN, client_id=None, order_id="v7")
    assert order.filled == D("0.1")


def test_several_early_fills_name_the_order_one_by_one(desk: Desk) -> None:
    """The first names the venue id, which takes the second along."""
    desk.fill("t1", "0.1", client_id="c9", order_id="v7")
    desk.fill("t2", "0.2", client_id="c9", order_id="v7")
    desk.fill("t3", "0.3", client_id=None, order_id="v7")
    order = desk.view(S.OPEN, client_id="c9", order_id=None)
    assert order.filled == D("0.6")


# ---- amends


@pytest.mark.parametrize("stream_first", [True, False])
def test_amend_that_replaces_the_order(desk: Desk, stream_first: bool) -> None:
    order = desk.sent()
    desk.ack(order)
    desk.fill("t1", "0.3")
    intent = OrderIntent(instrument=BTC, side=Side.BUY, quantity=D(2), price=D(101), client_order_id="c1")
    with desk.tracker.amending(order):
        if stream_first:
            desk.view(S.CANCELED, "0.3")
            assert order.info().status is S.PARTIALLY_FILLED, "not an end before it is known what took its place"
            desk.view(S.OPEN, order_id="v2", size="1.7")
        desk.tracker.amended(order, intent, "v2")
    if not stream_first:
        desk.view(S.CANCELED, "0.3")
        desk.view(S.OPEN, order_id="v2", size="1.7")
    assert order.info().status is S.PARTIALLY_FILLED
    assert (order.order_id, order.info().price) == ("v2", D(101))
    desk.fill("t2", "0.2", order_id="v1")
    desk.fill("t3", "1.5", order_id="v2")
    assert (order.status, order.filled) == (S.FILLED, D(2))
    assert all(not i.status.is_terminal for i in desk.told[:-1])


def test_replacement_seen_after_the_end_of_the_replaced(desk: Desk) -> None:
    """Amended by somebody else, or before we started: the venue shows a live order under our client id."""
    order = desk.sent()
    desk.ack(order)
    desk.view(S.CANCELED)
    desk.view(S.OPEN, order_id="v2")
    assert (order.status, order.order_id) == (S.OPEN, "v2")
    desk.view(S.CANCELED, order_id="v1")
    assert order.info().status is S.OPEN
    desk.view(S.CANCELED, order_id="v2")
    assert order.info().status is S.CANCELED


def test_a_history_row_of_a_replaced_order_ends_nothing(desk: Desk) -> None:
    order = desk.view(S.OPEN, client_id="c1", order_id="v2")
    desk.view(S.CANCELED, "0", client_id="c1", order_id="v1")
    assert (order.status, order.order_id) == (S.OPEN, "v2")


def test_amend_refused_because_the_order_had_ended(desk: Desk) -> None:
    order = desk.sent()
    desk.ack(order)

    def amend() -> None:
        with desk.tracker.amending(order):
            desk.view(S.CANCELED, reason="user")
            raise DuplicateClientOrderId("not open")

    with pytest.raises(DuplicateClientOrderId):
        amend()
    assert order.info().status is S.UNKNOWN, "asked about before anything is concluded"
    desk.view(S.CANCELED, reason="user")
    assert order.info().status is S.CANCELED


def test_amend_that_keeps_the_id(desk: Desk) -> None:
    order = desk.sent()
    desk.ack(order)
    intent = OrderIntent(instrument=BTC, side=Side.BUY, quantity=D(1), price=D(101), client_order_id="c1")
    with desk.tracker.amending(order):
        desk.tracker.amended(order, intent, None)
        desk.view(S.CANCELED)
    assert order.info().status is S.CANCELED
    assert order.info().price == D(101)


# ---- waiting


async def test_waiters(desk: Desk) -> None:
    order = desk.sent()
    update = asyncio.create_task(desk.tracker.await_update(order, 5))
    end = asyncio.create_task(desk.tracker.await_terminal(order, 5))
    await asyncio.sleep(0)
    desk.ack(order)
    assert await update is True
    assert not end.done()
    desk.view(S.CANCELED)
    assert await end is True
    assert order.waiters == []
    assert await desk.tracker.await_terminal(order, 0) is True


async def test_waiting_ends_with_its_time_or_its_task(desk: Desk) -> None:
    order = desk.sent()
    assert await desk.tracker.await_update(order, 0.01) is False
    task = asyncio.create_task(desk.tracker.await_terminal(order, 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert order.waiters == []


async def test_waiters_of_an_order_that_turns_out_to_be_ours(desk: Desk) -> None:
    ours = desk.sent()
    stranger = desk.view(S.OPEN, client_id=None)
    waiting = asyncio.create_task(desk.tracker.wait(stranger, lambda _: ours.order_id == "v1", 5))
    await asyncio.sleep(0)
    desk.ack(ours)
    assert await waiting is True


# ---- bounds


def test_e37_memory_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "MAX_CLOSED", 10)
    monkeypatch.setattr(orders, "MAX_TRADES", 20)
    monkeypatch.setattr(orders, "MAX_ORPHAN_FILLS", 5)
    for n in range(100):
        order = desk.sent(f"c{n}")
        desk.ack(order, order_id=f"v{n}")
        desk.fill(f"t{n}", "1", order_id=f"v{n}")
        desk.fill(f"o{n}", "1", order_id=f"w{n}")
    tracker = desk.tracker
    assert (len(tracker._closed), len(tracker._by_client_id), len(tracker._by_order_id)) == (10, 10, 10)
    assert (len(tracker._trades), len(tracker._orphans), tracker.dropped_orphans) == (20, 5, 95)
    assert tracker.find("c89") is None
    assert tracker.find("c90") is not None
    assert len(desk.fills) == 200, "no fill was kept from listeners"


def test_a_fill_is_told_before_the_change_it_makes(desk: Desk) -> None:
    heard: list[str] = []
    tracker = OrderTracker(SteppingClock(0), lambda i: heard.append(i.status), lambda f: heard.append(f.trade_id))
    desk.tracker = tracker
    order = desk.sent()
    desk.ack(order)
    desk.fill("t1", "1")
    assert heard == ["open", "t1", "filled"]
