"""Who may sign for which account: API keys, their nonces, auth tokens, tiers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from exchange_clients.crypto.ecgfp5 import ORDER, scalar_to_bytes
from exchange_simulator.core.types import UNIT
from exchange_simulator.dialects.lighter.errors import refusal
from exchange_simulator.dialects.lighter.tx import MAX_NONCE, Token, Tx

MAX_TOKEN_S = 8 * 3600
MIN_READ_TOKEN_S, MAX_READ_TOKEN_S = 86_400, 10 * 366 * 86_400
MAX_READ_TOKENS = 10
MAX_KNOWN_TOKENS = 1000


@dataclass(frozen=True, slots=True)
class Tier:
    """What an account pays and waits: fees as fractions, delays from acceptance to execution in seconds."""

    name: str
    maker_fee: int
    taker_fee: int
    taker_s: float
    maker_s: float
    cancel_s: float
    weight_per_minute: int
    orders_per_minute: int = 0
    """Transactions of one type, 0 for no limit but the weight."""


TIERS = {
    t.name: t
    for t in (
        Tier("standard", 0, 0, 0.300, 0.200, 0.200, 18_000, 40),  # 60 requests of weight 300
        Tier("plus", UNIT // 20_000, UNIT // 20_000, 0.200, 0.100, 0.100, 120_000),
        Tier("premium", 40 * UNIT // 10**6, 280 * UNIT // 10**6, 0.140, 0.005, 0.005, 24_000),
    )
}
"""Source: https://apidocs.lighter.xyz/docs/account-types and /docs/rate-limits, read 2026-09; the delays of "plus" are assumed."""


@dataclass(slots=True)
class ApiKey:
    public_key: bytes
    next_nonce: int = 0
    registered_us: int = 0


@dataclass(slots=True)
class Owner:
    """The dialect's side of one account."""

    index: int
    l1_address: str
    tier: Tier
    keys: dict[int, ApiKey] = field(default_factory=dict)
    integrators: set[int] = field(default_factory=set)
    in_flight: set[int] = field(default_factory=set)
    """Client order indexes of accepted orders that did not reach the book yet."""

    def key(self, index: int) -> ApiKey:
        if index not in self.keys:
            raise refusal(21109)
        return self.keys[index]


def private_key(seed: str) -> bytes:
    """A key that depends on `seed` alone: good for a simulation, for nothing else."""
    digest = hashlib.shake_256(b"lighter-sim-key" + seed.encode()).digest(64)
    return scalar_to_bytes(int.from_bytes(digest, "little") % (ORDER - 1) + 1)


class Owners:
    """All accounts. `verify_every`: one in so many signatures is checked (1: all), for long runs under virtual time."""

    def __init__(self, chain_id: int, *, verify_every: int = 1) -> None:
        self.chain_id = chain_id
        self._verify_every = max(1, verify_every)
        self._seen = 0
        self._owners: dict[int, Owner] = {}
        self._by_address: dict[str, list[Owner]] = {}
        self._tokens: dict[str, bytes] = {}
        self._read_tokens: dict[str, tuple[int, int]] = {}
        self._void: set[str] = set()

    def add(self, owner: Owner) -> None:
        self._owners[owner.index] = owner
        self._by_address.setdefault(owner.l1_address.lower(), []).append(owner)

    def get(self, index: int) -> Owner:
        owner = self._owners.get(index)
        if owner is None:
            raise refusal(21100)
        return owner

    def of_address(self, l1_address: str) -> list[Owner]:
        owners = self._by_address.get(l1_address.lower())
        if not owners:
            raise refusal(21100)
        return owners

    def check_signature(self, tx: Tx, key: ApiKey, digest: bytes) -> None:
        """Raises Refusal unless the key signed it."""
        self._seen += 1
        if self._seen % self._verify_every == 0 and not tx.signed_by(key.public_key, digest):
            raise refusal(21120)

    def token(self, text: str, now_s: int, account: int | None = None) -> Owner:
        """The owner a valid auth token stands for.

        Raises:
            Refusal: malformed, expired, too far ahead, not signed by the key, or (with `account`) of somebody else.
        """
        if not text:
            raise refusal(20001, ": auth query param and Authorization header are empty")
        if text in self._read_tokens:
            return self._reader(text, now_s, account)
        token = Token.parse(text)
        if text in self._void:
            raise refusal(20001, ": auth token is expired", status=401)
        if not now_s <= token.deadline_s <= now_s + MAX_TOKEN_S + 60:
            raise refusal(20001, ": auth token is expired" if token.deadline_s < now_s else ": auth token is not valid yet", status=401)
        owner = self.get(token.account)
        key = owner.key(token.api_key)
        if self._tokens.get(text) != key.public_key:
            if not token.signed_by(key.public_key):
                raise refusal(20001, ": invalid auth token", status=401)
            if len(self._tokens) >= MAX_KNOWN_TOKENS:
                self._tokens.clear()
            self._tokens[text] = key.public_key
        if account is not None and token.account != account:
            raise refusal(20001, ": auth token is of another account", status=401)
        return owner

    def expire_tokens(self) -> None:
        """What was used so far is refused from now on."""
        self._void.update(self._tokens)

    def _reader(self, text: str, now_s: int, account: int | None) -> Owner:
        index, expiry_s = self._read_tokens[text]
        if expiry_s < now_s or account not in (None, index):
            raise refusal(20001, ": auth token is expired" if expiry_s < now_s else ": auth token is of another account", status=401)
        return self.get(index)

    def create_read_token(self, owner: Owner, name: str, expiry_s: int, now_s: int) -> tuple[int, str]:
        """(number, text) of a token that may look and not touch. Raises Refusal."""
        if not name or len(name) > 50:
            raise refusal(61008 if name else 61007)
        if expiry_s < now_s + MIN_READ_TOKEN_S:
            raise refusal(61001)
        if expiry_s > now_s + MAX_READ_TOKEN_S:
            raise refusal(61002)
        if sum(index == owner.index for index, _ in self._read_tokens.values()) >= MAX_READ_TOKENS:
            raise refusal(61003)
        number = len(self._read_tokens) + 1
        secret = hashlib.sha256(f"{owner.index}-{number}-{owner.l1_address}".encode()).hexdigest()
        text = f"ro:{owner.index}:single:{expiry_s}:{secret}"
        self._read_tokens[text] = (owner.index, expiry_s)
        return number, text


def next_nonce(key: ApiKey, tx: Tx, expected: int) -> int:
    """What the next one must carry once this one is accepted; `expected` is the key's next, or what a batch left.

    Raises:
        Refusal: it is not exactly `expected`, or (with SkipNonce) not above the last.
    """
    fits = expected <= tx.nonce < MAX_NONCE if tx.skips_nonce else tx.nonce == expected
    if not fits:
        raise refusal(21104)
    return tx.nonce + 1
