"""`perpkit run`: bots from their files, in paper, shadow, demo or live."""

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any, Literal

from perpkit.cli.failure import OK, WRONG, Failure
from perpkit.cli.logs import logged_to
from perpkit.cli.options import Store, Target
from perpkit.cli.vault import account_keys

LOG_FILE = "run.log"


def run(
    *configs: Path,
    env: Literal["demo", "paper", "shadow", "live"] = "paper",
    yes: bool = False,
    endpoint: list[str] | None = None,
    seed: int = 7,
    store: Store | None = None,
    database: str | None = None,
    json: bool = False,
) -> int:
    """Run bots until SIGINT or SIGTERM; then entry orders come off and every pair is left hedged, flat or in alert.

    Exit code 1 when something was left in alert or unsettled. The log goes to run.log in the state folder.

    Parameters
    ----------
    configs:
        One YAML file per bot; all share this process, one journal and the accounts' clients.
    env:
        paper: live data, a virtual account. shadow: live data, decisions recorded. live: real orders. demo: simulated venues.
    yes:
        Do not ask before real orders are sent.
    endpoint:
        Another address: VENUE=URL, or URL where one venue is used. May be repeated.
    seed:
        Of the demo's market.
    database:
        Where accounts are, as a file or URL; default $PERPKIT_DATABASE, else perpkit.db in the state folder.
    json:
        One JSON object per line: events, decisions, positions.
    """
    from perpkit.bot.config import BotConfig, InvalidConfig, load
    from perpkit.bot.connecting import NotAllowed
    from perpkit.bot.environments import Environment
    from perpkit.bot.notify import NotifyError, targets_of
    from perpkit.bot.runner import Run

    if not configs:
        raise Failure("no configuration was given", hint="perpkit run BOT.yaml; `perpkit config new` writes one")
    environment, place = Environment(env), store or Store()
    home = place.folder() if environment is not Environment.DEMO else place.folder() / "demo" / time.strftime("%Y%m%d-%H%M%S")

    def read() -> list[BotConfig]:
        return [load(path) for path in configs]

    try:
        bots = read()
        targets = targets_of([t for bot in bots for t in bot.notifications], os.environ)
        if environment is Environment.LIVE and not yes:
            _confirm(bots)
        with account_keys(place.home, database) as keys:
            view = _view(json, f"perpkit run, {environment}")
            keys.tell = view.say
            plan = Run(
                configs=bots,
                environment=environment,
                home=home,
                state=place.folder(),
                view=view,
                resolve=keys.keys,
                names=keys.names,
                settings_of=keys.settings,
                reload=read,
                targets=targets,
                endpoints=_endpoints(bots, endpoint or []),
                journal_url=_journal(place),
                seed=seed,
            )
            journal = place.journal or str(home / environment.journal_file)
            view.say(f"starting {', '.join(bot.name for bot in bots)} in {environment}; log {home / LOG_FILE}")
            try:
                with logged_to(home / LOG_FILE):
                    calm = asyncio.run(_go(plan))
            finally:
                view.close()
        if not json and "://" not in journal:
            print(f"perpkit report --journal {journal} tells what came of it, perpkit why --journal {journal} why")
        return OK if calm else WRONG
    except (InvalidConfig, NotifyError, NotAllowed) as e:
        raise Failure("; ".join(str(e).splitlines()), hint="`perpkit config check` explains a file") from e


async def _go(plan: Any) -> bool:
    from exchange_clients.transport.runtime import Runtime
    from perpkit.bot.runner import Stopper, signals

    runtime, stopper = Runtime.system(), Stopper()
    try:
        with signals(stopper):
            settled: bool = await plan.run(runtime, stopper)
            return settled
    finally:
        runtime.offload.close()


def _view(json: bool, title: str) -> Any:
    from perpkit.bot import view

    if json:
        return view.JsonLines(time.time_ns)
    return view.Picture(time.time_ns, title) if sys.stdout.isatty() else view.Lines(time.time_ns)


def _confirm(bots: list[Any]) -> None:
    """Real money: typed, or said with --yes."""
    from perpkit.bot.runner import client_environment

    what = ", ".join(f"{bot.name} on {', '.join(f'{venue} {client_environment(bot, venue)}' for venue in bot.venues)}" for bot in bots)
    if not sys.stdin.isatty():
        raise Failure(f"live sends real orders ({what})", hint="say --yes where nobody can be asked, or try --env paper")
    if input(f"This sends real orders: {what}. Type live to go on: ").strip().lower() != "live":
        raise Failure("not confirmed, nothing was sent", hint="try --env paper")


def _journal(place: Store) -> str | None:
    from database.connect import sqlite_url

    return None if place.journal is None else place.journal if "://" in place.journal else sqlite_url(Path(place.journal))


def _endpoints(bots: list[Any], given: list[str]) -> dict[str, dict[str, Any]]:
    from exchange_clients import venues

    asked = {venue: str(settings.get("environment", "mainnet")) for bot in bots for venue, settings in bot.venues.items()}
    Target(endpoint=given).check(asked)
    found = {}
    for venue, environment in asked.items():
        settings = Target(environment=environment, endpoint=given).settings(venues.get(venue).spec)
        if "endpoints" in settings:
            found[venue] = settings["endpoints"]
    return found
