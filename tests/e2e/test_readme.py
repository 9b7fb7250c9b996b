"""What the README shows runs: its programs against the dialects, its commands in a shell."""

import re
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from exchange_clients.transport.runtime import Runtime
from exchange_simulator.conformance.bench import set_up
from perpkit.cli.main import COMMANDS, run

README = (Path(__file__).resolve().parent.parent.parent / "README.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
PROGRAMS = [text for language, text in FENCED if language == "python"]
SHELL = [line for language, text in FENCED if not language for line in text.splitlines()]


def program(naming: str) -> dict[str, Any]:
    """The program that uses that name, executed but not started."""
    (source,) = [text for text in PROGRAMS if naming in text]
    found: dict[str, Any] = {"__name__": "readme"}
    exec(compile(source, "README.md", "exec"), found)  # noqa: S102 - it is our own text
    return found


@pytest.mark.slow
async def test_the_reading_program(capsys: pytest.CaptureFixture[str]) -> None:
    main: Callable[[dict[str, Any]], Awaitable[None]] = program("LighterClient")["main"]
    async with await set_up("lighter", Runtime.system()) as bench:
        await main(bench.settings())
    out = capsys.readouterr().out
    assert "bid 49999" in out
    assert "Bbo(" in out


@pytest.mark.slow
async def test_the_trading_program(capsys: pytest.CaptureFixture[str]) -> None:
    buy: Callable[[dict[str, Any], Any], Awaitable[None]] = program("HyperliquidClient")["buy"]
    async with await set_up("hyperliquid", Runtime.system()) as bench:
        await buy(bench.settings(), bench.credentials())
        assert len(bench.commands()) == 2
        assert bench.orders() == []
    assert capsys.readouterr().out.startswith("True ")


def test_every_make_target_shown_exists() -> None:
    makefile = (Path(__file__).resolve().parent.parent.parent / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    shown = set(re.findall(r"`?make ([a-z]+)", README))
    assert shown
    assert shown <= targets


@pytest.mark.slow
def test_every_perpkit_command_shown_exists(capsys: pytest.CaptureFixture[str]) -> None:
    shown = set(re.findall(r"perpkit ([a-z][a-z-]*)", README)) - {"is", "needs"}
    assert shown <= set(COMMANDS), shown
    typed = [line for line in SHELL if line.startswith(".venv/bin/perpkit")]
    assert typed
    for line in typed:
        assert run(shlex.split(line)[1:]) == 0
    assert "Commands" in capsys.readouterr().out
