"""Signing against vectors of other implementations: the venue's own documents (recomputed by two libraries) and ccxt 4.5.90."""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.backpack.common import ENDPOINTS, SPEC
from exchange_clients.backpack.signing import INSTRUCTIONS, SUBSCRIBE, WINDOW_MS, BackpackSigner, to_sign
from exchange_clients.errors import ConfigError
from exchange_clients.signing import Command, Credentials, HttpRequest, SignContext
from exchange_simulator.dialects.backpack import signatures
from exchange_simulator.dialects.base import Refusal

# RFC 8032, section 7.1, test 1.
SECRET = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
API_KEY = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

LIMIT = {"orderType": "Limit", "side": "Bid", "symbol": "SOL_USDC_PERP"}
VECTORS: list[tuple[str, list[dict[str, Any]], int, str, str]] = [
    (
        "orderCancel",
        [{"symbol": "BTC_USDT", "orderId": "28"}],
        1614550000000,
        "instruction=orderCancel&orderId=28&symbol=BTC_USDT&timestamp=1614550000000&window=5000",
        "wLQaGPszkXrEWaIm6RsnVLJv70Uuw62SXxmdso6cadUmR0NWzFhfhvuCWMl+jbBNJ5gZRfCPjvXI29H7JeW6Ag==",
    ),
    (
        "orderExecute",
        [{**LIMIT, "price": "141", "quantity": "12"}, {**LIMIT, "price": "140", "quantity": "11"}],
        1750793021519,
        "instruction=orderExecute&orderType=Limit&price=141&quantity=12&side=Bid&symbol=SOL_USDC_PERP"
        "&instruction=orderExecute&orderType=Limit&price=140&quantity=11&side=Bid&symbol=SOL_USDC_PERP&timestamp=1750793021519&window=5000",
        "vPFtn5Js/Bow3UsENNogoyaEcTqy8fxLH2ASbpAcTSClJf1v4VAj7+61T7IRwMt9kvGvGxhtlXqlvtCzzbFxAQ==",
    ),
    (
        SUBSCRIBE,
        [],
        1614550000000,
        "instruction=subscribe&timestamp=1614550000000&window=5000",
        "nnH9lOoIF3v72vbmeopqLLUggbPuhAuXgYbQc6qJnYSsFW0ZM3hUVK4feOAmIHQA02vH16oz+C3+6HQmPkggDA==",
    ),
    (
        "orderExecute",
        [
            {
                "symbol": "BTC_USDC_PERP",
                "side": "Bid",
                "orderType": "Limit",
                "price": "100.1",
                "quantity": "0.01",
                "timeInForce": "GTC",
                "postOnly": True,
                "clientId": 7,
            }
        ],
        1700000000000,
        "instruction=orderExecute&clientId=7&orderType=Limit&postOnly=true&price=100.1&quantity=0.01&side=Bid&symbol=BTC_USDC_PERP"
        "&timeInForce=GTC&timestamp=1700000000000&window=5000",
        "4zln3xOYKiqxpcnO8bol3t1c421HNHooOi3UR1A6BeiNcyZ2y/Z5sr5DjnNgCfRsSH0d+v0KU/cpJ7eTYR8MCg==",
    ),
    (
        "positionQuery",
        [],
        1700000000000,
        "instruction=positionQuery&timestamp=1700000000000&window=5000",
        "W5p5I4meMfhbZwc+hUhhge8ho/oUkESuVVNVtcT4LHQLMF1PNfUBPI2eZPDcvuzl1hxBL62BySODCQr0bYt/BA==",
    ),
]


def signer(secret: str = SECRET, api_key: str = API_KEY) -> BackpackSigner:
    return BackpackSigner(Credentials(SPEC.name, {"api_key": api_key, "api_secret": secret}))


def public_of(secret: str) -> str:
    seed = base64.b64decode(secret)[:32]
    return base64.b64encode(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()).decode()


@pytest.mark.parametrize(("instruction", "sets", "now_ms", "text", "signature"), VECTORS)
def test_vectors_of_the_documents(instruction: str, sets: list[dict[str, Any]], now_ms: int, text: str, signature: str) -> None:
    assert to_sign(instruction, sets, now_ms) == text
    assert signer().signature(text) == signature
    assert signatures.signed_text(instruction, sets or [{}], str(now_ms), "5000") == text
    signatures.verify(API_KEY, signature, text)


