"""The control API over real sockets, with real bots over simulated venues: keys, scopes, limits, errors, audit, secrets (E41)."""

import asyncio
import json
import logging
import stat
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest
from pydantic import ValidationError

from database import apikeys
from database.apikeys import Scope
from database.connect import sqlite_url
from database.journal import Journal
from database.records import ApiKeyRecord, PairRecord, PairState
from exchange_clients.transport.runtime import Runtime
from funding_rate_service.api.access import FAILED_PER_MINUTE
from perpkit.bot.assemble import Bots, assembled
from perpkit.bot.config import BotConfig, InvalidConfig, parse
from perpkit.bot.control import ROUTES, ControlConfig, ControlServer, openapi
from perpkit.bot.operations import Operations
from tests.strategies.stack import Stack, stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


def configured(**more: Any) -> BotConfig:
    values: dict[str, Any] = {"strategy": "funding_arbitrage", "venues": ["hyperliquid", "lighter"], "parameters": {"dry_run": True}}
    values["risk"] = {"max_loop_lag_s": 5}  # the machine that runs the tests may be busy
    return parse({**values, **more}, text="canary-config")


@dataclass
class World:
    """One bot on two venues with its control API, and a key of each scope."""

    stack: Stack
    bots: Bots
    server: ControlServer
    operations: Operations
    journal: Journal
    http: aiohttp.ClientSession
    folder: Path
    keys: dict[str, str] = field(default_factory=dict)
    configs: list[BotConfig] = field(default_factory=list)
    broken: InvalidConfig | None = None

    def load(self) -> list[BotConfig]:
        if self.broken is not None:
            raise self.broken
        return self.configs

    async def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = "write", **headers: str
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        if key is not None:
            headers["Authorization"] = f"Bearer {self.keys.get(key, key)}"
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        if data is not None:
            headers.setdefault("Content-Type", "application/json")
        async with self.http.request(method, self.server.url + path, data=data, headers=headers) as answer:
            return answer.status, msgspec.json.decode(await answer.read()), answer

    async def open(self) -> PairRecord:
        (bot,) = self.bots
        decision = bot.strategy.decision("enter", "test", "open", symbol="BTC")
        return await bot.engine.open(self.stack.plan(), decision)


@asynccontextmanager
async def world(folder: Path, **control: Any) -> AsyncIterator[World]:
    runtime = Runtime.system()
    async with stack(runtime, folder, start=False) as s:
        s.clients = {name: v.ready.client(runtime=runtime, state_directory=folder / "ids") for name, v in s.venues.items()}
        journal = Journal.open(sqlite_url(folder / "journal.db"))
        made: list[World] = []
        config = configured()
        async with assembled([config], {"main": s.clients}, journal, runtime, environment="demo", folder=folder) as bots:
            operations = Operations(bots, folder=folder, configs=lambda: made[0].load())
            settings = ControlConfig(port=0, **control)
            async with (
                ControlServer(settings, operations, journal, runtime, local_file=folder / "journal.db.control") as server,
                aiohttp.ClientSession() as http,
            ):
                found = World(s, bots, server, operations, journal, http, folder, configs=[config])
                for scope in Scope:
                    shown, record = apikeys.create(scope.value, [scope], runtime.clock.time_ns())
                    journal.write(record)
                    found.keys[scope.value] = shown
                made.append(found)
                yield found
        s.clients = {}
        journal.close()
    runtime.offload.close()


def play(folder: Path, main: Callable[[World], Coroutine[Any, Any, None]], **control: Any) -> None:
    async def go() -> None:
        async with world(folder, **control) as made:
            await main(made)

    asyncio.run(go())


async def until(true: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.02)


