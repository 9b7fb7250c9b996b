"""Clients for one command: made from options and environment, closed at its end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.signing import Credentials, require
from exchange_clients.venues import create_client, get
from perpkit.cli.options import Target


def make(venue: str, target: Target, *, signed: bool = False, state_directory: Path | None = None) -> BaseExchangeClient:
    """A client that is not connected; `signed` with the keys of the environment variables.

    `state_directory` is where a bot keeps its client order ids; needed where orders are sent.

    Raises:
        MissingCredentials: `signed`, and the variables are not set; the message names the first.
        ConfigError: the settings do not fit.
    """
    spec = get(venue).spec
    settings = target.settings(spec)
    credentials = require(Credentials.from_env(spec, settings["environment"]), spec, settings["environment"]) if signed else None
    if state_directory is not None:
        settings = {"state_directory": state_directory, **settings}
    return create_client(venue, settings, credentials)


@asynccontextmanager
async def opened(
    venue: str, target: Target, *, signed: bool = False, streams: bool = True, state_directory: Path | None = None
) -> AsyncIterator[BaseExchangeClient]:
    """A client for the length of a command: connected, or (without `streams`) with its instruments loaded and no socket."""
    client = make(venue, target, signed=signed, state_directory=state_directory)
    try:
        if streams:
            await client.connect()
        else:
            await client.instruments.load_all()
        yield client
    finally:
        await client.disconnect()
