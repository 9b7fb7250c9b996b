"""The frame of the command: cheap to start, errors in one line, exit codes that scripts can use."""

import json
import subprocess
import sys

import pytest

from exchange_clients import errors
from perpkit.cli import failure
from perpkit.cli.main import COMMANDS, run

HEAVY = ("aiohttp", "sqlalchemy", "alembic", "eth_account", "coincurve", "pydantic", "textual", "cryptography", "exchange_clients")


@pytest.mark.slow
def test_help_imports_nothing_heavy() -> None:
    code = (
        f"import sys; from perpkit.cli.main import run; run(['--help']); print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert all(name in done.stdout for name in COMMANDS)


GROUPS = {
    "accounts": ("add", "list", "verify", "remove", "rotate"),
    "config": ("new", "check", "reload"),
    "db": ("status", "upgrade", "downgrade", "roll-up", "retain", "backup", "check", "import", "export"),
    "keys": ("add", "list", "revoke"),
}
LINES = [f"{command} {inner}".strip() for command in COMMANDS for inner in GROUPS.get(command, ("",))]


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_every_command_has_help_and_json(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*line.split(), "--help"]) == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_of_commands_lists_them(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([group, "--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in GROUPS[group])


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["venues", "--jsn"], "perpkit venues --help"), (["book", "lighter"], "perpkit book --help"), (["bok"], "book")],
)
def test_wrong_usage_is_one_line_and_two(arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == failure.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert hint in err


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (errors.MissingCredentials("private_key is missing: set X", venue="v"), "credentials", 3),
        (errors.PermissionDenied("expired", venue="v"), "credentials", 3),
        (errors.UnknownInstrument("no market", venue="v"), "symbol", 2),
        (errors.ConfigError("no such venue", venue="v"), "usage", 2),
        (errors.OrderOutcomeUnknown("not known", client_order_id="7", venue="v"), "unproved", 5),
        (errors.RateLimited("slow down", venue="v"), "rate_limit", 4),
        (errors.ConnectFailed("refused", venue="v"), "unreachable", 4),
        (errors.VenueUnavailable("503", venue="v"), "venue", 4),
        (errors.DecodeError("garbage", venue="v"), "venue", 4),
        (TimeoutError(), "timeout", 4),
        (ModuleNotFoundError("No module named 'textual'", name="textual"), "missing_package", 2),
        (KeyboardInterrupt(), "interrupted", 130),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError", 70),
    ],
)
def test_every_failure_has_its_code(error: BaseException, kind: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert failure.report(error, ["--json"]) == code
    out, err = capsys.readouterr()
    told = json.loads(out)["error"]
    assert (told["kind"], told["exit_code"]) == (kind, code)
    assert err.startswith("perpkit: ")
    assert err.count("\n") == 1


def test_multi_line_messages_become_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    failure.report(failure.Failure("first\n  second", hint="do this"), [])
    assert capsys.readouterr().err == "perpkit: first second; do this\n"


@pytest.mark.slow
def test_without_the_cli_extra_the_next_step_is_told() -> None:
    code = "import sys; sys.modules['cyclopts'] = None; from perpkit.cli.main import run; sys.exit(run([]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, 'perpkit: the command line is not installed: pip install "perpkit[cli]"\n')
