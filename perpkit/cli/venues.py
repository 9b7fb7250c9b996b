"""`perpkit venues`: the registry as a table, or one venue in detail."""

from typing import Any

from exchange_clients.errors import ConfigError
from exchange_clients.spec import VenueSpec
from exchange_clients.venues import get, names
from perpkit.cli.output import emit_json, emit_table


def venues(venue: str | None = None, /, *, json: bool = False) -> int:
    """The venues that are installed and what each can do.

    Parameters
    ----------
    venue:
        Show this one in detail: addresses, variables for keys, limits, abilities.
    json:
        Print JSON.
    """
    return _one(get(venue).spec, json) if venue is not None else _table(json)


def _table(json: bool) -> int:
    specs: list[VenueSpec] = []
    broken: dict[str, str] = {}
    for name in names():
        try:
            specs.append(get(name).spec)
        except ConfigError as e:
            broken[name] = e.message
    if json:
        emit_json({"venues": [describe(spec) for spec in specs], "broken": broken})
    else:
        rows = [
            (
                spec.name,
                ", ".join(spec.environment_names),
                spec.collateral,
                "-" if spec.funding_interval_hours is None else f"{spec.funding_interval_hours.normalize():f} h",
                str(spec.capabilities.ack),
                ", ".join(sorted(spec.capabilities.times_in_force)),
                str(len(spec.streams)),
            )
            for spec in specs
        ]
        columns = ("venue", "environments", "collateral", "funding", "ack", "in force", ">streams")
        notes = [f"{name} does not load: {reason}" for name, reason in broken.items()]
        emit_table("Venues", columns, rows, notes=[*notes, "perpkit venues VENUE shows one in detail"])
    return 1 if broken else 0


def _one(spec: VenueSpec, json: bool) -> int:
    facts = describe(spec)
    if json:
        emit_json(facts)
        return 0
    emit_table(
        f"{spec.title}: addresses", ("environment", "address"), [(name, urls) for name, urls in sorted(facts["environments"].items())]
    )
    emit_table(
        "Credentials",
        ("variable (mainnet)", "field", "needed", "meaning"),
        [(row["variable"], row["name"], "yes" if row["required"] else "no", row["help"]) for row in facts["credentials"]],
        notes=[f"on {name} _{name.upper()} follows the venue name in the variable" for name in spec.environment_names if name != "mainnet"],
    )
    emit_table(
        "Rate limits", ("pool", ">limit", ">per", "scope"), [(p["name"], str(p["limit"]), p["per"], p["scope"]) for p in facts["pools"]]
    )
    emit_table("Streams", ("what", "channel"), sorted((str(stream), channel) for stream, channel in spec.streams.items()))
    emit_table("Abilities", ("what", "how"), [(name.replace("_", " "), _say(value)) for name, value in facts["capabilities"].items()])
    if spec.docs_url:
        print(spec.docs_url)
    return 0


def describe(spec: VenueSpec) -> dict[str, Any]:
    """A venue as plain data: what the spec says, without functions and types."""
    abilities = spec.capabilities
    return {
        "name": spec.name,
        "title": spec.title,
        "environments": {name: ends.rest for name, ends in spec.environments.items()},
        "default_quote": spec.default_quote,
        "collateral": spec.collateral,
        "funding_interval_hours": spec.funding_interval_hours,
        "client_id": spec.client_id,
        "streams": sorted(spec.streams),
        "credentials": [
            {"name": one.name, "variable": one.variable.format(env=""), "required": one.required, "secret": one.secret, "help": one.help}
            for one in spec.credentials
        ],
        "pools": [
            {"name": name, "limit": pool.limit, "per": _period(pool.period_s, pool.kind), "scope": pool.scope}
            for name, pool in spec.pools.items()
        ],
        "capabilities": {
            name: sorted(value) if isinstance(value := getattr(abilities, name), frozenset) else value
            for name in type(abilities).__dataclass_fields__
        },
        "docs_url": spec.docs_url,
    }


def _period(seconds: float, kind: str) -> str:
    return "unanswered" if kind == "outstanding" else f"{seconds:g} s"


def _say(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(str(part) for part in value) if isinstance(value, list) else str(value)
