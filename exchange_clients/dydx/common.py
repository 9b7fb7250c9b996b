"""dYdX v4 as data: addresses, limits, endpoints, refusals, abilities, and its symbols.

Source: dossier sections 1, 3, 7, 9; https://docs.dydx.xyz, read 2026-11.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

from exchange_clients.dydx import chain
from exchange_clients.dydx import messages as m
from exchange_clients.dydx.signing import BROADCAST
from exchange_clients.errors import (
    BadSignature,
    DuplicateClientOrderId,
    InsufficientMargin,
    InvalidOrder,
    MarketClosed,
    NoLiquidity,
    NonceError,
    NotReady,
    OrderNotFound,
    OrderRefused,
    PermissionDenied,
    PostOnlyWouldCross,
    RateLimited,
    ReduceOnlyViolation,
    RequestRefused,
    TooManyOrders,
    VenueError,
    VenueUnavailable,
)
from exchange_clients.model import Ack, MarginMode, OrderType, TimeInForce
from exchange_clients.spec import Capabilities, CredentialField, Endpoint, Endpoints, FundingNote, IdFormat, Pool, Stream, VenueSpec

ROLE: Final = "public"
BATCH: Final = 100
"""Client ids in one MsgBatchCancel."""
STALE_HEIGHT: Final = frozenset({"clob:10", "clob:11"})
"""The last block of an order was too near or too far: ours or the node's height was old, and nothing was done."""
BLOCK_IS_FULL: Final = "clob:5001"
"""The account has used up its orders of this block: nothing was done."""

ERRORS: Final[dict[str, type[VenueError]]] = {
    # the transaction: codespace and code belong together, the same number means other things elsewhere
    "sdk:2": RequestRefused,
    "sdk:3": NonceError,
    "sdk:4": BadSignature,
    "sdk:5": InsufficientMargin,
    "sdk:13": InsufficientMargin,
    "sdk:19": RequestRefused,  # told as accepted: the node has this very transaction
    "sdk:20": VenueUnavailable,
    "sdk:30": RequestRefused,
    "sdk:32": NonceError,
    # permissioned keys
    "accountplus:1": PermissionDenied,
    "accountplus:100": PermissionDenied,
    "accountplus:101": PermissionDenied,
    "accountplus:102": PermissionDenied,
    "accountplus:103": PermissionDenied,
    "accountplus:104": NonceError,  # also said of a wrong sequence: asked for once more, then it is the key
    "accountplus:105": PermissionDenied,
    # identity of orders
    "clob:2": OrderNotFound,
    "clob:3006": OrderNotFound,
    "clob:3010": OrderNotFound,
    "clob:7": DuplicateClientOrderId,
    "clob:24": DuplicateClientOrderId,
    "clob:30": DuplicateClientOrderId,
    "clob:3005": DuplicateClientOrderId,
    "clob:3008": DuplicateClientOrderId,
    "clob:3009": DuplicateClientOrderId,
    "clob:9": OrderRefused,  # a cancel of this order is there already
    "clob:20": OrderRefused,
    # heights: nothing was done, and the order may go again under its id
    "clob:10": NotReady,
    "clob:11": NotReady,
    # one order
    "clob:4": InvalidOrder,
    "clob:5": InvalidOrder,
    "clob:6": InvalidOrder,
    "clob:8": InvalidOrder,
    "clob:12": InvalidOrder,
    "clob:44": InvalidOrder,
    "clob:48": InvalidOrder,
    "clob:3000": InvalidOrder,
    "clob:3001": InvalidOrder,
    "clob:3002": InvalidOrder,
    "clob:3003": InvalidOrder,
    "clob:3004": InvalidOrder,
    "clob:6000": InvalidOrder,
    "clob:6001": InvalidOrder,
    "clob:9003": InvalidOrder,
    "clob:2000": NoLiquidity,
    "clob:2004": NoLiquidity,
    "clob:2001": ReduceOnlyViolation,
    "clob:2002": ReduceOnlyViolation,
    "clob:2003": PostOnlyWouldCross,
    "clob:2005": InvalidOrder,
    "clob:3007": InsufficientMargin,
    "undercollateralized": InsufficientMargin,  # NewlyUndercollateralized, StillUndercollateralized; also a reason of removal
    "clob:5001": RateLimited,
    "clob:10001": TooManyOrders,
    "clob:11002": RequestRefused,
    "clob:11003": RequestRefused,
    "clob:11004": RequestRefused,
    "clob:34": MarketClosed,
    "clob:36": MarketClosed,
    "clob:47": MarketClosed,
    # why the chain took an order off again, in the indexer's words
    "post_only_would_cross_maker_order": PostOnlyWouldCross,
    "violates_isolated_subaccount_constraints": InvalidOrder,
    "equity_tier": TooManyOrders,
    "self_trade_error": OrderRefused,
    "internal_error": OrderRefused,
    # the indexer
    "GEOBLOCKED": PermissionDenied,
    "COMPLIANCE_BLOCKED": PermissionDenied,
    "http400": RequestRefused,
    "http404": RequestRefused,
}


