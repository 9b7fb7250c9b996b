"""Signing vectors made by others: the venue's documentation, ccxt 4.5.90 and three implementations that agree (dossier section 12)."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from exchange_clients.aster import SPEC, AsterClient
from exchange_clients.aster.signing import (
    RECV_WINDOW_MS,
    AsterKeySigner,
    AsterSigner,
    message_digest,
    parameters,
    sign_message,
)
from exchange_clients.crypto import secp256k1
from exchange_clients.crypto.secp256k1 import SigningKey, domain_separator, keccak
from exchange_clients.errors import ConfigError, MissingCredentials
from exchange_clients.signing import Credentials, HttpRequest, TimeNonces
from exchange_clients.transport.offload import InlineOffload
from exchange_simulator.dialects.aster.signatures import recover

KEY = "0x4fd0a42218f3eae43a6ce26d22544e986139a01e5b34a62db53757ffca81bae1"
USER = "0x63DD5aCC6b1aa0f563956C0e534DD30B6dcF7C4e"
AGENT = "0x21cF8Ae13Bb72632562c6Fff438652Ba1a151bb0"
WHO = f"&user={USER}&signer={AGENT}"
ORDER = "symbol=ASTERUSDT&type=LIMIT&side=BUY&timeInForce=GTC&quantity=20&price=0.5&nonce=1748310859508867"
CANCELS = "symbol=BTCUSDT&origClientOrderIdList=%5B%22123aaaa%22%2C%22111ccc%22%5D&nonce=1748310859508869"
# chain id, message, digest, signature
VECTORS = [
    (
        1666,
        ORDER + WHO,
        "214122039b686e20a15baab91d368d354cf8c88067cb8b0e96e9018d8b08a625",
        "0a56c5923ebf3524475c5f631940ec4c0e41dbd300ad28198d1915d8f3ca49ce26fd1aeb8b0c3079133595da0de38322ae7e860e0c76d032c4a491d27c1430b01c",
    ),
    (
        714,
        ORDER + WHO,
        "d0a3cddc3992449300d5b6fa97e441d66d0f950a032b0707455996c29d8477c5",
        "f91e000376f360c1661cf0fbc79a816e915dce485c616bd49c5e35c6cbc5ba5042ccf75a2bffd282676dbf698087a73982bfd1491a993eeedc276f6827c94a8c1c",
    ),
    (
        1666,
        f"{ORDER}&signer={AGENT}",
        "ed6fe2804fb7a74d857c73d838ce3722b0f44d2c023c24bca0acb2bdf0d56267",
        "d82a6784f5eff00b95ecb88145cf7a5fa6803ea6f67e0217262073da628750a742bb3ba555af418320e55029afe358957808d4f810d73ea663d9c91852cd6d941c",
    ),
    (
        1666,
        "nonce=1748310859508868" + WHO,
        "c6ed6ea62f466fe918e925c36d290a05cf25e7fcb1104515d47a05b00de628cb",
        "3460399ac3769ec77da1469a2a28c8972fc36d5fc19929fef16d831788a167591b1c7fb6aa37114e3b7e5c57e6548c626b492601d3df79de512c438c0ad7ec5a1c",
    ),
    (
        1666,
        CANCELS + WHO,
        "e98e1e1f9a3ae34ae2c6317bdfbf82ca6b266aed618d3eeebbaf4cff11cad7ab",
        "731d23417c63c884ed99e71b9b81ea833ad61dc057067d049f55ef49f31a349a000529990f3f24a75b0030e518c04ae69b92118316aee021d71855e6fc27a2431c",
    ),
    (
        1666,
        "symbol=BTCUSDT&orderId=283194212&nonce=1748310859508870" + WHO,
        "d38c7fb442194d569587de750775a2eb79a461abb1725e8408889988f9f32b7c",
        "1c0edc6427aabfc3859d4051d5fb98d781b02c423f409a7b82dcbf9b6e1fc6a401f9d21243e525975fbbd0929bbca19c94b045e280e5bdfa3a176b505468242c1c",
    ),
]
API_KEY = "dbefbc809e3e83c283a984c3a1459732ea7db1360ca80c5c2c8867408d28cc83"
SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
STAMP = 1591702613943


@pytest.fixture(params=["coincurve", "eth-keys"])
def curve(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test below runs on the fast curve and on the pure Python one."""
    backend = secp256k1._Coincurve() if request.param == "coincurve" else secp256k1._EthKeys()
    monkeypatch.setattr(secp256k1, "_backend", lambda: backend)
    return str(request.param)


def credentials(**other: str) -> Credentials:
    values = {"user_address": USER, "signer_address": AGENT, "signer_private_key": KEY, **other}
    return Credentials("aster", values)


def signer(chain_id: int = 1666, **other: str) -> AsterSigner:
    return AsterSigner(credentials(**other), InlineOffload(), chain_id=chain_id, scope="test")


