"""What strategies are told: order of events, timers, waking, failed handlers, saved state; on virtual time over a simulated venue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from database.connect import sqlite_url
from database.journal import Journal
from exchange_clients.book import BookChange
from exchange_clients.model import NS_PER_S, Fill, Instrument, InstrumentId, OrderInfo, Trade
from exchange_clients.transport.clock import VirtualClock
from exchange_simulator.core.types import Side
from exchange_simulator.simloop import Simulation, run
from exchange_simulator.simulated_client import SimulatedClient
from exchange_simulator.simulated_venue import SimulatedVenue, simulated_spec
from strategies.base_strategy import BaseStrategy, StateNotReadable, StrategyContext
from strategies.events import KEEP_LETTERS, EventKind, TimerEvent, VenueEvent
from strategies.execution.desk import Desk
from strategies.execution.engine import ExecutionEngine

D = Decimal
BTC = Instrument(
    id=InstrumentId("BTC", "USDC", "sim"),
    venue_symbol="BTC",
    contract_id="1",
    settle="USDC",
    tick_size=D("0.5"),
    step_size=D("0.001"),
    min_quantity=D("0.001"),
    min_notional=D(10),
)


class NoParameters(BaseModel):
    """Nothing to set."""


class Plain(BaseStrategy[NoParameters]):
    """Overrides nothing but the cycle."""

    config_class: ClassVar[type[BaseModel]] = NoParameters
    name: ClassVar[str] = "plain"
    pause_s: ClassVar[float] = 60.0

    async def initialize(self) -> None:
        self.looked_at: list[int] = []

    async def run_cycle(self) -> None:
        self.looked_at.append(self.context.clock.time_ns())

    @property
    def interval_s(self) -> float:
        return self.pause_s


class Hearing(Plain):
    """Writes down what it is told."""

    name: ClassVar[str] = "hearing"

    async def initialize(self) -> None:
        await super().initialize()
        self.heard: list[tuple[str, Any]] = []
        self.broken = False
        self.follow("sim", "BTC")

    def on_book(self, change: BookChange) -> None:
        self.heard.append(("book", change))

    def on_trade(self, trade: Trade) -> None:
        self.heard.append(("trade", trade))

    def on_order(self, order: OrderInfo) -> None:
        self.heard.append(("order", order))

    def on_fill(self, fill: Fill) -> None:
        if self.broken:
            raise RuntimeError("the handler is broken")
        self.heard.append(("fill", fill))

    def on_timer(self, event: TimerEvent) -> None:
        self.heard.append((event.name, event))

    def on_venue_offline(self, event: VenueEvent) -> None:
        self.heard.append(("offline", event))

    def on_venue_online(self, event: VenueEvent) -> None:
        self.heard.append(("online", event))

    def on_reset(self, event: VenueEvent) -> None:
        self.heard.append(("reset", event))

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.heard]


@dataclass
class Playing:
    sim: Simulation
    venue: SimulatedVenue
    client: SimulatedClient
    strategy: Any
    journal: Journal

    def book(self, bid: str = "499.5", ask: str = "500.5") -> None:
        spec, now = self.venue.exchange.markets["1"].spec, self.venue.now_ns()
        self.venue.exchange.set_levels(now, "1", [(spec.to_ticks(D(bid)), 2000)], [(spec.to_ticks(D(ask)), 2000)])

    def trade(self) -> None:
        self.venue.exchange.external_trade(self.venue.now_ns(), "1", Side.BUY, 5)

    async def sleep(self, seconds: float) -> None:
        await self.sim.runtime.clock.sleep(seconds)

    def heard(self) -> list[str]:
        assert isinstance(self.strategy, Hearing)
        found = self.strategy.kinds()
        self.strategy.heard.clear()
        return found


def play(folder: Path, act: Callable[[Playing], Coroutine[Any, Any, None]], kind: type[Plain] = Hearing, *, seed: int = 0) -> None:
    """Acts while the strategy runs, over a connected account of 10,000 USDC."""

    async def main(sim: Simulation) -> None:
        venue = SimulatedVenue(simulated_spec("sim"), [BTC], sim.runtime.clock)
        venue.open_account(1, D(10_000))
        venue.set_mark("1", D(500))
        journal = Journal.open(sqlite_url(folder / "journal.db"))
        async with SimulatedClient(venue, 1, runtime=sim.runtime) as client:
            engine = ExecutionEngine(journal, {"sim": client}, sim.runtime, strategy=kind.name, account="main")
            context = StrategyContext(
                clients={"sim": client},
                engine=engine,
                journal=engine.journal,
                clock=sim.runtime.clock,
                account="main",
                desk=Desk.beside(engine, sim.runtime),
            )
            strategy = kind(NoParameters(), context)
            playing = Playing(sim, venue, client, strategy, journal)
            playing.book()
            await strategy.initialize()
            life = asyncio.create_task(strategy.start())
            await playing.sleep(0.01)
            if isinstance(strategy, Hearing):
                strategy.heard.clear()
            try:
                await act(playing)
            finally:
                await strategy.stop()
                await life
        journal.close()

    run(main, seed=seed)


def test_events_come_in_the_order_in_which_they_happened(tmp_path: Path) -> None:
    async def act(p: Playing) -> None:
        p.book("499", "500")
        p.trade()
        placed = await p.client.place_limit_order("BTC", D("0.1"), D(400), "buy")
        await p.sleep(0.01)
        heard = p.heard()
        assert heard.index("book") < heard.index("trade") < heard.index("order")
        await p.client.place_market_order("BTC", D("0.1"), "buy")
        await p.sleep(0.01)
        assert "fill" in p.heard()
        await p.client.cancel_order(placed.order_id or "")
        await p.sleep(0.01)
        assert p.strategy.handled == p.strategy.get_status()["events"] > 4

    play(tmp_path, act)


def test_unread_books_are_coalesced_and_trades_are_not(tmp_path: Path) -> None:
    async def act(p: Playing) -> None:
        for n in range(5):
            p.book(str(490 + n), "500")
            p.trade()
        await p.sleep(0.01)
        assert p.heard() == ["book"] + ["trade"] * 5

    play(tmp_path, act)


def test_what_is_not_overridden_is_not_subscribed(tmp_path: Path) -> None:
    async def act(p: Playing) -> None:
        p.strategy.follow("sim", "BTC")
        hub = p.client.context.hub
        wanted = {topic for topic in hub._subscriptions | hub._listeners if hub.wanted(topic)}
        assert not any(isinstance(topic, tuple) and topic[0] in ("book", "trades", "bbo") for topic in wanted)
        p.trade()
        await p.sleep(0.01)
        assert p.strategy.handled == 0

    play(tmp_path, act, Plain)


def test_timers_fire_on_time_and_alerts_once(tmp_path: Path) -> None:
    async def act(p: Playing) -> None:
        start = p.sim.runtime.clock.time_ns()
        p.strategy.timers.set_time_alert("late", start + 5 * NS_PER_S)
        p.strategy.timers.set_timer("tick", 2.0)
        p.strategy.timers.set_timer("gone", 1.0)
        p.strategy.timers.cancel("gone")
        await p.sleep(7)
        events = [e for _, e in p.strategy.heard]
        assert [e.name for e in events] == ["tick", "tick", "late", "tick"]
        assert all(e.due_ns <= e.ts_ns <= e.due_ns + NS_PER_S // 1000 for e in events)
        assert p.strategy.timers.names == ["tick"]

    play(tmp_path, act)


def test_wake_runs_a_cycle_now(tmp_path: Path) -> None:
    async def act(p: Playing) -> None:
        await p.sleep(10)
        assert len(p.strategy.looked_at) == 1
        p.strategy.wake()
        await p.sleep(0.001)
        assert len(p.strategy.looked_at) == 2
        await p.sleep(59)
        assert len(p.strategy.looked_at) == 2
        await p.sleep(2)
        assert len(p.strategy.looked_at) == 3

    play(tmp_path, act, Plain)


@pytest.mark.parametrize("hours", [-1, 1])
def test_cycles_go_on_when_the_clock_of_the_machine_is_set(tmp_path: Path, hours: int) -> None:
    """Exits are judged in cycles: a clock set back by an hour must not leave positions alone for an hour."""

    async def act(p: Playing) -> None:
        await p.sleep(30)
        clock = p.sim.runtime.clock
        assert isinstance(clock, VirtualClock)
        clock._epoch_ns += hours * 3600 * NS_PER_S
        p.strategy.looked_at.clear()
        await p.sleep(200)
        assert 2 <= len(p.strategy.looked_at) <= 4

    play(tmp_path, act, Plain)


def test_an_event_whose_handler_raised_is_kept_visible_and_replayed(tmp_path: Path) -> None:
    async def act(p: Playing) -> None:
        p.strategy.broken = True
        await p.client.place_market_order("BTC", D("0.1"), "buy")
        p.trade()
        await p.sleep(0.1)
        assert "trade" in p.heard(), "one failure does not end the feed"
        (letter,) = p.journal.dead_letters("hearing", "main")
        assert "RuntimeError: the handler is broken" in letter.error
        assert letter.kind == "fill"
        assert p.strategy.get_status()["dead_letters"] == 1
        with pytest.raises(RuntimeError, match="broken"):
            p.strategy.replay_dead_letter(letter.letter_id)
        p.strategy.broken = False
        p.strategy.dead_letters._kept.clear()  # as after a restart: only the journal knows it
        p.strategy.replay_dead_letter(letter.letter_id)
        kind, fill = p.strategy.heard[-1]
        assert (kind, fill.quantity, fill.instrument) == ("fill", D("0.1"), BTC.id)
        with pytest.raises(LookupError, match="no dead letter x"):
            p.strategy.replay_dead_letter("x")

    play(tmp_path, act)


def test_dead_letters_are_bounded(tmp_path: Path) -> None:
    async def act(p: Playing) -> None:
        for _ in range(KEEP_LETTERS + 50):
            p.strategy.dead_letters.add(EventKind.TIMER, TimerEvent("x", 1, 2), ValueError("no"))
        assert len(p.strategy.dead_letters.recent()) == KEEP_LETTERS
        assert p.strategy.dead_letters.count == KEEP_LETTERS + 50

    play(tmp_path, act, Plain)


def test_a_venue_that_goes_and_comes_back_is_told(tmp_path: Path) -> None:
    async def act(p: Playing) -> None:
        p.client.context.entries_allowed = False
        await p.sleep(1.1)
        assert p.heard() == ["offline"]
        p.client.context.entries_allowed = True
        await p.sleep(1.1)
        assert p.heard() == ["online", "reset"]

    play(tmp_path, act)


class Old(Plain):
    name: ClassVar[str] = "versioned"


class New(Old):
    state_version: ClassVar[int] = 3

    def migrate_state(self, key: str, version: int, value: Any) -> Any:
        return {"levels": value} if version == 1 else {**value, "side": "buy"}


class Unready(Old):
    state_version: ClassVar[int] = 2


def test_saved_state_survives_and_is_migrated_step_by_step(tmp_path: Path) -> None:
    async def save(p: Playing) -> None:
        await p.strategy.save_state("grid", [1, 2])
        assert p.strategy.load_state("grid", list[int]) == [1, 2]
        assert p.strategy.load_state("other", list[int]) is None

    async def read(p: Playing) -> None:
        assert p.strategy.load_state("grid", dict[str, Any]) == {"levels": [1, 2], "side": "buy"}
        await p.strategy.save_state("grid", {"levels": [], "side": "buy"})

    async def unready(p: Playing) -> None:
        with pytest.raises(StateNotReadable, match="has no migration to 2"):
            p.strategy.load_state("grid", list[int])

    async def newer(p: Playing) -> None:
        with pytest.raises(StateNotReadable, match="version 3"):
            p.strategy.load_state("grid", list[int])

    play(tmp_path, save, Old)
    play(tmp_path, unready, Unready)
    play(tmp_path, read, New)
    play(tmp_path, newer, Old)
