"""E41 for the vault: planted secrets appear nowhere but in memory, decrypted, whatever is done and whatever breaks.

Looked at: stdout, stderr, logs, every exception with its chain and the locals of its frames (as rich and structlog render them), `repr`s,
the control API's answers, and each byte of the state folder except the file of the key itself.
"""

import base64
import io
import json
import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from rich.pretty import pretty_repr

import database.vault as vault_module
from database.accounts import Accounts, Change
from database.connect import sqlite_url
from database.database import Database
from database.keys import Keys, MasterKey
from exchange_clients.secret import Secret
from exchange_clients.spec import VenueSpec
from exchange_clients.venues import get
from perpkit.bot.accounts import AccountKeys
from perpkit.cli import main as cli
from perpkit.cli.failure import report
from tests.accounts.conftest import Venues
from tests.accounts.vaults import CHEAP, Times

PLANTED = {
    "OKX_API_KEY": "c4na7y00-aaaa-4bbb-8ccc-0123456789ab",
    "OKX_API_SECRET": "C4NA7YSECRET0123456789ABCDEF0001",
    "OKX_API_PASSPHRASE": "C4na7y-Passphrase-1",
    "HYPERLIQUID_PRIVATE_KEY": "0x" + "c4a417" * 10 + "0a1b",
    "LIGHTER_API_KEY_PRIVATE_KEY": "fc055ae48931ad06e090d811d9a98efd891809ab75a8ee5c63050f30c683b67f680cd79864e7f135",
}
PUBLIC = {"HYPERLIQUID_ACCOUNT_ADDRESS": "0x" + "12" * 20, "LIGHTER_ACCOUNT_INDEX": "100001", "LIGHTER_API_KEY_INDEX": "4"}
PROXY_PASSWORD = "C4na7y+Proxy/Pass"
PASSPHRASE = "c4na7y battery horse staple"


def forms(secret: str) -> set[str]:
    """As it may be written: plain, without 0x, in capitals, in base64, in hex, in a URL, its beginning."""
    bare = secret.removeprefix("0x")
    raw = {bare.encode()}
    if len(bare) % 2 == 0 and all(letter in "0123456789abcdef" for letter in bare):
        raw.add(bytes.fromhex(bare))
    found = {secret, bare, bare.upper(), bare.lower(), quote(secret, safe=""), bare[:12]}
    for one in raw:
        found |= {base64.b64encode(one).decode().rstrip("="), one.hex(), base64.urlsafe_b64encode(one).decode().rstrip("=")}
    return found


def shown(value: object) -> str:
    """As rich shows a local. Of a venue's public tables only their name: they are long."""
    if isinstance(value, VenueSpec):
        return value.name
    if isinstance(value, list | tuple) and any(isinstance(one, VenueSpec) for one in value):
        return "venues"
    return repr(value) + pretty_repr(value, max_length=40, max_string=4_000, max_depth=4)


class Sink:
    """Everything that was said, by where it was said."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self.secrets = dict(secrets)
        self.said: list[tuple[str, str]] = []

    def add(self, where: str, text: object) -> None:
        self.said.append((where, str(text)))

    def error(self, where: str, error: BaseException) -> None:
        """A traceback as Python writes it, and the locals of all frames of the chain as rich shows them."""
        self.add(where, "".join(traceback.format_exception(error)))
        for one in chain(error):
            self.add(where, repr(one) + repr(one.args) + str(vars(one)))
            for frame, _ in traceback.walk_tb(one.__traceback__):
                for name, value in frame.f_locals.items():
                    self.add(f"{where}: local {name} of {frame.f_code.co_name}", shown(value))

    def rendered(self, where: str, error: BaseException) -> None:
        """As rich and structlog write it for people and for machines."""
        from rich.console import Console
        from rich.traceback import Traceback
        from structlog.tracebacks import ExceptionDictTransformer

        console = Console(file=io.StringIO(), width=400)
        console.print(Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True, locals_max_string=4_000))
        assert isinstance(console.file, io.StringIO)
        self.add(f"{where} (rich)", console.file.getvalue())
        transform = ExceptionDictTransformer(show_locals=True, locals_max_string=4_000)
        self.add(f"{where} (structlog)", json.dumps(transform((type(error), error, error.__traceback__)), default=repr))

    def folder(self, home: Path) -> None:
        """Every byte, except the key's own file."""
        for path in home.rglob("*"):
            if path.is_file() and path.name != "vault.key":
                self.add(f"file {path.name}", path.read_bytes().decode("latin-1"))

    def check(self) -> None:
        for where, text in self.said:
            for name, secret in self.secrets.items():
                for form in forms(secret):
                    assert form not in text, f"{name} is in {where}"


def chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in seen:
            seen.append(one)
            waiting += [one.__cause__, one.__context__]
            yield one


class Listening(logging.Handler):
    """Every record of every logger, with its arguments."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(logging.DEBUG)
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        self._sink.add("log", self.format(record) + repr(record.args))
        if record.exc_info and record.exc_info[1] is not None:
            self._sink.error("log", record.exc_info[1])


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    """Planted secrets, and an ear on everything that this process says."""
    for name in list(os.environ):
        if name.startswith("PERPKIT_") and name != "PERPKIT_PAYLOADS":
            monkeypatch.delenv(name)
    found = Sink({**PLANTED, "proxy": PROXY_PASSWORD, "passphrase": PASSPHRASE})
    listening, root = Listening(found), logging.getLogger()
    level = root.level
    root.addHandler(listening)
    root.setLevel(logging.DEBUG)
    real = report

    def heard(error: BaseException, *rest: Any, **more: Any) -> int:
        found.error("command", error)
        return real(error, *rest, **more)

    monkeypatch.setattr(cli, "report", heard)
    monkeypatch.setenv("PERPKIT_DEBUG", "1")
    yield found
    root.removeHandler(listening)
    root.setLevel(level)


def keys_file(folder: Path, **more: str) -> Path:
    path = folder / "keys.env"
    path.write_text("".join(f"{name}={value}\n" for name, value in {**PLANTED, **PUBLIC, **more}.items()))
    path.chmod(0o600)
    return path


@pytest.fixture
def ask(sink: Sink, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., int]:
    """A command in this process; what it says goes to the sink."""

    def command(*words: str) -> int:
        code = cli.run([*words, "--home", str(tmp_path / "home")])
        told = capsys.readouterr()
        sink.add(" ".join(words[:2]), told.out + told.err)
        return code

    return command


def test_the_sink_sees_what_is_said(sink: Sink) -> None:
    """Each ear hears: else silence would prove nothing."""

    def fails(value: str) -> None:
        raise ValueError("nothing in the words")

    secret = PLANTED["OKX_API_SECRET"]
    try:
        fails(secret)
    except ValueError as e:
        sink.error("here", e)
        sink.rendered("here", e)
    heard = {where for where, text in sink.said if secret in text}
    assert {"here: local value of fails", "here (rich)", "here (structlog)"} <= heard
    logging.getLogger("any").debug("%s", secret)
    assert "log" in {where for where, text in sink.said if secret in text}
    with pytest.raises(AssertionError, match="OKX_API_SECRET is in"):
        sink.check()


def test_commands_that_work_and_that_fail(
    ask: Callable[..., int], sink: Sink, tmp_path: Path, venues: Venues, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(keys_file(tmp_path))
    everywhere = venues.options("okx", "lighter", "hyperliquid")
    monkeypatch.setenv("PERPKIT_PROXY_PASSWORD", PROXY_PASSWORD)
    assert ask("accounts", "add", "--env-file", file, "--verify", *everywhere) == 3, "the venues refuse planted keys"
    assert ask("accounts", "add", "--env-file", file, "--exchanges", "okx", "--verify", "--endpoint", "http://127.0.0.1:9") == 4
    for name in PLANTED:
        broken = str(keys_file(tmp_path, **{name: PLANTED[name] + "\u200b"}))
        assert ask("accounts", "add", "--env-file", broken) == 3
        broken = str(keys_file(tmp_path, **{name: f"your_{PLANTED[name]}"}))
        assert ask("accounts", "add", "--env-file", broken) == 3
        if "OKX" not in name:
            broken = str(keys_file(tmp_path, **{name: PLANTED[name][:-2] + "zz"}))
            assert ask("accounts", "add", "--env-file", broken) == 3, name
    file = str(keys_file(tmp_path))
    assert ask("accounts", "add", "--env-file", file, "--proxy", "okx=http://me@127.0.0.1:9") == 0
    for name, value in {**PLANTED, **PUBLIC}.items():
        monkeypatch.setenv(name, value)
    assert ask("accounts", "add", "--from-env", "--account-name", "second", "--json") == 0
    assert ask("accounts", "list") == 0
    assert ask("accounts", "verify", "--json", "--account-name", "second", *everywhere) == 3
    assert ask("accounts", "verify", "--account-name", "main", *everywhere) == 3, "OKX goes through a proxy that is not there"
    assert ask("doctor", "okx", "--account-name", "second", *venues.options("okx")) == 1
    assert ask("accounts", "rotate") == 0
    monkeypatch.setenv("PERPKIT_VAULT_NEW_PASSPHRASE", PASSPHRASE)
    assert ask("accounts", "rotate", "--key", "passphrase") == 0
    monkeypatch.setenv("PERPKIT_VAULT_PASSPHRASE", PASSPHRASE[::-1])
    assert ask("accounts", "verify") == 3, "not the passphrase"
    monkeypatch.setenv("PERPKIT_VAULT_PASSPHRASE", PASSPHRASE)
    bot = tmp_path / "bot.yaml"
    bot.write_text(
        "strategy: funding_arbitrage\naccount: second\nvenues: {okx: {}, hyperliquid: {}}\n"
        'parameters: {symbols: [BTC], min_profit: "0.5"}\n'
    )
    assert ask("run", str(bot), "--env", "live", "--yes", *venues.options("okx", "hyperliquid")) == 3, "the login fails"
    assert (
        ask("run", str(bot), "--env", "live", "--yes", "--json", *venues.options("okx"), "--endpoint", "hyperliquid=http://127.0.0.1:9")
        == 3
    )
    assert ask("accounts", "remove", "--account-name", "second", "--yes") == 0
    sink.folder(tmp_path / "home")
    assert len(sink.said) > 60
    assert {"file perpkit.db", "file journal.db", "file run.log", "accounts add", "command", "log"} <= {where for where, _ in sink.said}
    sink.check()


def stored(folder: Path) -> tuple[Database, Accounts]:
    database = Database.open(sqlite_url(folder / "perpkit.db"))
    accounts = Accounts(database, Keys(folder, work=CHEAP), now_ns=Times(), actor="tester")
    okx = {name.removeprefix("OKX_API_").lower(): Secret(value) for name, value in PLANTED.items() if name.startswith("OKX")}
    fields = {"api_key": okx["key"], "api_secret": okx["secret"], "passphrase": okx["passphrase"]}
    accounts.update("main", [Change("okx", "mainnet", fields)], {"": Secret(f"http://me:{quote(PROXY_PASSWORD, safe='')}@127.0.0.1:9")})
    return database, accounts


def test_what_breaks_inside_of_locking_and_opening(sink: Sink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cipher, the random numbers, the rows, the seal and the key fail in turn, within a change, a reading, a rotation."""
    database, accounts = stored(tmp_path)
    (key,) = accounts.vault.keys.file.read().values()
    sink.secrets["vault key"] = key.reveal()

    class Broken:
        """In place of the cipher; its frames hold nothing, because the arguments are no locals of ours."""

        def encrypt(self, *_: object) -> bytes:
            raise RuntimeError("encrypt")

        decrypt = encrypt

    def fails(*_: object, **__: object) -> Any:
        raise RuntimeError("in the middle")

    work: list[Callable[[], object]] = [
        lambda: accounts.open("main"),
        lambda: accounts.rotate(),
        lambda: accounts.update("main", [Change("okx", "mainnet", {"passphrase": Secret(PLANTED["OKX_API_PASSPHRASE"])})]),
        lambda: AccountKeys(accounts, {}).keys(get("okx").spec, "mainnet", "main"),
        lambda: AccountKeys(accounts, {}).settings("main", "okx", {}),
    ]
    faults: list[tuple[object, str, object]] = [
        (MasterKey, "encryption", property(lambda self: Broken())),
        (os, "urandom", fails),
        (vault_module, "_bound", fails),
        (Accounts, "_sealed", fails),
        (Accounts, "_audit", fails),
        (Accounts, "_rows", fails),
        (MasterKey, "seal", fails),
        (MasterKey, "parse", classmethod(fails)),
    ]
    failed = 0
    for target, name, fault in faults:
        for one in work:
            accounts.vault.keys.forget()
            with monkeypatch.context() as patch:
                patch.setattr(target, name, fault)
                try:
                    one()
                except Exception as e:
                    failed += 1
                    sink.error(f"{name} fails", e)
                    if one is work[1]:
                        sink.rendered(f"{name} fails", e)
    assert failed >= 25
    opened = accounts.open("main")
    assert opened is not None
    for thing in (
        opened,
        opened.credentials,
        opened.proxies,
        accounts,
        accounts.vault,
        accounts.vault.keys,
        accounts.views(),
        AccountKeys(accounts, {}),
    ):
        sink.add("repr", repr(thing) + str(thing) + repr(vars(thing) if hasattr(thing, "__dict__") else ""))
    database.close()
    sink.folder(tmp_path)
    sink.check()


