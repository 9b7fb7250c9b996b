"""Lighter's messages as types: answers of the REST interface and frames of the socket.

Only what is read stands here; unknown fields are ignored. Numbers that are money, prices or sizes are Decimal, except book levels
(`Level`), which are lax floats on their way to integer ticks. Numbers may come as text or as numbers. Where a field may be empty text it is
`str`. Times are milliseconds unless said otherwise. Above each group: where recorded examples are (folders of `payloads/lighter`).

Source: dossier sections 3 and 4; https://apidocs.lighter.xyz/docs/websocket-reference, read 2026-11.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

__all__ = ["Frame", "Wire", "decode_frame"]


class Wire(msgspec.Struct, frozen=True, gc=False):
    """Base of everything that arrives."""


class Paged(msgspec.Struct, frozen=True):
    next_cursor: str = ""


# ---- the account: rest/account, rest/positions, ws/positions


class PositionRow(Wire, frozen=True):
    """`position` is unsigned, `sign` is 1 or -1. `initial_margin_fraction` is percent by REST. `liquidation_price` "0" means none."""

    market_id: int
    sign: int
    position: Decimal
    avg_entry_price: Decimal
    position_value: Decimal
    unrealized_pnl: Decimal
    realized_pnl: Decimal
    initial_margin_fraction: Decimal
    liquidation_price: Decimal
    margin_mode: int
    allocated_margin: Decimal
    total_funding_paid_out: Decimal | None = None


class AccountRow(msgspec.Struct, frozen=True):
    """Empty text where the venue has no figure (sub-account lists)."""

    index: int
    available_balance: str = ""
    total_asset_value: str = ""
    cross_initial_margin_requirement: str = ""
    cross_maintenance_margin_requirement: str = ""
    positions: list[PositionRow] = []


class Accounts(msgspec.Struct, frozen=True):
    accounts: list[AccountRow]


class SubAccounts(msgspec.Struct, frozen=True):
    sub_accounts: list[AccountRow]


class AccountLimits(Wire, frozen=True):
    """Fee ticks are millionths."""

    user_tier: str
    current_maker_fee_tick: int
    current_taker_fee_tick: int


class ApiKey(Wire, frozen=True):
    api_key_index: int
    public_key: str


class ApiKeys(msgspec.Struct, frozen=True):
    api_keys: list[ApiKey]


class NextNonce(Wire, frozen=True):
    nonce: int


# ---- markets: rest/orderbook, rest/ticker, rest/markets, rest/other


class MarketConfig(Wire, frozen=True):
    force_reduce_only: bool = False


class Market(msgspec.Struct, frozen=True):
    """Margin fractions are in 1e-4, fees and clamps percent. `open_interest` is one-sided, in base units."""

    symbol: str
    market_id: int
    status: str
    min_base_amount: Decimal
    min_quote_amount: Decimal
    supported_size_decimals: int
    supported_price_decimals: int
    taker_fee: Decimal
    maker_fee: Decimal
    market_type: str = "perp"
    default_initial_margin_fraction: int | None = None
    min_initial_margin_fraction: int | None = None
    maintenance_margin_fraction: int | None = None
    last_trade_price: Decimal | None = None
    mark_price: Decimal | None = None
    index_price: Decimal | None = None
    daily_quote_token_volume: Decimal | None = None
    open_interest: Decimal | None = None
    funding_clamp_big: Decimal | None = None
    market_config: MarketConfig = MarketConfig()


class Markets(msgspec.Struct, frozen=True):
    order_book_details: list[Market]


class MarketList(msgspec.Struct, frozen=True):
    order_books: list[Market]


class RestingOrder(Wire, frozen=True):
    price: Decimal
    remaining_base_amount: Decimal


class RestingOrders(msgspec.Struct, frozen=True):
    """Single orders, not levels; best first."""

    asks: list[RestingOrder]
    bids: list[RestingOrder]


class MarketDay(Wire, frozen=True):
    symbol: str
    last_trade_price: Decimal
    daily_trades_count: int
    daily_base_token_volume: Decimal
    daily_quote_token_volume: Decimal
    daily_price_change: Decimal


class ExchangeStats(msgspec.Struct, frozen=True):
    order_book_stats: list[MarketDay]
    daily_usd_volume: Decimal
    daily_trades_count: int


class Asset(Wire, frozen=True):
    asset_id: int
    symbol: str
    decimals: int
    min_transfer_amount: Decimal
    min_withdrawal_amount: Decimal
    margin_mode: str
    index_price: Decimal


class Assets(msgspec.Struct, frozen=True):
    asset_details: list[Asset]


class Status(Wire, frozen=True):
    """`timestamp` in seconds."""

    status: int
    timestamp: int


# ---- candles: rest/candles, ws/candles


class CandleRow(Wire, frozen=True):
    """`v` base volume. What is zero is left out."""

    t: int
    o: Decimal = Decimal(0)
    h: Decimal = Decimal(0)
    l: Decimal = Decimal(0)  # noqa: E741 - the venue's name
    c: Decimal = Decimal(0)
    v: Decimal = Decimal(0)


class Candles(msgspec.Struct, frozen=True):
    c: list[CandleRow]


class Candlestick(Wire, frozen=True):
    """The long form of the older endpoint."""

    timestamp: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume0: Decimal


class Candlesticks(msgspec.Struct, frozen=True):
    candlesticks: list[Candlestick]


# ---- funding: rest/funding_rate, rest/funding_history


class FundingRow(Wire, frozen=True):
    """A settled hour: `rate` unsigned percent, `direction` who paid, `timestamp` in seconds."""

    timestamp: int
    rate: Decimal
    direction: str


class Fundings(msgspec.Struct, frozen=True):
    fundings: list[FundingRow]


class FundingRate(Wire, frozen=True):
    """Of several exchanges; `rate` is a fraction per 8 hours."""

    market_id: int
    rate: Decimal
    exchange: str = "lighter"


class FundingRates(msgspec.Struct, frozen=True):
    funding_rates: list[FundingRate]


class PaymentRow(Wire, frozen=True):
    """`change` in USDC, negative when paid; `rate` percent; `timestamp` in seconds."""

    timestamp: int
    market_id: int
    funding_id: int
    change: Decimal
    rate: Decimal
    position_size: Decimal
    position_side: str


class Payments(Paged, frozen=True, kw_only=True):
    position_fundings: list[PaymentRow]


# ---- orders: rest/orders, ws/orders


class OrderRow(Wire, frozen=True):
    """`client_order_id` "0" means none. `transaction_time` is in microseconds; the other times are ms, in early records seconds."""

    market_index: int
    order_id: str
    client_order_id: str
    initial_base_amount: Decimal
    filled_base_amount: Decimal
    filled_quote_amount: Decimal
    price: Decimal
    is_ask: bool
    type: str
    time_in_force: str
    reduce_only: bool
    trigger_price: Decimal
    status: str
    created_at: int = 0
    updated_at: int = 0
    transaction_time: int = 0


class Orders(Paged, frozen=True, kw_only=True):
    orders: list[OrderRow]


# ---- trades: rest/trades, rest/fills, ws/trades, ws/fills


class TradeRow(Wire, frozen=True):
    """Fees are millionths of `usd_amount` and absent when zero. `transaction_time` in microseconds."""

    trade_id: int | str
    size: Decimal
    price: Decimal
    is_maker_ask: bool
    market_id: int | None = None
    type: str = "trade"
    usd_amount: Decimal = Decimal(0)
    ask_id: int = 0
    bid_id: int = 0
    ask_client_id: int = 0
    bid_client_id: int = 0
    ask_account_id: int = 0
    bid_account_id: int = 0
    timestamp: int = 0
    transaction_time: int = 0
    taker_fee: int = 0
    maker_fee: int = 0
    ask_account_pnl: Decimal | None = None
    bid_account_pnl: Decimal | None = None


class Trades(Paged, frozen=True, kw_only=True):
    trades: list[TradeRow]


class LiquidationTrade(Wire, frozen=True):
    price: Decimal
    size: Decimal
    taker_fee: Decimal
    maker_fee: Decimal


class Liquidation(msgspec.Struct, frozen=True):
    id: int
    market_id: int
    type: str
    trade: LiquidationTrade


class Liquidations(Paged, frozen=True, kw_only=True):
    liquidations: list[Liquidation]


# ---- transfers: rest/transfers


class Transfer(Wire, frozen=True):
    id: str
    amount: Decimal
    timestamp: int
    status: str
    l1_tx_hash: str
    asset_id: int | None = None
    type: str = ""


class Deposits(msgspec.Struct, frozen=True):
    deposits: list[Transfer]
    cursor: str = ""


class Withdrawals(msgspec.Struct, frozen=True):
    withdraws: list[Transfer]
    cursor: str = ""


# ---- commands: rest/order_ack, ws/order_ack


class Sent(Wire, frozen=True):
    """Accepted into the queue. `tx_hash` is a list for a batch."""

    tx_hash: str | list[str]
    volume_quota_remaining: int | None = None


# ---- frames


class Level(Wire, frozen=True):
    px: float = msgspec.field(name="price")
    sz: float = msgspec.field(name="size")


class Book(msgspec.Struct, frozen=True, gc=False):
    """`begin_nonce` is the `nonce` of the update before; `offset` numbers nothing that matters. `last_updated_at` in microseconds."""

    asks: list[Level]
    bids: list[Level]
    nonce: int
    begin_nonce: int | None = None
    last_updated_at: int | None = None


class BookSnapshot(msgspec.Struct, frozen=True, gc=False, tag="subscribed/order_book"):
    channel: str
    order_book: Book


class BookUpdate(msgspec.Struct, frozen=True, gc=False, tag="update/order_book"):
    channel: str
    order_book: Book


class Quote(Wire, frozen=True):
    """`{}` on an empty side."""

    price: Decimal | None = None
    size: Decimal | None = None


class TickerData(Wire, frozen=True):
    """`last_updated_at` in microseconds."""

    a: Quote = Quote()
    b: Quote = Quote()
    last_updated_at: int | None = None


class Ticker(msgspec.Struct, frozen=True, tag="subscribed/ticker"):
    """Sides that did not change may be missing, and `ticker` itself too."""

    channel: str
    ticker: TickerData | None = None


class TickerUpdate(Ticker, frozen=True, tag="update/ticker"):
    pass


class MarketStats(Wire, frozen=True):
    """`current_funding_rate`: the running hour's estimate; `funding_rate`: charged at `funding_timestamp`; both percent per hour."""

    market_id: int
    index_price: Decimal | None = None
    mark_price: Decimal | None = None
    current_funding_rate: Decimal | None = None
    funding_rate: Decimal | None = None
    funding_timestamp: int | None = None
    funding_clamp_big: Decimal | None = None


