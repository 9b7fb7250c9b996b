"""The stack of the execution tests with a risk engine as its guard, on virtual time."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from strategies.execution.desk import Desk
from strategies.execution.engine import ExecutionEngine
from strategies.risk import RiskEngine, RiskLimits
from tests.strategies.stack import VENUES, Stack, run_stack

T = TypeVar("T")
D = Decimal
LONG, SHORT = VENUES


@dataclass
class Scene:
    """A stack, its guard, and what the guard told."""

    stack: Stack
    limits: RiskLimits
    folder: Path
    risk: RiskEngine
    told: list[tuple[str, str, dict[str, object]]]
    desk: Desk

    @property
    def engine(self) -> ExecutionEngine:
        assert self.stack.engine is not None
        return self.stack.engine

    def of(self, event: str) -> list[dict[str, object]]:
        return [facts for name, _, facts in self.told if name == event]

    async def up(self) -> None:
        """A process starts: clients, journal, guard, engine."""
        engine = await self.stack.up(start=False)

        def hear(event: str, pair_id: str, **facts: object) -> None:
            self.told.append((event, pair_id, facts))

        self.risk = RiskEngine(
            self.limits,
            self.stack.clients,
            self.stack.runtime,
            strategy="test",
            account="main",
            journal=engine.journal,
            folder=self.folder,
            observer=hear,
        )
        self.stack.story.hook = lambda event, pair_id, facts: self.risk.observe(event, pair_id, **facts)
        engine.guard = self.risk
        self.desk = Desk.beside(engine, self.stack.runtime, observer=self.stack.story)
        self.risk.attach(engine=engine, desk=self.desk)
        await self.risk.start()
        await engine.start()
        await self.desk.start()

    async def down(self) -> None:
        """The process ends in order."""
        await self.desk.stop()
        await self.engine.stop()
        await self.risk.stop()
        await self.stack.down()

    async def die(self) -> None:
        """The process is gone: no last beat, nothing taken off."""
        tasks = [*self.risk._tasks, *self.engine.feeds.tasks]
        for runner in self.engine.pairs.values():
            tasks += [t for t in (runner.task, *runner._tasks.values()) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.desk.drop()
        await self.stack.down()


async def started(stack: Stack, limits: RiskLimits, folder: Path) -> Scene:
    """Over a stack that is not up yet."""
    scene = Scene.__new__(Scene)
    scene.stack, scene.limits, scene.folder, scene.told = stack, limits, folder, []
    await scene.up()
    return scene


async def until(condition: Callable[[], object], within_s: float = 60.0) -> None:
    """Virtual time passes until something is so."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for happens at a venue or in a file
            await asyncio.sleep(0.05)


def run_scene(
    folder: Path,
    main: Callable[[Scene], Coroutine[Any, Any, T]],
    *,
    names: Sequence[str] = VENUES,
    deposit: str = "100000",
    **limits: Any,
) -> T:
    """`main` with everything started."""

    async def go(stack: Stack) -> T:
        chosen = RiskLimits(**{"max_order_usd": None, **limits})
        scene = await started(stack, chosen, folder)
        try:
            return await main(scene)
        finally:
            if stack.engine is not None:
                await scene.desk.drop()
                await scene.risk.stop()

    return run_stack(folder, go, names=names, start=False, deposit=deposit)
