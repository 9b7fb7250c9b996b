"""Adding orders that were approved and may still fill: they count as exposure until they are proved to have ended."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from exchange_clients.model import NS_PER_S, ZERO
from exchange_clients.transport.clock import Clock
from strategies.execution.guard import OrderCheck

if TYPE_CHECKING:
    from database.journal import Journal
    from exchange_clients.base_client import BaseExchangeClient

UNSEEN_S = 15.0
"""An approved order of which the client knows nothing after so long was never sent."""
NAMELESS_S = 2.0
"""The same for one that was asked about without its id."""


class Approved(msgspec.Struct, frozen=True, kw_only=True):
    """One order and its worth in USD at its own limit, or at the mark where that is more. `initial`: margin fraction, None unknown."""

    venue: str
    instrument: str
    client_order_id: str
    quantity: Decimal
    worth: Decimal
    initial: Decimal | None
    at_ns: int


class Approvals:
    """Of one bot."""

    def __init__(self, clients: Mapping[str, "BaseExchangeClient"], clock: Clock) -> None:
        self._clients, self._clock = clients, clock
        self._held: dict[str, Approved] = {}
        self._count = 0

    def add(self, order: OrderCheck, worth: Decimal, initial: Decimal | None) -> None:
        """It is about to be sent."""
        self._count += 1
        self._held[order.client_order_id or f"#{self._count}"] = Approved(
            venue=order.venue,
            instrument=str(order.instrument.id),
            client_order_id=order.client_order_id,
            quantity=order.quantity,
            worth=worth,
            initial=initial,
            at_ns=self._clock.time_ns(),
        )

    def recall(self, journal: "Journal", owners: Sequence[str]) -> None:
        """Orders of an earlier run that may still rest."""
        for owner in owners:
            for intent in journal.intents(owner):
                price = intent.limit_price or intent.reference_price
                if not intent.state.resolved and not intent.reduce_only and price is not None and intent.venue in self._clients:
                    self._held[intent.client_order_id] = Approved(
                        venue=intent.venue,
                        instrument=intent.instrument,
                        client_order_id=intent.client_order_id,
                        quantity=intent.quantity,
                        worth=intent.quantity * price,
                        initial=None,
                        at_ns=self._clock.time_ns(),
                    )

    def waiting(self) -> Iterator[tuple[str, Decimal]]:
        """(venue, USD that may still fill) of each; what has ended is forgotten."""
        now_ns = self._clock.time_ns()
        for name, held in list(self._held.items()):
            rest = self._rest(held, now_ns)
            if rest is None:
                del self._held[name]
            else:
                yield held.venue, held.worth * rest / held.quantity

    def markets(self) -> set[tuple[str, str]]:
        """(venue, instrument) of those that may still fill."""
        for _ in self.waiting():
            pass
        return {(held.venue, held.instrument) for held in self._held.values()}

    def resting(self, venue: str) -> list[str]:
        """Client ids of those that may still fill on a venue."""
        for _ in self.waiting():
            pass
        return [held.client_order_id for held in self._held.values() if held.venue == venue and held.client_order_id]

    def margin_since(self, venue: str, since_ns: int) -> Decimal:
        """Margin for what was approved after the venue's figures were read."""
        return sum((h.worth * (h.initial or ZERO) for h in self._held.values() if h.venue == venue and h.at_ns > since_ns), ZERO)

    def _rest(self, held: Approved, now_ns: int) -> Decimal | None:
        """Quantity that may still fill; None when it cannot any more."""
        age_s = (now_ns - held.at_ns) / NS_PER_S
        info = self._clients[held.venue].known_order(held.client_order_id) if held.client_order_id else None
        if info is None:
            return held.quantity if age_s < (UNSEEN_S if held.client_order_id else NAMELESS_S) else None
        return None if info.status.is_terminal else info.remaining_size
