"""The registry of venues, found by entry point.

A venue package offers one `Venue` value under the group `exchange_clients.venues`; ours are declared in `pyproject.toml`, a third party's
in its own. Nothing is imported before it is asked for: `names()` reads package metadata only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

from exchange_clients.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from exchange_clients.base_client import BaseExchangeClient
    from exchange_clients.base_funding_adapter import BaseFundingAdapter
    from exchange_clients.base_websocket import BaseWebSocketManager
    from exchange_clients.config import ClientConfig
    from exchange_clients.signing import Credentials
    from exchange_clients.spec import VenueSpec
    from exchange_clients.transport.runtime import Runtime

GROUP = "exchange_clients.venues"


@dataclass(frozen=True, slots=True)
class Venue:
    """What a venue package offers."""

    spec: VenueSpec
    client: type[BaseExchangeClient]
    websocket: type[BaseWebSocketManager]
    funding: type[BaseFundingAdapter]

    @property
    def name(self) -> str:
        return self.spec.name


@cache
def _points() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise ConfigError(f"two packages offer it: {other.value} and {point.value}", venue=point.name)
    return dict(sorted(found.items()))


def names() -> tuple[str, ...]:
    """Every registered venue, sorted; imports none."""
    return tuple(_points())


@cache
def get(name: str) -> Venue:
    """The venue of that name.

    Raises:
        ConfigError: no such venue (the nearest name is given), or its package does not load.
    """
    point = _points().get(name)
    if point is None:
        near = get_close_matches(name.lower(), names(), n=1)
        there = ", ".join(names()) or "none (is perpkit installed?)"
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {there}"
        raise ConfigError(f"no such venue; {hint}", venue=name)
    try:
        venue = point.load()
    except (ImportError, AttributeError) as e:
        raise ConfigError(f"its package does not load: {e}", venue=name) from e
    if not isinstance(venue, Venue):
        raise ConfigError(f"{point.value} is not a Venue", venue=name)
    if venue.name != name:
        raise ConfigError(f"registered as {name!r}, but its spec says {venue.name!r}", venue=name)
    return venue


def all() -> dict[str, Venue]:
    """Every registered venue, imported.

    Raises:
        ConfigError: one of them does not load. To fence it off, go through `names()` and `get(name)`.
    """
    return {name: get(name) for name in names()}


def create_client(
    name: str,
    config: ClientConfig | Mapping[str, Any] | None = None,
    credentials: Credentials | None = None,
    *,
    runtime: Runtime | None = None,
) -> BaseExchangeClient:
    """A client of the venue, not yet connected; read-only without credentials.

    Raises:
        ConfigError: no such venue, or a configuration that does not fit it.
    """
    return get(name).client(config, credentials, runtime=runtime)
