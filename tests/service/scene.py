"""A service over a real database and board, fed by hand, and what it takes to ask it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from database.connect import sqlite_url
from database.database import Database
from exchange_clients.model import NS_PER_HOUR, FundingRateSample, InstrumentId, RateKind
from exchange_clients.transport.runtime import Runtime
from funding_rate_service.board import Board
from funding_rate_service.config import ServiceConfig
from funding_rate_service.opportunity import FundingQuote
from funding_rate_service.opportunity.ranker import Ranker
from funding_rate_service.service import Service

D = Decimal
VENUES = ("dydx", "hyperliquid", "lighter")
CONFIG = ServiceConfig.parse({"venues": list(VENUES)})


def quote(instrument: str, rate: str, now_ns: int, *, hours: str = "1", **more: Any) -> FundingQuote:
    """A quote with every figure known unless given otherwise."""
    id = InstrumentId.parse(instrument)
    interval = int(D(hours) * NS_PER_HOUR)
    values: dict[str, Any] = {
        "taker_fee": D("0.0004"),
        "maker_fee": D("0.0001"),
        "mark": D("100"),
        "index": D("100.01"),
        "bid": D("99.99"),
        "ask": D("100.01"),
        "volume_24h_usd": D("2000000"),
        "open_interest_usd": D("1000000"),
        **more,
    }
    sample = FundingRateSample(
        raw_rate=D(rate),
        interval_hours=D(hours),
        kind=RateKind.PREDICTED,
        next_funding_time=(now_ns // interval + 1) * interval,
        instrument=id,
    )
    return FundingQuote(instrument=id, sample=sample, observed_ns=values.pop("observed_ns", now_ns), **values)


def quotes(now_ns: int) -> list[FundingQuote]:
    """A small market: two symbols on three venues, one market without a spread, one with another interval."""
    return [
        quote("BTC-USDC-PERP.hyperliquid", "0.00011", now_ns),
        quote("BTC-USDC-PERP.lighter", "-0.00004", now_ns, bid=None, ask=None),
        quote("BTC-USD-PERP.dydx", "0.00002", now_ns, open_interest_usd=D("250000")),
        quote("ETH-USDC-PERP.hyperliquid", "0.0008", now_ns, hours="8", mark=D("10.5")),
        quote("ETH-USDC-PERP.lighter", "0.0000125", now_ns, mark=D("10.5"), index=None),
        quote("SOL-USDC-PERP.lighter", "0.0000003", now_ns),
    ]


def put(board: Board, found: Sequence[FundingQuote], now_ns: int) -> None:
    """As a round of each venue would."""
    for venue in sorted({q.instrument.venue for q in found}):
        board.put(venue, [q for q in found if q.instrument.venue == venue], now_ns, latency_ms=12)


@asynccontextmanager
async def service(runtime: Runtime, folder: Path, *, filled: bool = True, **more: Any) -> AsyncIterator[Service]:
    """A running one."""
    database = more.pop("database", None) or Database.open(sqlite_url(folder / "service.db"))
    board = Board(runtime.clock, CONFIG.limits(), VENUES)
    made = Service(
        CONFIG,
        runtime,
        database,
        board=board,
        ranker=Ranker(),
        collector=None,
        depths=None,
        rng=random.Random(1),
        version="0",
        **{"writes": True, **more},
    )
    try:
        async with made:
            if filled:
                now_ns = runtime.clock.time_ns()
                put(board, quotes(now_ns), now_ns)
            yield made
    finally:
        database.close()
