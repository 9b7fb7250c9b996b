"""`perpkit opportunities` as a user runs it: against simulated venues, a running service, and a database."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from database.connect import sqlite_url
from database.database import Database
from database.funding_store import FundingStore
from database.market_data import Collection, Outcome, SettledRate
from exchange_clients import venues
from exchange_clients.model import NS_PER_HOUR, NS_PER_S
from exchange_simulator.core import types as core
from exchange_simulator.dialects.base import RequestFault
from funding_rate_service.api import shapes
from funding_rate_service.board import sample_of
from perpkit.cli.main import run
from perpkit.cli.opportunities import UNSURE, Wanted
from perpkit.cli.opportunity_sources import parameters
from tests.e2e.conftest import Served
from tests.service import asking, scene

pytestmark = pytest.mark.slow
D = Decimal


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    """Exit code, the JSON of stdout, stderr."""
    code = run(["opportunities", *arguments, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


# ---- the venues


def post(served: Served, rate: Decimal) -> None:
    bench = served.bench
    served.call(lambda: bench.exchange.set_funding_rate(bench.now(), bench.symbol(), core.to_fraction(rate)))


def test_all_venues_asked_at_once_and_one_that_goes_down_is_named(
    all_venues: list[Served], settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for n, one in enumerate(all_venues):
        post(one, D(n + 1) / 10_000)
    code, told, err = call(capsys, "--symbol", "BTC", "--min-profit", "-1", "--limit", "100", *settings)
    assert (code, err, told["broken"]) == (0, "", {})
    found = told["opportunities"]
    assert {leg["dex"] for o in found for leg in (o["long"], o["short"])} == set(venues.names())
    assert told["count"] == len(found) <= told["total"]
    for o in found:
        assert D(o["long"]["hourly"]) <= D(o["short"]["hourly"])
        assert D(o["net"]) == pytest.approx(D(o["funding"]) - D(o["costs"]["total"]), abs=D("1e-14"))
    nets = [D(o["net"]) for o in found]
    assert nets == sorted(nets, reverse=True)

    assert run(["opportunities", "--min-profit", "-1", "--history", *settings]) == 0
    out = capsys.readouterr().out
    assert f"{UNSURE} a spread is unknown" in out
    assert "half-life" in out

    down = all_venues[0]
    down.call(lambda: down.bench.hands.requests(RequestFault(status=500), times=1_000))
    code, told, _ = call(capsys, "--min-profit", "-1", *settings)
    assert code == 1
    assert set(told["broken"]) == {down.bench.spec.name}
    assert down.bench.spec.name not in {leg["dex"] for o in told["opportunities"] for leg in (o["long"], o["short"])}


def test_no_venue_at_all(capsys: pytest.CaptureFixture[str], keyless: None) -> None:
    code, told, err = call(capsys, *(part for name in venues.names() for part in ("--endpoint", f"{name}=http://127.0.0.1:9")))
    assert (code, told["error"]["kind"]) == (4, "unreachable")
    assert err.count("\n") == 1


# ---- a service


def test_a_running_service_is_asked_with_every_filter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def main(ask: asking.Asking) -> None:
        code = await asyncio.to_thread(run, ["opportunities", "--service", ask.url, "--min-profit", "-1", "--limit", "2", "--json"])
        told = json.loads(capsys.readouterr().out)
        assert (code, told["count"], told["broken"]) == (0, 2, {})
        same = (await ask("/api/v1/opportunities?min_profit=-1&limit=2")).as_(shapes.Opportunities)
        assert [o["pair"] for o in told["opportunities"]] == [o.pair for o in same.opportunities]

        refused = await asyncio.to_thread(run, ["opportunities", "--service", ask.url, "--dex", "nowhere", "--json"])
        told = json.loads(capsys.readouterr().out)
        assert (refused, told["error"]["kind"]) == (2, "refused")

        assert await asyncio.to_thread(run, ["opportunities", "--service", ask.url, "--watch", "0.2", "--every", "1"]) == 0
        assert "Opportunities: " in capsys.readouterr().out

    asking.play(tmp_path, main)


def test_every_filter_reaches_the_service(tmp_path: Path) -> None:
    """Each as the API takes it: none is refused, none is lost."""
    given: dict[str, Any] = {
        "symbol": "BTC",
        "dex": "lighter",
        "dex_pair": "lighter,dydx",
        "dexes": ["lighter,dydx"],
        "whitelist_dexes": ["lighter", "dydx"],
        "exclude_dexes": ["hyperliquid"],
        "required_dex": "dydx",
        "min_divergence": D("-0.1"),
        "min_profit": D(-1),
        "min_volume": D(1),
        "max_volume": D(10**9),
        "min_oi": D(1),
        "max_oi": D(10**9),
        "oi_ratio_min": D("0.0001"),
        "oi_ratio_max": D(10**4),
        "max_spread": D("0.5"),
        "max_price_divergence": D("0.5"),
        "max_break_even_hours": D(10**5),
        "horizon_hours": D(168),
        "limit": 7,
        "sort_by": "costs",
        "ascending": True,
    }
    query = Wanted(**given).query()
    sent = parameters(query)
    own = {"ascending": "sort_desc"}
    assert set(sent) == {own.get(name, name) for name in given}

    async def main(ask: asking.Asking) -> None:
        async with ask.http.get(f"{ask.url}/api/v1/opportunities", params=sent) as answer:
            assert answer.status == 200, await answer.text()

    asking.play(tmp_path, main)


# ---- the past


def test_as_things_stood_then(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    then = 1_767_225_600 * NS_PER_S  # 2026-01-01T00:00Z
    place = tmp_path / "perpkit.db"
    database = Database.open(sqlite_url(place))
    store = FundingStore(database)
    for at_ns, factor in ((then, 1), (then + NS_PER_HOUR, -1)):
        found = scene.quotes(at_ns)
        for venue in sorted({q.instrument.venue for q in found}):
            samples = [sample_of(q) for q in found if q.instrument.venue == venue]
            if factor < 0:
                samples = [msgspec.structs.replace(s, rate=-s.rate) for s in samples]
            outcome = Collection(
                venue=venue, started_at=at_ns, ended_at=at_ns, outcome=Outcome.OK, markets=len(samples), error="", latency_ms=1
            )
            store.record_collection(outcome, samples)
    start = then - 48 * NS_PER_HOUR
    for market, rates in (("BTC-USDC-PERP.hyperliquid", "0.0002 0.0001"), ("BTC-USD-PERP.dydx", "0 0")):
        rows = [
            SettledRate(
                venue=market.rpartition(".")[2],
                instrument=market,
                symbol="BTC",
                settled_at=start + n * NS_PER_HOUR,
                rate=D(rates.split()[n % 2]),
                interval_hours=D(1),
            )
            for n in range(1, 49)
        ]
        store.add_settled(rows)
    database.close()

    def asked(at: str) -> Any:
        code, told, _ = call(capsys, "--database", str(place), "--at", at, "--min-profit", "-1", "--symbol", "BTC")
        assert code == 0
        return told

    first, second = asked("2026-01-01T00:01"), asked("2026-01-01T01:02")
    assert first["at"] == "2026-01-01T00:01:00.000Z"
    assert first["total"] == second["total"] > 0
    turned = {tuple(reversed(o["pair"].split("/"))) for o in second["opportunities"]}
    assert {tuple(o["pair"].split("/")) for o in first["opportunities"]} == turned, "the signs were turned an hour later"
    assert asked("2026-01-01T00:30")["total"] == 0, "the rates were half an hour old then"
    assert asked("2025-12-31")["total"] == 0

    at = ["--database", str(place), "--at", "2026-01-01T00:01"]
    assert run(["opportunities", *at, "--dex-pair", "dydx,hyperliquid", "--symbol", "BTC", "--min-profit", "-1", "--history"]) == 0
    assert "▁█" * 12 in capsys.readouterr().out, "its settled differences, hour by hour"


# ---- what is wrong is told in one line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--limit", "101"], "--limit is 101: give 1 to 100"),
        (["--min-oi", "2", "--max-oi", "1"], "--min-oi 2 is above max_oi 1"),
        (["--horizon-hours", "500"], "--horizon-hours is 500"),
        (["--dex-pair", "lighter"], "names no two venues"),
        (["--dex-pair", "lighter,lighter"], "names lighter twice"),
        (["--dexes", "lightr,okx"], "did you mean 'lighter'"),
        (["--service", "127.0.0.1:8786"], "is no address"),
        (["--service", "http://x", "--at", "2026-01-01"], "two sources"),
        (["--service", "http://x", "--venue", "okx"], "are for asking the venues"),
        (["--at", "soon"], "'soon' is no time"),
        (["--at", "2100-01-01"], "in the future"),
        (["--database", "x.db"], "--database is read with --at alone"),
        (["--at", "2026-01-01", "--database", "/nowhere/x.db"], "there is no database at /nowhere/x.db"),
        (["--service", "http://x", "--max-rate-age", "5"], "the service's own to decide"),
        (["--sort-by", "luck"], "luck"),
    ],
)
def test_wrong_usage(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, err = call(capsys, *arguments)
    assert code == 2
    assert says in told["error"]["message"]
    assert err.count("\n") == 1
