"""Frame -> message -> effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from exchange_clients.aster import messages as m
from exchange_clients.aster.client.managers.websocket_handlers import AsterWebSocketHandlers
from exchange_clients.aster.client.utils import converters
from exchange_clients.aster.websocket.connection import AsterDialect
from exchange_clients.aster.websocket.order_book import apply
from exchange_clients.base_websocket import BaseMessageHandler, BaseWebSocketManager, Handler, event_key
from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_MS, IndexPrice, Instrument, MarkPrice
from exchange_clients.spec import Stream

if TYPE_CHECKING:
    from exchange_clients.aster.client.managers.market_data import AsterMarketData

INTERVALS_DUE_S: Final = 60.0
INTERVALS_KEPT_S: Final = 600.0
"""An interval that was told longer ago proves nothing."""
RETRY_EVERY_S: Final = 10.0


class AsterMessageHandler(BaseMessageHandler):
    decode = staticmethod(m.decode_frame)

    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.account = AsterWebSocketHandlers(manager)
        self._asking_intervals = False
        super().__init__(manager)

    def handlers(self) -> dict[type, Handler]:
        """Events without an entry are of streams that nobody subscribes to."""
        return {
            m.DepthUpdate: self._depth,
            m.BookTicker: self._bbo,
            m.AggTradeEvent: self._trade,
            m.KlineEvent: self._candle,
            m.MarkPriceEvent: self._mark,
            m.OrderTradeUpdate: self.account.order_update,
            m.AccountUpdate: self.account.account_update,
            m.AccountConfigUpdate: self.account.config_update,
            m.MarginCall: self.account.margin_call,
            m.ListenKeyExpired: self.account.listen_key_expired,
            m.Announcement: self.nothing,
            m.Combined: self._answer,
        }

    def _depth(self, role: str, message: m.DepthUpdate, ts_recv_ns: int) -> None:
        if (feed := self.manager.feed_of(message.s)) is not None:
            self.manager.book_changed(apply(feed, message, ts_recv_ns))

    def _bbo(self, role: str, message: m.BookTicker, ts_recv_ns: int) -> None:
        """A side without a price ends what was known of both."""
        instrument = self.context.instruments.by_contract(message.s)
        if instrument is None:
            return
        if (bbo := converters.bbo(message, instrument, ts_recv_ns)) is not None:
            self.manager.bbo(bbo)
        else:
            self.manager.no_bbo(instrument.id)

    def _trade(self, role: str, message: m.AggTradeEvent, ts_recv_ns: int) -> None:
        if (instrument := self.context.instruments.by_contract(message.s)) is not None:
            self.manager.trade(converters.agg_trade(message, instrument))

    def _candle(self, role: str, message: m.KlineEvent, ts_recv_ns: int) -> None:
        if (instrument := self.context.instruments.by_contract(message.s)) is not None:
            self.manager.candle(converters.streamed_candle(message.k, instrument))

    def _mark(self, role: str, message: m.MarkPriceEvent, ts_recv_ns: int) -> None:
        instrument = self.context.instruments.by_contract(message.s)
        if instrument is None:
            return
        stamp = message.E * NS_PER_MS
        self.manager.mark(MarkPrice(instrument.id, converters.price_of(message.p, instrument, "p"), stamp))
        if message.i:
            self.manager.index(IndexPrice(instrument.id, converters.price_of(message.i, instrument, "i"), stamp))
        if self.context.hub.wanted(event_key(Stream.FUNDING, instrument.id)):
            self._funding(message, instrument)

    def _funding(self, message: m.MarkPriceEvent, instrument: Instrument) -> None:
        """The stream does not tell the interval, and the venue may change it at any time: it is asked for while somebody listens."""
        data = cast("AsterMarketData", self.context.market_data)
        if data.known_intervals(INTERVALS_DUE_S) is None and not self._asking_intervals:
            self._asking_intervals = True
            self.manager.errand(self._ask_intervals(data))
        known = data.known_intervals(INTERVALS_KEPT_S) or {}
        if (sample := converters.streamed_funding(message, known.get(message.s), instrument)) is not None:
            self.manager.funding(instrument.id, sample)

    async def _ask_intervals(self, data: AsterMarketData) -> None:
        try:
            await data.intervals()
        except VenueError as e:
            self.context.log.warning("funding.intervals_not_renewed reason=%s", e)
            await self.context.runtime.clock.sleep(RETRY_EVERY_S)
        finally:
            self._asking_intervals = False

    def _answer(self, role: str, message: m.Combined, ts_recv_ns: int) -> None:
        """To a request of ours: nothing is yes, a code is no."""
        channels = cast(AsterDialect, self.manager.dialect).answered(message.id)
        if message.code is not None:
            self.context.log.warning("stream.error role=%s code=%d reason=%s", role, message.code, message.msg[:200])
            for channel in channels:
                self.manager.refuse(role, channel, message.msg or str(message.code))
        elif message.result is None and message.id is not None:
            for channel in channels:
                self.manager.confirm(role, channel)
