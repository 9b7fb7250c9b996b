"""A bot's file: every mistake in one clear line that says what to do; and the page that lists what may be in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from perpkit.bot.config import BotConfig, InvalidConfig, PaperConfig, load, parse
from perpkit.bot.contradictions import contradictions

GOOD: dict[str, Any] = {"strategy": "funding_arbitrage", "venues": {"lighter": {}, "hyperliquid": {"environment": "testnet"}}}
GRID: dict[str, Any] = {"symbols": ["ETH"], "grid_step": "0.4", "take_profit": "0.5", "order_notional_usd": 200}
EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "bots").glob("*.yaml"))
PAGE = Path(__file__).parents[2] / "docs" / "environments.md"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strategy": "fundin_arbitrage"}, "did you mean funding_arbitrage?"),
        ({"strategy": "martingale"}, "there are funding_arbitrage"),
        ({"papr": {}}, "papr: unknown parameter, did you mean paper?"),
        ({"paper": {"balnce_usd": 1}}, "paper.balnce_usd: unknown parameter, did you mean balance_usd?"),
        ({"paper": {"balances": {"okx": 1}}}, "paper.balances.okx: not among venues (lighter, hyperliquid)"),
        ({"risk": {"max_order": 1}}, "risk.max_order: unknown parameter, did you mean max_order_usd?"),
        ({"venues": {"lihgter": {}}}, "venues.lihgter: no such venue, did you mean lighter?"),
        ({"venues": {"lighter": {"enviroment": "testnet"}, "hyperliquid": None}}, "did you mean environment?"),
        ({"venues": {"lighter": {"environment": "mars"}, "hyperliquid": None}}, "there is no 'mars', there are mainnet"),
        ({"parameters": {"min_proft": "0.1"}}, "parameters.min_proft: unknown parameter, did you mean min_profit?"),
        (
            {"parameters": {"risk_config": {"flip_margn": 1}}},
            "parameters.risk_config.flip_margn: unknown parameter, did you mean flip_margin?",
        ),
        ({"parameters": {"exchanges": ["lighter", "okx"]}}, "parameters.exchanges: okx is not among venues"),
        ({"parameters": {"account_name": "x"}}, "say it once, as account"),
        ({"control": {"prt": 1}}, "control.prt: unknown parameter, did you mean port?"),
        ({"account": "a b"}, "account:"),
        ({"parameters": {"symbols": "ETH"}}, "parameters.symbols: must be a list, as in [A, B]"),
        ({"parameters": {"max_positions": "three"}}, "parameters.max_positions: must be a whole number"),
        ({"parameters": {"min_profit": "0.1%"}}, "parameters.min_profit: must be a number, as in 0.001"),
        ({"parameters": {"max_positions": 0}}, "parameters.max_positions: must be greater than or equal to 1"),
        ({"venues": ["lighter"]}, "parameters.exchanges: needs at least 2, 1 given"),
        ({"strategy": "grid", "parameters": {}}, "parameters.grid_step: is missing"),
        (
            {"strategy": "grid", "parameters": {**GRID, "exchange": "okx"}},
            "parameters.exchange: okx is not among venues (lighter, hyperliquid)",
        ),
        ({"venues": ["bybit", "lighter"], "backtest": {"venues": {"bybit": {}}}}, "known to `perpkit backtest` alone"),
        ({"venues": {}}, "venues:"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidConfig) as told:
        parse({**GOOD, **change})
    assert said in str(told.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(InvalidConfig) as told:
        parse({**GOOD, "venues": {"lihgter": {}, "okx": {"proxi": ""}}, "parameters": {"exchanges": ["okx", "lihgter"], "max_position": 1}})
    assert len(told.value.problems) == 3


def test_a_key_that_stands_twice_is_told_with_both_lines(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text("strategy: grid\nvenues: [lighter]\nparameters:\n  max_orders: 3\n  max_orders: 30\n")
    with pytest.raises(InvalidConfig) as told:
        load(file)
    assert "parameters.max_orders: stands twice, in lines 4 and 5: leave one" in str(told.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "venues.hyperliquid with play money beside lighter with real money"),
        ({"parameters": {"risk_config": {"stop_loss_pct": 2}}}, "stop_loss_pct 2 is a fraction, that is 200 %: write 0.02 for 2 %"),
    ],
)
def test_what_is_valid_and_cannot_be_meant_is_a_contradiction(change: dict[str, Any], said: str) -> None:
    assert any(said in line for line in contradictions(parse({**GOOD, **change})))
    assert not [
        line for line in contradictions(parse({**GOOD, "venues": ["lighter", "hyperliquid"]})) if "money" in line or "fraction" in line
    ]


SECRET = "0x" + "ab12" * 16


@pytest.mark.parametrize(
    "change",
    [
        {"venues": {"lighter": {"api_key_private_key": SECRET}, "hyperliquid": {}}},
        {"venues": {"lighter": {"venue_options": {"note": SECRET}}, "hyperliquid": {}}},
        {"api_secret": "hunter2-hunter2"},
        {"parameters": {"password": "hunter2-hunter2"}},
    ],
)
def test_e41_a_secret_in_the_file_is_refused_and_not_repeated(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig) as told:
        parse({**GOOD, **change})
    assert "does not belong into this file" in str(told.value)
    assert "in the environment" in str(told.value)
    assert SECRET not in str(told.value)
    assert "hunter2" not in str(told.value)


def test_the_hint_names_the_variables_of_the_venue() -> None:
    with pytest.raises(InvalidConfig, match="LIGHTER_API_KEY_PRIVATE_KEY"):
        parse({**GOOD, "venues": {"lighter": {"private_key": SECRET}, "hyperliquid": {}}})


def test_what_the_file_says_once_is_not_asked_again() -> None:
    config = parse({**GOOD, "account": "second", "venues": ["lighter", "hyperliquid"]})
    values = config.strategy_config.model_dump()
    assert values["exchanges"] == ("lighter", "hyperliquid")
    assert values["account_name"] == "second"
    assert config.name == "funding_arbitrage:second"


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [1", "is not YAML: line"), ("- 1", "must be a mapping"), ("", "must be a mapping"), (b"\xff\xfe\x00", "UTF-8")],
)
def test_a_file_that_is_none_is_told(tmp_path: Path, text: str | bytes, said: str) -> None:
    file = tmp_path / "bot.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidConfig, match=said):
        load(file)
    with pytest.raises(InvalidConfig, match="check the path"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_can_be_run(file: Path) -> None:
    assert isinstance(load(file).strategy_config, BaseModel)


def test_there_are_examples() -> None:
    assert EXAMPLES


def rows(heading: str) -> dict[str, str]:
    """First cell -> second of the table under a heading of the page."""
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    found = re.findall(r"^\| `([^`]+)` \| ([^|]*) \|", section, flags=re.MULTILINE)
    return {name: default.strip().strip("`") for name, default in found}


@pytest.mark.parametrize(("heading", "model"), [("The file", BotConfig), ("`paper:`", PaperConfig)])
def test_the_page_lists_every_key_with_its_default(heading: str, model: type[BaseModel]) -> None:
    listed = rows(heading)
    assert list(listed) == list(model.model_fields)
    for name, field in model.model_fields.items():
        default = listed[name]
        if field.is_required():
            assert default == "required"
        elif field.default_factory is None and not isinstance(field.default, BaseModel):
            shown = {None: "none", True: "true", False: "false", (): "empty"}.get(field.default, str(field.default))
            assert default == shown, name
