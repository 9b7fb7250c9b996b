"""Hashes, keys and signatures against vectors made by other implementations; what a key never does; the life of a token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak
from fast_stark_crypto import verify
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.errors import ConfigError, DecodeError, OrderDenied
from exchange_clients.paradex import SPEC, ParadexClient
from exchange_clients.paradex import messages as m
from exchange_clients.paradex import signing as s
from exchange_clients.paradex.client.utils.helpers import wire_number
from exchange_clients.signing import Credentials
from exchange_simulator.dialects.paradex import signatures as theirs

TESTNET = "PRIVATE_SN_POTC_SEPOLIA"
GOERLI = "PRIVATE_SN_POTC_GOERLI"
MAINNET = "PRIVATE_SN_PARACLEAR_MAINNET"
ETH_KEY = "0xf8e4d1d772cdd44e5e77615ad11cc071c94e4c06dc21150d903f28e6aa6abdff"
ETH_ADDRESS = "0x511671d631CEA1E4C66f8b93bc467646C8e994B9"
"""Of that key; the one printed beside it in those tests is another's."""
L2_KEY = 0x543B6CF6C91817A87174AAEA4FB370AC1C694E864D7740D728F8344D53E815
L2_PUBLIC = 0x2C144D2F2D4FC61B6F8967F3BA0012A87D90140BCFE5A3E92E8DF83258C960F
ACCOUNT = 0x129C135ED63DF9353885E292BE4426B8ED6122B13C6C0E1BB787288A1F5ADFA
ORDER = m.NewOrder("ETH-USD-PERP", "BUY", "LIMIT", "0.1", "1500", "GTC")


def vectors(payloads: Path, name: str) -> Iterator[dict[str, Any]]:
    for line in (payloads / "paradex" / "sign" / f"{name}.jsonl").read_text().splitlines():
        yield json.loads(line)["payload"]


# ---- hashing


@pytest.mark.parametrize(("text", "expected"), s.TYPE_HASHES.items())
def test_type_hashes_are_the_first_250_bits_of_keccak(text: str, expected: int) -> None:
    assert int.from_bytes(keccak(text=text), "big") & (2**250 - 1) == expected


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        (TESTNET, 1603539743484675373284660270357743857147915625567819499233053252573016071922),
        (MAINNET, 3150834429238099505315391769608404414653817918509159112547639906091013736970),
        (GOERLI, 3014178702424108121777716632486845591462527404146882043469255095154522182084),
    ],
)
def test_domain_hashes(chain: str, expected: int) -> None:
    assert s.domain_hash(chain) == expected


def test_the_dossiers_message_hashes() -> None:
    assert s.onboarding_hash(TESTNET, ACCOUNT) == 0xD38FCA3E24662DEA69B9BC6699DBAF95D018C8FB7C9940F51AABB813E8D8BF
    auth = s.auth_hash(1706868900, 1706955300, TESTNET, ACCOUNT)
    assert auth == 0x483C5A1B923D0E130EA8EAD403E029AF1786EF0210BA6D429032A6BAD5DF53E
    first = s.order_hash(ORDER, 1634736000000, TESTNET, ACCOUNT)
    assert first == 0x357F784E57D5C5B56410BFD988055F93958794F4E550742849E6C82B943C92D
    market = m.NewOrder("ETH-USD-PERP", "SELL", "MARKET", "0.1", "0", "GTC")
    assert s.order_hash(market, 1634736000000, TESTNET, ACCOUNT) == 0x5A1B5970AE8E61AD734C9E40CC4D7ED2A7012C627572CC800C761B16AEBCF45
    change = m.ModifyOrder("1681462103821101699438490000", "ETH-USD-PERP", "BUY", "LIMIT", "0.1", "1500")
    assert s.order_hash(change, 1634736000000, TESTNET, ACCOUNT) == 0x799A110CE70E28CCFE5296ECFE8831121F835A1DB5A1F78B56DAC5FF71C919A
    r = 2262006913427234559031857040197831146280974542390472657496885765161924686291
    sig = 2869420304749673710270388173853766736578603850909753747483150501999763778981
    assert verify(L2_PUBLIC, first, r, sig)
    assert not verify(L2_PUBLIC, first + 1, r, sig)


