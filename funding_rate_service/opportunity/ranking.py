"""All venue pairs per asset, filtered and ranked; whatever a filter needs and does not know fails it (E22)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import permutations

import msgspec

from exchange_clients.model import NS_PER_S, FundingRateSample, InstrumentId

from .clock import SHORTEST_HOURS, disbelief
from .edge import Edge, edge
from .quotes import Costs, FundingQuote


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What an opportunity must meet; None switches a filter off. Fractions, USD, hours, seconds.

    `min_profit`: of what is left after costs over the horizon; one of zero or more takes only pairs that leave more than nothing.
    `min_divergence`: of the difference of the rates per hour. Volume, open interest and spread are limits for each leg; the ratio of open
    interest is that of the long leg over the short one. `required_venues`: all of them among the two; `any_venues`: at least one leg there;
    `only_venues`: both; `no_venues`: neither.
    `lead_s`: how long entering may take: of the edge with the settlements from now on and that from then on, the lower one counts.
    `need_spreads`: off, a pair with an unknown spread is judged by its fees and says so (`Costs.slippage_known`).
    """

    horizon_hours: Decimal = Decimal(24)
    min_profit: Decimal = Decimal(0)
    max_break_even_hours: Decimal | None = None
    max_rate_age_s: Decimal = Decimal(120)
    max_spread: Decimal | None = Decimal("0.005")
    max_price_divergence: Decimal | None = Decimal("0.01")
    min_divergence: Decimal | None = None
    min_volume_24h: Decimal | None = None
    max_volume_24h: Decimal | None = None
    min_oi_usd: Decimal | None = None
    max_oi_usd: Decimal | None = None
    min_oi_ratio: Decimal | None = None
    max_oi_ratio: Decimal | None = None
    symbols: frozenset[str] | None = None
    required_venues: frozenset[str] = frozenset()
    any_venues: frozenset[str] | None = None
    only_venues: frozenset[str] | None = None
    no_venues: frozenset[str] = frozenset()
    maker_entry: bool = False
    lead_s: Decimal = Decimal(0)
    need_spreads: bool = True


class Opportunity(msgspec.Struct, frozen=True, kw_only=True):
    """A pair that passed every filter."""

    symbol: str
    long: FundingQuote
    short: FundingQuote
    edge: Edge

    @property
    def price_divergence(self) -> Decimal | None:
        """See `price_divergence`."""
        return price_divergence(self.long, self.short)

    @property
    def oi_ratio(self) -> Decimal | None:
        """See `oi_ratio`."""
        return oi_ratio(self.long, self.short)


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
    """Rank all pairs of markets with the same base asset on different venues. Of several quotes of one market the last counts.

    Assets match by the canonical base of the instrument table and nothing else (E30): a multiplier is applied in converters, so 1000PEPE
    on one venue and kPEPE on another are both PEPE here, and "2Z" is never "Z". Ties are broken by names: equal input, equal output.
    """
    by_base: dict[str, list[FundingQuote]] = defaultdict(list)
    for quote in {quote.instrument: quote for quote in quotes}.values():
        base = quote.instrument.base
        if (filters.symbols is None or base in filters.symbols) and not quote.instrument.inverse:
            by_base[base].append(quote)
    found: list[Opportunity] = []
    left: list[Rejection] = []
    for base in sorted(by_base):
        for long, short in permutations(sorted(by_base[base], key=lambda q: str(q.instrument)), 2):
            if long.instrument.venue == short.instrument.venue or not faces(long, short):
                continue
            rules, result = judge_pair(long, short, filters, now_ns)
            if result is not None and not rules:
                found.append(Opportunity(symbol=base, long=long, short=short, edge=result))
            else:
                left.append(Rejection(symbol=base, long=long, short=short, rules=tuple(rules), edge=result))
    found.sort(key=lambda o: (-o.edge.horizon.net, o.symbol, str(o.long.instrument), str(o.short.instrument)))
    return Scan(tuple(found), tuple(left))


def widest(samples: Mapping[InstrumentId, FundingRateSample], symbols: frozenset[str] | None = None) -> list[tuple[Decimal, str]]:
    """(difference per hour, asset) of every asset on two venues or more, widest first: what rates alone promise, before anything costs.

    The difference is that of the best pair of markets on two venues; inverse markets and rates that nobody believes are left aside.
    """
    by_base: dict[str, dict[str, list[Decimal]]] = defaultdict(lambda: defaultdict(list))
    for instrument, sample in samples.items():
        if not instrument.inverse and (symbols is None or instrument.base in symbols) and disbelief(sample) is None:
            by_base[instrument.base][instrument.venue].append(sample.hourly_rate)
    found = []
    for base, venues in by_base.items():
        ends = [(min(rates), max(rates)) for rates in venues.values()]
        if len(ends) >= 2:
            found.append((max(short[1] - long[0] for long, short in permutations(ends, 2)), base))
    return sorted(found, key=lambda item: (-item[0], item[1]))


def faces(long: FundingQuote, short: FundingQuote) -> bool:
    """Whether a pair is looked at this way round: the long leg has the lower rate per hour, or both have the same."""
    return direction_rate(long) <= direction_rate(short)


