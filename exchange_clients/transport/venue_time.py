"""How far the venue's clock is from ours."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from exchange_clients.transport.clock import NS_PER_S, Clock

_KEEP = 64
_MAX_AGE_NS = 600 * NS_PER_S
MAX_OFFSET_NS = 24 * 3600 * NS_PER_S
"""Of two clocks that are farther apart than a day, one is none."""


class VenueTime:
    """Wall time corrected by the measured offset: what is signed and what venue stamps are compared with.

    Every stamp bounds the offset (venue minus ours): it was made after our request left and before its answer came, and the true time was
    within one resolution above it. What recent stamps agree on narrows the offset far below the resolution of each; stamps of a coarser
    resolution than the best one seen are ignored.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bounds: deque[tuple[int, int, int]] = deque(maxlen=_KEEP)
        self._resolution_ns: int | None = None
        self._low = self._high = 0
        self.doubted = False
        """The venue refused a nonce or a time of ours: whoever measures may do so soon, and takes this back."""

    @property
    def offset_ns(self) -> int | None:
        """The middle of what is possible; None until something was measured."""
        return None if self._resolution_ns is None else (self._low + self._high) // 2

    @property
    def uncertainty_ns(self) -> int | None:
        """The true offset is at most this far from `offset_ns`; None until something was measured."""
        return None if self._resolution_ns is None else (self._high - self._low + 1) // 2

    def now_ns(self) -> int:
        """Venue time. Only an offset that is proven not to be zero corrects anything."""
        now_ns = self._clock.time_ns()
        if self._resolution_ns is None or self._low <= 0 <= self._high:
            return now_ns
        return now_ns + (self._low + self._high) // 2

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    def observe(self, venue_ns: int, sent_ns: int, received_ns: int, *, resolution_ns: int = 1_000_000) -> None:
        """One exchange: the venue's stamp, rounded down to `resolution_ns`, and our wall times around it."""
        if self._resolution_ns is not None and resolution_ns > self._resolution_ns:
            return
        if self._resolution_ns is None or resolution_ns < self._resolution_ns:
            self._resolution_ns = resolution_ns
            self._bounds.clear()
        self._bounds.append((received_ns, venue_ns - received_ns, venue_ns + resolution_ns - sent_ns))
        while self._bounds and received_ns - self._bounds[0][0] > _MAX_AGE_NS:
            self._bounds.popleft()
        self._low, self._high = self._agreed()

    def _agreed(self) -> tuple[int, int]:
        """What the newest stamps allow together, going back until one contradicts the rest: a clock was set."""
        _, low, high = self._bounds[-1]
        for _, lower, upper in reversed(self._bounds):
            if max(low, lower) > min(high, upper):
                break
            low, high = max(low, lower), min(high, upper)
        return low, high

    def observe_headers(self, headers: Mapping[str, str], sent_ns: int, received_ns: int) -> None:
        """The `Date` header, in whole seconds, of an answer."""
        if "Date" not in headers or (self._resolution_ns or NS_PER_S) < NS_PER_S:
            return
        try:
            venue_ns = int(parsedate_to_datetime(headers["Date"]).timestamp()) * NS_PER_S
        except (TypeError, ValueError, OverflowError):
            return
        if abs(venue_ns - received_ns) <= MAX_OFFSET_NS:
            self.observe(venue_ns, sent_ns, received_ns, resolution_ns=NS_PER_S)