def test_requests_of_another_implementation(payloads: Path) -> None:
    """Whole requests: the same text to sign, signature, times and body up to the order of its keys.

    The published key is not the public half of the published seed, so ours is the seed's own: it is not part of what is signed.
    """
    vectors = [json.loads(line)["payload"] for line in (payloads / "backpack/sign/generated_requests.jsonl").read_text().splitlines()]
    assert len(vectors) == 8
    for vector in vectors:
        expected, keys, now_ms = vector["expected_request"], vector["keys"], vector["clock_ms"]
        ours = signer(keys["secret_seed_base64"], public_of(keys["secret_seed_base64"]))
        url = urlsplit(expected["url"])
        if expected["method"] == "GET":
            request = HttpRequest("GET", url.path, query=tuple(parse_qsl(url.query)))
            signed = asyncio.run(ours.authorize(request, now_ms))
            assert signed.query == request.query
        else:
            endpoint = next(n for n, e in ENDPOINTS.items() if e.command and (e.method, e.path) == (expected["method"], url.path))
            command = Command(endpoint, json.loads(expected["body"]), "entry")
            made = asyncio.run(ours.sign_command(command, SignContext(now_ms))).request
            assert made is not None
            assert made.body is not None
            signed = made
            assert json.loads(made.body) == json.loads(expected["body"])
            assert (made.method, made.path) == (expected["method"], url.path)
        names = ("X-Signature", "X-Timestamp", "X-Window")
        assert {name: signed.headers[name] for name in names} == {name: expected["headers"][name] for name in names}
        sets = [json.loads(expected["body"]) if expected["body"] else dict(parse_qsl(url.query))]
        assert to_sign(INSTRUCTIONS[expected["method"], url.path], sets, now_ms) == vector["sign_string"]


def test_booleans_are_lower_case_and_the_window_is_always_signed() -> None:
    text = to_sign("orderExecute", [{"postOnly": True, "reduceOnly": False, "clientId": 1}], 5)
    assert text == "instruction=orderExecute&clientId=1&postOnly=true&reduceOnly=false&timestamp=5&window=5000"


def test_a_batch_repeats_the_instruction_per_order() -> None:
    command = Command("orderExecuteBatch", [{"b": "1", "a": True}, {"a": "2"}], "entry")
    signed = asyncio.run(signer().sign_command(command, SignContext(9))).request
    assert signed is not None
    text = "instruction=orderExecute&a=true&b=1&instruction=orderExecute&a=2&timestamp=9&window=5000"
    signatures.verify(API_KEY, signed.headers["X-Signature"], text)
    assert (signed.method, signed.path) == ("POST", "/api/v1/orders")


def test_a_subscription_carries_key_signature_time_and_window() -> None:
    api_key, signature, timestamp, window = signer().subscription(1614550000000)
    assert (api_key, signature, timestamp, window) == (API_KEY, VECTORS[2][4], "1614550000000", str(WINDOW_MS))


def test_every_signed_endpoint_has_its_instruction() -> None:
    assert len(INSTRUCTIONS) == sum(endpoint.signed for endpoint in ENDPOINTS.values())
    shared = {f"{method} {path}": name for (method, path), name in INSTRUCTIONS.items()}
    assert {key: shared[key] for key in signatures.INSTRUCTIONS} == signatures.INSTRUCTIONS


value = st.one_of(st.booleans(), st.integers(0, 2**32), st.text("abcXYZ019._-", min_size=1, max_size=12))


@given(st.lists(st.dictionaries(st.text("abcdefXYZ", min_size=1, max_size=8), value, max_size=8), max_size=4), st.integers(0, 2**41))
def test_what_we_sign_the_other_side_rebuilds(sets: list[dict[str, Any]], now_ms: int) -> None:
    ours = to_sign("orderExecute", sets, now_ms)
    assert ours == signatures.signed_text("orderExecute", sets or [{}], str(now_ms), str(WINDOW_MS))
    signatures.verify(API_KEY, signer().signature(ours), ours)
    with pytest.raises(Refusal, match="Invalid signature"):
        signatures.verify(API_KEY, signer().signature(ours + " "), ours)


def test_a_secret_with_the_public_key_appended_is_the_same_key() -> None:
    both = base64.b64encode(base64.b64decode(SECRET) + base64.b64decode(API_KEY)).decode()
    assert signer(both).signature("x") == signer().signature("x")


@pytest.mark.parametrize(
    ("secret", "api_key", "message"),
    [
        ("not base64!", API_KEY, "API secret is not the base64 text"),
        (base64.b64encode(b"short").decode(), API_KEY, "seed of 32 bytes"),
        (SECRET, base64.b64encode(bytes(range(32))).decode(), "not the public half"),
        (SECRET, "###", "API key is not the base64 text"),
    ],
)
def test_keys_that_cannot_work_are_refused_at_once(secret: str, api_key: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        signer(secret, api_key)
    assert secret not in str(caught.value)


def test_the_address_may_stand_in_a_file_name() -> None:
    assert "/" in API_KEY
    assert signer().address == API_KEY.replace("/", "_").replace("+", "-")


def test_the_key_shows_nowhere() -> None:
    ours = signer()
    assert SECRET not in f"{ours!r} {ours}"
    with pytest.raises(TypeError):
        pickle.dumps(ours)
