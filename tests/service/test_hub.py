"""The stream's middle on virtual time: gathering, one encoding for all, what slow readers get, bounds."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange_clients.model import InstrumentId
from exchange_simulator.simloop import Simulation, run
from funding_rate_service.api.hub import Full, StreamHub, Subscriber, Topic

BTC, ETH, SOL = (InstrumentId(base, "USD", "a") for base in ("BTC", "ETH", "SOL"))
ALL = frozenset(Topic)


class State:
    """The newest value of each market, and how often one was asked for."""

    def __init__(self) -> None:
        self.values: dict[InstrumentId, int] = {}
        self.rendered: Counter[InstrumentId] = Counter()
        self.snapshots = 0

    def render(self, instruments: Iterable[InstrumentId]) -> Mapping[InstrumentId, bytes]:
        wanted = list(instruments)
        self.rendered.update(wanted)
        return {i: json.dumps({"instrument": str(i), "value": self.values[i]}).encode() for i in wanted}

    def snapshot(self, topics: frozenset[Topic]) -> bytes:
        self.snapshots += 1
        return json.dumps({"type": "snapshot", "values": {str(i): v for i, v in self.values.items()}}).encode()

    def set(self, hub: StreamHub, instrument: InstrumentId, value: int) -> None:
        self.values[instrument] = value
        hub.rates_changed([instrument])


def hub_of(state: State, **more: Any) -> StreamHub:
    return StreamHub(state.render, state.snapshot, lambda: "now", **more)


async def told(subscriber: Subscriber) -> list[dict[str, Any]]:
    return [json.loads(text) for text in await subscriber.next()]


def rates(message: dict[str, Any]) -> dict[str, int]:
    assert message["type"] == "rates"
    return {rate["instrument"]: rate["value"] for rate in message["rates"]}


def test_a_thousand_changes_a_second_become_four_messages_encoded_once_for_all() -> None:
    async def main(sim: Simulation) -> None:
        state = State()
        hub = hub_of(state, flush_s=0.25)
        readers = [hub.subscribe(ALL) for _ in range(50)]
        heard: list[list[str]] = [[] for _ in readers]

        async def read(place: int) -> None:
            while True:
                heard[place].extend(await readers[place].next())

        tasks = [asyncio.create_task(hub.run()), *(asyncio.create_task(read(n)) for n in range(50))]
        for n in range(1000):
            state.set(hub, (BTC, ETH)[n % 2], n)
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert 4 <= hub.sent <= 5
        assert state.rendered[BTC] == hub.sent  # however many read it
        assert all(len(messages) == hub.sent for messages in heard)
        assert all(one is other for one, other in zip(heard[0], heard[1], strict=True))  # the very same text, not a copy
        assert rates(json.loads(heard[7][-1])) == {str(BTC): 998, str(ETH): 999}
        assert hub.missed == 0

    run(main, seed=1)


def test_a_slow_reader_gets_the_newest_state_of_what_it_missed_and_is_told_so() -> None:
    async def main(sim: Simulation) -> None:
        state = State()
        hub = hub_of(state)
        slow, fast = hub.subscribe(ALL), hub.subscribe(ALL)
        for n, instrument in enumerate((BTC, ETH, BTC, SOL)):
            state.set(hub, instrument, n)
            hub.flush()
            assert [rates(m) for m in await told(fast)] == [{str(instrument): n}]
        resync, newest = await told(slow)
        assert resync == {"type": "resync", "missed": 3}
        assert rates(newest) == {str(BTC): 2, str(ETH): 1, str(SOL): 3}
        state.set(hub, BTC, 9)
        hub.flush()
        assert [rates(m) for m in await told(slow)] == [{str(BTC): 9}]  # and goes on as any other

    run(main, seed=1)


def test_of_a_topic_with_one_state_only_the_newest_waits() -> None:
    async def main(sim: Simulation) -> None:
        hub = hub_of(State())
        slow = hub.subscribe(frozenset({Topic.OPPORTUNITIES}))
        for n in range(5):
            hub.publish(Topic.OPPORTUNITIES, b'{"type":"opportunities","n":%d}' % n)
            hub.publish(Topic.HEALTH, b'{"type":"health"}')
            hub.flush()
        assert await told(slow) == [{"type": "resync", "missed": 4}, {"type": "opportunities", "n": 4}]

    run(main, seed=1)


def test_readers_are_so_many_and_no_more() -> None:
    async def main(sim: Simulation) -> None:
        hub = hub_of(State(), most=2)
        one, _ = hub.subscribe(ALL), hub.subscribe(ALL)
        with pytest.raises(Full):
            hub.subscribe(ALL)
        hub.leave(one)
        hub.leave(one)
        hub.subscribe(ALL)
        assert len(hub) == 2

    run(main, seed=1)


def test_a_snapshot_is_made_once_for_all_who_come_before_something_changes() -> None:
    async def main(sim: Simulation) -> None:
        state = State()
        hub = hub_of(state)
        state.set(hub, BTC, 1)
        assert hub.first(ALL) is hub.first(ALL)
        hub.first(frozenset({Topic.RATES}))
        assert state.snapshots == 2
        state.set(hub, BTC, 2)
        assert json.loads(hub.first(ALL))["values"] == {str(BTC): 2}

    run(main, seed=1)


def test_who_hears_nothing_hears_that_the_connection_lives() -> None:
    async def main(sim: Simulation) -> None:
        state = State()
        hub = hub_of(state)
        quiet, health = hub.subscribe(frozenset({Topic.RATES})), hub.subscribe(ALL)
        hub.heartbeat()
        assert await told(quiet) == [{"type": "heartbeat", "generated_at": "now"}]
        state.set(hub, BTC, 1)
        hub.flush()
        hub.heartbeat()
        assert [m["type"] for m in await told(quiet)] == ["rates"]  # something was said anyway
        assert [m["type"] for m in await told(health)] == ["rates"]

    run(main, seed=1)


STEPS = st.lists(st.one_of(st.tuples(st.just("set"), st.integers(0, 2)), st.just(("flush", 0)), st.just(("take", 0))), max_size=60)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_whatever_the_pace_a_reader_that_catches_up_knows_the_newest_of_everything(steps: list[tuple[str, int]]) -> None:
    async def main(sim: Simulation) -> None:
        state, known = State(), dict[str, int]()
        hub = hub_of(state)
        reader = hub.subscribe(ALL)

        async def take() -> None:
            try:
                async with asyncio.timeout(0.001):
                    messages = await told(reader)
            except TimeoutError:
                return
            assert len(messages) <= 2
            for message in messages:
                if message["type"] == "rates":
                    for instrument, value in rates(message).items():
                        assert value >= known.get(instrument, -1)  # never back
                        known[instrument] = value

        for n, (what, which) in enumerate(steps):
            if what == "set":
                state.set(hub, (BTC, ETH, SOL)[which], n)
            elif what == "flush":
                hub.flush()
            else:
                await take()
        hub.flush()
        await take()
        assert known == {str(i): v for i, v in state.values.items()}

    run(main, seed=1)
