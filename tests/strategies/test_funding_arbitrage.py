"""The strategy over real clients and dialects on virtual time: enters, explains, holds, leaves, remembers."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from database.records import LedgerKind, PairState
from exchange_clients.model import NS_PER_HOUR, NS_PER_S
from exchange_simulator.core.types import UNIT, MarketStatus, NewOrder, Side, to_fraction
from strategies import gate
from strategies.base_strategy import StrategyContext
from strategies.execution.desk import Desk
from strategies.implementations.funding_arbitrage.config import FundingArbitrageConfig
from strategies.implementations.funding_arbitrage.strategy import FundingArbitrage
from strategies.risk import RiskEngine, RiskLimits
from tests.strategies.stack import COMMAND_PATHS, VENUES, Stack, decode, run_stack

D = Decimal
LONG, SHORT = VENUES
ETH = D(3000)
CONFIG: dict[str, Any] = {
    "exchanges": VENUES,
    "account_name": "main",
    "max_rate_age_seconds": 600,
    "risk_config": {"min_hold_hours": 2, "flip_confirmations": 2},
}


def rates(s: Stack, long: str, short: str) -> None:
    """Hourly funding on both venues, as fractions."""
    for name, rate in ((LONG, long), (SHORT, short)):
        venue = s.venues[name]
        venue.exchange.set_funding_rate(venue.now(), venue.symbol, to_fraction(rate))


async def strategy(s: Stack, **changes: Any) -> FundingArbitrage:
    assert s.engine is not None
    context = StrategyContext(
        s.clients, s.engine, s.engine.journal, s.runtime.clock, "main", Desk.beside(s.engine, s.runtime, observer=s.story)
    )
    made = FundingArbitrage(FundingArbitrageConfig.model_validate({**CONFIG, **changes}), context)
    s.engine.strategy = made.name
    await made.initialize()
    return made


def state_of(s: Stack) -> PairState:
    """Of the first pair there is."""
    assert s.engine is not None
    return next(iter(s.engine.pairs.values())).state


async def to_the_hour(s: Stack) -> None:
    s.step_to((s.runtime.clock.time_ns() // NS_PER_HOUR + 1) * NS_PER_HOUR + 10 * NS_PER_S)
    await asyncio.sleep(0.5)
    for venue in s.venues.values():
        venue.book()
    await asyncio.sleep(2)


def test_enters_holds_collects_and_leaves_when_funding_flips(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        rates(s, "0.00001", "0.0004")
        await asyncio.sleep(2)
        made = await strategy(s)
        await made.run_cycle()
        assert s.engine is not None
        (runner,) = s.engine.pairs.values()
        assert state_of(s) is PairState.HEDGED
        pair_id = runner.record.pair_id
        assert s.positions()[LONG] == -s.positions()[SHORT] > 0
        for _ in range(3):
            await to_the_hour(s)
            await made.run_cycle()
            assert state_of(s) is PairState.HEDGED
        rates(s, "0.0004", "0.00001")
        for _ in range(2):
            await to_the_hour(s)
            await made.run_cycle()
        await to_the_hour(s)
        await made.run_cycle()
        assert state_of(s) is PairState.CLOSED, runner.record.reason
        assert s.journal is not None
        funding = s.journal.funding(pair_id)
        assert len(funding) >= 10
        assert sum(p.amount for p in funding[:6]) > 0
        kinds = [d.kind for d in s.journal.decisions(pair_id)]
        assert kinds[0] == "enter"
        assert kinds[-1] == "exit"
        exit_ = s.journal.decisions(pair_id)[-1]
        assert exit_.rule == "funding_flip"
        assert "edge_hourly" in decode(exit_.inputs)
        assert "flip_confirmations" in decode(exit_.thresholds)
        found = made.results[pair_id]
        assert found.unexplained is not None
        assert abs(found.unexplained) < D("0.01")
        lines = s.journal.ledger(pair_id)
        assert {LedgerKind.FEE, LedgerKind.FUNDING, LedgerKind.PRICE, LedgerKind.SLIPPAGE} <= {x.kind for x in lines}
        assert sum(x.amount for x in lines) == found.total

    run_stack(tmp_path, main, stepping=True)


def test_e21_a_closed_gate_is_a_written_no(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        rates(s, "0", "0.0004")
        await asyncio.sleep(2)
        before = {v: s.venues[v].commands() for v in VENUES}
        cases: list[tuple[str, dict[str, Any]]] = [
            ("loop_lag", {"max_loop_lag_ms": 1}),
            ("step", {"default_position_size_usd": "0.1"}),
            ("min_notional", {"default_position_size_usd": 12}),
            ("dry_run", {"dry_run": True}),
        ]
        for rule, changes in cases:
            made = await strategy(s, **changes)
            if rule == "loop_lag":
                for client in s.clients.values():
                    client.loop_lag._samples.append(0.5)
            await made.run_cycle()
            assert s.journal is not None
            last = s.journal.decisions(strategy=made.name)[-1]
            assert (last.kind, last.rule) == ("skip", rule), last.outcome
            await asyncio.sleep(60)
            for venue in s.venues.values():
                venue.book()
            await asyncio.sleep(1)
        assert {v: s.venues[v].commands() for v in VENUES} == before

    run_stack(tmp_path, main)


@pytest.mark.parametrize("trouble", ["halted", "one_sided", "unreadable", "poor"])
def test_e21_e22_trouble_on_one_venue_keeps_us_out(tmp_path: Path, trouble: str) -> None:
    async def main(s: Stack) -> None:
        rates(s, "0", "0.0004")
        venue = s.venues[SHORT]
        if trouble == "halted":
            venue.exchange.set_status(venue.now(), venue.symbol, MarketStatus.HALTED)
        elif trouble == "one_sided":
            venue.one_sided()
        elif trouble == "unreadable":
            venue.faults("server_error times=0")
        await asyncio.sleep(2)
        made = await strategy(s)
        for client in s.clients.values():
            if trouble == "halted":
                await client.instruments.load_all(force=True)
        await made.run_cycle()
        assert s.engine is not None
        assert s.engine.pairs == {}
        assert s.venues[LONG].commands() == s.venues[SHORT].commands() == 0

    run_stack(tmp_path, main, deposit="1" if trouble == "poor" else "100000")


def last_skip(s: Stack) -> tuple[str, str]:
    assert s.journal is not None
    found = s.journal.decisions(strategy=FundingArbitrage.name)[-1]
    assert found.kind == "skip"
    return found.rule, found.outcome


def test_e21_a_key_that_ends_before_the_longest_hold_keeps_us_out(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        rates(s, "0", "0.0004")
        venue = s.venues["hyperliquid"]
        wallet = venue.dialect.wallets[venue.account.environ["HYPERLIQUID_ACCOUNT_ADDRESS"]]  # type: ignore[attr-defined]
        (agent,) = wallet.agents
        await asyncio.sleep(2)
        made = await strategy(s)
        for hours, enters in ((100, False), (200, True)):
            wallet.agents[agent] = ("bot", venue.now() // 1_000_000 + hours * 3_600_000)
            await made.run_cycle()
            assert s.engine is not None
            assert bool(s.engine.pairs) == enters
            if not enters:
                assert last_skip(s) == ("key", "key hyperliquid: may trade: True, 100.0 h left")
            for each in s.venues.values():
                each.book()

    run_stack(tmp_path, main)


def test_e21_the_gate_reads_rights_and_position_mode_of_the_key(tmp_path: Path) -> None:
    """On OKX, where the owner may change both under a connected client."""

    async def main(s: Stack) -> None:
        dialect: Any = s.venues["okx"].dialect
        (owner,) = (keys for keys in dialect.keys.values() if keys.account == s.venues["okx"].account.account)
        client, config = s.clients["okx"], FundingArbitrageConfig.model_validate({**CONFIG, "exchanges": ("okx", "hyperliquid")})
        for changes, bad in (
            ({}, []),
            ({"position_mode": "long_short_mode"}, ["position_mode"]),
            ({"position_mode": "net_mode", "permissions": "read_only"}, ["key"]),
        ):
            for name, value in changes.items():
                setattr(owner, name, value)
            found = await gate.check_leg(client, s.instrument_id("okx"), s.runtime.clock, config)
            assert [check.rule for check in gate.failed(found.checks)] == bad

    run_stack(tmp_path, main, names=("okx", "hyperliquid"))


def initials(s: Stack) -> set[int]:
    """Initial margin fractions of our account in both markets, as the exchanges have them."""
    return {v.exchange.position(v.account.account, v.symbol).initial for v in s.venues.values()}


def test_e21_leverage_and_mode_are_set_and_read_back_before_an_entry(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        rates(s, "0", "0.0004")
        await asyncio.sleep(2)
        for leverage in (1_000, 4):
            made = await strategy(s, target_leverage=leverage, margin_mode="isolated")
            await made.run_cycle()
            if leverage == 1_000:
                assert last_skip(s)[0] == "leverage"
                assert initials(s) != {UNIT // 4}
        assert state_of(s) is PairState.HEDGED
        assert initials(s) == {UNIT // 4}
        assert {v.exchange.position(v.account.account, v.symbol).mode.value for v in s.venues.values()} == {"isolated"}

    run_stack(tmp_path, main)


def test_e21_leverage_that_the_venue_does_not_take_keeps_us_out(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        rates(s, "0", "0.0004")
        await asyncio.sleep(2)
        made = await strategy(s, target_leverage=4)
        s.venues[SHORT].faults(f"lost_request times=0 where={COMMAND_PATHS[SHORT]}")
        await made.run_cycle()
        assert s.engine is not None
        assert s.engine.pairs == {}
        assert s.positions() == {LONG: D(0), SHORT: D(0)}

    run_stack(tmp_path, main)


def test_e11_e21_leverage_is_not_changed_under_a_position_of_somebody_else(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        rates(s, "0", "0.0004")
        venue = s.venues[LONG]
        market = venue.exchange.markets[venue.symbol].spec
        venue.exchange.submit(
            venue.now(),
            NewOrder(
                venue.account.account, venue.symbol, Side.BUY, market.to_steps(D("0.003")), market.to_ticks(D(101_000)), client_id="7"
            ),
        )
        venue.book()
        await asyncio.sleep(2)
        made = await strategy(s, target_leverage=4)
        before = initials(s)
        await made.run_cycle()
        rule, why = last_skip(s)
        assert rule == "leverage"
        assert "under the position that the account holds" in why
        assert initials(s) == before

    run_stack(tmp_path, main)


def test_e16_a_failed_open_is_booked_and_cooled_down(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        rates(s, "0", "0.0004")
        await asyncio.sleep(2)
        made = await strategy(s)

        def thin(event: str, _: str, facts: dict[str, object]) -> None:
            if event == "fill":
                s.venues[SHORT if facts["venue"] == LONG else LONG].one_sided()
                s.story.hook = None

        s.story.hook = thin
        await made.run_cycle()
        assert s.engine is not None
        (runner,) = s.engine.pairs.values()
        assert runner.state is PairState.CLOSED
        assert runner.record.opened_at is None
        found = made.results[runner.record.pair_id]
        assert found.total < 0, "what the attempt cost is on the books"
        assert found.sum("fee") < 0
        for venue in s.venues.values():
            venue.book()
        await asyncio.sleep(60)
        for venue in s.venues.values():
            venue.book()
        await asyncio.sleep(1)
        await s.restart()
        again = await strategy(s)
        await again.run_cycle()
        assert s.journal is not None
        last = s.journal.decisions(strategy=again.name)[-1]
        assert (last.kind, last.rule) == ("skip", "cooldown")
        assert "cooling down" in last.outcome

    run_stack(tmp_path, main)


def test_a_restart_while_holding_remembers_and_goes_on(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        rates(s, "0", "0.0004")
        await asyncio.sleep(2)
        made = await strategy(s)
        await made.run_cycle()
        assert s.engine is not None
        (pair_id,) = s.engine.pairs
        for _ in range(2):
            await to_the_hour(s)
            await made.run_cycle()
        rates(s, "0.0004", "0")
        await to_the_hour(s)
        await made.run_cycle()
        assert s.engine.pairs[pair_id].state is PairState.HEDGED, "one look is not enough"
        await s.down()
        await s.up(start=False)
        assert s.engine is not None
        s.engine.strategy = made.name
        await s.engine.start()
        again = await strategy(s)
        await to_the_hour(s)
        s.engine.halt("no new pair after this one")
        await again.run_cycle()
        assert s.engine.pairs[pair_id].state is PairState.CLOSED, "the look before the restart counts"
        assert set(s.positions().values()) == {D(0)}

    run_stack(tmp_path, main, stepping=True)


def test_exits_of_one_pair_do_not_wait_for_another_that_is_stuck(tmp_path: Path) -> None:
    """The venue of the short leg is gone: closing waits, the cycle does not."""

    async def main(s: Stack) -> None:
        rates(s, "0", "0.0004")
        await asyncio.sleep(2)
        made = await strategy(s, risk_config={"min_hold_hours": 0, "max_position_age_hours": "0.5"})
        await made.run_cycle()
        await to_the_hour(s)
        s.venues[SHORT].host.set_black_hole(True)
        async with asyncio.timeout(120):
            await made.run_cycle()
        assert s.engine is not None
        assert state_of(s) in (PairState.HEDGED, PairState.CLOSING)
        s.venues[SHORT].host.set_black_hole(False)
        await asyncio.sleep(60)
        assert state_of(s) is PairState.CLOSED

    run_stack(tmp_path, main, stepping=True)


@pytest.mark.parametrize(
    ("changes", "first", "second"),
    [
        ({}, ["BTC", "ETH"], ["BTC", "ETH"]),
        ({"max_new_positions_per_cycle": 1}, ["ETH"], ["ETH", "BTC"]),
        ({"max_positions": 1}, ["ETH"], ["ETH"]),
        ({"symbols": ["BTC"]}, ["BTC"], ["BTC"]),
        ({"max_total_exposure_usd": 1015}, ["ETH"], ["ETH"]),
        ({"min_volume_24h": 10**12}, [], []),
        ({"max_break_even_hours": "0.1"}, [], []),
    ],
)
def test_parameters_bound_how_much_is_entered(tmp_path: Path, changes: dict[str, Any], first: list[str], second: list[str]) -> None:
    async def main(s: Stack) -> None:
        rates(s, "0", "0.0003")
        for name, venue in s.venues.items():
            venue.list_too("ETH", ETH)
            venue.exchange.set_funding_rate(venue.now(), "ETH", to_fraction("0.0005" if name == SHORT else "0"))
        for client in s.clients.values():
            await client.instruments.load_all(force=True)
        await asyncio.sleep(2)
        made = await strategy(s, **changes)
        for expected in (first, second):
            await made.run_cycle()
            assert s.engine is not None
            held = [r.record.symbol for r in s.engine.pairs.values() if r.state is PairState.HEDGED]
            assert sorted(held) == sorted(expected)
            await asyncio.sleep(60)
            for venue in s.venues.values():
                venue.book()
                venue.refresh("ETH", ETH)
            await asyncio.sleep(1)

    run_stack(tmp_path, main)


@pytest.mark.parametrize("gate", ["strategy", "guard"])
def test_a_start_that_blocked_the_loop_delays_no_entry_and_a_late_look_is_repeated_soon(tmp_path: Path, gate: str) -> None:
    """Imports and connects stop the loop for a moment; the next look at the market is a minute away."""

    async def main(s: Stack) -> None:
        rates(s, "0", "0.0004")
        await asyncio.sleep(2)
        assert s.engine is not None
        changes: dict[str, Any] = {"risk_config": {"check_interval_seconds": 60}}
        if gate == "guard":
            changes["max_loop_lag_ms"] = 5_000
            limits = RiskLimits(max_order_usd=None, max_daily_loss_usd=None, max_venue_exposure_usd=None)
            s.engine.guard = RiskEngine(
                limits, s.clients, s.runtime, strategy="funding_arbitrage", account="main", journal=s.engine.journal
            )
            await s.engine.guard.start()
        late(s)
        made = await strategy(s, **changes)
        life = asyncio.create_task(made.start())
        await asyncio.sleep(0)
        assert {client.loop_lag.worst_s for client in s.clients.values()} == {0.0}, "the cycles begin with a clean window"
        late(s)
        await asyncio.sleep(3)
        assert s.engine.pairs == {}
        assert s.journal is not None
        last = s.journal.decisions(strategy=made.name)[-1]
        assert "loop_lag" in last.rule + last.outcome, last.outcome
        await asyncio.sleep(7)
        assert state_of(s) is PairState.HEDGED
        await made.stop()
        await life
        if isinstance(s.engine.guard, RiskEngine):
            await s.engine.guard.stop()

    run_stack(tmp_path, main)


def test_a_loop_that_stays_late_is_not_asked_about_for_ever(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        rates(s, "0", "0.0004")
        await asyncio.sleep(2)
        made = await strategy(s, risk_config={"check_interval_seconds": 60})
        life = asyncio.create_task(made.start())
        await asyncio.sleep(0)
        late(s)
        for _ in range(58):
            await asyncio.sleep(1)
            late(s)
        assert made.cycles == 4, "one look and three repetitions in a minute"
        assert s.engine is not None
        assert s.engine.pairs == {}
        await made.stop()
        await life

    run_stack(tmp_path, main)


def late(s: Stack) -> None:
    """The loop has just stood still."""
    for client in s.clients.values():
        client.loop_lag._samples.append(0.4)
