"""Entering: the views that the rules judge, what the venues say, the plan, the open. Every answer is written down."""

import asyncio
import logging
from collections.abc import Iterable
from decimal import Decimal

import msgspec

from database.errors import JournalError
from database.records import DecisionRecord, Leg, PairState
from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_S, ZERO
from funding_rate_service.opportunity import Edge, FundingQuote, Opportunity, Rejection, Scan, break_even, curve
from strategies.base_strategy import BaseStrategy
from strategies.execution.engine import EntryRefused
from strategies.execution.pair import PairRunner
from strategies.execution.plan import PairPlan, exit_ladder, ladder, slice_quantity
from strategies.execution.pricing import BPS
from strategies.gate import LegFacts, only_late, read_leg, settle_leverage

from . import recorder, sizing
from .books import Books
from .config import FundingArbitrageConfig
from .entry import NS_PER_MINUTE, EntryView, Sized, Verdict, judge_entry, leg_money
from .scanner import Scanner

log = logging.getLogger("strategies.funding_arbitrage")

PATIENCE_S = 20.0
COSTS = frozenset({"wide_spread", "min_profit", "max_break_even_hours", "costs"})
"""What a wide spread alone can fail."""
CAPITAL = ("balance", "liquidation distance", "max_total_exposure_usd")
"""Beginnings of limits that another pair's end would lift."""
LATE = "max_loop_lag_s:"
"""How the guard begins when the loop was late."""
ENTERING = frozenset({PairState.PLANNED, PairState.OPENING})


