"""The dialect framework with a toy venue of ten lines, over sockets and on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

import aiohttp
import pytest

from exchange_clients.transport.clock import SteppingClock
from exchange_clients.transport.offload import InlineOffload
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.events import AnyEvent, FundingSettled, MarkChanged
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import REF, Market, Rules
from exchange_simulator.dialects.base import (
    Agenda,
    Batch,
    Budget,
    ConnectFault,
    Dialect,
    DialectServer,
    Kind,
    Lose,
    Received,
    Refusal,
    Reply,
    RequestFault,
    Route,
    Session,
    SimAccount,
)
from exchange_simulator.simloop import Simulation, run

HOUR_NS = 3600 * 10**9


class Toy(Dialect):
    name: ClassVar[str] = "toy"
    ws_paths: ClassVar[Mapping[str, str]] = {"public": "/ws"}

    def __init__(self, *args: Any, **options: Any) -> None:
        self.done: list[str] = []
        self.told: list[AnyEvent] = []
        super().__init__(*args, **options)

    @classmethod
    def rules(cls) -> Rules:
        return Rules()

    @classmethod
    def listing(cls, base: str, *, tick_size: Decimal, step_size: Decimal) -> Market:
        return Market(base, tick_size, step_size)

    def open_account(self, deposit: Decimal) -> SimAccount:
        return SimAccount(1, {})

    def routes(self) -> Sequence[Route]:
        return [Route("POST", "/do", self._do, cost=2)]

    async def _do(self, received: Received) -> Reply:
        what = received.params.get("what", received.body.decode())
        if what == "wrong":
            raise Refusal(7, "no", status=409)
        self.done.append(what)
        return Reply({"did": what})

    async def on_message(self, session: Session, received: Received) -> None:
        message = received.json()
        if message == "wrong":
            raise Refusal(8, "no")
        self.done.append(message)
        session.subscriptions[message] = None
        session.send({"ok": message})

    def publish(self, event: AnyEvent) -> None:
        self.told.append(event)
        if isinstance(event, MarkChanged):
            self.push("mark", {"mark": event.mark})

    def refuse(self, refusal: Refusal, received: Received) -> Reply:
        return Reply({"code": refusal.code}, refusal.status)

    def refuse_message(self, refusal: Refusal, session: Session, received: Received) -> None:
        session.send({"code": refusal.code})

    def limited(self, retry_after_s: float, received: Received) -> Reply:
        return Reply({"wait": round(retry_after_s)}, 429)


@dataclass
class Hand:
    """Does what a test sets."""

    request: RequestFault | None = None
    connect: ConnectFault | None = None
    push: list[tuple[float, bytes]] | None = None
    event: Callable[[AnyEvent], Sequence[tuple[float, AnyEvent]] | None] = field(default=lambda _: None)

    def on_request(self, received: Received) -> RequestFault | None:
        return self.request

    def on_connect(self, received: Received) -> ConnectFault | None:
        return self.connect

    def on_push(self, session: int, channel: str, payload: bytes) -> Sequence[tuple[float, bytes]] | None:
        return self.push

    def on_event(self, event: AnyEvent) -> Sequence[tuple[float, AnyEvent]] | None:
        return self.event(event)


@dataclass
class Scene:
    dialect: Toy
    server: DialectServer
    session: aiohttp.ClientSession
    hand: Hand

    async def do(self, what: str, **options: Any) -> tuple[int, Any]:
        async with self.session.post(f"{self.server.rest}/do", data={"what": what}, **options) as response:
            return response.status, await response.json(content_type=None) if response.status < 500 else await response.text()

    def mark(self, price: int) -> None:
        self.dialect.exchange.set_mark(self.dialect.now_ns(), "BTC", price * REF)


@asynccontextmanager
async def scene(runtime: Runtime, network: Any = None, **options: Any) -> Any:
    hand = Hand()
    exchange = Exchange(Toy.rules())
    dialect = Toy(exchange, runtime, faults=hand, **options)
    exchange.add_market(dialect.now_ns(), Toy.listing("BTC", tick_size=Decimal(1), step_size=Decimal("0.001")), mark=100 * REF)
    async with (
        DialectServer(dialect, network=network) as server,
        aiohttp.ClientSession(connector=runtime.connector(), timeout=aiohttp.ClientTimeout(total=20)) as session,
    ):
        yield Scene(dialect, server, session, hand)


def both(test: Callable[[Scene], Awaitable[None]]) -> None:
    """The same test in memory and over real sockets."""

    async def simulated(sim: Simulation) -> None:
        async with scene(sim.runtime, sim.network) as s:
            await test(s)

    async def real() -> None:
        runtime = Runtime.system()
        async with scene(runtime) as s:
            await test(s)
        runtime.offload.close()

    run(simulated)
    asyncio.run(real())


def virtual(test: Callable[[Scene], Awaitable[None]], **options: Any) -> None:
    async def main(sim: Simulation) -> None:
        async with scene(sim.runtime, sim.network, **options) as s:
            await test(s)

    run(main)


def test_requests_of_every_encoding_are_handled_and_logged() -> None:
    async def test(s: Scene) -> None:
        assert await s.do("a") == (200, {"did": "a"})
        form = aiohttp.FormData()
        form.add_field("what", "b", content_type="text/plain")
        async with s.session.post(f"{s.server.rest}/do", data=form) as response:
            assert await response.json() == {"did": "b"}
        async with s.session.post(f"{s.server.rest}/do", data=b"c") as response:
            assert await response.json() == {"did": "c"}
        async with s.session.post(f"{s.server.rest}/do", params={"what": "d"}) as response:
            assert await response.json() == {"did": "d"}
        assert await s.do("wrong") == (409, {"code": 7})
        assert s.dialect.done == ["a", "b", "c", "d"]
        logged = s.dialect.requests("/do", kind=Kind.HTTP)
        assert [r.params.get("what", "") for r in logged] == ["a", "b", "", "d", "wrong"]
        assert [r.number for r in logged] == [1, 2, 3, 4, 5]
        assert logged[2].body == b"c"

    both(test)


def test_faults_of_requests() -> None:
    async def test(s: Scene) -> None:
        s.hand.request = RequestFault(lose=Lose.REPLY)
        with pytest.raises(aiohttp.ClientError):
            await s.do("done")
        s.hand.request = RequestFault(lose=Lose.REQUEST)
        with pytest.raises(aiohttp.ClientError):
            await s.do("never")
        s.hand.request = RequestFault(status=503)
        assert (await s.do("never"))[0] == 503
        s.hand.request = RequestFault(status=429, body=b'{"own": "words"}', headers={"Retry-After": "3"})
        async with s.session.post(f"{s.server.rest}/do", data={"what": "never"}) as response:
            assert (response.status, response.headers["Retry-After"], await response.json()) == (429, "3", {"own": "words"})
        s.hand.request = RequestFault(before_s=0.05, after_s=0.05)
        before = asyncio.get_running_loop().time()
        assert (await s.do("slow"))[0] == 200
        assert asyncio.get_running_loop().time() - before >= 0.09
        assert s.dialect.done == ["done", "slow"]

    both(test)


def test_faults_of_messages() -> None:
    async def test(s: Scene) -> None:
        async with s.session.ws_connect(s.server.ws["public"]) as ws:
            await ws.send_json("one")
            assert await ws.receive_json() == {"ok": "one"}
            await ws.send_json("wrong")
            assert await ws.receive_json() == {"code": 8}
            s.hand.request = RequestFault(body=b'"instead"')
            await ws.send_json("never")
            assert await ws.receive_json() == "instead"
            s.hand.request = RequestFault(lose=Lose.REPLY)
            await ws.send_json("two")
            assert (await ws.receive()).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.ERROR}
        assert s.dialect.done == ["one", "two"]
        async with s.session.ws_connect(s.server.ws["public"]) as ws:
            s.hand.request = RequestFault(status=503)
            await ws.send_json("never")
            assert (await ws.receive()).type is not aiohttp.WSMsgType.TEXT
        assert not s.dialect.sessions

    both(test)


def test_faults_of_sockets() -> None:
    async def test(s: Scene) -> None:
        s.hand.connect = ConnectFault(status=503)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await s.session.ws_connect(s.server.ws["public"])
        assert refused.value.status == 503
        s.hand.connect = ConnectFault(close_after_s=0.05)
        async with s.session.ws_connect(s.server.ws["public"]) as ws:
            assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
        s.hand.connect = ConnectFault(silent=True)
        async with s.session.ws_connect(s.server.ws["public"], autoping=False) as ws:
            await ws.send_json("mark")
            await ws.ping()
            s.mark(101)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await ws.receive()
        assert s.dialect.done == ["mark"]

    both(test)


def test_pushes_can_be_dropped_repeated_delayed_and_garbled() -> None:
    async def test(s: Scene) -> None:
        async with s.session.ws_connect(s.server.ws["public"]) as ws:
            await ws.send_json("mark")
            await ws.receive_json()
            s.hand.push = []
            s.mark(101)
            s.hand.push = [(0.2, b'"late"'), (0.0, b'"first"'), (0.0, b"{gar")]
            s.mark(102)
            s.hand.push = None
            s.mark(103)
            found = [(await ws.receive_str()) for _ in range(4)]
            assert found == ['"first"', "{gar", '{"mark":103000}', '"late"']

    virtual(test)


def test_events_can_be_told_late_twice_or_never_while_history_knows_at_once() -> None:
    async def test(s: Scene) -> None:
        s.dialect.told.clear()
        s.hand.event = lambda e: [(5.0, e), (0.0, e)] if isinstance(e, FundingSettled) else None
        await asyncio.sleep(3601)
        assert [type(e) for e in s.dialect.told] == [FundingSettled]
        assert len(s.dialect.history.funding["BTC"]) == 1
        await asyncio.sleep(6)
        assert [type(e) for e in s.dialect.told] == [FundingSettled] * 2
        s.hand.event = lambda e: []
        await asyncio.sleep(3600)
        assert len(s.dialect.told) == 2
        assert len(s.dialect.history.funding["BTC"]) == 2

    virtual(test)


def test_a_client_that_never_reads_is_dropped() -> None:
    async def test(s: Scene) -> None:
        s.dialect.max_backlog = 100
        async with s.session.ws_connect(s.server.ws["public"]) as ws:
            await ws.send_json("mark")
            await ws.receive_json()
            for price in range(200, 301):
                s.mark(price)
            while (await ws.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        await asyncio.sleep(1)
        assert not s.dialect.sessions

    virtual(test)


def test_budget_counts_costs_per_client_in_a_sliding_window() -> None:
    async def test(s: Scene) -> None:
        for _ in range(5):
            assert (await s.do("x"))[0] == 200
        assert await s.do("x") == (429, {"wait": 60})
        await asyncio.sleep(61)
        assert (await s.do("x"))[0] == 200

    virtual(test, budget=Budget(10, 60))


def test_budget_arithmetic() -> None:
    budget = Budget(10, 60)
    assert [budget.charge("a", 4, t) for t in (0, 10)] == [0, 0]
    assert budget.charge("a", 4, 20) == 40  # when the first four are forgotten
    assert budget.charge("b", 4, 20) == 0
    assert budget.left("a") == 2
    assert budget.charge("a", 4, 61) == 0
    assert budget.charge("c", 11, 0) == 0  # never fits: let through on an empty window
    assert budget.charge("c", 1, 1) == 59


def test_agenda_keeps_the_order_of_equal_times_and_survives_a_failure() -> None:
    async def main(sim: Simulation) -> list[int]:
        agenda, done = Agenda(), list[int]()
        for n in range(50):
            agenda.after(1.0, done.append, n)
        agenda.after(0.5, done.append, -1)
        agenda.after(0.7, lambda: done.append(1 // 0))
        await asyncio.sleep(2)
        agenda.after(1.0, done.append, 99)
        agenda.clear()
        await asyncio.sleep(2)
        assert "ZeroDivision" in repr(sim.loop.unhandled.pop())
        return done

    assert run(main) == [-1, *range(50)]


def test_batch_hands_over_the_newest_value_once_per_beat() -> None:
    async def main(sim: Simulation) -> list[Any]:
        agenda = Agenda()
        flushed: list[Any] = []
        batch: Batch[str, int] = Batch(agenda, 0.05, lambda values: flushed.append((round(sim.loop.time(), 3), values)))
        await asyncio.sleep(0.01)
        batch.put("a", 1)
        batch.put("b", 2)
        batch.put("a", 3)
        await asyncio.sleep(0.07)
        batch.put("a", 4)
        await asyncio.sleep(1)
        return flushed

    assert run(main) == [(0.05, {"a": 3, "b": 2}), (0.1, {"a": 4})]


async def test_settlements_happen_when_a_stepping_clock_jumps_over_them() -> None:
    clock = SteppingClock(10 * HOUR_NS)
    runtime = Runtime(clock, InlineOffload(), aiohttp.TCPConnector)
    async with scene(runtime) as s:
        for hour in (11, 12, 13):
            clock.step_to(hour * HOUR_NS)
            async with asyncio.timeout(5):
                while len(s.dialect.history.funding["BTC"]) < hour - 10:  # noqa: ASYNC110 - the driver sets no event
                    await asyncio.sleep(0.001)
        assert [row.ts_ns for row in s.dialect.history.funding["BTC"]] == [11 * HOUR_NS, 12 * HOUR_NS, 13 * HOUR_NS]


async def test_a_server_listens_again_at_its_address() -> None:
    runtime = Runtime.system()
    async with scene(runtime) as s:
        address = s.server.rest
        async with s.session.ws_connect(s.server.ws["public"]) as ws:
            await s.server.stop()
            assert (await ws.receive()).type is not aiohttp.WSMsgType.TEXT
        with pytest.raises(aiohttp.ClientConnectorError):
            await s.do("x")
        await s.server.start()
        assert s.server.rest == address
        assert (await s.do("y"))[0] == 200
    runtime.offload.close()
