"""Margin, fees, funding, liquidation, ADL and settlement, against figures worked out by hand.

The market: tick 0.5 USD, step 0.001 BTC, mark 500 USD (1000 ticks), initial margin 5 %, maintenance 2.5 %, fees 1 and 5 bp.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from exchange_simulator.core.events import (
    Adl,
    BalanceChanged,
    FundingPaid,
    FundingSettled,
    Liquidated,
    MarketChanged,
    OrderFilled,
    Trade,
)
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.funding import EIGHT_HOURS_NS, FundingSource, PremiumFunding, SeriesFunding
from exchange_simulator.core.types import (
    NANOS_PER_HOUR,
    REF,
    UNIT,
    BalanceReason,
    CancelReason,
    MarginMode,
    MarginTier,
    Market,
    MarketStatus,
    NewOrder,
    OrderStatus,
    PriceSource,
    RejectReason,
    Rules,
    Side,
    TimeInForce,
    TradeKind,
    fraction,
    money,
    to_fraction,
    to_money,
)
from tests.simulator.core.world import BTC, MARK, Witness, buy, exchange, of, sell

H = NANOS_PER_HOUR
USD = to_money


def trade(made: Exchange, buyer: int, seller: int, size: int, price: int = MARK) -> None:
    made.submit(made.now_ns, sell(seller, size, price))
    assert made.submit(made.now_ns, buy(buyer, size, price)).filled == size


# units


def test_units_are_exact_both_ways() -> None:
    assert (to_money("1.5"), money(1_500_000_000_000)) == (1_500_000_000_000, Decimal("1.5"))
    assert fraction(to_fraction("-0.00005")) == Decimal("-0.00005")
    assert (BTC.to_ticks(Decimal("500.5")), BTC.price(1_001)) == (1_001, Decimal("500.5"))
    assert (BTC.to_steps(Decimal("0.25")), BTC.size(-250)) == (250, Decimal("-0.250"))
    assert (BTC.to_ref(Decimal("500.0005")), BTC.ref_price(1_000_001)) == (1_000_001, Decimal("500.0005"))
    assert BTC.notional_unit == USD("0.0005")
    assert BTC.max_leverage == 20


@pytest.mark.parametrize(
    "bad", [lambda: BTC.to_ticks(Decimal("500.3")), lambda: BTC.to_steps(Decimal("0.0001")), lambda: to_money("1e-13")]
)
def test_units_refuse_what_they_cannot_hold(bad: object) -> None:
    assert callable(bad)
    with pytest.raises(ValueError, match="whole number"):
        bad()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tick_size": Decimal(0)}, "positive"),
        ({"tick_size": Decimal("0.000001"), "step_size": Decimal("0.0001")}, "1e-9"),
        ({"tiers": ()}, "start at 0"),
        ({"tiers": (MarginTier(5, 2, 1),)}, "start at 0"),
        ({"tiers": (MarginTier(0, 2, 1), MarginTier(0, 3, 1))}, "ascend"),
        ({"tiers": (MarginTier(0, 1, 2),)}, "maintenance <= initial"),
        ({"funding_interval_ns": 0}, "must be positive"),
    ],
)
def test_impossible_markets_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(BTC, **changes)  # type: ignore[arg-type]


# positions and fees


def test_entry_price_realised_pnl_and_fees() -> None:
    made = exchange(deposit=1_000)
    trade(made, 1, 2, 100, 1_000)  # 0.1 BTC at 500
    trade(made, 1, 2, 100, 1_100)  # 0.1 BTC at 550
    position = made.position(1, "BTC")
    assert (position.size, money(position.cost)) == (200, Decimal(105))
    made.drain()
    trade(made, 3, 1, 50, 1_200)  # sells a quarter at 600: 30 - 26.25
    fills = [e for e in made.drain() if isinstance(e, OrderFilled) and e.account == 1]
    assert money(fills[0].realised) == Decimal("3.75")
    assert (position.size, money(position.cost)) == (150, Decimal("78.75"))
    maker = Decimal("0.003")  # 30 USD at 1 bp
    taker = Decimal("0.0525")  # 105 USD at 5 bp
    assert money(made.account(1).balance) == Decimal(1_000) - taker - maker + Decimal("3.75")
    trade(made, 3, 1, 400, 1_000)  # flips: closes 150 at 500, opens 250 short
    assert (position.size, money(position.cost)) == (-250, Decimal(-125))
    assert money(position.realised) == Decimal("3.75") + Decimal("75") - Decimal("78.75")
    Witness(made)


def test_fee_overrides_and_rebates() -> None:
    made = exchange(deposit=1_000)
    made.set_fees(0, 1, to_fraction("-0.0001"), to_fraction("0.0002"))
    made.set_fees(0, 2, 0, to_fraction("0.0003"), market="BTC")
    made.drain()
    trade(made, 2, 1, 100)
    fees = {e.account: money(e.fee) for e in made.drain() if isinstance(e, OrderFilled)}
    assert fees == {1: Decimal("-0.005"), 2: Decimal("0.015")}
    assert money(made.ledger.fees_collected) == Decimal("0.01")


def test_fees_round_up_to_the_last_unit() -> None:
    made = exchange(deposit=1_000)
    made.set_fees(0, 1, -1, 1)  # 1e-12 of 0.5 USD is half a unit
    made.set_fees(0, 2, 1, 1)
    made.drain()
    trade(made, 2, 1, 1)
    assert [e.fee for e in made.drain() if isinstance(e, OrderFilled)] == [0, 1]


# margin


def test_available_falls_by_initial_margin_of_positions_and_orders() -> None:
    made = exchange(deposit=100)
    made.submit(0, buy(1, 1_000, 900))  # 1 BTC: 25 USD at mark
    assert money(made.available(1)) == 75
    made.submit(0, sell(1, 600, 1_100))  # the other side's worst case is smaller
    assert money(made.available(1)) == 75
    made.submit(0, sell(1, 600, 1_100))
    assert money(made.available(1)) == 70
    made.cancel_all(0, 1)
    assert money(made.available(1)) == 100
    trade(made, 1, 2, 1_000)
    assert money(made.available(1)) == Decimal(75) - Decimal("0.25")
    made.set_mark(1, "BTC", 1_010 * REF)
    assert money(made.equity(1)) == Decimal("99.75") + 5
    assert money(made.initial_margin(1)) == Decimal("25.25")
    assert money(made.maintenance_margin(1)) == Decimal("12.625")


def test_orders_are_refused_beyond_available_but_closing_ones_never() -> None:
    made = exchange(deposit=26)
    assert made.submit(0, buy(1, 1_050, 1_000)).reject_reason is RejectReason.INSUFFICIENT_MARGIN
    trade(made, 1, 2, 1_000)
    assert made.submit(0, buy(1, 40, 1_000)).reject_reason is RejectReason.INSUFFICIENT_MARGIN
    assert made.submit(0, sell(1, 1_000, 1_010)).status is OrderStatus.OPEN
    assert made.submit(0, sell(1, 1_000, 1_010)).status is OrderStatus.OPEN  # worst case is as large as now
    assert made.submit(0, sell(1, 100, 1_010)).reject_reason is RejectReason.INSUFFICIENT_MARGIN


def test_leverage_changes_what_a_position_binds() -> None:
    made = exchange(deposit=100)
    trade(made, 1, 2, 1_000)
    assert made.set_leverage(0, 1, "BTC", to_fraction("0.1")) is None
    assert money(made.available(1)) == Decimal("49.75")
    assert made.set_leverage(0, 1, "BTC", to_fraction("0.2")) is RejectReason.INSUFFICIENT_MARGIN
    assert made.set_leverage(0, 1, "BTC", to_fraction("0.04")) is RejectReason.BAD_LEVERAGE
    assert made.set_leverage(0, 1, "BTC", UNIT + 1) is RejectReason.BAD_LEVERAGE
    assert made.position(1, "BTC").initial == to_fraction("0.1")


def test_tiers_raise_the_margin_of_large_positions() -> None:
    tiers = (MarginTier(0, to_fraction("0.05"), to_fraction("0.025")), MarginTier(USD(1_000), to_fraction("0.1"), to_fraction("0.05")))
    made = exchange(market=replace(BTC, tiers=tiers), deposit=1_000)
    trade(made, 1, 2, 1_998)
    assert money(made.initial_margin(1)) == Decimal("49.95")
    trade(made, 1, 2, 2)
    assert money(made.initial_margin(1)) == 100
    assert money(made.maintenance_margin(1)) == 50


def test_withdraw_only_what_nothing_binds() -> None:
    made = exchange(deposit=100)
    made.submit(0, buy(1, 1_000, 900))
    assert made.withdraw(0, 1, USD("75.000000000001")) is RejectReason.INSUFFICIENT_MARGIN
    assert made.withdraw(0, 1, USD(75)) is None
    assert made.available(1) == 0
    for bad in (0, -1):
        with pytest.raises(ValueError, match="positive"):
            made.withdraw(0, 1, bad)
        with pytest.raises(ValueError, match="positive"):
            made.deposit(0, 1, bad)


# isolated


def test_isolated_margin_moves_in_and_out_with_the_position() -> None:
    made = exchange(deposit=100)
    assert made.set_margin_mode(0, 1, "BTC", MarginMode.ISOLATED) is None
    assert made.set_leverage(0, 1, "BTC", to_fraction("0.1")) is None
    trade(made, 1, 2, 1_000)
    position, account = made.position(1, "BTC"), made.account(1)
    assert money(position.margin) == 50
    assert money(account.balance) == Decimal("49.75")
    assert made.move_isolated_margin(0, 1, "BTC", USD(10)) is None
    assert money(position.margin) == 60
    assert money(account.balance) == Decimal("39.75")
    assert made.move_isolated_margin(0, 1, "BTC", -USD("10.01")) is RejectReason.INSUFFICIENT_MARGIN
    assert made.move_isolated_margin(0, 1, "BTC", USD(40)) is RejectReason.INSUFFICIENT_MARGIN
    trade(made, 2, 1, 500, 1_100)  # closes half with 25 profit; half of the margin comes back
    assert money(position.margin) == 30
    assert money(account.balance) == Decimal("39.75") + 30 + 25 - Decimal("0.0275")
    trade(made, 2, 1, 500, 900)  # the rest with 25 loss
    assert position.margin == 0
    assert money(account.balance) == Decimal("94.7225") + 5 - Decimal("0.0225")
    Witness(made)


def test_isolated_margin_takes_no_more_than_the_balance_has_left_after_the_fee() -> None:
    made = exchange(deposit=1_000)
    made.open_account(0, 9, deposit=USD("25.3"))
    made.set_margin_mode(0, 9, "BTC", MarginMode.ISOLATED)
    trade(made, 9, 2, 1_000, 1_010)  # 25 at mark, 25.25 at the price paid, 0.2525 of fee
    assert money(made.position(9, "BTC").margin) == Decimal("25.0475")
    assert made.account(9).balance == 0
    assert made.ledger.insurance == 0
    Witness(made)


def test_margin_mode_changes_only_when_nothing_is_open() -> None:
    made = exchange(deposit=100)
    made.submit(0, buy(1, 10, 900))
    assert made.set_margin_mode(0, 1, "BTC", MarginMode.ISOLATED) is RejectReason.MARGIN_MODE
    made.cancel_all(0, 1)
    trade(made, 1, 2, 10)
    assert made.set_margin_mode(0, 1, "BTC", MarginMode.ISOLATED) is RejectReason.MARGIN_MODE
    assert made.set_margin_mode(0, 3, "BTC", MarginMode.ISOLATED) is None
    assert made.move_isolated_margin(0, 3, "BTC", USD(1)) is RejectReason.MARGIN_MODE  # flat
    only = exchange(market=replace(BTC, isolated_only=True))
    assert only.position(1, "BTC").mode is MarginMode.ISOLATED
    assert only.set_margin_mode(0, 1, "BTC", MarginMode.CROSS) is RejectReason.MARGIN_MODE


def test_isolated_loss_ends_at_its_margin() -> None:
    made = exchange(deposit=100)
    made.fund_insurance(0, USD(1_000))
    made.set_margin_mode(0, 1, "BTC", MarginMode.ISOLATED)
    trade(made, 1, 2, 1_000)  # margin 25
    made.set_level(1, "BTC", Side.BUY, 900, 5_000)
    made.set_mark(2, "BTC", 900 * REF)  # 50 USD lost at once
    assert made.position(1, "BTC").size == 0
    assert money(made.account(1).balance) == Decimal("74.75")
    assert money(made.ledger.insurance) == 975
    Witness(made)


# liquidation


def test_liquidation_price_is_where_it_happens() -> None:
    made = exchange(deposit=30)
    made.set_levels(0, "BTC", [(900, 10_000)], [])
    trade(made, 1, 2, 1_000)
    made.submit(0, sell(3, 100, 1_000))
    price = made.liquidation_price(1, "BTC")
    assert price is not None
    # equity 29.75 + (p - 500) = 0.025 p  =>  p = 470.25 / 0.975 = 482.3077
    assert price == int(Decimal("470.25") / Decimal("0.975") / Decimal("0.5") * REF)
    made.set_mark(1, "BTC", price + 1)
    assert made.position(1, "BTC").size == 1_000
    made.drain()
    made.set_mark(1, "BTC", price - 1)
    assert of(Liquidated, made.drain()) == []  # nothing to sell to above bankruptcy (470.25): the book bids 450
    made.set_level(2, "BTC", Side.BUY, 960, 10_000)
    made.set_mark(3, "BTC", price - 2)
    assert made.position(1, "BTC").size == 0
    Witness(made)


def test_liquidation_price_of_a_short_and_of_isolated() -> None:
    made = exchange(deposit=30)
    made.set_margin_mode(0, 3, "BTC", MarginMode.ISOLATED)
    trade(made, 1, 2, 1_000)
    # maker 2 paid 0.05: equity 29.95 - (p - 500) = 0.025 p  =>  p = 529.95 / 1.025
    assert made.liquidation_price(2, "BTC") == int(Decimal("529.95") / Decimal("1.025") / Decimal("0.5") * REF)
    trade(made, 3, 2, 100)
    # isolated: 2.5 + 0.1 (p - 500) = 0.0025 p  =>  p = 47.5 / 0.0975
    assert made.liquidation_price(3, "BTC") == int(Decimal("47.5") / Decimal("0.0975") / Decimal("0.5") * REF)
    assert made.liquidation_price(3, "BTC") is not None
    rich = exchange()
    trade(rich, 1, 2, 10)
    assert rich.liquidation_price(1, "BTC") is None
    assert rich.liquidation_price(3, "BTC") is None


def test_liquidation_cancels_orders_first_and_closes_on_the_book() -> None:
    market = replace(BTC, liquidation_fee=to_fraction("0.01"))
    made = exchange(market=market, deposit=30)
    trade(made, 1, 2, 1_000)
    order = made.submit(0, sell(1, 10, 1_100))
    made.set_levels(1, "BTC", [(962, 400), (960, 5_000)], [])
    made.drain()
    made.set_mark(2, "BTC", 962 * REF)  # 481: equity 10.75 < 12.025
    events = made.drain()
    assert order.cancel_reason is CancelReason.LIQUIDATION
    trades = [(e.price, e.size, e.kind) for e in events if isinstance(e, Trade)]
    assert trades == [(962, 400, TradeKind.LIQUIDATION), (960, 600, TradeKind.LIQUIDATION)]
    # 0.4 at 481 and 0.6 at 480: loss 19.6; fee 1 % of 480
    assert [(e.size, money(e.fee), e.bankrupt) for e in events if isinstance(e, Liquidated)] == [(1_000, Decimal("4.8"), False)]
    assert money(made.account(1).balance) == Decimal("29.75") - Decimal("19.6") - Decimal("4.8")
    assert money(made.ledger.insurance) == Decimal("4.8")
    Witness(made)


def test_liquidation_cancels_the_orders_of_every_cross_market() -> None:
    made = exchange(deposit=30)
    for symbol, mode in (("ETH", MarginMode.CROSS), ("SOL", MarginMode.ISOLATED)):
        made.add_market(0, replace(BTC, symbol=symbol), mark=MARK * REF)
        made.set_margin_mode(0, 1, symbol, mode)
    trade(made, 1, 2, 1_000)
    cross, isolated = (made.submit(0, NewOrder(1, symbol, Side.BUY, 1, 900)) for symbol in ("ETH", "SOL"))
    made.set_mark(1, "BTC", 955 * REF)
    assert cross.cancel_reason is CancelReason.LIQUIDATION
    assert isolated.status is OrderStatus.OPEN


def test_partial_liquidation_stops_when_margin_is_met() -> None:
    made = exchange(Rules(liquidation_chunk=to_fraction("0.2")), deposit=30)
    trade(made, 1, 2, 1_000)
    made.set_levels(1, "BTC", [(962, 5_000)], [])
    made.drain()
    made.set_mark(2, "BTC", 962 * REF)  # equity 10.75, needed 12.025; 800 steps need 9.62
    assert [(e.size) for e in made.drain() if isinstance(e, Liquidated)] == [200]
    assert made.position(1, "BTC").size == 800
    Witness(made)


def test_insurance_pays_what_the_book_gives_below_bankruptcy() -> None:
    made = exchange(deposit=30)
    made.fund_insurance(0, USD(100))
    trade(made, 1, 2, 1_000)
    made.set_levels(1, "BTC", [(920, 5_000)], [])
    made.drain()
    made.set_mark(2, "BTC", 945 * REF)  # 472.5: equity 2.25, far below; bankrupt at 470.25; the book pays 460
    liquidated = [e for e in made.drain() if isinstance(e, Liquidated)]
    assert [(e.size, e.price, e.bankrupt) for e in liquidated] == [(1_000, 920, True)]
    assert made.account(1).balance == 0
    assert money(made.ledger.insurance) == Decimal(100) - Decimal("10.25")
    Witness(made)


def test_adl_takes_the_best_winner_when_the_fund_is_empty() -> None:
    made = exchange(accounts=5, deposit=30)
    made.deposit(0, 4, USD(1_000))
    trade(made, 1, 2, 400)  # 2 is short with little behind it: first in rank
    trade(made, 1, 4, 600)  # 4 is short with much behind it
    made.drain()
    made.set_mark(1, "BTC", 941 * REF)  # 470.5: equity 0.25 of 30 left
    events = made.drain()
    assert [(e.account, e.size, e.side) for e in events if isinstance(e, Adl)] == [(2, 400, Side.BUY), (4, 600, Side.BUY)]
    assert made.position(1, "BTC").size == made.position(2, "BTC").size == made.position(4, "BTC").size == 0
    # bankrupt at 470.25: the next tick up is 470.5, and what is left stays the account's
    assert money(made.account(1).balance) == Decimal("0.25")
    assert money(made.account(2).balance) == Decimal(30) - Decimal("0.02") + Decimal("0.4") * Decimal("29.5")
    assert made.ledger.insurance == 0
    kinds = {e.kind for e in events if isinstance(e, OrderFilled)}
    assert kinds == {TradeKind.ADL}
    Witness(made)


def test_adl_ranks_by_profit_and_leverage() -> None:
    made = exchange(accounts=5, deposit=30)
    made.deposit(0, 4, USD(1_000))
    trade(made, 5, 2, 300)
    trade(made, 1, 4, 500)
    trade(made, 1, 2, 500)
    made.drain()
    made.set_mark(1, "BTC", 941 * REF)
    # 2 (short 800, little behind it) covers as far as it goes, then 4 does
    assert [(e.account, e.size) for e in made.drain() if isinstance(e, Adl)] == [(2, 800), (4, 200)]
    Witness(made)


def test_nobody_is_liquidated_while_the_market_is_halted() -> None:
    made = exchange(deposit=30)
    trade(made, 1, 2, 1_000)
    made.set_level(0, "BTC", Side.BUY, 950, 5_000)
    made.set_status(1, "BTC", MarketStatus.HALTED)
    made.set_mark(2, "BTC", 955 * REF)
    assert made.position(1, "BTC").size == 1_000
    made.set_status(3, "BTC", MarketStatus.ACTIVE)
    assert made.position(1, "BTC").size == 0


def test_scripted_adl_closes_at_mark() -> None:
    made = exchange(deposit=100)
    trade(made, 1, 2, 1_000)
    made.set_mark(1, "BTC", 1_020 * REF)
    made.drain()
    assert made.deleverage(2, 2, "BTC", 300) == 300
    assert made.position(2, "BTC").size == -700
    fills = [e for e in made.drain() if isinstance(e, OrderFilled)]
    assert [(e.account, e.side, e.size, e.price, e.kind) for e in fills] == [(2, Side.BUY, 300, 1_020, TradeKind.ADL)]
    assert made.deleverage(2, 3, "BTC", 300) == 0
    assert made.deleverage(2, 1, "BTC", 9_999) == 1_000
    Witness(made)


# funding


@pytest.mark.parametrize(
    ("price", "mark", "index", "paid"), [(PriceSource.INDEX, 1_000, 1_010, "0.0505"), (PriceSource.MARK, 1_000, 1_010, "0.05")]
)
def test_funding_longs_pay_shorts(price: PriceSource, mark: int, index: int, paid: str) -> None:
    made = exchange(market=replace(BTC, funding_price=price), deposit=100)
    trade(made, 1, 2, 1_000)
    made.set_mark(1, "BTC", mark * REF, index * REF)
    made.set_funding_rate(1, "BTC", to_fraction("0.0001"))
    made.drain()
    made.advance(H - 1)
    assert made.drain() == []
    made.advance(H)
    events = made.drain()
    settled = [e for e in events if isinstance(e, FundingSettled)]
    assert [(e.ts_ns, fraction(e.rate), e.interval_ns, e.next_ns) for e in settled] == [(H, Decimal("0.0001"), H, 2 * H)]
    payments = {e.account: money(e.amount) for e in events if isinstance(e, FundingPaid)}
    assert payments == {1: -Decimal(paid), 2: Decimal(paid)}
    assert money(made.position(1, "BTC").funding) == -Decimal(paid)
    made.set_funding_rate(H, "BTC", to_fraction("-0.0001"))
    made.advance(2 * H)
    assert made.position(1, "BTC").funding == 0


def test_funding_of_every_hour_in_a_long_jump() -> None:
    made = exchange(deposit=100)
    trade(made, 1, 2, 1_000)
    made.set_funding_rate(0, "BTC", to_fraction("0.0001"))
    made.drain()
    made.advance(24 * H + 5)
    paid = [e for e in made.drain() if isinstance(e, FundingPaid) and e.account == 1]
    assert [e.ts_ns for e in paid] == [n * H for n in range(1, 25)]
    assert money(made.position(1, "BTC").funding) == Decimal("-1.2")


def test_funding_rounding_goes_to_the_fund_and_not_lost() -> None:
    made = exchange(accounts=4, deposit=100)
    for seller in (2, 3, 4):
        trade(made, 1, seller, 1)
    made.set_mark(0, "BTC", MARK * REF, MARK * REF + 1)
    made.set_funding_rate(0, "BTC", 7)
    made.advance(H)
    assert made.ledger.insurance > 0
    Witness(made)


def test_funding_cap_and_interval_change() -> None:
    made = exchange(market=replace(BTC, funding_cap=to_fraction("0.0002")), deposit=100)
    trade(made, 1, 2, 1_000)
    made.set_funding_rate(0, "BTC", to_fraction("-0.5"))
    assert fraction(made.funding_estimate("BTC")) == Decimal("-0.0002")
    made.drain()
    made.change_market(H // 2, replace(made.markets["BTC"].spec, funding_interval_ns=4 * H))
    assert [e.next_funding_ns for e in made.drain() if isinstance(e, MarketChanged)] == [4 * H]
    made.advance(8 * H)
    settled = [(e.ts_ns, fraction(e.rate), e.interval_ns) for e in made.drain() if isinstance(e, FundingSettled)]
    assert settled == [(4 * H, Decimal("-0.0002"), 4 * H), (8 * H, Decimal("-0.0002"), 4 * H)]


def test_funding_can_liquidate() -> None:
    made = exchange(deposit=26)
    trade(made, 1, 2, 1_000)
    made.set_level(0, "BTC", Side.BUY, 999, 5_000)
    made.set_funding_rate(0, "BTC", to_fraction("0.03"))  # 15 USD of the 25.75
    made.drain()
    made.advance(H)
    assert [e.account for e in made.drain() if isinstance(e, Liquidated)] == [1]


def test_isolated_positions_pay_funding_from_their_own_margin() -> None:
    made = exchange(deposit=100)
    made.set_margin_mode(0, 1, "BTC", MarginMode.ISOLATED)
    trade(made, 1, 2, 1_000)
    before = made.account(1).balance
    made.set_funding_rate(0, "BTC", to_fraction("0.001"))
    made.advance(H)
    assert made.account(1).balance == before
    assert money(made.position(1, "BTC").margin) == Decimal("24.5")
    Witness(made)


def test_recorded_funding_is_charged_at_its_time() -> None:
    series = {"BTC": {H: to_fraction("0.0001"), 3 * H: to_fraction("-0.0002")}}
    made = with_funding(SeriesFunding(series))
    assert fraction(made.funding_estimate("BTC")) == Decimal("0.0001")
    made.drain()
    made.advance(4 * H)
    rates = [fraction(e.rate) for e in made.drain() if isinstance(e, FundingSettled)]
    assert rates == [Decimal("0.0001"), Decimal("0.0001"), Decimal("-0.0002"), Decimal("-0.0002")]
    with pytest.raises(ValueError, match="from a source"):
        made.set_funding_rate(4 * H, "BTC", 1)


def with_funding(source: FundingSource, market: Market = BTC) -> Exchange:
    made = Exchange(funding=source)
    made.add_market(0, market, mark=MARK * REF)
    made.open_account(0, 1, deposit=USD(100))
    return made


@pytest.mark.parametrize(
    ("bid", "ask", "premium"),
    [
        (999, 1_001, "0"),  # around the index: P = 0, rate = clamp(I) = 0.01 % per 8 h
        (1_000, 1_002, "0"),
        (1_002, 1_004, "0.002"),  # bid above the index
        (996, 998, "-0.002"),
        (1_200, 1_201, "0.2"),  # capped at 4 %
    ],
)
def test_premium_funding_formula(bid: int, ask: int, premium: str) -> None:
    made = with_funding(PremiumFunding(sample_interval_ns=60 * 10**9))
    made.set_levels(0, "BTC", [(bid, 10)], [(ask, 10)])
    made.drain()
    made.advance(H)
    p, interest, band, cap = Decimal(premium), Decimal("0.0001"), Decimal("0.0005"), Decimal("0.04")
    per_8h = max(-cap, min(cap, p + max(-band, min(band, interest - p))))
    rates = [fraction(e.rate) for e in made.drain() if isinstance(e, FundingSettled)]
    assert rates == [(per_8h / 8).quantize(Decimal("1e-12"))]


def test_premium_is_averaged_over_its_interval_and_starts_anew() -> None:
    made = with_funding(PremiumFunding(sample_interval_ns=H // 4))
    made.set_levels(0, "BTC", [(1_004, 10)], [(1_006, 10)])
    made.advance(H // 2)  # two samples of 0.4 %
    made.set_levels(H // 2, "BTC", [(1_000, 10)], [(1_002, 10)])
    made.drain()
    made.advance(H)  # two of 0
    made.advance(2 * H)
    rates = [fraction(e.rate) for e in made.drain() if isinstance(e, FundingSettled)]
    # the sample of the full hour falls before or after its settlement by the order of the agenda, the same in every run
    assert rates[1] == Decimal("0.0000125")
    assert Decimal("0.0001") < rates[0] < Decimal("0.0004")
    assert EIGHT_HOURS_NS == 8 * H


def test_impact_prices_look_into_the_book() -> None:
    made = with_funding(PremiumFunding(sample_interval_ns=60 * 10**9), replace(BTC, impact_notional=USD(5)))
    # best bid 1010 for 1 step only; 5 USD reach down to 1002: impact ~1002.8 against index 1000
    made.set_levels(0, "BTC", [(1_010, 1), (1_002, 50)], [(1_011, 50)])
    made.advance(30 * 60 * 10**9)
    premium = Decimal("0.0028")
    expected = (premium - Decimal("0.0005")) / 8
    assert abs(fraction(made.funding_estimate("BTC")) - expected) < Decimal("0.00001")


# delisting


def test_delisting_settles_positions_at_the_price_given() -> None:
    made = exchange(deposit=100)
    trade(made, 1, 2, 1_000)
    resting = made.submit(0, buy(1, 10, 900))
    made.set_levels(0, "BTC", [(990, 5)], [(1_010, 5)])
    made.drain()
    made.delist(1, "BTC", settlement=1_020 * REF)
    events = made.drain()
    assert resting.cancel_reason is CancelReason.DELISTED
    told = [(e.account, e.side, e.size, e.price, e.kind, e.fee, money(e.realised)) for e in of(OrderFilled, events)]
    assert told == [
        (1, Side.SELL, 1_000, 1_020, TradeKind.SETTLEMENT, 0, Decimal(10)),
        (2, Side.BUY, 1_000, 1_020, TradeKind.SETTLEMENT, 0, Decimal(-10)),
    ]
    assert of(Trade, events) == [], "nobody traded"
    assert {e.reason for e in of(BalanceChanged, events)} == {BalanceReason.SETTLEMENT}
    assert money(made.account(1).balance) == Decimal("109.75")
    assert made.best("BTC") == (0, 0)
    assert made.submit(2, buy(1, 10, 900)).reject_reason is RejectReason.MARKET_STATUS
    made.advance(10 * H)
    assert of(FundingSettled, made.drain()) == []
    with pytest.raises(ValueError, match="is delisted"):
        made.set_status(10 * H, "BTC", MarketStatus.ACTIVE)
    Witness(made)


def test_what_a_listed_market_may_not_change() -> None:
    made = exchange()
    for changed in (replace(BTC, tick_size=Decimal(1)), replace(BTC, status=MarketStatus.HALTED)):
        with pytest.raises(ValueError, match="do not change here"):
            made.change_market(0, changed)
    with pytest.raises(ValueError, match="listed already"):
        made.add_market(0, BTC)
    with pytest.raises(ValueError, match="use delist"):
        made.set_status(0, "BTC", MarketStatus.DELISTED)
    with pytest.raises(ValueError, match="exists"):
        made.open_account(0, 0)


def test_open_interest_counts_one_side() -> None:
    made = exchange()
    trade(made, 1, 2, 100)
    made.set_level(0, "BTC", Side.SELL, 1_001, 50)
    made.submit(0, buy(3, 30, 1_001, time_in_force=TimeInForce.IOC))
    assert made.open_interest("BTC") == 130


def test_balances_are_told_with_what_changed_them() -> None:
    made = exchange()
    made.drain()
    made.deposit(1, 1, USD(5))
    assert [(e.delta, e.reason.value) for e in made.drain() if isinstance(e, BalanceChanged)] == [(USD(5), "deposit")]