class MarketStatsFrame(msgspec.Struct, frozen=True, tag="subscribed/market_stats"):
    """One market's object, or, on `market_stats:all`, an object of those that changed."""

    channel: str
    market_stats: msgspec.Raw


class MarketStatsUpdate(MarketStatsFrame, frozen=True, tag="update/market_stats"):
    pass


class TradesFrame(msgspec.Struct, frozen=True, tag="subscribed/trade"):
    channel: str
    trades: list[TradeRow] | None = None
    liquidation_trades: list[TradeRow] | None = None


class TradesUpdate(TradesFrame, frozen=True, tag="update/trade"):
    pass


class CandlesFrame(msgspec.Struct, frozen=True, tag="subscribed/candle"):
    channel: str
    candles: list[CandleRow]


class CandlesUpdate(CandlesFrame, frozen=True, tag="update/candle"):
    pass


class OrdersFrame(msgspec.Struct, frozen=True, tag="subscribed/account_all_orders"):
    channel: str
    orders: dict[str, list[OrderRow]] | None = None


class OrdersUpdate(OrdersFrame, frozen=True, tag="update/account_all_orders"):
    pass


class MarketOrdersFrame(OrdersFrame, frozen=True, tag="subscribed/account_orders"):
    pass


class MarketOrdersUpdate(OrdersFrame, frozen=True, tag="update/account_orders"):
    pass


