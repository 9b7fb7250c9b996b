"""Accounts, their keys and modes, and whether a request was signed by one: code of its own, not the client's.

Source: dossier section 2.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime

from exchange_simulator.dialects.base import Received, Refusal

WINDOW_MS = 30_000


@dataclass(slots=True)
class Keys:
    """One account. The modes are settings that its owner makes at the venue."""

    account: int
    api_key: str
    secret: str
    passphrase: str
    account_mode: str = "2"
    position_mode: str = "net_mode"
    permissions: str = "read_only,trade"


def make_keys(seed: str, account: int) -> Keys:
    digest = hashlib.sha256(f"perpkit simulated okx {seed} {account}".encode()).hexdigest()
    key = "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))
    return Keys(account, key, digest[32:].upper(), f"Pass{digest[:8]}!")


def proof(secret: str, message: str) -> str:
    mac = hmac.new(secret.encode("ascii"), message.encode("utf-8"), hashlib.sha256)
    return base64.standard_b64encode(mac.digest()).decode("ascii")


def check_request(received: Received, keys: dict[str, Keys], now_ms: int, *, demo: bool) -> Keys:
    """Whose request it is.

    Raises:
        Refusal: in the venue's words.
    """
    headers = received.headers
    for code, name in (
        (50103, "OK-ACCESS-KEY"),
        (50106, "OK-ACCESS-SIGN"),
        (50107, "OK-ACCESS-TIMESTAMP"),
        (50104, "OK-ACCESS-PASSPHRASE"),
    ):
        if not headers.get(name):
            raise Refusal(code, f'Request header "{name.replace("-", "_")}" can\'t be empty.', status=401)
    owner = keys.get(headers["OK-ACCESS-KEY"])
    if owner is None:
        raise Refusal(50111, "Invalid OK-ACCESS-KEY", status=401)
    if (headers.get("x-simulated-trading") == "1") != demo:
        raise Refusal(50101, "APIKey does not match current environment.", status=401)
    stamp = headers["OK-ACCESS-TIMESTAMP"]
    try:
        signed_at = datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        raise Refusal(50112, "Invalid OK-ACCESS-TIMESTAMP", status=401) from None
    if abs(signed_at.timestamp() * 1000 - now_ms) > WINDOW_MS:
        raise Refusal(50102, "Timestamp request expired", status=401)
    if headers["OK-ACCESS-PASSPHRASE"] != owner.passphrase:
        raise Refusal(50105, "Request header OK-ACCESS-PASSPHRASE incorrect.", status=401)
    path = received.path + (f"?{received.query}" if received.query else "")
    expected = proof(owner.secret, stamp + received.method + path + received.body.decode())
    if not hmac.compare_digest(expected, headers["OK-ACCESS-SIGN"]):
        raise Refusal(50113, "Invalid Sign", status=401)
    return owner


def check_login(arguments: dict[str, str], keys: dict[str, Keys], now_ms: int) -> Keys:
    """Whose socket it is.

    Raises:
        Refusal: in the venue's words.
    """
    owner = keys.get(str(arguments.get("apiKey")))
    if owner is None:
        raise Refusal(60005, "Invalid apiKey")
    stamp = str(arguments.get("timestamp"))
    if not stamp.isdigit():
        raise Refusal(60004, "Invalid timestamp")
    if abs(int(stamp) * 1000 - now_ms) > WINDOW_MS:
        raise Refusal(60006, "Timestamp request expired")
    if arguments.get("passphrase") != owner.passphrase:
        raise Refusal(60024, "Wrong passphrase")
    if not hmac.compare_digest(proof(owner.secret, f"{stamp}GET/users/self/verify"), str(arguments.get("sign"))):
        raise Refusal(60007, "Invalid sign")
    return owner
