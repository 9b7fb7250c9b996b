"""One grid in one market: looks, decides, does, and writes down each change before it is acted upon."""

import asyncio
import logging
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from database.errors import JournalError
from database.records import FillCause, HoldingState, IntentState
from exchange_clients.errors import ConfigError, OrderDenied, Outcome, PostOnlyWouldCross, VenueError
from exchange_clients.model import NS_PER_S, ZERO, Instrument, Purpose, TimeInForce
from strategies.base_strategy import InvalidParameters
from strategies.execution.desk import Desk, DeskOrder, Holding, HoldingPlan, Ticket, TicketRefused
from strategies.gate import Check

from .config import GridConfig
from .entries import fullness
from .gate import PATIENCE_S, EntryGate, Purse
from .prices import Prices
from .rules import decide
from .state import GridOrder, GridState, Happened, Phase, Role, Seen, absorb, cancelling, placed, resumed
from .view import Action, Cancel, CloseLot, GridView, Overdue, Pause, Place, Recentre, Turn, Wait, applied

if TYPE_CHECKING:
    from .strategy import Grid

log = logging.getLogger("strategies.grid")

MAX_ROUNDS = 20
GATE_PAUSE_S = 5.0
KEEP_ORDERS = 500
"""A holding with so many orders is closed when it is empty, and the next entry opens a new one: memory stays bounded."""
FORGET_EVERY_S, FORGET_AFTER_NS = 600.0, 3600 * NS_PER_S
"""So often orders that ended so long ago leave memory; the journal keeps them."""
QUIET_WAITS = frozenset({"wait_time", "entry_rests", "ladder", "book", "fresh_book", "gate"})
"""The ordinary rhythm of a grid; other reasons for not entering are written down when they change."""


