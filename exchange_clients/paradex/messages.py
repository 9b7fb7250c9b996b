"""Paradex's messages as types: REST answers, JSON-RPC frames, private events, and what is sent. Binary frames are in `sbe`.

Wire names are the venue's own. Numbers are Decimal; fields in which the venue writes "" for "none" are text and read by the converters.
Private events come as JSON or as SBE and decode to the same types. Above each group: where recorded examples are.

Source: dossier sections 4, 5, 7; https://docs.paradex.trade (OpenAPI 1.132.1, OpenRPC 1.3.1), read 2026-11.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec

from exchange_clients.errors import DecodeError

T = TypeVar("T")


class Wire(msgspec.Struct, frozen=True, gc=False):
    """Base of everything that arrives: unknown fields are ignored."""


class Results(msgspec.Struct, Generic[T], frozen=True):
    """A list, page by page: `next` is the cursor of the page after it, empty on the last one."""

    results: list[T]
    next: str | None = None
    prev: str | None = None


# ---- the system: rest/status, rest/markets (system/config)


class ServerTime(Wire, frozen=True):
    server_time: int


class SystemState(Wire, frozen=True):
    """ok, maintenance, cancel_only, post_only."""

    status: str


class BridgedToken(Wire, frozen=True):
    name: str
    symbol: str
    decimals: int
    l1_token_address: str = ""
    l1_bridge_address: str = ""
    l2_token_address: str = ""
    l2_bridge_address: str = ""


class SystemConfig(Wire, frozen=True):
    starknet_chain_id: str
    paraclear_account_hash: str
    paraclear_account_proxy_hash: str
    l1_chain_id: str
    starknet_gateway_url: str = ""
    starknet_fullnode_rpc_url: str = ""
    block_explorer_url: str = ""
    paraclear_address: str = ""
    paraclear_decimals: int = 8
    oracle_address: str = ""
    bridged_tokens: list[BridgedToken] = []
    l1_core_contract_address: str = ""
    l1_operator_address: str = ""
    liquidation_fee: str = ""


# ---- markets: rest/markets, rest/ticker, ws/ticker, ws/markets


class CrossMargin(Wire, frozen=True):
    imf_base: Decimal
    mmf_factor: Decimal
    imf_factor: Decimal = Decimal(0)
    imf_shift: Decimal = Decimal(0)


class Fee(Wire, frozen=True):
    fee: Decimal
    fee_cap: Decimal | None = None
    fee_floor: Decimal | None = None


class FeePair(Wire, frozen=True):
    maker_fee: Fee | None = None
    taker_fee: Fee | None = None


class FeeConfig(Wire, frozen=True):
    """`api_fee` is what orders of a token for programs pay."""

    api_fee: FeePair | None = None
    interactive_fee: FeePair | None = None
    rpi_fee: FeePair | None = None


class Market(Wire, frozen=True):
    """`funding_period_hours` is the period of this market's rates. Perpetuals have `asset_kind` PERP."""

    symbol: str
    base_currency: str
    quote_currency: str
    settlement_currency: str
    order_size_increment: Decimal
    price_tick_size: Decimal
    asset_kind: str
    min_notional: Decimal = Decimal(0)
    open_at: int = 0
    expiry_at: int = 0
    position_limit: str = ""
    price_bands_width: str = ""
    max_open_orders: int = 0
    max_funding_rate: str = ""
    delta1_cross_margin_params: CrossMargin | None = None
    price_feed_id: str = ""
    oracle_ewma_factor: str = ""
    max_order_size: str = ""
    max_funding_rate_change: str = ""
    max_tob_spread: str = ""
    market_kind: str = ""
    trading_mode: str = ""
    max_slippage: str = ""
    funding_period_hours: Decimal | None = None
    interest_rate: str = ""
    clamp_rate: str = ""
    funding_multiplier: Decimal | None = None
    fee_config: FeeConfig | None = None
    tags: list[str] = []


