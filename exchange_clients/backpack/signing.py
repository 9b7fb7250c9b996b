"""How Backpack signs: ED25519 over the sorted parameters of a request behind the name of its instruction.

`instruction=<name>&<k>=<v>...&timestamp=<ms>&window=<ms>`: parameters of query or body sorted by name, booleans in lower case, time and
window always last and always signed. Each order of a batch repeats the instruction. There is no nonce: a request is void after its window.
Everything here is pure: no clock, no I/O.

Source: dossier section 2; https://docs.backpack.exchange/#section/Authentication/Signing-requests, read 2026-11.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from exchange_clients.backpack.common import ENDPOINTS
from exchange_clients.errors import ConfigError
from exchange_clients.signing import Command, Credentials, HttpRequest, SignContext, SignedCommand

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from exchange_clients.context import ClientContext

Value = str | int | bool
Parameters = Mapping[str, Value]

WINDOW_MS: Final = 5_000
JSON: Final = {"Content-Type": "application/json; charset=utf-8"}
_SEED: Final = 32
_SHARED: Final = {"orderExecuteBatch": "orderExecute"}
"""Endpoints of ours whose instruction is another's."""
INSTRUCTIONS: Final[Mapping[tuple[str, str], str]] = {
    (endpoint.method, endpoint.path): _SHARED.get(name, name) for name, endpoint in ENDPOINTS.items() if endpoint.signed
}
SUBSCRIBE: Final = "subscribe"


def to_sign(instruction: str, parameters: Sequence[Parameters], now_ms: int, window_ms: int = WINDOW_MS) -> str:
    """The signed string of one request; several sets of parameters are a batch."""
    parts: list[str] = []
    for one in parameters or ({},):
        parts.append(f"instruction={instruction}")
        parts += [f"{name}={_text(value)}" for name, value in sorted(one.items())]
    return "&".join([*parts, f"timestamp={now_ms}", f"window={window_ms}"])


def _text(value: Value) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


class BackpackSigner:
    """The key of one account or subaccount, named by its public half."""

    def __init__(self, credentials: Credentials) -> None:
        """`address` is the key in the alphabet that file names allow.

        Raises:
            ConfigError: the secret is no ED25519 seed, or the two halves do not belong together.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        seed = _decoded(credentials["api_secret"], "the API secret")[:_SEED]  # some exporters append the public key
        if len(seed) != _SEED:
            raise ConfigError("the API secret is not the base64 text of an ED25519 key's seed of 32 bytes", venue=credentials.venue)
        self._key: Ed25519PrivateKey = Ed25519PrivateKey.from_private_bytes(seed)
        self._api_key = base64.b64encode(self._key.public_key().public_bytes_raw()).decode()
        if _decoded(credentials["api_key"], "the API key") != base64.b64decode(self._api_key):
            raise ConfigError("the API key is not the public half of the API secret", venue=credentials.venue)

    def __repr__(self) -> str:
        return "BackpackSigner(***)"

    @property
    def address(self) -> str:
        return self._api_key.translate(str.maketrans("+/", "-_"))

    def signature(self, text: str) -> str:
        return base64.b64encode(self._key.sign(text.encode())).decode()

    async def authorize(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """A signed query."""
        instruction = INSTRUCTIONS[request.method, request.path]
        headers = {**request.headers, **self._headers(to_sign(instruction, [dict(request.query)], now_ms), now_ms)}
        return replace(request, headers=headers)

    async def sign_command(self, command: Command, context: SignContext) -> SignedCommand:
        """A command's payload is the body: one set of parameters, or a list of them for a batch."""
        endpoint = ENDPOINTS[command.endpoint]
        payload: Parameters | list[Parameters] = command.payload
        parameters = payload if isinstance(payload, list) else [payload]
        text = to_sign(INSTRUCTIONS[endpoint.method, endpoint.path], parameters, context.now_ms)
        body = json.dumps(payload, separators=(",", ":")).encode()
        headers = {**JSON, **self._headers(text, context.now_ms)}
        return SignedCommand(request=HttpRequest(endpoint.method, endpoint.path, body=body, headers=headers))

    async def ws_login(self, role: str, now_ms: int) -> tuple[str | bytes, ...]:
        """Subscriptions carry a signature instead."""
        return ()

    def subscription(self, now_ms: int) -> list[str]:
        """What a private SUBSCRIBE carries; good for all its topics, and for no later frame."""
        return [self._api_key, self.signature(to_sign(SUBSCRIBE, (), now_ms)), str(now_ms), str(WINDOW_MS)]

    def _headers(self, text: str, now_ms: int) -> dict[str, str]:
        return {
            "X-API-Key": self._api_key,
            "X-Signature": self.signature(text),
            "X-Timestamp": str(now_ms),
            "X-Window": str(WINDOW_MS),
        }


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"{what} is not the base64 text of an ED25519 key", venue="backpack") from None


def signer_of(context: ClientContext) -> BackpackSigner:
    return cast(BackpackSigner, context.require_signer())
