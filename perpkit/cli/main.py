"""Entry of the `perpkit` command: which commands exist, and how their failures become one line and an exit code."""

import os
import sys
from collections.abc import Sequence

from perpkit import __version__
from perpkit.cli.failure import OK, USAGE, report

COMMANDS = {
    "venues": "The venues that are installed and what each can do.",
    "doctor": "Check reach, clock, latency, keys, streams, account and limits of venues; says what to do about each finding.",
    "book": "The order book of one market, once or live.",
    "funding": "Funding rates of all venues side by side, and where they differ most.",
    "record": "The public streams of a venue as they come off the wire, for replay and backtests.",
    "replay": "A recording through the venue's own decoder, books and sequence rules: what a client would have seen.",
    "serve": "The funding-rate service: web page, HTTP API and stream over all venues.",
    "opportunities": "Pairs of venues that pay for holding them, net of what they cost: live, from a service, or as of a past moment.",
    "demo": "The main job end to end on simulated venues: no account, no key, no network.",
    "config": "The file of a bot: write one, or have one explained.",
    "run": "Run bots from their files: paper, shadow, demo or live.",
    "backtest": "A bot over recorded history: result, split, curves and every position as one page.",
    "sweep": "One backtest per combination of parameters, on all cores.",
    "positions": "What the journal says is open, beside what the venues prove.",
    "halt": "Stop all entries of all bots within a second; exits go on.",
    "resume": "End a halt.",
    "watchdog": "Beside live bots: when one falls silent, take its entries off and balance its pairs.",
    "stress": "What a price move does to every account: equity, maintenance, liquidation, which leg breaks first.",
    "close": "Close a pair, a holding or all: by the bot that runs, or without one.",
    "recover": "After a crash: the proven state of every open pair, and the actions that are allowed.",
    "why": "The story of one pair: every decision with its inputs.",
    "report": "What pairs, holdings and runs earned, from the venues' own records: tables, JSON, CSV.",
    "db": "The database of market data and accounts: version, size, copies, upkeep.",
    "accounts": "Keys of venues, encrypted in the database, by account name: add, list, verify, remove, rotate.",
    "keys": "Keys of the control API: add, list, revoke.",
    "new-venue": "Write the skeleton of a venue: client, dialect, tests, page, examples.",
}

HELP = """Trade perpetual futures on many venues through one contract.

Every command takes --json. Exit codes: 0 done, 1 done and something is wrong, 2 wrong usage or configuration, 3 credentials, \
4 a venue or the network failed (try again), 5 something is not proved (run perpkit recover), 70 a bug of ours, 130 interrupted."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. Errors are one line on stderr, and with `--json` also an object on stdout."""
    try:
        from cyclopts import App, CycloptsError, Parameter
    except ImportError:
        print('perpkit: the command line is not installed: pip install "perpkit[cli]"', file=sys.stderr)
        return USAGE
    app = App(
        name="perpkit",
        help=HELP,
        version=__version__,
        result_action="return_value",
        help_format="plaintext",
        default_parameter=Parameter(negative=""),
        suppress_keyboard_interrupt=False,  # it is told like every other end
    )
    for name, line in COMMANDS.items():
        module = name.replace("-", "_")
        app.command(f"perpkit.cli.{module}:{module}", name=name, help=line)
    try:
        code = app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as e:
        return report(e, arguments, kind="usage", code=USAGE, hint=f"see perpkit {_command(arguments)}--help")
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the flush at exit
        return OK
    except (Exception, KeyboardInterrupt) as e:
        return report(e, arguments)
    return code if isinstance(code, int) else OK


def _command(arguments: Sequence[str]) -> str:
    return f"{arguments[0]} " if arguments and arguments[0] in COMMANDS else ""
