"""The REST endpoints. Parameters come as text; what is wrong with them is told as 20001."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from exchange_simulator.core.market import MarketState
from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import UNIT, Side, TradeKind
from exchange_simulator.dialects.base import Received, Reply, Route
from exchange_simulator.dialects.lighter.accounts import TIERS, Owner
from exchange_simulator.dialects.lighter.errors import refusal
from exchange_simulator.dialects.lighter.stream import RESOLUTIONS_S
from exchange_simulator.dialects.lighter.tx import Tx
from exchange_simulator.dialects.lighter.wire import FEE_TICK, MS, USDC_ASSET, block_height

if TYPE_CHECKING:
    from exchange_simulator.dialects.lighter.dialect import LighterDialect

V1 = "/api/v1"
ALL_MARKETS = 255
MAX_CANDLES = 500
MAX_FUNDINGS = 100


class Rest:
    """Handlers, and the table of what they cost."""

    def __init__(self, dialect: LighterDialect) -> None:
        self._dialect = dialect
        self._exchange = dialect.exchange

    def routes(self) -> list[Route]:
        get = {
            "orderBooks": self._order_books,
            "orderBookDetails": self._order_book_details,
            "orderBookOrders": self._order_book_orders,
            "recentTrades": self._recent_trades,
            "trades": self._trades,
            "candles": self._candles,
            "fundings": self._fundings,
            "funding-rates": self._funding_rates,
            "exchangeStats": self._exchange_stats,
            "assetDetails": self._asset_details,
            "account": self._account,
            "accountsByL1Address": self._accounts_by_address,
            "accountActiveOrders": self._active_orders,
            "accountInactiveOrders": self._inactive_orders,
            "accountOrders": self._orders_by_client_index,
            "accountLimits": self._limits,
            "positionFunding": self._position_funding,
            "liquidations": self._liquidations,
            "accountTxs": self._account_txs,
            "nextNonce": self._next_nonce,
            "apikeys": self._api_keys,
            "tx": self._tx,
            "currentHeight": self._height,
        }
        routes = [Route("GET", f"{V1}/{name}", handler, WEIGHTS.get(name, 300)) for name, handler in get.items()]
        if not self._dialect.testnet:
            routes.append(Route("GET", f"{V1}/status", self._status, 300))
        return [
            *routes,
            Route("GET", "/", self._status, 300),
            Route("GET", "/info", self._info, 300),
            Route("POST", f"{V1}/sendTx", self._send_tx, 6),
            Route("POST", f"{V1}/sendTxBatch", self._send_tx_batch, 6),
            Route("POST", f"{V1}/tokens/create", self._create_token, 23_000),
            Route("POST", f"{V1}/changeAccountTier", self._change_tier, 3_000),
        ]

    # parameters

    def _market(self, received: Received, *, required: bool = True) -> MarketState | None:
        index = _number(received, "market_id", required=required)
        if index is None or (index == ALL_MARKETS and not required):
            return None
        market = self._dialect.market(index)
        if market is None:
            raise refusal(21602)
        return market

    def _the_market(self, received: Received) -> MarketState:
        market = self._market(received)
        assert market is not None
        return market

    def _owner(self, received: Received) -> Owner:
        """Whoever the token stands for, which must be the account asked about."""
        account = _number(received, "account_index")
        return self._dialect.owners.token(token_of(received), self._dialect.now_ns() // 10**9, account)

    # venue

    async def _status(self, received: Received) -> Reply:
        return Reply({"status": 1, "network_id": 1, "timestamp": self._dialect.now_ns() // 10**9})

    async def _info(self, received: Received) -> Reply:
        return Reply({"contract_address": "0x" + "0" * 40})

    async def _height(self, received: Received) -> Reply:
        return _ok(height=block_height(self._dialect.now_ns()))

    # markets

    def _asked_markets(self, received: Received) -> list[MarketState]:
        one = self._market(received, required=False)
        if received.params.get("filter", "all") == "spot":
            return []
        return [one] if one is not None else [self._exchange.markets[s] for s in self._dialect.listed()]

    async def _order_books(self, received: Received) -> Reply:
        return _ok(order_books=[self._dialect.wire.market(m) for m in self._asked_markets(received)])

    async def _order_book_details(self, received: Received) -> Reply:
        rows = [self._dialect.wire.details(m, self._dialect.day(m.symbol)) for m in self._asked_markets(received)]
        return _ok(order_book_details=rows, spot_order_book_details=[])

    async def _order_book_orders(self, received: Received) -> Reply:
        market, limit = self._the_market(received), _limit(received, 250)
        asks = self._dialect.wire.book_orders(market, Side.SELL, limit)
        bids = self._dialect.wire.book_orders(market, Side.BUY, limit)
        return _ok(total_asks=len(asks), asks=asks, total_bids=len(bids), bids=bids)

    async def _exchange_stats(self, received: Received) -> Reply:
        rows, volume, trades = [], 0.0, 0
        for symbol in self._dialect.listed():
            market = self._exchange.markets[symbol]
            details = self._dialect.wire.details(market, self._dialect.day(symbol))
            names = ("symbol", "last_trade_price", "daily_trades_count", "daily_base_token_volume", "daily_quote_token_volume")
            rows.append({name: details[name] for name in (*names, "daily_price_change")})
            volume += details["daily_quote_token_volume"]
            trades += details["daily_trades_count"]
        return _ok(total=len(rows), order_book_stats=rows, daily_usd_volume=volume, daily_trades_count=trades)

    async def _asset_details(self, received: Received) -> Reply:
        usdc = {
            "asset_id": USDC_ASSET,
            "symbol": "USDC",
            "l1_decimals": 6,
            "decimals": 6,
            "min_transfer_amount": "1.000000",
            "min_withdrawal_amount": "1.000000",
            "margin_mode": "enabled",
            "index_price": "1.000000",
            "l1_address": "0x" + "0" * 40,
        }
        return _ok(asset_details=[usdc])

    async def _candles(self, received: Received) -> Reply:
        market = self._the_market(received)
        resolution = received.params.get("resolution", "")
        if resolution not in RESOLUTIONS_S:
            raise refusal(22402)
        start, end = _range(received)
        count = min(MAX_CANDLES, max(1, _number(received, "count_back") or MAX_CANDLES))
        found = self._dialect.history.candles(market.symbol, RESOLUTIONS_S[resolution] * 10**9, start * MS, end * MS)
        return _ok(r=resolution, c=[self._dialect.wire.candle(market, c) for c in found[-count:]])

    # trades

    async def _recent_trades(self, received: Received) -> Reply:
        market, limit = self._the_market(received), _limit(received, 100)
        newest = list(self._dialect.history.trades[market.symbol])[-limit:]
        return _ok(trades=[self._dialect.wire.trade(t) for t in reversed(newest)])

    async def _trades(self, received: Received) -> Reply:
        limit, market = _limit(received, 100), self._market(received, required=False)
        if not received.params.get("sort_by"):
            raise refusal(20001, ": sort_by is required")
        if received.params.get("account_index"):
            owner = self._owner(received)
            fills = self._dialect.history.fills[owner.index]
            role = received.params.get("role", "all")
            wanted = {f.trade_id for f in fills if role in ("all", f.liquidity)}
            rows = [self._dialect.history.trade[i] for i in sorted(wanted) if i in self._dialect.history.trade]
        elif market is None:
            raise refusal(20001, ": market_id or account_index is required")
        else:
            rows = list(self._dialect.history.trades[market.symbol])
        cursor = _number(received, "cursor", required=False)
        order, kind = _number(received, "order_index", required=False), received.params.get("type", "all")
        found = []
        for trade in reversed(rows):
            if (market is not None and trade.market != market.symbol) or (cursor is not None and trade.trade_id >= cursor):
                continue
            row = self._dialect.wire.trade(trade)
            if (order is None or order in (row["ask_id"], row["bid_id"])) and kind in ("all", row["type"]):
                found.append(row)
                if len(found) > limit:
                    break
        return _paged(found[:limit], "trades", found[limit - 1]["trade_id_str"] if len(found) > limit else "")

    # funding

    async def _fundings(self, received: Received) -> Reply:
        """Rows of the hour, or of the day with the mean rate; at most a hundred, the newest of the range."""
        market = self._the_market(received)
        resolution = received.params.get("resolution", "")
        if resolution not in ("1h", "1d"):
            raise refusal(22402)
        start, end = _range(received)
        count = min(MAX_FUNDINGS, max(1, _number(received, "count_back") or MAX_FUNDINGS))
        rows = [r for r in self._dialect.history.funding[market.symbol] if start <= r.ts_ns // 10**9 <= end]
        if resolution == "1d":
            rows = [r for r in rows if r.ts_ns % (86_400 * 10**9) == 0]
        return _ok(resolution=resolution, fundings=[self._dialect.wire.funding(market, r) for r in rows[-count:]])

    async def _funding_rates(self, received: Received) -> Reply:
        """Fractions per eight hours, whatever the venue in the row charges by."""
        rows = []
        for symbol, index in self._dialect.listed().items():
            market = self._exchange.markets[symbol]
            interval_h = market.spec.funding_interval_ns / 3.6e12
            rate = self._exchange.funding_estimate(symbol) / UNIT / interval_h * 8
            others = {"binance": rate * 0.9, "bybit": rate * 1.1, "hyperliquid": rate * 1.2}
            for venue, value in {"lighter": rate, **others}.items():
                rows.append({"market_id": index, "exchange": venue, "symbol": symbol, "rate": value})
        return _ok(funding_rates=rows)

    async def _position_funding(self, received: Received) -> Reply:
        owner, limit, market = self._owner(received), _limit(received, 100), self._market(received, required=False)
        cursor, side = _number(received, "cursor", required=False), received.params.get("side", "all")
        found = [
            p
            for p in reversed(self._dialect.history.payments[owner.index])
            if (market is None or p.market == market.symbol)
            and (cursor is None or p.seq < cursor)
            and side in ("all", "long" if p.size > 0 else "short")
        ]
        page = [self._dialect.wire.payment(p) for p in found[:limit]]
        return _paged(page, "position_fundings", str(found[limit - 1].seq) if len(found) > limit else "")

    # accounts

    async def _account(self, received: Received) -> Reply:
        by, value = received.params.get("by"), received.params.get("value", "")
        if by == "index":
            owners = [self._dialect.owners.get(_integer(value, "value"))]
        elif by == "l1_address":
            owners = self._dialect.owners.of_address(value)
        else:
            raise refusal(20001, ": by")
        rows = [self._dialect.wire.account(self._exchange.account(o.index), o.l1_address) for o in owners]
        return _ok(total=len(rows), accounts=rows)

    async def _accounts_by_address(self, received: Received) -> Reply:
        address = received.params.get("l1_address", "")
        rows = []
        for owner in self._dialect.owners.of_address(address):
            row = self._dialect.wire.account(self._exchange.account(owner.index), owner.l1_address)
            rows.append({name: row[name] for name in _BRIEF})
        return _ok(l1_address=address, sub_accounts=rows)

    async def _limits(self, received: Received) -> Reply:
        owner = self._owner(received)
        return _ok(
            max_llp_percentage=100,
            max_llp_amount="0.000000",
            user_tier=owner.tier.name,
            can_create_public_pool=False,
            user_tier_name=owner.tier.name,
            current_maker_fee_tick=owner.tier.maker_fee // FEE_TICK,
            current_taker_fee_tick=owner.tier.taker_fee // FEE_TICK,
            leased_lit="0.00000000",
            effective_lit_stakes="0.00000000",
            user_tier_last_update=0,
        )

    async def _next_nonce(self, received: Received) -> Reply:
        owner = self._dialect.owners.get(_integer(received.params.get("account_index"), "account_index"))
        key = owner.keys.get(_integer(received.params.get("api_key_index"), "api_key_index"))
        return _ok(nonce=key.next_nonce if key is not None else 0)

    async def _api_keys(self, received: Received) -> Reply:
        owner = self._dialect.owners.get(_integer(received.params.get("account_index"), "account_index"))
        index = _number(received, "api_key_index", required=False)
        wanted = [i for i in sorted(owner.keys) if index in (None, ALL_MARKETS, i)]
        if not wanted:
            raise refusal(21109)
        rows = [
            {
                "account_index": owner.index,
                "api_key_index": i,
                "nonce": owner.keys[i].next_nonce,
                "public_key": owner.keys[i].public_key.hex(),
                "transaction_time": owner.keys[i].registered_us,
            }
            for i in wanted
        ]
        return _ok(api_keys=rows)

    async def _create_token(self, received: Received) -> Reply:
        """A read-only token, the account's own and nothing else in scope."""
        owner = self._owner(received)
        expiry, name = _integer(received.params.get("expiry"), "expiry"), received.params.get("name", "")
        number, text = self._dialect.owners.create_read_token(owner, name, expiry, self._dialect.now_ns() // 10**9)
        fields = {"token_id": number, "api_token": text, "name": name, "account_index": owner.index, "expiry": expiry}
        return _ok(**fields, sub_account_access=False, revoked=False, scopes="read.*")

    async def _change_tier(self, received: Received) -> Reply:
        owner = self._owner(received)
        tier = TIERS.get(received.params.get("new_tier", ""))
        if tier is None:
            raise refusal(62002)
        if tier is owner.tier:
            raise refusal(62003)
        account = self._exchange.account(owner.index)
        if any(p.size for p in account.positions.values()):
            raise refusal(62004)
        if account.orders:
            raise refusal(62005)
        owner.tier = tier
        self._exchange.set_fees(self._dialect.now_ns(), owner.index, tier.maker_fee, tier.taker_fee)
        return _ok()

    # orders

    def _rows(self, orders: Sequence[Order]) -> list[dict[str, Any]]:
        return [self._dialect.wire.order(o, self._dialect.stream.book(o.market.symbol).nonce) for o in orders]

    async def _active_orders(self, received: Received) -> Reply:
        owner, market = self._owner(received), self._market(received, required=False)
        orders = self._exchange.open_orders(owner.index, market.symbol if market is not None else "")
        return _ok(orders=self._rows(orders))

    async def _inactive_orders(self, received: Received) -> Reply:
        owner, limit, market = self._owner(received), _limit(received, 100), self._market(received, required=False)
        ended = list(dict.fromkeys(self._dialect.history.ended[owner.index]))
        cursor = _number(received, "cursor", required=False)
        end = len(ended) if cursor is None else min(cursor, len(ended))
        between = received.params.get("between_timestamps", "")
        start_ms, _, end_ms = between.partition("-")
        low, high = (_integer(start_ms, "between_timestamps"), _integer(end_ms, "between_timestamps")) if between else (0, 2**63)
        page: list[Order] = []
        position = end
        while position > 0 and len(page) < limit:
            position -= 1
            order = self._exchange.order(ended[position])
            if order is None or not order.status.terminal or (market is not None and order.market is not market):
                continue
            if low <= order.updated_ns // MS <= high and not self._dialect.muted(order):
                page.append(order)
        return _paged(self._rows(page), "orders", str(position) if position > 0 and len(page) == limit else "")

    async def _orders_by_client_index(self, received: Received) -> Reply:
        owner = self._owner(received)
        indexes = [_integer(text, "client_order_indexes") for text in received.params.get("client_order_indexes", "").split(",")]
        if len(indexes) > 20:
            raise refusal(20001, ": client_order_indexes")
        found = (self._exchange.order_by_client_id(owner.index, str(i)) for i in indexes)
        return _ok(orders=self._rows([o for o in found if o is not None and not self._dialect.muted(o)]))

    async def _liquidations(self, received: Received) -> Reply:
        owner = self._owner(received)
        rows = []
        for fill in reversed(self._dialect.history.fills[owner.index]):
            trade = self._dialect.history.trade.get(fill.trade_id)
            if trade is not None and fill.kind in (TradeKind.LIQUIDATION, TradeKind.ADL):
                kind = "deleverage" if fill.kind is TradeKind.ADL else "partial"
                rows.append(
                    {
                        "id": fill.seq,
                        "market_id": self._dialect.ids[fill.market],
                        "type": kind,
                        "trade": self._dialect.wire.trade(trade),
                        "executed_at": fill.ts_ns // MS,
                    }
                )
        return _ok(liquidations=rows)

    # transactions

    async def _account_txs(self, received: Received) -> Reply:
        owner, limit = self._owner(received), _limit(received, 100)
        records = [r for r in self._dialect.sequencer.records.values() if r.tx.account == owner.index]
        return _ok(txs=[self._dialect.tx_row(r) for r in records[: -limit - 1 : -1]])

    async def _tx(self, received: Received) -> Reply:
        by, value = received.params.get("by"), received.params.get("value", "")
        if by == "hash":
            record = self._dialect.sequencer.records.get(value.removeprefix("0x"))
        elif by == "sequence_index":
            wanted = _integer(value, "value")
            record = next((r for r in self._dialect.sequencer.records.values() if r.sequence == wanted), None)
        else:
            raise refusal(20001, ": by")
        if record is None:
            raise refusal(21500)
        return Reply({"code": 200, **self._dialect.tx_row(record)})

    async def _send_tx(self, received: Received) -> Reply:
        tx = Tx.parse(received.params.get("tx_type"), received.params.get("tx_info", ""))
        record = self._dialect.sequencer.accept([tx])[0]
        return _ok(
            message='{"ratelimit": "didn\'t use volume quota"}',
            tx_hash=record.hash,
            predicted_execution_time_ms=record.executes_ns // MS,
            volume_quota_remaining=10_000,
        )

    async def _send_tx_batch(self, received: Received) -> Reply:
        txs = self._dialect.parse_batch(received.params.get("tx_types"), received.params.get("tx_infos"), 50)
        records = self._dialect.sequencer.accept(txs)
        return _ok(
            message='{"ratelimit": "didn\'t use volume quota"}',
            tx_hash=[record.hash for record in records],
            predicted_execution_time_ms=records[0].executes_ns // MS,
            volume_quota_remaining=10_000,
        )


WEIGHTS = {
    "nextNonce": 6,
    "accountInactiveOrders": 100,
    "apikeys": 150,
    "trades": 600,
    "recentTrades": 600,
}
"""Weight per call, 300 where not named. Source: https://apidocs.lighter.xyz/docs/rate-limits, read 2026-09."""

_BRIEF = (
    "code",
    "account_type",
    "index",
    "l1_address",
    "cancel_all_time",
    "total_order_count",
    "total_isolated_order_count",
    "pending_order_count",
    "available_balance",
    "status",
    "collateral",
    "transaction_time",
    "account_trading_mode",
)


def token_of(received: Received) -> str:
    """The auth token, from the header or the query."""
    return received.headers.get("Authorization", "") or received.params.get("auth", "") or received.params.get("authorization", "")


def parse_list(text: Any) -> list[Any]:
    try:
        found = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        raise refusal(21501) from None
    if not isinstance(found, list):
        raise refusal(21501)
    return found


def _ok(**fields: Any) -> Reply:
    return Reply({"code": 200, **fields})


def _paged(rows: list[dict[str, Any]], name: str, cursor: str) -> Reply:
    return _ok(**{name: rows}, **({"next_cursor": cursor} if cursor else {}))


def _integer(text: str | None, name: str) -> int:
    try:
        return int(text or "")
    except ValueError:
        raise refusal(20001, f": {name}") from None


def _number(received: Received, name: str, *, required: bool = True) -> int | None:
    text = received.params.get(name, "")
    if not text and not required:
        return None
    return _integer(text, name)


def _limit(received: Received, most: int) -> int:
    limit = _integer(received.params.get("limit"), "limit")
    if not 1 <= limit <= most:
        raise refusal(20001, ": limit")
    return limit


def _range(received: Received) -> tuple[int, int]:
    start, end = (
        _integer(received.params.get("start_timestamp"), "start_timestamp"),
        _integer(received.params.get("end_timestamp"), "end_timestamp"),
    )
    if end < start:
        raise refusal(22400)
    return start, end
