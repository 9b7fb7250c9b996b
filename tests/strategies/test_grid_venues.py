"""The grid opens, holds and closes on every registered venue, in both modes, several symbols at once."""

from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from exchange_clients import venues
from exchange_clients.model import Side
from exchange_simulator import dialects
from strategies.implementations.grid.state import Phase, Role
from tests.strategies.grid_stack import GridStack, run_grid
from tests.strategies.stack import accepted_by_client_id

D = Decimal
NAMES = [name for name in venues.names() if name in dialects.names()]
SYMBOLS = ("BTC", "ETH", "SOL")


def fees(g: GridStack) -> Decimal:
    assert g.s.journal is not None
    return sum((f.fee for h in g.s.journal.holdings() for f in g.s.journal.fills(h.holding_id)), D(0))


def resting(g: GridStack, role: Role) -> bool:
    """Every grid has such an order on the venue's book; an entry near the market."""
    for symbol in g.symbols:
        found = [o for o in g.standing(symbol) if o.role is role]
        if not found or (role is Role.ENTRY and all(abs(o.price / g.mids[symbol] - 1) > D("0.001") for o in found)):
            return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_several_round_trips_and_a_stop(tmp_path: Path, name: str) -> None:
    async def main(g: GridStack) -> None:
        before = g.cash()
        level = D(1)
        for trip in range(1, 3):
            await g.until(lambda: resting(g, Role.ENTRY))
            g.price(level * D("0.998"))
            await g.until(lambda: resting(g, Role.TAKE_PROFIT) and all(g.position(s) > 0 for s in SYMBOLS))
            assert all(g.agreed(s) for s in SYMBOLS)
            level *= D("1.006")
            g.price(level)
            await g.until(lambda n=trip: all(g.runner(s).state.round_trips >= n for s in SYMBOLS))  # type: ignore[misc]
        await g.until(lambda: resting(g, Role.ENTRY))
        g.price(level * D("0.998"))
        await g.until(lambda: all(g.position(s) > 0 for s in SYMBOLS))
        holdings = [g.runner(s).state.holding_id for s in SYMBOLS]
        for holding_id in holdings:
            await g.grid.begin_close(holding_id, "the test is over")
        await g.until_phase(Phase.HALTED)
        assert [g.position(s) for s in SYMBOLS] == [0, 0, 0]
        assert not any(g.open_orders(s) for s in SYMBOLS)
        gained = sum((g.runner(s).state.gained for s in SYMBOLS), D(0))
        assert gained > 0
        assert abs(g.cash() - before - (gained - fees(g))) < D("0.01")
        assert g.grid.failed_cycles == 0

    run_grid(tmp_path, main, name=name, symbols=SYMBOLS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_ladder_earns_on_both_sides_and_survives_a_restart(tmp_path: Path, name: str) -> None:
    async def main(g: GridStack) -> None:
        before = g.cash()

        def full() -> bool:
            sides = Counter((o.role, o.side) for o in g.standing())
            return sides[Role.ENTRY, Side.BUY] == sides[Role.ENTRY, Side.SELL] == 2

        await g.until(full)
        g.price("0.9945")
        await g.until(lambda: g.position() > 0 and any(o.role is Role.TAKE_PROFIT for o in g.standing()))
        await g.restart()
        await g.until(lambda: g.agreed() and g.runner().state.own > 0)
        g.price("1.0001")
        await g.until(lambda: g.position() == 0 and g.runner().state.round_trips == 1 and full())
        g.price("1.0055")
        await g.until(lambda: g.position() < 0 and any(o.role is Role.TAKE_PROFIT for o in g.standing()))
        assert g.agreed()
        g.price("0.9995")
        await g.until(lambda: g.position() == 0 and g.runner().state.round_trips == 2)
        await g.grid.begin_close(g.runner().state.holding_id, "the test is over")
        await g.until_phase(Phase.HALTED)
        assert not g.open_orders()
        assert abs(g.cash() - before - (g.runner().state.gained - fees(g))) < D("0.01")
        assert set(accepted_by_client_id(g.venue).values()) == {1}

    run_grid(tmp_path, main, name=name, mode="two_sided", two_sided={"levels_per_side": 2})
