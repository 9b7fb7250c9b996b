"""Funding adapters: rates and market figures of all markets of one venue from public data, in as few requests as the venue allows."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from exchange_clients.base_managers import BaseMarketData
from exchange_clients.context import ClientContext
from exchange_clients.model import FundingRateSample, Instrument
from exchange_clients.spec import VenueSpec
from exchange_clients.transport.runtime import Runtime
from exchange_clients.wiring import build_context

if TYPE_CHECKING:
    from exchange_clients.config import ClientConfig


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


class BaseFundingFetchers:
    """Both return one entry per market, keyed by instrument; what the venue does not say is absent. A venue whose market data says it in
    more requests than there need be puts its own here."""

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


class BaseFundingAdapter:
    """The public face: symbols are canonical bases of the default dex and quote, plus full ids for every other market."""

    spec: ClassVar[VenueSpec]
    client_class: ClassVar[type[BaseFundingClient]]
    fetchers_class: ClassVar[type[BaseFundingFetchers]]

    def __init__(self, config: ClientConfig | Mapping[str, Any] | None = None, *, runtime: Runtime | None = None) -> None:
        context = build_context(self.spec, config, None, None, runtime)
        self.client = self.client_class(context)
        context.attach_instruments(self.client.market_data)
        self.fetchers = self.fetchers_class(self.client)

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
