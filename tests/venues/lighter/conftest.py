"""The vendor's library, where there is one."""

import os
import platform
from pathlib import Path

import pytest

from exchange_clients.lighter.signing import LibraryUnavailable, find_library
from tests.parity import peers


@pytest.fixture(scope="session")
def library() -> Path:
    """Of an installed `lighter-sdk`, of the parity environment's, or the file that PERPKIT_LIGHTER_LIB names; skips without one."""
    if named := os.environ.get("PERPKIT_LIGHTER_LIB"):
        return Path(named)
    try:
        return find_library()
    except LibraryUnavailable as e:
        built = f"lighter/signers/lighter-signer-{platform.system().lower()}-*"
        found = [path for path in (peers.folder() / "lighter-sdk").glob(f"lib/python3*/site-packages/{built}") if path.suffix != ".h"]
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine().lower(), "none")
        for path in found:
            if path.stem.endswith(machine):
                return path
        pytest.skip(str(e))