def test_constants() -> None:
    assert domain_separator("AsterSignTransaction", 1666).hex() == "a95d0a7a6f3f17fcebb0c2336645385ce79cde7523f71ab147fdb7f15e9f37f9"
    assert domain_separator("AsterSignTransaction", 714).hex() == "fad01b07bed5729a04dbb977fd86da612eba71d668660bf12cf10b3d65b74d94"
    assert keccak(b"Message(string msg)").hex() == "c4cfb57eea370ef2a92403a7e865b2de262d7ca272333665b54ad7e6a602ef68"


@pytest.mark.parametrize(("chain_id", "message", "digest", "signature"), VECTORS)
def test_golden_messages(curve: str, chain_id: int, message: str, digest: str, signature: str) -> None:
    assert message_digest(message, chain_id).hex() == digest
    assert sign_message(SigningKey(KEY), message, chain_id) == "0x" + signature


def test_a_post_is_signed_as_it_is_sent(curve: str) -> None:
    form = "symbol=ASTERUSDT&type=LIMIT&side=BUY&timeInForce=GTC&quantity=20&price=0.5"
    sent = signer().sign(HttpRequest("POST", "/fapi/v3/order", body=form.encode()), 1748310859508867)
    assert sent.body is not None
    assert sent.body.decode() == f"{ORDER}{WHO}&signature=0x{VECTORS[0][3]}"
    assert sent.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_a_get_is_signed_as_it_is_sent(curve: str) -> None:
    query = (("symbol", "BTCUSDT"), ("orderId", "283194212"))
    sent = signer().sign(HttpRequest("GET", "/fapi/v3/order", query=query), 1748310859508870)
    assert dict(sent.query)["signature"] == "0x" + VECTORS[5][3]
    assert sent.body is None


def test_a_request_without_parameters_is_signed_too(curve: str) -> None:
    sent = signer().sign(HttpRequest("POST", "/fapi/v3/listenKey", body=b""), 1748310859508868)
    assert sent.body is not None
    assert sent.body.decode() == f"nonce=1748310859508868{WHO}&signature=0x{VECTORS[3][3]}"


def vectors(payloads: Path, name: str) -> list[dict[str, Any]]:
    lines = (payloads / "aster" / "sign" / name).read_text().splitlines()
    return [json.loads(line)["payload"] for line in lines]


def test_requests_that_ccxt_generated(payloads: Path) -> None:
    """ccxt puts nonce, user and signer first: what is signed is whatever string is sent."""
    found = vectors(payloads, "generated_requests.jsonl")
    assert len(found) == 8
    for vector in found:
        request = vector["expected_request"]
        sent = request["body"] or request["url"].partition("?")[2]
        message, _, signature = sent.partition("&signature=")
        assert message == vector["sign_string"]
        assert sign_message(SigningKey(vector["keys"]["privateKey"]), message, 1666) == signature.lower()
        assert recover(message, signature, 1666) == AGENT.lower(), "the dialect's own code agrees"


def test_the_dialect_recovers_what_we_sign() -> None:
    dice = random.Random(7)
    for n in range(50):
        pairs = tuple((f"p{k}", "".join(dice.choices("aZ0 &=%[]\"'é,", k=8))) for k in range(dice.randint(0, 5)))
        sent = signer().sign(HttpRequest("GET", "/fapi/v3/order", query=pairs), 1748310859508867 + n)
        text = parameters(sent)
        message, _, signature = text.rpartition("&signature=")
        assert recover(message, signature, 1666) == AGENT.lower()
        assert dict(parse_qsl(message, keep_blank_values=True))["user"] == USER


# ---- v1


def key_signer() -> AsterKeySigner:
    return AsterKeySigner(Credentials("aster", {"api_key": API_KEY, "api_secret": SECRET}))


def test_hmac_of_the_documentation(payloads: Path) -> None:
    (vector,) = vectors(payloads, "official_docs_examples.jsonl")
    found = hmac.new(vector["secret"].encode(), vector["payload"].encode(), hashlib.sha256).hexdigest()
    assert found == vector["expected"]


@pytest.mark.parametrize(
    ("form", "signature"),
    [
        (
            "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC",
            "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9",
        ),
        (
            "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=9000",
            "ec11dcc17e67e47f0d3c3f513dfe9062307e37619c5c82ebaa8fe0bdf3d59519",
        ),
    ],
)
def test_v1_signs_the_form_with_time_and_window(form: str, signature: str) -> None:
    assert RECV_WINDOW_MS == 5000
    sent = key_signer().sign(HttpRequest("POST", "/fapi/v3/order", body=form.encode()), STAMP)
    assert sent.path == "/fapi/v1/order"
    assert sent.headers["X-MBX-APIKEY"] == API_KEY
    assert sent.body is not None
    assert sent.body.decode() == f"{form}&recvWindow=5000&timestamp={STAMP}&signature={signature}"


def test_v1_of_query_and_form_together() -> None:
    """Nothing stands between them, whatever the documentation's third example prints."""
    query = (("symbol", "BTCUSDT"), ("side", "BUY"), ("type", "LIMIT"), ("timeInForce", "GTC"))
    sent = key_signer().sign(HttpRequest("POST", "/fapi/v3/order", query=query, body=b"quantity=1&price=9000"), STAMP)
    assert sent.body is not None
    assert sent.body.decode().endswith("&signature=30baaf0fab549bbeda7f5ef201898b34122da25fd23c646cac2c529aebe670a4")


