"""Snapshots of recorded answers: what venues really sent becomes the figures that it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exchange_clients.model import MarketSnapshot, VenueSnapshot
from exchange_clients.signing import HttpRequest
from exchange_clients.venues import get
from exchange_simulator import dialects
from exchange_simulator.ready import ready_venue
from exchange_simulator.simloop import Simulation, run

D = Decimal


def recorded(payloads: Path, venue: str, name: str) -> Any:
    file = payloads / venue / "rest" / f"{name.rpartition('-')[0]}.jsonl"
    for line in file.read_text(encoding="utf-8").splitlines():
        record = json.loads(line, parse_float=str)
        if record["id"] == f"S-{venue}-rest-{name}":
            return record["payload"]
    raise AssertionError(f"no record {name} of {venue}")


@dataclass
class Case:
    """`answers`: part of a path -> recorded answer, wrapped as the venue wraps it. `told`: figures of market `base` in it."""

    answers: dict[str, tuple[str, Callable[[Any], Any]]]
    base: str
    rate: str
    told: dict[str, str | None] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


def same(payload: Any) -> Any:
    return payload


def a_list(payload: Any) -> Any:
    return [payload]


def data(payload: Any) -> Any:
    return {"code": "0", "msg": "", "data": [payload]}


CASES = {
    "aster": Case(
        {
            "/premiumIndex": ("funding_rate-004", a_list),
            "/fundingInfo": ("funding_rate-003", same),
            "/ticker/24hr": ("ticker-001", same),
        },
        "BTC",
        "0.00010000",
        {"mark": "106630.71786957", "index": "106678.52086957", "volume_24h": "923607368.61", "last": "107037.7", "bid": None},
    ),
    "backpack": Case(
        {"/markPrices": ("funding_rate-001", a_list), "/openInterest": ("ticker-002", same), "/tickers": ("ticker-004", same)},
        "BTC",
        "0.0001",
        {"mark": "118343.51853741", "index": "118333.18643195", "volume_24h": None, "open_interest": None, "bid": None},
    ),
    "dydx": Case(
        {"/perpetualMarkets": ("markets-001", same)},
        "BTC",
        "0",
        {"mark": "118976.5376", "volume_24h": "1292729.3605", "open_interest": str(D("52.0691") * D("118976.5376")), "bid": None},
    ),
    "lighter": Case(
        {"/orderBookDetails": ("ticker-001", same), "/funding-rates": ("funding_rate-001", same)},
        "ETH",
        str(D("9.599999999999999e-05") / 8),
        {"last": "3550.69", "volume_24h": "1671431095.263844", "bid": None},
    ),
    "okx": Case(
        {
            "/public/mark-price": ("ticker-012", same),
            "/market/index-tickers": ("ticker-011", same),
            "/market/tickers": ("ticker-005", same),
            "/public/open-interest": ("ticker-009", same),
            "/public/funding-rate": ("funding_rate-001", lambda row: data({**row, "instId": "BTC-USDT-SWAP"})),
        },
        "BTC",
        "0.0001875391284828",
        {"mark": "84660.1", "index": "103895", "volume_24h": None, "bid": None},
    ),
    "paradex": Case(
        {"/markets/summary": ("ticker-006", same)},
        "BTC",
        "0.00749938923192",
        {
            "mark": "67307.7225876",
            "index": "66806.71304318",
            "bid": "66821.1",
            "ask": "67643.2",
            "volume_24h": "2611476.262600002",
            "open_interest": str(D("152.777") * D("67307.7225876")),
        },
    ),
}


def snapshot_of(payloads: Path, venue: str, answers: dict[str, tuple[str, Callable[[Any], Any]]]) -> VenueSnapshot:
    """The venue's adapter; paths that are not recorded go to the simulated venue (its list of markets)."""
    bodies = {path: wrap(recorded(payloads, venue, name)) for path, (name, wrap) in answers.items()}

    async def main(sim: Simulation) -> VenueSnapshot:
        async with (
            ready_venue(dialects.get(venue), sim.runtime, network=sim.network) as ready,
            get(venue).funding(ready.settings(), runtime=sim.runtime) as adapter,
        ):
            rest = adapter.client.context.rest
            send = rest.send

            async def answer(request: HttpRequest, *, timeout_s: float | None = None) -> bytes:
                path = next((path for path in bodies if request.path.endswith(path)), None)
                if path is None and not (venue == "hyperliquid" and b"metaAndAssetCtxs" in (request.body or b"")):
                    return await send(request, timeout_s=timeout_s)
                body = json.dumps(bodies[path or "/info"]).encode()
                rest.raise_for_error(200, body, {})
                return body

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(rest, "send", answer)
                return await adapter.fetch_snapshot()

    return run(main, seed=1)


@pytest.mark.parametrize("venue", CASES)
def test_a_snapshot_of_recorded_answers_says_what_they_say(payloads: Path, venue: str) -> None:
    case = CASES[venue]
    found = snapshot_of(payloads, venue, case.answers)
    market: MarketSnapshot = next(m for m in found.markets if m.instrument.id.base == case.base)
    assert market.problem is None
    assert market.sample is not None
    assert market.sample.raw_rate == D(case.rate)
    assert market.ticker is not None
    for name, value in case.told.items():
        assert getattr(market.ticker, name) == (None if value is None else D(value)), name


def test_hyperliquids_recorded_market_is_whole(payloads: Path) -> None:
    """Hundreds of markets in one recorded answer, delisted ones among them: each listed one has the rate beside its name."""
    meta, contexts = recorded(payloads, "hyperliquid", "markets-008")
    found = snapshot_of(payloads, "hyperliquid", {"/info": ("markets-008", same)})
    rates = {m.instrument.venue_symbol: m.sample.raw_rate for m in found.markets if m.sample is not None}
    listed = {asset["name"]: ctx for asset, ctx in zip(meta["universe"], contexts, strict=True) if not asset.get("isDelisted")}
    assert len(rates) > 100
    assert rates == {name: D(ctx["funding"]) for name, ctx in listed.items()}
    btc = next(m for m in found.markets if m.instrument.venue_symbol == "BTC")
    assert btc.ticker is not None
    assert btc.ticker.mark == D(listed["BTC"]["markPx"])
    assert btc.ticker.index == D(listed["BTC"]["oraclePx"])
    assert btc.ticker.open_interest == D(listed["BTC"]["openInterest"]) * D(listed["BTC"]["markPx"])
    assert btc.ticker.volume_24h == D(listed["BTC"]["dayNtlVlm"])
