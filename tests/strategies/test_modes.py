"""Execution modes end to end, and the bounds of a plan on what entering may cost."""

import asyncio
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from database.records import IntentRecord, Leg, PairState
from exchange_clients.model import Liquidity, Side
from exchange_simulator.core.types import Side as SimSide
from strategies.execution.plan import Mode, PairPlan, Tactic, exit_ladder, ladder
from strategies.execution.pricing import Quote, terms, worst_hedge, worst_lead
from tests.strategies.instruments import instrument
from tests.strategies.stack import MID, VENUES, NakedWatch, Stack, run_stack

D = Decimal
LONG, SHORT = VENUES
TIGHT, WIDE = D(1), D(20)


async def sellers(s: Stack, where: str, side: SimSide) -> None:
    """Somebody takes from the touch of a venue, again and again."""
    venue = s.venues[where]
    market = venue.exchange.markets[venue.symbol].spec
    while True:
        await asyncio.sleep(1.5)
        venue.exchange.external_trade(venue.now(), venue.symbol, side, market.to_steps(D("1.004")))
        venue.book()


def sent(s: Stack, pair_id: str, leg: Leg, purpose: str) -> list[IntentRecord]:
    assert s.journal is not None
    return [i for i in s.journal.intents(pair_id) if i.leg is leg and i.purpose == purpose]


@pytest.mark.parametrize(("mode", "spread"), [*((mode, WIDE) for mode in Mode), (Mode.ADAPTIVE, TIGHT)])
def test_every_mode_opens_and_closes_where_somebody_trades(tmp_path: Path, mode: Mode, spread: Decimal) -> None:
    async def main(s: Stack) -> None:
        for venue in s.venues.values():
            venue.book(half_bps=str(spread / 2))
        first, out = ladder(mode, spread_bps=spread), exit_ladder(mode, spread_bps=spread)
        taker = asyncio.create_task(sellers(s, LONG, SimSide.SELL))
        record = await s.open(slice_="0.005", tactics=first, exit_tactics=out, maker_timeout_s=4.0)
        taker.cancel()
        assert record.state is PairState.HEDGED, record.reason
        assert s.positions() == {LONG: D("0.01"), SHORT: D("-0.01")}
        entries = sent(s, record.pair_id, Leg.LONG, "entry")
        assert entries[0].time_in_force == ("GTC" if first[0].rests else "IOC")
        assert s.journal is not None
        if mode is Mode.LIMIT_ONLY:
            made = {f.liquidity for f in s.journal.fills(record.pair_id) if f.leg is Leg.LONG}
            assert made == {Liquidity.MAKER.value}
        taker = asyncio.create_task(sellers(s, LONG, SimSide.BUY))
        assert s.engine is not None
        closed = await s.engine.close(record.pair_id, "test", s.decision("exit", record.pair_id), patient=True)
        taker.cancel()
        assert closed.state is PairState.CLOSED, closed.reason
        assert s.positions() == {LONG: D(0), SHORT: D(0)}
        exits = sent(s, record.pair_id, Leg.LONG, "close")
        assert exits[0].time_in_force == ("GTC" if out[0].rests else "IOC")
        assert {i.time_in_force for i in sent(s, record.pair_id, Leg.SHORT, "close")} == {"IOC"}, "the leg that follows takes"

    run_stack(tmp_path, main)


