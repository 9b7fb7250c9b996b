"""ccxt's side of the funding scan, in its own environment: `python peer_funding.py VENUES,MARKETS`. Parsing alone: it ranks nothing."""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import ccxt
import funding_wire
import timing
from peer_ccxt import market

REPEATS = 9


def main(argument: str) -> dict[str, float]:
    venues, markets = map(int, argument.split(","))
    exchange = ccxt.aster()
    listed: list[dict[str, Any]] = [
        {**market(base, f"{base}USDT"), "symbol": f"{base}/USDT:USDT", "quote": "USDT", "settle": "USDT"}
        for base in funding_wire.bases(markets)
    ]
    exchange.set_markets(listed)
    taken = []
    for repeat in range(REPEATS):
        answers = [funding_wire.premium_index(markets, seed=repeat * venues + n).decode() for n in range(venues)]
        start = time.process_time()
        found = [exchange.parse_funding_rates(exchange.parse_json(text)) for text in answers]
        taken.append((time.process_time() - start) * 1e3)
        assert sum(len(one) for one in found) == venues * markets
    return {"total": statistics.median(taken), "parse": statistics.median(taken)}


if __name__ == "__main__":
    timing.answer(main(sys.argv[1]))
