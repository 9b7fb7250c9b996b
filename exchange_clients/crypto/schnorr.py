"""Schnorr signatures over ECgFp5 with Poseidon2: e = H(r || m) and s = k - e * sk, where r encodes k * G.

Keys and hashed messages are 40 bytes, signatures 80 (s || e). Measured: sign 1.5 ms, verify 2.5 ms; the first use of a key makes its table.
"""

from __future__ import annotations

import hashlib
from functools import cache, lru_cache

from exchange_clients.crypto import ecgfp5, goldilocks, quintic
from exchange_clients.crypto.ecgfp5 import ORDER, Multiples
from exchange_clients.crypto.poseidon2 import hash_to_quintic

KEY_BYTES = 40
SIGNATURE_BYTES = 80


@cache
def _generator() -> Multiples:
    point = ecgfp5.decode(4)
    assert point is not None
    return Multiples(point)


@lru_cache(maxsize=64)
def _key_multiples(public_key: bytes) -> Multiples | None:
    try:
        point = ecgfp5.decode(quintic.from_bytes(public_key))
    except ValueError:
        return None
    return None if point is None or ecgfp5.is_neutral(point) else Multiples(point)


def _challenge(r: int, message: bytes) -> int:
    digest = hash_to_quintic([*quintic.unpack(r), *goldilocks.from_bytes(message)])
    return int.from_bytes(goldilocks.to_bytes(digest), "little") % ORDER


def public_key(private_key: bytes) -> bytes:
    """Raises ValueError unless `private_key` is a scalar in [1, ORDER)."""
    return quintic.to_bytes(ecgfp5.encode(ecgfp5.combine([(_generator(), secret_scalar(private_key))])))


def secret_scalar(private_key: bytes) -> int:
    """The number behind a private key. Raises ValueError unless it is in [1, ORDER)."""
    scalar = ecgfp5.scalar_from_bytes(private_key)
    if not scalar:
        raise ValueError("a private key is not zero")
    return scalar


def derive_nonce(private_key: bytes, message: bytes) -> int:
    """A k that depends on key and message only, as in Ed25519: no random source to fail, and the same input gives the same signature."""
    return int.from_bytes(hashlib.shake_256(b"schnorr-ecgfp5-nonce" + private_key + message).digest(64), "little") % ORDER


def sign(private_key: bytes, message: bytes, k: int | None = None) -> bytes:
    """The signature of a hashed message (40 bytes: five elements). `k` is derived when not given; it must never serve two messages."""
    secret = secret_scalar(private_key)
    nonce = derive_nonce(private_key, message) if k is None else k
    e = _challenge(ecgfp5.encode(ecgfp5.combine([(_generator(), nonce)])), message)
    return ecgfp5.scalar_to_bytes((nonce - e * secret) % ORDER) + ecgfp5.scalar_to_bytes(e)


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """True when `signature` proves the key; False for anything malformed."""
    if len(signature) != SIGNATURE_BYTES or len(message) != KEY_BYTES:
        return False
    multiples = _key_multiples(public_key)
    try:
        s, e = ecgfp5.scalar_from_bytes(signature[:40]), ecgfp5.scalar_from_bytes(signature[40:])
        return multiples is not None and _challenge(ecgfp5.encode(ecgfp5.combine([(_generator(), s), (multiples, e)])), message) == e
    except ValueError:
        return False
