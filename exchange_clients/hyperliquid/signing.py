"""How Hyperliquid signs: msgpack action hash, EIP-712, secp256k1.

Two schemes. *L1 actions* (orders, cancels, leverage) hash the msgpack bytes of the action and sign a constant-shaped `Agent` message over
that hash, so everything except 64 bytes is precomputed. *User-signed actions* (transfers, approvals) sign their own fields.

Everything here is pure: no clock, no I/O, no nonce source. The bytes that are hashed are the venue's re-serialisation of the action, so
key order is part of the protocol and optional keys must be absent: build actions from the structs in `messages`, which declare both.
Orders carry a last moment (`expiresAfter`), so that one delayed on its way is void by the time its absence counts as a proof.

Source: dossier sections 2 and 13; https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/signing, read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Final, Protocol, cast

import msgspec

from exchange_clients.errors import ConfigError
from exchange_clients.hyperliquid import messages as m
from exchange_clients.signing import Channel, Command, Credentials, HttpRequest, NonceLease, SignContext, SignedCommand
from exchange_clients.transport.offload import Offload

if TYPE_CHECKING:
    from Crypto.Hash.keccak import Keccak_Hash

    from exchange_clients.context import ClientContext

__all__ = [
    "USER_ACTIONS",
    "HyperliquidSigner",
    "Signature",
    "SigningKey",
    "action_hash",
    "agent_digest",
    "backend_name",
    "keccak",
    "recover",
    "sign_l1_action",
    "sign_user_action",
    "user_action_digest",
]

FAST_BACKEND: Final = "coincurve"
NONCE_SCOPE: Final = "key"
ORDER_LIFE_MS: Final = 5_000
SIGNING_DEADLINE_S: Final = 5.0
_encode_msgpack: Final = msgspec.msgpack.Encoder().encode
_ZERO_ADDRESS: Final = bytes(32)
_CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_ADDRESS: Final = re.compile(r"0x[0-9a-f]{40}")
_PERISHABLE: Final = (m.PlaceOrders, m.BatchModify)

# action type -> (EIP-712 primary type suffix, fields that follow `hyperliquidChain`)
USER_ACTIONS: Final[Mapping[str, tuple[str, tuple[tuple[str, str], ...]]]] = {
    "usdSend": ("UsdSend", (("destination", "string"), ("amount", "string"), ("time", "uint64"))),
    "spotSend": ("SpotSend", (("destination", "string"), ("token", "string"), ("amount", "string"), ("time", "uint64"))),
    "withdraw3": ("Withdraw", (("destination", "string"), ("amount", "string"), ("time", "uint64"))),
    "usdClassTransfer": ("UsdClassTransfer", (("amount", "string"), ("toPerp", "bool"), ("nonce", "uint64"))),
    "sendAsset": (
        "SendAsset",
        (
            ("destination", "string"),
            ("sourceDex", "string"),
            ("destinationDex", "string"),
            ("token", "string"),
            ("amount", "string"),
            ("fromSubAccount", "string"),
            ("nonce", "uint64"),
        ),
    ),
    "approveAgent": ("ApproveAgent", (("agentAddress", "address"), ("agentName", "string"), ("nonce", "uint64"))),
    "approveBuilderFee": ("ApproveBuilderFee", (("maxFeeRate", "string"), ("builder", "address"), ("nonce", "uint64"))),
    "userSetAbstraction": ("UserSetAbstraction", (("user", "address"), ("abstraction", "string"), ("nonce", "uint64"))),
    "tokenDelegate": ("TokenDelegate", (("validator", "address"), ("wei", "uint64"), ("isUndelegate", "bool"), ("nonce", "uint64"))),
}


class Signature(msgspec.Struct, frozen=True):
    """`r` and `s` as 0x and 64 hex digits, `v` 27 or 28: the wire form."""

    r: str
    s: str
    v: int

    def to_bytes(self) -> bytes:
        """65 bytes r || s || v."""
        return int(self.r, 16).to_bytes(32, "big") + int(self.s, 16).to_bytes(32, "big") + bytes((self.v,))


class _Backend(Protocol):
    """secp256k1 by some library: 65 recoverable bytes (last one 0 or 1), the uncompressed public key without its 04."""

    name: str

    def signer(self, secret: bytes) -> Callable[[bytes], bytes]: ...
    def public_key(self, secret: bytes) -> bytes: ...
    def recover(self, digest: bytes, signature: bytes) -> bytes: ...


class _Coincurve:
    name = FAST_BACKEND

    def __init__(self) -> None:
        from coincurve import PrivateKey, PublicKey

        self._private, self._public = PrivateKey, PublicKey

    def signer(self, secret: bytes) -> Callable[[bytes], bytes]:
        sign = self._private(secret).sign_recoverable
        return lambda digest: sign(digest, hasher=None)

    def public_key(self, secret: bytes) -> bytes:
        return self._private(secret).public_key.format(compressed=False)[1:]

    def recover(self, digest: bytes, signature: bytes) -> bytes:
        return self._public.from_signature_and_message(signature, digest, hasher=None).format(compressed=False)[1:]


class _EthKeys:
    """The pure Python curve under eth-account: the same signatures, about a hundred times slower."""

    name = "eth-keys"

    def __init__(self) -> None:
        from eth_keys.backends.native.main import NativeECCBackend
        from eth_keys.main import KeyAPI

        self._api = KeyAPI(NativeECCBackend)

    def signer(self, secret: bytes) -> Callable[[bytes], bytes]:
        key = self._api.PrivateKey(secret)
        return lambda digest: key.sign_msg_hash(digest).to_bytes()

    def public_key(self, secret: bytes) -> bytes:
        return self._api.PrivateKey(secret).public_key.to_bytes()

    def recover(self, digest: bytes, signature: bytes) -> bytes:
        return self._api.Signature(signature).recover_public_key_from_msg_hash(digest).to_bytes()


@cache
def _backend() -> _Backend:
    try:
        return _Coincurve()
    except ImportError:
        return _EthKeys()


def backend_name() -> str:
    """ "coincurve", or "eth-keys" when only the slow pure Python curve is installed; who starts a signer reports it."""
    return _backend().name


@cache
def _new_keccak() -> Callable[..., Keccak_Hash]:
    from Crypto.Hash import keccak as module

    return module.new


def keccak(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it (not SHA3-256)."""
    return _new_keccak()(data=data, digest_bits=256).digest()


