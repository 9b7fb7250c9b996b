"""`perpkit demo`: the main job end to end on simulated venues."""

import sys
from pathlib import Path
from typing import Any

import msgspec

from exchange_simulator.world.recordings import RecordingError
from perpkit.cli.failure import OK, WRONG, Failure
from perpkit.cli.output import emit_json, iso
from perpkit.demo import DemoOptions, DemoReport, run_demo
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
    if data is not None and not data.is_dir():
        raise Failure(f"{data} is no folder", hint="--data wants the folder with the recordings")
    try:
        report = run_demo(DemoOptions(seed=seed, in_memory=in_memory, data=data, home=home, live=sys.stdout.isatty(), quiet=json))
    except DemoFailed as e:
        raise Failure(str(e), hint=f"{home / 'demo.log'} has the details", code=WRONG, kind="demo") from e
    except RecordingError as e:
        raise Failure(str(e), hint="--data wants the folder with the recordings") from e
    if json:
        emit_json(as_json(report))
    return OK if report.succeeded else WRONG


def as_json(report: DemoReport) -> dict[str, Any]:
    """The report with its times as every command tells them."""
    told: dict[str, Any] = msgspec.to_builtins(report)
    decisions = [{**shown, "at": iso(decision.at)} for shown, decision in zip(told["decisions"], report.decisions, strict=True)]
    return {**told, "opened_at": iso(report.opened_at), "closed_at": iso(report.closed_at), "decisions": decisions}
