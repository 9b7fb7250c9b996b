"""Who signed a request: typed actions, their canonical bytes, and recovery with eth-account. Written from the wire protocol, independent of
any client.

The venue decodes an action into its own type and serialises that again before hashing. A client that hashes other bytes (key order, null
for an absent field, "1.0" for "1", upper-case addresses) is therefore recovered as a stranger, here as there.

Source: https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/signing,
read 2026-11; vectors in tests/venues/hyperliquid/golden.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from exchange_simulator.dialects.base import Refusal

SCHEMA_TEXT: Final = "Failed to deserialize the JSON body into the target type"


class Limit(msgspec.Struct):
    tif: str


class Trigger(msgspec.Struct):
    isMarket: bool
    triggerPx: str
    tpsl: str


class Kind(msgspec.Struct, omit_defaults=True):
    limit: Limit | None = None
    trigger: Trigger | None = None


class OrderWire(msgspec.Struct, omit_defaults=True):
    a: int
    b: bool
    p: str
    s: str
    r: bool
    t: Kind
    c: str | None = None


class Builder(msgspec.Struct):
    b: str
    f: int


class Priority(msgspec.Struct):
    p: int


class OrderAction(msgspec.Struct, omit_defaults=True, tag_field="type", tag="order"):
    orders: list[OrderWire]
    grouping: str | Priority
    builder: Builder | None = None


class Cancel(msgspec.Struct):
    a: int
    o: int


class CancelAction(msgspec.Struct, omit_defaults=True, tag_field="type", tag="cancel"):
    cancels: list[Cancel]
    f: bool = False


class CancelByCloid(msgspec.Struct):
    asset: int
    cloid: str


class CancelByCloidAction(msgspec.Struct, omit_defaults=True, tag_field="type", tag="cancelByCloid"):
    cancels: list[CancelByCloid]
    f: bool = False


class ModifyAction(msgspec.Struct, omit_defaults=True, tag_field="type", tag="modify"):
    oid: int | str
    order: OrderWire
    a: bool = False


class Modify(msgspec.Struct):
    oid: int | str
    order: OrderWire


class BatchModifyAction(msgspec.Struct, omit_defaults=True, tag_field="type", tag="batchModify"):
    modifies: list[Modify]
    a: bool = False


class LeverageAction(msgspec.Struct, tag_field="type", tag="updateLeverage"):
    asset: int
    isCross: bool
    leverage: int


class IsolatedMarginAction(msgspec.Struct, tag_field="type", tag="updateIsolatedMargin"):
    asset: int
    isBuy: bool
    ntli: int


class ScheduleCancelAction(msgspec.Struct, omit_defaults=True, tag_field="type", tag="scheduleCancel"):
    time: int | None = None


class ReserveWeightAction(msgspec.Struct, tag_field="type", tag="reserveRequestWeight"):
    weight: int


class NoopAction(msgspec.Struct, tag_field="type", tag="noop"):
    pass


L1Action = (
    OrderAction
    | CancelAction
    | CancelByCloidAction
    | ModifyAction
    | BatchModifyAction
    | LeverageAction
    | IsolatedMarginAction
    | ScheduleCancelAction
    | ReserveWeightAction
    | NoopAction
)

# type -> (primary type, fields after hyperliquidChain)
USER_SIGNED: Final[dict[str, tuple[str, list[tuple[str, str]]]]] = {
    "usdSend": ("UsdSend", [("destination", "string"), ("amount", "string"), ("time", "uint64")]),
    "approveAgent": ("ApproveAgent", [("agentAddress", "address"), ("agentName", "string"), ("nonce", "uint64")]),
    "approveBuilderFee": ("ApproveBuilderFee", [("maxFeeRate", "string"), ("builder", "address"), ("nonce", "uint64")]),
}


class SignatureWire(msgspec.Struct):
    r: str
    s: str
    v: int


class Envelope(msgspec.Struct):
    action: msgspec.Raw
    nonce: int
    signature: SignatureWire
    vaultAddress: str | None = None
    expiresAfter: int | None = None


def schema_error(detail: str) -> Refusal:
    return Refusal("schema", f"{SCHEMA_TEXT}: {detail}" if detail else SCHEMA_TEXT, status=422)


def canonical_number(text: str) -> str:
    """As the venue writes the number; refuses what it cannot hold (eight decimals)."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise schema_error(f"invalid number {text!r}") from None
    if not value.is_finite() or value != round(value, 8):
        raise schema_error(f"invalid number {text!r}")
    plain = format(value.normalize(), "f")
    return "0" if plain == "-0" else plain


