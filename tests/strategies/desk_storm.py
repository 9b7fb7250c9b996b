"""Storms over the desk: random orders and protections on one venue through faults, kills and hand trades; checked against the exchange.

    python -m tests.strategies.desk_storm --seeds 0:1000 --jobs 2
    python -m tests.strategies.desk_storm --seeds 17 --trace

A seed always makes the same storm. Checked after every event at the exchange: what is ours never goes through zero and never eats into what
is not ours, and no client order id becomes two orders. At the end: our account is the truth, what is protected is protected for all that is
left, and the holding closes.
"""

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Coroutine, Iterable
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

from database.errors import JournalError
from database.records import HoldingState
from exchange_clients import venues as registry
from exchange_clients.errors import VenueError
from exchange_clients.model import Side
from exchange_simulator import dialects
from exchange_simulator.core.types import NewOrder
from exchange_simulator.core.types import Side as SimSide
from strategies.execution.desk import Holding, Ticket, TicketRefused
from strategies.execution.emulated.exits import Stance
from strategies.execution.emulated.iceberg import Iceberg
from strategies.execution.emulated.runner import PREFIX, EmulatedOrder
from tests.strategies.desk_stack import DeskStack, KillAt, Killed, run_desk
from tests.strategies.simulation import accepted
from tests.strategies.stack import commands_of, decode

D = Decimal
ZERO = D(0)
STEPS = 30
REST_S = 150.0
BY_HAND = "777"
EXPECTED = (TicketRefused, VenueError, JournalError, Killed, asyncio.CancelledError)


class Violation(Exception):
    """An invariant does not hold."""


def tens(price: Decimal) -> Decimal:
    """On the tick of every venue."""
    return (price / 10).to_integral_value() * 10