class Summary(Wire, frozen=True):
    """`volume_24h` is USD, `open_interest` base units, `funding_rate` for the market's own period. `total_volume` counts its whole life."""

    symbol: str
    mark_price: str = ""
    underlying_price: str = ""
    last_traded_price: str = ""
    bid: str = ""
    ask: str = ""
    bid_size: str = ""
    ask_size: str = ""
    volume_24h: str = ""
    total_volume: str = ""
    open_interest: str = ""
    funding_rate: str = ""
    price_change_rate_24h: str = ""
    created_at: int | None = None
    oracle_price: str = ""
    external_fair_price: str = ""
    forward_rate: str = ""
    risk_free_rate: str = ""
    future_funding_rate: str = ""


class Book(Wire, frozen=True):
    """rest/orderbook. Pairs of price and size, best first; `seq_no` has nothing to do with that of the stream."""

    market: str
    seq_no: int
    last_updated_at: int
    bids: list[tuple[Decimal, Decimal]]
    asks: list[tuple[Decimal, Decimal]]


class Bbo(Wire, frozen=True):
    market: str
    bid: str
    bid_size: str
    ask: str
    ask_size: str
    last_updated_at: int
    seq_no: int


class Trade(Wire, frozen=True):
    """rest/trades, ws/trades. `side` is the taker's."""

    id: str
    market: str
    side: str
    size: Decimal
    price: Decimal
    created_at: int
    trade_type: str = ""


Kline = tuple[int, Decimal, Decimal, Decimal, Decimal, Decimal]
"""rest/candles: start in ms, open, high, low, close, volume."""


class Funding(Wire, frozen=True):
    """rest/funding_history, ws/funding_rate. The rate is for `funding_period_hours`; 0 or absent: the market's own."""

    market: str
    funding_rate: Decimal
    created_at: int
    funding_index: str = ""
    funding_premium: str = ""
    funding_rate_8h: str = ""
    funding_period_hours: Decimal | None = None
    impact_premium_rate: str = ""


# ---- account: rest/account, rest/positions, rest/fills, ws/account, ws/positions, ws/fills


class Token(Wire, frozen=True):
    jwt_token: str


class Account(Wire, frozen=True):
    account_value: Decimal
    free_collateral: Decimal
    total_collateral: Decimal
    initial_margin_requirement: Decimal
    maintenance_margin_requirement: Decimal
    account: str | int = ""
    margin_cushion: str = ""
    settlement_asset: str = ""
    status: str = ""
    seq_no: int = 0
    updated_at: int = 0
    last_seen_notification: int = 0


class Fees(Wire, frozen=True):
    maker_rate: Decimal
    taker_rate: Decimal


class AccountInfo(Wire, frozen=True):
    account: str
    kind: str = ""
    public_key: str = ""
    parent_account: str = ""
    isolated_market: str = ""
    fees: Fees | None = None


class Balance(Wire, frozen=True):
    token: str
    size: Decimal
    last_updated_at: int = 0
    average_entry_price: str = ""
    average_entry_price_usd: str = ""
    cost: str = ""
    cost_usd: str = ""


class MarginEntry(Wire, frozen=True):
    market: str
    leverage: int = 0
    margin_type: str = "CROSS"
    isolated_margin_leverage: int = 0


class MarginConfigs(Wire, frozen=True):
    configs: list[MarginEntry]
    account: str = ""
    margin_methodology: str = ""


class MarginSet(Wire, frozen=True):
    """The answer to a setting."""

    market: str = ""
    leverage: int = 0
    margin_type: str = ""
    account: str = ""


