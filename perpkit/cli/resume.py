"""`perpkit resume`: the operator ends a halt."""

import time

from perpkit.cli.failure import OK
from perpkit.cli.options import Store, user
from perpkit.cli.output import emit_json, iso


def resume(*, store: Store | None = None, json: bool = False) -> int:
    """End the halt of the state folder: bots may enter again within a second. What was taken off the book is not placed again by this.

    A loss limit that set the halt goes on refusing entries until 00:00 UTC.

    Parameters
    ----------
    json:
        Print JSON.
    """
    from strategies.risk.halt import HaltFile

    held = HaltFile((store or Store()).folder()).clear(user(), time.time_ns())
    if json:
        emit_json({"halted": False, "was": None if held is None else {"reason": held.reason, "actor": held.actor, "at": iso(held.at)}})
    elif held is None:
        print("nothing was halted")
    else:
        print(f"resumed; was halted since {iso(held.at)} by {held.actor}: {held.reason}")
    return OK
