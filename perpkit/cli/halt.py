"""`perpkit halt`: no bot of the state folder enters anything from now on."""

import time

from perpkit.cli.failure import OK
from perpkit.cli.options import Store, user
from perpkit.cli.output import emit_json, iso


def halt(why: str, *, store: Store | None = None, json: bool = False) -> int:
    """Stop all entries of all bots of the state folder, within a second; exits go on. Only `perpkit resume` ends it.

    Resting entry orders come off the book; what protects a position stays. A bot that starts later finds the halt too.

    Parameters
    ----------
    why:
        The reason, for everybody who meets the halt.
    json:
        Print JSON.
    """
    from strategies.risk.halt import HaltFile

    file = HaltFile((store or Store()).folder())
    before = file.read()
    held = file.set(why, user(), time.time_ns())
    if json:
        emit_json({"halted": True, "reason": held.reason, "actor": held.actor, "at": iso(held.at), "new": before is None})
    elif before is not None:
        print(f"halted already since {iso(held.at)} by {held.actor}: {held.reason}")
    else:
        print(f"halted: {held.reason}; `perpkit resume` ends it ({file.path})")
    return OK
