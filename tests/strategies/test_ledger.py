"""The three views of a result, computed by hand to the cent, and for any history equal in their total (E27)."""

import csv
import io
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database.records import (
    FillCause,
    FillRecord,
    FundingRecord,
    HoldingRecord,
    HoldingState,
    IntentRecord,
    IntentState,
    LedgerKind,
    Leg,
    PairRecord,
    PairState,
)
from exchange_clients.model import NS_PER_HOUR, NS_PER_S, ZERO, FundingPayment, InstrumentId
from strategies.execution import ledger
from strategies.execution.ledger.booking import share_of
from strategies.execution.ledger.owners import markets

D = Decimal
NOW = 1_795_260_000_000_000_000
DAY = 24 * NS_PER_HOUR
VENUES = {Leg.LONG: "l", Leg.SHORT: "s"}
PAIR = PairRecord(
    pair_id="p1",
    strategy="s",
    account="a",
    symbol="BTC",
    state=PairState.CLOSED,
    long_venue="l",
    long_instrument="BTC-USDC-PERP.l",
    short_venue="s",
    short_instrument="BTC-USDT-PERP.s",
    first_leg=Leg.LONG,
    quantity=D(2),
    foreign_long=D(0),
    foreign_short=D(0),
    plan="{}",
    created_at=NOW,
    updated_at=NOW,
)
HOLDING = HoldingRecord(
    holding_id="h1",
    strategy="grid",
    account="a",
    venue="l",
    instrument="BTC-USDC-PERP.l",
    foreign_quantity=D(0),
    state=HoldingState.OPEN,
    plan="{}",
    reason="",
    created_at=NOW,
    updated_at=NOW,
)


class Story:
    """A pair's records, one trade after the other: `trade` is an order with its one fill."""

    def __init__(self) -> None:
        self.intents: list[IntentRecord] = []
        self.fills: list[FillRecord] = []
        self.funding: list[FundingRecord] = []

    def trade(
        self,
        leg: Leg,
        side: str,
        quantity: str,
        price: str,
        *,
        mid: str | None = None,
        fee: str = "0",
        asset: str = "USDC",
        after_s: float = 0,
        purpose: str = "entry",
        cause: FillCause = FillCause.TRADE,
    ) -> "Story":
        name, ts = str(len(self.fills)), NOW + int(after_s * NS_PER_S)
        if mid is not None:
            self.intents.append(
                IntentRecord(
                    intent_id=name,
                    pair_id="p1",
                    leg=leg,
                    venue=VENUES[leg],
                    account="a",
                    instrument="",
                    client_order_id=name,
                    side=side,
                    quantity=D(quantity),
                    limit_price=None,
                    reference_price=D(mid),
                    reduce_only=False,
                    time_in_force="IOC",
                    purpose=purpose,
                    reason="",
                    state=IntentState.SETTLED,
                    created_at=ts,
                    updated_at=ts,
                )
            )
        self.fills.append(
            FillRecord(
                venue=VENUES[leg],
                account="a",
                trade_id=f"t{name}",
                pair_id="p1",
                leg=leg,
                instrument=markets(PAIR)[0 if leg is Leg.LONG else 1].instrument,
                intent_id=name if mid is not None else None,
                client_order_id=None,
                order_id=None,
                side=side,
                price=D(price),
                quantity=D(quantity),
                fee=D(fee),
                fee_asset=asset,
                liquidity="taker",
                kind=cause,
                ts_venue=ts,
                recorded_at=ts,
            )
        )
        return self

    def paid(self, leg: Leg, amount: str, *, after_s: float = 0) -> "Story":
        self.funding.append(
            FundingRecord(
                venue=VENUES[leg],
                account="a",
                record_id=f"f{len(self.funding)}",
                pair_id="p1",
                leg=leg,
                instrument="",
                amount=D(amount),
                rate=D("0.0001"),
                position=None,
                ts_venue=NOW + int(after_s * NS_PER_S),
                recorded_at=NOW,
            )
        )
        return self

    def result(self, owner: PairRecord | HoldingRecord = PAIR, **more: Any) -> ledger.PairResult:
        return ledger.result(owner, self.intents, self.fills, self.funding, **more)

    def rows(self, found: ledger.PairResult, owner: PairRecord | HoldingRecord = PAIR, **more: Any) -> list[ledger.Row]:
        return ledger.rows(owner, self.intents, self.fills, self.funding, found, now_ns=NOW + 5 * DAY, **more)


