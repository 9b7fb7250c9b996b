"""One run: history, simulated venues and the bot's own code on a virtual clock. A plain function of plain data."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from database.records import DecisionRecord, HoldingState, PairState
from exchange_clients import venues as registry
from exchange_clients.model import NS_PER_HOUR, FundingRateSample, Instrument, InstrumentId
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.types import UNIT, Rules
from exchange_simulator.simloop import Simulation, run
from exchange_simulator.simulated_client import SimulatedClient, SimulatedMarketData
from exchange_simulator.simulated_venue import SimulatedVenue, simulated_spec
from exchange_simulator.world.wire import parts_of
from perpkit.backtest.clock import IdleClock
from perpkit.backtest.config import BacktestConfig, MarketModel, VenueModel
from perpkit.backtest.data.funding import FundingHistory, FundingTable, Settlement, iso_minute, read_funding
from perpkit.backtest.data.service import FundingDatabase
from perpkit.backtest.market import (
    CandleFeed,
    Feed,
    HistoryFunding,
    IntervalFeed,
    Market,
    Player,
    Quiet,
    Ticks,
    apart,
    even,
    feed_of,
    gaps_of,
    moves,
    same_way,
)
from perpkit.backtest.memory import MemoryJournal
from perpkit.backtest.recorder import ACCOUNT, Recorder, Told, book_all
from perpkit.backtest.result import Input, RunResult
from perpkit.bot import config as bot_config
from perpkit.bot.assemble import Bot, Bots, assembled
from strategies.base_strategy import explain
from strategies.execution.ledger import owners as ledger

log = logging.getLogger("perpkit.backtest")

UNRESOLVED_EVERY_S = 3_600.0
Progress = Callable[[float], None]
"""Told the share of the run that is done, 0 to 1."""


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What `run_one` needs, as plain data that travels between processes and machines.

    `bot`: the bot's file as parsed. `overrides`: dotted keys of it that were set otherwise. `flip_seed`: every funding settlement gets a
    random sign (the null test).
    """

    bot: dict[str, Any]
    data: str
    from_ns: int
    to_ns: int
    seed: int = 0
    label: str = ""
    overrides: dict[str, str] = msgspec.field(default_factory=dict)
    flip_seed: int | None = None


class InvalidSpec(ValueError):
    """The run cannot start: one line per problem."""


@dataclass(slots=True)
class Stage:
    """A venue of the run."""

    name: str
    model: VenueModel
    venue: SimulatedVenue
    client: SimulatedClient
    funding: HistoryFunding
    histories: dict[str, FundingHistory]
    feeds: list[Feed] = field(default_factory=list)


class BacktestMarketData(SimulatedMarketData):
    """Rates that the history does not have are not told."""

    async def fetch_funding_rates(self) -> dict[InstrumentId, FundingRateSample]:
        venue, now_ns = self._venue, self._venue.now_ns()
        source = venue.exchange.funding
        assert isinstance(source, HistoryFunding)
        return {
            instrument: sample
            for instrument, sample in (await super().fetch_funding_rates()).items()
            if source.known(instrument.base, now_ns, venue.exchange.markets[instrument.base].spec.funding_interval_ns)
        }


class BacktestClient(SimulatedClient):
    """Nothing is lost between this client and its exchange, so what is unproven is looked up once an hour instead of every two seconds."""

    market_data_class = BacktestMarketData

    async def _keep_proven(self) -> None:
        while True:
            await self.context.runtime.clock.sleep(UNRESOLVED_EVERY_S)
            await self.order_manager.check_unresolved()


def run_one(spec: RunSpec, progress: Progress | None = None) -> RunResult:
    """The run that `spec` describes. Same spec and files, same result, to the last byte of its JSON.

    Raises:
        InvalidSpec, InvalidConfig, DataError: nothing was run; the text says what to mend.
    """
    if spec.to_ns <= spec.from_ns:
        raise InvalidSpec(f"the run ends ({iso_minute(spec.to_ns)}) before it begins ({iso_minute(spec.from_ns)})")
    config, bot = checked(spec.bot)
    return run(partial(_play, spec=spec, config=config, bot=bot, progress=progress), seed=spec.seed, epoch_ns=spec.from_ns)


