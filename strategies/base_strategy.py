"""What every strategy is: a checked configuration, a life, decisions that explain themselves, state that survives a restart."""

import asyncio
import difflib
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args

import msgspec
from pydantic import BaseModel, ValidationError

from database.records import DecisionRecord, StateRecord
from exchange_clients.transport.clock import Clock

from .execution.engine import ExecutionEngine
from .execution.journaling import AsyncJournal

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

log = logging.getLogger("strategies")

C = TypeVar("C", bound=BaseModel)


class InvalidParameters(ValueError):
    """The configuration is not usable; one line per problem, with the nearest valid name for an unknown key."""


@dataclass(frozen=True, slots=True)
class StrategyContext:
    """What a strategy sees of the world: connected clients by venue, the engine, its journal, a clock."""

    clients: Mapping[str, "BaseExchangeClient"]
    engine: ExecutionEngine
    journal: AsyncJournal
    clock: Clock
    account: str


class BaseStrategy(ABC, Generic[C]):
    """A life in four steps: `initialize` (ask, load, prove), `start` (run until stopped), `stop`, `cleanup`."""

    config_class: ClassVar[type[BaseModel]]
    name: ClassVar[str]
    state_version: ClassVar[int] = 1

    def __init__(self, config: C, context: StrategyContext) -> None:
        self.config = config
        self.context = context
        self.failed_cycles = 0
        self._stopping = asyncio.Event()

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

    @abstractmethod
    async def initialize(self) -> None:
        """Before the first cycle."""

    @abstractmethod
    async def run_cycle(self) -> None:
        """One look at the world and what follows from it."""

    @property
    @abstractmethod
    def interval_s(self) -> float:
        """Seconds of wall time between two cycles."""

    async def start(self) -> None:
        """Cycles until `stop`. A cycle that fails is logged with its traceback and counted; the next one is due all the same."""
        await self.initialize()
        while not self._stopping.is_set():
            try:
                await self.run_cycle()
            except Exception:
                self.failed_cycles += 1
                log.exception("cycle.failed strategy=%s count=%d", self.name, self.failed_cycles)
            await self._sleep()

    async def _sleep(self) -> None:
        until = asyncio.create_task(self.context.clock.sleep_until_ns(self.context.clock.time_ns() + int(self.interval_s * 1_000_000_000)))
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({until, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (until, stop):
                task.cancel()
            await asyncio.gather(until, stop, return_exceptions=True)

    async def stop(self) -> None:
        """No cycle after the running one."""
        self._stopping.set()

    async def cleanup(self) -> None:
        """After the last cycle."""

    def get_status(self) -> dict[str, Any]:
        """For humans and the control API."""
        return {
            "strategy": self.name,
            "failed_cycles": self.failed_cycles,
            "pairs": {pair_id: r.state.value for pair_id, r in self.context.engine.pairs.items()},
        }

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


def _texts(values: Mapping[str, object] | None) -> str:
    return msgspec.json.encode({k: v if isinstance(v, int | bool) or v is None else str(v) for k, v in (values or {}).items()}).decode()


def explain(model: type[BaseModel], error: Mapping[str, Any]) -> str:
    """One of pydantic's errors in words: where, what, and for an unknown name the nearest valid one. Nothing of the input is repeated."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"{where or 'the configuration'}: {str(error['msg']).removeprefix('Value error, ')}"
    names = sorted(_fields(model, error["loc"][:-1]))
    near = difflib.get_close_matches(str(error["loc"][-1]), names, n=1)
    return f"{where}: unknown parameter, " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}")


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
