"""Ethereum's curve and hash: keys, recoverable signatures, and the EIP-712 bytes that wallets sign. The libraries load at first use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from Crypto.Hash.keccak import Keccak_Hash

FAST_BACKEND: Final = "coincurve"
_CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_ZERO_ADDRESS: Final = bytes(32)


class Signature(msgspec.Struct, frozen=True):
    """`r` and `s` as 0x and 64 hex digits, `v` 27 or 28."""

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
        self.address = address_of(_backend().public_key(secret))

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
    return address_of(_backend().recover(digest, raw[:64] + bytes((raw[64] - 27,))))


def address_of(public_key: bytes) -> str:
    """The lower-case address of an uncompressed public key without its 04."""
    return "0x" + keccak(public_key)[12:].hex()


def domain_separator(name: str, chain_id: int, *, version: str = "1") -> bytes:
    """The EIP-712 domain hash of a verifier that is no contract (address zero)."""
    type_hash = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    return keccak(type_hash + keccak(name.encode()) + keccak(version.encode()) + chain_id.to_bytes(32, "big") + _ZERO_ADDRESS)
