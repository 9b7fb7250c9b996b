"""A process that dies at any moment of a rotation, or of a first account: the vault opens afterwards, with everything in it."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from database.accounts import Accounts
from database.connect import sqlite_url
from database.database import Database
from database.keys import KeyFile, Keys, Source
from exchange_clients.secret import Secret
from tests.accounts.vaults import CHEAP, Times, change, filled, plain

OURS = ("database/accounts.py", "database/vault.py", "database/keys.py", "database/database.py")
DIED = 9


def opened(folder: Path, work: Callable[[Accounts], object]) -> object:
    with Database.open(sqlite_url(folder / "perpkit.db")) as database:
        keys = Keys(folder, new_passphrase=Secret("correct horse battery"), passphrase=Secret("correct horse battery"), work=CHEAP)
        return work(Accounts(database, keys, now_ns=Times(), actor="tester"))


def dying(folder: Path, work: Callable[[Accounts], object], at: int) -> bool:
    """Do it in a process of its own that is gone before call or return number `at` of our code. False: it came to its end before."""
    child = os.fork()
    if child == 0:
        left = at

        def look(frame: FrameType, event: str, argument: object) -> None:
            nonlocal left
            if event in ("call", "return") and frame.f_code.co_filename.endswith(OURS):
                left -= 1
                if left < 0:
                    os._exit(DIED)

        def run(accounts: Accounts) -> None:
            sys.setprofile(look)
            work(accounts)

        try:
            opened(folder, run)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DIED


def steps_of(folder: Path, work: Callable[[Accounts], object]) -> int:
    """How many calls and returns of ours it takes."""
    count = 0

    def look(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "return") and frame.f_code.co_filename.endswith(OURS)

    def run(accounts: Accounts) -> None:
        sys.setprofile(look)
        try:
            work(accounts)
        finally:
            sys.setprofile(None)

    opened(folder, run)
    return count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "steps"), [(Source.FILE, 6), (Source.PASSPHRASE, 2), pytest.param(Source.FILE, 200, marks=pytest.mark.soak)]
)
def test_a_rotation_that_dies_leaves_one_whole_state(tmp_path: Path, source: Source, steps: int) -> None:
    first = tmp_path / "first"
    first.mkdir()

    def fill(accounts: Accounts) -> None:
        accounts.update("main", [change(api_key="k")], source=Source.FILE)
        filled(accounts)

    opened(first, fill)
    held = opened(first, lambda a: [plain(a.open(name)) for name in ("main", "second")])
    old_id = next(iter(KeyFile(first / "vault.key").read()))
    whole = tmp_path / "whole"
    shutil.copytree(first, whole)
    total = steps_of(whole, lambda a: a.rotate(source))
    ended: set[bool] = set()
    for step in {*range(0, total, max(1, total // steps)), *range(total - 12, total, 5)}:
        folder = tmp_path / f"at{step}"
        shutil.copytree(first, folder)
        assert dying(folder, lambda a: a.rotate(source), step), "it was to die before its end"
        assert opened(folder, lambda a: [plain(a.open(name)) for name in ("main", "second")]) == held, step
        ended.add(opened(folder, lambda a: a.views()[0].key_id) == old_id)
        opened(folder, lambda a: a.rotate(Source.FILE))
        assert opened(folder, lambda a: [plain(a.open(name)) for name in ("main", "second")]) == held
        now = opened(folder, lambda a: a.views()[0].key_id)
        assert now in KeyFile(folder / "vault.key").read()
        assert old_id not in KeyFile(folder / "vault.key").read(), "what a killed rotation left is gone with the next one"
        shutil.rmtree(folder)
    assert ended == {True, False}, "some died before the commit and some after it"


@pytest.mark.slow
def test_a_first_account_that_dies_can_be_added_again(tmp_path: Path) -> None:
    def add(accounts: Accounts) -> None:
        accounts.update("main", [change(api_key="key-1")], source=Source.FILE)

    total = steps_of(tmp_path, add)
    for step in range(0, total, max(1, total // 4)):
        folder = tmp_path / f"at{step}"
        folder.mkdir()
        assert dying(folder, add, step)
        opened(folder, add)
        assert opened(folder, lambda a: plain(a.open("main"))) == {("okx", "mainnet"): {"api_key": "key-1"}}


@pytest.mark.slow
def test_processes_that_add_at_once_make_one_key(tmp_path: Path) -> None:
    opened(tmp_path, lambda a: None)
    children = []
    for number in range(6):
        child = os.fork()
        if child == 0:
            try:
                opened(tmp_path, lambda a, n=number: a.update(f"a{n}", [change(api_key=f"k{n}")], source=Source.FILE))  # type: ignore[misc]
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 6
    views = opened(tmp_path, lambda a: a.views())
    assert isinstance(views, tuple)
    assert len(views) == 6
    assert len({view.key_id for view in views}) == 1
    assert opened(tmp_path, lambda a: plain(a.open("a3"))) == {("okx", "mainnet"): {"api_key": "k3"}}