CRASH = """
import sys, traceback
def hook(kind, error, trace):
    traceback.print_exception(error)
    for frame, _ in traceback.walk_tb(trace):
        print("locals of", frame.f_code.co_name, {k: v for k, v in frame.f_locals.items() if k not in ("spec", "specs")}, file=sys.stderr)
sys.excepthook = hook
from database.accounts import Accounts
def boom(*a, **k):
    raise SystemError("crash")
Accounts._audit = boom
from perpkit.cli import main as cli
from perpkit.cli.failure import report
cli.report = lambda error, *rest, **more: (_ for _ in ()).throw(error)
cli.run(["accounts", "add", "--env-file", sys.argv[1], "--proxy", "http://me@127.0.0.1:9", "--home", sys.argv[2]])
"""


@pytest.mark.slow
def test_a_process_that_crashes_with_its_locals_on_the_screen(sink: Sink, tmp_path: Path) -> None:
    file = keys_file(tmp_path)
    line = [sys.executable, "-X", "dev", "-W", "ignore", "-c", CRASH, str(file), str(tmp_path / "home")]
    environ = {**os.environ, "PERPKIT_PROXY_PASSWORD": PROXY_PASSWORD}
    ended = subprocess.run(line, capture_output=True, text=True, env=environ, timeout=60, check=False, cwd=Path(__file__).parents[2])
    assert ended.returncode != 0
    assert "SystemError" in ended.stderr
    assert "locals" in ended.stderr
    sink.add("crash", ended.stdout + ended.stderr)
    sink.folder(tmp_path / "home")
    sink.check()


