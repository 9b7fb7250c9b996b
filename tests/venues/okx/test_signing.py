"""Signatures against vectors made by others: of the dossier (Python hmac; one asserted in nautilus_trader), and of ccxt 4.5.90."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from exchange_clients.okx.signing import ORDER_LIFE_MS, OkxSigner, Operation, iso_ms, sign
from exchange_clients.signing import Channel, Command, Credentials, HttpRequest, SignContext

SECRET = "22582BD0CFF14C41EDBF1AB98506286D"
STAMP_MS = 1_607_418_537_715


@pytest.mark.parametrize(
    ("secret", "text", "expected"),
    [
        (SECRET, "1538054050GET/users/self/verify", "+LdIr8lkkvhr5hoA3g9TMC0+uQJ849ftAcocA/ouu4M="),
        (SECRET, "2020-12-08T09:08:57.715ZGET/api/v5/account/balance?ccy=BTC", "HiZhvSfMtWJA3uUIVXV3a/bSXNPCWvYFXoGCVS8V4zY="),
        (
            SECRET,
            '2020-12-08T09:08:57.715ZPOST/api/v5/account/set-leverage{"instId":"BTC-USDT","lever":"5","mgnMode":"isolated"}',
            "eCnnCgWLjlQ9XnpUkrcny3qNq3WW/81KNrDr/XR6Xv8=",
        ),
        (
            "chNOOS4KvNXR_Xq4k4c9qsfoKWvnDecLATCRlcBwyKDYnWgO",
            "2020-12-08T09:08:57.715ZGET/api/v5/account/balance",
            "PJ61e1nb2F2Qd7D8SPiaIcx2gjdELc+o0ygzre9z33k=",
        ),
    ],
)
def test_signatures_of_the_dossier(secret: str, text: str, expected: str) -> None:
    assert sign(secret, text) == expected


def signer(secret: str = SECRET) -> OkxSigner:
    return OkxSigner(Credentials("okx", {"api_key": "key-1", "api_secret": secret, "passphrase": "phrase-1"}))


def test_a_request_is_signed_as_it_is_sent() -> None:
    request = signer().signed(HttpRequest("GET", "/api/v5/account/balance", query=(("ccy", "BTC"),)), STAMP_MS)
    assert dict(request.headers) == {
        "OK-ACCESS-KEY": "key-1",
        "OK-ACCESS-SIGN": "HiZhvSfMtWJA3uUIVXV3a/bSXNPCWvYFXoGCVS8V4zY=",
        "OK-ACCESS-TIMESTAMP": "2020-12-08T09:08:57.715Z",
        "OK-ACCESS-PASSPHRASE": "phrase-1",
        "Content-Type": "application/json",
    }
    assert iso_ms(1_607_418_537_005) == "2020-12-08T09:08:57.005Z"


def test_the_login_of_the_dossier() -> None:
    message = json.loads(signer().login(1_538_054_050_999))
    assert message == {
        "op": "login",
        "args": [
            {
                "apiKey": "key-1",
                "passphrase": "phrase-1",
                "timestamp": "1538054050",
                "sign": "+LdIr8lkkvhr5hoA3g9TMC0+uQJ849ftAcocA/ouu4M=",
            }
        ],
    }


def test_requests_that_ccxt_signed(payloads: Path) -> None:
    lines = (payloads / "okx" / "sign" / "generated_requests.jsonl").read_text().splitlines()
    assert len(lines) == 8
    for line in lines:
        vector = json.loads(line)["payload"]
        keys, expected = vector["keys"], vector["expected_request"]
        found = OkxSigner(Credentials("okx", {"api_key": keys["apiKey"], "api_secret": keys["secret"], "passphrase": keys["passphrase"]}))
        url = urlsplit(expected["url"])
        body = expected.get("body")
        query = tuple(parse_qsl(url.query))
        request = found.signed(
            HttpRequest(expected["method"], url.path, query=query, body=body.encode() if body else None), vector["clock_ms"]
        )
        for name, value in expected["headers"].items():
            if name.startswith("OK-ACCESS"):
                assert request.headers[name] == value, (vector["operation"], name)


def command(channel: Channel, **more: Any) -> Command:
    operation = Operation("/api/v5/trade/order", [{"instId": "BTC-USDT-SWAP", "sz": "1"}], "order", perishable=True, **more)
    return Command(endpoint="order", payload=operation, lane="entry", channel=channel)


def test_an_order_carries_its_end() -> None:
    signed = asyncio.run(signer().sign_command(command(Channel.REST), SignContext(STAMP_MS)))
    assert signed.request is not None
    assert signed.request.headers["expTime"] == str(STAMP_MS + ORDER_LIFE_MS)
    assert signed.request.body == b'{"instId":"BTC-USDT-SWAP","sz":"1"}'
    again = asyncio.run(signer().sign_command(command(Channel.REST), SignContext(STAMP_MS)))
    assert again == signed, "pure given its inputs"


def test_the_same_order_on_the_socket() -> None:
    signed = asyncio.run(signer().sign_command(command(Channel.WS), SignContext(STAMP_MS, nonce=7)))
    assert signed.correlation_id == "7"
    assert signed.message is not None
    assert json.loads(signed.message) == {
        "id": "7",
        "op": "order",
        "args": [{"instId": "BTC-USDT-SWAP", "sz": "1"}],
        "expTime": str(STAMP_MS + ORDER_LIFE_MS),
    }


def test_a_batch_is_a_list() -> None:
    signed = asyncio.run(signer().sign_command(command(Channel.REST, batch=True), SignContext(STAMP_MS)))
    assert signed.request is not None
    assert signed.request.body == b'[{"instId":"BTC-USDT-SWAP","sz":"1"}]'


def test_keys_show_in_no_text() -> None:
    assert repr(signer()) == "OkxSigner(***)"
