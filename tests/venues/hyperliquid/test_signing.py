"""Signing against vectors made by other implementations, on both curves; and what a key never does."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.crypto import secp256k1
from exchange_clients.hyperliquid import signing
from exchange_clients.hyperliquid.signing import Signature, SigningKey, action_hash, agent_digest, keccak, recover

KEY = "0x0123456789012345678901234567890123456789012345678901234567890123"
VECTORS: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "golden" / "signing_vectors.jsonl").read_text().splitlines()
]


@pytest.fixture(params=["coincurve", "eth-keys"])
def curve(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test below runs on the fast curve and on the pure Python one."""
    backend = secp256k1._Coincurve() if request.param == "coincurve" else secp256k1._EthKeys()
    monkeypatch.setattr(secp256k1, "_backend", lambda: backend)
    return str(request.param)


def check(vector: dict[str, Any]) -> None:
    """One golden line: the hash if it gives one, the signature if it gives one, and that the signature recovers to its key."""
    action, mainnet = vector["action"], vector["network"] == "mainnet"
    user_signed = action["type"] in signing.USER_ACTIONS
    if user_signed:
        digest = signing.user_action_digest(action)
    else:
        connection_id = action_hash(action, vector["nonce"], vault=vector.get("vault"), expires_after_ms=vector.get("expires_after_ms"))
        if "hash" in vector:
            assert connection_id.hex() == vector["hash"][2:]
        digest = agent_digest(connection_id, mainnet=mainnet)
    if "r" in vector:
        key = SigningKey(vector["key"])
        signature = key.sign(digest)
        assert (int(signature.r, 16), int(signature.s, 16), signature.v) == (int(vector["r"], 16), int(vector["s"], 16), vector["v"])
        assert recover(digest, signature) == key.address


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['name']}-{v['network']}")
def test_golden_vector(vector: dict[str, Any], curve: str) -> None:
    check(vector)


def test_the_golden_file_is_whole() -> None:
    assert len(VECTORS) == 52
    assert sum("r" in v for v in VECTORS) == 46
    assert sum("hash" in v for v in VECTORS) == 13


@pytest.mark.parametrize(
    ("private_key", "address"),
    [
        (KEY, "0x14791697260e4c9a71f18484c9f997b308e59325"),
        ("0xe908f86dbb4d55ac876378565aafeabc187f6690f046459397b17d9b9a19688e", "0xcd49bbac6e85fdeb167eb7ca41a945d2b8758f6f"),
        ("822e9959e022b78423eb653a62ea0020cd283e71a2a8133a6ff2aeffaf373cff", "0xe5ca49fb3bd9a581f0d1ef9cb5d7177da08bf901"),
    ],
)
def test_address_is_derived_from_the_key(private_key: str, address: str, curve: str) -> None:
    assert SigningKey(private_key).address == address


def test_msgpack_bytes_are_the_documented_ones() -> None:
    action = {"type": "order", "orders": [{"a": 0, "b": True, "p": "30000", "s": "0.1", "r": False, "t": {"limit": {"tif": "Gtc"}}}]}
    action["grouping"] = "na"
    expected = (
        "83a474797065a56f72646572a66f72646572739186a16100a162c3a170a53330303030a173a3302e31a172c2a17481a56c696d697481a3746966a3477463"
        "a867726f7570696e67a26e61"
    )
    assert signing._encode_msgpack(action).hex() == expected
    sixteen = {"type": "cancel", "cancels": [{"a": 0, "o": i} for i in range(16)]}
    assert signing._encode_msgpack(sixteen).hex().startswith("82a474797065a663616e63656ca763616e63656c73dc0010")


def test_an_unnamed_agent_is_signed_with_an_empty_name() -> None:
    action = {"type": "approveAgent", "hyperliquidChain": "Mainnet", "signatureChainId": "0x66eee", "agentAddress": "0x" + "1" * 40}
    assert signing.user_action_digest({**action, "nonce": 1}) == signing.user_action_digest({**action, "agentName": "", "nonce": 1})
    assert signing.user_action_digest({**action, "nonce": 1}) != signing.user_action_digest({**action, "agentName": "bot", "nonce": 1})


