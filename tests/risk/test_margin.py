"""The margin forecast and its actions, against figures reckoned by hand."""

from decimal import Decimal

import msgspec
import pytest

from exchange_clients.model import AccountState, Instrument, InstrumentId, LeverageInfo, MarginMode, Position
from strategies.risk import margin
from strategies.risk.limits import RiskLimits
from strategies.risk.margin import Account, Do, Held, Missing, PairLegs, Tier

D = Decimal
FLAT = (Tier(D(0), D("0.025")),)
LIMITS = RiskLimits()


def held(venue: str, quantity: str, *, base: str = "BTC", mark: str = "100", tiers: tuple[Tier, ...] = FLAT, **more: Decimal) -> Held:
    return Held(venue=venue, instrument=f"{base}-USDC-PERP.{venue}", base=base, quantity=D(quantity), mark=D(mark), tiers=tiers, **more)


def account(venue: str, equity: str, *positions: Held, available: str = "0", **more: Decimal) -> Account:
    return Account(venue=venue, equity=D(equity), available=D(available), held=positions, **more)


def close_to(found: Decimal | None, expected: str) -> None:
    assert found is not None
    assert abs(found - D(expected)) < D("0.0001"), found


def test_the_distance_of_a_long_and_a_short_as_reckoned_by_hand() -> None:
    """Long 10 at 100 with 200 of equity: 200 - 1000 d = 0.025 * 1000 (1 - d), so d = 175 / 975. Short: 200 - 1000 u = 25 (1 + u)."""
    close_to(margin.distance(account("a", "200", held("a", "10")), "BTC-USDC-PERP.a", up=False), "0.17948")
    assert margin.distance(account("a", "200", held("a", "10")), "BTC-USDC-PERP.a", up=True) is None
    close_to(margin.distance(account("a", "200", held("a", "-10")), "BTC-USDC-PERP.a", up=True), "0.17073")
    assert margin.distance(account("a", "200", held("a", "-10")), "BTC-USDC-PERP.a", up=False) is None


def test_an_account_below_maintenance_has_no_distance_left() -> None:
    assert margin.nearest(account("a", "20", held("a", "10")), "BTC-USDC-PERP.a") == 0


def test_all_positions_of_a_cross_account_count() -> None:
    """A second position takes maintenance although its price stands still: 200 - 1000 d = 25 (1 - d) + 50."""
    both = account("a", "200", held("a", "10"), held("a", "20", base="ETH"))
    close_to(margin.distance(both, "BTC-USDC-PERP.a", up=False), "0.12821")


def test_an_isolated_position_stands_alone() -> None:
    both = account("a", "5000", held("a", "10", equity=D(100)), held("a", "20", base="ETH"))
    close_to(margin.distance(both, "BTC-USDC-PERP.a", up=False), "0.07692")
    told = margin.after(both, D("-0.2"), "BTC")
    assert told.liquidated == ("BTC-USDC-PERP.a",)


def test_larger_positions_need_more_by_tier() -> None:
    tiers = (Tier(D(0), D("0.01")), Tier(D(5_000), D("0.05")))
    small, large = held("a", "40", tiers=tiers), held("a", "60", tiers=tiers)
    assert small.maintenance(D(100)) == D(40)
    assert large.maintenance(D(100)) == D(300)


def test_tiers_follow_the_maximum_leverage_of_the_venue() -> None:
    info = LeverageInfo(max_leverage=D(40), brackets=((D(0), D(40)), (D(1_000_000), D(20))))
    assert margin.tiers_of(INSTRUMENT, info) == (Tier(D(0), D("0.0125")), Tier(D(1_000_000), D("0.025")))
    assert margin.tiers_of(INSTRUMENT, None) == (Tier(D(0), D("0.0125")),)


def test_the_table_says_which_leg_breaks_first() -> None:
    table = margin.stress([account("a", "300", held("a", "10")), account("b", "200", held("b", "-10"))], "BTC")
    first = table.breaks_first
    assert first is not None
    assert first.venue == "b"
    close_to(first.nearest, "0.17073")
    assert first.price is not None
    assert abs(first.price - D("117.07")) < D("0.01")
    rows = {row.move: row for row in table.rows}
    assert rows[D(0)].total == 500
    assert rows[D("0.2")].total == 500, "hedged: the sum does not move"
    assert [v.liquidated for v in rows[D("0.2")].venues] == [(), ("BTC-USDC-PERP.b",)]
    assert [v.liquidated for v in rows[D("-0.3")].venues] == [("BTC-USDC-PERP.a",), ()]
    assert rows[D("0.2")].venues[1].equity == 0


INSTRUMENT = Instrument(
    id=InstrumentId("BTC", "USDC", "a"),
    venue_symbol="BTC",
    contract_id="BTC",
    settle="USDC",
    tick_size=D("0.1"),
    step_size=D("0.001"),
    min_quantity=D("0.001"),
    initial_margin=D("0.025"),
    maintenance_margin=D("0.0125"),
)


def told(state: AccountState, *positions: Position, instrument: Instrument = INSTRUMENT) -> Account:
    return margin.account("a", state, positions, lambda p: instrument, {}, lambda name: None)


def position(**more: object) -> Position:
    return msgspec.structs.replace(Position(instrument=INSTRUMENT.id, quantity=D(10), mark_price=D(100)), **more)


STATE = AccountState(available=D(100), equity=D(200))