class Storm:
    """One seed."""

    def __init__(self, seed: int, name: str, *, trace: bool) -> None:
        self.rng = random.Random(f"desk-{seed}")
        self.name, self.trace = name, trace
        self.happened: Counter[str] = Counter()
        self.log: list[str] = []
        self.mid = D(100_000)
        self.foreign = ZERO
        self.reduced = ZERO
        """What hands took of ours."""
        self.wrong: str | None = None
        self.work: list[asyncio.Task[Any]] = []
        self.kill: KillAt | None = None

    def say(self, d: DeskStack, what: str, **facts: object) -> None:
        self.happened[what] += 1
        line = f"{d.s.runtime.clock.monotonic():8.2f} {what} {facts}"
        self.log.append(line)
        if self.trace:
            print(line, flush=True)

    # ---- the storm

    async def run(self, d: DeskStack) -> None:
        d.venue.exchange.subscribe(lambda _: self.look(d))
        if self.rng.random() < 0.5:
            self.hand(d, SimSide.BUY, D("0.004"))
        await d.up()
        await d.open(sign=1)
        for _ in range(STEPS):
            if d.s.story.hook is not None and self.kill is not None and self.kill.dead:
                await self.come_back(d)
            await self.step(d)
            await asyncio.sleep(self.rng.choice((0.05, 0.3, 1.0, 3.0)))
            if self.wrong is not None:
                raise Violation(self.wrong)
        await self.end(d)

    def look(self, d: DeskStack) -> None:
        """The truth, after each event."""
        if d.position < self.foreign:
            self.wrong = self.wrong or f"E17: the position is {d.position}, {self.foreign} of it is not ours"

    async def step(self, d: DeskStack) -> None:
        draw = self.rng.choices(list(ACTS), list(ACTS.values()))[0]
        await getattr(self, draw)(d)

    def holding(self, d: DeskStack) -> Holding | None:
        return None if d._desk is None else next((h for h in d.desk.holdings.values() if h.state is not HoldingState.CLOSED), None)

    def do(self, d: DeskStack, what: str, act: Coroutine[Any, Any, Any], **facts: object) -> None:
        self.say(d, what, **facts)
        self.work.append(asyncio.create_task(act))

    async def buy(self, d: DeskStack) -> None:
        holding = self.holding(d)
        if holding is None:
            return
        quantity = self.rng.randint(2, 12) * D("0.001")
        if self.rng.random() < 0.6:
            self.do(d, "buy", holding.place(Ticket(side=Side.BUY, quantity=quantity)), quantity=quantity)
        else:
            price = self.mid * (1 - D(self.rng.randint(1, 60)) / 10_000)
            self.do(d, "bid", holding.place(Ticket(side=Side.BUY, quantity=quantity, price=price)), quantity=quantity, price=price)

    async def sell(self, d: DeskStack) -> None:
        holding = self.holding(d)
        if holding is None:
            return
        quantity = self.rng.randint(2, 12) * D("0.001")
        price = None if self.rng.random() < 0.4 else self.mid * (1 + D(self.rng.randint(-5, 60)) / 10_000)
        ticket = Ticket(side=Side.SELL, quantity=quantity, price=price, reduce_only=True)
        self.do(d, "sell", holding.place(ticket), quantity=quantity, price=price)

    async def cancel(self, d: DeskStack) -> None:
        holding = self.holding(d)
        live = [] if holding is None else [o for o in holding.orders(live=True) if not o.tag.startswith("x")]
        if live:
            self.say(d, "cancel")
            self.rng.choice(live).cancel()

    async def protect(self, d: DeskStack) -> None:
        holding = self.holding(d)
        if holding is None:
            return
        make, at_venue = d.desk.emulated, self.rng.choice((True, False))
        far = [self.mid * (1 + D(self.rng.randint(*span)) / 10_000) for span in ((20, 150), (-150, -20))]
        quantity = self.rng.randint(2, 12) * D("0.001")
        match self.rng.choice(("oco", "trailing", "bracket", "iceberg")):
            case "oco":
                part = min(quantity, holding.own)
                self.do(d, "oco", make.oco(holding, quantity=part, take_profit=far[0], stop=far[1], at_venue=at_venue), quantity=part)
            case "trailing":
                part = min(quantity, holding.own)
                self.do(d, "trailing", make.trailing(holding, quantity=part, fraction=D("0.005"), at_venue=at_venue), quantity=part)
            case "bracket":
                price = None if self.rng.random() < 0.5 else self.mid
                act = make.bracket(
                    holding, side=Side.BUY, quantity=quantity, price=price, take_profit=far[0], stop=far[1], entry_s=10.0, at_venue=at_venue
                )
                self.do(d, "bracket", act, quantity=quantity)
            case "iceberg":
                act = make.iceberg(
                    holding,
                    side=Side.BUY,
                    quantity=5 * quantity,
                    display=quantity,
                    price=self.mid,
                    spread=D("0.4"),
                    seed=self.rng.randint(0, 9),
                )
                self.do(d, "iceberg", act, quantity=5 * quantity)

    async def move(self, d: DeskStack) -> None:
        self.mid = tens(self.mid * (1 + D(self.rng.randint(-80, 80)) / 10_000))
        size, levels = self.rng.choice((("1", 5), ("0.003", 3), ("0.01", 2)))
        self.say(d, "price", mid=self.mid, size=size)
        d.price(self.mid, size=size, levels=levels)

    async def taken(self, d: DeskStack) -> None:
        side = self.rng.choice(list(SimSide))
        self.say(d, "strangers", side=side.name)
        d.stranger_takes(side, "0.05", tens(self.mid * (D("1.002") if side is SimSide.BUY else D("0.998"))))

    async def by_hand(self, d: DeskStack) -> None:
        """Somebody buys more, or, where nothing foreign is held and resting orders carry the flag, closes a part of ours."""
        if self.rng.random() < 0.5 or self.foreign > 0 or self.name == "dydx" or d.position <= D("0.002"):
            return
        self.hand(d, SimSide.SELL, D("0.002"))

    def hand(self, d: DeskStack, side: SimSide, quantity: Decimal) -> None:
        market = d.venue.exchange.markets[d.venue.symbol].spec
        before = d.position
        price = market.to_ticks(tens(self.mid * (D("1.01") if side is SimSide.BUY else D("0.99"))))
        account, symbol = d.venue.account.account, d.venue.symbol
        if side is SimSide.BUY:
            self.foreign += quantity  # from the first fill on
        d.venue.exchange.submit(d.venue.now(), NewOrder(account, symbol, side, market.to_steps(quantity), price, client_id=BY_HAND))
        for order in [o for o in d.venue.exchange.open_orders(account) if o.client_id == BY_HAND]:
            d.venue.exchange.cancel(d.venue.now(), account, order.id)
        self.foreign = ZERO if side is SimSide.SELL else d.position - before
        self.say(d, "hand", side=side.name, moved=d.position - before)

    async def fault(self, d: DeskStack) -> None:
        where, ours = commands_of(self.name), f"account={d.venue.account.account}"
        line = self.rng.choice(
            (
                f"lost_ack where={where} probability=0.5 times=0 lasting=6",
                f"lost_request where={where} probability=0.5 times=0 lasting=6",
                f"server_error where={where} probability=0.5 times=0 lasting=6",
                f"late_fill delay=2 times=0 lasting=8 {ours}",
                f"duplicate_fill delay=0.2 times=0 lasting=8 {ours}",
                "out_of_order_fills times=0 lasting=8",
                "frozen_stream times=0 lasting=8",
            )
        )
        self.say(d, "fault", line=line.split()[0])
        d.venue.faults(line)

    async def network(self, d: DeskStack) -> None:
        if self.rng.random() < 0.5:
            self.say(d, "connections lost")
            d.venue.host.drop_connections()
            return
        self.say(d, "black hole")
        d.venue.host.set_black_hole(True)
        await asyncio.sleep(self.rng.uniform(1, 8))
        d.venue.host.set_black_hole(False)

    async def die(self, d: DeskStack) -> None:
        if self.kill is None or self.kill.dead:
            self.kill = KillAt(self.rng.randint(0, 25))
            self.say(d, "armed", steps=self.kill.left)
            d.s.story.hook = self.kill

    # ---- after it

    async def come_back(self, d: DeskStack) -> None:
        d.s.story.hook = None
        self.say(d, "killed")
        await self.drop_work()
        await d.down()
        await asyncio.sleep(self.rng.choice((1, 5, 30)))
        while True:
            try:
                await d.up()
                break
            except (VenueError, TimeoutError) as e:
                self.say(d, "not up", error=str(e))
                await d.down()
                await asyncio.sleep(5)
        for order in d.desk.emulated.orders.values():
            order.go_on()

    async def drop_work(self) -> None:
        for task in self.work:
            task.cancel()
        found = await asyncio.gather(*self.work, return_exceptions=True)
        self.work.clear()
        for error in found:
            if isinstance(error, BaseException) and not isinstance(error, EXPECTED):
                raise error

    async def end(self, d: DeskStack) -> None:
        d.venue.host.set_black_hole(False)
        d.venue.calm()
        d.s.story.hook = None
        if self.kill is not None and self.kill.dead:
            await self.come_back(d)
        await asyncio.sleep(5)
        await self.drop_work()
        d.price(self.mid)
        self.say(d, "calm")
        holding = self.holding(d)
        if holding is None:
            raise Violation("E9: the holding is not known")
        await self.reach(d, lambda: d.desk.entry_block() is None, "E10: the venue is not proved")
        await self.reach(d, lambda: not any(o.unproved for o in holding.orders(live=True)), "E2: an order stays unknown")
        await self.reach(d, lambda: holding.own == d.position - self.foreign, "E5, E11: our account is not the truth")
        assert d.s.journal is not None
        saved = {r.key.removeprefix(PREFIX): decode(r.value) for r in d.s.journal.states("test", "main")}
        lost = [name for name, value in saved.items() if value["over"] is None and name not in d.desk.emulated.orders]
        if lost:
            raise Violation(f"E9: not taken up again: {lost}")
        for order in list(d.desk.emulated.orders.values()):
            await self.reach(d, lambda o=order: self.protected(o), f"protection of {order.order_id} is not back")
        record = await asyncio.wait_for(holding.close("the storm is over"), 300)
        if record.state is not HoldingState.CLOSED or d.position != self.foreign:
            raise Violation(f"E7: {record.state} ({record.reason}) with {d.position}, of which {self.foreign} is not ours")
        if any(o.client_id != BY_HAND for o in d.venue.exchange.open_orders(d.venue.account.account)):
            raise Violation("E7: orders of ours are still open")
        twice = [i for i, n in accepted(d.venue).items() if n > 1 and i != BY_HAND]
        if twice:
            raise Violation(f"E2: accepted twice: {twice}")
        if self.wrong is not None:
            raise Violation(self.wrong)

    def protected(self, order: EmulatedOrder) -> bool:
        """Its stop, or what took its place, stands for all that it may still exit."""
        state, holding = order.state, order.holding
        if order.over is not None or isinstance(state, Iceberg) or holding.own == 0:
            return True
        exits = state.exits
        if exits.stop is None or not exits.at_venue or exits.stance is not Stance.GUARD:
            return not any(o.unproved for o in holding.orders(live=True))
        filled = order.filled
        target = filled.get("entry", ZERO) if hasattr(state, "entry_s") else state.quantity
        left = min(target - sum((filled.get(role, ZERO) for role in ("tp", "stop", "exit")), ZERO), holding.own)
        working = sum((o.remaining for o in holding.orders(live=True) if o.tag.startswith(f"{order.order_id}/stop")), ZERO)
        return working >= left or holding.reducible(Side.SELL) <= 0

    async def reach(self, d: DeskStack, what: Any, otherwise: str) -> None:
        end = asyncio.get_running_loop().time() + REST_S
        while not what():
            if asyncio.get_running_loop().time() > end:
                holding = self.holding(d)
                own = None if holding is None else (holding.own, holding.state, holding.record.reason)
                raise Violation(f"{otherwise} after {REST_S:g} s: own {own}, position {d.position}, foreign {self.foreign}")
            await asyncio.sleep(0.5)
            d.price(self.mid)