def test_recorded_hashes_of_the_official_signers(payloads: Path) -> None:
    checked = 0
    for payload in (*vectors(payloads, "official_cpp_signer_tests"), *vectors(payloads, "rust_client_tests")):
        if "signature_hex" in payload:
            assert s.grind_key(int(payload["signature_hex"][:64], 16)) == int(payload["expected"], 16)
        elif payload["function"].endswith("of domain"):
            assert s.domain_hash(payload["domain"]["chainId"]) == int(payload["expected"], 16)
        else:
            message = payload["message"]
            values = (
                int(message["timestamp"]),
                s.short_string(message["market"]),
                int(message["side"]),
                s.short_string(message["orderType"]),
                int(message["size"]),
                int(message["price"]),
            )
            order_type = next(number for text, number in s.TYPE_HASHES.items() if text.startswith("Order("))
            found = s.struct_hash(order_type, values)
            if payload["function"] == "message hash":
                found = s.message_hash(GOERLI, int(payload["account"], 16), found)
            assert found == int(payload["expected"], 16)
        checked += 1
    assert checked == 5


def test_recorded_requests_of_ccxt_are_signed_for_the_same_hash(payloads: Path) -> None:
    """Type, size, price and side of each body; their signature holds for our hash."""
    checked = 0
    for payload in vectors(payloads, "generated_requests"):
        if "message_hash" not in payload:
            continue
        body = json.loads(payload["expected_request"]["body"])
        order = m.NewOrder(body["market"], body["side"], body["type"], body["size"], body.get("price", "0"), body["instruction"])
        derived = payload["keys"]["derived"]
        digest = s.order_hash(order, body["signature_timestamp"], TESTNET, int(derived["address"], 16))
        assert digest == int(payload["message_hash"], 16)
        r, sig = (int(part, 16) for part in json.loads(body["signature"]))
        assert verify(int(derived["publicKey"], 16), digest, r, sig)
        checked += 1
    assert checked == 5


def test_the_dialects_own_encoding_agrees() -> None:
    stamped = {
        "signature_timestamp": 1634736000000,
        "market": "ETH-USD-PERP",
        "side": "BUY",
        "type": "LIMIT",
        "size": "0.10",
        "price": "1500.0",
    }
    digest = theirs.message_digest(TESTNET, hex(ACCOUNT), "Order", theirs.order_values(stamped))
    assert digest == s.order_hash(ORDER, 1634736000000, TESTNET, ACCOUNT)


@given(st.decimals(min_value=0, max_value=10**9, places=8))
def test_quanta_are_exact(value: Decimal) -> None:
    assert s.quanta(wire_number(value)) == int(value.scaleb(8)) == value.scaleb(8)


@pytest.mark.parametrize("text", ["0.123456789", "0.000000001"])
def test_a_ninth_decimal_is_refused_not_cut(text: str) -> None:
    with pytest.raises(ValueError, match="finer"):
        s.quanta(text)
    with pytest.raises(OrderDenied):
        wire_number(Decimal(text))


def test_trailing_zeros_hash_alike() -> None:
    other = m.NewOrder("ETH-USD-PERP", "BUY", "LIMIT", "0.10", "1500.00", "GTC")
    assert s.order_hash(other, 1, TESTNET, ACCOUNT) == s.order_hash(ORDER, 1, TESTNET, ACCOUNT)


# ---- keys


def test_the_key_of_an_ethereum_key(payloads: Path) -> None:
    assert s.derive_key(ETH_KEY, 11155111) == L2_KEY
    assert s.public_key(L2_KEY) == L2_PUBLIC
    for payload in vectors(payloads, "official_python_sdk_tests"):
        expected, config = payload["expected"], payload["config"]
        key = s.derive_key(payload["l1_private_key"], int(config["l1_chain_id"]))
        assert key == int(expected["l2_private_key"], 16)
        hashes = (int(config["paraclear_account_proxy_hash"], 16), int(config["paraclear_account_hash"], 16))
        assert s.account_address(s.public_key(key), *hashes) == int(expected["l2_address"], 16) == ACCOUNT


