"""The error tree. Every error says what became of the command that raised it.

VenueError(venue, code, message, outcome)         outcome: NOT_SENT | REFUSED | UNKNOWN
  ConfigError                                     NOT_SENT  MissingCredentials, UnsupportedCapability, UnknownInstrument
  NotReady                                        NOT_SENT  book, instruments or reconciliation not ready: never the last price, never zero
  OrderDenied                                     NOT_SENT  our own check: tick, step, minimum, price band, risk
  Throttled                                       NOT_SENT  our own limiter would have had to wait too long
  OrderOutcomeUnknown                             UNKNOWN   what became of an order is not proven; carries the client order id
  TransportError      ConnectFailed (NOT_SENT), RequestTimeout, Disconnected (UNKNOWN)           queries retry, commands never
  ProtocolError       DecodeError, SequenceGap, ChecksumMismatch, SubscriptionRefused            resync, no retry; UNKNOWN for a command
  ApiError                                                  the venue answered
    AuthError           BadSignature, NonceError, PermissionDenied              REFUSED   stop, tell a human
                        TokenRefused                                            REFUSED   a new token is fetched once, then as above
    RateLimited, VenueUnavailable                                               UNKNOWN for commands, unless the venue says more
    RequestRefused                                                              REFUSED   a definite no that is not about one order
    OrderRefused        PostOnlyWouldCross, InsufficientMargin, ReduceOnlyViolation, MinNotional, PriceOutOfBand, InvalidOrder,
                        DuplicateClientOrderId, OrderNotFound, NoLiquidity, TooManyOrders, MarketClosed, VenuePaused            REFUSED

Venues add rows to `SPEC.errors` (code or text -> class), never classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar


class Outcome(StrEnum):
    """What is proven about a command that ended in an error."""

    NOT_SENT = "not_sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class VenueError(Exception):
    """Root of everything this library raises about a venue.

    `code` is the venue's own code or text key (empty when the error is ours), `message` one line for a human.
    """

    default_outcome: ClassVar[Outcome] = Outcome.UNKNOWN

    def __init__(self, message: str, *, venue: str = "", code: str = "", outcome: Outcome | None = None) -> None:
        super().__init__(message)
        self.venue = venue
        self.code = code
        self.message = message
        self.outcome = outcome if outcome is not None else self.default_outcome

    def __str__(self) -> str:
        head = f"{self.venue}: " if self.venue else ""
        tail = f" [{self.code}]" if self.code else ""
        return f"{head}{self.message}{tail}"


class ConfigError(VenueError, ValueError):
    """The caller's configuration or argument is wrong; nothing was sent."""

    default_outcome = Outcome.NOT_SENT


class MissingCredentials(ConfigError):
    """A signed call on a client without (valid) credentials."""


class UnsupportedCapability(ConfigError):
    """The venue cannot do this; `client.capabilities` said so."""


class UnknownInstrument(ConfigError):
    """Not listed, ambiguous or not tradable; names venue and symbol."""


class NotReady(VenueError):
    """Data is not usable yet or no longer: book syncing or stale, instruments not loaded, not reconciled."""

    default_outcome = Outcome.NOT_SENT


class OrderDenied(VenueError, ValueError):
    """Our own check refused the order before a byte left."""

    default_outcome = Outcome.NOT_SENT


class Throttled(VenueError):
    """Our own limiter would have had to wait longer than allowed; nothing was sent."""

    default_outcome = Outcome.NOT_SENT


class OrderOutcomeUnknown(VenueError):
    """It is not proven what became of the order; resolve by `client_order_id` before anything else on this leg."""

    default_outcome = Outcome.UNKNOWN

    def __init__(self, message: str, *, client_order_id: str, order_id: str | None = None, venue: str = "", code: str = "") -> None:
        super().__init__(message, venue=venue, code=code)
        self.client_order_id = client_order_id
        self.order_id = order_id


class TransportError(VenueError):
    """The network, not the venue, failed."""


class ConnectFailed(TransportError):
    """No connection was made; nothing was sent."""

    default_outcome = Outcome.NOT_SENT


class RequestTimeout(TransportError):
    """No answer in time; the request may have been executed."""


class Disconnected(TransportError):
    """The connection broke while an answer was awaited."""


