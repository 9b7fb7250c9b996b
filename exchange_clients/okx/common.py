"""OKX as data: addresses, limits, endpoints, refusals, abilities, and its symbols.

Source: dossier sections 1, 3, 7-9; https://www.okx.com/docs-v5/en, read 2026-08.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from exchange_clients.errors import (
    BadSignature,
    DuplicateClientOrderId,
    InsufficientMargin,
    InvalidOrder,
    MarketClosed,
    MinNotional,
    NonceError,
    OrderNotFound,
    OrderRefused,
    PermissionDenied,
    PostOnlyWouldCross,
    PriceOutOfBand,
    RateLimited,
    ReduceOnlyViolation,
    RequestRefused,
    SubscriptionRefused,
    TooManyOrders,
    VenueError,
    VenueUnavailable,
    classify,
)
from exchange_clients.model import Ack, MarginMode, OrderStatus, OrderType, TimeInForce
from exchange_clients.okx import messages as m
from exchange_clients.spec import Capabilities, CredentialField, Endpoint, Endpoints, FundingNote, IdFormat, Pool, Stream, VenueSpec

PUBLIC, PRIVATE, BUSINESS = "public", "private", "business"
BATCH: Final = 20
WOULD_TAKE: Final = "post-only order would have taken"
"""Our words for cancelSource 31: the venue accepts such an order and cancels it."""
REQUEST_LIFE_S: Final = 30.0
LOOKUP_GRACE_S: Final = 5.0 + REQUEST_LIFE_S + 3.0
"""By then an order that had to wait for the limiter (at most 5 s) and was held up on its way is void: its request has expired. Orders
also carry `expTime`, trigger orders cannot."""
UNTRIGGERED: Final = frozenset({OrderStatus.SUBMITTED, OrderStatus.UNKNOWN, OrderStatus.PENDING})
"""A trigger order that is not yet an order."""
ISOLATED_HINT: Final = "this client trades in cross margin, whose orders cannot close it: close it at the venue"
SUB_ACCOUNT: Final = "sub_account"
"""New orders and amends of all markets together."""

_BY_CLASS: Final[dict[type[VenueError], tuple[int, ...]]] = {
    # Nothing is proven: the venue may have done it.
    VenueUnavailable: (50001, 50004, 50013, 50026, 51054, 51149, 51412, 63999, 64007, 64008),
    RateLimited: (50011, 50040, 50061, 60014, 60023),
    BadSignature: (50103, 50104, 50105, 50106, 50107, 50111, 50113, 60005, 60007, 60009, 60024),
    # The time that was signed: the clock is measured again.
    NonceError: (50102, 50112, 60004, 60006),
    PermissionDenied: (50009, 50012, 50100, 50101, 50110, 50114, 50119, 51009, 51010, 51155, 59113, 60011, 60032, 64003),
    InsufficientMargin: (51004, 51008, 51119, 51127, 51131, 51186, 51187, 51502),
    PriceOutOfBand: (51006, 51031, 51116, 51135, 51136, 51137, 51138),
    MinNotional: (51020, 51120),
    # The last four: a trigger price on the wrong side of the market.
    InvalidOrder: (51005, 51101, 51108, 51121, 51150, 51202, 51203, 51277, 51278, 51279, 51280),
    PostOnlyWouldCross: (51511,),
    ReduceOnlyViolation: (51112, 51148, 51169, 51170, 51205),
    OrderNotFound: (51400, 51410, 51503, 51603),
    DuplicateClientOrderId: (51011, 51016),
    MarketClosed: (51021, 51022, 51027, 51028, 51029, 51030),
    TooManyOrders: (51025, 51103, 51174),
    # Too late (expTime), frozen while a liquidation or ADL runs.
    OrderRefused: (50017, 50019, 50020, 50036, 50037),
    RequestRefused: (
        *(50000, 50002, 50006, 50014, 50015, 50016, 50072, 51000, 51001, 51003, 51513, 58001, 59000, 59102, 59103, 59107),
        *(60012, 60013, 60019, 60027, 60028, 60031),
    ),
    SubscriptionRefused: (60018, 64001, 64002, 64004),
}
ERRORS: Final[dict[str, type[VenueError]]] = {
    **{str(code): kind for kind, codes in _BY_CLASS.items() for code in codes},
    WOULD_TAKE: PostOnlyWouldCross,
}


class _Head(msgspec.Struct, frozen=True):
    code: str = ""
    msg: str = ""
    data: msgspec.Raw = msgspec.Raw(b"[]")


_PARTS: Final = ("1", "2")
"""All or some rows of a command failed: each row says why."""
_HEALTHY: Final = (b'{"code":"0"', b'{"code": "0"')


def read_error(status: int, body: bytes) -> tuple[str, str] | None:
    """(code, text) of an answer that is an error. HTTP 200 proves nothing; the rows of a command are read by who sent it."""
    if status < 400 and body.startswith(_HEALTHY):
        return None
    try:
        head = msgspec.json.decode(body, type=_Head)
    except msgspec.DecodeError:
        if status < 400:
            raise
        return "", body[:200].decode("utf-8", "replace")
    if status < 400 and (head.code == "0" or (head.code in _PARTS and b'"sCode"' in bytes(head.data))):
        return None
    return head.code, head.msg or f"code {head.code}"


def refusal(code: str, text: str) -> VenueError:
    """The error that one row of an answer means."""
    return classify(ERRORS, venue=SPEC.name, code=code, message=text or f"code {code}")


POOLS: Final[dict[str, Pool]] = {
    "subscriptions": Pool(limit=480, period_s=3600.0, scope="connection"),
    SUB_ACCOUNT: Pool(limit=1000, period_s=2.0, scope="account"),
}
ENDPOINTS: Final[dict[str, Endpoint]] = {}
_REPLY: Final[Any] = m.Reply


def _add(
    name: str, path: str, response: Any, limit: int, *, period_s: float = 2.0, signed: bool = False, doc: str = "", **more: Any
) -> None:
    """An endpoint, and the limit that it has for itself."""
    POOLS[name] = Pool(limit=limit, period_s=period_s, scope="account" if signed else "ip")
    ENDPOINTS[name] = Endpoint(
        more.pop("method", "GET"), f"/api/v5{path}", _REPLY[response], cost={name: 1}, signed=signed, doc=doc, **more
    )


def _public(name: str, path: str, response: Any, limit: int, doc: str = "", **more: Any) -> None:
    _add(name, path, response, limit, doc=doc, **more)


def _signed(name: str, path: str, response: Any, limit: int, doc: str = "", **more: Any) -> None:
    _add(name, path, response, limit, signed=True, doc=doc, **more)


def _command(name: str, path: str, response: Any, limit: int, doc: str = "", **more: Any) -> None:
    _add(name, path, response, limit, signed=True, doc=doc, method="POST", encoding="json", command=True, **more)


_public("instruments", "/public/instruments", list[m.InstrumentRow], 20, "instType, instFamily, instId")
_public("time", "/public/time", list[m.Time], 10)
_public("ticker", "/market/ticker", list[m.TickerRow], 20, "instId")
_public("tickers", "/market/tickers", list[m.TickerRow], 20, "instType")
_public("books", "/market/books", list[m.Quotes], 40, "instId, sz (at most 400)")
ENDPOINTS["book_levels"] = Endpoint(
    "GET", "/api/v5/market/books", m.Reply[list[m.BookData]], cost={"books": 1}, doc="books, for streamed ones"
)
_public("books_full", "/market/books-full", list[m.Quotes], 10, "instId, sz (at most 5000)")
_public("trades", "/market/trades", list[m.TradeRow], 100, "instId, limit (at most 500)")
_public("history_trades", "/market/history-trades", list[m.TradeRow], 20, "instId, type (1 tradeId, 2 ts), after, before, limit")
_public("candles", "/market/candles", list[m.Candle], 40, "instId, bar, after, before, limit (at most 300)")
_public("history_candles", "/market/history-candles", list[m.Candle], 20, "instId, bar, after, before, limit (at most 300)")
_public("mark_price", "/public/mark-price", list[m.MarkRow], 10, "instType, instId")
_public("index_tickers", "/market/index-tickers", list[m.IndexRow], 20, "instId (the index) or quoteCcy")
_public("funding_rate", "/public/funding-rate", list[m.FundingRow], 10, "instId, or ANY for all; counted per instId")
_public("funding_rate_history", "/public/funding-rate-history", list[m.PastFundingRow], 10, "instId, after, before, limit (at most 400)")
_public("open_interest", "/public/open-interest", list[m.OpenInterestRow], 20, "instType, instFamily, instId")
_public("price_limit", "/public/price-limit", list[m.PriceLimitRow], 20, "instId")
_public("position_tiers", "/public/position-tiers", list[m.TierRow], 10, "instType, tdMode, instFamily, tier")
_signed("config", "/account/config", list[m.Config], 5)
_signed("balance", "/account/balance", list[m.Balance], 10, "ccy")
_signed("positions", "/account/positions", list[m.PositionRow], 10, "instType, instId, posId")
_signed("leverage_info", "/account/leverage-info", list[m.LeverageRow], 20, "instId, mgnMode")
_signed("trade_fee", "/account/trade-fee", list[m.FeeRow], 5, "instType, groupId or instFamily")
_signed("bills", "/account/bills", list[m.BillRow], 5, "7 days: instType, ccy, type, subType, after, begin, end, limit", period_s=1.0)
_signed("bills_archive", "/account/bills-archive", list[m.BillRow], 5, "3 months: as bills")
_signed("order_info", "/trade/order", list[m.OrderRow], 60, "instId, ordId or clOrdId; counted per instId")
_signed("orders_pending", "/trade/orders-pending", list[m.OrderRow], 60, "instType, instId, after, limit")
_signed("orders_history", "/trade/orders-history", list[m.OrderRow], 40, "7 days: instType, instId, after, begin, end, limit")
_signed("orders_history_archive", "/trade/orders-history-archive", list[m.OrderRow], 20, "3 months: as orders_history")
_signed("fills", "/trade/fills", list[m.FillRow], 60, "3 days: instType, instId, after (billId), begin, end, limit")
_signed("fills_history", "/trade/fills-history", list[m.FillRow], 10, "3 months: as fills, instType required")
_signed("algo_info", "/trade/order-algo", list[m.AlgoRow], 20, "algoId or algoClOrdId")
_signed(
    "algos_pending", "/trade/orders-algo-pending", list[m.AlgoRow], 20, "ordType (conditional and oco together), instType, instId, after"
)
_signed("algos_history", "/trade/orders-algo-history", list[m.AlgoRow], 20, "ordType, state or algoId, instType, instId, after")
_command("order", "/trade/order", list[m.Ack], 60, "counted per market")
_command("batch_orders", "/trade/batch-orders", list[m.Ack], 300, "orders, counted per market")
_command("cancel_order", "/trade/cancel-order", list[m.Ack], 60, "counted per market")
_command("cancel_batch_orders", "/trade/cancel-batch-orders", list[m.Ack], 300, "orders, counted per market")
_command("amend_order", "/trade/amend-order", list[m.Ack], 60, "counted per market")
_command("order_algo", "/trade/order-algo", list[m.Ack], 20)
_command("cancel_algos", "/trade/cancel-algos", list[m.Ack], 20, "orders")
_command("cancel_all_after", "/trade/cancel-all-after", list[m.Armed], 1, period_s=1.0)
_command("set_leverage", "/account/set-leverage", list[m.LeverageRow], 20)

_HOST: Final = "https://openapi.okx.com"


def _sockets(host: str) -> dict[str, str]:
    """Port 443: 8443 was switched off in October 2026."""
    return {role: f"wss://{host}/ws/v5/{role}" for role in (PUBLIC, PRIVATE, BUSINESS)}


SPEC: Final = VenueSpec(
    name=m.VENUE,
    title="OKX",
    environments={
        "mainnet": Endpoints(rest=_HOST, ws=_sockets("ws.okx.com")),
        "demo": Endpoints(rest=_HOST, ws=_sockets("wspap.okx.com"), headers={"x-simulated-trading": "1"}),
    },
    default_quote="USDT",
    credentials=(
        CredentialField("api_key", "OKX{env}_API_KEY", help="key of the (sub-)account; demo trading has keys of its own"),
        CredentialField("api_secret", "OKX{env}_API_SECRET"),
        CredentialField("passphrase", "OKX{env}_API_PASSPHRASE", help="chosen when the key was made"),
    ),
    pools=POOLS,
    endpoints=ENDPOINTS,
    errors=ERRORS,
    read_error=read_error,
    streams={
        Stream.BOOK: "books",
        Stream.BBO: "bbo-tbt",
        Stream.TRADES: "trades",
        Stream.CANDLES: "candle",
        Stream.MARK: "mark-price",
        Stream.INDEX: "index-tickers",
        Stream.FUNDING: "funding-rate",
        Stream.ORDERS: "orders",
        Stream.FILLS: "orders",
        Stream.LIQUIDATIONS: "orders",
        Stream.POSITIONS: "positions",
        Stream.ACCOUNT: "account",
    },
    capabilities=Capabilities(
        ack=Ack.FINAL,
        order_types=frozenset(
            {
                OrderType.LIMIT,
                OrderType.STOP_MARKET,
                OrderType.STOP_LIMIT,
                OrderType.TAKE_PROFIT_MARKET,
                OrderType.TAKE_PROFIT_LIMIT,
            }
        ),
        times_in_force=frozenset({TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK}),
        native_amend=True,
        amend_keeps_id=True,
        native_batch_place=True,
        native_batch_cancel=True,
        max_batch=BATCH,
        dead_man_switch=True,
        max_dead_man_s=120.0,
        set_leverage=True,
        key_info=True,
        margin_modes=frozenset({MarginMode.CROSS}),
        lookup_grace_s=LOOKUP_GRACE_S,
    ),
    client_id=IdFormat.TEXT32,
    funding_interval_hours=None,
    collateral="USDT",
    funding=FundingNote(
        unit="fraction per interval of the market",
        sign="positive: longs pay; payments (`balChg`) positive when received, in coin for inverse markets",
        interval="per market (8, 4, 2, 1 h, may change): `nextFundingTime` - `fundingTime`; past rows: distance from the one before",
        next_time="field `fundingTime`",
        evidence="`rest/funding_rate`, `rest/funding_history`, dossier 6",
    ),
    docs_url="https://www.okx.com/docs-v5/en",
    account_field="api_key",
    roles=(PUBLIC, PRIVATE, BUSINESS),
    private_role=PRIVATE,
    on_demand_roles=frozenset({PUBLIC, BUSINESS}),
    ws_message_cost={"subscriptions": 1},
)

BARS: Final = {
    **{name: name for name in ("1m", "3m", "5m", "15m", "30m")},
    **{name: name.upper() for name in ("1h", "2h", "4h")},
    **{name: f"{name[:-1]}{name[-1].upper()}utc" for name in ("6h", "12h", "1d", "3d", "1w")},
    "1M": "1Mutc",
}
"""Our intervals -> the venue's. Without "utc" its days begin at 16:00 UTC."""


def normalize_symbol(symbol: str) -> str:
    """The canonical base of a swap: "BTC-USDT-SWAP" -> "BTC". The venue scales no names."""
    return symbol.partition("-")[0]


def get_okx_symbol_format(symbol: str, *, quote: str = "USDT") -> str:
    """The swap of a canonical base: "BTC" -> "BTC-USDT-SWAP", with quote USD the inverse one."""
    return f"{symbol}-{quote}-SWAP"
