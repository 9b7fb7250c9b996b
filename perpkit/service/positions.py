"""What the bots of this machine hold, read from their journals: beside them, never in their way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from database.connect import file_of, parse, shown, sqlite_url
from database.errors import JournalError
from database.journal import Journal
from database.records import FillRecord, HoldingRecord, HoldingState, LedgerKind, PairRecord, PairState, RunRecord
from exchange_clients.model import ZERO, InstrumentId
from exchange_clients.transport.clock import Clock
from exchange_clients.transport.offload import Offload
from perpkit.bot.closing import world_of
from perpkit.cli.output import iso
from strategies.execution import ledger
from strategies.execution.ledger.owners import Market, Owner, markets, of_leg, owner_id

log = logging.getLogger("perpkit.service")

FILES = ("journal.db", "paper.db", "shadow.db")
READ_S = 10.0
KEPT_S = 2.0
"""Answers are as old as this at most: many readers of the page cost one look."""
CLOSED = 50
"""So many of the pairs that ended last are shown."""
DECISIONS = 200
NO_MARKS = ("demo",)
"""Environments whose prices are of a world of their own."""

Marks = Callable[[InstrumentId], Decimal | None]
"""The mark of a market now; None where it is not known."""


def journals_of(folder: Path) -> list[str]:
    """The journals that bots keep in a state folder, as URLs: live, paper, shadow, and the newest demo's."""
    found = [folder / name for name in FILES if (folder / name).is_file()]
    found += sorted(folder.glob("demo/*/demo.db"))[-1:]
    return [sqlite_url(path) for path in found]


def url_of(place: str) -> str:
    """A journal given as a file or URL."""
    return place if "://" in place else sqlite_url(Path(place).expanduser())


@dataclass(frozen=True, slots=True)
class Source:
    """A journal; `own_world` says that its prices are those of the service's venues whatever environment its bot names."""

    url: str
    own_world: bool = False


