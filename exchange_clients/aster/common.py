"""Aster as data: addresses, limits, endpoints, refusals, abilities, and its symbols.

Source: dossier sections 1-5, 7-9; https://github.com/asterdex/api-docs (V3 futures), read 2026-11.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from exchange_clients.aster import messages as m
from exchange_clients.aster.signing import NONCE_LIFE_S
from exchange_clients.errors import (
    BadSignature,
    DuplicateClientOrderId,
    InsufficientMargin,
    InvalidOrder,
    MarketClosed,
    MinNotional,
    NoLiquidity,
    NonceError,
    OrderNotFound,
    OrderRefused,
    PermissionDenied,
    PostOnlyWouldCross,
    PriceOutOfBand,
    RateLimited,
    ReduceOnlyViolation,
    RequestRefused,
    TooManyOrders,
    VenueError,
    VenueUnavailable,
    classify,
)
from exchange_clients.model import Ack, MarginMode, OrderType, TimeInForce
from exchange_clients.spec import Capabilities, CredentialField, Endpoint, Endpoints, FundingNote, IdFormat, Pool, Stream, VenueSpec

PUBLIC: Final = "public"
PRIVATE: Final = "private"
USER_DATA: Final = "userData"
MAX_BATCH: Final = 5
LOOKUP_GRACE_S: Final = 5.0 + NONCE_LIFE_S + 3.0
"""By then an order that had to wait for the limiter (at most 5 s) and was held up on its way has a nonce that the venue no longer takes."""
NO_CHANGE: Final = frozenset({"-4046", "-4052", "-4059"})
"""Refusals which say that it is so already."""


def _rows(kind: type[VenueError], *codes: int) -> dict[str, type[VenueError]]:
    return {str(-code): kind for code in codes}


ERRORS: Final[dict[str, type[VenueError]]] = {
    # what became of it is not known
    **_rows(VenueUnavailable, 1000, 1001, 1006, 1007, 1016),
    **_rows(RateLimited, 1003, 1015),
    # setup and signature
    **_rows(PermissionDenied, 1002, 1011, 2014, 2015, 4056, 4057, 4088, 5050),
    **_rows(BadSignature, 1022),
    **_rows(NonceError, 1021, 4225),
    # parameters and settings
    **_rows(
        RequestRefused, 1100, 1101, 1102, 1103, 1104, 1105, 1106, 1114, 1115, 1116, 1117, 1118, 1119, 1120, 1125, 1127, 1128, 1130, 1136
    ),
    **_rows(RequestRefused, 1121, 4104, 4144),
    **_rows(RequestRefused, 4028, 4161, 4046, 4047, 4048, 4052, 4059, 4060, 4061, 4067, 4068, 4168, 4084, 4032, 4082),
    # one order
    **_rows(InvalidOrder, 1111, 4014, 4023, 4029, 4030, 4015, 2021, 4142, 5060),
    **_rows(InvalidOrder, *range(4001, 4014)),
    **_rows(PriceOutOfBand, 4016, 4024, 4131, 4183, 4184),
    **_rows(OrderRefused, 2010, 2023),
    **_rows(OrderNotFound, 2011, 2013),
    **_rows(InsufficientMargin, 2018, 2019, 2024, 2027, 2028, 4050, 4051),
    **_rows(NoLiquidity, 2020),
    **_rows(ReduceOnlyViolation, 2022, 2026, 4062, 4087, 4118),
    **_rows(TooManyOrders, 2025, 4045),
    **_rows(MarketClosed, 2016, 4022, 4140, 4141),
    **_rows(MinNotional, 4164, 5076),
    **_rows(PostOnlyWouldCross, 5022),
    **_rows(DuplicateClientOrderId, 4116),
    "clientorderid is duplicated": DuplicateClientOrderId,
    "http404": RequestRefused,
    "http405": RequestRefused,
}


def read_error(status: int, body: bytes) -> tuple[str, str] | None:
    """(code, text) of an answer that is an error: `{"code":-1121,"msg":"..."}`. A code of 200 is none."""
    if status < 400 and not body.startswith((b'{"code":-', b'{"code": -', b'{"code":"-')):
        return None
    try:
        error = msgspec.json.decode(body, type=m.ErrorBody, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"http{status}", body[:200].decode("utf-8", "replace").strip()
    return str(error.code), error.msg


def refusal(error: m.ErrorBody) -> VenueError:
    """The error that a row of a batch means."""
    return classify(ERRORS, venue=SPEC.name, code=str(error.code), message=error.msg)


def _get(path: str, response: Any, weight: int = 1, doc: str = "", *, signed: bool = False) -> Endpoint:
    return Endpoint("GET", f"/fapi/v3/{path}", response, cost={"ip": weight}, signed=signed, doc=doc)


def _signed(path: str, response: Any, weight: int = 1, doc: str = "") -> Endpoint:
    return _get(path, response, weight, doc, signed=True)


def _command(
    method: Literal["POST", "PUT", "DELETE"], path: str, response: Any, weight: int = 1, doc: str = "", *, orders: int = 0
) -> Endpoint:
    cost = {"ip": weight} | ({"orders_1m": orders, "orders_10s": orders} if orders else {})
    return Endpoint(method, f"/fapi/v3/{path}", response, cost=cost, encoding="form", signed=True, command=True, doc=doc)


def _listen_key(method: Literal["POST", "PUT", "DELETE"], doc: str) -> Endpoint:
    """Asking twice changes nothing more, so these are repeated like queries."""
    return Endpoint(method, "/fapi/v3/listenKey", m.ListenKey, cost={"ip": 1}, encoding="form", signed=True, doc=doc)


ENDPOINTS: Final = {
    "time": _get("time", m.ServerTime),
    "exchangeInfo": _get("exchangeInfo", m.ExchangeInfo),
    "depth": _get("depth", m.Depth, 20, "symbol, limit; 2 up to 50 levels, 5 for 100, 10 for 500, 20 for 1000"),
    "depthView": _get("depth", m.DepthView, 20, "as depth, with exact figures"),
    "trades": _get("trades", list[m.PublicTrade], 1, "symbol, limit up to 1000"),
    "historicalTrades": _get("historicalTrades", list[m.PublicTrade], 20, "symbol, limit, fromId"),
    "aggTrades": _get("aggTrades", list[m.AggTrade], 20, "symbol, fromId, startTime, endTime, limit"),
    "klines": _get("klines", list[m.Kline], 10, "symbol, interval, startTime, endTime, limit up to 1500"),
    "markPriceKlines": _get("markPriceKlines", list[m.Kline], 10, "symbol, interval, startTime, endTime, limit"),
    "indexPriceKlines": _get("indexPriceKlines", list[m.Kline], 10, "pair, interval, startTime, endTime, limit"),
    "premiumIndex": _get("premiumIndex", list[m.PremiumIndex], 1, "every market"),
    "premiumIndexOf": _get("premiumIndex", m.PremiumIndex, 1, "symbol"),
    "fundingInfo": _get("fundingInfo", list[m.FundingInfo], 1, "interval, cap and floor of every market"),
    "fundingRate": _get("fundingRate", list[m.FundingRow], 1, "symbol, startTime, endTime, limit up to 1000"),
    "ticker24hr": _get("ticker/24hr", list[m.DayTicker], 40, "every market"),
    "ticker24hrOf": _get("ticker/24hr", m.DayTicker, 1, "symbol"),
    "tickerPrice": _get("ticker/price", list[m.PriceTicker], 2, "every market"),
    "bookTicker": _get("ticker/bookTicker", list[m.BookTickerRow], 2, "every market"),
    "openInterest": _get("openInterest", m.OpenInterest, 1, "symbol; there is none for all markets"),
    "balance": _signed("balance", list[m.Balance], 5),
    "account": _signed("accountWithJoinMargin", m.Account, 5),
    "positionRisk": _signed("positionRisk", list[m.PositionRisk], 5, "symbol; every market without it"),
    "openOrders": _signed("openOrders", list[m.Order], 40, "symbol: 1; every market: 40"),
    "order": _signed("order", m.Order, 1, "symbol, orderId or origClientOrderId"),
    "allOrders": _signed("allOrders", list[m.Order], 5, "symbol, orderId, startTime, endTime, limit up to 1000; 7 days"),
    "userTrades": _signed("userTrades", list[m.UserTrade], 5, "symbol, startTime, endTime, fromId, limit up to 1000; 7 days"),
    "forceOrders": _signed("forceOrders", list[m.Order], 50, "symbol: 20; autoCloseType, startTime, endTime, limit up to 100"),
    "income": _signed("income", list[m.Income], 30, "symbol, incomeType, startTime, endTime, limit up to 1000; 7 days"),
    "leverageBracket": _signed("leverageBracket", list[m.Brackets], 1),
    "leverageBracketOf": _signed("leverageBracket", m.Brackets | list[m.Brackets], 1, "symbol"),
    "commissionRate": _signed("commissionRate", m.CommissionRate, 20, "symbol"),
    "positionMode": _signed("positionSide/dual", m.PositionMode, 30),
    "multiAssetsMargin": _signed("multiAssetsMargin", m.MultiAssets, 30),
    "adlQuantile": _signed("adlQuantile", list[m.AdlQuantiles], 5, "symbol"),
    "mmp": _signed("mmp", list[m.Protection], 1, "symbol"),
    "startListenKey": _listen_key("POST", "the key that exists, else a new one; 60 minutes from now"),
    "extendListenKey": _listen_key("PUT", "60 minutes from now"),
    "closeListenKey": _listen_key("DELETE", "ends the stream of every process of the account"),
    "placeOrder": _command("POST", "order", m.Order, doc="one order", orders=1),
    "amendOrder": _command("PUT", "order", m.Order, doc="limit orders: symbol, orderId or origClientOrderId, quantity, price", orders=1),
    "cancelOrder": _command("DELETE", "order", m.Order, doc="symbol, orderId or origClientOrderId"),
    "placeOrders": _command("POST", "batchOrders", list[msgspec.Raw], 5, "batchOrders: JSON, up to 5", orders=MAX_BATCH),
    "cancelOrders": _command("DELETE", "batchOrders", list[msgspec.Raw], doc="symbol, orderIdList or origClientOrderIdList, up to 10"),
    "cancelAll": _command("DELETE", "allOpenOrders", m.ErrorBody, doc="symbol"),
    "countdownCancelAll": _command("POST", "countdownCancelAll", m.Countdown, 10, "symbol, countdownTime in ms, 0 disarms"),
    "setLeverage": _command("POST", "leverage", m.LeverageSet, doc="symbol, leverage"),
    "setMarginType": _command("POST", "marginType", m.ErrorBody, doc="symbol, marginType"),
    "moveMargin": _command("POST", "positionMargin", m.MarginChange, doc="symbol, amount, type 1 adds and 2 takes"),
    "setPositionMode": _command("POST", "positionSide/dual", m.ErrorBody, doc="dualSidePosition; no order or position may be open"),
}

SPEC: Final = VenueSpec(
    name="aster",
    title="Aster",
    environments={
        "mainnet": Endpoints(
            rest="https://fapi.asterdex.com",
            ws={PUBLIC: "wss://fstream.asterdex.com/stream", PRIVATE: "wss://fstream.asterdex.com/ws"},
            chain_id=1666,
        ),
        "testnet": Endpoints(
            rest="https://fapi.asterdex-testnet.com",
            ws={PUBLIC: "wss://fstream5.asterdex-testnet.com/stream", PRIVATE: "wss://fstream5.asterdex-testnet.com/ws"},
            chain_id=714,
        ),
    },
    default_quote="USDT",
    collateral="USDT",
    credentials=(
        CredentialField("user_address", "ASTER{env}_USER_ADDRESS", secret=False, unless="api_key", help="v3: the main wallet's address"),
        CredentialField(
            "signer_address",
            "ASTER{env}_SIGNER_ADDRESS",
            secret=False,
            required=False,
            unless="api_key",
            help="v3: the agent's address (API wallet)",
        ),
        CredentialField("signer_private_key", "ASTER{env}_SIGNER_PRIVATE_KEY", unless="api_key", help="v3: the agent's key"),
        CredentialField("api_key", "ASTER{env}_API_KEY", unless="signer_private_key", help="v1, for keys made before 2026-03-25"),
        CredentialField(
            "api_secret", "ASTER{env}_API_SECRET", unless="signer_private_key", aliases=("ASTER{env}_SECRET_KEY",), help="v1: its secret"
        ),
    ),
    pools={
        "ip": Pool(limit=2400, period_s=60.0, scope="ip"),
        "orders_1m": Pool(limit=1200, period_s=60.0, scope="account"),
        "orders_10s": Pool(limit=300, period_s=10.0, scope="account"),
        "ws": Pool(limit=8, period_s=1.0, scope="connection"),  # 10 by the venue, pongs and pings included
    },
    usage_headers={"X-MBX-USED-WEIGHT-1M": "ip", "X-MBX-ORDER-COUNT-1M": "orders_1m", "X-MBX-ORDER-COUNT-10S": "orders_10s"},
    endpoints=ENDPOINTS,
    errors=ERRORS,
    read_error=read_error,
    streams={
        Stream.BOOK: "@depth@100ms",
        Stream.BBO: "@bookTicker",
        Stream.TRADES: "@aggTrade",
        Stream.CANDLES: "@kline",
        Stream.MARK: "@markPrice@1s",
        Stream.INDEX: "@markPrice@1s",
        Stream.FUNDING: "@markPrice@1s",
        Stream.ORDERS: USER_DATA,
        Stream.FILLS: USER_DATA,
        Stream.POSITIONS: USER_DATA,
        Stream.ACCOUNT: USER_DATA,
        Stream.LIQUIDATIONS: USER_DATA,
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
        native_cancel_all=True,
        cancel_all_per_market=True,
        native_batch_place=True,
        native_batch_cancel=True,
        max_batch=MAX_BATCH,
        dead_man_switch=True,
        set_leverage=True,
        margin_modes=frozenset({MarginMode.CROSS, MarginMode.ISOLATED}),
        set_margin_mode=True,
        isolated_margin_transfer=True,
        reduce_only_below_minimum=True,
        key_info=True,
        lookup_grace_s=LOOKUP_GRACE_S,
    ),
    client_id=IdFormat.TEXT32,
    funding_interval_hours=None,
    funding=FundingNote(
        unit="fraction per the market's own interval",
        sign="positive: longs pay; payments (`income`) positive when received",
        interval="1, 2, 4 or 8 h per market, `fundingIntervalHours`; of settled rows from their distance; none is guessed",
        next_time="`nextFundingTime`",
        evidence="`rest/funding_rate`, `rest/funding_history`, dossier (payments)",
    ),
    docs_url="https://github.com/asterdex/api-docs",
    account_field="user_address",
    roles=(PUBLIC, PRIVATE),
    private_role=PRIVATE,
    ws_message_cost={"ws": 1},
)

_THOUSANDS: Final = re.compile(r"(1000|10000|100000|1000000|1M)([A-Z][A-Z0-9]+)")


def split_base(base: str) -> tuple[str, Decimal]:
    """Canonical base and tokens per unit of a venue's `baseAsset`: "1000PEPE" -> ("PEPE", 1000), "1INCH" -> ("1INCH", 1)."""
    found = _THOUSANDS.fullmatch(base)
    if found is None:
        return base, Decimal(1)
    return found[2], Decimal(1_000_000 if found[1] == "1M" else int(found[1]))


def normalize_symbol(symbol: str) -> str:
    """The canonical base of a market name in the default quote: "1000PEPEUSDT" -> "PEPE".

    Of a name alone nothing more can be said; the instrument table knows every market.
    """
    return split_base(symbol.upper().removesuffix(SPEC.default_quote))[0]


def get_aster_symbol_format(symbol: str, *, thousand: bool = False) -> str:
    """The market name of a canonical base; `thousand` for markets that count in thousands."""
    return ("1000" if thousand else "") + symbol.upper() + SPEC.default_quote