class SigningKey:
    """A secp256k1 private key; the only place it lives. Never shown by `repr`, never picklable."""

    __slots__ = ("_sign", "address")

    def __init__(self, private_key: str) -> None:
        """`private_key`: 32 bytes in hex, with or without 0x.

        Raises:
            ValueError: not 32 bytes of hex, or not a scalar of the curve. The message does not contain the key.
        """
        try:
            secret = bytes.fromhex(private_key.strip().removeprefix("0x"))
        except ValueError:
            raise ValueError("private key is not hexadecimal") from None
        if len(secret) != 32:
            raise ValueError(f"private key has {len(secret)} bytes, expected 32")
        if not 0 < int.from_bytes(secret, "big") < _CURVE_ORDER:
            raise ValueError("private key is not a scalar of secp256k1")
        self._sign = _backend().signer(secret)
        self.address = _address(_backend().public_key(secret))

    def __repr__(self) -> str:
        return "SigningKey(***)"

    def __reduce__(self) -> str:
        raise TypeError("a signing key cannot be pickled")

    def sign(self, digest: bytes) -> Signature:
        """Deterministic (RFC 6979), low-s, over 32 bytes that are already a hash."""
        raw = self._sign(digest)
        return Signature("0x" + raw[:32].hex(), "0x" + raw[32:64].hex(), 27 + raw[64])


def recover(digest: bytes, signature: Signature) -> str:
    """The lower-case address whose key made `signature` over `digest`."""
    raw = signature.to_bytes()
    return _address(_backend().recover(digest, raw[:64] + bytes((raw[64] - 27,))))


