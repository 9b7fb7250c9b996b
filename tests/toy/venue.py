"""The smallest complete venue: what a venue must fill in, and nothing else. Its server stands in `server.py`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.base_managers import LANES, BaseAccountManager, BaseMarketData, BaseOrderManager, BasePositionManager
from exchange_clients.base_websocket import BaseDialect, BaseMessageHandler, BaseWebSocketManager
from exchange_clients.book import PlusOne
from exchange_clients.config import ClientConfig
from exchange_clients.errors import (
    AuthError,
    BadSignature,
    InsufficientMargin,
    NonceError,
    OrderNotFound,
    PermissionDenied,
    PostOnlyWouldCross,
    RateLimited,
    VenueUnavailable,
)
from exchange_clients.model import (
    Ack,
    BookLevel,
    BookSnapshot,
    Fill,
    Instrument,
    InstrumentId,
    Lane,
    Liquidity,
    MarketStatus,
    OrderAck,
    OrderInfo,
    OrderStatus,
    OrderType,
    Position,
    Side,
    TimeInForce,
)
from exchange_clients.orders import Order
from exchange_clients.signing import Command, Credentials, HttpRequest, SequentialNonces, SignContext, SignedCommand, Signer
from exchange_clients.spec import Capabilities, CredentialField, Endpoint, Endpoints, IdFormat, Pool, Stream, VenueSpec
from exchange_clients.subscriptions import Topic
from exchange_clients.transport.dialect import Heartbeat, Socket
from exchange_clients.transport.runtime import Runtime


class ToyMarket(msgspec.Struct, frozen=True):
    name: str
    tick: Decimal
    step: Decimal
    status: str = "active"


class Level(msgspec.Struct, frozen=True, gc=False, array_like=True):
    px: float
    sz: float


class ToyBook(msgspec.Struct, frozen=True):
    seq: int
    bids: list[tuple[Decimal, Decimal]]
    asks: list[tuple[Decimal, Decimal]]


class ToyOrder(msgspec.Struct, frozen=True):
    id: str
    cid: str
    market: str
    side: Side
    size: Decimal
    price: Decimal
    filled: Decimal
    status: OrderStatus


class ToyFill(msgspec.Struct, frozen=True):
    tid: str
    id: str
    cid: str
    market: str
    side: Side
    size: Decimal
    price: Decimal
    ts: int


class ToyReply(msgspec.Struct, frozen=True):
    order: ToyOrder | None = None


class Nonce(msgspec.Struct, frozen=True):
    nonce: int


def read_error(status: int, body: bytes) -> tuple[str, str] | None:
    if status < 400 and not body.startswith(b'{"error"'):
        return None
    found = msgspec.json.decode(body, type=dict[str, Any])["error"]
    return found["code"], found["message"]


SPEC = VenueSpec(
    name="toy",
    title="Toy",
    environments={"mainnet": Endpoints(rest="http://127.0.0.1:9", ws={"public": "ws://127.0.0.1:9/ws"})},
    default_quote="USD",
    credentials=(CredentialField("key", "TOY{env}_KEY", aliases=("TOY{env}_SECRET",)),),
    pools={"ip": Pool(limit=1000, period_s=1.0)},
    endpoints={
        "markets": Endpoint("GET", "/markets", list[ToyMarket], {"ip": 1}),
        "book": Endpoint("GET", "/book/{market}", ToyBook, {"ip": 1}),
        "nonce": Endpoint("GET", "/nonce", Nonce, {"ip": 1}, signed=True),
        "orders": Endpoint("GET", "/orders", list[ToyOrder], {"ip": 1}, signed=True),
        "fills": Endpoint("GET", "/fills", list[ToyFill], {"ip": 1}, signed=True),
        "place": Endpoint("POST", "/place", ToyReply, {"ip": 1}, encoding="json", signed=True, command=True),
        "cancel": Endpoint("POST", "/cancel", ToyReply, {"ip": 1}, encoding="json", signed=True, command=True),
    },
    errors={
        "nonce": NonceError,
        "signature": BadSignature,
        "forbidden": PermissionDenied,
        "limit": RateLimited,
        "down": VenueUnavailable,
        "would cross": PostOnlyWouldCross,
        "not enough margin": InsufficientMargin,
        "no such order": OrderNotFound,
    },
    read_error=read_error,
    streams={Stream.BOOK: "book", Stream.ORDERS: "account", Stream.FILLS: "account"},
    capabilities=Capabilities(
        ack=Ack.FINAL,
        order_types=frozenset({OrderType.LIMIT}),
        times_in_force=frozenset({TimeInForce.GTC, TimeInForce.IOC}),
        lookup_grace_s=0.2,
    ),
    client_id=IdFormat.UINT48,
    funding_interval_hours=Decimal(8),
    usage_headers={"X-Used": "ip"},
)


class ToySigner:
    address = "toy-account"

    def __init__(self, key: str) -> None:
        self._key = key

    async def authorize(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        return HttpRequest(request.method, request.path, request.query, request.body, {**request.headers, "X-Key": self._key})

    async def sign_command(self, command: Command, context: SignContext) -> SignedCommand:
        body = json.dumps({**command.payload, "nonce": context.nonce, "key": self._key}).encode()
        return SignedCommand(request=HttpRequest("POST", f"/{command.endpoint}", body=body, headers={"Content-Type": "application/json"}))

    async def ws_login(self, role: str, now_ms: int) -> tuple[str | bytes, ...]:
        return (json.dumps({"op": "login", "key": self._key}),)


class ToyMarketData(BaseMarketData):
    async def fetch_instruments(self) -> Sequence[Instrument]:
        return [
            Instrument(
                id=InstrumentId(m.name, "USD", "toy"),
                venue_symbol=m.name,
                contract_id=f"{m.name}/USD",
                settle="USD",
                tick_size=m.tick,
                step_size=m.step,
                min_quantity=m.step,
                min_notional=Decimal(10),
                status=MarketStatus(m.status),
            )
            for m in await self.rest.query("markets")
        ]

    async def fetch_book(self, instrument: Instrument, *, depth: int = 20) -> BookSnapshot:
        book: ToyBook = await self.rest.query("book", market=instrument.venue_symbol)
        return BookSnapshot(
            instrument=instrument.id,
            bids=tuple(BookLevel(p, s) for p, s in book.bids[:depth]),
            asks=tuple(BookLevel(p, s) for p, s in book.asks[:depth]),
            ts_venue_ns=None,
            ts_recv_ns=self.context.runtime.clock.time_ns(),
            sequence=book.seq,
        )


def to_info(order: ToyOrder) -> OrderInfo:
    return OrderInfo(
        instrument=InstrumentId(order.market, "USD", "toy"),
        order_id=order.id,
        client_order_id=order.cid,
        side=order.side,
        size=order.size,
        price=order.price,
        status=order.status,
        filled_size=order.filled,
    )


def to_fill(fill: ToyFill) -> Fill:
    return Fill(
        instrument=InstrumentId(fill.market, "USD", "toy"),
        trade_id=fill.tid,
        order_id=fill.id,
        client_order_id=fill.cid,
        side=fill.side,
        price=fill.price,
        quantity=fill.size,
        fee=Decimal(0),
        fee_asset="USD",
        liquidity=Liquidity.TAKER,
        ts_venue_ns=fill.ts,
    )


class ToyOrderManager(BaseOrderManager):
    def encode_place(self, order: Order, instrument: Instrument) -> Command:
        intent = order.intent
        payload = {
            "cid": order.client_order_id,
            "market": instrument.venue_symbol,
            "side": intent.side,
            "size": str(intent.quantity),
            "price": str(intent.price),
            "ioc": intent.time_in_force is TimeInForce.IOC,
            "post_only": intent.post_only,
        }
        return Command("place", payload, LANES[intent.purpose], nonce_scope="key")

    def decode_place(self, reply: ToyReply, order: Order) -> OrderAck:
        assert reply.order is not None
        return OrderAck(client_order_id=reply.order.cid, order_id=reply.order.id, status=reply.order.status, filled_size=reply.order.filled)

    def encode_cancel(self, order: Order, instrument: Instrument) -> Command:
        return Command("cancel", {"cid": order.client_order_id}, Lane.CANCEL, nonce_scope="key")

    async def fetch_order(
        self, instrument: Instrument | None, *, order_id: str | None = None, client_order_id: str | None = None
    ) -> OrderInfo | None:
        found = [o for o in await self.rest.query("orders") if client_order_id in (None, o.cid) and order_id in (None, o.id)]
        return to_info(found[0]) if found else None

    async def fetch_open_orders(self, instrument: Instrument | None = None) -> list[OrderInfo]:
        return [to_info(o) for o in await self.rest.query("orders") if not o.status.is_terminal]

    async def fetch_order_history(self, *, since_ns: int, instrument: Instrument | None = None) -> list[OrderInfo]:
        return [to_info(o) for o in await self.rest.query("orders") if o.status.is_terminal]

    async def fetch_fills(self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None) -> list[Fill]:
        return [to_fill(f) for f in await self.rest.query("fills")]


class ToyPositionManager(BasePositionManager):
    async def fetch_positions(self) -> list[Position]:
        total: dict[str, Decimal] = {}
        for fill in await self.rest.query("fills"):
            total[fill.market] = total.get(fill.market, Decimal(0)) + fill.size * fill.side.sign
        return [Position(instrument=InstrumentId(market, "USD", "toy"), quantity=size) for market, size in total.items()]


class ToyAccountManager(BaseAccountManager):
    async def verify_credentials(self) -> None:
        await self.rest.query("nonce")


class BookMessage(msgspec.Struct, frozen=True, tag="book", tag_field="type"):
    channel: str
    seq: int
    snapshot: bool
    bids: list[Level]
    asks: list[Level]


class OrderMessage(msgspec.Struct, frozen=True, tag="order", tag_field="type"):
    order: ToyOrder


class FillMessage(msgspec.Struct, frozen=True, tag="fill", tag_field="type"):
    fill: ToyFill


class AckMessage(msgspec.Struct, frozen=True, tag="ack", tag_field="type"):
    channel: str


class RefusedMessage(msgspec.Struct, frozen=True, tag="refused", tag_field="type"):
    channel: str
    reason: str


class PongMessage(msgspec.Struct, frozen=True, tag="pong", tag_field="type"):
    pass


Message = BookMessage | OrderMessage | FillMessage | AckMessage | RefusedMessage | PongMessage


class ToyMessageHandler(BaseMessageHandler):
    decode = msgspec.json.Decoder(Message, strict=False).decode

    def handlers(self) -> dict[type, Callable[[str, Any, int], object]]:
        return {
            BookMessage: self._book,
            OrderMessage: lambda role, m, ts: self.context.tracker.on_order(to_info(m.order)),
            FillMessage: lambda role, m, ts: self.manager.fill(to_fill(m.fill)),
            AckMessage: lambda role, m, ts: self.manager.confirm(role, m.channel),
            RefusedMessage: lambda role, m, ts: self.manager.refuse(role, m.channel, m.reason),
            PongMessage: self.nothing,
        }

    def _book(self, role: str, message: BookMessage, ts_recv_ns: int) -> None:
        feed = self.manager.feed_of(f"{message.channel.removeprefix('book:')}/USD")
        if feed is None:
            return
        if message.snapshot:
            self.manager.book_changed(feed.snapshot(message.bids, message.asks, sequence=message.seq, ts_recv_ns=ts_recv_ns))
        else:
            self.manager.book_changed(feed.delta(message.bids, message.asks, final=message.seq, ts_recv_ns=ts_recv_ns))


class ToyDialect(BaseDialect):
    heartbeat = Heartbeat(every_s=0.2, message='{"op":"ping"}', timeout_s=1.0)

    async def login(self, role: str, socket: Socket) -> None:
        if self.context.signer is None:
            return
        for message in await self.context.signer.ws_login(role, 0):
            await socket.send(message)
        while True:
            data = await socket.recv()
            found = msgspec.json.decode(data)
            if found["type"] == "login":
                if not found["ok"]:
                    raise AuthError("login refused", venue="toy")
                return
            socket.keep(data)

    def topic(self, stream: Stream, instrument: Instrument | None, parameter: str = "") -> Topic:
        if instrument is None:
            return Topic(Stream.ORDERS, "public", "account")
        return Topic(Stream.BOOK, "public", f"book:{instrument.venue_symbol}", instrument.id)

    async def subscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return [json.dumps({"op": "subscribe", "channel": t.channel}) for t in topics]

    async def unsubscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return [json.dumps({"op": "unsubscribe", "channel": t.channel}) for t in topics]

    def is_heartbeat(self, data: str | bytes) -> bool:
        return data == '{"type":"pong"}'


class ToyWebSocketManager(BaseWebSocketManager):
    dialect_class = ToyDialect
    message_handler_class = ToyMessageHandler
    sequence_rule = PlusOne()


class ToyClient(BaseExchangeClient):
    spec = SPEC
    market_data_class, order_manager_class = ToyMarketData, ToyOrderManager
    position_manager_class, account_manager_class = ToyPositionManager, ToyAccountManager
    websocket_class = ToyWebSocketManager

    @classmethod
    def make_signer(cls, credentials: Credentials, endpoints: Endpoints, config: ClientConfig, runtime: Runtime) -> Signer:
        return ToySigner(credentials["key"])

    def _installed_nonces(self) -> None:
        async def fetch() -> int:
            return int((await self.context.rest.query("nonce")).nonce)

        self.context.nonces["key"] = SequentialNonces(fetch)
