"""How Aster signs: v3 by an agent's EIP-712 signature over the parameters as they are sent, v1 by HMAC for keys made before 2026-03-25.

Both sign the same unsigned request (`HttpRequest` with query or form), and nothing re-encodes it afterwards. Every v3 request has a nonce
in microseconds that its signer never used before; the venue accepts it for `NONCE_LIFE_S` around its own clock.

Source: dossier sections 2 and 12; https://github.com/asterdex/api-docs (V3 "Authentication signature payload", pull 157), read 2026-11.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import replace
from functools import cache
from typing import Final
from urllib.parse import urlencode

from exchange_clients.crypto.secp256k1 import FAST_BACKEND, SigningKey, backend_name, domain_separator, keccak
from exchange_clients.errors import ConfigError
from exchange_clients.signing import Command, Credentials, HttpRequest, SignContext, SignedCommand, TimeNonces
from exchange_clients.transport.offload import Offload

NONCE_SCOPE: Final = "signer"
NONCE_LIFE_S: Final = 60.0
SIGNING_DEADLINE_S: Final = 5.0
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
RECV_WINDOW_MS: Final = 5000
V1_PATHS: Final = {
    "/fapi/v3/balance": "/fapi/v2/balance",
    "/fapi/v3/positionRisk": "/fapi/v2/positionRisk",
    "/fapi/v3/accountWithJoinMargin": "/fapi/v4/account",
}
"""The other paths differ by the version alone."""
USER_STREAM: Final = "/fapi/v3/listenKey"
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_SOLANA: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,44}")


@cache
def _prefix(chain_id: int) -> tuple[bytes, bytes]:
    return b"\x19\x01" + domain_separator("AsterSignTransaction", chain_id), keccak(b"Message(string msg)")


def message_digest(message: str, chain_id: int) -> bytes:
    """EIP-712 digest of `Message(msg)`. The chain id (1666, testnet 714) is a constant of the protocol, no network."""
    domain, type_hash = _prefix(chain_id)
    return keccak(domain + keccak(type_hash + keccak(message.encode())))


def sign_message(key: SigningKey, message: str, chain_id: int) -> str:
    """0x and 65 bytes r || s || v in hex."""
    return "0x" + key.sign(message_digest(message, chain_id)).to_bytes().hex()


def extended(request: HttpRequest, pairs: tuple[tuple[str, str], ...]) -> HttpRequest:
    """With `pairs` behind what the request says, in its query (GET) or its form."""
    if request.method == "GET":
        return replace(request, query=request.query + pairs)
    body = (request.body or b"").decode()
    return replace(request, body=(f"{body}&" if body else "").encode() + urlencode(pairs).encode(), headers={**request.headers, **FORM})


def parameters(request: HttpRequest) -> str:
    """Query and form as they are sent; without anything between them where a request has both."""
    return urlencode(request.query) + (request.body or b"").decode()


class AsterSigner:
    """v3: an agent ("API wallet") acting for `user`, whose own key is not needed. `address` is the user's."""

    def __init__(self, credentials: Credentials, offload: Offload, *, chain_id: int, scope: str) -> None:
        """`scope` tells environments apart: nonces are counted per scope and agent.

        Raises:
            ConfigError: an address or the key is malformed, they do not fit each other (none is shown), or no secp256k1 is installed.
        """
        self.address = credentials["user_address"].strip()
        if not (_ADDRESS.fullmatch(self.address) or _SOLANA.fullmatch(self.address)):
            raise ConfigError("user_address is no address: 0x and 40 hexadecimal digits, or base58", venue=credentials.venue)
        try:
            self._key = SigningKey(credentials["signer_private_key"])
        except ValueError as e:
            raise ConfigError(f"signer_private_key: {e}", venue=credentials.venue) from None
        except ImportError as e:
            raise ConfigError(f"signing needs the packages of the extra `aster`: {e}", venue=credentials.venue) from e
        self.signer = credentials.get("signer_address").strip() or self._key.address
        if self.signer.lower() != self._key.address:
            raise ConfigError("signer_private_key is not the key of signer_address", venue=credentials.venue)
        self._chain_id = chain_id
        self.nonce_key = f"{scope}/{self._key.address}"
        self._offload = offload if backend_name() != FAST_BACKEND else None

    def __repr__(self) -> str:
        return "AsterSigner(***)"

    async def authorize(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        return await self._signed(request, TimeNonces.take(self.nonce_key, now_ms * 1000))

    async def sign_command(self, command: Command, context: SignContext) -> SignedCommand:
        if context.nonce is None:
            raise ConfigError("a signed command needs a nonce", venue="aster")
        return SignedCommand(request=await self._signed(command.payload, context.nonce))

    async def _signed(self, request: HttpRequest, nonce: int) -> HttpRequest:
        """The pure Python curve takes milliseconds and runs off the loop."""
        if self._offload is not None:
            return await self._offload.run(self.sign, request, nonce, deadline_s=SIGNING_DEADLINE_S)
        return self.sign(request, nonce)

    def sign(self, request: HttpRequest, nonce: int) -> HttpRequest:
        """Pure: equal arguments give equal bytes."""
        named = extended(request, (("nonce", str(nonce)), ("user", self.address), ("signer", self.signer)))
        return extended(named, (("signature", sign_message(self._key, parameters(named), self._chain_id)),))

    async def ws_login(self, role: str, now_ms: int) -> tuple[str | bytes, ...]:
        """The listen key is in the address."""
        return ()


class AsterKeySigner:
    """v1: key and secret. `address` is a digest of the key: nothing else names the account here."""

    nonce_key = None

    def __init__(self, credentials: Credentials, *, recv_window_ms: int = RECV_WINDOW_MS) -> None:
        self._api_key = credentials["api_key"].strip()
        self.address = "v1-" + hashlib.sha256(self._api_key.encode()).hexdigest()[:16]
        self._secret = credentials["api_secret"].strip().encode()
        self._recv_window_ms = recv_window_ms

    def __repr__(self) -> str:
        return "AsterKeySigner(***)"

    async def authorize(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        return self.sign(request, now_ms)

    async def sign_command(self, command: Command, context: SignContext) -> SignedCommand:
        return SignedCommand(request=self.sign(command.payload, context.now_ms))

    def sign(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Pure. User-stream requests want the key alone."""
        path = V1_PATHS.get(request.path) or request.path.replace("/fapi/v3/", "/fapi/v1/", 1)
        keyed = replace(request, path=path, headers={**request.headers, "X-MBX-APIKEY": self._api_key})
        if request.path == USER_STREAM:
            return keyed
        stamped = extended(keyed, (("recvWindow", str(self._recv_window_ms)), ("timestamp", str(now_ms))))
        signature = hmac.new(self._secret, parameters(stamped).encode(), hashlib.sha256).hexdigest()
        return extended(stamped, (("signature", signature),))

    async def ws_login(self, role: str, now_ms: int) -> tuple[str | bytes, ...]:
        return ()


def chooses_v3(credentials: Credentials) -> bool:
    """Which of the two is set.

    Raises:
        ConfigError: both are, so that it is not clear which account trades.
    """
    v3 = credentials.usable("user_address") and credentials.usable("signer_private_key")
    if v3 and credentials.usable("api_key") and credentials.usable("api_secret"):
        raise ConfigError(
            "credentials of API v3 (user_address, signer_private_key) and of v1 (api_key, api_secret) are both set: keep one of them",
            venue=credentials.venue,
        )
    return v3
