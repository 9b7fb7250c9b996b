"""The watchdog over the same venues and journal as a bot that dies, hangs or comes back; virtual time, and once with real processes."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from database.connect import sqlite_url
from database.journal import Journal
from database.records import FillCause, PairState
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.errors import MissingCredentials
from exchange_clients.model import Purpose, Side
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.events import OrderAccepted
from exchange_simulator.core.types import NewOrder
from exchange_simulator.core.types import Side as SimSide
from strategies.execution.plan import Tactic
from strategies.execution.ticket import Ticket
from strategies.risk import takeover
from strategies.risk.fence import Fence, Heartbeat
from strategies.risk.identity import identities
from strategies.risk.watchdog import Watchdog
from tests.risk.scene import LONG, SHORT, Scene, run_scene, until
from tests.risk.test_engine import check
from tests.strategies.stack import MID, NakedWatch, Stack, commands_of, stack

D = Decimal


class Dog:
    """A watchdog with clients of its own, connected while it acts."""

    def __init__(self, s: Stack, folder: Path, *, silence_s: float = 10.0) -> None:
        self.stack = s
        self.told: list[tuple[str, dict[str, object]]] = []
        self.dog = Watchdog(folder, self.read, self.clients, s.runtime, silence_s=silence_s, observer=self.hear)

    def read(self) -> Journal:
        return Journal.open(sqlite_url(self.stack.folder / "journal.db"), read_only=True)

    def hear(self, event: str, pair_id: str, **facts: object) -> None:
        self.told.append((event, facts))

    @asynccontextmanager
    async def clients(self, account: str, venues: set[str]) -> AsyncIterator[Mapping[str, BaseExchangeClient]]:
        made: dict[str, BaseExchangeClient] = {}
        try:
            for name in sorted(venues):
                made[name] = self.stack.venues[name].ready.client(
                    runtime=self.stack.runtime, state_directory=self.stack.folder / "ids", request_timeout_s=3.0, command_timeout_s=3.0
                )
                await made[name].connect()
            yield made
        finally:
            for client in made.values():
                await client.disconnect()


async def naked(s: Scene) -> str:
    """A bot that dies after the first leg has filled and before the hedge is out; returns the pair's id."""
    s.stack.venues[SHORT].faults(f"lost_request where={commands_of(SHORT)} times=0")
    opening = asyncio.create_task(s.stack.open(hedge_deadline_s=60.0))
    await until(lambda: s.stack.positions()[LONG] != 0)
    await asyncio.sleep(0.5)
    (pair_id,) = s.engine.pairs
    await s.die()
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    s.stack.venues[SHORT].calm()
    assert s.stack.positions()[LONG] == D("0.01")
    assert s.stack.positions()[SHORT] == 0
    return pair_id


def test_a_dead_bots_naked_leg_is_flattened_by_its_excess_and_the_bot_finds_it_booked(tmp_path: Path) -> None:
    async def main(s: Scene) -> None:
        pair_id = await naked(s)
        dog = Dog(s.stack, tmp_path)
        assert await dog.dog.look() == [], "not silent for long enough"
        await asyncio.sleep(10)
        watch = NakedWatch(s.stack)
        told = await dog.dog.look()
        assert told == [f"{pair_id}: closed"], told
        assert set(s.stack.positions().values()) == {D(0)}
        assert watch.worst <= D("0.01")
        (sent,) = takeover.read(tmp_path)
        assert sent.reduce_only
        assert sent.pair_id == pair_id
        assert Fence(tmp_path).held() is None
        await s.up()
        await asyncio.sleep(10)
        record = s.engine.pairs[pair_id].record
        assert record.state is PairState.CLOSED, record.reason
        assert s.stack.journal is not None
        fills = s.stack.journal.fills(pair_id)
        assert [f.signed for f in fills] == [D("0.01"), D("-0.01")]
        assert fills[1].client_order_id == sent.client_order_id
        assert fills[1].kind is FillCause.TRADE, "ours by its client id, nobody's by guess"
        assert s.of("risk.watchdog_acted")

    run_scene(tmp_path, main)


