"""At which price: limits from a quote, a tactic and a bound. Pure."""

from decimal import Decimal

import msgspec

from exchange_clients.model import Instrument, Side, TimeInForce

from .plan import Tactic

BPS = Decimal(10_000)


class Quote(msgspec.Struct, frozen=True):
    """The touch of one market. `source` says where it came from: "book", or for exits "mark" or "last fill" (then bid equals ask)."""

    bid: Decimal
    ask: Decimal
    source: str = "book"

    @property
    def mid(self) -> Decimal:
        """Halfway between the touches."""
        return (self.bid + self.ask) / 2


class OrderTerms(msgspec.Struct, frozen=True):
    """How one order is written."""

    price: Decimal
    time_in_force: TimeInForce
    post_only: bool


def rung(ladder: tuple[Decimal, ...], attempt: int) -> Decimal:
    """The bound of an attempt; the last one repeats."""
    return ladder[min(attempt, len(ladder) - 1)]


def bound(side: Side, quote: Quote, bps: Decimal) -> Decimal:
    """The worst price accepted: `bps` beyond the opposite touch."""
    return quote.ask * (1 + bps / BPS) if side is Side.BUY else quote.bid * (1 - bps / BPS)


def worst_lead(side: Side, hedge: Quote, max_price_cost: Decimal) -> Decimal:
    """The worst price of the first leg that still breaks even when the other leg is done at its present opposite touch."""
    return hedge.bid * (1 + max_price_cost) if side is Side.BUY else hedge.ask / (1 + max_price_cost)


def worst_hedge(side: Side, paid: Decimal, max_price_cost: Decimal, overrun_bps: Decimal) -> Decimal:
    """The worst price of a hedge after the first leg got `paid` on average; beyond it the first leg is unwound instead."""
    cost = max_price_cost + overrun_bps / BPS
    return paid * (1 + cost) if side is Side.BUY else paid / (1 + cost)


def terms(
    instrument: Instrument,
    side: Side,
    tactic: Tactic,
    quote: Quote,
    bps: Decimal,
    *,
    worst: Decimal | None = None,
    offset: Decimal = Decimal(0),
) -> OrderTerms:
    """The order for a tactic; prices are valid for the instrument and never worse than the tactic says, nor than `worst`.

    `offset` is the fraction of the price by which a TOUCH order sits behind its own best price.
    """
    wanted = _wanted(instrument, side, tactic, quote, bps, offset)
    if worst is not None:
        wanted = min(wanted, worst) if side is Side.BUY else max(wanted, worst)
    return OrderTerms(instrument.price_for(side, wanted), TimeInForce.GTC if tactic.rests else TimeInForce.IOC, tactic.rests)


def _wanted(instrument: Instrument, side: Side, tactic: Tactic, quote: Quote, bps: Decimal, offset: Decimal) -> Decimal:
    own = quote.bid if side is Side.BUY else quote.ask
    match tactic:
        case Tactic.CROSS | Tactic.MARKET:
            return bound(side, quote, bps)
        case Tactic.INSIDE:
            inside = own + instrument.price_increment(own) * side.sign
            free = inside < quote.ask if side is Side.BUY else inside > quote.bid
            return inside if free else own
        case Tactic.TOUCH:
            return own * (1 - side.sign * offset)
