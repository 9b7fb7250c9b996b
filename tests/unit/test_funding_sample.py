"""Rates carry their interval, and every view of them uses it."""

from decimal import Decimal

import pytest

from exchange_clients.model import HOURS_PER_YEAR, FundingRateSample, RateKind


@pytest.mark.parametrize("hours", ["1", "2", "4", "8"])
def test_e29_every_view_uses_the_samples_own_interval(hours: str) -> None:
    interval = Decimal(hours)
    sample = FundingRateSample(raw_rate=Decimal("0.0001"), interval_hours=interval, kind=RateKind.PREDICTED)
    assert sample.hourly_rate * interval == sample.raw_rate
    assert sample.normalized_rate * interval == sample.raw_rate * 8
    assert sample.annual_rate == sample.raw_rate * (HOURS_PER_YEAR / interval)