@pytest.mark.slow
def test_a_living_bot_and_its_control_api(sink: Sink, tmp_path: Path, venues: Venues) -> None:
    """Its keys work; they are in nothing that it prints, logs, keeps, or answers over HTTP."""
    sink.secrets |= {name: value for name, value in venues.environ.items() if ("KEY" in name and "INDEX" not in name) or "OKX" in name}
    home, file = tmp_path / "home", tmp_path / "keys.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in venues.environ.items()))
    file.chmod(0o600)
    command = [sys.executable, "-m", "perpkit"]
    ends = venues.options("okx", "hyperliquid")
    added = subprocess.run(
        [*command, "accounts", "add", "--env-file", str(file), "--exchanges", "okx,hyperliquid", "--home", str(home)],
        capture_output=True,
        text=True,
        check=True,
    )
    sink.add("accounts add", added.stdout + added.stderr)
    bot = tmp_path / "bot.yaml"
    bot.write_text(
        'strategy: funding_arbitrage\nvenues: {okx: {}, hyperliquid: {}}\ncontrol: {}\nparameters: {symbols: [BTC], min_profit: "0.5"}\n'
    )
    line = [*command, "run", str(bot), "--env", "live", "--yes", "--json", "--home", str(home), *ends]
    environ = {name: value for name, value in os.environ.items() if name != "PERPKIT_DEBUG"}
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
    out = ""
    try:
        assert process.stdout is not None
        for text in process.stdout:
            out += text
            if '"running' in text:
                break
        (where,) = home.glob("*.control")
        running = json.loads(where.read_text())
        for path in ("/openapi.json", "/health", "/status", "/positions", "/config", "/bots", "/metrics", "/"):
            request = Request(running["url"] + path, headers={"Authorization": f"Bearer {running['key']}"})  # noqa: S310
            try:
                with urlopen(request, timeout=10) as answer:  # noqa: S310
                    sink.add(f"GET {path}", answer.read().decode())
            except OSError as e:
                sink.add(f"GET {path}", repr(e) + str(getattr(e, "read", lambda: b"")()))
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=40)
    finally:
        process.kill()
        process.wait()
    sink.add("run", out + rest + err)
    assert "from the vault" in out
    assert '"running' in out, err
    sink.folder(home)
    assert {"file journal.db", "file perpkit.db", "file run.log"} <= {where for where, _ in sink.said}
    sink.check()
