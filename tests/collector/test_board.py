"""Ages, staleness and what watchers hear, also when the clock jumps."""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from exchange_clients.errors import ConfigError
from exchange_clients.model import NS_PER_HOUR, NS_PER_S, FundingRateSample, Instrument, InstrumentId, MarketSnapshot, RateKind, Ticker
from exchange_clients.transport.clock import SystemClock
from funding_rate_service.board import Board, Limits, VenueState, quote_of, sample_of
from funding_rate_service.collector.sound import quote_of_market
from funding_rate_service.config import ServiceConfig
from funding_rate_service.fees import FeeTable, MarketFees
from funding_rate_service.opportunity import FundingQuote

D = Decimal
NOW = 1_800_000_000 * NS_PER_S
BTC = InstrumentId("BTC", "USDT", "okx")


class Clock(SystemClock):
    """Both times by hand: the wall's may jump, the other never does."""

    def __init__(self) -> None:
        self.wall_ns, self.passed_s = NOW, 100.0

    def time_ns(self) -> int:
        return self.wall_ns

    def monotonic(self) -> float:
        return self.passed_s

    def passes(self, seconds: float) -> None:
        self.passed_s += seconds
        self.wall_ns += int(seconds * NS_PER_S)


def sample(rate: object = "0.0001", **more: Any) -> FundingRateSample:
    given: dict[str, Any] = {"raw_rate": D(str(rate)), "interval_hours": D(8), "kind": RateKind.PREDICTED, "instrument": BTC, **more}
    return FundingRateSample(**given)


def quote(clock: Clock, instrument: InstrumentId = BTC, **more: Any) -> FundingQuote:
    return FundingQuote(instrument=instrument, sample=sample(**more), observed_ns=clock.time_ns())


def test_a_rate_ages_and_stays_visible() -> None:
    clock = Clock()
    board = Board(clock, Limits(150.0, {"lighter": 20.0}), ["okx", "lighter"])
    assert board.venues()["okx"].state is VenueState.WAITING
    heard: list[Any] = []
    end = board.subscribe(lambda venue, changed: heard.append((venue, changed)))
    mine = quote(clock)
    board.put("okx", [mine], clock.time_ns(), latency_ms=12)
    assert heard == [("okx", (mine,))]
    assert board.quotes() == (mine,)
    assert board.quotes() is board.quotes()
    generation = board.generation
    clock.passes(149)
    board.sweep()
    assert board.generation == generation
    assert board.age_s(mine) == 149
    assert board.is_fresh(mine)
    clock.passes(2)
    board.sweep()
    assert board.generation > generation
    assert board.quotes() == ()
    assert board.quotes(fresh_only=False) == (mine,)
    assert heard[-1] == ("okx", (mine,))
    assert board.venues()["okx"].state is VenueState.STALE
    board.fail("okx", "no answer", clock.time_ns())
    health = board.venues()["okx"]
    assert (health.state, health.last_error, health.consecutive_failures) == (VenueState.DOWN, "no answer", 1)
    assert heard[-1] == ("okx", ())
    end()
    board.put("okx", [quote(clock)], clock.time_ns())
    assert heard[-1] == ("okx", ())
    assert board.venues()["okx"].state is VenueState.OK
    clock.passes(24 * 3600 + 1)
    board.sweep()
    board.sweep()
    assert board.quotes(fresh_only=False) == ()


@pytest.mark.parametrize("jump_s", [-7200, 7200])
def test_a_clock_that_jumps_makes_no_rate_young(jump_s: int) -> None:
    clock = Clock()
    board = Board(clock, Limits(150.0))
    mine = quote(clock)
    board.put("okx", [mine], clock.time_ns())
    clock.wall_ns += jump_s * NS_PER_S
    clock.passes(151)
    board.sweep()
    assert board.quotes() == ()
    assert not board.is_fresh(mine)
    again = quote(clock)
    assert board.put("okx", [again], clock.time_ns()) == (again,), "what is asked after the jump is taken"
    assert board.quotes() == (again,)


