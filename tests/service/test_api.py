"""The API over a real socket: answers, errors, headers, keys, caches, and what happens when something is missing."""

import asyncio
import gzip
import json
import logging
import re
import threading
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from pydantic import ValidationError

from database.apikeys import Scope
from database.errors import JournalBusy
from database.records import ApiKeyRecord
from exchange_clients.model import NS_PER_S
from funding_rate_service.api import guard, shapes
from funding_rate_service.api.access import FAILED_PER_MINUTE, ServeConfig
from funding_rate_service.api.app import create_app
from funding_rate_service.api.bodies import SETTLE_S
from funding_rate_service.service import MOST_READS
from tests.service import scene
from tests.service.asking import Asking, play

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
V1 = "/api/v1"
PATIENCE_S = 40.0
"""Of a machine that does other things too."""


async def has_run(ask: Asking, task: str, times: int) -> None:
    """Wait for a task's turn; it has not had more."""
    async with asyncio.timeout(PATIENCE_S):
        while (status := next(t for t in ask.service.tasks.status() if t.name == task)).runs < times:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert status.runs == times


def test_every_answer_from_memory_has_its_documented_shape(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        shape_of = {
            "/funding-rates": shapes.Rates,
            "/funding-rates?dex=lighter&symbol=BTC": shapes.Rates,
            "/funding-rates/hyperliquid": shapes.Rates,
            "/funding-rates/lighter/BTC": shapes.OneRate,
            "/funding-rates/lighter/BTC-USDC-PERP.lighter": shapes.OneRate,
            "/funding-rates/compare?symbol=ETH": shapes.Comparison,
            "/opportunities": shapes.Opportunities,
            "/opportunities/best": shapes.BestOpportunity,
            "/opportunities/symbol/BTC": shapes.Opportunities,
            "/edge?pair=BTC-USDC-PERP.lighter/BTC-USDC-PERP.hyperliquid": shapes.Edge,
            "/dexes": shapes.Dexes,
            "/dexes/dydx": shapes.OneDex,
            "/dexes/dydx/symbols": shapes.Symbols,
            "/health": shapes.Health,
            "/health/live": shapes.Alive,
            "/health/ready": shapes.Alive,
            "/health/database": shapes.DatabaseHealth,
            "/health/dex/dydx": shapes.OneDex,
            "/tasks/status": shapes.TaskList,
            "/positions": shapes.Positions,
        }
        for path, shape in shape_of.items():
            answer = await ask(V1 + path)
            assert answer.status == 200, path
            assert answer.headers["Content-Type"] == "application/json"
            answer.as_(shape)
        rates = (await ask(V1 + "/funding-rates")).as_(shapes.Rates)
        assert rates.count == len(rates.rates) == 6
        eth = next(r for r in rates.rates if r.instrument == "ETH-USDC-PERP.hyperliquid")
        assert (eth.rate, eth.interval_hours, eth.hourly, eth.rate_8h, eth.annual) == ("0.0008", "8", "0.0001", "0.0008", "0.876")
        assert eth.spread == "0.0002"
        assert next(r for r in rates.rates if r.instrument == "BTC-USDC-PERP.lighter").spread is None  # unknown, not zero
        one = (await ask(V1 + "/funding-rates/lighter/btc")).as_(shapes.OneRate)
        assert one.rate.rate == "-0.00004"
        told = (await ask(V1 + "/funding-rates/compare?symbol=BTC&dexes=dydx,hyperliquid")).as_(shapes.Comparison)
        assert [r.dex for r in told.rates] == ["dydx", "hyperliquid"]
        assert told.spread == shapes.Spread(long="BTC-USD-PERP.dydx", short="BTC-USDC-PERP.hyperliquid", hourly="0.00009", annual="0.7884")

    play(tmp_path, main)


def test_opportunities_are_what_the_filters_say(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        async def pairs(query: str) -> list[str]:
            found = (await ask(f"{V1}/opportunities{query}")).as_(shapes.Opportunities)
            assert found.count == len(found.opportunities) <= found.total
            return [o.pair.replace("-USDC-PERP.", "@").replace("-USD-PERP.", "@") for o in found.opportunities]

        everything = await pairs("")
        assert everything[0] == "BTC@lighter/BTC@hyperliquid"
        assert set(everything) == {"BTC@lighter/BTC@hyperliquid", "BTC@dydx/BTC@hyperliquid", "ETH@lighter/ETH@hyperliquid"}
        assert await pairs("?sort_desc=false") == everything[::-1]
        assert await pairs("?limit=1") == everything[:1]
        assert await pairs("?max_spread=0.001") == [p for p in everything if "BTC@lighter" not in p]  # an unknown spread fails it
        assert await pairs("?exclude_dexes=lighter") == ["BTC@dydx/BTC@hyperliquid"]
        assert await pairs("?symbol=eth") == ["ETH@lighter/ETH@hyperliquid"]
        assert await pairs("?symbol=NOPE") == []
        assert await pairs("?min_profit=9") == []
        assert await pairs("?dex_pair=hyperliquid,dydx") == ["BTC@dydx/BTC@hyperliquid"]
        assert await pairs("?oi_ratio_max=0.5") == ["BTC@dydx/BTC@hyperliquid"]
        first = (await ask(V1 + "/opportunities")).as_(shapes.Opportunities).opportunities[0]
        assert first.costs == shapes.Costs(
            entry_fees="0.0008", exit_fees="0.0008", entry_slippage=None, exit_slippage=None, total="0.0016", slippage_known=False
        )  # of Lighter no spread is known: fees only
        best = (await ask(V1 + "/opportunities/best?exclude_dexes=lighter")).as_(shapes.BestOpportunity)
        assert best.opportunity is not None
        assert best.opportunity.pair == "BTC-USD-PERP.dydx/BTC-USDC-PERP.hyperliquid"
        none = (await ask(V1 + "/opportunities/best?min_profit=9")).as_(shapes.BestOpportunity)
        assert none.opportunity is None

    play(tmp_path, main)


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/nothing", 404, ""),
        ("/funding-rates/lightr", 404, "did you mean 'lighter'"),
        ("/funding-rates/lighter/NOPE", 404, "there are: BTC, ETH, SOL"),
        ("/funding-rates?dex=okx", 404, ""),
        ("/funding-rates?dex=UPPER", 422, "dex"),
        ("/funding-rates?unknown=1", 422, "unknown: there is no such parameter"),
        ("/health?x=", 422, "x: there is no such parameter"),
        ("/funding-rates?dex=lighter&dex=dydx", 422, "dex"),
        ("/funding-rates/compare", 422, "symbol"),
        ("/opportunities?limit=101", 422, "limit"),
        ("/opportunities?limit=0", 422, "limit"),
        ("/opportunities?limit=1e1", 422, "limit"),
        ("/opportunities?min_profit=NaN", 422, "min_profit"),
        ("/opportunities?min_profit=-Infinity", 422, "min_profit"),
        ("/opportunities?min_oi=1e999999999", 422, "min_oi"),
        ("/opportunities?min_oi=5&max_oi=1", 422, "min_oi 5 is above max_oi 1"),
        ("/opportunities?dex_pair=dydx,dydx", 422, "dex_pair"),
        ("/opportunities?whitelist_dexes=dydx,nowhere", 404, ""),
        ("/opportunities?sort_by=password", 422, "sort_by"),
        ("/opportunities?sort_desc=yes", 422, "sort_desc"),
        ("/opportunities?at=2099-01-01T00:00:00Z", 422, "future"),
        ("/opportunities?at=2025-02-30T00:00:00Z", 422, "no such day"),
        ("/opportunities?at=yesterday", 422, "at: write it like 2026-11-21T20:00:00Z"),
        ("/edge?pair=BTC", 422, "pair: write it like BTC-USDC-PERP.hyperliquid/"),
        ("/edge?pair=BTC/ETH", 422, "BTC-USDC-PERP.hyperliquid"),
        ("/edge?pair=BTC-USDC-PERP.lighter/ETH-USDC-PERP.hyperliquid", 422, "not the same asset"),
        ("/edge?pair=BTC-USDC-PERP.okx/ETH-USDC-PERP.hyperliquid", 404, ""),
        ("/history/funding-rates/lighter/BTC?period=2d", 422, "period"),
        ("/history/funding-rates/lighter/BTC?limit=5001", 422, "limit"),
        ("/history/funding-rates/lighter/NOPE", 404, ""),
        ("/stats/funding-rates/NOPE", 404, "nothing is stored"),
        ("/dexes/nope", 404, ""),
        ("/positions/p-1", 404, ""),
        ("/opportunities?x=%ff", 422, ""),
        ("/funding-rates?dex=" + "a" * 3000, 414, ""),
        ("/" + "a" * 2000, 414, ""),
    ],
)
def test_errors_say_what_is_wrong(serving_once: Any, path: str, status: int, says: str) -> None:
    answer = serving_once(V1 + path)
    problem = answer.problem()
    assert problem.status == status
    assert says in problem.detail
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.fixture(scope="module")
def serving_once(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One service for all that change nothing: `ask(path)`."""
    loop = asyncio.new_event_loop()
    from tests.service.asking import asking

    opened = asking(tmp_path_factory.mktemp("service"), local_key="local-key")
    ask = loop.run_until_complete(opened.__aenter__())
    yield lambda path, *args, **headers: loop.run_until_complete(ask(path, *args, **headers))
    loop.run_until_complete(opened.__aexit__(None, None, None))
    loop.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_another_method_is_told_which_there_is(serving_once: Any, method: str) -> None:
    answer = serving_once(V1 + "/funding-rates", method)
    assert answer.problem().status == 405
    assert answer.headers["Allow"] == "GET"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8786"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:1"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1", "Host": "localhost:2"}, 403),
        ({"Origin": "http://localhost:2", "Host": "localhost:2"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_no_other_web_page_and_no_other_name_gets_in(serving_once: Any, headers: dict[str, str], status: int) -> None:
    assert serving_once(V1 + "/health/live", **headers).status == status


def test_every_answer_carries_what_keeps_browsers_in_line(serving_once: Any) -> None:
    for path in (V1 + "/funding-rates", V1 + "/nothing", "/openapi.json"):
        headers = serving_once(path).headers
        assert {name: headers[name] for name in guard.SECURITY} == guard.SECURITY
        assert "Server" not in headers


def test_a_list_is_encoded_once_per_state_compressed_once_and_not_sent_twice(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        first = await ask(V1 + "/funding-rates", Accept_Encoding="gzip")
        assert first.headers["Content-Encoding"] == "gzip"
        assert first.headers["Vary"] == "Accept-Encoding"
        second = await ask(V1 + "/funding-rates", Accept_Encoding="identity;q=1, gzip;q=0")
        assert "Content-Encoding" not in second.headers
        assert gzip.decompress(first.body) == second.body
        etag = first.headers["ETag"]
        assert second.headers["ETag"] == etag
        same = await ask(V1 + "/funding-rates", If_None_Match=f'"other", W/{etag}')
        assert (same.status, same.body) == (304, b"")
        other = await ask(V1 + "/funding-rates?dex=dydx", If_None_Match=etag)
        assert other.status == 200
        now_ns = ask.service.now_ns()
        scene.put(ask.service.board, [scene.quote("BTC-USD-PERP.dydx", "0.5", now_ns)], now_ns)
        await asyncio.sleep(SETTLE_S)
        changed = await ask(V1 + "/funding-rates", If_None_Match=etag)
        assert changed.status == 200
        assert '"rate":"0.5"' in changed.body.decode()

    play(tmp_path, main)


def test_writing_needs_a_key_that_may_and_is_written_down_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main(ask: Asking) -> None:
        path = V1 + "/tasks/roll-up/run"
        refused = (await ask(path, "POST")).problem()
        assert refused.status == 401
        assert "perpkit keys add NAME --scope write --service" in refused.detail
        assert (await ask(path, "POST", Authorization="Bearer ppk_wrong")).problem().status == 401
        assert (await ask(path, "POST", Authorization="Basic abc")).problem().status == 401
        reader, writer = ask.key(Scope.READ, name="reader"), ask.key(Scope.WRITE)
        assert (await ask(path, "POST", Authorization=reader)).problem().status == 403
        await has_run(ask, "roll-up", 1)
        answer = await ask(path, "POST", Authorization=writer)
        assert answer.status == 202
        assert answer.as_(shapes.Started).started
        await has_run(ask, "roll-up", 2)
        assert (await ask(V1 + "/tasks/nope/run", "POST", Authorization=writer)).problem().status == 404
        assert [(e.actor, e.action, e.detail) for e in ask.service.keys.audited()] == [("ops", "task.run", '{"task": "roll-up"}')]
        assert (await ask(V1 + "/tasks/stream/run", "POST", Authorization=writer)).problem().status == 409
        secret = writer.removeprefix("Bearer ")
        assert secret not in caplog.text
        record = ask.service.keys.keys()[0]
        ask.service.keys.revoke("ops", ask.service.now_ns())
        assert record.hash not in caplog.text
        assert (await ask(path, "POST", Authorization=writer)).problem().status == 401  # taken back: from the next request on

    with caplog.at_level(logging.DEBUG):
        play(tmp_path, main)


def test_nothing_is_done_that_could_not_be_written_down(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        writer = ask.key(Scope.WRITE)
        await has_run(ask, "retention", 1)
        with ask.service.database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE audit_log RENAME TO away")
        assert (await ask(V1 + "/tasks/retention/run", "POST", Authorization=writer)).problem().status == 503
        await asyncio.sleep(0.05)
        await has_run(ask, "retention", 1)

    play(tmp_path, main)


def test_guessing_keys_and_asking_too_often_end_in_429(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(ask: Asking) -> None:
        path, looked = V1 + "/tasks/roll-up/run", list[int]()
        keys = ask.service.keys.keys

        def counted() -> list[ApiKeyRecord]:
            looked.append(1)
            return keys()

        monkeypatch.setattr(ask.service.keys, "keys", counted)
        codes = [(await ask(path, "POST", Authorization=f"Bearer ppk_{n}")).status for n in range(FAILED_PER_MINUTE + 2)]
        assert codes == [401] * FAILED_PER_MINUTE + [429] * 2
        assert len(looked) == FAILED_PER_MINUTE  # a flood takes no worker from the database
        answer = await ask(path, "POST", Authorization="Bearer ppk_x")
        assert 1 <= int(answer.headers["Retry-After"]) <= 61
        assert (await ask(path, "POST", Authorization="Bearer local-key")).status in (202, 409)  # who knows a key is not kept out
        codes = [(await ask(path, "POST", Authorization="Bearer local-key")).status for _ in range(3)]
        assert codes[-1] == 429

    play(tmp_path, main, serve={"writes_per_minute": 3}, local_key="local-key")


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[" * 100, "application/json", 400),
        (b"[]", "application/json", 422),
        (b'{"days": 0}', "application/json", 422),
        (b'{"days": true}', "application/json", 422),
        (b'{"days": 99999999999999999999999999}', "application/json", 422),
        (b'{"dex": "nope"}', "application/json", 404),
        (b'{"other": 1}', "application/json", 422),
        (b"{}", "text/plain", 415),
        (b'{"dex": "' + b"a" * 20_000 + b'"}', "application/json", 413),
        (b"", "application/json", 409),  # this service asks no venue
    ],
)
def test_a_body_is_checked(serving_once: Any, body: bytes, kind: str, status: int) -> None:
    answer = serving_once(V1 + "/history/backfill", "POST", body=body, Content_Type=kind, Authorization="Bearer local-key")
    assert answer.problem().status == status


def test_a_database_that_is_away_costs_history_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main(ask: Asking) -> None:
        with ask.service.database.write() as connection:
            for table in ("funding_rates", "funding_history", "collection_logs", "venue_symbols"):
                connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {table}_away")
        for path in ("/history/funding-rates/lighter/BTC", "/stats/funding-rates/BTC", "/opportunities?at=2026-01-01T00:00:00Z"):
            answer = await ask(V1 + path)
            problem = answer.problem()
            assert (problem.status, answer.headers["Retry-After"]) == (503, "5")
            assert "sqlite" not in answer.body.decode().lower()
            assert str(tmp_path) not in answer.body.decode()
        for path in ("/funding-rates", "/opportunities", "/dexes", "/edge?pair=BTC-USDC-PERP.lighter/BTC-USDC-PERP.hyperliquid"):
            assert (await ask(V1 + path)).status == 200
        edge = (await ask(V1 + "/edge?pair=BTC-USDC-PERP.lighter/BTC-USDC-PERP.hyperliquid")).as_(shapes.Edge)
        assert "history" in edge.unknown
        ask.service.tasks.run_now("health")
        async with asyncio.timeout(PATIENCE_S):
            while ask.service.database_health().status != "down":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await ask(V1 + "/health/database")).problem().status == 503
        health = (await ask(V1 + "/health")).as_(shapes.Health)
        assert (health.status, health.database, health.ready) == ("degraded", "down", True)
        with ask.service.database.write() as connection:
            for table in ("funding_rates", "funding_history", "collection_logs", "venue_symbols"):
                connection.exec_driver_sql(f"ALTER TABLE {table}_away RENAME TO {table}")
        assert (await ask(V1 + "/opportunities?at=2026-01-01T00:00:00Z")).status == 200

    play(tmp_path, main)


def test_reads_of_memory_never_wait_for_the_database(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        over = threading.Event()
        slow = [asyncio.create_task(ask.service.read(over.wait, 60)) for _ in range(MOST_READS)]
        try:
            await asyncio.sleep(0)
            for path in ("/funding-rates", "/opportunities", "/health", "/dexes", "/metrics"):
                assert (await ask(V1 + path)).status == 200
            refused = await ask(V1 + "/stats/funding-rates/BTC")  # none of all these waits for another
            assert refused.problem().title == "the database has enough to do"  # who comes later is told so at once
        finally:
            over.set()
            await asyncio.gather(*slow, return_exceptions=True)

    play(tmp_path, main)


def test_a_slow_answer_ends_at_its_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("funding_rate_service.service.READ_S", 0.1)

    async def main(ask: Asking) -> None:
        over = threading.Event()
        held = [asyncio.create_task(ask.service._reads.run(over.wait, 60, deadline_s=60)) for _ in range(2)]
        try:
            await asyncio.sleep(0)
            assert (await ask(V1 + "/stats/funding-rates/BTC")).problem().title == "it took too long"
        finally:
            over.set()
            await asyncio.gather(*held)

    play(tmp_path, main)


def test_a_fault_of_ours_is_told_without_its_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(ask: Asking) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("secret inside")

        monkeypatch.setattr(ask.service, "dexes", broken)
        answer = await ask(V1 + "/dexes")
        assert answer.problem().status == 500
        assert b"secret" not in answer.body
        assert "secret inside" in caplog.text
        assert (await ask(V1 + "/funding-rates")).status == 200

    play(tmp_path, main)


def test_before_the_first_answer_it_lives_and_is_not_ready(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        assert (await ask(V1 + "/health/live")).status == 200
        assert (await ask(V1 + "/health/ready")).problem().status == 503
        health = (await ask(V1 + "/health")).as_(shapes.Health)
        assert (health.status, health.ready) == ("down", False)
        assert {dex.state for dex in health.dexes} == {"waiting"}
        assert (await ask(V1 + "/funding-rates")).as_(shapes.Rates).count == 0
        ask.service.board.fail("lighter", "connection refused", ask.service.now_ns())
        (lighter,) = [d for d in (await ask(V1 + "/dexes")).as_(shapes.Dexes).dexes if d.dex == "lighter"]
        assert (lighter.state, lighter.last_error, lighter.consecutive_failures) == ("down", "connection refused", 1)
        now_ns = ask.service.now_ns()
        scene.put(ask.service.board, scene.quotes(now_ns), now_ns)
        assert (await ask(V1 + "/health/ready")).status == 200

    play(tmp_path, main, filled=False)


def test_a_rate_that_is_too_old_is_shown_as_such_and_is_in_no_pair(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        now_ns = ask.service.now_ns()
        old = scene.quote("BTC-USDC-PERP.hyperliquid", "0.00011", now_ns, observed_ns=now_ns - 151 * NS_PER_S)
        scene.put(ask.service.board, [*scene.quotes(now_ns)[1:], old], now_ns)
        ask.service.board.sweep()
        rate = (await ask(V1 + "/funding-rates/hyperliquid/BTC")).as_(shapes.OneRate).rate
        assert rate.stale
        assert 151 <= rate.age_s <= 160
        found = (await ask(V1 + "/opportunities")).as_(shapes.Opportunities)
        assert {leg.instrument for o in found.opportunities for leg in (o.long, o.short)}.isdisjoint({rate.instrument})
        told = (await ask(V1 + "/funding-rates/compare?symbol=BTC")).as_(shapes.Comparison)
        assert told.spread is not None
        assert told.spread.short == "BTC-USD-PERP.dydx"
        edge = (await ask(V1 + "/edge?pair=BTC-USD-PERP.dydx/BTC-USDC-PERP.hyperliquid")).as_(shapes.Edge)
        assert edge.unknown[0] == "a current rate of BTC-USDC-PERP.hyperliquid: this one is too old"

    play(tmp_path, main)


def test_a_comparison_of_several_markets_on_a_venue_tells_the_widest_difference_between_two_venues(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        now_ns = ask.service.now_ns()
        rates = {"BTC-USDC-PERP.lighter": "-0.0003", "BTC-USDT-PERP.lighter": "0.0004", "BTC-USD-PERP.dydx": "0.0003"}
        scene.put(ask.service.board, [scene.quote(name, rate, now_ns) for name, rate in rates.items()], now_ns)
        told = (await ask(V1 + "/funding-rates/compare?symbol=BTC&dexes=lighter,dydx")).as_(shapes.Comparison)
        assert [r.instrument for r in told.rates] == ["BTC-USDC-PERP.lighter", "BTC-USD-PERP.dydx", "BTC-USDT-PERP.lighter"]
        assert told.spread is not None
        assert (told.spread.long, told.spread.short, told.spread.hourly) == ("BTC-USDC-PERP.lighter", "BTC-USD-PERP.dydx", "0.0006")

    play(tmp_path, main)


def test_figures_for_prometheus_have_few_labels(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        for n in range(50):
            await ask(f"{V1}/funding-rates/lighter/X{n}")
            await ask(f"{V1}/nowhere/{n}", "BREW" if n % 2 else "GET")
        async with asyncio.timeout(PATIENCE_S):  # the ranking is looked at once a second
            while "perpkit_opportunities 3.0" not in (text := (await ask(V1 + "/metrics")).body.decode()):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert 'perpkit_dex_up{dex="lighter"} 1.0' in text
        routes = set(re.findall(r'perpkit_http_requests_total\{method="(\w+)",route="([^"]+)",status="(\d+)"\}', text))
        assert ("GET", "/funding-rates/{dex}/{symbol}", "404") in routes
        assert {method for method, _, _ in routes} <= {"GET", "other"}
        assert len(routes) <= 5

    play(tmp_path, main)


class Bots:
    """Who knows positions."""

    async def positions(self) -> list[dict[str, Any]]:
        return [{"pair_id": "p-1"}]

    async def pair(self, pair_id: str) -> dict[str, Any] | None:
        return {"pair_id": pair_id, "ledger": []} if pair_id == "p-1" else None


def test_positions_come_from_whoever_knows_them(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        assert (await ask(V1 + "/positions")).json == {"provided": True, "positions": [{"pair_id": "p-1"}]}
        assert (await ask(V1 + "/positions/p-1")).json == {"position": {"pair_id": "p-1", "ledger": []}}
        assert (await ask(V1 + "/positions/p-2")).problem().status == 404

    play(tmp_path, main, positions=Bots())


def test_the_document_describes_every_route_with_an_example_that_fits(serving_once: Any) -> None:
    document = serving_once("/openapi.json").json
    by_name = {shape.__name__: shape for shape in shapes.ANSWERS}
    seen = set()
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            assert told["summary"], path
            for status, answer in told["responses"].items():
                for kind, content in answer.get("content", {}).items():
                    if kind == "text/plain":
                        continue
                    name = content["schema"]["$ref"].rpartition("/")[2]
                    seen.add(name)
                    if kind == "application/problem+json":
                        assert int(status) >= 400
                    else:
                        exact = msgspec.json.decode(json.dumps(content["example"]), type=by_name[name])
                        assert json.loads(msgspec.json.encode(exact)) == content["example"], path
            if method == "post":
                assert told["security"]
    assert seen == set(by_name)
    assert not any("HTTPValidationError" in str(told) for told in document["paths"].values())


def test_what_the_issue_names_is_there(serving_once: Any) -> None:
    paths = {path.removeprefix(V1) for path in serving_once("/openapi.json").json["paths"]}
    assert paths >= {
        "/funding-rates", "/funding-rates/compare", "/funding-rates/{dex}", "/funding-rates/{dex}/{symbol}",
        "/history/funding-rates/{dex}/{symbol}", "/stats/funding-rates/{symbol}", "/opportunities", "/opportunities/best",
        "/opportunities/symbol/{symbol}", "/edge", "/dexes", "/dexes/{dex}", "/dexes/{dex}/symbols", "/health", "/health/database",
        "/health/dex/{dex}", "/tasks/status", "/metrics",
    }  # fmt: skip


def test_beyond_this_machine_it_wants_tls_or_a_word() -> None:
    with pytest.raises(ValidationError, match="other machines"):
        ServeConfig(host="0.0.0.0")  # noqa: S104
    assert ServeConfig(host="0.0.0.0", allow_plain_remote=True).loopback is False  # noqa: S104
    with pytest.raises(ValidationError, match="belong together"):
        ServeConfig(tls_cert=Path("x.pem"))


def test_an_address_in_use_is_an_error_at_once(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        from funding_rate_service.api.server import serving

        port = int(ask.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            async with serving(ask.service, ServeConfig(port=port)):
                pass

    play(tmp_path, main)


def test_it_ends_with_sockets_open(tmp_path: Path) -> None:
    async def main() -> None:
        from tests.service.asking import asking

        async with aiohttp.ClientSession() as http:
            async with asking(tmp_path) as ask:
                sockets = [await http.ws_connect(f"{ask.url}{V1}/stream") for _ in range(3)]
                kept = await http.get(f"{ask.url}{V1}/health/live")
                await kept.read()
                for socket in sockets:
                    assert (await socket.receive_json())["type"] == "snapshot"
            for socket in sockets:
                async with asyncio.timeout(PATIENCE_S):
                    while (message := await socket.receive()).type not in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
                        pass
                assert message.data == 1012  # the service restarts

    asyncio.run(main())


def test_two_applications_of_one_service_do_not_meet(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        assert create_app(ask.service) is not create_app(ask.service)  # metrics are their own: no duplicate names
        with pytest.raises(JournalBusy):
            await ask.service.read(_busy)

    def _busy() -> None:
        raise JournalBusy("x")

    play(tmp_path, main)
