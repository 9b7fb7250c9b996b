"""Inverse markets: sizes in quote currency, profit made in coin and told in the collateral. Figures by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchange_simulator.core.events import FundingPaid, Liquidated, OrderFilled
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import COIN, REF, MarginTier, Market, NewOrder, PriceSource, Side, money, to_fraction, to_money

BTC = Market(
    "BTC-USD",
    Decimal("0.5"),
    Decimal(100),
    tiers=(MarginTier(0, to_fraction("0.05"), to_fraction("0.025")),),
    taker_fee=to_fraction("0.0005"),
    funding_price=PriceSource.MARK,
    inverse=True,
)
"""A step is a contract of 100 USD; 100,000 ticks are 50,000 USD."""


def made(deposit: int = 10_000) -> Exchange:
    exchange = Exchange()
    exchange.add_market(0, BTC, mark=100_000 * REF)
    for account in (1, 2):
        exchange.open_account(0, account, deposit=to_money(deposit))
    exchange.set_fees(0, 2, 0, 0)
    return exchange


def deal(exchange: Exchange, side: Side, contracts: int, price: Decimal) -> None:
    """Account 1 takes from account 2, at a price in USD."""
    ticks = BTC.to_ticks(price)
    exchange.set_mark(exchange.now_ns, "BTC-USD", ticks * REF)
    exchange.submit(exchange.now_ns, NewOrder(2, "BTC-USD", side.opposite, contracts, ticks))
    exchange.submit(exchange.now_ns, NewOrder(1, "BTC-USD", side, contracts, ticks))


def test_a_long_gains_in_coin_what_the_price_rose() -> None:
    """50 contracts (5,000 USD) bought at 50,000 are 0.1 coin; at 62,500 they are bought back for 0.08: 0.02 coin are left, 1,250 USD."""
    exchange = made()
    deal(exchange, Side.BUY, 50, Decimal(50_000))
    position = exchange.position(1, "BTC-USD")
    assert (position.size, BTC.entry_price(position.size, position.cost)) == (50, Decimal(50_000))
    assert money(exchange.account(1).fees_paid) == Decimal("2.5"), "5 bps of 5,000 USD, whatever the price"
    exchange.set_mark(0, "BTC-USD", 125_000 * REF)
    assert money(position.market.unrealised(position)) == Decimal(1_250)
    assert money(exchange.maintenance_margin(1)) == Decimal(125)
    deal(exchange, Side.SELL, 50, Decimal(62_500))
    fills = [e for e in exchange.drain() if isinstance(e, OrderFilled) and e.account == 1]
    assert money(fills[-1].realised) == Decimal(1_250)
    assert (position.size, position.cost, exchange.markets["BTC-USD"].converted) == (0, 0, 0)
    assert money(exchange.account(1).balance) == 10_000 + 1_250 - 5


def test_a_short_loses_more_coin_the_higher_it_goes() -> None:
    """A short of 5,000 USD at 50,000 owes 0.1 coin's worth: at 100,000 it has lost 0.05 coin, 5,000 USD."""
    exchange = made()
    deal(exchange, Side.SELL, 50, Decimal(50_000))
    exchange.set_mark(0, "BTC-USD", 200_000 * REF)
    position = exchange.position(1, "BTC-USD")
    assert money(position.market.unrealised(position)) == Decimal(-5_000)


def test_part_of_a_position_is_closed_at_its_own_entry() -> None:
    exchange = made(deposit=1_000_000)
    deal(exchange, Side.BUY, 40, Decimal(40_000))
    deal(exchange, Side.BUY, 60, Decimal(60_000))
    position = exchange.position(1, "BTC-USD")
    assert position.cost == 40 * COIN // 80_000 + 60 * COIN // 120_000
    assert BTC.entry_price(position.size, position.cost) == Decimal(50_000), "the harmonic mean"
    deal(exchange, Side.SELL, 25, Decimal(100_000))
    assert BTC.entry_price(position.size, position.cost) == Decimal(50_000)
    assert money(position.realised) == Decimal(2_500), "0.05 coin in, 0.025 out, at 100,000"


def test_turning_over_opens_anew() -> None:
    exchange = made()
    deal(exchange, Side.BUY, 10, Decimal(50_000))
    deal(exchange, Side.SELL, 30, Decimal(55_000))
    position = exchange.position(1, "BTC-USD")
    assert position.size == -20
    assert BTC.entry_price(position.size, position.cost) == pytest.approx(Decimal(55_000), abs=Decimal("1e-8"))


def test_funding_is_paid_on_quote_whatever_the_price() -> None:
    exchange = made()
    deal(exchange, Side.BUY, 50, Decimal(50_000))
    exchange.set_funding_rate(0, "BTC-USD", to_fraction("0.0001"))
    exchange.set_mark(0, "BTC-USD", 150_000 * REF)
    exchange.drain()
    exchange.advance(exchange.markets["BTC-USD"].next_funding_ns)
    paid = {e.account: money(e.amount) for e in exchange.drain() if isinstance(e, FundingPaid)}
    assert paid == {1: Decimal("-0.5"), 2: Decimal("0.5")}


@pytest.mark.parametrize("side", list(Side))
def test_liquidation_comes_at_the_price_that_was_told(side: Side) -> None:
    exchange = made(deposit=1_000)
    exchange.fund_insurance(0, to_money(1_000_000))
    exchange.deposit(0, 2, to_money(1_000_000))
    deal(exchange, side, 100, Decimal(50_000))
    told = exchange.liquidation_price(1, "BTC-USD")
    assert told is not None
    step = -1 if side is Side.BUY else 1
    exchange.set_mark(0, "BTC-USD", told - step * 2 * REF)
    exchange.drain()
    assert exchange.position(1, "BTC-USD").size
    level = (told // REF, 1_000)
    exchange.set_levels(0, "BTC-USD", [level] if side is Side.BUY else [], [] if side is Side.BUY else [level])
    exchange.set_mark(0, "BTC-USD", told + step * 2 * REF)
    assert [e.account for e in exchange.drain() if isinstance(e, Liquidated)] == [1]
    assert exchange.position(1, "BTC-USD").size == 0
    assert exchange.account(1).balance >= 0


DEALS = st.lists(st.tuples(st.sampled_from(list(Side)), st.integers(1, 40), st.integers(60_000, 140_000)), min_size=1, max_size=30)


@given(DEALS)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_coin_is_conserved_and_a_flat_market_keeps_none(deals: list[tuple[Side, int, int]]) -> None:
    """What one side makes in coin the other loses; money differs only by when each turned its coin into it."""
    exchange = made(deposit=1_000_000)
    exchange.set_fees(0, 1, 0, 0)
    market = exchange.markets["BTC-USD"]
    ledger = exchange.ledger
    for side, contracts, ticks in deals:
        deal(exchange, side, contracts, Decimal(ticks) / 2)
        first, second = exchange.position(1, "BTC-USD"), exchange.position(2, "BTC-USD")
        assert first.size == -second.size
        assert first.cost + second.cost + market.converted == 0
        assert sum(a.balance for a in ledger.accounts.values()) + ledger.converted + ledger.fees_collected == ledger.deposited
    left = exchange.position(1, "BTC-USD").size
    if left:
        deal(exchange, Side.SELL if left > 0 else Side.BUY, abs(left), Decimal(50_000))
    assert market.converted == 0
    assert abs(ledger.converted) <= 60 * (len(deals) + 1), "the ledger made nothing but a few coin units that rounding left"
