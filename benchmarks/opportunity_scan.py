"""Ranking all pairs: `python -m benchmarks.opportunity_scan [--rounds 5] [--venues 11 --markets 400] [--peer PYTHON]`.

Two comparisons in one run, CPU milliseconds, each figure the median of fresh processes that take turns. *scan*: the bytes of ten answers
with 300 markets each, decoded, checked, turned into quotes and ranked, against ccxt parsing the same answers and ranking nothing (goal 5:
at most a quarter). *rescan*: quotes in memory with every figure different, all or one venue changed, against judging every pair one by one;
both give the same answer, which each process asserts. `--peer` is the interpreter of an environment with ccxt
(default `$PERPKIT_PEERS`/ccxt/bin/python).
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from pathlib import Path

from benchmarks.run import Comparison, Side, bytecode, table

SCAN = "10,300"
STAGES = {"parse": "decoded", "quotes": "checked, made into quotes", "rank": "taken in and ranked", "total": "all of it"}
WORK = {
    "from_nothing": "Ranker made and asked",
    "all_changed": "every quote changed, asked",
    "one_venue_changed": "one venue changed, asked",
    "query": "asked: 20 by net",
    "query_100": "asked: 100 by net",
    "query_filtered": "asked: five filters, by break-even",
    "query_symbol": "asked: one symbol",
    "plain": "judged one by one",
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--venues", type=int, default=11)
    options.add_argument("--markets", type=int, default=400)
    peers = Path(os.environ.get("PERPKIT_PEERS") or Path.home() / ".cache" / "perpkit" / "peers")
    options.add_argument("--peer", type=Path, default=peers / "ccxt" / "bin" / "python")
    chosen = options.parse_args()
    rng, here = random.Random(0), Path(sys.executable)
    sides = [Side("ours", here, ("ours_scan.py", "scan", SCAN))]
    if chosen.peer.exists():
        sides.append(Side("ccxt", chosen.peer, ("peer_funding.py", SCAN)))
    else:
        print(f"ccxt is left out: there is no {chosen.peer}", file=sys.stderr)
    size = f"{chosen.venues},{chosen.markets}"
    scan = Comparison("scan", "total", "ms", sides, rehearsals=1)
    rescan = Comparison("rescan", "all_changed", "ms", [Side("ours", here, ("ours_scan.py", "rescan", size))], rehearsals=1)
    with bytecode():
        for comparison in (scan, rescan):
            comparison.run(chosen.rounds, rng)
            for note in comparison.notes:
                print(f"left out: {note}", file=sys.stderr)
    ours, theirs = scan.medians["ours"], scan.medians.get("ccxt")
    rows = [
        (f"ours: {what}", f"{ours[stage]:.2f}", "" if theirs is None else f"{ours[stage] / theirs['total']:.2f}")
        for stage, what in STAGES.items()
    ]
    if theirs is not None:
        rows.append(("ccxt: parsed", f"{theirs['total']:.2f}", ""))
    venues, markets = SCAN.split(",")
    print("\n".join(table(rows, (f"{venues} venues x {markets} markets, {ours['pairs']:,.0f} pairs", "CPU ms", "of ccxt's"))))
    found = rescan.medians["ours"]
    print()
    head = f"{chosen.venues} venues x {chosen.markets} markets, {found['pairs']:,.0f} pairs, {found['passing']:,.0f} pass"
    print(
        "\n".join(
            table(
                [(what, f"{found[name]:.2f}", f"{found['plain'] / found[name]:,.0f}") for name, what in WORK.items()],
                (head, "CPU ms", "times as fast as one by one"),
            )
        )
    )


if __name__ == "__main__":
    main()
