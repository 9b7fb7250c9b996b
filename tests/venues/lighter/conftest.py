"""The vendor's library, where there is one."""

import os
from pathlib import Path

import pytest

from exchange_clients.lighter.signing import LibraryUnavailable, find_library


@pytest.fixture(scope="session")
def library() -> Path:
    """Of an installed `lighter-sdk`, or the file that PERPKIT_LIGHTER_LIB names; skips without either."""
    if named := os.environ.get("PERPKIT_LIGHTER_LIB"):
        return Path(named)
    try:
        return find_library()
    except LibraryUnavailable as e:
        pytest.skip(str(e))
