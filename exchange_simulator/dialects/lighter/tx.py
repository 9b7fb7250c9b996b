"""Transactions of the venue: field tables, hashes, signatures, auth tokens. Written from the wire protocol, independent of any client.

hash    = Poseidon2([chain id, type, nonce, expired at, account, api key, fields of the type...]) -> five Goldilocks elements
with attributes that are not zero: Poseidon2(hash, (type, value) pairs by type, padded to four)
Source: elliottech/lighter-go types/txtypes, read 2026-11; proven by the vectors in tests/simulator/test_lighter_tx.py.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from exchange_clients.crypto import goldilocks, schnorr
from exchange_clients.crypto.poseidon2 import hash_n_to_one, hash_to_quintic, sponge
from exchange_simulator.dialects.lighter.errors import refusal


class TxType(IntEnum):
    CHANGE_PUB_KEY = 8
    CREATE_ORDER = 14
    CANCEL_ORDER = 15
    CANCEL_ALL_ORDERS = 16
    MODIFY_ORDER = 17
    UPDATE_LEVERAGE = 20
    CREATE_GROUPED_ORDERS = 28
    UPDATE_MARGIN = 29
    APPROVE_INTEGRATOR = 45


class Attribute(IntEnum):
    INTEGRATOR_ACCOUNT = 1
    INTEGRATOR_TAKER_FEE = 2
    INTEGRATOR_MAKER_FEE = 3
    SKIP_NONCE = 4
    CANCEL_ALL_MARKET = 5
    SELF_TRADE_BEHAVIOUR = 6
    SELF_TRADE_EQUALITY = 7
    ORDER_VERSION = 8


MAX_ATTRIBUTES = 4
MAX_NONCE = 2**47
ORDER_FIELDS = (
    "MarketIndex",
    "ClientOrderIndex",
    "BaseAmount",
    "Price",
    "IsAsk",
    "Type",
    "TimeInForce",
    "ReduceOnly",
    "TriggerPrice",
    "OrderExpiry",
)
_FIELDS: dict[TxType, tuple[str, ...]] = {
    TxType.CREATE_ORDER: ORDER_FIELDS,
    TxType.CANCEL_ORDER: ("MarketIndex", "Index"),
    TxType.CANCEL_ALL_ORDERS: ("TimeInForce", "Time"),
    TxType.MODIFY_ORDER: ("MarketIndex", "Index", "BaseAmount", "Price", "TriggerPrice"),
    TxType.UPDATE_LEVERAGE: ("MarketIndex", "InitialMarginFraction", "MarginMode"),
    TxType.APPROVE_INTEGRATOR: (
        "IntegratorAccountIndex",
        "MaxPerpsTakerFee",
        "MaxPerpsMakerFee",
        "MaxSpotTakerFee",
        "MaxSpotMakerFee",
        "ApprovalExpiry",
    ),
}


def _plain(names: tuple[str, ...]) -> Callable[[Tx], list[int]]:
    return lambda tx: [tx.number(name) for name in names]


def _margin(tx: Tx) -> list[int]:
    amount = tx.number("USDCAmount")
    return [tx.number("MarketIndex"), amount & 0xFFFFFFFF, amount >> 32, tx.number("Direction")]


def _group(tx: Tx) -> list[int]:
    digests = [sponge([order.number(name) for name in ORDER_FIELDS], 4) for order in tx.orders()]
    return [tx.number("GroupingType"), *hash_n_to_one(digests)]


def _public_key(tx: Tx) -> list[int]:
    return goldilocks.from_bytes(tx.public_key())


_ELEMENTS: dict[TxType, Callable[[Tx], list[int]]] = {
    **{kind: _plain(names) for kind, names in _FIELDS.items()},
    TxType.UPDATE_MARGIN: _margin,
    TxType.CREATE_GROUPED_ORDERS: _group,
    TxType.CHANGE_PUB_KEY: _public_key,
}


@dataclass(frozen=True, slots=True)
class Tx:
    """One transaction as it came, its fields checked for type when they are read."""

    type: TxType
    info: Mapping[str, Any]

    @classmethod
    def parse(cls, tx_type: Any, info: Any) -> Tx:
        """Raises Refusal unless the type is one we execute and `info` (an object, or its text) is well formed."""
        try:
            kind = TxType(int(tx_type))
        except (TypeError, ValueError):
            raise refusal(21505) from None
        if isinstance(info, str):
            try:
                info = json.loads(info)
            except ValueError:
                raise refusal(21501) from None
        if not isinstance(info, dict):
            raise refusal(21501)
        tx = cls(kind, info)
        tx.attributes()
        tx.elements(0)
        return tx

    def number(self, name: str) -> int:
        value = self.info.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < goldilocks.P:
            raise refusal(21501)
        return value

    def orders(self) -> list[Tx]:
        """The orders of a group, each as if it had come alone."""
        orders = self.info.get("Orders")
        if not isinstance(orders, list) or not 1 <= len(orders) <= 3 or not all(isinstance(o, dict) for o in orders):
            raise refusal(21742)
        shared = {k: v for k, v in self.info.items() if k not in ("Orders", "GroupingType")}
        return [Tx(TxType.CREATE_ORDER, {**shared, **order}) for order in orders]

    def public_key(self) -> bytes:
        try:
            key = base64.b64decode(self.info.get("PubKey", ""), validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise refusal(21108) from None
        if len(key) != schnorr.KEY_BYTES:
            raise refusal(21108)
        return key

    def attributes(self) -> dict[Attribute, int]:
        """Those that are set; zero is the same as absent."""
        raw = self.info.get("L2TxAttributes") or {}
        try:
            found = {Attribute(int(k)): int(v) for k, v in raw.items() if int(v) != 0}
        except (AttributeError, TypeError, ValueError):
            raise refusal(21501) from None
        if len(found) > MAX_ATTRIBUTES or any(not 0 <= v < goldilocks.P for v in found.values()):
            raise refusal(21501)
        return dict(sorted(found.items()))

    @property
    def account(self) -> int:
        return self.number("AccountIndex")

    @property
    def api_key(self) -> int:
        return self.number("ApiKeyIndex")

    @property
    def nonce(self) -> int:
        return self.number("Nonce")

    @property
    def skips_nonce(self) -> bool:
        return self.attributes().get(Attribute.SKIP_NONCE) == 1

    def elements(self, chain_id: int) -> list[int]:
        common = [chain_id, int(self.type), self.nonce, self.number("ExpiredAt"), self.account, self.api_key]
        return [*common, *_ELEMENTS[self.type](self)]

    def hash(self, chain_id: int) -> bytes:
        """Forty bytes: what is signed, and in hex the transaction's name."""
        digest: tuple[int, ...] = hash_to_quintic(self.elements(chain_id))
        attributes = self.attributes()
        if attributes:
            pairs = [x for item in attributes.items() for x in item]
            digest = hash_to_quintic([*digest, *hash_to_quintic(pairs + [0] * (2 * MAX_ATTRIBUTES - len(pairs)))])
        return goldilocks.to_bytes(digest)

    def signed_by(self, public_key: bytes, digest: bytes) -> bool:
        try:
            signature = base64.b64decode(self.info.get("Sig", ""), validate=True)
        except (binascii.Error, TypeError, ValueError):
            return False
        return schnorr.verify(public_key, digest, signature)

    def registration_text(self) -> str:
        """What the account's Ethereum key signs (EIP-191) to register an API key."""
        return (
            "Register Lighter Account\n\n"
            f"pubkey: 0x{self.public_key().hex()}\nnonce: {self.nonce:#018x}\naccount index: {self.account:#018x}\n"
            f"api key index: {self.api_key:#018x}\nOnly sign this message for a trusted client!"
        )


@dataclass(frozen=True, slots=True)
class Token:
    """An auth token, `deadline:account:key:signature`; its deadline in seconds since the epoch."""

    text: str
    deadline_s: int
    account: int
    api_key: int

    @classmethod
    def parse(cls, text: str) -> Token:
        parts = text.split(":")
        if len(parts) != 4 or not all(p.isascii() and p.isdigit() for p in parts[:3]):
            raise refusal(20001, ": invalid auth token", status=401)
        return cls(text, int(parts[0]), int(parts[1]), int(parts[2]))

    def signed_by(self, public_key: bytes) -> bool:
        prefix, _, signature = self.text.rpartition(":")
        digest = goldilocks.to_bytes(hash_to_quintic(goldilocks.from_bytes(prefix.encode(), pad=True)))
        try:
            return schnorr.verify(public_key, digest, bytes.fromhex(signature))
        except ValueError:
            return False
