"""What a run takes for granted, in sentences: they stand in every report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exchange_simulator.core.types import QueueModel
from perpkit.backtest.config import BacktestConfig, MarketModel, VenueModel
from perpkit.backtest.market import PART

if TYPE_CHECKING:
    from perpkit.backtest.runner import RunSpec
    from perpkit.bot.config import BotConfig

_QUEUES = {
    QueueModel.BEHIND: "size that leaves a level without a trade stood behind our orders, so our place improves by trades alone",
    QueueModel.PROPORTIONAL: "size that leaves a level without a trade left evenly over the queue",
}


def assumptions(spec: RunSpec, bot: BotConfig) -> tuple[str, ...]:
    """One sentence each."""
    config = BacktestConfig.model_validate(spec.bot["backtest"])
    told = [
        "Our orders do not move the history: what they take is missing from the book until the next record replaces it.",
        "The bot's own code runs as it does live: strategy, engine, checks, rounding and journal; only clients and clock are simulated.",
        f"The risk engine looks every {config.risk_hours:g} h, a held pair is compared with its venues every {config.proof_hours:g} h, and "
        f"loops that poll live every second or so look every {config.idle_s:g} s while nothing of ours is under way.",
        "What a strategy sees as the running funding rate is "
        + ("the last one that was settled." if config.rates == "settled" else "the one that will be settled next: a look ahead."),
        "Funding is charged on the index price at the settlement, which is the last price of the history before it.",
        "Mark and index are the price of each venue's own history; no venue's index is known.",
        "Pairs and holdings that are open when the history ends are closed at its last prices; what cannot be closed is told as a warning."
        if config.close_at_end
        else "What is open when the history ends counts at mark, without the cost of closing it.",
    ]
    markets = [market for name in bot.venues for market in config.venues[name].markets.values()]
    told.append(
        f"The deepest fall is measured at {config.samples} even moments"
        + (", and whenever a bar moves a price." if any(m.candles for m in markets) else "; deeper ones between them are not seen.")
    )
    if any(m.candles and m.path == "ohlc" for m in markets):
        told.append(
            "The price always turns at a bar's low and high, in an order that its close decides: "
            "what buys dips and sells rises within a bar (a grid) earns more here than it would have. Shorter bars or "
            "`path: close` show how much."
        )
    if spec.flip_seed is not None:
        told.append(f"Null test: all funding that an asset settles at one moment has one random sign (seed {spec.flip_seed}).")
    for name in bot.venues:
        told += _venue(name, config.venues[name])
    return tuple(told)


def _venue(name: str, model: VenueModel) -> list[str]:
    jitter = f", each plus a uniform random part up to {model.jitter_ms:g} ms" if model.jitter_ms else ""
    told = [
        f"{name}: {model.deposit_usd} USD; commands take {model.latency_ms:g} ms there, answers {model.report_latency_ms:g} ms back"
        f"{jitter}.",
        f"{name}: queue model {model.queue}: {_QUEUES[model.queue]}. A resting order joins its level behind everything that is there; "
        "trades take from the front; a price that goes through it fills it at its own price.",
    ]
    if model.like is not None:
        told.append(f"{name}: order types and limits of {model.like}.")
    for base, market in model.markets.items():
        told.append(f"{name} {base}: {_market(market)}")
    return told


def _market(m: MarketModel) -> str:
    fees = f"fees {m.maker_fee * 10_000:g} bps maker, {m.taker_fee * 10_000:g} bps taker"
    margin = f"margin {m.initial_margin:%} initial, {m.maintenance_margin:%} maintenance; tick {m.tick_size}, step {m.step_size}"
    if m.candles is not None:
        walk = "open, low, high, close (open, high, low, close in a falling bar; all venues of an asset the same way)"
        walk = f"{walk if m.path == 'ohlc' else 'open, close'} in steps of at most {PART:.1%}"
        source = (
            f"prices are bars of {m.candles.interval_hours:g} h from {m.candles.told}, walked {walk}; the book "
            f"is made: {m.levels} levels a side of {m.level_usd:,} USD, {m.spread_bps:g} bps wide, levels {m.level_step_bps:g} bps apart"
            "; there are no trades of others"
        )
    elif m.quotes is not None:
        source = f"best prices from {m.quotes.told}, one level deep; mark is the mid; trades are not known"
    else:
        assert m.stream is not None
        source = f"books and trades recorded in {m.stream.file} ({m.stream.symbol}), {m.stream.levels} levels; mark is the mid"
    funding = f"funding from {m.funding.told}" if m.funding is not None else "no funding is charged, and no rate is seen"
    return f"{source}; {funding}; {fees}; {margin}."
