"""What the tests share: the recorded payloads."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def payloads() -> Path:
    """The recorded venue messages: `$PERPKIT_PAYLOADS`, else `../shared/payloads` beside the checkout.

    A bare clone skips; CI fails without them.
    """
    named = os.environ.get("PERPKIT_PAYLOADS")
    folder = Path(named) if named else ROOT.parent / "shared" / "payloads"
    if not (folder / "INDEX.md").exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must run the payload tests, and there is no recording in {folder}")
        pytest.skip("no recorded payloads: set PERPKIT_PAYLOADS")
    return folder