class JournalPositions:
    """The pairs and holdings of every journal. `sources` is asked anew each time: a bot may start after the service.

    Reads run through the offload, each in a transaction of its own; a journal that is missing, locked or being made is left out, and told
    in the log once.
    """

    def __init__(
        self,
        sources: Callable[[], Iterable[Source]],
        offload: Offload,
        clock: Clock,
        *,
        marks: Marks = lambda instrument: None,
        environments: Mapping[str, str] | None = None,
    ) -> None:
        """`marks` are of the venues' `environments` (venue -> mainnet, testnet; mainnet where none is said)."""
        self._sources, self._offload, self._clock, self._marks = sources, offload, clock, marks
        self._environments = environments or {}
        self._kept: tuple[float, list[dict[str, Any]]] | None = None
        self._problems: dict[str, str] = {}

    async def positions(self) -> list[dict[str, Any]]:
        """Open ones first, then those that ended last."""
        now = self._clock.monotonic()
        if self._kept is None or now - self._kept[0] > KEPT_S:
            found = await self._offload.run(self._all, deadline_s=READ_S)
            self._kept = now, found
        return self._kept[1]

    async def pair(self, pair_id: str) -> dict[str, Any] | None:
        """One pair or holding with its ledger and decisions; None when no journal knows it."""
        return await self._offload.run(self._one, pair_id, deadline_s=READ_S)

    # ---- on a worker

    def _all(self) -> list[dict[str, Any]]:
        found = []
        for source, journal in self._open():
            owners = _owners(journal)
            open_ones = [o for o in owners if not _is_closed(o)]
            ended = sorted((o for o in owners if _is_closed(o)), key=lambda o: o.closed_at or 0, reverse=True)[:CLOSED]
            runs = journal.runs()
            found += [self._told(source, journal, owner, runs) for owner in (*open_ones, *ended)]
        return sorted(found, key=lambda told: (told["closed_at"] is not None, _backwards(told["closed_at"] or told["created_at"])))

    def _one(self, pair_id: str) -> dict[str, Any] | None:
        for source, journal in self._open():
            owner: Owner | None = journal.pair(pair_id) or journal.holding(pair_id)
            if owner is not None:
                told = self._told(source, journal, owner, journal.runs())
                decisions = journal.decisions(pair_id, last=DECISIONS)
                told["decisions"] = [{"time": iso(d.ts), "kind": d.kind, "text": f"{d.rule}: {d.outcome}"} for d in decisions]
                told["ledger"] = [_line(row) for row in self._rows(source, journal, owner)]
                return told
        return None

    def _open(self) -> Iterable[tuple[Source, Journal]]:
        """Each journal, open for the length of the loop's turn."""
        for source in self._sources():
            file = file_of(parse(source.url))
            if file is not None and not Path(file).exists():
                continue  # a bot may begin one later
            try:
                journal = Journal.open(source.url, read_only=True)
            except JournalError as e:
                self._tell(source.url, str(e))
                continue
            try:
                yield source, journal
                self._problems.pop(source.url, None)
            except JournalError as e:
                self._tell(source.url, str(e))
            finally:
                journal.close()

    def _tell(self, url: str, problem: str) -> None:
        if self._problems.get(url) != problem:
            self._problems[url] = problem
            log.warning("positions.journal_unreadable journal=%s reason=%s", shown(parse(url)), problem)

    # ---- one owner

    def _told(self, source: Source, journal: Journal, owner: Owner, runs: Sequence[RunRecord]) -> dict[str, Any]:
        name, fills = owner_id(owner), journal.fills(owner_id(owner))
        marks = self._marks_of(source, journal, owner, runs)
        found = self._result(journal, owner, fills, marks)
        sides: dict[str, Any] = {"long": None, "short": None}
        for market, leg in zip(markets(owner), found.venues, strict=True):
            own = of_leg(owner, market, fills)
            quantity = sum((fill.signed for fill in own), ZERO)
            side = market.leg.value if isinstance(owner, PairRecord) else "short" if quantity < 0 else "long"
            entry, most = _entry(own, side)
            mark = marks.get(market)
            shown_quantity = abs(quantity) if not _is_closed(owner) else most
            price = mark or entry
            sides[side] = {
                "dex": market.venue,
                "instrument": market.instrument,
                "quantity": _text(shown_quantity),
                "entry_price": _text(entry),
                "mark": _text(mark),
                "notional_usd": _text(shown_quantity * price if price is not None else None),
                "funding": _text(leg.funding),
                "fees": _text(leg.fee),
            }
        run = _run_of(runs, owner)
        unified = found.unified
        return {
            "pair_id": name,
            "kind": "pair" if isinstance(owner, PairRecord) else "holding",
            "symbol": owner.symbol if isinstance(owner, PairRecord) else InstrumentId.parse(owner.instrument).base,
            "state": owner.state.value,
            "reason": owner.reason,
            "created_at": iso(owner.created_at),
            "opened_at": iso(owner.opened_at if isinstance(owner, PairRecord) else owner.created_at),
            "closed_at": iso(owner.closed_at),
            **sides,
            "pnl": {
                "price": _text(unified.exposure + unified.basis),
                "funding": _text(unified.funding),
                "fees": _text(unified.fees),
                "slippage": _text(unified.slippage),
                "unwind": _text(unified.unwind),
                "unexplained": _text(_unexplained(found)),
                "total": _text(found.total),
            },
            "valued": len(marks) == len(markets(owner)) or _is_closed(owner),
            "decisions_count": len(journal.decisions(name)),
            "bot": f"{owner.strategy}:{owner.account}",
            "environment": run.environment if run is not None else None,
        }

    def _result(self, journal: Journal, owner: Owner, fills: list[FillRecord], marks: Mapping[Market, Decimal]) -> ledger.PairResult:
        """As `perpkit report` has it: the remainder that was booked at the close belongs to its venue."""
        name = owner_id(owner)
        intents, funding = journal.intents(name), journal.funding(name)
        values = {market.leg: mark for market, mark in marks.items()}
        found = ledger.result(owner, intents, fills, funding, marks=values)
        rest = {line.venue: line.amount for line in journal.ledger(name) if line.kind is LedgerKind.UNEXPLAINED}
        totals = {leg.leg: leg.total + rest[leg.venue] for leg in found.venues if leg.venue in rest}
        return ledger.result(owner, intents, fills, funding, marks=values, venue_totals=totals) if totals else found

    def _rows(self, source: Source, journal: Journal, owner: Owner) -> list[ledger.Row]:
        name = owner_id(owner)
        intents, fills, funding = journal.intents(name), journal.fills(name), journal.funding(name)
        found = self._result(journal, owner, fills, self._marks_of(source, journal, owner, journal.runs()))
        return ledger.rows(owner, intents, fills, funding, found, ledger=journal.ledger(name), now_ns=self._clock.time_ns())

    def _marks_of(self, source: Source, journal: Journal, owner: Owner, runs: Sequence[RunRecord]) -> dict[Market, Decimal]:
        """Marks of what is open, where the service's venues are the ones that it is open on."""
        if _is_closed(owner):
            return {}
        run = _run_of(runs, owner)
        found = {}
        for market in markets(owner):
            same = run is not None and run.environment not in NO_MARKS
            same = same and world_of(journal, owner, market.venue) == self._environments.get(market.venue, "mainnet")
            if same or source.own_world:
                mark = self._marks(InstrumentId.parse(market.instrument))
                if mark is not None:
                    found[market] = mark
        return found


