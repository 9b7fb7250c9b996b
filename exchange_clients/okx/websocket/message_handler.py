"""Frame -> message -> effect."""

from __future__ import annotations

import re
from typing import Final

from exchange_clients.base_websocket import BaseMessageHandler, BaseWebSocketManager, Handler
from exchange_clients.model import NS_PER_MS, IndexPrice, MarkPrice
from exchange_clients.okx import messages as m
from exchange_clients.okx.client.managers.websocket_handlers import OkxWebSocketHandlers
from exchange_clients.okx.client.utils import converters
from exchange_clients.okx.client.utils.caching import venue_cache
from exchange_clients.okx.common import BARS, refusal
from exchange_clients.okx.websocket.order_book import Books

_ABOUT: Final = re.compile(r"channel:([\w-]+)(?:,\s*(?:instId|instType):([\w-]+))?")
_INTERVALS: Final = {f"candle{bar}": interval for interval, bar in BARS.items()}
UPGRADE: Final = "64008"


class OkxMessageHandler(BaseMessageHandler):
    decode = staticmethod(m.decode_frame)

    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.account = OkxWebSocketHandlers(manager)
        self.books = Books()
        super().__init__(manager)

    def handlers(self) -> dict[type, Handler]:
        return {
            m.BookPush: self._book,
            m.BboPush: self._bbo,
            m.TradesPush: self._trades,
            m.CandlePush: self._candle,
            m.MarkPush: self._mark,
            m.IndexPush: self._index,
            m.FundingPush: self._funding,
            m.OrdersPush: self.account.orders,
            m.AlgoPush: self.account.algos,
            m.PositionsPush: self.account.positions,
            m.AccountPush: self.account.account,
            m.OpReply: self._reply,
            m.Event: self._event,
            type(None): self.nothing,
        }

    def _book(self, role: str, message: m.BookPush, ts_recv_ns: int) -> None:
        feed = self.manager.feed_of(message.arg.instId)
        if feed is not None:
            for data in message.data:
                self.manager.book_changed(self.books.apply(feed, message.arg.instId, message.action, data, ts_recv_ns))

    def _bbo(self, role: str, message: m.BboPush, ts_recv_ns: int) -> None:
        instrument = self.context.instruments.by_contract(message.arg.instId)
        if instrument is not None:
            for data in message.data:
                if (bbo := converters.bbo(data, instrument, ts_recv_ns)) is not None:
                    self.manager.bbo(bbo)
                else:
                    self.manager.no_bbo(instrument.id)

    def _trades(self, role: str, message: m.TradesPush, ts_recv_ns: int) -> None:
        for row, instrument in self.context.instruments.known(message.data, lambda row: row.instId):
            self.manager.trade(converters.trade(row, instrument))

    def _candle(self, role: str, message: m.CandlePush, ts_recv_ns: int) -> None:
        instrument, interval = self.context.instruments.by_contract(message.arg.instId), _INTERVALS.get(message.arg.channel)
        if instrument is not None and interval is not None:
            for row in message.data:
                self.manager.candle(converters.candle(row, instrument, interval))

    def _mark(self, role: str, message: m.MarkPush, ts_recv_ns: int) -> None:
        for row, instrument in self.context.instruments.known(message.data, lambda row: row.instId):
            price = converters.price_of(row.markPx, instrument, "markPx")
            self.manager.mark(MarkPrice(instrument.id, price, row.ts * NS_PER_MS))

    def _index(self, role: str, message: m.IndexPush, ts_recv_ns: int) -> None:
        for row in message.data:
            if (found := venue_cache(self.context).by_index(row.instId)) is not None:
                instrument = self.context.instruments.get(found)
                price = converters.price_of(row.idxPx, instrument, "idxPx")
                self.manager.index(IndexPrice(found, price, row.ts * NS_PER_MS))

    def _funding(self, role: str, message: m.FundingPush, ts_recv_ns: int) -> None:
        for row, instrument in self.context.instruments.known(message.data, lambda row: row.instId):
            if (sample := converters.funding_now(row, instrument)) is not None:
                self.manager.funding(instrument.id, sample)

    def _reply(self, role: str, message: m.OpReply, ts_recv_ns: int) -> None:
        """The answer to a command: rows as over REST, or one refusal of the whole."""
        reply = message.reply
        refused = not reply.data and reply.code != "0"
        self.context.socket_commands.resolve(message.id, refusal(reply.code, reply.msg) if refused else reply)

    def _event(self, role: str, message: m.Event, ts_recv_ns: int) -> None:
        match message.event:
            case "subscribe" if message.arg is not None:
                self.manager.confirm(role, message.arg.key)
            case "error":
                self._error(role, message)
            case "notice" if message.code == UPGRADE:
                self.manager.reconnect(role, "the venue is about to close this connection for an upgrade")
            case "channel-conn-count-error":
                self.context.log.error("stream.too_many_connections role=%s", role)

    def _error(self, role: str, message: m.Event) -> None:
        """It names its subscription as an argument or in its words; without one it concerns none of ours."""
        key = message.arg.key if message.arg is not None else ""
        if not key and (about := _ABOUT.search(message.msg)) is not None:
            key = f"{about[1]}:{about[2] or ''}"
        text = f"{message.msg[:200]} [{message.code}]"
        if key:
            self.manager.refuse(role, key, text)
        else:
            self.context.log.warning("stream.error role=%s reason=%s", role, text)
