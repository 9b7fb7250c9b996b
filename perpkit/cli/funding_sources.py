"""Where `perpkit funding` gets its rates: the venues, or a running service."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from exchange_clients.errors import ConfigError, VenueError
from exchange_clients.model import NS_PER_HOUR, NS_PER_S, FundingRateSample, InstrumentId, RateKind
from exchange_clients.venues import get, names
from perpkit.cli.asking import address, ask_service
from perpkit.cli.clients import opened
from perpkit.cli.failure import Failure
from perpkit.cli.funding import Rates
from perpkit.cli.options import Target

HISTORY_HOURS = 72


class Source(Protocol):
    """`nothing` and `hint`: what is told when there is no rate at all."""

    nothing: str
    hint: str

    async def rates(self) -> Rates:
        """The running rates of every market."""
        ...

    async def settled(self, found: Rates) -> None:
        """Fill in what was settled lately for the symbols chosen."""
        ...


class FromVenues:
    """All venues at once; one that fails is named and holds up no other."""

    nothing = "no venue is installed"
    hint = "check the network, or the address given with --endpoint"

    def __init__(self, wanted: Sequence[str], target: Target) -> None:
        self._wanted, self._target = tuple(wanted), target

    async def rates(self) -> Rates:
        found = Rates()

        async def ask(name: str) -> None:
            try:
                venue = get(name)
                async with venue.funding(self._target.settings(venue.spec)) as adapter:
                    rates, figures = await adapter.fetch_funding_rates(), await adapter.fetch_market_data()
            except ConfigError:
                raise
            except VenueError as e:
                found.broken[name] = e.message
            else:
                found.take(name, rates, figures)

        await asyncio.gather(*(ask(name) for name in self._wanted))
        found.rates = {name: found.rates[name] for name in self._wanted if name in found.rates}
        return found

    async def settled(self, found: Rates) -> None:
        async def read(name: str) -> None:
            try:
                async with opened(name, self._target, streams=False) as client:
                    start_ns = client.context.runtime.clock.time_ns() - HISTORY_HOURS * NS_PER_HOUR
                    for one in found.symbols:
                        if one in found.rates[name]:
                            found.settled[name, one] = await client.fetch_funding_history(one, start_ns=start_ns)
            except VenueError as e:
                found.broken[name] = f"history: {e.message}"

        await asyncio.gather(*(read(name) for name in found.rates))


class FromService:
    """The HTTP API of `perpkit serve`."""

    nothing = "the service has no rates yet"
    hint = "try again in a minute; its page and /api/v1/health say how its venues are"

    def __init__(self, url: str, wanted: Sequence[str]) -> None:
        self._url, self._wanted = address(url), tuple(wanted)

    async def rates(self) -> Rates:
        told = await self._get("/funding-rates")
        found = Rates()
        try:
            for rate in told["rates"]:
                if not self._wanted or rate["dex"] in self._wanted:
                    self._take(found, rate)
        except (KeyError, TypeError, ValueError, ArithmeticError) as e:
            raise Failure(f"{self._url} is no funding-rate service of this version: {e!r}", hint="is it a perpkit serve?") from e
        for name in self._wanted:
            if name not in found.rates:
                found.broken[name] = "the service has no rates of it"
        found.rates = dict(sorted(found.rates.items()))
        return found

    def _take(self, found: Rates, rate: dict[str, Any]) -> None:
        dex, instrument = str(rate["dex"]), InstrumentId.parse(rate["instrument"])
        key = _key(instrument)
        next_at = rate.get("next_funding_at")
        found.rates.setdefault(dex, {})[key] = FundingRateSample(
            raw_rate=Decimal(rate["rate"]),
            interval_hours=Decimal(rate["interval_hours"]),
            kind=RateKind(rate["kind"]),
            next_funding_time=None if next_at is None else _ns(next_at),
            instrument=instrument,
        )
        names = (("open_interest", "open_interest_usd"), ("volume_24h", "volume_24h_usd"))
        found.figures.setdefault(dex, {})[key] = {ours: Decimal(rate[its]) for ours, its in names if rate.get(its) is not None}
        if rate["stale"]:
            found.stale.add((dex, key))

    async def settled(self, found: Rates) -> None:
        room = asyncio.Semaphore(4)

        async def read(name: str, symbol: str, sample: FundingRateSample) -> None:
            async with room:
                place = f"/history/funding-rates/{name}/{sample.instrument or symbol}"
                told = await self._get(place, {"period": "3d", "limit": str(HISTORY_HOURS)}, missing={"points": []})
            found.settled[name, symbol] = [
                FundingRateSample(
                    raw_rate=Decimal(point["rate"]),
                    interval_hours=Decimal(point["interval_hours"]),
                    kind=RateKind(point["kind"]),
                    settled_at=_ns(point["time"]),
                )
                for point in told["points"]
            ]

        await asyncio.gather(*(read(name, one, sample) for one in found.symbols for name, sample in found.of(one).items()))

    async def _get(self, path: str, query: dict[str, str] | None = None, *, missing: dict[str, Any] | None = None) -> dict[str, Any]:
        body = await ask_service(self._url, path, query, may_miss=missing is not None)
        if body is None:
            return missing or {}
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError as e:
            raise Failure(f"{self._url} is no funding-rate service of this version", hint="is it a perpkit serve?") from e


def _key(instrument: InstrumentId) -> str:
    """As the venue's adapter names it: the base where the market is the venue's usual kind."""
    if instrument.venue not in names():
        return instrument.base
    spec = get(instrument.venue).spec
    plain = instrument.dex == spec.default_dex and instrument.quote == spec.default_quote and not instrument.inverse
    return instrument.base if plain else str(instrument)


def _ns(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000) * (NS_PER_S // 1000)
