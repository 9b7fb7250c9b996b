"""Ledger, failed attempts, prices, sizes: figures that can be checked by hand."""

from decimal import Decimal

import msgspec
import pytest

from database.records import FillCause, FillRecord, FundingRecord, IntentRecord, IntentState, LedgerKind, Leg, PairRecord, PairState
from exchange_clients.model import BookLevel, Side, TimeInForce
from strategies.execution.attempts import AttemptLimits, Attempts, after_failure, block
from strategies.execution.ledger import lines, result
from strategies.execution.plan import Mode, Tactic, ladder
from strategies.execution.pricing import Quote, terms
from strategies.implementations.funding_arbitrage.sizing import LegMoney, depth_usd, limits, max_leverage_for, smallest
from tests.strategies.instruments import instrument

D = Decimal
NOW = 1_795_260_000_000_000_000


def pair() -> PairRecord:
    return PairRecord(
        pair_id="p1",
        strategy="s",
        account="a",
        symbol="BTC",
        state=PairState.CLOSED,
        long_venue="l",
        long_instrument="BTC-USDC-PERP.l",
        short_venue="s",
        short_instrument="BTC-USDC-PERP.s",
        first_leg=Leg.LONG,
        quantity=D(1),
        foreign_long=D(0),
        foreign_short=D(0),
        plan="{}",
        created_at=NOW,
        updated_at=NOW,
    )


def fill(trade: str, leg: Leg, side: str, price: str, quantity: str, fee: str, intent: str | None) -> FillRecord:
    return FillRecord(
        venue=leg.value[0],
        account="a",
        trade_id=trade,
        pair_id="p1",
        leg=leg,
        instrument=f"BTC-USDC-PERP.{leg.value[0]}",
        intent_id=intent,
        client_order_id=None,
        order_id=None,
        side=side,
        price=D(price),
        quantity=D(quantity),
        fee=D(fee),
        fee_asset="USDC",
        liquidity="taker",
        kind=FillCause.TRADE,
        ts_venue=NOW,
        recorded_at=NOW,
    )


def intent(name: str, reference: str) -> IntentRecord:
    return IntentRecord(
        intent_id=name,
        pair_id="p1",
        leg=Leg.LONG,
        venue="l",
        account="a",
        instrument="",
        client_order_id=name,
        side="buy",
        quantity=D(1),
        limit_price=None,
        reference_price=D(reference),
        reduce_only=False,
        time_in_force="IOC",
        purpose="entry",
        reason="",
        state=IntentState.SETTLED,
        created_at=NOW,
        updated_at=NOW,
    )


def payment(leg: Leg, amount: str, name: str) -> FundingRecord:
    return FundingRecord(
        venue=leg.value[0],
        account="a",
        record_id=name,
        pair_id="p1",
        leg=leg,
        instrument="",
        amount=D(amount),
        rate=None,
        position=None,
        ts_venue=NOW,
        recorded_at=NOW,
    )


INTENTS = [intent("i1", "100"), intent("i2", "100.5"), intent("i3", "110"), intent("i4", "110.5")]
FILLS = [
    fill("1", Leg.LONG, "buy", "100.1", "2", "0.05", "i1"),
    fill("2", Leg.SHORT, "sell", "100.4", "2", "0.08", "i2"),
    fill("3", Leg.LONG, "sell", "109.8", "2", "0.05", "i3"),
    fill("4", Leg.SHORT, "buy", "110.6", "2", "0.09", "i4"),
]
FUNDING = [payment(Leg.LONG, "-0.30", "f1"), payment(Leg.SHORT, "1.10", "f2")]


def test_e27_the_result_is_the_sum_of_its_parts_from_records() -> None:
    found = result(pair(), INTENTS, FILLS, FUNDING)
    long, short = found.venues
    assert (long.price, long.slippage, long.fee, long.funding) == (D("20"), D("-0.6"), D("-0.10"), D("-0.30"))
    assert (short.price, short.slippage, short.fee, short.funding) == (D("-20"), D("-0.4"), D("-0.17"), D("1.10"))
    assert found.total == D("-0.47")
    assert found.total == sum(-f.signed * f.price - f.fee for f in FILLS) + D("0.80")
    assert found.unexplained is None


def test_e27_what_the_venue_shows_beyond_the_records_is_a_line_of_its_own() -> None:
    found = result(pair(), INTENTS, FILLS, FUNDING, venue_totals={Leg.LONG: D("19.00"), Leg.SHORT: D("-17.47")})
    assert found.venues[0].unexplained == 0
    assert found.unexplained == D("2.00")
    booked = lines(pair(), FILLS, FUNDING, found, NOW)
    rest = [x for x in booked if x.kind is LedgerKind.UNEXPLAINED]
    assert [(x.venue, x.amount) for x in rest] == [("l", D(0)), ("s", D("2.00"))], "zero: compared, and nothing is missing"
    assert sum(x.amount for x in booked) == D("19.00") + D("-17.47")
    assert len({(x.kind, x.venue, x.record_id) for x in booked}) == len(booked), "each record id once"


