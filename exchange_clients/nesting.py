"""How deep a decoder may go.

Importing py_ecc, which eth-account does, raises Python's recursion limit to 100,000 for the whole process; up to Python 3.11 a decoder in C
that is fed as many brackets then runs out of stack, and the process dies.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

LIMIT = 1_000
"""Python's own."""


@contextmanager
def bounded_nesting() -> Iterator[None]:
    """Inside, text that nests without end raises RecursionError instead of ending the process; an import inside raises no limit."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(min(before, LIMIT))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
