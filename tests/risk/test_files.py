"""The small files in the state folder: halt, heartbeat, fence, and what a watchdog did."""

import os
from pathlib import Path

import pytest

from exchange_clients.model import NS_PER_S
from strategies.risk import files
from strategies.risk.fence import Fence, Heartbeat, heartbeats
from strategies.risk.halt import HaltFile, halt, resume


def test_a_halt_stays_the_first_one_and_both_ends_are_on_record(tmp_path: Path) -> None:
    first = halt(tmp_path, "flood", "anna", 1)
    assert halt(tmp_path, "fire", "bert", 2) == first
    assert HaltFile(tmp_path).read() == first
    assert resume(tmp_path, "carl", 3) == first
    assert HaltFile(tmp_path).read() is None
    assert resume(tmp_path, "carl", 4) is None
    assert [(line.actor, line.action, line.at) for line in HaltFile(tmp_path).audit()] == [("anna", "halt", 1), ("carl", "resume", 3)]


def test_e42_a_halt_file_that_nobody_understands_is_a_halt(tmp_path: Path) -> None:
    (tmp_path / "HALT").write_text("stop it, now")
    held = HaltFile(tmp_path).read()
    assert held is not None
    assert held.reason == "stop it, now"
    (tmp_path / "HALT").write_bytes(b"")
    assert HaltFile(tmp_path).read() is not None
    (tmp_path / "HALT").unlink()
    (tmp_path / "HALT").mkdir()
    assert HaltFile(tmp_path).read() is not None


def test_a_bot_that_ended_by_itself_is_not_silent(tmp_path: Path) -> None:
    heart = Heartbeat(tmp_path, "grid", "main")
    assert heart.read() is None
    heart.beat(5 * NS_PER_S, 77, accounts={"toy": "mainnet:0x1"})
    beat = heart.read()
    assert beat is not None
    assert (beat.pid, beat.silent_s(15 * NS_PER_S)) == (77, 10.0)
    heart.beat(6 * NS_PER_S, 77, accounts={}, ended=True)
    (found,) = heartbeats(tmp_path)
    ended = found.read()
    assert ended is not None
    assert ended.silent_s(900 * NS_PER_S) == 0


def test_the_fence_has_one_holder_and_dies_with_it(tmp_path: Path) -> None:
    one, other, bot = Fence(tmp_path), Fence(tmp_path), Fence(tmp_path)
    assert bot.held() is None
    assert one.take("the bot is silent")
    assert not other.take("me too")
    assert bot.held() == "the bot is silent"
    one.drop()
    assert bot.held() is None
    assert other.take("again")
    (tmp_path / "FENCE.lock").unlink()  # what is left when its holder is gone: the file, and nobody who has the lock
    assert bot.held() is None


def test_a_line_that_a_power_cut_left_half_written_costs_neither_the_next_nor_the_start(tmp_path: Path) -> None:
    """Half a line was never acted upon: orders go out after the whole line is on disk."""
    path = tmp_path / "watchdog.jsonl"
    files.append(path, {"n": 1})
    with path.open("ab") as file:
        file.write(b'{"n": 2, "quan')
    assert files.lines(path) == [b'{"n":1}']
    files.append(path, {"n": 3})
    assert files.lines(path) == [b'{"n":1}', b'{"n":3}']


def test_e08_what_is_not_written_whole_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk takes a part and says so only by the count."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:5]))
    with pytest.raises(OSError, match="No space"):
        files.append(tmp_path / "watchdog.jsonl", {"n": 1})
