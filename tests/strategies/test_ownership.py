"""Several owners in one market of one account: each closes its own share, opposite ones are refused, forced closes are allotted."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from database.journal import Journal
from database.records import FillCause, HoldingState, Leg, PairRecord, PairState
from exchange_clients.model import Side
from strategies.execution.engine import EntryRefused, ExecutionEngine
from strategies.execution.ownership import Ownership
from strategies.execution.ticket import Ticket
from tests.strategies.desk_stack import DeskStack
from tests.strategies.stack import VENUES, Killed, Stack, accepted_by_client_id, run_stack

D = Decimal
LONG, SHORT = VENUES


def at(s: Stack, quantity: str) -> None:
    assert s.positions() == {LONG: D(quantity), SHORT: -D(quantity)}


def shares(s: Stack, pair_id: str) -> dict[Leg, Decimal]:
    assert s.engine is not None
    return {leg: trader.own for leg, trader in s.engine.pairs[pair_id].legs.items()}


def journaled(journal: Journal, pair_id: str) -> dict[Leg, Decimal]:
    """Shares by the fills on disk, as magnitudes."""
    fills = journal.fills(pair_id)
    return {leg: leg.sign * sum((f.signed for f in fills if f.leg is leg), D(0)) for leg in Leg}


def test_e11_two_pairs_in_the_same_markets_open_together_and_each_closes_its_own_share(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        one, other = await asyncio.gather(s.open(quantity="0.012", slice_="0.004"), s.open(quantity="0.02", slice_="0.005"))
        assert (one.state, other.state) == (PairState.HEDGED, PairState.HEDGED)
        at(s, "0.032")
        assert (shares(s, one.pair_id)[Leg.LONG], shares(s, other.pair_id)[Leg.SHORT]) == (D("0.012"), D("0.02"))
        assert (await s.close(one.pair_id)).state is PairState.CLOSED
        at(s, "0.02")
        await asyncio.sleep(65)
        assert s.engine is not None
        assert s.engine.pairs[other.pair_id].state is PairState.HEDGED, "what the other one closed is nothing to repair"
        assert s.engine.pairs[other.pair_id].record.foreign_long == 0
        assert (await s.close(other.pair_id)).state is PairState.CLOSED
        at(s, "0")
        for venue in s.venues.values():
            assert set(accepted_by_client_id(venue).values()) == {1}

    run_stack(tmp_path, main)


def test_e11_both_close_at_once_on_venues_that_ignore_reduce_only(tmp_path: Path) -> None:
    """E17: reduce-only would stop at nothing; each reads the position less what is the other's before each order."""

    async def main(s: Stack) -> None:
        pairs = [await s.open(quantity="0.01"), await s.open(quantity="0.02")]
        for venue in s.venues.values():
            venue.faults("reduce_only_ignored")
        lowest: list[Decimal] = []
        s.venues[LONG].exchange.subscribe(lambda _: lowest.append(s.positions()[LONG]))
        closed = await asyncio.gather(*(s.close(pair.pair_id) for pair in pairs))
        assert {pair.state for pair in closed} == {PairState.CLOSED}
        at(s, "0")
        assert min(lowest) >= 0

    run_stack(tmp_path, main)


