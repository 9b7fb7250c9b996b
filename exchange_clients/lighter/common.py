"""Lighter as data: addresses, limits, endpoints, refusals, abilities, and its symbols.

Source: dossier sections 1, 3, 7, 9; https://apidocs.lighter.xyz, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import msgspec

from exchange_clients.errors import (
    BadSignature,
    DuplicateClientOrderId,
    InsufficientMargin,
    InvalidOrder,
    MarketClosed,
    NonceError,
    OrderNotFound,
    PermissionDenied,
    PriceOutOfBand,
    RateLimited,
    ReduceOnlyViolation,
    RequestRefused,
    TokenRefused,
    TooManyOrders,
    VenueError,
    VenueUnavailable,
)
from exchange_clients.lighter import messages as m
from exchange_clients.model import Ack, MarginMode, OrderType, TimeInForce
from exchange_clients.spec import Capabilities, CredentialField, Endpoint, Endpoints, FundingNote, IdFormat, Pool, Stream, VenueSpec

ROLE: Final = "public"
NONCE_SCOPE: Final = "key"
BATCH: Final = 15
"""The socket takes 15 transactions at once, REST 50: a batch fits both."""
SHORTEST_LIFE_S: Final = 300.0
LONGEST_LIFE_S: Final = 30 * 86_400.0
DEFAULT_LIFE_S: Final = 28 * 86_400.0
"""A GTC order is sent with this life: the venue knows no order without an end."""
SWITCH_S: Final = (300.0, 15 * 86_400.0)
"""How far ahead a scheduled cancel-all may lie."""
FIRST_VENUE_ID: Final = 2**48
"""Order ids of the venue start here; client ids end below."""
MISSING_TOKEN: Final = "20001 without token"  # noqa: S105 - the name of an error


def _codes(*parts: int | Iterable[int]) -> list[str]:
    return [str(code) for part in parts for code in ([part] if isinstance(part, int) else part)]


ERRORS: Final[dict[str, type[VenueError]]] = {
    MISSING_TOKEN: TokenRefused,
    **dict.fromkeys(_codes(20001), RequestRefused),
    **dict.fromkeys(_codes(range(21100, 21104), 21107, 21123, 21128, 21149, 21707), PermissionDenied),
    **dict.fromkeys(_codes(21104, 21105), NonceError),
    **dict.fromkeys(_codes(21108, 21109, 21110, 21120, 21136), BadSignature),
    **dict.fromkeys(_codes(21111, 21112, 21301, 21304, 21507, 21508, 21739), InsufficientMargin),
    **dict.fromkeys(_codes(21113, 21121, 21132, range(21500, 21506), range(21511, 21516), 21613, 21712), RequestRefused),
    **dict.fromkeys(_codes(21600, 21700, 21708, 21709, 21715), OrderNotFound),
    **dict.fromkeys(_codes(21506, 21601, range(21717, 21723)), TooManyOrders),
    **dict.fromkeys(_codes(21602, 21605, 21619, 21621), MarketClosed),
    **dict.fromkeys(_codes(range(21701, 21707), 21710, 21711, 21713, 21714, 21727, 21729), InvalidOrder),
    **dict.fromkeys(_codes(21728), DuplicateClientOrderId),
    **dict.fromkeys(_codes(21732, 21738, 21740), ReduceOnlyViolation),
    **dict.fromkeys(_codes(21733, 21734, 21735), PriceOutOfBand),
    **dict.fromkeys(_codes(range(22400, 22404), 29404, range(61001, 61010), range(62001, 62007)), RequestRefused),
    **dict.fromkeys(_codes(range(23000, 23005), 30009, 30010), RateLimited),
    **dict.fromkeys(_codes(29500, 29501), VenueUnavailable),
    **dict.fromkeys(_codes(range(30000, 30009), 30011, 30012), RequestRefused),
    "http405": RateLimited,  # also what the firewall in front of the venue answers
}


class _Answer(msgspec.Struct, frozen=True):
    code: int = 200
    message: str = ""


_decode_answer: Final = msgspec.json.Decoder(_Answer, strict=False).decode


def read_error(status: int, body: bytes) -> tuple[str, str] | None:
    """(code, text) of an answer that is an error: by status, or by a `code` other than 200 under status 200."""
    try:
        answer = _decode_answer(body)
    except msgspec.DecodeError:
        if status < 400:
            raise
        answer = _Answer()
    if answer.code in (0, 200):
        if status < 400:
            return None
        return ("http405" if status == 405 else ""), answer.message or body[:200].decode("utf-8", "replace")
    return error_code(answer.code, answer.message), answer.message


def error_code(code: int, message: str) -> str:
    """The key of a refusal in `ERRORS`: one code stands for a wrong parameter and for a token that is missing or has run out."""
    return MISSING_TOKEN if code == 20001 and "auth" in message.lower() else str(code)


def _get(name: str, response: Any, weight: int = 300, *, signed: bool = False, doc: str = "") -> Endpoint:
    return Endpoint("GET", f"/api/v1/{name}", response, cost={"requests": 1, "weight": weight}, signed=signed, doc=doc)


def _send(name: str) -> Endpoint:
    return Endpoint("POST", f"/api/v1/{name}", m.Sent, cost={"requests": 1, "weight": 6}, encoding="form", signed=True, command=True)


ENDPOINTS: Final = {
    "status": Endpoint("GET", "/", m.Status, cost={"requests": 1, "weight": 300}),
    "orderBooks": _get("orderBooks", m.MarketList, doc="market_id, filter"),
    "orderBookDetails": _get("orderBookDetails", m.Markets, doc="market_id, filter"),
    "orderBookOrders": _get("orderBookOrders", m.RestingOrders, doc="market_id, limit <= 250; single orders"),
    "recentTrades": _get("recentTrades", m.Trades, 600, doc="market_id, limit <= 100"),
    "trades": _get("trades", m.Trades, 600, signed=True, doc="sort_by, limit <= 100, account_index, market_id, cursor"),
    "candles": _get("candles", m.Candles, doc="market_id, resolution, start_timestamp, end_timestamp (ms), count_back <= 500"),
    "candlesticks": _get("candlesticks", m.Candlesticks, doc="the older form of candles"),
    "fundings": _get("fundings", m.Fundings, doc="market_id, resolution 1h|1d, start_timestamp, end_timestamp (s), count_back <= 100"),
    "funding-rates": _get("funding-rates", m.FundingRates),
    "exchangeStats": _get("exchangeStats", m.ExchangeStats),
    "assetDetails": _get("assetDetails", m.Assets),
    "account": _get("account", m.Accounts, doc="by index|l1_address, value"),
    "accountsByL1Address": _get("accountsByL1Address", m.SubAccounts, doc="l1_address"),
    "accountLimits": _get("accountLimits", m.AccountLimits, signed=True, doc="account_index"),
    "accountActiveOrders": _get("accountActiveOrders", m.Orders, signed=True, doc="account_index, market_id"),
    "accountInactiveOrders": _get(
        "accountInactiveOrders", m.Orders, 100, signed=True, doc="account_index, limit <= 100, market_id, cursor"
    ),
    "accountOrders": _get("accountOrders", m.Orders, signed=True, doc="account_index, client_order_indexes: up to 20, comma between"),
    "positionFunding": _get("positionFunding", m.Payments, signed=True, doc="account_index, limit <= 100, market_id, cursor"),
    "liquidations": _get("liquidations", m.Liquidations, signed=True, doc="account_index, limit, market_id, cursor"),
    "deposit/history": _get("deposit/history", m.Deposits, signed=True, doc="account_index, l1_address, cursor"),
    "withdraw/history": _get("withdraw/history", m.Withdrawals, signed=True, doc="account_index, cursor"),
    "nextNonce": _get("nextNonce", m.NextNonce, 6, doc="account_index, api_key_index"),
    "apikeys": _get("apikeys", m.ApiKeys, 150, doc="account_index, api_key_index"),
    "sendTx": _send("sendTx"),
    "sendTxBatch": _send("sendTxBatch"),
}


def _environment(host: str, chain_id: int) -> Endpoints:
    return Endpoints(rest=f"https://{host}", ws={ROLE: f"wss://{host}/stream"}, chain_id=chain_id)


SPEC: Final = VenueSpec(
    name="lighter",
    title="Lighter",
    environments={
        "mainnet": _environment("mainnet.zklighter.elliot.ai", 304),
        "testnet": _environment("testnet.zklighter.elliot.ai", 300),
    },
    default_quote="USDC",
    credentials=(
        CredentialField("api_key_private_key", "LIGHTER{env}_API_KEY_PRIVATE_KEY", help="80 hex digits; not the Ethereum key"),
        CredentialField("account_index", "LIGHTER{env}_ACCOUNT_INDEX", secret=False, help="number of the account or sub-account"),
        CredentialField("api_key_index", "LIGHTER{env}_API_KEY_INDEX", secret=False, help="4 to 254; 0 to 3 belong to the web front ends"),
    ),
    pools={
        # What a standard account has (60 requests of the usual weight); better tiers are raised to their own numbers when connected.
        "weight": Pool(limit=18_000, period_s=60.0, scope="ip"),
        "requests": Pool(limit=60, period_s=60.0, scope="ip"),
        "ws": Pool(limit=200, period_s=60.0, scope="ip"),
    },
    endpoints=ENDPOINTS,
    errors=ERRORS,
    read_error=read_error,
    streams={
        Stream.BOOK: "order_book",
        Stream.BBO: "ticker",
        Stream.TRADES: "trade",
        Stream.CANDLES: "candle",
        Stream.MARK: "market_stats",
        Stream.INDEX: "market_stats",
        Stream.FUNDING: "market_stats",
        Stream.ORDERS: "account_all_orders",
        Stream.FILLS: "account_all_trades",
        Stream.POSITIONS: "account_all_positions",
        Stream.ACCOUNT: "user_stats",
        Stream.LIQUIDATIONS: "trade",
    },
    capabilities=Capabilities(
        ack=Ack.QUEUED,
        order_types=frozenset(OrderType),
        times_in_force=frozenset({TimeInForce.GTC, TimeInForce.GTT, TimeInForce.IOC}),
        native_market=True,
        native_amend=True,
        native_cancel_all=True,
        native_batch_place=True,
        native_batch_cancel=True,
        max_batch=BATCH,
        native_bracket=True,
        dead_man_switch=True,
        set_leverage=True,
        margin_modes=frozenset({MarginMode.CROSS, MarginMode.ISOLATED}),
        set_margin_mode=True,
        key_info=True,
        isolated_margin_transfer=True,
        subaccounts=True,
        client_id_reusable=True,
        min_gtt_s=SHORTEST_LIFE_S,
        max_gtt_s=LONGEST_LIFE_S,
        lookup_grace_s=13.0,
    ),
    client_id=IdFormat.UINT48,
    funding_interval_hours=Decimal(1),
    funding=FundingNote(
        unit="percent per hour on the socket and in `fundings`, fraction per 8 h in `funding-rates`",
        sign="positive: longs pay; `fundings` has no sign and says who paid; payments (`change`) positive when received",
        interval="1 h, fixed",
        next_time="next full hour UTC",
        evidence="`rest/funding_rate`, `rest/funding_history`, `ws/ticker`",
    ),
    docs_url="https://apidocs.lighter.xyz",
    account_field="account_index",
    roles=(ROLE,),
    ws_message_cost={"ws": 1},
)

TIERS: Final = {"plus": (8_000, 120_000), "premium": (4_000, 24_000), "builder": (4_000, 240_000)}
"""Requests and weight per minute of the paid tiers; standard is what `SPEC.pools` says."""


def normalize_symbol(symbol: str) -> str:
    """The canonical base of a Lighter market: "1000PEPE" -> "PEPE", "BTC" -> "BTC"."""
    return symbol[4:] if is_thousand(symbol) else symbol


def is_thousand(symbol: str) -> bool:
    """A market whose price and size count a thousand tokens."""
    return symbol.startswith("1000") and symbol[4:5].isalpha()


def get_lighter_symbol_format(symbol: str, *, thousand: bool = False) -> str:
    """The market of a canonical base; `thousand` for markets that count in thousands."""
    return f"1000{symbol}" if thousand else symbol
