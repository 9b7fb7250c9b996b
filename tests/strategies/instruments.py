"""Instruments with the figures that matter to execution."""

from decimal import Decimal

from exchange_clients.model import Instrument, InstrumentId


def instrument(
    venue: str,
    *,
    step: str = "0.001",
    tick: str = "0.5",
    min_quantity: str = "0.001",
    min_notional: str = "10",
    max_quantity: str | None = None,
    base: str = "BTC",
    quote: str = "USDC",
) -> Instrument:
    return Instrument(
        id=InstrumentId(base, quote, venue),
        venue_symbol=base,
        contract_id="1",
        settle=quote,
        tick_size=Decimal(tick),
        step_size=Decimal(step),
        min_quantity=Decimal(min_quantity),
        min_notional=Decimal(min_notional),
        max_quantity=None if max_quantity is None else Decimal(max_quantity),
    )
