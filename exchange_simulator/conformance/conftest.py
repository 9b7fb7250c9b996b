"""Runs each conformance test once per registered venue."""

import pytest

from exchange_clients import venues


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that takes `venue` runs for all of them."""
    if "venue" in metafunc.fixturenames:
        metafunc.parametrize("venue", venues.names())
