"""Holding: what is known of a held pair at one look, the verdict, and the way out."""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from database.records import Leg, PairRecord, PairState
from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_HOUR, NS_PER_S, ZERO, BookLevel, ExchangePositionSnapshot, Instrument, MarketStatus
from funding_rate_service.opportunity import FundingQuote, Opportunity, Scan, average_price, disbelief
from strategies.base_strategy import BaseStrategy, StateNotReadable
from strategies.execution import attempts
from strategies.execution.pair import PairRunner

from . import recorder
from .books import Books
from .config import FundingArbitrageConfig
from .entering import Entering, name_of, quote_ages, wait_for
from .exits import Alternative, HoldMemory, HoldVerdict, HoldView, judge
from .scanner import READ_S

log = logging.getLogger("strategies.funding_arbitrage")

T = TypeVar("T")
DEPTH_LEVELS = 20
DAY_NS = 24 * NS_PER_HOUR
ROTATIONS = "rotations"


class ClosePrice(msgspec.Struct, frozen=True):
    """At what one leg could be closed, and what that is away from the mid."""

    price: Decimal
    mid: Decimal
    spread: Decimal | None


class LegNow(msgspec.Struct, frozen=True):
    """What one venue says of a held leg. None: not known."""

    price: ClosePrice | None
    fee: Decimal | None
    position: ExchangePositionSnapshot | None


