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
from perpkit.cli.clients import make, opened, worlds_of
from perpkit.cli.failure import OK, WRONG, Failure
from perpkit.cli.options import Store, Target
from perpkit.cli.output import emit_json

FORMAT = "%(asctime)s %(levelname)s %(message)s"


def watchdog(
    *,
    silence: float = 30.0,
    venue: list[str] | None = None,
    once: bool = False,
    store: Store | None = None,
    target: Target | None = None,
    json: bool = False,
) -> int:
    """Watch the heartbeats of live bots; when one is silent, take its entry orders off and reduce the larger leg of unbalanced pairs.

    Never adds, never touches what is not the bot's, leaves hedged pairs alone. The bot that comes back waits until this is done and takes
    it into its journal. Give it keys of its own to the same accounts (the same variables as every command) in an environment of its own:
    for a bot whose heartbeat names another account nothing is done. Exit code 1 with --once when that was so.

    Parameters
    ----------
    silence:
        Seconds without a heartbeat after which a bot counts as silent.
    venue:
        Venues whose keys are checked at the start. May be repeated.
    once:
        Look once, act where it is needed, and end.
    json:
        With --once: print what was done as JSON.
    """
    from perpkit.bot.closing import open_owners
    from strategies.execution.ledger.owners import markets
    from strategies.risk.fence import heartbeats
    from strategies.risk.watchdog import Watchdog

    if silence < 5:
        raise Failure(f"--silence {silence:g} is too short: a bot beats once a second and may be late", hint="5 or more")
    if json and not once:
        raise Failure("--json needs --once", hint="a watchdog that goes on writes a log")
    place, where = store or Store(), target or Target()
    for name in venue or ():
        mine = make(name, where, signed=True).account_identity
        for heart in heartbeats(place.folder()):
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
    async def clients(venues: set[str]) -> AsyncIterator[Mapping[str, BaseExchangeClient]]:
        journal = read()
        try:
            owners = [o for o in open_owners(journal) if venues & {market.venue for market in markets(o)}]
            worlds = worlds_of(journal, owners, where)
        finally:
            journal.close()
        async with AsyncExitStack() as stack:
            yield {
                name: await stack.enter_async_context(opened(name, where, signed=True, world=worlds.get(name))) for name in sorted(venues)
            }

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
