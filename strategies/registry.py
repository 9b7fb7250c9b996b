"""Strategies by name; third parties add theirs by the entry point group "perpkit.strategies"."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from .base_strategy import BaseStrategy

GROUP = "perpkit.strategies"
OWN = {
    "funding_arbitrage": "strategies.implementations.funding_arbitrage.strategy:FundingArbitrage",
    "grid": "strategies.implementations.grid.strategy:Grid",
}


def names() -> list[str]:
    """Every strategy that can be run."""
    return sorted({*OWN, *(e.name for e in entry_points(group=GROUP))})


def load(name: str) -> type[BaseStrategy[Any]]:
    """The class behind a name.

    Raises:
        LookupError: there is none; the message lists what there is.
    """
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            found: type[BaseStrategy[Any]] = entry.load()
            return found
    if name not in OWN:
        raise LookupError(f"no strategy {name!r}; there are {', '.join(names())}")
    module, _, attribute = OWN[name].partition(":")
    strategy: type[BaseStrategy[Any]] = getattr(import_module(module), attribute)
    return strategy
