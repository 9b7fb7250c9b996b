"""`/stream`: a snapshot, then what changes. The reader sends nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from funding_rate_service.api.api import Api
from funding_rate_service.api.hub import Full, StreamHub, Subscriber, Topic
from funding_rate_service.api.problems import Problem, busy

STUCK_S = 20.0
"""A reader that takes no message for so long is gone."""
TOO_SLOW, SPEAKS, GOING_AWAY = 1013, 1008, 1001


def routes(api: Api) -> APIRouter:
    """`/stream`."""
    router = APIRouter()
    hub = api.service.hub

    @router.websocket("/stream")
    async def stream(socket: WebSocket) -> None:
        try:
            subscriber = hub.subscribe(_topics(socket))
        except Full:
            raise busy("there are enough readers", 5) from None
        try:
            await socket.accept()
            await _serve(socket, hub, subscriber)
        finally:
            hub.leave(subscriber)

    return router


def _topics(socket: WebSocket) -> frozenset[Topic]:
    unknown = set(socket.query_params) - {"topics"}
    if unknown:
        raise Problem(422, "unknown parameter", f"{', '.join(sorted(unknown))[:100]}; there is: topics")
    text = socket.query_params.get("topics", ",".join(Topic))
    try:
        return frozenset(Topic(name) for name in text.split(","))
    except ValueError:
        raise Problem(422, "unknown topic", f"there are: {', '.join(Topic)}") from None


async def _serve(socket: WebSocket, hub: StreamHub, subscriber: Subscriber) -> None:
    """Send and listen at once; the first that ends ends the other."""
    sender, listener = asyncio.create_task(_send(socket, hub, subscriber)), asyncio.create_task(_listen(socket))
    try:
        await asyncio.wait((sender, listener), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sender, listener):
            task.cancel()
        results = await asyncio.gather(sender, listener, return_exceptions=True)
    codes = [result for result in results if isinstance(result, int)]
    failed = [r for r in results if isinstance(r, Exception) and not isinstance(r, WebSocketDisconnect)]
    if codes and socket.application_state is WebSocketState.CONNECTED:
        with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):  # it went away meanwhile
            async with asyncio.timeout(1):
                await socket.close(codes[0])
    if failed:
        raise failed[0]


async def _send(socket: WebSocket, hub: StreamHub, subscriber: Subscriber) -> int:
    try:
        async with asyncio.timeout(STUCK_S):
            await socket.send_text(hub.first(subscriber.topics))
        while True:
            for message in await subscriber.next():
                async with asyncio.timeout(STUCK_S):
                    await socket.send_text(message)
    except TimeoutError:
        return TOO_SLOW


async def _listen(socket: WebSocket) -> int:
    """Until the reader goes, or says something: there is nothing to say."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    return SPEAKS