@pytest.mark.parametrize(
    ("state", "held_", "instrument", "missing"),
    [
        (AccountState(available=None, equity=None), position(), INSTRUMENT, "no equity"),
        (STATE, position(mark_price=None), INSTRUMENT, "has no mark"),
        (STATE, position(), msgspec.structs.replace(INSTRUMENT, maintenance_margin=None), "maintenance margin"),
        (STATE, position(margin_mode=MarginMode.ISOLATED), INSTRUMENT, "does not say its margin"),
    ],
)
def test_e22_a_missing_figure_is_no_forecast(state: AccountState, held_: Position, instrument: Instrument, missing: str) -> None:
    with pytest.raises(Missing, match=missing):
        told(state, held_, instrument=instrument)


def test_the_venues_own_liquidation_price_counts_where_it_is_nearer() -> None:
    name = str(INSTRUMENT.id)
    ours = margin.nearest(told(STATE, position()), name)
    assert ours is not None
    assert ours > D("0.18")
    close_to(margin.nearest(told(STATE, position(liquidation_price=D(90))), name), "0.1")
    assert margin.nearest(told(STATE, position(liquidation_price=D(50))), name) == ours


def test_the_venues_own_maintenance_counts_where_it_is_more() -> None:
    one = told(msgspec.structs.replace(STATE, maintenance_margin=D(25)), position())
    assert one.factor == 2
    close_to(margin.nearest(one, str(INSTRUMENT.id)), "0.17948")


def test_what_stands_behind_an_isolated_position_is_read_from_its_liquidation_price() -> None:
    one = told(
        AccountState(available=D(50), equity=D(500)), position(margin_mode=MarginMode.ISOLATED, liquidation_price=D(92), margin_used=D(1))
    )
    assert one.held[0].equity == D("91.5")
    assert one.equity == D("408.5")
    close_to(margin.nearest(one, str(INSTRUMENT.id)), "0.08")


# ---- actions


def pair(quantity: str = "10", step: str = "0.1", smallest: str = "0.5") -> PairLegs:
    return PairLegs(legs=(("a", "BTC-USDC-PERP.a", D(quantity)), ("b", "BTC-USDC-PERP.b", D(quantity))), step=D(step), smallest=D(smallest))


def both(long_equity: str, short_equity: str, *, available: str = "0", isolated: bool = False) -> dict[str, Account]:
    short = held("b", "-10", equity=D(short_equity)) if isolated else held("b", "-10")
    return {
        "a": account("a", long_equity, held("a", "10")),
        "b": account("b", "0" if isolated else short_equity, short, available=available),
    }


@pytest.mark.parametrize(
    ("short_equity", "do"),
    [("400", Do.NONE), ("160", Do.WARN), ("130", Do.SHRINK), ("70", Do.CLOSE)],
)
def test_the_nearer_the_liquidation_the_heavier_the_action(short_equity: str, do: Do) -> None:
    """Short 10 at 100 is liquidated at u = (E - 25) / 1025: 0.366, 0.132, 0.102, 0.044."""
    found = margin.advise(pair(), both("400", short_equity), LIMITS)
    assert found.do is do, found.detail
    assert found.venue == "b"


def test_the_legs_shrink_in_lock_step_just_enough_to_reach_the_target() -> None:
    accounts = both("400", "130")
    found = margin.advise(pair(), accounts, LIMITS)
    after = accounts["b"].reduced("BTC-USDC-PERP.b", found.quantity)
    distance = margin.nearest(after, "BTC-USDC-PERP.b")
    assert distance is not None
    assert distance >= LIMITS.target_liquidation_distance
    less = margin.nearest(accounts["b"].reduced("BTC-USDC-PERP.b", found.quantity - D("0.1")), "BTC-USDC-PERP.b")
    assert less is not None
    assert less < LIMITS.target_liquidation_distance, "no more than needed"
    assert margin.nearest(accounts["b"], "BTC-USDC-PERP.b") == found.distance


def test_what_would_be_left_too_small_is_closed() -> None:
    assert margin.advise(pair(smallest="9"), both("400", "130"), LIMITS).do is Do.CLOSE


def test_an_isolated_leg_gets_margin_from_free_collateral_as_much_as_the_target_needs() -> None:
    accounts = both("400", "130", available="1000", isolated=True)
    found = margin.advise(pair(), accounts, LIMITS)
    assert found.do is Do.ADD_MARGIN
    old = accounts["b"].held[0]
    assert old.equity is not None
    richer = msgspec.structs.replace(accounts["b"], held=(msgspec.structs.replace(old, equity=old.equity + found.usd),))
    close_to(margin.nearest(richer, old.instrument), "0.15")
    assert margin.advise(pair(), both("400", "130", available="50", isolated=True), LIMITS).do is Do.SHRINK, "not more than its share"


def test_a_cross_leg_is_told_what_a_transfer_would_have_to_bring() -> None:
    accounts = both("400", "160")
    found = margin.advise(pair(), accounts, LIMITS)
    assert found.do is Do.WARN
    close_to(margin.nearest(msgspec.structs.replace(accounts["b"], equity=D(160) + found.usd), "BTC-USDC-PERP.b"), "0.15")


def test_e24_an_entry_at_the_target_distance_triggers_nothing_at_unchanged_prices() -> None:
    equity = D("0.15") * 1000 + D("0.025") * 1000 * D("1.15")
    assert margin.advise(pair(), both(str(equity), str(equity)), LIMITS).do is Do.NONE
