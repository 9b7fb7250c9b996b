"""Parity tests run where the peers are installed. CI makes their environments itself, before it collects."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.parity import peers

os.environ.setdefault("PERPKIT_PARITY_ENVS", str(peers.folder()))
_failed = peers.build_all() if os.environ.get("CI") == "true" else {}


@pytest.fixture
def peer() -> Callable[[str], Path]:
    """`peer("ccxt")` is the interpreter of that environment; without one the test is skipped and says why."""

    def find(name: str) -> Path:
        try:
            return peers.python_of(name)
        except peers.PeerUnavailable as e:
            pytest.skip(_failed.get(name, str(e)))

    return find
