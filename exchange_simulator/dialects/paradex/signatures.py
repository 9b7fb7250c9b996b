"""Who signed what: typed data encoded from its type strings (SNIP-12, revision 0), accounts and their keys, session tokens.

Written from the standard and the venue's documentation; nothing here is shared with the client.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any, Final

from exchange_simulator.dialects.base import Refusal

CURVE_ORDER: Final = 3618502788666131213697322783095070105526743751716087489154079457884512865583
PROXY_HASH: Final = "0x3530cc4759d78042f1b543bf797f5f3d647cde0388c33734cf91b7f7b9314a9"
ACCOUNT_HASH: Final = "0x41cb0280ebadaa75f996d8d92c6f265f6d040bb3ba442e5f86a554f1765244e"
TOKEN_LIFE_S: Final = 300
AUTH_SLACK_S: Final = 30
WEEK_S: Final = 7 * 86_400
TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "StarkNetDomain": ("name", "chainId", "version"),
    "Order": ("timestamp", "market", "side", "orderType", "size", "price"),
    "ModifyOrder": ("timestamp", "market", "side", "orderType", "size", "price", "id"),
    "Request": ("method", "path", "body", "timestamp", "expiration"),
    "Constant": ("action",),
}


@cache
def selector(text: str) -> int:
    """The first 250 bits of the text's keccak256."""
    from eth_utils.crypto import keccak

    return int.from_bytes(keccak(text=text), "big") % 2**250


def felt(value: str | int) -> int:
    """Numbers as they are, in hex or decimal text too; other text as big-endian ASCII."""
    if isinstance(value, int):
        return value
    if value.startswith("0x"):
        return int(value, 16)
    return int(value) if value.isdigit() else int.from_bytes(value.encode(), "big")


def pedersen_of(*elements: int) -> int:
    """Of a list: chained from 0, closed with the length."""
    from fast_stark_crypto import pedersen_hash

    found = 0
    for element in (*elements, len(elements)):
        found = int(pedersen_hash(found, element))
    return found


def hash_struct(name: str, values: Mapping[str, str | int]) -> int:
    fields = TYPES[name]
    text = f"{name}({','.join(f'{one}:felt' for one in fields)})"
    return pedersen_of(selector(text), *(felt(values[one]) for one in fields))


@cache
def _domain(chain_id: str) -> int:
    return hash_struct("StarkNetDomain", {"name": "Paradex", "chainId": chain_id, "version": 1})


def message_digest(chain_id: str, account: str, name: str, values: Mapping[str, str | int]) -> int:
    return pedersen_of(felt("StarkNet Message"), _domain(chain_id), felt(account), hash_struct(name, values))


def order_values(body: Mapping[str, Any]) -> dict[str, str | int]:
    """What of an order's body is signed."""
    values: dict[str, str | int] = {
        "timestamp": int(body["signature_timestamp"]),
        "market": str(body["market"]),
        "side": {"BUY": 1, "SELL": 2}[body["side"]],
        "orderType": str(body["type"]),
        "size": int(Decimal(body["size"]) * 10**8),
        "price": int(Decimal(body.get("price") or "0") * 10**8),
    }
    return values | ({"id": int(body["id"])} if "id" in body else {})


def contract_address(public_key: int) -> str:
    """Where the account of a key lives."""
    calldata = pedersen_of(felt(ACCOUNT_HASH), selector("initialize"), 2, public_key, 0)
    found = pedersen_of(felt("STARKNET_CONTRACT_ADDRESS"), 0, public_key, felt(PROXY_HASH), calldata)
    return hex(found % (2**251 - 256))


def public_key_of(private_key: int) -> int:
    from fast_stark_crypto import get_public_key

    return int(get_public_key(private_key))


