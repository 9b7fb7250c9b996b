"""`python -m exchange_simulator`: serve simulated venues by hand and print how to reach them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from contextlib import AsyncExitStack
from decimal import Decimal, InvalidOperation
from typing import Any

from exchange_clients.transport.runtime import Runtime
from exchange_simulator import dialects
from exchange_simulator.dialects import UnknownDialect
from exchange_simulator.faults import FaultPlan, plan_of
from exchange_simulator.ready import MARKETS, ReadyVenue, ready_venue


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m exchange_simulator", description=__doc__)
    parser.add_argument("--venue", action="append", metavar="NAME", help="which dialect; again for more (default: all registered)")
    parser.add_argument("--port", type=int, default=0, help="of the first venue, the others follow; 0 takes free ones")
    parser.add_argument("--markets", default="BTC,ETH", help=f"of {', '.join(MARKETS)} (default: %(default)s)")
    parser.add_argument("--deposit", default="100000", help="of the test account, in the venue's collateral")
    parser.add_argument("--seed", type=int, default=0, help="of prices, books and credentials")
    parser.add_argument("--still", action="store_true", help="markets that do not move")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="LINE", help='for example "lost_ack nth=2"; see exchange_simulator/faults.py'
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="then it ends by itself (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one line for machines instead of text")
    return parser


async def _serve(arguments: argparse.Namespace, kinds: list[Any], bases: list[str], deposit: Decimal) -> None:
    runtime = Runtime.system()
    try:
        async with AsyncExitStack() as stack:
            venues: dict[str, ReadyVenue] = {}
            for number, kind in enumerate(kinds):
                options: dict[str, Any] = {}
                if arguments.fault:
                    options["faults"] = plan_of(arguments.fault, runtime.clock.time_ns, seed=arguments.seed)
                venue = ready_venue(
                    kind,
                    runtime,
                    bases=bases,
                    deposit=deposit,
                    seed=arguments.seed,
                    live=not arguments.still,
                    port=arguments.port + number if arguments.port else 0,
                    **options,
                )
                venues[kind.name] = await stack.enter_async_context(venue)
                if isinstance(options.get("faults"), FaultPlan):
                    options["faults"].attach(venues[kind.name].exchange)
            print(_as_json(venues) if arguments.json else _as_text(venues, arguments.minutes), flush=True)
            await asyncio.sleep(arguments.minutes * 60)
    finally:
        runtime.offload.close()


def _as_json(venues: dict[str, ReadyVenue]) -> str:
    return json.dumps({name: {"endpoints": venue.endpoints, "environ": dict(venue.environ)} for name, venue in venues.items()})


def _as_text(venues: dict[str, ReadyVenue], minutes: float) -> str:
    lines = []
    for name, venue in venues.items():
        lines.append(name)
        lines.append(f"  rest       {venue.server.rest}")
        lines += [f"  {role:10} {url}" for role, url in venue.server.ws.items()]
        lines.append("  test account, worth nothing:")
        lines += [f"    {variable}={value}" for variable, value in venue.environ.items()]
    return "\n".join([*lines, f"Ctrl-C ends it, and so do {minutes:g} minutes."])


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        raise ValueError(f"--deposit is a positive amount, not {text!r}")
    return amount


def main(argv: list[str] | None = None) -> int:
    """The command; 2 for arguments that make no sense."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    bases = [base.strip().upper() for base in arguments.markets.split(",") if base.strip()]
    unknown = [base for base in bases if base not in MARKETS]
    if unknown or not bases:
        parser.error(f"--markets: {', '.join(unknown) or 'none'}; there are {', '.join(MARKETS)}")
    if arguments.minutes <= 0:
        parser.error("--minutes must be positive")
    if not 0 <= arguments.port <= 65535:
        parser.error("--port is 0 to 65535")
    try:
        kinds = [dialects.get(name) for name in arguments.venue or dialects.names()]
        deposit = _amount(arguments.deposit)
        plan_of(arguments.fault, lambda: 0)
    except (UnknownDialect, ValueError) as e:
        parser.error(str(e))
    if not kinds:
        parser.error("no dialect is registered: is perpkit installed?")
    if arguments.port + len(kinds) - 1 > 65535:
        parser.error(f"--port {arguments.port} leaves no room for {len(kinds)} venues")
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve(arguments, kinds, bases, deposit))
    except OSError as e:
        print(f"cannot listen: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
