"""REST under `/v1`: every route, who may ask, and the pages of long answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from exchange_simulator.core.types import UNIT, MarginMode, RejectReason, Side, fraction
from exchange_simulator.dialects.base import Received, Refusal, Reply, Route
from exchange_simulator.dialects.paradex import wire
from exchange_simulator.dialects.paradex.gateway import bad
from exchange_simulator.dialects.paradex.signatures import ACCOUNT_HASH, PROXY_HASH, Owner, contract_address
from exchange_simulator.dialects.paradex.wire import MS, Ticket

if TYPE_CHECKING:
    from exchange_simulator.dialects.paradex.dialect import ParadexDialect

MAINNET: Final = "PRIVATE_SN_PARACLEAR_MAINNET"
PAGE: Final = 100
LONGEST_PAGE: Final = 5_000


class Rest:
    """The HTTP side of one dialect."""

    def __init__(self, dialect: ParadexDialect) -> None:
        self.dialect = dialect
        self.exchange = dialect.exchange
        self.history = dialect.history
        self.owners = dialect.owners
        self.gateway = dialect.gateway

    def routes(self) -> Sequence[Route]:
        def public(path: str, answer: Callable[[Received, Mapping[str, str]], Any]) -> Route:
            return Route("GET", f"/v1/{path}", self._handler(answer))

        def private(method: str, path: str, answer: Callable[[Received, Mapping[str, str], Owner], Any]) -> Route:
            return Route(method, f"/v1/{path}", self._signed_handler(answer))

        return (
            public("system/time", lambda r, p: {"server_time": str(self.dialect.now_ms())}),
            public("system/state", lambda r, p: {"status": self.dialect.system_status}),
            public("system/config", lambda r, p: self._config()),
            public("markets", lambda r, p: {"results": [wire.market(s.spec) for s in self._listed(r.params.get("market"))]}),
            public("markets/summary", self._summary_rows),
            public("markets/klines", self._klines),
            public("bbo/{market}", self._bbo_row),
            public("bbo/{market}/interactive", self._bbo_row),
            public("orderbook/{market}", self._book_row),
            public("orderbook/{market}/interactive", self._book_row),
            public("trades", self._trade_rows),
            public("funding/data", self._funding_rows),
            public("onboarding", self._onboarded),
            Route("POST", "/v1/auth", self._auth),
            Route("POST", "/v1/auth/{public_key}", self._auth),
            Route("POST", "/v1/onboarding", self._onboard),
            private("GET", "account", lambda r, p, o: self.dialect.account_row(o.account)),
            private("GET", "account/info", self._account_info),
            private("GET", "account/margin", self._margin),
            private("POST", "account/margin/{market}", self._set_margin),
            private("GET", "balance", self._balance),
            private("GET", "positions", lambda r, p, o: {"results": self._position_rows(o.account)}),
            private("GET", "orders", self._open_orders),
            private("POST", "orders", self._place),
            private("DELETE", "orders", self._cancel_all),
            private("POST", "orders/batch", self._place_batch),
            private("DELETE", "orders/batch", self._cancel_batch),
            private("GET", "orders/by_client_id/{client_id}", self._order_by_client_id),
            private("DELETE", "orders/by_client_id/{client_id}", self._cancel_by_client_id),
            private("GET", "orders/{order_id}", self._order),
            private("PUT", "orders/{order_id}", self._modify),
            private("DELETE", "orders/{order_id}", self._cancel),
            private("GET", "orders-history", self._order_history),
            private("GET", "fills", self._fill_rows),
            private("GET", "funding/payments", self._payment_rows),
        )

    def _handler(self, answer: Callable[[Received, Mapping[str, str]], Any]) -> Callable[[Received], Any]:
        async def handle(received: Received) -> Reply:
            return Reply(answer(received, _places(received)))

        return handle

    def _signed_handler(self, answer: Callable[[Received, Mapping[str, str], Owner], Any]) -> Callable[[Received], Any]:
        async def handle(received: Received) -> Reply:
            found = answer(received, _places(received), self._owner(received))
            return found if isinstance(found, Reply) else Reply(found)

        return handle

    def _owner(self, received: Received) -> Owner:
        header = received.headers.get("Authorization", "")
        owner = self.owners.owner_of(header.removeprefix("Bearer "), self.dialect.now_ns() / 1e9)
        if owner is None:
            raise Refusal("INVALID_TOKEN", "missing or malformed jwt" if not header else "invalid or expired jwt", status=401)
        return owner

    def _state(self, symbol: Any) -> Any:
        state = self.exchange.markets.get(str(symbol))
        if state is None:
            raise bad("Market not found", "MARKET_NOT_FOUND")
        return state

    # ---- public answers

    def _config(self) -> dict[str, Any]:
        return {
            "starknet_gateway_url": "",
            "starknet_fullnode_rpc_url": "",
            "starknet_chain_id": self.dialect.chain_id,
            "block_explorer_url": "",
            "paraclear_address": "0x1",
            "paraclear_decimals": 8,
            "paraclear_account_proxy_hash": PROXY_HASH,
            "paraclear_account_hash": ACCOUNT_HASH,
            "oracle_address": "0x2",
            "bridged_tokens": [],
            "l1_core_contract_address": "0x3",
            "l1_operator_address": "0x4",
            "l1_chain_id": "1" if self.dialect.chain_id == MAINNET else "11155111",
            "liquidation_fee": "0.2",
        }

    def _listed(self, symbol: str | None) -> list[Any]:
        if symbol not in (None, "", "ALL"):
            return [self._state(symbol)]
        return [state for state in self.exchange.markets.values() if wire.is_listed(state)]

    def _summary_rows(self, received: Received, places: Mapping[str, str]) -> Any:
        if not received.params.get("market"):
            raise bad("market is required", "INVALID_REQUEST_PARAMETER")
        return {"results": [self.dialect.summary(state) for state in self._listed(received.params["market"])]}

    def _klines(self, received: Received, places: Mapping[str, str]) -> Any:
        state = self._state(received.params.get("symbol"))
        try:
            minutes, start, end = (int(received.params[name]) for name in ("resolution", "start_at", "end_at"))
        except (KeyError, ValueError):
            raise bad("symbol, resolution, start_at and end_at are required", "INVALID_REQUEST_PARAMETER") from None
        if minutes not in (1, 3, 5, 15, 30, 60):
            raise bad("invalid resolution", "INVALID_REQUEST_PARAMETER")
        found = self.history.candles(state.symbol, minutes * 60 * 10**9, start * MS, end * MS)
        return {"results": [wire.kline(candle, state.spec) for candle in found]}

    def _bbo_row(self, received: Received, places: Mapping[str, str]) -> Any:
        state = self._state(places["market"])
        row: dict[str, Any] = {"market": state.symbol, "last_updated_at": self.dialect.now_ms(), "seq_no": self.dialect.sequence()}
        for name, side in (("bid", Side.BUY), ("ask", Side.SELL)):
            best = wire.levels(self.exchange, state.spec, side, 1)
            row |= {name: wire.text(best[0][0]) if best else "", f"{name}_size": wire.text(best[0][1]) if best else ""}
        return row

    def _book_row(self, received: Received, places: Mapping[str, str]) -> Any:
        state, depth = self._state(places["market"]), int(received.params.get("depth") or 20)
        sides = {
            name: [[wire.text(price), wire.text(size)] for price, size in wire.levels(self.exchange, state.spec, side, depth)]
            for name, side in (("bids", Side.BUY), ("asks", Side.SELL))
        }
        return {"market": state.symbol, "seq_no": self.dialect.sequence(), "last_updated_at": self.dialect.now_ms(), **sides}

    def _trade_rows(self, received: Received, places: Mapping[str, str]) -> Any:
        state = self._state(received.params.get("market"))
        rows = [wire.public_trade(trade, state.spec) for trade in reversed(self.history.trades[state.symbol])]
        return _page(rows, received.params, lambda row: str(row["id"]))

    def _funding_rows(self, received: Received, places: Mapping[str, str]) -> Any:
        state = self._state(received.params.get("market"))
        index, rows = Decimal(0), []
        for past in self.history.funding[state.symbol]:
            index += fraction(past.rate) * state.spec.ref_price(past.ref_price)
            rows.append(wire.funding_row(state.symbol, past, index))
        rows.reverse()
        return _page(rows, received.params, lambda row: str(row["created_at"]))

    # ---- who it is

    async def _auth(self, received: Received) -> Reply:
        places = _places(received)
        token = self.owners.issue(received.headers, places.get("public_key"), self.dialect.now_ns() // 10**9)
        return Reply({"jwt_token": token})

    async def _onboard(self, received: Received) -> Reply:
        """Accounts are opened by `open_account`; asking again is harmless."""
        address = received.headers.get("PARADEX-STARKNET-ACCOUNT", "")
        owner = next((o for o in map(self.owners.of_account, range(1001, self.owners.newest() + 1)) if o and o.address == address), None)
        if owner is None:
            raise bad("Unknown account", "ACCOUNT_NOT_FOUND")
        if not self.owners.verify(owner, received.headers.get("PARADEX-STARKNET-SIGNATURE"), "Constant", {"action": "Onboarding"}):
            raise bad("Signature verification failed", "STARKNET_SIGNATURE_VERIFICATION_FAILED")
        return Reply(b"", 200)

    def _onboarded(self, received: Received, places: Mapping[str, str]) -> Any:
        key = int(received.params.get("public_key") or "0x0", 16)
        owner = self.owners.of_key(key)
        hashes = {"class_hash": ACCOUNT_HASH, "proxy_class_hash": PROXY_HASH}
        address = owner.address if owner is not None else contract_address(key)
        return {"address": address, "account_signer_type": "starknet", "exists": owner is not None, "derivation_info": hashes}

    # ---- the account's answers

    def _account_info(self, received: Received, places: Mapping[str, str], owner: Owner) -> Any:
        maker, taker = self._fees(owner.account)
        fees = {"maker_rate": wire.text(fraction(maker)), "taker_rate": wire.text(fraction(taker))}
        row = {"account": owner.address, "kind": "main", "public_key": hex(owner.keys[0]), "parent_account": "", "fees": fees}
        return {"results": [row]}

    def _fees(self, account: int) -> tuple[int, int]:
        own = self.exchange.account(account).fees.get("")
        first = next(iter(self.exchange.markets.values())).spec
        return own if own is not None else (first.maker_fee, first.taker_fee)

    def _balance(self, received: Received, places: Mapping[str, str], owner: Owner) -> Any:
        balance = wire.usd(self.exchange.account(owner.account).balance)
        return {"results": [{"token": "USDC", "size": balance, "last_updated_at": self.dialect.now_ms()}]}

    def _margin(self, received: Received, places: Mapping[str, str], owner: Owner) -> Any:
        state = self._state(received.params.get("market"))
        entry = wire.margin_entry(self.exchange.position(owner.account, state.symbol))
        return {"account": owner.address, "margin_methodology": "cross_margin", "configs": [entry]}

    def _set_margin(self, received: Received, places: Mapping[str, str], owner: Owner) -> Any:
        state, body = self._state(places["market"]), _body(received)
        leverage, mode = body.get("leverage"), str(body.get("margin_type"))
        if not isinstance(leverage, int) or leverage < 1 or mode not in ("CROSS", "ISOLATED"):
            raise bad("leverage and margin_type are required", "BINDING_ERROR")
        now = self.dialect.now_ns()
        isolated = MarginMode.ISOLATED if mode == "ISOLATED" else MarginMode.CROSS
        refused = self.exchange.set_margin_mode(now, owner.account, state.symbol, isolated)
        refused = refused or self.exchange.set_leverage(now, owner.account, state.symbol, UNIT // leverage)
        if refused is not None:
            restricted = refused is RejectReason.MARGIN_MODE
            raise bad(f"cannot set margin: {refused}", "MARKET_MARGIN_RESTRICTED" if restricted else "VALIDATION_ERROR")
        return {"account": owner.address, "market": state.symbol, "leverage": leverage, "margin_type": mode}

    def _position_rows(self, account: int) -> list[dict[str, Any]]:
        found = self.exchange.account(account).positions.values()
        return [self.dialect.position_row(account, position.market.symbol) for position in found if position.size]

    def _open_orders(self, received: Received, places: Mapping[str, str], owner: Owner) -> Any:
        found = self.gateway.open(owner.account, received.params.get("market", ""))
        return {"results": [self.dialect.row_of(ticket) for ticket in found]}

    def _order(self, received: Received, places: Mapping[str, str], owner: Owner) -> Any:
        """Closed orders are forgotten here."""
        ticket = self.gateway.of(owner.account, order_id=places["order_id"])
        if ticket.closed:
            raise bad("Order id not found", "ORDER_ID_NOT_FOUND")
        return self.dialect.row_of(ticket)

    def _order_by_client_id(self, received: Received, places: Mapping[str, str], owner: Owner) -> Any:
        return self.dialect.row_of(self.gateway.of(owner.account, client_id=places["client_id"]))

    def _order_history(self, received: Received, places: Mapping[str, str], owner: Owner) -> Any:
        wanted = received.params
        rows = [
            self.dialect.row_of(ticket)
            for ticket in sorted(self.gateway.all(owner.account), key=lambda one: (one.created_ms, one.id), reverse=True)
            if wanted.get("market", ticket.market) == ticket.market and wanted.get("client_id", ticket.client_id) == ticket.client_id
        ]
        return _page(rows, wanted, lambda row: str(row["id"]))

    def _fill_rows(self, received: Received, places: Mapping[str, str], owner: Owner) -> Any:
        market = received.params.get("market", "")
        rows = [self.dialect.fill_row(fill) for fill in reversed(self.history.fills[owner.account]) if market in ("", fill.market)]
        return _page(rows, received.params, lambda row: str(row["id"]))

    def _payment_rows(self, received: Received, places: Mapping[str, str], owner: Owner) -> Any:
        market = self._state(received.params.get("market")).symbol
        paid = reversed(list(enumerate(self.history.payments[owner.account], 1)))
        rows = [
            wire.payment(event, number, owner.address, self.dialect.funding_index(market, event.ts_ns))
            for number, event in paid
            if event.market == market
        ]
        return _page(rows, received.params, lambda row: str(row["id"]))

    # ---- commands

    def _place(self, received: Received, places: Mapping[str, str], owner: Owner) -> Reply:
        return Reply(self.dialect.row_of(self.gateway.place(owner, _body(received))), 201)

    def _place_batch(self, received: Received, places: Mapping[str, str], owner: Owner) -> Reply:
        outcomes = self.gateway.place_batch(owner, _json(received))
        taken = [self.dialect.row_of(one) for one in outcomes if isinstance(one, Ticket)]
        failed = [{"error": one.code, "message": one.message} for one in outcomes if isinstance(one, Refusal)]
        return Reply({"orders": taken, "errors": failed}, 201)

    def _modify(self, received: Received, places: Mapping[str, str], owner: Owner) -> Any:
        return self.dialect.row_of(self.gateway.modify(owner, places["order_id"], _body(received)))

    def _cancel(self, received: Received, places: Mapping[str, str], owner: Owner) -> Reply:
        self.gateway.cancel(self.gateway.of(owner.account, order_id=places["order_id"]))
        return Reply(b"", 204)

    def _cancel_by_client_id(self, received: Received, places: Mapping[str, str], owner: Owner) -> Reply:
        self.gateway.cancel(self.gateway.of(owner.account, client_id=places["client_id"]))
        return Reply(b"", 204)

    def _cancel_all(self, received: Received, places: Mapping[str, str], owner: Owner) -> Any:
        self.gateway.cancel_all(owner.account, received.params.get("market", ""))
        return {}

    def _cancel_batch(self, received: Received, places: Mapping[str, str], owner: Owner) -> Any:
        return self.gateway.cancel_ids(owner, _body(received))


def _json(received: Received) -> Any:
    try:
        return received.json()
    except ValueError:
        raise bad("request body is no JSON", "BINDING_ERROR") from None


def _body(received: Received) -> dict[str, Any]:
    body = _json(received)
    if not isinstance(body, dict):
        raise bad("request body is no object", "BINDING_ERROR")
    return body


_PLACES: Final = {"bbo": "market", "orderbook": "market", "by_client_id": "client_id", "auth": "public_key", "margin": "market"}


def _places(received: Received) -> dict[str, str]:
    """The named parts of a path."""
    parts = received.path.strip("/").split("/")
    found = {_PLACES[before]: part for before, part in pairwise(parts) if before in _PLACES}
    if len(parts) == 3 and parts[1] == "orders":
        found["order_id"] = parts[2]
    return found


def _page(rows: list[dict[str, Any]], params: Mapping[str, str], key: Callable[[dict[str, Any]], str]) -> dict[str, Any]:
    """One page of rows, newest first. The cursor is the last row of the page before: what is new since pushes nothing."""
    try:
        start, end, size = int(params.get("start_at") or 0), int(params.get("end_at") or 2**62), int(params.get("page_size") or PAGE)
    except ValueError:
        raise bad("invalid parameter", "INVALID_REQUEST_PARAMETER") from None
    if not 1 <= size <= LONGEST_PAGE:
        raise bad("invalid page_size", "INVALID_REQUEST_PARAMETER")
    wanted = [row for row in rows if start <= int(row["created_at"]) <= end]
    cursor = params.get("cursor")
    first = next((n + 1 for n, row in enumerate(wanted) if key(row) == cursor), 0) if cursor else 0
    page = wanted[first : first + size]
    more = len(wanted) > first + size
    return {"next": key(page[-1]) if more else None, "prev": cursor or None, "results": page}
