"""What one market costs now: the streamed touch, the book by request where the stream is quiet, and for exits what stands in for both."""

import logging
from decimal import Decimal
from typing import TYPE_CHECKING

from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_S, Instrument
from exchange_clients.transport.clock import Clock
from strategies.execution.pricing import Quote
from strategies.execution.quotes import touch as any_quote

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

log = logging.getLogger("strategies.grid")

MIN_ASK_GAP_S, MAX_ASK_GAP_S = 2.0, 16.0
"""Pauses between two requests for the book of a market whose stream is quiet; they grow until the stream tells something."""
WIDE = Decimal("0.03")
"""A touch whose sides are so far apart (of the bid) says what nobody trades at: quotes were pulled. The mark stands in for it."""
QUIET_S = 15.0
"""So old a streamed price may be for stops, while its stream is up without a gap."""


class Prices:
    """Of one market. `touch` is the last that was seen, at `touch_ns`; `stand_in` the mark or last fill where there is no book."""

    def __init__(self, client: "BaseExchangeClient", instrument: Instrument, clock: Clock) -> None:
        self._client, self._instrument, self._clock = client, instrument, clock
        self.touch: Quote | None = None
        self.touch_ns = 0
        self._stand_in: tuple[Quote, int] | None = None
        self._next_ask_s, self._ask_gap_s = 0.0, MIN_ASK_GAP_S

    def take_streamed(self) -> None:
        """Take in what the stream told since."""
        bbo = self._client.ws_manager.fresh_bbo(self._instrument.id)
        if bbo is None or not 0 < bbo.bid < bbo.ask or self._gapped():
            return
        if self._take(bbo.bid, bbo.ask, bbo.ts_recv_ns):
            self._ask_gap_s = MIN_ASK_GAP_S

    def _take(self, bid: Decimal, ask: Decimal, ts_recv_ns: int) -> bool:
        if ask - bid > WIDE * bid:
            self.touch = None
            return False
        self.touch, self.touch_ns, self._stand_in = Quote(bid, ask), ts_recv_ns, None
        return True

    @property
    def stand_in(self) -> Quote | None:
        """What was asked for in place of a book, while it is as young as a touch must be for stops."""
        if self._stand_in is None or self._clock.time_ns() - self._stand_in[1] > int(QUIET_S * NS_PER_S):
            return None
        return self._stand_in[0]

    def fresh(self, age_s: float) -> Quote | None:
        """The touch for entries: not older than that, and the book has no gap (E31)."""
        return None if self._gapped() else self._within(age_s)

    def recent(self, age_s: float) -> Quote | None:
        """The touch for stops: a quiet stream that is up has not moved."""
        return self._within(QUIET_S) if self._client.is_connected and not self._gapped() else self._within(age_s)

    def _within(self, seconds: float) -> Quote | None:
        return self.touch if self._clock.time_ns() - self.touch_ns <= int(seconds * NS_PER_S) else None

    def _gapped(self) -> bool:
        """The strategy follows the book, so one that does not stand has a gap, or has not begun."""
        return not self._client.ws_manager.order_book_ready(self._instrument)

    async def ask(self, age_s: float, *, for_exit: bool, last: Decimal | None) -> bool:
        """Ask for the book, not more often than the pauses allow; for an exit take what there is (E18). True when it helped."""
        now_s = self._clock.monotonic()
        if now_s < self._next_ask_s or self.fresh(age_s) is not None:
            return False
        self._next_ask_s, self._ask_gap_s = now_s + self._ask_gap_s, min(self._ask_gap_s * 2, MAX_ASK_GAP_S)
        if not self._gapped():
            try:
                bbo = await self._client.market_data.bbo(self._instrument)
                if 0 < bbo.bid < bbo.ask and self._take(bbo.bid, bbo.ask, bbo.ts_recv_ns):
                    return True
            except VenueError as e:
                log.info("grid.no_book symbol=%s error=%s", self._instrument.id, e)
        if not for_exit:
            return False
        self._ask_gap_s = MIN_ASK_GAP_S
        try:
            found = await any_quote(self._client, self._instrument, reduce=True, last=last)
            if found.ask - found.bid > WIDE * found.bid:
                mark = await self._client.fetch_mark_price(self._instrument.contract_id)
                found = Quote(mark, mark, "mark")
            self._stand_in = (found, self._clock.time_ns())
        except VenueError as e:
            self._stand_in = None
            log.warning("grid.no_price symbol=%s error=%s", self._instrument.id, e)
        return self._stand_in is not None
