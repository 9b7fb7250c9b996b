"""What must work on every supported interpreter: all modules import, the wheel's promises hold."""

import importlib
import pkgutil
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PACKAGES = ("exchange_clients", "exchange_simulator", "strategies", "database", "funding_rate_service", "perpkit")
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.slow
def test_every_module_imports(package: str) -> None:
    top = importlib.import_module(package)
    names = [found.name for found in pkgutil.walk_packages(top.__path__, f"{package}.") if not found.name.endswith(("__main__", ".env"))]
    for name in names:
        importlib.import_module(name)


@pytest.mark.parametrize("package", PACKAGES)
def test_types_are_promised(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


@pytest.mark.parametrize("group", ["exchange_clients.venues", "exchange_simulator.dialects", "console_scripts"])
def test_entry_points_load(group: str) -> None:
    ours = [point for point in entry_points(group=group) if point.dist and point.dist.name == "perpkit"]
    assert ours
    for point in ours:
        assert point.load() is not None