def test_it_watches_by_itself_and_again_while_the_bot_stays_away(tmp_path: Path) -> None:
    """First there is nothing to do; then a leg is deleveraged, and the next look finds it."""

    async def main(s: Scene) -> None:
        record = await s.stack.open()
        await s.die()
        watching = asyncio.create_task(Dog(s.stack, tmp_path).dog.run())
        await asyncio.sleep(30)
        venue = s.stack.venues[LONG]
        market = venue.exchange.markets[venue.symbol].spec
        venue.exchange.deleverage(venue.now(), venue.account.account, venue.symbol, market.to_steps(D("0.004")))
        assert s.stack.positions() == {LONG: D("0.006"), SHORT: D("-0.01")}
        await asyncio.sleep(75)
        assert s.stack.positions() == {LONG: D("0.006"), SHORT: D("-0.006")}
        assert {i.pair_id for i in takeover.read(tmp_path)} == {record.pair_id}
        assert Fence(tmp_path).held() is None
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    run_scene(tmp_path, main)


def test_e08_an_order_of_the_watchdog_is_on_disk_before_the_venue_has_it(tmp_path: Path) -> None:
    async def main(s: Scene) -> None:
        await naked(s)
        await asyncio.sleep(12)
        written: list[bool] = []

        def accepted(event: object) -> None:
            if isinstance(event, OrderAccepted):
                written.append(event.order.client_id in {i.client_order_id for i in takeover.read(tmp_path)})

        s.stack.venues[LONG].exchange.subscribe(accepted)
        await Dog(s.stack, tmp_path).dog.look()
        assert written == [True]
        assert s.stack.positions()[LONG] == 0

    run_scene(tmp_path, main)


def test_e08_where_the_watchdog_cannot_write_it_sends_nothing(tmp_path: Path) -> None:
    async def main(s: Scene) -> None:
        await naked(s)
        await asyncio.sleep(12)
        (tmp_path / takeover.NAME).mkdir()
        before = s.stack.venues[LONG].commands()
        with pytest.raises(IsADirectoryError):
            await Dog(s.stack, tmp_path).dog.look()
        assert s.stack.venues[LONG].commands() == before
        assert s.stack.positions()[LONG] == D("0.01")
        assert Fence(tmp_path).held() is None

    run_scene(tmp_path, main)


def test_e11_the_watchdog_leaves_what_is_not_the_bots(tmp_path: Path) -> None:
    """The account held 0.003 in the same market before, and an order that somebody placed by hand rests there."""

    async def main(s: Scene) -> None:
        venue = s.stack.venues[LONG]
        market = venue.exchange.markets[venue.symbol].spec
        venue.exchange.submit(
            venue.now(),
            NewOrder(venue.account.account, venue.symbol, SimSide.BUY, market.to_steps(D("0.003")), market.to_ticks(MID * D("1.01"))),
        )
        venue.exchange.submit(
            venue.now(),
            NewOrder(venue.account.account, venue.symbol, SimSide.BUY, market.to_steps(D("0.002")), market.to_ticks(MID * D("0.9"))),
        )
        venue.book()
        await asyncio.sleep(1)
        s.stack.venues[SHORT].faults(f"lost_request where={commands_of(SHORT)} times=0")
        opening = asyncio.create_task(s.stack.open(hedge_deadline_s=60.0))
        await until(lambda: s.stack.positions()[LONG] != D("0.003"))
        await asyncio.sleep(0.5)
        await s.die()
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        s.stack.venues[SHORT].calm()
        assert s.stack.positions()[LONG] == D("0.013")
        await asyncio.sleep(12)
        await Dog(s.stack, tmp_path).dog.look()
        assert s.stack.positions()[LONG] == D("0.003")
        assert len(venue.exchange.open_orders(venue.account.account, venue.symbol)) == 1

    run_scene(tmp_path, main)


def test_a_hedged_pair_and_one_that_was_closing_are_left_hedged(tmp_path: Path) -> None:
    async def main(s: Scene) -> None:
        record = await s.stack.open()
        s.stack.venues[SHORT].faults("server_error times=0")
        s.stack.venues[LONG].faults("server_error times=0")
        closing = asyncio.create_task(s.stack.close(record.pair_id))
        await asyncio.sleep(3)
        assert s.engine.pairs[record.pair_id].state is PairState.CLOSING
        await s.die()
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        for venue in s.stack.venues.values():
            venue.calm()
        await asyncio.sleep(12)
        before = {name: venue.commands() for name, venue in s.stack.venues.items()}
        dog = Dog(s.stack, tmp_path)
        assert await dog.dog.look() == [f"{record.pair_id}: hedged"]
        assert {name: venue.commands() for name, venue in s.stack.venues.items()} == before
        assert takeover.read(tmp_path) == []
        assert await dog.dog.look() == [], "nothing new to look at yet"

    run_scene(tmp_path, main)


