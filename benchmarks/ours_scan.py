"""Our side of the funding scan: `python ours_scan.py CASE VENUES,MARKETS`; every stage is product code with its checks."""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import funding_wire
import timing

D = Decimal
NOW_NS = funding_wire.MS * 1_000_000
REPEATS = 9


def ms(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return (time.process_time() - start) * 1e3, result


def scan(argument: str) -> dict[str, float]:
    """From the bytes of every venue's answer to the first twenty pairs."""
    import msgspec

    from exchange_clients.aster import messages as m
    from exchange_clients.aster.client.utils import converters
    from exchange_clients.aster.common import SPEC
    from exchange_clients.model import Instrument, InstrumentId, MarketSnapshot
    from funding_rate_service.collector.sound import quote_of_market
    from funding_rate_service.fees import FeeTable, MarketFees
    from funding_rate_service.opportunity import Query
    from funding_rate_service.opportunity.ranker import Ranker

    venues, markets = map(int, argument.split(","))
    names = [f"v{n}" for n in range(venues)]
    fees = FeeTable({name: MarketFees(D("0.0001"), D("0.0004")) for name in names})
    table = {
        name: {
            f"{base}USDT": Instrument(
                id=InstrumentId(base, "USDT", name),
                venue_symbol=f"{base}USDT",
                contract_id=f"{base}USDT",
                settle="USDT",
                tick_size=D("0.00000001"),
                step_size=D("0.001"),
                min_quantity=D("0.001"),
            )
            for base in funding_wire.bases(markets)
        }
        for name in names
    }
    interval = m.FundingInfo(symbol="", fundingIntervalHours=8, fundingFeeCap=D("0.03"))
    decode = msgspec.json.Decoder(SPEC.endpoints["premiumIndex"].response, strict=False).decode
    ranker, stages = Ranker(), []

    def quotes_of(rows: list[m.PremiumIndex], listed: dict[str, Any]) -> list[Any]:
        found = []
        for row in rows:
            instrument = listed[row.symbol]
            sample = converters.funding_now(row, interval, instrument)
            ticker = converters.ticker(instrument, row, None, None, NOW_NS)
            quote, _ = quote_of_market(MarketSnapshot(instrument=instrument, sample=sample, ticker=ticker), fees, NOW_NS, 60.0)
            if quote is not None:
                found.append(quote)
        return found

    for repeat in range(REPEATS):
        answers = [funding_wire.premium_index(markets, seed=repeat * venues + n) for n in range(venues)]
        parse, rows = ms(lambda answers=answers: [decode(body) for body in answers])
        check, quotes = ms(lambda rows=rows: [quotes_of(part, table[name]) for name, part in zip(names, rows, strict=True)])
        rank, ranked = ms(lambda quotes=quotes: ([ranker.update(part) for part in quotes], ranker.query(Query(), NOW_NS))[1])
        assert ranked.considered == markets * venues * (venues - 1) // 2
        assert len(ranked.opportunities) == 20
        stages.append((parse, check, rank))
    parse, check, rank = (statistics.median(column) for column in zip(*stages, strict=True))
    return {"parse": parse, "quotes": check, "rank": rank, "total": parse + check + rank, "pairs": ranked.considered}


def quotes_of_market(venues: int, markets: int, seed: int) -> list[Any]:
    """Every figure known, every figure different."""
    from exchange_clients.model import FundingRateSample, InstrumentId, RateKind
    from funding_rate_service.opportunity import FundingQuote

    rng = random.Random(seed)
    found = []
    for v in range(venues):
        hours = (8, 1, 4)[v % 3]
        fee = D(v % 6) / 10_000
        for n in range(markets):
            price = 10 ** rng.uniform(-1, 4.7)
            half = price * rng.uniform(0.00002, 0.0005)
            sample = FundingRateSample(
                raw_rate=D(f"{rng.gauss(0.00001, 0.00004) * hours:.10f}"),
                interval_hours=D(hours),
                kind=RateKind.PREDICTED,
                next_funding_time=NOW_NS + rng.randint(1, hours * 3600) * 10**9,
            )
            quote = FundingQuote(
                instrument=InstrumentId(f"B{n}", "USDC", f"v{v}"),
                sample=sample,
                observed_ns=NOW_NS - rng.randint(0, 60) * 10**9,
                taker_fee=fee,
                maker_fee=D(0),
                mark=D(f"{price:.6f}"),
                bid=D(f"{price - half:.6f}"),
                ask=D(f"{price + half:.6f}"),
                volume_24h_usd=D(f"{10 ** rng.uniform(3, 9):.2f}"),
                open_interest_usd=D(f"{10 ** rng.uniform(3, 8):.2f}"),
            )
            found.append(quote)
    return found


def rescan(argument: str) -> dict[str, float]:
    """Quotes in memory to the first pairs: all changed, one venue changed, nothing changed, the plain way."""
    from funding_rate_service.opportunity import Query, SortBy, rank
    from funding_rate_service.opportunity.ranker import Ranker

    venues, markets = map(int, argument.split(","))
    rounds = [quotes_of_market(venues, markets, seed) for seed in range(REPEATS)]
    built, ranker = ms(lambda: Ranker(rounds[-1]))
    first, _ = ms(lambda: ranker.query(Query(), NOW_NS))
    picky = Query(
        min_volume=D(10**6),
        max_spread=D("0.001"),
        max_price_divergence=D("0.5"),
        min_oi=D(10**5),
        sort_by=SortBy.BREAK_EVEN,
        sort_desc=False,
    )
    queries = {"query": Query(), "query_100": Query(limit=100), "query_filtered": picky, "query_symbol": Query(symbol="B7")}
    taken: dict[str, list[float]] = {}

    def note(name: str, work: Callable[[], Any]) -> Any:
        spent, result = ms(work)
        taken.setdefault(name, []).append(spent)
        return result

    ranker.query(picky, NOW_NS)
    for quotes in rounds:
        note("all_changed", lambda quotes=quotes: (ranker.update(quotes), ranker.query(Query(), NOW_NS)))
        ranker.query(picky, NOW_NS)
        one = [q for q in rounds[0 if quotes is not rounds[0] else 1] if q.instrument.venue == "v1"]
        note("one_venue_changed", lambda one=one: (ranker.update(one), ranker.query(Query(), NOW_NS)))
        ranker.query(picky, NOW_NS)
        for name, query in queries.items():
            note(name, lambda query=query: ranker.query(query, NOW_NS))
    fresh = Ranker(rounds[0])
    plain, expected = ms(lambda: rank(rounds[0], Query(), now_ns=NOW_NS))
    assert fresh.query(Query(), NOW_NS) == expected
    assert fresh.query(picky, NOW_NS) == rank(rounds[0], picky, now_ns=NOW_NS)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    return {"from_nothing": built + first, **medians, "plain": plain, "pairs": expected.considered, "passing": expected.total}


CASES = {"scan": scan, "rescan": rescan}

if __name__ == "__main__":
    timing.answer(CASES[sys.argv[1]](sys.argv[2]))
