"""`perpkit demo`: the main job end to end on simulated venues."""

import sys
from pathlib import Path

from perpkit.cli.failure import OK, WRONG, Failure
from perpkit.cli.output import emit_json
from perpkit.demo import DemoOptions, run_demo
from perpkit.demo.show import DemoFailed


def demo(
    *, seed: int = 7, in_memory: bool = False, data: Path | None = None, home: Path = Path(".perpkit-demo"), json: bool = False
) -> int:
    """Open, hedge, hold and close a funding-arbitrage pair on two simulated venues that speak the real wire protocols, about a minute.

    Parameters
    ----------
    seed:
        Fixes the world and the faults.
    in_memory:
        No sockets, virtual time: the same seed gives the same run, in seconds.
    data:
        Folder of recordings to replay instead of the seeded market.
    home:
        Where the demo keeps its database.
    json:
        Print the closing report as JSON, without the live view.

    Exit code 1 when the pair did not end closed, flat and explained to the cent.
    """
    if home.exists() and any(home.iterdir()) and not (home / "demo.log").exists():
        raise Failure(f"{home} holds other things, and the demo starts with an empty folder", hint="choose another --home")
    try:
        report = run_demo(DemoOptions(seed=seed, in_memory=in_memory, data=data, home=home, live=sys.stdout.isatty(), quiet=json))
    except DemoFailed as e:
        raise Failure(str(e), hint=f"{home / 'demo.log'} has the details", code=WRONG, kind="demo") from e
    if json:
        emit_json(report)
    return OK if report.succeeded else WRONG
