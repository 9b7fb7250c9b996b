"""What every strategy is: a checked configuration, a life, events, decisions that explain themselves, state that survives a restart."""

import asyncio
import difflib
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args

import msgspec
from pydantic import BaseModel, ValidationError

from database.records import DecisionRecord, PairState, StateRecord
from exchange_clients.book import BookChange
from exchange_clients.model import Bbo, Candle, Fill, FundingRateSample, Gap, LiquidationEvent, OrderInfo, Position, Trade
from exchange_clients.transport.clock import Clock

from .events import DeadLetters, EventFeed, EventKind, TimerEvent, Timers, VenueEvent
from .execution.desk import Desk
from .execution.engine import ExecutionEngine
from .execution.journaling import AsyncJournal
from .reload import Change, HeldConfigs

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

log = logging.getLogger("strategies")

C = TypeVar("C", bound=BaseModel)
HELD_CONFIGS = "held_configs"
CLOCK_SLACK_S = 1.0
S = TypeVar("S")


class InvalidParameters(ValueError):
    """The configuration is not usable; one line per problem, with the nearest valid name for an unknown key."""


@dataclass(frozen=True, slots=True)
class StrategyContext:
    """What a strategy sees of the world: connected clients by venue, the engine for pairs, the desk for orders, the journal, a clock."""

    clients: Mapping[str, "BaseExchangeClient"]
    engine: ExecutionEngine
    journal: AsyncJournal
    clock: Clock
    account: str
    desk: Desk


class StateNotReadable(Exception):
    """Saved state is of a version that this code does not understand; going on would lose it."""


