"""What the limits are held against: per venue the account and its positions, per market mark and index, each with its age."""

import logging
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_S, AccountState, Instrument, LeverageInfo, Position
from exchange_clients.transport.clock import Clock

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

log = logging.getLogger("strategies.risk")

TIERS_S = 3_600.0


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Mark and index of one market; None: the venue does not say."""

    mark: Decimal | None
    index: Decimal | None
    at_ns: int


class VenueFigures:
    """Of one venue, as of the last look that succeeded."""

    def __init__(self, client: "BaseExchangeClient", clock: Clock) -> None:
        self.client, self.name = client, client.get_exchange_name()
        self._clock = clock
        self.account: AccountState | None = None
        self.positions: tuple[Position, ...] = ()
        self.at_ns: int | None = None
        self.failed_since_ns: int | None = None
        self.last_error = ""
        self.references: dict[str, Reference] = {}
        self.leverage: dict[str, tuple[int, LeverageInfo]] = {}

    @property
    def age_s(self) -> float | None:
        """Seconds since the last good look; None before the first."""
        return None if self.at_ns is None else max(0.0, (self._clock.time_ns() - self.at_ns) / NS_PER_S)

    async def look(self) -> None:
        """Account, then positions. Raises VenueError; what was known stays, and ages."""
        try:
            account = await self.client.account_manager.fetch_account()
            positions = tuple(await self.client.position_manager.open_positions())
        except VenueError as e:
            self.failed_since_ns = self.failed_since_ns or self._clock.time_ns()
            self.last_error = str(e)
            raise
        self.account, self.positions, self.at_ns = account, positions, self._clock.time_ns()
        self.failed_since_ns, self.last_error = None, ""

    async def refer(self, instrument: Instrument) -> Reference:
        """Ask for mark and index of a market. Raises VenueError."""
        ticker = await self.client.market_data.fetch_ticker(instrument)
        found = self.references[str(instrument.id)] = Reference(mark=ticker.mark, index=ticker.index, at_ns=self._clock.time_ns())
        return found

    async def learn_tiers(self, instrument: Instrument) -> LeverageInfo | None:
        """Leverage and brackets of a market, asked once an hour; None while the venue does not tell."""
        held = self.leverage.get(str(instrument.id))
        now_ns = self._clock.time_ns()
        if held is not None and now_ns - held[0] < TIERS_S * NS_PER_S:
            return held[1]
        try:
            found = await self.client.account_manager.fetch_leverage(instrument)
        except VenueError as e:
            log.info("tiers.unknown instrument=%s reason=%s", instrument.id, e)
            return None if held is None else held[1]
        self.leverage[str(instrument.id)] = (now_ns, found)
        return found

    def initial_margin(self, instrument: Instrument) -> Decimal | None:
        """What an order here binds, as a fraction of its worth: the venue's least, or more where the account's leverage is lower."""
        held = self.leverage.get(str(instrument.id))
        info = None if held is None else held[1]
        leverages = [info.account_leverage, info.max_leverage] if info is not None else [instrument.max_leverage]
        known = [1 / leverage for leverage in leverages if leverage]
        return max([*known, *([instrument.initial_margin] if instrument.initial_margin is not None else [])], default=None)

    def reference(self, instrument: str, max_age_s: float) -> Reference | None:
        """Mark and index if they are fresh enough."""
        held = self.references.get(instrument)
        return held if held is not None and self._clock.time_ns() - held.at_ns <= max_age_s * NS_PER_S else None

    def mark(self, instrument: str, max_age_s: float) -> Decimal | None:
        """The newest price of a market that is fresh enough: its mark, the mark of our position there, the middle of the streamed touch."""
        found = self.reference(instrument, max_age_s)
        if found is not None and found.mark is not None:
            return found.mark
        age_s = self.age_s
        if age_s is not None and age_s <= max_age_s:
            for position in self.positions:
                if str(position.instrument) == instrument and position.mark_price is not None:
                    return position.mark_price
        try:
            touch = self.client.ws_manager.fresh_bbo(self.client.instruments.get(instrument).id)
        except VenueError:
            return None
        return None if touch is None else (touch.bid + touch.ask) / 2
