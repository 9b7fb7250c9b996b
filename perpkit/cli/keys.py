"""`perpkit keys`: keys of the control API of bots, and of the funding-rate service."""

import time

import msgspec
from cyclopts import App

from database import apikeys
from database.apikeys import Scope
from perpkit.cli.failure import OK, Failure
from perpkit.cli.options import DatabaseOption, Store
from perpkit.cli.output import emit_json, emit_table, iso

keys = App(name="keys", help="Keys of the HTTP APIs: add, list, revoke.")


@keys.command
def add(name: str, /, *, scope: list[Scope] | None = None, service: bool = False, store: Store | None = None, json: bool = False) -> int:
    """Make a key and show it, this once: only its hash is kept. Works while a bot runs.

    Parameters
    ----------
    name:
        Whose it is; small letters, digits, `. _ -`.
    scope:
        read (default) or write; write may close, halt, resume and reload, and let the service's tasks run.
    service:
        A key of the funding-rate service: in its database, not in the bots' journal.
    json:
        Print JSON.
    """
    place = _place(store, service)
    journal = place.beside()
    try:
        if any(known.name == name and known.revoked_at is None for known in journal.api_keys()):
            raise Failure(f"there is a key {name!r} already", hint=f"perpkit keys revoke {name}, or choose another name")
        try:
            shown, record = apikeys.create(name, scope or [Scope.READ], time.time_ns())
        except ValueError as e:
            raise Failure(str(e)) from None
        journal.write(record)
    finally:
        journal.close()
    if json:
        emit_json({"name": record.name, "scopes": record.scopes.split(), "key": shown})
    else:
        print(shown)
        emit_table(
            "",
            ("name", "may"),
            [(record.name, record.scopes)],
            notes=["keep it now: it is not shown again", f"for {'the service' if service else 'bots'} on {place.shown}"],
        )
    return OK


@keys.command(name="list")
def listed(*, service: bool = False, store: Store | None = None, json: bool = False) -> int:
    """Every key with what it may do; never the key itself.

    Parameters
    ----------
    service:
        Those of the funding-rate service.
    json:
        Print JSON.
    """
    journal = _place(store, service).read()
    try:
        known = journal.api_keys()
    finally:
        journal.close()
    if json:
        emit_json(
            {
                "keys": [
                    {"name": k.name, "scopes": k.scopes.split(), "created_at": iso(k.created_at), "revoked_at": iso(k.revoked_at)}
                    for k in known
                ]
            }
        )
    elif not known:
        print(f"there is no key; perpkit keys add NAME{' --service' if service else ''} makes one")
    else:
        rows = [(k.name, k.scopes, iso(k.created_at) or "", iso(k.revoked_at) or "valid") for k in known]
        emit_table("Keys of the control API", ("name", "may", "since", "until"), rows)
    return OK


@keys.command
def revoke(name: str, /, *, service: bool = False, store: Store | None = None, json: bool = False) -> int:
    """Take a key back; a running bot refuses it from its next request on.

    Parameters
    ----------
    service:
        One of the funding-rate service.
    json:
        Print JSON.
    """
    journal = _place(store, service).beside()
    try:
        record = next((k for k in journal.api_keys() if k.name == name), None)
        if record is None:
            raise Failure(f"there is no key {name!r}", hint="perpkit keys list shows them")
        if record.revoked_at is None:
            record = msgspec.structs.replace(record, revoked_at=time.time_ns())
            journal.write(record)
    finally:
        journal.close()
    if json:
        emit_json({"name": name, "revoked_at": iso(record.revoked_at)})
    else:
        print(f"{name} is revoked")
    return OK


def _place(store: Store | None, service: bool) -> Store:
    """The bots' journal, or the service's database; `--journal` names either."""
    place = store or Store()
    if not service:
        return place
    return Store(home=place.home, journal=DatabaseOption(home=place.home, database=place.journal).url)
