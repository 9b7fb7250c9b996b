"""Frame -> message -> effect."""

from __future__ import annotations

from typing import Any, Final

from exchange_clients.base_websocket import BaseMessageHandler, BaseWebSocketManager, Handler, event_key
from exchange_clients.errors import PermissionDenied, RateLimited, TokenRefused, VenueError, classify
from exchange_clients.lighter import messages as m
from exchange_clients.lighter.client.managers.websocket_handlers import LighterWebSocketHandlers
from exchange_clients.lighter.client.utils import converters
from exchange_clients.lighter.client.utils.caching import signer_of
from exchange_clients.lighter.common import SPEC, error_code
from exchange_clients.lighter.websocket import order_book
from exchange_clients.lighter.websocket.market_switcher import ALL
from exchange_clients.model import Instrument
from exchange_clients.spec import Stream

_ALREADY_SUBSCRIBED: Final = 30003
_NOT_SUBSCRIBED: Final = 30002
_BOOK: Final = len("order_book:")


class LighterMessageHandler(BaseMessageHandler):
    decode = staticmethod(m.decode_frame)

    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.account = LighterWebSocketHandlers(manager)
        self._token_worked = False
        super().__init__(manager)

    def handlers(self) -> dict[type, Handler]:
        first = self._first
        return {
            m.BookUpdate: self._book_update,
            m.BookSnapshot: first(self._book_snapshot),
            m.TickerUpdate: self._ticker,
            m.Ticker: first(self._ticker),
            m.MarketStatsUpdate: self._market_stats,
            m.MarketStatsFrame: first(self._market_stats),
            m.TradesUpdate: self._trades,
            m.TradesFrame: first(self.nothing),  # the tape before we listened
            m.CandlesUpdate: self._candles,
            m.CandlesFrame: first(self._candles),
            m.OrdersUpdate: self.account.orders,
            m.OrdersFrame: first(self.account.orders),
            m.MarketOrdersUpdate: self.account.orders,
            m.MarketOrdersFrame: first(self.account.orders),
            m.FillsUpdate: self.account.fills,
            m.FillsFrame: first(self.account.fills),
            m.PositionsUpdate: self.account.positions,
            m.PositionsFrame: first(self.account.positions),
            m.StatsUpdate: self.account.stats,
            m.StatsFrame: first(self.account.stats),
            m.Ping: self._ping,
            m.Pong: self.nothing,
            m.Connected: self.nothing,
            m.Unsubscribed: self.nothing,
            m.Shutdown: self._shutdown,
            m.Loose: self._loose,
        }

    def _first(self, handler: Handler) -> Handler:
        """The first push of a channel is also its confirmation."""

        def confirmed(role: str, message: Any, ts_recv_ns: int) -> None:
            if self.manager.confirm(role, message.channel):
                topic = self.manager.registry.find(role, message.channel)
                self._token_worked = self._token_worked or (topic is not None and topic.stream.is_private)
            handler(role, message, ts_recv_ns)

        return confirmed

    def _instrument(self, channel: str) -> Instrument | None:
        return self.context.instruments.by_contract(channel.split(":")[1])

    # ---- market data

    def _book_snapshot(self, role: str, message: m.BookSnapshot, ts_recv_ns: int) -> None:
        if (feed := self.manager.feed_of(message.channel[_BOOK:])) is not None:
            self.manager.book_changed(order_book.snapshot(feed, message.order_book, ts_recv_ns))

    def _book_update(self, role: str, message: m.BookUpdate, ts_recv_ns: int) -> None:
        if (feed := self.manager.feed_of(message.channel[_BOOK:])) is not None:
            self.manager.book_changed(order_book.update(feed, message.order_book, ts_recv_ns))

    def _ticker(self, role: str, message: m.Ticker, ts_recv_ns: int) -> None:
        instrument = self._instrument(message.channel)
        if instrument is not None and (bbo := converters.bbo(message.ticker, instrument, ts_recv_ns)) is not None:
            self.manager.bbo(bbo)

    def _market_stats(self, role: str, message: m.MarketStatsFrame, ts_recv_ns: int) -> None:
        """One market, or those that changed."""
        of_all = message.channel.endswith(f":{ALL}")
        rows = m.decode_all_stats(message.market_stats).values() if of_all else (m.decode_stats(message.market_stats),)
        now_ns, hub = self.context.venue_time.now_ns(), self.context.hub
        for row, instrument in self.context.instruments.known(rows, lambda row: row.market_id):
            events = (
                (Stream.MARK, "mark", converters.mark_price(row, instrument, ts_recv_ns)),
                (Stream.INDEX, "index", converters.index_price(row, instrument, ts_recv_ns)),
                (Stream.FUNDING, "charged", converters.funding_last(row, instrument)),
                (Stream.FUNDING, "running", converters.funding_streamed(row, instrument, now_ns)),
            )
            for stream, what, event in events:
                if event is not None:
                    hub.publish(event_key(stream, instrument.id), event, (instrument.id, what))
                    if of_all:
                        hub.publish(event_key(stream), event, (instrument.id, what))

    def _trades(self, role: str, message: m.TradesUpdate, ts_recv_ns: int) -> None:
        instrument = self._instrument(message.channel)
        if instrument is None:
            return
        for row in message.trades or ():
            self.manager.trade(converters.trade(row, instrument))
        for row in message.liquidation_trades or ():
            self.manager.trade(converters.trade(row, instrument))
            self.manager.liquidation(converters.public_liquidation(row, instrument))

    def _candles(self, role: str, message: m.CandlesFrame, ts_recv_ns: int) -> None:
        """The newest row is still growing; the ones before it are closed."""
        instrument, interval = self._instrument(message.channel), message.channel.split(":")[2]
        if instrument is None or not message.candles:
            return
        newest = max(row.t for row in message.candles)
        for row in message.candles:
            self.manager.candle(converters.candle(row, instrument, interval, closed=row.t < newest))

    # ---- the connection

    def _ping(self, role: str, message: m.Ping, ts_recv_ns: int) -> None:
        self.manager.say(role, '{"type":"pong"}')

    def _shutdown(self, role: str, message: m.Shutdown, ts_recv_ns: int) -> None:
        self.manager.reconnect(role, f"the venue closes in {message.close_in_ms} ms")

    def _loose(self, role: str, message: m.Loose, ts_recv_ns: int) -> None:
        """Answers of commands, and refusals: of the command they name, or of a subscription."""
        failure = message.error
        if failure is None and message.code not in (None, 200):
            failure = m.Failure(message.code or 0, message.message)
        if failure is None:
            if message.id and message.tx_hash:
                self.context.socket_commands.resolve(message.id, m.Sent(message.tx_hash, message.volume_quota_remaining))
            else:
                self.unknown += 1
            return
        error = self._error(failure)
        if isinstance(error, RateLimited):
            self.context.limiter.penalise(None)
        commands = self.context.socket_commands
        about_command = 21_000 <= failure.code < 30_000
        if message.id:
            commands.resolve(message.id, error)
        elif not (about_command and commands.resolve_only(error)):
            self._subscription_refused(role, failure, error)

    @staticmethod
    def _error(failure: m.Failure) -> VenueError:
        code = error_code(failure.code, failure.message)
        return classify(SPEC.errors, venue=SPEC.name, code=code, message=failure.message)

    def _subscription_refused(self, role: str, failure: m.Failure, error: VenueError) -> None:
        """The venue names the channel in words at best: it is the one that it names, or the only one that waits."""
        if failure.code == _NOT_SUBSCRIBED:
            return
        registry = self.manager.registry
        waiting = [topic for topic in registry.wanted(role) if not registry.is_confirmed(topic)]
        named = [topic for topic in waiting if topic.channel in failure.message.replace("/", ":")]
        if failure.code == _ALREADY_SUBSCRIBED:
            for topic in named:
                self.manager.confirm(role, topic.channel)
            return
        if isinstance(error, PermissionDenied | TokenRefused):
            signer_of(self.context).forget_token()
            if self._token_worked:  # it ran out, or the venue ended it: everything again, with a new one
                self._token_worked = False
                self.manager.reconnect(role, str(error))
                return
            named = [topic for topic in waiting if topic.stream.is_private]
        for topic in named or (waiting if len(waiting) == 1 else ()):
            self.manager.refuse(role, topic.channel, str(error))
        if not named and len(waiting) != 1:
            self.context.log.warning("stream.error role=%s code=%d reason=%s", role, failure.code, failure.message[:200])