def test_what_runs_and_what_it_holds_is_told(tmp_path: Path) -> None:
    async def main(w: World) -> None:
        pair = await w.open()
        assert pair.state is PairState.HEDGED
        _, health, _ = await w.ask("GET", "/health", key="read")
        assert (health["ok"], health["bots"][0]["bot"]) == (True, "funding_arbitrage:main")
        _, status, _ = await w.ask("GET", "/status", key="read")
        assert status["halted"] is None
        assert status["bots"][0]["pairs"] == {pair.pair_id: "hedged"}
        _, positions, _ = await w.ask("GET", "/positions", key="read")
        (shown,) = positions["pairs"]
        assert {leg["own"] for leg in shown["legs"].values()} == {"0.01000", "-0.01000"} or {
            float(leg["own"]) for leg in shown["legs"].values()
        } == {0.01, -0.01}
        _, decisions, _ = await w.ask("GET", f"/decisions?pair={pair.pair_id}&limit=1", key="read")
        assert [(d["kind"], d["rule"]) for d in decisions["decisions"]] == [("enter", "test")]
        _, risk, _ = await w.ask("GET", "/risk", key="read")
        assert "funding_arbitrage:main" in risk["bots"]

    play(tmp_path, main)


def test_e19_a_close_is_decided_on_paper_before_it_is_sent_and_audited(tmp_path: Path) -> None:
    async def main(w: World) -> None:
        pair = await w.open()
        code, told, _ = await w.ask("POST", "/close", {"owner": pair.pair_id, "reason": "going home"})
        assert (code, told) == (200, {"closing": [pair.pair_id], "failed": {}})
        (bot,) = w.bots
        record = await bot.engine.pairs[pair.pair_id].until_rest()
        assert record.state is PairState.CLOSED
        assert set(w.stack.positions().values()) == {0}
        exits = [d for d in w.journal.decisions(pair.pair_id) if d.kind == "exit"]
        assert [(d.rule, d.outcome) for d in exits] == [("requested", "going home (asked by write)")]
        closing = [i for i in w.journal.intents(pair.pair_id) if i.purpose == "close"]
        assert closing
        assert all(exits[0].ts <= i.created_at and i.reduce_only for i in closing)
        (entry,) = [a for a in w.journal.audit() if a.action == "close"]
        assert (entry.actor, json.loads(entry.detail)) == ("write", {"owner": pair.pair_id, "reason": "going home"})
        assert entry.ts <= exits[0].ts
        code, told, _ = await w.ask("POST", "/close", {"owner": pair.pair_id})
        assert (code, told["title"]) == (404, "refused")
        assert "nothing open is called" in told["detail"]
        assert (await w.ask("POST", "/close", {"owner": "all"}))[1] == {"closing": [], "failed": {}}

    play(tmp_path, main)


def test_e42_halt_and_resume(tmp_path: Path) -> None:
    async def main(w: World) -> None:
        (bot,) = w.bots
        assert bot.engine.entry_block() is None
        assert (await w.ask("POST", "/halt", {"reason": "odd prices"}))[0] == 200
        await until(lambda: bot.engine.entry_block() is not None, 1.0)
        assert "odd prices" in str(bot.engine.entry_block())
        _, status, _ = await w.ask("GET", "/status", key="read")
        assert (status["halted"]["reason"], status["halted"]["actor"]) == ("odd prices", "write")
        assert (await w.ask("POST", "/resume"))[1]["resumed"] is True
        await until(lambda: bot.engine.entry_block() is None, 2.0)

    play(tmp_path, main)


def test_e39_reload_tightens_what_is_open_and_says_what_it_refused(tmp_path: Path) -> None:
    async def main(w: World) -> None:
        pair = await w.open()
        (bot,) = w.bots
        before = bot.strategy.config.risk_config
        w.configs = [
            configured(parameters={"dry_run": True, "risk_config": {"stop_loss_pct": "0.5", "min_liquidation_distance_pct": "0.2"}})
        ]
        code, told, _ = await w.ask("POST", "/reload")
        assert code == 200
        answer = told["bots"]["funding_arbitrage:main"]
        assert any("stop_loss_pct" in line and "looser" in line for line in answer["refused_for_open"][pair.pair_id])
        assert any("min_liquidation_distance_pct" in line for line in answer["applied_to_open"][pair.pair_id])
        held, new = bot.strategy.config_of(pair.pair_id).risk_config, bot.strategy.config.risk_config
        assert (held.stop_loss_pct, str(held.min_liquidation_distance_pct)) == (before.stop_loss_pct, "0.2")
        assert str(new.stop_loss_pct) == "0.5"
        w.broken = InvalidConfig(["parameters.max_positons: unknown parameter, did you mean max_positions?"], "bot.yaml")
        code, told, _ = await w.ask("POST", "/reload")
        assert (code, told["problems"]) == (409, w.broken.problems)
        assert bot.strategy.config.risk_config == new, "nothing was changed"
        w.broken = None
        w.configs = [configured(venues=["hyperliquid", "okx"])]
        _, told, _ = await w.ask("POST", "/reload")
        assert "takes a start" in told["bots"]["funding_arbitrage:main"]["refused"]
        w.configs = [configured(account="other")]
        _, told, _ = await w.ask("POST", "/reload")
        assert set(told["not_reloaded"]) == {"funding_arbitrage:main", "funding_arbitrage:other"}

    play(tmp_path, main)


