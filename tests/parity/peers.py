"""Environments of clients that we did not write. They never share ours: their pins and ours do not agree.

Where: `$PERPKIT_PARITY_ENVS`, else `~/.cache/perpkit/parity`. Made by `python tests/parity/run.py`, and by CI before its tests.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_TYPING = ("typing-extensions>=4.12", "typing-inspection>=0.4", "annotated-types>=0.6")
PEERS: dict[str, tuple[str, ...]] = {
    "bpx-py": ("bpx-py==2.0.11",),
    "ccxt": ("ccxt==4.5.90", "protobuf==5.29.5", "pycryptodome"),  # the last two for its dYdX
    "python-okx": ("python-okx==0.4.4",),
    "lighter-sdk": ("lighter-sdk==1.1.8",),
    # The SDK's frame decoder alone: what signs in it has no wheel for these interpreters.
    "paradex-sdk": ("--no-deps", "paradex-py==0.8.2", "pydantic==2.11.7", "pydantic-core==2.33.2", *_TYPING),
    "hyperliquid-sdk": ("hyperliquid-python-sdk==0.24.0", "coincurve>=21"),
    "dydx-sdk": ("dydx-v4-client==1.1.5",),
}
BUILD_S = 600


class PeerUnavailable(RuntimeError):
    """The environment is not there, or could not be made."""


def folder() -> Path:
    named = os.environ.get("PERPKIT_PARITY_ENVS")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perpkit" / "parity"


def python_of(name: str) -> Path:
    """Its interpreter.

    Raises:
        PeerUnavailable: nobody made the environment.
    """
    python = folder() / name / "bin" / "python"
    if not python.exists():
        raise PeerUnavailable(f"no {name} environment in {folder()}: run `python tests/parity/run.py`")
    return python


def build_all() -> dict[str, str]:
    """Makes what is missing, a few at a time: waiting for the registry is most of it. Returns why those that failed did."""
    failed: dict[str, str] = {}

    def one(name: str) -> None:
        try:
            build(name)
        except PeerUnavailable as e:
            failed[name] = str(e)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, PEERS))
    return failed


def build(name: str) -> Path:
    """Makes the environment unless it is there with these pins; one process at a time.

    Raises:
        PeerUnavailable: it cannot be made here (no registry, no wheel for this interpreter).
    """
    home = folder() / name
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python, stamp, pins = home / "bin" / "python", home / "pins", " ".join(PEERS[name])
        if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == pins:
            return python
        scratch = home.with_name(f"{name}.part")
        try:
            venv.create(scratch, clear=True, with_pip=True, symlinks=True)
            command = [
                str(scratch / "bin" / "python"),
                "-m",
                "pip",
                "--disable-pip-version-check",
                "install",
                "-qq",
                "--no-compile",
                *PEERS[name],
            ]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=BUILD_S)
        except (OSError, subprocess.SubprocessError) as e:
            said = getattr(e, "stderr", None) or e
            raise PeerUnavailable(f"{name} cannot be installed with {sys.executable}: {said}") from e
        (scratch / stamp.name).write_text(pins, encoding="utf-8")
        if home.is_symlink():
            home.unlink()  # somebody's own environment, lent: it is not ours to delete
        elif home.exists():
            shutil.rmtree(home)
        scratch.rename(home)  # scripts in bin keep the old path; only the interpreter is used
        return python
