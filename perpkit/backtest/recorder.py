"""Listens to the simulated venues during a run and makes the result: money from the venues' own records, reasons from the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from database.journal import Journal
from database.records import HoldingRecord, HoldingState, IntentRecord, Leg, PairRecord, PairState
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.model import NS_PER_HOUR, ZERO, InstrumentId
from exchange_simulator.core import events as ev
from exchange_simulator.core.types import money
from exchange_simulator.simulated_venue import SimulatedVenue
from perpkit.backtest.assumptions import assumptions
from perpkit.backtest.result import Curves, Input, PositionRow, RunResult, Split, Summary, VenueResult, cents
from perpkit.bot.config import BotConfig
from strategies.execution import ledger
from strategies.execution.journaling import AsyncJournal

if TYPE_CHECKING:
    from perpkit.backtest.runner import RunSpec

ACCOUNT = 1
YEAR_HOURS = Decimal(8_760)


@dataclass(frozen=True, slots=True)
class Told:
    """What the recorder cannot see itself."""

    spec: RunSpec
    bot: BotConfig
    inputs: tuple[Input, ...]
    gaps: tuple[str, ...]
    warnings: tuple[str, ...]
    events: int


class VenueBook:
    """One venue's records of our account."""

    def __init__(self, venue: SimulatedVenue, stir: Callable[[], None]) -> None:
        self.venue = venue
        self._stir = stir
        self.deposit = self.equity
        self.fills: list[ev.OrderFilled] = []
        self.payments: list[ev.FundingPaid] = []
        self.liquidations = 0
        self.fees = self.funding = ZERO
        venue.exchange.subscribe(self._on_event)

    def _on_event(self, event: ev.AnyEvent) -> None:
        kind = type(event)
        if kind is ev.OrderAccepted or kind is ev.OrderFilled or kind is ev.OrderCancelled or kind is ev.OrderRejected:
            self._stir()
        if kind is ev.OrderFilled:
            assert isinstance(event, ev.OrderFilled)
            if event.account == ACCOUNT:
                self.fills.append(event)
                self.fees -= money(event.fee)
        elif kind is ev.FundingPaid:
            assert isinstance(event, ev.FundingPaid)
            if event.account == ACCOUNT:
                self.payments.append(event)
                self.funding += money(event.amount)
        elif (kind is ev.Liquidated or kind is ev.Adl) and getattr(event, "account", None) == ACCOUNT:
            self.liquidations += 1

    @property
    def equity(self) -> Decimal:
        return money(self.venue.exchange.equity(ACCOUNT))

    def exposure(self) -> dict[str, Decimal]:
        """Signed USD per market."""
        found = {}
        for symbol, position in self.venue.exchange.account(ACCOUNT).positions.items():
            spec = position.market.spec
            found[symbol] = spec.size(position.size) * spec.ref_price(position.market.mark) if position.market.mark else ZERO
        return found

    def margin(self) -> Decimal:
        """Maintenance margin over equity; 1 is liquidation."""
        exchange = self.venue.exchange
        needed, equity = exchange.maintenance_margin(ACCOUNT), exchange.equity(ACCOUNT)
        if needed == 0:
            return ZERO
        return Decimal(1) if equity <= 0 else min(Decimal(1), Decimal(needed) / equity)

    def split(self, references: Mapping[str, Decimal]) -> Split:
        """The parts of what this account earned; what is still open counts at mark."""
        at_reference = at_price = ZERO
        held: dict[str, Decimal] = {}
        for fill in self.fills:
            spec = self.venue.exchange.markets[fill.market].spec
            price = spec.price(fill.price)
            signed = spec.size(fill.size) * (1 if fill.side == "buy" else -1)
            at_reference -= signed * references.get(fill.client_id, price)
            at_price -= signed * price
            held[fill.market] = held.get(fill.market, ZERO) + signed
        marks = {m: self.venue.exchange.markets[m].spec.ref_price(self.venue.exchange.markets[m].mark) for m in held}
        value = sum((quantity * marks[m] for m, quantity in held.items()), ZERO)
        known = Split(price=at_reference + value, slippage=at_price - at_reference, fees=self.fees, funding=self.funding)
        return msgspec.structs.replace(known, unexplained=self.equity - self.deposit - known.total)

    def result(self, name: str, references: Mapping[str, Decimal]) -> VenueResult:
        split = self.split(references)
        traded = ZERO
        for fill in self.fills:
            spec = self.venue.exchange.markets[fill.market].spec
            traded += spec.price(fill.price) * spec.size(fill.size)
        return VenueResult(
            venue=name,
            deposit=self.deposit,
            equity=cents(self.equity),
            fills=len(self.fills),
            traded=cents(traded, 2),
            fundings=len(self.payments),
            liquidations=self.liquidations,
            split=rounded(split),
            total=cents(split.total),
        )


