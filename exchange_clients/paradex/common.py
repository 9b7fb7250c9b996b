"""Paradex as data: addresses, limits, endpoints, refusals, abilities, options, and its symbols.

Source: dossier sections 1, 4, 5, 7, 8, 9; https://docs.paradex.trade (OpenAPI 1.132.1), read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from exchange_clients.errors import (
    BadSignature,
    ConfigError,
    DuplicateClientOrderId,
    InsufficientMargin,
    InvalidOrder,
    MarketClosed,
    MinNotional,
    NoLiquidity,
    OrderNotFound,
    OrderRefused,
    PermissionDenied,
    PostOnlyWouldCross,
    PriceOutOfBand,
    RateLimited,
    ReduceOnlyViolation,
    RequestRefused,
    TokenRefused,
    TooManyOrders,
    VenueError,
    VenuePaused,
    VenueUnavailable,
)
from exchange_clients.model import Ack, MarginMode, OrderType, TimeInForce
from exchange_clients.paradex import messages as m
from exchange_clients.spec import Capabilities, CredentialField, Endpoint, Endpoints, FundingNote, IdFormat, Pool, Stream, VenueSpec

PUBLIC: Final = "public"
PRIVATE: Final = "private"
ORDER_LIFE_MS: Final = 5_000
"""`recv_window` of every order: one that was held up longer on its way is void."""
VENUE_WORKS_S: Final = 30.0
"""So long the venue itself works on an order before it answers 503 "outcome unknown"."""
LOOKUP_GRACE_S: Final = 5.0 + ORDER_LIFE_MS / 1000 + VENUE_WORKS_S + 3.0
"""By then an order that waited for the limiter (at most 5 s), and was held up on its way and within the venue, is listed or void."""
BATCH: Final = 10

ERRORS: Final[dict[str, type[VenueError]]] = {
    # the request
    **dict.fromkeys(
        ("VALIDATION_ERROR", "BINDING_ERROR", "INVALID_REQUEST_PARAMETER", "INVALID_SYMBOL", "BATCH_SIZE_OUT_OF_RANGE"),
        RequestRefused,
    ),
    **dict.fromkeys(("INVALID_ORDER_SIZE", "INVALID_PRICE_PRECISION"), InvalidOrder),
    "INVALID_TIMESTAMP": RequestRefused,
    # the token
    **dict.fromkeys(("INVALID_TOKEN", "UNAUTHORIZED_ERROR", "missing or malformed jwt", "40110", "40111"), TokenRefused),
    # the account
    **dict.fromkeys(
        (
            "NOT_ONBOARDED",
            "ACCOUNT_NOT_FOUND",
            "PUBLIC_KEY_INVALID",
            "INVALID_STARKNET_ADDRESS",
            "INVALID_SUBKEY",
            "INVALID_TOKEN_SCOPE",
            "IP_NOT_ALLOWED",
            "GEO_IP_BLOCK",
            "REQUEST_NOT_ALLOWED",
            "40112",
            "40300",
            "RPI_ACCOUNT_NOT_WHITELISTED",
        ),
        PermissionDenied,
    ),
    **dict.fromkeys(("INVALID_STARKNET_SIGNATURE", "STARKNET_SIGNATURE_VERIFICATION_FAILED", "INVALID_ORDER_SIGNATURE"), BadSignature),
    # one order
    **dict.fromkeys(
        ("ORDER_ID_NOT_FOUND", "CLIENT_ORDER_ID_NOT_FOUND", "NOT_FOUND", "ORDER_IS_CLOSED", "ORDER_IS_NOT_OPEN"), OrderNotFound
    ),
    "DUPLICATED_CLIENT_ID": DuplicateClientOrderId,
    "ISOLATED_MARKET_ACCOUNT_MISMATCH": OrderRefused,
    **dict.fromkeys(("MARKET_NOT_OPEN", "MARKET_NOT_FOUND", "NO_ACCESS_TO_MARKET", "MARKET_MARGIN_RESTRICTED"), MarketClosed),
    **dict.fromkeys(("SYSTEM_STATUS_POST_ONLY", "SYSTEM_STATUS_CANCEL_ONLY"), VenuePaused),
    # the venue
    **dict.fromkeys(("SERVICE_UNAVAILABLE", "INTERNAL_ERROR", "-32603"), VenueUnavailable),
    "42901": RateLimited,
    **dict.fromkeys(("-32700", "-32600", "-32601", "-32602"), RequestRefused),
    # why an order ended (`cancel_reason`); the venue publishes no list, those in lower case are found anywhere in the word
    "NOT_ENOUGH_MARGIN": InsufficientMargin,
    "POST_ONLY_WOULD_CROSS": PostOnlyWouldCross,
    "ORDER_SIZE_BELOW_MIN": MinNotional,
    "ORDER_EXCEEDS_POSITION_LIMIT": OrderRefused,
    "max_open_orders": TooManyOrders,
    "reduce_only": ReduceOnlyViolation,
    "price_band": PriceOutOfBand,
    "no_liquidity": NoLiquidity,
    "market_state": MarketClosed,
}


def read_error(status: int, body: bytes) -> tuple[str, str] | None:
    """(code, text) of an answer that is an error: the venue's two fields, or the page of what stands before it, which proves nothing."""
    if status < 400:
        return None
    try:
        failure = msgspec.json.decode(body, type=m.Failure)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body[:200].decode("utf-8", "replace").strip()
        if status == 401 and not text.startswith("<"):
            return "INVALID_TOKEN", text or "unauthorized"
        return "", text
    return failure.error, failure.message or failure.error


