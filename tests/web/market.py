"""A seeded market for the page: quotes of many venues, and what they charged before."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from database.market_data import RateSample, SettledRate
from exchange_clients.model import NS_PER_HOUR, NS_PER_S, FundingRateSample, InstrumentId, RateKind
from funding_rate_service.opportunity import FundingQuote

NS_PER_MIN = 60 * NS_PER_S
VENUES = {
    "aster": (8, "USDT", "0.00035"),
    "backpack": (1, "USDC", "0.0005"),
    "binance": (8, "USDT", "0.0005"),
    "bybit": (4, "USDT", "0.00055"),
    "drift": (1, "USDC", "0.0003"),
    "dydx": (1, "USD", "0.0005"),
    "gate": (8, "USDT", "0.0005"),
    "hyperliquid": (1, "USDC", "0.00045"),
    "lighter": (1, "USDC", "0"),
    "okx": (8, "USDT", "0.0005"),
    "paradex": (8, "USD", "0.0002"),
}
"""Interval in hours, quote, taker fee."""

MAJORS = {
    "BTC": 84231.5, "ETH": 2744.2, "SOL": 128.42, "HYPE": 31.74, "XRP": 1.952, "DOGE": 0.1391, "BNB": 828.6, "SUI": 1.362,
    "AVAX": 12.91, "LINK": 12.04, "ADA": 0.4021, "LTC": 82.8, "PEPE": 0.00000418, "WIF": 0.336, "ENA": 0.231, "AAVE": 161.2,
    "TAO": 262.4, "TRUMP": 6.1, "FARTCOIN": 0.2471, "kBONK": 0.00936, "JUP": 0.221, "ONDO": 0.472, "ARB": 0.1921, "OP": 0.2987,
    "TIA": 0.587, "SEI": 0.1262, "INJ": 5.41, "NEAR": 1.78, "APT": 2.31, "TON": 1.524, "UNI": 6.04, "CRV": 0.398, "LDO": 0.601,
    "PENDLE": 2.36, "ZEC": 561.0, "ZRO": 1.28, "PUMP": 0.00261, "XPL": 0.2041, "ASTER": 1.164, "MON": 0.0261, "2Z": 0.1183,
    "BERA": 1.021, "KAITO": 0.612, "VIRTUAL": 0.927, "SPX": 0.522, "MOODENG": 0.0731,
}  # fmt: skip
HOSTILE = '<img src=x onerror="window.hacked=1">'
"""A symbol as a venue might name it."""


@dataclass(frozen=True)
class Market:
    """One market of the scene; `hourly` is the rate around which it moves."""

    instrument: InstrumentId
    interval: int
    hourly: float
    taker: str
    mark: float
    size: float


def markets(rng: random.Random, venues: Sequence[str], symbols: int) -> list[Market]:
    """Every venue lists most of the symbols; the rates of one symbol differ between venues."""
    named = list(MAJORS.items())[:symbols]
    named += [(f"{a}{b}{n % 97}", rng.uniform(0.01, 40)) for n, (a, b) in enumerate(zip("ABCDEFGHKL" * 60, "UXOAI" * 120, strict=True))][
        : max(0, symbols - len(named))
    ]
    found = []
    for n, (symbol, price) in enumerate(named):
        common = rng.gauss(0.000009, 0.00001) if n < 20 else rng.gauss(0.000006, 0.00003)
        size = 4e9 / (n + 1) ** 1.25
        for venue in venues:
            hours, quote, fee = VENUES[venue]
            if n > 5 and rng.random() < 0.22 + n / 900:
                continue
            own = common + rng.gauss(0, 0.000012) + (rng.gauss(0, 0.00016) if rng.random() < 0.05 else 0)
            found.append(
                Market(InstrumentId(symbol, quote, venue), hours, own, fee, price * rng.gauss(1, 0.0004), size * rng.uniform(0.03, 1))
            )
    return found


def quote(market: Market, rng: random.Random, now_ns: int, *, age_s: float = 2.0) -> FundingQuote:
    """The market's newest rate."""
    rate = Decimal(f"{(market.hourly + rng.gauss(0, 0.0000008)) * market.interval:.8f}")
    step = market.interval * NS_PER_HOUR
    half = market.mark * rng.uniform(0.00003, 0.0004)
    return FundingQuote(
        instrument=market.instrument,
        sample=FundingRateSample(
            raw_rate=rate,
            interval_hours=Decimal(market.interval),
            kind=RateKind.PREDICTED,
            next_funding_time=(now_ns // step + 1) * step,
            instrument=market.instrument,
        ),
        observed_ns=now_ns - int(age_s * NS_PER_S),
        taker_fee=Decimal(market.taker),
        maker_fee=Decimal(market.taker) / 2,
        mark=Decimal(f"{market.mark:.9g}"),
        index=Decimal(f"{market.mark * 0.9999:.9g}"),
        bid=Decimal(f"{market.mark - half:.9g}"),
        ask=Decimal(f"{market.mark + half:.9g}"),
        volume_24h_usd=Decimal(round(market.size * 3)),
        open_interest_usd=Decimal(round(market.size)),
    )


def settled(market: Market, rng: random.Random, now_ns: int, days: int) -> list[SettledRate]:
    """What was charged in the days before, drifting around the market's rate."""
    step = market.interval * NS_PER_HOUR
    last = now_ns // step * step
    rows, drift = [], 0.0
    for n in range(days * 24 // market.interval):
        drift = drift * 0.93 + rng.gauss(0, 0.0000045)
        at = last - n * step
        rows.append(
            SettledRate(
                venue=market.instrument.venue,
                instrument=str(market.instrument),
                symbol=market.instrument.base,
                settled_at=at,
                rate=Decimal(f"{(market.hourly + drift) * market.interval:.8f}"),
                interval_hours=Decimal(market.interval),
            )
        )
    return rows


def samples(market: Market, rng: random.Random, now_ns: int, hours: int, every_min: int) -> list[RateSample]:
    """Predicted rates as they were collected."""
    rows, drift = [], 0.0
    for n in range(hours * 60 // every_min):
        drift = drift * 0.98 + rng.gauss(0, 0.0000012)
        rows.append(
            RateSample(
                venue=market.instrument.venue,
                instrument=str(market.instrument),
                symbol=market.instrument.base,
                observed_at=now_ns - n * every_min * NS_PER_MIN,
                rate=Decimal(f"{(market.hourly + drift) * market.interval:.8f}"),
                interval_hours=Decimal(market.interval),
                kind=RateKind.PREDICTED,
                latency_ms=80,
            )
        )
    return rows
