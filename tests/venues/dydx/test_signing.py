"""Keys, addresses, messages and signatures against vectors made by other implementations, on both curves.

Vectors: dossier section 12 (dydx-v4-client 1.1.5 with v4-proto 8.2.0) and payloads/dydx/sign (the test suites of the official clients).
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.crypto.ripemd160 import ripemd160
from exchange_clients.dydx import SPEC, chain, signing
from exchange_clients.dydx import protobuf as pb
from exchange_clients.dydx.chain import ChainOrder, ChainSide, ChainTif, Condition, Flags, OrderRef
from exchange_clients.dydx.client.utils.helpers import Grid, order_uuid, subaccount_uuid
from exchange_clients.errors import ConfigError, DecodeError
from exchange_clients.signing import Credentials
from exchange_clients.spec import Endpoints

MNEMONIC = (
    "mandate glove carry despair area gloom sting round toddler deal face vague receive shallow confirm south green cup rain drill "
    "monkey method tongue fence"
)
KEY = "0a7ff605269ed00853a425beda719da038a11792f6dddf31c087b2988b4dc8fe"
ADDRESS = "dydx1wldnytkerzs39rs28djn0p9vvqer2x2k5x8hjy"
TESTNET = Endpoints(rest="", chain_id="dydx-testnet-4")
REF = OrderRef(123456, Flags.SHORT_TERM, 0)
SHORT = ChainOrder(ref=REF, side=ChainSide.BUY, quantums=100_000_000, subticks=5_000_000_000, good_til=1_000_020)


@pytest.fixture(params=["coincurve", "cryptography"])
def curve(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test that takes it runs on the fast curve and on the one that is always there."""
    make = {"coincurve": signing._with_coincurve, "cryptography": signing._with_cryptography}[request.param]
    monkeypatch.setattr(signing, "_backend", lambda: (request.param, make))
    return str(request.param)


def signer(**fields: str) -> signing.DydxSigner:
    return signing.DydxSigner(Credentials("dydx", {"private_key": KEY, **fields}), TESTNET)


def vectors(payloads: Path) -> list[dict[str, Any]]:
    files = sorted((payloads / "dydx" / "sign").glob("*.jsonl"))
    return [json.loads(line)["payload"] for file in files for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("", "9c1185a5c5e9fc54612808977ee8f548b2258d31"),
        ("abc", "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"),
        ("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "12a053384a9c0c88e405a06c27dcf49ada62eb2b"),
        ("1234567890" * 8, "9b752e45573d4b39f4dbd3323cab82bf63326bfb"),
    ],
)
def test_ripemd160_of_the_paper(text: str, digest: str) -> None:
    assert ripemd160(text.encode()).hex() == digest


def test_keys_and_addresses_of_the_official_clients(payloads: Path, curve: str) -> None:
    asked = 0
    for vector in vectors(payloads):
        if "mnemonic" not in vector["function"] or " " not in (words := vector.get("mnemonic") or vector["expected"].get("mnemonic", "")):
            continue
        if words.startswith("see "):
            continue
        key = signing.key_from_mnemonic(words)
        expected = vector["expected"]
        assert key.hex() == expected["private_key_hex"]
        public = signing._public_key(key)
        assert public.hex() == expected.get("public_key_compressed_hex", expected.get("public_key_hex"))
        assert signing.address_of(public) == expected.get("address", signing.address_of(public))
        asked += 1
    assert asked == 3


def test_units_of_the_official_clients(payloads: Path) -> None:
    asked = 0
    for vector in vectors(payloads):
        if vector["function"] == "size -> quantums":
            grid = Grid(0, vector["atomic_resolution"], -9, vector["step_base_quantums"], 1)
            assert grid.quantums(Decimal(str(vector["size"]))) == vector["expected"]
        elif vector["function"] == "price -> subticks":
            grid = Grid(0, vector["atomic_resolution"], vector["quantum_conversion_exponent"], 1, vector["subticks_per_tick"])
            assert grid.subticks(Decimal(vector["price"])) == vector["expected"]
        else:
            continue
        asked += 1
    assert asked == 4


def test_protobuf_of_the_official_client(payloads: Path) -> None:
    vector = next(v for v in vectors(payloads) if v.get("message") == "MsgCancelOrder")
    account = chain.subaccount(vector["input"]["order_id"]["owner"], 0)
    cancel = chain.cancel_order(account, OrderRef(0, Flags.LONG_TERM, 0), vector["input"]["good_til_block_time"])
    assert cancel.body.hex() == vector["expected_hex"]


