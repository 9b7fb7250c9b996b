"""The promises of the package: a lock that names no place, a wheel with its data, every venue registered and fenced by contracts."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("exchange_clients", "exchange_simulator", "strategies", "database", "funding_rate_service", "perpkit")
NOT_VENUES = {"transport", "crypto"}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def venue_folders() -> list[str]:
    folders = [entry.name for entry in (ROOT / "exchange_clients").iterdir() if (entry / "__init__.py").exists()]
    return sorted(set(folders) - NOT_VENUES)


def test_lock_names_packages_and_hashes_only() -> None:
    lines = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8").splitlines()
    pin = re.compile(r"[a-z0-9][a-z0-9-]*(\[[a-z0-9,-]+\])?==[0-9][0-9a-z.]*( ; [^/]+)? \\")
    digest = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    assert lines
    assert [line for line in lines if not pin.fullmatch(line) and not digest.fullmatch(line)] == []


def test_lock_covers_every_direct_dependency() -> None:
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8"), re.MULTILINE))
    extras = project()["project"]["optional-dependencies"]
    wanted = [*project()["project"]["dependencies"], *extras["dev"], *extras["evm"], *extras["db"], *extras["cli"], *extras["tui"]]
    names = {re.split(r"[\[<>=! ;]", requirement)[0].lower() for requirement in wanted} - {"perpkit"}
    assert names - locked == set()


@pytest.mark.slow
def test_wheel_holds_all_packages_with_their_data(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert {f"{package}/py.typed" for package in PACKAGES} <= held
    assert {str(file.relative_to(ROOT)) for file in files} - held == set()
    assert {name.split("/")[0] for name in held if ".dist-info" not in name} == set(PACKAGES)


def test_every_venue_folder_is_registered() -> None:
    assert sorted(project()["project"]["entry-points"]["exchange_clients.venues"]) == venue_folders()


def test_every_venue_is_fenced_by_the_import_contracts() -> None:
    contracts = project()["tool"]["importlinter"]["contracts"]
    fences = [
        contract for contract in contracts if any(name.startswith("exchange_clients.") for name in contract.get("forbidden_modules", []))
    ]
    assert len(fences) >= 4
    for contract in fences:
        assert {f"exchange_clients.{name}" for name in venue_folders()} <= set(contract["forbidden_modules"]), contract["name"]
    (layers,) = [contract for contract in contracts if contract["type"] == "layers"]
    assert sorted(re.findall(r"\w+", layers["layers"][0])) == venue_folders()
