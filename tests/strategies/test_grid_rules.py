"""The grid's rules, one by one, and what must hold for any sequence of partial fills, cancels and refusals."""

from collections.abc import Callable
from decimal import Decimal as D
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from exchange_clients.model import NS_PER_S, Side
from strategies.execution.lots import tradable
from strategies.execution.pricing import Quote
from strategies.implementations.grid import view
from strategies.implementations.grid.config import GridConfig
from strategies.implementations.grid.rules import decide
from strategies.implementations.grid.state import GridOrder, GridState, Lot, Phase, Role, Seen, absorb, cancelling, merged, placed, resumed
from strategies.implementations.grid.view import (
    Action,
    Cancel,
    CloseLot,
    GridView,
    Merge,
    Overdue,
    Pause,
    Place,
    Recentre,
    Turn,
    Wait,
    applied,
)
from strategies.reload import tighten
from tests.strategies.instruments import instrument

BTC = instrument("toy", step="0.0001", tick="0.5", min_quantity="0.001", min_notional="10")
START_NS = 1_000_000 * NS_PER_S


def config(**more: Any) -> GridConfig:
    base: dict[str, Any] = {"exchange": "toy", "symbols": ["BTC"], "grid_step": "1", "take_profit": "1", "order_notional_usd": "1000"}
    return GridConfig.model_validate({**base, "wait_time": 0, **more})


def two_sided(ladder: dict[str, Any] | None = None, **more: Any) -> GridConfig:
    base = {"exchange": "toy", "symbols": ["BTC"], "grid_step": "1", "order_notional_usd": "1000", "mode": "two_sided"}
    return GridConfig.model_validate({**base, "two_sided": ladder or {"levels_per_side": 3}, **more})


def look(state: GridState, c: GridConfig | None = None, *, mid: str = "10000", **more: Any) -> GridView:
    touch = Quote(D(mid) - D("0.5"), D(mid) + D("0.5"))
    fields: dict[str, Any] = {"now_ns": START_NS, "touch": touch, "touch_ns": START_NS, "quote": touch, **more}
    return GridView(config=c or config(), instrument=BTC, state=state, **fields)


def lot(lot_id: str = "a", quantity: str = "0.1", price: str = "10000", side: Side = Side.BUY, **more: Any) -> Lot:
    return Lot(lot_id=lot_id, side=side, quantity=D(quantity), cost=D(quantity) * D(price), opened_ns=START_NS, **more)


def exit_of(held: Lot, quantity: str | None = None, order_id: str = "tp", role: Role = Role.TAKE_PROFIT, **more: Any) -> GridOrder:
    amount = held.quantity if quantity is None else D(quantity)
    return GridOrder(client_order_id=order_id, role=role, side=held.side.opposite, price=D(10100), quantity=amount, lot=held.lot_id, **more)


def entry(order_id: str = "e", price: str = "9999.5", side: Side = Side.BUY, **more: Any) -> GridOrder:
    return GridOrder(client_order_id=order_id, role=Role.ENTRY, side=side, price=D(price), quantity=D("0.1"), lot=order_id, **more)


def only(actions: list[Action], kind: type[Any]) -> Any:
    found = [a for a in actions if isinstance(a, kind)]
    assert len(found) == 1, actions
    return found[0]


# ---- mode take_profit_grid


def test_an_empty_grid_enters_behind_its_own_touch() -> None:
    order = only(decide(look(GridState())), Place)
    assert (order.role, order.side, order.price, order.quantity) == (Role.ENTRY, Side.BUY, D("9999.5"), D("0.1"))
    order = only(decide(look(GridState(), config(direction="sell"))), Place)
    assert (order.side, order.price, order.quantity) == (Side.SELL, D("10000.5"), D("0.0999"))


def test_the_tick_multiplier_keeps_its_distance_from_the_other_side() -> None:
    assert only(decide(look(GridState(), config(post_only_tick_multiplier=5))), Place).price == D("9998")
    assert only(decide(look(GridState(), config(post_only_tick_multiplier=5, direction="sell"))), Place).price == D("10002")


def test_a_fill_gets_its_take_profit_for_exactly_what_filled() -> None:
    state, _ = absorb(
        GridState(orders=(entry(),)),
        {"e": Seen(client_order_id="e", filled=D("0.037"), cost=D("369.9815"))},
        D("0.037"),
        now_ns=0,
        price=None,
    )
    order = next(a for a in decide(look(state)) if isinstance(a, Place) and a.role is Role.TAKE_PROFIT)
    assert (order.side, order.quantity, order.lot) == (Side.SELL, D("0.037"), "e")
    assert order.price == D("10099.5")  # 9999.5 and one percent, up to the next tick
    assert D("10099.495") <= order.price


