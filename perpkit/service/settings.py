"""The file of the service: what is collected, where it listens, whose journals it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exchange_clients.errors import ConfigError
from funding_rate_service.api.access import ServeConfig
from funding_rate_service.config import ServiceConfig

LISTEN, JOURNALS = "listen", "journals"


@dataclass(frozen=True, slots=True)
class Settings:
    """A checked file with the options on top of it."""

    service: ServiceConfig
    listen: ServeConfig
    journals: tuple[str, ...]


def read(path: Path) -> dict[str, Any]:
    """The file's mapping; {} for an empty one.

    Raises:
        ConfigError: it cannot be read, or is no mapping in YAML.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"{path} cannot be read: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path} is no text") from e
    except yaml.YAMLError as e:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(e).split())}") from e
    if found is not None and not isinstance(found, Mapping):
        raise ConfigError(f"{path} must map names to settings, for example interval_s: 60")
    return dict(found or {})


def settings(
    given: Mapping[str, Any],
    *,
    venues: Mapping[str, Mapping[str, Any]] | None = None,
    listen: Mapping[str, Any] | None = None,
    journals: tuple[str, ...] = (),
) -> Settings:
    """What a file says, with options that take precedence: `venues` names those to collect, each with what replaces its settings.

    Raises:
        ConfigError: one line per problem.
    """
    values = dict(given)
    listening, listed = values.pop(LISTEN, None) or {}, values.pop(JOURNALS, None) or []
    if not isinstance(listening, Mapping):
        raise ConfigError(f"{LISTEN}: must map host, port, tls_cert, tls_key ... to values")
    if not isinstance(listed, list) or not all(isinstance(entry, str) for entry in listed):
        raise ConfigError(f"{JOURNALS}: must be a list of files or database URLs")
    if venues is not None:
        named = values.get("venues") or {}
        known = {name: settings or {} for name, settings in named.items()} if isinstance(named, Mapping) else {}
        values["venues"] = {name: {**known.get(name, {}), **more} for name, more in venues.items()}
    service = ServiceConfig.parse(values)
    try:
        where = ServeConfig.model_validate({**listening, **(listen or {})})
    except ValidationError as e:
        raise ConfigError("\n".join(_listen_problem(dict(problem)) for problem in e.errors())) from None
    return Settings(service, where, (*listed, *journals))


def _listen_problem(problem: Mapping[str, Any]) -> str:
    place = ".".join([LISTEN, *(str(part) for part in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        return f"{place}: no such setting; there are {', '.join(sorted(ServeConfig.model_fields))}"
    return f"{place}: {str(problem['msg']).removeprefix('Value error, ')}"