class ProtocolError(VenueError):
    """The venue spoke, but not as its protocol says."""


class DecodeError(ProtocolError):
    """A frame or body that does not fit its type."""


class SequenceGap(ProtocolError):
    """Updates are missing; the book is invalid until the next snapshot."""


class ChecksumMismatch(ProtocolError):
    """The venue's checksum does not match our book."""


class SubscriptionRefused(ProtocolError):
    """The venue refused a stream topic."""


class ApiError(VenueError):
    """The venue answered with an error."""


class AuthError(ApiError):
    """Credentials were refused: stop and tell a human."""

    default_outcome = Outcome.REFUSED


class BadSignature(AuthError):
    """The signature does not prove the account."""


class NonceError(AuthError):
    """The nonce was refused; resync before the next command."""


class TokenRefused(AuthError):
    """The venue no longer takes the session token. Whoever sent it drops it and tries once more with a new one."""


class PermissionDenied(AuthError):
    """The key may not do this, has expired, or the account is restricted."""


class RateLimited(ApiError):
    """The venue's limit. `retry_after_s` is the venue's own word, None when it gave none."""

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, venue: str = "", code: str = "", outcome: Outcome | None = None
    ) -> None:
        super().__init__(message, venue=venue, code=code, outcome=outcome)
        self.retry_after_s = retry_after_s


class VenueUnavailable(ApiError):
    """5xx, maintenance, overload."""


class RequestRefused(ApiError):
    """A definite no that is not about one order: bad parameter, wrong state, not allowed now."""

    default_outcome = Outcome.REFUSED


class OrderRefused(ApiError):
    """The venue's own words refused an order, a cancel or an amend."""

    default_outcome = Outcome.REFUSED


class PostOnlyWouldCross(OrderRefused):
    """A post-only order would have taken liquidity."""


class InsufficientMargin(OrderRefused):
    """Not enough margin, balance or collateral."""


class ReduceOnlyViolation(OrderRefused):
    """A reduce-only order would open or enlarge a position."""


class MinNotional(OrderRefused):
    """Below the venue's minimum size or value."""


class PriceOutOfBand(OrderRefused):
    """Too far from the reference price."""


class InvalidOrder(OrderRefused):
    """Price, size, type, time in force or trigger is not valid."""


class DuplicateClientOrderId(OrderRefused):
    """The client order id is in use: look the order up before anything else."""


class OrderNotFound(OrderRefused):
    """No such live order. On a cancel it may mean filled: ask before concluding."""


class NoLiquidity(OrderRefused):
    """An immediate order met nothing on the other side."""


class TooManyOrders(OrderRefused):
    """Open-order limit of the account or market."""


class MarketClosed(OrderRefused):
    """The market is halted, delisted or in a mode that refuses this order."""


class VenuePaused(OrderRefused):
    """The whole venue is in a mode that refuses this order (a release: cancel only, then post only). Wait; it is nobody's failure."""


def classify(
    rows: Mapping[str, type[VenueError]], *, venue: str, code: str, message: str, http_status: int = 200, retry_after_s: float | None = None
) -> VenueError:
    """The error for a venue's answer: exact code, else the longest row text found in the message (any case), else the HTTP status.

    An answer that no row knows is a plain `ApiError` with outcome UNKNOWN: only words we understand refuse an order. Words under a status
    that speaks of limits or outages, and pages of markup, are not looked at: they may be a proxy's, and the order may be in the book. Nor
    does such a page refuse a key.
    """
    kind = rows.get(code)
    page = message.lstrip().startswith("<")
    if kind is None and http_status < 500 and http_status not in (408, 418, 429) and not page:
        text = message.lower()
        hits = [key for key in rows if not key.lstrip("-").isdigit() and key.lower() in text]
        kind = rows[max(hits, key=len)] if hits else None
    if kind is None:
        if http_status in (418, 429):
            kind = RateLimited
        elif http_status >= 500:
            kind = VenueUnavailable
        elif http_status in (401, 403) and not page:
            kind = PermissionDenied
        else:
            kind = ApiError
    line = (message or f"HTTP {http_status}").strip()
    if issubclass(kind, RateLimited):
        return kind(line, venue=venue, code=code, retry_after_s=retry_after_s)
    return kind(line, venue=venue, code=code)