def read_error(status: int, body: bytes) -> tuple[str, str] | None:
    """(code, text) of an indexer's answer that is an error: 404 stands for what it does not know, or not yet."""
    if status < 400:
        return None
    try:
        entries = m.decode_errors(body).errors
    except msgspec.DecodeError:
        entries = []
    first = entries[0] if entries else m.ErrorEntry()
    text = first.msg or body[:200].decode("utf-8", "replace")
    if first.param:
        text = f"{text} ({first.param})"
    code = first.code or (f"http{status}" if status in (400, 404) else "")
    return code, text


def _get(path: str, response: Any, doc: str = "", *, pool: str = "indexer") -> Endpoint:
    return Endpoint("GET", f"/v4/{path}", response, cost={pool: 1}, doc=doc)


def _ask(method: str, response: Any, encode: Any = None, doc: str = "") -> Endpoint:
    return Endpoint("GRPC", method, response, cost={"node": 1}, encode=encode, doc=doc)


ENDPOINTS: Final = {
    "perpetualMarkets": _get("perpetualMarkets", m.Markets, "market, limit"),
    "orderbook": _get("orderbooks/perpetualMarket/{ticker}", m.Book, "ticker; 100 levels a side"),
    "trades": _get("trades/perpetualMarket/{ticker}", m.Trades, "ticker, limit, createdBeforeOrAt, page"),
    "candles": _get("candles/perpetualMarkets/{ticker}", m.Candles, "ticker, resolution, fromISO, toISO, limit", pool="candles"),
    "historicalFunding": _get("historicalFunding/{ticker}", m.FundingHistory, "ticker, limit, effectiveBeforeOrAt"),
    "subaccount": _get("addresses/{address}/subaccountNumber/{number}", m.SubaccountReply, "address, number"),
    "subaccounts": _get("addresses/{address}", m.SubaccountsReply, "address"),
    "perpetualPositions": _get("perpetualPositions", m.Positions, "address, subaccountNumber, status, limit"),
    "orders": _get(
        "orders", list[m.OrderRow], "address, subaccountNumber, ticker, status, limit, goodTilBlockBeforeOrAt, goodTilBlockTimeBeforeOrAt"
    ),
    "order": _get("orders/{id}", m.OrderRow, "id"),
    "fills": _get("fills", m.Fills, "address, subaccountNumber, market, marketType, limit, createdBeforeOrAtHeight, page"),
    "fundingPayments": _get("fundingPayments", m.Payments, "address, subaccountNumber, ticker, limit, page"),
    "transfers": _get("transfers", m.Transfers, "address, subaccountNumber"),
    "time": _get("time", m.Time),
    "height": _get("height", m.Height),
    "broadcast": Endpoint(
        "GRPC", BROADCAST, chain.read_broadcast, cost={"node": 1}, signed=True, command=True, refusal=chain.broadcast_refusal
    ),
    "account": _ask("/cosmos.auth.v1beta1.Query/Account", chain.read_account, chain.account_request, "address"),
    "latestBlock": _ask("/cosmos.base.tendermint.v1beta1.Service/GetLatestBlock", chain.read_block),
    "userFeeTier": _ask("/dydxprotocol.feetiers.Query/UserFeeTier", chain.read_fee_tier, chain.account_request, "address"),
    "userStakingTier": _ask("/dydxprotocol.feetiers.Query/UserStakingTier", chain.read_staking_discount, chain.account_request, "address"),
    "marketFeeDiscount": _ask(
        "/dydxprotocol.feetiers.Query/PerMarketFeeDiscountParams", chain.read_market_discount, chain.clob_pair_request, "clob_pair_id"
    ),
    "authenticators": _ask(
        "/dydxprotocol.accountplus.Query/GetAuthenticators", chain.read_authenticators, chain.account_request, "address"
    ),
    "leverage": _ask("/dydxprotocol.clob.Query/Leverage", chain.read_leverage, chain.leverage_request, "owner, number"),
}

