"""What a size costs in live books, and which size an edge still carries. Pure."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from exchange_clients.model import ZERO, BookLevel

from .quotes import Costs


class Book(msgspec.Struct, frozen=True):
    """Both sides of one market, best level first."""

    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]

    @property
    def mid(self) -> Decimal:
        """Halfway between the touches."""
        return (self.bids[0].price + self.asks[0].price) / 2


class Fees(msgspec.Struct, frozen=True):
    """An account's own rates on one venue, as fractions; negative maker is a rebate."""

    maker: Decimal | None
    taker: Decimal


def offered(levels: Sequence[BookLevel]) -> Decimal:
    """Base units in the book."""
    return sum((x.size for x in levels), ZERO)


def average_price(levels: Sequence[BookLevel], quantity: Decimal) -> Decimal | None:
    """The mean price of taking `quantity` from the best level on; None when the book does not hold it."""
    left, value = quantity, ZERO
    for level in levels:
        taken = min(left, level.size)
        value += taken * level.price
        left -= taken
        if left <= 0:
            return value / quantity
    return None


def costs_at(long: Book, short: Book, fees: tuple[Fees, Fees], quantity: Decimal) -> Costs | None:
    """Round trip of `quantity` on both legs as a taker, through the books as they are; None when they do not hold it."""
    enter_long, leave_long = average_price(long.asks, quantity), average_price(long.bids, quantity)
    enter_short, leave_short = average_price(short.bids, quantity), average_price(short.asks, quantity)
    if enter_long is None or leave_long is None or enter_short is None or leave_short is None:
        return None
    one, other = long.mid, short.mid
    taker = fees[0].taker + fees[1].taker
    return Costs(
        entry_fees=taker,
        exit_fees=taker,
        entry_slippage=(enter_long - one) / one + (other - enter_short) / other,
        exit_slippage=(one - leave_long) / one + (leave_short - other) / other,
    )


def capacity(long: Book, short: Book, fees: tuple[Fees, Fees], *, funding: Decimal, min_net: Decimal, step: Decimal) -> Decimal:
    """The largest quantity (a multiple of `step`) whose `funding` still leaves `min_net` after its costs; zero when even one step does not.

    Costs grow with the size, so the answer is where they use up what there is.
    """
    most = min(offered(side) for side in (long.bids, long.asks, short.bids, short.asks))
    low, high = 0, int(most / step)
    while low < high:
        middle = (low + high + 1) // 2
        costs = costs_at(long, short, fees, middle * step)
        if costs is not None and funding - costs.total >= min_net:
            low = middle
        else:
            high = middle - 1
    return low * step


class Size(msgspec.Struct, frozen=True):
    """One point of the capacity curve: what a size of `usd` leaves over the horizon; `net` is a fraction, None beyond the books."""

    usd: Decimal
    net: Decimal | None


def capacity_curve(long: Book, short: Book, fees: tuple[Fees, Fees], *, funding: Decimal, sizes: Sequence[Decimal]) -> tuple[Size, ...]:
    """Net edge by size in USD."""
    found = []
    for usd in sizes:
        costs = costs_at(long, short, fees, usd / max(long.mid, short.mid))
        found.append(Size(usd, None if costs is None else funding - costs.total))
    return tuple(found)