def test_short_term_place_byte_for_byte(curve: str) -> None:
    own = signer(address=ADDRESS)
    place = chain.place_order(own.subaccount, SHORT)
    assert place.body.hex() == (
        "0a470a340a2d0a2b6479647831776c646e79746b65727a73333972733238646a6e30703976767165723278326b357838686a79"
        "1540e2010010011880c2d72f2080e497d01228d4843d"
    )
    tx = chain.Transaction(messages=(place,), account_number=11)
    body = chain.tx_body(tx)
    assert body.hex() == "0a6d0a202f6479647870726f746f636f6c2e636c6f622e4d7367506c6163654f72646572" + "1249" + place.body.hex()
    assert chain.auth_info(chain.signer_prefix(own.public_key), 7).hex() == (
        "0a500a460a1f2f636f736d6f732e63727970746f2e736563703235366b312e5075624b657912230a210291d1d9fd23334f3d53c3a5b50b56317d"
        "8964692320d73d22d7a0b115d5eb574f12040a0208011807120410c0843d"
    )
    raw = own.sign_transaction(tx, 7)
    assert raw[-64:].hex() == (
        "01c608faacc31e16f4e6415cd1e3c61ab29e2721214a7bc0aa258e2937bbab6265e23ce2ff702a47ebdcbf88767ba76a3ed936147d320da56c135d495d5871b5"
    )
    assert len(raw) == 269
    assert hashlib.sha256(raw).hexdigest().upper() == "8AD81B8269FACF4D16D343351C732628F40FF37CAF8CBFA497BC28B13F945E15"


def test_a_permissioned_key_names_its_authenticator(curve: str) -> None:
    """The vector is of a key that is its own owner: what is signed does not depend on it."""
    own = signer(address=ADDRESS, authenticator_id="5")
    tx = chain.Transaction(messages=(chain.place_order(own.subaccount, SHORT),), account_number=11)
    extension = "fa7f2c0a252f6479647870726f746f636f6c2e6163636f756e74706c75732e5478457874656e73696f6e12030a0105"
    assert chain.tx_body(tx, own.authenticator).hex().endswith(extension)
    assert own.sign_transaction(tx, 7)[-64:].hex() == (
        "2fcf056991bc423aadac858209751348909a5a16d839eeb2e045dd6d0d58b0c4616b2f85c882dd8d824642570ef11b242534c37bf9b03f37aa819465b1b0f0f2"
    )


def test_the_other_messages_byte_for_byte() -> None:
    account = chain.subaccount(ADDRESS, 0)
    head = "0a2d0a2b6479647831776c646e79746b65727a73333972733238646a6e30703976767165723278326b357838686a791540e20100"
    assert chain.cancel_order(account, REF, 1_000_025).body.hex() == "0a34" + head + "10d9843d"
    long_term = ChainOrder(
        ref=OrderRef(123456, Flags.LONG_TERM, 0),
        side=ChainSide.SELL,
        quantums=100_000_000,
        subticks=5_000_000_000,
        good_til=1_700_000_600,
        time_in_force=ChainTif.POST_ONLY,
    )
    assert chain.place_order(account, long_term).body.hex() == "0a4c0a36" + head + "184010021880c2d72f2080e497d0123558f353653802"
    stop = ChainOrder(
        ref=OrderRef(123456, Flags.CONDITIONAL, 0),
        side=ChainSide.SELL,
        quantums=100_000_000,
        subticks=4_500_000_000,
        good_til=1_700_000_600,
        time_in_force=ChainTif.IOC,
        reduce_only=True,
        client_metadata=1,
        condition=Condition.STOP_LOSS,
        trigger_subticks=4_800_000_000,
    )
    expected = "0a580a36" + head + "182010021880c2d72f20809ae2e1103558f3536538014001480150015880e0e8f011"
    assert chain.place_order(account, stop).body.hex() == expected


def test_the_indexers_ids_of_real_orders() -> None:
    """Rows of the live indexer of 2025-11-12."""
    subaccount = subaccount_uuid("dydx1n56z5fhmemtffzkt2eqyf9kuc7ycjfs86mvqy7", 0)
    assert subaccount == "5113b9c6-885f-5f80-a2cc-ae0d93795419"
    assert order_uuid(subaccount, OrderRef(1700756032, Flags.SHORT_TERM, 0)) == "0f0981cb-152e-57d3-bea9-4d8e0dd5ed35"
    assert order_uuid(subaccount, OrderRef(2501724362, Flags.SHORT_TERM, 0)) == "8e2be4a2-86c6-5a32-a081-b223778c3e33"
    assert order_uuid(subaccount_uuid(ADDRESS, 0), REF) == "7909fe4b-80e1-5a0d-9bb7-0f1d8dc9ab10"


