"""The strategy while it holds, over real clients and dialects: waits, rotation, markets that change, the record of it all."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from database.records import DecisionRecord, PairState
from exchange_clients.model import NS_PER_HOUR, NS_PER_S
from exchange_simulator.core.types import MarketStatus, to_fraction
from strategies.base_strategy import InvalidParameters
from strategies.execution.plan import Tactic
from strategies.implementations.funding_arbitrage.config import FundingArbitrageConfig
from strategies.implementations.funding_arbitrage.strategy import FundingArbitrage
from tests.strategies.stack import Stack, decode, run_stack
from tests.strategies.test_funding_arbitrage import CONFIG, LONG, SHORT, state_of, strategy, to_the_hour

D = Decimal
ETH = D(3000)
NO_WAIT = {"enable_break_even_alignment": False}


def rates(s: Stack, first: str, second: str) -> None:
    """Funding per hour on both venues, as fractions."""
    for venue, rate in zip(s.venues.values(), (first, second), strict=True):
        hours = venue.exchange.markets[venue.symbol].spec.funding_interval_ns // NS_PER_HOUR
        venue.exchange.set_funding_rate(venue.now(), venue.symbol, to_fraction(str(D(rate) * hours)))


def decisions(s: Stack, kind: str | None = None) -> list[DecisionRecord]:
    assert s.journal is not None
    return [d for d in s.journal.decisions(strategy=FundingArbitrage.name) if kind in (None, d.kind)]


def held(s: Stack) -> dict[str, PairState]:
    assert s.engine is not None
    return {r.record.symbol: r.state for r in s.engine.pairs.values() if r.state is not PairState.CLOSED}


async def forward(s: Stack, minutes: float) -> None:
    """Time passes; the books stay as they were."""
    s.step_to(s.runtime.clock.time_ns() + int(minutes * 60) * NS_PER_S)
    await asyncio.sleep(0.5)
    for venue in s.venues.values():
        venue.book()
        if "ETH" in venue.ready.markets:
            venue.refresh("ETH", ETH)
    await asyncio.sleep(2)


async def opened(s: Stack, **changes: Any) -> FundingArbitrage:
    rates(s, "0", "0.0004")
    await asyncio.sleep(2)
    given = {"exchanges": list(s.venues), **changes}
    made = await strategy(s, **given)
    await made.run_cycle()
    assert held(s) == {"BTC": PairState.HEDGED}
    return made


def test_a_strategy_refuses_another_account(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        with pytest.raises(InvalidParameters, match="account_name: other, but the bot runs on account main"):
            await strategy(s, account_name="other")

    run_stack(tmp_path, main)


def test_the_plan_carries_what_the_configuration_says(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        await opened(
            s,
            limit_order_offset_pct="0.0001",
            execution={"mode": "limit_with_fallback", "naked_cap_usd": 400, "maker_timeout_seconds": 2},
        )
        assert s.engine is not None
        (runner,) = s.engine.pairs.values()
        plan = runner.plan
        assert plan.tactics == (Tactic.TOUCH, Tactic.CROSS, Tactic.CROSS)
        assert plan.exit_tactics == (Tactic.TOUCH, Tactic.CROSS)
        assert plan.limits.maker_offset == D("0.0001")
        assert plan.max_price_cost is not None
        assert 0 < plan.max_price_cost < D("0.01")
        assert plan.worst_naked_usd <= 400

    run_stack(tmp_path, main)


def test_an_exit_that_waits_is_looked_at_more_often(tmp_path: Path) -> None:
    """At break-even it would leave; after the bound it leaves as it is."""

    async def main(s: Stack) -> None:
        risk = {"min_hold_hours": 0, "max_position_age_hours": 1, "stop_loss_pct": None, "check_interval_seconds": 60}
        made = await opened(s, risk_config=risk, exit_poll_seconds=5, exit_polling_max_duration_minutes=10)
        assert made.interval_s == 60
        await forward(s, 61)
        await made.run_cycle()
        assert state_of(s) is PairState.HEDGED
        assert decisions(s, "hold")[-1].rule == "wait"
        assert "age is due; closing now loses" in decisions(s, "hold")[-1].outcome
        assert made.interval_s == 5
        await forward(s, 9)
        await made.run_cycle()
        assert state_of(s) is PairState.HEDGED
        await forward(s, 2)
        await made.run_cycle()
        assert state_of(s) is PairState.CLOSED
        assert decisions(s, "exit")[-1].rule == "age"
        assert made.interval_s == 60

    run_stack(tmp_path, main, stepping=True)


def test_the_same_answer_is_written_once_in_a_while(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        made = await opened(s, decision_record_minutes=15)
        for _ in range(7):
            await forward(s, 5)
            await made.run_cycle()
        assert [d.rule for d in decisions(s, "hold")] == ["none"] * 3, "at 5, 20 and 35 minutes"
        again = await strategy(s, decision_record_minutes=0)
        for _ in range(3):
            await forward(s, 1)
            await again.run_cycle()
        assert len(decisions(s, "hold")) == 6

    run_stack(tmp_path, main, stepping=True)


def test_a_wide_spread_keeps_out_for_a_while_also_after_a_restart(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        rates(s, "0", "0.004")
        s.venues[SHORT].book(half_bps="40")
        await asyncio.sleep(2)
        made = await strategy(s, wide_spread_cooldown_minutes=30)
        await made.run_cycle()
        assert decisions(s)[-1].rule == "wide_spread"
        await forward(s, 10)
        await s.restart()
        again = await strategy(s, wide_spread_cooldown_minutes=30)
        await again.run_cycle()
        assert decisions(s)[-1].rule == "wide_spread_cooldown"
        assert held(s) == {}
        await forward(s, 21)
        await again.run_cycle()
        assert held(s) == {"BTC": PairState.HEDGED}

    run_stack(tmp_path, main, stepping=True)


def test_a_pair_makes_room_for_a_better_one_and_that_one_is_entered(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        made = await opened(s, max_positions=1, **NO_WAIT, risk_config={"min_hold_hours": 1})
        for name, venue in s.venues.items():
            venue.list_too("ETH", ETH)
            venue.exchange.set_funding_rate(venue.now(), "ETH", to_fraction("0.0012" if name == SHORT else "0"))
        for client in s.clients.values():
            await client.instruments.load_all(force=True)
        await forward(s, 30)
        await made.run_cycle()
        assert held(s) == {"BTC": PairState.HEDGED}, "the minimum hold is not over"
        assert decisions(s)[-1].rule == "max_positions"
        await forward(s, 40)
        await made.run_cycle()
        assert decisions(s, "exit")[-1].rule == "better_opportunity"
        assert held(s) == {"ETH": PairState.HEDGED}

    run_stack(tmp_path, main, stepping=True)


def test_pains_28_a_market_that_is_about_to_go_is_left_at_once_and_not_entered_again(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        made = await opened(s)
        woken = made._woken.is_set()
        venue = s.venues["aster"]
        venue.exchange.set_status(venue.now(), venue.symbol, MarketStatus.REDUCE_ONLY)
        await s.clients["aster"].instruments.load_all(force=True)
        assert (woken, made._woken.is_set()) == (False, True), "the change of a held market wakes the strategy"
        await made.run_cycle()
        assert state_of(s) is PairState.CLOSED
        assert decisions(s, "exit")[-1].rule == "delisting"
        assert held(s) == {}
        assert any(d.rule == "tradable" for d in decisions(s, "skip"))

    run_stack(tmp_path, main, names=("hyperliquid", "aster"), stepping=True)


def test_pains_28_a_notice_of_delisting_stops_entries_and_the_date_is_not_awaited(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        made = await opened(s)
        provider = s.clients[SHORT].instruments
        ends_ns = s.runtime.clock.time_ns() + 30 * NS_PER_HOUR
        provider.update(msgspec.structs.replace(provider.get("BTC"), ends_ns=ends_ns))
        await made.run_cycle()
        assert state_of(s) is PairState.HEDGED
        await forward(s, 6 * 60 + 1)
        provider.update(msgspec.structs.replace(provider.get("BTC"), ends_ns=ends_ns))
        await made.run_cycle()
        assert (state_of(s), decisions(s, "exit")[-1].rule) == (PairState.CLOSED, "delisting")
        assert "ends in 23.98 h" in decisions(s, "exit")[-1].outcome

    run_stack(tmp_path, main, stepping=True)


def test_pains_9_a_rate_nobody_believes_is_no_reason_to_leave_nor_to_enter(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        risk = {"min_hold_hours": 0, "flip_confirmations": 1, "erosion_confirmations": 1, "stop_loss_pct": None}
        made = await opened(s, risk_config=risk)
        market = s.venues[LONG].exchange.markets[s.venues[LONG].symbol]
        market.spec = replace(market.spec, funding_cap=0)
        rates(s, "0.9", "0.0004")
        await forward(s, 2)
        await made.run_cycle()
        await forward(s, 20)
        await made.run_cycle()
        assert state_of(s) is PairState.HEDGED
        hold = decisions(s, "hold")[-1]
        assert "0.9" in hold.outcome
        assert decode(hold.inputs)["edge_hourly"] is None

    run_stack(tmp_path, main, stepping=True)


def test_e39_an_open_pair_keeps_its_limits_when_a_reload_loosens_them(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        made = await opened(s, **NO_WAIT, risk_config={"min_hold_hours": 0, "max_position_age_hours": 1})
        looser = {**CONFIG, **NO_WAIT, "risk_config": {"min_hold_hours": 0, "max_position_age_hours": 100}}
        await made.reload(FundingArbitrageConfig.model_validate(looser))
        await forward(s, 65)
        await made.run_cycle()
        assert [d.rule for d in decisions(s, "exit")] == ["age"]

    run_stack(tmp_path, main, stepping=True)


def test_recorded_decisions_come_out_the_same_again_and_differently_under_another_configuration(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        assert s.engine is not None
        s.engine.halt("not yet")
        made = await strategy(s, **NO_WAIT, risk_config={"min_hold_hours": 2, "flip_confirmations": 2})
        rates(s, "0", "0.0004")
        await asyncio.sleep(2)
        await made.run_cycle()
        s.engine.resume()
        await made.run_cycle()
        for _ in range(2):
            await to_the_hour(s)
            await made.run_cycle()
        rates(s, "0.0004", "0")
        for _ in range(3):
            await to_the_hour(s)
            await made.run_cycle()
            s.venues[LONG].one_sided()
        told = decisions(s)
        assert {d.kind for d in told} == {"enter", "hold", "exit", "skip"}
        same = FundingArbitrage.rejudge(told, made.config)
        assert [(r.kind, r.rule, r.detail) for r in same if r.decision.kind != "enter"] == [
            (d.kind, d.rule, d.outcome) for d in told if d.kind != "enter"
        ]
        assert {(r.kind, r.rule) for r in same if r.decision.kind == "enter"} == {("enter", "edge")}
        assert not any(r.differs for r in same)
        slower = made.config.model_copy(
            update={"min_profit": D("0.05"), "risk_config": made.config.risk_config.model_copy(update={"flip_confirmations": 9})}
        )
        other = FundingArbitrage.rejudge(told, slower)
        assert {(r.decision.kind, r.kind, r.rule) for r in other if r.differs} == {
            ("enter", "skip", "min_profit"),
            ("exit", "hold", "none"),
        }

    run_stack(tmp_path, main, stepping=True)


def test_pains_7_an_interval_that_changes_is_seen_and_the_edge_told_anew(tmp_path: Path) -> None:
    """From eight hours to four at the same rate per settlement: twice the edge."""

    async def main(s: Stack) -> None:
        made = await opened(s, risk_config={"min_hold_hours": 0, "erosion_confirmations": 9})
        await forward(s, 2)
        await made.run_cycle()
        assert decode(decisions(s, "hold")[-1].inputs)["intervals"] == "1 h, 8 h"
        market = s.venues["okx"].exchange.markets[s.venues["okx"].symbol]
        market.spec = replace(market.spec, funding_interval_ns=4 * NS_PER_HOUR)
        await forward(s, 2)
        await made.run_cycle()
        after = decode(decisions(s, "hold")[-1].inputs)
        assert after["intervals"] == "1 h, 4 h"
        assert D(after["edge_hourly"]) == D("0.0004") * 2

    run_stack(tmp_path, main, names=("lighter", "okx"), stepping=True)


def test_history_is_read_from_the_venues_when_it_is_asked_to_speak_for_the_edge(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        rates(s, "0", "0.0004")
        await asyncio.sleep(2)
        made = await strategy(s, persistence_lookback_hours=24)
        await made.run_cycle()
        assert decisions(s)[-1].rule == "persistence"
        assert "no history" in decisions(s)[-1].outcome
        await forward(s, 14 * 60)
        await made.run_cycle()
        assert held(s) == {"BTC": PairState.HEDGED}
        past = decode(decisions(s, "enter")[-1].inputs)["view"]["persistence"]
        assert past["points"] >= 12
        assert abs(D(past["mean"]) - D("0.0004")) < D("0.00005")

    run_stack(tmp_path, main, stepping=True)


def test_e21_a_book_that_grew_old_while_the_other_venue_was_asked_keeps_us_out(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        rates(s, "0", "0.0004")
        await asyncio.sleep(2)
        made = await strategy(s)
        s.venues[SHORT].faults("slow times=0 delay=1.5")
        await made.run_cycle()
        assert held(s) == {}
        assert decisions(s)[-1].rule == "book"
        assert decisions(s)[-1].outcome.startswith(f"book {LONG}: ")
        s.venues[SHORT].calm()
        await made.run_cycle()
        assert held(s) == {"BTC": PairState.HEDGED}

    run_stack(tmp_path, main)
