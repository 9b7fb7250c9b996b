"""Runs the demo: real speed while anything is in flight, jumps between settlements while a hedged pair waits."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from database.records import PairRecord, PairState
from exchange_clients.model import NS_PER_HOUR, NS_PER_S
from exchange_clients.transport.clock import SteppingClock
from exchange_clients.transport.runtime import Runtime
from exchange_simulator import simloop
from perpkit.demo.report import DemoReport, build
from perpkit.demo.scene import FIRST_SETTLEMENT_IN_S, START_NS, Scene, Stage, scene
from perpkit.demo.view import View

MAX_HOURS = 48
SCAN_EVERY_S = 60
MAX_SCANS = 20
BREATH_S = 1.2
"""After a jump: time for frames of the new hour to arrive."""
AFTER_SETTLEMENT_S = 5
DROP_AT_HOUR = 3
MAX_LAG_S = 0.1
EPILOGUE_S = 1.0
LOG_FILE = "demo.log"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`in_memory`: no sockets, virtual time, the same seed gives the same run. `data`: recordings instead of the seeded market."""

    seed: int = 7
    in_memory: bool = False
    data: Path | None = None
    home: Path = Path(".perpkit-demo")
    live: bool = True
    quiet: bool = False


class DemoFailed(RuntimeError):
    """The demo ended without a report; the message says why."""


def run_demo(options: DemoOptions) -> DemoReport:
    """The whole demo, about a minute over sockets, a few seconds in memory.

    Raises:
        DemoFailed: no pair was opened, another demo runs in that folder, or the folder holds something else.
    """
    start_ns = START_NS + NS_PER_HOUR - FIRST_SETTLEMENT_IN_S * NS_PER_S
    with (
        _fresh(options.home),
        _log_to(options.home / LOG_FILE),
        View(live=options.live and not options.in_memory, quiet=options.quiet) as view,
    ):
        if options.in_memory:

            async def inside(sim: simloop.Simulation) -> DemoReport:
                clock = SteppingClock(start_ns, elapsed=sim.loop.time)
                sim.network.clock = clock
                return await _Show(options, sim.runtime, clock, view, network=sim.network).run()

            report = simloop.run(inside, seed=options.seed, epoch_ns=start_ns)
        else:
            base = Runtime.system()
            try:
                report = asyncio.run(_Show(options, base, SteppingClock(start_ns), view).run())
            finally:
                base.offload.close()
        view.report(report, options.home)
    return report


@contextmanager
def _fresh(home: Path) -> Iterator[None]:
    """The folder, empty but for the log and ours alone: two demos in one folder would write one journal."""
    if home.exists() and any(home.iterdir()) and not (home / LOG_FILE).exists():
        raise DemoFailed(f"{home} holds something that is not a demo's, and the demo empties its folder: choose another --home")
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / LOG_FILE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoFailed(f"another demo is running in {home}: choose another --home") from None
        for old in home.iterdir():
            if old.is_dir():
                shutil.rmtree(old)
            elif old.name != LOG_FILE:
                old.unlink()
        yield


class _log_to:
    """The library's log goes to a file meanwhile: the terminal belongs to the view."""

    def __init__(self, path: Path) -> None:
        self._handler = logging.FileHandler(path, mode="w")
        self._handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
        self._loggers = [logging.getLogger(name) for name in ("exchange_clients", "strategies", "database", "exchange_simulator")]

    def __enter__(self) -> None:
        for logger in self._loggers:
            logger.addHandler(self._handler)
            logger.setLevel(logging.INFO)
            logger.propagate = False

    def __exit__(self, *_: object) -> None:
        for logger in self._loggers:
            logger.removeHandler(self._handler)
            logger.propagate = True
        self._handler.close()


