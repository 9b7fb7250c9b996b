"""What a pair earned, from venue records alone: price, slippage, fees, funding, and what nothing explains (E27)."""

import logging
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from database.records import FillRecord, FundingRecord, IntentRecord, LedgerKind, LedgerLine, Leg, PairRecord
from exchange_clients.errors import UnsupportedCapability
from exchange_clients.model import NS_PER_S, ZERO

from .journaling import AsyncJournal
from .plan import PairPlan, recall

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

log = logging.getLogger("strategies.execution")

SIGNIFICANT = Decimal("0.01")
"""A remainder below one cent is rounding, not a finding."""
STAMP_NS = NS_PER_S
"""Venues stamp payments in whole seconds, or a moment after the hour."""


class VenueResult(msgspec.Struct, frozen=True, kw_only=True):
    """One venue's part; gains positive. `price` is what the move of the mid brought, `slippage` what trading away from the mid cost.

    `open_value` is the still open quantity at the given mark. `venue_total` is the venue's own figure; None when it cannot be told apart.
    """

    venue: str
    price: Decimal
    slippage: Decimal
    fee: Decimal
    funding: Decimal
    traded: Decimal
    open_quantity: Decimal
    open_value: Decimal
    venue_total: Decimal | None

    @property
    def total(self) -> Decimal:
        """The sum of the parts."""
        return self.price + self.slippage + self.fee + self.funding

    @property
    def unexplained(self) -> Decimal | None:
        """What the venue shows beyond the parts; None when it shows nothing to compare with."""
        return None if self.venue_total is None else self.venue_total - self.total


class PairResult(msgspec.Struct, frozen=True):
    """Both venues together."""

    pair_id: str
    venues: tuple[VenueResult, ...]

    def sum(self, part: str) -> Decimal:
        """One part over both venues: price, slippage, fee, funding, traded or total."""
        return sum((getattr(v, part) for v in self.venues), ZERO)

    @property
    def total(self) -> Decimal:
        """The pair's result."""
        return sum((v.total for v in self.venues), ZERO)

    @property
    def unexplained(self) -> Decimal | None:
        """Summed remainder; None when one venue has no figure."""
        parts = [v.unexplained for v in self.venues]
        return None if any(p is None for p in parts) else sum((p for p in parts if p is not None), ZERO)


def result(
    pair: PairRecord,
    intents: Iterable[IntentRecord],
    fills: Iterable[FillRecord],
    funding: Iterable[FundingRecord],
    *,
    marks: Mapping[Leg, Decimal] | None = None,
    venue_totals: Mapping[Leg, Decimal] | None = None,
) -> PairResult:
    """The decomposition. A fill's reference is the mid when its order was decided; without an order it is its own price (no slippage).

    `marks` value what is still open; without a mark it is valued at its own average, so that nothing unrealised is claimed.
    """
    reference = {i.intent_id: i.reference_price for i in intents}
    taken, paid = list(fills), list(funding)
    return PairResult(
        pair.pair_id,
        tuple(
            _venue(
                pair.venue(leg),
                [f for f in taken if f.leg is leg],
                [p for p in paid if p.leg is leg],
                reference,
                (marks or {}).get(leg),
                (venue_totals or {}).get(leg),
            )
            for leg in Leg
        ),
    )


def _venue(
    venue: str,
    fills: list[FillRecord],
    funding: list[FundingRecord],
    reference: Mapping[str, Decimal | None],
    mark: Decimal | None,
    venue_total: Decimal | None,
) -> VenueResult:
    at_reference = at_price = quantity = traded = ZERO
    for fill in fills:
        expected = reference.get(fill.intent_id or "") or fill.price
        at_reference -= fill.signed * expected
        at_price -= fill.signed * fill.price
        quantity += fill.signed
        traded += fill.quantity * fill.price
    open_value = ZERO
    if quantity != 0:
        open_value = quantity * mark if mark is not None else -at_reference
    return VenueResult(
        venue=venue,
        price=at_reference + open_value,
        slippage=at_price - at_reference,
        fee=-sum((f.fee for f in fills), ZERO),
        funding=sum((p.amount for p in funding), ZERO),
        traded=traded,
        open_quantity=quantity,
        open_value=open_value,
        venue_total=venue_total,
    )


