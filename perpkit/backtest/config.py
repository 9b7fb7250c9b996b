"""The `backtest:` section of a bot's file: what stands for each venue and market, and what is assumed about it."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from exchange_simulator.core.types import QueueModel
from perpkit.backtest.data.candles import CandleTable, QuoteTable
from perpkit.backtest.data.funding import FundingTable
from perpkit.backtest.data.service import FundingDatabase

_MODEL = ConfigDict(frozen=True, extra="forbid")


class StreamFile(BaseModel):
    """A recorded stream of the venue, in the formats that `exchange_simulator.world.recordings` reads."""

    model_config = _MODEL

    file: str
    symbol: str
    levels: int = Field(default=20, ge=1, le=400)


class MarketModel(BaseModel):
    """One market. Sizes in base units, fees and margins as fractions, minima in USD.

    One of `candles`, `quotes` and `stream` moves the price. Candles have no book: one is made of `levels` levels a side around the price,
    the first half of `spread_bps` away, each `level_step_bps` further and `level_usd` deep. Without `funding` nothing is charged.
    """

    model_config = _MODEL

    tick_size: Decimal = Field(gt=0)
    step_size: Decimal = Field(gt=0)
    min_quantity: Decimal | None = Field(default=None, gt=0)
    min_notional: Decimal = Field(default=Decimal(0), ge=0)
    maker_fee: Decimal = Field(gt=-1, lt=1)
    taker_fee: Decimal = Field(gt=-1, lt=1)
    initial_margin: Decimal = Field(default=Decimal("0.05"), gt=0, le=1)
    maintenance_margin: Decimal = Field(default=Decimal("0.025"), gt=0, le=1)
    candles: CandleTable | None = None
    quotes: QuoteTable | None = None
    stream: StreamFile | None = None
    funding: FundingTable | FundingDatabase | None = None
    funding_interval_hours: Decimal | None = Field(default=None, gt=0)
    path: Literal["ohlc", "close"] = "ohlc"
    spread_bps: Decimal = Field(default=Decimal(2), gt=0)
    level_usd: Decimal = Field(default=Decimal(50_000), gt=0)
    levels: int = Field(default=5, ge=1, le=100)
    level_step_bps: Decimal = Field(default=Decimal(2), gt=0)

    @model_validator(mode="after")
    def _one_price(self) -> MarketModel:
        given = [name for name in ("candles", "quotes", "stream") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"one of candles, quotes and stream moves the price, not {' and '.join(given) or 'none'}")
        if self.maintenance_margin > self.initial_margin:
            raise ValueError("maintenance_margin is above initial_margin")
        return self


class VenueModel(BaseModel):
    """One venue. `like` a registered one it has that one's quote, order types and limits; without, everything the simulator can do.

    Commands take `latency_ms` there and answers and events `report_latency_ms` back, each plus a random part up to `jitter_ms`.
    `queue`: where size that leaves a level without a trade stood: behind our orders, or spread evenly over the queue.
    `account_leverage`: of the account until a strategy sets another; left out, the market's most.
    """

    model_config = _MODEL

    like: str | None = None
    quote: str | None = None
    deposit_usd: Decimal = Field(default=Decimal(10_000), gt=0)
    latency_ms: float = Field(default=50.0, ge=0, le=60_000)
    report_latency_ms: float = Field(default=50.0, ge=0, le=60_000)
    jitter_ms: float = Field(default=20.0, ge=0, le=60_000)
    queue: QueueModel = QueueModel.BEHIND
    account_leverage: Decimal | None = Field(default=None, ge=1)
    markets: dict[str, MarketModel] = Field(min_length=1)


class BacktestConfig(BaseModel):
    """What a run needs beside the bot itself.

    `rates`: what a strategy sees as the running rate: `settled`, the last one that was charged, or `coming`, the one that will be charged
    next, which no venue knows before its interval ends (a look ahead; for venues that post rates in advance).
    `close_at_end` closes open pairs and pays for it. `samples` points are kept of each curve. `proof_hours`: how often a held pair is
    compared with its venues; `risk_hours`: how often the risk engine looks, live every few
    seconds; `idle_s`: how often other loops of the bot that poll look while nothing of ours is under way, live every second or so.
    """

    model_config = _MODEL

    venues: dict[str, VenueModel] = Field(min_length=1)
    rates: Literal["settled", "coming"] = "settled"
    close_at_end: bool = True
    samples: int = Field(default=1_000, ge=10, le=20_000)
    proof_hours: float = Field(default=8.0, gt=0)
    risk_hours: float = Field(default=1.0, gt=0)
    idle_s: float = Field(default=300.0, ge=0, le=3_600)

    @field_validator("venues")
    @classmethod
    def _named(cls, value: dict[str, VenueModel]) -> dict[str, VenueModel]:
        for name in value:
            if not name.replace("_", "").isalnum() or name != name.lower():
                raise ValueError(f"{name!r} is no venue name: lower-case letters, digits and _")
        return value
