"""Venue dialects, found by entry point.

A dialect package offers one subclass of `Dialect` under the group `exchange_simulator.dialects`; ours are declared in `pyproject.toml`, a
third party's in its own. Nothing is imported before it is asked for: `names()` reads package metadata only.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exchange_simulator.dialects.base import Dialect

GROUP = "exchange_simulator.dialects"


class UnknownDialect(LookupError):
    """No dialect of that name, or it does not load."""


@cache
def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda p: p.name)}


def names() -> tuple[str, ...]:
    """Every registered dialect, sorted; imports none."""
    return tuple(_points())


@cache
def get(name: str) -> type[Dialect]:
    """The dialect of that name.

    Raises:
        UnknownDialect: not registered, or its package does not load.
    """
    from exchange_simulator.dialects.base import Dialect

    point = _points().get(name)
    if point is None:
        raise UnknownDialect(f"no dialect {name!r}; there are: {', '.join(names()) or 'none (is perpkit installed?)'}")
    try:
        found = point.load()
    except (ImportError, AttributeError) as e:
        raise UnknownDialect(f"dialect {name!r} does not load: {e}") from e
    if not (isinstance(found, type) and issubclass(found, Dialect)):
        raise UnknownDialect(f"{point.value} is not a Dialect")
    return found