@pytest.mark.parametrize(
    ("path", "old"),
    [
        ("/fapi/v3/balance", "/fapi/v2/balance"),
        ("/fapi/v3/positionRisk", "/fapi/v2/positionRisk"),
        ("/fapi/v3/accountWithJoinMargin", "/fapi/v4/account"),
        ("/fapi/v3/positionSide/dual", "/fapi/v1/positionSide/dual"),
    ],
)
def test_v1_has_its_own_paths(path: str, old: str) -> None:
    assert key_signer().sign(HttpRequest("GET", path), STAMP).path == old


def test_v1_user_stream_wants_the_key_alone() -> None:
    sent = key_signer().sign(HttpRequest("POST", "/fapi/v3/listenKey", body=b""), STAMP)
    assert (sent.path, sent.body) == ("/fapi/v1/listenKey", b"")
    assert sent.headers["X-MBX-APIKEY"] == API_KEY


# ---- nonces


async def test_nonces_rise_and_are_shared_by_all_users_of_a_key() -> None:
    first, second = TimeNonces("a", lambda: 1_000), TimeNonces("a", lambda: 900)
    taken = [TimeNonces.take("a", 1_000)]
    for source in (first, second, first):
        async with source.lease() as lease:
            taken.append(lease.value)
    assert taken == [1_000, 1_001, 1_002, 1_003]
    assert TimeNonces.take("b", 5) == 5


async def test_queries_and_commands_of_one_millisecond_have_nonces_of_their_own() -> None:
    made = signer()
    sent = [await made.authorize(HttpRequest("GET", "/fapi/v3/order"), 1748310859508) for _ in range(3)]
    assert [int(dict(one.query)["nonce"]) - 1748310859508000 for one in sent] == [0, 1, 2]


# ---- which credentials


def test_the_key_must_be_the_agents() -> None:
    with pytest.raises(ConfigError, match="not the key of signer_address"):
        signer(signer_address=USER)


@pytest.mark.parametrize("wrong", ["0x63DD", "nobody", "0x" + "g" * 40])
def test_a_malformed_address_is_named_and_not_shown(wrong: str) -> None:
    with pytest.raises(ConfigError, match="user_address is no address") as caught:
        signer(user_address=wrong)
    assert wrong not in str(caught.value)


def test_the_agents_address_need_not_be_given() -> None:
    made = AsterSigner(
        Credentials("aster", {"user_address": USER, "signer_private_key": KEY}), InlineOffload(), chain_id=1666, scope="test"
    )
    assert made.signer == AGENT.lower()


def test_a_solana_wallet_may_be_the_user() -> None:
    assert signer(user_address="7Np41oeYqPefeNQEHSv1UDhYrehxin3NStELsSKCT4K2").address.startswith("7Np4")


def test_keys_show_in_no_text() -> None:
    assert repr(signer()) == "AsterSigner(***)"
    assert repr(key_signer()) == "AsterKeySigner(***)"
    assert API_KEY not in key_signer().address


V1 = {"api_key": API_KEY, "api_secret": SECRET}
V3 = {"user_address": USER, "signer_address": AGENT, "signer_private_key": KEY}


@pytest.mark.parametrize(("values", "kind"), [(V3, AsterSigner), (V1, AsterKeySigner), ({**V3, "api_key": API_KEY}, AsterSigner)])
async def test_the_credentials_that_are_set_choose_the_version(values: dict[str, str], kind: type) -> None:
    client = AsterClient({}, Credentials("aster", values))
    assert isinstance(client.context.signer, kind)
    await client.disconnect()


def test_both_versions_at_once_are_one_clear_error() -> None:
    with pytest.raises(ConfigError, match="both set: keep one"):
        AsterClient({}, Credentials("aster", {**V3, **V1}))


@pytest.mark.parametrize("values", [{}, {"user_address": USER}, {"api_key": API_KEY}, {"signer_private_key": KEY}])
async def test_neither_version_whole_is_one_clear_error(values: dict[str, str]) -> None:
    client = AsterClient({}, Credentials("aster", values))
    assert client.context.signer is None
    with pytest.raises(MissingCredentials, match="set ASTER_"):
        client.context.require_signer()
    await client.disconnect()


async def test_placeholders_of_the_other_version_do_not_count() -> None:
    client = AsterClient({}, Credentials("aster", {**V3, "api_key": "your_api_key", "api_secret": "your_secret"}))
    assert isinstance(client.context.signer, AsterSigner)
    await client.disconnect()


def test_the_environment_has_names_for_each() -> None:
    environ = {"ASTER_TESTNET_API_KEY": "a", "ASTER_TESTNET_SECRET_KEY": "b", "ASTER_API_KEY": "mainnet"}
    found = Credentials.from_env(SPEC, "testnet", environ=environ)
    assert (found["api_key"], found["api_secret"]) == ("a", "b")
