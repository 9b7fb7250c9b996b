"""`perpkit venues`: the registry as a table, or one venue in detail."""

from perpkit.cli.output import emit_json


def venues(venue: str | None = None, /, *, json: bool = False) -> int:
    """The venues that are installed and what each can do.

    Parameters
    ----------
    venue:
        Show this one in detail: addresses, variables for keys, limits, streams.
    json:
        Print JSON.
    """
    from exchange_clients.venues import get, names

    emit_json(names() if venue is None else get(venue).name)
    return 0
