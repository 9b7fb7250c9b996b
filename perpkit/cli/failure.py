"""From an exception to one clear line, the next step, and an exit code that scripts can use."""

import errno
import os
import sys
from collections.abc import Sequence

OK = 0
WRONG = 1
USAGE = 2
CREDENTIALS = 3
UNAVAILABLE = 4
UNPROVED = 5
BUG = 70
INTERRUPTED = 130


class Failure(Exception):
    """A command cannot go on. `hint` is the next step for the user."""

    def __init__(self, message: str, *, hint: str = "", code: int = USAGE, kind: str = "usage") -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code
        self.kind = kind


def report(error: BaseException, arguments: Sequence[str], *, kind: str = "", code: int | None = None, hint: str = "") -> int:
    """Print the failure and return its exit code. A traceback appears only with PERPKIT_DEBUG=1."""
    if os.environ.get("PERPKIT_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    found_kind, found_code, found_hint = _classify(error)
    kind, code, hint = kind or found_kind, found_code if code is None else code, hint or found_hint
    message = _words(error)
    print(f"perpkit: {message}" + (f"; {hint}" if hint else ""), file=sys.stderr)
    if "--json" in arguments:
        from perpkit.cli.output import emit_json

        emit_json({"error": {"kind": kind, "message": message, "hint": hint, "exit_code": code}})
    return code


def _words(error: BaseException) -> str:
    match error:
        case KeyboardInterrupt():
            return "interrupted"
        case OSError(filename=str(name), strerror=str(reason)):
            return f"{name}: {reason}"
    return " ".join(str(error).split()).removesuffix(".") or type(error).__name__


def _classify(error: BaseException) -> tuple[str, int, str]:
    """(kind, exit code, next step) of an error that reached the top."""
    from database.errors import JournalError
    from database.keys import VaultError
    from exchange_clients import errors

    match error:
        case Failure():
            return error.kind, error.code, error.hint
        case KeyboardInterrupt():
            return "interrupted", INTERRUPTED, ""
        case errors.MissingCredentials():
            return "credentials", CREDENTIALS, "" if "set " in error.message else "`perpkit venues VENUE` lists the variables to set"
        case errors.AuthError():
            return "credentials", CREDENTIALS, f"`perpkit doctor {error.venue}` shows what the venue says of the key"
        case errors.UnknownInstrument():
            return "symbol", USAGE, f"`perpkit funding --venue {error.venue}` lists what trades there"
        case errors.OrderOutcomeUnknown():
            return "unproved", UNPROVED, "`perpkit recover` resolves it"
        case errors.RateLimited() | errors.Throttled():
            return "rate_limit", UNAVAILABLE, "wait a minute, or run fewer processes on this address"
        case errors.ConnectFailed():
            return "unreachable", UNAVAILABLE, "check the network and the address (--endpoint), then try again"
        case errors.ConfigError() | errors.OrderDenied():
            return "usage", USAGE, ""
        case errors.VenueError():
            return "venue", UNAVAILABLE, "try again; `perpkit doctor` shows which part fails"
        case VaultError():
            return "vault", CREDENTIALS, ""
        case JournalError():
            return "journal", UNAVAILABLE, ""
        case TimeoutError():
            return "timeout", UNAVAILABLE, "try again; `perpkit doctor` shows which part fails"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return "disk", UNAVAILABLE, "make room, then try again"
        case OSError(filename=str()):
            return "file", USAGE, "check the path and its permissions"
        case ModuleNotFoundError(name=str(name)):
            return "missing_package", USAGE, f'{name} belongs to an extra: pip install "perpkit[all]"'
    return type(error).__name__, BUG, "this is a bug of perpkit: set PERPKIT_DEBUG=1 for the traceback and report it"
