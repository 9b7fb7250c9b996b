"""Opportunities as they stood at a past moment, from stored samples. Blocking; for a worker."""

from __future__ import annotations

from msgspec.structs import replace

from database.funding_store import FundingStore
from exchange_clients.model import MarketStatus
from funding_rate_service.board import quote_of
from funding_rate_service.fees import FeeTable
from funding_rate_service.opportunity import FundingQuote
from funding_rate_service.opportunity.query import Query, Ranked, rank

MAX_AGE_S = 180
"""Rates that were older then were no legs."""


def quotes_at(store: FundingStore, fees: FeeTable, at_ns: int) -> list[FundingQuote]:
    """Every market's newest rate at that moment.

    Fees are today's, the past ones are not kept; a market that had a rate then counts as open for trading then.
    """
    markets = {market.instrument: replace(market, status=MarketStatus.ACTIVE) for market in store.markets()}
    return [quote_of(sample, fees, markets.get(sample.instrument)) for sample in store.as_of(at_ns, MAX_AGE_S)]


def ranked_at(store: FundingStore, fees: FeeTable, query: Query, at_ns: int) -> Ranked:
    """The pairs that passed then."""
    return rank(quotes_at(store, fees, at_ns), query, now_ns=at_ns)
