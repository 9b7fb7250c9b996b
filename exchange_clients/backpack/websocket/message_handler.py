"""Frame -> message -> effect."""

from __future__ import annotations

from exchange_clients.backpack import messages as m
from exchange_clients.backpack.client.managers.websocket_handlers import BackpackWebSocketHandlers
from exchange_clients.backpack.client.utils import converters
from exchange_clients.backpack.websocket import order_book
from exchange_clients.base_websocket import BaseMessageHandler, BaseWebSocketManager, Handler
from exchange_clients.model import IndexPrice, MarkPrice


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
        """The venue does not say which subscription it means: all that wait are in doubt. When none does, it may be one of the account."""
        reason = f"{message.message} ({message.code})"
        registry = self.manager.registry
        waiting = [topic for topic in registry.wanted(role) if not registry.is_confirmed(topic)]
        for topic in waiting:
            self.manager.refuse(role, topic.channel, reason)
        if waiting:
            return
        self.context.log.warning("stream.error role=%s reason=%s", role, reason)
        if any(topic.stream.is_private for topic in registry.wanted(role)):
            self.manager.reconnect(role, f"an earlier subscription was refused: {reason}")
