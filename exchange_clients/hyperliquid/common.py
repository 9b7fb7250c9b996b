"""Hyperliquid as data: addresses, limits, endpoints, refusals, abilities, and its symbols.

Source: dossier sections 1, 4, 8, 10; https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api, read 2026-11.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

from exchange_clients.errors import (
    BadSignature,
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
    classify,
)
from exchange_clients.hyperliquid import messages as m
from exchange_clients.hyperliquid.signing import ORDER_LIFE_MS
from exchange_clients.model import Ack, MarginMode, OrderType, TimeInForce
from exchange_clients.spec import Capabilities, CredentialField, Endpoint, Endpoints, FundingNote, IdFormat, Pool, Stream, VenueSpec

ROLE: Final = "public"
LOOKUP_GRACE_S: Final = 5.0 + ORDER_LIFE_MS / 1000 + 3.0
"""By then an order that had to wait for the limiter (at most 5 s) and was held up on its way is void, and the second is over in which the
venue says "unknown" of orders it has."""
BATCH: Final = 39
"""Orders in one action: the most that cost one request of the address limit."""

ERRORS: Final[dict[str, type[VenueError]]] = {
    # setup and signature: the address in the text is the signer that the venue recovered
    "does not exist": BadSignature,
    "must deposit before performing actions": BadSignature,
    "builder fee has not been approved": PermissionDenied,
    "vault not registered": PermissionDenied,
    "nonce": NonceError,
    # limits
    "too many cumulative requests": RateLimited,
    "too many open orders": TooManyOrders,
    "too many requests": RateLimited,
    # one order
    "insufficient margin": InsufficientMargin,
    "margin tier": InsufficientMargin,
    "insufficient spot balance": InsufficientMargin,
    "price must be divisible by tick size": InvalidOrder,
    "invalid size": InvalidOrder,
    "zero size": InvalidOrder,
    "invalid tp/sl price": InvalidOrder,
    "invalid order": InvalidOrder,
    "invalid price": InvalidOrder,
    "minimum value": MinNotional,
    "post only order would have immediately matched": PostOnlyWouldCross,
    "could not immediately match": NoLiquidity,
    "no liquidity available": NoLiquidity,
    "reduce only order would increase position": ReduceOnlyViolation,
    "never placed, already canceled, or filled": OrderNotFound,
    "cannot modify canceled or filled order": OrderNotFound,
    "away from the reference price": PriceOutOfBand,
    "too far from oracle": PriceOutOfBand,
    "open interest": OrderRefused,
    "trading is halted": MarketClosed,
    # settings
    "cannot set scheduled cancel time": RequestRefused,
    "scheduled cancel": RequestRefused,
    "leverage": RequestRefused,
    # HTTP answers without words of their own
    "http400": RequestRefused,
    "http415": RequestRefused,
    "http422": RequestRefused,
    "unknown coin or dex": RequestRefused,
}


class _Refusal(msgspec.Struct, frozen=True):
    status: str = ""
    response: msgspec.Raw = msgspec.Raw(b"null")


def read_error(status: int, body: bytes) -> tuple[str, str] | None:
    """(code, text) of an answer that is an error.

    A 200 may say `{"status":"err","response":"text"}`; a 500 whose body is `null` means a coin or dex that does not exist, not an outage.
    """
    if status >= 400:
        text = body[:500].decode("utf-8", "replace").strip()
        if status == 500 and text == "null":
            return "unknown coin or dex", "unknown coin or dex"
        return (f"http{status}", text or f"HTTP {status}") if status in (400, 415, 422) else ("", "" if text == "null" else text)
    if not body.startswith(b'{"status":"err"'):
        return None
    return "", str(msgspec.json.decode(msgspec.json.decode(body, type=_Refusal).response))


def refusal(text: str) -> VenueError:
    """The error that the venue's words mean."""
    return classify(ERRORS, venue=SPEC.name, code="", message=text)


def _info(kind: str, response: Any, weight: int = 20, doc: str = "") -> Endpoint:
    return Endpoint("POST", "/info", response, cost={"ip": weight}, encoding="json", fixed={"type": kind}, doc=doc)