def closed_pair() -> Story:
    """Two units of each, in at 100 and 100.5, out at 110 and 110.2 (mids): the distance between the venues shrank by 0.3."""
    story = Story()
    story.trade(Leg.LONG, "buy", "2", "100.1", mid="100", fee="0.05")
    story.trade(Leg.SHORT, "sell", "2", "100.4", mid="100.5", fee="0.08", asset="USDT", after_s=1)
    story.paid(Leg.LONG, "-0.30", after_s=3_600).paid(Leg.SHORT, "1.10", after_s=3_600)
    story.trade(Leg.LONG, "sell", "2", "109.8", mid="110", fee="0.05", after_s=90_000, purpose="close")
    story.trade(Leg.SHORT, "buy", "2", "110.3", mid="110.2", fee="0.09", asset="USDT", after_s=90_001, purpose="close")
    return story


def test_e27_the_venues_cash_to_the_cent() -> None:
    long, short = (v.cash for v in closed_pair().result(venue_totals={Leg.LONG: D("19.00"), Leg.SHORT: D("-18.00")}).venues)
    assert (long.realised, long.unrealised, long.fees, long.funding, long.total) == (D("19.4"), ZERO, D("-0.10"), D("-0.30"), D("19.00"))
    assert (short.realised, short.unrealised, short.fees, short.funding) == (D("-19.8"), ZERO, D("-0.17"), D("1.10"))
    assert long.unexplained == 0
    assert short.unexplained == D("0.87"), "the venue shows -18.00, its records add up to -18.87"


def test_e27_the_hedge_at_one_price_to_the_cent() -> None:
    found = closed_pair().result()
    unified = found.unified
    assert unified.exposure == 0, "both legs moved from 100.25 to 110.1: nothing was earned by direction"
    assert unified.basis == D("0.6"), "2 * (0.5 - 0.2)"
    assert (unified.slippage, unified.unwind, unified.fees, unified.funding) == (D("-1.0"), ZERO, D("-0.27"), D("0.80"))
    assert unified.total == found.total == D("0.13")
    assert found.total == sum(v.cash.total for v in found.venues)


def test_the_price_moves_between_the_legs_is_exposure_not_basis() -> None:
    story = Story().trade(Leg.LONG, "buy", "1", "100", mid="100")
    story.trade(Leg.SHORT, "sell", "1", "96", mid="96", after_s=120)  # two minutes naked: no common price any more
    found = story.result(marks={Leg.LONG: D(96), Leg.SHORT: D(96)})
    assert (found.unified.exposure, found.unified.basis, found.total) == (D(-4), ZERO, D(-4))


def test_an_open_pair_is_valued_at_its_marks() -> None:
    story = (
        Story().trade(Leg.LONG, "buy", "2", "100.1", mid="100", fee="0.05").trade(Leg.SHORT, "sell", "2", "100.4", mid="100.5", after_s=1)
    )
    found = story.result(marks={Leg.LONG: D(105), Leg.SHORT: D("105.2")})
    long, short = (v.cash for v in found.venues)
    assert (long.realised, long.unrealised) == (ZERO, D("9.8"))
    assert (short.realised, short.unrealised) == (ZERO, D("-9.6"))
    assert (found.unified.exposure, found.unified.basis) == (ZERO, D("0.6"))
    assert found.total == D("0.15")


def test_without_a_mark_nothing_unrealised_is_claimed_and_what_was_realised_stays() -> None:
    story = Story().trade(Leg.LONG, "buy", "2", "100", mid="100").trade(Leg.LONG, "sell", "1", "110", mid="110", after_s=5)
    found = story.result().venues[0]
    assert (found.price, found.open_quantity, found.open_value) == (D(10), D(1), D(100))
    assert (found.cash.realised, found.cash.unrealised) == (D(10), ZERO)


def test_a_failed_open_shows_what_taking_it_back_cost() -> None:
    story = Story().trade(Leg.LONG, "buy", "1", "100", mid="100", fee="0.05")
    story.trade(Leg.LONG, "sell", "1", "99", mid="99.5", fee="0.05", after_s=6, purpose="unwind")
    found = story.result()
    assert (found.sum("price"), found.sum("slippage"), found.sum("fee"), found.sum("unwind")) == (D("-0.5"), ZERO, D("-0.05"), D("-0.55"))
    assert found.total == D("-1.10")
    assert found.venues[0].cash.fees == D("-0.10"), "the venue's statement knows no unwinding"
    booked = ledger.lines(PAIR, story.fills, [], found, NOW, intents=story.intents)
    assert {(x.kind, x.record_id): x.amount for x in booked if x.kind in (LedgerKind.FEE, LedgerKind.UNWIND)} == {
        (LedgerKind.FEE, "t0"): D("-0.05"),
        (LedgerKind.UNWIND, "t1"): D("-0.05"),
        (LedgerKind.UNWIND, "close"): D("-0.5"),
    }
    assert sum(x.amount for x in booked) == found.total


