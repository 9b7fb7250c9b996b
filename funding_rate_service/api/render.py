"""From quotes and opportunities to JSON, each market's fixed part encoded once per change and shared by every answer that holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from exchange_clients.model import HOURS_PER_YEAR, NS_PER_S, InstrumentId
from funding_rate_service.api import shapes
from funding_rate_service.api.text import derived, derived_or_none, iso, iso_or_none, plain, plain_or_none
from funding_rate_service.board import VenueHealth
from funding_rate_service.histories import SERIES, Pair, PairHistory
from funding_rate_service.opportunity import Costs, FundingQuote, Opportunity
from funding_rate_service.opportunity.query import Query, Ranked

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

    def opportunity(self, o: Opportunity, history: PairHistory | None, now_ns: int) -> bytes:
        """One `shapes.Opportunity`."""
        horizon, costs = o.edge.horizon, o.edge.costs
        head = encode(
            {
                "pair": f"{o.long.instrument}/{o.short.instrument}",
                "symbol": o.symbol,
                "hourly": derived(o.edge.hourly),
                "annual": derived(o.edge.annual),
                "funding": derived(horizon.funding),
                "net": derived(horizon.net),
                "net_annual": derived(horizon.net * HOURS_PER_YEAR / horizon.hours),
                "costs": costs_shape(costs),
                "break_even_hours": derived_or_none(o.edge.break_even_hours),
                "long_settlements": horizon.long_settlements,
                "short_settlements": horizon.short_settlements,
                "price_divergence": derived_or_none(o.price_divergence),
                "oi_ratio": derived_or_none(o.oi_ratio),
                "persistence": persistence_shape(history),
            }
        )
        return b'%s,"long":%s,"short":%s}' % (head[:-1], self.rate(o.long, now_ns), self.rate(o.short, now_ns))

    def opportunities(self, found: Iterable[Opportunity], histories: Mapping[Pair, PairHistory], now_ns: int) -> list[bytes]:
        """Each as `opportunity`."""
        return [self.opportunity(o, histories.get((o.long.instrument, o.short.instrument)), now_ns) for o in found]


def costs_shape(costs: Costs) -> shapes.Costs:
    """Costs as the API shows them."""
    return shapes.Costs(
        entry_fees=derived(costs.entry_fees),
        exit_fees=derived(costs.exit_fees),
        entry_slippage=derived(costs.entry_slippage) if costs.slippage_known else None,
        exit_slippage=derived(costs.exit_slippage) if costs.slippage_known else None,
        total=derived(costs.total),
        slippage_known=costs.slippage_known,
    )


def persistence_shape(history: PairHistory | None) -> shapes.Persistence | None:
    """What history says of a pair; None when it is too short."""
    if history is None or history.statistics is None:
        return None
    found = history.statistics
    return shapes.Persistence(
        points=found.points,
        mean=derived(found.mean),
        volatility=derived(found.volatility),
        sign_flips_per_day=derived(found.sign_flips_per_day),
        half_life_hours=derived_or_none(found.half_life_hours),
        series=[derived_or_none(x) for x in history.differences[-SERIES:]],
    )


def opportunities_head(ranked: Ranked, query: Query, now_ns: int, at_ns: int | None = None) -> shapes.Opportunities:
    """The answer without its items."""
    return shapes.Opportunities(
        generated_at=iso(now_ns),
        horizon_hours=plain(query.horizon_hours),
        total=ranked.total,
        count=len(ranked.opportunities),
        at=iso_or_none(at_ns),
        opportunities=[],
    )


def dex_shape(name: str, health: VenueHealth, stale_after_s: float, now_ns: int) -> shapes.Dex:
    """A venue as the API shows it."""
    return shapes.Dex(
        dex=name,
        state=shapes.State(health.state),
        markets=health.markets,
        last_ok_at=iso_or_none(health.last_ok_ns),
        age_s=None if health.last_ok_ns is None else round(max(0, now_ns - health.last_ok_ns) / NS_PER_S, 1),
        stale_after_s=stale_after_s,
        last_error=health.last_error,
        latency_ms=health.latency_ms,
        consecutive_failures=health.consecutive_failures,
        next_collection_at=iso_or_none(health.next_at_ns),
    )


def filled(answer: shapes.Shape, items: Iterable[bytes]) -> bytes:
    """An answer whose last field is an empty list, with encoded items in it."""
    body = encode(answer)
    assert body.endswith(b"[]}")
    return b"%s[%s]}" % (body[:-3], b",".join(items))
