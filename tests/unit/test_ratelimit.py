"""The limiter's rules one by one, on virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest

from exchange_clients.errors import ConfigError, Outcome, Throttled
from exchange_clients.model import Lane
from exchange_clients.ratelimit import MAX_WAITING, Limiter, LimiterRegistry
from exchange_clients.spec import Pool
from exchange_simulator.simloop import Simulation, run

POOLS = {
    "ip": Pool(limit=10, period_s=60.0),
    "orders": Pool(limit=100, period_s=10.0, scope="account", window="decay"),
    "inflight": Pool(limit=10, scope="account", kind="outstanding"),
    "socket": Pool(limit=5, period_s=60.0, scope="connection"),
}

Body = Callable[[Simulation, Limiter], Awaitable[None]]


def limited(body: Body, pools: Mapping[str, Pool] = POOLS, *, share: float = 1.0) -> None:
    async def main(sim: Simulation) -> None:
        await body(sim, Limiter("toy", pools, sim.runtime.clock, account="7", share=share))

    run(main)


async def spent(sim: Simulation, awaitable: Awaitable[object]) -> float:
    start = sim.loop.time()
    await awaitable
    return sim.loop.time() - start


def test_sliding_window_opens_as_old_uses_leave_it() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        await limiter.acquire({"ip": 6}, Lane.QUERY, timeout_s=0)
        await asyncio.sleep(20)
        await limiter.acquire({"ip": 4}, Lane.QUERY, timeout_s=0)
        assert limiter.headroom("ip") == 0
        assert await spent(sim, limiter.acquire({"ip": 5}, Lane.QUERY, timeout_s=60)) == pytest.approx(40)
        assert await spent(sim, limiter.acquire({"ip": 5}, Lane.QUERY, timeout_s=60)) == pytest.approx(20)

    limited(body)


def test_decaying_pool_drains_steadily() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        await limiter.acquire({"orders": 100}, Lane.HEDGE, timeout_s=0)
        assert await spent(sim, limiter.acquire({"orders": 30}, Lane.HEDGE, timeout_s=60)) == pytest.approx(3)

    limited(body)


def test_too_long_a_wait_is_refused_at_once_and_costs_nothing() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        await limiter.acquire({"ip": 10}, Lane.QUERY, timeout_s=0)
        with pytest.raises(Throttled) as caught:
            await limiter.acquire({"ip": 1}, Lane.QUERY, timeout_s=59)
        assert caught.value.outcome is Outcome.NOT_SENT
        assert sim.loop.time() == 0
        await limiter.acquire({"ip": 10}, Lane.QUERY, timeout_s=61)

    limited(body)


def test_e38_entries_leave_the_reserve_to_what_reduces_risk() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        for _ in range(7):
            await limiter.acquire({"ip": 1}, Lane.ENTRY, timeout_s=0)
        for lane in (Lane.ENTRY, Lane.SCAN):
            assert not limiter.can_afford({"ip": 1}, lane)
            with pytest.raises(Throttled):
                await limiter.acquire({"ip": 1}, lane, timeout_s=0)
        assert limiter.can_afford({"ip": 3}, Lane.UNWIND)
        await limiter.acquire({"ip": 3}, Lane.CANCEL, timeout_s=0)

    limited(body)


def test_urgent_lanes_go_first_and_each_lane_in_order() -> None:
    order: list[str] = []

    async def body(sim: Simulation, limiter: Limiter) -> None:
        await limiter.acquire({"ip": 10}, Lane.QUERY, timeout_s=0)

        async def user(name: str, lane: Lane) -> None:
            await limiter.acquire({"ip": 5}, lane, timeout_s=1000)
            order.append(name)

        lanes = [Lane.SCAN, Lane.ENTRY, Lane.QUERY, Lane.HEDGE, Lane.CLOSE, Lane.CANCEL, Lane.UNWIND]
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                for n in range(2):
                    group.create_task(user(f"{lane}{n}", lane))

    limited(body)
    assert order == [f"{lane}{n}" for lane in Lane for n in range(2)]


def test_a_blocked_urgent_request_does_not_hold_up_other_pools() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        await limiter.acquire({"orders": 100}, Lane.HEDGE, timeout_s=0)
        unwind = asyncio.create_task(limiter.acquire({"orders": 50, "ip": 4}, Lane.UNWIND, timeout_s=60))
        await asyncio.sleep(0.1)
        await limiter.acquire({"ip": 3}, Lane.ENTRY, timeout_s=0)
        with pytest.raises(Throttled):
            await limiter.acquire({"ip": 3}, Lane.ENTRY, timeout_s=1)  # 3 used + 4 promised + 3 > 7
        await unwind
        assert sim.loop.time() == pytest.approx(5)

    limited(body)


def test_outstanding_requests_are_given_back_by_every_end() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        async def hold(ending: str) -> None:
            async with limiter.admit({"inflight": 1}, Lane.HEDGE, timeout_s=5):
                await asyncio.sleep(1)
                if ending == "error":
                    raise ValueError
                if ending == "cancel":
                    await asyncio.sleep(1000)

        tasks = [asyncio.create_task(hold(e)) for e in ("return", "error", "cancel") * 4]
        await asyncio.sleep(0.5)
        assert limiter.headroom("inflight") == 0
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert limiter.headroom("inflight") == 10

    limited(body)


def test_outstanding_waiters_go_on_when_one_ends_or_time_out() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        async with limiter.admit({"inflight": 10}, Lane.HEDGE, timeout_s=0):
            with pytest.raises(Throttled):
                async with limiter.admit({"inflight": 1}, Lane.UNWIND, timeout_s=3):
                    pass
            assert sim.loop.time() == pytest.approx(3)
        async with limiter.admit({"inflight": 7}, Lane.ENTRY, timeout_s=0):
            assert not limiter.can_afford({"inflight": 1}, Lane.ENTRY)
            assert limiter.can_afford({"inflight": 3}, Lane.CANCEL)

    limited(body)


def test_a_count_of_outstanding_requests_needs_an_end() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        with pytest.raises(ConfigError, match="admit"):
            await limiter.acquire({"inflight": 1}, Lane.QUERY, timeout_s=0)

    limited(body)


def test_penalties() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        limiter.penalise(5.0)
        assert not limiter.can_afford({"ip": 1}, Lane.UNWIND)
        assert await spent(sim, limiter.acquire({"ip": 1, "orders": 1}, Lane.UNWIND, timeout_s=10)) == pytest.approx(5)
        for expected in (1, 2, 4, 8):
            for _ in range(3):  # one burst of refusals is one penalty
                limiter.penalise(None, "ip")
            assert await spent(sim, limiter.acquire({"ip": 1}, Lane.UNWIND, timeout_s=100)) == pytest.approx(expected)
        await limiter.acquire({"orders": 1}, Lane.UNWIND, timeout_s=0)
        await asyncio.sleep(100)
        limiter.penalise(None, "ip")
        assert await spent(sim, limiter.acquire({"ip": 1}, Lane.UNWIND, timeout_s=100)) == pytest.approx(1)
        limiter.penalise(30.0, "ip")
        with pytest.raises(Throttled):
            await limiter.acquire({"ip": 1}, Lane.UNWIND, timeout_s=29)

    limited(body)


def test_headers_teach() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        await limiter.acquire({"ip": 2}, Lane.QUERY, timeout_s=0)
        limiter.observe("ip", used=9)
        assert limiter.headroom("ip") == 1
        limiter.observe("ip", used=1)
        assert limiter.headroom("ip") == 1, "what we know we used is not forgotten"
        limiter.observe("ip", limit=40)
        assert limiter.headroom("ip") == 31

    limited(body)


def test_a_raised_limit_wakes_those_who_wait() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        await limiter.acquire({"ip": 10}, Lane.QUERY, timeout_s=0)
        waiting = asyncio.create_task(limiter.acquire({"ip": 5}, Lane.QUERY, timeout_s=100))
        await asyncio.sleep(1)
        limiter.observe("ip", limit=20)
        await waiting
        assert sim.loop.time() == pytest.approx(1)

    limited(body)


def test_a_share_is_a_part_of_every_limit() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        assert limiter.headroom("ip") == 5
        limiter.observe("ip", used=5)
        assert limiter.headroom("ip") == 5, "the other processes used their part"
        limiter.observe("ip", used=7)
        assert limiter.headroom("ip") == 3

    limited(body, share=0.5)
    with pytest.raises(ConfigError):
        limited(body, share=0)


def test_scopes_are_shared_by_those_who_are_in_them() -> None:
    async def main(sim: Simulation) -> None:
        def user(account: str, venue: str = "toy", address: str = "") -> Limiter:
            return Limiter(venue, POOLS, sim.runtime.clock, account=account, address=address)

        first, same, other = user("1"), user("1"), user("2")
        await first.acquire({"ip": 4, "orders": 10, "socket": 1}, Lane.QUERY, timeout_s=0)
        assert [x.headroom("ip") for x in (first, same, other)] == [6, 6, 6]
        assert [x.headroom("orders") for x in (first, same, other)] == [90, 90, 100]
        assert [x.headroom("socket") for x in (first, same, other)] == [4, 5, 5]
        assert user("1", venue="another").headroom("ip") == 10
        assert user("1", address="proxy").headroom("ip") == 10
        own = Limiter("toy", POOLS, sim.runtime.clock, account="1", registry=LimiterRegistry())
        assert own.headroom("ip") == 10

    run(main)


def test_a_request_larger_than_the_open_part_waits_for_an_empty_pool() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        await limiter.acquire({"ip": 8}, Lane.ENTRY, timeout_s=0)
        assert await spent(sim, limiter.acquire({"ip": 8}, Lane.ENTRY, timeout_s=100)) == pytest.approx(60)
        with pytest.raises(Throttled, match="holds 10"):
            await limiter.acquire({"ip": 11}, Lane.UNWIND, timeout_s=1000)

    limited(body)


def test_e35_cancelled_waiters_leave_nothing_behind() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        await limiter.acquire({"ip": 10}, Lane.QUERY, timeout_s=0)
        big = asyncio.create_task(limiter.acquire({"ip": 10}, Lane.UNWIND, timeout_s=1000))
        small = asyncio.create_task(limiter.acquire({"ip": 5}, Lane.QUERY, timeout_s=1000))
        await asyncio.sleep(1)
        big.cancel()
        await asyncio.gather(big, return_exceptions=True)
        assert big.cancelled()
        await small
        assert sim.loop.time() == pytest.approx(60), "not after the cancelled one's turn"
        assert limiter.headroom("ip") == 5

    limited(body)


def test_queues_are_bounded() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        await limiter.acquire({"ip": 10}, Lane.QUERY, timeout_s=0)
        tasks = [asyncio.create_task(limiter.acquire({"ip": 1}, Lane.SCAN, timeout_s=1e6)) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Throttled, match="already"):
            await limiter.acquire({"ip": 1}, Lane.SCAN, timeout_s=1e6)
        unwind = asyncio.create_task(limiter.acquire({"ip": 1}, Lane.UNWIND, timeout_s=1e6))
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await unwind
        assert limiter.headroom("ip") == 9

    limited(body)


def test_unknown_pools_and_free_calls() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        await limiter.acquire({}, Lane.SCAN, timeout_s=0)
        await limiter.acquire({"ip": 0}, Lane.SCAN, timeout_s=0)
        with pytest.raises(ConfigError, match="no rate-limit pool"):
            await limiter.acquire({"nope": 1}, Lane.SCAN, timeout_s=0)

    limited(body)


def test_uses_counted_together_last_as_long_as_the_youngest() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        await limiter.acquire({"ip": 5}, Lane.QUERY, timeout_s=0)
        await asyncio.sleep(0.5)
        await limiter.acquire({"ip": 5}, Lane.QUERY, timeout_s=0)
        await limiter.acquire({"ip": 6}, Lane.QUERY, timeout_s=100)
        assert sim.loop.time() == pytest.approx(60.5)

    limited(body)


def test_who_waits_behind_a_cancelled_request_goes_on_at_once() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        async with limiter.admit({"inflight": 5}, Lane.HEDGE, timeout_s=0):

            async def hold(weight: int, lane: Lane) -> float:
                async with limiter.admit({"inflight": weight}, lane, timeout_s=100):
                    return sim.loop.time()

            big = asyncio.create_task(hold(10, Lane.UNWIND))
            small = asyncio.create_task(hold(3, Lane.QUERY))
            await asyncio.sleep(1)
            assert not small.done()
            big.cancel()
            assert await small == pytest.approx(1)
            await asyncio.gather(big, return_exceptions=True)

    limited(body)


def test_each_part_of_a_pool_has_a_count_of_its_own() -> None:
    async def body(sim: Simulation, limiter: Limiter) -> None:
        await limiter.acquire({"ip/BTC": 10}, Lane.QUERY, timeout_s=0)
        assert (limiter.headroom("ip/BTC"), limiter.headroom("ip/ETH"), limiter.headroom("ip")) == (0, 10, 10)
        await limiter.acquire({"ip/ETH": 10, "ip": 3}, Lane.QUERY, timeout_s=0)
        with pytest.raises(Throttled):
            await limiter.acquire({"ip/BTC": 1}, Lane.QUERY, timeout_s=1)
        limiter.penalise(90.0)
        assert await spent(sim, limiter.acquire({"ip/BTC": 1}, Lane.QUERY, timeout_s=100)) == pytest.approx(90)
        limiter.penalise(50.0, "ip")
        assert await spent(sim, limiter.acquire({"ip/SOL": 1}, Lane.QUERY, timeout_s=100)) == pytest.approx(50)
        with pytest.raises(ConfigError):
            await limiter.acquire({"nosuch/BTC": 1}, Lane.QUERY, timeout_s=0)

    limited(body)