def test_addresses_of_seed_phrases(payloads: Path) -> None:
    from eth_account import Account

    Account.enable_unaudited_hdwallet_features()
    checked = 0
    for payload in vectors(payloads, "official_js_sdk_tests"):
        key = "0x" + bytes(Account.from_mnemonic(payload["seed_phrase"]).key).hex()
        public, config = s.public_key(s.derive_key(key, int(payload["config"]["l1_chain_id"]))), payload["config"]
        address = s.account_address(public, int(config["paraclear_account_proxy_hash"], 16), int(config["paraclear_account_hash"], 16))
        assert address == int(payload["expected"]["l2_address"], 16)
        checked += 1
    assert checked == 2


def identity(**fields: str) -> s.Identity:
    return s.Identity.of(Credentials("paradex", {"l1_address": ETH_ADDRESS, **fields}), "testnet")


def test_credentials_of_every_kind() -> None:
    assert identity(l2_private_key=hex(L2_KEY)).public_key == L2_PUBLIC
    assert identity(l1_private_key=ETH_KEY).private_key == L2_KEY
    sub_key = L2_KEY - 1
    subkey = identity(l2_private_key=hex(sub_key), l2_address=hex(ACCOUNT))
    assert (subkey.account, subkey.public_key) == (ACCOUNT, s.public_key(sub_key))
    for wrong in (
        {"l2_private_key": "zz"},
        {"l2_private_key": "0x0"},
        {"l2_private_key": "0x1234"},
        {"l2_private_key": hex(s.CURVE_ORDER)},
        {"l2_private_key": hex(L2_KEY), "l2_address": "0x"},
        {"l1_private_key": "0x1234"},
        {"l1_private_key": "0x" + "11" * 32},
    ):
        with pytest.raises(ConfigError) as caught:
            identity(**wrong)
        assert all(value not in str(caught.value) for name, value in wrong.items() if "key" in name and len(value) > 5)


def test_one_of_two_keys_is_enough_and_the_variable_is_named() -> None:
    def problem(**variables: str) -> str | None:
        return Credentials.from_env(SPEC, environ=variables).problem(SPEC)

    assert problem(PARADEX_L1_ADDRESS=ETH_ADDRESS) == "l2_private_key is missing: set PARADEX_L2_PRIVATE_KEY"
    assert problem(PARADEX_L1_ADDRESS=ETH_ADDRESS, PARADEX_L1_PRIVATE_KEY=ETH_KEY) is None
    assert problem(PARADEX_L1_ADDRESS=ETH_ADDRESS, PARADEX_L2_PRIVATE_KEY_HEX=hex(L2_KEY)) is None


def test_keys_show_in_no_text() -> None:
    client = ParadexClient({"environment": "testnet"}, Credentials("paradex", {"l1_address": ETH_ADDRESS, "l2_private_key": hex(L2_KEY)}))
    signer = client.context.signer
    assert signer is not None
    shown = f"{signer!r} {signer} {s.signer_of(client.context).identity!r}"
    for form in (hex(L2_KEY), hex(L2_KEY)[2:], str(L2_KEY)):
        assert form not in shown


# ---- tokens


def token(**claims: Any) -> str:
    import base64

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'ES384'})}.{part(claims)}.signature"


def test_the_life_of_a_token_is_read_from_it() -> None:
    assert s.token_times(token(exp=1300, iat=1000), 1005.0) == (1300.0, 300)
    assert s.token_times(token(exp=1300), 1010.0) == (1300.0, 290.0)
    for wrong in ("", "a.b", "a.!!!.c", token(iat=1)):
        with pytest.raises(DecodeError):
            s.token_times(wrong, 0.0)