class Holding:
    """The watch over held pairs."""

    def __init__(
        self, strategy: BaseStrategy[FundingArbitrageConfig], books: Books, entering: Entering, written: recorder.Repetitions
    ) -> None:
        self._strategy, self._books, self._entering, self._written = strategy, books, entering, written
        self._context = strategy.context
        self._memory: dict[str, HoldMemory] = {}
        self._rotated: list[int] | None = None
        self.waiting: set[str] = set()
        """Pairs whose exit is due and waits for a better moment."""
        self._rotating = False
        """A pair has been left for a better one in this round: there is one place for one better pair."""
        self._fees: dict[str, Decimal] = {}
        """By instrument, as last told."""

    def held(self) -> list[PairRecord]:
        """Pairs that stand, also those whose legs are being brought back together."""
        runners = self._context.engine.pairs.values()
        return [r.record for r in runners if r.recovered and r.state in (PairState.HEDGED, PairState.REPAIRING)]

    def begin_round(self) -> None:
        """All pairs are about to be looked at."""
        self._rotating = False

    async def watch(self, pair: PairRecord, quotes: Mapping[str, FundingQuote], found: Scan) -> None:
        """Book what was paid, look at the exit rules, leave when one says so."""
        await self._books.book_funding(pair)
        runner = self._context.engine.pairs[pair.pair_id]
        config = self._strategy.config_of(pair.pair_id)
        long, short = quotes.get(pair.long_instrument), quotes.get(pair.short_instrument)
        view = await self._view(runner, config, long, short, found)
        before = self._recall(pair.pair_id)
        verdict = judge(view, before, config)
        if verdict.rule == "better_opportunity" and await self._is_unsure(view.alternative):
            view = msgspec.structs.replace(view, alternative=None)
            verdict = judge(view, before, config)
        if verdict.memory != before:
            self._memory[pair.pair_id] = verdict.memory
            await self._strategy.save_state(f"hold:{pair.pair_id}", verdict.memory)
        if verdict.rule == "wait":
            self.waiting.add(pair.pair_id)
        else:
            self.waiting.discard(pair.pair_id)
        if verdict.kind == "hold" and not self._worth_writing(pair.pair_id, verdict, view.now_ns, config):
            return
        record = self._strategy.decision(
            verdict.kind,
            verdict.rule,
            verdict.detail,
            symbol=pair.symbol,
            pair_id=pair.pair_id,
            thresholds=config.risk_config.model_dump(mode="json"),
            ages=quote_ages(view.now_ns, (q for q in (long, short) if q is not None)),
        )
        record = msgspec.structs.replace(record, inputs=recorder.inputs(view, _figures(view, verdict), before, verdict.memory))
        if verdict.kind == "hold":
            await self._context.journal.write(record, pair_id=pair.pair_id, or_fallback=True)
            return
        if verdict.rule == "better_opportunity":
            self._rotated = [*self._rotations(), view.now_ns]
            await self._strategy.save_state(ROTATIONS, self._rotated)
        reason = f"{verdict.rule}: {verdict.detail}"
        await wait_for(await self._context.engine.begin_close(pair.pair_id, reason, record, patient=not verdict.critical))

    def forget(self, pair_id: str) -> None:
        """The pair has closed."""
        self._memory.pop(pair_id, None)
        self.waiting.discard(pair_id)

    def _recall(self, pair_id: str) -> HoldMemory:
        if pair_id not in self._memory:
            try:
                self._memory[pair_id] = self._strategy.load_state(f"hold:{pair_id}", HoldMemory) or HoldMemory()
            except StateNotReadable as e:  # counts of looks are no reason to look no more (E18)
                log.warning("hold.forgotten pair=%s error=%s", pair_id, e)
                self._memory[pair_id] = HoldMemory()
        return self._memory[pair_id]

    def _worth_writing(self, pair_id: str, verdict: HoldVerdict, now_ns: int, config: FundingArbitrageConfig) -> bool:
        memory = verdict.memory
        answer = f"{verdict.rule}:{memory.flips}:{memory.erosions}:{memory.imbalances}:{memory.intervals}"
        return self._written.due(pair_id, answer, now_ns, config.decision_record_minutes)

    # ---- what is known

    async def _view(
        self, runner: PairRunner, config: FundingArbitrageConfig, long: FundingQuote | None, short: FundingQuote | None, found: Scan
    ) -> HoldView:
        pair, now_ns = runner.record, self._context.clock.time_ns()
        traders = runner.legs
        own = {leg: traders[leg].own for leg in Leg}
        larger = max(own.values())
        step = max(trader.instrument.step_size for trader in traders.values())
        delta = abs(own[Leg.LONG] - own[Leg.SHORT])
        doubts = [doubt for q in (long, short) if (doubt := self._doubt(q, now_ns, config)) is not None]
        sure = long is not None and short is not None and not doubts
        quotes = {Leg.LONG: long, Leg.SHORT: short}
        asked = await asyncio.gather(*(self._ask(pair, leg, own[leg], quote) for leg, quote in quotes.items()))
        told = dict(zip(quotes, asked, strict=True))
        closing = {leg: one.price for leg, one in told.items()}
        fees = {leg: one.fee for leg, one in told.items()}
        pnl, cost = self._if_closed(pair, closing, fees, own)
        mids = {leg: traders[leg].last_price if (price := closing[leg]) is None else price.mid for leg in Leg}
        for leg, price in closing.items():
            if price is not None and price.spread is not None:
                traders[leg].market.last_price = price.mid
        one, other = self._market(pair, Leg.LONG), self._market(pair, Leg.SHORT)
        spreads = [price.spread for price in closing.values() if price is not None and price.spread is not None]
        return HoldView(
            now_ns=now_ns,
            age_hours=Decimal(now_ns - (pair.opened_at or pair.created_at)) / NS_PER_HOUR,
            notional_usd=max(own[leg] * (mids[leg] or ZERO) for leg in Leg),
            entry_edge_hourly=Decimal(runner.plan.expected.get("edge_hourly", "0")),
            edge_hourly=short.sample.hourly_rate - long.sample.hourly_rate if sure and long is not None and short is not None else None,
            pnl_if_closed=pnl,
            close_cost=cost,
            liquidation_distance=_nearest({leg: one.position for leg, one in told.items()}, mids),
            settlements_seen=len(self._context.journal.sync.funding(pair.pair_id)),
            imbalance=delta / larger if larger > 0 and delta >= step else ZERO,
            spread=max(spreads, default=None),
            long=long.sample if sure and long is not None else None,
            short=short.sample if sure and short is not None else None,
            long_status=MarketStatus.UNKNOWN if one is None else one.status,
            short_status=MarketStatus.UNKNOWN if other is None else other.status,
            long_ends_ns=None if one is None else one.ends_ns,
            short_ends_ns=None if other is None else other.ends_ns,
            alternative=self._alternative(pair, found),
            rotations=len(self._rotations()),
            doubt="; ".join(doubts),
        )

    def _doubt(self, quote: FundingQuote | None, now_ns: int, config: FundingArbitrageConfig) -> str | None:
        """Why a leg's rate is unknown."""
        if quote is None:
            return "a venue does not tell its rate"
        age_s = Decimal(now_ns - quote.observed_ns) / NS_PER_S
        if age_s > config.max_rate_age_seconds:
            return f"the rate of {quote.instrument.venue} is {age_s:.1f} s old"
        doubt = disbelief(quote.sample)
        return None if doubt is None else f"{quote.instrument.venue}: {doubt}"

    def _market(self, pair: PairRecord, leg: Leg) -> Instrument | None:
        """The market as the venue tells it now; None when its list cannot be read."""
        try:
            return self._context.clients[pair.venue(leg)].instruments.get(pair.instrument(leg))
        except VenueError:
            return None

    async def _ask(self, pair: PairRecord, leg: Leg, own: Decimal, quote: FundingQuote | None) -> LegNow:
        """What one venue says; what it does not say in time is not known at this look."""
        price, fee, position = await asyncio.gather(
            _soon(self._close_price(pair, leg, own, quote)), _soon(self._fee(pair, leg, quote)), _soon(self._position(pair, leg))
        )
        return LegNow(price, fee, position)

    async def _position(self, pair: PairRecord, leg: Leg) -> ExchangePositionSnapshot | None:
        try:
            return await self._context.clients[pair.venue(leg)].get_position_snapshot(pair.instrument(leg))
        except VenueError:
            return None

    async def _close_price(self, pair: PairRecord, leg: Leg, own: Decimal, quote: FundingQuote | None) -> ClosePrice | None:
        """Through the live book for the whole quantity; what it does not hold counts at its last level. Without a book: the mark."""
        client = self._context.clients[pair.venue(leg)]
        mark = None if quote is None or quote.mark is None else ClosePrice(quote.mark, quote.mark, None)
        try:
            instrument = client.instruments.get(pair.instrument(leg))
            book = await client.market_data.depth(instrument, DEPTH_LEVELS)
        except VenueError:
            return mark
        if not book.bids or not book.asks or own <= 0:
            return mark
        bid, ask = book.bids[0].price, book.asks[0].price
        price = _through(book.bids if leg is Leg.LONG else book.asks, own)
        return ClosePrice(price, (bid + ask) / 2, (ask - bid) * 2 / (ask + bid))

    def _if_closed(
        self,
        pair: PairRecord,
        closing: Mapping[Leg, ClosePrice | None],
        fees: Mapping[Leg, Decimal | None],
        own: Mapping[Leg, Decimal],
    ) -> tuple[Decimal | None, Decimal | None]:
        """The unified result if both legs were closed now, and what closing costs; None when a price or a fee is unknown."""
        marks: dict[Leg, Decimal] = {}
        cost = paid = ZERO
        for leg in Leg:
            price, fee = closing[leg], fees[leg]
            if price is None or fee is None:
                return None, None
            marks[leg] = price.price
            paid += own[leg] * price.price * fee
            cost += own[leg] * (abs(price.price - price.mid) + price.price * fee)
        return self._books.result(pair, marks).total - paid, cost

    async def _fee(self, pair: PairRecord, leg: Leg, quote: FundingQuote | None) -> Decimal | None:
        """The account's taker fee. Told with the rates; without them as last told, else the venue is asked: a stop loss needs no rate."""
        market = pair.instrument(leg)
        if quote is not None and quote.taker_fee is not None:
            self._fees[market] = quote.taker_fee
        elif market not in self._fees:
            try:
                self._fees[market] = (await self._context.clients[pair.venue(leg)].get_fee_rates(market)).taker
            except VenueError:
                return None
        return self._fees[market]

    # ---- rotation

    async def _is_unsure(self, other: Alternative | None) -> bool:
        """Whether it is not certain that the better pair can be had: another one is being left for it, or its gates are not open now."""
        if other is None or self._rotating:
            return True
        self._rotating = True
        symbol = other.long.instrument.base
        refusal = await self._entering.refusal(symbol, other.long, other.short)
        if refusal is not None:
            self._rotating = False
            log.info("rotation.refused symbol=%s why=%s", symbol, refusal)
        return refusal is not None

    def _rotations(self) -> list[int]:
        """When pairs were left for better ones within the last day."""
        if self._rotated is None:
            self._rotated = self._strategy.load_state(ROTATIONS, list[int]) or []
        since = self._context.clock.time_ns() - DAY_NS
        return [at for at in self._rotated if at > since]

    def _alternative(self, pair: PairRecord, found: Scan) -> Alternative | None:
        """The best pair that is not held and not cooling down."""
        live = [r.record for r in self._context.engine.pairs.values() if r.state is not PairState.CLOSED]
        others = {p.symbol for p in live if p.pair_id != pair.pair_id}
        full = len(live) >= self._strategy.config.max_positions
        for o in found.opportunities:
            same = (str(o.long.instrument), str(o.short.instrument)) == (pair.long_instrument, pair.short_instrument)
            if same or o.symbol in others or self._cools_down(o):
                continue
            name = name_of(o.symbol, o.long, o.short)
            return Alternative(o.long, o.short, o.symbol == pair.symbol or full or name in self._entering.short_of_capital)
        return None

    def _cools_down(self, o: Opportunity) -> bool:
        held = self._books.attempts(o.symbol, o.long.instrument.venue, o.short.instrument.venue)
        return attempts.block(held, self._strategy.config.execution.attempts(), self._context.clock.time_ns()) is not None