def test_the_take_profit_of_the_margin_is_divided_by_the_leverage() -> None:
    c = config(take_profit="10", take_profit_basis="margin", target_leverage="5")
    assert view.take_profit_price(look(GridState(), c), lot()) == D("10200")
    short = lot(side=Side.SELL)
    assert view.take_profit_price(look(GridState(), c), short) == D("9800")
    unknown = config(take_profit="10", take_profit_basis="margin")
    assert only(decide(look(GridState(), unknown)), Wait).rule == "leverage"
    assert view.take_profit_price(look(GridState(leverage=D(2)), unknown), lot()) == D("10500")


def test_a_fill_below_the_minimum_waits_for_more_of_its_entry() -> None:
    held = lot("e", "0.0005", "10000")
    assert not any(isinstance(a, Place) for a in decide(look(GridState(lots=(held,), orders=(entry(),)))))


def test_a_small_rest_is_put_into_the_standing_take_profit() -> None:
    held = lot("a", "0.1005")
    state = GridState(lots=(held,), orders=(exit_of(held, "0.1"),))
    fed = msgspec.structs.replace(state, orders=(*state.orders, entry("a")))
    assert not any(isinstance(a, Cancel) for a in decide(look(fed)))
    assert only(decide(look(state)), Cancel) == Cancel("tp", "grow")


def test_lots_too_small_alone_are_protected_together() -> None:
    state = GridState(lots=(lot("a", "0.0006"), lot("b", "0.0006", "9000")))
    assert only(decide(look(state)), Merge).lot_ids == ("a", "b")
    one = merged(state, ("a", "b"))
    assert (one.own, one.lots[0].price) == (D("0.0012"), D("9500"))
    small = GridState(lots=(lot("a", "0.0004"), lot("b", "0.0004")))
    assert not any(isinstance(a, Merge | Place) and getattr(a, "role", None) is not Role.ENTRY for a in decide(look(small, mid="9000")))


def test_a_small_lot_joins_a_larger_one_and_stands_in_nobodys_way() -> None:
    host, rest = lot("a", "0.1", "10000"), lot("b", "0.0005", "9900")
    state = GridState(lots=(host, rest), orders=(exit_of(host),))
    assert only(decide(look(state, mid="9890")), Merge).lot_ids == ("a", "b")
    one = merged(state, ("a", "b"))
    assert [(x.lot_id, x.quantity) for x in one.lots] == [("a", D("0.1005"))]
    assert only(decide(look(one, mid="9950")), Cancel) == Cancel("tp", "grow")
    alone = GridState(lots=(lot("b", "0.0005", "10000"),))
    assert only(decide(look(alone)), Place).role is Role.ENTRY
    ladder = GridState(reference=D(10000), lots=(lot("b", "0.0005", "9900", line=-1),))
    assert D(9900) in prices(decide(look(ladder, two_sided())), Side.BUY)


@pytest.mark.parametrize(("used", "factor"), [(0, 0.25), (1, 0.25), (2, 0.5), (4, 1.0), (8, 2.0), (11, 2.0)])
def test_the_wait_grows_with_the_grid(used: int, factor: float) -> None:
    lots = tuple(lot(str(n), price=str(12000 + 200 * n)) for n in range(used))
    state = GridState(lots=lots, last_entry_ns=START_NS)
    c = config(wait_time=60, max_orders=12)
    just_before = look(state, c, now_ns=START_NS + int(60 * factor * NS_PER_S) - 1)
    assert only(decide(just_before), Wait).rule == "wait_time"
    due = look(state, c, now_ns=START_NS + int(60 * factor * NS_PER_S))
    assert any(isinstance(a, Place) and a.role is Role.ENTRY for a in decide(due))


def test_there_is_no_wait_right_after_an_exit_filled() -> None:
    state = GridState(last_entry_ns=START_NS - 1, exit_filled_ns=START_NS)
    assert only(decide(look(state, config(wait_time=60))), Place).role is Role.ENTRY


@pytest.mark.parametrize(("mid", "places"), [("9901", False), ("9900", True), ("10099", False), ("10101", True)])
def test_entries_are_one_step_away_from_every_lot(mid: str, places: bool) -> None:
    held = lot()
    state = GridState(lots=(held,), orders=(exit_of(held),))
    actions = decide(look(state, mid=mid))
    assert any(isinstance(a, Place) for a in actions) is places
    assert places or only(actions, Wait).rule == "grid_step"


