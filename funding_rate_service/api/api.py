"""What every endpoint needs, in one value, and the few lookups they share."""

from __future__ import annotations

from collections.abc import Iterable

from exchange_clients.model import InstrumentId
from funding_rate_service.api.bodies import Bodies
from funding_rate_service.api.keygate import KeyGate
from funding_rate_service.api.metrics import Metrics
from funding_rate_service.api.problems import Problem, contradiction, missing
from funding_rate_service.api.queries import moment_ns
from funding_rate_service.opportunity import FundingQuote
from funding_rate_service.service import Service

PREFIX = "/api/v1"


class Api:
    """The service behind the endpoints, with the answers that are kept."""

    def __init__(self, service: Service, metrics: Metrics, gate: KeyGate) -> None:
        self.service, self.metrics, self.gate = service, metrics, gate
        self.bodies = Bodies(service.clock.monotonic, service.boot)

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
        found: Iterable[FundingQuote] = self.service.board.quotes(fresh_only=False)
        if dex is not None:
            found = (quote for quote in found if quote.instrument.venue == dex)
        if symbol is not None:
            found = _named(list(found), symbol)
        return sorted(found, key=lambda quote: (quote.instrument.base, quote.instrument.venue, quote.instrument))

    def market(self, dex: str, symbol: str) -> FundingQuote:
        """The market of a venue by its canonical base or full id; of several with one base that of the most open interest.

        Raises:
            Problem: 404.
        """
        self.check_dexes([dex])
        of_dex = self.quotes(dex=dex)
        found = _named(of_dex, symbol)
        if not found:
            raise missing(f"symbol on {dex}", symbol, {quote.instrument.base for quote in of_dex})
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


def _named(quotes: list[FundingQuote], symbol: str) -> list[FundingQuote]:
    """By canonical base, by full id, or by the base in capitals where nothing is spelled otherwise."""
    found = [quote for quote in quotes if quote.instrument.base == symbol]
    if not found and "." in symbol:
        found = [quote for quote in quotes if str(quote.instrument) == symbol]
    if not found:
        found = [quote for quote in quotes if quote.instrument.base == symbol.upper()]
    return found