def test_only_a_pair_in_alert_is_resumed(tmp_path: Path) -> None:
    async def main(w: World) -> None:
        pair = await w.open()
        code, told, _ = await w.ask("POST", "/resume_pair", {"owner": pair.pair_id})
        assert (code, told["title"], told["detail"]) == (409, "refused", f"{pair.pair_id} is hedged, only a pair in alert can be resumed")
        assert (await w.ask("POST", "/resume_pair", {"owner": "nosuch"}))[0] == 404

    play(tmp_path, main)


# ---- who may ask


def test_keys_scopes_and_limits(tmp_path: Path) -> None:
    async def main(w: World) -> None:
        for key, path, expected in [
            (None, "/status", 401),
            ("ppk_nobody", "/status", 401),
            ("read", "/status", 200),
            ("write", "/status", 200),
        ]:
            code, told, answer = await w.ask("GET", path, key=key)
            assert code == expected, (key, told)
            if code == 401:
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert answer.content_type == "application/problem+json"
        assert (await w.ask("POST", "/halt", {"reason": "x"}, key="read"))[0] == 403
        record = next(k for k in w.journal.api_keys() if k.name == "write")
        w.journal.write(msgspec.structs.replace(record, revoked_at=1))
        assert (await w.ask("GET", "/status", key="write"))[0] == 401, "a key taken back is refused at once"
        codes = [(await w.ask("GET", "/health", key="read"))[0] for _ in range(6)]
        assert codes == [200, 200, 200, 200, 429, 429]
        _, _, answer = await w.ask("GET", "/health", key="read")
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        strangers = [(await w.ask("GET", "/health", key=f"ppk_{n}"))[0] for n in range(25)]
        assert strangers[-1] == 429

    play(tmp_path, main, reads_per_minute=5)


def test_a_flood_of_strangers_keeps_neither_the_journal_busy_nor_a_known_key_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look-up takes a worker that the journal's writes and the look for a halt need too."""
    looked: list[int] = []
    real = Journal.api_keys

    def counted(journal: Journal) -> list[ApiKeyRecord]:
        looked.append(1)
        return real(journal)

    async def main(w: World) -> None:
        assert (await w.ask("GET", "/health", key="read"))[0] == 200
        monkeypatch.setattr(Journal, "api_keys", counted)
        codes = [(await w.ask("GET", "/health", key=f"ppk_{n}"))[0] for n in range(60)]
        assert codes[0] == 401
        assert codes[-1] == 429
        assert len(looked) <= FAILED_PER_MINUTE + 1
        assert (await w.ask("GET", "/health", key="read"))[0] == 200

    play(tmp_path, main)


