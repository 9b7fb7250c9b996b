"""Shadow: the bot decides on live data as it would live, and what it would have sent is written down instead of sent."""

from __future__ import annotations

from typing import Any

import msgspec

from database.journal import Journal, Record
from database.records import DecisionRecord
from exchange_clients.transport.runtime import Runtime
from strategies.execution.engine import ExecutionEngine
from strategies.execution.journaling import AsyncJournal, Observer, nobody
from strategies.execution.pair import PairRunner
from strategies.execution.plan import PairPlan

ENVIRONMENT = "shadow"


def stamped(decision: DecisionRecord, **more: Any) -> DecisionRecord:
    """The decision with the environment it was made in, and more inputs."""
    inputs = msgspec.json.decode(decision.inputs)
    return msgspec.structs.replace(decision, inputs=msgspec.json.encode({**inputs, "environment": ENVIRONMENT, **more}).decode())


class ShadowJournal(AsyncJournal):
    """Every decision carries the environment, so that it is never taken for one that was acted upon."""

    async def write(self, *records: Record, pair_id: str = "", or_fallback: bool = False) -> tuple[bool, ...]:
        marked = tuple(stamped(r) if isinstance(r, DecisionRecord) else r for r in records)
        return await super().write(*marked, pair_id=pair_id, or_fallback=or_fallback)


class ShadowEngine(ExecutionEngine):
    """An engine over virtual accounts: entries and exits are recorded with the plan that a live engine would have executed.

    The plan is then settled against the live book in the virtual account, so that holding and exit rules have something to judge.
    """

    def __init__(self, journal: Journal, clients: Any, runtime: Runtime, *, observer: Observer = nobody, **options: Any) -> None:
        super().__init__(journal, clients, runtime, observer=observer, **options)
        self.journal = ShadowJournal(journal, runtime.offload, observer)

    async def begin(self, plan: PairPlan, decision: DecisionRecord) -> PairRunner:
        return await super().begin(plan, stamped(decision, plan=msgspec.to_builtins(plan, builtin_types=(), str_keys=True)))

    async def begin_close(self, pair_id: str, reason: str, decision: DecisionRecord, *, patient: bool = False) -> PairRunner:
        runner = self.pairs[pair_id]
        own = {leg.value: str(trader.own) for leg, trader in runner.legs.items()}
        tactics = runner.plan.exit_tactics if patient else ()
        would = {"close": own, "tactics": [tactic.value for tactic in tactics], "reduce_only": True}
        return await super().begin_close(pair_id, reason, stamped(decision, plan=would), patient=patient)
