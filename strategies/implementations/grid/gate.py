"""May this grid add that much more now? The shared checks of an entry, and the money after the trade (E21, E22, E24)."""

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from exchange_clients.errors import VenueError
from exchange_clients.model import ZERO, Instrument
from exchange_clients.transport.clock import Clock
from strategies.gate import Check, LegFacts, check_leg, failed, settle_leverage

from .config import GridConfig

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient


class Passed(msgspec.Struct, frozen=True):
    """The answer; `leverage` as read back, None where the venue does not show it. `refused` is empty for a yes."""

    checks: tuple[Check, ...]
    leverage: Decimal | None = None
    facts: LegFacts | None = None

    @property
    def refused(self) -> list[Check]:
        """Those that said no."""
        return failed(self.checks)


async def admit(client: "BaseExchangeClient", instrument: Instrument, clock: Clock, config: GridConfig, *, adding: Decimal) -> Passed:
    """Ask the venue, set the leverage where the market is empty, and count the money. `adding`: USD of resting and new entries."""
    gate = await check_leg(client, str(instrument.id), clock, config)
    facts = gate.state
    if facts is None or failed(gate.checks):
        return Passed(gate.checks, None, facts)
    try:
        await settle_leverage(client, instrument, config)
        held = await client.account_manager.fetch_leverage(instrument)
        positions = await client.get_open_positions()
    except VenueError as e:
        return Passed((*gate.checks, Check("readable", False, str(e))), None, facts)
    exposures = [p.exposure_usd for p in positions]
    if None in exposures:
        unknown = Check("exposure", False, f"{instrument.id.venue} does not say what a position is worth")
        return Passed((*gate.checks, unknown), held.account_leverage, facts)
    exposure = sum((abs(x) for x in exposures if x is not None), ZERO)
    money = money_checks(facts, held.account_leverage, config, exposure=exposure, adding=adding)
    return Passed((*gate.checks, *money), held.account_leverage, facts)


def money_checks(facts: LegFacts, leverage: Decimal | None, config: GridConfig, *, exposure: Decimal, adding: Decimal) -> tuple[Check, ...]:
    """Margin and liquidation distance after everything that rests and is new has filled. USD."""
    initial, maintenance = facts.instrument.initial_margin, facts.instrument.maintenance_margin
    if initial is None or maintenance is None or facts.available is None or facts.equity is None:
        return (Check("margin", False, f"{facts.venue} does not say its margin fractions or the balance"),)
    usable = 1 - config.balance_buffer_pct
    most = 1 / initial if leverage is None else min(leverage, 1 / initial)
    needed = adding / most
    room = facts.equity * usable / (config.min_liquidation_distance_pct + maintenance)
    return (
        Check("margin", needed <= facts.available * usable, f"{needed:.2f} USD more, {facts.available * usable:.2f} free after the buffer"),
        Check("liquidation_distance", exposure + adding <= room, f"{exposure + adding:.2f} USD at stake, at most {room:.2f}"),
    )