@pytest.mark.parametrize("cause", [FillCause.LIQUIDATION, FillCause.ADL, FillCause.SETTLEMENT])
def test_what_the_venue_closed_itself_has_no_slippage_and_is_counted(cause: FillCause) -> None:
    story = Story().trade(Leg.LONG, "buy", "1", "100", mid="100").trade(Leg.SHORT, "sell", "1", "100", mid="100", after_s=1)
    story.trade(Leg.LONG, "sell", "1", "80", fee="0.4", after_s=100, cause=cause)
    story.trade(Leg.SHORT, "buy", "1", "84.1", mid="84", after_s=102, purpose="unwind")
    found = story.result()
    long, short = found.venues
    assert (long.price, long.slippage, long.fee, long.forced) == (D(-20), ZERO, D("-0.4"), D(1))
    assert (short.price, short.unwind, short.forced) == (D(16), D("-0.1"), ZERO)
    assert (found.unified.exposure, found.unified.basis) == (ZERO, D(-4)), "the legs left 4 apart: that is what the forced exit cost"
    assert [row.kind for row in story.rows(found)] == ["trade", "trade", cause.value, "trade"]


def test_dust_is_open_value() -> None:
    story = Story().trade(Leg.LONG, "buy", "1", "100", mid="100").trade(Leg.LONG, "sell", "0.999", "101", mid="101", after_s=5)
    found = story.result(marks={Leg.LONG: D(102)}).venues[0]
    assert (found.open_quantity, found.open_value) == (D("0.001"), D("0.102"))
    assert found.price == D("0.999") + D("0.002")


def test_e27_a_fee_in_another_asset_is_converted_by_a_recorded_price_or_stands_alone() -> None:
    story = Story().trade(Leg.LONG, "buy", "1", "100", mid="100", fee="0.01", asset="BNB")
    story.trade(Leg.LONG, "sell", "1", "100", mid="100", fee="0.002", asset="BTC", after_s=5)
    alone = story.result()
    assert alone.total == D("-0.2"), "0.002 BTC at the fill's own price"
    assert alone.other_fees == {"BNB": D("-0.01")}
    (line,) = [x for x in ledger.lines(PAIR, story.fills, [], alone, NOW) if x.asset == "BNB"]
    assert line.amount == D("-0.01")
    (row,) = [r for r in story.rows(alone) if r.fee_asset == "BNB"]
    assert (row.amount, row.fee) == (ZERO, D("-0.01"))
    assert "no recorded price" in row.note
    known = story.result(prices={"BNB": D(600)})
    assert (known.total, known.other_fees) == (D("-6.2"), {})


def test_a_rebate_is_a_gain() -> None:
    story = Story().trade(Leg.LONG, "buy", "1", "100", mid="100", fee="-0.02").trade(Leg.LONG, "sell", "1", "100", mid="100", after_s=5)
    assert story.result().sum("fee") == D("0.02")


def test_e27_what_the_venue_shows_beyond_its_records_is_a_line() -> None:
    story = closed_pair()
    found = story.result(venue_totals={Leg.LONG: D("19.004"), Leg.SHORT: D("-20")})
    rest = [x for x in ledger.lines(PAIR, story.fills, story.funding, found, NOW) if x.kind is LedgerKind.UNEXPLAINED]
    assert [(x.venue, x.amount) for x in rest] == [("l", D(0)), ("s", D("-1.13"))], "below a cent it is rounding; the line says: compared"
    assert found.unexplained == D("0.004") - D("1.13")
    rows = story.rows(found, ledger=rest)
    assert sum(r.amount for r in rows) == found.total - D("1.13")


def test_a_grid_is_one_leg_through_both_directions() -> None:
    """Average cost by hand: 1@100 and 1@90 (95 each), 1 sold at 99 (+4), 2 sold at 105 (+10, then short 1@105), covered at 101 (+4)."""
    story = Story()
    for at, (side, quantity, price) in enumerate(
        [("buy", "1", "100"), ("buy", "1", "90"), ("sell", "1", "99"), ("sell", "2", "105"), ("buy", "1", "101")]
    ):
        story.trade(Leg.LONG, side, quantity, price, mid=price, fee="0.01", after_s=at)
    found = story.result(HOLDING)
    assert [r.realised for r in story.rows(found, HOLDING)] == [0, 0, D(4), D(10), D(4)]
    assert found.total == D(18) - D("0.05")
    assert (found.pair_id, len(found.venues), found.unified.basis) == ("h1", 1, ZERO)


def test_days_and_csv_add_up_to_the_result() -> None:
    story = closed_pair()
    found = story.result()
    rows = story.rows(found)
    days = ledger.daily(rows)
    assert [(d.realised, d.fees, d.funding, d.records) for d in days] == [(0, D("-0.13"), D("0.80"), 4), (D("-0.4"), D("-0.14"), 0, 2)]
    assert sum(d.total for d in days) == found.total
    read = list(csv.DictReader(io.StringIO(ledger.to_csv(rows))))
    assert sum(D(line["amount"]) for line in read) == found.total
    assert read[0]["time"].endswith("Z")
    assert (read[0]["kind"], read[0]["price"], read[0]["reference_price"], read[0]["fee"]) == ("trade", "100.1", "100", "-0.05")


