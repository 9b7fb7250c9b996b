"""Three views of one result: what each venue's books show, what the hedge earned at one price, and what it is made of.

All figures are USD (stablecoins one to one), gains positive. The views are different sums of the same records: their totals are equal.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from database.records import FillCause, FillRecord, FundingRecord, HoldingRecord, IntentRecord, Leg
from exchange_clients.model import NS_PER_S, ZERO, Purpose

from .owners import Market, Owner, markets, of_leg, owner_id

SAME_MOMENT_NS = 60 * NS_PER_S
"""Prices of the two venues are one reference only when they were seen this close to each other."""


class CashView(msgspec.Struct, frozen=True, kw_only=True):
    """One venue's own account of it: what a statement of that venue adds up to.

    `equity_change` is what the account gained meanwhile; None unless the pair was alone on it. perpkit moves no funds between venues: a
    deposit or withdrawal in that time shows in `unexplained`.
    """

    realised: Decimal
    unrealised: Decimal
    fees: Decimal
    funding: Decimal
    equity_change: Decimal | None

    @property
    def total(self) -> Decimal:
        """Trading result, fees and funding."""
        return self.realised + self.unrealised + self.fees + self.funding

    @property
    def unexplained(self) -> Decimal | None:
        """What the venue shows beyond the records; None when it shows nothing to compare with."""
        return None if self.equity_change is None else self.equity_change - self.total


class UnifiedView(msgspec.Struct, frozen=True, kw_only=True):
    """Both legs valued at one price, the mean of the two mids: what the hedge really earned.

    `exposure`: the move of that one price while the legs were not equal. `basis`: what the distance between the two venues brought, from
    entry to exit (or to the marks).
    """

    exposure: Decimal
    basis: Decimal
    slippage: Decimal
    unwind: Decimal
    fees: Decimal
    funding: Decimal

    @property
    def total(self) -> Decimal:
        """As the other views."""
        return self.exposure + self.basis + self.slippage + self.unwind + self.fees + self.funding


class VenueResult(msgspec.Struct, frozen=True, kw_only=True):
    """One leg. `price`: what the move of its mid brought; `slippage`: what trading away from the mid cost; `unwind`: slippage and fees of
    orders that took back what could not be hedged; `fee` and `slippage` are without those.

    `open_value`: the still open quantity at its mark. `other_fees`: fees in assets that no recorded price converts, by asset, in no total.
    `forced`: quantity that the venue closed itself. `exposure`: the part of `price` that one reference price for both legs gives.
    `venue_total`: the venue's own figure; None when it cannot be told apart.
    """

    leg: Leg
    venue: str
    instrument: str
    price: Decimal
    slippage: Decimal
    unwind: Decimal
    fee: Decimal
    funding: Decimal
    traded: Decimal
    forced: Decimal
    open_quantity: Decimal
    open_value: Decimal
    exposure: Decimal
    realised: Decimal
    fees_paid: Decimal
    other_fees: dict[str, Decimal]
    venue_total: Decimal | None

    @property
    def total(self) -> Decimal:
        """The sum of the parts."""
        return self.price + self.slippage + self.unwind + self.fee + self.funding

    @property
    def unexplained(self) -> Decimal | None:
        """What the venue shows beyond the parts; None when it shows nothing to compare with."""
        return None if self.venue_total is None else self.venue_total - self.total

    @property
    def cash(self) -> CashView:
        """As the venue's own statement has it: average cost, fees whatever they were paid for."""
        traded = self.price + self.slippage + (self.unwind - (self.fees_paid - self.fee))
        return CashView(
            realised=self.realised,
            unrealised=traded - self.realised,
            fees=self.fees_paid,
            funding=self.funding,
            equity_change=self.venue_total,
        )


