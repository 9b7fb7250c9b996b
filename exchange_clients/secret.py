"""Text that does not show itself: not in `repr`, not in a traceback with locals, not pickled."""

from __future__ import annotations

import hmac
from typing import Any


class Secret:
    """One secret. `reveal` is the only way to its text; keep what it returns out of variables, which tracebacks may show."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(errors="surrogateescape"), other._text.encode(errors="surrogateescape"))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce__(self) -> Any:
        raise TypeError("secrets are not serialised")


def bare(error: BaseException) -> BaseException:
    """The error as a cause to name, without the frames of those who raised it: their locals are headers, keys and addresses of proxies."""
    found: BaseException | None = error
    while found is not None:
        found.__traceback__ = None
        found = found.__cause__ or found.__context__
    return error