def checked(values: Mapping[str, Any]) -> tuple[BacktestConfig, bot_config.BotConfig]:
    """The two halves of a bot's file.

    Raises:
        InvalidSpec, InvalidConfig: what is wrong with it.
    """
    section = values.get("backtest")
    if not section:
        raise InvalidSpec("there is no section `backtest`: it names the data of each venue (docs/backtest.md)")
    try:
        config = BacktestConfig.model_validate(section)
    except ValidationError as e:
        raise InvalidSpec("\n".join(f"backtest.{explain(BacktestConfig, dict(item))}" for item in e.errors())) from None
    bot = bot_config.parse({**values, "backtest": dict(section)}, also=tuple(config.venues))
    missing = [name for name in bot.venues if name not in config.venues]
    if missing:
        raise InvalidSpec(f"backtest.venues: nothing stands for {', '.join(missing)}")
    limits = bot.risk.model_dump() | {"check_s": config.risk_hours * 3_600, "max_data_age_s": config.risk_hours * 7_200}
    return config, bot.model_copy(update={"risk": type(bot.risk).model_validate(limits)})


async def _play(
    sim: Simulation, *, spec: RunSpec, config: BacktestConfig, bot: bot_config.BotConfig, progress: Progress | None
) -> RunResult:
    clock = IdleClock(spec.from_ns, config.idle_s)
    runtime = replace(sim.runtime, clock=clock)
    stages = {name: _stage(sim, runtime, name, config.venues[name], config, spec) for name in bot.venues}
    same_way([feed for stage in stages.values() for feed in stage.feeds if isinstance(feed, CandleFeed)])
    journal = MemoryJournal.make()
    try:
        recorder = Recorder({name: stage.venue for name, stage in stages.items()}, clock.stir)
        feeds: list[Feed] = [feed for stage in stages.values() for feed in stage.feeds]
        times = even(spec.from_ns, spec.to_ns, config.samples)
        feeds.append(Ticks(1_000_000, moves(list(feeds)), recorder.look))
        feeds.append(Ticks(1_000_001, times, partial(_sample, recorder, spec, progress)))
        _first_prices(stages, spec.from_ns, spec.to_ns)
        player = Player(sim.loop, spec.from_ns, feeds)
        async with AsyncExitStack() as stack:
            clients = {bot.account: {name: stage.client for name, stage in stages.items()}}
            bots = await stack.enter_async_context(
                assembled([bot], clients, journal, runtime, environment="backtest", check_s=config.proof_hours * 3_600)
            )
            await _trade(bots, player)
            if config.close_at_end:
                await _close(bots, stages)
            await bots.stop()
            recorder.sample(sim.runtime.clock.time_ns())
            halts = tuple(f"the bot halted: {b.engine.halted}" for b in bots if b.engine.halted is not None)
            warnings = (*halts, *recorder.left_open(), *_in_holes(stages, recorder), *_warnings(stages))
            told = Told(spec, bot, _inputs(spec, config, bot), _gaps(stages, spec), warnings, player.events)
            await book_all(bots.all[0].engine.journal, clients[bot.account], sim.runtime.clock.time_ns())
            return recorder.result(told, journal)
    finally:
        journal.close()


def _sample(recorder: Recorder, spec: RunSpec, progress: Progress | None, ts_ns: int) -> None:
    recorder.sample(ts_ns)
    if progress is not None:
        progress((ts_ns - spec.from_ns) / (spec.to_ns - spec.from_ns))


def _first_prices(stages: Mapping[str, Stage], from_ns: int, to_ns: int) -> None:
    """Bars say what the price is when the bot starts; quotes and streams begin with their first record."""
    for stage in stages.values():
        for feed in stage.feeds:
            if isinstance(feed, CandleFeed):
                feed.prime()
            if not isinstance(feed, IntervalFeed) and next(iter(feed.steps()), None) is None:
                raise InvalidSpec(f"{stage.name}: there is no data between --from {iso_minute(from_ns)} and --to {iso_minute(to_ns)}")