class FillsFrame(msgspec.Struct, frozen=True, tag="subscribed/account_all_trades"):
    """By market, in snapshots also as one list."""

    channel: str
    trades: dict[str, list[TradeRow]] | list[TradeRow] | None = None


class FillsUpdate(FillsFrame, frozen=True, tag="update/account_all_trades"):
    pass


class PositionsFrame(msgspec.Struct, frozen=True, tag="subscribed/account_all_positions"):
    """Every position, each time: a market that is missing is flat."""

    channel: str
    positions: dict[str, PositionRow] | None = None


class PositionsUpdate(PositionsFrame, frozen=True, tag="update/account_all_positions"):
    pass


class Stats(Wire, frozen=True):
    """`portfolio_value` is the equity."""

    available_balance: Decimal
    portfolio_value: Decimal


class StatsFrame(msgspec.Struct, frozen=True, tag="subscribed/user_stats"):
    channel: str
    stats: Stats


class StatsUpdate(StatsFrame, frozen=True, tag="update/user_stats"):
    pass


class Connected(msgspec.Struct, frozen=True, tag="connected"):
    """The first frame of a connection; subscribing before it is lost."""


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Wants a pong."""


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    pass


class Unsubscribed(msgspec.Struct, frozen=True, tag="unsubscribed"):
    channel: str = ""


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    close_in_ms: int = 0


class Failure(Wire, frozen=True):
    code: int
    message: str = ""


class Loose(msgspec.Struct, frozen=True):
    """Frames that no tag covers: answers of commands (`id`), refusals (`error`, or `code` with a message) and what we do not know."""

    type: str = ""
    id: str = ""
    code: int | None = None
    message: str = ""
    error: Failure | None = None
    tx_hash: str | list[str] = ""
    volume_quota_remaining: int | None = None


Frame = (
    BookUpdate
    | BookSnapshot
    | TickerUpdate
    | Ticker
    | MarketStatsUpdate
    | MarketStatsFrame
    | TradesUpdate
    | TradesFrame
    | CandlesUpdate
    | CandlesFrame
    | OrdersUpdate
    | OrdersFrame
    | MarketOrdersUpdate
    | MarketOrdersFrame
    | FillsUpdate
    | FillsFrame
    | PositionsUpdate
    | PositionsFrame
    | StatsUpdate
    | StatsFrame
    | Connected
    | Ping
    | Pong
    | Unsubscribed
    | Shutdown
)
_TAGS: Final = frozenset(str(kind.__struct_config__.tag) for kind in Frame.__args__)
_decode_tagged: Final = msgspec.json.Decoder(Frame, strict=False).decode
_decode_loose: Final = msgspec.json.Decoder(Loose, strict=False).decode
decode_stats: Final = msgspec.json.Decoder(MarketStats, strict=False).decode
decode_all_stats: Final = msgspec.json.Decoder(dict[str, MarketStats], strict=False).decode


def decode_frame(data: str | bytes) -> Any:
    """One frame as its type; `Loose` when its type is none of ours.

    Raises:
        msgspec.DecodeError: a frame of a known type that does not fit it, or no JSON object.
    """
    try:
        return _decode_tagged(data)
    except msgspec.ValidationError:
        loose = _decode_loose(data)
        if loose.type in _TAGS:
            raise
        return loose
