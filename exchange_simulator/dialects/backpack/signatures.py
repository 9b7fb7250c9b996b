"""Who signed a request, by the venue's rule: rebuilt from what arrived and verified with the public key that is the API key.

Source: dossier section 2; https://docs.backpack.exchange/#section/Authentication/Signing-requests, read 2026-11.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any, Final

from exchange_simulator.dialects.base import Received, Refusal

DEFAULT_WINDOW_MS: Final = 5_000
MAX_WINDOW_MS: Final = 60_000
AHEAD_MS: Final = 1_000
"""How far a clock may be before the venue's."""

INSTRUCTIONS: Final = {
    "GET /api/v1/account": "accountQuery",
    "PATCH /api/v1/account": "accountUpdate",
    "GET /api/v1/account/limits/order": "maxOrderQuantity",
    "GET /api/v1/capital": "balanceQuery",
    "GET /api/v1/capital/collateral": "collateralQuery",
    "GET /api/v1/position": "positionQuery",
    "POST /api/v1/order": "orderExecute",
    "GET /api/v1/order": "orderQuery",
    "DELETE /api/v1/order": "orderCancel",
    "POST /api/v1/orders": "orderExecute",
    "GET /api/v1/orders": "orderQueryAll",
    "DELETE /api/v1/orders": "orderCancelAll",
    "GET /wapi/v1/history/orders": "orderHistoryQueryAll",
    "GET /wapi/v1/history/fills": "fillHistoryQueryAll",
    "GET /wapi/v1/history/funding": "fundingHistoryQueryAll",
    "GET /wapi/v1/history/settlement": "settlementHistoryQueryAll",
    "GET /wapi/v1/history/position": "positionHistoryQueryAll",
}


def invalid(message: str) -> Refusal:
    return Refusal("INVALID_CLIENT_REQUEST", message, status=400)


def said(value: Any) -> str:
    """A parameter as it stands in the signed text."""
    if value is True or value is False:
        return str(value).lower()
    return str(value)


def signed_text(instruction: str, sets: Iterable[Mapping[str, Any]], timestamp: str, window: str) -> str:
    text = ""
    for one in sets:
        text += f"instruction={instruction}&"
        for name in sorted(one):
            if one[name] is not None:
                text += f"{name}={said(one[name])}&"
    return f"{text}timestamp={timestamp}&window={window}"


def verify(api_key: str, signature: str, text: str) -> None:
    """Raises Refusal in the venue's words."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(api_key, validate=True))
        public.verify(base64.b64decode(signature, validate=True), text.encode())
    except (InvalidSignature, ValueError, binascii.Error):
        raise invalid("Invalid signature") from None


def check_time(timestamp: str, window: str, now_ms: int) -> None:
    """A request lives for its window, and none comes from the future."""
    if not (timestamp.isdecimal() and window.isdecimal()):
        raise invalid("Invalid timestamp")
    if int(window) > MAX_WINDOW_MS:
        raise invalid("Invalid window")
    if now_ms - int(timestamp) > int(window) or int(timestamp) - now_ms > AHEAD_MS:
        raise invalid("Request has expired")


def authenticate(received: Received, sets: Iterable[Mapping[str, Any]], now_ms: int) -> str:
    """The API key that signed a request, whose parameters are `sets`.

    Raises:
        Refusal: no key, a wrong signature, or too late.
    """
    headers = received.headers
    api_key, signature, timestamp = (headers.get(name, "") for name in ("X-API-Key", "X-Signature", "X-Timestamp"))
    window = headers.get("X-Window", str(DEFAULT_WINDOW_MS))
    if not (api_key and signature and timestamp):
        raise Refusal("UNAUTHORIZED", "Unauthorized", status=401)
    instruction = INSTRUCTIONS[f"{received.method} {received.path}"]
    verify(api_key, signature, signed_text(instruction, sets, timestamp, window))
    check_time(timestamp, window, now_ms)
    return api_key
