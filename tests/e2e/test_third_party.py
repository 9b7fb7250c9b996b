"""A venue from somebody else's package: installed with pip, it is there, without a change here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exchange_clients import venues as registry

OURS = list(registry.names())
ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.slow

PACKAGE = """
from dataclasses import replace

from exchange_clients.hyperliquid import VENUE as MODEL
from exchange_clients.venues import Venue

SPEC = replace(MODEL.spec, name="{name}", title="Somebody's venue")
VENUE = Venue(SPEC, MODEL.client, MODEL.websocket, MODEL.funding)
"""


def install(folder: Path, points: str, source: str) -> dict[str, str]:
    """A package as pip lays it out; the environment that sees it."""
    (folder / "somebodys_venue.py").write_text(source, encoding="utf-8")
    info = folder / "somebodys_venue-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-venue\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[exchange_clients.venues]\n{points}\n", encoding="utf-8")
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


def venues(environ: dict[str, str]) -> tuple[int, dict[str, object], str]:
    done = subprocess.run([sys.executable, "-m", "perpkit", "venues", "--json"], env=environ, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr


def names(told: dict[str, object]) -> list[str]:
    found = told["venues"]
    assert isinstance(found, list)
    return [one["name"] for one in found]


def test_it_appears_beside_ours(tmp_path: Path) -> None:
    code, told, err = venues(install(tmp_path, "somebodys = somebodys_venue:VENUE", PACKAGE.format(name="somebodys")))
    assert (code, err) == (0, "")
    assert names(told) == sorted([*OURS, "somebodys"])


def test_one_that_does_not_load_is_named_and_hides_no_other(tmp_path: Path) -> None:
    code, told, _ = venues(install(tmp_path, "somebodys = somebodys_venue:VENUE", "import a_package_that_nobody_has"))
    assert code == 1
    assert names(told) == OURS
    broken = told["broken"]
    assert isinstance(broken, dict)
    assert "a_package_that_nobody_has" in broken["somebodys"]


def test_one_that_is_registered_under_another_name_is_refused(tmp_path: Path) -> None:
    code, told, _ = venues(install(tmp_path, "somebodys = somebodys_venue:VENUE", PACKAGE.format(name="other")))
    assert code == 1
    broken = told["broken"]
    assert isinstance(broken, dict)
    assert "'other'" in broken["somebodys"]


def test_two_packages_that_offer_the_same_name_are_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "perpkit", "venues", "--json"],
        env=install(tmp_path, "lighter = somebodys_venue:VENUE", PACKAGE.format(name="lighter")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "two packages offer it" in done.stderr


def test_the_conformance_suite_runs_over_it_and_says_what_is_missing(tmp_path: Path) -> None:
    environ = install(tmp_path, "somebodys = somebodys_venue:VENUE", PACKAGE.format(name="somebodys"))
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:randomly", "-W", "error::pytest.PytestUnknownMarkWarning"]
    which = ["--pyargs", "exchange_simulator.conformance", "-k", "somebodys and (exact_figures or first_book)"]
    done = subprocess.run([*command, *which], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "no dialect 'somebodys'" in done.stdout
    assert "2 skipped" in done.stdout