class GridRunner:
    """All that belongs to one symbol. `step` is never entered twice at a time."""

    def __init__(self, strategy: "Grid", desk: Desk, instrument: Instrument, purse: Purse) -> None:
        self.strategy, self.desk, self.instrument = strategy, desk, instrument
        self.context, self.clock = strategy.context, strategy.context.clock
        self.client = strategy.context.clients[instrument.id.venue]
        self.state = GridState()
        self.holding: Holding | None = None
        self.wait: Wait | None = None
        self._saved = GridState()
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._gate = EntryGate(self.client, instrument, self.clock, purse, strategy.wake)
        self._gate_block: tuple[str, float] | None = None
        self._prices = Prices(self.client, instrument, self.clock)
        self._told_waiting = ZERO
        self._next_forget_s = 0.0
        self.liquidated = ""
        """The venue's words, when it has liquidated something here; the next look stops the grid."""
        self._busy = asyncio.Lock()

    @property
    def key(self) -> str:
        """Under which the state is kept."""
        return f"grid:{self.instrument.id}"

    @property
    def config(self) -> GridConfig:
        """The limits of what is open; of the newest configuration while nothing is."""
        return self.strategy.config if self.holding is None else self.strategy.config_of(self.holding.holding_id)

    @property
    def resting_usd(self) -> Decimal:
        """What resting entries may still add."""
        return sum((o.remaining * o.price for o in self.state.entries()), ZERO)

    @property
    def held_usd(self) -> Decimal:
        """What the lots are worth at cost."""
        return sum((lot.cost for lot in self.state.lots), ZERO)

    # ---- life

    async def restore(self) -> None:
        """Take over what an earlier process left: its state, its holding, and every order by its client order id."""
        self.state = self._saved = self.strategy.load_state(self.key, GridState) or GridState()
        found = self.desk.find(str(self.instrument.id))
        if found is not None:
            self._check_kept(found)
            self._hold(found)
        now = "" if found is None else found.holding_id
        if now != self.state.holding_id:
            log.warning("grid.holding_changed symbol=%s before=%r now=%r", self.instrument.id, self.state.holding_id, now)
            self.state = msgspec.structs.replace(self.state, holding_id=now, lots=(), orders=())
        await self._save()

    def _check_kept(self, holding: Holding) -> None:
        """What is held was entered for one mode and direction; under another it would be sold at any price."""
        kept, c = msgspec.json.decode(msgspec.json.decode(holding.record.plan, type=HoldingPlan).text), self.config
        if (kept["mode"], kept["direction"]) != (c.mode.value, c.direction):
            raise InvalidParameters(
                f"mode, direction: {holding.holding_id} in {self.instrument.id} ({holding.own} held) was opened as {kept['mode']}"
                f" {kept['direction']}, not {c.mode} {c.direction}: close it first (perpkit close {holding.holding_id}), or set them back"
            )

    def _hold(self, holding: Holding) -> None:
        self.holding = holding
        holding.listen(lambda _: self.strategy.wake())

    async def step(self) -> None:
        """One look and all that follows from it, until nothing does."""
        async with self._busy:
            if self.liquidated:
                await self._liquidation()
            if self.holding is not None and self.holding.state in (HoldingState.CLOSING, HoldingState.CLOSED):
                await self._follow_the_close(self.holding)
                return
            for _ in range(MAX_ROUNDS):
                await self._book()
                actions = await self._decide()
                if not await self._act(actions):
                    return

    async def _follow_the_close(self, holding: Holding) -> None:
        """The desk is closing the holding, or has: nothing is sent beside it, and the grid halts where it ends."""
        if self.state.phase is Phase.RUNNING:
            await self._turn(Turn(Phase.STOPPING, "holding_closed", holding.record.reason))
        await self._turn(Turn(Phase.HALTED, "stopped", self.state.reason))

    async def _liquidation(self) -> None:
        what, self.liquidated = self.liquidated, ""
        if self.state.phase is Phase.RUNNING:
            await self._turn(Turn(Phase.STOPPING, "liquidation", what))

    async def _look_for_liquidation(self, holding: Holding) -> None:
        """The books know it also where the event was missed: while the process was away, or told before or after the fill."""
        forced = [f for f in holding.share.fills.values() if f.kind is FillCause.LIQUIDATION]
        if len(forced) > self.state.liquidations:
            self.state = msgspec.structs.replace(self.state, liquidations=len(forced))
            self.liquidated = f"{forced[-1].quantity} at {forced[-1].price}"
            await self._liquidation()

    async def ask_to_stop(self, rule: str, why: str) -> None:
        """Cancel, close, halt, because somebody asked or something happened."""
        async with self._busy:
            if self.state.phase in (Phase.RUNNING, Phase.ALERT):
                await self._turn(Turn(Phase.STOPPING, rule, why))
        self.strategy.wake()

    async def resume(self, why: str) -> None:
        """The operator has looked: run again.

        Raises:
            ValueError: it is not halted, or the venue does not agree with our account of the position yet.
        """
        async with self._busy:
            alert = self.holding is not None and self.holding.state is HoldingState.ALERT
            if self.state.phase not in (Phase.HALTED, Phase.ALERT) and not alert:
                raise ValueError(f"the grid of {self.instrument.id} is {self.state.phase}: there is nothing to resume")
            if self.holding is not None and alert:
                await self.desk.resume(self.holding.holding_id)
            await self._decided("resume", "requested", why)
            self.state = resumed(self.state)
            await self._save()
        self.strategy.wake()

    async def drop(self) -> None:
        """End what is being sent; the desk knows each such order."""
        for task in self._sending.values():
            task.cancel()
        await asyncio.gather(*self._sending.values(), self._gate.drop(), return_exceptions=True)

    # ---- looking

    async def _book(self) -> None:
        """Take in what the desk has proved since the last look."""
        if self.holding is None:
            return
        holding, own = self.holding, self.holding.own
        seen = {o.client_order_id: fact for o in self.state.orders if (fact := self._seen(o, holding.order(o.client_order_id))) is not None}
        at = holding.market.last_price if self._prices.touch is None else self._prices.touch.mid
        self.state, told = absorb(self.state, seen, own, now_ns=self.clock.time_ns(), price=at)
        for item in told:
            self._say(item)
        if any(item.event == "grid.position_changed" for item in told):
            await self._look_for_liquidation(holding)
        if self.holding.state is HoldingState.OPEN:
            ours = {o.client_order_id for o in self.state.orders}
            for order in holding.orders(live=True):
                if order.client_order_id not in ours:
                    log.warning("grid.unknown_order symbol=%s id=%s", self.instrument.id, order.client_order_id)
                    order.cancel()
        self._tell_waiting()
        await self._save()
        self._forget(holding, FORGET_AFTER_NS)

    def _forget(self, holding: Holding, after_ns: int) -> None:
        """A grid lives for months, and no rule of it looks at what ended long ago."""
        now_s = self.clock.monotonic()
        if now_s < self._next_forget_s:
            return
        self._next_forget_s = now_s + FORGET_EVERY_S
        holding.forget(self.clock.time_ns() - after_ns, keep={o.client_order_id for o in self.state.orders})

    def _insist(self, holding: Holding) -> None:
        """A decided cancel is asked for until its end is proved: the order may not have been there yet, or the process was another one."""
        for order in self.state.orders:
            known = holding.order(order.client_order_id) if order.cancelling else None
            if known is not None and known.live:
                known.cancel()

    def _seen(self, order: GridOrder, known: DeskOrder | None) -> Seen | None:
        if order.client_order_id in self._sending and (known is None or not known.live):
            return None
        if known is None:
            return Seen(client_order_id=order.client_order_id, finished=True, unsent=True)
        error = known.refusal
        kept_back = error is not None and error.outcome is Outcome.NOT_SENT and not isinstance(error, OrderDenied | ConfigError)
        unsent = known.state is IntentState.ABSENT or kept_back
        return Seen(
            client_order_id=order.client_order_id,
            filled=known.filled,
            cost=known.cost,
            quantity=known.quantity,
            finished=not known.live,
            refused="" if unsent else known.refused or "",
            crossed=not known.live and known.filled == 0 and not order.cancelling and not unsent,
            unsent=unsent,
            since_ns=self._first_fill_ns(order) if order.role is Role.ENTRY and known.filled > order.filled else None,
        )

    def _first_fill_ns(self, order: GridOrder) -> int | None:
        """By the venue's clock: it may have been long before this look, when the process was away."""
        fills = () if self.holding is None else self.holding.share.fills.values()
        return min((f.ts_venue for f in fills if f.client_order_id == order.client_order_id), default=None)

    def _tell_waiting(self) -> None:
        """What is too small for a take-profit is told when it changes."""
        waiting = self.state.waiting()
        if waiting != self._told_waiting and not self._sending:
            self._told_waiting = waiting
            self._say(Happened("grid.waiting", {"quantity": waiting, "own": self.state.own}))

    def _say(self, item: Happened) -> None:
        if self.holding is not None:
            self.holding.share.say(item.event, **item.facts)
        log.info("%s symbol=%s %s", item.event, self.instrument.id, " ".join(f"{k}={v}" for k, v in item.facts.items()))

    async def _decide(self) -> list[Action]:
        """The rules over what is known; the book is asked for only when they need it."""
        age_s = float(self.config.max_book_age_seconds)
        self._prices.take_streamed()
        actions = decide(self._view())
        waits = any(isinstance(a, Wait) and a.rule in ("book", "fresh_book") for a in actions)
        last = None if self.holding is None else self.holding.market.last_price
        needed = self._needs_price()
        if (waits or needed) and await self._prices.ask(age_s, for_exit=needed, last=last):
            return decide(self._view())
        return actions

    def _needs_price(self) -> bool:
        """Whether a rule waits for a price that is not there. A stream that is up and quiet has not moved: it is asked now and then."""
        c, t, phase = self.config, self.config.two_sided, self.state.phase
        if phase is Phase.STOPPING or any(lot.closing for lot in self.state.lots):
            return self._prices.fresh(float(c.max_book_age_seconds)) is None
        limits = (c.stop_price, c.pause_price, t.stop_low, t.stop_high, t.pause_low, t.pause_high)
        judged = bool(self.state.lots) and (c.stop_loss_enabled or c.boost_mode)
        wanted = judged or any(x is not None for x in limits)
        return phase is Phase.RUNNING and wanted and self._prices.recent(float(c.max_book_age_seconds)) is None

    def _view(self) -> GridView:
        block = self.desk.entry_block(self.instrument.id.venue) if self.holding is None else self.holding.entry_block()
        gate_block = None
        if self._gate_block is not None and self.clock.monotonic() < self._gate_block[1]:
            gate_block = self._gate_block[0]
        age_s = float(self.config.max_book_age_seconds)
        return GridView(
            now_ns=self.clock.time_ns(),
            config=self.config,
            instrument=self.instrument,
            state=self.state,
            touch=self._prices.fresh(age_s),
            touch_ns=self._prices.touch_ns,
            quote=self._prices.recent(age_s) or self._prices.stand_in,
            entry_block=block,
            gate_block=gate_block,
            below_minimum=self.client.capabilities.reduce_only_below_minimum,
        )

    # ---- doing

    async def _act(self, actions: Sequence[Action]) -> bool:
        """Do what was decided; True when it makes sense to look again at once."""
        again = False
        entries = [a for a in actions if isinstance(a, Place) and a.role is Role.ENTRY]
        sends: list[GridOrder] = []
        for action in actions:
            match action:
                case Turn():
                    await self._turn(action)
                    again = True
                case CloseLot(rule=rule, detail=detail):
                    await self._decided("exit", rule, detail)
                    self.state, again = applied(self.state, action, self.clock.time_ns()), True
                case Overdue(detail=detail):
                    await self._decided("hold", "position_timeout", detail)
                    self.state = applied(self.state, action, self.clock.time_ns())
                case Pause(rule=rule, detail=detail):
                    await self._decided("pause" if rule else "resume", rule or "pause_price", detail)
                    self.state = applied(self.state, action, self.clock.time_ns())
                case Recentre(detail=detail, reference=reference):
                    await self._decided("recentre", "recentre", f"{detail}; the ladder stands around {reference:f}")
                    self.state, again = applied(self.state, action, self.clock.time_ns()), True
                case Cancel(client_order_id=client_order_id):
                    self.state = cancelling(self.state, client_order_id)
                case Place() if action.role.reduces:
                    sends.append(self._draw(action))
                case Wait():
                    await self._waits(action)
                case Place():
                    pass
                case _:
                    self.state, again = applied(self.state, action, self.clock.time_ns()), True
        await self._go(sends)  # before the gate of entries is asked: it may take its time (E18)
        if entries:
            await self._enter(entries)
        return again

    async def _enter(self, entries: list[Place]) -> None:
        """Ask the gate and send. One grid at a time, from the count of the money until its orders count: nothing is spent twice (E21)."""
        turn = self.strategy.entering
        try:
            await asyncio.wait_for(turn.acquire(), PATIENCE_S)
        except TimeoutError:
            return await self._waits(Wait("gate", "another grid of the account is entering"))
        try:
            if await self._may_enter(entries):
                await self._go([self._draw(a) for a in entries])
        finally:
            turn.release()

    def _draw(self, action: Place) -> GridOrder:
        """An order with its name, in the state: written down before the desk hears of it."""
        now_ns = self.clock.time_ns()
        name = self.client.new_client_order_id()
        order = GridOrder(
            client_order_id=name,
            role=action.role,
            side=action.side,
            price=action.price,
            quantity=action.quantity,
            lot=action.lot if action.role.reduces else name,
            line=action.line,
            placed_ns=now_ns,
        )
        self.state = placed(self.state, order, now_ns)
        return order

    async def _go(self, sends: list[GridOrder]) -> None:
        """State first, then the venue. What adds is not sent when the state cannot be kept."""
        kept = await self._save()
        if self.holding is None:
            return
        self._insist(self.holding)
        for planned in sends:
            if kept or planned.role.reduces:
                task = asyncio.create_task(self._send(self.holding, planned), name=f"{self.key}:{planned.client_order_id}")
                self._sending[planned.client_order_id] = task

    async def _send(self, holding: Holding, order: GridOrder) -> None:
        entry = order.role is Role.ENTRY
        wanted = self.state.order(order.client_order_id)
        if wanted is None or wanted.cancelling:
            self._sending.pop(order.client_order_id, None)
            return
        ticket = Ticket(
            side=order.side,
            quantity=order.quantity,
            price=order.price,
            time_in_force=TimeInForce.IOC if order.role is Role.CLOSE else TimeInForce.GTC,
            post_only=entry,
            reduce_only=not entry,
            purpose=Purpose.ENTRY if entry else Purpose.CLOSE,
            reason=f"{order.role} of line {order.line}" if order.line else order.role.value,
            tag=order.role.value if order.role is Role.ENTRY else f"{order.role}:{order.lot}",
            client_order_id=order.client_order_id,
        )
        try:
            sent = await holding.place(ticket)
            if entry and sent.refused is not None and not isinstance(sent.refusal, PostOnlyWouldCross):
                self._block_entries(sent.refused)
        except (TicketRefused, JournalError, VenueError) as e:
            log.warning("grid.not_sent symbol=%s role=%s error=%s", self.instrument.id, order.role, e)
            if entry:
                self._block_entries(str(e))
        finally:
            self._sending.pop(order.client_order_id, None)
            self.strategy.wake()

    async def _turn(self, action: Turn) -> None:
        kind = {Phase.STOPPING: "stop", Phase.HALTED: "halt", Phase.ALERT: "alert"}.get(action.phase, "resume")
        if action.phase is Phase.HALTED and self.holding is not None:
            record = await self.holding.close(action.detail)
            if record.state is not HoldingState.CLOSED:
                action = Turn(Phase.ALERT, "not_proved_flat", record.reason)
                kind = "alert"
        await self._decided(kind, action.rule, action.detail)
        self.state = applied(self.state, action, self.clock.time_ns())
        if action.phase is Phase.HALTED:
            self._release()
        self._say(Happened(f"grid.{action.phase}", {"rule": action.rule, "detail": action.detail}))
        await self._save()

    def _release(self) -> None:
        """The holding is proved closed: what it could not sell is nobody's of ours any more, and was told."""
        self.state = msgspec.structs.replace(self.state, holding_id="", lots=(), orders=(), reference=None, liquidations=0)
        self.holding = None

    # ---- entering

    async def _may_enter(self, entries: list[Place]) -> bool:
        """Every gate, the decision on disk, and a holding to enter in."""
        all_grids = self.strategy.grids.values()
        resting = sum((g.resting_usd for g in all_grids), ZERO)
        held = sum((g.held_usd for g in all_grids), ZERO)
        adding = sum((a.quantity * a.price for a in entries), ZERO)
        touch = self._prices.touch
        if touch is None:
            return False
        passed = await self._gate.ask(self.config, touch, self._prices.touch_ns, held=held, adding=resting + adding)
        if passed is None:
            await self._waits(Wait("gate", "the venue is still being asked"))
            return False
        if passed.refused:
            first = passed.refused[0]
            self._block_entries(f"{first.rule}: {first.detail}")
            await self._waits(Wait(first.rule, "; ".join(f"{c.rule} {c.detail}" for c in passed.refused)))
            return False
        self.state = msgspec.structs.replace(self.state, leverage=passed.leverage)
        if self.config.dry_run:
            await self._waits(Wait("dry_run", _words(entries)))
            return False
        try:
            await self._open_holding()
            await self._decided("enter", entries[0].rule, _words(entries), checks=passed.checks, strict=True)
        except (TicketRefused, JournalError, VenueError) as e:
            self._block_entries(str(e))
            await self._waits(Wait("holding", str(e)))
            return False
        self.wait = None
        return True

    async def _open_holding(self) -> None:
        """At the first entry; and a new one in place of one that has seen too many orders."""
        if self.holding is not None and not self.state.lots and not self.state.orders and len(self.holding.orders()) >= KEEP_ORDERS:
            record = await self.holding.close("empty, and has seen many orders: a new one takes over")
            if record.state is not HoldingState.CLOSED:
                raise TicketRefused("holding", f"{record.holding_id} could not be closed for a new one: {record.reason}")
            self.holding.forget(self.clock.time_ns(), keep=())
            self._release()
        if self.holding is None:
            sign = 0 if self.config.two_sides else self.config.side.sign
            text = self.config.model_dump_json()
            opened = await self.desk.open_holding(str(self.instrument.id), text, sign=sign, reason=self.config.mode.value)
            self._hold(opened)
            self.state = msgspec.structs.replace(self.state, holding_id=opened.holding_id)
            await self._save()

    def _block_entries(self, why: str) -> None:
        self._gate_block = (why, self.clock.monotonic() + GATE_PAUSE_S)

    # ---- writing down

    async def _waits(self, wait: Wait) -> None:
        """A no is a decision too; written when its rule changes."""
        changed = self.wait is None or self.wait.rule != wait.rule
        self.wait = wait
        if changed and wait.rule not in QUIET_WAITS:
            await self._decided("skip", wait.rule, wait.detail)

    async def _decided(self, kind: str, rule: str, detail: str, *, checks: Sequence[Check] = (), strict: bool = False) -> None:
        """With its inputs, thresholds and ages. An exit is never held up by the disk; an entry (`strict`) is.

        Raises:
            JournalError: only when `strict`.
        """
        c, s, v = self.config, self.state, self._view()
        record = self.strategy.decision(
            kind,
            rule,
            detail,
            symbol=self.instrument.symbol,
            pair_id=s.holding_id or None,
            inputs={
                "mode": c.mode,
                "bid": None if v.quote is None else v.quote.bid,
                "ask": None if v.quote is None else v.quote.ask,
                "price_from": None if v.quote is None else v.quote.source,
                "own": s.own,
                "lots": len(s.lots),
                "entries": len(s.entries()),
                "exits": len(s.exits()),
                "waiting": s.waiting(),
                "fullness": None if c.two_sides else f"{fullness(v):.3f}",
                "reference": s.reference,
                "leverage": s.leverage,
                "round_trips": s.round_trips,
                "gained": s.gained,
            },
            thresholds={**_limits(c), **({"checks": "; ".join(f"{x.rule}: {x.detail}" for x in checks)} if checks else {})},
            ages={"book_s": None if self._prices.touch is None else f"{(v.now_ns - v.touch_ns) / NS_PER_S:.3f}"},
        )
        try:
            await self.context.journal.write(record, pair_id=s.holding_id, or_fallback=not strict)
        except JournalError as e:
            if strict:
                raise
            log.error("journal.lost grid=%s decision=%s error=%s", self.instrument.id, rule, e)

    async def _save(self) -> bool:
        """The state as it is now, durably; False when it could not be kept."""
        if self.state == self._saved:
            return True
        state = self.state
        try:
            await self.strategy.save_state(self.key, state)
        except JournalError as e:
            log.error("journal.lost grid=%s error=%s", self.instrument.id, e)
            return False
        self._saved = state
        return True

    def status(self) -> dict[str, object]:
        """For humans and the control API."""
        s = self.state
        exits = s.exits()
        return {
            "phase": s.phase.value,
            "reason": s.reason,
            "holding": s.holding_id,
            "own": str(s.own),
            "lots": [{"quantity": str(x.quantity), "price": f"{x.price:f}", "closing": x.closing} for x in s.lots],
            "entries": len(s.entries()),
            "take_profits": str(sum((o.remaining for o in exits), ZERO)),
            "waiting_for_more": str(s.waiting()),
            "paused": s.paused,
            "waits": "" if self.wait is None else f"{self.wait.rule}: {self.wait.detail}",
            "reference": None if s.reference is None else f"{s.reference:f}",
            "round_trips": s.round_trips,
            "gained": f"{s.gained:.6f}",
        }


def _words(entries: Sequence[Place]) -> str:
    return ", ".join(f"{a.side} {a.quantity} at {a.price:f}" for a in entries)


def _limits(c: GridConfig) -> dict[str, object]:
    names = (
        "grid_step", "take_profit", "take_profit_basis", "order_notional_usd", "max_orders", "max_margin_usd", "wait_time", "stop_price",
        "pause_price", "stop_loss_percentage", "position_timeout_minutes", "recovery_mode",
    )  # fmt: skip
    return {name: value for name in names if (value := getattr(c, name)) is not None}