def test_max_orders_counts_lots_and_resting_entries() -> None:
    lots = tuple(lot(str(n), price=str(12000 + 200 * n)) for n in range(3))
    orders = tuple(exit_of(item, order_id=f"tp{item.lot_id}") for item in lots)
    state = GridState(lots=lots, orders=orders)
    assert only(decide(look(state, config(max_orders=3))), Wait).rule == "max_orders"
    assert only(decide(look(state, config(max_orders=4))), Place).role is Role.ENTRY


def test_max_margin_is_of_the_whole_grid_after_the_entry() -> None:
    held = lot(price="12000")
    state = GridState(lots=(held,), orders=(exit_of(held),))
    assert only(decide(look(state, config(max_margin_usd="219", target_leverage="10"))), Wait).rule == "max_margin_usd"
    assert only(decide(look(state, config(max_margin_usd="220", target_leverage="10"))), Place).role is Role.ENTRY
    assert only(decide(look(state, config(max_margin_usd="1000000"))), Wait).rule == "leverage"


def test_an_entry_too_small_to_be_closed_is_not_made() -> None:
    assert only(decide(look(GridState(), config(order_notional_usd="14"))), Wait).rule == "minimum"


def test_an_entry_that_the_market_left_behind_moves() -> None:
    state = GridState(orders=(entry(),))
    assert not any(isinstance(a, Cancel) for a in decide(look(state, mid="10040")))
    assert only(decide(look(state, mid="10051")), Cancel) == Cancel("e", "reprice")
    assert not any(isinstance(a, Cancel) for a in decide(look(state, mid="9990")))


def test_no_entry_without_a_fresh_book() -> None:
    assert only(decide(look(GridState(), touch=None)), Wait).rule == "book"


def test_a_block_takes_resting_entries_off_and_leaves_take_profits() -> None:
    held = lot()
    state = GridState(lots=(held,), orders=(exit_of(held), entry()))
    actions = decide(look(state, entry_block="halted: test"))
    assert only(actions, Cancel) == Cancel("e", "entry_block")
    assert only(actions, Wait).rule == "entry_block"
    uncovered = GridState(lots=(held,))
    assert only(decide(look(uncovered, entry_block="halted: test")), Place).role is Role.TAKE_PROFIT


def test_a_rejected_post_only_is_repriced_from_a_fresh_book_and_then_waits() -> None:
    c = config(wait_time=60, post_only_retries=2)
    state = GridState()
    for refusals in range(1, 4):
        state = placed(state, entry(), START_NS)
        state, _ = absorb(
            state, {"e": Seen(client_order_id="e", finished=True, refused="crosses", crossed=True)}, D(0), now_ns=0, price=None
        )
        assert state.retries == refusals
        if refusals <= 2:
            assert only(decide(look(state, c, touch_ns=START_NS)), Wait).rule == "fresh_book"
            assert only(decide(look(state, c, touch_ns=START_NS + 1)), Place).role is Role.ENTRY
    late = START_NS + 10**12
    assert only(decide(look(state, c, touch_ns=late)), Wait).rule == "post_only"
    assert only(decide(look(state, c, now_ns=START_NS + 60 * NS_PER_S, touch_ns=late)), Place).role is Role.ENTRY


# ---- stop, pause, losses, time


@pytest.mark.parametrize(
    ("direction", "mid", "stops"), [("buy", "9001", False), ("buy", "9000", True), ("sell", "8999", False), ("sell", "9000", True)]
)
def test_the_stop_price_cancels_closes_and_halts(direction: str, mid: str, stops: bool) -> None:
    c = config(direction=direction, stop_price="9000")
    held = lot(side=Side(direction))
    state = GridState(lots=(held,), orders=(exit_of(held, "0.06"), entry(side=Side(direction))))
    actions = decide(look(state, c, mid=mid))
    assert any(isinstance(a, Turn) for a in actions) is stops
    if not stops:
        return
    state = msgspec.structs.replace(state, phase=Phase.STOPPING)
    actions = decide(look(state, c, mid=mid))
    assert {a.client_order_id for a in actions if isinstance(a, Cancel)} == {"tp", "e"}
    order = only(actions, Place)
    assert (order.role, order.side, order.quantity, order.market) == (Role.CLOSE, held.side.opposite, D("0.04"), True)
    empty = GridState(phase=Phase.STOPPING, reason="stop_price")
    assert only(decide(look(empty, c, mid=mid)), Turn).phase is Phase.HALTED
    halted = msgspec.structs.replace(empty, phase=Phase.HALTED)
    assert decide(look(halted, c)) == []
    assert any(isinstance(a, Place) for a in decide(look(resumed(halted), c, mid="9500" if direction == "buy" else "8500")))


