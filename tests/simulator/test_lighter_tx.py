"""The dialect's own reading of the venue's transactions against vectors made by the venue's signer."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from exchange_clients.crypto import schnorr
from exchange_simulator.dialects.base import Refusal
from exchange_simulator.dialects.lighter.tx import Token, Tx

KEY = bytes.fromhex("0b8e0f63c24d8baacd9d29ad4e9a4b73c4a8d2bb8b16dc4fa9d7c2e1d3a8b1f0e8d3a4c5b6e7f001")
COMMON = {"AccountIndex": 12345, "ApiKeyIndex": 5}
DEC_2024, DEC_2026 = 1735689600000, 1797645369815
ORDER = {"IsAsk": 0, "Type": 0, "TimeInForce": 0, "ReduceOnly": 0, "TriggerPrice": 0, "OrderExpiry": 0}


def order(**fields: Any) -> dict[str, Any]:
    return {**COMMON, **ORDER, "BaseAmount": 1000, "Price": 405000, **fields}


# chain id, type, fields, hash: the venue dossier's table (official signer 1.1.8 and an independent oracle)
VECTORS: list[tuple[int, int, dict[str, Any], str]] = [
    (300, 14, order(MarketIndex=0, ClientOrderIndex=123, IsAsk=1, TimeInForce=1, OrderExpiry=DEC_2024, ExpiredAt=1777809907005, Nonce=0),
     "32b8a053dbfef46e8940c2aa8f58328d58eb2396a3bf6fc2bc9017ed2af874fbe15c04242a350e0e"),
    (300, 14, order(MarketIndex=0, ClientOrderIndex=124, IsAsk=1, TimeInForce=1, OrderExpiry=DEC_2024, ExpiredAt=1777809907006, Nonce=1,
                    L2TxAttributes={"1": 723813, "2": 250, "3": 100}),
     "1cef87f8ee803fad67c87cfd4418329b1935aaff3831fa14b56e54d8cdf083e50948f294c17eb198"),
    (300, 15, {**COMMON, "MarketIndex": 0, "Index": 123, "ExpiredAt": 1777809907007, "Nonce": 2},
     "5aec06e27c14dca89d1418d241954ed5f83ab70ca6a717888e1bc3654917ffb889f13a1ac9b5686d"),
    (300, 17, {**COMMON, "MarketIndex": 0, "Index": 123, "BaseAmount": 1100, "Price": 410000, "TriggerPrice": 0,
               "ExpiredAt": 1777809907007, "Nonce": 3},
     "6c41b7d8c9c32ca847cfb4371e8a1f5010ef3964f5586f911d257ef3fbe2a1d3b159630b1d6971ff"),
    (304, 14, order(MarketIndex=1, ClientOrderIndex=123, TimeInForce=2, OrderExpiry=DEC_2026, ExpiredAt=1795227029946, Nonce=7),
     "2f0a5351387039bd315c1e0bc51c1acbf04eafcdca15d1a33637f9e3d33249e0127a7a63ba905591"),
    (304, 14, order(MarketIndex=1, ClientOrderIndex=124, IsAsk=1, Type=1, ReduceOnly=1, ExpiredAt=1795227029948, Nonce=8),
     "b632867fea26e454aaba44b18cf8fb56cbbb19e6153833c0e7638f9905ac0a89114432e02f08ae33"),
    (304, 14, order(MarketIndex=1, ClientOrderIndex=125, IsAsk=1, TimeInForce=1, OrderExpiry=DEC_2026, ExpiredAt=1795227029950, Nonce=9,
                    L2TxAttributes={"4": 1}),
     "0c62357ce7bbe0c554d26ec7d4250d4c0d2bcd213570e31391ff6350a2de2bd34a1a5de2b4061411"),
    (304, 15, {**COMMON, "MarketIndex": 1, "Index": 123, "ExpiredAt": 1795227029952, "Nonce": 10},
     "069c884a8bfd14fbb617e9993a89db818b550338d65f6c609a8c9f946dc301bb5e91ae034a88d32f"),
    (304, 17, {**COMMON, "MarketIndex": 1, "Index": 123, "BaseAmount": 1100, "Price": 410000, "TriggerPrice": 0,
               "ExpiredAt": 1795227029954, "Nonce": 11},
     "5b951e5d2600a1c54d8c3104d655369d3cf91c56eb4558e265bcf3f39057b6b2999e9ac8f29b2663"),
    (304, 17, {**COMMON, "MarketIndex": 1, "Index": 123, "BaseAmount": 1100, "Price": 410000, "TriggerPrice": 0,
               "ExpiredAt": 1795227029955, "Nonce": 11, "L2TxAttributes": {"8": 9}},
     "8e2838de255d687c20bc33670b9f73860d43918cdc0764edd3c1578a4c5a7ec9d495b453a2cc3f7f"),
    (304, 16, {**COMMON, "TimeInForce": 0, "Time": 0, "ExpiredAt": 1795227029958, "Nonce": 12},
     "b6d127313e0c3bef0167630b85e9696b799d0cbb63466ce453e8755b0ebe8e93fcd10417e735a4d6"),
    (304, 16, {**COMMON, "TimeInForce": 0, "Time": 0, "ExpiredAt": 1795227029959, "Nonce": 12, "L2TxAttributes": {"5": 3}},
     "708fdb70bd6afc1fb18bd41de31bedc01ee9a4c3126888271aaee7132c875da97dead182eced2f96"),
    (304, 20, {**COMMON, "MarketIndex": 1, "InitialMarginFraction": 500, "MarginMode": 0, "ExpiredAt": 1795227029961, "Nonce": 13},
     "b23cf6549d77599b09092b89ba5fa1fe45e03fdaf54517c07cf839b34e765ca7dfbfb23856f49655"),
    (304, 29, {**COMMON, "MarketIndex": 1, "USDCAmount": 5000000, "Direction": 1, "ExpiredAt": 1795227029963, "Nonce": 14},
     "f70c928b868215c2d70a203480da007a4a5ed93395a22ee862e66a58af1c40f8481d27a304b2c6a0"),
]  # fmt: skip


@pytest.mark.parametrize(("chain_id", "kind", "info", "expected"), VECTORS, ids=range(len(VECTORS)))
def test_hash(chain_id: int, kind: int, info: dict[str, Any], expected: str) -> None:
    assert Tx.parse(kind, info).hash(chain_id).hex() == expected
    assert Tx.parse(str(kind), json.dumps(info)).hash(chain_id).hex() == expected


def test_zero_attributes_count_as_absent() -> None:
    _, kind, info, expected = VECTORS[3]
    assert Tx.parse(kind, {**info, "L2TxAttributes": {"1": 0, "2": 0, "3": 0}}).hash(300).hex() == expected


def test_signature_is_bound_to_key_and_content() -> None:
    _, kind, info, _ = VECTORS[4]
    tx = Tx.parse(kind, info)
    signed = Tx.parse(kind, {**info, "Sig": base64.b64encode(schnorr.sign(KEY, tx.hash(304))).decode()})
    key = schnorr.public_key(KEY)
    assert signed.signed_by(key, signed.hash(304))
    assert not signed.signed_by(key, signed.hash(300))
    assert not signed.signed_by(schnorr.public_key(bytes([7]) + bytes(39)), signed.hash(304))
    assert not tx.signed_by(key, tx.hash(304))
    assert not Tx.parse(kind, {**info, "Sig": "?"}).signed_by(key, tx.hash(304))


def test_recorded_transactions_and_tokens_of_the_official_signer(payloads: Path) -> None:
    transactions = [json.loads(line)["payload"]["vector"] for line in (payloads / "lighter/sign/tx_oracle.jsonl").read_text().splitlines()]
    kinds = {"create_order": 14, "cancel_order": 15, "modify_order": 17, "approve_integrator": 45}
    assert len(transactions) >= 5
    for vector in transactions:
        tx = Tx.parse(vector.get("tx_type", kinds[vector["kind"]]), vector["tx_info"])
        digest = tx.hash(vector["chain_id"])
        assert digest.hex() == vector["tx_hash"]
        assert tx.signed_by(schnorr.public_key(bytes.fromhex(vector["sk"])), digest)
    tokens = [
        json.loads(line)["payload"]["vector"] for line in (payloads / "lighter/sign/auth_token_oracle.jsonl").read_text().splitlines()
    ]
    assert tokens
    for vector in tokens:
        token = Token.parse(vector["token"])
        assert (token.deadline_s, token.account, token.api_key) == (vector["deadline"], vector["account_index"], vector["api_key_index"])
        assert token.signed_by(schnorr.public_key(bytes.fromhex(vector["sk"])))
        assert not Token.parse(vector["token"].replace(":12345:", ":12346:")).signed_by(schnorr.public_key(bytes.fromhex(vector["sk"])))


def test_registration_text_is_the_documented_one() -> None:
    key = base64.b64encode(schnorr.public_key(KEY)).decode()
    tx = Tx.parse(8, {**COMMON, "PubKey": key, "ExpiredAt": 1, "Nonce": 0})
    lines = tx.registration_text().split("\n")
    assert lines[0] == "Register Lighter Account"
    assert lines[2] == "pubkey: 0x" + schnorr.public_key(KEY).hex()
    assert lines[3:6] == ["nonce: 0x0000000000000000", "account index: 0x0000000000003039", "api key index: 0x0000000000000005"]


@pytest.mark.parametrize(
    ("kind", "change", "code"),
    [
        (99, {}, 21505),
        ("x", {}, 21505),
        (14, {"Price": "405000"}, 21501),
        (14, {"Price": -1}, 21501),
        (14, {"Price": 1.5}, 21501),
        (14, {"Nonce": None}, 21501),
        (14, {"L2TxAttributes": {"9": 1}}, 21501),
        (14, {"L2TxAttributes": {str(n): 1 for n in range(1, 6)}}, 21501),
        (14, {"L2TxAttributes": [1]}, 21501),
        (28, {"Orders": []}, 21742),
        (8, {"PubKey": "AAAA"}, 21108),
    ],
)
def test_malformed_is_refused_in_the_venues_words(kind: Any, change: dict[str, Any], code: int) -> None:
    with pytest.raises(Refusal) as refused:
        Tx.parse(kind, {**VECTORS[4][2], **change})
    assert refused.value.code == code


@pytest.mark.parametrize("text", ["", "1:2:3", "a:1:2:ff", "1:1:2:ff:0", "-1:1:2:ff"])
def test_malformed_token_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        Token.parse(text)
