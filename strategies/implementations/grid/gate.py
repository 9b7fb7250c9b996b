"""May this grid add that much more now? The shared checks of an entry, and the money after the trade (E21, E22, E24)."""

import asyncio
import logging
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_S, ZERO, AccountState, BookLevel, Instrument, MarginMode
from exchange_clients.transport.clock import Clock
from strategies.execution.pricing import Quote
from strategies.gate import MIN_HEADROOM, Check, LegFacts, failed, free_rooms, leg_checks, read_leg, settle_leverage

from .config import GridConfig

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

log = logging.getLogger("strategies.grid")

KEPT_S = 120.0
"""Key, fees, clock offset and leverage are asked for again after so long; all else costs nothing or is fresh."""
DOUBTED_S = 15.0
"""After a refusal they are asked for again after so long."""
ENTRY_DISTANCE = Decimal("1.5")
"""An entry keeps this multiple of the minimum liquidation distance, so that no ordinary move after it brings the risk watch in (E24)."""
PATIENCE_S = 1.0
"""A look waits so long for the answer; the question goes on beside the next looks, so that no stop or exit waits for it (E18)."""
MONEY_S = 2.0
"""So long all grids of an account share one look at its balance and positions."""


class Passed(msgspec.Struct, frozen=True):
    """The answer; `leverage` as read back, None where the venue does not show it. `refused` is empty for a yes."""

    checks: tuple[Check, ...]
    leverage: Decimal | None = None

    @property
    def refused(self) -> list[Check]:
        """Those that said no."""
        return failed(self.checks)


class Money(msgspec.Struct, frozen=True):
    """Of the account. USD; `exposure` is None when the venue does not say what a position is worth."""

    account: AccountState
    exposure: Decimal | None


