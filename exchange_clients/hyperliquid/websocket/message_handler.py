"""Frame -> message -> effect."""

from __future__ import annotations

from typing import Final

import msgspec

from exchange_clients.base_websocket import BaseMessageHandler, BaseWebSocketManager, Handler
from exchange_clients.errors import DecodeError, VenueError, classify
from exchange_clients.hyperliquid import messages as m
from exchange_clients.hyperliquid.client.managers.websocket_handlers import HyperliquidWebSocketHandlers
from exchange_clients.hyperliquid.client.utils import converters
from exchange_clients.hyperliquid.common import SPEC, read_error, refusal
from exchange_clients.hyperliquid.websocket.market_switcher import channel_of
from exchange_clients.hyperliquid.websocket.order_book import apply
from exchange_clients.model import IndexPrice, MarkPrice

_GREETING: Final = "Websocket connection established."


def decode(data: str | bytes) -> m.Frame | None:
    """None for the line of plain text that may come first."""
    if data[:1] in ("W", b"W") and data in (_GREETING, _GREETING.encode()):
        return None
    frame: m.Frame = m.decode_frame(data)
    return frame


class HyperliquidMessageHandler(BaseMessageHandler):
    decode = staticmethod(decode)

    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.account = HyperliquidWebSocketHandlers(manager)
        super().__init__(manager)

    def handlers(self) -> dict[type, Handler]:
        return {
            m.L2BookFrame: self._book,
            m.BboFrame: self._bbo,
            m.TradesFrame: self._trades,
            m.CandleFrame: self._candle,
            m.ActiveAssetCtxFrame: self._asset_ctx,
            m.OrderUpdatesFrame: self.account.order_updates,
            m.UserFillsFrame: self.account.user_fills,
            m.UserFrame: self.account.user_event,
            m.ClearinghouseStateFrame: self.account.clearinghouse_state,
            m.SpotStateFrame: self.account.spot_state,
            m.SubscriptionFrame: self._subscription,
            m.ErrorFrame: self._error,
            m.PostFrame: self._post,
            m.PongFrame: self.nothing,
            type(None): self.nothing,
        }

    def _book(self, role: str, message: m.L2BookFrame, ts_recv_ns: int) -> None:
        feed = self.manager.feed_of(message.data.coin)
        if feed is not None:
            self.manager.book_changed(apply(feed, message.data, ts_recv_ns))

    def _bbo(self, role: str, message: m.BboFrame, ts_recv_ns: int) -> None:
        instrument = self.context.instruments.by_contract(message.data.coin)
        if instrument is not None and (bbo := converters.bbo(message.data, instrument, ts_recv_ns)) is not None:
            self.manager.bbo(bbo)

    def _trades(self, role: str, message: m.TradesFrame, ts_recv_ns: int) -> None:
        for row, instrument in self.context.instruments.known(message.data, lambda row: row.coin):
            self.manager.trade(converters.trade(row, instrument))

    def _candle(self, role: str, message: m.CandleFrame, ts_recv_ns: int) -> None:
        rows = message.data if isinstance(message.data, list) else [message.data]
        for row, instrument in self.context.instruments.known(rows, lambda row: row.s):
            self.manager.candle(converters.candle(row, instrument, ts_recv_ns))

    def _asset_ctx(self, role: str, message: m.ActiveAssetCtxFrame, ts_recv_ns: int) -> None:
        instrument, ctx = self.context.instruments.by_contract(message.data.coin), message.data.ctx
        if instrument is None:
            return
        if (mark := converters.mark_price(ctx, instrument)) is not None:
            self.manager.mark(MarkPrice(instrument.id, mark, ts_recv_ns))
        if (index := converters.index_price(ctx, instrument)) is not None:
            self.manager.index(IndexPrice(instrument.id, index, ts_recv_ns))
        if (sample := converters.funding_now(ctx, instrument, self.context.venue_time.now_ns())) is not None:
            self.manager.funding(instrument.id, sample)

    def _subscription(self, role: str, message: m.SubscriptionFrame, ts_recv_ns: int) -> None:
        if message.data.method == "subscribe":
            self.manager.confirm(role, channel_of(message.data.subscription))

    def _error(self, role: str, message: m.ErrorFrame, ts_recv_ns: int) -> None:
        """The text ends with the subscription it is about, where it is about one."""
        text = message.data
        try:
            about = msgspec.json.decode(text[text.index("{") :], type=dict[str, str | int | bool | None])
        except (ValueError, msgspec.DecodeError):
            self.context.log.warning("stream.error role=%s reason=%s", role, text[:200])
            return
        if text.lower().startswith("already subscribed"):
            self.manager.confirm(role, channel_of(about))
        else:
            self.manager.refuse(role, channel_of(about), text.partition("{")[0].strip() or text[:200])

    def _post(self, role: str, message: m.PostFrame, ts_recv_ns: int) -> None:
        """The answer of a command: as over REST, or a text."""
        self.context.socket_commands.resolve(str(message.data.id), self._answer(message.data.response))

    @staticmethod
    def _answer(response: m.PostResponse) -> m.Reply | VenueError:
        body = bytes(response.payload)
        try:
            if response.type == "error":
                return refusal(msgspec.json.decode(body, type=str))
            if (found := read_error(200, body)) is not None:
                return classify(SPEC.errors, venue=SPEC.name, code=found[0], message=found[1])
            return m.decode_reply(body)
        except msgspec.DecodeError as e:
            return DecodeError(f"answer of a post: {e}", venue=SPEC.name)
