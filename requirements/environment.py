"""Create or update the virtual environment of this checkout: `environment.py VENV LOCK`. Does nothing when it is up to date.

Pins come with hashes from the lock; the project itself is installed editable, so that its venues, dialects and pytest plugin exist.
"""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path


def main(home: Path, lock: Path) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - this script is what tells the owner of an older Python
        sys.exit(f"perpkit needs Python 3.11 or newer, {sys.executable} is {sys.version.split()[0]}: set PYTHON=python3.12 or similar")
    stamp = home / f".ready-{_key(lock, Path('pyproject.toml'))}"
    python = home / "bin" / "python"
    if stamp.exists() and python.exists():
        return
    print(f"preparing {home} from {lock} with Python {sys.version.split()[0]}", file=sys.stderr, flush=True)
    try:
        venv.create(home, clear=_other_version(python), with_pip=True, symlinks=True)
    except subprocess.CalledProcessError:
        sys.exit("python3 -m venv failed: install the venv package of your system (Debian: apt install python3-venv)")
    for old in home.glob(".ready-*"):
        old.unlink()
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    _run([*pip, "--no-deps", "--require-hashes", "--requirement", str(lock)])  # the lock is complete: nothing is left to resolve
    _run([*pip, "--no-deps", "--no-build-isolation", "--editable", "."])
    stamp.touch()


def _key(*files: Path) -> str:
    """Changes with the lock, the entry points and the interpreter."""
    digest = hashlib.sha256(sys.version.encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _other_version(python: Path) -> bool:
    """Whether an environment stands there that another Python version made."""
    if not python.exists():
        return python.is_symlink()
    found = subprocess.run([str(python), "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=False)
    return found.stdout.strip() != sys.version


def _run(command: list[str]) -> None:
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"failed: {' '.join(command)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
