"""How OKX signs: HMAC-SHA256 over timestamp, method, path with query, and body, in base64. No nonces.

Source: dossier section 2; vectors in tests/venues/okx/test_signing.py.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from exchange_clients.errors import ConfigError
from exchange_clients.signing import Channel, Command, Credentials, HttpRequest, SignContext, SignedCommand

NONCE_SCOPE: Final = "socket"
"""Numbers that match answers on the socket with their commands."""
ORDER_LIFE_MS: Final = 5_000
"""An order or amend that reaches the matching engine later than this after signing is dropped by the venue (`expTime`)."""
LOGIN_PATH: Final = "/users/self/verify"


@dataclass(frozen=True, slots=True)
class Operation:
    """A command before it is signed: `rows` go as one object or, `batch`, as a list. `op` is its name on the socket, if it has one."""

    path: str
    rows: Sequence[Mapping[str, Any]]
    op: str = ""
    batch: bool = False
    perishable: bool = False


def sign(secret: str, text: str) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), text.encode(), hashlib.sha256)).decode()


def iso_ms(ms: int) -> str:
    """Milliseconds as the venue's header wants them: 2020-12-08T09:08:57.715Z."""
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


class OkxSigner:
    """The key of one (sub-)account in one environment; demo keys and production keys are different ones."""

    def __init__(self, credentials: Credentials) -> None:
        self._key = credentials["api_key"]
        self._secret = credentials["api_secret"]
        self._passphrase = credentials["passphrase"]

    @property
    def address(self) -> str:
        return self._key

    def __repr__(self) -> str:
        return "OkxSigner(***)"

    async def authorize(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        return self.signed(request, now_ms)

    def signed(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Pure: the request with its headers. The path is signed as it will be sent."""
        path = request.path + ("?" + urlencode(request.query) if request.query else "")
        stamp = iso_ms(now_ms)
        headers = {
            "OK-ACCESS-KEY": self._key,
            "OK-ACCESS-SIGN": sign(self._secret, f"{stamp}{request.method}{path}{(request.body or b'').decode()}"),
            "OK-ACCESS-TIMESTAMP": stamp,
            "OK-ACCESS-PASSPHRASE": self._passphrase,
            "Content-Type": "application/json",
        }
        return replace(request, headers={**request.headers, **headers})

    async def sign_command(self, command: Command, context: SignContext) -> SignedCommand:
        operation: Operation = command.payload
        expires = str(context.now_ms + ORDER_LIFE_MS) if operation.perishable else ""
        if command.channel is Channel.WS:
            if context.nonce is None:
                raise ConfigError("a command on the socket needs a number", venue="okx")
            return self.message(operation, str(context.nonce), expires)
        body = msgspec.json.encode(list(operation.rows) if operation.batch else operation.rows[0])
        request = HttpRequest("POST", operation.path, body=body, headers={"expTime": expires} if expires else {})
        return SignedCommand(request=self.signed(request, context.now_ms))

    @staticmethod
    def message(operation: Operation, number: str, expires: str) -> SignedCommand:
        """The same on a logged-in socket, where nothing is signed any more."""
        message: dict[str, Any] = {"id": number, "op": operation.op, "args": list(operation.rows)}
        if expires:
            message["expTime"] = expires
        return SignedCommand(message=msgspec.json.encode(message).decode(), correlation_id=number)

    async def ws_login(self, role: str, now_ms: int) -> tuple[str | bytes, ...]:
        return (self.login(now_ms),)

    def login(self, now_ms: int) -> str:
        """Pure. The passphrase is in clear inside: never log it."""
        stamp = str(now_ms // 1000)
        proof = sign(self._secret, f"{stamp}GET{LOGIN_PATH}")
        arguments = {"apiKey": self._key, "passphrase": self._passphrase, "timestamp": stamp, "sign": proof}
        return msgspec.json.encode({"op": "login", "args": [arguments]}).decode()
