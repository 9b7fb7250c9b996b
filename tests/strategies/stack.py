"""The real stack for execution tests: two dialects over exchanges, clients, journal on disk, engine; on virtual time or sockets."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

import msgspec

from database.connect import sqlite_url
from database.journal import Journal
from database.records import DecisionRecord, Leg, PairRecord
from exchange_clients import venues as registry
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.transport.clock import SteppingClock
from exchange_clients.transport.runtime import Runtime
from exchange_simulator import dialects
from exchange_simulator.core.events import AnyEvent, OrderAccepted
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.dialects.base import Dialect, DialectServer, SimAccount
from exchange_simulator.faults import FaultPlan, parse_fault
from exchange_simulator.ready import ReadyVenue, build_venue, command_paths
from exchange_simulator.simloop import EPOCH_NS, SimHost, SimNetwork, Simulation, run
from strategies.execution.engine import ExecutionEngine
from strategies.execution.plan import ExecutionLimits, PairPlan, Tactic

T = TypeVar("T")
D = Decimal
MID = D(100_000)
TICK, STEP = D("0.1"), D("0.00001")
"""Asked for at every venue; what a venue makes of them is its market's."""
VENUES = ("hyperliquid", "lighter")
"""The pair that tests trade unless they name another one."""


def commands_of(name: str) -> str:
    """The `where` of a fault that concerns every command of a venue."""
    return quote(command_paths(registry.get(name).spec))


COMMAND_PATHS = {name: commands_of(name) for name in VENUES}


class Killed(BaseException):
    """The process is gone: nothing after this point is executed."""


@dataclass
class SimVenue:
    """One simulated venue: state lives here, whatever client or engine comes and goes."""

    ready: ReadyVenue
    stranger: SimAccount
    plan: FaultPlan | None = None
    events: list[AnyEvent] = field(default_factory=list)
    """Everything the exchange did."""

    def __post_init__(self) -> None:
        self.exchange.subscribe(self.events.append)

    @property
    def name(self) -> str:
        return self.ready.name

    @property
    def exchange(self) -> Exchange:
        return self.ready.exchange

    @property
    def dialect(self) -> Dialect:
        return self.ready.dialect

    @property
    def server(self) -> DialectServer:
        return self.ready.server

    @property
    def account(self) -> SimAccount:
        return self.ready.account

    @property
    def symbol(self) -> str:
        """Of the market that is traded, as the exchange lists it."""
        return self.ready.markets["BTC"].symbol

    def now(self) -> int:
        return self.dialect.now_ns()

    def book(self, *, mid: Decimal = MID, half_bps: str = "1", size: str = "1", levels: int = 5) -> None:
        """Anonymous depth: `levels` a side, `half_bps` from the mid, each of `size` base units."""
        market = self.exchange.markets[self.symbol].spec
        half = max(market.tick_size, (mid * D(half_bps) / 10_000 / market.tick_size).to_integral_value() * market.tick_size)
        steps = market.to_steps(D(size))
        gap = max(1, int(half / market.tick_size))
        bid, ask = market.to_ticks(mid - half), market.to_ticks(mid + half)
        self.exchange.set_mark(self.now(), self.symbol, market.to_ref(mid), market.to_ref(mid))
        self.exchange.set_levels(
            self.now(), self.symbol, [(bid - i * gap, steps) for i in range(levels)], [(ask + i * gap, steps) for i in range(levels)]
        )

    def list_too(self, base: str, mid: Decimal, *, step: str = "0.0001", tick: str = "0.01") -> None:
        """A second market, deep and calm."""
        listed = self.dialect.listing(base, tick_size=D(tick), step_size=D(step))
        self.ready.markets = {**self.ready.markets, base: listed}
        self.exchange.add_market(self.now(), listed, mark=listed.to_ref(mid))
        self.refresh(base, mid)

    def refresh(self, base: str, mid: Decimal) -> None:
        """Its book, anew."""
        listed = self.ready.markets[base]
        bid, ask = listed.to_ticks(mid - 1), listed.to_ticks(mid + 1)
        self.exchange.set_levels(self.now(), listed.symbol, [(bid, listed.to_steps(D(50)))], [(ask, listed.to_steps(D(50)))])

    def one_sided(self) -> None:
        """No depth at all."""
        self.exchange.set_levels(self.now(), self.symbol, [], [])

    def position(self) -> Decimal:
        """The truth."""
        return self.ready.position("BTC")

    def faults(self, *lines: str) -> FaultPlan:
        """From now on, these."""
        self.plan = FaultPlan([parse_fault(line) for line in lines], self.dialect.now_ns)
        self.dialect.faults = self.plan
        self.plan.attach(self.exchange)
        return self.plan

    @property
    def host(self) -> SimHost:
        """The road to the venue, on virtual time."""
        assert self.server.sim_host is not None
        return self.server.sim_host

    def commands(self) -> int:
        """How many order commands arrived."""
        return sum(self.ready.is_command(received) for received in self.dialect.received)

    def calm(self) -> None:
        self.faults()