def _owners(journal: Journal) -> list[Owner]:
    return [*journal.pairs(), *journal.holdings()]


def _is_closed(owner: Owner) -> bool:
    return owner.state in (PairState.CLOSED, HoldingState.CLOSED)


def _run_of(runs: Sequence[RunRecord], owner: PairRecord | HoldingRecord) -> RunRecord | None:
    """The run that opened it: the newest of its bot that began before it."""
    mine = [run for run in runs if (run.strategy, run.account) == (owner.strategy, owner.account)]
    return next((run for run in reversed(mine) if run.started_at <= owner.created_at), mine[-1] if mine else None)


def _unexplained(found: ledger.PairResult) -> Decimal | None:
    """Of the venues whose own figure is known; None when none is."""
    known = [leg.unexplained for leg in found.venues if leg.unexplained is not None]
    return sum(known, ZERO) if known else None


def _entry(fills: Sequence[FillRecord], side: str) -> tuple[Decimal | None, Decimal]:
    """(average price of the fills that opened, their quantity)."""
    opening = [fill for fill in fills if (fill.side == "buy") == (side == "long")]
    quantity = sum((fill.quantity for fill in opening), ZERO)
    return (sum((fill.price * fill.quantity for fill in opening), ZERO) / quantity if quantity else None), quantity


def _line(row: ledger.Row) -> dict[str, Any]:
    parts = [f"{row.side} {row.quantity:f} at {row.price:f}"] if row.side and row.quantity is not None and row.price is not None else []
    parts += [f"fee {row.fee:f}"] if row.fee else []
    parts += ["unwind"] if row.unwind else []
    parts += [row.note] if row.note else []
    return {
        "time": iso(row.ts),
        "dex": row.venue,
        "kind": row.kind,
        "amount": _text(row.amount),
        "note": ", ".join(parts),
        "record_id": row.record_id,
    }


def _text(value: Decimal | None) -> str | None:
    """As the HTTP API writes figures: plain decimals, 15 significant digits."""
    if value is None:
        return None
    rounded = Decimal(f"{value:.15g}")
    return f"{rounded.normalize():f}" if rounded else "0"


def _backwards(text: str) -> tuple[int, ...]:
    """Sorts ISO times newest first."""
    return tuple(-ord(letter) for letter in text)
