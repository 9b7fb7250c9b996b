"""Accounts as the venue knows them: main wallets, their agents, legacy keys, modes, the key of the stream; and the nonces of agents."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

from exchange_simulator.dialects.base import Refusal

KEPT_NONCES: Final = 100
NONCE_WINDOW_US: Final = 60 * 10**6
LISTEN_KEY_NS: Final = 3600 * 10**9


class Nonces:
    """Of one signer, in microseconds: unused, near the venue's clock, and not below the hundred newest."""

    def __init__(self) -> None:
        self._heap: list[int] = []
        self._kept: set[int] = set()

    def use(self, nonce: int, now_us: int) -> None:
        """
        Raises:
            Refusal: -4225, whatever is wrong with it.
        """
        if abs(nonce - now_us) > NONCE_WINDOW_US or nonce in self._kept or (len(self._heap) >= KEPT_NONCES and nonce < self._heap[0]):
            raise Refusal(-4225, "Nonce Expired", status=400)
        heappush(self._heap, nonce)
        self._kept.add(nonce)
        if len(self._heap) > KEPT_NONCES:
            self._kept.discard(heappop(self._heap))


@dataclass(slots=True)
class Wallet:
    """One account. `agents` are signers' addresses; `api_key` and `api_secret` are those of API v1."""

    account: int
    user: str
    agents: set[str]
    api_key: str
    api_secret: str
    hedge: bool = False
    multi_assets: bool = False
    can_trade: bool = True
    deposited: bool = True
    listen_key: str = ""
    listen_until_ns: int = 0
    touched_ns: dict[str, int] = field(default_factory=dict)
    """When each position changed last."""
    countdowns: dict[str, int] = field(default_factory=dict)
