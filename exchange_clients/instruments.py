"""The instrument table of one client: loading, refreshing, and the one place where names become instruments."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from msgspec import structs

from exchange_clients.errors import NotReady, UnknownInstrument
from exchange_clients.events import EventHub, Subscription
from exchange_clients.model import NS_PER_S, Instrument, InstrumentId, MarketStatus
from exchange_clients.spec import VenueSpec
from exchange_clients.transport.clock import Clock

INSTRUMENTS_TOPIC = ("instruments",)

log = logging.getLogger("exchange_clients.instruments")

Row = TypeVar("Row")


class InstrumentProvider:
    """`fetch` brings every instrument of the venue. Identity comes from this table only, never from taking names apart (E30).

    A market that the venue no longer lists stays in the table as delisted: positions and orders may still name it.
    """

    def __init__(
        self, spec: VenueSpec, clock: Clock, hub: EventHub, fetch: Callable[[], Awaitable[Iterable[Instrument]]], *, ttl_s: float = 600.0
    ) -> None:
        self._spec = spec
        self._clock = clock
        self._hub = hub
        self._fetch = fetch
        self._ttl_s = ttl_s
        self._lock = asyncio.Lock()
        self._by_id: dict[InstrumentId, Instrument] = {}
        self._by_contract: dict[str, Instrument] = {}
        self._by_name: dict[str, list[Instrument]] = {}
        self._loaded_at_ns: int | None = None

    @property
    def is_loaded(self) -> bool:
        return self._loaded_at_ns is not None

    async def load_all(
        self, filters: Mapping[str, Any] | None = None, *, force: bool = False, max_age_s: float | None = None
    ) -> list[Instrument]:
        """Every instrument; from the table unless it is older than `max_age_s`, by default the time to live.

        `filters`: attribute -> required value.
        """
        most_ns = (self._ttl_s if max_age_s is None else max_age_s) * NS_PER_S
        async with self._lock:
            if force or self._loaded_at_ns is None or not 0 <= self._clock.time_ns() - self._loaded_at_ns <= most_ns:
                self._replace(list(await self._fetch()))
                self._loaded_at_ns = self._clock.time_ns()
        found = list(self._by_id.values())
        for name, value in (filters or {}).items():
            found = [i for i in found if (getattr(i.id, name) if name in InstrumentId.__struct_fields__ else getattr(i, name)) == value]
        return found

    async def load_ids(self, ids: Iterable[InstrumentId | str]) -> list[Instrument]:
        await self.load_all()
        return [self.get(item) for item in ids]

    async def load(self, id: InstrumentId | str) -> Instrument:
        return (await self.load_ids([id]))[0]

    def get(self, symbol: InstrumentId | str) -> Instrument:
        """The instrument of an id (as value or text), a `contract_id`, the venue's name, or an alias: `BTC`, `BTC-PERP`, `BTC-PERP.venue`.

        Raises:
            UnknownInstrument: not listed, ambiguous, or of another venue.
            NotReady: the table is not loaded yet.
        """
        if isinstance(symbol, InstrumentId):
            found = self._by_id.get(symbol)
            return found if found is not None else self._unknown(str(symbol))
        if exact := self._by_contract.get(symbol):
            return exact
        named = self._by_name.get(symbol.removesuffix(f".{self._spec.name}"), [])
        if len(named) == 1:
            return named[0]
        if len(named) > 1:
            options = ", ".join(sorted(str(i.id) for i in named))
            raise UnknownInstrument(f"{symbol!r} is ambiguous: say one of {options}", venue=self._spec.name)
        return self._unknown(symbol)

    def get_tradable(self, symbol: InstrumentId | str) -> Instrument:
        """As `get`, and the market takes orders now."""
        instrument = self.get(symbol)
        if not instrument.tradable:
            raise UnknownInstrument(f"{instrument.id} is not tradable: {instrument.status}", venue=self._spec.name)
        return instrument

    def by_contract(self, contract_id: str) -> Instrument | None:
        """For decoders: the market of a venue's own name, or None when it is not in the table."""
        return self._by_contract.get(contract_id)

    def known(self, rows: Iterable[Row], contract_id: Callable[[Row], object]) -> Iterator[tuple[Row, Instrument]]:
        """For decoders: a venue's rows, each with its market; those of markets that are not in the table (spot, unlisted) are left out."""
        for row in rows:
            if (instrument := self._by_contract.get(str(contract_id(row)))) is not None:
                yield row, instrument

    def all(self) -> tuple[Instrument, ...]:
        return tuple(self._by_id.values())

    def watch_instruments(self) -> Subscription:
        """Iterates over instruments as they appear or change (status, interval, limits)."""
        return self._hub.subscribe(INSTRUMENTS_TOPIC)

    def remember(self, instrument: Instrument) -> Instrument:
        """The market as the table has it; one that is not in it as an earlier run knew it: fills may still name it. It is delisted, unless
        the table is not loaded yet."""
        if instrument.id not in self._by_id:
            known = list(self._by_id.values())
            if self.is_loaded:
                self._replace(known, [instrument])
            else:
                self._replace([*known, instrument])
        return self._by_id[instrument.id]

    def renew(self, instruments: Iterable[Instrument]) -> None:
        """The whole table, from an answer that was asked for something else and says it too."""
        self._replace(list(instruments))
        self._loaded_at_ns = self._clock.time_ns()

    def update(self, instrument: Instrument) -> None:
        """One changed instrument (a stream said so)."""
        self._replace([*(i for i in self._by_id.values() if i.id != instrument.id), instrument])
        self._loaded_at_ns = self._clock.time_ns()

    def _replace(self, instruments: list[Instrument], gone: Iterable[Instrument] = ()) -> None:
        before = self._by_id
        instruments = self._distinct(instruments)
        listed = {i.id for i in instruments}
        ended = [structs.replace(i, status=MarketStatus.DELISTED) for i in (*before.values(), *gone) if i.id not in listed]
        instruments = ended + instruments  # a name that went to another market is the listed one's
        self._by_id = {i.id: i for i in instruments}
        self._by_contract = {i.contract_id: i for i in instruments}
        names: dict[str, list[Instrument]] = {}
        for i in instruments:
            for name in dict.fromkeys(self._aliases(i)):
                names.setdefault(name, []).append(i)
        # The venue's own name and a full id are exact; an alias yields to them.
        for i in instruments:
            names[str(i.id).removesuffix(f".{self._spec.name}")] = [i]
            names[i.venue_symbol] = [i]
        self._by_name = names
        for i in instruments:
            if before and before.get(i.id) != i:
                self._hub.publish(INSTRUMENTS_TOPIC, i)

    def _distinct(self, instruments: list[Instrument]) -> list[Instrument]:
        """One market per id: of two that claim one, the tradable one without a multiplier; the other cannot be named and is left out."""
        found: dict[InstrumentId, Instrument] = {}
        for i in sorted(instruments, key=lambda i: (not i.tradable, i.multiplier)):
            if (other := found.setdefault(i.id, i)) is not i:
                log.warning(
                    "instruments.twice venue=%s id=%s kept=%s dropped=%s", self._spec.name, i.id, other.venue_symbol, i.venue_symbol
                )
        return [i for i in instruments if found[i.id] is i]

    def _aliases(self, i: Instrument) -> list[str]:
        if i.id.dex != self._spec.default_dex or i.id.quote != self._spec.default_quote or i.id.inverse:
            return []
        return [i.id.base, f"{i.id.base}-PERP"]

    def _unknown(self, symbol: str) -> Instrument:
        if self._loaded_at_ns is None:
            raise NotReady("instruments are not loaded: connect first, or await client.instruments.load_all()", venue=self._spec.name)
        raise UnknownInstrument(f"no market {symbol!r} (of {len(self._by_id)} listed)", venue=self._spec.name)