class Recorder:
    """Curves while the run goes on, everything else at its end."""

    def __init__(self, venues: Mapping[str, SimulatedVenue], stir: Callable[[], None]) -> None:
        """`stir` is told whenever something of ours moves."""
        self.books = {name: VenueBook(venue, stir) for name, venue in venues.items()}
        self._curves = Curves(
            times_ns=[], equity=[], venues={n: [] for n in venues}, exposure={}, margin={n: [] for n in venues}, funding=[], fees=[]
        )
        self._peak = sum((b.deposit for b in self.books.values()), ZERO)
        self._fall = self._fall_share = ZERO

    def look(self, ts_ns: int) -> None:
        """Measures the deepest fall; between the points of the curves too."""
        equity = sum((b.equity for b in self.books.values()), ZERO)
        self._peak = max(self._peak, equity)
        if self._peak - equity > self._fall:
            self._fall, self._fall_share = self._peak - equity, (self._peak - equity) / self._peak

    def left_open(self) -> tuple[str, ...]:
        """What is still held: it counts at mark, nothing has been paid for its end."""
        return tuple(
            f"{name} {symbol}: {value:,.2f} USD are still open at the end; they count at the last price, without the cost of closing"
            for name, book in self.books.items()
            for symbol, value in sorted(book.exposure().items())
            if value
        )

    def sample(self, ts_ns: int) -> None:
        """One point of every curve."""
        self.look(ts_ns)
        curves = self._curves
        before = len(curves.times_ns)
        curves.times_ns.append(ts_ns)
        total = ZERO
        for name, book in self.books.items():
            equity = book.equity
            total += equity
            curves.venues[name].append(cents(equity, 4))
            curves.margin[name].append(cents(book.margin(), 4))
            for symbol, value in book.exposure().items():
                curves.exposure.setdefault(f"{symbol} {name}", [ZERO] * before).append(cents(value, 2))
        for line in curves.exposure.values():
            if len(line) == before:
                line.append(ZERO)
        curves.equity.append(cents(total, 4))
        curves.funding.append(cents(sum((b.funding for b in self.books.values()), ZERO), 4))
        curves.fees.append(cents(sum((b.fees for b in self.books.values()), ZERO), 4))

    def result(self, told: Told, journal: Journal) -> RunResult:
        """The run's result; book the funding of all pairs (`book_all`) before."""
        references: dict[str, Decimal] = {}
        rows: list[PositionRow] = []
        owners: list[PairRecord | HoldingRecord] = [*journal.pairs(), *journal.holdings()]
        for owner in owners:
            intents = journal.intents(owner.pair_id if isinstance(owner, PairRecord) else owner.holding_id)
            references.update({i.client_order_id: i.reference_price for i in intents if i.reference_price is not None})
            row = self._row(owner, intents, journal)
            if row.traded:
                rows.append(row)
        venues = tuple(book.result(name, references) for name, book in self.books.items())
        split = Split(**{part: sum((getattr(v.split, part) for v in venues), ZERO) for part in Split.__struct_fields__})
        return RunResult(
            label=told.spec.label,
            strategy=told.bot.strategy,
            seed=told.spec.seed,
            from_ns=told.spec.from_ns,
            to_ns=told.spec.to_ns,
            overrides=dict(told.spec.overrides),
            summary=self._summary(told.spec, venues, rows),
            split=split,
            venues=venues,
            positions=tuple(rows),
            decisions=_decisions(journal),
            curves=self._curves,
            assumptions=assumptions(told.spec, told.bot),
            gaps=told.gaps,
            warnings=(*told.warnings, *_remainder(rows, split.total)),
            inputs=told.inputs,
            events=told.events,
            config=msgspec.json.encode(told.spec.bot, order="sorted").decode(),
        )

    def _row(self, owner: PairRecord | HoldingRecord, intents: list[IntentRecord], journal: Journal) -> PositionRow:
        owner_id = owner.pair_id if isinstance(owner, PairRecord) else owner.holding_id
        legs = {leg: (owner.venue(leg), owner.instrument(leg)) for leg in Leg} if isinstance(owner, PairRecord) else {}
        if isinstance(owner, HoldingRecord):
            legs = {Leg.LONG: (owner.venue, owner.instrument)}
        marks = {leg: self._mark(venue, instrument) for leg, (venue, instrument) in legs.items()}
        fills = journal.fills(owner_id)
        found = ledger.result(owner, intents, fills, journal.funding(owner_id), marks=marks)
        unwound = found.sum("unwind") - (found.sum("fees_paid") - found.sum("fee"))
        split = Split(
            price=found.sum("price"), slippage=found.sum("slippage") + unwound, fees=found.sum("fees_paid"), funding=found.sum("funding")
        )
        opened = owner.opened_at if isinstance(owner, PairRecord) else owner.created_at
        closed = owner.closed_at
        return PositionRow(
            position_id=owner_id,
            symbol=InstrumentId.parse(next(iter(legs.values()))[1]).base,
            venues=tuple(venue for venue, _ in legs.values()),
            quantity=owner.quantity if isinstance(owner, PairRecord) else sum((abs(f.quantity) for f in fills), ZERO) / 2,
            state=owner.state.value,
            opened_ns=opened,
            closed_ns=closed,
            hours=round(Decimal(closed - opened) / NS_PER_HOUR, 2) if opened is not None and closed is not None else None,
            reason=_why(owner_id, owner.reason, journal),
            traded=cents(found.sum("traded"), 2),
            split=rounded(split),
            total=cents(split.total),
        )

    def _mark(self, venue: str, instrument: str) -> Decimal:
        state = self.books[venue].venue.exchange.markets[InstrumentId.parse(instrument).base]
        return state.spec.ref_price(state.mark)

    def _summary(self, spec: RunSpec, venues: tuple[VenueResult, ...], rows: list[PositionRow]) -> Summary:
        deposits = sum((v.deposit for v in venues), ZERO)
        total = sum((v.total for v in venues), ZERO)
        years = Decimal(spec.to_ns - spec.from_ns) / NS_PER_HOUR / YEAR_HOURS
        held = sum(1 for n in range(len(self._curves.times_ns)) if any(line[n] for line in self._curves.exposure.values()))
        closed = [r for r in rows if r.state in (PairState.CLOSED.value, HoldingState.CLOSED.value)]
        return Summary(
            deposits=deposits,
            equity=cents(deposits + total),
            total=cents(total),
            share=cents(total / deposits),
            annual=cents(total / deposits / years),
            max_drawdown_usd=cents(self._fall),
            max_drawdown=cents(self._fall_share),
            positions=len(rows),
            winners=sum(1 for r in closed if r.total > 0),
            losers=sum(1 for r in closed if r.total <= 0),
            in_market=round(Decimal(held) / max(1, len(self._curves.times_ns)), 4),
            traded=sum((v.traded for v in venues), ZERO),
            liquidations=sum(v.liquidations for v in venues),
        )


