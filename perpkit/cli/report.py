"""`perpkit report`: what pairs, holdings and runs earned, from the venues' own records; as tables, JSON or CSV."""

import asyncio
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from database.journal import Journal
from database.records import HoldingState, LedgerKind, PairRecord, PairState, RunRecord
from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_HOUR, ZERO
from perpkit.cli.failure import OK, WRONG, Failure
from perpkit.cli.options import Store, Target
from perpkit.cli.output import emit_json, emit_table, iso, number
from strategies.execution import ledger
from strategies.execution.ledger.owners import Owner, markets, owner_id

PARTS = ("exposure", "basis", "slippage", "unwind", "fees", "funding")
NOTE = (
    "USD, gains positive. exposure: price moves while the legs were not equal; basis: the distance between the venues; "
    "unwind: taking back what could not be hedged; unexplained: what the venues show beyond their records (- where not alone)"
)


def report(
    what: str | None = None,
    /,
    *,
    csv: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    marks: bool = False,
    last: int = 50,
    store: Store | None = None,
    target: Target | None = None,
    json: bool = False,
) -> int:
    """What was earned and what it is made of: per pair, per run and per day, from the venues' own records.

    Open positions count without their unrealised part unless --marks. Exit code 1 when a venue shows something that no record explains.

    Parameters
    ----------
    what:
        A pair, a holding or a run (its id, or the beginning of it); everything when left out.
    csv:
        Write one row per venue record to this file; - for stdout. Its amounts add up to the result.
    marks:
        Ask the venues for mark prices, so that open positions are valued.
    last:
        At most so many lines of each table, the newest.
    json:
        Print JSON.
    """
    journal = (store or Store()).read()
    try:
        runs, owners = journal.runs(), _owners(journal)
        chosen, title = _choose(what, owners, runs)
        prices = asyncio.run(_marks(chosen, target or Target())) if marks else {}
        accounts = [_account(journal, owner, prices) for owner in chosen]
    finally:
        journal.close()
    if csv is not None:
        return _write(csv, [row for account in accounts for row in account.rows], json=json)
    told = Report(title, accounts, [run for run in runs if what is None or run.run_id.startswith(what)])
    if json:
        emit_json(told.as_json())
    elif not accounts:
        print("nothing was traded yet")
    else:
        told.show(last, one=what is not None and len(accounts) == 1)
    return WRONG if any(account.suspicious for account in accounts) else OK


@dataclass(slots=True)
class Account:
    """One pair or holding with its result and the records behind it."""

    owner: Owner
    found: ledger.PairResult
    rows: list[ledger.Row]
    notes: list[str]

    @property
    def name(self) -> str:
        return owner_id(self.owner)

    @property
    def failed_open(self) -> bool:
        """A pair that ended without ever having been hedged."""
        return isinstance(self.owner, PairRecord) and self.owner.state is PairState.CLOSED and self.owner.opened_at is None

    @property
    def suspicious(self) -> bool:
        return any(abs(leg.unexplained or ZERO) >= Decimal("0.01") for leg in self.found.venues)

    @property
    def unexplained(self) -> Decimal | None:
        """Of the venues whose own figure is known; None when none is."""
        known = [leg.unexplained for leg in self.found.venues if leg.unexplained is not None]
        return sum(known, ZERO) if known else None

    @property
    def parts(self) -> dict[str, Decimal]:
        unified = self.found.unified
        return {**{name: getattr(unified, name) for name in PARTS}, "total": unified.total}

    @property
    def state(self) -> str:
        return "failed open" if self.failed_open else str(self.owner.state)

    @property
    def since(self) -> int:
        opened = self.owner.opened_at if isinstance(self.owner, PairRecord) else None
        return opened or self.owner.created_at

    def row(self) -> Sequence[str]:
        where = " / ".join(market.venue for market in markets(self.owner))
        hours = "-" if self.owner.closed_at is None else f"{Decimal(self.owner.closed_at - self.since) / NS_PER_HOUR:.1f}"
        symbol = self.owner.symbol if isinstance(self.owner, PairRecord) else self.owner.instrument
        cells = (_usd(self.parts[name]) for name in (*PARTS, "total"))
        return (self.name, self.state, symbol, where, (iso(self.since) or "")[:16], hours, *cells, _usd(self.unexplained))

    def as_json(self) -> dict[str, Any]:
        legs = zip(markets(self.owner), self.found.venues, strict=True)
        return {
            "id": self.name,
            "strategy": self.owner.strategy,
            "account": self.owner.account,
            "state": self.owner.state,
            "failed_open": self.failed_open,
            "reason": self.owner.reason,
            "created_at": iso(self.owner.created_at),
            "closed_at": iso(self.owner.closed_at),
            "parts": self.parts,
            "unexplained": self.unexplained,
            "other_fees": self.found.other_fees,
            "notes": self.notes,
            "venues": [
                {
                    "venue": market.venue,
                    "instrument": market.instrument,
                    "leg": market.leg,
                    "cash": {
                        **msgspec.to_builtins(leg.cash, builtin_types=(Decimal,)),
                        "total": leg.cash.total,
                        "unexplained": leg.unexplained,
                    },
                    "price": leg.price,
                    "slippage": leg.slippage,
                    "unwind": leg.unwind,
                    "fees": leg.fee,
                    "funding": leg.funding,
                    "traded": leg.traded,
                    "closed_by_venue": leg.forced,
                    "open_quantity": leg.open_quantity,
                    "open_value": leg.open_value,
                }
                for market, leg in legs
            ],
        }

    def show(self) -> None:
        """Three views of the one thing."""
        rows = []
        for leg in self.found.venues:
            cash = leg.cash
            figures = (cash.realised, cash.unrealised, cash.fees, cash.funding, cash.total, cash.equity_change, cash.unexplained)
            rows.append((leg.venue, str(leg.leg), number(leg.open_quantity), *(_usd(figure) for figure in figures)))
        columns = ("venue", "leg", ">open", ">realised", ">unrealised", ">fees", ">funding", ">total", ">account gained", ">unexplained")
        emit_table(f"{self.name} ({self.state}): what each venue's books show", columns, rows)
        unified = [(name, _usd(self.parts[name])) for name in (*PARTS, "total")]
        emit_table("At one price", ("part of both legs", ">USD"), unified)
        split = [
            (leg.venue, *(_usd(getattr(leg, name)) for name in ("price", "slippage", "unwind", "fee", "funding", "total")))
            for leg in self.found.venues
        ]
        notes = [
            NOTE,
            *self.notes,
            *(f"fees of {number(-amount)} {asset} have no recorded price: in no total" for asset, amount in self.found.other_fees.items()),
        ]
        emit_table("What it is made of", ("venue", ">price", ">slippage", ">unwind", ">fees", ">funding", ">total"), split, notes=notes)


