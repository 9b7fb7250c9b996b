"""What is quoted: funding of every market that at least two venues list, with prices, fees and sizes for the pairs worth a look."""

import asyncio
import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_HOUR, FundingRateSample, Instrument, InstrumentId
from exchange_clients.transport.clock import Clock
from funding_rate_service.opportunity import FundingQuote, Persistence, disbelief, pair_history, persistence, widest

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

log = logging.getLogger("strategies.funding_arbitrage")

READ_S = 15.0
"""So long a venue may take to tell something, its retries included; then it is left out of this look: exits elsewhere wait for it (E18)."""
CANDIDATES = 8
MAX_HISTORIES = 200


class Scanner:
    """Two rounds: rates of all markets in one request per venue, then the details of the widest few. A venue that fails is left out."""

    def __init__(self, clients: Mapping[str, "BaseExchangeClient"], clock: Clock) -> None:
        self._clients, self._clock = clients, clock
        self._histories: dict[InstrumentId, tuple[int, list[FundingRateSample]]] = {}
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
        best = {base for _, base in widest(self.rates, symbols)[:CANDIDATES]}
        promising = {i for i, sample in self.rates.items() if i.base in best and not i.inverse and disbelief(sample) is None}
        wanted = promising | (held & set(rates))
        detailed = await asyncio.gather(*(self._detail(i, *rates[i]) for i in sorted(wanted, key=str)))
        return [quote for quote in detailed if quote is not None]

    async def history(self, long: InstrumentId, short: InstrumentId, hours: Decimal) -> Persistence | None:
        """How the difference of two markets' settled rates behaved over the last hours; None where a venue has no such records."""
        end_ns = self._clock.time_ns()
        start_ns = end_ns - int(hours * NS_PER_HOUR)
        both = [await self._settled(market, start_ns, end_ns) for market in (long, short)]
        if both[0] is None or both[1] is None:
            return None
        return persistence(pair_history(both[0], both[1], start_ns, end_ns))

    async def _settled(self, market: InstrumentId, start_ns: int, end_ns: int) -> list[FundingRateSample] | None:
        """Asked for once an hour: there is nothing new before."""
        kept = self._histories.get(market)
        if kept is not None and kept[0] // NS_PER_HOUR == end_ns // NS_PER_HOUR:
            return kept[1]
        client = self._clients[market.venue]
        if not client.capabilities.funding_history:
            return None
        try:
            found = await client.fetch_funding_history(market, start_ns=start_ns, end_ns=end_ns)
        except VenueError as e:
            self._fail(f"history of {market}", e)
            return None
        if len(self._histories) >= MAX_HISTORIES:
            self._histories.clear()
        self._histories[market] = end_ns, found
        return found

    async def _rates(self, venue: str) -> dict[InstrumentId, tuple[FundingRateSample, int]]:
        try:
            async with asyncio.timeout(READ_S):
                samples = await self._clients[venue].fetch_funding_rates()
        except (VenueError, TimeoutError) as e:
            self._fail(venue, e)
            return {}
        now_ns = self._clock.time_ns()
        return {instrument: (msgspec.structs.replace(sample, metadata={}), now_ns) for instrument, sample in samples.items()}

    async def _detail(self, instrument_id: InstrumentId, sample: FundingRateSample, observed_ns: int) -> FundingQuote | None:
        client = self._clients[instrument_id.venue]
        try:
            async with asyncio.timeout(READ_S):
                instrument: Instrument = await client.instruments.load(instrument_id)
                ticker = await client.fetch_ticker(instrument_id)
                bid, ask = await client.fetch_bbo_prices(instrument_id)
                fees = await client.get_fee_rates(instrument_id)
        except (VenueError, TimeoutError) as e:
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
            tradable=instrument.tradable and instrument.ends_ns is None,
        )

    def _fail(self, what: str, error: VenueError | TimeoutError) -> None:
        self.failed[what] = str(error) or f"no answer in {READ_S:g} s"
        log.warning("scan.failed what=%s error=%s", what, self.failed[what])
