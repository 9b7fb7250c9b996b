"""How dYdX signs: secp256k1 keys from a mnemonic, bech32 addresses, SIGN_MODE_DIRECT transactions.

Everything is pure: account number, sequence and heights come in with the transaction. With coincurve a signature takes some 30 us, with
cryptography alone several times that.

Source: dossier sections 2 and 12; BIP 32, 39, 44 and 173; Cosmos SDK ADR 020.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any, Final, cast

from exchange_clients.context import ClientContext
from exchange_clients.crypto.ripemd160 import ripemd160
from exchange_clients.dydx import chain
from exchange_clients.errors import ConfigError
from exchange_clients.signing import Command, Credentials, HttpRequest, SignContext, SignedCommand
from exchange_clients.spec import Endpoints

BROADCAST: Final = "/cosmos.tx.v1beta1.Service/BroadcastTx"
SEQUENCE_SCOPE: Final = "sequence"
PREFIX: Final = "dydx"
MAX_SUBACCOUNT: Final = 128_000
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_HARD: Final = 0x80000000
_PATH: Final = (44 | _HARD, 118 | _HARD, 0 | _HARD, 0, 0)
_CHARSET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_WORDS: Final = (12, 15, 18, 21, 24)

Sign = Callable[[bytes], bytes]
"""A message to 64 bytes r || s: ECDSA over its SHA-256, RFC 6979, low s."""


# ---- curve


def _with_coincurve(secret: bytes) -> tuple[Sign, bytes]:
    from coincurve import PrivateKey

    key = PrivateKey(secret)
    return (lambda message: key.sign_recoverable(message)[:64]), key.public_key.format(compressed=True)


def _with_cryptography(secret: bytes) -> tuple[Sign, bytes]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    key = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256K1())
    algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)

    def sign(message: bytes) -> bytes:
        r, s = utils.decode_dss_signature(key.sign(message, algorithm))
        return r.to_bytes(32, "big") + min(s, _ORDER - s).to_bytes(32, "big")

    point = key.public_key().public_numbers()
    return sign, bytes((2 + (point.y & 1),)) + point.x.to_bytes(32, "big")


@cache
def _backend() -> tuple[str, Callable[[bytes], tuple[Sign, bytes]]]:
    try:
        import coincurve  # noqa: F401 - asked for whether it is there

        return "coincurve", _with_coincurve
    except ImportError:
        return "cryptography", _with_cryptography


def backend_name() -> str:
    """ "coincurve", or "cryptography" where only that is installed."""
    return _backend()[0]


# ---- keys


def _public_key(secret: bytes) -> bytes:
    return _backend()[1](secret)[1]


def key_from_mnemonic(mnemonic: str) -> bytes:
    """The 32 bytes at m/44'/118'/0'/0/0.

    The words are not looked up in a list: a wrong one gives another account, which connecting finds out.

    Raises:
        ConfigError: not 12, 15, 18, 21 or 24 words.
    """
    words = unicodedata.normalize("NFKD", mnemonic).lower().split()
    if len(words) not in _WORDS:
        raise ConfigError(f"a mnemonic has 12 to 24 words, not {len(words)}", venue="dydx")
    seed = hashlib.pbkdf2_hmac("sha512", " ".join(words).encode(), b"mnemonic", 2048)
    node = hmac.digest(b"Bitcoin seed", seed, "sha512")
    for index in _PATH:
        secret, code = node[:32], node[32:]
        parent = b"\x00" + secret if index & _HARD else _public_key(secret)
        node = hmac.digest(code, parent + index.to_bytes(4, "big"), "sha512")
        child = (int.from_bytes(node[:32], "big") + int.from_bytes(secret, "big")) % _ORDER
        node = child.to_bytes(32, "big") + node[32:]
    return node[:32]


def key_from_hex(text: str) -> bytes:
    """Raises ConfigError for what is no private key; nothing of it is repeated."""
    digits = text.strip().removeprefix("0x")
    try:
        secret = bytes.fromhex(digits)
    except ValueError:
        secret = b""
    if len(secret) != 32 or not 0 < int.from_bytes(secret, "big") < _ORDER:
        raise ConfigError("private_key is not 32 bytes in hex", venue="dydx")
    return secret


# ---- addresses


def _checksum(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for i, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            if top >> i & 1:
                check ^= generator
    return check


def _expanded(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def bech32(prefix: str, payload: bytes) -> str:
    bits = int.from_bytes(payload, "big")
    size = 8 * len(payload)
    bits, size = bits << -size % 5, size + -size % 5
    values = [bits >> shift & 31 for shift in range(size - 5, -1, -5)]
    check = _checksum(_expanded(prefix) + values + [0] * 6) ^ 1
    return prefix + "1" + "".join(_CHARSET[v] for v in values + [check >> 5 * (5 - i) & 31 for i in range(6)])


def is_address(text: str) -> bool:
    """Whether this is an address of this chain, by its checksum."""
    prefix, _, rest = text.rpartition("1")
    if prefix != PREFIX or len(rest) != 38 or set(rest) - set(_CHARSET):
        return False
    return _checksum(_expanded(prefix) + [_CHARSET.index(c) for c in rest]) == 1


def address_of(public_key: bytes) -> str:
    """The account of a compressed public key."""
    return bech32(PREFIX, ripemd160(hashlib.sha256(public_key).digest()))


# ---- the signer


class DydxSigner:
    """One key, for one subaccount of one account.

    A permissioned key signs under the `authenticator` that the owner registered for it; `address` is then the owner's.
    """

    __slots__ = (
        "_auth_prefix",
        "_sign",
        "_unordered",
        "address",
        "authenticator",
        "chain_id",
        "key_address",
        "number",
        "public_key",
        "subaccount",
    )

    def __init__(self, credentials: Credentials, endpoints: Endpoints) -> None:
        secret = key_from_mnemonic(credentials["mnemonic"]) if "mnemonic" in credentials else key_from_hex(credentials["private_key"])
        self._sign, self.public_key = _backend()[1](secret)
        self.key_address = address_of(self.public_key)
        self.address = credentials.get("address").strip() or self.key_address
        if not is_address(self.address):
            raise ConfigError("address is not a dYdX address: its checksum is wrong", venue="dydx")
        self.number = _whole(credentials.get("subaccount_number", "0"), "subaccount_number", MAX_SUBACCOUNT)
        named = credentials.get("authenticator_id")
        self.authenticator = _whole(named, "authenticator_id", 2**64 - 1) if named else None
        if not isinstance(endpoints.chain_id, str):
            raise ConfigError("endpoints.chain_id is the name of the chain", venue="dydx")
        self.chain_id = endpoints.chain_id
        self.subaccount = chain.subaccount(self.address, self.number)
        self._auth_prefix = chain.signer_prefix(self.public_key)
        self._unordered = chain.auth_info(self._auth_prefix, 0)

    def __repr__(self) -> str:
        return "DydxSigner(***)"

    def __reduce__(self) -> Any:
        raise TypeError("keys are not serialised")

    def sign_transaction(self, transaction: chain.Transaction, sequence: int | None) -> bytes:
        """The signed bytes. Short-term transactions have no sequence: any number is accepted, and theirs is 0."""
        body = chain.tx_body(transaction, self.authenticator)
        auth = chain.auth_info(self._auth_prefix, sequence) if sequence else self._unordered
        part = chain.signed_part(body, auth)
        return chain.tx_raw(part, self._sign(chain.sign_doc(part, self.chain_id, transaction.account_number)))

    async def authorize(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """No read needs a signature."""
        return request

    async def sign_command(self, command: Command, context: SignContext) -> SignedCommand:
        """The payload is a transaction, or makes one now."""
        raw = self.sign_transaction(command.payload() if callable(command.payload) else command.payload, context.nonce)
        request = HttpRequest("GRPC", BROADCAST, body=chain.broadcast_request(raw))
        return SignedCommand(request=request, fingerprint=hashlib.sha256(raw).hexdigest().upper())

    async def ws_login(self, role: str, now_ms: int) -> tuple[str | bytes, ...]:
        return ()


def _whole(text: str, name: str, highest: int) -> int:
    if not text.strip().isdecimal() or int(text) > highest:
        raise ConfigError(f"{name} is not a whole number up to {highest}", venue="dydx")
    return int(text)


def signer_of(context: ClientContext) -> DydxSigner:
    """The account's signer. Raises MissingCredentials."""
    return cast("DydxSigner", context.require_signer())