class _Show:
    """One run."""

    def __init__(
        self, options: DemoOptions, base: Runtime, clock: SteppingClock, view: View, network: simloop.SimNetwork | None = None
    ) -> None:
        self.options = options
        self.base = base
        self.clock = clock
        self.view = view
        self.network = network
        self.faults: list[str] = []
        self._told: dict[str, int] = {}
        self._scene: Scene | None = None

    async def run(self) -> DemoReport:
        began = time.monotonic()
        place = "in memory" if self.options.in_memory else "over loopback sockets"
        self.say("time", f"starting two simulated venues {place}, seed {self.options.seed}")
        async with scene(
            self.base,
            self.clock,
            seed=self.options.seed,
            home=self.options.home,
            data=self.options.data,
            observer=self.observe,
            network=self.network,
        ) as playing:
            self._scene = playing
            painting = asyncio.create_task(self._paint(playing), name="demo-view")
            try:
                pair = await self._play(playing)
            finally:
                painting.cancel()
                await asyncio.gather(painting, return_exceptions=True)
            mode = "in memory" if self.options.in_memory else "sockets"
            mode += ", recordings" if self.options.data else ", seeded"
            self._collect_strikes(playing)
            self.view.refresh(playing)
            found = playing.strategy.results[pair.pair_id]
            return build(
                playing,
                pair,
                found,
                seed=self.options.seed,
                mode=mode,
                faults=tuple(self.faults),
                real_seconds=round(time.monotonic() - began, 1),
            )

    async def _paint(self, playing: Scene) -> None:
        while True:
            self._collect_strikes(playing)
            self.view.refresh(playing)
            await asyncio.sleep(0.125)

    # ---- the plot

    async def _play(self, playing: Scene) -> PairRecord:
        self.view.phase("warming up: no entry while the loop lags from the start")
        lags = [stage.client.loop_lag for stage in playing.stages.values()]
        await self._until("a quiet moment: this machine is too busy", lambda: max(lag.worst_s for lag in lags) < MAX_LAG_S, 20.0)
        self.view.phase("scanning funding on both venues")
        await self._breathe()
        pair = await self._open(playing)
        self.view.phase("hedged: holding through settlements, hours pass in a second")
        hours = 0
        while self._state(playing, pair) is PairState.HEDGED and hours < MAX_HOURS:
            hours += 1
            now_ns = self.clock.time_ns()
            next_hour_ns = (now_ns // NS_PER_HOUR + 1) * NS_PER_HOUR
            self.say("time", f"jump to the settlement of {_hour(next_hour_ns)}")
            playing.step_to(next_hour_ns + AFTER_SETTLEMENT_S * NS_PER_S)
            await self._breathe()
            if hours == DROP_AT_HOUR:
                await self._drop_sockets(playing, pair)
            await playing.strategy.run_cycle()
        if self._state(playing, pair) is PairState.HEDGED:
            self.view.phase("closing: the demo has seen enough")
            await playing.strategy.close(pair, f"{hours} hours are enough for a demo")
        await self._settled(playing, pair)
        self.view.phase("closed")
        await asyncio.sleep(EPILOGUE_S)
        return playing.engine.pairs[pair].record

    async def _open(self, playing: Scene) -> str:
        """Scan until the strategy has opened a pair; the first one is the demo's only one."""
        for _ in range(MAX_SCANS):
            await playing.strategy.run_cycle()
            for pair_id, runner in playing.engine.pairs.items():
                if runner.state is not PairState.CLOSED:
                    playing.engine.halt("the demo plays with one pair")
                    return pair_id
            playing.step_to(self.clock.time_ns() + SCAN_EVERY_S * NS_PER_S)
            await self._breathe()
        skipped = playing.journal.decisions()[-1:] or []
        why = f"; the last decision: {skipped[0].rule}: {skipped[0].outcome}" if skipped else ""
        raise DemoFailed(f"no pair was opened in {MAX_SCANS} scans{why}")

    async def _drop_sockets(self, playing: Scene, pair: str) -> None:
        """The long venue forgets every connection."""
        stage: Stage = playing.stages[playing.engine.pairs[pair].record.long_venue]
        self.fault(f"{stage.name} drops every socket; the client reconnects, logs in, subscribes again and reconciles")
        for session in list(stage.dialect.sessions.values()):
            session.drop()
        await self._until("the lost stream to be noticed", lambda: not stage.client.context.entries_allowed, 5.0)
        await self._until(
            f"{stage.name} to be reconciled",
            lambda: stage.client.context.entries_allowed and playing.engine.entry_block(stage.name) in (None, _HALTED),
            20.0,
        )
        await self._breathe()

    async def _settled(self, playing: Scene, pair: str) -> None:
        """Until the pair's books are closed from venue records."""
        await self._until(f"pair {pair} to close", lambda: self._state(playing, pair) in (PairState.CLOSED, PairState.ALERT), 60.0)
        for _ in range(10):
            if pair in playing.strategy.results:
                return
            await playing.strategy.run_cycle()
            await asyncio.sleep(0.5)
        raise DemoFailed(f"the books of pair {pair} could not be closed")

    async def _until(self, what: str, condition: Callable[[], bool], timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():  # noqa: ASYNC110 - conditions of many parts
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise DemoFailed(f"waited {timeout_s:g} s in vain for {what}") from None

    async def _breathe(self) -> None:
        await asyncio.sleep(BREATH_S)

    @staticmethod
    def _state(playing: Scene, pair: str) -> PairState:
        return playing.engine.pairs[pair].state

    # ---- telling

    def say(self, kind: str, text: str) -> None:
        self.view.line(self.clock.time_ns(), kind, text)

    def fault(self, text: str) -> None:
        self.faults.append(text)
        self.say("fault", f"fault: {text}")

    def _collect_strikes(self, playing: Scene) -> None:
        for name, stage in playing.stages.items():
            seen = self._told.get(name, 0)
            for strike in stage.faults.strikes[seen:]:
                self.fault(f"{name}: {strike.fault.kind.value} at {strike.subject}")
            self._told[name] = len(stage.faults.strikes)

    def observe(self, event: str, pair_id: str, **facts: object) -> None:
        """The engine's story, in words."""
        venue = facts.get("venue", "")
        match event:
            case "order.send":
                self.say("order", f"{venue}: {facts['side']} {facts['quantity']} at {facts['price']} ({facts['purpose']}, {facts['why']})")
            case "fill":
                self.say("fill", f"{venue}: filled {facts['side']} {facts['quantity']} at {facts['price']}, fee {_short(facts['fee'])}")
            case "order.unknown":
                self.say("alert", f"{venue}: outcome unknown, asking by client order id ({facts['reason']})")
            case "order.refused" | "order.blocked":
                self.say("alert", f"{venue}: {event.replace('.', ' ')}: {facts['reason']}")
            case "pair.state":
                self.say("pair", f"pair {facts['before']} -> {facts['state']}: {facts['reason']}")
            case "venue.gap":
                self.say("alert", f"{venue}: stream lost ({facts['reason']}); no entries until reconciled")
            case "venue.proved":
                self.say("pair", f"{venue}: reconciled, everything accounted for")
            case _:
                pass


_HALTED = "halted: the demo plays with one pair"


def _hour(ts_ns: int) -> str:
    return time.strftime("%H:%M", time.gmtime(ts_ns // NS_PER_S))


def _short(value: object) -> str:
    return f"{value:.5f}" if isinstance(value, Decimal) else str(value)
