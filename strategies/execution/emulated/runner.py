"""An emulated order at work: look at what is proved, ask the pure rules, write the state down, act. One task each."""

import asyncio
import logging
from decimal import Decimal
from functools import singledispatch
from typing import TYPE_CHECKING

import msgspec

from database.errors import JournalError
from database.records import HoldingState, IntentState, StateRecord
from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_S

from ..holding import Holding
from ..pauses import growing
from ..pricing import rung
from ..ticket import DeskOrder, Ticket, TicketRefused
from . import bracket, iceberg, oco, trailing
from .base import Action, Cancel, Finish, OrderView, Place, PlaceGroup, RoleView, Seen, Tell
from .bracket import Bracket
from .exits import EXIT_ROLES, MAX_ATTEMPTS, Exits
from .iceberg import Iceberg
from .oco import Oco
from .prices import PriceWatch
from .trailing import Trailing

if TYPE_CHECKING:
    from ..desk import Desk

log = logging.getLogger("strategies.execution")

State = Oco | Bracket | Trailing | Iceberg

VERSION = 1
PREFIX = "emulated:"
LOOK_S = 1.0
IDLE_S = 5.0
SAVE_NS = NS_PER_S
MAX_BACKOFF_S = 10.0


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """An emulated order as journaled; `over` says how it ended."""

    holding_id: str
    state: State
    withdrawn: bool = False
    over: str | None = None
    good: bool = True


@singledispatch
def decide(state: object, seen: Seen) -> tuple[State, list[Action]]:
    """The rules of a kind."""
    raise TypeError(f"no rules for {type(state).__name__}")


decide.register(Oco, oco.decide)
decide.register(Bracket, bracket.decide)
decide.register(Trailing, trailing.decide)
decide.register(Iceberg, iceberg.decide)