@pytest.mark.parametrize("field", ["destination", "amount", "time"])
def test_a_user_action_with_a_field_missing_or_of_the_wrong_type_is_refused(field: str) -> None:
    action: dict[str, object] = {"type": "usdSend", "hyperliquidChain": "Mainnet", "signatureChainId": "0x66eee"}
    action |= {"destination": "0x" + "1" * 40, "amount": "1", "time": 1}
    with pytest.raises(TypeError):
        signing.user_action_digest({**action, field: 1.5})
    del action[field]
    with pytest.raises(KeyError):
        signing.user_action_digest(action)


@given(secret=st.integers(1, 2**200), digest=st.binary(min_size=32, max_size=32))
def test_both_curves_make_the_same_signature(secret: int, digest: bytes) -> None:
    raw = secret.to_bytes(32, "big")
    fast, slow = secp256k1._Coincurve(), secp256k1._EthKeys()
    assert fast.public_key(raw) == slow.public_key(raw)
    signature = fast.signer(raw)(digest)
    assert signature == slow.signer(raw)(digest)
    assert fast.recover(digest, signature) == slow.recover(digest, signature) == fast.public_key(raw)


def test_a_changed_byte_recovers_to_another_address() -> None:
    key = SigningKey(KEY)
    digest = keccak(b"x")
    signature = key.sign(digest)
    assert recover(keccak(b"y"), signature) != key.address


@pytest.mark.parametrize("bad", ["", "0x", "0x12", "zz" * 32, "00" * 32, "ff" * 32, "0123456789" * 6])
def test_a_bad_key_is_refused_without_being_shown(bad: str) -> None:
    with pytest.raises(ValueError, match="private key") as caught:
        SigningKey(bad)
    assert len(bad) < 10 or bad not in str(caught.value)


def test_a_key_shows_itself_nowhere() -> None:
    key = SigningKey(KEY)
    assert "0123" not in repr(key)
    assert not hasattr(key, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_missing_fast_curve_falls_back_and_can_be_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise ImportError("No module named 'coincurve'")

    monkeypatch.setattr(secp256k1, "_Coincurve", absent)
    secp256k1._backend.cache_clear()
    try:
        assert secp256k1.backend_name() == "eth-keys"
        assert SigningKey(KEY).address == "0x14791697260e4c9a71f18484c9f997b308e59325"
    finally:
        monkeypatch.undo()
        secp256k1._backend.cache_clear()
    assert secp256k1.backend_name() == "coincurve"


def test_recorded_vectors(payloads: Path) -> None:
    """The vector files: 14 of the official SDK, 4 of a TypeScript client, 2 of an asyncio client, 6 whole requests made by ccxt."""
    seen = 0
    for file in sorted((payloads / "hyperliquid" / "sign").glob("*.jsonl")):
        for line in file.read_text().splitlines():
            payload = json.loads(line)["payload"]
            seen += 1
            if "expected_request" in payload:
                body = json.loads(payload["expected_request"]["body"])
                digest = agent_digest(action_hash(body["action"], body["nonce"]), mainnet=True)
                key = SigningKey(payload["keys"]["privateKey"])
                expected = body["signature"]
            elif "message" in payload:
                kind = {"UsdSend": "usdSend", "sign_usd_transfer_action": "usdSend"}[
                    payload.get("primary_type", payload["function"]).rpartition(":")[2]
                ]
                chain = {"hyperliquidChain": "Mainnet" if payload.get("is_mainnet", True) else "Testnet", "signatureChainId": "0x66eee"}
                digest = signing.user_action_digest({"type": kind, **chain, **payload["message"]})
                key, expected = SigningKey(payload["private_key"]), payload["expected"]
            else:
                hashed = action_hash(
                    payload["action"], payload["nonce"], vault=payload["vault_address"], expires_after_ms=payload["expires_after"]
                )
                if "connectionId" in payload["expected"]:
                    assert "0x" + hashed.hex() == payload["expected"]["connectionId"]
                    continue
                digest = agent_digest(hashed, mainnet=payload["is_mainnet"])
                key, expected = SigningKey(payload["private_key"]), payload["expected"]
            signature = key.sign(digest)
            assert signature.to_bytes() == Signature(expected["r"], expected["s"], expected["v"]).to_bytes(), json.loads(line)["id"]
    assert seen == 26
