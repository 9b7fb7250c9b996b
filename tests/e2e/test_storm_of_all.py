"""All registered venues through one storm, over real sockets: briefly here, for minutes with `make soak`."""

import logging

import pytest

from exchange_clients import venues
from exchange_simulator import dialects
from tests.e2e import storm

NAMES = [name for name in venues.names() if name in dialects.names()]


@pytest.fixture(autouse=True)
def unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that pytest keeps for its report would count as memory left behind; errors are still collected."""
    monkeypatch.setattr(logging.getLogger("exchange_clients"), "propagate", False)


async def weather(seconds: float, *, each_s: float, share: float) -> storm.Report:
    report, before, after = await storm.measured(NAMES, seconds=seconds, seed=11, each_s=each_s, say=lambda _: None)
    storm.nothing_left(before, after, share=share)
    assert report.errors == []
    assert set(report.happened) == set(NAMES)
    for name in NAMES:
        assert report.gaps[name] > 0, f"{name}: it was calm"
        assert report.heard[name]["BookChange"] > 50, f"{name}: nothing was streamed"
    return report


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_every_venue_knows_the_truth_after_a_short_storm() -> None:
    report = await weather(10.0, each_s=0.6, share=0.03)
    assert len(report.happened) >= 2


@pytest.mark.soak
async def test_every_venue_knows_the_truth_after_minutes_of_storm() -> None:
    report = await weather(240.0, each_s=1.5, share=0.01)
    struck = {trouble for happened in report.happened.values() for trouble in happened}
    assert struck == {trouble.__name__ for trouble in storm.BREAKS + storm.BRUISES}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NAMES)
def test_a_long_storm_on_virtual_time(name: str) -> None:
    report = storm.on_virtual_time([name], seconds=90.0, seed=3)
    assert report.errors == []
    assert len(report.happened[name]) > 12
