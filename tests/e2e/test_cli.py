"""The commands as a user runs them, against simulated venues over real sockets."""

import json
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exchange_clients import venues
from exchange_simulator import dialects
from exchange_simulator.core import types as core
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.dialects.base import RequestFault
from perpkit.cli.main import run
from tests.e2e.conftest import Served

pytestmark = pytest.mark.slow


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    """Exit code, the JSON of stdout, stderr."""
    code = run([*arguments, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


# ---- venues


def test_venues_lists_every_registered_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, told, err = call(capsys, "venues")
    assert (code, err) == (0, "")
    assert [one["name"] for one in told["venues"]] == sorted(venues.names())
    assert run(["venues"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in venues.names())


@pytest.mark.parametrize("name", venues.names())
def test_one_venue_in_detail(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, _ = call(capsys, "venues", name)
    assert (code, told["name"]) == (0, name)
    assert told["credentials"]
    assert run(["venues", name]) == 0
    out = capsys.readouterr().out
    assert told["credentials"][0]["variable"] in out


def test_an_unknown_venue_gets_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    code, told, err = call(capsys, "venues", "lightr")
    assert code == 2
    assert "lighter" in told["error"]["message"]
    assert err.count("\n") == 1


# ---- book


def test_book_once(venue: Served, capsys: pytest.CaptureFixture[str]) -> None:
    name = venue.bench.spec.name
    code, told, err = call(capsys, "book", name, "BTC", "--levels", "3", *venue.options)
    assert (code, err) == (0, "")
    assert [Decimal(level["price"]) for level in told["bids"]] == [49_999, 49_998, 49_997]
    assert [Decimal(level["price"]) for level in told["asks"]] == [50_001, 50_002, 50_003]
    assert run(["book", name, "BTC", *venue.options]) == 0
    out = capsys.readouterr().out
    assert "49,999" in out
    assert "spread" in out


def test_book_live(venue: Served, capsys: pytest.CaptureFixture[str]) -> None:
    name = venue.bench.spec.name
    code = run(["book", name, "BTC", "--watch", "1.5", "--levels", "2", "--json", *venue.options])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert lines
    assert Decimal(lines[0]["bids"][0]["price"]) == 49_999


@pytest.mark.parametrize(("symbol", "kind", "code"), [("NOSUCH", "symbol", 2)])
def test_book_of_an_unknown_market(venue: Served, symbol: str, kind: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    found, told, err = call(capsys, "book", venue.bench.spec.name, symbol, *venue.options)
    assert (found, told["error"]["kind"]) == (code, kind)
    assert symbol in err
    assert err.count("\n") == 1


def test_an_unreachable_venue_is_told_with_the_next_step(venue: Served, capsys: pytest.CaptureFixture[str]) -> None:
    name = venue.bench.spec.name
    code, told, err = call(capsys, "book", name, "BTC", "--environment", venue.bench.environment, "--endpoint", "http://127.0.0.1:9")
    assert code == 4
    assert told["error"]["kind"] == "unreachable"
    assert "Traceback" not in err


def test_a_broken_venue_is_told(venue: Served, capsys: pytest.CaptureFixture[str]) -> None:
    venue.call(lambda: venue.bench.hands.requests(RequestFault(status=503), times=1_000))
    code, told, _ = call(capsys, "book", venue.bench.spec.name, "BTC", *venue.options)
    assert (code, told["error"]["kind"]) == (4, "venue")


# ---- funding


def post(served: Served, rate: Decimal) -> None:
    bench = served.bench
    served.call(lambda: bench.exchange.set_funding_rate(bench.now(), bench.symbol(), core.to_fraction(rate)))


def test_funding_side_by_side(all_venues: list[Served], settings: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for n, one in enumerate(all_venues):
        post(one, Decimal(n + 1) / 10_000)
    code, told, err = call(capsys, "funding", *settings)
    assert (code, err, told["broken"]) == (0, "", {})
    assert told["symbols"][0]["symbol"] == "BTC", "the widest difference comes first"
    assert set(told["symbols"][0]["rates"]) == set(venues.names())
    assert Decimal(told["symbols"][0]["difference_per_hour"]) > 0
    assert run(["funding", "--symbol", "BTC", "--history", *settings]) == 0
    assert "long at" in capsys.readouterr().out


def test_funding_with_one_venue_down_shows_the_others_and_says_so(
    all_venues: list[Served], settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    down, *others = all_venues
    down.call(lambda: down.bench.hands.requests(RequestFault(status=500), times=1_000))
    code, told, _ = call(capsys, "funding", *settings)
    assert code == 1
    assert set(told["broken"]) == {down.bench.spec.name}
    assert {name for row in told["symbols"] for name in row["rates"]} == {one.bench.spec.name for one in others}


def test_funding_without_any_venue_fails(capsys: pytest.CaptureFixture[str], keyless: None) -> None:
    code, told, err = call(capsys, "funding", *(part for name in venues.names() for part in ("--endpoint", f"{name}=http://127.0.0.1:9")))
    assert code == 4
    assert told["error"]["kind"] == "unreachable"
    assert err.count("\n") == 1


def test_funding_of_an_unknown_symbol(all_venues: list[Served], settings: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, told, _ = call(capsys, "funding", "--symbol", "NOSUCH", *settings)
    assert (code, told["error"]["kind"]) == (2, "symbol")


# ---- doctor


def findings(told: dict[str, list[dict[str, str]]], venue: str) -> dict[str, str]:
    return {row["check"]: row["verdict"] for row in told[venue]}


def test_doctor_without_keys(venue: Served, capsys: pytest.CaptureFixture[str]) -> None:
    name = venue.bench.spec.name
    code, told, err = call(capsys, "doctor", name, *venue.options)
    assert (code, err) == (0, ""), told
    found = findings(told, name)
    assert (found["reach"], found["streams"], found["book"], found["keys"]) == ("ok", "ok", "ok", "note")
    assert any("set " in row["text"] for row in told[name] if row["check"] == "keys"), "the variable to set is named"


def test_doctor_with_keys(venue: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for variable, value in venue.variables.items():
        monkeypatch.setenv(variable, value)
    name = venue.bench.spec.name
    code, told, err = call(capsys, "doctor", name, *venue.options)
    assert (code, err) == (0, ""), told
    found = findings(told, name)
    assert (found["keys"], found["account"], found["clock"]) == ("ok", "ok", "ok")
    shown = json.dumps(told)
    keys = venue.bench.credentials()
    secrets = [keys[item.name] for item in venue.bench.spec.credentials if item.secret and item.name in keys]
    assert secrets
    assert all(secret not in shown for secret in secrets)


def test_doctor_with_a_key_of_nobody(venue: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    name = venue.bench.spec.name
    kind = dialects.get(name)
    stranger = kind(Exchange(kind.rules()), venue.bench.runtime, seed=99).open_account(Decimal(1))
    keys = venue.bench.credentials(stranger)
    infix = "" if venue.bench.environment == "mainnet" else f"_{venue.bench.environment.upper()}"
    for item in venue.bench.spec.credentials:
        if item.name in keys:
            monkeypatch.setenv(item.variable.format(env=infix), keys[item.name])
    code, told, _ = call(capsys, "doctor", name, *venue.options)
    assert code == 1
    assert findings(told, name)["keys"] == "fail"


def test_doctor_of_an_unreachable_venue(venue: Served, capsys: pytest.CaptureFixture[str]) -> None:
    name = venue.bench.spec.name
    code, told, _ = call(capsys, "doctor", name, "--environment", venue.bench.environment, "--endpoint", "http://127.0.0.1:9")
    assert code == 1
    assert findings(told, name)["reach"] == "fail"
    assert next(row["step"] for row in told[name] if row["check"] == "reach")


# ---- as a process


def test_the_command_as_a_process(venue: Served) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "perpkit", "book", venue.bench.spec.name, "BTC", "--json", *venue.options],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["bids"]


def process(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-m", "perpkit", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_watching_ends_with_ctrl_c(venue: Served) -> None:
    with process("book", venue.bench.spec.name, "BTC", "--watch", "60", "--json", *venue.options) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["bids"]
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=20)
    assert (watching.returncode, err) == (0, "")


def test_a_reader_that_has_seen_enough_is_no_error(venue: Served) -> None:
    with process("book", venue.bench.spec.name, "BTC", "--watch", "3", "--json", *venue.options) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline()
        watching.stdout.close()
        for n in range(20):
            venue.call(lambda n=n: venue.bench.set_level(core.Side.BUY, 49_999, Decimal(3 + n)))  # type: ignore[misc]
            time.sleep(0.1)
        assert watching.stderr is not None
        err = watching.stderr.read()
    assert (watching.returncode, err) == (0, "")


# ---- settings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hyperliquid: {nonsense: 1}", "nonsense"),
        ("hyperliquid: {environment: moon}", "moon"),
        ("- a\n- list", "must map venue names"),
        ("{unclosed", "not YAML"),
    ],
)
def test_wrong_settings_are_one_line(text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    code, told, err = call(capsys, "book", "hyperliquid", "BTC", "--config", str(path))
    assert code == 2
    assert said in told["error"]["message"]
    assert err.count("\n") == 1


def test_a_missing_settings_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, _ = call(capsys, "funding", "--config", str(tmp_path / "nowhere.yaml"))
    assert code == 2
    assert "nowhere.yaml" in told["error"]["message"]


def test_an_address_that_is_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, told, _ = call(capsys, "book", "lighter", "BTC", "--endpoint", "localhost")
    assert code == 2
    assert "localhost" in told["error"]["message"]


@pytest.mark.parametrize("address", ["http://", "http://127.0.0.1:99999", "lighter=127.0.0.1:8001", "=http://127.0.0.1:8001"])
def test_an_address_that_cannot_be_one_is_refused(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, _ = call(capsys, "book", "lighter", "BTC", "--endpoint", address)
    assert (code, told["error"]["kind"]) == (2, "usage")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("doctor", "--endpoint", "http://127.0.0.1:9"), "does not say whose address"),
        (("funding", "--endpoint", "http://127.0.0.1:9"), "does not say whose address"),
        (("book", "lighter", "BTC", "--endpoint", "ligther=http://127.0.0.1:9"), "ligther is not asked"),
        (("doctor", "lighter", "--endpoint", "hyperliquid=http://127.0.0.1:9"), "hyperliquid is not asked"),
    ],
)
def test_no_address_is_passed_over_and_the_real_venue_asked_instead(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told, _ = call(capsys, *arguments)
    assert code == 2
    assert said in told["error"]["message"]


def test_an_interrupted_command_says_so(tmp_path: Path) -> None:
    with process("demo", "--json", "--home", str(tmp_path / "demo")) as running:
        deadline = time.monotonic() + 30
        while not (tmp_path / "demo" / "journal.db").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (130, "perpkit: interrupted\n")
    assert json.loads(out)["error"]["kind"] == "interrupted"


def test_a_path_that_is_no_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("precious", encoding="utf-8")
    code, told, err = call(capsys, "demo", "--in-memory", "--home", str(tmp_path / "file" / "demo"))
    assert (code, told["error"]["kind"]) == (2, "file")
    assert err.count("\n") == 1