# Replies with rows cost 1 more per 20 rows (60 candles): charged by the managers once the rows are there.
ENDPOINTS: Final = {
    "exchange": Endpoint("POST", "/exchange", m.Reply, cost={"ip": 1}, encoding="json", signed=True, command=True, doc="signed actions"),
    "allMids": _info("allMids", dict[str, Decimal], 2, "dex"),
    "l2Book": _info("l2Book", m.L2Snapshot | None, 2, "coin, nSigFigs, mantissa; null for an unknown coin"),
    "recentTrades": _info("recentTrades", list[m.TradeData], doc="coin"),
    "candleSnapshot": _info("candleSnapshot", list[m.CandleData], doc="req: coin, interval, startTime, endTime"),
    "meta": _info("meta", m.Meta, doc="dex"),
    "allPerpMetas": _info("allPerpMetas", list[m.Meta]),
    "metaAndAssetCtxs": _info("metaAndAssetCtxs", tuple[m.Meta, list[m.AssetCtx]], doc="dex"),
    "perpDexs": _info("perpDexs", list[m.PerpDex | None]),
    "spotMeta": _info("spotMeta", m.SpotMeta),
    "fundingHistory": _info("fundingHistory", list[m.FundingRow], doc="coin, startTime, endTime; 500 rows"),
    "predictedFundings": _info("predictedFundings", list[tuple[str, list[tuple[str, m.PredictedFunding | None]]]]),
    "exchangeStatus": _info("exchangeStatus", m.ExchangeStatus, 2),
    "clearinghouseState": _info("clearinghouseState", m.ClearinghouseState, 2, "user, dex"),
    "spotClearinghouseState": _info("spotClearinghouseState", m.SpotState, 2, "user"),
    "openOrders": _info("openOrders", list[m.OrderData], doc="user, dex"),
    "frontendOpenOrders": _info("frontendOpenOrders", list[m.OrderData], doc="user, dex"),
    "orderStatus": _info("orderStatus", m.OrderStatusReply, 2, "user, oid: number or client id"),
    "historicalOrders": _info("historicalOrders", list[m.OrderUpdate], doc="user; newest 2000"),
    "userFills": _info("userFills", list[m.FillData], doc="user; newest 2000"),
    "userFillsByTime": _info("userFillsByTime", list[m.FillData], doc="user, startTime, endTime; 2000 rows"),
    "userFunding": _info("userFunding", list[m.UserFundingRow], doc="user, startTime, endTime; 500 rows"),
    "userNonFundingLedgerUpdates": _info("userNonFundingLedgerUpdates", list[m.LedgerRow], doc="user, startTime, endTime"),
    "userFees": _info("userFees", m.UserFees, doc="user"),
    "userRateLimit": _info("userRateLimit", m.UserRateLimit, doc="user"),
    "activeAssetData": _info("activeAssetData", m.ActiveAssetData, doc="user, coin"),
    "userRole": _info("userRole", m.UserRole, 60, "user"),
    "extraAgents": _info("extraAgents", list[m.ExtraAgent], doc="user"),
    "subAccounts": _info("subAccounts", list[m.SubAccount] | None, doc="user"),
    "userAbstraction": _info("userAbstraction", str, doc="user"),
}

SPEC: Final = VenueSpec(
    name="hyperliquid",
    title="Hyperliquid",
    environments={
        "mainnet": Endpoints(rest="https://api.hyperliquid.xyz", ws={ROLE: "wss://api.hyperliquid.xyz/ws"}, chain_id=1337),
        "testnet": Endpoints(rest="https://api.hyperliquid-testnet.xyz", ws={ROLE: "wss://api.hyperliquid-testnet.xyz/ws"}, chain_id=1337),
    },
    default_quote="USDC",
    credentials=(
        CredentialField("private_key", "HYPERLIQUID{env}_PRIVATE_KEY", help="key of an agent (API wallet) or of the account itself"),
        CredentialField("account_address", "HYPERLIQUID{env}_ACCOUNT_ADDRESS", secret=False, help="the account, never the agent's address"),
        CredentialField(
            "vault_address", "HYPERLIQUID{env}_VAULT_ADDRESS", secret=False, required=False, help="vault or sub-account to trade for"
        ),
    ),
    pools={
        "ip": Pool(limit=1200, period_s=60.0, scope="ip"),
        # 10,000 actions and one more per USD traded; used up, one action per 10 s: what this decay gives back.
        "address": Pool(limit=10_000, period_s=100_000.0, scope="account", window="decay"),
        "ws": Pool(limit=2000, period_s=60.0, scope="ip"),
        "posts": Pool(limit=100, scope="ip", kind="outstanding"),
    },
    endpoints=ENDPOINTS,
    errors=ERRORS,
    read_error=read_error,
    streams={
        Stream.BOOK: "l2Book",
        Stream.BBO: "bbo",
        Stream.TRADES: "trades",
        Stream.CANDLES: "candle",
        Stream.MARK: "activeAssetCtx",
        Stream.INDEX: "activeAssetCtx",
        Stream.FUNDING: "activeAssetCtx",
        Stream.ORDERS: "orderUpdates",
        Stream.FILLS: "userFills",
        Stream.POSITIONS: "clearinghouseState",
        Stream.ACCOUNT: "clearinghouseState",
        Stream.LIQUIDATIONS: "userEvents",
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
        times_in_force=frozenset({TimeInForce.GTC, TimeInForce.IOC}),
        native_amend=True,
        amend_keeps_id=False,
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
        reduce_only_below_minimum=True,
        lookup_grace_s=LOOKUP_GRACE_S,
    ),
    client_id=IdFormat.HEX128,
    funding_interval_hours=Decimal(1),
    funding=FundingNote(
        unit="fraction per hour",
        sign="positive: longs pay; payments (`usdc`) positive when received",
        interval="1 h, fixed; rows before June 2023 are of 8 h",
        next_time="next full hour UTC",
        evidence="`rest/funding_history`, `rest/markets`",
    ),
    docs_url="https://hyperliquid.gitbook.io/hyperliquid-docs",
    account_field="account_address",
    roles=(ROLE,),
    ws_message_cost={"ws": 1},
)


def normalize_symbol(symbol: str) -> str:
    """The canonical base of a Hyperliquid coin: "kPEPE" -> "PEPE", "xyz:TSLA" -> "TSLA"."""
    coin = symbol.rpartition(":")[2]
    return coin[1:] if coin[:1] == "k" and coin[1:2].isupper() else coin


def get_hyperliquid_symbol_format(symbol: str, *, thousand: bool = False, dex: str = "") -> str:
    """The coin of a canonical base; `thousand` for markets that count in thousands, `dex` for a builder's dex."""
    return (f"{dex}:" if dex else "") + ("k" if thousand else "") + symbol