def test_a_leg_liquidated_while_the_bot_is_dead_is_followed(tmp_path: Path) -> None:
    async def main(s: Scene) -> None:
        record = await s.stack.open()
        await s.die()
        venue = s.stack.venues[SHORT]
        market = venue.exchange.markets[venue.symbol].spec
        venue.exchange.deleverage(venue.now(), venue.account.account, venue.symbol, market.to_steps(D("0.004")))
        await asyncio.sleep(12)
        assert await Dog(s.stack, tmp_path).dog.look() == [f"{record.pair_id}: hedged"]
        assert s.stack.positions() == {LONG: D("0.006"), SHORT: D("-0.006")}
        await s.up()
        await asyncio.sleep(5)
        runner = s.engine.pairs[record.pair_id]
        assert runner.state is PairState.HEDGED
        assert [t.own for t in runner.legs.values()] == [D("0.006"), D("0.006")]

    run_scene(tmp_path, main)


def test_a_resting_entry_of_a_dead_bot_comes_off(tmp_path: Path) -> None:
    async def main(s: Scene) -> None:
        opening = asyncio.create_task(s.stack.open(tactics=(Tactic.TOUCH,), maker_timeout_s=500.0, open_deadline_s=600.0))
        await asyncio.sleep(3)
        await s.die()
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        venue = s.stack.venues[LONG]
        assert venue.exchange.open_orders(venue.account.account, venue.symbol)
        await asyncio.sleep(12)
        await Dog(s.stack, tmp_path).dog.look()
        assert not venue.exchange.open_orders(venue.account.account, venue.symbol)

    run_scene(tmp_path, main, dead_man_s=None)


def test_of_a_dead_bots_holding_adding_orders_come_off_and_its_exits_stay(tmp_path: Path) -> None:
    """One leg is what a holding is: nothing of it is flattened."""

    async def main(s: Scene) -> None:
        holding = await s.desk.open_holding(s.stack.instrument_id(LONG), sign=1)
        bought = await holding.place(Ticket(side=Side.BUY, quantity=D("0.01")))
        await until(lambda: not bought.live)
        await holding.place(Ticket(side=Side.BUY, quantity=D("0.01"), price=MID * D("0.95"), post_only=True))
        await holding.place(Ticket(side=Side.SELL, quantity=D("0.01"), price=MID * D("1.05"), reduce_only=True))
        await asyncio.sleep(1)
        await s.die()
        await asyncio.sleep(12)
        await Dog(s.stack, tmp_path).dog.look()
        venue = s.stack.venues[LONG]
        (left,) = venue.exchange.open_orders(venue.account.account, venue.symbol)
        assert left.reduce_only
        assert venue.position() == D("0.01")
        assert takeover.read(tmp_path) == []

    run_scene(tmp_path, main, dead_man_s=None)


def test_a_bot_that_comes_back_in_time_keeps_the_watchdog_out(tmp_path: Path) -> None:
    async def main(s: Scene) -> None:
        await naked(s)
        await asyncio.sleep(12)
        dog = Dog(s.stack, tmp_path)
        looking = asyncio.create_task(dog.dog.look())
        await asyncio.sleep(1)
        assert Fence(tmp_path).held() is not None
        coming = asyncio.create_task(s.up())
        (told,) = await looking
        assert "is back; nothing was done" in told
        await coming
        assert takeover.read(tmp_path) == []
        await asyncio.sleep(10)
        assert set(s.stack.positions().values()) == {D(0)}, "the bot has done it itself"

    run_scene(tmp_path, main)