def test_a_stored_rate_from_the_future_is_not_fresh() -> None:
    clock = Clock()
    board = Board(clock, Limits(150.0))
    ahead = FundingQuote(instrument=BTC, sample=sample(), observed_ns=NOW + NS_PER_HOUR)
    behind = FundingQuote(instrument=InstrumentId("ETH", "USDT", "okx"), sample=sample(), observed_ns=NOW - 60 * NS_PER_S)
    assert board.restore([ahead, behind]) == 2
    assert board.quotes() == (behind,)
    assert board.age_s(behind) == 60


def test_an_answer_that_came_late_is_left_out() -> None:
    clock = Clock()
    board = Board(clock)
    newer = quote(clock, source_timestamp=NOW)
    board.put("okx", [newer], clock.time_ns())
    clock.passes(1)
    older = quote(clock, source_timestamp=NOW - 1)
    same = quote(clock, source_timestamp=NOW)
    assert board.put("okx", [older], clock.time_ns()) == ()
    assert board.quote(BTC) == newer
    assert board.put("okx", [same], clock.time_ns()) == (same,)


def test_a_market_that_ended_is_told_and_gone() -> None:
    clock = Clock()
    board = Board(clock)
    heard: list[FundingQuote] = []
    board.put("okx", [quote(clock)], clock.time_ns())
    board.subscribe(lambda _, changed: heard.extend(changed))
    board.put("okx", [], clock.time_ns(), ended=[BTC])
    assert [(q.instrument, q.tradable) for q in heard] == [(BTC, False)]
    assert board.quote(BTC) is None


def test_a_watcher_that_fails_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    board = Board(clock)

    def broken(venue: str, changed: tuple[FundingQuote, ...]) -> None:
        raise RuntimeError("mine")

    heard: list[str] = []
    board.subscribe(broken)
    board.subscribe(lambda venue, _: heard.append(venue))
    board.put("okx", [quote(clock)], clock.time_ns())
    assert heard == ["okx"]
    assert "board.watcher_failed" in caplog.text


def test_a_quote_is_stored_and_read_back_equal() -> None:
    mine = FundingQuote(
        instrument=BTC,
        sample=sample(next_funding_time=NOW + NS_PER_HOUR, cap=D("0.01")),
        observed_ns=NOW,
        taker_fee=D("0.0005"),
        maker_fee=D("0.0002"),
        mark=D("1.5"),
        index=D("1.4"),
        bid=D(1),
        ask=D(2),
        volume_24h_usd=D(3),
        open_interest_usd=D(4),
    )
    assert quote_of(sample_of(mine), FeeTable()) == mine


def test_fees_of_the_account_stand_above_the_markets_and_those_above_the_base_tier() -> None:
    table = FeeTable({"okx": MarketFees(D("0.00001"), None)})
    assert table.of("okx", D("0.1"), D("0.2")) == (D("0.00001"), D("0.2"))
    assert table.of("okx") == (D("0.00001"), D("0.0005"))
    assert table.of("lighter", D(0), D(0)) == (D(0), D(0))
    assert table.of("unheard-of") == (None, None)


def test_fees_of_the_venue_s_own_markets_are_not_those_of_a_builder_s_dex() -> None:
    """There they are a multiple that the builder sets: costs at the base tier would be half of the true ones."""
    table = FeeTable({"hyperliquid": MarketFees(D("0.0001"), D("0.0003"))})
    assert table.of("hyperliquid") == (D("0.0001"), D("0.0003"))
    assert table.of("hyperliquid", dex="xyz") == (None, None)
    assert table.of("hyperliquid", D("0.0002"), D("0.0006"), dex="xyz") == (D("0.0002"), D("0.0006"))
    theirs = quote_of(sample_of(quote(Clock(), InstrumentId("TSLA", "USDC", "hyperliquid", "xyz"))), FeeTable())
    assert (theirs.maker_fee, theirs.taker_fee) == (None, None)


# ---- what is believed


