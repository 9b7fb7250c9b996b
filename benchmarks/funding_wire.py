"""Answers that hold the funding of all markets, as Aster words them. Standard library only: peers read them too."""

from __future__ import annotations

import json
import random

MS = 1_795_260_000_000


def bases(markets: int) -> list[str]:
    return [f"B{n}" for n in range(markets)]


def premium_index(markets: int, seed: int) -> bytes:
    """One answer of `GET /fapi/v1/premiumIndex`."""
    rng = random.Random(seed)
    rows = []
    for base in bases(markets):
        price = 10 ** rng.uniform(-1, 4.7)
        rows.append(
            {
                "symbol": f"{base}USDT",
                "markPrice": f"{price:.8f}",
                "indexPrice": f"{price * rng.uniform(0.999, 1.001):.8f}",
                "estimatedSettlePrice": f"{price:.8f}",
                "lastFundingRate": f"{rng.gauss(0.0001, 0.0003):.8f}",
                "interestRate": "0.00010000",
                "nextFundingTime": MS + rng.randint(1, 8 * 3600) * 1000,
                "time": MS,
            }
        )
    return json.dumps(rows, separators=(",", ":")).encode()
