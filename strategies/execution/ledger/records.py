"""One row per venue record, in time: what a CSV file shows and what days add up from. The amounts of all rows are the result."""

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from database.records import FillRecord, FundingRecord, HoldingRecord, IntentRecord, LedgerKind, LedgerLine, Leg
from exchange_clients.model import ZERO

from .accounts import Cost, PairResult, fee_of, is_unwind, seen_price
from .owners import Market, Owner, markets, of_leg, owner_id


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One venue record, or what is open or unexplained at the end. `amount` is its effect on the result in USD.

    `kind`: the cause of a fill (trade, liquidation, adl, settlement, external), funding, unrealised or unexplained. `realised` is at
    average cost. `slippage` is part of `realised`, told beside it; `unwind` marks what took back an open that could not be hedged.
    """

    owner: str
    strategy: str
    account: str
    venue: str
    instrument: str
    leg: Leg
    ts: int
    kind: str
    record_id: str
    side: str = ""
    quantity: Decimal | None = None
    price: Decimal | None = None
    reference_price: Decimal | None = None
    realised: Decimal = ZERO
    slippage: Decimal = ZERO
    fee: Decimal = ZERO
    fee_asset: str = ""
    funding: Decimal = ZERO
    amount: Decimal = ZERO
    unwind: bool = False
    note: str = ""


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """What one UTC day booked."""

    day: str
    realised: Decimal
    fees: Decimal
    funding: Decimal
    other: Decimal
    records: int

    @property
    def total(self) -> Decimal:
        """All of it."""
        return self.realised + self.fees + self.funding + self.other


def rows(
    owner: Owner,
    intents: Iterable[IntentRecord],
    fills: Iterable[FillRecord],
    funding: Iterable[FundingRecord],
    found: PairResult,
    *,
    ledger: Iterable[LedgerLine] = (),
    now_ns: int,
    prices: Mapping[str, Decimal] | None = None,
) -> list[Row]:
    """Every record behind a result, oldest first.

    Args:
        ledger: booked lines; of these only the remainder is taken, all else comes from the records themselves.
        now_ns: time of what is still open.
    """
    orders = {i.intent_id: i for i in intents}
    taken, paid = list(fills), list(funding)
    told: list[Row] = []
    for market, leg in zip(markets(owner), found.venues, strict=True):
        held = Cost()
        told.extend(_fill_row(owner, market, fill, orders, held, prices or {}) for fill in of_leg(owner, market, taken))
        told.extend(_funding_row(owner, market, p) for p in paid if p.leg is market.leg or isinstance(owner, HoldingRecord))
        if leg.open_quantity != 0:
            open_row = _row(owner, market, now_ns, "unrealised", "", amount=leg.cash.unrealised, note="still open")
            told.append(msgspec.structs.replace(open_row, quantity=leg.open_quantity))
    for line in ledger:
        if line.kind is LedgerKind.UNEXPLAINED:
            market = next((m for m in markets(owner) if m.venue == line.venue), markets(owner)[0])
            told.append(_row(owner, market, line.ts, "unexplained", line.record_id, amount=line.amount, note=line.note))
    return sorted(told, key=lambda row: row.ts)


def _row(owner: Owner, market: Market, ts: int, kind: str, record_id: str, *, amount: Decimal, note: str) -> Row:
    return Row(
        owner=owner_id(owner),
        strategy=owner.strategy,
        account=owner.account,
        venue=market.venue,
        instrument=market.instrument,
        leg=market.leg,
        ts=ts,
        kind=kind,
        record_id=record_id,
        amount=amount,
        note=note,
    )


def _funding_row(owner: Owner, market: Market, payment: FundingRecord) -> Row:
    rate = "" if payment.rate is None else f"rate {payment.rate:f}"
    found = _row(owner, market, payment.ts_venue, "funding", payment.record_id, amount=payment.amount, note=rate)
    return msgspec.structs.replace(found, funding=payment.amount, quantity=payment.position)


def _fill_row(
    owner: Owner, market: Market, fill: FillRecord, orders: Mapping[str, IntentRecord], held: Cost, prices: Mapping[str, Decimal]
) -> Row:
    reference = seen_price(fill, orders)[1]
    realised, fee = held.take(fill.signed, fill.price), fee_of(market, fill, prices)
    note = f"fee of {fill.fee} {fill.fee_asset} has no recorded price: not in the amount" if fee is None else ""
    row = _row(owner, market, fill.ts_venue, fill.kind.value, fill.trade_id, amount=realised + (fee or ZERO), note=note)
    return msgspec.structs.replace(
        row,
        side=fill.side,
        quantity=fill.quantity,
        price=fill.price,
        reference_price=reference,
        realised=realised,
        slippage=-fill.signed * (fill.price - reference),
        fee=-fill.fee if fee is None else fee,
        fee_asset=fill.fee_asset if fee is None else "",
        unwind=is_unwind(fill, orders),
    )


def daily(found: Iterable[Row]) -> list[Day]:
    """UTC days, oldest first. What is still open counts to the day of the look, what is unexplained to the day it was noticed."""
    days: dict[str, list[Row]] = {}
    for row in found:
        days.setdefault(datetime.fromtimestamp(row.ts // 1_000_000_000, UTC).date().isoformat(), []).append(row)
    return [
        Day(
            day=day,
            realised=sum((r.realised for r in mine), ZERO),
            fees=sum((r.fee for r in mine if not r.fee_asset), ZERO),
            funding=sum((r.funding for r in mine), ZERO),
            other=sum((r.amount for r in mine if r.kind in ("unrealised", "unexplained")), ZERO),
            records=sum(r.kind not in ("unrealised", "unexplained") for r in mine),
        )
        for day, mine in sorted(days.items())
    ]


def to_csv(found: Iterable[Row]) -> str:
    """A CSV file with a header: times ISO 8601 UTC, figures in full; what a spreadsheet would take for a formula gets an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(name if name != "ts" else "time" for name in Row.__struct_fields__)
    for row in found:
        writer.writerow(_cell(name, getattr(row, name)) for name in Row.__struct_fields__)
    return out.getvalue()


def _cell(name: str, value: object) -> str:
    if name == "ts":
        assert isinstance(value, int)
        whole, part = divmod(value, 1_000_000_000)
        return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{part:09d}Z"
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
