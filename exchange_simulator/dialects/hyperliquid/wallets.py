"""Addresses: accounts, their agents, sub-accounts, nonces and action budgets."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

from exchange_simulator.dialects.base import Refusal

KEPT_NONCES: Final = 100
DAY_MS: Final = 86_400_000
EXHAUSTED_EVERY_MS: Final = 10_000


class Nonces:
    """The 100 highest of one signer; a new one must be unused and above the smallest of them."""

    def __init__(self) -> None:
        self._heap: list[int] = []
        self._kept: set[int] = set()

    def use(self, nonce: int, now_ms: int) -> None:
        """
        Raises:
            Refusal: used before, too low, or out of the time window.
        """
        if not now_ms - 2 * DAY_MS < nonce < now_ms + DAY_MS:
            raise Refusal("nonce", f"Invalid nonce: {nonce} is out of the allowed window around {now_ms}")
        if nonce in self._kept:
            raise Refusal("nonce", f"Invalid nonce: duplicate nonce {nonce}")
        if len(self._heap) >= KEPT_NONCES and nonce < self._heap[0]:
            raise Refusal("nonce", f"Invalid nonce: nonce too low {nonce}")
        heappush(self._heap, nonce)
        self._kept.add(nonce)
        if len(self._heap) > KEPT_NONCES:
            self._kept.discard(heappop(self._heap))


@dataclass(slots=True)
class Wallet:
    """One address with an account at the exchange. `master` is set for sub-accounts. Agents: address -> (name, valid until ms)."""

    address: str
    account: int
    master: str | None = None
    name: str = ""
    agents: dict[str, tuple[str, int]] = field(default_factory=dict)
    abstraction: str = "default"
    """With "unifiedAccount" the collateral shows as spot balance."""
    builders: dict[str, str] = field(default_factory=dict)
    requests: int = 0
    last_request_ms: int = 0

    def charge(self, count: int, cap: int, volume: str, now_ms: int) -> None:
        """Count actions against the address budget; exhausted, one action per 10 s passes.

        Raises:
            Refusal: too many.
        """
        if self.requests >= cap and now_ms - self.last_request_ms < EXHAUSTED_EVERY_MS:
            raise Refusal("rate", f"Too many cumulative requests sent ({self.requests} > {cap}) for cumulative volume traded ${volume}.")
        self.requests += count
        self.last_request_ms = now_ms
