"""Public data of $title."""

from __future__ import annotations

from collections.abc import Sequence

from exchange_clients.base_managers import BaseMarketData
from exchange_clients.model import BookSnapshot, Candle, FundingRateSample, Instrument, InstrumentId, Ticker, Trade


class ${Name}MarketData(BaseMarketData):
    async def fetch_instruments(self) -> Sequence[Instrument]:
        raise NotImplementedError("phase 1, step 3: every market with tick, step, minima, margins, fees, multiplier, contract_size")

    async def fetch_funding_rates(self) -> dict[InstrumentId, FundingRateSample]:
        raise NotImplementedError("phase 1, step 4: the running rate of every market, with its interval and the next time")

    async def fetch_tickers(self) -> list[Ticker]:
        raise NotImplementedError("phase 1, step 4: volume and one-sided open interest in USD of every market")

    async def fetch_server_time_ns(self) -> int | None:
        raise NotImplementedError("phase 2, step 2: the venue's clock, None where it has none to ask")

    async def fetch_book(self, instrument: Instrument, *, depth: int = 20) -> BookSnapshot:
        raise NotImplementedError("phase 2, step 2: one snapshot of the book")

    async def fetch_trades(
        self, instrument: Instrument, *, limit: int = 100, start_ns: int | None = None, end_ns: int | None = None
    ) -> list[Trade]:
        raise NotImplementedError("phase 2, step 2: public trades, newest last, the taker's side")

    async def fetch_candles(self, instrument: Instrument, interval: str, *, start_ns: int, end_ns: int) -> list[Candle]:
        raise NotImplementedError("phase 2, step 2: candles, oldest first, paginated")

    async def fetch_ticker(self, instrument: Instrument) -> Ticker:
        raise NotImplementedError("phase 2, step 2: the figures of one market")

    async def fetch_funding_history(self, instrument: Instrument, *, start_ns: int, end_ns: int | None = None) -> list[FundingRateSample]:
        raise NotImplementedError("phase 2, step 2: settled rates, oldest first, paginated")
