"""Every scripted fault: parsed from text, struck at its occasion and no other, and doing what it says."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest

from exchange_simulator.core.events import AnyEvent, BookDelta, MarketChanged, OrderFilled
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import NANOS_PER_HOUR, MarketStatus, OrderStatus, ReduceOnlyMode, RejectReason, Side
from exchange_simulator.dialects.base import ConnectFault, Kind, Lose, Received, RequestFault
from exchange_simulator.faults import POINTS, Fault, FaultKind, FaultPlan, Point, parse_fault, parse_faults, plan_of
from tests.simulator.core.world import Witness, buy, exchange, sell

S = 10**9


class Now:
    ns = 1_000 * S

    def __call__(self) -> int:
        return self.ns


def request(path: str = "/exchange", body: bytes = b"", **params: str) -> Received:
    return Received(1, 0, Kind.HTTP, 0, "local", "POST", path, params, {}, body)


def plan(*lines: str, now: Now | None = None, seed: int = 0) -> FaultPlan:
    return plan_of(lines, now or Now(), seed=seed)


def test_every_kind_has_a_point() -> None:
    assert set(POINTS) == set(FaultKind)
    assert set(POINTS.values()) == set(Point)


def test_line_and_yaml_say_the_same() -> None:
    line = parse_fault('lost_ack where=/exchange contains="order placed" nth=2 at=1.5 times=3 probability=0.5')
    assert line == Fault(FaultKind.LOST_ACK, at=1.5, nth=2, times=3, probability=0.5, where="/exchange", contains="order placed")
    text = """
    - lost-ack where=/exchange contains="order placed" nth=2 at=1.5 times=3 probability=0.5
    - {kind: lost_ack, where: /exchange, contains: order placed, nth: 2, at: 1.5, times: 3, probability: 0.5}
    - {kind: adl, market: BTC, account: 7, size: 0.25, at: 60}
    """
    first, second, adl = parse_faults(text)
    assert first == second == line
    assert (adl.size, adl.account) == (Decimal("0.25"), 7)
    assert parse_faults("") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a fault has a kind"),
        ("lost_akc", "a fault has a kind, one of lost_request"),
        ("lost_ack 3", "'3' is not name=value"),
        ("lost_ack retry_after=2", "lost_ack does not know retry_after; it knows"),
        ("slow delay=soon", "slow: delay=soon is not a number"),
        ("slow delay=-1", "must not be negative"),
        ("slow nth=0", "nth starts at 1"),
        ("slow probability=1.5", "between 0 and 1"),
        ("adl market=BTC size=1", "adl needs account"),
        ("interval_change market=BTC", "interval_change needs hours"),
    ],
)
def test_bad_lines_are_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_fault(text)


@pytest.mark.parametrize("text", ["{a: 1}", "[3]", "[", "- [lost_ack]"])
def test_bad_yaml_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="fault"):
        parse_faults(text)


def test_strikes_the_nth_occasion_and_the_following_ones() -> None:
    faulty = plan("server_error nth=2 times=2 where=/exchange")
    got = [faulty.on_request(request(path)) is not None for path in ("/exchange", "/info", "/exchange", "/exchange", "/exchange")]
    assert got == [False, False, True, True, False]
    assert [s.subject for s in faulty.strikes] == ["/exchange", "/exchange"]


def test_strikes_only_in_its_window() -> None:
    now = Now()
    faulty = plan("server_error at=10 lasting=5 times=0", now=now)
    got = []
    for second in (0, 9, 10, 14, 15, 100):
        now.ns = (1_000 + second) * S
        got.append(faulty.on_request(request()) is not None)
    assert got == [False, False, True, True, False, False]


def test_occasions_before_the_window_do_not_count() -> None:
    now = Now()
    faulty = plan("server_error at=10 nth=2", now=now)
    assert faulty.on_request(request()) is None
    now.ns += 10 * S
    assert [faulty.on_request(request()) is not None for _ in range(3)] == [False, True, False]


def test_matches_path_pattern_body_and_parameters() -> None:
    faulty = plan("server_error where=/api/*/sendTx contains=tx_type=14 times=0")
    assert faulty.on_request(request("/api/v1/sendTx", tx_type="15")) is None
    assert faulty.on_request(request("/api/v1/nextNonce", tx_type="14")) is None
    assert faulty.on_request(request("/api/v1/sendTx", tx_type="14")) is not None
    in_body = plan('server_error contains=\'"type":"order"\' times=0')
    assert in_body.on_request(request(body=b'{"action":{"type":"cancel"}}')) is None
    assert in_body.on_request(request(body=b'{"action":{"type":"order"}}')) is not None


def test_matches_methods_and_alternatives() -> None:
    faulty = plan("server_error where='POST /order|DELETE /order/*' times=0")
    get, put, gone = (replace(request("/order/7"), method=method) for method in ("GET", "PUT", "DELETE"))
    assert [faulty.on_request(asked) is not None for asked in (get, put, gone)] == [False, False, True]
    assert faulty.on_request(request("/order")) is not None
    assert faulty.on_request(request("/exchange")) is None


def test_probability_is_drawn_from_the_seed_alone() -> None:
    def run(seed: int, *lines: str) -> list[bool]:
        faulty = plan(*lines, seed=seed)
        return [faulty.on_request(request()) is not None for _ in range(400)]

    often = "server_error probability=0.25 times=0"
    assert run(1, often) == run(1, often)
    assert run(1, often) != run(2, often)
    assert 60 < sum(run(1, often)) < 140
    assert run(1, often) == run(1, often, "late_fill probability=0.5 times=0")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("lost_request", RequestFault(lose=Lose.REQUEST)),
        ("nonce_gap", RequestFault(lose=Lose.REQUEST)),
        ("lost_ack", RequestFault(lose=Lose.REPLY)),
        ("slow delay=2.5", RequestFault(after_s=2.5)),
        ("rate_limited retry_after=7", RequestFault(status=429, headers={"Retry-After": "7"})),
        ("rate_limited status=418", RequestFault(status=418, headers={"Retry-After": "1"})),
        ("server_error", RequestFault(status=503)),
        ("server_error status=502", RequestFault(status=502)),
        ("token_expired", RequestFault(status=401)),
    ],
)
def test_request_faults(line: str, fault: RequestFault) -> None:
    assert plan(line).on_request(request()) == fault


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("silent_socket", ConnectFault(silent=True)),
        ("accept_then_close delay=0.2", ConnectFault(close_after_s=0.2)),
        ("refused_socket", ConnectFault(status=503)),
    ],
)
def test_connect_faults(line: str, fault: ConnectFault) -> None:
    faulty = plan(line)
    assert faulty.on_connect(request("/ws")) == fault
    assert faulty.on_connect(request("/ws")) is None


def test_push_faults() -> None:
    faulty = plan("sequence_gap where=order_book nth=2", "garbage where=trades", "garbage where=bbo payload=NaN")
    assert [faulty.on_push(1, "order_book/0", b"{}") for _ in range(3)] == [None, [], None]
    assert faulty.on_push(1, "trades", b'{"a":1}') == [(0.0, b'{"a')]
    assert faulty.on_push(1, "bbo", b"{}") == [(0.0, b"NaN")]
    frozen = plan("frozen_stream times=0 lasting=5")
    assert frozen.on_push(1, "x", b"") == []
    assert frozen.on_request(request()) is None


def fill(seq: int, *, account: int = 1, remaining: int = 0, market: str = "BTC") -> OrderFilled:
    made = exchange()
    made.drain()
    made.set_level(0, "BTC", Side.SELL, 1_001, 5)
    made.submit(0, buy(1, 5, 1_001))
    event = next(e for e in made.drain() if isinstance(e, OrderFilled))
    return msgspec.structs.replace(event, seq=seq, account=account, remaining=remaining, market=market)


def test_fills_late_twice_and_out_of_order() -> None:
    one, two, three = fill(1), fill(2), fill(3)
    late = plan("late_fill delay=1.5 account=1")
    assert late.on_event(fill(9, account=2)) is None
    assert late.on_event(one) == [(1.5, one)]
    assert late.on_event(two) is None
    assert plan("duplicate_fill delay=0.5").on_event(one) == [(0.0, one), (0.5, one)]
    swapped = plan("out_of_order_fills")
    assert swapped.on_event(one) == []
    assert swapped.on_event(two) == [(0.0, two), (0.0, one)]
    assert swapped.on_event(three) is None


def test_out_of_order_loses_no_fill_when_it_strikes_again() -> None:
    swapped = plan("out_of_order_fills times=0")
    told: list[AnyEvent] = []
    fills = [fill(n) for n in range(1, 6)]
    for event in fills:
        replaced = swapped.on_event(event)
        told += [event] if replaced is None else [e for _, e in replaced]
    assert [e.seq for e in told] == [1, 2, 3, 4]  # each told when the next one came
    made = exchange()
    made.drain()
    made.set_mark(2 * S, "BTC", 1_000_500)
    assert [e for _, e in swapped.on_event(made.drain()[0]) or []][1:] == [fills[-1]]  # and the last by whatever comes later


def test_crossed_book_is_told_and_taken_back() -> None:
    made = exchange()
    faulty = plan("crossed_book delay=0.5 nth=3").attach(made)
    made.drain()
    made.set_levels(1, "BTC", [(999, 5), (998, 2)], [(1_001, 4)])
    made.set_level(2, "BTC", Side.BUY, 1_000, 3)
    deltas = [e for e in made.drain() if isinstance(e, BookDelta)]
    told = [faulty.on_event(e) for e in deltas]
    assert told[:2] == [None, None]
    replaced = told[2]
    assert replaced is not None
    (_, event), (now_s, wrong), (later_s, right) = replaced
    assert event is deltas[2]
    assert isinstance(event, BookDelta)
    assert isinstance(wrong, BookDelta)
    assert isinstance(right, BookDelta)
    beyond = 1_002 if event.side is Side.BUY else 999
    assert (wrong.side, wrong.price, wrong.size > 0, now_s) == (event.side, beyond, True, 0.0)
    assert (right.side, right.price, right.size, later_s) == (event.side, beyond, 0, 0.5)


def status(made: Exchange) -> str:
    return made.markets["BTC"].spec.status.value


def listening(faulty: FaultPlan, made: Exchange) -> list[AnyEvent]:
    told: list[AnyEvent] = []

    def sink(event: AnyEvent) -> None:
        replaced = faulty.on_event(event)
        told.extend([event] if replaced is None else [e for _, e in replaced])

    faulty.attach(made)
    made.subscribe(sink)
    return told


def test_partial_then_halt() -> None:
    made = exchange()
    faulty = plan("partial_then_halt lasting=30 market=BTC")
    listening(faulty, made)
    made.set_level(S, "BTC", Side.SELL, 1_001, 5)
    whole = made.submit(S, buy(2, 2, 1_001))
    assert whole.status is OrderStatus.FILLED
    assert status(made) == MarketStatus.ACTIVE
    part = made.submit(S, buy(1, 10, 1_001))
    assert (part.filled, part.remaining) == (3, 7)
    assert status(made) == MarketStatus.HALTED
    assert made.cancel(2 * S, 1, part.id) is RejectReason.MARKET_STATUS
    made.advance(31 * S)
    assert made.cancel(31 * S, 1, part.id) is None


def test_venue_faults_happen_at_their_time() -> None:
    now = Now()
    now.ns = 0
    made = exchange()
    made.submit(0, buy(1, 100, 1_000))
    made.submit(0, sell(2, 100, 1_000))
    faulty = plan(
        "adl at=10 market=BTC account=1 size=0.03",
        "interval_change at=20 market=BTC hours=4",
        "reduce_only_ignored at=30 lasting=10",
        "halt at=50 lasting=5 market=BTC",
        "delisting at=60 market=BTC",
        now=now,
    ).attach(made)
    witness = Witness(made)
    made.advance(10 * S)
    assert made.position(1, "BTC").size == 70
    made.advance(25 * S)
    assert made.markets["BTC"].spec.funding_interval_ns == 4 * NANOS_PER_HOUR
    assert any(isinstance(e, MarketChanged) and e.next_funding_ns == 4 * NANOS_PER_HOUR for e in witness.check())
    made.advance(30 * S)
    assert made.submit(30 * S, sell(1, 90, 1_200, reduce_only=True)).remaining == 90
    made.cancel_all(30 * S, 1)
    made.advance(41 * S)
    assert made.rules.reduce_only is ReduceOnlyMode.CLAMP
    made.advance(52 * S)
    assert made.submit(52 * S, buy(1, 1, 900)).reject_reason is RejectReason.MARKET_STATUS
    made.advance(56 * S)
    assert made.submit(56 * S, buy(1, 1, 900)).status is OrderStatus.OPEN
    made.advance(61 * S)
    assert status(made) == MarketStatus.DELISTED
    assert made.position(1, "BTC").size == 0
    witness.check()
    kinds = [s.fault.kind for s in faulty.strikes]
    expected = [FaultKind.ADL, FaultKind.INTERVAL_CHANGE, FaultKind.REDUCE_ONLY_IGNORED, FaultKind.HALT, FaultKind.DELISTING]
    assert kinds == expected
    assert [s.ts_ns for s in faulty.strikes] == [10 * S, 20 * S, 30 * S, 50 * S, 60 * S]


@pytest.mark.parametrize(
    "line", ["delisting market=DOGE", "adl market=BTC account=99 size=1", "adl market=BTC account=1 size=0.0001", "halt market=DOGE"]
)
def test_venue_faults_that_cannot_happen_are_refused_at_once(line: str) -> None:
    with pytest.raises(ValueError, match=r"not listed|no account|whole number"):
        plan(line).attach(exchange())
