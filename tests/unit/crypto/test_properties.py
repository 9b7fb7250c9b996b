"""Laws that hold for every input, and what malformed input meets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange_clients.crypto import ecgfp5, goldilocks, quintic, schnorr
from exchange_clients.crypto.goldilocks import P

limbs = st.lists(st.one_of(st.sampled_from([0, 1, P - 1, 2**32, 2**32 - 1]), st.integers(0, P - 1)), min_size=5, max_size=5).map(tuple)
scalars = st.integers(0, ecgfp5.ORDER - 1)
GENERATOR = ecgfp5.decode(4)


def schoolbook(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The product in GF(p)[z] / (z^5 - 3), straight from the definition."""
    product = [0] * 9
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            product[i + j] += x * y
    return tuple((product[k] + 3 * (product[k + 5] if k < 4 else 0)) % P for k in range(5))


@given(limbs, limbs)
def test_the_packed_product_is_the_schoolbook_product(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    assert quintic.unpack(quintic.mul(quintic.pack(a), quintic.pack(b))) == schoolbook(a, b)
    assert quintic.unpack(quintic.square(quintic.pack(a))) == schoolbook(a, a)
    assert quintic.unpack(quintic.times_z(quintic.pack(a), 263)) == schoolbook(a, (0, 263, 0, 0, 0))


@given(st.lists(st.integers(2**76 - 2**70, 2**76 - 1), min_size=5, max_size=5), st.integers(0, 2**76 - 1))
def test_products_hold_at_the_bound_of_their_slots(a: list[int], b: int) -> None:
    wide = quintic.pack(a)
    other = quintic.pack([b] * 5)
    product = quintic.mul(wide, other)
    assert quintic.unpack(product) == schoolbook(tuple(x % P for x in a), (b % P,) * 5)
    mask = (1 << quintic.SLOT) - 1
    assert all((product >> (quintic.SLOT * i) & mask) < 3 * 2**64 for i in range(5))


@given(limbs)
def test_a_square_has_the_canonical_root_and_only_squares_have_one(a: tuple[int, ...]) -> None:
    x = quintic.pack(a)
    root = quintic.sqrt(quintic.square(x))
    assert root is not None
    assert quintic.unpack(quintic.square(root)) == quintic.unpack(quintic.square(x))
    symbol = quintic.legendre(x)
    assert (quintic.sqrt(x) is None) is (symbol == -1)
    assert symbol in (0, 1, -1)
    leading = next((limb for limb in quintic.unpack(root) if limb), 1)
    assert leading & 1


@given(st.integers(0, P - 1))
def test_goldilocks_roots(a: int) -> None:
    root = goldilocks.sqrt(a * a)
    assert root in (a, P - a if a else 0)
    found = goldilocks.sqrt(a)
    assert found is None or found * found % P == a


@settings(max_examples=10, deadline=None)
@given(scalars, scalars)
def test_multiples_are_a_homomorphism(a: int, b: int) -> None:
    assert GENERATOR is not None
    table = ecgfp5.Multiples(GENERATOR)
    left = ecgfp5.add(ecgfp5.combine([(table, a)]), ecgfp5.combine([(table, b)]))
    right = ecgfp5.combine([(table, (a + b) % ecgfp5.ORDER)])
    assert quintic.unpack(ecgfp5.encode(left)) == quintic.unpack(ecgfp5.encode(right))
    both = ecgfp5.combine([(table, a), (table, b)])
    assert quintic.unpack(ecgfp5.encode(both)) == quintic.unpack(ecgfp5.encode(right))


def test_the_group_has_the_stated_order() -> None:
    assert GENERATOR is not None
    assert ecgfp5.is_neutral(ecgfp5.multiply(GENERATOR, ecgfp5.ORDER))
    assert quintic.unpack(GENERATOR[0]) == (
        12883135586176881569,
        4356519642755055268,
        5248930565894896907,
        2165973894480315022,
        2448410071095648785,
    )
    assert ecgfp5.encode(ecgfp5.NEUTRAL) % P == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(1, ecgfp5.ORDER - 1), limbs, st.integers(0, 639))
def test_signatures_verify_and_any_flipped_bit_breaks_them(secret: int, message: tuple[int, ...], bit: int) -> None:
    key, digest = ecgfp5.scalar_to_bytes(secret), goldilocks.to_bytes(message)
    public, signature = schnorr.public_key(key), schnorr.sign(key, digest)
    assert signature == schnorr.sign(key, digest)
    assert schnorr.verify(public, digest, signature)
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not schnorr.verify(public, digest, bytes(flipped))
    other = goldilocks.to_bytes(((message[0] + 1) % P, *message[1:]))
    assert not schnorr.verify(public, other, signature)


def test_malformed_input_never_verifies() -> None:
    key = ecgfp5.scalar_to_bytes(7)
    digest, public = bytes(40), schnorr.public_key(key)
    signature = schnorr.sign(key, digest)
    assert schnorr.verify(public, digest, signature)
    assert not schnorr.verify(public, digest, signature[:-1])
    assert not schnorr.verify(public, digest[:-1], signature)
    assert not schnorr.verify(b"\xff" * 40, digest, signature)
    assert not schnorr.verify(public[:-1], digest, signature)
    assert not schnorr.verify(bytes(40), digest, signature)
    assert not schnorr.verify(public, b"\xff" * 40, signature)
    shifted = int.from_bytes(signature[:40], "little") + ecgfp5.ORDER
    assert not schnorr.verify(public, digest, shifted.to_bytes(40, "little") + signature[40:])
    for bad in (bytes(40), b"\xff" * 40, b"\x01"):
        with pytest.raises(ValueError, match=r"key is not zero|scalar"):
            schnorr.public_key(bad)


def test_padding_is_asked_for() -> None:
    assert goldilocks.from_bytes(b"1:2", pad=True) == [0x323A31]
    with pytest.raises(ValueError, match="whole number"):
        goldilocks.from_bytes(b"1:2")
    with pytest.raises(ValueError, match="order"):
        goldilocks.from_bytes(b"\xff" * 8)
