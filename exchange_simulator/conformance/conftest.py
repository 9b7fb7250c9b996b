"""Runs each conformance test once per registered venue, whatever the settings of the project that asks for it."""

import pytest

from exchange_clients import venues


def pytest_configure(config: pytest.Config) -> None:
    """The suite's own marker, where a project does not know it."""
    config.addinivalue_line("markers", "slow: takes longer than a quarter of a second")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that takes `venue` runs for all of them."""
    if "venue" in metafunc.fixturenames:
        metafunc.parametrize("venue", venues.names())