class PairResult(msgspec.Struct, frozen=True):
    """All legs together; `pair_id` is the holding's id for a holding."""

    pair_id: str
    venues: tuple[VenueResult, ...]

    def sum(self, part: str) -> Decimal:
        """One part over all legs: price, slippage, unwind, fee, funding, traded or total."""
        return sum((getattr(v, part) for v in self.venues), ZERO)

    @property
    def total(self) -> Decimal:
        """The result."""
        return sum((v.total for v in self.venues), ZERO)

    @property
    def unexplained(self) -> Decimal | None:
        """Summed remainder; None when one venue has no figure."""
        parts = [v.unexplained for v in self.venues]
        return None if any(p is None for p in parts) else sum((p for p in parts if p is not None), ZERO)

    @property
    def unified(self) -> UnifiedView:
        """At one reference price."""
        exposure = sum((v.exposure for v in self.venues), ZERO)
        return UnifiedView(
            exposure=exposure,
            basis=self.sum("price") - exposure,
            slippage=self.sum("slippage"),
            unwind=self.sum("unwind"),
            fees=self.sum("fee"),
            funding=self.sum("funding"),
        )

    @property
    def other_fees(self) -> dict[str, Decimal]:
        """Fees that no recorded price converts, by asset: gains positive, outside of every total."""
        found: dict[str, Decimal] = {}
        for venue in self.venues:
            for asset, amount in venue.other_fees.items():
                found[asset] = found.get(asset, ZERO) + amount
        return found


class Cost:
    """Average cost of a signed quantity, through reductions and changes of side."""

    __slots__ = ("cost", "quantity")

    def __init__(self) -> None:
        self.quantity = ZERO
        self.cost = ZERO

    def take(self, signed: Decimal, price: Decimal) -> Decimal:
        """What this trade realised."""
        if self.quantity * signed >= 0:
            self.quantity += signed
            self.cost += signed * price
            return ZERO
        if abs(signed) >= abs(self.quantity):
            realised = -(self.cost - self.quantity * price)
            rest = self.quantity + signed
            self.quantity, self.cost = rest, rest * price
            return realised
        share = self.cost * (-signed / self.quantity)
        self.quantity += signed
        self.cost -= share
        return -signed * price - share


class References:
    """One price for both legs at a moment: the mean of what was seen on each, where both were seen close enough together."""

    def __init__(self, points: Mapping[Leg, Sequence[tuple[int, Decimal]]]) -> None:
        self._points = {leg: sorted(seen) for leg, seen in points.items()}

    def at(self, leg: Leg, ts_ns: int, own: Decimal) -> Decimal:
        """`own` is what the leg's venue showed then."""
        seen = self._points.get(leg.other, [])
        at = bisect_left(seen, (ts_ns, ZERO))
        near = min(seen[max(0, at - 1) : at + 1], key=lambda point: abs(point[0] - ts_ns), default=None)
        return own if near is None or abs(near[0] - ts_ns) > SAME_MOMENT_NS else (own + near[1]) / 2


def seen_price(fill: FillRecord, intents: Mapping[str, IntentRecord]) -> tuple[int, Decimal]:
    """When a fill was decided and the mid then; a fill without an order of ours is its own reference: it has no slippage."""
    intent = intents.get(fill.intent_id or "")
    if intent is None:
        return fill.ts_venue, fill.price
    return intent.created_at, intent.reference_price or fill.price


def fee_of(market: Market, fill: FillRecord, prices: Mapping[str, Decimal]) -> Decimal | None:
    """A fill's fee as a gain in USD (a rebate is positive); None when no recorded price converts its asset.

    A fee in the traded asset is converted at the fill's own price.
    """
    if fill.fee == 0 or market.is_money(fill.fee_asset):
        return -fill.fee
    price = prices.get(fill.fee_asset, fill.price if fill.fee_asset == market.base else None)
    return None if price is None else -fill.fee * price


