"""What the risk engine remembers across restarts, and what it shows to humans."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from database.journal import Journal
from database.records import DecisionRecord, HoldingRecord, HoldingState, Leg, PairRecord, PairState, StateRecord

from . import daily
from .breakers import Breaker, Saved

if TYPE_CHECKING:
    from strategies.execution.engine import ExecutionEngine

    from .engine import RiskEngine

VERSION = 1
BREAKER_KEY = "risk:breaker:"
DAY_KEY = "risk:day"


def recall(risk: "RiskEngine", journal: Journal) -> None:
    """Breakers, the day, failed opens and orders that may still rest, as the last run left them."""
    for venue in risk.breakers:
        held = journal.state(risk.strategy, risk.account, BREAKER_KEY + venue)
        if held is not None and held.version == VERSION:
            risk.breakers[venue] = Breaker(venue, msgspec.json.decode(held.value, type=Saved))
    day = journal.state(risk.strategy, risk.account, DAY_KEY)
    if day is not None and day.version == VERSION:
        risk.day = msgspec.json.decode(day.value, type=daily.DayBook)
    mine = [p for p in journal.pairs() if (p.strategy, p.account) == (risk.strategy, risk.account)]
    risk.failed_opens.recall(mine)
    holdings = [h for h in journal.holdings() if (h.strategy, h.account) == (risk.strategy, risk.account) and h.closed_at is None]
    pairs = [p for p in mine if p.state is not PairState.CLOSED]
    risk.approvals.recall(journal, [*(p.pair_id for p in pairs), *(h.holding_id for h in holdings)])


def venues_held(risk: "RiskEngine", journal: Journal) -> set[str]:
    """Where something of this bot is open."""
    pairs = [p for p in journal.pairs(*(s for s in PairState if s is not PairState.CLOSED)) if _is_of(risk, p)]
    holdings = [h for h in journal.holdings(*(s for s in HoldingState if s is not HoldingState.CLOSED)) if _is_of(risk, h)]
    return {pair.venue(leg) for pair in pairs for leg in Leg} | {holding.venue for holding in holdings}


def _is_of(risk: "RiskEngine", owner: PairRecord | HoldingRecord) -> bool:
    return (owner.strategy, owner.account) == (risk.strategy, risk.account)


def records(risk: "RiskEngine", dirty: set[str]) -> list[StateRecord]:
    """What has changed and must outlive the process: venues whose breaker moved, and the day."""
    now_ns = risk.now_ns()
    found = []
    for name in sorted(dirty):
        value: object = risk.day if name == DAY_KEY else risk.breakers[name].saved
        key = name if name == DAY_KEY else BREAKER_KEY + name
        text = msgspec.json.encode(value).decode()
        found.append(StateRecord(strategy=risk.strategy, account=risk.account, key=key, version=VERSION, value=text, updated_at=now_ns))
    return found


def decision(
    risk: "RiskEngine",
    engine: "ExecutionEngine",
    kind: str,
    rule: str,
    outcome: str,
    *,
    pair_id: str,
    symbol: str,
    inputs: Mapping[str, object],
) -> DecisionRecord:
    """Why risk changes a pair."""
    now_ns = risk.now_ns()
    limits = {k: str(v) for k, v in risk.limits.model_dump(mode="json").items() if "liquidation" in k or "margin" in k}
    return DecisionRecord(
        decision_id=f"d{engine.ids.next(now_ns)}",
        strategy=risk.strategy,
        account=risk.account,
        pair_id=pair_id,
        symbol=symbol,
        kind=kind,
        rule=rule,
        outcome=outcome,
        inputs=msgspec.json.encode({k: str(v) for k, v in inputs.items()}).decode(),
        thresholds=msgspec.json.encode(limits).decode(),
        ages=msgspec.json.encode({v: f.age_s for v, f in risk.figures.items()}).decode(),
        ts=now_ns,
    )


def status(risk: "RiskEngine") -> dict[str, Any]:
    """Everything that says no, and the figures behind it; JSON-ready."""
    now_ns = risk.clock.time_ns()
    return {
        "halted": None if risk.halt is None else risk.halt.reason,
        "fenced": risk.fenced,
        "entry_block": risk.entry_block(),
        "today_usd": None if risk.today is None else str(risk.today),
        "failed_opens": risk.failed_opens.count,
        "venues": {
            venue: {
                "breaker": breaker.saved.state.value,
                "block": breaker.block(now_ns),
                "age_s": risk.figures[venue].age_s,
                "error": risk.figures[venue].last_error,
                "dead_man": risk.dead_men[venue].status,
            }
            for venue, breaker in risk.breakers.items()
        },
        "margin": risk.margin.status(),
        "last_refusals": [{"at": at, "reason": reason} for at, reason in risk.refusals],
    }
