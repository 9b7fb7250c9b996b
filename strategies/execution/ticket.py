"""What an owner orders of the desk, and what the desk knows of each order."""

import asyncio
from decimal import Decimal

import msgspec

from database.records import IntentRecord, IntentState, OrderRecord
from exchange_clients.errors import VenueError
from exchange_clients.model import TRIGGER_TYPES, ZERO, OrderType, Purpose, Side, TimeInForce

from .proof import OrderProof, Share

GROUPED = "!"
"""Ends the tag of an exit in a venue's own group: the venue ties its size to the entry and to the other exit."""
IMMEDIATE = frozenset({TimeInForce.IOC, TimeInForce.FOK})


class TicketRefused(Exception):
    """The order is not sent; nothing left. `rule` names what was against it."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule, self.detail = rule, detail


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """An order that an owner wants: base units, quote per base.

    `price` None takes what is there now, at most `within_bps` (default: the limits' ladder) beyond the touch. `reduce_only` makes the own
    share smaller and never more than it: the desk counts this itself, and says so to venues that know the flag. `tag` is the owner's name
    for the order. `client_order_id`: one drawn from the client before, by an owner who writes it down himself.
    """

    side: Side
    quantity: Decimal
    price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    reduce_only: bool = False
    purpose: Purpose | None = None
    reason: str = ""
    tag: str = ""
    client_order_id: str | None = None
    order_type: OrderType = OrderType.LIMIT
    trigger_price: Decimal | None = None
    within_bps: Decimal | None = None

    @property
    def why(self) -> Purpose:
        """The purpose, by default what the direction says."""
        return self.purpose or (Purpose.CLOSE if self.reduce_only else Purpose.ENTRY)

    @property
    def rests(self) -> bool:
        """It stays at the venue until it fills or is canceled."""
        return self.order_type in TRIGGER_TYPES or (self.price is not None and self.time_in_force not in IMMEDIATE)


class DeskOrder:
    """One order of a holding as far as it is proved; keeps its figures after its end, also over a restart."""

    def __init__(self, share: Share, client_order_id: str, proof: OrderProof | None) -> None:
        self._share, self._proof = share, proof
        self.client_order_id = client_order_id
        self._end = asyncio.Event()

    @property
    def intent(self) -> IntentRecord:
        """As journaled."""
        return self._share.intents[self.client_order_id]

    @property
    def tag(self) -> str:
        """The owner's name for it."""
        return self.intent.tag

    @property
    def side(self) -> Side:
        """Which way it trades."""
        return Side(self.intent.side)

    @property
    def quantity(self) -> Decimal:
        """As ordered."""
        return self.intent.quantity

    @property
    def price(self) -> Decimal | None:
        """Its limit."""
        return self.intent.limit_price

    @property
    def state(self) -> IntentState:
        """What is proved about it."""
        return self.intent.state

    @property
    def grouped(self) -> bool:
        """It belongs to a group of the venue, which sees to its size."""
        return self.tag.endswith(GROUPED)

    @property
    def live(self) -> bool:
        """False only once its end and its cumulative fill are proved."""
        return self.client_order_id in self._share.proofs

    @property
    def unproved(self) -> bool:
        """Sent, or about to be, and no answer yet: nothing may be concluded."""
        return self.live and self.state in (IntentState.PREPARED, IntentState.UNKNOWN)

    @property
    def filled(self) -> Decimal:
        """Cumulative own fill, by fills."""
        return self._share.filled(self.client_order_id)

    @property
    def cost(self) -> Decimal:
        """Price times quantity over its fills."""
        return self._share.cost(self.client_order_id)

    @property
    def remaining(self) -> Decimal:
        """What may still fill; nothing once it is proved ended."""
        return max(self.quantity - self.filled, ZERO) if self.live else ZERO

    @property
    def refused(self) -> str | None:
        """Why it was refused, in the venue's words or ours."""
        return self.intent.note if self.state is IntentState.REFUSED else None

    @property
    def refusal(self) -> VenueError | None:
        """The error of a refusal that this process saw."""
        return None if self._proof is None else self._proof.refusal

    @property
    def told(self) -> OrderRecord | None:
        """The venue's last word on it."""
        return self._share.orders.get(self.client_order_id)

    def cancel(self) -> None:
        """Have it taken off the book; asking again changes nothing, and only `live` says when that is proved."""
        proof = self._share.proofs.get(self.client_order_id)
        if proof is not None:
            proof.cancel()

    async def ended(self) -> None:
        """Until its end is proved."""
        if self.live:
            await self._end.wait()

    def end(self) -> None:
        """Whoever waits for the end looks again."""
        self._end.set()
