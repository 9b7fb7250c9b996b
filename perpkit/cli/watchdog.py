"""`perpkit watchdog`: a process beside the bots that acts when one falls silent."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from database.journal import Journal
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.transport.runtime import Runtime
from perpkit.bot.accounts import AccountKeys
from perpkit.cli.clients import MAIN, make, opened, worlds_of
from perpkit.cli.failure import OK, WRONG, Failure
from perpkit.cli.options import Store, Target
from perpkit.cli.output import emit_json
from perpkit.cli.vault import account_keys

FORMAT = "%(asctime)s %(levelname)s %(message)s"


def watchdog(
    *,
    silence: float = 30.0,
    venue: list[str] | None = None,
    once: bool = False,
    account_name: str = MAIN,
    store: Store | None = None,
    target: Target | None = None,
    database: str | None = None,
    json: bool = False,
) -> int:
    """Watch the heartbeats of live bots; when one is silent, take its entry orders off and reduce the larger leg of unbalanced pairs.

    Never adds, never touches what is not the bot's, leaves hedged pairs alone. The bot that comes back waits until this is done and takes
    it into its journal. Give it keys of its own to the same accounts, in a database (--database) or an environment of its own: for a bot
    whose heartbeat names another account nothing is done. Exit code 1 with --once when that was so.

    Parameters
    ----------
    silence:
        Seconds without a heartbeat after which a bot counts as silent.
    venue:
        Venues whose keys are checked at the start. May be repeated.
    account_name:
        Whose keys are checked at the start.
    once:
        Look once, act where it is needed, and end.
    database:
        Where accounts are, as a file or URL; default $PERPKIT_DATABASE, else perpkit.db in the state folder.
    json:
        With --once: print what was done as JSON.
    """
    with account_keys((store or Store()).home, database) as keys:
        return _watch(keys, silence, venue, once, account_name, store or Store(), target or Target(), json)


def _watch(
    keys: AccountKeys, silence: float, venue: list[str] | None, once: bool, account_name: str, place: Store, where: Target, json: bool
) -> int:
    from perpkit.bot.closing import open_owners
    from strategies.execution.ledger.owners import markets
    from strategies.risk.fence import heartbeats
    from strategies.risk.watchdog import Watchdog

    if silence < 5:
        raise Failure(f"--silence {silence:g} is too short: a bot beats once a second and may be late", hint="5 or more")
    if json and not once:
        raise Failure("--json needs --once", hint="a watchdog that goes on writes a log")
    for name in venue or ():
        mine = make(name, where, signed=keys, account=account_name).account_identity
        for heart in (h for h in heartbeats(place.folder()) if h.account == account_name):
            beat = heart.read()
            theirs = None if beat is None or beat.ended else beat.accounts.get(name)
            if mine and theirs and mine != theirs:
                hint = "set the variables of that account"
                raise Failure(
                    f"{name}: these keys are of {mine}, but {heart.strategy}:{heart.account} trades {theirs}", hint=hint, kind="account"
                )

    def read() -> Journal:
        return place.read()

    @asynccontextmanager
    async def clients(account: str, venues: set[str]) -> AsyncIterator[Mapping[str, BaseExchangeClient]]:
        journal = read()
        try:
            owners = [o for o in open_owners(journal) if o.account == account and venues & {market.venue for market in markets(o)}]
            worlds = worlds_of(journal, owners, where)
        finally:
            journal.close()
        async with AsyncExitStack() as stack:
            made = {name: opened(name, where, signed=keys, account=account, world=worlds.get(name)) for name in sorted(venues)}
            yield {name: await stack.enter_async_context(client) for name, client in made.items()}

    async def run() -> tuple[list[str], bool]:
        runtime = Runtime.system()
        dog = Watchdog(place.folder(), read, clients, runtime, silence_s=silence)
        try:
            if once:
                return await dog.look(again=True), bool(dog.refused)
            watching = asyncio.create_task(dog.run())
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, watching.cancel)
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            return [], False
        finally:
            runtime.offload.close()

    if not json:
        logging.basicConfig(level=logging.INFO, format=FORMAT)
    told, refused = asyncio.run(run())
    if json:
        emit_json({"done": told})
    else:
        print("\n".join(told) if told else "no bot is silent" if once else "stopped")
    return WRONG if refused else OK
