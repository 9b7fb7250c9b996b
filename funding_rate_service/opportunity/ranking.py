"""All venue pairs per asset, filtered and ranked; whatever a filter needs and does not know fails it (E22)."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from itertools import permutations

import msgspec

from exchange_clients.model import NS_PER_S

from .clock import disbelief
from .edge import Edge, edge
from .quotes import Costs, FundingQuote


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What an opportunity must meet; None switches a filter off. Fractions, USD, hours, seconds.

    `lead_s`: how long entering may take: of the edge with the settlements from now on and that from then on, the lower one counts.
    """

    horizon_hours: Decimal = Decimal(24)
    min_profit: Decimal = Decimal(0)
    max_break_even_hours: Decimal | None = None
    max_rate_age_s: Decimal = Decimal(120)
    max_spread: Decimal | None = Decimal("0.005")
    max_price_divergence: Decimal | None = Decimal("0.01")
    min_volume_24h: Decimal | None = None
    min_oi_usd: Decimal | None = None
    max_oi_usd: Decimal | None = None
    symbols: frozenset[str] | None = None
    required_venue: str | None = None
    maker_entry: bool = False
    lead_s: Decimal = Decimal(0)


class Opportunity(msgspec.Struct, frozen=True, kw_only=True):
    """A pair that passed every filter."""

    symbol: str
    long: FundingQuote
    short: FundingQuote
    edge: Edge


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A pair that did not pass: every rule it failed, with the figures; `edge` is None where it cannot be told."""

    symbol: str
    long: FundingQuote
    short: FundingQuote
    rules: tuple[tuple[str, str], ...]
    edge: Edge | None


class Scan(msgspec.Struct, frozen=True):
    """Opportunities, best first, and what was left out and why."""

    opportunities: tuple[Opportunity, ...]
    rejections: tuple[Rejection, ...]


def scan(quotes: Iterable[FundingQuote], filters: Filters, *, now_ns: int) -> Scan:
    """Rank all pairs of markets with the same base asset on different venues.

    Assets match by the canonical base of the instrument table and nothing else (E30): a multiplier is applied in converters, so 1000PEPE
    on one venue and kPEPE on another are both PEPE here, and "2Z" is never "Z". Ties are broken by names: equal input, equal output.
    """
    by_base: dict[str, list[FundingQuote]] = defaultdict(list)
    for quote in quotes:
        base = quote.instrument.base
        if (filters.symbols is None or base in filters.symbols) and not quote.instrument.inverse:
            by_base[base].append(quote)
    found: list[Opportunity] = []
    left: list[Rejection] = []
    for base in sorted(by_base):
        for long, short in permutations(sorted(by_base[base], key=lambda q: str(q.instrument)), 2):
            if long.instrument.venue == short.instrument.venue or _rate(long) > _rate(short):
                continue
            rules, result = judge_pair(long, short, filters, now_ns)
            if result is not None and not rules:
                found.append(Opportunity(symbol=base, long=long, short=short, edge=result))
            else:
                left.append(Rejection(symbol=base, long=long, short=short, rules=tuple(rules), edge=result))
    found.sort(key=lambda o: (-o.edge.horizon.net, o.symbol, str(o.long.instrument), str(o.short.instrument)))
    return Scan(tuple(found), tuple(left))


def _rate(quote: FundingQuote) -> Decimal:
    """For the direction only: a rate that is no number counts as nothing and is refused by its rule."""
    rate, hours = quote.sample.raw_rate, quote.sample.interval_hours
    return rate / hours if rate.is_finite() and hours.is_finite() and hours > 0 else Decimal(0)


def round_trip_costs(long: FundingQuote, short: FundingQuote, *, maker_entry: bool) -> Costs | None:
    """Fees of both legs in and out, and half a spread per taker order; None when a figure is missing."""
    fees = (long.taker_fee, short.taker_fee)
    spreads = (long.spread, short.spread)
    entry_fees = (long.maker_fee, short.taker_fee) if maker_entry else fees
    if None in fees or None in spreads or None in entry_fees:
        return None
    half = sum((s / 2 for s in spreads if s is not None), Decimal(0))
    return Costs(
        entry_fees=sum((f for f in entry_fees if f is not None), Decimal(0)),
        exit_fees=sum((f for f in fees if f is not None), Decimal(0)),
        entry_slippage=half,
        exit_slippage=half,
    )


def judge_pair(long: FundingQuote, short: FundingQuote, filters: Filters, now_ns: int) -> tuple[list[tuple[str, str]], Edge | None]:
    """Every rule that the pair fails, each with its figures, and its edge as far as it can be told."""
    rules: list[tuple[str, str]] = []
    venues = {long.instrument.venue, short.instrument.venue}
    if filters.required_venue is not None and filters.required_venue not in venues:
        rules.append(("required_venue", f"{filters.required_venue} is not one of {sorted(venues)}"))
    for quote in (long, short):
        rules.extend(_leg_rules(quote, filters, now_ns))
    rules.extend(_divergence(long, short, filters))
    costs = round_trip_costs(long, short, maker_entry=filters.maker_entry)
    if costs is None:
        rules.append(("costs", "a fee or a spread is unknown"))
        return rules, None
    try:
        moments = (now_ns, now_ns + int(filters.lead_s * NS_PER_S))
        edges = [edge(long, short, costs, now_ns=moment, horizon_hours=filters.horizon_hours) for moment in moments]
        result = min(edges, key=lambda found: found.horizon.net)
    except ValueError as e:
        rules.append(("rate", str(e)))
        return rules, None
    if result.horizon.net < filters.min_profit or result.horizon.net <= 0:
        rules.append(("min_profit", f"{result.horizon.net:.6f} over {filters.horizon_hours} h, wanted {filters.min_profit}"))
    limit = filters.max_break_even_hours
    if limit is not None and (result.break_even_hours is None or result.break_even_hours > limit):
        hours = "never" if result.break_even_hours is None else f"after {result.break_even_hours:.2f} h"
        rules.append(("max_break_even_hours", f"{hours}, at most {limit}"))
    return rules, result


def _leg_rules(quote: FundingQuote, filters: Filters, now_ns: int) -> list[tuple[str, str]]:
    where = quote.instrument.venue
    rules: list[tuple[str, str]] = []
    if not quote.tradable:
        rules.append(("tradable", f"{quote.instrument} is not open for trading"))
    age_s = Decimal(now_ns - quote.observed_ns) / NS_PER_S
    if not 0 <= age_s <= filters.max_rate_age_s:
        rules.append(("max_rate_age_s", f"rate on {where} is {age_s:.1f} s old, at most {filters.max_rate_age_s}"))
    doubt = disbelief(quote.sample)
    if doubt is not None:
        rules.append(("cap", f"{where}: {doubt}"))
    for rule, value, limit, at_least in (
        ("max_spread", quote.spread, filters.max_spread, False),
        ("min_volume_24h", quote.volume_24h_usd, filters.min_volume_24h, True),
        ("min_oi_usd", quote.open_interest_usd, filters.min_oi_usd, True),
        ("max_oi_usd", quote.open_interest_usd, filters.max_oi_usd, False),
    ):
        if limit is None:
            continue
        if value is None:
            rules.append((rule, f"unknown on {where}"))
        elif value < limit if at_least else value > limit:
            rules.append((rule, f"{value:.6g} on {where}, limit {limit}"))
    return rules


def _divergence(long: FundingQuote, short: FundingQuote, filters: Filters) -> list[tuple[str, str]]:
    limit = filters.max_price_divergence
    if limit is None:
        return []
    if long.mark is None or short.mark is None or long.mark <= 0 or short.mark <= 0:
        return [("max_price_divergence", "a mark price is unknown")]
    divergence = abs(long.mark - short.mark) / min(long.mark, short.mark)
    return [("max_price_divergence", f"{divergence:.5f}, at most {limit}")] if divergence > limit else []
