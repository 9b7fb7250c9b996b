"""Whose account: who acts for a bot must hold keys of its own accounts, else nothing is found on one venue and the other is reduced."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from exchange_clients.errors import ConfigError

from .fence import Heartbeat

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient


class WrongAccount(ConfigError):
    """The keys are not of the account that the bot trades, or it is not known which one that is; nothing was sent."""


def identities(clients: Mapping[str, "BaseExchangeClient"]) -> dict[str, str]:
    """Venue -> the account, as far as it is known."""
    return {venue: client.account_identity for venue, client in clients.items() if client.account_identity}


def require_known(bot: str, accounts: Mapping[str, str], venues: Iterable[str]) -> None:
    """Raises WrongAccount where the bot never said which account it trades on one of the venues."""
    for venue in sorted(set(venues) - set(accounts)):
        raise WrongAccount(f"{bot} never said which account it trades there: only the bot itself may act", venue=venue)


def require_same(heart: Heartbeat, accounts: Mapping[str, str], clients: Mapping[str, "BaseExchangeClient"]) -> None:
    """Raises WrongAccount where a connected client acts for another account than the bot; venues of which nothing is known pass."""
    for venue, client in sorted(clients.items()):
        theirs, ours = accounts.get(venue), client.account_identity
        if theirs is None or theirs == ours:
            continue
        what = "set the variables of that account"
        if ":key-" in theirs:
            what = f"set that key's variables (where its account has got a new key since: delete {heart.path})"
        raise WrongAccount(
            f"these keys are of {ours or 'no account'}, but {heart.strategy}:{heart.account} trades {theirs}: {what}", venue=venue
        )


def expect_same(heart: Heartbeat, accounts: Mapping[str, str], clients: Mapping[str, "BaseExchangeClient"]) -> None:
    """As `require_same`, also of clients that are to be connected later: one that turns out to be of another account does not connect."""
    require_same(heart, accounts, {venue: client for venue, client in clients.items() if client.is_connected or client.account_identity})
    for venue, client in clients.items():
        client.expected_account = accounts.get(venue, "")


def require_bots_own(folder: Path, strategy: str, account: str, clients: Mapping[str, "BaseExchangeClient"]) -> None:
    """Raises WrongAccount where the heartbeat of a bot names other accounts than these connected clients act for."""
    heart = Heartbeat(folder, strategy, account)
    beat = heart.read()
    if beat is not None:
        require_same(heart, beat.accounts, clients)
