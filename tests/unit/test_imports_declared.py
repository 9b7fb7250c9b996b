"""Every package that shipped code imports is a declared dependency, of the core or of an extra."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("exchange_clients", "exchange_simulator", "strategies", "database", "funding_rate_service", "perpkit")
CALLED = {
    "pyyaml": "yaml",
    "eth-account": "eth_account",
    "lighter-sdk": "lighter",
    "grpcio": "grpc",
    "protobuf": "google",
    "pytest": "pytest",
    "pytest-asyncio": "pytest_asyncio",
}
BROUGHT = {
    "yarl": "aiohttp",
    "multidict": "aiohttp",
    "eth_utils": "eth-account",
    "eth_keys": "eth-account",
    "Crypto": "eth-account",
    "pydantic_core": "pydantic",
}


def imported(package: str) -> set[str]:
    """Top-level names that the modules of a package import, ours and the standard library's left out."""
    found: set[str] = set()
    for file in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - set(PACKAGES) - {"__future__"}


def declared() -> set[str]:
    """Import names of every dependency in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]
    names = {re.split(r"[\[<>=! ;]", line)[0].lower() for line in wanted}
    return {CALLED.get(name, name.replace("-", "_")) for name in names}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_are_declared(package: str) -> None:
    known = declared()
    missing = imported(package) - known - {name for name, by in BROUGHT.items() if by.replace("-", "_") in known}
    assert missing == set()


def test_no_sdk_is_imported_by_shipped_code() -> None:
    assert not {name for package in PACKAGES for name in imported(package)} & {"ccxt", "hyperliquid", "requests", "urllib3", "httpx"}
