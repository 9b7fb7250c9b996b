"""Several things at once."""

import asyncio

import pytest

from strategies.execution.together import together


async def test_results_come_in_order() -> None:
    async def late(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    assert await together(late(0.02), late(0), late(0.01)) == [0.02, 0, 0.01]


async def test_nothing_is_left_running_when_one_fails() -> None:
    ended: list[str] = []

    async def goes_on() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append("canceled")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await together(goes_on(), fails(), goes_on())
    assert ended == ["canceled", "canceled"]


async def test_who_is_canceled_cancels_all() -> None:
    ended: list[str] = []

    async def goes_on() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("canceled")

    task = asyncio.create_task(together(goes_on(), goes_on()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["canceled", "canceled"]
