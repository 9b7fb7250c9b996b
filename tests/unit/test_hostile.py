"""Small rules that real trouble has taught, each with the case that broke it."""

import asyncio
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.errors import (
    ApiError,
    ConnectFailed,
    Disconnected,
    InsufficientMargin,
    NonceError,
    Outcome,
    RateLimited,
    ReduceOnlyViolation,
    UnknownInstrument,
    VenueError,
    VenueUnavailable,
    classify,
)
from exchange_clients.events import EventHub
from exchange_clients.instruments import InstrumentProvider
from exchange_clients.model import Gap, Instrument, InstrumentId, MarketStatus
from exchange_clients.signing import is_placeholder
from exchange_clients.transport.clock import SteppingClock
from exchange_clients.transport.command import SocketCommands
from exchange_clients.transport.venue_time import VenueTime
from tests.toy.venue import SPEC

ROWS: dict[str, type[VenueError]] = {"nonce": NonceError, "insufficient margin": InsufficientMargin, "21104": NonceError}


@pytest.mark.parametrize(
    ("status", "kind", "outcome"),
    [
        (200, NonceError, Outcome.REFUSED),
        (400, NonceError, Outcome.REFUSED),
        (404, NonceError, Outcome.REFUSED),
        (429, RateLimited, Outcome.UNKNOWN),
        (418, RateLimited, Outcome.UNKNOWN),
        (500, VenueUnavailable, Outcome.UNKNOWN),
        (504, VenueUnavailable, Outcome.UNKNOWN),
    ],
)
def test_words_count_where_the_status_lets_the_venue_speak(status: int, kind: type[ApiError], outcome: Outcome) -> None:
    error = classify(ROWS, venue="toy", code="", message="invalid nonce", http_status=status)
    assert (type(error), error.outcome) == (kind, outcome)


@pytest.mark.parametrize("text", ["<html>id 9c1f2d34-2022-4a2b</html>", '<script nonce="x">insufficient margin'])
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 408, 413])
def test_a_page_under_any_status_is_nobodys_word(status: int, text: str) -> None:
    rows: dict[str, type[VenueError]] = {"-2022": ReduceOnlyViolation, **ROWS}
    assert classify(rows, venue="toy", code="", message=text, http_status=status).outcome is Outcome.UNKNOWN


def test_a_number_within_a_text_is_no_code() -> None:
    error = classify({"-2022": ReduceOnlyViolation}, venue="toy", code="-9999", message="request 9c1f2d34-2022-4a2b", http_status=400)
    assert type(error) is ApiError
    assert error.outcome is Outcome.UNKNOWN


def test_a_code_of_the_venue_counts_under_any_status() -> None:
    assert isinstance(classify(ROWS, venue="toy", code="21104", message="", http_status=500), NonceError)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "your_key",
        "YOUR-API-KEY",
        "<key>",
        "changeme",
        "xxx",
        "xxxx-xxxx",
        "...",
        "0x" + "0" * 64,
        "f" * 80,
        "my_private_key",
        "todo",
    ],
)
def test_templates_are_no_keys(value: str) -> None:
    assert is_placeholder(value)


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "4",
        "0x" + "ab" * 32,
        "kTodoXXXaYourb5Examplezz9/Q==",
        "example today abandon youth abandon abandon abandon abandon abandon abandon abandon about",
        "QxxX3p+todo/expletive==",
    ],
)
def test_keys_that_contain_such_words_are_keys(value: str) -> None:
    assert not is_placeholder(value)


# ---- identity


def market(base: str, venue_symbol: str, contract_id: str, multiplier: int = 1, status: MarketStatus = MarketStatus.ACTIVE) -> Instrument:
    return Instrument(
        id=InstrumentId(base, "USD", "toy"),
        venue_symbol=venue_symbol,
        contract_id=contract_id,
        settle="USD",
        tick_size=D("0.1"),
        step_size=D("0.1"),
        min_quantity=D("0.1"),
        min_notional=D(1),
        multiplier=D(multiplier),
        contract_size=D(multiplier),
        status=status,
    )


def provider(*lists: list[Instrument]) -> InstrumentProvider:
    clock = SteppingClock(0)
    answers = iter(lists)

    async def fetch() -> list[Instrument]:
        return next(answers)

    return InstrumentProvider(SPEC, clock, EventHub("toy", clock.time_ns), fetch)