class Position(Wire, frozen=True):
    """`size` is signed by REST and in JSON; from SBE it arrives here signed too. `unrealized_pnl` has the funding in it."""

    market: str
    side: str
    size: Decimal
    status: str = ""
    id: str = ""
    average_entry_price: str = ""
    average_entry_price_usd: str = ""
    average_exit_price: str = ""
    unrealized_pnl: str = ""
    unrealized_funding_pnl: str = ""
    realized_pnl: str = ""
    realized_positional_pnl: str = ""
    realized_positional_funding_pnl: str = ""
    cached_funding_index: str = ""
    leverage: str | None = None
    liquidation_price: str | None = None
    cost: str = ""
    cost_usd: str = ""
    last_fill_id: str = ""
    created_at: int = 0
    closed_at: int = 0
    last_updated_at: int = 0
    seq_no: int = 0
    account: str | None = None
    mark_price: str = ""
    """Only in SBE."""


class RequestInfo(Wire, frozen=True):
    """What became of a modify: PENDING, PROCESSED, REJECTED, SUCCESS."""

    id: str = ""
    request_type: str = ""
    status: str = ""
    message: str = ""


class Order(Wire, frozen=True):
    """rest/orders, ws/orders. `status` NEW, UNTRIGGERED, OPEN, CLOSED; what ended it is in `cancel_reason` and `remaining_size`."""

    id: str
    market: str
    side: str
    type: str
    size: Decimal
    status: str
    price: str = ""
    remaining_size: Decimal | None = None
    avg_fill_price: str = ""
    cancel_reason: str = ""
    client_id: str = ""
    instruction: str = ""
    flags: list[str] | str = []
    stp: str = ""
    trigger_price: str = ""
    account: str = ""
    timestamp: int = 0
    created_at: int = 0
    last_updated_at: int = 0
    received_at: int = 0
    published_at: int = 0
    seq_no: int = 0
    request_info: RequestInfo | None = None


class Fill(Wire, frozen=True):
    """`fee` > 0 was paid. `fill_type` FILL, LIQUIDATION, UNWIND_TRANSFER, SETTLE_MARKET, RPI, BLOCK_TRADE."""

    id: str
    market: str
    side: str
    price: Decimal
    size: Decimal
    created_at: int
    fee: Decimal = Decimal(0)
    fee_currency: str = ""
    liquidity: str = ""
    order_id: str = ""
    client_id: str = ""
    remaining_size: str = ""
    fill_type: str = ""
    realized_pnl: str = ""
    realized_funding: str = ""
    underlying_price: str = ""
    account: str = ""
    orderbook_seq_no: int = 0
    flags: list[str] = []


class FundingPayment(Wire, frozen=True):
    """One row for each fill that realised funding. `payment` > 0 was received."""

    id: str
    market: str
    payment: Decimal
    created_at: int
    index: str = ""
    fill_id: str = ""
    account: str = ""


class Liquidation(Wire, frozen=True):
    id: str
    created_at: int


class Transfer(Wire, frozen=True):
    id: str
    kind: str
    status: str
    amount: Decimal
    token: str
    created_at: int
    last_updated_at: int = 0
    account: str = ""
    counterparty: str = ""
    direction: str = ""
    txn_hash: str = ""
    external_txn_hash: str = ""
    external_chain: str = ""
    external_account: str = ""
    bridge: str = ""
    socialized_loss_factor: str = ""
    failure_reason: str = ""
    auto_withdrawal_fee: str = ""
    vault_address: str = ""
    vault_unwind_completion_percentage: str = ""


class Tradebust(Wire, frozen=True):
    account: str
    busted_fill_id: str
    created_at: int


class Transaction(Wire, frozen=True):
    id: str
    type: str
    state: str
    hash: str | int = ""
    created_at: int | None = None
    completed_at: int | None = None


class BalanceEvent(Wire, frozen=True):
    """ws/account (balance_events)."""

    created_at: int
    type: str
    market: str = ""
    fill_id: str = ""
    fees: str = ""
    funding_index: str = ""
    realized_funding: str = ""
    realized_pnl: str = ""
    settlement_asset_address: str = ""
    settlement_asset_balance_after: str = ""
    settlement_asset_balance_before: str = ""
    settlement_asset_name: str = ""
    settlement_asset_price: str = ""
    status: str = ""


