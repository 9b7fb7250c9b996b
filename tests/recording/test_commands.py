"""`perpkit record` and `perpkit replay` as a user runs them, against a venue over real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange_simulator.world.wire import is_recording
from perpkit.cli.main import run
from tests.e2e.conftest import Served, serve

pytestmark = pytest.mark.slow

VENUE = "hyperliquid"


@pytest.fixture(scope="module")
def venue() -> Iterator[Served]:
    with serve(VENUE) as served:
        mover = asyncio.run_coroutine_threadsafe(_move(served), served.loop)
        yield served
        mover.cancel()


async def _move(served: Served) -> None:
    """The market is not still: a frame every so often."""
    bench = served.bench
    while True:
        for price in (50_000, 50_001):
            bench.ready.set_price("BTC", price)
            await asyncio.sleep(0.1)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    code = run([*arguments, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


def test_recorded_and_heard_again(venue: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rec"
    code, made, err = told(capsys, "record", VENUE, "BTC", "--minutes", "0.04", "--out", str(out), *venue.options)
    assert (code, err) == (0, "")
    (file,) = made["files"]
    assert made["frames"] > 5
    code, heard, err = told(capsys, "replay", file)
    assert (code, err) == (0, "")
    assert heard["frames"] == made["frames"]
    (market,) = heard["markets"].values()
    assert market["books"] > 2
    assert market["bid"] < market["ask"]
    assert heard["sent_differently"] == 0
    assert run(["replay", str(out), "--events", "--levels", "1", "--symbol", "BTC"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"book"} <= {event["event"] for event in events}
    assert all(event["received_ns"] for event in events if event["event"] == "book")
    assert run(["replay", file]) == 0
    assert "50,00" in capsys.readouterr().out


def test_killed_at_any_moment_it_stays_readable(venue: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "perpkit", "record", VENUE, "BTC", "--out", str(tmp_path), *venue.options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as recorder:
        end = time.monotonic() + 60
        while not any(file.stat().st_size > 30_000 for file in tmp_path.glob("*.jsonl")):
            assert time.monotonic() < end
            assert recorder.poll() is None
            time.sleep(0.05)
        os.kill(recorder.pid, signal.SIGKILL)
    (file,) = tmp_path.iterdir()
    assert is_recording(file)
    code, heard, err = told(capsys, "replay", str(file))
    assert (code, err) == (0, "")
    assert heard["frames"] > 3


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("replay", "nowhere.jsonl"), 2, "No such file"),
        (("replay", "{empty}"), 2, "the folder holds no recording"),
        (("replay", "{other}"), 2, "not a recording"),
        (("record", VENUE, "BTC", "--streams", "book,orders", "--out", "{empty}"), 2, "no public stream 'orders'"),
        (("record", VENUE, "NOSUCH", "--out", "{empty}", "{options}"), 2, "NOSUCH"),
        (("record", VENUE, "BTC", "--out", "{empty}", "--environment", "mainnet", "--endpoint", "http://127.0.0.1:9"), 4, "cannot connect"),
        (("record", VENUE, "BTC", "--minutes", "0"), 2, "minutes"),
    ],
)
def test_what_cannot_be_is_one_line_with_the_next_step(
    venue: Served, arguments: tuple[str, ...], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, other = tmp_path / "empty", tmp_path / "other.jsonl"
    empty.mkdir()
    other.write_text("{}\n")
    line: list[str] = []
    for argument in arguments:
        line += venue.options if argument == "{options}" else [argument.format(empty=empty, other=other)]
    assert run(line) == code
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert not list(empty.iterdir())
