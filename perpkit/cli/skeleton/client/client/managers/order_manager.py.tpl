"""Orders of $title: what is sent, and what the answers mean."""

from __future__ import annotations

from typing import Any

from exchange_clients.base_managers import BaseOrderManager
from exchange_clients.model import Fill, Instrument, OrderAck, OrderInfo
from exchange_clients.orders import Order
from exchange_clients.signing import Command


class ${Name}OrderManager(BaseOrderManager):
    """What is neither a yes nor words that refuse is unknown, and the base's to settle.

    Amends, batches, cancel-all, brackets and the dead-man switch belong here too where the capabilities promise them.
    """

    def encode_place(self, order: Order, instrument: Instrument) -> Command:
        raise NotImplementedError("phase 2, step 3: the venue's unsigned form of an order")

    def decode_place(self, reply: Any, order: Order) -> OrderAck:
        raise NotImplementedError("phase 2, step 3: accepted, queued, or the refusal it means")

    def encode_cancel(self, order: Order, instrument: Instrument) -> Command:
        raise NotImplementedError("phase 2, step 3: the venue's unsigned form of a cancel")

    def decode_cancel(self, reply: Any, order: Order) -> None:
        raise NotImplementedError("phase 2, step 3: return when accepted, raise the refusal it means")

    async def fetch_order(
        self, instrument: Instrument | None, *, order_id: str | None = None, client_order_id: str | None = None
    ) -> OrderInfo | None:
        raise NotImplementedError("phase 2, step 3: one order by either id, None when the venue does not know it")

    async def fetch_open_orders(self, instrument: Instrument | None = None) -> list[OrderInfo]:
        raise NotImplementedError("phase 2, step 3: what rests")

    async def fetch_order_history(self, *, since_ns: int, instrument: Instrument | None = None) -> list[OrderInfo]:
        raise NotImplementedError("phase 2, step 3: what ended, as far back as the venue goes")

    async def fetch_fills(self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None) -> list[Fill]:
        raise NotImplementedError("phase 2, step 3: own executions with the venue's trade ids, oldest first, paginated")