async def test_e30_names_are_never_taken_apart() -> None:
    markets = [
        market("2Z", "2Z/USD", "1"),
        market("Z", "Z/USD", "2"),
        market("BTC", "BTC/USD", "3"),
        market("BTCDOM", "BTCDOM/USD", "4"),
        market("PEPE", "1000PEPE/USD", "5", 1000),
        market("1000X", "1000X/USD", "6"),
    ]
    table = provider(markets)
    await table.load_all()
    for one in markets:
        for name in (one.id, str(one.id), one.contract_id, one.venue_symbol, one.id.base, f"{one.id.base}-PERP.toy"):
            assert table.get(name) == one
    for name in ("X", "1000PEPE", "PEPE/USD", "btc", "DOM", "0", "", "BTC-USD-PERP", "1000"):
        if name == "BTC-USD-PERP":
            assert table.get(name).id.base == "BTC"
            continue
        with pytest.raises(UnknownInstrument, match="toy"):
            table.get(name)


@pytest.mark.parametrize("order", [1, -1])
async def test_two_markets_of_one_id_are_never_mixed_up(order: int) -> None:
    """PEPE and 1000PEPE of one venue would both be PEPE: an order meant for one must not reach the other."""
    plain, thousand = market("PEPE", "PEPE/USD", "7"), market("PEPE", "1000PEPE/USD", "8", 1000)
    table = provider([plain, thousand][::order])
    await table.load_all()
    assert table.get(plain.id) == table.get("PEPE") == table.get("7") == plain
    for name in ("8", "1000PEPE/USD"):
        with pytest.raises(UnknownInstrument):
            table.get(name)
    assert table.by_contract("8") is None


async def test_what_is_no_longer_listed_stays_known_as_delisted() -> None:
    first, second = market("BTC", "BTC/USD", "1"), market("ETH", "ETH/USD", "2")
    table = provider([first, second], [second], [], [first, second])
    await table.load_all()
    await table.load_all(force=True)
    assert (table.get(first.id).status, table.get("2")) == (MarketStatus.DELISTED, second)
    await table.load_all(force=True)
    assert {i.status for i in table.all()} == {MarketStatus.DELISTED}
    await table.load_all(force=True)
    assert table.get("BTC") == first


async def test_a_market_of_an_earlier_run_is_remembered_and_never_stands_before_a_listed_one() -> None:
    gone, listed, heir = market("OLD", "OLD/USD", "9"), market("BTC", "BTC/USD", "1"), market("NEW", "NEW/USD", "9")
    table = provider([listed], [listed, heir])
    await table.load_all()
    assert table.remember(listed) is table.get("BTC")
    assert table.remember(gone).status is MarketStatus.DELISTED
    assert table.by_contract("9") == table.get(gone.id)
    await table.load_all(force=True)
    assert table.by_contract("9") == heir, "its contract id went to another market"
    assert table.get(gone.id).status is MarketStatus.DELISTED


# ---- events


@given(st.lists(st.tuples(st.sampled_from("abg"), st.integers(0, 99)), max_size=40), st.booleans())
def test_a_gap_stays_where_it_happened(steps: list[tuple[str, int]], coalesce: bool) -> None:
    """What was before a gap is read before it, what came after it after it; coalescing keeps the newest of each key on each side."""
    gap = Gap(venue="toy", topic="t", reason="test", ts_ns=0)

    async def main() -> list[Any]:
        hub = EventHub("toy", lambda: 0)
        subscription = hub.subscribe("t", coalesce=coalesce)
        for key, value in steps:
            hub.publish("t", gap if key == "g" else [key, value], key)
        subscription.close()
        return [event async for event in subscription]

    read = asyncio.run(main())
    expected: list[Any] = []
    part: dict[str, list[Any]] = {}
    for key, value in steps:
        if key == "g":
            expected += [*part.values(), gap]
            part = {}
        elif coalesce:
            part[key] = [key, value]
        else:
            expected.append([key, value])
    assert read == expected + list(part.values())


async def test_a_command_whose_write_and_answer_both_fail_loses_no_exception() -> None:
    """The connection is lost while the bytes are being written: one error, and none that nobody looks at (the guard of every test sees)."""
    commands = SocketCommands("toy")

    async def breaks(_: str | bytes) -> None:
        commands.lost("gone")
        raise Disconnected("broke while writing", venue="toy")

    commands.opened(breaks)
    with pytest.raises(Disconnected, match="while writing"):
        await commands.request("x", "1", timeout_s=1.0)
    with pytest.raises(ConnectFailed):
        await commands.request("x", "2", timeout_s=1.0)


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Mon, 01 Jan 0001 00:00:00 -0000", "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"]
)
def test_an_absurd_date_header_is_not_believed(date: str) -> None:
    clock = SteppingClock(1_767_225_600 * 10**9)
    time = VenueTime(clock)
    time.observe_headers({"Date": date}, clock.time_ns(), clock.time_ns())
    assert time.offset_ns is None


def test_an_instrument_survives_a_round_trip() -> None:
    one = market("BTC", "BTC/USD", "1")
    assert msgspec.json.decode(msgspec.json.encode(one), type=Instrument) == one
