"""Ways in which funding arbitrage would lose money although every single rule is right: each has been seen."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from database.records import PairState
from exchange_clients.errors import TransportError
from exchange_clients.model import NS_PER_HOUR, NS_PER_S, MarginMode
from exchange_simulator.core.types import to_fraction
from funding_rate_service.opportunity import pair_history, persistence
from funding_rate_service.opportunity.persistence import expected_hours
from strategies.gate import read_leg
from strategies.implementations.funding_arbitrage.exits import HoldMemory
from strategies.implementations.funding_arbitrage.holding import away_from_liquidation
from tests.strategies.quotes import NOW, quote
from tests.strategies.stack import Stack, run_stack
from tests.strategies.test_funding_arbitrage import LONG, SHORT, state_of, strategy
from tests.strategies.test_funding_arbitrage_entry import facts, rule, verdict, view
from tests.strategies.test_funding_arbitrage_held import NO_WAIT, decisions, forward, held, opened, rates
from tests.strategies.test_funding_arbitrage_rules import CALM, change, look, sample

D = Decimal
ETH = D(3000)
AT_ONCE = {"min_hold_hours": 0, "max_position_age_hours": "0.5"}


async def list_eth(s: Stack, rate: str, *names: str) -> None:
    """A second asset; the last of the venues pays for being short."""
    for name in names:
        venue = s.venues[name]
        venue.list_too("ETH", ETH)
        market = venue.ready.markets["ETH"].symbol
        hours = venue.exchange.markets[market].spec.funding_interval_ns // NS_PER_HOUR
        venue.exchange.set_funding_rate(venue.now(), market, to_fraction(str(D(rate) * hours) if name == names[-1] else "0"))
    for client in s.clients.values():
        await client.instruments.load_all(force=True)
    await asyncio.sleep(2)


# ---- exits that would not come


def test_e18_a_bug_in_one_pair_costs_no_other_pair_its_exit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(s: Stack) -> None:
        await list_eth(s, "0.0003", LONG, SHORT)
        rates(s, "0", "0.0005")
        made = await strategy(s, **NO_WAIT, risk_config=AT_ONCE)
        await made.run_cycle()
        assert list(held(s)) == ["BTC", "ETH"]
        await forward(s, 40)
        client = s.clients[LONG]
        real = client.get_position_snapshot

        async def broken(symbol: Any) -> Any:
            if "BTC" in str(symbol):
                raise RuntimeError("a bug nobody knew of")
            return await real(symbol)

        monkeypatch.setattr(client, "get_position_snapshot", broken)
        with pytest.raises(RuntimeError, match="a bug nobody knew of"):
            await made.run_cycle()
        assert held(s)["BTC"] is PairState.HEDGED
        assert [d.symbol for d in decisions(s, "exit")] == ["ETH"]

    run_stack(tmp_path, main, stepping=True)


def test_e18_a_scan_that_fails_costs_no_exit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(s: Stack) -> None:
        made = await opened(s, **NO_WAIT, risk_config=AT_ONCE)
        await forward(s, 40)

        async def broken() -> Any:
            raise RuntimeError("a bug nobody knew of")

        monkeypatch.setattr(s.clients[LONG], "fetch_funding_rates", broken)
        with pytest.raises(RuntimeError):
            await made.run_cycle()
        assert decisions(s, "exit")[-1].rule == "age"
        assert state_of(s) is PairState.CLOSED

    run_stack(tmp_path, main, stepping=True)


def test_e18_a_dead_venue_does_not_delay_exits_elsewhere(tmp_path: Path) -> None:
    """BTC is long at the first and short at the second venue, ETH long at the first and short at the third. The second dies."""

    async def main(s: Stack) -> None:
        one, dead, other = s.venues
        await list_eth(s, "0.0004", one, other)
        for venue, rate in zip(s.venues.values(), ("0", "0.0005", "0.0001"), strict=True):
            hours = venue.exchange.markets[venue.symbol].spec.funding_interval_ns // NS_PER_HOUR
            venue.exchange.set_funding_rate(venue.now(), venue.symbol, to_fraction(str(D(rate) * hours)))
        await asyncio.sleep(2)
        made = await strategy(s, exchanges=list(s.venues), **NO_WAIT, risk_config=AT_ONCE)
        await made.run_cycle()
        assert list(held(s)) == ["BTC", "ETH"]
        await forward(s, 40)
        s.venues[dead].host.set_black_hole(True)
        begun = s.runtime.clock.time_ns()
        await made.run_cycle()
        eth = next(d for d in decisions(s, "exit") if d.symbol == "ETH")
        assert (eth.ts - begun) / NS_PER_S < 15
        s.venues[dead].host.set_black_hole(False)

    run_stack(tmp_path, main, stepping=True, names=(LONG, SHORT, "backpack"))


def test_e18_a_venue_that_never_answers_holds_up_no_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes requests and says nothing, longer than any timeout of ours: the leg elsewhere is near its liquidation."""

    async def main(s: Stack) -> None:
        made = await opened(s)

        async def silent(*_: Any, **__: Any) -> Any:
            await asyncio.sleep(3600)

        silenced = ("fetch_funding_rates", "get_position_snapshot", "get_funding_payments", "get_fee_rates", "fetch_ticker")
        for name in silenced:
            monkeypatch.setattr(s.clients[SHORT], name, silent)
        real = s.clients[LONG].get_position_snapshot

        async def near(symbol: Any) -> Any:
            found = await real(symbol)
            assert found is not None
            return msgspec.structs.replace(found, liquidation_price=D(96_000))

        monkeypatch.setattr(s.clients[LONG], "get_position_snapshot", near)
        begun = s.runtime.clock.time_ns()
        cycle = asyncio.create_task(made.run_cycle())
        await asyncio.sleep(60)
        assert [d.rule for d in decisions(s, "exit")] == ["liquidation_distance"]
        assert (decisions(s, "exit")[0].ts - begun) / NS_PER_S < 50
        cycle.cancel()
        await asyncio.gather(cycle, return_exceptions=True)

    run_stack(tmp_path, main)