def test_a_key_that_is_no_text_is_refused_like_any_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main(w: World) -> None:
        where = urlsplit(w.server.url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ppk_\xff\xfe\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 401")

    play(tmp_path, main)
    assert "Traceback" not in caplog.text


def test_no_web_page_may_use_it_and_bad_requests_are_told_without_internals(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main(w: World) -> None:
        for method, path, body, headers, expected in [
            ("GET", "/status", None, {"Origin": "https://evil.example"}, 403),
            ("GET", "/status", None, {"Host": "evil.example"}, 403),
            ("GET", "/nosuch", None, {}, 404),
            ("GET", "/close", None, {}, 405),
            ("GET", "/status?x=1", None, {}, 400),
            ("GET", "/decisions?limit=-1", None, {}, 400),
            ("POST", "/close", b"{", {}, 400),
            ("POST", "/close", b"[" * 16_000, {}, 400),
            ("POST", "/close", {}, {}, 400),
            ("POST", "/close", {"owner": "p1", "force": True}, {}, 400),
            ("POST", "/close", b"owner=p1", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
            ("POST", "/close", b" " * 100_000, {}, 413),
        ]:
            code, told, answer = await w.ask(method, path, body, **headers)
            assert (code, told["status"]) == (expected, expected), (path, told)
            assert answer.content_type == "application/problem+json"
        w.configs = [None]  # type: ignore[list-item]
        code, told, _ = await w.ask("POST", "/reload")
        assert (code, told["title"], told["detail"]) == (500, "internal error", "see the log of the bot")

    play(tmp_path, main)
    assert "control.failed path=/reload" in caplog.text
    assert "AttributeError" in caplog.text


def test_reads_on_loopback_may_be_free_of_keys_writes_never(tmp_path: Path) -> None:
    async def main(w: World) -> None:
        assert (await w.ask("GET", "/status", key=None))[0] == 200
        assert (await w.ask("POST", "/halt", {"reason": "x"}, key=None))[0] == 401

    play(tmp_path, main, reads_without_key=True)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"host": "0.0.0.0"}, "can be reached from other machines"),  # noqa: S104 - refused, that is the test
        ({"host": "bot.example"}, "can be reached from other machines"),
        ({"host": "::", "reads_without_key": True, "allow_plain_remote": True}, "loopback only"),
        ({"tls_cert": "a.pem"}, "belong together"),
    ],
)
def test_beyond_loopback_only_with_tls_or_on_purpose(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ControlConfig.model_validate(values)
    assert ControlConfig(host="::1").loopback
    assert not ControlConfig(host="10.0.0.1", allow_plain_remote=True).loopback


def test_a_command_on_this_machine_finds_the_bot_by_a_private_file(tmp_path: Path) -> None:
    async def main(w: World) -> None:
        path = w.folder / "journal.db.control"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        found = json.loads(path.read_text())
        assert found["url"] == w.server.url
        code, _, _ = await w.ask("POST", "/halt", {"reason": "x"}, key=found["key"])
        assert code == 200
        assert {a.actor for a in w.operations._halt.audit()} == {"local"}

    play(tmp_path, main)
    assert not (tmp_path / "journal.db.control").exists()


def test_e41_no_key_reaches_a_log_an_answer_or_the_database(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    shown: list[str] = []

    async def main(w: World) -> None:
        shown.extend([*w.keys.values(), json.loads((w.folder / "journal.db.control").read_text())["key"], "ppk_wrong-canary"])
        secrets = {
            name: value for v in w.stack.venues.values() for name, value in v.ready.environ.items() if "PRIVATE" in name or "SECRET" in name
        }
        assert secrets
        shown.extend(secrets.values())
        pair = await w.open()
        for key in ("write", "read", "ppk_wrong-canary"):
            for route in ROUTES:
                body = (
                    {"owner": pair.pair_id, "reason": "r"} if route.path == "/close" else {"reason": "r"} if route.path == "/halt" else {}
                )
                try:
                    _, told, answer = await w.ask(route.method, route.path, None if route.method == "GET" else body, key=key)
                    said.append(json.dumps(told) + str(answer.headers))
                except aiohttp.ClientError as e:
                    said.append("".join(traceback.format_exception(e)))
        said.append(repr(w.server.__dict__.get("_config")) + json.dumps(openapi()))
        said.append(json.dumps([msgspec.to_builtins(a) for a in w.journal.audit()]))

    play(tmp_path, main)
    everything = "\n".join([*said, caplog.text])
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*.db*") if path.is_file())
    assert len(shown) >= 5
    for secret in shown:
        assert secret not in everything, "a secret was shown"
        assert secret.encode() not in stored, "a key is stored in clear text"
    assert "canary-config" not in everything, "configuration texts are not told"


def test_the_document_names_every_route() -> None:
    told = openapi()
    assert {(path, method) for path, ways in told["paths"].items() for method in ways} == {(r.path, r.method.lower()) for r in ROUTES}
    assert told["paths"]["/close"]["post"]["requestBody"]["content"]["application/json"]["schema"]["required"] == ["owner"]
    assert json.loads(json.dumps(told)) == told