class Subkey(Wire, frozen=True):
    public_key: str
    name: str = ""
    state: str | None = None
    id: int = 0
    account_id: str = ""
    allowed_cidrs: list[str] = []
    created_at: int = 0
    updated_at: int = 0
    revoked_at: int = 0


# ---- answers to commands: rest/order_ack, ws/order_ack, rest/error, ws/error


class Failure(Wire, frozen=True):
    error: str
    message: str = ""
    data: Any = None


class BatchAnswer(Wire, frozen=True):
    orders: list[Order | None] | None = None
    errors: list[Failure | None] | None = None


class CancelResult(Wire, frozen=True):
    """`status` QUEUED_FOR_CANCELLATION, ALREADY_CLOSED, NOT_FOUND."""

    status: str
    id: str = ""
    client_id: str = ""
    market: str = ""
    account: str = ""


class CancelResults(Wire, frozen=True):
    results: list[CancelResult]


class Cancelled(Wire, frozen=True):
    """On the socket."""

    status: str = ""
    order_id: str = ""


class Placed(Wire, frozen=True):
    """On the socket, where an order comes in an envelope."""

    order: Order | None = None
    created_at: int | None = None
    received_at: int | None = None
    error: str | None = None


class PlacedMany(Wire, frozen=True):
    results: list[Placed]


# ---- frames


class RpcError(Wire, frozen=True):
    code: int
    message: str = ""
    data: Any = None

    @property
    def text(self) -> str:
        return f"{self.message}: {self.data}" if self.data else self.message


class Params(Wire, frozen=True):
    channel: str
    data: msgspec.Raw = msgspec.Raw(b"null")


class Frame(Wire, frozen=True):
    """A JSON text frame: an answer (by `id`), or an event of a subscription."""

    id: int | None = None
    method: str = ""
    params: Params | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: RpcError | None = None


class Event(Wire, frozen=True):
    """A JSON event of a channel that nobody here subscribes to."""

    channel: str


class Subscribed(Wire, frozen=True):
    channel: str = ""


EVENTS: Final[dict[str, Any]] = {"orders": Order, "fills": Fill, "positions": Position, "account": Account}
"""Private channels up to the first dot."""
_decode_frame: Final = msgspec.json.Decoder(Frame, strict=False).decode
_decoders: Final = {name: msgspec.json.Decoder(kind, strict=False).decode for name, kind in EVENTS.items()}


def decode_text(data: str | bytes) -> Any:
    """An answer as `Frame`, an event as its type."""
    frame = _decode_frame(data)
    if frame.params is not None:
        channel = frame.params.channel
        decode = _decoders.get(channel.partition(".")[0])
        return decode(frame.params.data) if decode is not None else Event(channel)
    if frame.id is None and frame.error is None:
        raise DecodeError("a frame that is neither an answer nor an event")
    return frame


# ---- what is sent


class NewOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """Body of an order; the signature is filled in when it is signed."""

    market: str
    side: str
    type: str
    size: str
    price: str
    instruction: str
    client_id: str = ""
    flags: list[str] = []
    trigger_price: str = ""
    stp: str = ""
    recv_window: int = 0
    signature: str = ""
    signature_timestamp: int = 0


class ModifyOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """All terms of the order, changed or not."""

    id: str
    market: str
    side: str
    type: str
    size: str
    price: str
    trigger_price: str = ""
    signature: str = ""
    signature_timestamp: int = 0


class Action(msgspec.Struct, frozen=True):
    """A command before it is signed: how it travels by REST, and as which method (with which parameters beside the body) on the socket."""

    method: Literal["POST", "PUT", "DELETE"]
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None
    rpc: str = ""
    params: dict[str, Any] = {}
