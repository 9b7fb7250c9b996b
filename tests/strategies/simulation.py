"""One seed, one storm: the whole real stack on virtual time, all that goes wrong drawn from the seed, invariants held against the
exchanges' own truth.

    python -m tests.strategies.simulation --seeds 0:1000 --jobs 2
    python -m tests.strategies.simulation --seeds 417 --trace

What goes wrong: requests, answers, fills, sockets and pushes (exchange_simulator.faults), latency, broken and black connections, halts,
venues' clocks, expired tokens, a journal that cannot be written, a full disk, death at any journal write, auto-deleveraging, liquidation,
somebody who trades on our account by hand, and the end of a market; sometimes beside a second pair in another market, or a twin in the
same one. A failing seed prints the command that replays it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from database.errors import JournalError
from database.journal import Journal
from database.records import FillRecord, Leg, PairRecord, PairState
from exchange_clients import venues as registry
from exchange_clients.errors import VenueError
from exchange_clients.transport.clock import VirtualClock
from exchange_simulator import dialects, simloop
from exchange_simulator.core.events import BalanceChanged, FundingPaid, OrderAccepted, OrderFilled
from exchange_simulator.core.types import UNIT, BalanceReason, Market, MarketStatus, NewOrder, Side, TimeInForce, money
from exchange_simulator.simloop import EPOCH_NS, Link
from strategies.execution.engine import EntryRefused, ExecutionEngine
from strategies.execution.ledger import book_funding
from strategies.execution.lots import floor_to
from strategies.execution.plan import EXIT_LADDERS, LADDERS, OfflinePolicy, PairPlan, Tactic
from tests.strategies.stack import MID, VENUES, Killed, SimVenue, Stack, commands_of, run_stack

D = Decimal
ZERO = D(0)
STORM_S = 40.0
REST_S = 240.0
MAX_ORDERS = 120
TURNS = 20_000
"""Of the loop in one instant: more is a livelock."""

REQUESTS = ("lost_ack", "lost_request", "slow", "server_error", "rate_limited")
EVENTS = ("late_fill", "duplicate_fill", "out_of_order_fills")
SOCKETS = ("silent_socket", "accept_then_close", "refused_socket")
PUSHES = ("sequence_gap", "garbage", "frozen_stream")
CENT = D("0.01")
HOUR_S = 3600.0
ANY = "any"
MEMORY = Path("/dev/shm")  # noqa: S108 - the journals of thousands of seeds; what a power cut does to a disk is another test's matter
SECOND = "ETH"
SECOND_MID = D(2_500)
TWIN = "BTC twin"
"""Symbol of a pair in the same two markets as the first, in the same direction."""
BY_HAND = "777"
"""Client order id of what somebody else trades on our account."""


class Violation(AssertionError):
    """An invariant does not hold; the message names it."""


@dataclass
class Storm:
    """What one seed does."""

    seed: int
    trace: bool = False
    names: tuple[str, ...] = VENUES
    rng: random.Random = field(init=False)
    log: list[str] = field(default_factory=list)
    foreign: dict[str, Decimal] = field(default_factory=dict)
    direction: dict[str, int] = field(default_factory=dict)
    slice: Decimal = ZERO
    quantity: Decimal = ZERO
    worst: Decimal = ZERO
    pair_id: str | None = None
    dies_in: int | None = None
    """Journal events left to live."""
    died: asyncio.Event = field(default_factory=asyncio.Event)
    outside: Decimal = ZERO
    """What was taken from our legs from outside: so much may stand naked until it is repaired."""
    shared: set[str] = field(default_factory=set)
    """Venues where the account holds something that is not ours."""
    looking: bool = True
    honest: bool = True
    """Both venues honour reduce-only."""
    second_id: str | None = None
    """The other pair, in a market of its own."""
    second: dict[str, int] = field(default_factory=dict)
    """Its direction by venue; empty where there is none."""
    second_quantity: Decimal = ZERO
    step: Decimal = ZERO
    """Larger of the two venues' quantity steps."""
    second_step: Decimal = ZERO
    second_outside: Decimal = ZERO
    more: random.Random = field(init=False)
    """For what was added later, so that older seeds stay what they were."""
    twin: bool = False
    twin_id: str | None = None
    twin_quantity: Decimal = ZERO
    twin_slice: Decimal = ZERO
    alone: bool = False
    """By policy the leg that is left is reduced when the other venue is gone: the delta is bounded by nothing then."""
    beginning: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Nobody asks the clients of a process that goes down."""
    rising: bool = False
    """A process is starting: the end of the storm may cut that short, and what is half up proves nothing."""
    ending: str = ""
    happened: Counter[str] = field(default_factory=Counter)
    """What the storm did, so that a run can show that it was not calm."""
    violations: list[Violation] = field(default_factory=list)
    """Seen from inside a venue, where raising would only be an answer 500 to the client."""

    def __post_init__(self) -> None:
        self.rng = random.Random(f"storm-{self.seed}")
        self.more = random.Random(f"more-{self.seed}")
        self.twin = self.more.random() < 0.2
        self.alone = self.more.random() < 0.1

    def say(self, s: Stack, text: str) -> None:
        line = f"{next(iter(s.venues.values())).now() / 1e9 % 100_000:10.3f} {text}"
        self.log.append(line)
        if self.trace:
            print(line, flush=True)

    # ---- what goes wrong

    def fault_line(self, venue: str) -> str:
        rng = self.rng
        group = rng.choice((REQUESTS, REQUESTS, EVENTS, SOCKETS, PUSHES))
        kind = rng.choice(group)
        at = round(rng.uniform(0, STORM_S * 0.7), 2)
        times = rng.choice((1, 1, 2, 4))
        line = f"{kind} at={at} times={times}"
        if kind in REQUESTS and rng.random() < 0.7:
            line += f" where={commands_of(venue)}"
        if kind in ("slow", "late_fill", "duplicate_fill", "out_of_order_fills", "accept_then_close"):
            line += f" delay={round(rng.uniform(0.05, 4), 2)}"
        if kind == "rate_limited":
            line += f" retry_after={rng.choice((1, 3))}"
        if kind == "frozen_stream":
            line = f"{kind} at={at} times=0 lasting={round(rng.uniform(1, 12), 1)}"
        return line

    def faults(self, s: Stack) -> None:
        for name, venue in s.venues.items():
            lines = [self.fault_line(name) for _ in range(self.rng.choice((0, 1, 1, 2, 3)))]
            if self.rng.random() < 0.08:
                lines.append(f"halt at={self.rng.uniform(1, 20):.1f} lasting={self.rng.uniform(1, 15):.1f} market={venue.symbol}")
            if self.rng.random() < 0.08:
                lines.append(f"partial_then_halt at={self.rng.uniform(0, 10):.1f} lasting={self.rng.uniform(1, 10):.1f}")
            if self.rng.random() < 0.15:
                lines.append("reduce_only_ignored at=0")
                self.honest = False
            if name == "lighter" and self.rng.random() < 0.2:
                self.happened["token expired"] += 1
                lines.append(f"token_expired at={self.rng.uniform(0, 20):.1f} times={self.rng.choice((1, 3))} where=/api/v1/account")
            venue.faults(*lines)
            for line in lines:
                self.say(s, f"plan {name}: {line}")

    # ---- actors

    def book(self, venue: SimVenue) -> None:
        rng = self.rng
        if ended(venue):
            return
        if rng.random() < 0.05:
            venue.one_sided()
            return
        mid = MID * (1 + D(rng.randrange(-20, 21)) / 10_000)
        size = rng.choice(("0.0005", "0.002", "0.004", "0.02", "1"))
        venue.book(mid=mid, half_bps=rng.choice(("0.5", "1", "3")), size=size, levels=rng.randrange(2, 8))

    async def market(self, s: Stack) -> None:
        while True:
            await asyncio.sleep(self.rng.uniform(0.2, 2.0))
            venue = s.venues[self.rng.choice(self.names)]
            if self.rng.random() < 0.3 and not ended(venue):
                side = self.rng.choice((Side.BUY, Side.SELL))
                venue.exchange.external_trade(venue.now(), venue.symbol, side, self.rng.randrange(10, 500))
            else:
                self.book(venue)
            self.second_book(s)

    def second_book(self, s: Stack) -> None:
        if self.second:
            for venue in s.venues.values():
                venue.refresh(SECOND, SECOND_MID + self.rng.randrange(-3, 4))

    async def weather(self, s: Stack) -> None:
        for _ in range(self.rng.choice((0, 0, 1, 2, 3))):
            await asyncio.sleep(self.rng.uniform(0.5, 12))
            venue = s.venues[self.rng.choice(self.names)]
            if self.rng.random() < 0.5:
                self.say(s, f"{venue.name}: connections reset")
                self.happened["connections reset"] += 1
                venue.host.drop_connections()
            else:
                hole = self.rng.uniform(0.5, 8)
                self.say(s, f"{venue.name}: black hole for {hole:.1f} s")
                self.happened["black hole"] += 1
                venue.host.set_black_hole(True)
                await asyncio.sleep(hole)
                venue.host.set_black_hole(False)

    async def disk(self, s: Stack) -> None:
        """The journal's database cannot be written for a while: read-only, or the disk is full."""
        if self.rng.random() < 0.7:
            return
        await asyncio.sleep(self.rng.uniform(0, 12))
        while s.journal is None:  # noqa: ASYNC110 - whoever takes over sets no event
            await asyncio.sleep(0.1)
        what, trouble = self.rng.choice((("journal read-only", _read_only), ("disk full", _full)))
        self.say(s, what)
        self.happened[what] += 1
        trouble(s.journal, on=True)
        await asyncio.sleep(self.rng.uniform(1, 15))
        self.say(s, "the journal can be written")
        trouble(s.journal, on=False)

    async def outsider(self, s: Stack) -> None:
        """Our position changes without us: deleveraged, liquidated, closed by hand, settled as its market ends (PAINS 6, 12)."""
        rng = self.rng
        if not self.honest or rng.random() < 0.5:
            return
        await asyncio.sleep(rng.uniform(1, 25))
        name = rng.choice(self.names)
        venue = s.venues[name]
        kind = rng.choice(("adl", "delisting", "liquidation", "hand", "hand"))
        if self.pair_id is None or (kind != "delisting" and venue.position() * self.direction[name] <= 0):
            return
        spec = venue.exchange.markets[venue.symbol].spec
        if kind == "hand":
            venue.book()  # it may fill an order of ours: before anything is measured
        held = abs(spec.to_steps(venue.position()))
        size = rng.choice((held, rng.randrange(1, held + 1))) if held else 0
        before, other, self.looking = venue.position(), self.held(venue), False
        if kind == "adl":
            venue.exchange.deleverage(venue.now(), venue.account.account, venue.symbol, size)
        elif kind == "delisting":
            venue.exchange.delist(venue.now(), venue.symbol)
        elif kind == "liquidation":
            self.liquidate(venue)
        else:
            side = Side.SELL if before > 0 else Side.BUY
            price = spec.to_ticks(MID * (D("0.99") if side is Side.SELL else D("1.01")))
            order = NewOrder(
                venue.account.account, venue.symbol, side, size, price, time_in_force=TimeInForce.IOC, reduce_only=True, client_id=BY_HAND
            )
            venue.exchange.submit(venue.now(), order)
        taken = abs(before - venue.position())
        theirs = min(taken, abs(self.foreign[name]))
        self.foreign[name] -= self.direction[name] * theirs
        self.outside += taken
        self.second_outside += abs(other - self.held(venue))
        self.looking = True
        self.happened[kind] += 1
        self.say(s, f"{name}: {kind} took {taken}, {theirs} of it not ours")
        self.look(s)
        if kind == "liquidation":
            venue.book()

    def liquidate(self, venue: SimVenue) -> None:
        """The collateral is gone for a moment in which the price moves against the position."""
        account, exchange = venue.account.account, venue.exchange
        long = venue.position() > 0
        free = exchange.available(account)
        exchange.withdraw(venue.now(), account, free)
        market = exchange.markets[venue.symbol].spec
        exchange.set_mark(venue.now(), venue.symbol, market.to_ref(MID * (D("0.95") if long else D("1.05"))))
        exchange.deposit(venue.now(), account, free)

    async def second_life(self, s: Stack) -> None:
        """Another pair of the same engine, in a market of its own."""
        if not self.second:
            return
        rng = self.rng
        await asyncio.sleep(rng.uniform(0, 8))
        for _ in range(10):
            await asyncio.sleep(1)
            if s.engine is None or self.died.is_set():
                continue
            try:
                async with self.beginning:
                    engine = up_now(s)
                    if engine is None:
                        continue
                    self.second_id = (await engine.begin(self.second_plan(s), s.decision())).record.pair_id
                self.happened["second pair"] += 1
                break
            except (EntryRefused, VenueError, JournalError) as e:
                self.say(s, f"{SECOND} not begun: {e}")
            except Killed:
                while self.died.is_set() or s.journal is None:  # noqa: ASYNC110 - whoever takes over sets no event
                    await asyncio.sleep(0.5)
                written = [pair for pair in s.journal.pairs() if pair.symbol == SECOND]
                if written:
                    self.second_id = written[-1].pair_id
                    break
        await asyncio.sleep(rng.uniform(2, 30))
        if rng.random() < 0.5 and s.engine is not None and self.second_id in s.engine.pairs:
            s.engine.pairs[self.second_id].close("drawn from the seed")

    async def twin_life(self, s: Stack) -> None:
        """Another pair in the same markets and direction: shares must never mix."""
        more = self.more
        if not self.twin:
            return
        self.twin_quantity = max(self.step, floor_to(D(more.randrange(20, 600)) / 10_000, self.step))
        self.twin_slice = min(max(D("0.0002"), self.step, self.twin_quantity), D("0.049"))
        self.twin_quantity = max(self.twin_quantity, self.twin_slice)
        for _ in range(10):
            await asyncio.sleep(more.uniform(1, 4))
            if s.engine is None or self.died.is_set() or self.pair_id is None or not self.direction:
                continue
            names = {sign: name for name, sign in self.direction.items()}
            try:
                plan = s.plan(
                    long=names[1],
                    short=names[-1],
                    quantity=str(self.twin_quantity),
                    slice_=str(self.twin_slice),
                    open_deadline_s=30.0,
                    maker_timeout_s=3.0,
                    tactics=LADDERS[more.choice(list(LADDERS))],
                )
                async with self.beginning:
                    engine = up_now(s)
                    if engine is None:
                        continue
                    self.twin_id = (await engine.begin(msgspec.structs.replace(plan, symbol=TWIN), s.decision())).record.pair_id
                break
            except (EntryRefused, VenueError, JournalError) as e:
                self.say(s, f"the twin is not begun: {e}")
            except Killed:
                while self.died.is_set() or s.journal is None:  # noqa: ASYNC110 - whoever takes over sets no event
                    await asyncio.sleep(0.5)
                written = [pair for pair in s.journal.pairs() if pair.symbol == TWIN]
                if written:
                    self.twin_id = written[-1].pair_id
                    break
        if self.twin_id is None:
            return
        self.say(s, f"the twin {self.twin_id} holds up to {self.twin_quantity} in slices of {self.twin_slice}")
        self.happened["twin"] += 1
        await asyncio.sleep(more.uniform(2, 30))
        if more.random() < 0.5 and s.engine is not None and self.twin_id in s.engine.pairs:
            s.engine.pairs[self.twin_id].close("drawn from the seed")

    def second_plan(self, s: Stack) -> PairPlan:
        names = {sign: str(s.clients[name].instruments.get(SECOND).id) for name, sign in self.second.items()}
        plan = s.plan(quantity=str(self.second_quantity), open_deadline_s=30.0)
        return msgspec.structs.replace(
            plan, symbol=SECOND, long_instrument=names[1], short_instrument=names[-1], worst_naked_usd=self.second_quantity * SECOND_MID
        )

    async def life(self, s: Stack) -> None:
        """Open, perhaps close, perhaps die and come back."""
        rng = self.rng
        self.arm(0.3, 60)
        await self.try_open(s)
        for _ in range(rng.choice((0, 1, 1, 2))):
            await self.live(s, rng.uniform(0.1, 10))
            self.arm(0.2, 40)
            action = rng.random()
            if self.more.random() < 0.5:
                await self.shrink(s)
                await self.live(s, self.more.uniform(0.1, 3))
            if action < 0.35:
                self.say(s, "stopped and started again")
                self.happened["restarted"] += 1
                async with self.beginning:
                    await s.down()
                await asyncio.sleep(rng.uniform(0, 3))
                await self.come_up(s)
            elif action < 0.85:
                self.ask_close(s, "drawn from the seed")
            elif s.engine is not None:
                self.say(s, "halt")
                s.engine.halt("drawn from the seed")
        await self.live(s, STORM_S / 2)

    def arm(self, probability: float, within: int) -> None:
        """Perhaps die at one of the next journal events."""
        if self.rng.random() < probability and self.dies_in is None:
            self.dies_in = self.rng.randrange(within)

    def told(self, event: str) -> None:
        """An event of the engine; raises when this is where the process dies, and at every journal event of the dead."""
        if self.dies_in is None or not event.startswith("journal."):
            return
        self.dies_in -= 1
        if self.dies_in < 0:
            self.died.set()
            task = asyncio.current_task()
            if task is not None:
                task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody asks the dead
            raise Killed(event)

    async def live(self, s: Stack, seconds: float) -> None:
        """Time passes; if the process dies in it, another one takes over."""
        try:
            async with asyncio.timeout(seconds):
                await self.died.wait()
        except TimeoutError:
            return
        await self.take_over(s)

    async def take_over(self, s: Stack) -> None:
        """What is left of a dead process goes, a new one starts."""
        self.say(s, "killed, and another takes over")
        self.happened["killed"] += 1
        await self.bury(s)
        await asyncio.sleep(self.rng.uniform(0, 3))
        await self.come_up(s)

    async def bury(self, s: Stack) -> None:
        engine, s.engine = s.engine, None
        if engine is not None:
            tasks = [*engine.feeds.tasks, *(r.task for r in engine.pairs.values() if r.task is not None)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        async with self.beginning:
            self.dies_in = None
            self.died.clear()
            await s.down()

    async def come_up(self, s: Stack) -> None:
        self.rising = True
        while True:
            try:
                await s.up()
                self.rising = False
                return
            except (VenueError, JournalError) as e:
                self.say(s, f"start failed: {e}")
                await s.down()
            except Killed:
                self.say(s, "killed while starting")
                self.happened["killed"] += 1
                await self.bury(s)
            await asyncio.sleep(2)

    async def try_open(self, s: Stack) -> None:
        rng = self.rng
        long, short = rng.sample(self.names, 2)
        step = self.step
        self.quantity = max(step, floor_to(D(rng.randrange(20, 1500)) / 10_000, step))
        self.slice = max(D("0.0002"), step, (self.quantity / rng.randrange(1, 5) / step).to_integral_value() * step)
        self.slice = min(self.slice, D("0.049"))  # under the cap on unhedged value
        self.quantity = max(self.quantity, self.slice)
        self.direction = {long: 1, short: -1}
        for name in self.names:
            self.foreign[name] = ZERO
            if rng.random() < 0.2:
                self.foreign[name] = self.direction[name] * D("0.003")
                self.shared.add(name)
                self.happened["shared account"] += 1
                venue = s.venues[name]
                market = venue.exchange.markets[venue.symbol].spec
                venue.book()
                side = Side.BUY if self.direction[name] > 0 else Side.SELL
                price = market.to_ticks(MID * (D("1.01") if side is Side.BUY else D("0.99")))
                venue.exchange.submit(
                    venue.now(), NewOrder(venue.account.account, venue.symbol, side, market.to_steps(D("0.003")), price, client_id=BY_HAND)
                )
        for venue in s.venues.values():
            venue.exchange.subscribe(lambda event: self.look(s))
        tactics: tuple[Tactic, ...] = rng.choice(
            ((Tactic.CROSS,) * 3, (Tactic.TOUCH, Tactic.CROSS, Tactic.CROSS), (Tactic.TOUCH, Tactic.INSIDE, Tactic.MARKET))
        )
        if self.more.random() < 0.3:
            tactics = LADDERS[self.more.choice(list(LADDERS))]
        plan = s.plan(
            long=long,
            short=short,
            first=rng.choice((Leg.LONG, Leg.SHORT)),
            quantity=str(self.quantity),
            slice_=str(self.slice),
            tactics=tactics,
            maker_timeout_s=3.0,
            open_deadline_s=30.0,
            **self.manners(),
        )
        self.say(s, f"open long {long} short {short} {self.quantity} in slices of {self.slice}, {plan.first_leg} first, {tactics[0]}")
        decision = s.decision()
        for attempt in range(8):
            try:
                assert s.engine is not None
                self.pair_id = (await s.engine.begin(plan, decision)).record.pair_id
                return
            except (EntryRefused, VenueError, JournalError) as e:
                self.say(s, f"not begun: {e}")
                await self.live(s, 1 + attempt)
            except Killed:
                await self.take_over(s)
                assert s.journal is not None
                written = [pair for pair in s.journal.pairs() if pair.symbol not in (SECOND, TWIN)]
                if written:
                    self.pair_id = written[-1].pair_id
                    return

    def manners(self) -> dict[str, Any]:
        """How a plan may be drawn to behave besides: exits that rest, bounds on price, reducing what is left alone."""
        more = self.more
        found: dict[str, Any] = {"exit_tactics": EXIT_LADDERS[more.choice(list(EXIT_LADDERS))]}
        if more.random() < 0.3:
            found["max_price_cost"] = D(more.randrange(-5, 60)) / 10_000
        if self.alone:
            found |= {"offline_policy": OfflinePolicy.REDUCE, "offline_reduce_s": more.uniform(2, 12)}
        return found

    async def shrink(self, s: Stack) -> None:
        """Both legs are reduced by a part, if the pair stands still."""
        if s.engine is None or self.pair_id not in s.engine.pairs:
            return
        quantity = self.quantity * self.more.randrange(1, 10) / 10
        try:
            async with self.beginning:
                await s.engine.begin_shrink(self.pair_id, quantity, "drawn from the seed", s.decision("shrink", self.pair_id))
            self.say(s, f"both legs are to shrink by {quantity}")
            self.happened["shrunk"] += 1
        except (ValueError, JournalError, Killed) as e:
            self.say(s, f"no shrink: {e}")

    def ask_close(self, s: Stack, why: str) -> None:
        if s.engine is not None and self.pair_id in s.engine.pairs:
            self.say(s, "close asked for")
            s.engine.pairs[self.pair_id].close(why, patient=self.more.random() < 0.5)

    # ---- invariants

    def spec(self, venue: SimVenue, base: str) -> Market:
        """The exchange's market of that base."""
        return venue.ready.markets[base]

    def held(self, venue: SimVenue) -> Decimal:
        """The true position of our account in the second market, signed."""
        return venue.ready.position(SECOND) if self.second else ZERO

    def own(self, s: Stack) -> dict[str, Decimal]:
        """Our share of each true position, signed."""
        return {name: position - self.foreign[name] for name, position in s.positions().items()}

    def violate(self, s: Stack, text: str) -> None:
        """An invariant was seen broken from inside a venue; the run ends with the first of these."""
        self.violations.append(Violation(text))
        self.say(s, f"VIOLATION {text}")

    def look(self, s: Stack) -> None:
        """After every event of an exchange."""
        if not self.looking:
            return
        own = self.own(s)
        for name, quantity in own.items():
            held = quantity * self.direction[name]
            if held < 0:
                self.violate(s, f"E17: {name} holds {quantity}, the opposite of its leg")
            if held > self.quantity + self.twin_quantity:
                self.violate(s, f"E13: {name} holds {held}, planned were {self.quantity} and {self.twin_quantity}")
        delta = abs(sum(own.values(), ZERO))
        self.worst = max(self.worst, delta)
        allowed = self.slice + self.step + self.outside + (self.twin_slice + self.step if self.twin else ZERO)
        if delta > allowed and not self.alone:
            self.violate(s, f"E12: {delta} naked, allowed are {allowed}")
        if self.second:
            self.look_second(s)

    def look_second(self, s: Stack) -> None:
        own = {name: self.held(venue) for name, venue in s.venues.items()}
        if any(quantity * self.second[name] < 0 for name, quantity in own.items()):
            self.violate(s, f"E17: {SECOND} has {own}, against {self.second}")
        if max(abs(quantity) for quantity in own.values()) > self.second_quantity:
            self.violate(s, f"E13: {SECOND} has {own}, planned were {self.second_quantity}")
        if abs(sum(own.values(), ZERO)) > self.second_quantity + self.second_step + self.second_outside:
            self.violate(s, f"E12: {SECOND} has {own}")

    def check_seen(self) -> None:
        """Raise what was seen from inside the venues."""
        if self.violations:
            raise self.violations[0]

    def booked(self, s: Stack, pair_id: str | None) -> dict[str, Decimal]:
        """What a pair holds at each venue by its fills on disk, signed."""
        assert s.journal is not None
        held = dict.fromkeys(self.names, ZERO)
        for fill in s.journal.fills(pair_id or ""):
            held[fill.venue] += fill.signed
        return held

    def check_end(self, s: Stack, record: PairRecord) -> None:
        assert s.journal is not None
        s.journal.write()  # takes in what waits in the fallback file
        twin = self.booked(s, self.twin_id)
        own = {name: quantity - twin[name] for name, quantity in self.own(s).items()}
        for name, venue in s.venues.items():
            for client_id, count in accepted(venue).items():
                if count > 1 and client_id not in ("", BY_HAND):
                    raise Violation(f"E2: {name} accepted {count} orders with client id {client_id}")
            if venue.commands() > MAX_ORDERS * 2:
                raise Violation(f"E20: {venue.commands()} commands at {name}")
        working = [o for v in s.venues.values() for o in v.exchange.open_orders(v.account.account, v.symbol)]
        if record.state is PairState.CLOSED and (any(own.values()) and not record.residual_long and not record.residual_short):
            raise Violation(f"E7: closed with {own}")
        if record.state in (PairState.CLOSED, PairState.HEDGED) and working and not self.twin:
            raise Violation(f"E7: {record.state} with working orders {working}")
        if record.state is PairState.HEDGED and abs(sum(own.values(), ZERO)) > self.step:
            raise Violation(f"E12: hedged with {own}")
        if record.state is PairState.ALERT:
            told = {record.long_venue: record.residual_long or ZERO, record.short_venue: record.residual_short or ZERO}
            if told != own:
                raise Violation(f"E16: alert tells {told}, the venues hold {own} ({record.reason})")
        for pair in s.journal.pairs():
            if pair.pair_id not in (record.pair_id, self.second_id, self.twin_id) and pair.state is not PairState.CLOSED:
                raise Violation(f"E7: pair {pair.pair_id} of a begin that failed is {pair.state}")
        self.check_fills(s, own)

    def check_fills(self, s: Stack, own: dict[str, Decimal]) -> None:
        """E5, E6, E8, E27: the journal's fills are the venues' fills of our orders, each once; no order was sent that it does not know."""
        assert s.journal is not None
        assert self.pair_id is not None
        booked = s.journal.fills(self.pair_id)
        sent = s.journal.intents(self.pair_id)
        known = [*sent, *s.journal.intents(self.second_id or ""), *s.journal.intents(self.twin_id or "")]
        other = [*s.journal.fills(self.second_id or ""), *s.journal.fills(self.twin_id or "")]
        for name, venue in s.venues.items():
            ours = {i.client_order_id for i in sent if i.venue == name}
            unknown = set(accepted(venue)) - {i.client_order_id for i in known if i.venue == name} - {BY_HAND}
            if unknown:
                raise Violation(f"E8: {name} accepted orders that the journal does not know: {unknown}")
            market = venue.exchange.markets[venue.symbol].spec
            truth = ZERO
            for event in venue.events:
                if isinstance(event, OrderFilled) and event.account == venue.account.account and client_id(venue, event) in ours:
                    truth += market.size(event.size) * (1 if event.side is Side.BUY else -1)
            here = [f for f in booked if f.venue == name]
            journal = sum((f.signed for f in here if f.client_order_id is not None), ZERO)
            if journal != truth:
                raise Violation(f"E5: the journal holds fills of {journal} at {name}, the venue filled {truth}")
            held = sum((f.signed for f in here), ZERO)
            if held != own[name]:
                raise Violation(f"E6: by the journal's fills {name} holds {held} of ours, in truth {own[name]}")
            if name not in self.shared:
                self.check_money(venue, [*here, *(f for f in other if f.venue == name)])

    def check_money(self, venue: SimVenue, booked: list[FillRecord]) -> None:
        """E27: what the fills cost is what the balance lost, open positions at what was paid for them."""
        cost = sum(p.cost for p in venue.exchange.account(venue.account.account).positions.values())
        account = [e for e in venue.events if isinstance(e, BalanceChanged) and e.account == venue.account.account]
        traded = (BalanceReason.TRADE, BalanceReason.SETTLEMENT)
        truth = money(sum(e.delta for e in account if e.reason in traded) - cost)
        journal = sum((-f.signed * f.price - f.fee for f in booked), ZERO)
        if abs(truth - journal) >= CENT:
            raise Violation(f"E27: fills and fees of {journal} are booked at {venue.name}, the balance changed by {truth}")

    async def check_funding(self, s: Stack, record: PairRecord) -> None:
        """E27: every funding payment of the venues is booked, with its sign."""
        assert s.engine is not None
        assert s.journal is not None
        twin = None if self.twin_id is None else s.journal.pair(self.twin_id)
        for attempt in range(6):
            try:
                for pair in [record] if twin is None else [record, twin]:
                    await book_funding(pair, s.clients, s.engine.journal, s.runtime.clock.time_ns())
                break
            except VenueError as e:
                if attempt == 5:
                    raise Violation(f"E27: funding cannot be read: {e}") from e
                await asyncio.sleep(10)
        booked = [*s.journal.funding(record.pair_id), *s.journal.funding(self.twin_id or "")]
        for name, venue in s.venues.items():
            paid = [e for e in venue.events if isinstance(e, FundingPaid) and e.account == venue.account.account]
            truth = money(sum(e.amount for e in paid if e.market == venue.symbol))
            journal = sum((p.amount for p in booked if p.venue == name), ZERO)
            self.happened["funding paid"] += truth != 0
            if name not in self.shared and abs(truth - journal) >= CENT:
                raise Violation(f"E27: funding of {journal} is booked at {name}, the venue paid {truth}")

    # ---- the whole

    async def run(self, s: Stack) -> None:
        rng = self.rng
        self.step = max(self.spec(venue, "BTC").step_size for venue in s.venues.values())
        for venue in s.venues.values():
            low, high = rng.choice(((0.0, 0.0), (0.005, 0.02), (0.02, 0.2)))
            venue.host.link = Link(up_s=(low, high), down_s=(low, high))
            venue.dialect.clock = VirtualClock(EPOCH_NS + round(rng.choice((0.0, 0.0, 0.0, rng.uniform(-3, 3))) * 1e9))
            venue.exchange.set_funding_rate(venue.now(), venue.symbol, rng.randrange(-400, 400) * UNIT // 1_000_000)
        if rng.random() < 0.4:
            await asyncio.sleep(HOUR_S - rng.uniform(2, STORM_S))  # a funding settlement falls into the storm
        else:
            await asyncio.sleep(4)  # an exchange whose clock was set back stands still until it gets there again
        if rng.random() < 0.35:
            self.second = dict(zip(rng.sample(self.names, 2), (1, -1), strict=True))
            for venue in s.venues.values():
                venue.list_too(SECOND, SECOND_MID)
            self.second_step = max(self.spec(venue, SECOND).step_size for venue in s.venues.values())
            self.second_quantity = floor_to(D(rng.randrange(200, 15_000)) / 10_000, self.second_step)
        await self.come_up(s)
        self.faults(s)
        actors = [asyncio.create_task(a) for a in (self.market(s), self.weather(s), self.disk(s), self.outsider(s))]
        lives = [asyncio.create_task(each) for each in (self.life(s), self.second_life(s), self.twin_life(s))]
        try:
            await asyncio.wait({*lives, *actors}, timeout=STORM_S, return_when=asyncio.FIRST_EXCEPTION)
            for task in actors:
                task.cancel()
            await asyncio.wait(lives, timeout=60)
        finally:
            for task in (*actors, *lives):
                task.cancel()
            results = await asyncio.gather(*actors, *lives, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        self.check_seen()
        await self.calm(s)
        if self.second_id is not None:
            await self.end_second(s)
        if self.pair_id is None:
            return
        record = await self.at_rest(s, self.pair_id)
        if self.twin_id is not None:
            await self.end_twin(s)
            record = await self.at_rest(s, self.pair_id)
        if record.state is PairState.HEDGED:
            self.check_end(s, record)
            self.arm(0.2, 40)
            self.ask_close(s, "the storm is over")
            record = await self.at_rest(s, self.pair_id, closing=True)
        self.dies_in = None
        self.check_end(s, record)
        await self.check_funding(s, record)
        self.check_seen()
        self.ending = record.state.value
        self.say(s, f"ended {record.state}: {record.reason}; worst naked {self.worst}")

    async def end_twin(self, s: Stack) -> None:
        """The pair in the same markets comes to rest, and perhaps closes before the other one does: each has its own."""
        assert self.twin_id is not None
        record = await self.at_rest(s, self.twin_id)
        if record.state is PairState.HEDGED and self.more.random() < 0.7 and s.engine is not None:
            s.engine.pairs[self.twin_id].close("the storm is over")
            record = await self.at_rest(s, self.twin_id, closing=True)
        assert s.journal is not None
        s.journal.write()
        held = self.booked(s, self.twin_id)
        if record.state is PairState.HEDGED and abs(sum(held.values(), ZERO)) > self.step:
            raise Violation(f"E12: the twin is hedged with {held}")
        left = {record.long_venue: record.residual_long or ZERO, record.short_venue: record.residual_short or ZERO}
        if record.state is not PairState.HEDGED and held != left:
            raise Violation(f"E7, E16: the twin is {record.state} ({record.reason}) and tells {left}, by its fills it holds {held}")
        if any(held[name] * self.direction[name] < 0 for name in held):
            raise Violation(f"E17: the twin holds {held}")
        for name, venue in s.venues.items():
            ours = {i.client_order_id for i in s.journal.intents(self.twin_id) if i.venue == name}
            market, truth = venue.exchange.markets[venue.symbol].spec, ZERO
            for event in venue.events:
                if isinstance(event, OrderFilled) and event.account == venue.account.account and client_id(venue, event) in ours:
                    truth += market.size(event.size) * (1 if event.side is Side.BUY else -1)
            fills = [f.signed for f in s.journal.fills(self.twin_id) if f.venue == name and f.client_order_id is not None]
            if sum(fills, ZERO) != truth:
                raise Violation(f"E5: the journal holds fills of {sum(fills, ZERO)} of the twin at {name}, the venue filled {truth}")
        self.happened[f"twin ended {record.state.value}"] += 1

    async def end_second(self, s: Stack) -> None:
        """The other pair comes to rest too, by the same rules."""
        assert self.second_id is not None
        record = await self.at_rest(s, self.second_id)
        if record.state is PairState.HEDGED and s.engine is not None:
            s.engine.pairs[self.second_id].close("the storm is over")
            record = await self.at_rest(s, self.second_id, closing=True)
        assert s.journal is not None
        s.journal.write()
        own = {name: self.held(venue) for name, venue in s.venues.items()}
        booked = dict.fromkeys(own, ZERO)
        for fill in s.journal.fills(self.second_id):
            booked[fill.venue] += fill.signed
        if booked != own:
            raise Violation(f"E6: by the journal's fills {SECOND} has {booked}, in truth {own}")
        if record.state is not PairState.ALERT and any(own.values()):
            raise Violation(f"E7: {SECOND} is {record.state} with {own}")
        self.happened[f"second ended {record.state.value}"] += 1

    async def calm(self, s: Stack) -> None:
        self.say(s, "calm")
        for venue in s.venues.values():
            venue.host.set_black_hole(False)
            venue.calm()
            if not ended(venue):
                venue.exchange.set_status(venue.now(), venue.symbol, MarketStatus.ACTIVE)
                venue.book()
        _read_only(s.journal, on=False)
        _full(s.journal, on=False)
        self.second_book(s)
        if self.died.is_set():
            await self.take_over(s)
        elif s.engine is None or self.rising:
            await s.down()
            await self.come_up(s)

    async def at_rest(self, s: Stack, pair_id: str, *, closing: bool = False) -> PairRecord:
        ends = {PairState.CLOSED, PairState.ALERT} | (set() if closing else {PairState.HEDGED})
        end = asyncio.get_running_loop().time() + REST_S
        while True:
            if self.died.is_set():
                await self.take_over(s)
                if closing and s.engine is not None and pair_id in s.engine.pairs:
                    s.engine.pairs[pair_id].close("the storm is over")
            assert s.engine is not None
            runner = s.engine.pairs.get(pair_id)
            if runner is None:
                assert s.journal is not None
                record = s.journal.pair(pair_id)
                if record is None or record.state is not PairState.CLOSED:
                    raise Violation(f"E9: the engine does not know pair {pair_id}")
                return record
            asking = runner.state is PairState.ALERT and any(trader.active is not None for trader in runner.legs.values())
            if runner.state in ends and not asking and runner.recovered and (pair_id != self.pair_id or self.settled(s, runner.record)):
                break
            if asyncio.get_running_loop().time() > end:
                raise Violation(f"E9: not at rest {REST_S:g} s after the storm: {runner.state}, recovered {runner.recovered}")
            await asyncio.sleep(0.5)
            for venue in s.venues.values():
                if not ended(venue):
                    venue.book()
            self.second_book(s)
        await asyncio.sleep(2)
        if self.died.is_set():
            return await self.at_rest(s, pair_id, closing=closing)
        return runner.record

    def settled(self, s: Stack, record: PairRecord) -> bool:
        """What was taken from outside is found at the next look of the engine, not at once."""
        steps = 2 if self.twin else 1
        return not self.outside or record.state is not PairState.HEDGED or abs(sum(self.own(s).values(), ZERO)) <= self.step * steps


def client_id(venue: SimVenue, event: OrderAccepted | OrderFilled) -> str:
    """Our id of the order. dYdX's exchange knows an order by what the chain derives from ours."""
    told = event.order.client_id if isinstance(event, OrderAccepted) else event.client_id
    if venue.name == "dydx" and told != BY_HAND:
        dialect: Any = venue.dialect
        known = dialect.clob.by_core.get(event.order_id)
        if known is not None:
            return str(known.client_id)
    return told


def accepted(venue: SimVenue) -> Counter[str]:
    """How often each client order id of our account became an order."""
    account = venue.account.account
    return Counter(client_id(venue, e) for e in venue.events if isinstance(e, OrderAccepted) and e.order.account == account)


def ended(venue: SimVenue) -> bool:
    """Its market is delisted."""
    return venue.exchange.markets[venue.symbol].spec.status is MarketStatus.DELISTED


def _read_only(journal: Journal | None, *, on: bool) -> None:
    if journal is not None:
        with journal._connection.begin():
            journal._connection.exec_driver_sql(f"PRAGMA query_only={'ON' if on else 'OFF'}")


def _full(journal: Journal | None, *, on: bool) -> None:
    """No file of this process may grow beyond the database's log: what is added to it fails in the operating system. The fallback file,
    whose space is taken in advance, has room for a while."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    if not on:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    elif journal is not None:
        written = Path(f"{journal._connection.engine.url.database}-wal").stat().st_size
        room = 0 if journal._fallback is None else journal._fallback._end + 64_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (max(written, room), hard))


def simulate(seed: int, folder: Path, *, trace: bool = False, names: tuple[str, ...] = VENUES) -> Storm:
    """Run one seed. Raises Violation, or whatever broke."""
    storm = Storm(seed, trace, names)

    def tell(event: str, pair_id: str, facts: dict[str, object]) -> None:
        storm.told(event)
        if not event.startswith("journal."):
            storm.log.append(f"    {event} {facts}")
            if trace:
                print(f"    {event} {facts}", flush=True)

    async def main(s: Stack) -> None:
        s.story.hook = tell
        await storm.run(s)

    try:
        with mock.patch.object(simloop, "MAX_TURNS_PER_INSTANT", TURNS):
            run_stack(folder, main, names=names, seed=seed, start=False)
    except Exception as e:
        e.add_note(
            "\n".join(
                ["", *storm.log[-60:], f"replay: python -m tests.strategies.simulation --seeds {seed} --venues {','.join(names)} --trace"]
            )
        )
        raise
    finally:
        _full(None, on=False)
    return storm


def up_now(s: Stack) -> ExecutionEngine | None:
    """The engine, which may have gone down while somebody waited for his turn."""
    return s.engine


def drawn(seed: int, venues: str) -> tuple[str, ...]:
    """The two venues of a seed: those named, or any two that are registered."""
    if venues != ANY:
        return tuple(venues.split(","))
    return tuple(random.Random(f"venues-{seed}").sample([name for name in registry.names() if name in dialects.names()], 2))


def _one(seed: int, venues: str) -> tuple[int, Counter[str], str]:
    """The seed, how it ended and what happened in it, and what broke."""
    logging.disable()
    with tempfile.TemporaryDirectory(prefix="storm-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        try:
            storm = simulate(seed, Path(folder), names=drawn(seed, venues))
            return seed, storm.happened + Counter([f"ended {storm.ending}" if storm.ending else "nothing begun"]), ""
        except (Exception, Killed) as e:
            return seed, Counter(["failed"]), f"{traceback.format_exc(limit=-3)}\n{type(e).__name__}: {e}"


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Storms over random seeds against the whole stack.")
    parser.add_argument("--seeds", default="0:100", help="first:last+1, or one seed")
    parser.add_argument("--venues", default=",".join(VENUES), help="two names, or 'any': two of the registered ones, drawn from the seed")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--trace", action="store_true", help="tell everything (one seed)")
    options = parser.parse_args(None if arguments is None else list(arguments))
    first, _, last = options.seeds.partition(":")
    seeds = range(int(first), int(last) if last else int(first) + 1)
    if options.trace:
        with tempfile.TemporaryDirectory(prefix="storm-") as folder:
            simulate(seeds[0], Path(folder), trace=True, names=drawn(seeds[0], options.venues))
        return 0
    began, failed = time.monotonic(), []
    totals: Counter[str] = Counter()
    with ProcessPoolExecutor(options.jobs) as pool:
        for done, (seed, happened, error) in enumerate(pool.map(partial(_one, venues=options.venues), seeds), 1):
            totals += happened
            if error:
                failed.append(seed)
                print(f"\nseed {seed} failed\n{error}", flush=True)
            rate = (time.monotonic() - began) / done
            print(f"\r{done}/{len(seeds)} seeds, {len(failed)} failed, {rate:.2f} s a seed", end="", flush=True)
    print(f"\n{', '.join(f'{what} {n}' for what, n in totals.most_common())}")
    print(f"{len(failed)} of {len(seeds)} failed{': ' + ', '.join(map(str, failed)) if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