def lines(
    pair: PairRecord, fills: Iterable[FillRecord], funding: Iterable[FundingRecord], found: PairResult, now_ns: int
) -> list[LedgerLine]:
    """The ledger of a closed pair: one line per fee and payment record, one per venue for price and slippage, one for a remainder."""
    booked = [_line(pair, LedgerKind.FEE, f.venue, f.trade_id, -f.fee, f.fee_asset, f.ts_venue, "") for f in fills]
    booked.extend(_line(pair, LedgerKind.FUNDING, p.venue, p.record_id, p.amount, "", p.ts_venue, "") for p in funding)
    for venue in found.venues:
        booked.append(_line(pair, LedgerKind.PRICE, venue.venue, "close", venue.price, "", now_ns, "move of the mid"))
        booked.append(_line(pair, LedgerKind.SLIPPAGE, venue.venue, "close", venue.slippage, "", now_ns, "away from the mid"))
        rest = venue.unexplained
        if rest is not None and abs(rest) >= SIGNIFICANT:
            note = f"the venue shows {venue.venue_total}, the records add up to {venue.total}"
            booked.append(_line(pair, LedgerKind.UNEXPLAINED, venue.venue, "close", rest, "", now_ns, note))
    return booked


def _line(pair: PairRecord, kind: LedgerKind, venue: str, record_id: str, amount: Decimal, asset: str, ts: int, note: str) -> LedgerLine:
    return LedgerLine(pair_id=pair.pair_id, kind=kind, venue=venue, record_id=record_id, amount=amount, asset=asset, ts=ts, note=note)


async def book_funding(pair: PairRecord, clients: Mapping[str, "BaseExchangeClient"], journal: AsyncJournal, now_ns: int) -> int:
    """Take in the venues' funding records of both legs, each once; returns how many were new.

    A payment is the pair's from its first fill on that venue on and, once it is closed, until the last, all in the venue's own time.
    Where the account held something of its own in that market before, the payment is shared by quantity.

    Raises:
        VenueError: a venue could not be asked; what was booked stays, asking again is safe.
    """
    new = 0
    plan = msgspec.json.decode(pair.plan, type=PairPlan)
    fills = journal.sync.fills(pair.pair_id)
    for leg in Leg:
        times = [f.ts_venue for f in fills if f.leg is leg]
        if not times:
            continue
        since_ns, until_ns = min(times) - STAMP_NS, max(times) + STAMP_NS if pair.closed_at is not None else None
        client = clients[pair.venue(leg)]
        await recall(plan, leg, client)
        if not client.capabilities.funding_payments:
            raise UnsupportedCapability("funding payments", venue=pair.venue(leg))
        payments = await client.get_funding_payments(pair.instrument(leg), since_ns=since_ns, until_ns=until_ns)
        foreign = pair.foreign(leg)
        records = []
        for payment in payments:
            if payment.ts_venue_ns < since_ns or (until_ns is not None and payment.ts_venue_ns > until_ns):
                continue
            amount = payment.amount
            if foreign != 0 and payment.position_quantity:
                amount *= (payment.position_quantity - foreign) / payment.position_quantity
            records.append(
                FundingRecord(
                    venue=pair.venue(leg),
                    account=pair.account,
                    record_id=payment.payment_id,
                    pair_id=pair.pair_id,
                    leg=leg,
                    instrument=pair.instrument(leg),
                    amount=amount,
                    rate=payment.rate,
                    position=payment.position_quantity,
                    ts_venue=payment.ts_venue_ns,
                    recorded_at=now_ns,
                )
            )
        if records:
            new += sum(await journal.write(*records, pair_id=pair.pair_id, or_fallback=True))
    return new
