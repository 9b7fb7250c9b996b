"""One pair in every figure: what holding brings over time, what a size costs, which size it carries, how it behaved."""

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from exchange_clients.model import ZERO

from .clock import disbelief
from .depth import Book, Fees, Size, capacity, capacity_curve, costs_at
from .edge import HORIZONS, Edge, annual, break_even, edge
from .persistence import Persistence, expected_hours
from .quotes import Costs, FundingQuote
from .ranking import oi_ratio, price_divergence, round_trip_costs

SIZES: tuple[Decimal, ...] = tuple(Decimal(usd) for usd in (100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000))
"""USD."""


class BadPair(ValueError):
    """Two markets that make no pair."""


class CostSource(StrEnum):
    """What costs were worked out from, best first."""

    BOOKS = "books"
    """Both live books, at the size."""
    SPREADS = "spreads"
    """Best bid and ask: right for a size that the touch holds."""
    FEES = "fees"
    """A spread is unknown: the true costs are higher."""


class Holding(msgspec.Struct, frozen=True):
    """What holding for `hours` brings, as fractions of one leg's notional; `net` is None where the costs are unknown.

    Settlements per leg that fall into it; None where funding accrues all the time, or where they are not counted.
    """

    hours: Decimal
    funding: Decimal
    net: Decimal | None
    long_settlements: int | None = None
    short_settlements: int | None = None


class PairDetail(msgspec.Struct, frozen=True, kw_only=True):
    """Long one market, short another. Fractions of one leg's notional, rates per hour; None: unknown, and `unknown` says why.

    `curve`: with rates as quoted, by the settlements that really fall due. `expected`: by the hour, the difference of the rates fading to
    its mean as the history says. `break_even_hours`: costs over the difference per hour; `settled_break_even_hours`: the first whole hour
    after which settled funding has paid the costs; `expected_break_even_hours`: the same of `expected`; each None when never, or unknown.
    `capacity_usd`: the largest size that still leaves `min_net` over `horizon_hours`; zero: none does.
    """

    symbol: str
    long: FundingQuote
    short: FundingQuote
    horizon_hours: Decimal
    size_usd: Decimal | None
    min_net: Decimal
    hourly: Decimal | None
    annual: Decimal | None
    costs: Costs | None
    cost_source: CostSource | None
    curve: tuple[Holding, ...]
    expected: tuple[Holding, ...] | None
    break_even_hours: Decimal | None
    settled_break_even_hours: int | None
    expected_break_even_hours: int | None
    capacity: tuple[Size, ...] | None
    capacity_usd: Decimal | None
    price_divergence: Decimal | None
    oi_ratio: Decimal | None
    persistence: Persistence | None
    unknown: tuple[str, ...]