class Entering:
    """What is entered, and why not."""

    def __init__(
        self, strategy: BaseStrategy[FundingArbitrageConfig], scanner: Scanner, books: Books, written: recorder.Repetitions
    ) -> None:
        self._strategy, self._scanner, self._books, self._written = strategy, scanner, books, written
        self._context = strategy.context
        self.short_of_capital: set[str] = set()
        """Pairs that the last cycle refused because others hold what they would need."""
        self.late = False
        """Something would perhaps have been entered in the last cycle, had the loop not been late."""
        self._wide: dict[str, int | None] = {}

    async def enter(self, found: Scan) -> None:
        """Judge what was found, best first, and open what passes. Of what the scan refused, the best of each asset is told; what is
        held is not news."""
        self.short_of_capital.clear()
        self.late = False
        entered = 0
        until_ns = self._context.clock.time_ns() + int(self._strategy.config.risk_config.check_interval_seconds * NS_PER_S)
        seen = {r.record.symbol for r in self._context.engine.pairs.values() if r.state is not PairState.CLOSED}
        for opportunity in found.opportunities:
            if self._context.clock.time_ns() > until_ns:
                return  # held pairs are due for a look; what is left is found again in the next cycle (E18)
            if opportunity.symbol not in seen and await self._consider(opportunity, entered):
                entered += 1
        seen |= {o.symbol for o in found.opportunities}
        best: dict[str, Rejection] = {}
        for refused in found.rejections:
            if refused.symbol not in seen and _net(refused) > _net(best.get(refused.symbol)):
                best[refused.symbol] = refused
        for refused in best.values():
            if self._context.clock.time_ns() <= until_ns:
                await self._consider(refused, entered)

    async def _consider(self, o: Opportunity | Rejection, entered: int) -> bool:
        """True when a pair came into being."""
        view, verdict = await self._judge(self._view(o.symbol, o.long, o.short, entered))
        await self._remember_width(o.symbol, view, verdict)
        if verdict.kind == "enter" and verdict.size is not None and verdict.edge is not None:
            return await self._open(view, verdict, verdict.size, verdict.edge)
        if verdict.rule.startswith(CAPITAL):
            self.short_of_capital.add(name_of(o.symbol, o.long, o.short))
        self.late |= only_late(verdict.checks)
        await self._skip(o.symbol, view, verdict.rule, verdict.detail, verdict)
        return False

    async def refusal(self, symbol: str, long: FundingQuote, short: FundingQuote) -> str | None:
        """Why a pair could not be entered in the place of another one, or None; what the other one's end would free is taken as free."""
        seen = self._view(symbol, long, short, 0)
        free = msgspec.structs.replace(seen, live_pairs=0, busy=False, long_exposure=ZERO, short_exposure=ZERO)
        _, verdict = await self._judge(free)
        may = verdict.kind == "enter" or verdict.rule.startswith((*CAPITAL, "balance_after"))
        return None if may else f"{verdict.rule}: {verdict.detail}"

    async def _judge(self, view: EntryView) -> tuple[EntryView, Verdict]:
        """The verdict, as far as need be with the past and with what both venues say now; and the view it was made from."""
        config = self._strategy.config
        verdict = judge_entry(view, config)
        if verdict.kind == "ask" or (verdict.rule == "persistence" and view.persistence is None):
            if config.persistence_lookback_hours is not None:
                past = await self._scanner.history(view.long.instrument, view.short.instrument, config.persistence_lookback_hours)
                view = msgspec.structs.replace(view, persistence=past)
                verdict = judge_entry(view, config)
            if verdict.kind == "ask":
                view = await self._ask(view)
                verdict = judge_entry(view, config)
        return view, verdict

    # ---- what is judged

    def _view(self, symbol: str, one: FundingQuote, other: FundingQuote, entered: int) -> EntryView:
        engine = self._context.engine
        long, short = one.instrument.venue, other.instrument.venue
        live = [r.record for r in engine.pairs.values() if r.state is not PairState.CLOSED]
        return EntryView(
            now_ns=self._context.clock.time_ns(),
            long=one,
            short=other,
            live_pairs=len(live),
            entered=entered,
            busy=symbol in {p.symbol for p in live},
            blocked=engine.entry_block(long, short) or "",
            attempts=self._books.attempts(symbol, long, short),
            wide_ns=self._last_wide(name_of(symbol, one, other)),
            left_ns=self._books.left(symbol, long, short),
            long_exposure=self._exposure(long),
            short_exposure=self._exposure(short),
        )

    async def _ask(self, view: EntryView) -> EntryView:
        """The view with what both venues say now."""
        quotes = view.long, view.short
        answers = await asyncio.gather(*(self._read(q) for q in quotes), return_exceptions=True)
        now_ns = self._context.clock.time_ns()
        facts: list[LegFacts] = []
        for quote, answer in zip(quotes, answers, strict=True):
            if isinstance(answer, VenueError | TimeoutError):
                why = str(answer) or f"no answer in {PATIENCE_S:g} s"
                return msgspec.structs.replace(view, unreadable=f"{quote.instrument.venue}: {why}")
            if isinstance(answer, BaseException):
                raise answer
            facts.append(answer.aged(now_ns))
        return msgspec.structs.replace(view, now_ns=now_ns, long_facts=facts[0], short_facts=facts[1])

    async def _read(self, quote: FundingQuote) -> LegFacts:
        async with asyncio.timeout(PATIENCE_S):
            return await read_leg(self._context.clients[quote.instrument.venue], str(quote.instrument), self._context.clock)

    def _exposure(self, venue: str) -> Decimal:
        """What this strategy holds on a venue, USD at the last known prices; of what is being entered, all of it."""
        total = ZERO
        for runner in self._context.engine.pairs.values():
            coming = runner.record.quantity if runner.state in ENTERING else ZERO
            for leg, trader in runner.legs.items():
                if trader.venue == venue:
                    total += max(trader.own, coming) * (trader.last_price or runner.plan.prices.get(leg, ZERO))
        return total

    def _last_wide(self, name: str) -> int | None:
        """When a spread of that pair was last too wide."""
        if name not in self._wide:
            self._wide[name] = self._strategy.load_state(f"wide:{name}", int)
        return self._wide[name]

    async def _remember_width(self, symbol: str, view: EntryView, verdict: Verdict) -> None:
        """A pair that failed by its spread is left alone for a while, also after a restart."""
        bad = {c.rule for c in verdict.checks if not c.ok}
        wide = (
            "wide_spread" in bad
            and bad <= COSTS | {"wide_spread_cooldown"}
            and view.long.spread is not None
            and view.short.spread is not None
        )
        if wide and (view.wide_ns is None or view.now_ns - view.wide_ns >= NS_PER_MINUTE):
            name = name_of(symbol, view.long, view.short)
            self._wide[name] = view.now_ns
            await self._strategy.save_state(f"wide:{name}", view.now_ns)

    # ---- what follows

    def _plan(self, symbol: str, view: EntryView, size: Sized, edge: Edge) -> PairPlan:
        config = self._strategy.config
        long, short = view.long_facts, view.short_facts
        if long is None or short is None:
            raise ValueError("a verdict with a size is made from facts")
        limits = config.execution.limits(config.limit_order_offset_pct)
        price = max(long.ask, short.ask)
        piece = slice_quantity(size.quantity, price, limits.naked_cap_usd, long.instrument, short.instrument)
        money = leg_money(long, view.long_exposure, config, buy=True), leg_money(short, view.short_exposure, config, buy=False)
        long_depth, short_depth = (sizing.depth_usd(m.levels, m.bound, buy=m is money[0]) for m in money)
        first, lead = (Leg.LONG, long) if long_depth <= short_depth else (Leg.SHORT, short)
        spread_bps = (lead.ask - lead.bid) / lead.bid * BPS
        return PairPlan(
            symbol=symbol,
            long_instrument=str(long.instrument.id),
            short_instrument=str(short.instrument.id),
            first_leg=first,
            quantity=size.quantity,
            slice_quantity=piece,
            tactics=ladder(config.execution.mode, spread_bps=spread_bps),
            exit_tactics=exit_ladder(config.execution.mode, spread_bps=spread_bps),
            max_price_cost=size.max_price_cost,
            worst_naked_usd=piece * price,
            expected={
                "edge_hourly": str(edge.hourly),
                "edge_annual": str(edge.annual),
                "net_over_horizon": str(size.net),
                "horizon_hours": str(edge.horizon.hours),
                "break_even_hours": str(size.costs.total / edge.hourly if edge.hourly > 0 else None),
                "costs": str(size.costs.total),
                "size_limit": size.binding.rule,
                "equity_long": str(long.equity),
                "equity_short": str(short.equity),
                "alone": str(not any(r.state is not PairState.CLOSED for r in self._context.engine.pairs.values())),
            },
            limits=limits,
        )

    async def _open(self, view: EntryView, verdict: Verdict, size: Sized, edge: Edge) -> bool:
        symbol = view.long.instrument.base
        plan = self._plan(symbol, view, size, edge)
        pair_id = self._context.engine.new_pair_id()
        long, short = view.long.instrument.venue, view.short.instrument.venue
        outcome = f"long {plan.quantity} {symbol} on {long}, short on {short}, {plan.first_leg} first"
        more = {**plan.expected, "quantity": plan.quantity, "slice": plan.slice_quantity, "worst_naked_usd": plan.worst_naked_usd}
        decision = self._decision("enter", verdict.rule, outcome, symbol, view, verdict, pair_id=pair_id, more=more)
        try:
            for quote in (view.long, view.short):
                client = self._context.clients[quote.instrument.venue]
                await settle_leverage(client, client.instruments.get(quote.instrument), self._strategy.config)
            runner = await self._context.engine.begin(plan, decision)
        except EntryRefused as e:
            self.late |= e.detail.startswith(LATE)
            await self._skip(symbol, view, e.rule, e.detail, verdict, refused=e.detail)
            return False
        except (JournalError, VenueError) as e:
            log.warning("entry.refused symbol=%s error=%s", symbol, e)
            await self._skip(symbol, view, type(e).__name__, str(e), verdict, refused=str(e))
            return False
        await wait_for(runner)
        await self._books.finish_closed()
        return True

    async def _skip(self, symbol: str, view: EntryView, rule: str, why: str, verdict: Verdict, *, refused: str = "") -> None:
        """A no is a decision too; the same no about the same pair is written again only after a while."""
        every = self._strategy.config.decision_record_minutes
        if not self._written.due(name_of(symbol, view.long, view.short), rule, view.now_ns, every):
            return
        more = {"refused": refused} if refused else {}
        record = self._decision("skip", rule, why, symbol, view, verdict, more=more)
        await self._context.journal.write(record, or_fallback=True)

    def _decision(
        self,
        kind: str,
        rule: str,
        outcome: str,
        symbol: str,
        view: EntryView,
        verdict: Verdict,
        *,
        pair_id: str | None = None,
        more: dict[str, object] | dict[str, str] | None = None,
    ) -> DecisionRecord:
        config = self._strategy.config
        record = self._strategy.decision(
            kind,
            rule,
            outcome,
            symbol=symbol,
            pair_id=pair_id,
            thresholds={"min_profit": config.min_profit, "checks": "; ".join(f"{c.rule}: {c.detail}" for c in verdict.checks)},
            ages=_ages(view),
        )
        return msgspec.structs.replace(record, inputs=recorder.inputs(view, {**_figures(view, verdict), **(more or {})}))