class EmulatedOrder:
    """One of them. `ended()` gives how it ended; `withdraw()` takes it back."""

    def __init__(self, order_id: str, holding: Holding, desk: "Desk", saved: Saved, *, restarted: bool) -> None:
        self.order_id, self.holding, self.saved = order_id, holding, saved
        self._desk, self._restarted = desk, restarted
        self._changed, self._over = asyncio.Event(), asyncio.Event()
        self._dirty, self._saved_ns = False, 0
        self._denied: dict[str, tuple[int, str]] = {}
        self._ready_s: dict[str, float] = {}
        self._watch: PriceWatch | None = None
        self._unlisten = holding.listen(lambda _: self._changed.set())
        self.task: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        """Where it stands."""
        return self.saved.state

    @property
    def over(self) -> str | None:
        """How it ended, None while it lives."""
        return self.saved.over

    @property
    def filled(self) -> dict[str, Decimal]:
        """Own fills by role."""
        return {role: view.filled for role, view in self._roles().items()}

    @property
    def claims(self) -> Decimal:
        """How much of what is held it still has to bring out."""
        state, filled = self.state, self.filled
        if self.over is not None or isinstance(state, Iceberg):
            return Decimal(0)
        target = filled.get(bracket.ENTRY, Decimal(0)) if isinstance(state, Bracket) else state.quantity
        return max(target - sum((filled.get(role, Decimal(0)) for role in EXIT_ROLES), Decimal(0)), Decimal(0))

    async def ended(self) -> str:
        """How it ended, once it has."""
        await self._over.wait()
        return self.saved.over or ""

    def withdraw(self) -> None:
        """Take its orders off the book and be done; what it protected is then not protected any more."""
        self.saved = msgspec.structs.replace(self.saved, withdrawn=True)
        self._dirty = True
        self._changed.set()

    def go_on(self) -> None:
        """An iceberg that adds and was interrupted by a restart goes on."""
        if isinstance(self.state, Iceberg):
            self.saved = msgspec.structs.replace(self.saved, state=msgspec.structs.replace(self.state, paused=False))
            self._dirty = True
            self._changed.set()

    def start(self) -> None:
        """Go to work."""
        exits = self._exits
        if exits is not None:
            limits = self.holding.limits
            self._watch = PriceWatch(
                self.holding.client,
                self.holding.instrument,
                exits.watch,
                clock=self._desk.clock,
                age_s=limits.book_age_s,
                on_price=self._changed.set,
            )
            self._watch.start()
        self.task = asyncio.create_task(self._run(), name=f"emulated:{self.order_id}")

    @property
    def _exits(self) -> Exits | None:
        return None if isinstance(self.state, Iceberg) else self.state.exits

    @property
    def unwatched_without_us(self) -> bool:
        """Its stop is not at the venue: nobody pulls it while this process does not run."""
        exits = self._exits
        return self.over is None and exits is not None and exits.stop is not None and not exits.at_venue

    async def stop(self) -> None:
        """End the task; orders stay as they are."""
        self._unlisten()
        if self._watch is not None:
            await self._watch.stop()
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self.over is None:
                self._changed.clear()
                if self.holding.state is HoldingState.CLOSED:
                    await self._finish(Finish("the holding was closed"))
                elif self.holding.recovered and self.holding.state is not HoldingState.CLOSING and await self._turn():
                    continue
                try:
                    async with asyncio.timeout(IDLE_S if self._watch is None else LOOK_S):
                        await self._changed.wait()
                except TimeoutError:
                    pass
        except Exception:
            log.exception("emulated.failed id=%s holding=%s", self.order_id, self.holding.holding_id)
            await self._finish(Finish("the emulation failed; see the log", good=False))
        self._unlisten()
        if self._watch is not None:
            await self._watch.stop()

    async def _turn(self) -> bool:
        """Look, decide, write down, act; True when something was done that may call for more at once."""
        price = None if self._watch is None else await self._watch.read()
        roles = self._roles()
        if self.saved.withdrawn:
            actions: list[Action] = [Cancel(name) for name, role in roles.items() if role.live] or [Finish("withdrawn")]
            before = self.state
        else:
            seen = Seen(now_ns=self._desk.clock.time_ns(), own=self.holding.own, price=price, roles=roles, restarted=self._restarted)
            before = self.state
            state, actions = decide(before, seen)
            self.saved = msgspec.structs.replace(self.saved, state=state)
        self._restarted = False
        actions = [a for a in actions if not (isinstance(a, Place) and self._desk.clock.monotonic() < self._ready_s.get(a.role, 0.0))]
        self._dirty |= self.state != before
        await self._save_if(bool(actions))
        done = False
        for action in actions:
            done = await self._act(action) or done
        return done

    def _roles(self) -> dict[str, RoleView]:
        found: dict[str, list[DeskOrder]] = {}
        prefix = f"{self.order_id}/"
        for order in self.holding.orders():
            if order.tag.startswith(prefix):
                found.setdefault(order.tag[len(prefix) :].rstrip("!"), []).append(order)
        names = found.keys() | self._denied.keys()
        return {name: self._role(name, found.get(name, [])) for name in names}

    def _role(self, name: str, orders: list[DeskOrder]) -> RoleView:
        dry = refused = 0
        most_refused = Decimal(0)
        for order in reversed(orders):
            if order.live or order.filled > 0:
                break
            dry += 1
        for order in reversed(orders):
            if order.state is not IntentState.REFUSED:
                break
            refused += 1
            most_refused = max(most_refused, order.quantity)
        denied, why = self._denied.get(name, (0, ""))
        last = orders[-1].intent.note if orders else ""
        return RoleView(
            live=tuple(
                OrderView(remaining=o.remaining, trigger_price=o.intent.trigger_price, unproved=o.unproved) for o in orders if o.live
            ),
            filled=sum((o.filled for o in orders), Decimal(0)),
            sent=len(orders),
            dry=dry,
            refused=refused,
            most_refused=most_refused,
            denied=denied,
            why=why or last,
        )

    # ---- acting

    async def _act(self, action: Action) -> bool:
        match action:
            case Place():
                return await self._place(action)
            case PlaceGroup():
                return await self._place_group(action)
            case Cancel():
                for order in self.holding.orders(tag=f"{self.order_id}/{action.role}", live=True):
                    order.cancel()
                for order in self.holding.orders(tag=f"{self.order_id}/{action.role}!", live=True):
                    order.cancel()
            case Tell():
                log.warning("%s id=%s holding=%s reason=%s", action.event, self.order_id, self.holding.holding_id, action.reason)
                self.holding.share.say(action.event, id=self.order_id, reason=action.reason)
            case Finish():
                await self._finish(action)
        return False

    def _ticket(self, place: Place, suffix: str = "") -> Ticket:
        return Ticket(
            side=place.side,
            quantity=place.quantity,
            price=place.price,
            time_in_force=place.time_in_force,
            post_only=place.post_only,
            reduce_only=place.reduce_only,
            purpose=place.purpose,
            reason=place.reason,
            tag=f"{self.order_id}/{place.role}{suffix}",
            order_type=place.order_type,
            trigger_price=place.trigger_price,
            within_bps=rung(self.holding.limits.reduce_bps, place.attempt) if place.price is None and place.reduce_only else None,
        )

    async def _place(self, place: Place) -> bool:
        try:
            order = await self.holding.place(self._ticket(place))
        except (TicketRefused, VenueError, JournalError) as e:
            self._deny(place.role, str(e))
            if place.role in EXIT_ROLES and self._denied[place.role][0] == MAX_ATTEMPTS:
                await self._unprotected(place, e)
            return False
        self._denied.pop(place.role, None)
        self._wait(place.role, 0 if order.live or order.filled > 0 else place.attempt + 1)
        return True

    async def _unprotected(self, place: Place, error: Exception) -> None:
        """An exit goes on being tried; but a human has to hear of it, and to look where it is a rule of ours that is against it (E20)."""
        why = f"{place.role} of {place.quantity} cannot be sent: {error}"
        log.error("protection.failed id=%s holding=%s reason=%s", self.order_id, self.holding.holding_id, why)
        self.holding.share.say("protection.failed", id=self.order_id, reason=why)
        if isinstance(error, TicketRefused) and self.holding.state is HoldingState.OPEN:
            await self.holding.move(HoldingState.ALERT, f"{self.order_id}: {why}")

    async def _place_group(self, group: PlaceGroup) -> bool:
        try:
            await self.holding.place_group(self._ticket(group.entry), [self._ticket(p, "!") for p in group.exits])
        except (TicketRefused, VenueError, JournalError) as e:
            self._deny(group.entry.role, str(e))
        return True

    def _deny(self, role: str, why: str) -> None:
        count, before = self._denied.get(role, (0, ""))
        self._denied[role] = (count + 1, why)
        self._wait(role, count + 1)
        if why != before:
            self.holding.share.say("emulated.waits", id=self.order_id, role=role, reason=why)

    def _wait(self, role: str, count: int) -> None:
        pause = growing(self.holding.limits.poll_s, count, MAX_BACKOFF_S) if count else 0.0
        self._ready_s[role] = self._desk.clock.monotonic() + pause
        if pause:
            asyncio.get_running_loop().call_later(pause, self._changed.set)

    async def _finish(self, finish: Finish) -> None:
        self.saved = msgspec.structs.replace(self.saved, over=finish.reason, good=finish.good)
        await self.save()
        self.holding.share.say("emulated.over", id=self.order_id, reason=finish.reason, good=finish.good)
        if not finish.good:
            self._withdraw_adding()
        if not finish.good and self.holding.state is HoldingState.OPEN and self.holding.own != 0:
            await self.holding.move(HoldingState.ALERT, f"{self.order_id}: {finish.reason}")
        self._over.set()

    def _withdraw_adding(self) -> None:
        """Nobody would protect what still filled."""
        for order in self.holding.orders(live=True):
            if order.tag.startswith(f"{self.order_id}/") and not order.intent.reduce_only:
                order.cancel()

    # ---- on disk

    async def _save_if(self, acting: bool) -> None:
        """Before anything is done; what only follows the price at most once a second."""
        if self._dirty and (acting or self._desk.clock.time_ns() - self._saved_ns >= SAVE_NS):
            await self.save()

    async def save(self, *, first: bool = False) -> None:
        """The state is on disk, or at least in memory: a protection is not held up by the disk. `first`: it must be on disk.

        Raises:
            JournalError: it is the first time and cannot be recorded.
        """
        now_ns = self._desk.clock.time_ns()
        record = StateRecord(
            strategy=self._desk.strategy,
            account=self._desk.account,
            key=f"{PREFIX}{self.order_id}",
            version=VERSION,
            value=msgspec.json.encode(self.saved).decode(),
            updated_at=now_ns,
        )
        try:
            await self._desk.journal.write(record, pair_id=self.holding.holding_id, or_fallback=not first)
        except JournalError as e:
            if first:
                raise
            log.error("journal.lost emulated=%s error=%s", self.order_id, e)
        self._dirty, self._saved_ns = False, now_ns
