"""Two sockets of one kind: market data, and the account. The private one logs in with a token and arms what lives with the connection."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from exchange_clients.base_websocket import BaseDialect
from exchange_clients.context import ClientContext
from exchange_clients.errors import Disconnected, TokenRefused, VenueError, classify
from exchange_clients.model import Instrument
from exchange_clients.paradex import messages as m
from exchange_clients.paradex.common import ERRORS, PRIVATE, Options
from exchange_clients.paradex.signing import rpc, signer_of
from exchange_clients.paradex.websocket.market_switcher import topic_for
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic
from exchange_clients.transport.dialect import Heartbeat, Socket

_LOGIN = 0
_ARM = 1


class ParadexDialect(BaseDialect):
    """The venue pings by control frame; its own heartbeat (every 20 s when idle) says that there is nothing to tell, which is data."""

    heartbeat = Heartbeat(every_s=20.0, message=None, timeout_s=50.0)

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self.options = Options.of(context.config.venue_options)
        self.asked: dict[int, tuple[str, str]] = {}
        """Number of a request -> (method, channel), until it is answered."""
        self._number = _ARM

    async def url(self, role: str) -> str:
        address = await super().url(role)
        return f"{address}{'&' if '?' in address else '?'}sbeSchemaId=1&sbeSchemaVersion={self.options.sbe_version}"

    async def login(self, role: str, socket: Socket) -> None:
        """A token that the venue ended is replaced once. Cancel-on-disconnect belongs to the connection: it is armed on each."""
        if role != PRIVATE:
            return
        try:
            await self._log_in(role, socket)
        except TokenRefused:
            signer_of(self.context).forget_token()
            await self._log_in(role, socket)
        if self.options.cancel_on_disconnect:
            await socket.send(rpc("order.cancel_on_disconnect", {"enabled": True}, _ARM))
            await self._answer(socket, _ARM)

    async def _log_in(self, role: str, socket: Socket) -> None:
        for message in await signer_of(self.context).ws_login(role, self.context.venue_time.now_ms()):
            await socket.send(message)
        await self._answer(socket, _LOGIN)

    async def _answer(self, socket: Socket, number: int) -> None:
        """Wait for the answer of that number; raises the error it tells."""
        for _ in range(1_000):
            data = await socket.recv()
            if isinstance(data, str):
                try:
                    frame = msgspec.json.decode(data, type=m.Frame, strict=False)
                except msgspec.DecodeError:
                    frame = None  # the reader counts it
                if frame is not None and frame.id == number and frame.params is None:
                    if frame.error is not None:
                        raise rpc_error(frame.error)
                    return
            socket.keep(data)
        raise Disconnected("no answer to the login", venue=self.context.name)

    def topic(self, stream: Stream, instrument: Instrument | None, parameter: str = "") -> Topic:
        return topic_for(stream, instrument, self.options)

    async def subscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return [self._message("subscribe", topic) for topic in topics]

    async def unsubscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return [self._message("unsubscribe", topic) for topic in topics]

    def _message(self, method: str, topic: Topic) -> str:
        self._number += 1
        self.asked[self._number] = (method, topic.channel)
        while len(self.asked) > 10_000:  # what a lost connection never answered
            del self.asked[next(iter(self.asked))]
        return rpc(method, {"channel": topic.channel}, self._number)


def rpc_error(error: m.RpcError) -> VenueError:
    """By the venue's word where the error carries one, else by its number."""
    named = next((text for text in (error.data, error.message) if isinstance(text, str) and text in ERRORS), None)
    return classify(ERRORS, venue="paradex", code=named or str(error.code), message=error.text)