def _get(path: str, response: Any, *, signed: bool = False, doc: str = "") -> Endpoint:
    cost = {"ip": 1, "private": 1, "private_second": 1} if signed else {"ip": 1}
    return Endpoint("GET", f"/v1/{path}", response, cost=cost, signed=signed, doc=doc)


ORDER_COST: Final = {"ip": 1, "orders": 1, "orders_second": 1}
SOCKET_COST: Final = {"orders": 1, "orders_second": 1}


def _command(method: Any, path: str, response: Any, doc: str = "") -> Endpoint:
    return Endpoint(method, f"/v1/{path}", response, cost=ORDER_COST, encoding="json", signed=True, command=True, doc=doc)


ENDPOINTS: Final = {
    "system/time": _get("system/time", m.ServerTime),
    "system/state": _get("system/state", m.SystemState),
    "system/config": _get("system/config", m.SystemConfig),
    "markets": _get("markets", m.Results[m.Market], doc="market"),
    "markets/summary": _get("markets/summary", m.Results[m.Summary], doc="market (ALL)"),
    "markets/klines": _get("markets/klines", m.Results[m.Kline], doc="symbol, resolution (min), start_at, end_at, price_kind"),
    "bbo": _get("bbo/{market}", m.Bbo),
    "bbo/interactive": _get("bbo/{market}/interactive", m.Bbo, doc="with what only retail orders can hit"),
    "orderbook": _get("orderbook/{market}", m.Book, doc="depth, price_tick"),
    "orderbook/interactive": _get("orderbook/{market}/interactive", m.Book, doc="depth, price_tick"),
    "trades": _get("trades", m.Results[m.Trade], doc="market, page_size <= 1000, start_at, end_at, cursor"),
    "funding/data": _get("funding/data", m.Results[m.Funding], doc="market, page_size <= 5000, start_at, end_at, cursor"),
    "auth": Endpoint("POST", "/v1/auth/{public_key}", m.Token, cost={"ip": 1, "auth": 1}, doc="the session token; signed in its headers"),
    "account": _get("account", m.Account, signed=True),
    "account/info": _get("account/info", m.Results[m.AccountInfo], signed=True),
    "account/margin": _get("account/margin", m.MarginConfigs, signed=True, doc="market"),
    "account/keys/subkeys": _get("account/keys/subkeys", m.Results[m.Subkey], signed=True),
    "balance": _get("balance", m.Results[m.Balance], signed=True),
    "positions": _get("positions", m.Results[m.Position], signed=True),
    "open_orders": _get("orders", m.Results[m.Order], signed=True, doc="market"),
    "order": _get("orders/{order_id}", m.Order, signed=True, doc="while it is open"),
    "order/by_client_id": _get("orders/by_client_id/{client_id}", m.Order, signed=True),
    "orders-history": _get("orders-history", m.Results[m.Order], signed=True, doc="market, client_id, page_size, start_at, end_at, cursor"),
    "fills": _get("fills", m.Results[m.Fill], signed=True, doc="market, page_size, start_at, end_at, cursor"),
    "funding/payments": _get(
        "funding/payments", m.Results[m.FundingPayment], signed=True, doc="market, page_size, start_at, end_at, cursor"
    ),
    "liquidations": _get("liquidations", m.Results[m.Liquidation], signed=True, doc="from, to"),
    "transfers": _get("transfers", m.Results[m.Transfer], signed=True, doc="cursor"),
    "transactions": _get("transactions", m.Results[m.Transaction], signed=True, doc="cursor"),
    "tradebusts": _get("tradebusts", m.Results[m.Tradebust], signed=True, doc="cursor"),
    "place": _command("POST", "orders", m.Order),
    "place_batch": _command("POST", "orders/batch", m.BatchAnswer, "1 to 10; one bad signature refuses all"),
    "modify": _command("PUT", "orders/{order_id}", m.Order),
    "cancel": _command("DELETE", "orders/{order_id}", bytes, "204: queued"),
    "cancel_by_client_id": _command("DELETE", "orders/by_client_id/{client_id}", bytes, "market"),
    "cancel_batch": _command("DELETE", "orders/batch", m.CancelResults, "order_ids, client_order_ids"),
    "cancel_all": _command("DELETE", "orders", bytes, "market"),
    "set_margin": _command("POST", "account/margin/{market}", m.MarginSet, "leverage, margin_type"),
}