async def _trade(bots: Bots, player: Player) -> None:
    """The bot cycles while history plays; when history ends it is asked to stop."""
    playing = asyncio.create_task(player.play(), name="history")
    running = asyncio.create_task(bots.run(), name="bots")
    try:
        await asyncio.wait({playing, running}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        await playing
    finally:
        bots.ask_to_stop()
        for task in (playing, running):
            if not task.done():
                task.cancel()
        await asyncio.gather(playing, running, return_exceptions=True)


async def _close(bots: Bots, stages: Mapping[str, Stage]) -> None:
    """Open pairs and holdings are closed at the last prices, and pay for it; where the history has no price at its end they stay."""
    for bot in bots:
        await bot.strategy.stop()
        for pair_id, runner in list(bot.engine.pairs.items()):
            legs = [(market.venue, market.instrument) for market in ledger.markets(runner.record)]
            if runner.state not in (PairState.CLOSED, PairState.ALERT) and _readable(stages, legs):
                await bot.engine.close(pair_id, "end_of_history: the history ends", _decision(bots, bot, pair_id, runner.record.symbol))
        for holding_id, holding in list(bot.desk.holdings.items()):
            where = (holding.record.venue, holding.record.instrument)
            if holding.state in (HoldingState.OPEN, HoldingState.CLOSING) and _readable(stages, [where]):
                symbol = InstrumentId.parse(where[1]).base
                await bot.desk.close(holding_id, "end_of_history: the history ends", _decision(bots, bot, holding_id, symbol))


def _readable(stages: Mapping[str, Stage], markets: Iterable[tuple[str, str]]) -> bool:
    return all(stages[venue].venue.suspended(InstrumentId.parse(instrument).base) is None for venue, instrument in markets)


def _decision(bots: Bots, bot: Bot, owner_id: str, symbol: str) -> DecisionRecord:
    now_ns = bots.runtime.clock.time_ns()
    return DecisionRecord(
        decision_id=f"d{bot.engine.ids.next(now_ns)}",
        strategy=bot.config.strategy,
        account=bot.config.account,
        pair_id=owner_id,
        symbol=symbol,
        kind="exit",
        rule="end_of_history",
        outcome="the history ends",
        inputs="{}",
        thresholds="{}",
        ages="{}",
        ts=now_ns,
    )


# ---- building


def _stage(sim: Simulation, runtime: Runtime, name: str, model: VenueModel, config: BacktestConfig, spec: RunSpec) -> Stage:
    root = Path(spec.data)
    histories = {
        base: _flipped(_funding(root, market.funding), spec.flip_seed, base)
        for base, market in model.markets.items()
        if market.funding is not None
    }
    funding = HistoryFunding(histories, spec.from_ns, coming=config.rates == "coming")
    like = registry.get(model.like).spec if model.like is not None else None
    venue_spec = simulated_spec(name, like=like)
    quote = model.quote or venue_spec.default_quote
    if model.quote is not None:
        venue_spec = replace(venue_spec, default_quote=quote, collateral=quote)
    instruments = [_instrument(name, base, quote, m, histories.get(base), spec.from_ns) for base, m in model.markets.items()]
    venue = SimulatedVenue(
        venue_spec,
        instruments,
        sim.runtime.clock,
        rules=Rules(queue=model.queue, default_initial=int(UNIT / model.account_leverage) if model.account_leverage else 0),
        funding=funding,
        publish_book=False,
        entry_latency_s=model.latency_ms / 1_000,
        report_latency_s=model.report_latency_ms / 1_000,
        jitter_s=model.jitter_ms / 1_000,
        rng=random.Random(f"{spec.seed}-{name}"),  # noqa: S311 - a seeded model of latency
        keep=1_000_000,
    )
    venue.open_account(ACCOUNT, model.deposit_usd)
    client = BacktestClient(venue, ACCOUNT, runtime=runtime)
    stage = Stage(name, model, venue, client, funding, histories)
    for base, market_model in model.markets.items():
        market = Market(venue, base, 2 * len(stage.feeds) + 1_000 * list(config.venues).index(name))
        history = histories.get(base)
        if history is not None:
            _offset(venue, base, history)
            stage.feeds.append(IntervalFeed(market, history, spec.from_ns, spec.to_ns))
        stage.feeds.append(feed_of(market, market_model, root, spec.from_ns, spec.to_ns))
    return stage


def _offset(venue: SimulatedVenue, base: str, history: FundingHistory) -> None:
    if history.offset_ns:
        exchange = venue.exchange
        listed = exchange.markets[base].spec
        exchange.change_market(exchange.now_ns, replace(listed, funding_offset_ns=history.offset_ns))


def _funding(root: Path, source: FundingTable | FundingDatabase) -> FundingHistory:
    return source.read() if isinstance(source, FundingDatabase) else read_funding(root, source)


def _sign(seed: int, base: str, ts_ns: int) -> int:
    return 1 if random.Random(f"flip-{seed}-{base}-{ts_ns}").random() < 0.5 else -1  # noqa: S311 - a seeded null test


def _flipped(history: FundingHistory, seed: int | None, base: str) -> FundingHistory:
    """Venues of one asset that settle together get the same sign, so that what lies between them keeps its size."""
    if seed is None:
        return history
    flipped = tuple(Settlement(s.ts_ns, s.rate * _sign(seed, base, s.ts_ns), s.interval_ns) for s in history.settlements)
    return replace(history, settlements=flipped)


def _instrument(venue: str, base: str, quote: str, model: MarketModel, history: FundingHistory | None, from_ns: int) -> Instrument:
    return Instrument(
        id=InstrumentId(base, quote, venue),
        venue_symbol=base,
        contract_id=base,
        settle=quote,
        tick_size=model.tick_size,
        step_size=model.step_size,
        min_quantity=model.min_quantity or model.step_size,
        min_notional=model.min_notional,
        initial_margin=model.initial_margin,
        maintenance_margin=model.maintenance_margin,
        max_leverage=1 / model.initial_margin,
        maker_fee=model.maker_fee,
        taker_fee=model.taker_fee,
        funding_interval_hours=_interval(history, model, from_ns),
    )


def _interval(history: FundingHistory | None, model: MarketModel, from_ns: int) -> Decimal:
    """Of the history at the start of the run, else as the file says, else 8 h."""
    if history is None:
        return model.funding_interval_hours or Decimal(8)
    found = history.settlements[0]
    for settlement in history.settlements:
        found = settlement
        if settlement.ts_ns > from_ns:
            break
    return Decimal(found.interval_ns) / NS_PER_HOUR


def _gaps(stages: Mapping[str, Stage], spec: RunSpec) -> tuple[str, ...]:
    told = []
    for name, stage in stages.items():
        for market, gaps in gaps_of(stage.histories, spec.from_ns, spec.to_ns).items():
            told += [f"{name} {market}: no funding records from {gap}: nothing was charged" for gap in gaps]
        for feed in stage.feeds:
            told += [f"{name}: no bars from {gap}: the market was not readable" for gap in getattr(feed, "gaps", ())]
            quiet: Quiet | None = getattr(feed, "quiet", None)
            told += [f"{name}: no records from {gap}: the last prices stood still" for gap in (quiet.found if quiet is not None else ())]
    return tuple(told)


def _in_holes(stages: Mapping[str, Stage], recorder: Recorder) -> tuple[str, ...]:
    """Trades at prices that nobody knows."""
    told = []
    for name, stage in stages.items():
        for feed in stage.feeds:
            if isinstance(feed, CandleFeed):
                times = [f.ts_ns for f in recorder.books[name].fills if f.market == feed.asset]
                count = sum(1 for ts_ns in times if any(gap.from_ns <= ts_ns < gap.to_ns for gap in feed.gaps))
                if count:
                    told.append(f"{name} {feed.asset}: {count} fills in holes of the history, at the last price before: they prove nothing")
    return tuple(told)


def _warnings(stages: Mapping[str, Stage]) -> tuple[str, ...]:
    told = apart(feed for stage in stages.values() for feed in stage.feeds if isinstance(feed, CandleFeed))
    for name, stage in stages.items():
        for market, count in stage.funding.missing.items():
            if count:
                told.append(f"{name} {market}: {count} settlements have no record and charged nothing")
    return tuple(told)


def _inputs(spec: RunSpec, config: BacktestConfig, bot: bot_config.BotConfig) -> tuple[Input, ...]:
    files: dict[str, None] = {}
    for name in bot.venues:
        for market in config.venues[name].markets.values():
            for source in (market.candles, market.quotes, market.stream, market.funding):
                if source is not None and not isinstance(source, FundingDatabase):
                    files[source.file] = None
    return tuple(Input(name, hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in _files(Path(spec.data), sorted(files)))


def _files(root: Path, names: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Each file; of a recording's folder its parts."""
    for name in names:
        parts = parts_of(root / name) if (root / name).is_dir() else [root / name]
        yield from ((str(part.relative_to(root)), part) for part in parts)