@pytest.mark.parametrize("mode", list(Mode))
def test_every_mode_ends_where_nobody_trades(tmp_path: Path, mode: Mode) -> None:
    """limit_only gives up flat and never takes on the first leg; the others take in the end, and every exit does."""

    async def main(s: Stack) -> None:
        first, out = ladder(mode, spread_bps=WIDE), exit_ladder(mode, spread_bps=WIDE)
        record = await s.open(tactics=first, exit_tactics=out, maker_timeout_s=2.0)
        entries = sent(s, record.pair_id, Leg.LONG, "entry")
        if mode is Mode.LIMIT_ONLY:
            assert (record.state, record.reason) == (PairState.CLOSED, "failed open: the first leg does not fill")
            assert {i.time_in_force for i in entries} == {"GTC"}
            assert s.positions() == {LONG: D(0), SHORT: D(0)}
            record = await s.open(exit_tactics=out, maker_timeout_s=2.0)
        assert record.state is PairState.HEDGED, record.reason
        assert s.engine is not None
        closed = await s.engine.close(record.pair_id, "test", s.decision("exit", record.pair_id), patient=True)
        assert closed.state is PairState.CLOSED, closed.reason
        exits = sent(s, record.pair_id, Leg.LONG, "close")
        assert [i.time_in_force == "GTC" for i in exits] == [t.rests for t in out[: len(exits)]]
        assert exits[-1].time_in_force == "IOC"
        assert all(i.reduce_only for i in exits)

    run_stack(tmp_path, main)