def _environment(host: str, chain_id: str) -> Endpoints:
    socket = f"wss://ws.{host}/v1"
    return Endpoints(rest=f"https://{host}", ws={PUBLIC: socket, PRIVATE: socket}, chain_id=chain_id)


SPEC: Final = VenueSpec(
    name="paradex",
    title="Paradex",
    environments={
        "mainnet": _environment("api.prod.paradex.trade", "PRIVATE_SN_PARACLEAR_MAINNET"),
        "testnet": _environment("api.testnet.paradex.trade", "PRIVATE_SN_POTC_SEPOLIA"),
    },
    default_quote="USD",
    credentials=(
        CredentialField(
            "l2_private_key",
            "PARADEX{env}_L2_PRIVATE_KEY",
            aliases=("PARADEX{env}_L2_PRIVATE_KEY_HEX",),
            unless="l1_private_key",
            help="Stark key of the account, or better of a subkey, which cannot withdraw",
        ),
        CredentialField("l1_address", "PARADEX{env}_L1_ADDRESS", secret=False, help="the Ethereum address of the account"),
        CredentialField(
            "l2_address",
            "PARADEX{env}_L2_ADDRESS",
            secret=False,
            required=False,
            help="the account on Paradex; needed with a subkey, else derived from the key",
        ),
        CredentialField(
            "l1_private_key",
            "PARADEX{env}_L1_PRIVATE_KEY",
            required=False,
            help="Ethereum key to derive the Stark key from; it can withdraw",
        ),
    ),
    pools={
        "ip": Pool(limit=1500, period_s=60.0, scope="ip"),
        "auth": Pool(limit=600, period_s=60.0, scope="ip"),
        "orders": Pool(limit=17_250, period_s=60.0, scope="account"),
        "orders_second": Pool(limit=800, period_s=1.0, scope="account"),
        "private": Pool(limit=600, period_s=60.0, scope="account"),
        "private_second": Pool(limit=120, period_s=1.0, scope="account"),
    },
    endpoints=ENDPOINTS,
    errors=ERRORS,
    read_error=read_error,
    streams={
        Stream.BOOK: "order_book",
        Stream.BBO: "bbo",
        Stream.TRADES: "trades",
        Stream.MARK: "markets_summary",
        Stream.INDEX: "markets_summary",
        Stream.FUNDING: "funding_data",
        Stream.ORDERS: "orders",
        Stream.FILLS: "fills",
        Stream.POSITIONS: "positions",
        Stream.ACCOUNT: "account",
    },
    capabilities=Capabilities(
        ack=Ack.QUEUED,
        order_types=frozenset(
            {
                OrderType.LIMIT,
                OrderType.STOP_MARKET,
                OrderType.STOP_LIMIT,
                OrderType.TAKE_PROFIT_MARKET,
                OrderType.TAKE_PROFIT_LIMIT,
            }
        ),
        times_in_force=frozenset({TimeInForce.GTC, TimeInForce.IOC}),
        native_amend=True,
        native_cancel_all=True,
        native_batch_place=True,
        native_batch_cancel=True,
        max_batch=BATCH,
        set_leverage=True,
        margin_modes=frozenset({MarginMode.CROSS}),
        set_margin_mode=True,
        subaccounts=True,
        key_info=True,
        reduce_only_below_minimum=True,
        lookup_grace_s=LOOKUP_GRACE_S,
    ),
    client_id=IdFormat.TEXT32,
    funding_interval_hours=None,
    funding=FundingNote(
        unit="fraction per the market's own period, beside an index: cumulative USDC per base unit",
        sign="positive: longs pay; payments positive when received, one for each fill that realised funding",
        interval="per market, field `funding_period_hours` (8 h, some 1 or 4)",
        next_time="none: accrues by the second",
        evidence="`rest/funding_history`, `ws/funding_rate`; payments by the OpenAPI example",
    ),
    docs_url="https://docs.paradex.trade",
    account_field="l2_address",
    roles=(PUBLIC, PRIVATE),
    private_role=PRIVATE,
)

