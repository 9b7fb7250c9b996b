"""`perpkit config`: files that are written can be used, files that cannot be used are explained."""

import json
import os
import pty
import select
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from exchange_clients import venues
from perpkit.bot.config import PaperConfig, load, parse
from perpkit.bot.contradictions import RULES, contradictions
from perpkit.bot.meanings import parameters
from perpkit.cli.config import ASKED, FILLED
from perpkit.cli.main import run
from strategies import registry
from strategies.risk.limits import RiskLimits

MINIMAL: dict[str, tuple[str, ...]] = {
    "funding_arbitrage": ("--venue", "lighter", "--venue", "hyperliquid=testnet"),
    "grid": (
        "--venue",
        "lighter",
        "--set",
        "symbols=[BTC]",
        "--set",
        "grid_step=0.5",
        "--set",
        "order_notional_usd=50",
        "--set",
        "take_profit=1",
    ),
}


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    code = run([*arguments, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


# ---- every parameter is explained


@pytest.mark.parametrize("name", sorted(MINIMAL))
def test_every_parameter_has_a_meaning(name: str) -> None:
    for model in (registry.load(name).config_class, RiskLimits, PaperConfig):
        assert [p.name for p in parameters(model) if not p.meaning] == [], "add a line to perpkit/bot/meanings.py, or a description"


def test_questions_and_rules_name_real_parameters() -> None:
    for name, asked in ASKED.items():
        assert set(asked) <= set(registry.load(name).config_class.model_fields), name
    known = {f"parameters.{p.name}" for name in MINIMAL for p in parameters(registry.load(name).config_class)}
    known |= {f"risk.{p.name}" for p in parameters(RiskLimits)} | {f"paper.{p.name}" for p in parameters(PaperConfig)}
    assert {path.partition("*")[0] for rule in RULES for path in (rule.left, rule.right)} <= known


# ---- new


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MINIMAL))
def test_a_written_file_can_be_used_and_says_every_parameter(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bot.yaml"
    code, told, err = call(
        capsys, "config", "new", str(path), "--strategy", name, *MINIMAL[name], "--account", "main", "--notify", "MY_TARGET", "--control"
    )
    assert (code, err, told["bot"]) == (0, "", f"{name}:main")
    bot = load(path)
    assert bot.notifications[0].env == "MY_TARGET"
    text = path.read_text(encoding="utf-8")
    for parameter in parameters(registry.load(name).config_class):
        assert f"{parameter.name.rpartition('.')[2]}:" in text or parameter.name in FILLED
    # With every comment on a parameter taken away it is still a valid file: the defaults that are shown are the defaults.
    assert "LIGHTER_API_KEY_PRIVATE_KEY" in told["variables"]
    assert any("TESTNET" in variable for variable in told["variables"]) == (name == "funding_arbitrage")
    assert call(capsys, "config", "check", str(path))[1]["usable"] is True


@pytest.mark.slow
def test_the_defaults_that_are_shown_are_the_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bot.yaml"
    assert (
        call(capsys, "config", "new", str(path), "--strategy", "funding_arbitrage", *MINIMAL["funding_arbitrage"], "--account", "main")[0]
        == 0
    )
    shown = [
        line.replace("# ", "", 1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip().startswith("# ") and ":" in line
    ]
    inner = [line for line in shown if line.startswith("  ") and not line.startswith("  #")]
    values = yaml.safe_load(
        "strategy: funding_arbitrage\naccount: main\nvenues: [lighter, hyperliquid]\nparameters:\n" + "\n".join(_part(shown, "parameters"))
    )
    plain = parse({"strategy": "funding_arbitrage", "account": "main", "venues": ["lighter", "hyperliquid"]})
    assert inner
    assert parse(values).strategy_config == plain.strategy_config


def _part(lines: list[str], section: str) -> list[str]:
    start = lines.index(f"{section}:") + 1
    end = next((n for n in range(start, len(lines)) if not lines[n].startswith(" ")), len(lines))
    return lines[start:end]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--strategy", "gird"), "did you mean grid"),
        (("--strategy", "grid"), "--venue is missing"),
        (("--strategy", "grid", "--venue", "lightr"), "did you mean lighter"),
        (("--strategy", "grid", "--venue", "lighter=moon"), "lighter has no 'moon'"),
        (("--strategy", "grid", "--venue", "lighter"), "--set symbols=... is missing"),
        (("--strategy", "grid", "--set", "x"), "is no NAME=VALUE"),
        (("--strategy", "grid", *MINIMAL["grid"], "--set", "max_ordrs=3"), "did you mean max_orders"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    arguments: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bot.yaml"
    code, told, err = call(capsys, "config", "new", str(path), *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert words in f"{told['error']['message']}; {told['error']['hint']}"
    assert not path.exists()


@pytest.mark.slow
def test_a_file_that_is_there_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bot.yaml"
    path.write_text("mine", encoding="utf-8")
    code, told, _ = call(capsys, "config", "new", str(path), "--strategy", "grid", *MINIMAL["grid"])
    assert (code, path.read_text(encoding="utf-8")) == (2, "mine")
    assert "--force" in told["error"]["hint"]


@pytest.mark.slow
def test_questions_are_asked_again_until_the_answer_fits_and_never_ask_for_a_key(tmp_path: Path) -> None:
    """In a terminal."""
    answers = [
        "gird",
        "grid",
        "lightr",
        "lighter",
        "",
        "testnet",
        "BTC, ETH",
        "",
        "much",
        "0.5",
        "50",
        "",
        "1",
        "",
        "",
        "",
        "",
        "MY_TARGET",
        "maybe",
        "yes",
    ]
    path = tmp_path / "bot.yaml"
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(Path(__file__).parents[3])
        os.execv(sys.executable, [sys.executable, "-m", "perpkit", "config", "new", str(path)])  # noqa: S606 - a terminal of its own
    said, fresh = b"", b""
    while select.select([terminal], [], [], 20)[0]:
        try:
            got = os.read(terminal, 4096)
        except OSError:  # the child is gone
            break
        said, fresh = said + got, fresh + got
        if fresh.rstrip(b" ").endswith(b":") and answers:
            os.write(terminal, answers.pop(0).encode() + b"\n")
            fresh = b""
        if not got:
            break
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    text = said.decode()
    assert (os.waitstatus_to_exitcode(status), answers) == (0, []), text
    for words in ("did you mean grid?", "did you mean lighter?", "an answer is needed", "valid decimal", "yes or no"):
        assert words in text
    secret = [item.name for name in venues.names() for item in venues.get(name).spec.credentials if item.secret]
    asked = text.partition("is written")[0].lower()
    assert not any(name in asked for name in secret)
    bot = load(path)
    config: Any = bot.strategy_config
    assert (bot.name, bot.venues, config.symbols) == ("grid:main", {"lighter": {"environment": "testnet"}}, ("BTC", "ETH"))
    assert (str(config.grid_step), str(config.order_notional_usd), str(config.take_profit)) == ("0.5", "50", "1")
    assert bot.control == {}


# ---- check


@pytest.mark.slow
def test_problems_are_listed_each_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bot.yaml"
    path.write_text("strategy: funding_arbitrage\nvenues: [lighter, hyperliqid]\nparameters: {max_positons: 3}\n", encoding="utf-8")
    code, told, _ = call(capsys, "config", "check", str(path))
    assert (code, told["usable"]) == (2, False)
    assert any("did you mean hyperliquid?" in problem for problem in told["problems"])
    path.write_text("strategy: funding_arbitrage\nvenues: [lighter, hyperliquid]\nparameters: {max_positons: 3}\n", encoding="utf-8")
    assert run(["config", "check", str(path)]) == 2
    err = capsys.readouterr().err
    assert err == f"{path}: parameters.max_positons: unknown parameter, did you mean max_positions?\n"


@pytest.mark.slow
def test_effective_values_with_unit_meaning_and_where_they_come_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bot.yaml"
    path.write_text(
        "strategy: funding_arbitrage\nvenues: {lighter: {}, hyperliquid: {environment: testnet}}\n"
        "parameters: {max_positions: 3, risk_config: {min_hold_hours: 2}}\nrisk: {max_order_usd: 500}\n",
        encoding="utf-8",
    )
    code, told, _ = call(capsys, "config", "check", str(path))
    assert code == 1
    assert any("default_position_size_usd 1000 is above risk.max_order_usd 500" in line for line in told["contradictions"])
    assert told["venues"] == {"lighter": "mainnet", "hyperliquid": "testnet"}
    held = told["parameters"]["risk_config.min_hold_hours"]
    assert (held["value"], held["given"], held["unit"], held["tighter"]) == ("2", True, "hours", "lower")
    assert told["parameters"]["max_position_size_usd"]["given"] is False
    assert told["parameters"]["exchanges"]["value"] == ["lighter", "hyperliquid"]
    assert run(["config", "check", str(path)]) == 1
    out = capsys.readouterr().out
    assert "contradiction: " in out
    assert "only lower" in out


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"parameters": {"max_total_exposure_usd": 500}}, "not even one leg fits"),
        ({"parameters": {"max_break_even_hours": 500}}, "left before their costs are earned"),
        ({"parameters": {"target_leverage": 20}}, "no entry"),
        ({"parameters": {"max_positions": 500}}, "so many pairs are never open"),
        ({"risk": {"max_naked_usd": 100}}, "may block all entries"),
        ({"risk": {"max_loop_lag_s": 0.05}}, "max_loop_lag_s 0.05"),
        ({"paper": {"balance_usd": 10}}, "cannot pay a leg"),
        ({"parameters": {"risk_config": {"min_liquidation_distance_pct": "0.07"}}}, "reduced as soon as they are made"),
    ],
)
def test_contradictions(sections: dict[str, Any], words: str) -> None:
    base = {"strategy": "funding_arbitrage", "venues": ["lighter", "hyperliquid"]}
    assert contradictions(parse(base)) == [], "the defaults agree with each other"
    assert any(words in line for line in contradictions(parse({**base, **sections})))
