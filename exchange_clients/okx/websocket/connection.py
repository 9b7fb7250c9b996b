"""Three sockets: public, private (logged in; carries commands), business (candles, and trigger orders once logged in)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from exchange_clients.base_websocket import BaseDialect
from exchange_clients.errors import DecodeError
from exchange_clients.model import Instrument
from exchange_clients.okx import messages as m
from exchange_clients.okx.client.managers.market_data import bar_of
from exchange_clients.okx.client.utils.caching import venue_cache
from exchange_clients.okx.common import BUSINESS, PRIVATE, refusal
from exchange_clients.okx.websocket.market_switcher import argument_of, topic_for
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic
from exchange_clients.transport.dialect import Heartbeat, Socket

PER_FRAME: Final = 200
"""Topics in one message, far below the venue's 64 KB: a message is one of the 480 operations of an hour."""
LOGIN_REPLIES: Final = ("login", "error")


class OkxDialect(BaseDialect):
    """The venue closes a connection on which neither side spoke for 30 s. Pings and their answers are plain words."""

    heartbeat = Heartbeat(every_s=20.0, message="ping", timeout_s=45.0)

    async def login(self, role: str, socket: Socket) -> None:
        """The business socket is logged in too where there are keys."""
        signer = self.context.signer
        if role not in (PRIVATE, BUSINESS) or signer is None:
            return
        for message in await signer.ws_login(role, self.context.venue_time.now_ms()):
            await socket.send(message)
            while (reply := self._login_reply(data := await socket.recv())) is None:
                socket.keep(data)
            if reply.event == "error" or reply.code not in ("", "0"):
                raise refusal(reply.code, reply.msg)

    @staticmethod
    def _login_reply(data: str | bytes) -> m.Event | None:
        try:
            frame = m.decode_frame(data)
        except (msgspec.DecodeError, DecodeError, UnicodeDecodeError):
            return None
        return frame if isinstance(frame, m.Event) and frame.event in LOGIN_REPLIES else None

    def topic(self, stream: Stream, instrument: Instrument | None, parameter: str = "") -> Topic:
        if stream is Stream.CANDLES:
            bar_of(self.context, parameter)
        index = venue_cache(self.context).names(instrument).index_name if instrument is not None else ""
        return topic_for(stream, instrument, parameter, index)

    async def subscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return self._messages("subscribe", topics)

    async def unsubscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return self._messages("unsubscribe", topics)

    @staticmethod
    def _messages(operation: str, topics: Sequence[Topic]) -> list[str | bytes]:
        """Each topic is acknowledged by itself."""
        arguments = [argument_of(topic) for topic in topics]
        parts = [arguments[start : start + PER_FRAME] for start in range(0, len(arguments), PER_FRAME)]
        return [msgspec.json.encode({"op": operation, "args": part}).decode() for part in parts]

    def is_heartbeat(self, data: str | bytes) -> bool:
        return data in (m.PONG, b"pong")
