"""A loopback server that speaks the toy venue's protocol and misbehaves on request."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import WSMsgType, web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ToyServer:
    """Resting limit orders that fill when told. `faults[path]` holds answers for the next requests of that path; None behaves normally."""

    def __init__(self, key: str = "good-toy-key") -> None:
        self.key = key
        self.nonce = 5
        self.orders: dict[str, dict[str, Any]] = {}
        self.fills: list[dict[str, Any]] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.received: list[dict[str, Any]] = []
        self.faults: dict[str, deque[Answer | None]] = {}
        self.sockets: list[web.WebSocketResponse] = []
        self.connections = 0
        self.handshake_status: int | None = None
        self.close_at_once = False
        self.mute = False
        self.refuse_channels: set[str] = set()
        self.before_ack: list[str] = []
        self.quiet_account = False
        self.seq = 10
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/ws", self._socket)
        app.router.add_route("*", "/{tail:.*}", self._http)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for ws in self.sockets:
            await ws.close()
        await self._runner.cleanup()

    @property
    def config(self) -> dict[str, Any]:
        return {"endpoints": {"rest": f"http://{self.url}", "ws": {"public": f"ws://{self.url}/ws"}}, "command_timeout_s": 2.0}

    def fault(self, path: str, *answers: Answer | None) -> None:
        self.faults.setdefault(path, deque()).extend(answers)

    async def _http(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read() or b"{}")
        self.requests.append((request.path, body))
        queue = self.faults.get(request.path)
        if queue and (answer := queue.popleft()) is not None:
            return await answer(request)
        name = request.path.split("/")[1]
        return await getattr(self, f"_{name}")(request, body)  # type: ignore[no-any-return]

    async def _markets(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        return web.json_response(
            [{"name": "BTC", "tick": "0.1", "step": "0.001"}, {"name": "OLD", "tick": "1", "step": "1", "status": "delisted"}]
        )

    async def _book(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        return web.json_response({"seq": self.seq, "bids": [["100.1", "2"]], "asks": [["100.3", "1"]]})

    async def _nonce(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        return (
            web.json_response({"nonce": self.nonce}) if request.headers.get("X-Key") == self.key else refused("signature", "bad key", 401)
        )

    async def _orders(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        return web.json_response(list(self.orders.values()))

    async def _fills(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        return web.json_response(self.fills)

    async def _place(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        return await self.accept(body)

    async def accept(self, body: dict[str, Any]) -> web.Response:
        if body["nonce"] != self.nonce:
            return refused("nonce", f"expected {self.nonce}")
        self.nonce += 1
        if body["post_only"] and float(body["price"]) > 100.2:
            return refused("1", "order would cross the book")
        order = {k: body[k] for k in ("cid", "market", "side", "size", "price")} | {
            "id": f"v{len(self.orders) + 1}",
            "filled": "0",
            "status": "open",
        }
        self.orders[body["cid"]] = order
        await self.push({"type": "order", "order": order}, private=True)
        return web.json_response({"order": order})

    async def _cancel(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        self.nonce += 1
        order = self.orders.get(body["cid"])
        if order is None or order["status"] != "open":
            return refused("2", "no such order")
        order["status"] = "canceled"
        await self.push({"type": "order", "order": order}, private=True)
        return web.json_response({})

    async def fill(self, cid: str, size: str, tid: str, *, told: bool = True) -> None:
        order = self.orders[cid]
        order["filled"] = str(float(order["filled"]) + float(size))
        if float(order["filled"]) >= float(order["size"]):
            order["status"] = "filled"
        fill = {k: order[k] for k in ("id", "cid", "market", "side", "price")} | {"tid": tid, "size": size, "ts": 1}
        self.fills.append(fill)
        if told:
            await self.push({"type": "fill", "fill": fill}, private=True)

    async def push(self, message: dict[str, Any] | str, *, private: bool = False) -> None:
        if private and self.quiet_account:
            return
        for ws in [s for s in self.sockets if not s.closed]:
            await ws.send_str(message if isinstance(message, str) else json.dumps(message, separators=(",", ":")))

    def snapshot(self, channel: str) -> dict[str, Any]:
        return {"type": "book", "channel": channel, "seq": self.seq, "snapshot": True, "bids": [["100.1", "2"]], "asks": [["100.3", "1"]]}

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        self.connections += 1
        if self.handshake_status is not None:
            return web.Response(status=self.handshake_status)
        ws = web.WebSocketResponse(max_msg_size=0)
        await ws.prepare(request)
        if self.close_at_once:
            await ws.close()
            return ws
        self.sockets.append(ws)
        async for message in ws:
            if message.type is not WSMsgType.TEXT or self.mute:
                continue
            said = json.loads(message.data)
            self.received.append(said)
            if said["op"] == "login":
                for early in self.before_ack:
                    await ws.send_str(early)
                await ws.send_str(json.dumps({"type": "login", "ok": said["key"] == self.key}))
            elif said["op"] == "ping":
                await ws.send_str('{"type":"pong"}')
            elif said["op"] == "subscribe":
                await self._subscribed(ws, said["channel"])
        self.sockets.remove(ws)
        return ws

    async def _subscribed(self, ws: web.WebSocketResponse, channel: str) -> None:
        if channel in self.refuse_channels:
            await ws.send_str(json.dumps({"type": "refused", "channel": channel, "reason": "no"}))
            return
        await ws.send_str(json.dumps({"type": "ack", "channel": channel}))
        if channel.startswith("book:"):
            await ws.send_str(json.dumps(self.snapshot(channel)))


def refused(code: str, message: str, status: int = 400, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status, headers=headers)


def answer(status: int, body: bytes | str = b"", headers: dict[str, str] | None = None) -> Answer:
    async def reply(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body.encode() if isinstance(body, str) else body, headers=headers)

    return reply


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    raise AssertionError("nobody waits this long")


async def drop(request: web.Request) -> web.StreamResponse:
    """Break the connection without a word."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()
