"""Orders on their way: checked and queued by the gateway at once, done by the exchange a moment later, told when it happened."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import (
    NewOrder,
    OrderStatus,
    OrderType,
    PostOnly,
    RejectReason,
    Side,
    TimeInForce,
    Trigger,
    TriggerKind,
)
from exchange_simulator.dialects.base import Refusal
from exchange_simulator.dialects.paradex import wire
from exchange_simulator.dialects.paradex.signatures import Owner, order_values
from exchange_simulator.dialects.paradex.wire import Ticket

if TYPE_CHECKING:
    from exchange_simulator.dialects.paradex.dialect import ParadexDialect

RISK_CHECK_S: Final = 0.004
"""From the gateway's yes to the exchange."""
DEFAULT_WINDOW_MS: Final = 300_000
BATCH: Final = 10
TYPES: Final = {
    "LIMIT": (OrderType.LIMIT, None),
    "MARKET": (OrderType.MARKET, None),
    "STOP_LIMIT": (OrderType.LIMIT, TriggerKind.STOP),
    "STOP_MARKET": (OrderType.MARKET, TriggerKind.STOP),
    "STOP_LOSS_LIMIT": (OrderType.LIMIT, TriggerKind.STOP),
    "STOP_LOSS_MARKET": (OrderType.MARKET, TriggerKind.STOP),
    "TAKE_PROFIT_LIMIT": (OrderType.LIMIT, TriggerKind.TAKE_PROFIT),
    "TAKE_PROFIT_MARKET": (OrderType.MARKET, TriggerKind.TAKE_PROFIT),
}
EXITS: Final = ("STOP_LOSS_LIMIT", "STOP_LOSS_MARKET", "TAKE_PROFIT_LIMIT", "TAKE_PROFIT_MARKET")


def bad(message: str, code: str = "VALIDATION_ERROR") -> Refusal:
    return Refusal(code, message, status=400)


def _decimal(body: Mapping[str, Any], name: str) -> Decimal:
    try:
        value = Decimal(str(body.get(name) or "0"))
    except InvalidOperation:
        raise bad(f"invalid {name}") from None
    if not value.is_finite() or value < 0:
        raise bad(f"invalid {name}")
    return value


