"""The cycle: scan, watch what is held, enter what passes every gate; every decision is written down before it is acted upon."""

import asyncio
import logging
from decimal import Decimal
from typing import ClassVar

import msgspec
from pydantic import BaseModel

from database.errors import JournalError
from database.journal import Record
from database.records import Leg, PairRecord, PairState, StateRecord
from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_HOUR, NS_PER_S, ZERO, InstrumentId, Side
from funding_rate_service.opportunity import Filters, FundingQuote, Opportunity, Scan, scan
from strategies.base_strategy import BaseStrategy, StrategyContext
from strategies.execution import attempts, ledger
from strategies.execution.engine import EntryRefused
from strategies.execution.lots import LotRefused, common_lot
from strategies.execution.pair import PairRunner
from strategies.execution.plan import PairPlan, ladder, slice_quantity
from strategies.execution.pricing import BPS, Quote, bound

from . import exits, gate, sizing
from .config import FundingArbitrageConfig
from .scanner import Scanner

log = logging.getLogger("strategies.funding_arbitrage")

PATIENCE_S = 20.0


class FundingArbitrage(BaseStrategy[FundingArbitrageConfig]):
    """Two-leg funding arbitrage on the venues of the configuration."""

    config_class: ClassVar[type[BaseModel]] = FundingArbitrageConfig
    name: ClassVar[str] = "funding_arbitrage"

    def __init__(self, config: FundingArbitrageConfig, context: StrategyContext) -> None:
        super().__init__(config, context)
        self.scanner = Scanner({v: context.clients[v] for v in config.exchanges}, context.clock)
        self.last_scan = Scan((), ())
        self.results: dict[str, ledger.PairResult] = {}
        self._memory: dict[str, exits.HoldMemory] = {}

    @property
    def interval_s(self) -> float:
        return self.config.risk_config.check_interval_seconds

    async def initialize(self) -> None:
        """Recall what rules remember; finish the books of pairs that closed while nobody looked."""
        journal = self.context.journal.sync
        for record in journal.pairs():
            if record.strategy != self.name or record.account != self.context.account:
                continue
            held = journal.state(self.name, self.context.account, f"hold:{record.pair_id}")
            if held is not None and held.version == self.state_version:
                self._memory[record.pair_id] = msgspec.json.decode(held.value, type=exits.HoldMemory)
            if record.state is PairState.CLOSED and not journal.ledger(record.pair_id) and journal.fills(record.pair_id):
                await self._settle(record)

    async def run_cycle(self) -> None:
        """One look."""
        held = frozenset(InstrumentId.parse(p.instrument(leg)) for p in self._held() for leg in Leg)
        symbols = None if self.config.symbols is None else frozenset(self.config.symbols)
        quotes = await self.scanner.quotes(symbols, held)
        by_id = {str(q.instrument): q for q in quotes}
        for pair in self._held():
            await self._watch(pair, by_id)
        await self._finish_closed()
        self.last_scan = scan(quotes, self._filters(), now_ns=self.context.clock.time_ns())
        await self._enter(self.last_scan)

    def _held(self) -> list[PairRecord]:
        runners = self.context.engine.pairs.values()
        return [r.record for r in runners if r.state is PairState.HEDGED]

    def _filters(self) -> Filters:
        c = self.config
        return Filters(
            horizon_hours=c.profitability_horizon_hours,
            min_profit=c.min_profit,
            max_break_even_hours=c.max_break_even_hours,
            max_rate_age_s=c.max_rate_age_seconds,
            max_spread=c.max_spread_threshold_pct,
            max_price_divergence=c.max_entry_price_divergence_pct,
            min_volume_24h=c.min_volume_24h,
            min_oi_usd=c.min_oi_usd,
            max_oi_usd=c.max_oi_usd,
            symbols=None if c.symbols is None else frozenset(c.symbols),
            required_venue=c.mandatory_exchange,
        )

    # ---- entering

    async def _enter(self, found: Scan) -> None:
        live = [r.record for r in self.context.engine.pairs.values() if r.state is not PairState.CLOSED]
        busy = {p.symbol for p in live}
        free = min(self.config.max_new_positions_per_cycle, self.config.max_positions - len(live))
        for opportunity in found.opportunities:
            if free <= 0:
                return
            if opportunity.symbol in busy:
                continue
            if await self._consider(opportunity):
                busy.add(opportunity.symbol)
                free -= 1

    async def _consider(self, o: Opportunity) -> bool:
        """Gate, size, plan and open one opportunity; True when a pair came into being."""
        refused = self._remembered(o)
        if refused is not None:
            await self._skip(o, "cooldown", refused)
            return False
        gates = [
            await gate.check_leg(self.context.clients[q.instrument.venue], str(q.instrument), self.context.clock, self.config)
            for q in (o.long, o.short)
        ]
        checks = [c for g in gates for c in g.checks]
        long, short = gates[0].state, gates[1].state
        if long is not None and short is not None:
            checks.append(gate.divergence(long, short, self.config.max_entry_price_divergence_pct))
        bad = gate.failed(checks)
        if bad or long is None or short is None:
            await self._skip(o, bad[0].rule if bad else "readable", "; ".join(f"{c.rule} {c.detail}" for c in bad), checks)
            return False
        try:
            plan = self._plan(o, long, short)
        except LotRefused as e:
            await self._skip(o, e.rule, e.detail, checks)
            return False
        return await self._open(o, plan, checks)

    def _remembered(self, o: Opportunity) -> str | None:
        name = attempts.key(o.symbol, o.long.instrument.venue, o.short.instrument.venue)
        held = attempts.load(self.context.journal.sync, self.name, self.context.account, name)
        return attempts.block(held, self.config.execution.attempts(), self.context.clock.time_ns())

    def _plan(self, o: Opportunity, long: gate.LegState, short: gate.LegState) -> PairPlan:
        c, limits = self.config, self.config.execution.limits()
        bound_bps = limits.entry_bps[0]
        long_worst = bound(Side.BUY, Quote(long.bid, long.ask), bound_bps)
        short_worst = bound(Side.SELL, Quote(short.bid, short.ask), bound_bps)
        size = [
            sizing.SizeLimit("default_position_size_usd", c.default_position_size_usd),
            sizing.SizeLimit("max_position_size_usd", c.max_position_size_usd),
        ]
        for state, buy, worst in ((long, True, long_worst), (short, False, short_worst)):
            found = sizing.limits(
                sizing.LegMoney(
                    instrument=state.instrument,
                    price=state.ask,
                    available=state.available,
                    equity=state.equity,
                    exposure=self._exposure(state.instrument.id.venue),
                    levels=state.asks if buy else state.bids,
                    bound=worst,
                    leverage=state.leverage,
                ),
                buy=buy,
                buffer=c.balance_buffer_pct,
                min_distance=c.risk_config.min_liquidation_distance_pct,
                max_exposure=c.max_total_exposure_usd,
                depth_share=c.max_depth_share,
            )
            if isinstance(found, str):
                raise LotRefused("margin", found)
            size += found
        binding = sizing.smallest(size)
        if binding.usd <= 0:
            raise LotRefused(binding.rule, f"{binding.usd:.2f} USD left")
        price = max(long.ask, short.ask)
        quantity = common_lot(binding.usd / price, long.instrument, short.instrument, long_price=long.bid, short_price=short.bid)
        piece = slice_quantity(quantity, price, limits.naked_cap_usd, long.instrument, short.instrument)
        thin_long = sizing.depth_usd(long.asks, long_worst, buy=True) <= sizing.depth_usd(short.bids, short_worst, buy=False)
        first, lead = (Leg.LONG, long) if thin_long else (Leg.SHORT, short)
        spread_bps = (lead.ask - lead.bid) / lead.bid * BPS
        return PairPlan(
            symbol=o.symbol,
            long_instrument=str(long.instrument.id),
            short_instrument=str(short.instrument.id),
            first_leg=first,
            quantity=quantity,
            slice_quantity=piece,
            tactics=ladder(c.execution.mode, spread_bps=spread_bps),
            worst_naked_usd=piece * price,
            expected={
                "edge_hourly": str(o.edge.hourly),
                "edge_annual": str(o.edge.annual),
                "net_over_horizon": str(o.edge.horizon.net),
                "horizon_hours": str(o.edge.horizon.hours),
                "break_even_hours": str(o.edge.break_even_hours),
                "costs": str(o.edge.costs.total),
                "size_limit": binding.rule,
                "equity_long": str(long.equity),
                "equity_short": str(short.equity),
                "alone": str(not any(r.state is not PairState.CLOSED for r in self.context.engine.pairs.values())),
            },
            limits=limits,
        )

    def _exposure(self, venue: str) -> Decimal:
        """What this strategy holds on a venue, USD at the last known prices."""
        return sum(
            (
                trader.own * (trader.last_price or ZERO)
                for runner in self.context.engine.pairs.values()
                for trader in runner.legs.values()
                if trader.venue == venue
            ),
            ZERO,
        )

    async def _open(self, o: Opportunity, plan: PairPlan, checks: list[gate.Check]) -> bool:
        pair_id = self.context.engine.new_pair_id()
        decision = self.decision(
            "enter",
            "edge",
            f"long {plan.quantity} {o.symbol} on {o.long.instrument.venue}, short on {o.short.instrument.venue}, {plan.first_leg} first",
            symbol=o.symbol,
            pair_id=pair_id,
            inputs={
                **_figures(o),
                **plan.expected,
                "quantity": plan.quantity,
                "slice": plan.slice_quantity,
                "worst_naked_usd": plan.worst_naked_usd,
            },
            thresholds={"min_profit": self.config.min_profit, "checks": "; ".join(f"{c.rule}: {c.detail}" for c in checks)},
            ages=self._ages(o.long, o.short),
        )
        if self.config.dry_run:
            await self._skip(o, "dry_run", decision.outcome, checks)
            return False
        try:
            for leg in (o.long, o.short):
                client = self.context.clients[leg.instrument.venue]
                await gate.settle_leverage(client, client.instruments.get(leg.instrument), self.config)
            runner = await self.context.engine.begin(plan, decision)
        except EntryRefused as e:
            await self._skip(o, e.rule, e.detail, checks)
            return False
        except (JournalError, VenueError) as e:
            log.warning("entry.refused symbol=%s error=%s", o.symbol, e)
            await self._skip(o, type(e).__name__, str(e), checks)
            return False
        await self._wait_for(runner)
        await self._finish_closed()
        return True

    async def _wait_for(self, runner: PairRunner) -> None:
        """Usually a pair comes to rest within seconds. When it does not, the cycle goes on: other pairs have exits to make (E18)."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await runner.until_rest()
        except TimeoutError:
            log.warning("pair.slow pair=%s state=%s", runner.record.pair_id, runner.state)

    async def _skip(self, o: Opportunity, rule: str, why: str, checks: list[gate.Check] | None = None) -> None:
        """A no is a decision too."""
        record = self.decision(
            "skip",
            rule,
            why,
            symbol=o.symbol,
            inputs=_figures(o),
            thresholds={"checks": "; ".join(f"{c.rule}: {c.detail}" for c in checks or ())},
            ages=self._ages(o.long, o.short),
        )
        await self.context.journal.write(record, or_fallback=True)

    # ---- holding and leaving

    async def _watch(self, pair: PairRecord, quotes: dict[str, FundingQuote]) -> None:
        """Book what was paid, look at the exit rules, leave when one says so."""
        now_ns = self.context.clock.time_ns()
        try:
            await ledger.book_funding(pair, self.context.clients, self.context.journal, now_ns)
        except VenueError as e:
            log.warning("funding.unbooked pair=%s error=%s", pair.pair_id, e)
        long, short = quotes.get(pair.long_instrument), quotes.get(pair.short_instrument)
        view = await self._view(pair, long, short)
        found, memory = exits.judge(view, self._memory.get(pair.pair_id, exits.HoldMemory()), self.config.risk_config)
        if memory != self._memory.get(pair.pair_id):
            self._memory[pair.pair_id] = memory
            await self.save_state(f"hold:{pair.pair_id}", memory)
        decision = self.decision(
            "exit" if found else "hold",
            found.rule if found else "none",
            found.detail if found else "no rule says leave",
            symbol=pair.symbol,
            pair_id=pair.pair_id,
            inputs={**msgspec.structs.asdict(view), **msgspec.structs.asdict(memory)},
            thresholds=self.config.risk_config.model_dump(mode="json"),
            ages=self._ages(*(q for q in (long, short) if q is not None)),
        )
        if found is None:
            await self.context.journal.write(decision, pair_id=pair.pair_id, or_fallback=True)
            return
        await self._wait_for(await self.context.engine.begin_close(pair.pair_id, f"{found.rule}: {found.detail}", decision))

    async def close(self, pair_id: str, why: str) -> PairRecord:
        """Leave a pair because somebody asked."""
        pair = self.context.engine.pairs[pair_id].record
        decision = self.decision("exit", "requested", why, symbol=pair.symbol, pair_id=pair_id)
        record = await self.context.engine.close(pair_id, f"requested: {why}", decision)
        await self._finish_closed()
        return record

    async def _view(self, pair: PairRecord, long: FundingQuote | None, short: FundingQuote | None) -> exits.HoldView:
        now_ns = self.context.clock.time_ns()
        plan = self.context.engine.pairs[pair.pair_id].plan
        traders = self.context.engine.pairs[pair.pair_id].legs
        known = long is not None and short is not None
        notional = max((t.own * (t.last_price or ZERO) for t in traders.values()), default=ZERO)
        return exits.HoldView(
            age_hours=Decimal(now_ns - (pair.opened_at or pair.created_at)) / NS_PER_HOUR,
            notional_usd=notional,
            entry_edge_hourly=Decimal(plan.expected.get("edge_hourly", "0")),
            edge_hourly=short.sample.hourly_rate - long.sample.hourly_rate if long is not None and short is not None else None,
            pnl_if_closed=self._pnl_if_closed(pair, long, short) if known and long is not None and short is not None else None,
            liquidation_distance=await self._liquidation_distance(pair),
            settlements_seen=len(self.context.journal.sync.funding(pair.pair_id)),
        )

    def _pnl_if_closed(self, pair: PairRecord, long: FundingQuote, short: FundingQuote) -> Decimal | None:
        """The unified result if both legs were closed at the touch now, fees included; None when a price or a fee is unknown."""
        if long.bid is None or short.ask is None or long.taker_fee is None or short.taker_fee is None:
            return None
        found = self.result(pair, {Leg.LONG: long.bid, Leg.SHORT: short.ask})
        fees = sum(
            (abs(v.open_value) * (q.taker_fee or ZERO) for v, q in zip(found.venues, (long, short), strict=True)),
            ZERO,
        )
        return found.total - fees

    def result(
        self, pair: PairRecord, marks: dict[Leg, Decimal] | None = None, totals: dict[Leg, Decimal] | None = None
    ) -> ledger.PairResult:
        """The pair's result from the journal."""
        journal = self.context.journal.sync
        pair_id = pair.pair_id
        return ledger.result(
            pair, journal.intents(pair_id), journal.fills(pair_id), journal.funding(pair_id), marks=marks, venue_totals=totals
        )

    async def _liquidation_distance(self, pair: PairRecord) -> Decimal | None:
        """The nearer leg's distance as a fraction of its mark price; None when a venue does not say."""
        nearest: Decimal | None = None
        for leg in Leg:
            try:
                held = await self.context.clients[pair.venue(leg)].get_position_snapshot(pair.instrument(leg))
            except VenueError:
                continue
            if held is not None and held.liquidation_price and held.mark_price:
                distance = abs(held.mark_price - held.liquidation_price) / held.mark_price
                nearest = distance if nearest is None else min(nearest, distance)
        return nearest

    # ---- the books

    async def _finish_closed(self) -> None:
        for runner in list(self.context.engine.pairs.values()):
            if runner.state is PairState.CLOSED and runner.record.pair_id not in self.results:
                await self._settle(runner.record)

    async def _settle(self, pair: PairRecord) -> None:
        """The final account of a closed pair, from venue records; a failed open also counts against its pair of venues (E16)."""
        now_ns = self.context.clock.time_ns()
        try:
            await ledger.book_funding(pair, self.context.clients, self.context.journal, now_ns)
            totals = await self._venue_totals(pair)
        except VenueError as e:
            log.warning("ledger.waits pair=%s error=%s", pair.pair_id, e)
            return
        found = self.result(pair, totals=totals)
        journal = self.context.journal
        records: list[Record] = [
            *ledger.lines(pair, journal.sync.fills(pair.pair_id), journal.sync.funding(pair.pair_id), found, now_ns),
            self._attempt(pair, -found.total, now_ns),
        ]
        await journal.write(*records, pair_id=pair.pair_id, or_fallback=True)
        self.results[pair.pair_id] = found

    def _attempt(self, pair: PairRecord, cost_usd: Decimal, now_ns: int) -> StateRecord:
        """A pair that was never hedged counts against its venues; one that was clears the count."""
        limits = self.config.execution.attempts()
        name = attempts.key(pair.symbol, pair.long_venue, pair.short_venue)
        after = attempts.Attempts()
        if pair.opened_at is None:
            held = attempts.load(self.context.journal.sync, self.name, self.context.account, name)
            after = attempts.after_failure(held, limits, now_ns=now_ns, cost_usd=cost_usd, reason=pair.reason)
        return attempts.record(self.name, self.context.account, name, after, now_ns)

    async def _venue_totals(self, pair: PairRecord) -> dict[Leg, Decimal] | None:
        """What each account gained meanwhile; None unless this pair was alone on them."""
        held = self.context.engine.pairs.get(pair.pair_id)
        if held is None or held.plan.expected.get("alone") != "True" or pair.foreign_long or pair.foreign_short:
            return None
        if any(r.record.created_at > pair.created_at and r.record.pair_id != pair.pair_id for r in self.context.engine.pairs.values()):
            return None
        totals: dict[Leg, Decimal] = {}
        for leg in Leg:
            equity = await self.context.clients[pair.venue(leg)].get_total_asset_value()
            before = held.plan.expected.get(f"equity_{leg}")
            if equity is None or before is None:
                return None
            totals[leg] = equity - Decimal(before)
        return totals

    def _ages(self, *quotes: FundingQuote) -> dict[str, object]:
        now_ns = self.context.clock.time_ns()
        return {f"rate_{q.instrument.venue}_s": f"{(now_ns - q.observed_ns) / NS_PER_S:.3f}" for q in quotes}


def _figures(o: Opportunity) -> dict[str, object]:
    return {
        "long": o.long.instrument,
        "short": o.short.instrument,
        "long_rate": f"{o.long.sample.raw_rate} per {o.long.sample.interval_hours} h",
        "short_rate": f"{o.short.sample.raw_rate} per {o.short.sample.interval_hours} h",
        "edge_hourly": o.edge.hourly,
        "net_over_horizon": o.edge.horizon.net,
        "break_even_hours": o.edge.break_even_hours,
        "costs": o.edge.costs.total,
    }
