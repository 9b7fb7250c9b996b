"""The bot of this machine is found by its file, and a file that a killed one left behind is none."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from perpkit.cli.options import Store
from perpkit.cli.running import Running, find


def write(folder: Path, pid: int) -> Store:
    (folder / "journal.db.control").write_bytes(msgspec.json.encode(Running(url="http://127.0.0.1:1", key="k", pid=pid)))
    return Store(home=folder)


def test_a_killed_bot_is_not_asked(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert find(write(tmp_path, gone.pid)) is None


def test_a_living_one_is(tmp_path: Path) -> None:
    found = find(write(tmp_path, os.getpid()))
    assert found is not None
    assert found.pid == os.getpid()