def seeded_key(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big") % (CURVE_ORDER - 1) + 1


@dataclass(slots=True)
class Owner:
    """One account: its address, the keys that may sign for it (the first is its own), and when each token ends (seconds)."""

    account: int
    address: str
    l1_address: str
    keys: list[int]
    tokens: dict[str, int] = field(default_factory=dict)


class Owners:
    """Every account of one dialect."""

    def __init__(self, chain_id: str) -> None:
        self.chain_id = chain_id
        self._by_address: dict[int, Owner] = {}
        self._by_account: dict[int, Owner] = {}
        self._by_token: dict[str, Owner] = {}
        self._issued = 0

    def add(self, owner: Owner) -> None:
        self._by_address[felt(owner.address)] = self._by_account[owner.account] = owner

    def of_account(self, account: int) -> Owner | None:
        return self._by_account.get(account)

    def of_key(self, public_key: int) -> Owner | None:
        return next((owner for owner in self._by_account.values() if public_key in owner.keys), None)

    def newest(self) -> int:
        return max(self._by_account, default=1000)

    def verify(self, owner: Owner, signature: Any, name: str, values: Mapping[str, str | int], *, key: int | None = None) -> bool:
        """Whether one of the account's keys (that one) signed this."""
        from fast_stark_crypto import verify

        try:
            r, s = (felt(str(part)) for part in json.loads(str(signature)))
        except ValueError:
            return False
        if not (0 < r < 2**251 and 0 < s < CURVE_ORDER):
            return False
        digest = message_digest(self.chain_id, owner.address, name, values)
        return any(verify(one, digest, r, s) for one in owner.keys if key in (None, one))

    def issue(self, headers: Mapping[str, str], public_key: str | None, now_s: int) -> str:
        """A token for a signed request.

        Raises:
            Refusal: it is not signed by a key of the account, or not now.
        """
        address, stamp, end = (headers.get(f"PARADEX-{name}", "") for name in ("STARKNET-ACCOUNT", "TIMESTAMP", "SIGNATURE-EXPIRATION"))
        try:
            owner = self._by_address.get(int(address, 16))
        except ValueError:
            raise Refusal("INVALID_STARKNET_ADDRESS", "Invalid starknet address", status=400) from None
        if owner is None:
            raise Refusal("NOT_ONBOARDED", "User has never called /onboarding endpoint", status=400)
        if public_key is not None and felt(public_key) not in owner.keys:
            raise Refusal("PUBLIC_KEY_INVALID", "Public key does not belong to the account", status=400)
        if not (stamp.isdigit() and abs(int(stamp) - now_s) <= AUTH_SLACK_S):
            raise Refusal("INVALID_TIMESTAMP", "Invalid signature timestamp", status=400)
        expires = int(end) if end.isdigit() else int(stamp) + 1800
        if not int(stamp) < expires <= int(stamp) + WEEK_S or expires < now_s:
            raise Refusal("INVALID_TIMESTAMP", "Invalid signature expiration", status=400)
        values: dict[str, str | int] = {
            "method": "POST",
            "path": "/v1/auth",
            "body": 0,
            "timestamp": int(stamp),
            "expiration": expires if end else 0,
        }
        key = felt(public_key) if public_key is not None else None
        if not self.verify(owner, headers.get("PARADEX-STARKNET-SIGNATURE", ""), "Request", values, key=key):
            raise Refusal("STARKNET_SIGNATURE_VERIFICATION_FAILED", "Signature verification failed", status=401)
        return self._token(owner, now_s)

    def _token(self, owner: Owner, now_s: int) -> str:
        self._issued += 1
        claims = {"typ": "at+JWT", "exp": now_s + TOKEN_LIFE_S, "iat": now_s, "iss": "Paradex simulated", "sub": owner.address}
        parts = ({"alg": "ES384", "typ": "JWT"}, claims)
        body = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
        token = f"{body}.{hashlib.sha256(f'{body}{self._issued}'.encode()).hexdigest()}"
        owner.tokens = {one: end for one, end in owner.tokens.items() if end > now_s} | {token: now_s + TOKEN_LIFE_S}
        self._by_token[token] = owner
        return token

    def owner_of(self, token: str, now_s: float) -> Owner | None:
        """Whose token it is, if it still holds."""
        owner = self._by_token.get(token)
        return owner if owner is not None and owner.tokens.get(token, 0) > now_s else None

    def revoke_all(self) -> None:
        """Every token ends now, whatever it says."""
        for owner in self._by_account.values():
            owner.tokens.clear()