SPEC: Final = VenueSpec(
    name="dydx",
    title="dYdX v4",
    environments={
        "mainnet": Endpoints(
            rest="https://indexer.dydx.trade",
            ws={ROLE: "wss://indexer.dydx.trade/v4/ws"},
            grpc=(
                "oegs.dydx.trade:443",
                "dydx-ops-grpc.kingnodes.com:443",
                "dydx-dao-grpc-1.polkachu.com:443",
                "dydx-grpc.publicnode.com:443",
            ),
            chain_id="dydx-mainnet-1",
        ),
        "testnet": Endpoints(
            rest="https://indexer.v4testnet.dydx.exchange",
            ws={ROLE: "wss://indexer.v4testnet.dydx.exchange/v4/ws"},
            grpc=("oegs-testnet.dydx.exchange:443", "test-dydx-grpc.kingnodes.com:443"),
            chain_id="dydx-testnet-4",
        ),
    },
    default_quote="USD",
    credentials=(
        CredentialField("mnemonic", "DYDX{env}_MNEMONIC", unless="private_key", help="words of the account, or of a permissioned key"),
        CredentialField("private_key", "DYDX{env}_PRIVATE_KEY", unless="mnemonic", help="the same key as 32 bytes in hex"),
        CredentialField(
            "address", "DYDX{env}_ADDRESS", secret=False, required=False, help="the account; needed with a permissioned key, else checked"
        ),
        CredentialField("subaccount_number", "DYDX{env}_SUBACCOUNT_NUMBER", secret=False, required=False, help="0 unless another is meant"),
        CredentialField(
            "authenticator_id",
            "DYDX{env}_AUTHENTICATOR_ID",
            secret=False,
            required=False,
            help="of a permissioned key, as the owner registered it",
        ),
    ),
    pools={
        "indexer": Pool(limit=100, period_s=10.0, scope="ip"),
        "candles": Pool(limit=1000, period_s=10.0, scope="ip"),
        "node": Pool(limit=250, period_s=60.0, scope="ip"),
        # By blocks on the chain (4000 in 5, 2 in 1, 20 in 100), at the pace of recent ones.
        "short_term": Pool(limit=4000, period_s=3.2, scope="account"),
        "stateful": Pool(limit=20, period_s=64.0, scope="account"),
        "stateful_block": Pool(limit=2, period_s=0.64, scope="account"),
        "ws": Pool(limit=20, period_s=1.0, scope="ip"),
    },
    endpoints=ENDPOINTS,
    errors=ERRORS,
    read_error=read_error,
    streams={
        Stream.BOOK: "v4_orderbook",
        Stream.TRADES: "v4_trades",
        Stream.CANDLES: "v4_candles",
        Stream.INDEX: "v4_markets",
        Stream.MARK: "v4_markets",
        Stream.FUNDING: "v4_markets",
        Stream.ORDERS: "v4_subaccounts",
        Stream.FILLS: "v4_subaccounts",
        Stream.POSITIONS: "v4_subaccounts",
        Stream.ACCOUNT: "v4_subaccounts",
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
        times_in_force=frozenset({TimeInForce.GTC, TimeInForce.GTT, TimeInForce.IOC}),
        reduce_only_resting=False,
        key_info=True,
        native_batch_cancel=True,
        max_batch=BATCH,
        set_leverage=True,
        margin_modes=frozenset({MarginMode.CROSS}),
        subaccounts=True,
        min_gtt_s=3.0,
        max_gtt_s=95 * 86_400.0,
        lookup_grace_s=20.0,
        records_lag_s=2.0,
    ),
    client_id=IdFormat.UINT32,
    funding_interval_hours=Decimal(1),
    funding=FundingNote(
        unit="fraction per hour",
        sign="positive: longs pay; payments positive when received",
        interval="1 h, fixed",
        next_time="next full hour UTC",
        evidence="`rest/funding_history`, `rest/markets`",
    ),
    docs_url="https://docs.dydx.xyz",
    account_field="address",
    roles=(ROLE,),
    ws_message_cost={"ws": 1},
    limiter_wait_s=10.0,
    retry_after_unit_s=0.001,
)


def normalize_symbol(symbol: str) -> str:
    """The canonical base of a dYdX market: "BTC-USD" -> "BTC", "BUFFI,UNISWAP_V3,0X4C...-USD" -> "BUFFI"."""
    return symbol.removesuffix("-USD").partition(",")[0]


def get_dydx_symbol_format(symbol: str) -> str:
    """The market of a canonical base, where it is not one made from a pool: those are looked up in the instrument table."""
    return f"{symbol}-USD"
