"""The official Lighter SDK's side, in its own environment: `python peer_lighter.py CASE [ARGUMENT]`."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import timing

KEY = "ab" * 39 + "01"
SIGNATURES = 300


def library(_: str) -> dict[str, str]:
    """Where the SDK keeps its shared library."""
    import ctypes

    from lighter import signer_client

    found = signer_client.get_signer()
    assert isinstance(found, ctypes.CDLL)
    return {"path": found._name}


def sign(_: str) -> dict[str, float]:
    """One limit order through the SDK's own wrapper of its library: on the main thread, where the SDK calls it, and on another.

    The library is several times slower on the main thread of a Python process.
    """
    from lighter import signer_client

    client: Any = signer_client.SignerClient.__new__(signer_client.SignerClient)  # its constructor asks the venue
    client.url, client.chain_id, client.account_index = "http://127.0.0.1:9", 304, 7
    client.api_key_dict = {5: KEY}
    client.signer = signer_client.get_signer()
    client.create_client(5)

    def once(n: int) -> None:
        *_, failed = client.sign_create_order(1, n + 1, 1000, 600_000, False, 0, 1, nonce=n + 1, api_key_index=5)
        assert failed is None, failed

    def all_of_them() -> float:
        once(0)
        return timing.cpu_us(lambda: [once(n) for n in range(SIGNATURES)], SIGNATURES)

    with ThreadPoolExecutor(1) as pool:
        return {"sign": all_of_them(), "sign_elsewhere": pool.submit(all_of_them).result()}


CASES: dict[str, Any] = {"library": library, "sign": sign}

if __name__ == "__main__":
    timing.answer(CASES[sys.argv[1]](sys.argv[2]))