def action_hash(action: object, nonce: int, *, vault: str | None = None, expires_after_ms: int | None = None) -> bytes:
    """The `connectionId` of an L1 action: what the signature vouches for."""
    data = bytearray(_encode_msgpack(action))
    data += nonce.to_bytes(8, "big")
    if vault is None:
        data.append(0)
    else:
        data.append(1)
        data += bytes.fromhex(vault.removeprefix("0x"))
    if expires_after_ms is not None:
        data.append(0)
        data += expires_after_ms.to_bytes(8, "big")
    return keccak(bytes(data))


def agent_digest(connection_id: bytes, *, mainnet: bool) -> bytes:
    """EIP-712 digest of `Agent(source, connectionId)`: chain id 1337 on both networks, the source letter tells them apart."""
    domain, struct_prefix = _agent_constants(mainnet)
    return keccak(domain + keccak(struct_prefix + connection_id))


def user_action_digest(action: Mapping[str, object]) -> bytes:
    """EIP-712 digest of a user-signed action; reads `signatureChainId` and `hyperliquidChain` from the action itself.

    An unnamed agent is signed with an empty name although the sent action has no `agentName`.

    Raises:
        KeyError: the type is not one of `USER_ACTIONS`, or a field is missing.
    """
    suffix, fields = USER_ACTIONS[str(action["type"])]
    chain_id = int(str(action["signatureChainId"]), 16)
    struct = bytearray(_user_type_hash(suffix, fields))
    struct += keccak(str(action["hyperliquidChain"]).encode())
    for name, kind in fields:
        struct += _encode_field(kind, action.get(name, "") if name == "agentName" else action[name])
    return keccak(_user_domain(chain_id) + keccak(bytes(struct)))


def sign_l1_action(
    key: SigningKey, action: object, nonce: int, *, mainnet: bool, vault: str | None = None, expires_after_ms: int | None = None
) -> Signature:
    """Sign an order, cancel, modify, leverage change ...: everything that trades."""
    return key.sign(agent_digest(action_hash(action, nonce, vault=vault, expires_after_ms=expires_after_ms), mainnet=mainnet))


def sign_user_action(key: SigningKey, action: Mapping[str, object]) -> Signature:
    """Sign a transfer or an approval; only the account's own key can, an agent's cannot."""
    return key.sign(user_action_digest(action))


class _Envelope(msgspec.Struct, frozen=True):
    """Body of POST /exchange, and payload of a post over the socket."""

    action: object
    nonce: int
    signature: Signature
    vaultAddress: str | None
    expiresAfter: int | None


class _PostRequest(msgspec.Struct, frozen=True):
    payload: _Envelope
    type: str = "action"


class _Post(msgspec.Struct, frozen=True):
    id: int
    request: _PostRequest
    method: str = "post"


