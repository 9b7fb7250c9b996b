"""The loss of a day: what own fills, funding and open quantities are worth now, against what they were worth at 00:00 UTC."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from database.records import FillRecord, FundingRecord, HoldingRecord, PairRecord
from exchange_clients.model import NS_PER_S, ZERO, InstrumentId

if TYPE_CHECKING:
    from database.journal import Journal

DAY_NS = 86_400 * NS_PER_S


class DayBook(msgspec.Struct, frozen=True, kw_only=True):
    """Saved across restarts. `day`: days since the epoch, UTC. `baseline`: worth of each owner (pair or holding) as the day began; what was
    not there then counts from zero. `last`: worth at the last look, the next day's baseline. `halted`: the loss has halted us today."""

    day: int = 0
    baseline: dict[str, Decimal] = {}
    last: dict[str, Decimal] = {}
    halted: bool = False


def worth(fills: Iterable[FillRecord], funding: Iterable[FundingRecord], mark: Callable[[str, str], Decimal | None]) -> Decimal | None:
    """What an owner has gained in cash plus what it holds at `mark(venue, instrument)`, USD; None when a held market has no price."""
    total = ZERO
    held: dict[tuple[str, str], Decimal] = {}
    for fill in fills:
        place = (fill.venue, fill.instrument)
        held[place] = held.get(place, ZERO) + fill.signed
        in_base = fill.fee_asset == InstrumentId.parse(fill.instrument).base
        total -= fill.signed * fill.price + (fill.fee * fill.price if in_base else fill.fee)
    total += sum((payment.amount for payment in funding), ZERO)
    for (venue, instrument), quantity in held.items():
        if quantity:
            price = mark(venue, instrument)
            if price is None:
                return None
            total += quantity * price
    return total


def roll(book: DayBook, now_ns: int, older: Mapping[str, Decimal]) -> DayBook:
    """The book of today. What was last seen is what the new day begins with: a move while nobody looked counts for today.

    `older`: present worth of owners that began before today; those the book has never seen (it is new) begin with that.
    """
    today = now_ns // DAY_NS
    if book.day == today:
        begun = {**older, **book.baseline}
        return book if begun == book.baseline else msgspec.structs.replace(book, baseline=begun)
    return DayBook(day=today, baseline={**older, **book.last})


def result(book: DayBook, now: Mapping[str, Decimal]) -> Decimal:
    """Gained today by everything that lives or ended today; negative is a loss."""
    return sum((value - book.baseline.get(owner, ZERO) for owner, value in now.items()), ZERO)


class Account(msgspec.Struct, frozen=True):
    """One owner's records."""

    owner: str
    begun_ns: int
    fills: list[FillRecord]
    funding: list[FundingRecord]


def accounts(journal: "Journal", strategy: str, account: str, now_ns: int) -> list[Account]:
    """Of every pair and holding that is open or ended today. Raises JournalError."""
    since_ns = now_ns // DAY_NS * DAY_NS
    records: list[PairRecord | HoldingRecord] = [*journal.pairs(), *journal.holdings()]
    owners = [
        (record.pair_id if isinstance(record, PairRecord) else record.holding_id, record.created_at)
        for record in records
        if (record.strategy, record.account) == (strategy, account) and (record.closed_at is None or record.closed_at >= since_ns)
    ]
    return [Account(owner, begun_ns, journal.fills(owner), journal.funding(owner)) for owner, begun_ns in owners]