def test_an_open_position_is_valued_at_its_mark_or_claims_nothing() -> None:
    opened = FILLS[:2]
    at_mark = result(pair(), INTENTS, opened, [], marks={Leg.LONG: D(105), Leg.SHORT: D(105)})
    assert [v.price for v in at_mark.venues] == [D(10), D(-9)]
    assert [v.open_quantity for v in at_mark.venues] == [D(2), D(-2)]
    assert [v.price for v in result(pair(), INTENTS, opened, []).venues] == [D(0), D(0)]


def test_a_fill_without_an_order_of_ours_has_no_slippage() -> None:
    forced = msgspec.structs.replace(FILLS[2], intent_id=None, kind=FillCause.ADL)
    found = result(pair(), INTENTS, [FILLS[0], forced], []).venues[0]
    assert found.slippage == D("-0.2")
    assert found.price == D("19.6")


def test_e16_failures_cool_down_longer_each_time_and_stop_at_the_budget() -> None:
    limits_ = AttemptLimits(cooldown_s=100, max_cooldown_s=300, max_failures=4, budget_usd=D(10))
    held, waits = Attempts(), []
    for _ in range(3):
        held = after_failure(held, limits_, now_ns=NOW, cost_usd=D(1), reason="no hedge")
        waits.append((held.until_ns - NOW) // 1_000_000_000)
        assert "cooling down" in (block(held, limits_, NOW) or "")
        assert block(held, limits_, held.until_ns) is None
    assert waits == [100, 200, 300]
    dear = after_failure(held, limits_, now_ns=NOW, cost_usd=D(8), reason="x")
    assert "failed 4 times" in (block(dear, limits_, dear.until_ns) or "")
    assert "budget" in (block(msgspec.structs.replace(dear, failures=1), limits_, dear.until_ns) or "")
    gained = after_failure(Attempts(), limits_, now_ns=NOW, cost_usd=D(-5), reason="x")
    assert gained.cost_usd == 0


QUOTE = Quote(D("99.5"), D("100.5"))


@pytest.mark.parametrize(
    ("side", "tactic", "price", "tif", "post_only"),
    [
        (Side.BUY, Tactic.CROSS, "100.5", TimeInForce.IOC, False),
        (Side.SELL, Tactic.CROSS, "99.5", TimeInForce.IOC, False),
        (Side.BUY, Tactic.TOUCH, "99.5", TimeInForce.GTC, True),
        (Side.SELL, Tactic.TOUCH, "100.5", TimeInForce.GTC, True),
        (Side.BUY, Tactic.INSIDE, "100.0", TimeInForce.GTC, True),
        (Side.SELL, Tactic.INSIDE, "100.0", TimeInForce.GTC, True),
    ],
)
def test_a_tactic_never_pays_more_than_it_says(side: Side, tactic: Tactic, price: str, tif: TimeInForce, post_only: bool) -> None:
    how = terms(instrument("a"), side, tactic, QUOTE, D(10))
    assert (how.price, how.time_in_force, how.post_only) == (D(price), tif, post_only)


def test_inside_a_spread_of_one_tick_there_is_no_inside() -> None:
    tight = Quote(D("100"), D("100.5"))
    assert terms(instrument("a"), Side.BUY, Tactic.INSIDE, tight, D(10)).price == D("100")
    assert terms(instrument("a"), Side.SELL, Tactic.INSIDE, tight, D(10)).price == D("100.5")


def test_adaptive_crosses_a_tight_spread_and_works_a_wide_one() -> None:
    assert ladder(Mode.ADAPTIVE, spread_bps=D(1))[0] is Tactic.CROSS
    assert ladder(Mode.ADAPTIVE, spread_bps=D(50))[0] is Tactic.TOUCH


LEVELS = (BookLevel(D(100), D(1)), BookLevel(D(101), D(2)), BookLevel(D(110), D(50)))


def test_e24_leverage_follows_from_the_distance_never_from_the_venue() -> None:
    assert max_leverage_for(D("0.15"), D("0.05")) == 5
    market = msgspec.structs.replace(instrument("a"), initial_margin=D("0.02"), maintenance_margin=D("0.05"), max_leverage=D(50))
    money = LegMoney(instrument=market, price=D(100), available=D(1000), equity=D(1000), exposure=D(0), levels=LEVELS, bound=D(101))
    found = limits(money, buy=True, buffer=D("0.1"), min_distance=D("0.15"), max_exposure=D(50_000), depth_share=D("0.5"))
    assert isinstance(found, list)
    assert {x.rule: x.usd for x in found} == {
        "balance on a": D(45_000),
        "liquidation distance on a": D(4_500),
        "max_total_exposure_usd on a": D(50_000),
        "depth on a": D(151),
    }
    assert smallest(found).rule == "depth on a"


def test_e22_a_venue_that_does_not_say_its_margins_is_not_sized() -> None:
    money = LegMoney(instrument=instrument("a"), price=D(100), available=D(1), equity=D(1), exposure=D(0), levels=LEVELS, bound=D(101))
    found = limits(money, buy=True, buffer=D(0), min_distance=D("0.1"), max_exposure=D(1), depth_share=D(1))
    assert found == "a does not say its margin fractions"


def test_depth_counts_only_what_the_bound_allows() -> None:
    assert depth_usd(LEVELS, D(101), buy=True) == D(302)
    assert depth_usd(tuple(reversed(LEVELS)), D(105), buy=False) == D(5500)
