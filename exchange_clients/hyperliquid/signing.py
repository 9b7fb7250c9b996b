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
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Final, cast

import msgspec

from exchange_clients.crypto.secp256k1 import FAST_BACKEND, Signature, SigningKey, backend_name, domain_separator, keccak, recover
from exchange_clients.errors import ConfigError
from exchange_clients.hyperliquid import messages as m
from exchange_clients.signing import Channel, Command, Credentials, HttpRequest, SignContext, SignedCommand
from exchange_clients.transport.offload import Offload

if TYPE_CHECKING:
    from exchange_clients.context import ClientContext

__all__ = [
    "FAST_BACKEND",
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

NONCE_SCOPE: Final = "key"
ORDER_LIFE_MS: Final = 5_000
SIGNING_DEADLINE_S: Final = 5.0
_encode_msgpack: Final = msgspec.msgpack.Encoder().encode
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


@cache
def _agent_constants(mainnet: bool) -> tuple[bytes, bytes]:
    source = keccak(b"a" if mainnet else b"b")
    return b"\x19\x01" + domain_separator("Exchange", 1337), keccak(b"Agent(string source,bytes32 connectionId)") + source


@cache
def _user_domain(chain_id: int) -> bytes:
    return b"\x19\x01" + domain_separator("HyperliquidSignTransaction", chain_id)


@cache
def _user_type_hash(suffix: str, fields: tuple[tuple[str, str], ...]) -> bytes:
    members = ",".join(f"{kind} {name}" for name, kind in (("hyperliquidChain", "string"), *fields))
    return keccak(f"HyperliquidTransaction:{suffix}({members})".encode())