@dataclass(slots=True)
class Report:
    """Several accounts together."""

    title: str
    accounts: list[Account]
    runs: list[RunRecord]

    @property
    def days(self) -> list[Any]:
        return ledger.daily(row for account in self.accounts for row in account.rows)

    def of_run(self, run: RunRecord) -> list[Account]:
        return [account for account in self.accounts if _in_run(account.owner, run)]

    def totals(self, accounts: Iterable[Account]) -> dict[str, Any]:
        mine = list(accounts)
        failed = [account for account in mine if account.failed_open]
        parts = {name: sum((account.parts[name] for account in mine), ZERO) for name in (*PARTS, "total")}
        known = [account.unexplained for account in mine if account.unexplained is not None]
        return {
            "count": len(mine),
            "failed_opens": len(failed),
            "failed_opens_result": sum((account.parts["total"] for account in failed), ZERO),
            "unexplained": sum(known, ZERO) if known else None,
            **parts,
        }

    def as_json(self) -> dict[str, Any]:
        return {
            "owners": [account.as_json() for account in self.accounts],
            "runs": [{**_run_json(run), **self.totals(self.of_run(run))} for run in self.runs],
            "days": [{**msgspec.to_builtins(day, builtin_types=(Decimal,)), "total": day.total} for day in self.days],
            "totals": self.totals(self.accounts),
        }

    def show(self, last: int, *, one: bool) -> None:
        if one:
            self.accounts[0].show()
        else:
            columns = ("id", "state", "market", "venues", "since", ">hours", *(f">{name}" for name in PARTS), ">total", ">unexplained")
            whole = self.totals(self.accounts)
            end = ("all", "", "", "", "", "", *(_usd(whole[name]) for name in (*PARTS, "total")), _usd(whole["unexplained"]))
            failed = f"failed opens: {whole['failed_opens']}, together {_usd(whole['failed_opens_result'])} USD"
            emit_table(self.title, columns, [*(account.row() for account in self.accounts[-last:]), end], notes=[NOTE, failed])
        if self.runs and not one:
            columns = ("run", "bot", "environment", "since", "until", "ending", ">pairs", ">failed", ">cost of failed", ">total")
            emit_table("Runs", columns, [self._run_row(run) for run in self.runs[-last:]])
        days = [(d.day, *(_usd(f) for f in (d.realised, d.fees, d.funding, d.other, d.total)), str(d.records)) for d in self.days[-last:]]
        emit_table("Days (UTC)", ("day", ">realised", ">fees", ">funding", ">open, unexplained", ">total", ">records"), days)

    def _run_row(self, run: RunRecord) -> Sequence[str]:
        told = self.totals(self.of_run(run))
        ended = "runs, or was killed" if run.ended_at is None else (iso(run.ended_at) or "")[:16]
        bot = f"{run.strategy}:{run.account}"
        figures = (str(told["count"]), str(told["failed_opens"]), _usd(told["failed_opens_result"]), _usd(told["total"]))
        return (run.run_id, bot, run.environment, (iso(run.started_at) or "")[:16], ended, run.ending or "-", *figures)


