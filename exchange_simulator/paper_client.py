"""The client contract over a paper venue: public data is the live venue's, orders and account are virtual. There is no signer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from exchange_clients.base_websocket import event_key
from exchange_clients.config import ClientConfig
from exchange_clients.events import Subscription
from exchange_clients.model import (
    BookSnapshot,
    Candle,
    FundingRateSample,
    Instrument,
    InstrumentId,
    OrderIntent,
    Ticker,
    Trade,
)
from exchange_clients.orders import Order
from exchange_clients.signing import Command
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic
from exchange_clients.transport.command import Progress
from exchange_clients.transport.loop_lag import LoopLag
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core import events as ev
from exchange_simulator.paper import PaperVenue
from exchange_simulator.paper_market import ACCOUNT
from exchange_simulator.simulated_client import (
    SimulatedClient,
    SimulatedMarketData,
    SimulatedOrderManager,
    SimulatedPort,
    SimulatedStreams,
)

_ELSEWHERE = frozenset({Stream.TRADES, Stream.CANDLES, Stream.MARK, Stream.INDEX, Stream.FUNDING})
"""Public streams that are passed on from the live venue as they are."""


class PaperPort(SimulatedPort):
    """An order meets the live book of the moment when it arrives; what it did is kept before it is answered."""

    venue: PaperVenue

    async def send(self, command: Command, progress: Progress) -> Any:
        venue = self.venue
        progress.wrote = True
        if venue.entry_latency_s:
            await venue.clock.sleep(venue.entry_latency_s)
        if command.endpoint in venue.instruments:
            await venue.refresh(command.endpoint)
        reply = command.payload(venue.now_ns())
        venue.keep()
        if venue.report_latency_s:
            await venue.clock.sleep(venue.report_latency_s)
        return reply


class PaperOrderManager(SimulatedOrderManager):
    """Commands that may trade name their market, for which the port wants a fresh book."""

    def encode_place(self, order: Order, instrument: Instrument) -> Command:
        return replace(super().encode_place(order, instrument), endpoint=instrument.contract_id)

    def encode_bracket(self, entry: Order, take_profit: Order | None, stop_loss: Order | None, instrument: Instrument) -> Command:
        return replace(super().encode_bracket(entry, take_profit, stop_loss, instrument), endpoint=instrument.contract_id)

    def encode_amend(self, order: Order, intent: OrderIntent, instrument: Instrument) -> Command:
        return replace(super().encode_amend(order, intent, instrument), endpoint=instrument.contract_id)


class PaperMarketData(SimulatedMarketData):
    """What is public comes from the live venue, but for a followed book: that one lacks what we took."""

    @property
    def _paper(self) -> PaperVenue:
        venue = self._venue
        assert isinstance(venue, PaperVenue)
        return venue

    async def fetch_server_time_ns(self) -> int | None:
        return await self._paper.live.market_data.fetch_server_time_ns()

    async def fetch_book(self, instrument: Instrument, *, depth: int = 20) -> BookSnapshot:
        paper = self._paper
        if paper.follows(instrument.contract_id):
            await paper.refresh(instrument.contract_id)
            return paper.book(instrument.contract_id, depth)
        return await paper.live.market_data.fetch_book(instrument, depth=depth)

    async def fetch_trades(
        self, instrument: Instrument, *, limit: int = 100, start_ns: int | None = None, end_ns: int | None = None
    ) -> list[Trade]:
        return await self._paper.live.market_data.fetch_trades(instrument, limit=limit, start_ns=start_ns, end_ns=end_ns)

    async def fetch_candles(self, instrument: Instrument, interval: str, *, start_ns: int, end_ns: int) -> list[Candle]:
        return await self._paper.live.market_data.fetch_candles(instrument, interval, start_ns=start_ns, end_ns=end_ns)

    async def fetch_ticker(self, instrument: Instrument) -> Ticker:
        return await self._paper.live.market_data.fetch_ticker(instrument)

    async def fetch_tickers(self) -> list[Ticker]:
        return await self._paper.live.market_data.fetch_tickers()

    async def fetch_funding_rates(self) -> dict[InstrumentId, FundingRateSample]:
        return await self._paper.live.market_data.fetch_funding_rates()

    async def fetch_funding_rate(self, instrument: Instrument) -> FundingRateSample:
        return await self._paper.live.market_data.fetch_funding_rate(instrument)

    async def fetch_funding_history(self, instrument: Instrument, *, start_ns: int, end_ns: int | None = None) -> list[FundingRateSample]:
        return await self._paper.live.market_data.fetch_funding_history(instrument, start_ns=start_ns, end_ns=end_ns)


class PaperStreams(SimulatedStreams):
    """Account events are the virtual account's; books those of the paper venue; everything else passes through."""

    _port: SimulatedPort

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._passed: dict[Topic, tuple[Subscription, Callable[[], None]]] = {}
        for kind in (ev.Trade, ev.MarkChanged, ev.FundingSettled):
            del self._readers[kind]  # the live venue's are told

    @property
    def _paper(self) -> PaperVenue:
        venue = self._venue
        assert isinstance(venue, PaperVenue)
        return venue

    async def connect(self, *, timeout_s: float = 15.0) -> None:
        await super().connect(timeout_s=timeout_s)
        await self._paper.begin()
        await self._paper.follow_own()

    async def disconnect(self) -> None:
        for held, stop in self._passed.values():
            held.close()
            stop()
        self._passed.clear()
        await super().disconnect()
        await self._paper.end()

    @property
    def is_connected(self) -> bool:
        """Paper is offline when its data is."""
        return super().is_connected and self._paper.live.is_connected

    async def prepare_market_feed(self, instrument: Instrument, *, timeout_s: float = 10.0) -> None:
        await self._paper.follow(instrument.contract_id)
        await super().prepare_market_feed(instrument, timeout_s=timeout_s)

    def want(self, topic: Topic) -> None:
        super().want(topic)
        if topic.instrument is None:
            return
        instrument = self.context.instruments.get(topic.instrument)
        if topic.stream in (Stream.BOOK, Stream.BBO) and not self._paper.follows(instrument.contract_id):
            self.errand(self._paper.follow(instrument.contract_id))
        elif topic.stream in _ELSEWHERE and topic not in self._passed:
            self._pass(topic, instrument)

    def _pass(self, topic: Topic, instrument: Instrument) -> None:
        live, hub = self._paper.live, self.context.hub
        key = event_key(topic.stream, instrument.id, topic.parameter)
        held = live.ws_manager.watch(topic.stream, instrument, parameter=topic.parameter, coalesce=True, maxsize=10)
        self._passed[topic] = (held, live.context.hub.listen(key, lambda event: hub.publish(key, event, instrument.id)))

    def fresh_bbo(self, instrument: InstrumentId) -> Any:
        return super().fresh_bbo(instrument) if self._paper.is_fresh(self.context.instruments.get(instrument).contract_id) else None

    def fresh_book(self, instrument: InstrumentId, levels: int) -> BookSnapshot | None:
        fresh = self._paper.is_fresh(self.context.instruments.get(instrument).contract_id)
        return super().fresh_book(instrument, levels) if fresh else None


class PaperClient(SimulatedClient):
    """The virtual account of a paper venue."""

    market_data_class = PaperMarketData
    order_manager_class = PaperOrderManager
    websocket_class = PaperStreams

    def __init__(self, venue: PaperVenue, *, runtime: Runtime, config: ClientConfig | Mapping[str, Any] | None = None) -> None:
        super().__init__(venue, ACCOUNT, runtime=runtime, config=config)
        self.paper = venue
        self.context.port = PaperPort(venue, ACCOUNT)
        self.loop_lag = LoopLag(runtime.clock)
