"""`perpkit accounts` as somebody uses it, against simulated venues."""

import json
import os
import pty
import select
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from exchange_clients.secret import Secret
from exchange_clients.signing import Credentials
from exchange_clients.spec import CredentialField
from exchange_clients.venues import get
from perpkit.cli import entering
from perpkit.cli.failure import Failure
from perpkit.cli.main import run as command
from tests.accounts.conftest import Venues

ROOT = Path(__file__).parents[2]
OKX = {
    "OKX_API_KEY": "5f1c8b4e-1111-4a6b-9f9e-2f6f0c3f5a10",
    "OKX_API_SECRET": "A1B2C3D4E5F60718293A4B5C6D7E8F90",
    "OKX_API_PASSPHRASE": "Pass-word9",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("PERPKIT_") and name != "PERPKIT_PAYLOADS":
            monkeypatch.delenv(name)
    return tmp_path / "home"


def env_file(folder: Path, values: dict[str, str], mode: int = 0o600) -> Path:
    path = folder / "keys.env"
    path.write_text("# keys\n\n" + "".join(f"export {name}='{value}'  # from the venue\n" for name, value in values.items()))
    path.chmod(mode)
    return path


class Said:
    """What a command answered."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def ask(home: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def accounts(*words: str) -> Said:
        code = command(["accounts", *words, "--home", str(home)])
        told = capsys.readouterr()
        return Said(code, told.out, told.err)

    return accounts


def test_from_a_file_verified_listed_changed_and_removed(ask: Any, home: Path, tmp_path: Path, venues: Venues) -> None:
    file = env_file(tmp_path, dict(venues.environ))
    said = ask("add", "--env-file", str(file), "--verify", "--json", *venues.options("okx", "lighter", "hyperliquid"))
    assert said.code == 0, said.err
    assert {(row["venue"], row["what"]) for row in said.json["stored"]} == {
        ("okx", "stored"),
        ("lighter", "stored"),
        ("hyperliquid", "stored"),
    }
    assert {(row["venue"], row["outcome"], row["can_withdraw"]) for row in said.json["verified"]} == {
        ("okx", "ok", False),
        ("lighter", "ok", False),
        ("hyperliquid", "ok", False),
    }
    shown = {row["field"]: row["value"] for row in said.json["stored"] if row["venue"] == "lighter"}
    assert shown == {"api_key_private_key": "***", "account_index": venues.environ["LIGHTER_ACCOUNT_INDEX"], "api_key_index": "4"}
    assert stat.S_IMODE((home / "vault.key").stat().st_mode) == 0o600

    (account,) = ask("list", "--json").json["accounts"]
    assert [(v["venue"], v["environment"], v["fields"]) for v in account["venues"]][2] == (
        "okx",
        "mainnet",
        ["api_key", "api_secret", "passphrase"],
    )
    assert ask("verify", *venues.options("okx", "lighter", "hyperliquid")).code == 0

    said = ask("add", "--env-file", str(env_file(tmp_path, {"OKX_API_PASSPHRASE": "Another-1"})), "--exchanges", "okx", "--json")
    assert said.code == 0
    assert {row["field"]: row["what"] for row in said.json["stored"]} == {"api_key": "kept", "api_secret": "kept", "passphrase": "stored"}
    said = ask("verify", "--exchanges", "okx", "--json", *venues.options("okx"))
    assert said.code == 3
    assert [row["outcome"] for row in said.json["verified"]] == ["refused"]

    assert ask("remove", "--account-name", "main", "--exchanges", "okx,lighter").code == 2, "nobody was asked"
    assert ask("remove", "--account-name", "main", "--exchanges", "okx,lighter", "--yes").code == 0
    (account,) = ask("list", "--json").json["accounts"]
    assert [v["venue"] for v in account["venues"]] == ["hyperliquid"]
    assert ask("rotate").code == 0
    assert ask("remove", "--account-name", "main", "--yes").code == 0
    assert ask("list", "--json").json == {"accounts": []}


def test_what_a_venue_does_not_stand_behind_is_not_stored(ask: Any, tmp_path: Path, venues: Venues) -> None:
    file = env_file(tmp_path, {**OKX, **{k: v for k, v in venues.environ.items() if k.startswith("LIGHTER")}})
    said = ask("add", "--env-file", str(file), "--verify", *venues.options("okx", "lighter"))
    assert said.code == 3
    assert "okx mainnet: the venue does not accept the key" in said.err
    assert "nothing was stored" in said.err
    said = ask("add", "--env-file", str(file), "--exchanges", "lighter", "--verify", "--endpoint", "http://127.0.0.1:9")
    assert said.code == 4
    assert "could not be asked" in said.err
    assert ask("list", "--json").json == {"accounts": []}


@pytest.mark.parametrize(
    ("values", "problems"),
    [
        ({**OKX, "OKX_API_SECRET": "your_secret_here"}, ["api_secret is a placeholder"]),
        (
            {**OKX, "OKX_API_SECRET": "<secret>", "OKX_API_PASSPHRASE": "xxx"},
            ["api_secret is a placeholder", "passphrase is a placeholder"],
        ),
        ({"OKX_API_KEY": "5f1c8b4e"}, ["api_secret is missing", "passphrase is missing"]),
        ({"HYPERLIQUID_PRIVATE_KEY": "deadbeef", "HYPERLIQUID_ACCOUNT_ADDRESS": "0x" + "12" * 20}, ["hyperliquid mainnet: "]),
        ({"LIGHTER_API_KEY_PRIVATE_KEY": "ab" * 40, "LIGHTER_ACCOUNT_INDEX": "one", "LIGHTER_API_KEY_INDEX": "4"}, ["lighter mainnet: "]),
        ({**OKX, "OKX_API_SECRET": "a\u200bb"}, ["api_secret holds characters that cannot be seen"]),
    ],
)
def test_problems_are_told_by_field_and_without_values(ask: Any, tmp_path: Path, values: dict[str, str], problems: list[str]) -> None:
    said = ask("add", "--env-file", str(env_file(tmp_path, values)))
    assert said.code == 3, said.err
    assert all(problem in said.err for problem in problems), said.err
    assert "nothing was stored" in said.err
    for name, value in values.items():
        if name.split("_", 1)[1] not in ("ACCOUNT_ADDRESS", "API_KEY_INDEX"):
            assert value not in said.err.replace("placeholder", "").replace("https", ""), name
    assert ask("list", "--json").json == {"accounts": []}


def test_a_testnet_has_variables_and_keys_of_its_own(ask: Any, tmp_path: Path, venues: Venues) -> None:
    own = {name: value for name, value in venues.environ.items() if name.startswith("LIGHTER")}
    both = own | {name.replace("LIGHTER", "LIGHTER_TESTNET"): value for name, value in own.items()}
    file = env_file(tmp_path, both)
    assert ask("add", "--env-file", str(file), "--testnet").code == 0
    assert ask("add", "--env-file", str(file), "--exchanges", "lighter").code == 0
    (account,) = ask("list", "--json").json["accounts"]
    assert [(v["venue"], v["environment"]) for v in account["venues"]] == [("lighter", "mainnet"), ("lighter", "testnet")]
    assert ask("remove", "--account-name", "main", "--testnet", "--yes").code == 0
    (account,) = ask("list", "--json").json["accounts"]
    assert [v["environment"] for v in account["venues"]] == ["mainnet"]
    assert ask("add", "--env-file", str(file), "--exchanges", "okx", "--testnet").code == 2, "that venue calls it demo"
    assert ask("add", "--env-file", str(file), "--testnet", "--environment", "mainnet").code == 2


def test_from_the_environment(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OKX.items():
        monkeypatch.setenv(name, value)
    said = ask("add", "--from-env", "--exchanges", "okx", "--account-name", "two", "--json")
    assert said.code == 0, said.err
    assert said.json["account"] == "two"
    assert ask("add", "--from-env", "--exchanges", "okx,nowhere").code == 2


def test_a_file_that_others_read_or_that_is_none_is_refused(ask: Any, tmp_path: Path) -> None:
    said = ask("add", "--env-file", str(env_file(tmp_path, OKX, 0o644)))
    assert said.code == 2
    assert "chmod 600" in said.err
    assert ask("add", "--env-file", str(tmp_path / "none")).code == 2
    path = env_file(tmp_path, OKX)
    path.write_text("OKX_API_KEY=ok\nhunter2\n")
    said = ask("add", "--env-file", str(path))
    assert "line 2 of" in said.err
    assert "hunter2" not in said.err


def test_there_must_be_something_to_take_from(ask: Any) -> None:
    said = ask("add", "--exchanges", "okx")
    assert said.code == 3
    assert "--from-env or --env-file" in said.err
    said = ask("add", "--from-env", "--exchanges", "okx")
    assert said.code == 3
    assert "OKX_API_KEY, OKX_API_SECRET, OKX_API_PASSPHRASE" in said.err


@pytest.mark.parametrize(
    ("given", "password", "code", "shown"),
    [
        ("http://10.0.0.1:3128", "", 0, "http://10.0.0.1:3128"),
        ("http://me@10.0.0.1:3128", "pw/@:1", 0, "http://***@10.0.0.1:3128"),
        ("okx=https://me@10.0.0.1", "pw", 0, "https://***@10.0.0.1"),
        ("http://me@10.0.0.1:3128", "", 2, ""),
        ("http://me:hunter2@10.0.0.1:3128", "", 3, ""),
        ("socks5://10.0.0.1:3128", "", 2, ""),
        ("nowhere=http://10.0.0.1:3128", "", 2, ""),
    ],
)
def test_proxies(ask: Any, home: Path, monkeypatch: pytest.MonkeyPatch, given: str, password: str, code: int, shown: str) -> None:
    if password:
        monkeypatch.setenv("PERPKIT_PROXY_PASSWORD", password)
    said = ask("add", "--proxy", given, "--json")
    assert said.code == code, said.err
    assert "hunter2" not in said.err + said.out
    if code == 0:
        assert list(said.json["proxies"].values()) == [shown]
        (account,) = ask("list", "--json").json["accounts"]
        assert [p["address"] for p in account["proxies"]] == [shown]
        venue = given.partition("=")[0] + "=" if given.startswith("okx") else ""
        assert ask("add", "--proxy", f"{venue}none").code == 0
        (account,) = ask("list", "--json").json["accounts"]
        assert account["proxies"] == []


def test_a_password_with_special_letters_is_part_of_the_address() -> None:
    found = entering.proxies_of(["http://me@10.0.0.1:3128"], {"PERPKIT_PROXY_PASSWORD": "p@s/:s"}, None)[""]
    assert found is not None
    assert found.reveal() == "http://me:p%40s%2F%3As@10.0.0.1:3128"


# ---- keys that can withdraw


def test_a_key_that_can_withdraw_needs_a_word(ask: Any, tmp_path: Path, venues: Venues, monkeypatch: pytest.MonkeyPatch) -> None:
    """The venue's answer is changed on its way in; everything of ours is as it is."""
    import msgspec

    from exchange_clients.okx.client.managers.account_manager import OkxAccountManager

    real = OkxAccountManager.fetch_key_info

    async def withdraws(self: OkxAccountManager) -> Any:
        return msgspec.structs.replace(await real(self), can_withdraw=True)

    monkeypatch.setattr(OkxAccountManager, "fetch_key_info", withdraws)
    file = env_file(tmp_path, {k: v for k, v in venues.environ.items() if k.startswith("OKX")})
    line = ("add", "--env-file", str(file), "--verify", *venues.options("okx"))
    said = ask(*line)
    assert said.code == 1
    assert "WARNING: main: THE KEY OF OKX CAN WITHDRAW" in said.err
    assert "--allow-withdraw-keys" in said.err
    assert ask("list", "--json").json == {"accounts": []}
    said = ask(*line, "--allow-withdraw-keys")
    assert said.code == 0
    assert "CAN WITHDRAW" in said.err
    assert ask("verify", *venues.options("okx")).code == 1
    assert ask("verify", "--allow-withdraw-keys", *venues.options("okx")).code == 0


# ---- the key of the vault


def test_a_lost_key_says_what_to_do(ask: Any, home: Path, tmp_path: Path) -> None:
    file = str(env_file(tmp_path, OKX))
    assert ask("add", "--env-file", file).code == 0
    (home / "vault.key").unlink()
    said = ask("verify")
    assert said.code == 3
    assert "Bring the key back" in said.err
    assert "remove --lost-key" in said.err
    assert ask("add", "--env-file", file).code == 3
    assert len(ask("list", "--json").json["accounts"]) == 1
    assert ask("remove", "--lost-key", "--yes").code == 0
    assert ask("add", "--env-file", file).code == 0


def test_the_key_can_be_in_a_variable(ask: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERPKIT_VAULT_KEY", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=")
    assert ask("add", "--env-file", str(env_file(tmp_path, OKX))).code == 0
    assert not (home / "vault.key").exists()
    said = ask("rotate")
    assert said.code == 3
    assert "PERPKIT_VAULT_NEW_KEY is not set" in said.err
    assert ask("rotate", "--key", "file").code == 0
    monkeypatch.delenv("PERPKIT_VAULT_KEY")
    assert ask("rotate", "--keep-old").code == 0


# ---- asking


def test_every_declared_field_is_asked_for_hidden_and_placeholders_again() -> None:
    spec = get("okx").spec
    answers = iter(["", "5f1c8b4e", "your_secret", "A1B2C3", "Pass"])
    questions: list[str] = []
    shown: list[str] = []

    def ask(question: str) -> Secret:
        questions.append(question)
        return Secret(next(answers))

    found = entering.from_human(spec, "mainnet", Credentials("okx", {}), ask, shown.append)
    assert {name: value.reveal() for name, value in found.items()} == {"api_key": "5f1c8b4e", "api_secret": "A1B2C3", "passphrase": "Pass"}
    assert [question.split()[0].rstrip(":") for question in questions] == ["api_key", "api_key", "api_secret", "api_secret", "passphrase"]
    assert shown[1:] == ["  api_key is needed", "  api_secret is a placeholder, not a real value"]


def test_a_new_venue_is_asked_for_by_its_own_spec() -> None:
    from dataclasses import replace

    fields = (
        CredentialField("seed_phrase", "NEW{env}_SEED", help="24 words"),
        CredentialField("pin", "NEW{env}_PIN", unless="seed_phrase"),
        CredentialField("label", "NEW{env}_LABEL", secret=False, required=False),
    )
    spec = replace(get("okx").spec, name="new", credentials=fields)
    questions: list[str] = []

    def ask(question: str) -> Secret:
        questions.append(question.strip())
        return Secret("real words" if "seed" in question else "")

    found = entering.from_human(spec, "mainnet", Credentials("new", {}), ask, lambda _: None)
    assert list(found) == ["seed_phrase"]
    assert questions == ["seed_phrase (24 words):", "label [optional]:"]
    again = entering.from_human(spec, "mainnet", Credentials("new", {"seed_phrase": "old words"}), lambda _: Secret(""), lambda _: None)
    assert again == {}, "Enter keeps what is stored"


def typed(line: list[str], answers: list[tuple[str, str]], environ: dict[str, str]) -> tuple[int, str]:
    """Run in a terminal of its own and type an answer after each question; (exit code, everything the terminal showed)."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execvpe(line[0], line, {**os.environ, **environ, "TERM": "dumb", "COLUMNS": "200"})  # noqa: S606
    seen, waiting = "", list(answers)
    mark = 0
    until = time.monotonic() + 40
    while time.monotonic() < until:
        ready, _, _ = select.select([terminal], [], [], 0.2)
        if ready:
            try:
                data = os.read(terminal, 65536)
            except OSError:
                break
            if not data:
                break
            seen += data.decode(errors="replace")
        if waiting and waiting[0][0] in seen[mark:]:
            mark = len(seen)
            os.write(terminal, waiting.pop(0)[1].encode() + b"\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen


@pytest.mark.slow
def test_typing_in_a_shell_leaves_nothing_on_the_screen_or_in_its_history(home: Path, tmp_path: Path) -> None:
    history = tmp_path / "history"
    line = f"{sys.executable} database/scripts/add_account.py --interactive --exchanges okx --proxy http://me@10.0.0.1:1 --home {home}"
    shell = ["bash", "--norc", "-i", "-c", f"set -o history; history -s '{line}'; {line}; code=$?; history -w; exit $code"]
    answers = [("api_key", OKX["OKX_API_KEY"]), ("api_secret", OKX["OKX_API_SECRET"]), ("passphrase", OKX["OKX_API_PASSPHRASE"])]
    code, seen = typed(shell, [*answers, ("password of the proxy", "Proxy-pass-77")], {"HISTFILE": str(history)})
    assert code == 0, seen
    assert "stored" in seen
    kept = history.read_text()
    assert "add_account.py" in kept
    for secret in (*OKX.values(), "Proxy-pass-77"):
        assert secret not in seen, "hidden input"
        assert secret not in kept
    said = subprocess.run(
        [sys.executable, str(ROOT / "database/scripts/list_accounts.py"), "--home", str(home), "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    (account,) = json.loads(said.stdout)["accounts"]
    assert account["venues"][0]["fields"] == ["api_key", "api_secret", "passphrase"]
    assert account["proxies"] == [{"venue": "all", "address": "http://***@10.0.0.1:1"}]


def test_the_other_scripts_are_the_commands(home: Path) -> None:
    for script, verb in (("remove_account", "remove"), ("rotate_key", "rotate")):
        text = (ROOT / "database" / "scripts" / f"{script}.py").read_text()
        assert f'main(["accounts", "{verb}", *sys.argv[1:]])' in text


def test_environment_files_are_read_as_shells_write_them(tmp_path: Path) -> None:
    path = tmp_path / "x.env"
    path.write_text("\ufeffA=1\nexport B = 'two # not a comment' # one\n C=\"th=ree\"\nD=four # five\nE=\n# F=6\nG=a#b\n", encoding="utf-8")
    path.chmod(0o600)
    assert dict(entering.env_file(path)) == {"A": "1", "B": "two # not a comment", "C": "th=ree", "D": "four", "E": "", "G": "a#b"}
    assert "two" not in repr(entering.env_file(path))
    with pytest.raises(Failure):
        entering.env_file(tmp_path)