def test_haste_takes_a_patient_exit_off_the_book(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open(exit_tactics=(Tactic.TOUCH, Tactic.CROSS), maker_timeout_s=600.0)
        assert s.engine is not None
        runner = await s.engine.begin_close(record.pair_id, "age", s.decision("exit", record.pair_id), patient=True)
        await asyncio.sleep(3)
        assert len(await s.clients[LONG].get_active_orders("BTC")) == 1
        assert s.positions() == {LONG: D("0.01"), SHORT: D("-0.01")}
        await s.engine.begin_close(record.pair_id, "liquidation is near", s.decision("exit", record.pair_id))
        began = asyncio.get_running_loop().time()
        assert (await runner.until_rest()).state is PairState.CLOSED
        assert asyncio.get_running_loop().time() - began < 5
        assert s.positions() == {LONG: D(0), SHORT: D(0)}

    run_stack(tmp_path, main)


def test_e13_each_partial_fill_of_a_patient_exit_is_followed(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open(exit_tactics=(Tactic.INSIDE, Tactic.CROSS), maker_timeout_s=60.0)
        watch = NakedWatch(s)
        venue = s.venues[LONG]
        market = venue.exchange.markets[venue.symbol].spec
        assert s.engine is not None
        runner = await s.engine.begin_close(record.pair_id, "age", s.decision("exit", record.pair_id), patient=True)
        for part in ("0.003", "0.004", "0.003"):
            await asyncio.sleep(2)
            venue.exchange.external_trade(venue.now(), venue.symbol, SimSide.BUY, market.to_steps(D(part)))
        assert (await runner.until_rest()).state is PairState.CLOSED
        assert s.positions() == {LONG: D(0), SHORT: D(0)}
        assert watch.worst == D("0.004")
        assert watch.longest_open_s(D("0.00001")) <= 5

    run_stack(tmp_path, main)


def test_e12_the_plan_on_record_says_what_may_happen_before_anything_is_sent(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        recorded: list[PairPlan] = []

        def look(event: str, pair_id: str, _: dict[str, object]) -> None:
            if event == "order.send" and not recorded:
                assert s.journal is not None
                held = s.journal.pair(pair_id)
                assert held is not None
                recorded.append(msgspec.json.decode(held.plan, type=PairPlan))

        s.story.hook = look
        for venue in s.venues.values():
            venue.book(mid=MID * D("1.01"))
        await s.open(quantity="0.04", slice_="0.01", max_price_cost=D("0.01"), open_deadline_s=33.0)
        (plan,) = recorded
        assert plan.prices == {leg: MID * D("1.01") for leg in Leg}
        assert plan.worst_naked_usd == D("0.01") * MID * D("1.01"), "at live prices, whatever the strategy assumed"
        assert (plan.slice_quantity, plan.limits.open_deadline_s, plan.max_price_cost) == (D("0.01"), 33.0, D("0.01"))

    run_stack(tmp_path, main)


@pytest.mark.parametrize("first", list(Leg))
@pytest.mark.parametrize("tactic", [Tactic.TOUCH, Tactic.INSIDE, Tactic.CROSS, Tactic.MARKET])
def test_the_first_leg_is_never_priced_beyond_break_even(tmp_path: Path, first: Leg, tactic: Tactic) -> None:
    """The long venue is 1 % dearer, the plan may cost 0.5 %: an order may stand there, but only at a price that nobody pays."""

    async def main(s: Stack) -> None:
        s.venues[LONG].book(mid=MID * D("1.01"))
        record = await s.open(first=first, tactics=(tactic, tactic), max_price_cost=D("0.005"), maker_timeout_s=2.0)
        assert record.state is PairState.CLOSED, record.reason
        orders = sent(s, record.pair_id, first, "entry")
        assert orders
        touch = MID * D("0.9999") if first is Leg.LONG else MID * D("1.01") * D("1.0001")
        for order in orders:
            assert order.limit_price is not None
            if first is Leg.LONG:
                assert order.limit_price <= touch * D("1.005")
            else:
                assert order.limit_price >= touch / D("1.005")
        assert s.positions() == {LONG: D(0), SHORT: D(0)}

    run_stack(tmp_path, main)


def test_a_resting_entry_is_taken_off_when_the_hedge_has_become_too_dear(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        opening = asyncio.create_task(
            s.open(tactics=(Tactic.TOUCH,), max_price_cost=D("0.001"), maker_timeout_s=600.0, open_deadline_s=900.0)
        )
        await asyncio.sleep(10)
        assert len(await s.clients[LONG].get_active_orders("BTC")) == 1
        s.venues[SHORT].book(mid=MID * D("0.99"))
        await asyncio.sleep(4)
        assert await s.clients[LONG].get_active_orders("BTC") == []
        assert s.story.of("order.mispriced")
        assert (await opening).state is PairState.CLOSED
        assert s.positions() == {LONG: D(0), SHORT: D(0)}

    run_stack(tmp_path, main)


def test_a_hedge_beyond_the_budget_is_not_bought_but_the_first_leg_unwound(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        def crash(event: str, _: str, facts: dict[str, object]) -> None:
            if event == "fill" and facts["leg"] == "long" and facts["side"] == "buy":
                s.story.hook = None
                s.venues[SHORT].book(mid=MID * D("0.994"))

        s.story.hook = crash
        record = await s.open(slice_="0.004", max_price_cost=D("0.001"), hedge_overrun_bps=D(20))
        assert record.state is PairState.CLOSED, record.reason
        hedges = sent(s, record.pair_id, Leg.SHORT, "hedge")
        assert hedges
        paid = MID * D("1.0001")
        assert all(i.limit_price is not None and i.limit_price >= paid / D("1.0031") for i in hedges)
        assert s.positions() == {LONG: D(0), SHORT: D(0)}

    run_stack(tmp_path, main)


def test_prices_of_every_tactic_stay_within_every_bound() -> None:
    market = instrument("a", tick="0.5")
    quote = Quote(D(99), D(101))
    for side, worst in ((Side.BUY, D("98.7")), (Side.SELL, D("101.3"))):
        for tactic in Tactic:
            bounded = terms(market, side, tactic, quote, D(20), worst=worst)
            assert (worst - bounded.price) * side.sign >= 0
            assert bounded.post_only == tactic.rests
    assert terms(market, Side.BUY, Tactic.TOUCH, quote, D(20), offset=D("0.01")).price == D(98)
    assert terms(market, Side.SELL, Tactic.TOUCH, quote, D(20), offset=D("0.01")).price == D("102.5"), "never nearer"
    cost = D("0.002")
    lead = worst_lead(Side.BUY, quote, cost)
    assert (lead - quote.bid) / quote.bid == cost, "bought there and hedged at the bid, it costs just that"
    assert (quote.ask - worst_lead(Side.SELL, quote, cost)) / worst_lead(Side.SELL, quote, cost) == pytest.approx(cost)
    assert worst_hedge(Side.SELL, D(100), cost, D(10)) == D(100) / D("1.003")
    assert worst_hedge(Side.BUY, D(100), cost, D(10)) == D(100) * D("1.003")
