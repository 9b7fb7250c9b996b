"""Seeded frames in the venues' wire formats, sized like recorded ones. Standard library only.

Hyperliquid `l2Book`: 20 + 20 levels, whole book, about 1.6 kB. Lighter `order_book`: a snapshot of 400 + 400 levels, then updates of about
19 levels, 1 kB. The process: a mid price that walks, levels near it that appear, change and vanish.
"""

from __future__ import annotations

import json
import random

DEPTH = 400
LEVELS_PER_UPDATE = 19


class Market:
    """Two sides around a walking mid, in ticks."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.mid = 600_000
        self.sides: dict[str, dict[int, int]] = {"bids": {}, "asks": {}}
        for n in range(1, DEPTH + 1):
            self.sides["bids"][self.mid - n] = self.rng.randint(1, 10**6)
            self.sides["asks"][self.mid + n] = self.rng.randint(1, 10**6)

    def move(self) -> list[tuple[str, int, int]]:
        """Changes of one update as (side, tick, size); size 0 removes. The book never crosses."""
        rng, changes = self.rng, []
        if rng.random() < 0.3:
            self.mid += rng.choice((-2, -1, 1, 2))
            for side, wrong in (("bids", lambda t: t >= self.mid), ("asks", lambda t: t <= self.mid)):
                changes += [(side, tick, 0) for tick in self.sides[side] if wrong(tick)]
        while len(changes) < LEVELS_PER_UPDATE:
            side = rng.choice(("bids", "asks"))
            distance = 1 + min(DEPTH - 1, int(rng.expovariate(1 / 25)))
            tick = self.mid - distance if side == "bids" else self.mid + distance
            gone = tick in self.sides[side] and rng.random() < 0.35
            changes.append((side, tick, 0 if gone else rng.randint(1, 10**6)))
        for side, tick, size in changes:
            if size:
                self.sides[side][tick] = size
            else:
                self.sides[side].pop(tick, None)
        return changes

    def best(self, side: str, count: int) -> list[tuple[int, int]]:
        return sorted(self.sides[side].items(), reverse=side == "bids")[:count]


def hyperliquid_frames(count: int, *, coin: str = "BTC", seed: int = 1) -> list[str]:
    market, frames = Market(seed), []
    for n in range(count):
        market.move()
        levels = [
            [{"px": f"{tick / 10:.1f}", "sz": f"{size / 1e5:.5f}", "n": 1 + size % 20} for tick, size in market.best(side, 20)]
            for side in ("bids", "asks")
        ]
        data = {"coin": coin, "time": 1_790_000_000_000 + n * 500, "levels": levels}
        frames.append(json.dumps({"channel": "l2Book", "data": data}, separators=(",", ":")))
    return frames


def _lighter(kind: str, market_id: int, n: int, begin: int, changes: list[tuple[str, int, int]]) -> str:
    rows: dict[str, list[dict[str, str]]] = {"asks": [], "bids": []}
    for side, tick, size in changes:
        rows[side].append({"price": f"{tick / 10:.1f}", "size": f"{size / 1e5:.5f}"})
    now = 1_790_000_000_000 + n * 50
    book = {"code": 0, **rows, "offset": n + 1, "nonce": 1000 + n, "begin_nonce": begin, "last_updated_at": now * 1000}
    frame = {"channel": f"order_book:{market_id}", "last_updated_at": now * 1000, "offset": n + 1, "order_book": book, "timestamp": now}
    return json.dumps({**frame, "type": f"{kind}/order_book"}, separators=(",", ":"))


def lighter_frames(count: int, *, market_id: int = 1, seed: int = 1) -> list[str]:
    """The first is the snapshot."""
    market = Market(seed)
    start = [(side, tick, size) for side in ("bids", "asks") for tick, size in market.best(side, DEPTH)]
    frames = [_lighter("subscribed", market_id, 0, 0, start)]
    frames += [_lighter("update", market_id, n, 999 + n, market.move()) for n in range(1, count)]
    return frames
