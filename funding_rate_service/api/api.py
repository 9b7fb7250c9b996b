"""What every endpoint needs, in one value, and the few lookups they share."""

from __future__ import annotations

from collections.abc import Iterable

from exchange_clients.model import InstrumentId
from funding_rate_service.api.bodies import Bodies, Slow
from funding_rate_service.api.keygate import KeyGate
from funding_rate_service.api.metrics import Metrics
from funding_rate_service.api.problems import Problem, contradiction, missing
from funding_rate_service.api.queries import moment_ns
from funding_rate_service.opportunity import FundingQuote
from funding_rate_service.service import Service

PREFIX = "/api/v1"


class _Index:
    """Quotes by base and by venue."""

    def __init__(self, generation: int, quotes: Iterable[FundingQuote]) -> None:
        self.generation = generation
        self.everything = list(quotes)
        self.by_base: dict[str, list[FundingQuote]] = {}
        self.by_dex: dict[str, list[FundingQuote]] = {}
        for quote in self.everything:
            self.by_base.setdefault(quote.instrument.base, []).append(quote)
            self.by_dex.setdefault(quote.instrument.venue, []).append(quote)


class Api:
    """The service behind the endpoints, with the answers that are kept."""

    def __init__(self, service: Service, metrics: Metrics, gate: KeyGate) -> None:
        self.service, self.metrics, self.gate = service, metrics, gate
        self.bodies = Bodies(service.clock.monotonic, lambda: service.board.generation, service.boot)
        self.slow = Slow(service.clock.monotonic)
        self._known = _Index(-1, ())

    def dex(self, name: str) -> str:
        """A venue of the service.

        Raises:
            Problem: 404 with the nearest name.
        """
        known = self.service.board.names
        if name not in known:
            raise missing("dex", name, known)
        return name

    def check_dexes(self, names: Iterable[str]) -> None:
        """As `dex`, for each."""
        known = self.service.board.names
        for name in names:
            if name not in known:
                raise missing("dex", name, known)

    def moment(self, name: str, text: str) -> int:
        """A moment up to now, ns.

        Raises:
            Problem: 422, there is no such day, or it has not come yet.
        """
        try:
            at_ns = moment_ns(text)
        except ValueError:
            raise contradiction(f"{name}: there is no such day") from None
        if at_ns > self.service.now_ns():
            raise contradiction(f"{name} is in the future")
        return at_ns

    def quotes(self, *, dex: str | None = None, symbol: str | None = None) -> list[FundingQuote]:
        """Of the board, stale ones too, in the order of their names."""
        return sorted(self._found(self._index(), dex, symbol), key=lambda quote: quote.instrument)

    def _found(self, index: _Index, dex: str | None, symbol: str | None) -> list[FundingQuote]:
        if symbol is None:
            return index.everything if dex is None else index.by_dex.get(dex, [])
        found = index.by_base.get(symbol)
        if found is None:
            found = [q for q in index.everything if str(q.instrument) == symbol] if "." in symbol else index.by_base.get(symbol.upper(), [])
        return found if dex is None else [quote for quote in found if quote.instrument.venue == dex]

    def _index(self) -> _Index:
        """Of the board as it stands; made anew when it changed."""
        board = self.service.board
        if self._known.generation != board.generation:
            self._known = _Index(board.generation, board.quotes(fresh_only=False))
        return self._known

    def market(self, dex: str, symbol: str) -> FundingQuote:
        """The market of a venue by its canonical base or full id; of several with one base that of the most open interest.

        Raises:
            Problem: 404.
        """
        self.check_dexes([dex])
        found = self.quotes(dex=dex, symbol=symbol)
        if not found:
            raise missing(f"symbol on {dex}", symbol, {quote.instrument.base for quote in self.quotes(dex=dex)})
        return max(found, key=lambda quote: (not quote.instrument.inverse, quote.open_interest_usd or 0, str(quote.instrument)))

    def instrument(self, text: str) -> FundingQuote:
        """The market of a full instrument id.

        Raises:
            Problem: 422 when it is none, 404 when nothing is known of it.
        """
        try:
            id = InstrumentId.parse(text)
        except ValueError as e:
            raise contradiction(str(e)) from None
        quote = self.service.board.quote(id)
        if quote is None:
            raise Problem(404, "no such market", "/dexes/{dex}/symbols shows them")
        return quote
