"""What is quoted: funding of every market that at least two venues list, with prices, fees and sizes for the pairs worth a look."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from exchange_clients.errors import VenueError
from exchange_clients.model import FundingRateSample, Instrument, InstrumentId
from exchange_clients.transport.clock import Clock
from funding_rate_service.opportunity import FundingQuote

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

log = logging.getLogger("strategies.funding_arbitrage")

CANDIDATES = 8


class Scanner:
    """Two rounds: rates of all markets in one request per venue, then the details of the widest few. A venue that fails is left out."""

    def __init__(self, clients: Mapping[str, "BaseExchangeClient"], clock: Clock) -> None:
        self._clients, self._clock = clients, clock
        self.failed: dict[str, str] = {}
        self.rates: dict[InstrumentId, FundingRateSample] = {}
        """What the last round read."""

    async def quotes(self, symbols: frozenset[str] | None, held: frozenset[InstrumentId] = frozenset()) -> list[FundingQuote]:
        """Quotes of the most promising assets, and of every held market whatever it promises."""
        self.failed = {}
        rates: dict[InstrumentId, tuple[FundingRateSample, int]] = {}
        for found in await asyncio.gather(*(self._rates(venue) for venue in self._clients)):
            rates.update(found)
        self.rates = {instrument: sample for instrument, (sample, _) in rates.items()}
        wanted = self._promising(rates, symbols) | (held & set(rates))
        detailed = await asyncio.gather(*(self._detail(i, *rates[i]) for i in sorted(wanted, key=str)))
        return [quote for quote in detailed if quote is not None]

    async def _rates(self, venue: str) -> dict[InstrumentId, tuple[FundingRateSample, int]]:
        try:
            samples = await self._clients[venue].fetch_funding_rates()
        except VenueError as e:
            self._fail(venue, e)
            return {}
        now_ns = self._clock.time_ns()
        return {instrument: (sample, now_ns) for instrument, sample in samples.items()}

    @staticmethod
    def _promising(rates: Mapping[InstrumentId, tuple[FundingRateSample, int]], symbols: frozenset[str] | None) -> set[InstrumentId]:
        """Markets of the assets with the widest difference between venues."""
        by_base: dict[str, list[InstrumentId]] = defaultdict(list)
        for instrument in rates:
            if not instrument.inverse and (symbols is None or instrument.base in symbols):
                by_base[instrument.base].append(instrument)
        spreads = []
        for base, markets in by_base.items():
            hourly = [rates[m][0].hourly_rate for m in markets]
            if len({m.venue for m in markets}) >= 2:
                spreads.append((max(hourly) - min(hourly), base))
        best = sorted(spreads, key=lambda item: (-item[0], item[1]))[:CANDIDATES]
        return {m for _, base in best for m in by_base[base]}

    async def _detail(self, instrument_id: InstrumentId, sample: FundingRateSample, observed_ns: int) -> FundingQuote | None:
        client = self._clients[instrument_id.venue]
        try:
            instrument: Instrument = await client.instruments.load(instrument_id)
            ticker = await client.fetch_ticker(instrument_id)
            bid, ask = await client.fetch_bbo_prices(instrument_id)
            fees = await client.get_fee_rates(instrument_id)
        except VenueError as e:
            self._fail(str(instrument_id), e)
            return None
        return FundingQuote(
            instrument=instrument_id,
            sample=sample,
            observed_ns=observed_ns,
            taker_fee=fees.taker,
            maker_fee=fees.maker,
            mark=ticker.mark,
            bid=bid,
            ask=ask,
            volume_24h_usd=ticker.volume_24h,
            open_interest_usd=ticker.open_interest,
            tradable=instrument.tradable,
        )

    def _fail(self, what: str, error: VenueError) -> None:
        self.failed[what] = str(error)
        log.warning("scan.failed what=%s error=%s", what, error)
