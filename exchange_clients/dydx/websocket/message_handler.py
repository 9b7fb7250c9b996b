"""Frame -> message -> effect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from exchange_clients.base_websocket import BaseMessageHandler, BaseWebSocketManager, Handler
from exchange_clients.dydx import messages as m
from exchange_clients.dydx.client.managers.websocket_handlers import DydxWebSocketHandlers
from exchange_clients.dydx.client.utils import converters
from exchange_clients.dydx.client.utils.caching import venue_cache
from exchange_clients.dydx.websocket import order_book
from exchange_clients.dydx.websocket.market_switcher import BLOCKS, channel_of
from exchange_clients.model import FillKind, IndexPrice, MarkPrice

_ALREADY: Final = "already subscribed"

Effect = Callable[[str, msgspec.Raw, int, int], None]
"""What contents of a channel do: effect(id, contents, message_id, ts_recv_ns)."""


class DydxMessageHandler(BaseMessageHandler):
    decode = staticmethod(m.decode_frame)

    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.account = DydxWebSocketHandlers(manager)
        self._first: dict[str, Effect] = {
            "v4_orderbook": self._book,
            "v4_trades": self._old_trades,
            "v4_candles": self._candles,
            "v4_markets": self._markets,
            "v4_subaccounts": self._subaccount,
            BLOCKS: self._height,
        }
        self._later: dict[str, Effect] = {
            "v4_orderbook": self._book_change,
            "v4_trades": self._trades,
            "v4_candles": self._candle,
            "v4_markets": self._markets,
            "v4_subaccounts": self._subaccount,
            BLOCKS: self._height,
        }
        super().__init__(manager)

    def handlers(self) -> dict[type, Handler]:
        return {
            m.Subscribed: self._subscribed,
            m.Update: self._update,
            m.Batch: self._batch,
            m.Unsubscribed: self.nothing,
            m.Connected: self.nothing,
            m.Failure: self._failure,
        }

    # ---- frames

    def _subscribed(self, role: str, message: m.Subscribed, ts_recv_ns: int) -> None:
        """The confirmation brings the state as it was when the subscription arrived."""
        if self.manager.confirm(role, channel_of(message.channel, message.id)):
            self._apply(self._first, message.channel, message.id, [message.contents], message.message_id, ts_recv_ns)

    def _update(self, role: str, message: m.Update, ts_recv_ns: int) -> None:
        self._apply(self._later, message.channel, message.id, [message.contents], message.message_id, ts_recv_ns)

    def _batch(self, role: str, message: m.Batch, ts_recv_ns: int) -> None:
        self._apply(self._later, message.channel, message.id, message.contents, message.message_id, ts_recv_ns)

    def _apply(
        self, effects: dict[str, Effect], channel: str, id: str | None, contents: Sequence[msgspec.Raw], message_id: int, ts_recv_ns: int
    ) -> None:
        effect = effects.get(channel)
        if effect is None:
            self.unknown += 1
            return
        for part in contents:
            effect(id or "", part, message_id, ts_recv_ns)

    def _failure(self, role: str, message: m.Failure, ts_recv_ns: int) -> None:
        """A refusal names its channel, or is about the only one that waits."""
        if message.channel is not None:
            channel = channel_of(message.channel, message.id)
            if _ALREADY in message.message.lower():
                self.manager.confirm(role, channel)
            else:
                self.manager.refuse(role, channel, message.message)
            return
        registry = self.manager.registry
        waiting = [topic for topic in registry.wanted(role) if not registry.is_confirmed(topic)]
        named = [topic for topic in waiting if all(part in message.message for part in topic.channel.split(" "))]
        for topic in named or (waiting if len(waiting) == 1 else ()):
            if _ALREADY in message.message.lower():
                self.manager.confirm(role, topic.channel)
            else:
                self.manager.refuse(role, topic.channel, message.message)
        if not named and len(waiting) != 1:
            self.context.log.warning("stream.error role=%s reason=%s", role, message.message[:200])

    # ---- market data

    def _book(self, id: str, contents: msgspec.Raw, message_id: int, ts_recv_ns: int) -> None:
        if (feed := self.manager.feed_of(id)) is not None:
            self.manager.book_changed(order_book.snapshot(feed, m.decode_book(contents), message_id, ts_recv_ns))

    def _book_change(self, id: str, contents: msgspec.Raw, message_id: int, ts_recv_ns: int) -> None:
        if (feed := self.manager.feed_of(id)) is not None:
            self.manager.book_changed(order_book.update(feed, m.decode_changes(contents), message_id, ts_recv_ns))

    def _old_trades(self, id: str, contents: msgspec.Raw, message_id: int, ts_recv_ns: int) -> None:
        """The tape before we listened."""

    def _trades(self, id: str, contents: msgspec.Raw, message_id: int, ts_recv_ns: int) -> None:
        instrument = self.context.instruments.by_contract(id)
        if instrument is None:
            return
        for row in m.decode_trades(contents).trades:
            trade = converters.trade(row, instrument)
            self.manager.trade(trade)
            if trade.kind is not FillKind.TRADE:
                self.manager.liquidation(converters.public_liquidation(trade))

    def _candles(self, id: str, contents: msgspec.Raw, message_id: int, ts_recv_ns: int) -> None:
        for row in reversed(m.decode_candles(contents).candles):
            self._one_candle(row)

    def _candle(self, id: str, contents: msgspec.Raw, message_id: int, ts_recv_ns: int) -> None:
        self._one_candle(m.decode_candle(contents))

    def _one_candle(self, row: m.Candle) -> None:
        if (instrument := self.context.instruments.by_contract(row.ticker)) is not None:
            self.manager.candle(converters.candle(row, instrument, self.context.venue_time.now_ns()))

    def _markets(self, id: str, contents: msgspec.Raw, message_id: int, ts_recv_ns: int) -> None:
        """The oracle price is index and mark. A change of status, tick or step renews the instrument table."""
        message = m.decode_markets(contents)
        known = self.context.instruments.by_contract
        prices = [(ticker, row.oraclePrice) for part in (message.markets, message.trading) for ticker, row in (part or {}).items()]
        prices += [(ticker, row.oraclePrice) for ticker, row in (message.oraclePrices or {}).items()]
        for ticker, price in prices:
            if price is not None and (instrument := known(ticker)) is not None:
                value = converters.price_of(price, instrument, "oraclePrice")
                self.manager.index(IndexPrice(instrument.id, value, ts_recv_ns))
                self.manager.mark(MarkPrice(instrument.id, value, ts_recv_ns))
        now_ns = self.context.venue_time.now_ns()
        for part in (message.markets, message.trading):
            for ticker, row in (part or {}).items():
                instrument = known(ticker)
                if instrument is not None and (sample := converters.funding_now(row.nextFundingRate, instrument, now_ns)) is not None:
                    self.manager.funding(instrument.id, sample)
        if any(row.status or row.tickSize or row.stepSize for row in (message.trading or {}).values()):
            self.manager.errand(self._reload())

    async def _reload(self) -> None:
        await self.context.instruments.load_all(force=True)

    # ---- the account and the chain

    def _subaccount(self, id: str, contents: msgspec.Raw, message_id: int, ts_recv_ns: int) -> None:
        message = m.decode_subaccount(contents)
        if message.blockHeight:
            self._saw(message.blockHeight)
        self.account.contents(message, ts_recv_ns)

    def _height(self, id: str, contents: msgspec.Raw, message_id: int, ts_recv_ns: int) -> None:
        self._saw(m.decode_height(contents).number)

    def _saw(self, height: int) -> None:
        venue_cache(self.context).saw(height, self.context.runtime.clock.monotonic(), indexer=True)