def direction_rate(quote: FundingQuote) -> Decimal:
    """Per hour, for the direction only: a rate that is no number counts as nothing and is refused by its rule."""
    rate, hours = quote.sample.raw_rate, quote.sample.interval_hours
    return rate / hours if rate.is_finite() and hours.is_finite() and hours >= SHORTEST_HOURS else Decimal(0)


def price_divergence(long: FundingQuote, short: FundingQuote) -> Decimal | None:
    """How far the marks are apart, as a fraction of the lower one; None when one is unknown."""
    if long.mark is None or short.mark is None or long.mark <= 0 or short.mark <= 0:
        return None
    return abs(long.mark - short.mark) / min(long.mark, short.mark)


def oi_ratio(long: FundingQuote, short: FundingQuote) -> Decimal | None:
    """Open interest of the long leg over that of the short one; None when one is unknown or the short leg has none."""
    if long.open_interest_usd is None or short.open_interest_usd is None or short.open_interest_usd <= 0:
        return None
    return long.open_interest_usd / short.open_interest_usd


def round_trip_costs(long: FundingQuote, short: FundingQuote, *, maker_entry: bool, need_spreads: bool = True) -> Costs | None:
    """Fees of both legs in and out, and half a spread per taker order; fees alone where a spread is unknown and not needed.

    None when a figure is missing that is needed.
    """
    fees = (long.taker_fee, short.taker_fee)
    spreads = (long.spread, short.spread)
    entry_fees = (long.maker_fee, short.taker_fee) if maker_entry else fees
    if None in fees or None in entry_fees or (need_spreads and None in spreads):
        return None
    known = None not in spreads
    half = sum((s / 2 for s in spreads if s is not None), Decimal(0)) if known else Decimal(0)
    return Costs(
        entry_fees=sum((f for f in entry_fees if f is not None), Decimal(0)),
        exit_fees=sum((f for f in fees if f is not None), Decimal(0)),
        entry_slippage=half,
        exit_slippage=half,
        slippage_known=known,
    )


def judge_pair(long: FundingQuote, short: FundingQuote, filters: Filters, now_ns: int) -> tuple[list[tuple[str, str]], Edge | None]:
    """Every rule that the pair fails, each with its figures, and its edge as far as it can be told."""
    rules: list[tuple[str, str]] = []
    rules.extend(_venue_rules({long.instrument.venue, short.instrument.venue}, filters))
    for quote in (long, short):
        rules.extend(_leg_rules(quote, filters, now_ns))
    rules.extend(_pair_rules(long, short, filters))
    costs = round_trip_costs(long, short, maker_entry=filters.maker_entry, need_spreads=filters.need_spreads)
    if costs is None:
        rules.append(("costs", "a fee or a spread is unknown"))
        return rules, None
    try:
        moments = dict.fromkeys((now_ns, now_ns + int(filters.lead_s * NS_PER_S)))
        edges = [edge(long, short, costs, now_ns=moment, horizon_hours=filters.horizon_hours) for moment in moments]
        result = min(edges, key=lambda found: found.horizon.net)
    except ValueError as e:
        rules.append(("rate", str(e)))
        return rules, None
    if result.horizon.net < filters.min_profit or (result.horizon.net <= 0 and filters.min_profit >= 0):
        rules.append(("min_profit", f"{result.horizon.net:.6f} over {filters.horizon_hours} h, wanted {filters.min_profit}"))
    if filters.min_divergence is not None and result.hourly < filters.min_divergence:
        rules.append(("min_divergence", f"{result.hourly:.8f} per hour, wanted {filters.min_divergence}"))
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
        ("max_volume_24h", quote.volume_24h_usd, filters.max_volume_24h, False),
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


def _venue_rules(venues: set[str], filters: Filters) -> list[tuple[str, str]]:
    shown = " and ".join(sorted(venues))
    rules = [("required_venue", f"{name} is neither {shown}") for name in sorted(filters.required_venues - venues)]
    if filters.any_venues is not None and not filters.any_venues & venues:
        rules.append(("any_venues", f"{shown} are not among {sorted(filters.any_venues)}"))
    if filters.only_venues is not None and not venues <= filters.only_venues:
        rules.append(("only_venues", f"{shown} are not both among {sorted(filters.only_venues)}"))
    rules.extend(("no_venues", f"{name} is excluded") for name in sorted(filters.no_venues & venues))
    return rules


def _pair_rules(long: FundingQuote, short: FundingQuote, filters: Filters) -> list[tuple[str, str]]:
    rules: list[tuple[str, str]] = []
    limit = filters.max_price_divergence
    if limit is not None:
        divergence = price_divergence(long, short)
        if divergence is None:
            rules.append(("max_price_divergence", "a mark price is unknown"))
        elif divergence > limit:
            rules.append(("max_price_divergence", f"{divergence:.5f}, at most {limit}"))
    least, most = filters.min_oi_ratio, filters.max_oi_ratio
    if least is not None or most is not None:
        ratio = oi_ratio(long, short)
        if ratio is None:
            rules.append(("oi_ratio", "an open interest is unknown"))
        elif (least is not None and ratio < least) or (most is not None and ratio > most):
            rules.append(("oi_ratio", f"{ratio:.6g}, wanted {'any' if least is None else least} to {'any' if most is None else most}"))
    return rules