class VenueNonces:
    """Milliseconds of venue time that never repeat: max(last + 1, now).

    Venue time, because the venue refuses what lies below the hundred highest it has seen: a local clock that was set back must not matter.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._last = 0

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[NonceLease]:
        self._last = max(self._last + 1, self._now_ms())
        yield NonceLease(self._last)

    def mark_stale(self) -> None:
        """Time needs no resync."""


class HyperliquidSigner:
    """The key of an account or of its agent, trading for `account` or for a vault or sub-account.

    `address` is the one traded for and asked about; `key_address` the one the venue recovers from signatures.
    """

    def __init__(self, credentials: Credentials, offload: Offload, *, mainnet: bool) -> None:
        """
        Raises:
            ConfigError: an address or the key is malformed (neither is shown), or no secp256k1 library is installed.
        """
        account, vault = (credentials.get(name).strip().lower() for name in ("account_address", "vault_address"))
        for name, value in (("account_address", account), ("vault_address", vault or account)):
            if not _ADDRESS.fullmatch(value):
                raise ConfigError(f"{name} is no address: 0x and 40 hexadecimal digits", venue=credentials.venue)
        try:
            self._key = SigningKey(credentials["private_key"])
        except ValueError as e:
            raise ConfigError(str(e), venue=credentials.venue) from None
        except ImportError as e:
            raise ConfigError(f"signing needs the packages of the extra `hyperliquid`: {e}", venue=credentials.venue) from e
        self.account = account
        self.vault = vault if vault and vault != account else None
        self.key_address = self._key.address
        self._mainnet = mainnet
        self._offload = offload if backend_name() != FAST_BACKEND else None

    @property
    def address(self) -> str:
        return self.vault or self.account

    def __repr__(self) -> str:
        return "HyperliquidSigner(***)"

    async def authorize(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Reads are public: they name the account."""
        return request

    async def ws_login(self, role: str, now_ms: int) -> tuple[str | bytes, ...]:
        """Account streams are public too."""
        return ()

    async def sign_command(self, command: Command, context: SignContext) -> SignedCommand:
        """The action of `command.payload` with its nonce. The pure Python curve takes milliseconds and runs off the loop."""
        if context.nonce is None:
            raise ConfigError("an action needs a nonce", venue="hyperliquid")
        if self._offload is not None:
            return await self._offload.run(self.sign, command, context.nonce, context.now_ms, deadline_s=SIGNING_DEADLINE_S)
        return self.sign(command, context.nonce, context.now_ms)

    def sign(self, command: Command, nonce: int, now_ms: int) -> SignedCommand:
        """Pure: equal arguments give equal bytes."""
        action = command.payload
        expires = now_ms + ORDER_LIFE_MS if isinstance(action, _PERISHABLE) else None
        signature = sign_l1_action(self._key, action, nonce, mainnet=self._mainnet, vault=self.vault, expires_after_ms=expires)
        envelope = _Envelope(action, nonce, signature, self.vault, expires)
        if command.channel is Channel.WS:
            return SignedCommand(message=msgspec.json.encode(_Post(nonce, _PostRequest(envelope))).decode(), correlation_id=str(nonce))
        headers = {"Content-Type": "application/json"}
        return SignedCommand(request=HttpRequest("POST", "/exchange", body=msgspec.json.encode(envelope), headers=headers))


def signer_of(context: ClientContext) -> HyperliquidSigner:
    """The signer of this client, or MissingCredentials."""
    return cast(HyperliquidSigner, context.require_signer())


def trading_address(context: ClientContext) -> str:
    """Whom queries and streams are about: the vault or sub-account, else the account."""
    return signer_of(context).address


def _address(public_key: bytes) -> str:
    return "0x" + keccak(public_key)[12:].hex()


def _encode_field(kind: str, value: object) -> bytes:
    match kind, value:
        case "string", str():
            return keccak(value.encode())
        case "bool", bool():
            return int(value).to_bytes(32, "big")
        case "uint64", int() if 0 <= value < 1 << 64:
            return value.to_bytes(32, "big")
        case "address", str():
            return bytes.fromhex(value.removeprefix("0x")).rjust(32, b"\0")
    raise TypeError(f"{value!r} is no {kind}")


def _domain_separator(name: str, chain_id: int) -> bytes:
    type_hash = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    return keccak(type_hash + keccak(name.encode()) + keccak(b"1") + chain_id.to_bytes(32, "big") + _ZERO_ADDRESS)


@cache
def _agent_constants(mainnet: bool) -> tuple[bytes, bytes]:
    source = keccak(b"a" if mainnet else b"b")
    return b"\x19\x01" + _domain_separator("Exchange", 1337), keccak(b"Agent(string source,bytes32 connectionId)") + source


@cache
def _user_domain(chain_id: int) -> bytes:
    return b"\x19\x01" + _domain_separator("HyperliquidSignTransaction", chain_id)


@cache
def _user_type_hash(suffix: str, fields: tuple[tuple[str, str], ...]) -> bytes:
    members = ",".join(f"{kind} {name}" for name, kind in (("hyperliquidChain", "string"), *fields))
    return keccak(f"HyperliquidTransaction:{suffix}({members})".encode())