def pair_detail(
    long: FundingQuote,
    short: FundingQuote,
    *,
    now_ns: int,
    size_usd: Decimal | None = None,
    books: tuple[Book, Book] | None = None,
    past: Persistence | None = None,
    horizon_hours: Decimal = Decimal(24),
    min_net: Decimal = ZERO,
) -> PairDetail:
    """Everything that these figures tell of the pair, in the direction given.

    Raises:
        BadPair: not one asset on two venues, or an inverse market.
    """
    _check(long, short)
    unknown = [f"rate of {q.instrument}: {doubt}" for q in (long, short) if (doubt := disbelief(q.sample)) is not None]
    believed = not unknown
    unknown += [f"taker fee on {q.instrument.venue}" for q in (long, short) if q.taker_fee is None]
    unknown += [f"spread of {q.instrument}" for q in (long, short) if q.spread is None]
    books = books if books is not None and all(_usable(book) for book in books) else None
    costs, source = _costs(long, short, size_usd, books)
    if books is None:
        unknown.append("order books")
    elif size_usd is not None and costs is not None and source is not CostSource.BOOKS:
        unknown.append(f"costs at {size_usd} USD: the books do not hold it")
    if past is None:
        unknown.append("history")

    def held(hours: Decimal) -> Edge:
        return edge(long, short, costs or _FREE, now_ns=now_ns, horizon_hours=hours)

    present = held(horizon_hours) if believed else None
    curve: list[Holding] = []
    for hours in HORIZONS if believed else ():
        one = held(Decimal(hours)).horizon
        curve.append(Holding(one.hours, one.funding, one.net if costs is not None else None, one.long_settlements, one.short_settlements))
    expected = None if past is None or present is None else tuple(_fading(present.hourly, past, Decimal(h), costs) for h in HORIZONS)
    sizes, carried = _capacities(long, short, books, present, min_net)
    return PairDetail(
        symbol=long.instrument.base,
        long=long,
        short=short,
        horizon_hours=horizon_hours,
        size_usd=size_usd,
        min_net=min_net,
        hourly=None if present is None else present.hourly,
        annual=None if present is None else annual(present.hourly),
        costs=costs,
        cost_source=source,
        curve=tuple(curve),
        expected=expected,
        break_even_hours=None if present is None or costs is None else present.break_even_hours,
        settled_break_even_hours=None if not believed or costs is None else break_even(long, short, costs, now_ns=now_ns),
        expected_break_even_hours=None
        if past is None or present is None or costs is None
        else next((h for h in range(1, HORIZONS[-1] + 1) if expected_hours(present.hourly, past, Decimal(h)) >= costs.total), None),
        capacity=sizes,
        capacity_usd=carried,
        price_divergence=price_divergence(long, short),
        oi_ratio=oi_ratio(long, short),
        persistence=past,
        unknown=tuple(unknown),
    )


_FREE = Costs(ZERO, ZERO, ZERO, ZERO)
"""Where funding is told and the costs are not known: what they would make of it is left out."""


def _check(long: FundingQuote, short: FundingQuote) -> None:
    one, other = long.instrument, short.instrument
    if one.base != other.base:
        raise BadPair(f"{one} and {other} are not the same asset")
    if one.venue == other.venue:
        raise BadPair(f"{one} and {other} are on the same venue")
    for instrument in (one, other):
        if instrument.inverse:
            raise BadPair(f"{instrument} is inverse: its profit is not linear in the price, so it is no leg")


def _usable(book: Book) -> bool:
    return bool(book.bids) and bool(book.asks) and 0 < book.bids[0].price <= book.asks[0].price


def _fees(long: FundingQuote, short: FundingQuote) -> tuple[Fees, Fees] | None:
    if long.taker_fee is None or short.taker_fee is None:
        return None
    return Fees(long.maker_fee, long.taker_fee), Fees(short.maker_fee, short.taker_fee)


def _costs(
    long: FundingQuote, short: FundingQuote, size_usd: Decimal | None, books: tuple[Book, Book] | None
) -> tuple[Costs | None, CostSource | None]:
    """From the best source there is."""
    fees = _fees(long, short)
    if fees is not None and books is not None and size_usd is not None:
        found = costs_at(*books, fees, size_usd / max(book.mid for book in books))
        if found is not None:
            return found, CostSource.BOOKS
    costs = round_trip_costs(long, short, maker_entry=False, need_spreads=False)
    if costs is None:
        return None, None
    return costs, CostSource.SPREADS if costs.slippage_known else CostSource.FEES


def _fading(now: Decimal, past: Persistence, hours: Decimal, costs: Costs | None) -> Holding:
    funding = expected_hours(now, past, hours)
    return Holding(hours, funding, None if costs is None else funding - costs.total)


def _capacities(
    long: FundingQuote, short: FundingQuote, books: tuple[Book, Book] | None, present: Edge | None, min_net: Decimal
) -> tuple[tuple[Size, ...] | None, Decimal | None]:
    """(net by size up to what the books hold, the largest size that leaves enough)."""
    fees = _fees(long, short)
    if fees is None or books is None or present is None:
        return None, None
    funding, price = present.horizon.funding, max(book.mid for book in books)
    sizes: Sequence[Size] = capacity_curve(*books, fees, funding=funding, sizes=SIZES)
    dollar = 1 / price
    most = capacity(*books, fees, funding=funding, min_net=min_net, step=dollar)
    return tuple(size for size in sizes if size.net is not None), (most / dollar).to_integral_value()
