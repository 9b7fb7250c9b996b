"""What every emulated order is: a small state, and one pure function of it and of what is proved that says what to do next.

`decide(state, seen) -> (state, actions)` never waits, asks or sends; the runner does, and writes the state down before it acts.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec

from exchange_clients.model import ZERO, OrderType, Purpose, Side, TimeInForce


class Watch(StrEnum):
    """Which price a trigger looks at: the touch that the exit would meet, or the venue's mark."""

    BBO = "bbo"
    MARK = "mark"


class Price(msgspec.Struct, frozen=True):
    """A fresh price; a stale one is None where this is expected."""

    bid: Decimal
    ask: Decimal

    def met_by(self, side: Side) -> Decimal:
        """What an order of that side would trade at."""
        return self.ask if side is Side.BUY else self.bid


class OrderView(msgspec.Struct, frozen=True, kw_only=True):
    """One live order of a role."""

    remaining: Decimal
    trigger_price: Decimal | None = None
    unproved: bool = False


class RoleView(msgspec.Struct, frozen=True, kw_only=True):
    """All orders that were sent in one role ("stop", "entry" ...).

    `filled` over all of them. `dry`: how many of the last ended ones in a row filled nothing, refused ones among them. `most_refused`: the
    largest of those refused in a row. `denied`: how often in a row none could even be sent, by this process.
    """

    live: tuple[OrderView, ...] = ()
    filled: Decimal = ZERO
    sent: int = 0
    dry: int = 0
    refused: int = 0
    most_refused: Decimal = ZERO
    denied: int = 0
    why: str = ""

    @property
    def working(self) -> Decimal:
        """What its live orders may still fill."""
        return sum((o.remaining for o in self.live), ZERO)


NO_ORDERS = RoleView()


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is proved now. `price` None: nothing fresh is known. `restarted`: the state was restored by a new process."""

    now_ns: int
    own: Decimal
    price: Price | None = None
    roles: Mapping[str, RoleView] = {}
    restarted: bool = False

    def role(self, name: str) -> RoleView:
        """The orders of a role."""
        return self.roles.get(name, NO_ORDERS)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Send an order in a role. `attempt`: how far to bend the price of one without a limit."""

    role: str
    side: Side
    quantity: Decimal
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    order_type: OrderType = OrderType.LIMIT
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    reduce_only: bool = True
    purpose: Purpose = Purpose.CLOSE
    attempt: int = 0
    reason: str = ""


class PlaceGroup(msgspec.Struct, frozen=True):
    """Send an entry with its exits as one native group."""

    entry: Place
    exits: tuple[Place, ...]


class Cancel(msgspec.Struct, frozen=True):
    """Take the live orders of a role off the book."""

    role: str


class Tell(msgspec.Struct, frozen=True):
    """Something a human should know, once."""

    event: str
    reason: str


class Finish(msgspec.Struct, frozen=True):
    """The emulated order is over. `good` False: something is left that it could not do, and a human has to look."""

    reason: str
    good: bool = True


Action = Place | PlaceGroup | Cancel | Tell | Finish
