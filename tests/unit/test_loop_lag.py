"""The lateness of the loop, over a clock whose sleeps are as late as it is told."""

import asyncio
from collections.abc import Iterator

import pytest

from exchange_clients.transport.clock import Clock
from exchange_clients.transport.loop_lag import LoopLag


class LateClock(Clock):
    """Each sleep ends this much late; after the last of them nothing sleeps any more."""

    def __init__(self, late_s: list[float]) -> None:
        self.now_s = 100.0
        self._late: Iterator[float] = iter(late_s)

    def monotonic(self) -> float:
        return self.now_s

    def time_ns(self) -> int:
        return int(self.now_s * 1e9)

    def elapsed(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        late_s = next(self._late, None)
        if late_s is None:
            raise asyncio.CancelledError
        self.now_s += seconds + late_s

    async def sleep_until_ns(self, ts_ns: int) -> None:
        raise NotImplementedError


async def sampled(lag: LoopLag) -> None:
    with pytest.raises(asyncio.CancelledError):
        await lag.run()


async def test_the_worst_of_the_last_five_seconds() -> None:
    lag = LoopLag(LateClock([0.3, *[0.01] * 49]))
    await sampled(lag)
    assert lag.worst_s == pytest.approx(0.3)
    lag = LoopLag(LateClock([0.3, *[0.01] * 50]))
    await sampled(lag)
    assert lag.worst_s == pytest.approx(0.01)


async def test_what_was_late_before_a_reset_says_nothing_also_of_a_sample_under_way() -> None:
    clock = LateClock([0.4])
    lag = LoopLag(clock)
    await sampled(lag)
    lag.reset()
    assert lag.worst_s == 0.0

    class BlockedThenReset(LateClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)  # the loop stood still ...
            lag.reset()  # ... and somebody begins before the sampler has its turn
            self.now_s += 0.02

    lag = LoopLag(BlockedThenReset([0.4]))
    await sampled(lag)
    assert lag.worst_s == pytest.approx(0.02)
