"""What is known about one market's funding at one moment."""

from decimal import Decimal

import msgspec

from exchange_clients.model import FundingRateSample, InstrumentId


class FundingQuote(msgspec.Struct, frozen=True, kw_only=True):
    """A market's funding and what it costs to trade there; None is unknown, never zero.

    `observed_ns`: when we learned the rate. `volume_24h_usd`, `open_interest_usd` one-sided USD. Fees are this account's, as fractions.
    `mark`, `index` in quote per base unit.
    """

    instrument: InstrumentId
    sample: FundingRateSample
    observed_ns: int
    taker_fee: Decimal | None = None
    maker_fee: Decimal | None = None
    mark: Decimal | None = None
    index: Decimal | None = None
    bid: Decimal | None = None
    ask: Decimal | None = None
    volume_24h_usd: Decimal | None = None
    open_interest_usd: Decimal | None = None
    tradable: bool = True

    @property
    def spread(self) -> Decimal | None:
        """Ask minus bid over the mid; None without a two-sided market."""
        if self.bid is None or self.ask is None or self.bid <= 0 or self.ask < self.bid:
            return None
        return (self.ask - self.bid) * 2 / (self.ask + self.bid)


class Costs(msgspec.Struct, frozen=True):
    """What entering and leaving both legs costs, as fractions of one leg's notional.

    Without `slippage_known` a leg's spread is unknown and the fees stand alone: slippage is zero here, the true costs are higher.
    """

    entry_fees: Decimal
    exit_fees: Decimal
    entry_slippage: Decimal
    exit_slippage: Decimal
    slippage_known: bool = True

    @property
    def total(self) -> Decimal:
        """All of it, both ways."""
        return self.entry_fees + self.exit_fees + self.entry_slippage + self.exit_slippage