def test_a_bot_waits_at_the_fence_until_the_watchdog_has_let_go(tmp_path: Path) -> None:
    async def main(s: Scene) -> None:
        pair_id = await naked(s)
        s.stack.venues[LONG].faults("server_error times=0")  # the watchdog cannot do anything yet, and holds the fence
        await asyncio.sleep(12)
        s.stack.venues[LONG].faults(f"lost_ack where={commands_of(LONG)} nth=1")
        watch = NakedWatch(s.stack)
        looking = asyncio.create_task(Dog(s.stack, tmp_path).dog.look())
        await until(lambda: takeover.read(tmp_path))
        coming = asyncio.create_task(s.up())
        (told,) = await looking
        assert "the bot is back" in told or "closed" in told
        await coming
        await asyncio.sleep(60)
        assert set(s.stack.positions().values()) == {D(0)}
        assert s.engine.pairs[pair_id].state is PairState.CLOSED
        assert watch.worst <= D("0.01")
        assert watch.worst_gross <= D("0.01"), "not reduced twice"

    run_scene(tmp_path, main)


def test_a_hung_bot_that_wakes_up_counts_what_the_watchdog_did_and_reduces_nothing_twice(tmp_path: Path) -> None:
    """Its memory is as it was before; only its tasks stand still meanwhile, as on a loop that hangs."""

    async def main(s: Scene) -> None:
        s.stack.venues[SHORT].faults(f"lost_request where={commands_of(SHORT)} times=0")
        opening = asyncio.create_task(s.stack.open(hedge_deadline_s=60.0))
        await until(lambda: s.stack.positions()[LONG] != 0)
        await asyncio.sleep(0.5)
        ((pair_id, runner),) = s.engine.pairs.items()
        assert runner.task is not None
        hung = [*s.risk._tasks, runner.task, *runner._tasks.values()]
        for task in hung:
            task.cancel()
        await asyncio.gather(*hung, return_exceptions=True)
        s.stack.venues[SHORT].calm()
        await asyncio.sleep(12)
        watch = NakedWatch(s.stack)
        assert await Dog(s.stack, tmp_path).dog.look() == [f"{pair_id}: closed"]
        assert set(s.stack.positions().values()) == {D(0)}
        runner._tasks.clear()
        for trader in runner.legs.values():
            trader._step = None
        orders = [asyncio.create_task(trader.settle()) for trader in runner.legs.values()]  # their tasks go on where they stood
        s.risk._tasks = [asyncio.create_task(s.risk._ticks()), asyncio.create_task(s.risk._checks())]
        assert s.risk.entry_block() is not None
        runner.task = asyncio.create_task(runner.run())
        await asyncio.sleep(60)
        assert runner.state is PairState.CLOSED, runner.record.reason
        assert s.risk.entry_block() is None
        assert set(s.stack.positions().values()) == {D(0)}
        assert watch.worst_gross <= D("0.01")
        assert s.stack.journal is not None
        assert [f.signed for f in s.stack.journal.fills(pair_id)] == [D("0.01"), D("-0.01")]
        opening.cancel()
        await asyncio.gather(opening, *orders, return_exceptions=True)

    run_scene(tmp_path, main)


def test_a_watchdog_that_cannot_act_does_not_fence_the_living_in(tmp_path: Path) -> None:
    """Keys are missing, a venue is gone: other bots of the folder must not lose most of each second to a fence that helps nobody."""

    async def main(s: Scene) -> None:
        await naked(s)
        dog, taken, fence = Dog(s.stack, tmp_path), 0, Fence(tmp_path)

        @asynccontextmanager
        async def keyless(account: str, venues: set[str]) -> AsyncIterator[Mapping[str, BaseExchangeClient]]:
            if venues:
                raise MissingCredentials("no key", venue=LONG)
            yield {}

        dog.dog._clients = keyless
        await asyncio.sleep(15)
        watching = asyncio.create_task(dog.dog.run())
        for _ in range(120):
            await asyncio.sleep(0.5)
            taken += fence.held() is not None
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        assert 0 < taken * 0.5 <= 15, "seconds of a minute"

    run_scene(tmp_path, main)


def test_a_bot_enters_nothing_while_the_fence_stands(tmp_path: Path) -> None:
    async def main(s: Scene) -> None:
        record = await s.stack.open()
        fence = Fence(tmp_path)
        assert fence.take("test:main is silent for 30 s")
        await asyncio.sleep(1)
        assert "a watchdog acts for this bot" in (s.risk.entry_block() or "")
        assert "a watchdog acts" in (s.risk.order_block(check(s, purpose=Purpose.HEDGE)) or ""), "nor does it hedge"
        assert s.risk.order_block(check(s, reduce_only=True)) is None
        fence.drop()
        await asyncio.sleep(1)
        assert s.risk.entry_block() is None
        assert [event for event, _, _ in s.told if event.startswith("risk.fence")] == ["risk.fence", "risk.fence_gone"]
        assert (await s.stack.close(record.pair_id)).state is PairState.CLOSED

    run_scene(tmp_path, main)


