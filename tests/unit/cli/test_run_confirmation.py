"""Real orders are asked for: typed, or said with --yes; and which world they go to is said."""

from pathlib import Path
from typing import Any

import pytest

from perpkit.bot.runner import Run
from perpkit.cli.main import run

BOT = """\
strategy: funding_arbitrage
venues: {lighter: {environment: testnet}, hyperliquid: {environment: prod}}
parameters: {symbols: [BTC]}
"""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Runs that would have begun."""
    found: list[Run] = []

    async def no_run(self: Run, *_: Any) -> bool:
        found.append(self)
        return True

    monkeypatch.setattr(Run, "run", no_run)
    return found


@pytest.mark.parametrize(
    ("typed", "options", "runs"),
    [
        ("live", [], 1),
        ("LIVE ", [], 1),
        ("yes", [], 0),
        ("", [], 0),
        (None, [], 0),
        (None, ["--yes"], 1),
        (EOFError, [], 0),
        (KeyboardInterrupt, [], 0),
    ],
)
def test_live_starts_only_when_somebody_means_it(
    typed: Any, options: list[str], runs: int, started: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        if not isinstance(typed, str):
            raise typed
        return typed

    (tmp_path / "bot.yaml").write_text(BOT)
    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr("sys.stdin.isatty", lambda: typed is not None, raising=False)
    code = run(["run", str(tmp_path / "bot.yaml"), "--env", "live", "--home", str(tmp_path / "home"), *options])
    assert len(started) == runs
    assert (code == 0) is bool(runs)
    if asked:
        assert "lighter testnet, hyperliquid mainnet" in asked[0]
