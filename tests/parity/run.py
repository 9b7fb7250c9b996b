"""`python tests/parity/run.py [pytest arguments]`: make the peers' environments where they are missing, then run the parity tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.parity import peers


def main(arguments: list[str]) -> int:
    failed = peers.build_all()
    for name in peers.PEERS:
        if name in failed:
            print(f"{name}: {failed[name]}; its tests will be skipped", file=sys.stderr)
        else:
            print(f"{name}: {peers.python_of(name)}")
    return subprocess.call([sys.executable, "-m", "pytest", "tests/parity", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
