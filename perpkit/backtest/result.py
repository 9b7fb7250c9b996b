"""What a run found, as plain data: the same for JSON, the page and whoever compares runs. No wall time is in it."""

from __future__ import annotations

from decimal import Decimal

import msgspec

ZERO = Decimal(0)


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """A result in USD, gains positive. `price`: moves of the mid; `slippage`: trading away from the mid at the decision; `unexplained`:
    what the accounts show beyond the parts.
    """

    price: Decimal = ZERO
    slippage: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    unexplained: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        """The sum of the parts."""
        return self.price + self.slippage + self.fees + self.funding + self.unexplained


class PositionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One pair or holding."""

    position_id: str
    symbol: str
    venues: tuple[str, ...]
    quantity: Decimal
    state: str
    opened_ns: int | None
    closed_ns: int | None
    hours: Decimal | None
    reason: str
    traded: Decimal
    split: Split
    total: Decimal


class VenueResult(msgspec.Struct, frozen=True, kw_only=True):
    """One venue's account."""

    venue: str
    deposit: Decimal
    equity: Decimal
    fills: int
    traded: Decimal
    fundings: int
    liquidations: int
    split: Split
    total: Decimal


class Curves(msgspec.Struct, frozen=True, kw_only=True):
    """Sampled at `times_ns`. `exposure`: position value per market, signed USD; `margin`: maintenance margin over equity per venue."""

    times_ns: list[int]
    equity: list[Decimal]
    venues: dict[str, list[Decimal]]
    exposure: dict[str, list[Decimal]]
    margin: dict[str, list[Decimal]]
    funding: list[Decimal]
    fees: list[Decimal]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The figures at the top. Fractions of the deposits; `annual` is simple, not compounded."""

    deposits: Decimal
    equity: Decimal
    total: Decimal
    share: Decimal
    annual: Decimal
    max_drawdown_usd: Decimal
    max_drawdown: Decimal
    positions: int
    winners: int
    losers: int
    in_market: Decimal
    traded: Decimal
    liquidations: int


class Input(msgspec.Struct, frozen=True):
    """A file that was read."""

    file: str
    sha256: str


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one run."""

    label: str
    strategy: str
    seed: int
    from_ns: int
    to_ns: int
    overrides: dict[str, str]
    summary: Summary
    split: Split
    venues: tuple[VenueResult, ...]
    positions: tuple[PositionRow, ...]
    decisions: dict[str, int]
    curves: Curves
    assumptions: tuple[str, ...]
    gaps: tuple[str, ...]
    warnings: tuple[str, ...]
    inputs: tuple[Input, ...]
    events: int
    config: str


def encode(result: object) -> bytes:
    """JSON with sorted keys and a line end: the same value gives the same bytes."""
    return msgspec.json.format(msgspec.json.encode(result, order="sorted"), indent=1) + b"\n"


def cents(value: Decimal, digits: int = 6) -> Decimal:
    """Rounded for tables and curves; plain digits, no exponent, no minus zero."""
    rounded = round(value, digits)
    return rounded if rounded else Decimal(0)
