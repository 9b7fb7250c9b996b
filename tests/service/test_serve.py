"""`perpkit serve` as a user runs it: the simulated scene, no network, a taken port, a second service, bad files, the end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from database.connect import sqlite_url
from database.database import Database
from perpkit.cli.main import run
from perpkit.service.lock import only_service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

DEMO_VENUES = ("hyperliquid", "lighter")
PATIENCE_S = 90.0
"""Of a machine that does other things too; alone the scene stands in a few seconds."""


class Serving:
    """A running `perpkit serve --json`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.url = ""
        self.events: list[dict[str, Any]] = []

    def next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it ended"
        told: dict[str, Any] = json.loads(line)
        self.events.append(told)
        return told

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            if wanted(told := self.next()):
                return told

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=20) as answer:  # noqa: S310 - our own
            body = answer.read()
        return json.loads(body) if path.startswith("/api") else body.decode()

    def eventually(self, path: str, good: Callable[[Any], bool]) -> Any:
        end = time.monotonic() + PATIENCE_S
        while not good(found := self.get(path)):
            assert time.monotonic() < end, found
            time.sleep(0.3)
        return found


@contextmanager
def serving(*arguments: str, prefix: Sequence[str] = ()) -> Iterator[Serving]:
    command = [*prefix, sys.executable, "-m", "perpkit", "serve", "--json", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            one = Serving(process)
            one.url = one.until(lambda told: told["event"] == "listening")["url"]
            yield one
        finally:
            if process.poll() is None:
                process.kill()


def test_the_simulated_scene_is_full_within_seconds_and_ends_when_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    venues = [part for name in DEMO_VENUES for part in ("--venue", name)]
    with serving("--demo", "--home", str(tmp_path), *venues) as service:
        waiting = set(DEMO_VENUES)
        while waiting:
            told = service.until(lambda told: told["event"] == "venue" and told["state"] == "ok")
            assert told["markets"] >= 30
            waiting.discard(told["venue"])
        assert "<html" in service.get("/")
        rates = service.get("/api/v1/funding-rates")
        assert rates["count"] > 60
        assert {rate["dex"] for rate in rates["rates"]} == set(DEMO_VENUES)
        assert len({rate["rate"] for rate in rates["rates"]}) > 30
        assert all(rate["open_interest_usd"] and rate["volume_24h_usd"] and rate["mark"] for rate in rates["rates"])
        found = service.eventually("/api/v1/opportunities", lambda told: told["total"] > 0)
        assert found["opportunities"][0]["net"] is not None
        history = service.eventually("/api/v1/history/funding-rates/lighter/ETH?period=7d&limit=1000", lambda told: told["count"] >= 160)
        assert all(point["kind"] == "settled" for point in history["points"])
        held = service.eventually("/api/v1/positions", lambda told: bool(told["positions"]))
        assert held["provided"]
        pair = service.get(f"/api/v1/positions/{held['positions'][0]['pair_id']}")["position"]
        assert {pair["long"]["dex"], pair["short"]["dex"]} == set(DEMO_VENUES)
        assert pair["decisions"]
        assert run(["funding", "--service", service.url, "--symbol", "ETH", "--history", "--json"]) == 0
        (symbol,) = json.loads(capsys.readouterr().out)["symbols"]
        assert set(symbol["rates"]) == set(DEMO_VENUES)
        assert all(len(rate["settled"]) >= 70 for rate in symbol["rates"].values())
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(PATIENCE_S) == 0
        assert service.process.stderr is not None
        assert service.process.stderr.read() == ""


def assert_works_without_venues(service: Serving) -> None:
    told = service.until(lambda told: told["event"] == "venue")
    assert told["state"] == "down"
    assert told["error"]
    health = service.get("/api/v1/dexes")
    assert {dex["state"] for dex in health["dexes"]} <= {"down", "waiting"}
    assert service.get("/api/v1/funding-rates")["count"] == 0
    assert "<html" in service.get("/")


def test_an_unreachable_venue_is_named_and_the_service_goes_on(tmp_path: Path) -> None:
    with serving("--home", str(tmp_path), "--venue", "aster", "--endpoint", "http://127.0.0.1:9") as service:
        assert_works_without_venues(service)
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(PATIENCE_S) == 0


def namespaces() -> bool:
    """Whether this machine lets us have a network of our own without anything in it."""
    try:
        command = ["unshare", "-rn", "sh", "-c", "ip link set lo up"]
        return sys.platform == "linux" and subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_without_any_network_every_venue_is_named_and_the_page_is_there(tmp_path: Path) -> None:
    if not namespaces():
        pytest.skip("this machine gives nobody a network namespace")
    command = ["unshare", "-rn", sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S * 2, check=False)
    assert done.returncode == 0, done.stderr
    down = json.loads(done.stdout.splitlines()[-1])
    assert len(down) >= 5
    assert all(down.values())


def inside_a_network_of_our_own(home: Path) -> None:
    """Runs in the namespace: the loopback is the only thing there."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with serving("--home", str(home)) as service:
        down: dict[str, Any] = {}
        while len(down) < 5:
            told = service.until(lambda told: told["event"] == "venue" and told["state"] == "down")
            down[told["venue"]] = told["error"]
        assert service.get("/api/v1/funding-rates")["count"] == 0
        assert "<html" in service.get("/")
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(PATIENCE_S) == 0
    print(json.dumps(down))


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run(["serve", *arguments])
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return code, err


def test_a_taken_port_is_told_before_anything_is_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, err = failed(capsys, "--port", str(port), "--home", str(tmp_path), "--demo")
    assert code == 4
    assert f"127.0.0.1:{port} is taken; choose another --port" in err


def test_a_second_service_on_one_database_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = sqlite_url(tmp_path / "perpkit.db")
    with Database.open(url) as database, only_service(database, url):
        code, err = failed(capsys, "--port", "0", "--home", str(tmp_path), "--venue", "aster", "--endpoint", "http://127.0.0.1:9")
    assert code == 2
    assert "another service collects into" in err
    assert "--no-collect" in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("interval_s: [", "is not YAML"),
        ("- aster", "must map names to settings"),
        ("intervall_s: 60", "did you mean 'interval_s'?"),
        ("venues: {astr: {}}", "aster"),
        ("listen: {port: 99999}", "listen.port"),
        ("listen: {host: 0.0.0.0}", "can be reached from other machines"),
        ("listen: {hst: x}", "no such setting; there are"),
        ("journals: 7", "journals: must be a list"),
    ],
)
def test_a_bad_file_is_one_line_with_the_next_step(text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(text)
    code, err = failed(capsys, "--config", str(file), "--home", str(tmp_path))
    assert code == 2
    assert words in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "x"), "--data belongs to --demo"),
        (("--demo", "--data", "nowhere"), "no folder"),
        (("--demo", "--no-collect"), "brings its own venues"),
        (("--venue", "astr"), "did you mean"),
        (("--no-collect", "--home", "{empty}"), "there is no database"),
    ],
)
def test_options_that_do_not_fit_are_told(
    arguments: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, err = failed(capsys, "--port", "0", *(argument.format(empty=tmp_path) for argument in arguments))
    assert code == 2
    assert words in err


if __name__ == "__main__":
    inside_a_network_of_our_own(Path(sys.argv[1]))