async def _soon(asked: Coroutine[Any, Any, T | None]) -> T | None:
    """The answer; None when it takes too long."""
    try:
        async with asyncio.timeout(READ_S):
            return await asked
    except TimeoutError:
        return None


def _nearest(positions: Mapping[Leg, ExchangePositionSnapshot | None], mids: Mapping[Leg, Decimal | None]) -> Decimal | None:
    """The nearer leg's distance to its liquidation as a fraction of its mark price (of its mid, where a venue shows no mark with
    positions); None when no venue says at what price it liquidates."""
    found = []
    for leg, held in positions.items():
        mark = None if held is None else held.mark_price or mids[leg]
        if held is not None and held.liquidation_price and mark:
            found.append(away_from_liquidation(held.quantity, mark, held.liquidation_price))
    return min(found, default=None)


def away_from_liquidation(quantity: Decimal, mark: Decimal, liquidation: Decimal) -> Decimal:
    """How far the mark may still move against a position, as a fraction of it; zero at and beyond the liquidation price."""
    left = mark - liquidation if quantity > 0 else liquidation - mark
    return max(left, ZERO) / mark


def _through(levels: tuple[BookLevel, ...], quantity: Decimal) -> Decimal:
    """The mean price of the whole quantity; what is beyond the book counts at its last level."""
    found = average_price(levels, quantity)
    if found is not None:
        return found
    there = sum((x.size for x in levels), ZERO)
    value = sum((x.size * x.price for x in levels), ZERO)
    return (value + (quantity - there) * levels[-1].price) / quantity


def _figures(view: HoldView, verdict: HoldVerdict) -> dict[str, object]:
    names = (
        "age_hours",
        "notional_usd",
        "entry_edge_hourly",
        "edge_hourly",
        "pnl_if_closed",
        "close_cost",
        "liquidation_distance",
        "settlements_seen",
        "imbalance",
        "spread",
    )
    memory = verdict.memory
    found: dict[str, object] = {name: getattr(view, name) for name in names}
    found |= {"hold_value": verdict.hold_value, "flips": memory.flips, "erosions": memory.erosions}
    if memory.intervals is not None:
        found["intervals"] = f"{memory.intervals[0]} h, {memory.intervals[1]} h"
    return found
