"""The catalogue of refusals: each maps to one class, and what it proves about a command is what the venue's word proves."""

from __future__ import annotations

import json

import pytest

from exchange_clients import errors as e
from exchange_clients.backpack.common import ERRORS, SPEC, error_code, read_error
from exchange_clients.errors import Outcome, VenueError, classify

# (HTTP status, code, message, class, outcome): dossier section 9.
CATALOGUE: list[tuple[int, str, str, type[VenueError], Outcome]] = [
    (500, "SERVER_ERROR", "Internal server error", e.VenueUnavailable, Outcome.UNKNOWN),
    (503, "SERVICE_UNAVAILABLE", "Unknown error, please check your request or try again later.", e.VenueUnavailable, Outcome.UNKNOWN),
    (408, "TIMEOUT", "Timeout", e.VenueUnavailable, Outcome.UNKNOWN),
    (425, "TOO_EARLY", "Too early", e.VenueUnavailable, Outcome.UNKNOWN),
    (503, "MAINTENANCE", "Maintenance", e.VenueUnavailable, Outcome.UNKNOWN),
    (429, "TOO_MANY_REQUESTS", "Too many requests", e.RateLimited, Outcome.UNKNOWN),
    (401, "UNAUTHORIZED", "Unauthorized", e.PermissionDenied, Outcome.REFUSED),
    (403, "FORBIDDEN", "Forbidden", e.PermissionDenied, Outcome.REFUSED),
    (403, "ACCOUNT_DEACTIVATED", "Account deactivated", e.PermissionDenied, Outcome.REFUSED),
    (400, "INVALID_TWO_FACTOR_CODE", "Invalid code", e.PermissionDenied, Outcome.REFUSED),
    (400, "INVALID_SIGNATURE", "Invalid signature", e.BadSignature, Outcome.REFUSED),
    (400, "INVALID_CLIENT_REQUEST", "Invalid signature", e.BadSignature, Outcome.REFUSED),
    (400, "INVALID_CLIENT_REQUEST", "Request has expired", e.NonceError, Outcome.REFUSED),
    (400, "TIMESTAMP_OUT_OF_RANGE", "Timestamp for this request is outside of the recvWindow.", e.NonceError, Outcome.REFUSED),
    (400, "INSUFFICIENT_MARGIN", "Insufficient margin", e.InsufficientMargin, Outcome.REFUSED),
    (400, "INSUFFICIENT_FUNDS", "Insufficient funds", e.InsufficientMargin, Outcome.REFUSED),
    (400, "INSUFFICIENT_SUPPLY", "Insufficient supply", e.InsufficientMargin, Outcome.REFUSED),
    (400, "MAX_LEVERAGE_REACHED", "Max leverage reached", e.InsufficientMargin, Outcome.REFUSED),
    (400, "BORROW_LIMIT", "Borrow limit", e.InsufficientMargin, Outcome.REFUSED),
    (400, "ACCOUNT_LIQUIDATING", "Account is liquidating", e.InsufficientMargin, Outcome.REFUSED),
    (400, "INVALID_ORDER", "Order would immediately match and take", e.PostOnlyWouldCross, Outcome.REFUSED),
    (400, "INVALID_ORDER", "Duplicate clientId", e.DuplicateClientOrderId, Outcome.REFUSED),
    (400, "INVALID_ORDER", "Invalid order", e.InvalidOrder, Outcome.REFUSED),
    (400, "INVALID_PRICE", "Price is too far from the last active price", e.PriceOutOfBand, Outcome.REFUSED),
    (400, "INVALID_PRICE", "Invalid price", e.InvalidOrder, Outcome.REFUSED),
    (400, "INVALID_QUANTITY", "Invalid quantity", e.InvalidOrder, Outcome.REFUSED),
    (400, "INVALID_CLIENT_REQUEST", "Quantity decimal too long", e.InvalidOrder, Outcome.REFUSED),
    (400, "INVALID_CLIENT_REQUEST", "Must specify both `triggerPrice` and `triggerQuantity` or neither", e.InvalidOrder, Outcome.REFUSED),
    (400, "INVALID_CLIENT_REQUEST", "parse error", e.RequestRefused, Outcome.REFUSED),
    (400, "INVALID_SYMBOL", "Invalid symbol", e.RequestRefused, Outcome.REFUSED),
    (400, "INVALID_MARKET", "Invalid market", e.RequestRefused, Outcome.REFUSED),
    (400, "INVALID_RANGE", "Invalid range", e.RequestRefused, Outcome.REFUSED),
    (400, "INVALID_ASSET", "Invalid asset", e.RequestRefused, Outcome.REFUSED),
    (400, "INVALID_SOURCE", "Invalid source", e.RequestRefused, Outcome.REFUSED),
    (400, "INVALID_POSITION_ID", "Invalid position id", e.RequestRefused, Outcome.REFUSED),
    (400, "LEND_LIMIT", "Lend limit", e.RequestRefused, Outcome.REFUSED),
    (501, "NOT_IMPLEMENTED", "Not implemented", e.RequestRefused, Outcome.REFUSED),
    (412, "PRECONDITION_FAILED", "Precondition failed", e.RequestRefused, Outcome.REFUSED),
    (404, "RESOURCE_NOT_FOUND", "Not Found", e.OrderNotFound, Outcome.REFUSED),
    (400, "ORDER_LIMIT", "Too many open orders", e.TooManyOrders, Outcome.REFUSED),
    (400, "POSITION_LIMIT", "Position limit", e.OrderRefused, Outcome.REFUSED),
    (400, "TRADING_PAUSED", "Trading is paused", e.MarketClosed, Outcome.REFUSED),
    # what the venue did not say: nothing is proved
    (404, "", "<html>404</html>", e.ApiError, Outcome.UNKNOWN),
    (400, "SOMETHING_NEW", "never seen", e.ApiError, Outcome.UNKNOWN),
    (502, "", "<html>Bad gateway</html>", e.VenueUnavailable, Outcome.UNKNOWN),
    (429, "", "slow down", e.RateLimited, Outcome.UNKNOWN),
]


def error_of(status: int, body: bytes) -> VenueError:
    found = read_error(status, body)
    assert found is not None
    return classify(SPEC.errors, venue=SPEC.name, code=found[0], message=found[1], http_status=status)


@pytest.mark.parametrize(("status", "code", "message", "kind", "outcome"), CATALOGUE)
def test_each_refusal_has_one_class(status: int, code: str, message: str, kind: type[VenueError], outcome: Outcome) -> None:
    body = json.dumps({"code": code, "message": message}).encode() if code else message.encode()
    error = error_of(status, body)
    assert type(error) is kind
    assert error.outcome is outcome
    assert error.message == message


def test_the_catalogue_walks_every_row() -> None:
    assert {error_code(code, message) for _, code, message, _, _ in CATALOGUE} >= set(ERRORS)


def test_a_success_is_no_error() -> None:
    assert read_error(200, b'{"code":"INVALID_ORDER"}') is None
    assert read_error(202, b"") is None