class Purse:
    """The account's money, asked for once for all grids that want to know at the same time."""

    def __init__(self, client: "BaseExchangeClient", clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._asking = asyncio.Lock()
        self._kept: tuple[Money, float] | None = None

    async def look(self) -> Money:
        """Raises VenueError when it cannot be read."""
        async with self._asking:
            now = self._clock.monotonic()
            if self._kept is None or now - self._kept[1] >= MONEY_S:
                account = await self._client.account_manager.fetch_account()
                worth = [p.exposure_usd for p in await self._client.get_open_positions()]
                exposure = None if None in worth else sum((abs(x) for x in worth if x is not None), ZERO)
                self._kept = (Money(account, exposure), now)
            return self._kept[0]


class EntryGate:
    """The gate of one market."""

    def __init__(self, client: "BaseExchangeClient", instrument: Instrument, clock: Clock, purse: Purse, wake: Callable[[], None]) -> None:
        self._client, self._instrument, self._clock, self._purse, self._wake = client, instrument, clock, purse, wake
        self._kept: tuple[LegFacts, float] | None = None
        self._asking: asyncio.Task[Passed] | None = None
        """A question that nobody waits for any more: what it learns is kept, its answer is not used."""

    async def ask(self, config: GridConfig, touch: Quote, touch_ns: int, *, held: Decimal, adding: Decimal) -> Passed | None:
        """As `admit`; None while the venue is still being asked."""
        if self._asking is not None and not self._asking.done():
            return None
        asking = asyncio.create_task(self.admit(config, touch, touch_ns, held=held, adding=adding), name=f"gate:{self._instrument.id}")
        try:
            done, _ = await asyncio.wait({asking}, timeout=PATIENCE_S)
        except asyncio.CancelledError:
            asking.cancel()
            raise
        if done:
            return asking.result()
        self._asking = asking
        asking.add_done_callback(self._learned)
        return None

    def _learned(self, asking: "asyncio.Task[Passed]") -> None:
        if not asking.cancelled() and (error := asking.exception()) is not None:
            log.error("grid.gate_failed symbol=%s", self._instrument.id, exc_info=error)
        self._wake()

    async def drop(self) -> None:
        """Nobody asks any more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def admit(self, config: GridConfig, touch: Quote, touch_ns: int, *, held: Decimal, adding: Decimal) -> Passed:
        """Ask the venue, set the leverage where the market is empty, and count the money.

        USD of all grids of the account: `held` by their own count, `adding` by resting entries and new ones.
        """
        rooms = free_rooms(self._client)  # before our own questions draw on them
        low = [f"{name} has {room:.0%} left" for name, room in rooms.items() if room < MIN_HEADROOM]
        if low:
            return Passed((Check("rate_limit", False, f"{self._instrument.id.venue}: {', '.join(low)}"),))
        try:
            facts = await self._read(config)
            money = await self._purse.look()
            listed = await self._client.instruments.load(str(self._instrument.id))
        except VenueError as e:
            self._doubt()
            return Passed((Check("readable", False, str(e)),))
        facts = msgspec.structs.replace(
            facts,
            instrument=listed,
            connected=self._client.is_connected,
            loop_lag_ms=Decimal(f"{self._client.loop_lag.worst_s * 1000:.1f}"),
            rooms=rooms,
            bids=(BookLevel(touch.bid, ZERO),),
            asks=(BookLevel(touch.ask, ZERO),),
            book_age_s=Decimal(self._clock.time_ns() - touch_ns) / NS_PER_S,
            available=money.account.available,
            equity=money.account.equity,
        )
        checks = tuple(leg_checks(facts, config))
        if money.exposure is None:
            checks = (*checks, Check("exposure", False, f"{self._instrument.id.venue} does not say what a position is worth"))
        if failed(checks) or money.exposure is None:
            self._doubt()
            return Passed(checks)
        exposure = max(money.exposure, held)
        held_leverage = facts.held_leverage
        money_says = money_checks(facts, held_leverage, config, exposure=exposure, adding=adding)
        return Passed((*checks, *fee_check(facts, held_leverage, config), *money_says), held_leverage)

    def _doubt(self) -> None:
        """After a refusal the slow facts are asked for sooner, but not each time."""
        if self._kept is not None:
            self._kept = (self._kept[0], min(self._kept[1], self._clock.monotonic() - KEPT_S + DOUBTED_S))

    async def _read(self, config: GridConfig) -> LegFacts:
        """What changes slowly, with the leverage as the configuration wants it wherever it can be set (then it is read back)."""
        now = self._clock.monotonic()
        if self._kept is not None and now - self._kept[1] < KEPT_S:
            return self._kept[0]
        facts = await read_leg(self._client, str(self._instrument.id), self._clock)
        if not failed(leg_checks(facts, config)):
            await settle_leverage(self._client, self._instrument, config)
            held = await self._client.account_manager.fetch_leverage(self._instrument)
            facts = msgspec.structs.replace(facts, held_leverage=held.account_leverage, held_margin_mode=held.margin_mode)
        self._kept = (facts, now)
        return facts


def money_checks(facts: LegFacts, leverage: Decimal | None, config: GridConfig, *, exposure: Decimal, adding: Decimal) -> tuple[Check, ...]:
    """Margin and liquidation distance after everything that rests and is new has filled. USD.

    Where a venue does not show its maintenance margin, the initial one stands for it: it is never below.
    """
    initial = facts.instrument.initial_margin
    maintenance = initial if facts.maintenance_margin is None else facts.maintenance_margin
    if initial is None or maintenance is None or facts.available is None or facts.equity is None:
        return (Check("margin", False, f"{facts.venue} does not say its margin fractions or the balance"),)
    usable = 1 - config.balance_buffer_pct
    most = 1 / initial if leverage is None else min(leverage, 1 / initial)
    needed = adding / most
    distance = config.min_liquidation_distance_pct * ENTRY_DISTANCE
    room = facts.equity * usable / (distance + maintenance)
    return (
        *_isolated(facts, leverage, config, distance=distance, maintenance=maintenance),
        Check("margin", needed <= facts.available * usable, f"{needed:.2f} USD more, {facts.available * usable:.2f} free after the buffer"),
        Check("liquidation_distance", exposure + adding <= room, f"{exposure + adding:.2f} USD at stake, at most {room:.2f}"),
    )


def _isolated(
    facts: LegFacts, leverage: Decimal | None, config: GridConfig, *, distance: Decimal, maintenance: Decimal
) -> tuple[Check, ...]:
    """Behind an isolated position stands its own margin alone, whatever the account has: its leverage decides how near liquidation is."""
    if not facts.instrument.only_isolated and (config.margin_mode or facts.held_margin_mode) is not MarginMode.ISOLATED:
        return ()
    most = 1 / (distance + maintenance)
    shown = "unknown" if leverage is None else f"{leverage}x"
    detail = f"isolated, leverage {shown}, at most {most:.2f} keeps {distance} to liquidation: set target_leverage to that or less"
    return (Check("isolated_leverage", leverage is not None and leverage <= most, detail),)


def fee_check(facts: LegFacts, leverage: Decimal | None, config: GridConfig) -> tuple[Check, ...]:
    """A round trip of two maker orders must earn more than its fees. `boost_mode` buys volume and says so itself."""
    if config.boost_mode or (config.take_profit_basis == "margin" and (config.target_leverage or leverage) is None):
        return ()
    gain = config.gain(leverage)
    cost = facts.fees.maker * (2 + gain)
    return (Check("fees", gain > cost, f"a take-profit earns {gain:%}, two maker fees take {cost:%}"),)