def test_a_mnemonic_is_read_whatever_its_spacing_and_case(curve: str) -> None:
    assert signing.key_from_mnemonic(f"  {MNEMONIC.replace(' ', '   ')}\n").hex() == KEY
    for same in (MNEMONIC.capitalize(), MNEMONIC.upper()):
        assert signing.key_from_mnemonic(same).hex() == KEY


@pytest.mark.parametrize("words", ["", "one two three", "word " * 13, "word " * 25])
def test_a_mnemonic_of_another_length_is_refused_and_not_repeated(words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        signing.key_from_mnemonic(words)
    assert "word word" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "00" * 32, "ff" * 32, "0a7f", "zz" * 32, KEY + "00"])
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        signing.key_from_hex(text)
    assert not text or text not in str(caught.value)


def test_addresses_are_told_by_their_checksum() -> None:
    assert signing.is_address(ADDRESS)
    assert signing.is_address("dydx1n56z5fhmemtffzkt2eqyf9kuc7ycjfs86mvqy7")
    for wrong in (
        "",
        ADDRESS[:-1],
        ADDRESS[:-1] + "z",
        ADDRESS.replace("dydx1", "cosmos1"),
        ADDRESS.upper(),
        ADDRESS[:10] + "b" + ADDRESS[11:],
    ):
        assert not signing.is_address(wrong), wrong


def test_a_wrong_address_or_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="checksum"):
        signer(address=ADDRESS[:-1] + "z")
    with pytest.raises(ConfigError, match="subaccount_number"):
        signer(subaccount_number="-1")
    with pytest.raises(ConfigError, match="authenticator_id"):
        signer(authenticator_id="five")


def test_a_key_shows_in_no_text() -> None:
    own = signer(address=ADDRESS)
    assert KEY not in repr(own)
    with pytest.raises(TypeError):
        pickle.dumps(own)


def test_either_mnemonic_or_key_is_needed() -> None:
    assert Credentials("dydx", {"mnemonic": MNEMONIC}).problem(SPEC) is None
    assert Credentials("dydx", {"private_key": KEY}).problem(SPEC) is None
    assert Credentials("dydx", {"address": ADDRESS}).problem(SPEC) is not None


# ---- the wire format


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**28))
def test_numbers_come_back(value: int, field: int) -> None:
    assert pb.number_of(pb.parse(pb.number_set(field, value)), field) == value
    assert pb.number_of(pb.parse(pb.number(field, value)), field) == value


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1))
def test_bytes_and_fixed_numbers_come_back_and_the_last_of_several_counts(value: bytes, fixed: int) -> None:
    fields = pb.parse(pb.data(3, b"earlier") + pb.fixed32_set(2, fixed) + pb.data(3, value))
    assert (pb.bytes_of(fields, 3), pb.number_of(fields, 2)) == (value, fixed)


@given(st.binary(max_size=60))
def test_garbage_is_a_decode_error_and_nothing_else(body: bytes) -> None:
    for read in (chain.read_broadcast, chain.read_account, chain.read_block, chain.read_fee_tier, chain.read_leverage):
        with suppress(DecodeError):
            read(body)


@pytest.mark.parametrize("read", [chain.read_broadcast, chain.read_account, chain.read_block, chain.read_fee_tier])
def test_an_answer_that_says_nothing_is_a_decode_error(read: Callable[[bytes], object]) -> None:
    """An empty message decodes, to zeros: code 0 of a broadcast that nobody took, block 0, no fees."""
    for body in (b"", pb.data(1, b""), pb.data(2, b"")):
        with pytest.raises(DecodeError):
            read(body)


def test_a_markets_discount_names_its_times_by_messages() -> None:
    """{clob_pair_id: 7, start_time: {seconds: 1760000000, nanos: 5}, end_time: {seconds: 1790000000}, charge_ppm: 500000}"""
    body = bytes.fromhex("0a18080712080880f09dc70610051a060880f7c4d50620a0c21e")
    assert chain.read_market_discount(body) == chain.MarketDiscount(7, 1_760_000_000, 1_790_000_000, 500_000)
    never = pb.data(1, pb.data(2, pb.number(1, 2**64 - 62_135_596_800)))
    assert chain.read_market_discount(never) == chain.MarketDiscount(0, -62_135_596_800, 0, 0)


@pytest.mark.parametrize("body", [b"\x0a", b"\x0a\x05ab", b"\x08", b"\x08\x80", b"\x0b", b"\x0d\x01", b"\x80" * 12])
def test_what_ends_too_early_is_a_decode_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        pb.parse(body)


@pytest.mark.parametrize(("wire", "value"), [(0, 0), (1, -1), (2, 1), (219, -110), (1000, 500)])
def test_signed_numbers_are_zigzag(wire: int, value: int) -> None:
    assert pb.zigzag_of(pb.parse(pb.number_set(5, wire)), 5) == value
