"""Funding adapters: rates and market figures of all markets of one venue from public data, in as few requests as the venue allows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from exchange_clients.base_managers import BaseMarketData
from exchange_clients.context import ClientContext
from exchange_clients.errors import ConfigError, VenueError
from exchange_clients.model import FundingRateSample, Instrument, Lane, MarketSnapshot, MarketStatus, Ticker, VenueSnapshot
from exchange_clients.spec import VenueSpec
from exchange_clients.transport.runtime import Runtime
from exchange_clients.wiring import build_context

if TYPE_CHECKING:
    from exchange_clients.config import ClientConfig


T = TypeVar("T")
Row = TypeVar("Row")


class BaseFundingClient:
    """Owns the adapter's connection: a read-only context, loaded instruments, closing."""

    market_data_class: ClassVar[type[BaseMarketData]]

    def __init__(self, context: ClientContext) -> None:
        self.context = context
        self.market_data = self.market_data_class(context)

    async def instruments(self) -> list[Instrument]:
        return await self.context.instruments.load_all()

    async def close(self) -> None:
        self.context.hub.close()
        await self.context.rest.close()


class Figures:
    """The answers of one snapshot that the rates can do without: one that fails is named, and its figures are missing."""

    def __init__(self) -> None:
        self.missing: list[str] = []

    async def want(self, what: str, asked: Awaitable[T], without: T) -> T:
        """The answer, or `without` where the venue gives none."""
        try:
            return await asked
        except ConfigError:
            raise
        except VenueError as e:
            self.missing.append(f"{what}: {e.message}")
            return without

    async def want_rows(self, what: str, asked: Awaitable[Iterable[Row]], key: Callable[[Row], str]) -> dict[str, Row]:
        """Rows by key; none where the venue gives none."""
        return {key(row): row for row in await self.want(what, asked, ())}

    def snapshot(
        self,
        pairs: Iterable[tuple[Row, Instrument]],
        rate: Callable[[Row, Instrument], FundingRateSample | None],
        ticker: Callable[[Row, Instrument], Ticker | None],
    ) -> VenueSnapshot:
        """Each listed market by itself: what cannot be read of one costs no other its rate, and a bad figure no market its rate."""
        found = []
        for row, instrument in pairs:
            if instrument.status is MarketStatus.DELISTED:
                continue
            sample, figures, problem = None, None, None
            try:
                sample = rate(row, instrument)
            except VenueError as e:
                problem = e.message
            try:
                figures = ticker(row, instrument)
            except VenueError as e:
                problem = problem or e.message
            found.append(MarketSnapshot(instrument=instrument, sample=sample, ticker=figures, problem=problem))
        return VenueSnapshot(markets=tuple(found), missing=tuple(self.missing))


class BaseFundingFetchers:
    """What a venue says of all its markets; what it does not say is absent. A venue whose market data says it in more requests than there
    need be puts its own here."""

    def __init__(self, client: BaseFundingClient) -> None:
        self.client = client
        self.context = client.context

    async def funding_rates(self) -> Mapping[Instrument, FundingRateSample]:
        rates = await self.client.market_data.fetch_funding_rates()
        return {self.context.instruments.get(key): sample for key, sample in rates.items()}

    async def market_data(self) -> Mapping[Instrument, Mapping[str, Decimal]]:
        """`volume_24h` and `open_interest` (one-sided), both in USD."""
        found: dict[Instrument, dict[str, Decimal]] = {}
        for ticker in await self.client.market_data.fetch_tickers():
            figures = {"volume_24h": ticker.volume_24h, "open_interest": ticker.open_interest}
            found[self.context.instruments.get(ticker.instrument)] = {name: value for name, value in figures.items() if value is not None}
        return found

    async def snapshot(self) -> VenueSnapshot:
        """Rate and figures of every listed market. Fails when the rates do; other answers that fail are named.

        A venue's own asks for nothing twice, takes changed instruments from answers that tell them, and reads each market by itself.
        """
        await self.client.instruments()
        rates = await self.client.market_data.fetch_funding_rates()
        figures = Figures()
        tickers = await figures.want_rows("tickers", self.client.market_data.fetch_tickers(), lambda ticker: str(ticker.instrument))
        pairs = [(sample, self.context.instruments.get(key)) for key, sample in rates.items()]
        return figures.snapshot(pairs, lambda sample, _: sample, lambda _, instrument: tickers.get(str(instrument.id)))


class BaseFundingAdapter:
    """The public face: symbols are canonical bases of the default dex and quote, plus full ids for every other market.

    Its requests are the least urgent of all that share the venue's limits.
    """

    spec: ClassVar[VenueSpec]
    client_class: ClassVar[type[BaseFundingClient]]
    fetchers_class: ClassVar[type[BaseFundingFetchers]]

    def __init__(self, config: ClientConfig | Mapping[str, Any] | None = None, *, runtime: Runtime | None = None) -> None:
        context = build_context(self.spec, config, None, None, runtime, lane=Lane.SCAN)
        self.client = self.client_class(context)
        context.attach_instruments(self.client.market_data)
        self.fetchers = self.fetchers_class(self.client)

    async def fetch_snapshot(self) -> VenueSnapshot:
        """Instrument, running rate and figures of every listed market, in as few requests as the venue allows and none twice.

        Raises:
            VenueError: the rates did not come; classified.
        """
        return await self.fetchers.snapshot()

    async def fetch_funding_rates(self) -> dict[str, FundingRateSample]:
        """The running rate of every market with its own interval.

        Raises:
            VenueError: classified; nothing is made up for a market that fails.
        """
        await self.client.instruments()
        rates = await self.fetchers.funding_rates()
        return {self._key(i): sample for i, sample in rates.items() if i.tradable}

    async def fetch_market_data(self) -> dict[str, dict[str, Decimal]]:
        """`{symbol: {"volume_24h", "open_interest"}}` in USD, open interest one-sided; a figure the venue does not give is absent."""
        await self.client.instruments()
        return {self._key(i): dict(figures) for i, figures in (await self.fetchers.market_data()).items() if i.tradable}

    def normalize_symbol(self, dex_symbol: str) -> str:
        """The canonical symbol of a venue's own name, from the instrument table."""
        return self._key(self.client.context.instruments.get(dex_symbol))

    def get_dex_symbol_format(self, symbol: str) -> str:
        """The venue's own name of a canonical symbol."""
        return self.client.context.instruments.get(symbol).venue_symbol

    def _key(self, instrument: Instrument) -> str:
        id = instrument.id
        plain = id.dex == self.spec.default_dex and id.quote == self.spec.default_quote and not id.inverse
        return id.base if plain else str(id)

    async def close(self) -> None:
        await self.client.close()

    async def __aenter__(self) -> BaseFundingAdapter:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
