"""From quotes and opportunities to JSON, each market's fixed part encoded once per change and shared by every answer that holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from exchange_clients.model import NS_PER_S, InstrumentId
from funding_rate_service.api import shapes
from funding_rate_service.api.text import derived, derived_or_none, iso, iso_or_none, plain, plain_or_none
from funding_rate_service.opportunity import FundingQuote

encode = msgspec.json.Encoder().encode


def rate_shape(quote: FundingQuote, now_ns: int, stale: bool) -> shapes.Rate:
    """A quote as the API shows it."""
    sample = quote.sample
    return shapes.Rate(
        dex=quote.instrument.venue,
        symbol=quote.instrument.base,
        instrument=str(quote.instrument),
        rate=plain(sample.raw_rate),
        interval_hours=plain(sample.interval_hours),
        kind=sample.kind.value,
        hourly=derived(sample.hourly_rate),
        rate_8h=derived(sample.normalized_rate),
        annual=derived(sample.annual_rate),
        next_funding_at=iso_or_none(sample.next_funding_time),
        mark=plain_or_none(quote.mark),
        index=plain_or_none(quote.index),
        bid=plain_or_none(quote.bid),
        ask=plain_or_none(quote.ask),
        spread=derived_or_none(quote.spread),
        open_interest_usd=plain_or_none(quote.open_interest_usd),
        volume_24h_usd=plain_or_none(quote.volume_24h_usd),
        observed_at=iso(quote.observed_ns),
        age_s=age_s(quote, now_ns),
        stale=stale,
    )


def age_s(quote: FundingQuote, now_ns: int) -> float:
    """Seconds since the rate was learned; a clock that went back makes none negative."""
    return round(max(0, now_ns - quote.observed_ns) / NS_PER_S, 1)


_TAIL = b',"age_s":'
_STALE = (b',"stale":false}', b',"stale":true}')


class Renderer:
    """Encodes rates; remembers the fixed part of each market's newest one."""

    def __init__(self, is_fresh: Callable[[FundingQuote, int], bool]) -> None:
        self._is_fresh = is_fresh
        self._known: dict[InstrumentId, tuple[FundingQuote, bytes]] = {}
        """No more than there are markets."""

    def rate(self, quote: FundingQuote, now_ns: int, *, stale: bool | None = None) -> bytes:
        """One `shapes.Rate`; `stale` None: as `is_fresh` says."""
        known = self._known.get(quote.instrument)
        if known is None or known[0] is not quote:
            body = encode(rate_shape(quote, now_ns, False))
            known = (quote, body[: body.rindex(_TAIL)])
            self._known[quote.instrument] = known
        old = not self._is_fresh(quote, now_ns) if stale is None else stale
        return b"%s%s%s%s" % (known[1], _TAIL, encode(age_s(quote, now_ns)), _STALE[old])

    def rates(self, quotes: Iterable[FundingQuote], now_ns: int) -> list[bytes]:
        """Each as `rate`."""
        return [self.rate(quote, now_ns) for quote in quotes]


def filled(answer: shapes.Shape, items: Iterable[bytes]) -> bytes:
    """An answer whose last field is an empty list, with encoded items in it."""
    body = encode(answer)
    assert body.endswith(b"[]}")
    return b"%s[%s]}" % (body[:-3], b",".join(items))