ACTS = {"buy": 6, "sell": 4, "cancel": 2, "protect": 6, "move": 8, "taken": 4, "by_hand": 1, "fault": 3, "network": 1, "die": 2}


def simulate(seed: int, folder: Path, *, name: str | None = None, trace: bool = False) -> Storm:
    """Run one seed. Raises Violation, or whatever broke."""
    names = sorted(n for n in registry.names() if n in dialects.names())
    name = name or random.Random(f"desk-venue-{seed}").choice(names)
    storm = Storm(seed, name, trace=trace)

    async def main(d: DeskStack) -> None:
        if trace:
            told = d.s.story.__call__

            def tell(event: str, pair_id: str, **facts: object) -> None:
                if not event.startswith("journal."):
                    print(f"{d.s.runtime.clock.monotonic():8.2f}     {event} {facts}", flush=True)
                told(event, pair_id, **facts)

            d.observer = tell
        await storm.run(d)

    try:
        run_desk(folder, main, name=name, start=False, seed=seed)
    except Exception as e:
        e.add_note(
            "\n".join(["", *storm.log[-40:], f"replay: python -m tests.strategies.desk_storm --seeds {seed} --venue {name} --trace"])
        )
        raise
    return storm


def _one(seed: int, name: str | None) -> tuple[int, Counter[str], str]:
    logging.disable()
    with tempfile.TemporaryDirectory(prefix="desk-storm-") as folder:
        try:
            return seed, simulate(seed, Path(folder), name=name).happened, ""
        except (Exception, Killed) as e:
            return seed, Counter(["failed"]), f"{traceback.format_exc(limit=-4)}\n{type(e).__name__}: {e}"


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Storms over random seeds against the desk.")
    parser.add_argument("--seeds", default="0:100", help="first:last+1, or one seed")
    parser.add_argument("--venue", help="always this one; default: drawn from the seed")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--trace", action="store_true", help="tell everything (one seed)")
    options = parser.parse_args(None if arguments is None else list(arguments))
    first, _, last = options.seeds.partition(":")
    seeds = range(int(first), int(last) if last else int(first) + 1)
    if options.trace:
        with tempfile.TemporaryDirectory(prefix="desk-storm-") as folder:
            simulate(seeds[0], Path(folder), name=options.venue, trace=True)
        return 0
    began, failed, totals = time.monotonic(), [], Counter[str]()
    with ProcessPoolExecutor(options.jobs) as pool:
        for done, (seed, happened, error) in enumerate(pool.map(_one, seeds, [options.venue] * len(seeds)), 1):
            totals += happened
            if error:
                failed.append(seed)
                print(f"\nseed {seed} failed\n{error}", flush=True)
            print(
                f"\r{done}/{len(seeds)} seeds, {len(failed)} failed, {(time.monotonic() - began) / done:.2f} s a seed", end="", flush=True
            )
    print(f"\n{', '.join(f'{what} {n}' for what, n in totals.most_common())}")
    print(f"{len(failed)} of {len(seeds)} failed{': ' + ', '.join(map(str, failed)) if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
