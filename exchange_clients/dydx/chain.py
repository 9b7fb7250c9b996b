"""What is said to the chain: clob messages, transactions, and the answers of the nodes.

Source: dossier sections 2, 3.2, 5; the chain's .proto files of protocol v9 (field numbers).
"""

from __future__ import annotations

import re
from enum import IntEnum
from functools import cache
from typing import Final

import msgspec

from exchange_clients.dydx import protobuf as pb
from exchange_clients.errors import DecodeError

PLACE: Final = "/dydxprotocol.clob.MsgPlaceOrder"
CANCEL: Final = "/dydxprotocol.clob.MsgCancelOrder"
BATCH_CANCEL: Final = "/dydxprotocol.clob.MsgBatchCancel"
UPDATE_LEVERAGE: Final = "/dydxprotocol.clob.MsgUpdateLeverage"
_EXTENSION: Final = "/dydxprotocol.accountplus.TxExtension"
_PUBLIC_KEY: Final = "/cosmos.crypto.secp256k1.PubKey"
GAS_LIMIT: Final = 1_000_000
"""Of clob transactions; no gas is charged for them."""
_SYNC: Final = 2
_HASH: Final = re.compile("[0-9A-Fa-f]{64}")
ORDER_ALREADY_THERE: Final = ("sdk", 19)
"""The node has this very transaction: as good as accepted."""


class Flags(IntEnum):
    """Kind of an order; part of its identity."""

    SHORT_TERM = 0
    CONDITIONAL = 32
    LONG_TERM = 64
    TWAP = 128
    TWAP_CHILD = 256

    @property
    def is_stateful(self) -> bool:
        return self is not Flags.SHORT_TERM


class ChainSide(IntEnum):
    BUY = 1
    SELL = 2


class ChainTif(IntEnum):
    GTT = 0
    IOC = 1
    POST_ONLY = 2


class Condition(IntEnum):
    NONE = 0
    STOP_LOSS = 1
    TAKE_PROFIT = 2


class OrderRef(msgspec.Struct, frozen=True):
    """What identifies an order of a subaccount."""

    client_id: int
    flags: Flags
    clob_pair_id: int


class ChainOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order in the chain's integers. `good_til` is a height for short-term orders, else seconds UTC of block time."""

    ref: OrderRef
    side: ChainSide
    quantums: int
    subticks: int
    good_til: int
    time_in_force: ChainTif = ChainTif.GTT
    reduce_only: bool = False
    client_metadata: int = 0
    condition: Condition = Condition.NONE
    trigger_subticks: int = 0


class Message(msgspec.Struct, frozen=True):
    """One message of a transaction: its type and its bytes."""

    url: str
    body: bytes


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """Unsigned. `timeout_height`: the last block that may include it (0: none); `account_number` of the owner."""

    messages: tuple[Message, ...]
    account_number: int
    timeout_height: int = 0


# ---- messages


def subaccount(owner: str, number: int) -> bytes:
    """The first field of every message that concerns a subaccount: `account` below."""
    return pb.data(1, leverage_request(owner, number))


def _order_id(account: bytes, ref: OrderRef) -> bytes:
    return account + pb.fixed32(2, ref.client_id) + pb.number(3, ref.flags) + pb.number(4, ref.clob_pair_id)


def place_order(account: bytes, order: ChainOrder) -> Message:
    good_til = pb.fixed32_set(6, order.good_til) if order.ref.flags.is_stateful else pb.number_set(5, order.good_til)
    body = (
        pb.data(1, _order_id(account, order.ref))
        + pb.number(2, order.side)
        + pb.number(3, order.quantums)
        + pb.number(4, order.subticks)
        + good_til
        + pb.number(7, order.time_in_force)
        + pb.number(8, order.reduce_only)
        + pb.number(9, order.client_metadata)
        + pb.number(10, order.condition)
        + pb.number(11, order.trigger_subticks)
    )
    return Message(PLACE, pb.data(1, body))


def cancel_order(account: bytes, ref: OrderRef, good_til: int) -> Message:
    """`good_til` must not be before the order's own."""
    last = pb.fixed32_set(3, good_til) if ref.flags.is_stateful else pb.number_set(2, good_til)
    return Message(CANCEL, pb.data(1, _order_id(account, ref)) + last)


def batch_cancel(account: bytes, client_ids: dict[int, list[int]], good_til_block: int) -> Message:
    """Short-term orders by clob pair."""
    batches = [pb.data(2, pb.number(1, pair) + pb.packed(2, ids)) for pair, ids in client_ids.items()]
    return Message(BATCH_CANCEL, account + b"".join(batches) + pb.number(3, good_til_block))


def update_leverage(account: bytes, clob_pair_id: int, imf_ppm: int) -> Message:
    """`imf_ppm`: initial margin fraction in millionths."""
    entry = pb.number(1, clob_pair_id) + pb.number(2, imf_ppm)
    return Message(UPDATE_LEVERAGE, account + pb.data(2, entry))


# ---- transactions


@cache
def _type_field(url: str) -> bytes:
    return pb.text(1, url)


def tx_body(transaction: Transaction, authenticator: int | None = None, memo: str = "") -> bytes:
    """`authenticator`: the id under which a permissioned key signs, named once per message."""
    messages = [pb.data(1, _type_field(m.url) + pb.data(2, m.body)) for m in transaction.messages]
    body = b"".join(messages) + pb.text(2, memo) + pb.number(3, transaction.timeout_height)
    if authenticator is None:
        return body
    chosen = pb.packed(1, [authenticator] * len(transaction.messages))
    return body + pb.data(2047, pb.text(1, _EXTENSION) + pb.data(2, chosen))