def _owners(journal: Journal) -> list[Owner]:
    found: list[Owner] = [*journal.pairs(), *journal.holdings()]
    return sorted(found, key=lambda owner: owner.created_at)


def _choose(what: str | None, owners: list[Owner], runs: list[RunRecord]) -> tuple[list[Owner], str]:
    if what is None:
        return owners, "Results"
    for exact in (True, False):
        found = [o for o in owners if (owner_id(o) == what if exact else owner_id(o).startswith(what))]
        named = [r for r in runs if (r.run_id == what if exact else r.run_id.startswith(what))]
        if len(found) + len(named) > 1:
            raise Failure(f"{what!r} is the beginning of {len(found) + len(named)} ids", hint="write more of the id")
        if found:
            return found, owner_id(found[0])
        if named:
            run = named[0]
            return [owner for owner in owners if _in_run(owner, run)], f"Run {run.run_id} of {run.strategy}:{run.account}"
    newest = ", ".join([owner_id(owner) for owner in owners[-3:]] + [run.run_id for run in runs[-1:]])
    raise Failure(f"no pair, holding or run is called {what!r}", hint=f"the newest are {newest}" if newest else "nothing was traded yet")


def _in_run(owner: Owner, run: RunRecord) -> bool:
    """What a run opened; what it only took over belongs to the one that opened it."""
    mine = (owner.strategy, owner.account) == (run.strategy, run.account)
    until = run.ended_at if run.ended_at is not None else run.heartbeat_at + NS_PER_HOUR
    return mine and run.started_at <= owner.created_at <= until


def _account(journal: Journal, owner: Owner, prices: Mapping[str, Decimal | str]) -> Account:
    name = owner_id(owner)
    intents, fills, funding, booked = journal.intents(name), journal.fills(name), journal.funding(name), journal.ledger(name)
    notes, marks = [], {}
    for market in markets(owner):
        price = prices.get(market.instrument)
        if isinstance(price, Decimal):
            marks[market.leg] = price
        elif price is not None:
            notes.append(f"{market.instrument} has no mark: {price}")
    found = ledger.result(owner, intents, fills, funding, marks=marks)
    rest = {line.venue: line.amount for line in booked if line.kind is LedgerKind.UNEXPLAINED}
    totals = {leg.leg: leg.total + rest[leg.venue] for leg in found.venues if leg.venue in rest}
    if totals:
        found = ledger.result(owner, intents, fills, funding, marks=marks, venue_totals=totals)
    return Account(owner, found, ledger.rows(owner, intents, fills, funding, found, ledger=booked, now_ns=time.time_ns()), notes)


async def _marks(owners: Iterable[Owner], target: Target) -> dict[str, Decimal | str]:
    """Mark price of each market that is open, or why it is not known."""
    from perpkit.cli.clients import opened

    by_venue: dict[str, set[str]] = {}
    for owner in owners:
        if owner.state not in (PairState.CLOSED, HoldingState.CLOSED):
            for market in markets(owner):
                by_venue.setdefault(market.venue, set()).add(market.instrument)
    target.check(by_venue)
    found: dict[str, Decimal | str] = {}

    async def ask(venue: str, instruments: set[str]) -> None:
        try:
            async with opened(venue, target, streams=False) as client:
                for instrument in sorted(instruments):
                    found[instrument] = await client.fetch_mark_price(instrument)
        except VenueError as e:
            found.update({instrument: str(e) for instrument in instruments if instrument not in found})

    await asyncio.gather(*(ask(venue, instruments) for venue, instruments in by_venue.items()))
    return found


def _write(path: Path, rows: list[ledger.Row], *, json: bool) -> int:
    text = ledger.to_csv(rows)
    if str(path) == "-":
        sys.stdout.write(text)
        return OK
    path.write_text(text, encoding="utf-8")
    if json:
        emit_json({"file": str(path), "rows": len(rows), "amount": sum((row.amount for row in rows), ZERO)})
    else:
        print(f"{len(rows)} rows written to {path}")
    return OK


def _run_json(run: RunRecord) -> dict[str, Any]:
    told = msgspec.structs.asdict(run)
    told.pop("config")
    return {**told, **{name: iso(told[name]) for name in ("started_at", "heartbeat_at", "ended_at")}}


def _usd(value: Decimal | None) -> str:
    return "-" if value is None else f"{value:,.2f}"
