"""Fits the world's parameters on the recordings and writes them as package data.

    python -m exchange_simulator.world.fit --payloads DIR            prints every figure and a comparison with the recordings
    python -m exchange_simulator.world.fit --payloads DIR --write    also rewrites params.json beside this file

Plain Python, half a minute. Not used at run time. Each parameter carries how it was fitted and from which recording, or why it had to be
assumed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from exchange_simulator.world.fitting.check import compare
from exchange_simulator.world.fitting.funding import fit_funding, load_funding
from exchange_simulator.world.fitting.liquidity import fit_liquidity
from exchange_simulator.world.fitting.prices import fit_price
from exchange_simulator.world.fitting.tables import THREE_VENUES, Report
from exchange_simulator.world.fitting.trades import fit_trades
from exchange_simulator.world.params import Params
from exchange_simulator.world.recordings import read_three_venue_bars


def fit(root: Path, *, say: Callable[[str], None] = lambda _: None) -> Report:
    """All parameters from a folder of recordings."""
    report = Report()
    say("price ...")
    fit_price(read_three_venue_bars(root / THREE_VENUES), report)
    say("funding ...")
    fit_funding(load_funding(root), report)
    say("liquidity ...")
    fit_liquidity(root, report)
    say("trades ...")
    fit_trades(root, report)
    return report


def brief(value: Any) -> str:
    """A figure, or first, middle and last of a table."""
    if isinstance(value, list):
        return f"{value[0]:g} .. {value[len(value) // 2]:g} .. {value[-1]:g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {x}" for key, x in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def origin(entry: Mapping[str, Any]) -> str:
    """How a parameter came about, in one sentence."""
    kind = next(key for key in ("fit", "assumed", "documented") if key in entry)
    text = f"{kind}: {entry[kind]}"
    if "source" in entry:
        text += f" [{entry['source']}]"
    if "check" in entry:
        text += f" (check: {entry['check']})"
    return text


def render(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Every parameter as a row of a Markdown table: the table in docs/world.md."""
    rows = [f"| `{name}` | {brief(entry['value'])} | {entry['unit']} | {origin(entry)} |" for name, entry in entries.items()]
    return "\n".join(["| parameter | value | unit | origin |", "|---|---|---|---|", *rows])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m exchange_simulator.world.fit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--payloads", type=Path, required=True, help="folder with streams/ and funding_history/")
    parser.add_argument("--write", action="store_true", help="rewrite params.json")
    args = parser.parse_args(argv)
    if not (args.payloads / "streams").is_dir():
        parser.error(f"{args.payloads} has no streams folder")

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    entries = fit(args.payloads, say=say).entries
    print(render(entries))
    say("comparison ...")
    print()
    print(compare(args.payloads, Params(entries)))
    if args.write:
        target = Path(__file__).with_name("params.json")
        target.write_text(json.dumps({"parameters": entries}, indent=1) + "\n", encoding="utf-8")
        say(f"wrote {target.name}: {len(entries)} parameters")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