class BaseStrategy(ABC, Generic[C]):
    """A life in four steps: `initialize` (ask, load, prove), `start` (run until stopped), `stop`, `cleanup`.

    Two ways to work, together or alone: `run_cycle` every `interval_s` (and after `wake`), and the handlers `on_...`, which are called
    with one event at a time in order of arrival while `start` runs. Handlers are synchronous: they note, decide, set timers, `wake()`. One
    that raises costs its event, which goes to the dead letters. Only what a strategy overrides is subscribed; market events come from the
    markets given to `follow`.
    """

    config_class: ClassVar[type[BaseModel]]
    name: ClassVar[str]
    state_version: ClassVar[int] = 1

    def __init__(self, config: C, context: StrategyContext) -> None:
        self._configs = HeldConfigs(config)
        self.context = context
        self.failed_cycles = 0
        self.cycles = 0
        self.handled = 0
        self._stopping = asyncio.Event()
        self._woken = asyncio.Event()
        wanted = frozenset(kind for kind in EventKind if self._overrides(f"on_{kind}"))
        self.events = EventFeed(context.clients, context.clock, wanted, self._handle)
        self.timers = Timers(context.clock, lambda event: self.events.put(EventKind.TIMER, event))
        self.dead_letters = DeadLetters(
            context.journal,
            context.clock,
            strategy=self.name,
            account=context.account,
            new_id=lambda now_ns: f"l{context.engine.ids.next(now_ns)}",
        )

    @classmethod
    def _overrides(cls, method: str) -> bool:
        return getattr(cls, method) is not getattr(BaseStrategy, method)

    @classmethod
    def get_strategy_name(cls) -> str:
        """The name in configurations."""
        return cls.name

    @classmethod
    def get_required_parameters(cls) -> list[str]:
        """Keys without a default."""
        return [name for name, field in cls.config_class.model_fields.items() if field.is_required()]

    @classmethod
    def validate_parameters(cls, values: Mapping[str, Any]) -> BaseModel:
        """The configuration as typed by a human, checked.

        Raises:
            InvalidParameters: what is wrong, key by key.
        """
        try:
            return cls.config_class.model_validate(dict(values))
        except ValidationError as e:
            raise InvalidParameters("\n".join(explain(cls.config_class, dict(item)) for item in e.errors())) from None

    # ---- life

    @abstractmethod
    async def initialize(self) -> None:
        """Before the first cycle, once; whoever assembles the bot calls it, before `start`."""

    @abstractmethod
    async def run_cycle(self) -> None:
        """One look at the world and what follows from it."""

    @property
    @abstractmethod
    def interval_s(self) -> float:
        """Seconds of wall time between two cycles."""

    async def start(self) -> None:
        """Events and cycles until `stop`. A cycle that fails is logged with its traceback and counted; the next one is due all the same.

        How late the loop was during the start-up is forgotten: imports and connects say nothing about what follows.
        """
        for client in self.context.clients.values():
            client.loop_lag.reset()
        self.events.open()
        tasks = [asyncio.create_task(self.events.run(), name=f"events:{self.name}")]
        tasks.append(asyncio.create_task(self.timers.run(), name=f"timers:{self.name}"))
        if any(self._overrides(f"on_{kind}") for kind in (EventKind.VENUE_OFFLINE, EventKind.VENUE_ONLINE, EventKind.RESET)):
            tasks.append(asyncio.create_task(self.events.watch_venues(), name=f"venues:{self.name}"))
        try:
            while not self._stopping.is_set():
                self._woken.clear()
                try:
                    await self.run_cycle()
                except Exception:
                    self.failed_cycles += 1
                    log.exception("cycle.failed strategy=%s count=%d", self.name, self.failed_cycles)
                self.cycles += 1
                await self._sleep()
        finally:
            self.events.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.dead_letters.flush()

    async def _sleep(self) -> None:
        """Until wall time is there; no longer than it takes anyway, should the machine's clock be set back meanwhile."""
        until = asyncio.create_task(self.context.clock.sleep_until_ns(self.context.clock.time_ns() + int(self.interval_s * 1_000_000_000)))
        stop = asyncio.create_task(self._stopping.wait())
        woken = asyncio.create_task(self._woken.wait())
        try:
            await asyncio.wait({until, stop, woken}, timeout=self.interval_s + CLOCK_SLACK_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (until, stop, woken):
                task.cancel()
            await asyncio.gather(until, stop, woken, return_exceptions=True)

    def wake(self) -> None:
        """The next cycle begins now; if one is running, right after it."""
        self._woken.set()

    async def stop(self) -> None:
        """No cycle after the running one."""
        self._stopping.set()

    async def cleanup(self) -> None:
        """After the last cycle."""

    def get_status(self) -> dict[str, Any]:
        """For humans and the control API."""
        return {
            "strategy": self.name,
            "cycles": self.cycles,
            "failed_cycles": self.failed_cycles,
            "events": self.handled,
            "dead_letters": self.dead_letters.count,
            "timers": self.timers.names,
            "pairs": {pair_id: r.state.value for pair_id, r in self.context.engine.pairs.items()},
        }

    # ---- configuration and ends

    @property
    def config(self) -> C:
        """In force for what is opened from now on; for what is open: `config_of`."""
        return self._configs.config

    def config_of(self, owner_id: str) -> C:
        """In force for an open pair or holding: a reload only tightens it (E39)."""
        return self._configs.of(owner_id)

    def open_owners(self) -> list[str]:
        """Ids of the pairs (and, where a strategy has them, holdings) that are not closed."""
        return [pair_id for pair_id, runner in self.context.engine.pairs.items() if runner.state is not PairState.CLOSED]

    def restore_configs(self) -> None:
        """What an earlier process promised to open pairs and holdings; whoever assembles the bot calls it before `initialize`.

        Raises:
            StateNotReadable: it cannot be read any more.
        """
        kept = self.load_state(HELD_CONFIGS, dict[str, dict[str, Any]])
        try:
            self._configs.restore(kept or {})
        except ValidationError as e:
            raise StateNotReadable(f"{self.name}: the limits kept for open positions cannot be read: {e}") from e

    async def reload(self, new: C) -> dict[str, tuple[Change, ...]]:
        """Go on with another configuration; what became of each difference, per open pair or holding. Durable when it returns."""
        changed = self._configs.change(new, self.open_owners())
        await self.save_state(HELD_CONFIGS, self._configs.dump())
        self.wake()
        return changed

    async def begin_close(self, owner_id: str, why: str) -> None:
        """Begin the end of a pair because somebody asked; it is on its way when this returns. Asking twice is asking once.

        Raises:
            LookupError: this strategy has no such open pair.
        """
        runner = self.context.engine.pairs.get(owner_id)
        if runner is None or runner.state is PairState.CLOSED:
            raise LookupError(f"{self.name} has no open pair {owner_id!r}")
        decision = self.decision("exit", "requested", why, symbol=runner.record.symbol, pair_id=owner_id)
        await self.context.engine.begin_close(owner_id, f"requested: {why}", decision)

    async def resume(self, what: str, why: str = "asked by the operator") -> None:
        """The operator has looked at a pair in ALERT: it is proved, then repaired by reducing only. It is on its way when this returns.

        Raises:
            LookupError: this strategy has nothing of that name.
            ValueError: it does not wait for an operator.
        """
        runner = self.context.engine.pairs.get(what)
        if runner is None:
            raise LookupError(f"{self.name} has no pair {what!r}")
        if runner.state is not PairState.ALERT:
            raise ValueError(f"{what} is {runner.state}, only a pair in alert can be resumed")
        await self.context.engine.resume_pair(what)

    # ---- events

    def follow(self, venue: str, symbol: str, *, bars: str = "1m") -> None:
        """Hear the market events of one market, as far as handlers for them are written; `bars` is the interval of `on_bar`."""
        self.events.follow(venue, symbol, bars=bars)

    def _handle(self, kind: EventKind, event: Any) -> None:
        self.handled += 1
        try:
            self._call(kind, event)
        except Exception as e:
            self.dead_letters.add(kind, event, e)

    def _call(self, kind: EventKind, event: Any) -> None:
        getattr(self, f"on_{kind}")(event)

    def replay_dead_letter(self, letter_id: str) -> None:
        """Hand an event that failed to its handler again, also one of an earlier run. What the handler raises is raised.

        Raises:
            LookupError: there is no such letter.
        """
        self._call(*self.dead_letters.find(letter_id))

    def on_book(self, change: BookChange) -> None:
        """The book of a followed market changed; read it from the client."""

    def on_bbo(self, bbo: Bbo) -> None: ...

    def on_trade(self, trade: Trade) -> None: ...

    def on_bar(self, bar: Candle) -> None: ...

    def on_funding(self, sample: FundingRateSample) -> None:
        """The funding rate of a followed market as the venue tells it."""

    def on_order(self, order: OrderInfo) -> None:
        """An order of the account changed; refused ones come to `on_rejection`."""

    def on_rejection(self, order: OrderInfo) -> None: ...

    def on_fill(self, fill: Fill) -> None: ...

    def on_position(self, position: Position) -> None: ...

    def on_liquidation(self, event: LiquidationEvent) -> None: ...

    def on_gap(self, gap: Gap) -> None:
        """Something may have been missed."""

    def on_venue_offline(self, event: VenueEvent) -> None: ...

    def on_venue_online(self, event: VenueEvent) -> None: ...

    def on_reset(self, event: VenueEvent) -> None:
        """What was built from that venue's events must be built anew: it was offline, or events were dropped."""

    def on_timer(self, event: TimerEvent) -> None: ...

    # ---- decisions and state

    def decision(
        self,
        kind: str,
        rule: str,
        outcome: str,
        *,
        symbol: str,
        pair_id: str | None = None,
        inputs: Mapping[str, object] | None = None,
        thresholds: Mapping[str, object] | None = None,
        ages: Mapping[str, object] | None = None,
    ) -> DecisionRecord:
        """A decision with everything that led to it; ages in seconds."""
        now_ns = self.context.clock.time_ns()
        return DecisionRecord(
            decision_id=f"d{self.context.engine.ids.next(now_ns)}",
            strategy=self.name,
            account=self.context.account,
            pair_id=pair_id,
            symbol=symbol,
            kind=kind,
            rule=rule,
            outcome=outcome,
            inputs=_texts(inputs),
            thresholds=_texts(thresholds),
            ages=_texts(ages),
            ts=now_ns,
        )

    async def save_state(self, key: str, value: object) -> None:
        """Durable when it returns."""
        await self.context.journal.write(
            StateRecord(
                strategy=self.name,
                account=self.context.account,
                key=key,
                version=self.state_version,
                value=msgspec.json.encode(value).decode(),
                updated_at=self.context.clock.time_ns(),
            ),
            or_fallback=True,
        )

    def load_state(self, key: str, kind: type[S]) -> S | None:
        """What `save_state` kept under that key, brought to the present version; None when there is none.

        Raises:
            StateNotReadable: it is of a newer version, or of an older one that `migrate_state` does not bring here.
        """
        held = self.context.journal.sync.state(self.name, self.context.account, key)
        if held is None:
            return None
        if held.version > self.state_version:
            raise StateNotReadable(
                f"{self.name}: state {key!r} is of version {held.version}, this code knows {self.state_version}: update it"
            )
        value = msgspec.json.decode(held.value)
        for version in range(held.version, self.state_version):
            value = self.migrate_state(key, version, value)
        try:
            return msgspec.convert(value, kind, strict=False)
        except msgspec.ValidationError as e:
            raise StateNotReadable(f"{self.name}: state {key!r} of version {held.version} cannot be read: {e}") from e

    def migrate_state(self, key: str, version: int, value: Any) -> Any:
        """A value saved by `version` as `version + 1` would have saved it. Override it when `state_version` grows."""
        raise StateNotReadable(f"{self.name}: state {key!r} of version {version} has no migration to {version + 1}")


def _texts(values: Mapping[str, object] | None) -> str:
    return msgspec.json.encode({k: v if isinstance(v, int | bool) or v is None else str(v) for k, v in (values or {}).items()}).decode()


def explain(model: type[BaseModel], error: Mapping[str, Any]) -> str:
    """One of pydantic's errors in words: where, what, and for an unknown name the nearest valid one. Nothing of the input is repeated."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"{where + ': ' if where else ''}{_words(error)}"
    names = sorted(_fields(model, error["loc"][:-1]))
    near = difflib.get_close_matches(str(error["loc"][-1]), names, n=1)
    return f"{where}: unknown parameter, " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}")


def _words(error: Mapping[str, Any]) -> str:
    """What is wrong, for people who know YAML and not pydantic."""
    context = error.get("ctx") or {}
    match str(error["type"]):
        case "missing":
            return "is missing"
        case "tuple_type" | "list_type" | "set_type" | "frozen_set_type":
            return "must be a list, as in [A, B]"
        case "too_short":
            return f"needs at least {context.get('min_length')}, {context.get('actual_length')} given"
        case "decimal_parsing" | "decimal_type" | "float_parsing" | "float_type":
            return "must be a number, as in 0.001"
        case "int_parsing" | "int_type" | "int_from_float":
            return "must be a whole number"
        case "bool_parsing" | "bool_type":
            return "must be true or false"
        case "string_type":
            return "must be a text"
        case "string_pattern_mismatch":
            return f"must fit {context.get('pattern')}"
    return str(error["msg"]).removeprefix("Value error, ").replace("Input should", "must").replace("must be a valid", "must be a")


def _fields(model: type[BaseModel], path: Sequence[str | int]) -> set[str]:
    """Names that are valid at a place inside a model."""
    models = [model]
    for part in path:
        if not isinstance(part, int):
            inner = [_models(m.model_fields[part].annotation) for m in models if part in m.model_fields]
            models = [found for group in inner for found in group] or models  # else a key of a mapping: its values' model is known already
    return {name for m in models for name in m.model_fields}


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models an annotation speaks of: alone, optional, in a container."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models(part)]