def test_a_stop_needs_no_book() -> None:
    mark = Quote(D(8000), D(8000), "mark")
    assert only(decide(look(GridState(lots=(lot(),)), config(stop_price="9000"), touch=None, quote=mark)), Turn).phase is Phase.STOPPING
    old = Quote(D(8000), D(8000), "last fill")
    assert not any(isinstance(a, Turn) for a in decide(look(GridState(), config(stop_price="9000"), touch=None, quote=old)))


def test_a_stop_ends_in_alert_when_nothing_can_be_closed() -> None:
    state = GridState(phase=Phase.STOPPING, lots=(lot(),), close_failures=8)
    assert only(decide(look(state)), Turn).phase is Phase.ALERT


def test_a_rest_below_the_minimum_is_told_and_not_tried_for_ever() -> None:
    state = GridState(phase=Phase.STOPPING, lots=(lot("a", "0.0005"),), reason="stop_price: x")
    turn = only(decide(look(state)), Turn)
    assert turn.phase is Phase.HALTED
    assert "0.0005 is left" in turn.detail


def test_the_pause_price_holds_entries_back_until_the_price_returns() -> None:
    c = config(pause_price="9500")
    held = lot()
    state = GridState(lots=(held,), orders=(entry(),))
    actions = decide(look(state, c, mid="9500"))
    assert only(actions, Pause).rule == "pause_price"
    assert only(actions, Cancel) == Cancel("e", "pause_price")
    assert only(actions, Place).role is Role.TAKE_PROFIT
    beyond = decide(look(GridState(paused="pause_price", lots=(held,)), c, mid="9400"))
    assert only(beyond, Place).role is Role.TAKE_PROFIT
    paused = GridState(paused="pause_price")
    actions = decide(look(paused, c, mid="9501"))
    assert only(actions, Pause).rule == ""
    assert only(actions, Place).role is Role.ENTRY


def test_the_stop_loss_is_of_each_lot() -> None:
    c = config(stop_loss_enabled=True, stop_loss_percentage="3")
    one, other = lot("a", price="10000"), lot("b", price="9800")
    state = GridState(lots=(one, other), orders=(exit_of(one, order_id="t1"), exit_of(other, order_id="t2")))
    assert not any(isinstance(a, CloseLot) for a in decide(look(state, c, mid="9701")))
    assert only(decide(look(state, c, mid="9700")), CloseLot).lot_id == "a"
    state = applied(state, CloseLot("a", "stop_loss", ""), 0)
    assert only(decide(look(state, c, mid="9700")), Cancel) == Cancel("t1", "stop_loss")
    gone = msgspec.structs.replace(state, orders=state.orders[1:])
    order = next(a for a in decide(look(gone, c, mid="9700")) if isinstance(a, Place) and a.role is Role.CLOSE)
    assert (order.lot, order.quantity, order.rule) == ("a", D("0.1"), "stop_loss")
    assert order.price == D("9680.5")  # twenty basis points below the bid, valid


def test_an_old_position_is_told_or_closed() -> None:
    later = START_NS + 3600 * NS_PER_S
    held = lot()
    state = GridState(lots=(held,), orders=(exit_of(held),))
    none = config(position_timeout_minutes="60")
    assert only(decide(look(state, none, now_ns=later)), Overdue).lot_id == "a"
    told = applied(state, Overdue("a", ""), 0)
    assert not any(isinstance(a, Overdue | CloseLot) for a in decide(look(told, none, now_ns=later)))
    aggressive = config(position_timeout_minutes="60", recovery_mode="aggressive")
    assert not any(isinstance(a, CloseLot) for a in decide(look(state, aggressive, now_ns=later - 1)))
    assert only(decide(look(state, aggressive, now_ns=later)), CloseLot).rule == "position_timeout"


def test_boost_takes_profit_by_market_at_the_touch() -> None:
    c = config(boost_mode=True)
    state = GridState(lots=(lot(),))
    assert not any(isinstance(a, CloseLot) or (isinstance(a, Place) and a.role.reduces) for a in decide(look(state, c, mid="10100")))
    assert only(decide(look(state, c, mid="10100.5")), CloseLot).rule == "boost"


# ---- exits that do not work


def test_a_refused_take_profit_is_tried_again_later_and_ends_in_alert() -> None:
    held = lot()
    state = GridState(lots=(held,))
    for failures in range(1, 9):
        state = placed(state, exit_of(held), START_NS)
        state, _ = absorb(
            state, {"tp": Seen(client_order_id="tp", finished=True, refused="no")}, held.quantity, now_ns=START_NS, price=None
        )
        assert state.lots[0].failures == failures
        assert state.lots[0].retry_ns > START_NS
        if failures < 8:
            assert not any(isinstance(a, Place) and a.role.reduces for a in decide(look(state)))
            due = look(state, now_ns=state.lots[0].retry_ns)
            assert any(isinstance(a, Place) and a.role is Role.TAKE_PROFIT for a in decide(due))
    assert only(decide(look(state)), Turn).phase is Phase.ALERT