def signer_prefix(public_key: bytes) -> bytes:
    """The part of a `SignerInfo` that never changes: the key and SIGN_MODE_DIRECT."""
    return pb.data(1, pb.text(1, _PUBLIC_KEY) + pb.data(2, pb.data(1, public_key))) + pb.data(2, pb.data(1, pb.number(1, 1)))


def auth_info(prefix: bytes, sequence: int) -> bytes:
    return pb.data(1, prefix + pb.number(3, sequence)) + pb.data(2, pb.number(2, GAS_LIMIT))


def signed_part(body: bytes, auth: bytes) -> bytes:
    """What a `SignDoc` and a `TxRaw` have in common: their first two fields."""
    return pb.data(1, body) + pb.data(2, auth)


def sign_doc(part: bytes, chain_id: str, account_number: int) -> bytes:
    return part + pb.text(3, chain_id) + pb.number(4, account_number)


def tx_raw(part: bytes, signature: bytes) -> bytes:
    return part + pb.data(3, signature)


def broadcast_request(tx: bytes) -> bytes:
    return pb.data(1, tx) + pb.number(2, _SYNC)


# ---- requests and answers


class Broadcast(msgspec.Struct, frozen=True):
    """Code 0: passed the node's check, nothing more."""

    code: int
    codespace: str
    tx_hash: str
    raw_log: str


class Account(msgspec.Struct, frozen=True):
    address: str
    account_number: int
    sequence: int
    public_key: bytes
    """Empty until the account has signed something."""


class Block(msgspec.Struct, frozen=True):
    chain_id: str
    height: int


class FeeTier(msgspec.Struct, frozen=True):
    name: str
    maker_ppm: int
    taker_ppm: int


class MarketDiscount(msgspec.Struct, frozen=True):
    """`charge_ppm` of the usual fee is charged from `start_s` to `end_s`."""

    clob_pair_id: int
    start_s: int
    end_s: int
    charge_ppm: int


class Authenticator(msgspec.Struct, frozen=True):
    id: int
    type: str
    config: bytes


def read_broadcast(body: bytes) -> Broadcast:
    tx = pb.message_of(pb.parse(body), 1)
    tx_hash = pb.text_of(tx, 2)
    if _HASH.fullmatch(tx_hash) is None:
        raise DecodeError("the answer to a broadcast names no transaction", venue="dydx")
    return Broadcast(pb.number_of(tx, 4), pb.text_of(tx, 3), tx_hash, pb.text_of(tx, 6))


def broadcast_refusal(answer: Broadcast) -> tuple[str, str] | None:
    """(codespace and code, words) of a transaction that did not pass."""
    if answer.code == 0 or (answer.codespace, answer.code) == ORDER_ALREADY_THERE:
        return None
    return f"{answer.codespace}:{answer.code}", answer.raw_log or "no words"


def account_request(address: str) -> bytes:
    return pb.text(1, address)


def read_account(body: bytes) -> Account:
    account = pb.message_of(pb.message_of(pb.parse(body), 1), 2)
    key = pb.message_of(pb.message_of(account, 2), 2)
    if not (address := pb.text_of(account, 1)):
        raise DecodeError("the answer names no account", venue="dydx")
    return Account(address, pb.number_of(account, 3), pb.number_of(account, 4), pb.bytes_of(key, 1))


def read_block(body: bytes) -> Block:
    header = pb.message_of(pb.message_of(pb.parse(body), 2), 1)
    block = Block(pb.text_of(header, 2), pb.number_of(header, 3))
    if not block.chain_id or not block.height:
        raise DecodeError("the answer names no block", venue="dydx")
    return block


def read_fee_tier(body: bytes) -> FeeTier:
    tier = pb.message_of(pb.parse(body), 2)
    if not tier:
        raise DecodeError("the answer names no fee tier", venue="dydx")
    return FeeTier(pb.text_of(tier, 1), pb.zigzag_of(tier, 5), pb.zigzag_of(tier, 6))


def read_staking_discount(body: bytes) -> int:
    """Millionths off a positive fee."""
    return pb.number_of(pb.parse(body), 3)


def clob_pair_request(clob_pair_id: int) -> bytes:
    return pb.number(1, clob_pair_id)


def read_market_discount(body: bytes) -> MarketDiscount:
    params = pb.message_of(pb.parse(body), 1)
    return MarketDiscount(pb.number_of(params, 1), _time_s(params, 2), _time_s(params, 3), pb.number_of(params, 4))


def _time_s(fields: pb.Fields, field: int) -> int:
    """A `google.protobuf.Timestamp`; one that was never set lies before 1970."""
    seconds = pb.number_of(pb.message_of(fields, field), 1)
    return seconds - 2**64 if seconds >= 2**63 else seconds


def read_authenticators(body: bytes) -> list[Authenticator]:
    rows = pb.messages_of(pb.parse(body), 1)
    return [Authenticator(pb.number_of(row, 1), pb.text_of(row, 2), pb.bytes_of(row, 3)) for row in rows]


def leverage_request(owner: str, number: int) -> bytes:
    return pb.text(1, owner) + pb.number(2, number)


def read_leverage(body: bytes) -> dict[int, int]:
    """Chosen initial margin fraction in millionths by clob pair."""
    return {pb.number_of(row, 1): pb.number_of(row, 2) for row in pb.messages_of(pb.parse(body), 1)}
