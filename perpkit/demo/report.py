"""What the demo says at its end: the result from venue records, how it came about, and whether everything is flat."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from database.journal import Journal
from database.records import PairRecord
from exchange_clients.model import NS_PER_HOUR
from perpkit.demo.scene import Scene
from strategies.execution.ledger import PairResult
from strategies.replay import figures


class VenuePart(msgspec.Struct, frozen=True, kw_only=True):
    """One venue's part of the result in USD, gains positive. `unexplained`: what the venue shows beyond the parts."""

    venue: str
    price: Decimal
    funding: Decimal
    fees: Decimal
    slippage: Decimal
    total: Decimal
    unexplained: Decimal | None
    position_left: Decimal
    open_orders: int


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision with what led to it."""

    at: int
    kind: str
    rule: str
    outcome: str
    symbol: str
    inputs: dict[str, Any]
    thresholds: dict[str, Any]
    ages: dict[str, Any]


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """The closing report. Times in ns UTC of demo time, money in USD; `real_seconds` is the only figure two equal runs may differ in."""

    seed: int
    mode: str
    notes: tuple[str, ...]
    pair_id: str
    state: str
    symbol: str
    long_venue: str
    short_venue: str
    quantity: Decimal
    opened_at: int | None
    closed_at: int | None
    hours_held: Decimal
    close_reason: str
    settlements: int
    orders: int
    fills: int
    venues: tuple[VenuePart, ...]
    price: Decimal
    funding: Decimal
    fees: Decimal
    slippage: Decimal
    total: Decimal
    unexplained: Decimal | None
    faults: tuple[str, ...]
    decisions: tuple[Decision, ...]
    holds: int
    flat: bool
    real_seconds: float

    @property
    def succeeded(self) -> bool:
        """Closed, flat on both venues, and every cent explained."""
        explained = self.unexplained is None or abs(self.unexplained) < Decimal("0.01")
        return self.state == "closed" and self.flat and explained and self.opened_at is not None


def build(
    scene: Scene, pair: PairRecord, found: PairResult, *, seed: int, mode: str, faults: tuple[str, ...], real_seconds: float
) -> DemoReport:
    """From the journal and, for what is left, from the simulated venues themselves."""
    journal, pair_id = scene.journal, pair.pair_id
    parts = []
    for part in found.venues:
        stage = scene.stages[part.venue]
        left = Decimal(0)
        for symbol in stage.exchange.markets:
            left += abs(stage.exchange.markets[symbol].spec.size(stage.exchange.position(stage.account, symbol).size))
        parts.append(
            VenuePart(
                venue=part.venue,
                price=part.price,
                funding=part.funding,
                fees=part.fee,
                slippage=part.slippage,
                total=part.total,
                unexplained=part.unexplained,
                position_left=left,
                open_orders=len(list(stage.exchange.open_orders(stage.account))),
            )
        )
    decisions = _decisions(journal, pair_id)
    ended = pair.closed_at or pair.updated_at
    return DemoReport(
        seed=seed,
        mode=mode,
        notes=scene.notes,
        pair_id=pair_id,
        state=pair.state.value,
        symbol=pair.symbol,
        long_venue=pair.long_venue,
        short_venue=pair.short_venue,
        quantity=pair.quantity,
        opened_at=pair.opened_at,
        closed_at=pair.closed_at,
        hours_held=(Decimal(ended - (pair.opened_at or ended)) / NS_PER_HOUR).quantize(Decimal("0.01")),
        close_reason=pair.reason if pair.closed_at is None else _exit_reason(decisions) or pair.reason,
        settlements=len(journal.funding(pair_id)),
        orders=len(journal.intents(pair_id)),
        fills=len(journal.fills(pair_id)),
        venues=tuple(parts),
        price=found.sum("price"),
        funding=found.sum("funding"),
        fees=found.sum("fee"),
        slippage=found.sum("slippage"),
        total=found.total,
        unexplained=found.unexplained,
        faults=faults,
        decisions=tuple(d for d in decisions if d.kind != "hold"),
        holds=sum(1 for d in decisions if d.kind == "hold"),
        flat=all(p.position_left == 0 and p.open_orders == 0 for p in parts),
        real_seconds=real_seconds,
    )


def _decisions(journal: Journal, pair_id: str) -> list[Decision]:
    """Of this pair, and what was passed over before it."""
    mine = [d for d in journal.decisions() if d.pair_id in (pair_id, None)]
    return [
        Decision(
            at=d.ts,
            kind=d.kind,
            rule=d.rule,
            outcome=d.outcome,
            symbol=d.symbol,
            inputs=figures(d.inputs),
            thresholds=msgspec.json.decode(d.thresholds),
            ages=msgspec.json.decode(d.ages),
        )
        for d in mine
    ]


def _exit_reason(decisions: list[Decision]) -> str:
    exits = [d for d in decisions if d.kind == "exit"]
    return f"{exits[-1].rule}: {exits[-1].outcome}" if exits else ""