def _why(owner_id: str, reason: str, journal: Journal) -> str:
    """The last decision to leave, else what the owner itself says."""
    exits = [d for d in journal.decisions(owner_id) if d.kind == "exit"]
    return f"{exits[-1].rule.replace('_', ' ')}: {exits[-1].outcome}" if exits else reason


async def book_all(journal: AsyncJournal, clients: Mapping[str, BaseExchangeClient], now_ns: int) -> None:
    """Take in the funding payments of every pair and holding that traded, before the journal is read."""
    for pair in journal.sync.pairs():
        if journal.sync.fills(pair.pair_id):
            await ledger.book_funding(pair, clients, journal, now_ns)
    for holding in journal.sync.holdings():
        if journal.sync.fills(holding.holding_id):
            await ledger.book_funding(holding, clients, journal, now_ns)


def rounded(split: Split) -> Split:
    """To a millionth."""
    return Split(**{part: cents(getattr(split, part)) for part in Split.__struct_fields__})


def _remainder(rows: list[PositionRow], total: Decimal) -> tuple[str, ...]:
    """What the accounts gained beyond the positions, where it is more than rounding (E27)."""
    added = sum((r.total for r in rows), ZERO)
    if abs(total - added) < Decimal("0.01"):
        return ()
    return (f"the positions add up to {added:,.2f} USD, the accounts to {total:,.2f}: trust the accounts",)


def _decisions(journal: Journal) -> dict[str, int]:
    return dict(sorted(Counter(f"{d.kind}: {d.rule}" for d in journal.decisions()).items()))
