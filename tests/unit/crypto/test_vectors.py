"""Every recorded vector of another implementation (made with elliottech/poseidon_crypto), and a few in plain figures."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exchange_clients.crypto import ecgfp5, goldilocks, poseidon2, quintic, schnorr
from exchange_clients.crypto.goldilocks import P

raw = bytes.fromhex


def vectors(payloads: Path, file: str, kind: str = "") -> Iterator[dict[str, Any]]:
    for line in (payloads / "lighter" / "sign" / f"{file}.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["name"].split(":")[1].startswith(kind):
            yield record["payload"]["vector"]


def element(text: str) -> int:
    return goldilocks.from_bytes(raw(text))[0]


def test_goldilocks(payloads: Path) -> None:
    count = 0
    for v in vectors(payloads, "field_goldilocks_vectors"):
        a, b = element(v["a"]), element(v["b"])
        assert (a + b) % P == element(v["add"])
        assert (a - b) % P == element(v["sub"])
        assert a * b % P == element(v["mul"])
        assert -a % P == element(v["neg_a"])
        assert goldilocks.inverse(a) == element(v["inv_a"])
        assert pow(a, int(v["e"]), P) == element(v["pow_a_e"])
        assert (a == b) is v["a_eq_b"]
        count += 1
    assert count == 55


def test_quintic(payloads: Path) -> None:
    count = 0
    for v in vectors(payloads, "field_quintic_vectors"):
        a, b = quintic.from_bytes(raw(v["a"])), quintic.from_bytes(raw(v["b"]))
        assert quintic.to_bytes(a + b).hex() == v["add"]
        assert quintic.to_bytes(a + quintic.NEGATOR - b).hex() == v["sub"]
        assert quintic.to_bytes(quintic.mul(a, b)).hex() == v["mul"]
        assert quintic.to_bytes(quintic.NEGATOR - a).hex() == v["neg_a"]
        assert quintic.to_bytes(quintic.inverse(a)).hex() == v["inv_a"]
        assert quintic.to_bytes(quintic.power(a, int(v["e"]))).hex() == v["pow_a_e"]
        assert (a == b) is v["a_eq_b"]
        count += 1
    assert count == 55


def test_curve(payloads: Path) -> None:
    def point(text: str) -> ecgfp5.Point:
        found = ecgfp5.decode(quintic.from_bytes(raw(text)))
        assert found is not None
        return found

    def encoded(p: ecgfp5.Point) -> str:
        return quintic.to_bytes(ecgfp5.encode(p)).hex()

    counts = dict.fromkeys(("add", "decode", "scalar_mul", "scalar_ops"), 0)
    for v in vectors(payloads, "curve_ecgfp5_vectors", "add"):
        a, b = point(v["a_w"]), point(v["b_w"])
        assert encoded(ecgfp5.add(a, b)) == encoded(ecgfp5.add_affine(a, ecgfp5.to_affine([b])[0])) == v["sum_w"]
        assert encoded(ecgfp5.double(a)) == encoded(ecgfp5.add(a, a)) == v["a_double_w"]
        counts["add"] += 1
    for v in vectors(payloads, "curve_ecgfp5_vectors", "decode"):
        found = ecgfp5.decode(quintic.from_bytes(raw(v["w"])))
        assert (found is not None) is v["decodes"]
        if found is not None:
            assert encoded(found) == v["encoded_back"]
            assert ecgfp5.is_neutral(found) is v["is_neutral"]
        counts["decode"] += 1
    for v in vectors(payloads, "curve_ecgfp5_vectors", "scalar_mul"):
        base, scalar = point(v["base_w"]), int.from_bytes(raw(v["scalar_le"]), "little")
        assert encoded(ecgfp5.multiply(base, scalar)) == encoded(ecgfp5.combine([(ecgfp5.Multiples(base), scalar)])) == v["out_w"]
        counts["scalar_mul"] += 1
    for v in vectors(payloads, "curve_ecgfp5_vectors", "scalar_ops"):
        x, y = ecgfp5.scalar_from_bytes(raw(v["a"])), ecgfp5.scalar_from_bytes(raw(v["b"]))
        for name, value in (("add", x + y), ("sub", x - y), ("mul", x * y), ("neg_a", -x)):
            assert ecgfp5.scalar_to_bytes(value % ecgfp5.ORDER).hex() == v[name]
        assert (x == 0) is v["a_is_zero"]
        counts["scalar_ops"] += 1
    assert counts == {"add": 7, "decode": 5, "scalar_mul": 10, "scalar_ops": 15}


def test_poseidon2(payloads: Path) -> None:
    def limbs(text: str) -> list[int]:
        return goldilocks.from_bytes(raw(text))

    def text(elements: Any) -> str:
        return goldilocks.to_bytes(elements).hex()

    counts = dict.fromkeys(("permute", "sponge", "hash_to_quintic", "hash_n_to_one"), 0)
    for v in vectors(payloads, "hash_poseidon2_vectors", "permute"):
        assert text(poseidon2.permute(limbs(v["input"]))) == v["output"]
        counts["permute"] += 1
    for v in vectors(payloads, "hash_poseidon2_vectors", "sponge"):
        assert text(poseidon2.sponge(limbs(v["input"]), v["num_outputs"])) == v["output"]
        counts["sponge"] += 1
    for v in vectors(payloads, "hash_poseidon2_vectors", "hash_to_quintic"):
        assert text(poseidon2.hash_to_quintic(limbs(v["input"]))) == v["output"]
        counts["hash_to_quintic"] += 1
    for v in vectors(payloads, "hash_poseidon2_vectors", "hash_n_to_one"):
        assert text(poseidon2.hash_n_to_one([limbs(x) for x in v["inputs"]])) == v["output"]
        counts["hash_n_to_one"] += 1
    assert counts == {"permute": 12, "sponge": 26, "hash_to_quintic": 9, "hash_n_to_one": 3}


def test_schnorr(payloads: Path) -> None:
    keys = list(vectors(payloads, "schnorr_vectors", "keygen"))
    signatures = list(vectors(payloads, "schnorr_vectors", "sign"))
    for v in keys:
        assert schnorr.public_key(raw(v["sk"])).hex() == v["pk"]
    for v in signatures:
        secret, message = raw(v["sk"]), raw(v["hashed_msg"])
        signature = schnorr.sign(secret, message, int.from_bytes(raw(v["k"]), "little"))
        assert signature.hex() == v["sig"]
        assert schnorr.verify(schnorr.public_key(secret), message, signature)
    assert (len(keys), len(signatures)) == (14, 10)


def test_a_few_vectors_in_plain_figures() -> None:
    """What a bare clone proves."""
    secret = raw("4980df1a5a76cba9fef4d80446e951108e16a5b21f497976475c950bd2588c5a58771d5b06498d28")
    message = raw("4b1047aff6018e74d095f1655d639d99192e1b447abe1087078612814b88ddfabc53f279194014ee")
    k = int.from_bytes(raw("5866d18f345acc487b5bfbc92bb1a3d2351628e54cd41a3d47e351fa62c16bd454075f200178017c"), "little")
    public = schnorr.public_key(secret)
    assert public.hex() == "2db191eb16d3314974f8708363909aeee607d06fb743156b18d3b353a5d40fef70ae377dd68d06fe"
    assert schnorr.sign(secret, message, k).hex() == (
        "22794fdf937575606fc2b233d1b565ee085991dc9a68d598989a3e2f76b338e4914e79f85259a451"
        "25468abb012d123fe4d13619c90e053a3749737b72c8f9294e8db2469e832ed664b6afcc65bb055e"
    )
    one = raw("01" + "00" * 39)
    assert schnorr.sign(one, bytes(40), 1).hex() == (
        "ef712b296927fd6e9f35c526fe8f968190578c0b32df888b69cb1c9c62682d357093bebf3f896b32"
        "f38d606b2db21279fd6a5fb03bccf166a9ae2bc4b42077f4ac34e3638e97d24a976c41c0bd76944d"
    )
    assert schnorr.public_key(one) == raw("04" + "00" * 39)
    zeros = goldilocks.to_bytes(poseidon2.permute([0] * 12)).hex()
    assert zeros == (
        "1cc3145a75f1ab638273d45f3c163881281438ebb436917a2d451041d0f18795ca7f811cc77c1f93caf2106d784e214e"
        "3d8771783b38f401971e6e16c9117ee74447816c72023be61f3216e453db8e4457189af9b18f87c38da592bb4a29c073"
    )
    a = quintic.from_bytes(raw("fe4ee61e09697b30" * 5))
    assert quintic.unpack(quintic.mul(a, quintic.inverse(a))) == (1, 0, 0, 0, 0)
    assert goldilocks.inverse(element("fe4ee61e09697b30")) == element("726fefd606199133")
