"""One socket to the indexer: it greets, and asks by ping frames; nobody logs in."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from exchange_clients.base_websocket import BaseDialect
from exchange_clients.context import ClientContext
from exchange_clients.dydx import messages as m
from exchange_clients.dydx.client.utils.options import Rules
from exchange_clients.dydx.signing import signer_of
from exchange_clients.dydx.websocket.market_switcher import message, topic_for
from exchange_clients.model import Instrument
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic
from exchange_clients.transport.dialect import Heartbeat, Socket


class DydxDialect(BaseDialect):
    """The venue pings every 30 s. Our own pings find a dead connection earlier."""

    heartbeat = Heartbeat(every_s=15.0, message=None, timeout_s=30.0)

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self._batched = Rules.of(context).batched_books

    async def login(self, role: str, socket: Socket) -> None:
        """Wait for the greeting: it comes before anything may be asked."""
        while True:
            data = await socket.recv()
            try:
                if isinstance(m.decode_frame(data), m.Connected):
                    return
            except msgspec.DecodeError:
                pass  # the reader counts it
            socket.keep(data)

    def topic(self, stream: Stream, instrument: Instrument | None, parameter: str = "") -> Topic:
        account = ""
        if stream.is_private:
            signer = signer_of(self.context)
            account = f"{signer.address}/{signer.number}"
        return topic_for(stream, instrument, parameter, account)

    async def subscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return [message("subscribe", topic, batched=self._batched) for topic in topics]

    async def unsubscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return [message("unsubscribe", topic) for topic in topics]
