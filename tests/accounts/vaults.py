"""What the tests of the vault share."""

from collections.abc import Mapping

from database.accounts import Accounts, Change, Opened
from database.keys import Argon2
from exchange_clients.secret import Secret

CHEAP = Argon2(iterations=1, lanes=1, memory_kib=8)


class Times:
    """A clock that never says the same twice."""

    def __init__(self) -> None:
        self.ns = 1_790_000_000_000_000_000

    def __call__(self) -> int:
        self.ns += 1_000_000_001
        return self.ns


def change(venue: str = "okx", environment: str = "mainnet", **values: str | None) -> Change:
    return Change(venue, environment, {name: None if value is None else Secret(value) for name, value in values.items()})


def plain(opened: Opened | None) -> Mapping[object, object]:
    """Everything an account holds, readable."""
    assert opened is not None
    held: dict[object, object] = {of: {name: keys[name] for name in keys.names} for of, keys in opened.credentials.items()}
    return held | {venue: address.reveal() for venue, address in opened.proxies.items()}


def filled(accounts: Accounts) -> None:
    accounts.update(
        "main",
        [change(api_key="key-1", api_secret="secret-1", passphrase="pass-1"), change("lighter", "testnet", api_key_private_key="ab" * 40)],
        {"": Secret("http://user:pw@proxy.example:3128"), "lighter": Secret("http://other.example:1")},
    )
    accounts.update("second", [change(api_key="key-2", api_secret="secret-2", passphrase="pass-2")])