def _canonical_order(order: OrderWire) -> None:
    order.p, order.s = canonical_number(order.p), canonical_number(order.s)
    if (order.t.limit is None) == (order.t.trigger is None):
        raise schema_error("order type")
    if order.t.trigger is not None:
        order.t.trigger.triggerPx = canonical_number(order.t.trigger.triggerPx)
    if order.c is not None:
        order.c = order.c.lower()
        if len(order.c) != 34 or not order.c.startswith("0x"):
            raise schema_error("invalid cloid")


def decode_action(raw: bytes) -> L1Action:
    """The action as the venue's own type.

    Raises:
        Refusal: 422, unknown type or a field that does not fit.
    """
    try:
        action: L1Action = msgspec.json.decode(raw, type=L1Action)
    except msgspec.DecodeError as e:
        raise schema_error(str(e)) from None
    match action:
        case OrderAction():
            for order in action.orders:
                _canonical_order(order)
            if action.builder is not None:
                action.builder.b = action.builder.b.lower()
        case CancelByCloidAction():
            for cancel in action.cancels:
                cancel.cloid = cancel.cloid.lower()
        case ModifyAction():
            _canonical_order(action.order)
        case BatchModifyAction():
            for modify in action.modifies:
                _canonical_order(modify.order)
    return action


def recover_l1(action: L1Action, envelope: Envelope, *, mainnet: bool) -> str:
    """The lower-case address that signed the action with this nonce, vault and expiry."""
    from eth_utils.crypto import keccak

    data = msgspec.msgpack.encode(action) + envelope.nonce.to_bytes(8, "big")
    data += b"\x00" if envelope.vaultAddress is None else b"\x01" + bytes.fromhex(envelope.vaultAddress[2:])
    if envelope.expiresAfter is not None:
        data += b"\x00" + envelope.expiresAfter.to_bytes(8, "big")
    domain = {"name": "Exchange", "version": "1", "chainId": 1337, "verifyingContract": "0x" + "0" * 40}
    types = {"Agent": [{"name": "source", "type": "string"}, {"name": "connectionId", "type": "bytes32"}]}
    return _recover(domain, types, {"source": "a" if mainnet else "b", "connectionId": keccak(data)}, envelope.signature)


def recover_user_signed(action: dict[str, Any], signature: SignatureWire) -> str:
    """The lower-case address that signed a transfer or an approval."""
    primary, fields = USER_SIGNED[action["type"]]
    try:
        chain_id = int(action["signatureChainId"], 16)
        message = {
            "hyperliquidChain": action["hyperliquidChain"],
            **{n: action.get(n, "") if n == "agentName" else action[n] for n, _ in fields},
        }
    except (KeyError, ValueError, TypeError) as e:
        raise schema_error(f"missing field {e}") from None
    domain = {"name": "HyperliquidSignTransaction", "version": "1", "chainId": chain_id, "verifyingContract": "0x" + "0" * 40}
    members = [{"name": name, "type": kind} for name, kind in [("hyperliquidChain", "string"), *fields]]
    return _recover(domain, {f"HyperliquidTransaction:{primary}": members}, message, signature)


def _recover(domain: dict[str, Any], types: dict[str, Any], message: dict[str, Any], signature: SignatureWire) -> str:
    from eth_account import Account
    from eth_account.messages import encode_typed_data
    from eth_keys.exceptions import BadSignature
    from eth_utils.exceptions import ValidationError

    try:
        signable = encode_typed_data(domain, types, message)
        return str(Account.recover_message(signable, vrs=(signature.v, signature.r, signature.s))).lower()
    except (BadSignature, ValidationError, ValueError, TypeError):
        raise Refusal("signature", "Unable to recover signer.") from None