class Gateway:
    """The orders of one dialect, by the venue's ids and by the exchange's."""

    def __init__(self, dialect: ParadexDialect) -> None:
        self.dialect = dialect
        self.exchange = dialect.exchange
        self.tickets: dict[str, Ticket] = {}
        self._by_core: dict[int, Ticket] = {}
        self._count = 0
        self._executing: Ticket | None = None

    # ---- tickets

    def _number(self) -> str:
        self._count += 1
        return f"{self.dialect.now_ms()}2017{self._count:011d}"

    def of_core(self, order: Order) -> Ticket:
        """The ticket of an order of the exchange; one that came another way gets its own."""
        ticket = self._by_core.get(order.id)
        if ticket is None:
            ticket = self._executing
            if ticket is None or ticket.order is not None or ticket.client_id != order.client_id:
                ticket = wire.of_core(order, self._number())
                self.tickets[ticket.id] = ticket
            ticket.order = order
            self._by_core[order.id] = ticket
        return ticket

    def of(self, account: int, *, order_id: str = "", client_id: str = "") -> Ticket:
        """
        Raises:
            Refusal: there is none of this account.
        """
        if order_id:
            ticket = self.tickets.get(order_id)
            if ticket is None or ticket.account != account:
                raise bad("Order id not found", "ORDER_ID_NOT_FOUND")
            return ticket
        found = [one for one in self.tickets.values() if one.account == account and one.client_id == client_id]
        if not found:
            raise bad("Client order id not found", "CLIENT_ORDER_ID_NOT_FOUND")
        return next((one for one in found if not one.closed), found[-1])

    def open(self, account: int, market: str = "") -> list[Ticket]:
        """Queued ones included; those that the exchange got another way too."""
        for order in self.exchange.open_orders(account, market):
            self.of_core(order)
        return [one for one in self.tickets.values() if one.account == account and not one.closed and market in ("", one.market)]

    def all(self, account: int) -> list[Ticket]:
        for number in self.dialect.history.ended[account]:
            order = self.exchange.order(number)
            if order is not None:
                self.of_core(order)
        self.open(account)
        return [one for one in self.tickets.values() if one.account == account]

    def forget_queue(self) -> None:
        """Serving ended: what the exchange did not get yet is void."""
        for ticket in self.tickets.values():
            if ticket.order is None and not ticket.reason:
                ticket.reason = "SYSTEM_RESTART"

    # ---- placing

    def place(self, owner: Owner, body: Mapping[str, Any]) -> Ticket:
        """
        Raises:
            Refusal: the gateway's own checks; what needs the account's state is told later.
        """
        ticket = self._checked(owner, body)
        self._queue(ticket)
        return ticket

    def place_batch(self, owner: Owner, bodies: Any) -> list[Ticket | Refusal]:
        """One bad signature refuses all."""
        if not isinstance(bodies, list) or not 1 <= len(bodies) <= BATCH:
            raise bad("Batch size out of range", "BATCH_SIZE_OUT_OF_RANGE")
        outcomes: list[Ticket | Refusal] = []
        for body in bodies:
            try:
                outcomes.append(self._checked(owner, body))
            except Refusal as refusal:
                if refusal.code == "INVALID_ORDER_SIGNATURE":
                    for one in outcomes:
                        if isinstance(one, Ticket):
                            del self.tickets[one.id]
                    raise
                outcomes.append(refusal)
        for outcome in outcomes:
            if isinstance(outcome, Ticket):
                self._queue(outcome)
        return outcomes

    def _queue(self, ticket: Ticket) -> None:
        self.dialect.tell_order(ticket)
        self.dialect.agenda.after(RISK_CHECK_S, self._execute, ticket)

    def _checked(self, owner: Owner, body: Any) -> Ticket:
        if not isinstance(body, dict):
            raise bad("request body is not an order", "BINDING_ERROR")
        mode = self.dialect.system_status
        if mode == "cancel_only" or (mode == "post_only" and body.get("instruction") != "POST_ONLY"):
            raise bad(f"System is in {mode} mode", f"SYSTEM_STATUS_{mode.upper()}")
        state = self.exchange.markets.get(str(body.get("market")))
        if state is None or not wire.is_listed(state):
            raise bad("Market not found", "MARKET_NOT_FOUND")
        kind, side, instruction = str(body.get("type")), str(body.get("side")), str(body.get("instruction") or "GTC")
        if kind not in TYPES or side not in ("BUY", "SELL"):
            raise bad("invalid order type or side")
        if instruction not in ("GTC", "POST_ONLY", "IOC") or (instruction == "IOC" and kind != "LIMIT"):
            raise bad("invalid instruction for the order type")
        if instruction == "POST_ONLY" and kind not in ("LIMIT", "STOP_LIMIT"):
            raise bad("invalid instruction for the order type")
        flags = [str(flag) for flag in body.get("flags") or []]
        if kind in EXITS and "REDUCE_ONLY" not in flags:
            raise bad("TPSL orders must be reduce only")
        size, price, trigger = (_decimal(body, name) for name in ("size", "price", "trigger_price"))
        self._fits(state.spec, kind, size, price, trigger)
        self._fresh(body)
        if not self.dialect.owners.verify(owner, body.get("signature"), "Order", order_values(body)):
            raise bad("Invalid order signature", "INVALID_ORDER_SIGNATURE")
        client_id = str(body.get("client_id") or "")
        if client_id and any(one.client_id == client_id for one in self.open(owner.account)):
            raise bad("Client id is in use by an open order", "DUPLICATED_CLIENT_ID")
        ticket = Ticket(
            id=self._number(),
            account=owner.account,
            market=state.symbol,
            side=side,
            type=kind,
            instruction=instruction,
            size=size,
            price=wire.text(price),
            client_id=client_id,
            flags=flags,
            stp=str(body.get("stp") or "EXPIRE_TAKER"),
            trigger_price=wire.text(trigger) if trigger else "",
            created_ms=self.dialect.now_ms(),
            signed_ms=int(body["signature_timestamp"]),
        )
        self.tickets[ticket.id] = ticket
        return ticket

    @staticmethod
    def _fits(spec: Any, kind: str, size: Decimal, price: Decimal, trigger: Decimal) -> None:
        if size <= 0 or size % spec.step_size:
            raise bad("size is not a multiple of the increment", "INVALID_ORDER_SIZE")
        if price % spec.tick_size or trigger % spec.tick_size:
            raise bad("price is not a multiple of the tick size")
        if ("MARKET" in kind) == bool(price):
            raise bad("market types have price 0, the others a price")
        if (TYPES[kind][1] is not None) != bool(trigger):
            raise bad("a trigger price belongs to trigger types")

    def _fresh(self, body: Mapping[str, Any]) -> None:
        stamp, window = body.get("signature_timestamp"), body.get("recv_window") or DEFAULT_WINDOW_MS
        if not isinstance(stamp, int) or not isinstance(window, int) or window < 10:
            raise bad("invalid signature timestamp or receive window", "BINDING_ERROR")
        if self.dialect.now_ms() > stamp + window:
            raise bad("Signature timestamp is out of the receive window", "INVALID_TIMESTAMP")

    def _execute(self, ticket: Ticket) -> None:
        if ticket.reason:
            return
        state = self.exchange.markets[ticket.market]
        spec = state.spec
        kind, trigger_kind = TYPES[ticket.type]
        side = Side.BUY if ticket.side == "BUY" else Side.SELL
        trigger: Trigger | None = None
        if trigger_kind is not None:
            above = (side is Side.BUY) == (trigger_kind is TriggerKind.STOP)
            if "STOP_CONDITION_ABOVE_TRIGGER" in ticket.flags or "STOP_CONDITION_BELOW_TRIGGER" in ticket.flags:
                above = "STOP_CONDITION_ABOVE_TRIGGER" in ticket.flags
            trigger = Trigger(spec.to_ticks(Decimal(ticket.trigger_price)), above, kind=trigger_kind)
        immediate = ticket.instruction == "IOC" or kind is OrderType.MARKET
        new = NewOrder(
            account=ticket.account,
            market=ticket.market,
            side=side,
            size=spec.to_steps(ticket.size),
            price=spec.to_ticks(Decimal(ticket.price)),
            type=kind,
            time_in_force=TimeInForce.IOC if immediate else TimeInForce.GTC,
            post_only=PostOnly.REJECT if ticket.instruction == "POST_ONLY" else PostOnly.OFF,
            reduce_only="REDUCE_ONLY" in ticket.flags,
            client_id=ticket.client_id,
            trigger=trigger,
        )
        self._executing = ticket
        try:
            order = self.exchange.submit(self.dialect.now_ns(), new)
        finally:
            self._executing = None
        ticket.order = order
        self._by_core.setdefault(order.id, ticket)

    # ---- canceling

    def cancel(self, ticket: Ticket) -> None:
        """
        Raises:
            Refusal: it has ended.
        """
        if ticket.closed:
            raise bad("Order is closed", "ORDER_IS_CLOSED")
        self.dialect.agenda.after(RISK_CHECK_S, self._cancel, ticket, "")

    def cancel_ids(self, owner: Owner, body: Mapping[str, Any]) -> dict[str, Any]:
        """One row per id: queued, closed already, or not found."""
        rows: list[dict[str, str]] = []
        names = [("order_id", one) for one in body.get("order_ids") or []] + [
            ("client_id", one) for one in body.get("client_order_ids") or []
        ]
        for name, any_id in names:
            row = {"id" if name == "order_id" else "client_id": str(any_id)}
            try:
                ticket = self.of(owner.account, **{name: str(any_id)})
                row |= {"id": ticket.id, "client_id": ticket.client_id, "market": ticket.market}
                self.cancel(ticket)
                row["status"] = "QUEUED_FOR_CANCELLATION"
            except Refusal as refusal:
                row["status"] = "ALREADY_CLOSED" if refusal.code == "ORDER_IS_CLOSED" else "NOT_FOUND"
            rows.append(row)
        return {"results": rows}

    def cancel_all(self, account: int, market: str = "", reason: str = "") -> None:
        for ticket in self.open(account, market):
            self.dialect.agenda.after(RISK_CHECK_S, self._cancel, ticket, reason)

    def _cancel(self, ticket: Ticket, reason: str) -> None:
        if ticket.order is None or ticket.closed:
            return
        ticket.reason = reason
        if self.exchange.cancel(self.dialect.now_ns(), ticket.account, ticket.order.id) is not None:
            ticket.reason = ""

    # ---- amending

    def modify(self, owner: Owner, order_id: str, body: Any) -> Ticket:
        """
        Raises:
            Refusal: not this account's, ended, or not signed.
        """
        ticket = self.of(owner.account, order_id=order_id)
        if ticket.closed:
            raise bad("Order is closed", "ORDER_IS_CLOSED")
        if not isinstance(body, dict) or str(body.get("id")) != order_id:
            raise bad("order id of body and path differ", "BINDING_ERROR")
        same = ("market", "side", "type")
        if any(str(body.get(name)) != getattr(ticket, name) for name in same):
            raise bad("market, side and type of an order do not change")
        size, price, trigger = (_decimal(body, name) for name in ("size", "price", "trigger_price"))
        self._fits(self.exchange.markets[ticket.market].spec, ticket.type, size, price, trigger)
        self._fresh(body)
        if not self.dialect.owners.verify(owner, body.get("signature"), "ModifyOrder", order_values(body)):
            raise bad("Invalid order signature", "INVALID_ORDER_SIGNATURE")
        request = {"id": self._number(), "request_type": "MODIFY_ORDER", "status": "PENDING", "message": ""}
        ticket.request = request
        self.dialect.agenda.after(RISK_CHECK_S, self._modify, ticket, request, size, price, trigger)
        return ticket

    def _modify(self, ticket: Ticket, request: dict[str, str], size: Decimal, price: Decimal, trigger: Decimal) -> None:
        order, spec = ticket.order, self.exchange.markets[ticket.market].spec
        result: Order | RejectReason = RejectReason.UNKNOWN_ORDER
        if order is not None and not order.status.terminal:
            steps, ticks, at = spec.to_steps(size), spec.to_ticks(price), spec.to_ticks(trigger)
            untriggered = at if order.status is OrderStatus.UNTRIGGERED else 0
            result = self.exchange.amend(
                self.dialect.now_ns(), ticket.account, order.id, price=ticks, size=steps, trigger_price=untriggered
            )
        refused = isinstance(result, RejectReason)
        words = wire.REFUSED.get(result, str(result)) if isinstance(result, RejectReason) else ""
        request |= {"status": "REJECTED" if refused else "SUCCESS", "message": words}
        if not refused:
            ticket.size = size
        self.dialect.tell_order(ticket)
