"""Clients for one command: made from options and environment, closed at its end."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.signing import require
from exchange_clients.venues import create_client, get
from perpkit.cli.failure import Failure
from perpkit.cli.options import Target

if TYPE_CHECKING:
    from database.journal import Journal
    from perpkit.bot.accounts import AccountKeys
    from strategies.execution.ledger.owners import Owner

MAIN = "main"
"""The account of configurations that name none."""


def make(
    venue: str,
    target: Target,
    *,
    signed: "AccountKeys | None" = None,
    account: str = MAIN,
    state_directory: Path | None = None,
    world: str | None = None,
) -> BaseExchangeClient:
    """A client that is not connected; with `signed` it has the keys and the proxy of `account`, else neither.

    `state_directory` is where a bot keeps its client order ids; needed where orders are sent. `world`: the venue's environment where the
    options name none, instead of mainnet.

    Raises:
        MissingCredentials: neither vault nor environment have them; the message names the first that is missing.
        ConfigError: the settings do not fit.
    """
    spec = get(venue).spec
    settings = target.settings(spec, default=world)
    credentials = None
    if signed is not None:
        environment = named(settings)
        credentials = require(signed.keys(spec, environment, account), spec, environment)
        settings = with_proxy(signed, account, venue, settings)
    if state_directory is not None:
        settings = {"state_directory": state_directory, **settings}
    return create_client(venue, settings, credentials)


def named(settings: Mapping[str, Any]) -> str:
    """The environment that settings mean."""
    found = str(settings.get("environment", "mainnet"))
    return "mainnet" if found == "prod" else found


def with_proxy(keys: "AccountKeys", account: str, venue: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a client with its account's proxy. Raises Failure where they name another one."""
    try:
        return keys.settings(account, venue, settings)
    except ValueError as e:
        raise Failure(str(e)) from None


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
    signed: "AccountKeys | None" = None,
    account: str = MAIN,
    streams: bool = True,
    state_directory: Path | None = None,
    world: str | None = None,
) -> AsyncIterator[BaseExchangeClient]:
    """A client for the length of a command: connected, or (without `streams`) with its instruments loaded and no socket."""
    client = make(venue, target, signed=signed, account=account, state_directory=state_directory, world=world)
    try:
        if streams:
            await client.connect()
        else:
            await client.instruments.load_all()
        yield client
    finally:
        await client.disconnect()