def market(ticker: dict[str, Decimal] | None = None, **more: Any) -> MarketSnapshot:
    instrument = Instrument(id=BTC, venue_symbol="BTC", contract_id="1", settle="USDT", tick_size=D(1), step_size=D(1), min_quantity=D(1))
    return MarketSnapshot(instrument=instrument, sample=sample(**more), ticker=Ticker(instrument=BTC, **(ticker or {})))  # type: ignore[arg-type]


def judged(found: MarketSnapshot) -> tuple[FundingQuote | None, tuple[str, ...]]:
    return quote_of_market(found, FeeTable(), NOW, 900.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": "NaN"},
        {"rate": "Infinity"},
        {"rate": "1790000000"},
        {"rate": "0.41"},
        {"rate": "0.02", "cap": D("0.01")},
        {"cap": D("NaN")},
        {"cap": D("0." + "1" * 60)},
        {"rate": "1e-40"},
        {"rate": "0." + "1" * 60},
        {"interval_hours": D(0)},
        {"interval_hours": D(-8)},
        {"interval_hours": D(1000)},
        {"interval_hours": D("NaN")},
        {"next_funding_time": NOW + 30 * NS_PER_HOUR},
        {"next_funding_time": NOW - 2 * NS_PER_HOUR},
        {"next_funding_time": 0},
        {"source_timestamp": NOW - NS_PER_HOUR},
        {"source_timestamp": NOW + NS_PER_HOUR},
    ],
)
def test_a_rate_that_cannot_be_is_none_and_said_so(wrong: dict[str, Any]) -> None:
    assert judged(market())[0] is not None
    found, problems = judged(market(**wrong))
    assert found is None
    assert len(problems) == 1


PRICES, AMOUNTS = ("mark", "index", "bid", "ask"), ("volume_24h", "open_interest")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *product((*PRICES, *AMOUNTS), ("NaN", "-1", "Infinity", "1e-40")),
        *product(AMOUNTS, ("1e20",)),  # what a price may be has no such bound
    ],
)
def test_a_figure_that_cannot_be_is_unknown_and_costs_no_rate(name: str, value: str) -> None:
    found, problems = judged(market({name: D(value)}))
    assert found is not None
    fields = {"volume_24h": "volume_24h_usd", "open_interest": "open_interest_usd"}
    assert getattr(found, fields.get(name, name)) is None
    assert name in problems[0]


def test_a_crossed_quote_is_no_quote_and_a_market_without_a_rate_no_fault() -> None:
    found, problems = judged(market({"bid": D(2), "ask": D(1)}))
    assert found is not None
    assert (found.bid, found.ask) == (None, None)
    assert len(problems) == 1
    assert judged(MarketSnapshot(instrument=market().instrument)) == (None, ())


# ---- configuration


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"intervl_s": 3}, "intervl_s: no such setting; did you mean 'interval_s'?"),
        ({"venues": {"okx": {"intervl_s": 9}}}, "venues.okx.intervl_s: no such setting; did you mean 'interval_s'?"),
        ({"retention": {"raw_day": 9}}, "retention.raw_day: no such setting; did you mean 'raw_days'?"),
        ({"venues": ["okxx"]}, "did you mean 'okx'?"),
        ({"venues": {"okx": {"environment": "moon"}}}, "okx has no 'moon'; there are mainnet, demo"),
        ({"interval_s": 0.1}, "interval_s: "),
    ],
)
def test_a_wrong_setting_says_what_is_meant(given: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        ServiceConfig.parse(given)


def test_limits_follow_the_interval() -> None:
    config = ServiceConfig.parse({"venues": {"okx": {"interval_s": 20}, "lighter": {"interval_s": 600}, "dydx": None}})
    assert [config.stale_after_of(name) for name in ("okx", "lighter", "dydx")] == [50, 750, 150]
    assert config.deadline_of("okx") == 15
    assert config.deadline_of("lighter") == 45
    assert config.names == ("okx", "lighter", "dydx")
