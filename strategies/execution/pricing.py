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


def terms(instrument: Instrument, side: Side, tactic: Tactic, quote: Quote, bps: Decimal) -> OrderTerms:
    """The order for a tactic; prices are valid for the instrument and never worse than the tactic says."""
    match tactic:
        case Tactic.CROSS | Tactic.MARKET:
            return OrderTerms(instrument.price_for(side, bound(side, quote, bps)), TimeInForce.IOC, False)
        case Tactic.INSIDE:
            own = quote.bid if side is Side.BUY else quote.ask
            step = instrument.price_increment(own) * side.sign
            inside = own + step
            free = inside < quote.ask if side is Side.BUY else inside > quote.bid
            return OrderTerms(instrument.price_for(side, inside if free else own), TimeInForce.GTC, True)
        case Tactic.TOUCH:
            return OrderTerms(instrument.price_for(side, quote.bid if side is Side.BUY else quote.ask), TimeInForce.GTC, True)