BOOKS: Final = ("deltas", "interactive_deltas", "interactive")


@dataclass(frozen=True, slots=True)
class Options:
    """`venue_options`.

    `sbe_version`: schema version asked for. `book`: "deltas" (what our orders can hit), "interactive_deltas" (with retail-only liquidity),
    or "interactive" (15 levels, periodic, in steps of `book_group` ticks); best prices never come from the two last.
    `cancel_on_disconnect`: the venue cancels the account's orders when the private socket breaks, armed anew on each connection.
    """

    sbe_version: int = 1
    book: str = "deltas"
    book_group: int = 1
    cancel_on_disconnect: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """
        Raises:
            ConfigError: an option or a value that does not exist.
        """
        if unknown := sorted(set(given) - set(cls.__slots__)):
            raise ConfigError(f"no such venue option: {', '.join(unknown)}; there are {', '.join(cls.__slots__)}", venue=SPEC.name)
        found = cls(**given)
        if found.book not in BOOKS:
            raise ConfigError(f"venue_options['book'] is one of {', '.join(BOOKS)}, not {found.book!r}", venue=SPEC.name)
        for name, least in (("sbe_version", 0), ("book_group", 1)):
            value = getattr(found, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"venue_options[{name!r}] is a whole number from {least} on, not {value!r}", venue=SPEC.name)
        if found.book_group != 1 and found.book != "interactive":
            raise ConfigError("venue_options['book_group'] belongs to book 'interactive'", venue=SPEC.name)
        if not isinstance(found.cancel_on_disconnect, bool):
            raise ConfigError("venue_options['cancel_on_disconnect'] is true or false", venue=SPEC.name)
        return found


def normalize_symbol(symbol: str) -> str:
    """The canonical base of a Paradex market: "BTC-USD-PERP" -> "BTC", "kPEPE-USD-PERP" -> "PEPE"."""
    base = symbol.partition("-")[0]
    return base[1:] if is_thousand(base) else base


def is_thousand(base: str) -> bool:
    """Whether a base counts in thousands of its token (kPEPE)."""
    return base[:1] == "k" and base[1:2].isupper()


def get_paradex_symbol_format(symbol: str, *, thousand: bool = False) -> str:
    """The market of a canonical base; `thousand` for those that count in thousands."""
    return f"{'k' if thousand else ''}{symbol}-USD-PERP"
