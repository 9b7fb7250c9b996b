"""Frame -> message -> effect: text frames are JSON-RPC, binary ones SBE."""

from __future__ import annotations

from typing import Any, cast

from exchange_clients.base_websocket import BaseMessageHandler, BaseWebSocketManager, Handler
from exchange_clients.model import IndexPrice, MarkPrice
from exchange_clients.paradex import messages as m
from exchange_clients.paradex import sbe
from exchange_clients.paradex.client.managers.websocket_handlers import ParadexWebSocketHandlers
from exchange_clients.paradex.client.utils import converters
from exchange_clients.paradex.websocket.connection import ParadexDialect, rpc_error
from exchange_clients.paradex.websocket.order_book import apply


def decode(data: str | bytes) -> Any:
    return sbe.decode(data) if isinstance(data, bytes) else m.decode_text(data)


class ParadexMessageHandler(BaseMessageHandler):
    decode = staticmethod(decode)

    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.account = ParadexWebSocketHandlers(manager)
        super().__init__(manager)

    def handlers(self) -> dict[type, Handler]:
        return {
            sbe.Book: self._book,
            sbe.Bbo: self._bbo,
            sbe.Trade: self._trade,
            sbe.Summary: self._summary,
            sbe.Funding: self._funding,
            sbe.Heartbeat: self.nothing,
            m.Order: self.account.order,
            m.Fill: self.account.fill,
            m.Position: self.account.position,
            m.Account: self.account.account,
            m.Frame: self._answer,
        }

    def _book(self, role: str, message: sbe.Book, ts_recv_ns: int) -> None:
        feed = self.manager.feed_of(message.market)
        if feed is not None:
            self.manager.book_changed(apply(feed, message, ts_recv_ns))

    def _bbo(self, role: str, message: sbe.Bbo, ts_recv_ns: int) -> None:
        instrument = self.context.instruments.by_contract(message.market)
        if instrument is None:
            return
        bbo = converters.bbo(message, instrument, ts_recv_ns)
        if bbo is None:
            self.manager.no_bbo(instrument.id)
        else:
            self.manager.bbo(bbo)

    def _trade(self, role: str, message: sbe.Trade, ts_recv_ns: int) -> None:
        instrument = self.context.instruments.by_contract(message.market)
        if instrument is not None:
            self.manager.trade(converters.streamed_trade(message, instrument))

    def _summary(self, role: str, message: sbe.Summary, ts_recv_ns: int) -> None:
        instrument = self.context.instruments.by_contract(message.market)
        if instrument is None:
            return
        ts_ns = message.ts_us * 1_000
        if mark := sbe.decimal(message.mark):
            self.manager.mark(MarkPrice(instrument.id, converters.price_of(mark, instrument, "mark"), ts_ns))
        if index := sbe.decimal(message.index_price):
            self.manager.index(IndexPrice(instrument.id, converters.price_of(index, instrument, "index"), ts_ns))

    def _funding(self, role: str, message: sbe.Funding, ts_recv_ns: int) -> None:
        instrument = self.context.instruments.by_contract(message.market)
        if instrument is not None and (sample := converters.streamed_funding(message, instrument)) is not None:
            self.manager.funding(instrument.id, sample)

    def _answer(self, role: str, message: m.Frame, ts_recv_ns: int) -> None:
        """Of a subscription by the number we gave it, or of a command that waits for it."""
        if message.id is None:
            self.context.log.warning("stream.error role=%s reason=%s", role, message.error.text if message.error else "")
            return
        method, channel = cast("ParadexDialect", self.manager.dialect).asked.pop(message.id, ("", ""))
        if not method:
            reply = rpc_error(message.error) if message.error is not None else message.result
            self.context.socket_commands.resolve(str(message.id), reply)
        elif method == "subscribe":
            if message.error is None or "already" in message.error.text.lower():
                self.manager.confirm(role, channel)
            else:
                self.manager.refuse(role, channel, message.error.text)
