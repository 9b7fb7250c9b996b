"""Client and dialect, written apart, agree on every order: bytes, signer, valid prices; and what is encoded decodes to itself."""

from __future__ import annotations

from decimal import Decimal as D

import eth_account.messages  # noqa: F401 - raises the recursion limit when imported, which hypothesis must not see
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange_clients.hyperliquid import messages as m
from exchange_clients.hyperliquid.client.utils import converters
from exchange_clients.hyperliquid.client.utils.helpers import wire_number
from exchange_clients.hyperliquid.signing import SigningKey, sign_l1_action
from exchange_clients.model import Side
from exchange_simulator.dialects.hyperliquid import HyperliquidDialect, signatures, wire

numbers = st.decimals(min_value=D("0.00000001"), max_value=D(10**7), places=8, allow_nan=False, allow_infinity=False).map(wire_number)
cloids = st.none() | st.integers(0, 2**128 - 1).map(lambda n: f"0x{n:032x}")
limits = st.sampled_from(["Gtc", "Ioc", "Alo"]).map(lambda tif: m.OrderKind(limit=m.LimitSpec(tif)))
triggers = st.builds(m.TriggerSpec, st.booleans(), numbers, st.sampled_from(["tp", "sl"])).map(lambda spec: m.OrderKind(trigger=spec))
orders = st.builds(m.OrderWire, st.integers(0, 200_000), st.booleans(), numbers, numbers, st.booleans(), limits | triggers, cloids)
addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
builders = st.none() | st.builds(m.Builder, addresses, st.integers(1, 100))
placements = st.builds(
    m.PlaceOrders, st.lists(orders, min_size=1, max_size=20), st.sampled_from(["na", "normalTpsl", "positionTpsl"]), builders
)
ids = st.integers(0, 2**60)
cancels = st.lists(st.builds(m.CancelWire, st.integers(0, 200_000), ids), min_size=1, max_size=20).map(m.CancelOrders)
by_cloid = st.lists(st.builds(m.CancelByCloidWire, st.integers(0, 200_000), cloids.filter(bool)), min_size=1, max_size=20).map(
    m.CancelByCloid
)
modifies = st.lists(st.builds(m.ModifyWire, ids, orders), min_size=1, max_size=5).map(m.BatchModify)
settings_ = (
    st.builds(m.UpdateLeverage, st.integers(0, 200_000), st.booleans(), st.integers(1, 50))
    | st.builds(m.UpdateIsolatedMargin, st.integers(0, 200_000), st.just(True), st.integers(-(10**12), 10**12))
    | st.builds(m.ScheduleCancel, st.none() | st.integers(1, 2**45))
)
actions = placements | cancels | by_cloid | modifies | settings_


@given(action=actions)
def test_an_action_survives_json_and_the_venue_s_own_type_hashes_the_same_bytes(action: m.Action) -> None:
    text = msgspec.json.encode(action)
    assert msgspec.json.decode(text, type=m.Action) == action
    assert msgspec.msgpack.encode(signatures.decode_action(text)) == msgspec.msgpack.encode(action)
    assert b"null" not in text


@settings(max_examples=20, deadline=None)
@given(
    action=actions,
    secret=st.integers(1, 2**250),
    nonce=st.integers(0, 2**45),
    vault=st.none() | addresses,
    expires=st.none() | st.integers(0, 2**45),
    mainnet=st.booleans(),
)
def test_the_dialect_recovers_the_signer(
    action: m.Action, secret: int, nonce: int, vault: str | None, expires: int | None, mainnet: bool
) -> None:
    key = SigningKey(f"{secret:064x}")
    made = sign_l1_action(key, action, nonce, mainnet=mainnet, vault=vault, expires_after_ms=expires)
    signature = signatures.SignatureWire(made.r, made.s, made.v)
    envelope = signatures.Envelope(msgspec.Raw(b"{}"), nonce, signature, vault, expires)
    received = signatures.decode_action(msgspec.json.encode(action))
    assert signatures.recover_l1(received, envelope, mainnet=mainnet) == key.address
    assert signatures.recover_l1(received, envelope, mainnet=not mainnet) != key.address


@given(
    price=st.decimals(min_value=D("0.0001"), max_value=D(999_999), places=7, allow_nan=False, allow_infinity=False),
    decimals=st.integers(0, 5),
    side=st.sampled_from(list(Side)),
    aggressive=st.booleans(),
)
def test_every_price_that_we_round_to_is_one_that_the_dialect_takes(price: D, decimals: int, side: Side, aggressive: bool) -> None:
    instrument = converters.instruments(m.Meta([m.AssetMeta("AAA", szDecimals=decimals, maxLeverage=3)]), dex="", quote="USDC")[0]
    assert instrument is not None
    market = HyperliquidDialect.listing("AAA", tick_size=D(1), step_size=D(1).scaleb(-decimals))
    assert (market.tick_size, market.step_size) == (instrument.tick_size, instrument.step_size)
    rounded = instrument.price_for(side, price, aggressive=aggressive)
    if rounded > 0:
        assert wire.valid_price(market, D(wire_number(instrument.to_venue_price(rounded))))


@given(value=st.integers(-(10**24), 10**24))
def test_money_is_written_without_losing_more_than_a_millionth(value: int) -> None:
    text = wire.usd(value)
    assert abs(D(text) - D(value).scaleb(-12)) < D("0.000001")
    assert "E" not in text
    assert "." in text
