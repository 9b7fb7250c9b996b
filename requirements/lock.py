"""Write the lock: `lock.py requirements/dev.txt`. Pins with the public registry's hashes, for all supported Python versions.

uv resolves (it reads no pip configuration, so no local package folder can leak in); it runs from an environment that is thrown away.
"""

import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

COMPILE = [
    *("--no-config", "--quiet", "pip", "compile", "--extra=dev"),
    *("--universal", "--python-version=3.11", "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url"),
]


def main(lock: Path) -> None:
    with tempfile.TemporaryDirectory() as home:
        venv.create(home, with_pip=True)
        tools = Path(home) / "bin"
        subprocess.run([tools / "python", "-m", "pip", "install", "--quiet", "uv>=0.5"], check=True)
        settings = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}
        command = [tools / "uv", *COMPILE, "pyproject.toml", "--output-file", lock]
        subprocess.run([str(part) for part in command], check=True, env=settings)
    if found := re.findall(r"^.*(?:://|^-|file:).*$", lock.read_text(encoding="utf-8"), re.MULTILINE):
        sys.exit(f"{lock} names a place, not only packages: {found[:3]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
