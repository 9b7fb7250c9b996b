"""Runs each conformance test once per registered venue, whatever the settings of the project that asks for it."""

import asyncio
from pathlib import Path

import pytest

from exchange_clients import venues

HERE = Path(__file__).resolve().parent


def pytest_configure(config: pytest.Config) -> None:
    """The suite's own marker, where a project does not know it."""
    config.addinivalue_line("markers", "slow: takes longer than a quarter of a second")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that takes `venue` runs for all of them."""
    if "venue" in metafunc.fixturenames:
        metafunc.parametrize("venue", venues.names())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Coroutine tests run in pytest-asyncio's strict mode too."""
    for item in items:
        if item.path.parent == HERE and isinstance(item, pytest.Function) and asyncio.iscoroutinefunction(item.function):
            item.add_marker(pytest.mark.asyncio)
