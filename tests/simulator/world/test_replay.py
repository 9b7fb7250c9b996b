"""Recordings through a real exchange: its book must equal what an independent builder found."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from exchange_simulator.core.events import FundingSettled, Trade
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import Market, Rules, Side, fraction
from exchange_simulator.world.feed import MarketFeed
from exchange_simulator.world.grid import FINE_NS
from exchange_simulator.world.profiles import VenueProfile
from exchange_simulator.world.recordings import FundingPoint, FundingSeries, RecordingError
from exchange_simulator.world.replay import FUNDING_FROM_NS, STANDS_FOR, Replay, ReplayFunding, Source, Tape
from tests.simulator.world.worlds import HOUR_NS, START_NS, build, listing

HYPERLIQUID = VenueProfile("hyperliquid", (listing("BTC", "BTC", "0.1", "0.00001", figures=5), listing("ETH", "ETH", "0.01", "0.0001")))
LIGHTER = VenueProfile("lighter", (listing("BTC", "1", "0.1", "0.00001"),))
DEX_FUNDING = STANDS_FOR["hyperliquid", "BTC"].funding


def attach(replay: Replay) -> dict[str, Exchange]:
    exchanges = {}
    for name, venue in replay.venues.items():
        exchange = exchanges[name] = Exchange(Rules(), funding=replay.funding(name))
        for x in venue.listings:
            exchange.add_market(START_NS - 1_000, Market(x.symbol, x.tick_size, x.step_size))
        replay.attach(name, exchange)
    return exchanges


def shown(exchange: Exchange, symbol: str, side: Side, count: int) -> list[list[str]]:
    market = exchange.markets[symbol].spec
    return [[str(market.price(p).normalize()), str(market.size(s).normalize())] for p, s, _ in exchange.depth(symbol, side, count)]


def plain(rows: list[list[str]]) -> list[list[str]]:
    return [[str(Decimal(x).normalize()) for x in row] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stream", "symbol", "tick", "step"),
    [
        ("binance_usdm_btcusdt_20240808_depth.jsonl", "BTCUSDT", "0.1", "0.001"),
        ("binance_usdm_4symbols_20210722_with_rest_snapshots.jsonl", "SUSHIUSDT", "0.001", "1"),
        ("binance_usdm_4symbols_20210722_with_rest_snapshots.jsonl", "AKROUSDT", "0.00001", "1"),
        ("okx_books_20220513_BTC-USDT_UNI-USD-SWAP.jsonl", "BTC-USDT", "0.1", "0.00000001"),
        ("okx_books_20220513_BTC-USDT_UNI-USD-SWAP.jsonl", "UNI-USD-SWAP", "0.001", "1"),
    ],
)
def test_the_replayed_book_ends_as_expected(payloads: Path, stream: str, symbol: str, tick: str, step: str) -> None:
    plan = {("any", "BTC"): Source(f"streams/{stream}", symbol, DEX_FUNDING)}
    venue = VenueProfile("any", (listing("BTC", "M", tick, step),))
    replay = Replay(payloads, [venue], START_NS, stands_for=plan)
    exchange = attach(replay)["any"]
    frames = len(Tape(payloads / "streams" / stream, symbol).frames)
    replay.advance_to(START_NS + (frames - 1) * FINE_NS)
    found = json.loads((payloads / "streams" / stream.replace(".jsonl", ".expected.json")).read_text())
    expected = found if found.get("symbol") == symbol else found[symbol]
    assert shown(exchange, "M", Side.BUY, 10) == plain(expected["final_bids"])
    assert shown(exchange, "M", Side.SELL, 10) == plain(expected["final_asks"])


def test_the_last_hyperliquid_snapshot_is_the_last_book(payloads: Path) -> None:
    replay = Replay(payloads, [HYPERLIQUID], START_NS)
    exchange = attach(replay)["hyperliquid"]
    stream = payloads / STANDS_FOR["hyperliquid", "BTC"].stream
    replay.advance_to(START_NS + (len(Tape(stream, "BTC").frames) - 1) * FINE_NS)
    bids, asks = json.loads(stream.read_text().splitlines()[-1])["msg"]["data"]["levels"]
    assert shown(exchange, "BTC", Side.BUY, 20) == plain([[x["px"], x["sz"]] for x in bids])
    assert shown(exchange, "BTC", Side.SELL, 20) == plain([[x["px"], x["sz"]] for x in asks])
    assert exchange.markets["ETH"].mark == 0, "a market without a recording is not fed"


@pytest.mark.slow
def test_two_venues_share_a_price_level_and_keep_their_shape(payloads: Path) -> None:
    replay = Replay(payloads, [HYPERLIQUID, LIGHTER], START_NS)
    exchanges = attach(replay)
    assert exchanges["lighter"].markets["1"].mark == exchanges["hyperliquid"].markets["BTC"].mark
    assert [note.split(":")[0] for note in replay.notes] == ["hyperliquid BTC", "lighter BTC", *["hyperliquid BTC"] * 2, "lighter BTC"]
    assert replay.notes[2] == "hyperliquid BTC: moves along with the mid of lighter"
    assert "binance_usdm_btcusdt_20240808" in replay.notes[1]
    assert "prices times 1.69" in replay.notes[1]
    for k in range(1, 200):
        replay.advance_to(START_NS + k * FINE_NS)
        bid, ask = exchanges["lighter"].best("1")
        assert 0 < bid < ask
        own, other = (exchanges[v].markets[s].mark for v, s in (("hyperliquid", "BTC"), ("lighter", "1")))
        assert own == pytest.approx(other, rel=0.0002), "bps apart: each only by its own shape"
    traded = [e for e in exchanges["lighter"].drain() if isinstance(e, Trade)]
    assert len(traded) > 500
    hyperliquid = [e for e in exchanges["hyperliquid"].drain() if isinstance(e, Trade)]
    assert 9 <= len(hyperliquid) <= 12, "three trades in 16 s, three times and a bit"


def test_both_feeds_are_driven_the_same_way(payloads: Path) -> None:
    feeds: list[MarketFeed] = [Replay(payloads, [HYPERLIQUID], START_NS), build(1, HYPERLIQUID)[0]]
    for feed in feeds:
        assert feed.next_step_ns == START_NS + FINE_NS
        history = feed.funding("hyperliquid").history("BTC", START_NS - 2 * HOUR_NS, START_NS)
        assert [ts for ts, _ in history] == [START_NS - 2 * HOUR_NS, START_NS - HOUR_NS, START_NS]


def test_a_jump_shows_the_same_book_as_steps(payloads: Path) -> None:
    one, two = Replay(payloads, [HYPERLIQUID], START_NS), Replay(payloads, [HYPERLIQUID], START_NS)
    first, second = attach(one)["hyperliquid"], attach(two)["hyperliquid"]
    one.advance_to(START_NS + 400 * FINE_NS)
    for k in range(1, 401):
        two.advance_to(START_NS + k * FINE_NS)
    assert [first.depth("BTC", s) for s in Side] == [second.depth("BTC", s) for s in Side]
    assert first.markets["BTC"].mark == second.markets["BTC"].mark


def test_recorded_rates_are_charged_hour_by_hour(payloads: Path) -> None:
    replay = Replay(payloads, [HYPERLIQUID], START_NS)
    exchange = attach(replay)["hyperliquid"]
    exchange.drain()
    for hour in range(1, 5):
        replay.advance_to(START_NS + hour * HOUR_NS)
    settled = [e for e in exchange.drain() if isinstance(e, FundingSettled) and e.market == "BTC"]
    rows = {row["time"] // 3_600_000: row["fundingRate"] for row in json.loads((payloads / DEX_FUNDING).read_bytes())}
    first = FUNDING_FROM_NS // HOUR_NS
    assert [fraction(e.rate) for e in settled] == [Decimal(rows[first + h]) for h in range(1, 5)]
    history = replay.funding("hyperliquid").history("BTC", START_NS - 3 * HOUR_NS, START_NS)
    assert [fraction(rate) for _, rate in history] == [Decimal(rows[first + h]) for h in range(-3, 1)]


def test_the_end_of_a_funding_recording_is_said_clearly(payloads: Path) -> None:
    replay = Replay(payloads, [HYPERLIQUID], START_NS)
    with pytest.raises(RecordingError, match=r"hyperliquid_BTC_fundingHistory.* has no rate for 2023-07-17 22:00:00"):
        replay.funding("hyperliquid").settle("BTC", START_NS + 272 * HOUR_NS, HOUR_NS)
    assert replay.ends_ns == START_NS + 272 * HOUR_NS
    exchange = attach(replay)["hyperliquid"]
    replay.advance_to(replay.ends_ns - 1)
    before = exchange.now_ns
    with pytest.raises(RecordingError, match=r"the recordings end at .* of the replay"):
        replay.advance_to(replay.ends_ns)
    assert exchange.now_ns == before


def series(hours: list[int], interval: int) -> FundingSeries:
    points = tuple(FundingPoint(h * HOUR_NS, Decimal(h) / 1000, interval) for h in hours)
    return FundingSeries("x", "BTC", points, "x.csv")


def test_intervals_are_converted() -> None:
    start = 1_000 * HOUR_NS
    eight = ReplayFunding(start, {"M": series([8, 16, 24], 8)}, from_ns=8 * HOUR_NS)
    assert fraction(eight.settle("M", start + 8 * HOUR_NS, 8 * HOUR_NS)) == Decimal("0.016")
    assert fraction(eight.settle("M", start + HOUR_NS, HOUR_NS)) == Decimal("0.002")
    hourly = ReplayFunding(start, {"M": series(list(range(1, 40)), 1)}, from_ns=8 * HOUR_NS)
    assert fraction(hourly.settle("M", start + 8 * HOUR_NS, 8 * HOUR_NS)) == Decimal(sum(range(9, 17))) / 1000
    assert hourly.settle("other", start, HOUR_NS) == 0


def test_one_missing_hour_repeats_the_one_before_and_two_are_an_error() -> None:
    funding = ReplayFunding(0, {"M": series([1, 2, 4, 7], 1)}, from_ns=0)
    assert fraction(funding.settle("M", 3 * HOUR_NS, HOUR_NS)) == Decimal("0.002")
    with pytest.raises(RecordingError, match="no rate"):
        funding.settle("M", 5 * HOUR_NS, HOUR_NS)


def test_missing_recordings_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="hyperliquid_btc_l2book"):
        Replay(tmp_path, [HYPERLIQUID], START_NS)
    with pytest.raises(RecordingError, match="no recording stands for any market of nowhere"):
        Replay(tmp_path, [VenueProfile("nowhere", LIGHTER.listings)], START_NS)
