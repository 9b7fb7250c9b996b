"""The page about funding arbitrage says what the code does."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from database.records import FillCause, FillRecord, FundingRecord, Leg
from perpkit.bot.config import load
from strategies.execution import ledger
from strategies.implementations.funding_arbitrage.config import FundingArbitrageConfig
from tests.strategies.quotes import NOW
from tests.strategies.test_funding_arbitrage_entry import keys, verdict, view
from tests.strategies.test_money import pair

D = Decimal
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "funding_arbitrage.md").read_text()
ROWS = dict(re.findall(r"^\| `([a-z_.0-9]+)` \|([^|]*)\|", PAGE.partition("## Parameters")[2].partition("## A worked")[0], re.MULTILINE))


def default(key: str) -> str:
    """As the page writes it."""
    model: type[BaseModel] = FundingArbitrageConfig
    *path, name = key.split(".")
    for part in path:
        annotation: Any = model.model_fields[part].annotation
        model = annotation
    value = model.model_fields[name].default
    if value is PydanticUndefined:
        return ""
    return {None: "none", True: "on", False: "off"}.get(value, str(value)) if value is None or isinstance(value, bool) else str(value)


def test_every_parameter_is_on_the_page_with_its_default() -> None:
    assert {key: text.strip() for key, text in ROWS.items()} == {key: default(key) for key in keys(FundingArbitrageConfig)}


def test_every_rule_is_on_the_page() -> None:
    source = "".join((ROOT / "strategies/implementations/funding_arbitrage" / name).read_text() for name in ("entry.py", "exits.py"))
    source += (ROOT / "strategies/gate.py").read_text()
    named = set(re.findall(r'(?:Check|Exit)\(\s*"([a-z_]+)"', source)) - {"readable", "dry_run", "one_pair_per_asset"}
    assert named
    assert {rule for rule in named if f"`{rule}`" not in PAGE} == set()


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "bots").glob("funding*.yaml")), ids=lambda path: path.name)
def test_the_example_is_a_bot(path: Path) -> None:
    bot = load(path)
    assert isinstance(bot.strategy_config, FundingArbitrageConfig)
    assert bot.strategy_config.exchanges == ("hyperliquid", "lighter")


def fill(number: int, leg: Leg, side: str, price: str) -> FillRecord:
    return FillRecord(
        venue=leg.value[0],
        account="a",
        trade_id=str(number),
        pair_id="p1",
        leg=leg,
        instrument=pair().instrument(leg),
        intent_id=None,
        client_order_id=None,
        order_id=None,
        side=side,
        price=D(price),
        quantity=D("9.999"),
        fee=D(price) * D("9.999") * D("0.0004"),
        fee_asset="USDC",
        liquidity="taker",
        kind=FillCause.TRADE,
        ts_venue=NOW + number,
        recorded_at=NOW + number,
    )


def test_the_worked_example_comes_out_to_the_cent() -> None:
    found = verdict(view())
    assert found.edge is not None
    assert found.size is not None
    assert found.edge.horizon.funding == D("0.0048")
    assert found.size.costs.total == D("0.0020")
    assert found.size.net == D("0.0028")
    assert found.size.costs.total / found.edge.hourly == 10
    assert found.size.quantity == D("9.999")
    trades = [("buy", "100.01", Leg.LONG), ("sell", "99.99", Leg.SHORT), ("sell", "99.99", Leg.LONG), ("buy", "100.01", Leg.SHORT)]
    fills = [fill(number, leg, side, price) for number, (side, price, leg) in enumerate(trades)]
    payments = [
        FundingRecord(
            venue="s",
            account="a",
            record_id=str(hour),
            pair_id="p1",
            leg=Leg.SHORT,
            instrument="",
            amount=D("0.0002") * D("9.999") * 100,
            rate=D("0.0002"),
            position=D("-9.999"),
            ts_venue=NOW + hour,
            recorded_at=NOW,
        )
        for hour in range(24)
    ]
    result = ledger.result(pair(), [], fills, payments)
    assert (result.sum("funding"), result.sum("fee"), result.total) == (D("4.79952"), D("-1.59984"), D("2.79972"))
    for figure in ("4.79952", "-1.59984", "-0.39996", "2.79972", "9.999", "0.0028"):
        assert figure in PAGE