@pytest.mark.parametrize("ahead_s", [-3_600, 3_600])
def test_a_watchdog_whose_clock_is_another_one_counts_by_its_own(tmp_path: Path, ahead_s: int) -> None:
    """The bot's stamps come from a machine an hour away; it lives, and later it does not."""

    async def main(s: Scene) -> None:
        dog = Dog(s.stack, tmp_path)
        heart = Heartbeat(tmp_path, "test", "main")
        accounts = identities(s.stack.clients)
        for task in s.risk._tasks:
            task.cancel()
        await s.stack.open()
        told: list[str] = []
        for _ in range(15):
            heart.beat(s.risk.now_ns() + ahead_s * 1_000_000_000, 1, accounts=accounts)
            looking = asyncio.create_task(dog.dog.look())
            await asyncio.sleep(1)
            heart.beat(s.risk.now_ns() + ahead_s * 1_000_000_000, 1, accounts=accounts)
            told = await looking
            assert all("is back" in one for one in told), told
        assert told == [], "after the first look it knows better"
        acted = []
        for _ in range(15):
            await asyncio.sleep(1)
            acted += await dog.dog.look()
        assert acted == [f"{pair_id}: hedged" for pair_id in s.engine.pairs]

    run_scene(tmp_path, main)


def test_a_bot_that_stopped_by_itself_needs_no_watchdog(tmp_path: Path) -> None:
    async def main(s: Scene) -> None:
        await s.stack.open()
        await s.down()
        await asyncio.sleep(60)
        assert await Dog(s.stack, tmp_path).dog.look() == []

    run_scene(tmp_path, main)


# ---- real processes


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_perpkit_watchdog_acts_for_a_killed_process(tmp_path: Path) -> None:
    """A bot in a process of its own is killed while one leg is naked; `perpkit watchdog --once` in another flattens it."""
    runtime = Runtime.system()
    async with stack(runtime, tmp_path, start=False) as s:
        bot = await process("tests.risk.killed_bot", json.dumps(task(s, tmp_path)))
        try:
            async with asyncio.timeout(40):
                while s.venues[LONG].position() == 0:
                    assert bot.returncode is None, await output(bot)
                    await asyncio.sleep(0.05)
        finally:
            if bot.returncode is None:
                bot.send_signal(signal.SIGKILL)
            await bot.wait()
        assert s.positions() == {LONG: D("0.01"), SHORT: D(0)}
        assert Heartbeat(tmp_path, "test", "main").read() is not None
        s.venues[SHORT].calm()
        await asyncio.sleep(6)
        dog = await process(
            "perpkit",
            "watchdog",
            "--once",
            "--silence",
            "5",
            "--home",
            str(tmp_path),
            *options(s, tmp_path),
            environ=keys(s),
            json="--json",
        )
        out = await output(dog)
        assert dog.returncode == 0, out
        assert "closed" in out
        assert s.positions() == {LONG: D(0), SHORT: D(0)}
        assert [i.reduce_only for i in takeover.read(tmp_path)] == [True]
    runtime.offload.close()


def task(s: Stack, folder: Path) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "venues": {n: {"endpoints": v.server.endpoints, "environ": dict(v.account.environ)} for n, v in s.venues.items()},
    }


def keys(s: Stack) -> dict[str, str]:
    return {name: value for venue in s.venues.values() for name, value in venue.account.environ.items()}


def options(s: Stack, folder: Path) -> list[str]:
    path = folder / "clients.yaml"
    settings = {n: {"endpoints": v.server.endpoints, "state_directory": str(folder / "ids")} for n, v in s.venues.items()}
    path.write_text(yaml.safe_dump(settings))
    return ["--config", str(path)]


async def process(
    module: str, *arguments: str, environ: dict[str, str] | None = None, json: str | None = None
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        *([json] if json else []),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environ or {})},
    )


async def output(process: asyncio.subprocess.Process) -> str:
    """What it printed; of one that failed also its errors."""
    out, errors = await process.communicate()
    return out.decode() + (errors.decode() if process.returncode else "")