def test_e11_the_opposite_direction_is_refused_also_for_plans_that_have_not_filled_yet(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        found = await asyncio.gather(s.open(), s.open(long=SHORT, short=LONG), return_exceptions=True)
        assert sorted(type(each).__name__ for each in found) == ["EntryRefused", "PairRecord"]
        (refused,) = [each for each in found if isinstance(each, EntryRefused)]
        assert refused.rule == "opposite_direction"
        (pair,) = [each for each in found if isinstance(each, PairRecord)]
        assert pair.pair_id in refused.detail
        await s.close(pair.pair_id)
        assert (await s.open(long=SHORT, short=LONG)).state is PairState.HEDGED, "free again once the first is closed"

    run_stack(tmp_path, main)


@pytest.mark.parametrize(("taken", "foreign"), [("0.006", "0"), ("0.015", "0"), ("0.03", "0"), ("0.015", "0.004")])
def test_e12_a_forced_close_of_a_shared_position_takes_the_foreign_share_then_the_oldest_pair(
    tmp_path: Path, taken: str, foreign: str
) -> None:
    async def main(s: Stack) -> None:
        venue = s.venues[LONG]
        if D(foreign):
            await s.clients[LONG].place_limit_order("BTC", D(foreign), D(100_500), Side.BUY, time_in_force="IOC", wait_for="terminal")
        old = await s.open(quantity="0.01")
        young = await s.open(quantity="0.02")
        market = venue.exchange.markets[venue.symbol].spec
        venue.exchange.deleverage(venue.now(), venue.account.account, venue.symbol, market.to_steps(D(taken)))
        await asyncio.sleep(6)
        ours = max(D(taken) - D(foreign), D(0))
        from_old = min(ours, D("0.01"))
        left = {old.pair_id: D("0.01") - from_old, young.pair_id: D("0.02") - (ours - from_old)}
        for pair_id, quantity in left.items():
            assert shares(s, pair_id) == {Leg.LONG: quantity, Leg.SHORT: quantity}
            assert s.engine is not None
            assert s.journal is not None
            assert s.engine.pairs[pair_id].state is (PairState.HEDGED if quantity else PairState.CLOSED)
            assert journaled(s.journal, pair_id) == shares(s, pair_id), "both parts of one fill are on disk"
        assert s.positions()[SHORT] == -sum(left.values())
        assert s.journal is not None
        booked = [f.quantity for p in (old, young) for f in s.journal.fills(p.pair_id) if f.kind is FillCause.ADL]
        assert sum(booked) == ours

    run_stack(tmp_path, main)


def test_e09_a_death_that_cut_in_half_what_one_fill_took_from_several(tmp_path: Path) -> None:
    """The oldest pair's part is on disk, the next one's and the foreign share's are not."""

    async def main(s: Stack) -> None:
        await s.clients[LONG].place_limit_order("BTC", D("0.004"), D(100_500), Side.BUY, time_in_force="IOC", wait_for="terminal")
        old, young = await s.open(quantity="0.01"), await s.open(quantity="0.02")
        armed, dead = False, asyncio.Event()

        def die(event: str, _: str, facts: dict[str, object]) -> None:
            nonlocal armed
            armed |= event == "fill" and facts["cause"] == "adl"
            if armed and event.startswith("journal."):
                dead.set()
                raise Killed

        s.story.hook = die
        venue = s.venues[LONG]
        market = venue.exchange.markets[venue.symbol].spec
        venue.exchange.deleverage(venue.now(), venue.account.account, venue.symbol, market.to_steps(D("0.015")))
        await asyncio.wait_for(dead.wait(), 40)
        s.story.hook = None
        await s.die()
        journal = (await s.up()).journal.sync
        await asyncio.sleep(30)
        assert journaled(journal, old.pair_id) == {Leg.LONG: D(0), Leg.SHORT: D(0)}
        assert journaled(journal, young.pair_id) == {Leg.LONG: D("0.019"), Leg.SHORT: D("0.019")}
        at(s, "0.019")

    run_stack(tmp_path, main)


def test_e09_after_a_restart_the_shares_stand_as_the_journal_has_them(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        one, other = await s.open(quantity="0.01"), await s.open(quantity="0.02")
        await s.down()
        venue = s.venues[SHORT]
        market = venue.exchange.markets[venue.symbol].spec
        venue.exchange.deleverage(venue.now(), venue.account.account, venue.symbol, market.to_steps(D("0.013")))
        await asyncio.sleep(5)
        await s.up()
        await asyncio.sleep(30)
        assert s.engine is not None
        assert s.journal is not None
        gone = s.journal.pair(one.pair_id)
        assert gone is not None
        assert gone.state is PairState.CLOSED
        assert shares(s, other.pair_id) == {Leg.LONG: D("0.017"), Leg.SHORT: D("0.017")}
        at(s, "0.017")
        assert (await s.close(other.pair_id)).state is PairState.CLOSED
        at(s, "0")

    run_stack(tmp_path, main)


def test_e11_what_a_strategy_holds_that_does_not_run_is_neither_foreign_nor_ours(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        theirs = await s.open(quantity="0.02")
        await s.down()
        await s.up(start=False)
        assert s.journal is not None
        engine = ExecutionEngine(s.journal, s.clients, s.runtime, strategy="another", account="main", observer=s.story)
        s.engine = engine
        await engine.start()
        assert engine.pairs == {}
        with pytest.raises(EntryRefused, match=theirs.pair_id):
            await s.open(long=SHORT, short=LONG)
        ours = await s.open(quantity="0.01")
        assert (ours.state, ours.foreign_long, ours.foreign_short) == (PairState.HEDGED, D(0), D(0))
        assert (await s.close(ours.pair_id)).state is PairState.CLOSED
        at(s, "0.02")

    run_stack(tmp_path, main)


def test_e11_two_engines_over_one_journal_share_the_account(tmp_path: Path) -> None:
    """Two bots in one process: what one trades is not foreign to the other, and their ids never meet."""

    async def main(s: Stack) -> None:
        await s.down()
        await s.up(start=False)
        journal = s.journal
        assert journal is not None
        ownership = Ownership(journal)
        engines = [
            ExecutionEngine(journal, s.clients, s.runtime, strategy=name, account="main", ownership=ownership) for name in ("one", "two")
        ]
        for engine in engines:
            await engine.start()
        s.engine = engines[0]
        pairs = await asyncio.gather(*(e.open(s.plan(quantity=q), s.decision()) for e, q in zip(engines, ("0.01", "0.02"), strict=True)))
        assert len({pair.pair_id for pair in pairs}) == 2
        at(s, "0.03")
        await s.clients[LONG].place_limit_order("BTC", D("0.005"), D(100_500), Side.BUY, time_in_force="IOC", wait_for="terminal")
        await asyncio.sleep(65)
        assert {e.pairs[p.pair_id].state for e, p in zip(engines, pairs, strict=True)} == {PairState.HEDGED}
        closed = await engines[1].close(pairs[1].pair_id, "test", s.decision("exit", pairs[1].pair_id))
        assert closed.state is PairState.CLOSED, closed.reason
        assert s.positions() == {LONG: D("0.015"), SHORT: D("-0.01")}
        await engines[1].stop()

    run_stack(tmp_path, main)


def test_e11_a_pair_and_a_holding_share_a_market_over_a_restart_and_a_forced_close(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        d = DeskStack(s)
        await d.up()
        pair = await s.open(quantity="0.01")
        holding = await d.open(sign=1)
        await (await holding.place(Ticket(side=Side.BUY, quantity=D("0.02")))).ended()
        assert s.positions() == {LONG: D("0.03"), SHORT: D("-0.01")}
        assert (holding.foreign, holding.own) == (D(0), D("0.02"))
        with pytest.raises(EntryRefused, match="opposite_direction"):
            await s.open(long=SHORT, short=LONG)
        await d.restart()
        again = d.desk.find(d.instrument)
        assert again is not None
        await asyncio.sleep(35)
        assert (again.foreign, again.own, shares(s, pair.pair_id)[Leg.LONG]) == (D(0), D("0.02"), D("0.01"))
        venue = s.venues[LONG]
        market = venue.exchange.markets[venue.symbol].spec
        venue.exchange.deleverage(venue.now(), venue.account.account, venue.symbol, market.to_steps(D("0.016")))
        await asyncio.sleep(6)
        assert s.positions() == {LONG: D("0.014"), SHORT: D(0)}, "the pair is older: it lost its leg, and the other one followed"
        assert again.own == D("0.014")
        assert (await again.close("test")).state is HoldingState.CLOSED
        assert s.positions() == {LONG: D(0), SHORT: D(0)}
        await d.down()

    run_stack(tmp_path, main)
