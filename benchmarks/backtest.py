"""Backtest throughput against NautilusTrader in one run: `python -m benchmarks.backtest [--quotes 200000] [--rounds 3] [--peer PYTHON]`.

The same seeded quotes of four markets and the same strategy on both sides: it sees every quote and sends a market order at every n-th of a
market (never, 1 in 1000, 1 in 100). Events per CPU second of the run alone, without making the data; peak memory of the whole process.
`--peer` is the interpreter of an environment with nautilus_trader 1.231 (default `$PERPKIT_PEERS`/nautilus/bin/python).
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from pathlib import Path

from benchmarks.run import Comparison, Side, bytecode, table

EVERY = (0, 1000, 100)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quotes", type=int, default=200_000)
    options.add_argument("--rounds", type=int, default=3)
    peers = Path(os.environ.get("PERPKIT_PEERS") or Path.home() / ".cache" / "perpkit" / "peers")
    options.add_argument("--peer", type=Path, default=peers / "nautilus" / "bin" / "python")
    chosen = options.parse_args()
    rows: list[tuple[str, ...]] = []
    rng = random.Random(0)
    with bytecode():
        for every in EVERY:
            argument = f"{chosen.quotes},{every}"
            sides = [Side("ours", Path(sys.executable), ("ours_backtest.py", "backtest", argument))]
            if chosen.peer.exists():
                sides.append(Side("NautilusTrader", chosen.peer, ("-W", "ignore", "peer_nautilus.py", "backtest", argument)))
            else:
                print(f"NautilusTrader is left out: there is no {chosen.peer}", file=sys.stderr)
            comparison = Comparison(f"{chosen.quotes:,} quotes, order every {every or 'never'}", "events_s", "events/s", sides)
            comparison.run(chosen.rounds, rng)
            for note in comparison.notes:
                print(f"left out: {note}", file=sys.stderr)
            ours = comparison.medians["ours"]
            for side in sides:
                found = comparison.medians.get(side.name)
                if found is not None:
                    if (found["seen"], found["orders"], found["fills"]) != (ours["seen"], ours["orders"], ours["fills"]):
                        print(f"{side.name} did not do the same: {found}", file=sys.stderr)
                    speed, memory = ours["events_s"] / found["events_s"], ours["rss_mib"] / found["rss_mib"]
                    ratio = ("", "") if side.name == "ours" else (f"{speed:.2f}", f"{memory:.2f}")
                    rows.append((comparison.title, side.name, f"{found['events_s']:,.0f}", f"{found['rss_mib']:.0f}", *ratio))
    print("\n".join(table(rows, ("case", "who", "events per CPU second", "peak MiB", "ours is times as fast", "our memory of theirs"))))


if __name__ == "__main__":
    main()
