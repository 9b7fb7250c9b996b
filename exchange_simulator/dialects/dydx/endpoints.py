"""The indexer's HTTP endpoints: rows by market, account and id, with the venue's limits, cursors and refusals.

Source: dydxprotocol/v4-chain `indexer/services/comlink`, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from exchange_simulator.core.types import fraction, money
from exchange_simulator.dialects.base import Received, Refusal, Reply, Route
from exchange_simulator.dialects.dydx import wire
from exchange_simulator.dialects.dydx.indexer import RESOLUTIONS, AccountRows, OrderRow, PaymentRow, order_type

if TYPE_CHECKING:
    from exchange_simulator.dialects.dydx.dialect import DydxDialect

MAX_ROWS: Final = 1000
FOREVER_NS: Final = 2**62


class Endpoints:
    """GET under /v4."""

    def __init__(self, dialect: DydxDialect) -> None:
        self._dialect = dialect
        self._exchange = dialect.exchange
        self._indexer = dialect.indexer

    def routes(self) -> list[Route]:
        def get(path: str, answer: Callable[[Received, Mapping[str, str]], Any]) -> Route:
            names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
            places = [i for i, part in enumerate(f"/v4{path}".split("/")) if part.startswith("{")]

            async def handle(received: Received) -> Reply:
                self._indexer.catch_up()
                parts = received.path.split("/")
                found = answer(received, {name: unquote(parts[i]) for name, i in zip(names, places, strict=True)})
                return Reply(found, headers=self._dialect.limit_headers(received))

            return Route("GET", f"/v4{path}", handle)

        return [
            get("/perpetualMarkets", self._markets),
            get("/orderbooks/perpetualMarket/{ticker}", lambda r, p: self._indexer.book(self._ticker(p["ticker"]))),
            get("/trades/perpetualMarket/{ticker}", self._trades),
            get("/candles/perpetualMarkets/{ticker}", self._candles),
            get("/historicalFunding/{ticker}", self._funding),
            get("/addresses/{address}/subaccountNumber/{number}", self._subaccount),
            get("/addresses/{address}/parentSubaccountNumber/{number}", self._parent),
            get("/addresses/{address}", self._address),
            get("/perpetualPositions", self._positions),
            get("/perpetualPositions/parentSubaccountNumber", self._positions),
            get(
                "/assetPositions",
                lambda r, p: {"positions": [self._indexer.asset_row(rows) for rows in self._accounts(r) if self._indexer.usdc(rows)]},
            ),
            get("/orders", self._orders),
            get("/orders/parentSubaccountNumber", self._orders),
            get("/orders/{uuid}", self._order),
            get("/fills", self._fills),
            get("/fills/parentSubaccountNumber", self._fills),
            get("/fundingPayments", self._payments),
            get("/fundingPayments/parentSubaccount", self._payments),
            get("/transfers", self._transfers),
            get("/historical-pnl", self._pnl),
            get("/pnl", self._pnl),
            get("/time", lambda r, p: {"iso": wire.iso(self._dialect.now_ns()), "epoch": self._dialect.now_ns() // 10**6 / 1000}),
            get("/height", lambda r, p: {"height": str(self._indexer.height), "time": wire.iso(self._indexer.block_ns)}),
            get("/compliance/screen/{address}", lambda r, p: {"restricted": False, "reason": None}),
        ]

    def _ticker(self, ticker: str) -> str:
        if ticker not in self._exchange.markets:
            raise Refusal("ticker", f"Unable to find perpetual market with ticker: {ticker}", status=404)
        return ticker

    def _markets(self, received: Received, places: Mapping[str, str]) -> Any:
        ticker, market = received.params.get("ticker"), received.params.get("market")
        if ticker and market:
            raise bad("market", "market and ticker may not both be provided")
        wanted = [self._ticker(ticker or market or "")] if ticker or market else list(self._exchange.markets)
        return {"markets": {symbol: self._indexer.market_row(symbol) for symbol in wanted[: limit_of(received)]}}

    def _trades(self, received: Received, places: Mapping[str, str]) -> Any:
        found = self._indexer.trades(self._ticker(places["ticker"]))
        before, height = time_of(received, "createdBeforeOrAt"), height_of(received, "createdBeforeOrAtHeight")
        chosen = [t for t in found if t.ts_ns <= before and self._indexer.trade_heights.get(t.trade_id, 0) <= height]
        return paged(received, "trades", chosen, self._indexer.trade_row)

    def _candles(self, received: Received, places: Mapping[str, str]) -> Any:
        resolution = received.params.get("resolution", "")
        if resolution not in RESOLUTIONS:
            raise bad("resolution", f"resolution must be a valid Candle Resolution, one of {','.join(RESOLUTIONS)}")
        start = time_of(received, "fromISO", 0)
        found = self._indexer.candles(
            self._ticker(places["ticker"]), resolution, start, min(time_of(received, "toISO"), self._dialect.now_ns() + 1)
        )
        return {"candles": found[: limit_of(received)]}

    def _funding(self, received: Received, places: Mapping[str, str]) -> Any:
        symbol = self._ticker(places["ticker"])
        spec = self._exchange.markets[symbol].spec
        before, height = time_of(received, "effectiveBeforeOrAt"), height_of(received, "effectiveBeforeOrAtHeight")
        rows = [(past, self._dialect.chain.height_at(past.ts_ns)) for past in reversed(self._dialect.history.funding[symbol])]
        found = [wire.past_funding(past, spec, at) for past, at in rows if past.ts_ns <= before and at <= height]
        return {"historicalFunding": found[: limit_of(received)]}

    def _known(self, address: str, number: str) -> AccountRows:
        found = self._dialect.find(address, whole("subaccountNumber", number))
        if found is None or not self._indexer.of(found.account).known:
            raise Refusal("subaccount", f"No subaccount found with address {address} and subaccountNumber {number}", status=404)
        return self._indexer.of(found.account)

    def _subaccount(self, received: Received, places: Mapping[str, str]) -> Any:
        return {"subaccount": self._indexer.subaccount_row(self._known(places["address"], places["number"]))}

    def _parent(self, received: Received, places: Mapping[str, str]) -> Any:
        return {"subaccount": self._indexer.parent_row(places["address"], whole("parentSubaccountNumber", places["number"]))}

    def _address(self, received: Received, places: Mapping[str, str]) -> Any:
        rows = self._indexer.of_address(places["address"])
        if not rows:
            raise Refusal("address", f"No subaccounts found for address {places['address']}", status=404)
        return {"subaccounts": [self._indexer.subaccount_row(row) for row in rows], "totalTradingRewards": "0"}

    def _accounts(self, received: Received) -> list[AccountRows]:
        """Whose rows are asked for. Unknown subaccounts have none."""
        params = received.params
        address = params.get("address")
        if not address:
            raise bad("address", "address must be a valid dydx address")
        if "/parentSubaccount" in received.path:
            parent = whole("parentSubaccountNumber", params.get("parentSubaccountNumber", ""))
            return [rows for rows in self._indexer.of_address(address) if rows.owner.number % 128 == parent]
        found = self._dialect.find(address, whole("subaccountNumber", params.get("subaccountNumber", "")))
        return [self._indexer.of(found.account)] if found is not None else []

    def _positions(self, received: Received, places: Mapping[str, str]) -> Any:
        status = received.params.get("status", "")
        wanted = [word for word in status.split(",") if word]
        if any(word not in ("OPEN", "CLOSED", "LIQUIDATED") for word in wanted):
            raise bad("status", "status must be one of OPEN,CLOSED,LIQUIDATED")
        before = time_of(received, "createdBeforeOrAt")
        rows = [
            (row, account.owner)
            for account in self._accounts(received)
            for row in [*account.open.values(), *reversed(account.closed)]
            if row.created_ns <= before
        ]
        found = [self._indexer.position_row(*row) for row in rows]
        return {"positions": [row for row in found if not wanted or row["status"] in wanted][: limit_of(received)]}

    def _orders(self, received: Received, places: Mapping[str, str]) -> Any:
        params = received.params
        statuses = [word for word in params.get("status", "").split(",") if word]
        if any(word not in wire.STATUSES for word in statuses):
            raise bad("status", f"status must be one of {','.join(wire.STATUSES)}")
        side, kind, ticker = params.get("side"), params.get("type"), params.get("ticker")
        if side not in (None, "BUY", "SELL"):
            raise bad("side", "side must be one of BUY,SELL")
        block = height_of(received, "goodTilBlockBeforeOrAt")
        until = time_of(received, "goodTilBlockTimeBeforeOrAt")

        def fits(row: OrderRow) -> bool:
            order = row.order
            return (
                (not statuses or row.status in statuses)
                and side in (None, order.side.value.upper())
                and kind in (None, order_type(order))
                and ticker in (None, order.symbol)
                and ("goodTilBlockBeforeOrAt" not in params or (order.short_term and order.good_til_block <= block))
                and ("goodTilBlockTimeBeforeOrAt" not in params or (not order.short_term and order.good_til_time * 10**9 <= until))
            )

        found = [row for account in self._accounts(received) for row in reversed(account.orders.values()) if fits(row)]
        latest = "returnLatestOrders" not in params  # read as text and compared with a boolean: whatever it says, the oldest come first
        found.sort(key=lambda row: (not row.order.short_term, row.order.good_til_time or row.order.good_til_block), reverse=latest)
        return [self._indexer.order_row(row) for row in found[: limit_of(received)]]

    def _order(self, received: Received, places: Mapping[str, str]) -> Any:
        row = self._indexer.orders.get(places["uuid"])
        if row is None:
            raise Refusal("order", f"Unable to find order id {places['uuid']}", status=404)
        return self._indexer.order_row(row)

    def _fills(self, received: Received, places: Mapping[str, str]) -> Any:
        market, kind = received.params.get("market"), received.params.get("marketType")
        if (market is None) != (kind is None):
            raise bad("market", "market and marketType must both be provided")
        before, height = time_of(received, "createdBeforeOrAt"), height_of(received, "createdBeforeOrAtHeight")
        found = [
            row
            for account in self._accounts(received)
            for row in reversed(account.fills)
            if market in (None, row.event.market) and row.ts_ns <= before and row.height <= height
        ]
        if "page" in received.params:
            found.reverse()
        return paged(received, "fills", found, lambda row: self._indexer.fill_row(row.event, row.height, row.ts_ns))

    def _payments(self, received: Received, places: Mapping[str, str]) -> Any:
        ticker, after = received.params.get("ticker"), time_of(received, "afterOrAt", 0)
        rows = [
            row
            for account in self._accounts(received)
            for row in reversed(account.payments)
            if ticker in (None, row.event.market)
            and row.ts_ns >= after
            and (row.event.amount or received.params.get("showZeroPayments") == "true")
        ]
        return paged(received, "fundingPayments", rows, self._payment_row)

    def _payment_row(self, row: PaymentRow) -> dict[str, Any]:
        event = row.event
        spec = self._exchange.markets[event.market].spec
        return {
            "createdAt": wire.iso(row.ts_ns),
            "createdAtHeight": str(row.height),
            "perpetualId": str(self._dialect.grid(event.market).perpetual),
            "ticker": event.market,
            "oraclePrice": wire.text(spec.ref_price(event.ref_price)),
            "size": wire.text(spec.size(event.size)),
            "side": "LONG" if event.size > 0 else "SHORT",
            "rate": wire.text(fraction(event.rate) * 3_600 * 10**9 / event.interval_ns),
            "payment": wire.text(money(event.amount)),
            "subaccountNumber": str(self._dialect.subaccount_of(event.account).number),
            "fundingIndex": "0",
        }

    def _transfers(self, received: Received, places: Mapping[str, str]) -> Any:
        before = time_of(received, "createdBeforeOrAt")
        found = [row for account in self._accounts(received) for row in reversed(account.transfers) if row.ts_ns <= before]
        return paged(received, "transfers", found, self._indexer.transfer_row)

    def _pnl(self, received: Received, places: Mapping[str, str]) -> Any:
        rows = []
        for account in self._accounts(received):
            state = self._indexer.subaccount_row(account)
            moved = sum((t.amount if t.kind in ("DEPOSIT", "TRANSFER_IN") else -t.amount) for t in account.transfers)
            total = Decimal(state["equity"]) - money(moved)
            rows.append(
                {
                    "equity": state["equity"],
                    "totalPnl": wire.text(total),
                    "netTransfers": wire.usd(moved),
                    "createdAt": wire.iso(self._indexer.block_ns),
                    "blockHeight": str(self._indexer.height),
                    "blockTime": wire.iso(self._indexer.block_ns),
                }
            )
        return {"historicalPnl" if "historical" in received.path else "pnl": rows}


def bad(param: str, message: str) -> Refusal:
    return Refusal(param, message, status=400)


def whole(param: str, value: str) -> int:
    if not value.isdigit():
        raise bad(param, f"{param} must be a non-negative integer")
    return int(value)


def limit_of(received: Received) -> int:
    limit = received.params.get("limit")
    if limit is None:
        return MAX_ROWS
    if not limit.isdigit() or not 0 < int(limit) <= MAX_ROWS:
        raise bad("limit", f"limit must be a positive integer that is not greater than max: {MAX_ROWS}")
    return int(limit)


def time_of(received: Received, param: str, missing: int = FOREVER_NS) -> int:
    value = received.params.get(param)
    if value is None:
        return missing
    try:
        return wire.from_iso(value) + (999_999 if missing else 0)
    except ValueError:
        raise bad(param, f"{param} must be a valid ISO 8601 date") from None


def height_of(received: Received, param: str) -> int:
    value = received.params.get(param)
    return 2**62 if value is None else whole(param, value)


def paged(received: Received, name: str, rows: Sequence[Any], row_of: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """The first rows, or with `page` (from 1) that page and how many there are in all."""
    limit, page = limit_of(received), received.params.get("page")
    if page is None:
        return {name: [row_of(row) for row in rows[:limit]]}
    number = whole("page", page)
    if number < 1:
        raise bad("page", "page must be a positive integer")
    start = (number - 1) * limit
    chosen = [row_of(row) for row in rows[start : start + limit]]
    return {name: chosen, "pageSize": limit, "totalResults": len(rows), "offset": start}
