"""Whose keys a bot gets: those of the vault's account of its name, else the environment's, and never some of each.

An account that the vault has credentials of is the vault's alone: a venue that is missing there is told, not taken from variables which may
be another account's. What was taken from where is said once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from database.keys import KeyUnavailable
from exchange_clients.errors import MissingCredentials
from exchange_clients.signing import Credentials
from exchange_clients.spec import VenueSpec
from perpkit.bot.environments import keys_of_environment, names_of_environment

if TYPE_CHECKING:
    from database.accounts import Accounts, Opened


def nobody(text: str) -> None:
    """Hears nothing."""


class AccountKeys:
    """`keys` and `names` are the resolvers of `surroundings`, `proxy` is what it asks for each client.

    `accounts` None: there is no vault; `lost` then says why there should be one, and nobody's keys are given in its place. Calls read the
    database once per account; they are meant for the start of a bot.
    """

    def __init__(
        self, accounts: Accounts | None, environ: Mapping[str, str], tell: Callable[[str], None] = nobody, *, lost: str = ""
    ) -> None:
        self._vault, self._lost = accounts, lost
        self._environ_keys, self._environ_names = keys_of_environment(environ), names_of_environment(environ)
        self.tell = tell
        self._opened: dict[str, Opened | None] = {}
        self._told: set[str] = set()

    @property
    def _accounts(self) -> Accounts | None:
        if self._lost:
            raise KeyUnavailable(self._lost)
        return self._vault

    def keys(self, spec: VenueSpec, environment: str, account: str) -> Credentials:
        """The keys to trade with; may miss something that the venue wants.

        Raises:
            MissingCredentials: the account is the vault's, and holds nothing for this venue.
            VaultError: the vault cannot be opened, or something in it was changed.
        """
        held = self._account(account)
        where = f"{spec.name} {environment} ({account})"
        if held is None or not held.credentials:
            if self._accounts is not None:
                self._say(f"keys of {where}: from the environment, the vault has none of that account")
            return self._environ_keys(spec, environment, account)
        found = held.credentials.get((spec.name, environment))
        if found is None:
            there = ", ".join(f"{venue} {world}" for venue, world in sorted(held.credentials))
            world = "" if environment == "mainnet" else f" --environment {environment}"
            raise MissingCredentials(
                f"account {account} is in the vault, with keys of {there}, but not of {spec.name} {environment}: "
                f"perpkit accounts add --account-name {account} --exchanges {spec.name}{world} adds them",
                venue=spec.name,
            )
        self._say(f"keys of {where}: from the vault")
        return found

    def source(self, account: str) -> str:
        """Where the account's keys are looked for: `vault` or `environment`."""
        held = self._account(account)
        return "vault" if held is not None and held.credentials else "environment"

    def names(self, spec: VenueSpec, environment: str, account: str) -> Credentials:
        """Who the account is, in fields that are no secret; the others are not decrypted."""
        public = frozenset(item.name for item in spec.credentials if not item.secret)
        found = None if self._accounts is None else self._accounts.public(account, spec.name, environment, public)
        return self._environ_names(spec, environment, account) if found is None else found

    def proxy(self, account: str, venue: str) -> SecretStr | None:
        """The way that this account's client takes, and no other's."""
        if self._accounts is None or not self._accounts.has_proxy(account):
            return None
        held = self._account(account)
        found = None if held is None else held.proxy(venue)
        if found is None:
            return None
        self._say(f"{venue} ({account}) is reached through the account's proxy")
        return SecretStr(found.reveal())

    def settings(self, account: str, venue: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """A client's settings with the account's proxy.

        Raises:
            ValueError: the settings name another.
        """
        proxy = self.proxy(account, venue)
        if proxy is None:
            return dict(given)
        if given.get("proxy"):
            raise ValueError(
                f"{venue}: account {account} has a proxy in the vault, and these settings name one too: keep one of them "
                f"(perpkit accounts add --account-name {account} --proxy none takes the vault's out)"
            )
        return {**given, "proxy": proxy}

    def _account(self, name: str) -> Opened | None:
        if name not in self._opened:
            self._opened[name] = None if self._accounts is None else self._accounts.open(name)
        return self._opened[name]

    def _say(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self.tell(text)
