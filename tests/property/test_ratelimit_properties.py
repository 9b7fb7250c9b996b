"""Whatever is asked of the limiter: no window is exceeded, the reserve stays, order holds, nothing leaks."""

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from exchange_clients.errors import Throttled
from exchange_clients.model import Lane
from exchange_clients.ratelimit import Limiter
from exchange_clients.spec import Pool
from exchange_simulator.simloop import Simulation, run

POOLS = {
    "a": Pool(limit=20, period_s=10.0),
    "b": Pool(limit=12, period_s=3.0, window="fixed", scope="account"),
    "d": Pool(limit=15, period_s=5.0, window="decay", scope="key"),
    "o": Pool(limit=4, kind="outstanding"),
}
RESTRAINED = (Lane.ENTRY, Lane.SCAN)


@dataclass
class Ask:
    at: float
    lane: Lane
    cost: dict[str, int]
    timeout: float
    hold: float
    cancel_after: float | None


@dataclass
class Log:
    """(time, lane, pool, weight) of everything admitted, and (time, change) of what is outstanding."""

    taken: list[tuple[float, Lane, str, int]] = field(default_factory=list)
    outstanding: list[tuple[float, int]] = field(default_factory=list)


asks = st.builds(
    Ask,
    at=st.floats(0, 30),
    lane=st.sampled_from(list(Lane)),
    cost=st.dictionaries(st.sampled_from("abdo"), st.integers(1, 4), min_size=1),
    timeout=st.sampled_from([0.0, 1.0, 8.0, 100.0]),
    hold=st.floats(0, 5),
    cancel_after=st.none() | st.floats(0, 10),
)


def play(plan: list[Ask]) -> tuple[Log, Limiter]:
    """Run the plan to its end; fails on a leaked task, a deadlock, or anything left in a queue."""
    log = Log()
    made: list[Limiter] = []

    async def main(sim: Simulation) -> None:
        limiter = Limiter("toy", POOLS, sim.runtime.clock)
        made.append(limiter)

        async def user(ask: Ask) -> None:
            await asyncio.sleep(ask.at)
            try:
                async with limiter.admit(ask.cost, ask.lane, timeout_s=ask.timeout):
                    log.taken += [(sim.loop.time(), ask.lane, pool, weight) for pool, weight in ask.cost.items()]
                    log.outstanding.append((sim.loop.time(), ask.cost.get("o", 0)))
                    try:
                        await asyncio.sleep(ask.hold)
                    finally:
                        log.outstanding.append((sim.loop.time(), -ask.cost.get("o", 0)))
            except Throttled:
                pass

        tasks = [asyncio.create_task(user(ask)) for ask in plan]
        for task, ask in zip(tasks, plan, strict=True):
            if ask.cancel_after is not None:
                sim.loop.call_later(ask.at + ask.cancel_after, task.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(r is None or isinstance(r, asyncio.CancelledError) for r in results)
        for name in POOLS:
            assert limiter._bucket(name).waiting == []
        assert limiter.headroom("o") == POOLS["o"].limit
        await asyncio.sleep(60)
        assert [limiter.headroom(name) for name in POOLS] == [pool.limit for pool in POOLS.values()]

    run(main)
    return log, made[0]


@given(st.lists(asks, max_size=40))
@settings(max_examples=120, deadline=None)
def test_no_limit_is_ever_exceeded_and_nothing_leaks(plan: list[Ask]) -> None:
    log, _ = play(plan)
    for name in "ab":
        pool = POOLS[name]
        uses = [(t, lane, weight) for t, lane, p, weight in log.taken if p == name]
        for i, (now, lane, _) in enumerate(uses):
            window = sum(weight for t, _, weight in uses[: i + 1] if t > now - pool.period_s + 1e-9)
            assert window <= (pool.limit * 0.7 if lane in RESTRAINED else pool.limit) + 1e-6
    level, last = 0.0, 0.0
    for now, lane, name, weight in log.taken:
        if name == "d":
            level = max(0.0, level - (now - last) * 15 / 5.0) + weight
            last = now
            assert level <= (15 * 0.7 if lane in RESTRAINED else 15) + 1e-6
    held = 0
    for _, change in log.outstanding:
        held += change
        assert 0 <= held <= 4


@given(st.lists(st.tuples(st.floats(0, 20), st.sampled_from(list(Lane)), st.integers(1, 5)), max_size=60))
@settings(max_examples=80, deadline=None)
def test_nobody_is_overtaken_by_the_less_urgent(plan: list[tuple[float, Lane, int]]) -> None:
    """In one pool: at every admission, whoever is more urgent or came earlier in the lane has gone already."""
    went: dict[int, float] = {}

    async def main(sim: Simulation) -> None:
        limiter = Limiter("toy", {"p": Pool(limit=5, period_s=4.0)}, sim.runtime.clock)

        async def user(n: int, at: float, lane: Lane, weight: int) -> None:
            await asyncio.sleep(at)
            await limiter.acquire({"p": weight}, lane, timeout_s=1e6)
            went[n] = sim.loop.time()

        await asyncio.gather(*(user(n, *ask) for n, ask in enumerate(plan)))

    run(main)
    rank = {lane: i for i, lane in enumerate(Lane)}
    assert len(went) == len(plan), "everyone goes in the end"
    for n, (at, lane, _) in enumerate(plan):
        for m, (other_at, other_lane, _) in enumerate(plan):
            ahead = (rank[other_lane], other_at) < (rank[lane], at)
            if ahead and other_at < went[n] - 1e-6 and other_lane not in RESTRAINED:
                assert went[m] <= went[n] + 1e-6


@given(
    st.lists(st.tuples(st.sampled_from(RESTRAINED), st.integers(1, 6)), max_size=40),
    st.sampled_from([x for x in Lane if x not in RESTRAINED]),
)
@settings(max_examples=60, deadline=None)
def test_e38_the_reserve_is_there_whatever_entries_did(entries: list[tuple[Lane, int]], lane: Lane) -> None:
    async def main(sim: Simulation) -> None:
        limiter = Limiter("toy", POOLS, sim.runtime.clock)
        waiting = [asyncio.create_task(limiter.acquire({"a": weight, "b": weight}, kind, timeout_s=100)) for kind, weight in entries]
        await asyncio.sleep(0.5)
        await limiter.acquire({"a": 6, "b": 3}, lane, timeout_s=0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    run(main)
