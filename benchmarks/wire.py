"""Seeded frames in the venues' wire formats, sized like recorded ones. Standard library only.

Hyperliquid `l2Book`: 20 + 20 levels, whole book, about 1.6 kB. Lighter `order_book`: a snapshot of 400 + 400 levels, then updates of about
19 levels, 1 kB; OKX, Aster, Backpack and dYdX say the same in their own words. The process: a mid price that walks, levels near it that
appear, change and vanish.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable

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


def okx_frames(count: int, *, inst: str = "BTC-USDT-SWAP", seed: int = 1) -> list[str]:
    """`books`: a snapshot of 400 + 400 levels, then updates that name their predecessor. Sizes in contracts."""

    def frame(n: int, action: str, changes: list[tuple[str, int, int]]) -> str:
        rows: dict[str, list[list[str]]] = {"asks": [], "bids": []}
        for side, tick, size in changes:
            rows[side].append([f"{tick / 10:.1f}", f"{size / 100:g}", "0", str(1 + size % 20) if size else "0"])
        data = {**rows, "ts": str(1_790_000_000_000 + n * 100), "checksum": 0, "seqId": 1000 + n, "prevSeqId": 999 + n if n else -1}
        return json.dumps({"arg": {"channel": "books", "instId": inst}, "action": action, "data": [data]}, separators=(",", ":"))

    return _deltas(count, seed, lambda n, changes: frame(n, "update" if n else "snapshot", changes))


def aster_frames(count: int, *, symbol: str = "BTCUSDT", seed: int = 1) -> list[str]:
    """`depthUpdate`s; the first is the snapshot as the REST endpoint gives it."""

    def frame(n: int, changes: list[tuple[str, int, int]]) -> str:
        rows = _pairs(changes)
        now = 1_790_000_000_000 + n * 100
        if not n:
            return json.dumps({"lastUpdateId": 1001, "E": now, "T": now, "bids": rows["bids"], "asks": rows["asks"]}, separators=(",", ":"))
        data = {"e": "depthUpdate", "E": now, "T": now, "s": symbol, "U": 1000 + n, "u": 1000 + n, "pu": 999 + n}
        event = {**data, "b": rows["bids"], "a": rows["asks"]}
        return json.dumps({"stream": f"{symbol.lower()}@depth@100ms", "data": event}, separators=(",", ":"))

    return _deltas(count, seed, frame)


def backpack_frames(count: int, *, symbol: str = "BTC_USDC_PERP", seed: int = 1) -> list[str]:
    """`depth` updates; the first is the snapshot as the REST endpoint gives it."""

    def frame(n: int, changes: list[tuple[str, int, int]]) -> str:
        rows = _pairs(changes)
        now = (1_790_000_000_000 + n * 100) * 1000
        if not n:
            rows = {side: sorted(levels, key=lambda level: float(level[0])) for side, levels in rows.items()}
            return json.dumps({**rows, "lastUpdateId": "1000", "timestamp": now}, separators=(",", ":"))
        data = {"e": "depth", "E": now, "T": now, "s": symbol, "U": 1000 + n, "u": 1000 + n, "b": rows["bids"], "a": rows["asks"]}
        return json.dumps({"stream": f"depth.{symbol}", "data": data}, separators=(",", ":"))

    return _deltas(count, seed, frame)


def dydx_frames(count: int, *, market_id: str = "BTC-USD", seed: int = 1) -> list[str]:
    """`v4_orderbook`: a snapshot, then changes in order of their message ids."""

    def frame(n: int, changes: list[tuple[str, int, int]]) -> str:
        head = {"connection_id": "86052893-19bc-46c9-a1af-e9f5ff4f6572", "message_id": n + 1, "id": market_id, "channel": "v4_orderbook"}
        if not n:
            rows = {side: [{"price": price, "size": size} for price, size in levels] for side, levels in _pairs(changes).items()}
            return json.dumps({"type": "subscribed", **head, "contents": rows}, separators=(",", ":"))
        return json.dumps({"type": "channel_data", **head, "version": "1.0.0", "contents": _pairs(changes)}, separators=(",", ":"))

    return _deltas(count, seed, frame)


def _pairs(changes: list[tuple[str, int, int]]) -> dict[str, list[list[str]]]:
    rows: dict[str, list[list[str]]] = {"bids": [], "asks": []}
    for side, tick, size in changes:
        rows[side].append([f"{tick / 10:.1f}", f"{size / 1e5:.5f}" if size else "0"])
    return rows


def _deltas(count: int, seed: int, frame: Callable[[int, list[tuple[str, int, int]]], str]) -> list[str]:
    """The whole book as frame 0, then its changes."""
    market = Market(seed)
    start = [(side, tick, size) for side in ("bids", "asks") for tick, size in market.best(side, DEPTH)]
    return [frame(0, start), *(frame(n, market.move()) for n in range(1, count))]


FRAMES: dict[str, Callable[[int], list[str]]] = {
    "hyperliquid": hyperliquid_frames,
    "lighter": lighter_frames,
    "okx": okx_frames,
    "aster": aster_frames,
    "backpack": backpack_frames,
    "dydx": dydx_frames,
}
"""Venue -> frames of one BTC market."""
