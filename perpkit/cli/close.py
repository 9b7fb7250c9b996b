"""`perpkit close`: the end of a pair, a holding or all of them, by the bot that runs or, where none does, by this command."""

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from database.errors import JournalOwned
from database.journal import Journal
from perpkit.cli import running
from perpkit.cli.failure import OK, UNPROVED, WRONG, Failure
from perpkit.cli.options import Store, Target, user
from perpkit.cli.output import emit_json, emit_table, number
from perpkit.cli.vault import account_keys
from strategies.execution.ledger.owners import Owner, markets, of_leg, owner_id

if TYPE_CHECKING:
    from perpkit.bot.accounts import AccountKeys

POLL_S = 0.5


def close(
    what: str,
    /,
    *,
    reason: str = "closed by the operator",
    wait: float = 120.0,
    store: Store | None = None,
    target: Target | None = None,
    database: str | None = None,
    json: bool = False,
) -> int:
    """Close a pair, a holding, or all: reduce-only, own quantity only, the decision on disk before the first order.

    Where a bot runs, it is asked by its control API; else the venues are reached with the account's own keys. Exit code 1 when
    something ended in alert, 5 when it is not closed yet after --wait.

    Parameters
    ----------
    what:
        Id of a pair or holding (or its beginning), or all.
    reason:
        Why, for the record.
    wait:
        Seconds to wait for the end; the bot goes on after that, this command's own closing does not.
    database:
        Where accounts are, as a file or URL; default $PERPKIT_DATABASE, else perpkit.db in the state folder.
    json:
        Print JSON.
    """
    place, where = store or Store(), target or Target()
    journal = place.read()
    try:
        wanted = _choose(journal, what)
    finally:
        journal.close()
    if wanted:
        bot = running.find(place)
        if bot is not None:
            for name in [owner_id(owner) for owner in wanted] if what != "all" else ["all"]:
                running.ask(bot, "/close", {"owner": name, "reason": reason})
            _wait(place, wanted, wait)
        else:
            with account_keys(place.home, database) as keys:
                _here(place, where, wanted, reason, wait, keys)
    journal = place.read()
    try:
        ended = [_now(journal, owner) for owner in wanted]
        left = [_left(journal, owner) for owner in ended]
    finally:
        journal.close()
    if json:
        told = [
            {"id": owner_id(owner), "state": owner.state, "reason": owner.reason, "left": rest}
            for owner, rest in zip(ended, left, strict=True)
        ]
        emit_json({"closed": told})
    elif not ended:
        print("nothing is open")
    else:
        rows = [
            (owner_id(owner), str(owner.state), owner.reason, ", ".join(f"{number(q)} {name}" for name, q in rest.items()) or "flat")
            for owner, rest in zip(ended, left, strict=True)
        ]
        emit_table("Closed", ("id", "state", "reason", "left"), rows)
    states = {str(owner.state) for owner in ended}
    return WRONG if "alert" in states else UNPROVED if states - {"closed"} else OK


def _choose(journal: Journal, what: str) -> list[Owner]:
    from perpkit.bot.closing import open_owners

    known = open_owners(journal)
    if what == "all":
        return known
    found = [o for o in known if owner_id(o) == what] or [o for o in known if owner_id(o).startswith(what)]
    if len(found) == 1:
        return found
    names = ", ".join(owner_id(owner) for owner in (found or known)) or "nothing"
    if found:
        raise Failure(f"{what!r} is the beginning of {len(found)} ids", hint=f"write more of it: {names}")
    raise Failure(f"nothing open is called {what!r}", hint=f"open: {names}")


def _wait(place: Store, wanted: Sequence[Owner], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        journal = place.read()
        try:
            if all(_now(journal, owner).state in ("closed", "alert") for owner in wanted):
                return
        finally:
            journal.close()
        time.sleep(POLL_S)


def _here(place: Store, where: Target, wanted: Sequence[Owner], reason: str, wait: float, keys: "AccountKeys") -> None:
    from exchange_clients.base_client import BaseExchangeClient
    from exchange_clients.signing import require
    from exchange_clients.transport.runtime import Runtime
    from exchange_clients.venues import create_client, get
    from perpkit.bot.closing import Busy, NotReal, alone, check_real, close_here, settings_of_runs
    from perpkit.cli.clients import named, with_proxy

    try:
        journal = place.write()
    except JournalOwned as e:
        hint = "stop it (its positions stay), then close; or give it a control API (`control: {}` in its file)"
        raise Failure("a bot runs without a control API", hint=hint, kind="journal") from e
    runtime = Runtime.system()
    try:
        try:
            check_real(journal, wanted)
        except NotReal as e:
            raise Failure(str(e), hint="start that bot again and close by its control API") from e
        where.check({market.venue for owner in wanted for market in markets(owner)})
        of_runs: dict[tuple[str, str], dict[str, Any]] = {}
        for owner in wanted:
            of_runs |= {(venue, owner.account): given for venue, given in settings_of_runs(journal, owner).items()}

        def make(venue: str, account: str) -> BaseExchangeClient:
            spec = get(venue).spec
            given = of_runs.get((venue, account), {})
            settings = {**given, **where.settings(spec, default=given.get("environment"))}
            mine = require(keys.keys(spec, named(settings), account), spec, named(settings))
            settings = with_proxy(keys, account, venue, {"state_directory": place.folder() / "ids", **settings})
            return create_client(venue, settings, mine, runtime=runtime)

        folder = place.folder()
        try:
            with alone(folder, f"perpkit close by {user()}"):
                asyncio.run(close_here(journal, wanted, reason, user(), make=make, runtime=runtime, wait_s=wait, folder=folder))
        except Busy as e:
            raise Failure(str(e), hint="ask again when it is done, in a few seconds", kind="watchdog") from e
    finally:
        runtime.offload.close()
        journal.close()


def _now(journal: Journal, owner: Owner) -> Owner:
    found = journal.pair(owner_id(owner)) or journal.holding(owner_id(owner))
    assert found is not None
    return found


def _left(journal: Journal, owner: Owner) -> dict[str, Any]:
    """Instrument -> own quantity that is still held."""
    fills = journal.fills(owner_id(owner))
    shares = {market.instrument: sum(fill.signed for fill in of_leg(owner, market, fills)) for market in markets(owner)}
    return {name: share for name, share in shares.items() if share != 0}
