"""Clients for one command: made from options and environment, closed at its end."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.signing import Credentials, require
from exchange_clients.venues import create_client, get
from perpkit.cli.failure import Failure
from perpkit.cli.options import Target

if TYPE_CHECKING:
    from database.journal import Journal
    from strategies.execution.ledger.owners import Owner


def make(
    venue: str, target: Target, *, signed: bool = False, state_directory: Path | None = None, world: str | None = None
) -> BaseExchangeClient:
    """A client that is not connected; `signed` with the keys of the environment variables.

    `state_directory` is where a bot keeps its client order ids; needed where orders are sent. `world`: the venue's environment where the
    options name none, instead of mainnet.

    Raises:
        MissingCredentials: `signed`, and the variables are not set; the message names the first.
        ConfigError: the settings do not fit.
    """
    spec = get(venue).spec
    settings = target.settings(spec, default=world)
    credentials = require(Credentials.from_env(spec, settings["environment"]), spec, settings["environment"]) if signed else None
    if state_directory is not None:
        settings = {"state_directory": state_directory, **settings}
    return create_client(venue, settings, credentials)


def worlds_of(journal: "Journal", owners: "Sequence[Owner]", target: Target) -> Mapping[str, str]:
    """Venue -> the environment in which these are open: a command about a bot on the testnet does not ask the mainnet.

    Raises:
        Failure: they are in different ones, and the options name none.
    """
    from perpkit.bot.closing import NotReal, worlds

    if target.environment is not None:
        return {}
    try:
        return worlds(journal, owners)
    except NotReal as e:
        raise Failure(str(e), hint="--environment mainnet or --environment testnet") from None


@asynccontextmanager
async def opened(
    venue: str,
    target: Target,
    *,
    signed: bool = False,
    streams: bool = True,
    state_directory: Path | None = None,
    world: str | None = None,
) -> AsyncIterator[BaseExchangeClient]:
    """A client for the length of a command: connected, or (without `streams`) with its instruments loaded and no socket."""
    client = make(venue, target, signed=signed, state_directory=state_directory, world=world)
    try:
        if streams:
            await client.connect()
        else:
            await client.instruments.load_all()
        yield client
    finally:
        await client.disconnect()
