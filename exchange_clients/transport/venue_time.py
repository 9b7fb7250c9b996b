"""How far the venue's clock is from ours."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from exchange_clients.transport.clock import Clock

_SMOOTHING = 0.3
NS_PER_S = 1_000_000_000


class VenueTime:
    """Wall time corrected by the measured offset; what is signed and compared with venue stamps.

    `offset_ns` = venue minus ours; None until something was measured. Millisecond sources (`observe`) override the `Date` header, which
    has whole seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ns: float | None = None
        self._coarse = True

    @property
    def offset_ns(self) -> int | None:
        return None if self._offset_ns is None else round(self._offset_ns)

    def now_ns(self) -> int:
        """Venue time. A coarse measurement corrects only what it can prove: offsets above two seconds."""
        offset = self._offset_ns or 0.0
        if self._coarse and abs(offset) < 2 * NS_PER_S:
            offset = 0.0
        return self._clock.time_ns() + round(offset)

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    def observe(self, venue_ns: int, sent_ns: int, received_ns: int) -> None:
        """One exchange: the venue's stamp and our wall times around it. Half the round trip is taken as the way back."""
        sample = venue_ns - (sent_ns + received_ns) / 2
        if self._offset_ns is None or self._coarse or abs(sample - self._offset_ns) > 5 * NS_PER_S:
            self._offset_ns = sample
        else:
            self._offset_ns += _SMOOTHING * (sample - self._offset_ns)
        self._coarse = False

    def observe_headers(self, headers: Mapping[str, str]) -> None:
        """The `Date` header has whole seconds: good enough to see a clock that is off by minutes."""
        if not self._coarse or "Date" not in headers:
            return
        try:
            stamp = parsedate_to_datetime(headers["Date"])
        except (TypeError, ValueError):
            return
        self._offset_ns = stamp.timestamp() * NS_PER_S + NS_PER_S / 2 - self._clock.time_ns()
