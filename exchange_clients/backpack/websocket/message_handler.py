"""Frame -> message -> effect."""

from __future__ import annotations

from typing import Final

from exchange_clients.backpack import messages as m
from exchange_clients.backpack.client.managers.websocket_handlers import BackpackWebSocketHandlers
from exchange_clients.backpack.client.utils import converters
from exchange_clients.backpack.websocket import order_book
from exchange_clients.base_websocket import BaseMessageHandler, BaseWebSocketManager, Handler
from exchange_clients.errors import VenueError
from exchange_clients.model import IndexPrice, MarketStatus, MarkPrice
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic

INVALID_STREAM: Final = 4006


class BackpackMessageHandler(BaseMessageHandler):
    decode = staticmethod(m.decode_frame)

    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.account = BackpackWebSocketHandlers(manager)
        super().__init__(manager)

    def handlers(self) -> dict[type, Handler]:
        return {
            m.DepthUpdate: self._book,
            m.BookTicker: self._bbo,
            m.TradeEvent: self._trade,
            m.KlineFrame: self._candle,
            m.MarkPriceEvent: self._mark_price,
            m.LiquidationEvent: self._liquidation,
            m.OrderEvent: self.account.order,
            m.PositionEvent: self.account.position,
            m.StreamError: self._error,
        }

    def _book(self, role: str, message: m.DepthUpdate, ts_recv_ns: int) -> None:
        if (feed := self.manager.feed_of(message.symbol)) is not None:
            self.manager.book_changed(order_book.update(feed, message, ts_recv_ns))

    def _bbo(self, role: str, message: m.BookTicker, ts_recv_ns: int) -> None:
        instrument = self.context.instruments.by_contract(message.symbol)
        if instrument is None:
            return
        if (bbo := converters.bbo(message, instrument, ts_recv_ns)) is not None:
            self.manager.bbo(bbo)
        else:
            self.manager.no_bbo(instrument.id)

    def _trade(self, role: str, message: m.TradeEvent, ts_recv_ns: int) -> None:
        if (instrument := self.context.instruments.by_contract(message.symbol)) is not None:
            self.manager.trade(converters.trade_event(message, instrument))

    def _candle(self, role: str, message: m.KlineFrame, ts_recv_ns: int) -> None:
        instrument, topic = self.context.instruments.by_contract(message.event.symbol), self.manager.registry.find(role, message.stream)
        if instrument is None or topic is None:
            return
        candle = converters.candle(message.event, instrument, topic.parameter, closed=message.event.closed)
        if candle is not None:
            self.manager.candle(candle)

    def _mark_price(self, role: str, message: m.MarkPriceEvent, ts_recv_ns: int) -> None:
        instrument = self.context.instruments.by_contract(message.symbol)
        if instrument is None:
            return
        if message.mark:
            self.manager.mark(MarkPrice(instrument.id, converters.price_of(message.mark, instrument, "mark"), ts_recv_ns))
        if message.index:
            self.manager.index(IndexPrice(instrument.id, converters.price_of(message.index, instrument, "index"), ts_recv_ns))
        sample = converters.funding_now(message.rate, message.next_ms, instrument, self.context.venue_time.now_ns())
        if sample is not None:
            self.manager.funding(instrument.id, sample)

    def _liquidation(self, role: str, message: m.LiquidationEvent, ts_recv_ns: int) -> None:
        if (instrument := self.context.instruments.by_contract(message.symbol)) is not None:
            self.manager.liquidation(converters.liquidation(message, instrument))

    def _error(self, role: str, message: m.StreamError, ts_recv_ns: int) -> None:
        """The venue does not say which subscription it means: a stream that does not exist is a market's, anything else the account's."""
        reason = f"{message.message} ({message.code})"
        self.context.log.warning("stream.error role=%s reason=%s", role, reason)
        registry = self.manager.registry
        waiting = [topic for topic in registry.wanted(role) if not registry.is_confirmed(topic)]
        if message.code == INVALID_STREAM:
            self.manager.errand(self._refuse_a_market(role, [topic for topic in waiting if not topic.stream.is_private], reason))
            return
        private = [topic for topic in registry.wanted(role) if topic.stream.is_private]
        doubted = [topic for topic in private if topic in waiting]
        for topic in doubted:
            self.manager.refuse(role, topic.channel, reason)
        if private and not doubted:
            self.manager.reconnect(role, f"an earlier subscription was refused: {reason}")

    async def _refuse_a_market(self, role: str, waiting: list[Topic], reason: str) -> None:
        """The topics of markets that are gone; or the only one that waited."""
        try:
            await self.context.instruments.load_all(force=True)
        except VenueError as e:
            self.context.log.warning("stream.markets_unread reason=%s", e)
        instruments = self.context.instruments
        gone = [
            topic
            for topic in self.manager.registry.wanted(role)
            if topic.instrument is not None and instruments.get(topic.instrument).status is MarketStatus.DELISTED
        ]
        named = gone or (waiting if len(waiting) == 1 else [])
        for topic in named:
            self.manager.refuse(role, topic.channel, reason)
            if topic.stream is Stream.BOOK and topic.instrument is not None:
                feed = self.manager.feed_of(instruments.get(topic.instrument).contract_id)
                if feed is not None:
                    feed.lost(reason)
        if not named:
            self.context.log.error("stream.refused_unnamed role=%s waiting=%s", role, [topic.label for topic in waiting])
