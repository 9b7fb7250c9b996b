"""Backpack as data: addresses, limits, endpoints, refusals, abilities, and its symbols.

Source: dossier sections 1, 3, 7-9; https://docs.backpack.exchange, read 2026-11.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from exchange_clients.backpack import messages as m
from exchange_clients.errors import (
    BadSignature,
    DuplicateClientOrderId,
    InsufficientMargin,
    InvalidOrder,
    MarketClosed,
    NonceError,
    OrderNotFound,
    OrderRefused,
    PermissionDenied,
    PostOnlyWouldCross,
    PriceOutOfBand,
    RateLimited,
    RequestRefused,
    TooManyOrders,
    VenueError,
    VenueUnavailable,
    classify,
)
from exchange_clients.model import Ack, OrderType, TimeInForce
from exchange_clients.spec import Capabilities, CredentialField, Endpoint, Endpoints, FundingNote, IdFormat, Pool, Stream, VenueSpec

ROLE: Final = "public"
BATCH: Final = 20
INTERVALS_S: Final = {
    "1s": 1,
    "1m": 60,
    "3m": 180,
    "5m": 300,
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "2h": 7200,
    "4h": 14400,
    "6h": 21600,
    "8h": 28800,
    "12h": 43200,
    "1d": 86400,
    "3d": 259200,
    "1w": 604800,
    "1month": 2678400,
}
"""Candle intervals; a month is at most so long."""

ERRORS: Final[dict[str, type[VenueError]]] = {
    # the venue, not the request: a command's fate is unknown
    "SERVER_ERROR": VenueUnavailable,
    "SERVICE_UNAVAILABLE": VenueUnavailable,
    "TIMEOUT": VenueUnavailable,
    "TOO_EARLY": VenueUnavailable,
    "MAINTENANCE": VenueUnavailable,
    "TOO_MANY_REQUESTS": RateLimited,
    # keys and signatures
    "UNAUTHORIZED": PermissionDenied,
    "FORBIDDEN": PermissionDenied,
    "ACCOUNT_DEACTIVATED": PermissionDenied,
    "INVALID_TWO_FACTOR_CODE": PermissionDenied,
    "INVALID_SIGNATURE": BadSignature,
    "INVALID_CLIENT_REQUEST: invalid signature": BadSignature,
    "INVALID_CLIENT_REQUEST: request has expired": NonceError,
    "TIMESTAMP_OUT_OF_RANGE": NonceError,
    # one order
    "INSUFFICIENT_MARGIN": InsufficientMargin,
    "INSUFFICIENT_FUNDS": InsufficientMargin,
    "INSUFFICIENT_SUPPLY": InsufficientMargin,
    "MAX_LEVERAGE_REACHED": InsufficientMargin,
    "BORROW_LIMIT": InsufficientMargin,
    "ACCOUNT_LIQUIDATING": InsufficientMargin,
    "INVALID_ORDER": InvalidOrder,
    "INVALID_ORDER: would immediately match": PostOnlyWouldCross,
    "INVALID_ORDER: duplicate": DuplicateClientOrderId,
    "INVALID_PRICE": InvalidOrder,
    "INVALID_PRICE: too far": PriceOutOfBand,
    "INVALID_QUANTITY": InvalidOrder,
    "INVALID_CLIENT_REQUEST: decimal too long": InvalidOrder,
    "INVALID_CLIENT_REQUEST: must specify both": InvalidOrder,
    "RESOURCE_NOT_FOUND": OrderNotFound,
    "ORDER_LIMIT": TooManyOrders,
    "POSITION_LIMIT": OrderRefused,
    "TRADING_PAUSED": MarketClosed,
    # any other request
    "INVALID_CLIENT_REQUEST": RequestRefused,
    "INVALID_SYMBOL": RequestRefused,
    "INVALID_MARKET": RequestRefused,
    "INVALID_RANGE": RequestRefused,
    "INVALID_ASSET": RequestRefused,
    "INVALID_SOURCE": RequestRefused,
    "INVALID_POSITION_ID": RequestRefused,
    "LEND_LIMIT": RequestRefused,
    "NOT_IMPLEMENTED": RequestRefused,
    "PRECONDITION_FAILED": RequestRefused,
}
_WORDED: Final = [tuple(row.split(": ", 1)) for row in ERRORS if ": " in row]


def error_code(code: str, message: str) -> str:
    """The code, with the words of the message that tell what it means where one code stands for several refusals."""
    text = message.lower()
    return next((f"{code}: {words}" for other, words in _WORDED if other == code and words in text), code)


def read_error(status: int, body: bytes) -> tuple[str, str] | None:
    """(code, text) of an answer that is an error; a page without a code (of a proxy) proves nothing about an order."""
    if status < 400:
        return None
    try:
        failure = msgspec.json.decode(body, type=m.Failure)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", body[:200].decode("utf-8", "replace").strip()
    return error_code(failure.code, failure.message), failure.message or failure.code


def refusal(code: str, message: str) -> VenueError:
    """The error of one order within a batch."""
    return classify(ERRORS, venue=SPEC.name, code=error_code(code, message), message=message or code)


def _public(path: str, response: Any, doc: str = "") -> Endpoint:
    return Endpoint("GET", path, response, cost={"ip": 1}, doc=doc)


def _signed(path: str, response: Any, doc: str = "") -> Endpoint:
    return Endpoint("GET", path, response, cost={"account": 1}, signed=True, doc=doc)


def _history(name: str, response: Any, doc: str = "") -> Endpoint:
    return Endpoint("GET", f"/wapi/v1/history/{name}", response, cost={"account": 1, "history": 1}, signed=True, doc=doc)


def _command(method: Literal["POST", "PATCH", "DELETE"], path: str, response: Any, doc: str = "") -> Endpoint:
    return Endpoint(method, path, response, cost={"account": 1}, encoding="json", signed=True, command=True, doc=doc)


# Signed ones bear the names of their instructions: a wrong name is an invalid signature.
ENDPOINTS: Final = {
    "status": _public("/api/v1/status", m.Status),
    "ping": _public("/api/v1/ping", bytes, "plain text"),
    "time": _public("/api/v1/time", int, "plain text: ms"),
    "assets": _public("/api/v1/assets", list[m.Asset]),
    "collateral": _public("/api/v1/collateral", list[dict[str, Any]], "haircuts"),
    "borrowLendMarkets": _public("/api/v1/borrowLend/markets", list[dict[str, Any]]),
    "markets": _public("/api/v1/markets", list[m.Market], "marketType"),
    "market": _public("/api/v1/market", m.Market, "symbol"),
    "ticker": _public("/api/v1/ticker", m.TickerRow, "symbol, interval 1d or 1w"),
    "tickers": _public("/api/v1/tickers", list[m.TickerRow], "interval 1d or 1w"),
    "depth": _public("/api/v1/depth", m.Depth, "symbol, limit 5, 10, 20, 50, 100, 500 or 1000"),
    "klines": _public("/api/v1/klines", list[m.KlineRow], "symbol, interval, startTime and endTime in seconds, priceType"),
    "markPrices": _public("/api/v1/markPrices", list[m.MarkPriceRow], "symbol, marketType"),
    "openInterest": _public("/api/v1/openInterest", list[m.OpenInterestRow], "symbol"),
    "fundingRates": _public("/api/v1/fundingRates", list[m.FundingRow], "symbol, limit, offset; newest first"),
    "trades": _public("/api/v1/trades", list[m.TradeRow], "symbol, limit; newest first"),
    "tradesHistory": _public("/api/v1/trades/history", list[m.TradeRow], "symbol, limit, offset; newest first"),
    "accountQuery": _signed("/api/v1/account", m.Account),
    "balanceQuery": _signed("/api/v1/capital", dict[str, m.Balance], "spot balances"),
    "collateralQuery": _signed("/api/v1/capital/collateral", m.Collateral, "subaccountId"),
    "positionQuery": _signed("/api/v1/position", list[m.PositionRow], "symbol, marketType"),
    "maxOrderQuantity": _signed("/api/v1/account/limits/order", m.MaxOrder, "symbol, side, price, reduceOnly"),
    "orderQuery": _signed("/api/v1/order", m.OrderRow, "symbol, orderId or clientId; only while it is open"),
    "orderQueryAll": _signed("/api/v1/orders", list[m.OrderRow], "symbol, marketType"),
    "depositAddressQuery": _signed("/wapi/v1/capital/deposit/address", m.DepositAddress, "blockchain"),
    "depositQueryAll": _signed("/wapi/v1/capital/deposits", list[m.Deposit], "limit, offset"),
    "orderHistoryQueryAll": _history("orders", list[m.OrderRow], "orderId, symbol, limit, offset, sortDirection, marketType"),
    "fillHistoryQueryAll": _history("fills", list[m.FillRow], "orderId, symbol, from and to in ms, limit, offset, fillType, sortDirection"),
    "fundingHistoryQueryAll": _history("funding", list[m.FundingPaymentRow], "symbol, subaccountId, limit, offset, sortDirection"),
    "settlementHistoryQueryAll": _history("settlement", list[dict[str, Any]], "limit, offset, source"),
    "positionHistoryQueryAll": _history("position", list[dict[str, Any]], "symbol, state, limit, offset"),
    "orderExecute": _command("POST", "/api/v1/order", m.OrderRow),
    "orderExecuteBatch": _command("POST", "/api/v1/orders", list[msgspec.Raw], "one outcome per order; signed as orderExecute"),
    "orderCancel": _command("DELETE", "/api/v1/order", bytes, "the order, or 202: queued"),
    "orderCancelAll": _command("DELETE", "/api/v1/orders", bytes, "the orders, or 202: queued; one market"),
    "accountUpdate": _command("PATCH", "/api/v1/account", bytes, "answers with an empty body"),
}

SPEC: Final = VenueSpec(
    name="backpack",
    title="Backpack",
    environments={"mainnet": Endpoints(rest="https://api.backpack.exchange", ws={ROLE: "wss://ws.backpack.exchange"})},
    default_quote="USDC",
    credentials=(
        CredentialField(
            "api_key",
            "BACKPACK{env}_API_KEY",
            secret=False,
            aliases=("BACKPACK{env}_PUBLIC_KEY",),
            help="base64 text of the public key, as the venue shows it",
        ),
        CredentialField(
            "api_secret", "BACKPACK{env}_API_SECRET", aliases=("BACKPACK{env}_SECRET_KEY",), help="base64 text of the key's seed"
        ),
    ),
    pools={
        "ip": Pool(limit=1200, period_s=60.0, scope="ip"),  # not published; 20 a second is what ccxt keeps to
        "account": Pool(limit=2000, period_s=60.0, scope="account"),
        "history": Pool(limit=30, period_s=61.0, scope="account"),  # a second more: requests do not travel equally fast
        "ws": Pool(limit=100, period_s=10.0, scope="connection"),  # not published; a pace, not a limit
    },
    endpoints=ENDPOINTS,
    errors=ERRORS,
    read_error=read_error,
    streams={
        Stream.BOOK: "depth",
        Stream.BBO: "bookTicker",
        Stream.TRADES: "trade",
        Stream.CANDLES: "kline",
        Stream.MARK: "markPrice",
        Stream.INDEX: "markPrice",
        Stream.FUNDING: "markPrice",
        Stream.ORDERS: "account.orderUpdate",
        Stream.FILLS: "account.orderUpdate",
        Stream.POSITIONS: "account.positionUpdate",
        Stream.LIQUIDATIONS: "liquidation",
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
        native_cancel_all=True,
        cancel_all_per_market=True,
        native_batch_place=True,
        max_batch=BATCH,
        set_leverage=True,
        key_info=True,
        # Five seconds for our limiter, five until the signature is void, three in which a taken order may not be listed yet.
        lookup_grace_s=13.0,
    ),
    client_id=IdFormat.UINT32,
    funding_interval_hours=Decimal(1),
    funding=FundingNote(
        unit="fraction per `fundingInterval` of the market",
        sign="positive: longs pay; payments (`quantity`) positive when received",
        interval="per market, `fundingInterval` (1 h since 2025-08-20 08:00 UTC, 8 h before); of settled rows from their distance",
        next_time="field `nextFundingTimestamp`",
        evidence="`rest/funding_rate`, `rest/funding_history`",
    ),
    docs_url="https://docs.backpack.exchange",
    account_field="api_key",
    roles=(ROLE,),
    ws_message_cost={"ws": 1},
)

_KIND: Final = "_PERP"


def is_thousand(base: str) -> bool:
    """Whether a wire base stands for a thousand: a lower-case k before a name in upper case."""
    return base[:1] == "k" and base[1:2].isupper() and base[1:].isupper()


def normalize_symbol(symbol: str) -> str:
    """The canonical base of a Backpack symbol: "kBONK_USDC_PERP" -> "BONK", "NVDA.US_USDC_PERP" -> "NVDA.US"."""
    base = symbol.removesuffix(_KIND).rpartition("_")[0] if symbol.endswith(_KIND) else symbol
    return base[1:] if is_thousand(base) else base


def get_backpack_symbol_format(symbol: str, *, thousand: bool = False, quote: str = "USDC") -> str:
    """The venue's name of a canonical base; `thousand` for markets that count in thousands."""
    return f"{'k' if thousand else ''}{symbol}_{quote}{_KIND}"
