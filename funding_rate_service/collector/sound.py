"""What of a venue's answer is believed: all of it is untrusted. A rate that cannot be is unknown, never a number (PAINS 9)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Clamped, Context, Decimal, DecimalException, InvalidOperation, Overflow, Rounded, Subnormal
from typing import Final

from exchange_clients.model import MAX_EXPONENT, NS_PER_HOUR, NS_PER_S, FundingRateSample, MarketSnapshot, Ticker
from funding_rate_service.fees import FeeTable
from funding_rate_service.opportunity import FundingQuote, disbelief
from funding_rate_service.opportunity.clock import interval_ns

MOST_DIGITS: Final = 40
LONGEST_INTERVAL_H: Final = Decimal(168)
MOST_USD: Final = Decimal(10) ** 14
"""Nobody trades more than a hundred trillion dollars a day in one market."""

_SANE: Final = Context(
    prec=MOST_DIGITS, Emax=MAX_EXPONENT, Emin=-MAX_EXPONENT, traps=[Rounded, Overflow, Subnormal, Clamped, InvalidOperation]
)


def quote_of_market(
    market: MarketSnapshot, fees: FeeTable, now_ns: int, max_clock_error_s: float
) -> tuple[FundingQuote | None, tuple[str, ...]]:
    """The market's quote, None where there is no believable rate; and what was wrong, in words. A market without a rate is no fault."""
    problems = [market.problem] if market.problem else []
    sample, instrument = market.sample, market.instrument
    if sample is None:
        return None, tuple(problems)
    if (reason := _unbelievable(sample, now_ns, max_clock_error_s)) is not None:
        return None, (*problems, reason)
    figures = _Figures(market.ticker or Ticker(instrument=instrument.id), problems)
    bid, ask = figures.take("bid", _is_price), figures.take("ask", _is_price)
    if bid is not None and ask is not None and bid > ask:
        problems.append(f"bid {bid} above ask {ask}")
        bid = ask = None
    cost = fees.of(instrument.id.venue, instrument.maker_fee, instrument.taker_fee, dex=instrument.id.dex)
    quote = FundingQuote(
        instrument=instrument.id,
        sample=sample,
        observed_ns=now_ns,
        taker_fee=cost.taker,
        maker_fee=cost.maker,
        mark=figures.take("mark", _is_price),
        index=figures.take("index", _is_price),
        bid=bid,
        ask=ask,
        volume_24h_usd=figures.take("volume_24h", _is_amount),
        open_interest_usd=figures.take("open_interest", _is_amount),
        tradable=instrument.tradable,
    )
    return quote, tuple(problems)


def _unbelievable(sample: FundingRateSample, now_ns: int, max_clock_error_s: float) -> str | None:
    if (reason := disbelief(sample)) is not None:
        return reason
    if not is_number(sample.raw_rate) or not is_number(sample.interval_hours) or sample.interval_hours > LONGEST_INTERVAL_H:
        return f"rate {_shown(sample.raw_rate)} per {_shown(sample.interval_hours)} h"
    if sample.cap is not None and not is_number(sample.cap):
        return f"a cap of {_shown(sample.cap)}"
    error_ns = int(max_clock_error_s * NS_PER_S)
    stamp, due = sample.source_timestamp, sample.next_funding_time
    if stamp is not None and abs(stamp - now_ns) > error_ns:
        return f"stamped {(stamp - now_ns) / NS_PER_S:+.0f} s from now"
    if due is not None and not now_ns - error_ns <= due <= now_ns + interval_ns(sample.interval_hours) + error_ns:
        return f"next funding in {(due - now_ns) / NS_PER_HOUR:.1f} h of an interval of {sample.interval_hours.normalize():f} h"
    return None


class _Figures:
    """A ticker's figures; one that cannot be is unknown, and named."""

    def __init__(self, ticker: Ticker, problems: list[str]) -> None:
        self._ticker, self._problems = ticker, problems

    def take(self, name: str, able: Callable[[Decimal], bool]) -> Decimal | None:
        value: Decimal | None = getattr(self._ticker, name)
        if value is None or (is_number(value) and able(value)):
            return value
        self._problems.append(f"{name} is {_shown(value)}")
        return None


def is_number(value: Decimal) -> bool:
    """Finite, of a size that something may have, with a bearable number of digits: what does not fit the context as it is."""
    try:
        return _SANE.plus(value).is_finite()
    except DecimalException:
        return False


def _is_price(value: Decimal) -> bool:
    return value > 0


def _is_amount(value: Decimal) -> bool:
    return 0 <= value <= MOST_USD


def _shown(value: Decimal) -> str:
    return str(value)[:MOST_DIGITS]
