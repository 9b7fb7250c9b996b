"""The vault for commands: which database it is in, who is asked for its passphrase, and whose keys a command gets."""

import getpass
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from exchange_clients.secret import Secret
from perpkit.cli.failure import Failure
from perpkit.cli.options import DatabaseOption, state_folder, user

if TYPE_CHECKING:
    from database.accounts import Accounts
    from database.keys import Keys
    from perpkit.bot.accounts import AccountKeys


def ask_hidden(question: str) -> Secret:
    """Typed without being shown; nothing of it comes near a command line or its history."""
    try:
        return Secret(getpass.getpass(question))
    except EOFError:
        raise Failure("nothing was typed, nothing was changed") from None


def keys_of(home: Path | None) -> "Keys":
    """Where this process looks for the vault's key."""
    from database.keys import Keys

    return Keys.of(state_folder(home), os.environ, ask_hidden if sys.stdin.isatty() else None)


@contextmanager
def vault(where: DatabaseOption) -> Iterator["Accounts"]:
    """The accounts of a database, which is made where there is none."""
    from database.accounts import Accounts

    with where.open() as database:
        yield Accounts(database, keys_of(where.home), now_ns=time.time_ns, actor=user())


@contextmanager
def account_keys(home: Path | None, database: str | None = None) -> Iterator["AccountKeys"]:
    """Keys by account name: of the vault where there is one, else of the environment. What was taken from where is told on stderr.

    Raises:
        Failure: a database was named, and it is not there.
    """
    from perpkit.bot.accounts import AccountKeys

    where = DatabaseOption(home, database)
    if not where.exists():
        if database is not None or os.environ.get("PERPKIT_DATABASE"):
            where.open(read_only=True)  # says that it is not there
        yield AccountKeys(None, os.environ, tell, lost=_lost(keys_of(home), where))
        return
    with vault(where) as accounts:
        yield AccountKeys(accounts, os.environ, tell)


def _lost(keys: "Keys", where: DatabaseOption) -> str:
    """Why there should be a vault: a key of one is here. Empty: there is none."""
    if not (keys.variable or keys.passphrase or keys.file.path.exists()):
        return ""
    place = "the environment" if keys.variable or keys.passphrase else str(keys.file.path)
    return (
        f"{place} has a key of a vault, but there is no database at {where.shown}: name it with --database, or bring a copy of it back; "
        f"keys from variables may be another account's (where they are meant, take the vault's key away)"
    )


def tell(text: str) -> None:
    """Beside the answer, which may be read by a program."""
    print(f"perpkit: {text}", file=sys.stderr)