def test_a_csv_cell_is_no_formula() -> None:
    story = Story().trade(Leg.LONG, "buy", "1", "100", mid="100")
    story.fills[0] = msgspec.structs.replace(story.fills[0], trade_id="=cmd()")
    (line,) = [r for r in csv.DictReader(io.StringIO(ledger.to_csv(story.rows(story.result())))) if r["kind"] == "trade"]
    assert line["record_id"] == "'=cmd()"


def payment(amount: str, position: str | None) -> FundingPayment:
    return FundingPayment(
        instrument=InstrumentId("BTC", "USDC", "l"),
        payment_id="f1",
        amount=D(amount),
        asset="USDC",
        rate=None,
        position_quantity=None if position is None else D(position),
        ts_venue_ns=NOW + 10 * NS_PER_S,
    )


@pytest.mark.parametrize(
    ("position", "foreign", "theirs", "mine"),
    [("2", "0", None, "3"), ("3", "0", "1", "2"), ("4", "1", "1", "1.5"), (None, "0", "2", "1.5")],
)
def test_e27_a_payment_is_shared_by_what_each_held_then(position: str | None, foreign: str, theirs: str | None, mine: str) -> None:
    own = Story().trade(Leg.LONG, "buy", "2", "100").trade(Leg.LONG, "buy", "5", "100", after_s=20).fills
    others = [] if theirs is None else Story().trade(Leg.LONG, "buy", theirs, "100").fills
    owner = msgspec.structs.replace(PAIR, foreign_long=D(foreign))
    found = share_of(owner, markets(owner)[0], payment("3", position), own, others, NOW)
    assert found is not None
    assert (found.amount, found.record_id, found.pair_id) == (D(mine), "f1", "p1")


def test_e27_who_held_nothing_then_gets_nothing() -> None:
    own = Story().trade(Leg.LONG, "buy", "2", "100", after_s=20).fills
    others = Story().trade(Leg.LONG, "buy", "1", "100").fills
    assert share_of(PAIR, markets(PAIR)[0], payment("3", "1"), own, others, NOW) is None


prices_ = st.decimals(min_value=D("0.01"), max_value=D(200_000), places=2)
trades_ = st.lists(
    st.tuples(
        st.sampled_from(Leg),
        st.sampled_from(["buy", "sell"]),
        st.decimals(min_value=D("0.001"), max_value=D(50), places=3),
        prices_,
        st.none() | prices_,
        st.decimals(min_value=D(-5), max_value=D(50), places=4),
        st.sampled_from(["entry", "hedge", "unwind", "close"]),
        st.sampled_from(["USDC", "BTC", "XYZ"]),
        st.floats(min_value=0, max_value=1e6),
    ),
    max_size=12,
)


@given(
    trades_, st.lists(st.tuples(st.sampled_from(Leg), st.decimals(min_value=D(-50), max_value=D(50), places=6)), max_size=4), st.booleans()
)
@settings(max_examples=60, deadline=None)
def test_e27_all_views_add_up_to_the_same_total(trades: list[Any], payments: list[Any], marked: bool) -> None:
    story = Story()
    for leg, side, quantity, price, mid, fee, purpose, asset, after in trades:
        story.trade(
            leg,
            side,
            str(quantity),
            str(price),
            mid=None if mid is None else str(mid),
            fee=str(fee),
            asset=asset,
            after_s=after,
            purpose=purpose,
        )
    for leg, amount in payments:
        story.paid(leg, str(amount))
    marks = {Leg.LONG: D("101.5"), Leg.SHORT: D("99.25")} if marked else None
    found = story.result(marks=marks)
    near = pytest.approx(float(found.total), abs=1e-9)
    assert float(found.unified.total) == near
    assert float(sum(v.cash.total for v in found.venues)) == near
    rows = story.rows(found)
    assert float(sum(r.amount for r in rows)) == near
    assert float(sum(day.total for day in ledger.daily(rows))) == near
    worth = sum((v.open_value for v in found.venues), D(0))
    fees = sum((-f.fee * (f.price if f.fee_asset == "BTC" else 1) for f in story.fills if f.fee_asset != "XYZ"), D(0))
    by_hand = sum((-f.signed * f.price for f in story.fills), D(0)) + worth + fees + sum((p.amount for p in story.funding), D(0))
    assert float(by_hand) == near
    booked = ledger.lines(PAIR, story.fills, story.funding, found, NOW, intents=story.intents)
    assert float(sum(x.amount for x in booked if x.asset != "XYZ")) == near
    assert len({(x.kind, x.venue, x.record_id) for x in booked}) == len(booked), "each record once"
