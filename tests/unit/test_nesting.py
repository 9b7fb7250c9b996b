"""Text that nests without end must not end the process, whatever a library did to Python's recursion limit."""

import subprocess
import sys

import pytest

FATAL = """
import sys, msgspec
from exchange_clients.nesting import bounded_nesting
sys.setrecursionlimit(100_000)
try:
    with bounded_nesting():
        msgspec.json.decode(b"[" * 1_000_000)
except RecursionError:
    print("refused", sys.getrecursionlimit())
"""


@pytest.mark.slow
def test_a_decoder_does_not_run_out_of_stack() -> None:
    told = subprocess.run([sys.executable, "-c", FATAL], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "refused 100000\n")