def result(
    owner: Owner,
    intents: Iterable[IntentRecord],
    fills: Iterable[FillRecord],
    funding: Iterable[FundingRecord],
    *,
    marks: Mapping[Leg, Decimal] | None = None,
    venue_totals: Mapping[Leg, Decimal] | None = None,
    prices: Mapping[str, Decimal] | None = None,
) -> PairResult:
    """All views of a pair or a holding, open or closed. A fill's reference is the mid when its order was decided.

    Args:
        marks: value of what is still open, per leg; without that of an open one all of it stands at its own average mid, so that nothing
            unrealised is claimed, and of a pair never one leg's alone.
        venue_totals: what each account gained meanwhile, where the owner was alone on it.
        prices: recorded prices in USD of assets in which fees were taken.
    """
    orders = {i.intent_id: i for i in intents}
    taken, paid, legs = list(fills), list(funding), markets(owner)
    split = {m.leg: of_leg(owner, m, taken) for m in legs}
    references = References({m.leg: [seen_price(f, orders) for f in split[m.leg]] for m in legs})
    is_open = {leg for leg, own in split.items() if sum((fill.signed for fill in own), ZERO)}
    known = marks if marks is not None and is_open <= marks.keys() else {}
    one_mark = sum(known.values(), ZERO) / len(known) if len(known) == len(legs) else None
    return PairResult(
        owner_id(owner),
        tuple(
            _leg(
                market,
                split[market.leg],
                [p for p in paid if p.leg is market.leg or isinstance(owner, HoldingRecord)],
                orders,
                references,
                mark=known.get(market.leg),
                one_mark=one_mark,
                venue_total=(venue_totals or {}).get(market.leg),
                prices=prices or {},
            )
            for market in legs
        ),
    )


def _leg(
    market: Market,
    fills: list[FillRecord],
    funding: list[FundingRecord],
    orders: Mapping[str, IntentRecord],
    references: References,
    *,
    mark: Decimal | None,
    one_mark: Decimal | None,
    venue_total: Decimal | None,
    prices: Mapping[str, Decimal],
) -> VenueResult:
    slippage = unwind = fee = fees_paid = ZERO
    other_fees: dict[str, Decimal] = {}
    for fill in fills:
        away = -fill.signed * (fill.price - seen_price(fill, orders)[1])
        paid = fee_of(market, fill, prices)
        if paid is None:
            other_fees[fill.fee_asset] = other_fees.get(fill.fee_asset, ZERO) - fill.fee
        fees_paid += paid or ZERO
        if is_unwind(fill, orders):
            unwind += away + (paid or ZERO)
        else:
            slippage += away
            fee += paid or ZERO
    at_mid, open_value = _value(fills, lambda fill: seen_price(fill, orders)[1], mark)
    exposure, _ = _value(fills, lambda fill: references.at(market.leg, *seen_price(fill, orders)), mark if one_mark is None else one_mark)
    held = Cost()
    realised = sum((held.take(f.signed, f.price) for f in fills), ZERO)
    return VenueResult(
        leg=market.leg,
        venue=market.venue,
        instrument=market.instrument,
        price=at_mid,
        slippage=slippage,
        unwind=unwind,
        fee=fee,
        funding=sum((p.amount for p in funding), ZERO),
        traded=sum((f.quantity * f.price for f in fills), ZERO),
        forced=sum((f.quantity for f in fills if f.kind not in (FillCause.TRADE, FillCause.EXTERNAL)), ZERO),
        open_quantity=held.quantity,
        open_value=open_value,
        exposure=exposure,
        realised=realised,
        fees_paid=fees_paid,
        other_fees=other_fees,
        venue_total=venue_total,
    )


def is_unwind(fill: FillRecord, orders: Mapping[str, IntentRecord]) -> bool:
    """Whether the fill took back what could not be hedged."""
    intent = orders.get(fill.intent_id or "")
    return intent is not None and intent.purpose == Purpose.UNWIND


def _value(fills: list[FillRecord], price_of: Callable[[FillRecord], Decimal], mark: Decimal | None) -> tuple[Decimal, Decimal]:
    """(result, worth of what is open) of trading at other prices than the real ones; what is open at `mark`, else at its average."""
    held, cash = Cost(), ZERO
    for fill in fills:
        price = price_of(fill)
        held.take(fill.signed, price)
        cash -= fill.signed * price
    worth = held.cost if mark is None else held.quantity * mark
    return cash + worth, worth
