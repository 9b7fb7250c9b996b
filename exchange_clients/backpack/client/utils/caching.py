"""What only this venue has to remember: how orders ended, because it may be asked thirty times a minute only."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from exchange_clients.backpack import messages as m

MAX_PAST: Final = 5_000
ENDED: Final = frozenset({"Filled", "Cancelled", "Expired", "TriggerFailed"})


class PastOrders:
    """Ended orders as history showed them. An end does not change, so one that was read once is never asked for again."""

    def __init__(self) -> None:
        self._rows: OrderedDict[str, m.OrderRow] = OrderedDict()

    def keep(self, rows: Iterable[m.OrderRow]) -> None:
        self._rows |= {row.id: row for row in rows if row.status in ENDED}
        while len(self._rows) > MAX_PAST:
            self._rows.popitem(last=False)

    def get(self, order_id: str | None) -> m.OrderRow | None:
        return self._rows.get(order_id) if order_id is not None else None