def test_an_unsent_take_profit_is_no_refusal() -> None:
    held = lot()
    state = placed(GridState(lots=(held,)), exit_of(held), START_NS)
    state, _ = absorb(state, {"tp": Seen(client_order_id="tp", finished=True, unsent=True)}, held.quantity, now_ns=START_NS, price=None)
    assert state.lots[0].failures == 0
    assert state.lots[0].retry_ns > START_NS


def test_e17_a_position_that_shrank_takes_its_exits_off() -> None:
    held = lot()
    state = GridState(lots=(held,), orders=(exit_of(held),))
    state, told = absorb(state, {}, D("0.04"), now_ns=START_NS, price=D(10000))
    assert [t.event for t in told] == ["grid.position_changed"]
    assert state.own == D("0.04")
    assert only(decide(look(state)), Cancel) == Cancel("tp", "position_smaller")
    state, _ = absorb(state, {}, D(0), now_ns=START_NS, price=D(10000))
    assert [a for a in decide(look(state, entry_block="no")) if isinstance(a, Cancel)] == [Cancel("tp", "lot_gone")]


def test_what_no_order_explains_becomes_a_lot_with_its_own_take_profit() -> None:
    state, _ = absorb(GridState(), {}, D("0.2"), now_ns=START_NS, price=None)
    assert state.lots == ()
    state, _ = absorb(GridState(), {}, D("0.2"), now_ns=START_NS, price=D(10000))
    assert next(a for a in decide(look(state, entry_block="x")) if isinstance(a, Place)).quantity == D("0.2")


# ---- mode two_sided


def prices(actions: list[Action], side: Side) -> list[D]:
    return sorted(a.price for a in actions if isinstance(a, Place) and a.side is side and a.role is Role.ENTRY)


def test_the_ladder_is_symmetric_around_its_reference() -> None:
    c = two_sided()
    first = only(decide(look(GridState(), c)), Recentre)
    assert first.reference == D(10000)
    actions = decide(look(applied(GridState(), first, START_NS), c))
    assert prices(actions, Side.BUY) == [D(9700), D(9800), D(9900)]
    assert prices(actions, Side.SELL) == [D(10100), D(10200), D(10300)]


def test_a_filled_line_holds_its_lot_and_gets_it_sold_one_step_back() -> None:
    state = GridState(reference=D(10000), lots=(lot("e1", price="9900", line=-1),))
    actions = decide(look(state, two_sided(), mid="9890"))
    assert prices(actions, Side.BUY) == [D(9700), D(9800)]
    exit_ = next(a for a in actions if isinstance(a, Place) and a.role is Role.TAKE_PROFIT)
    assert (exit_.side, exit_.price) == (Side.SELL, D(9999))
    assert prices(actions, Side.SELL) == [D(10100), D(10200), D(10300)]


def test_the_ladder_moves_by_drift_and_not_too_often() -> None:
    c = two_sided({"levels_per_side": 3, "recentre_drift_steps": "3", "recentre_min_seconds": 100})
    state = GridState(reference=D(10000), recentred_ns=START_NS, orders=(entry("old", "9900", line=-1),))
    late = START_NS + 100 * NS_PER_S
    assert not any(isinstance(a, Recentre) for a in decide(look(state, c, mid="10299", now_ns=late)))
    assert not any(isinstance(a, Recentre) for a in decide(look(state, c, mid="10300", now_ns=late - 1)))
    moved = only(decide(look(state, c, mid="10300", now_ns=late)), Recentre)
    after = applied(state, moved, late)
    assert Cancel("old", "recentred") in decide(look(after, c, mid="10300", now_ns=late))


def test_the_opposite_side_waits_for_the_take_profits_of_what_is_held() -> None:
    state = GridState(reference=D(9000), lots=(lot("old", price="10000"),))
    actions = decide(look(state, two_sided(), mid="9000"))
    assert prices(actions, Side.SELL) == []
    assert len(prices(actions, Side.BUY)) == 2  # the third would take the side beyond what one side of the ladder holds


def test_inventory_is_limited_and_skews_the_ladder() -> None:
    c = two_sided({"levels_per_side": 3, "max_inventory_usd": "1500", "skew": "1"})
    state = GridState(reference=D(10000))
    assert prices(decide(look(state, c)), Side.BUY) == [D(9900)]
    long = GridState(lots=(lot("a", "0.15", "10000"),))
    assert only(decide(look(long, c)), Recentre).reference == D(9900)
    short = GridState(lots=(lot("a", "0.15", "10000", side=Side.SELL),))
    assert only(decide(look(short, c)), Recentre).reference == D(10100)