async def wait_for(runner: PairRunner) -> None:
    """Usually a pair comes to rest within seconds. When it does not, the cycle goes on: other pairs have exits to make (E18)."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await runner.until_rest()
    except TimeoutError:
        log.warning("pair.slow pair=%s state=%s", runner.record.pair_id, runner.state)


def name_of(symbol: str, long: FundingQuote, short: FundingQuote) -> str:
    """Under which a pair is remembered."""
    return f"{symbol}:{long.instrument.venue}:{short.instrument.venue}"


def quote_ages(now_ns: int, quotes: Iterable[FundingQuote]) -> dict[str, object]:
    """How old the rates are, seconds."""
    return {f"rate_{q.instrument.venue}_s": f"{(now_ns - q.observed_ns) / NS_PER_S:.3f}" for q in quotes}


def _net(refused: Rejection | None) -> Decimal:
    """For ranking; what has no edge comes last, nothing at all before that."""
    if refused is None:
        return Decimal("-Infinity")
    return Decimal(-1_000_000) if refused.edge is None else refused.edge.horizon.net


def _ages(view: EntryView) -> dict[str, object]:
    ages = quote_ages(view.now_ns, (view.long, view.short))
    for facts in (view.long_facts, view.short_facts):
        if facts is not None:
            ages[f"book_{facts.venue}_s"] = f"{facts.book_age_s:.3f}"
    return ages


def _figures(view: EntryView, verdict: Verdict) -> dict[str, object]:
    found: dict[str, object] = {
        "long": view.long.instrument,
        "short": view.short.instrument,
        "long_rate": f"{view.long.sample.raw_rate} per {view.long.sample.interval_hours} h",
        "short_rate": f"{view.short.sample.raw_rate} per {view.short.sample.interval_hours} h",
    }
    if verdict.edge is not None:
        found |= {
            "edge_hourly": verdict.edge.hourly,
            "net_over_horizon": verdict.edge.horizon.net,
            "break_even_hours": verdict.edge.break_even_hours,
            "costs": verdict.edge.costs.total,
        }
    if verdict.size is not None:
        costs = verdict.size.costs
        points = curve(view.long, view.short, costs, now_ns=view.now_ns)
        found |= {
            "net_at_size": verdict.size.net,
            "size_limits": ", ".join(f"{x.rule} {x.usd:.2f}" for x in verdict.size.limits),
            "net_by_hours": ", ".join(f"{p.hours} h {p.net:.6f}" for p in points),
            "settled_break_even_hours": break_even(view.long, view.short, costs, now_ns=view.now_ns),
        }
    return found
