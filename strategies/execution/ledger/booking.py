"""Takes in the venues' funding records, and writes the ledger of what is closed: each record once."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from database.journal import Journal
from database.records import FillRecord, FundingRecord, HoldingRecord, IntentRecord, LedgerKind, LedgerLine, PairRecord
from exchange_clients.errors import UnsupportedCapability
from exchange_clients.model import NS_PER_S, ZERO, FundingPayment

from ..journaling import AsyncJournal
from ..plan import PairPlan, recall
from .accounts import PairResult, fee_of, is_unwind
from .owners import Market, Owner, markets, of_leg, owner_id

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

SIGNIFICANT = Decimal("0.01")
"""A remainder below one cent is rounding, not a finding."""
STAMP_NS = NS_PER_S
"""Venues stamp payments in whole seconds, or a moment after the hour."""


def lines(
    owner: Owner,
    fills: Iterable[FillRecord],
    funding: Iterable[FundingRecord],
    found: PairResult,
    now_ns: int,
    *,
    intents: Iterable[IntentRecord] = (),
    prices: Mapping[str, Decimal] | None = None,
) -> list[LedgerLine]:
    """The ledger of what is closed: one per fee and payment record, per leg one for price, slippage and unwinding, one for the remainder.

    The remainder is written wherever the venue's own figure is known: below a cent as zero, which says that the account was compared.
    A fee that no recorded price converts stands in its own asset.
    """
    orders = {i.intent_id: i for i in intents}
    taken, booked = list(fills), []
    for market in markets(owner):
        for fill in of_leg(owner, market, taken):
            amount = fee_of(market, fill, prices or {})
            kind = LedgerKind.UNWIND if is_unwind(fill, orders) else LedgerKind.FEE
            money = -fill.fee if amount is None or market.is_money(fill.fee_asset) else amount
            note = "" if money == -fill.fee else f"{fill.fee} {fill.fee_asset}"
            asset = fill.fee_asset if not note else ""
            booked.append(_line(owner, kind, fill.venue, fill.trade_id, money, asset, fill.ts_venue, note))
    booked.extend(_line(owner, LedgerKind.FUNDING, p.venue, p.record_id, p.amount, "", p.ts_venue, "") for p in funding)
    for leg in found.venues:
        booked.append(_line(owner, LedgerKind.PRICE, leg.venue, "close", leg.price, "", now_ns, "move of the mid"))
        booked.append(_line(owner, LedgerKind.SLIPPAGE, leg.venue, "close", leg.slippage, "", now_ns, "away from the mid"))
        if away := leg.unwind - (leg.fees_paid - leg.fee):
            booked.append(_line(owner, LedgerKind.UNWIND, leg.venue, "close", away, "", now_ns, "away from the mid, taking back"))
        rest = leg.unexplained
        if rest is not None:
            note = f"the venue shows {leg.venue_total}, the records add up to {leg.total}"
            amount = rest if abs(rest) >= SIGNIFICANT else ZERO
            booked.append(_line(owner, LedgerKind.UNEXPLAINED, leg.venue, "close", amount, "", now_ns, note))
    return booked


def _line(owner: Owner, kind: LedgerKind, venue: str, record_id: str, amount: Decimal, asset: str, ts: int, note: str) -> LedgerLine:
    return LedgerLine(pair_id=owner_id(owner), kind=kind, venue=venue, record_id=record_id, amount=amount, asset=asset, ts=ts, note=note)


async def book_funding(owner: Owner, clients: Mapping[str, "BaseExchangeClient"], journal: AsyncJournal, now_ns: int) -> int:
    """Take in the venues' funding records of each leg, each once; returns how many were new.

    A payment is the owner's from its first fill on that venue on and, once it is closed, until the last, all in the venue's own time.
    Where others held something in that market (another pair, a holding, or the account's owner), the payment is shared by quantity.

    Raises:
        VenueError: a venue could not be asked; what was booked stays, asking again is safe.
    """
    new = 0
    fills = journal.sync.fills(owner_id(owner))
    for market in markets(owner):
        mine = of_leg(owner, market, fills)
        if not mine:
            continue
        since_ns, until_ns = mine[0].ts_venue - STAMP_NS, mine[-1].ts_venue + STAMP_NS if owner.closed_at is not None else None
        client = clients[market.venue]
        if isinstance(owner, PairRecord):
            await recall(msgspec.json.decode(owner.plan, type=PairPlan), market.leg, client)
        if not client.capabilities.funding_payments:
            raise UnsupportedCapability("funding payments", venue=market.venue)
        payments = await client.get_funding_payments(market.instrument, since_ns=since_ns, until_ns=until_ns)
        wanted = [p for p in payments if p.ts_venue_ns >= since_ns and (until_ns is None or p.ts_venue_ns <= until_ns)]
        if not wanted:
            continue
        others = neighbours(owner, market, journal.sync, since_ns)
        records = [record for p in wanted if (record := share_of(owner, market, p, mine, others, now_ns)) is not None]
        new += sum(await journal.write(*records, pair_id=owner_id(owner), or_fallback=True)) if records else 0
    return new


def neighbours(owner: Owner, market: Market, journal: Journal, since_ns: int) -> list[FillRecord]:
    """Fills of all other pairs and holdings of the account in the same market that lived at or after `since_ns`."""
    found: list[FillRecord] = []
    lived: list[Owner] = [*journal.pairs(), *journal.holdings()]
    for other in lived:
        if owner_id(other) == owner_id(owner) or other.account != owner.account:
            continue
        if other.closed_at is not None and other.closed_at < since_ns:
            continue
        if any((m.venue, m.instrument) == (market.venue, market.instrument) for m in markets(other)):
            found.extend(f for f in journal.fills(owner_id(other)) if (f.venue, f.instrument) == (market.venue, market.instrument))
    return found


def share_of(
    owner: Owner, market: Market, payment: FundingPayment, mine: list[FillRecord], others: list[FillRecord], now_ns: int
) -> FundingRecord | None:
    """The owner's part of a payment by what each held when it was made; None when it has none."""
    foreign = owner.foreign_quantity if isinstance(owner, HoldingRecord) else owner.foreign(market.leg)
    theirs = _held(others, payment.ts_venue_ns)
    amount = payment.amount
    if theirs != 0 or foreign != 0:
        own = _held(mine, payment.ts_venue_ns)
        whole = payment.position_quantity or own + theirs + foreign
        if own == 0 or whole == 0:
            return None
        amount *= own / whole
    return FundingRecord(
        venue=market.venue,
        account=owner.account,
        record_id=payment.payment_id,
        pair_id=owner_id(owner),
        leg=market.leg,
        instrument=market.instrument,
        amount=amount,
        rate=payment.rate,
        position=payment.position_quantity,
        ts_venue=payment.ts_venue_ns,
        recorded_at=now_ns,
    )


def _held(fills: list[FillRecord], ts_ns: int) -> Decimal:
    return sum((f.signed for f in fills if f.ts_venue <= ts_ns), ZERO)
