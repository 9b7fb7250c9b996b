"""What importing one venue brings along: nothing that waits for the first client, and no other venue."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from exchange_clients import venues

VENUES = tuple(sorted(venues.names()))
LATER = ("aiohttp", "pydantic", "tenacity", "sqlalchemy", "yaml", "eth_account", "coincurve", "grpc", "lighter")


@pytest.mark.parametrize("venue", VENUES)
def test_importing_a_venue_loads_only_what_it_needs(venue: str) -> None:
    code = f"import sys, json, exchange_clients.{venue}; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout))
    assert not loaded.intersection(LATER)
    assert not [name for other in VENUES if other != venue for name in loaded if name.startswith(f"exchange_clients.{other}")]
