"""The loss of a day, failed opens in a row, divergence of prices."""

from decimal import Decimal

import pytest

from database.records import FillCause, FillRecord, FundingRecord, Leg
from exchange_clients.model import NS_PER_S, InstrumentId
from strategies.risk import daily, divergence
from strategies.risk.daily import DAY_NS, DayBook
from strategies.risk.figures import Reference
from strategies.risk.limits import RiskLimits
from strategies.risk.opens import FailedOpens

D = Decimal
BTC = "BTC-USDC-PERP.a"


def fill(side: str, quantity: str, price: str, *, fee: str = "0", asset: str = "USDC") -> FillRecord:
    return FillRecord(
        venue="a",
        account="main",
        trade_id="t",
        pair_id="p1",
        leg=Leg.LONG,
        instrument=BTC,
        intent_id=None,
        client_order_id=None,
        order_id=None,
        side=side,
        price=D(price),
        quantity=D(quantity),
        fee=D(fee),
        fee_asset=asset,
        liquidity="taker",
        kind=FillCause.TRADE,
        ts_venue=0,
        recorded_at=0,
    )


def funding(amount: str) -> FundingRecord:
    return FundingRecord(
        venue="a",
        account="main",
        record_id="f",
        pair_id="p1",
        leg=Leg.LONG,
        instrument=BTC,
        amount=D(amount),
        rate=None,
        position=None,
        ts_venue=0,
        recorded_at=0,
    )


def test_worth_is_cash_and_what_is_held_at_its_mark() -> None:
    fills = [fill("buy", "2", "100", fee="0.5"), fill("sell", "1", "110", fee="0.001", asset="BTC")]
    assert daily.worth(fills, [funding("-3")], lambda venue, name: D(90)) == D("-200.5") + D(110) - D("0.11") - 3 + 90


def test_e22_a_held_market_without_a_price_has_no_worth() -> None:
    assert daily.worth([fill("buy", "2", "100")], [], lambda venue, name: None) is None
    assert daily.worth([fill("buy", "2", "100"), fill("sell", "2", "110")], [], lambda venue, name: None) == 20


def test_a_day_begins_with_what_was_last_seen_of_the_day_before() -> None:
    book = daily.roll(DayBook(), 5 * DAY_NS + 1, {"old": D(100)})
    assert daily.result(book, {"old": D(90), "new": D(-5)}) == -15
    book = daily.roll(
        DayBook(day=5, baseline=book.baseline, last={"old": D(90), "new": D(-5)}, halted=True), 6 * DAY_NS, {"old": D(70), "new": D(-5)}
    )
    assert not book.halted
    assert daily.result(book, {"old": D(70), "new": D(-5)}) == -20, "a move while nobody looked counts for the new day"


def test_failed_opens_in_a_row_pause_entries_and_a_good_one_ends_the_row() -> None:
    limits, opens = RiskLimits(max_failed_opens=2, failed_open_pause_s=60), FailedOpens()
    opens.told("opening", "closed", "failed open: no fill", 0)
    assert opens.block(limits, 1) is None
    opens.told("closing", "closed", "closed", 1)
    opens.told("opening", "closed", "failed open: no fill", 10 * NS_PER_S)
    block = opens.block(limits, 20 * NS_PER_S)
    assert block is not None
    assert "2 in a row, limit 2" in block
    assert "50 s more" in block
    assert opens.block(limits, 70 * NS_PER_S) is None
    opens.told("opening", "hedged", "filled as planned", 80 * NS_PER_S)
    assert opens.count == 0


def ref(mark: str | None, index: str | None) -> Reference:
    return Reference(mark=None if mark is None else D(mark), index=None if index is None else D(index), at_ns=0)


@pytest.mark.parametrize(
    ("held", "limit", "blocked"),
    [
        (ref("101", "100"), "0.02", False),
        (ref("103", "100"), "0.02", True),
        (ref("97", "100"), "0.02", True),
        (ref("100", None), "0.02", True),
        (ref(None, "100"), "0.02", True),
        (None, "0.02", True),
        (None, None, False),
    ],
)
def test_e22_a_mark_far_from_its_index_or_not_known_blocks_when_there_is_a_limit(
    held: Reference | None, limit: str | None, blocked: bool
) -> None:
    found = divergence.mark_index(InstrumentId.parse(BTC), held, None if limit is None else D(limit))
    assert (found is not None) is blocked, found


@pytest.mark.parametrize(
    ("other", "index", "limit", "blocked"),
    [
        ("BTC-USDT-PERP.b", "100.1", "0.005", False),
        ("BTC-USDT-PERP.b", "101", "0.005", True),
        ("BTC-USDT-PERP.b", None, "0.005", True),
        ("BTC-USDT-PERP.b", "150", None, False),
        ("BTC-USDC-PERP.b", "150", "0.005", False),
        ("ETH-USDT-PERP.b", "3", "0.005", False),
    ],
)
def test_e22_two_stablecoins_apart_or_not_known_block_when_there_is_a_limit(
    other: str, index: str | None, limit: str | None, blocked: bool
) -> None:
    legs = {InstrumentId.parse(BTC): ref("100", "100"), InstrumentId.parse(other): ref("100", index)}
    found = divergence.quotes(legs, None if limit is None else D(limit))
    assert (found is not None) is blocked, found