def test_e18_books_that_wait_for_a_venue_hold_up_no_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pair has closed and its venue never tells what was paid; the other one is due."""

    async def main(s: Stack) -> None:
        await list_eth(s, "0.0003", LONG, SHORT)
        rates(s, "0", "0.0005")
        made = await strategy(s, **NO_WAIT, risk_config=AT_ONCE)
        await made.run_cycle()
        assert s.engine is not None
        btc, _ = s.engine.pairs

        async def silent(*_: Any, **__: Any) -> Any:
            await asyncio.sleep(3600)

        for client in s.clients.values():
            monkeypatch.setattr(client, "get_funding_payments", silent)
        await made.begin_close(btc, "by hand")
        await asyncio.sleep(10)
        assert list(held(s)) == ["ETH"]
        async with asyncio.timeout(100):
            await made.run_cycle()
            await forward(s, 40)
            await made.run_cycle()
        assert [d.symbol for d in decisions(s, "exit") if d.rule == "age"] == ["ETH"]

    run_stack(tmp_path, main, stepping=True)


def test_e18_a_stop_loss_needs_no_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One venue tells no rates any more, its book is there: the loss is known."""

    async def main(s: Stack) -> None:
        made = await opened(s)

        async def silent() -> Any:
            raise TransportError("no rates today", venue=LONG)

        monkeypatch.setattr(s.clients[LONG], "fetch_funding_rates", silent)
        s.venues[LONG].book(mid=D(95_000))
        await asyncio.sleep(1)
        await made.run_cycle()
        assert [d.rule for d in decisions(s, "exit")] == ["stop_loss"]

    run_stack(tmp_path, main)