def test_an_entry_against_lots_closes_them_first() -> None:
    long = lot("l", "0.1", "9900")
    state = GridState(lots=(long,), orders=(exit_of(long), entry("s", "10000", Side.SELL, line=1)))
    seen = {"s": Seen(client_order_id="s", filled=D("0.15"), cost=D(1500), finished=True)}
    state, _ = absorb(state, seen, D("-0.05"), now_ns=START_NS, price=None)
    assert [(x.side, x.quantity, x.lot_id) for x in state.lots] == [(Side.SELL, D("0.05"), "s")]
    assert (state.round_trips, state.gained) == (1, D(10))
    assert Cancel("tp", "lot_gone") in decide(look(state, two_sided()))


@pytest.mark.parametrize(("mid", "stops"), [("9500", True), ("9501", False), ("10499", False), ("10500", True)])
def test_two_sided_stops_on_both_sides(mid: str, stops: bool) -> None:
    c = two_sided({"stop_low": "9500", "stop_high": "10500"})
    assert any(isinstance(a, Turn) for a in decide(look(GridState(), c, mid=mid))) is stops


# ---- configuration


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"take_profit": None}, "take_profit is required"),
        ({"take_profit": "0"}, "only boost_mode"),
        ({"stop_loss_enabled": True}, "needs stop_loss_percentage"),
        ({"stop_loss_percentage": "3"}, "does nothing without stop_loss_enabled"),
        ({"recovery_mode": "aggressive"}, "needs position_timeout_minutes"),
        ({"stop_price": "9500", "pause_price": "9000"}, "pause_price must be above stop_price"),
        ({"direction": "sell", "stop_price": "9000", "pause_price": "9500"}, "pause_price must be below stop_price"),
        ({"symbols": ["BTC", "BTC"]}, "symbols: each once"),
        ({"symbols": ["BTC", "ETH"], "stop_price": "9000"}, "give this bot one symbol"),
        ({"two_sided": {"levels_per_side": 2}}, "does nothing in mode take_profit_grid"),
        ({"mode": "two_sided", "take_profit": None, "stop_price": "9"}, "does nothing in mode two_sided"),
        ({"mode": "two_sided", "direction": "sell"}, "does nothing in mode two_sided"),
        ({"wait_tim": 3}, "wait_tim"),
    ],
)
def test_a_wrong_configuration_says_what_to_do(bad: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config(**bad)


@pytest.mark.parametrize("c", [config(), two_sided({"levels_per_side": 2, "stop_low": "1"}), config(direction="sell", stop_price="9")])
def test_a_configuration_survives_being_kept(c: GridConfig) -> None:
    assert GridConfig.model_validate(c.model_dump(mode="json")) == c


def test_e39_a_reload_tightens_what_is_open_and_says_what_it_does_not() -> None:
    old = config(max_orders=5, stop_price="9000", order_notional_usd="100")
    new = config(max_orders=9, stop_price="8000", order_notional_usd="50", stop_loss_enabled=True, stop_loss_percentage="2")
    held = tighten(old, new)
    assert (held.config.max_orders, held.config.stop_price, held.config.order_notional_usd) == (5, D(9000), D(50))
    assert held.config.stop_loss_percentage == 2
    assert {c.name for c in held.refused} == {"max_orders", "stop_price"}


# ---- any sequence


class Toy:
    """A market that fills, cancels and refuses as it is told, and the position that follows from it. It honours no reduce-only at all."""

    def __init__(self, c: GridConfig) -> None:
        self.config, self.state, self.now_ns, self.mid = c, GridState(), START_NS, D(10000)
        self.own, self.numbers = D(0), 0
        self.live: dict[str, dict[str, Any]] = {}
        self.done: dict[str, Seen] = {}

    def work(self) -> None:
        """As the strategy does: book, decide, do, until nothing follows."""
        actions: list[Action] = []
        for _ in range(50):
            seen = {
                **{i: Seen(client_order_id=i, filled=o["filled"], cost=o["cost"]) for i, o in self.live.items()},
                **self.done,
            }
            self.state, _ = absorb(self.state, seen, self.own, now_ns=self.now_ns, price=self.mid)
            self.done = {}
            self.check()
            actions = [a for a in decide(self.view()) if not isinstance(a, Wait)]
            if not actions:
                return
            for action in actions:
                self.do(action)
            self.check()
        raise AssertionError(f"no end: {actions}")

    def view(self) -> GridView:
        touch = Quote(self.mid - D("0.5"), self.mid + D("0.5"))
        return GridView(
            now_ns=self.now_ns, config=self.config, instrument=BTC, state=self.state, touch=touch, touch_ns=self.now_ns, quote=touch
        )

    def do(self, action: Action) -> None:
        if isinstance(action, Cancel):
            self.state = cancelling(self.state, action.client_order_id)
        elif isinstance(action, Place):
            self.numbers += 1
            name = f"o{self.numbers}"
            self.live[name] = {"action": action, "filled": D(0), "cost": D(0)}
            own = action.lot or name
            order = GridOrder(
                client_order_id=name,
                role=action.role,
                side=action.side,
                price=action.price,
                quantity=action.quantity,
                lot=own if action.role is Role.ENTRY else action.lot,
                line=action.line,
            )
            self.state = placed(self.state, order, self.now_ns)
        else:
            self.state = applied(self.state, action, self.now_ns)

    def check(self) -> None:
        assert self.state.own == self.own
        assert len({x.side for x in self.state.lots}) <= 1
        assert all(x.quantity > 0 for x in self.state.lots)
        standing = [
            self.live[o.client_order_id]
            for o in self.state.exits()
            if o.role is Role.TAKE_PROFIT and not o.cancelling and o.client_order_id in self.live
        ]
        assert all((o["action"].quantity / BTC.step_size) % 1 == 0 for o in standing)
        covered = sum((o["action"].quantity - o["filled"] for o in standing), D(0))
        return None if covered <= abs(self.own) else self.excess()

    def excess(self) -> None:
        """Exits beyond the position are taken off at the next look."""
        assert any(isinstance(a, Cancel) for a in decide(self.view())), "exits exceed the position"

    # ---- what happens at the venue

    def fill(self, index: int, share: int) -> None:
        if not self.live:
            return
        name = sorted(self.live)[index % len(self.live)]
        order = self.live[name]
        action: Place = order["action"]
        left = (action.quantity - order["filled"]) / BTC.step_size
        quantity = max(int(left * share / 100), 1) * BTC.step_size
        if action.role.reduces and quantity > abs(self.own):
            return  # reduce-only by the venue
        order["filled"] += quantity
        order["cost"] += quantity * action.price
        self.own += quantity * action.side.sign
        if order["filled"] == action.quantity:
            self.end(name)

    def end(self, name: str, **more: Any) -> None:
        order = self.live.pop(name)
        self.done[name] = Seen(client_order_id=name, filled=order["filled"], cost=order["cost"], finished=True, **more)

    def cancelled(self) -> None:
        for order in self.state.orders:
            if order.cancelling and order.client_order_id in self.live:
                self.end(order.client_order_id)

    def immediate(self, share: int) -> None:
        """Market closes fill as far as there is a position; the rest of them is cancelled."""
        for name in [n for n, o in self.live.items() if o["action"].market]:
            order = self.live[name]
            left = min(order["action"].quantity - order["filled"], abs(self.own))
            quantity = (left * share / 100).quantize(BTC.step_size, rounding="ROUND_UP")
            order["filled"] += quantity
            order["cost"] += quantity * order["action"].price
            self.own += quantity * order["action"].side.sign
            self.end(name)

    def refuse(self, index: int) -> None:
        fresh = [n for n, o in sorted(self.live.items()) if o["filled"] == 0]
        if fresh:
            name = fresh[index % len(fresh)]
            self.end(name, refused="no", crossed=self.live[name]["action"].role is Role.ENTRY)

    def outside(self, share: int) -> None:
        """Somebody closes a part by hand."""
        self.own -= (self.own * share / 100).quantize(BTC.step_size, rounding="ROUND_DOWN")

    def quiet(self) -> None:
        """Everything asked for is answered, and time passes."""
        for _ in range(200):
            self.now_ns += 20 * NS_PER_S
            self.cancelled()
            self.immediate(100)
            before = (self.state, dict(self.live))
            self.work()
            if (self.state, self.live) == before:
                return


STEPS = st.one_of(
    st.tuples(st.just("fill"), st.integers(0, 20), st.integers(1, 100)),
    st.tuples(st.just("price"), st.integers(-300, 300)),
    st.tuples(st.just("cancelled")),
    st.tuples(st.just("refuse"), st.integers(0, 20)),
    st.tuples(st.just("outside"), st.integers(1, 100)),
    st.tuples(st.just("time"), st.integers(0, 600)),
)


def play(toy: Toy, steps: list[tuple[Any, ...]]) -> None:
    happen: dict[str, Callable[..., None]] = {"fill": toy.fill, "cancelled": toy.cancelled, "refuse": toy.refuse, "outside": toy.outside}
    toy.work()
    for name, *values in steps:
        if name == "price":
            toy.mid = max(toy.mid + values[0], D(1000))
        elif name == "time":
            toy.now_ns += values[0] * NS_PER_S
        else:
            happen[name](*values)
        toy.work()


CONFIGS = {
    "grid": config(max_orders=5),
    "short": config(max_orders=5, direction="sell", stop_loss_enabled=True, stop_loss_percentage="2"),
    "aggressive": config(max_orders=5, position_timeout_minutes="5", recovery_mode="aggressive", order_notional_usd="30"),
    "small": config(max_orders=8, order_notional_usd="40"),
    "ladder": two_sided({"levels_per_side": 3, "recentre_min_seconds": 60}),
    "small_ladder": two_sided({"levels_per_side": 4, "recentre_drift_steps": "1", "recentre_min_seconds": 0}, order_notional_usd="40"),
}


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=25, deadline=None)
@given(steps=st.lists(STEPS, max_size=40))
def test_take_profits_and_what_waits_are_the_position(name: str, steps: list[tuple[Any, ...]]) -> None:
    toy = Toy(CONFIGS[name])
    play(toy, steps)
    toy.quiet()
    if toy.state.phase is Phase.ALERT:
        return
    exits = [o for o in toy.state.exits() if o.client_order_id in toy.live]
    covered = sum((o.remaining for o in exits), D(0))
    assert covered + toy.state.waiting() == abs(toy.own)
    feeding = {o.lot for o in toy.state.entries()}
    hosts = [x for x in toy.state.lots if not x.closing and toy.state.covered(x.lot_id) > 0]
    assert not hosts or not [x for x in toy.state.lots if x not in hosts and not x.closing and x.lot_id not in feeding], (
        "a rest waits beside a host"
    )
    loose = [x for x in toy.state.lots if x.lot_id not in feeding and toy.state.covered(x.lot_id) < x.quantity]
    alone = [x for x in loose if not toy.state.exits(x.lot_id)]
    for held in loose:
        price = view.take_profit_price(toy.view(), held)
        assert not tradable(BTC, held.quantity - toy.state.covered(held.lot_id), price), "a rest that could be protected is not"
    for rule in {x.closing for x in alone}:
        total = sum((x.quantity for x in alone if x.closing == rule), D(0))
        least = min(x.price for x in alone if x.closing == rule)
        assert len([x for x in alone if x.closing == rule]) < 2 or not tradable(BTC, total, least), "small lots wait apart"


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(STEPS, max_size=30))
def test_a_stop_ends_flat_whatever_came_before(steps: list[tuple[Any, ...]]) -> None:
    toy = Toy(config(max_orders=5, stop_price="5000"))
    play(toy, steps)
    if toy.state.phase is Phase.ALERT:
        return
    toy.mid = D(4900)
    toy.work()
    assert toy.state.phase in (Phase.STOPPING, Phase.HALTED)
    for _ in range(60):
        toy.now_ns += 20 * NS_PER_S
        toy.cancelled()
        toy.immediate(60)
        toy.work()
    assert toy.state.phase is Phase.HALTED
    assert not toy.live
    assert toy.own == 0 or not tradable(BTC, abs(toy.own), D(4900))


def test_a_skewed_ladder_stays_where_it_is_while_the_market_does() -> None:
    c = two_sided({"levels_per_side": 3, "skew": 4, "recentre_min_seconds": 60})
    state = GridState(lots=tuple(lot(str(i)) for i in range(3)))
    moves = 0
    for n in range(1, 6):
        at_ns = START_NS + n * 61 * NS_PER_S
        found = [a for a in decide(look(state, c, now_ns=at_ns, touch_ns=at_ns, mid=str(9990 + n % 2))) if isinstance(a, Recentre)]
        for action in found:
            state, moves = applied(state, action, at_ns), moves + 1
    assert moves == 1
    assert state.reference is not None
    assert state.reference < D(9700)  # against a full inventory


def test_less_than_a_step_is_no_reason_to_take_a_take_profit_off() -> None:
    held = lot(quantity="0.10005")
    state = GridState(lots=(held,), orders=(exit_of(held, "0.1"),))
    assert not [a for a in decide(look(state, config(max_orders=1))) if isinstance(a, Cancel | Place)]
    held = lot(quantity="0.10055")
    state = GridState(lots=(held,), orders=(exit_of(held, "0.1"),))
    assert only(decide(look(state, config(max_orders=1))), Cancel) == Cancel("tp", "grow")