@dataclass
class Story:
    """What the engine told, in order."""

    events: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)
    hook: Callable[[str, str, dict[str, object]], None] | None = None

    def __call__(self, event: str, pair_id: str, **facts: object) -> None:
        self.events.append((event, pair_id, facts))
        if self.hook is not None:
            self.hook(event, pair_id, facts)

    def of(self, event: str) -> list[dict[str, object]]:
        return [facts for name, _, facts in self.events if name == event]


@dataclass
class Stack:
    """Everything; `restart` makes a new client set and engine over the same venues and journal, as a new process would."""

    runtime: Runtime
    folder: Path
    venues: dict[str, SimVenue]
    story: Story
    clients: dict[str, BaseExchangeClient] = field(default_factory=dict)
    journal: Journal | None = None
    engine: ExecutionEngine | None = None

    async def up(self, *, start: bool = True) -> ExecutionEngine:
        """Connect and start."""
        for name, venue in self.venues.items():
            client = venue.ready.client(
                runtime=self.runtime, state_directory=self.folder / "ids", request_timeout_s=3.0, command_timeout_s=3.0
            )
            await client.connect()
            self.clients[name] = client
        self.journal = Journal.open(sqlite_url(self.folder / "journal.db"))
        self.engine = ExecutionEngine(self.journal, self.clients, self.runtime, strategy="test", account="main", observer=self.story)
        if start:
            await self.engine.start()
        return self.engine

    async def down(self) -> None:
        """As a process that ends; orders stay at the venues."""
        if self.engine is not None:
            await self.engine.stop(grace_s=0.0)
            self.engine = None
        for client in self.clients.values():
            await client.disconnect()
        self.clients = {}
        if self.journal is not None:
            self.journal.close()
            self.journal = None

    async def die(self) -> None:
        """As a process that is killed: nothing is said to the venues any more."""
        engine, self.engine = self.engine, None
        assert engine is not None
        tasks = [*engine.feeds.tasks, *(r.task for r in engine.pairs.values() if r.task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.down()

    async def restart(self) -> ExecutionEngine:
        await self.down()
        return await self.up()

    # ---- shorthand

    def instrument_id(self, venue: str) -> str:
        return str(self.clients[venue].instruments.get("BTC").id)

    def plan(
        self,
        *,
        long: str | None = None,
        short: str | None = None,
        first: Leg = Leg.LONG,
        quantity: str = "0.01",
        slice_: str | None = None,
        tactics: Sequence[Tactic] = (Tactic.CROSS, Tactic.CROSS, Tactic.CROSS),
        exit_tactics: Sequence[Tactic] = (Tactic.CROSS,),
        max_price_cost: Decimal | None = None,
        **limits: Any,
    ) -> PairPlan:
        """Long at the first venue and short at the second, unless they are named."""
        piece = D(slice_ or quantity)
        one, other = tuple(self.clients)[:2]
        return PairPlan(
            symbol="BTC",
            long_instrument=self.instrument_id(long or one),
            short_instrument=self.instrument_id(short or other),
            first_leg=first,
            quantity=D(quantity),
            slice_quantity=piece,
            tactics=tuple(tactics),
            worst_naked_usd=piece * MID,
            exit_tactics=tuple(exit_tactics),
            max_price_cost=max_price_cost,
            limits=ExecutionLimits(**{"naked_cap_usd": D(5_000), "resolve_deadline_s": 20.0, **limits}),
        )

    def decision(self, kind: str = "enter", pair_id: str | None = None) -> DecisionRecord:
        assert self.engine is not None
        now = self.runtime.clock.time_ns()
        number = self.engine.ids.next(now)
        return DecisionRecord(
            decision_id=f"d{number}",
            strategy="test",
            account="main",
            pair_id=pair_id,
            symbol="BTC",
            kind=kind,
            rule="test",
            outcome="",
            inputs="{}",
            thresholds="{}",
            ages="{}",
            ts=now,
        )

    async def open(self, **plan: Any) -> PairRecord:
        assert self.engine is not None
        return await self.engine.open(self.plan(**plan), self.decision())

    async def close(self, pair_id: str, reason: str = "test") -> PairRecord:
        assert self.engine is not None
        return await self.engine.close(pair_id, reason, self.decision("exit", pair_id))

    def step_to(self, ts_ns: int) -> None:
        """Wall time jumps, as in the demo."""
        assert isinstance(self.runtime.clock, SteppingClock)
        self.runtime.clock.step_to(ts_ns)

    def positions(self) -> dict[str, Decimal]:
        return {name: venue.position() for name, venue in self.venues.items()}

    async def settle(self, seconds: float = 1.0) -> None:
        await asyncio.sleep(seconds)


@asynccontextmanager
async def stack(
    runtime: Runtime,
    folder: Path,
    *,
    names: Sequence[str] = VENUES,
    network: SimNetwork | None = None,
    seed: int = 0,
    deposit: str = "100000",
    start: bool = True,
) -> AsyncIterator[Stack]:
    """Two venues with a calm, deep market, and a started engine."""
    venues: dict[str, SimVenue] = {}
    story = Story()
    built: Stack | None = None
    try:
        for name in names:
            kind = dialects.get(name)
            market = kind.listing("BTC", tick_size=TICK, step_size=STEP)
            ready = build_venue(kind, runtime, {"BTC": market}, deposit=D(deposit), seed=seed, network=network)
            venues[name] = SimVenue(ready, ready.dialect.open_account(D(deposit)))
            await ready.server.start()
            venues[name].book()
        built = Stack(runtime, folder, venues, story)
        if start:
            await built.up()
        yield built
    finally:
        if built is not None:
            await built.down()
        for venue in venues.values():
            await venue.server.stop()


def decode(text: str) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(text)
    return found


def run_stack(
    folder: Path,
    main: Callable[[Stack], Coroutine[Any, Any, T]],
    *,
    names: Sequence[str] = VENUES,
    seed: int = 0,
    start: bool = True,
    deposit: str = "100000",
    stepping: bool = False,
) -> T:
    """`main` over a fresh stack on virtual time; with `stepping`, wall time can jump (`Stack.step_to`) while asyncio time does not."""

    async def go(sim: Simulation) -> T:
        runtime = sim.runtime
        if stepping:
            sim.network.clock = SteppingClock(EPOCH_NS, elapsed=sim.loop.time)
            runtime = replace(sim.runtime, clock=sim.network.clock)
        async with stack(runtime, folder, names=names, network=sim.network, seed=seed, start=start, deposit=deposit) as built:
            return await main(built)

    return run(go, seed=seed)


def accepted_by_client_id(venue: SimVenue) -> Counter[str]:
    """How often each client order id of our account became an order at the venue, from the exchange's own events."""
    accepted = [e.order for e in venue.events if isinstance(e, OrderAccepted)]
    return Counter(o.client_id for o in accepted if o.account == venue.account.account)


class NakedWatch:
    """The true delta of the pair, and its gross size, after every change of either position; keeps the largest."""

    def __init__(self, built: Stack) -> None:
        self.worst = D(0)
        self.worst_gross = D(0)
        self.history: list[tuple[int, Decimal]] = []
        self._built = built
        for venue in built.venues.values():
            venue.exchange.subscribe(self._look)

    def _look(self, event: object) -> None:
        delta = abs(sum(self._built.positions().values(), D(0)))
        if not self.history or self.history[-1][1] != delta:
            self.history.append((next(iter(self._built.venues.values())).now(), delta))
        self.worst = max(self.worst, delta)
        self.worst_gross = max(self.worst_gross, sum((abs(p) for p in self._built.positions().values()), D(0)))

    def longest_open_s(self, tolerance: Decimal) -> float:
        """The longest stretch in which the delta was not below the tolerance."""
        longest, since = 0.0, None
        for ts_ns, delta in self.history:
            if delta >= tolerance and since is None:
                since = ts_ns
            elif delta < tolerance and since is not None:
                longest, since = max(longest, (ts_ns - since) / 1e9), None
        return longest if since is None else float("inf")