def test_e18_memory_that_cannot_be_read_costs_no_exit(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        made = await opened(s, **NO_WAIT, risk_config=AT_ONCE)
        assert s.engine is not None
        (pair_id,) = s.engine.pairs
        await made.save_state(f"hold:{pair_id}", "what another version wrote")
        await forward(s, 40)
        await made.run_cycle()
        assert state_of(s) is PairState.CLOSED

    run_stack(tmp_path, main, stepping=True)


def test_a_missing_rate_does_not_start_a_bounded_wait_anew() -> None:
    waiting = HoldMemory(flips=2, due_ns=NOW - 5)
    blind = look(change(edge_hourly=None, long=None), waiting, enable_exit_polling=True)
    assert blind.kind == "hold"
    assert blind.memory.due_ns == NOW - 5
    assert look(CALM, HoldMemory(due_ns=NOW - 5), enable_exit_polling=True).memory.due_ns is None


def test_a_price_beyond_the_liquidation_price_is_no_distance() -> None:
    assert away_from_liquidation(D(1), D(100), D(80)) == D("0.2")
    assert away_from_liquidation(D(-1), D(100), D(120)) == D("0.2")
    assert away_from_liquidation(D(1), D(79), D(80)) == 0
    assert away_from_liquidation(D(-1), D(150), D(120)) == 0


def test_a_venue_that_shows_no_mark_with_its_positions_has_a_distance_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(s: Stack) -> None:
        made = await opened(s)
        client = s.clients[SHORT]
        real = client.get_position_snapshot

        async def markless(symbol: Any) -> Any:
            found = await real(symbol)
            assert found is not None
            return msgspec.structs.replace(found, mark_price=None, liquidation_price=D(104_000))

        monkeypatch.setattr(client, "get_position_snapshot", markless)
        s.venues[LONG].book()
        s.venues[SHORT].book()
        await asyncio.sleep(1)
        await made.run_cycle()
        assert [d.rule for d in decisions(s, "exit")] == ["liquidation_distance"]

    run_stack(tmp_path, main)


# ---- fees for nothing


def test_what_was_left_is_not_entered_again_at_once_also_after_a_restart(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        given: dict[str, Any] = {**NO_WAIT, "reentry_cooldown_minutes": 60, "risk_config": AT_ONCE}
        made = await opened(s, **given)
        await forward(s, 40)
        await made.run_cycle()
        assert decisions(s, "exit")[-1].rule == "age"
        assert held(s) == {}
        assert decisions(s)[-1].rule == "reentry_cooldown"
        await s.restart()
        again = await strategy(s, **given)
        await forward(s, 30)
        await again.run_cycle()
        assert held(s) == {}
        await forward(s, 31)
        await again.run_cycle()
        assert held(s) == {"BTC": PairState.HEDGED}

    run_stack(tmp_path, main, stepping=True)


@pytest.mark.parametrize("trouble", ["spread", "leverage"])
def test_a_pair_is_not_left_for_one_that_cannot_be_entered(tmp_path: Path, trouble: str) -> None:
    async def main(s: Stack) -> None:
        made = await opened(s, max_positions=1, **NO_WAIT, max_spread_threshold_pct="0.0008", risk_config={"min_hold_hours": 0})
        await list_eth(s, "0.002", LONG, SHORT)
        if trouble == "leverage":
            client = s.clients[SHORT]

            async def paused() -> None:
                raise TransportError("cannot be read", venue=SHORT)

            client.account_manager.fetch_account = paused  # type: ignore[method-assign,assignment]
        await forward(s, 5)
        if trouble == "spread":
            for venue in s.venues.values():
                listed = venue.ready.markets["ETH"]
                depth = listed.to_steps(D(50))
                venue.exchange.set_levels(
                    venue.now(), listed.symbol, [(listed.to_ticks(ETH - 2), depth)], [(listed.to_ticks(ETH + 2), depth)]
                )
            await asyncio.sleep(1)
        await made.run_cycle()
        assert decisions(s, "exit") == []
        assert held(s) == {"BTC": PairState.HEDGED}

    run_stack(tmp_path, main, stepping=True)


def test_one_better_pair_costs_one_pair_its_place(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        rates(s, "0", "0.0004")
        await list_eth(s, "0.0004", LONG, SHORT)
        made = await strategy(s, max_positions=2, **NO_WAIT, risk_config={"min_hold_hours": 0})
        await made.run_cycle()
        assert len(held(s)) == 2
        for name, venue in s.venues.items():
            venue.list_too("SOL", D(200))
            venue.exchange.set_funding_rate(venue.now(), "SOL", to_fraction("0.003" if name == SHORT else "0"))
        for client in s.clients.values():
            await client.instruments.load_all(force=True)
        await forward(s, 5)
        for venue in s.venues.values():
            venue.refresh("SOL", D(2000))
        made._entering.short_of_capital.update({f"SOL:{LONG}:{SHORT}"})
        await made.run_cycle()
        assert len(decisions(s, "exit")) <= 1

    run_stack(tmp_path, main, stepping=True)


def test_e16_a_failed_open_cools_down_although_its_books_cannot_be_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(s: Stack) -> None:
        rates(s, "0", "0.0004")
        await asyncio.sleep(2)
        made = await strategy(s)

        async def silent(*_: Any, **__: Any) -> Any:
            raise TransportError("no payments today", venue=LONG)

        for client in s.clients.values():
            monkeypatch.setattr(client, "get_funding_payments", silent)

        def thin(event: str, _: str, facts: dict[str, object]) -> None:
            if event == "fill":
                s.venues[SHORT if facts["venue"] == LONG else LONG].one_sided()
                s.story.hook = None

        s.story.hook = thin
        await made.run_cycle()
        assert state_of(s) is PairState.CLOSED
        for _ in range(2):
            for venue in s.venues.values():
                venue.book()
            await asyncio.sleep(2)
            await made.run_cycle()
            assert s.engine is not None
            assert len(s.engine.pairs) == 1
        assert made._books.attempts("BTC", LONG, SHORT).failures == 1
        monkeypatch.undo()
        await made.run_cycle()
        assert made._books.attempts("BTC", LONG, SHORT).failures == 1, "counted once"
        assert s.journal is not None
        assert s.engine is not None
        assert s.journal.ledger(next(iter(s.engine.pairs)))
        await s.restart()
        again = await strategy(s)
        assert again._books.attempts("BTC", LONG, SHORT).failures == 1

    run_stack(tmp_path, main)


# ---- too much, too near


def test_e24_isolated_margin_is_as_near_as_its_leverage_says() -> None:
    """At 10x, 1/10 less 2 % maintenance is 8 %: below what forces an exit, whatever the account holds beside it."""
    isolated = {"held_margin_mode": MarginMode.ISOLATED}
    assert rule(view()) == "enter"
    assert rule(view(isolated)) == "margin"
    assert "target_leverage" in verdict(view(isolated)).detail
    assert rule(view(), margin_mode="isolated") == "margin"
    assert rule(view(isolated, isolated), target_leverage=5) == "enter", "1/5 - 0.02 is 0.18"
    unknown = {**isolated, "held_leverage": None}
    assert rule(view(unknown)) == "margin"
    only = {"instrument": msgspec.structs.replace(facts("a").instrument, only_isolated=True)}
    assert rule(view(only)) == "margin"


def test_e24_the_same_equity_stands_behind_what_others_hold() -> None:
    """1 000 USD carry 0.9 / (0.15 + 0.02) of that: 5 294; somebody else holds 5 000."""
    small = {"equity": D(1_000), "available": D(900)}
    alone, beside = verdict(view(small)), verdict(view({**small, "held_usd": D(5_000)}))
    assert alone.size is not None
    assert beside.size is not None
    assert alone.size.usd > 990
    assert D(290) < beside.size.usd < D(295)
    assert beside.size.binding.rule == "liquidation distance on a"
    assert rule(view({**small, "held_usd": D(5_300)})) == "liquidation distance on a"
    assert rule(view({"held_usd": None})) == "margin"


def test_e24_the_gate_reads_what_others_hold(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        await s.open(quantity="0.05")
        for name, client in s.clients.items():
            seen = await read_leg(client, s.instrument_id(name), s.runtime.clock)
            assert seen.holds
            assert seen.held_usd == pytest.approx(D(5_000), rel=D("0.001"))

    run_stack(tmp_path, main)


def test_exposure_counts_what_is_still_being_entered(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        await list_eth(s, "0.0003", LONG, SHORT)
        rates(s, "0", "0.0005")
        made = await strategy(s, max_total_exposure_usd=1000, execution={"mode": "limit_only", "maker_timeout_seconds": 120})
        await made.run_cycle()
        assert s.engine is not None
        assert [r.record.symbol for r in s.engine.pairs.values()] == ["BTC"]

    run_stack(tmp_path, main)


def test_exposure_is_counted_at_prices_of_now(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        made = await opened(s, risk_config={"stop_loss_pct": None, "enable_liquidation_prevention": False})
        before = made._entering._exposure(LONG)
        for venue in s.venues.values():
            venue.book(mid=D(120_000))
        await asyncio.sleep(1)
        await made.run_cycle()
        assert made._entering._exposure(LONG) == pytest.approx(before * D("1.2"), rel=D("0.001"))

    run_stack(tmp_path, main)


# ---- an edge that is not there


def test_a_past_that_never_moved_speaks_against_a_spike() -> None:
    hours = [msgspec.structs.replace(sample("0"), settled_at=NOW - n * NS_PER_HOUR) for n in range(48)]
    still = persistence(pair_history(hours, hours, NOW - 48 * NS_PER_HOUR, NOW))
    assert still is not None
    assert still.mean == 0
    assert expected_hours(D("0.001"), still, D(24)) == 0
    assert rule(view(persistence=still), persistence_lookback_hours=48) == "persistence"


def test_of_records_that_overlap_each_hour_has_the_one_that_ends_first() -> None:
    """A venue that pays by the second tells its rate per 8 h every hour: the hour before the jump is not the jump's."""
    dense = [msgspec.structs.replace(sample("0.0008" if n > 12 else "0", 8), settled_at=NOW + n * NS_PER_HOUR) for n in range(1, 25)]
    flat = [msgspec.structs.replace(sample("0"), settled_at=NOW + n * NS_PER_HOUR) for n in range(1, 25)]
    assert pair_history(flat, dense, NOW, NOW + 24 * NS_PER_HOUR) == [D(0)] * 12 + [D("0.0001")] * 12


def test_a_settlement_that_an_entry_can_not_reach_pays_nothing() -> None:
    """Eight-hourly, due in five seconds, and a horizon of four hours: who enters now waits eight hours for the first payment."""
    near = quote("b", "0.008", "8", next_in_h="0.00139")
    assert rule(view(short=near), profitability_horizon_hours=4) == "min_profit"
    assert rule(view(short=quote("b", "0.008", "8", next_in_h="0.1")), profitability_horizon_hours=4) == "enter"
