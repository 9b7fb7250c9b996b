"""`perpkit new-venue`: what it writes imports, passes every gate, and fails where something is left to fill, naming the guide's step."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from perpkit.cli.main import run
from tests.unit import test_packaging

ROOT = Path(__file__).resolve().parent.parent.parent
LONGEST = "abcdefghij0123456789"
TITLE = "A title of thirty letters, yes"
STEP = re.compile(r"phase (\d), step (\d+): .{10,}")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what `new-venue` looks at, with a venue written and registered as it told."""
    root = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("__pycache__")
    for package in ("exchange_clients", "exchange_simulator"):
        shutil.copytree(ROOT / package, root / package, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", root)
    told = command(root, "new-venue", "quux", "--title", "Quux")
    assert len(told["files"]) == len(set(told["files"])) > 30
    register(root / "pyproject.toml", told["register"])
    return root


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of a third party, its registration seen as after `pip install -e .`."""
    root = tmp_path_factory.mktemp("own") / "project"
    command(root.parent, "new-venue", LONGEST, "--title", TITLE, "--into", str(root))
    points = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    info = root / "own-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n", encoding="utf-8")
    lines = (f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in found.items()) for group, found in points.items())
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return root


def command(cwd: Path, *words: str, path: Path = ROOT) -> dict[str, list[str]]:
    done = python(cwd, "-m", "perpkit", *words, "--json", path=path)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def python(cwd: Path, *words: str, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": f"{cwd}{os.pathsep}{path}", "MYPYPATH": str(cwd)}
    return subprocess.run([sys.executable, *words], cwd=cwd, env=environ, capture_output=True, text=True, check=False)


def register(project: Path, told: list[str]) -> None:
    """As a reader does what the command told."""
    text = project.read_text(encoding="utf-8")
    for line in told:
        if found := re.match(r"pyproject\.toml, (\[project\.entry-points\..*\]): (.*)$", line):
            text = text.replace(found[1], f"{found[1]}\n{found[2]}")
        elif found := re.match(r'pyproject\.toml, import contracts: ("\S+") wherever venues are forbidden, (\(\w+\)) in the first', line):
            text = re.sub(r'"exchange_clients\.lighter"', rf"\g<0>, {found[1]}", text)
            text = re.sub(r'^    "\(\w+\)', rf"\g<0> | {found[2]}", text, count=1, flags=re.MULTILINE)
    project.write_text(text, encoding="utf-8")


def written(root: Path, name: str) -> list[Path]:
    return [path for path in root.rglob("*.py") if name in str(path.relative_to(root)) or root.name == "project"]


def left_to_fill(root: Path, name: str) -> Iterator[tuple[str, str]]:
    """(where, words) of everything that only raises, or only fails."""
    for path in written(root, name):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name(id="NotImplementedError"), args=[ast.Constant(value=str(words))])):
                    yield f"{path.name}:{node.lineno}", words
                case ast.Call(func=ast.Attribute(attr="fail"), args=[ast.Constant(value=str(words))]):
                    yield f"{path.name}:{node.lineno}", words


def test_it_imports_and_builds_a_client(checkout: Path) -> None:
    made = "from exchange_clients.quux import VENUE; VENUE.client(); VENUE.funding(); from exchange_simulator.dialects.quux import DIALECT"
    done = python(checkout, "-c", f"import exchange_clients; {made}; print(exchange_clients.__file__, DIALECT.name)")
    assert done.returncode == 0, done.stderr
    assert str(checkout) in done.stdout
    assert done.stdout.endswith("quux\n")


@pytest.mark.parametrize("gate", [("check",), ("format", "--check")])
def test_it_is_clean(checkout: Path, own: Path, gate: tuple[str, ...]) -> None:
    for root, parts in ((checkout, written(checkout, "quux")), (own, [own])):
        done = python(root, "-m", "ruff", *gate, *map(str, parts))
        assert done.returncode == 0, done.stdout


@pytest.mark.timeout(300)
def test_its_types_are_strict(checkout: Path, own: Path) -> None:
    files = [*written(checkout, "quux"), *written(own, LONGEST)]
    assert len(files) > 60
    environ = {**os.environ, "MYPYPATH": f"{checkout}{os.pathsep}{own}"}
    arguments = ["--config-file", "pyproject.toml", "--follow-imports", "silent", *map(str, files)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *arguments], cwd=checkout, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_registered_as_told_it_passes_the_registration_checks(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_packaging, "ROOT", checkout)
    unregistered = {
        entry.name
        for entry in (checkout / "exchange_clients").iterdir()
        if (entry / "__init__.py").exists()
        and entry.name not in test_packaging.project()["project"]["entry-points"]["exchange_clients.venues"]
    } - test_packaging.NOT_VENUES
    for name in unregistered:  # a venue that is being written has no entry yet
        shutil.rmtree(checkout / "exchange_clients" / name)
    assert "quux" in test_packaging.venue_folders()
    test_packaging.test_every_venue_folder_is_registered()


def test_what_is_left_names_a_step_of_the_guide(checkout: Path) -> None:
    guide = (ROOT / "docs" / "adding_exchanges.md").read_text(encoding="utf-8")
    phases = re.split(r"^## Phase (\d)", guide, flags=re.MULTILINE)
    steps = {number: len(re.findall(r"^\d+\. ", text, re.MULTILINE)) for number, text in zip(phases[1::2], phases[2::2], strict=True)}
    found = list(left_to_fill(checkout, "quux"))
    assert len(found) > 40
    for where, words in found:
        named = STEP.fullmatch(words)
        assert named, f"{where}: {words}"
        assert 1 <= int(named[2]) <= steps[named[1]], f"{where}: {words}"


def test_the_page_fits_the_spec_and_the_rest_of_its_tests_wait(checkout: Path) -> None:
    done = python(checkout, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:perpkit", "tests/venues/quux")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert "6 failed" in done.stdout, done.stdout
    assert "phase 2, step 1" in done.stdout


def test_conformance_finds_a_third_partys_and_names_what_phase_one_wants(own: Path) -> None:
    suite = ["-m", "pytest", "-q", "-p", "no:randomly", "--pyargs", "exchange_simulator.conformance.test_funding", "-k", LONGEST]
    assert "6 tests collected" in re.sub(r"6/\d+ tests", "6 tests", python(own, *suite, "--collect-only").stdout)
    done = python(own, *suite)
    assert "6 failed" in done.stdout, done.stdout + done.stderr
    assert len(re.findall(r"^E +NotImplementedError: phase 1, step ", done.stdout, re.MULTILINE)) == 6, done.stdout


def test_a_wheel_writes_it_too(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(installed)
    where = python(tmp_path, "-c", "import perpkit; print(perpkit.__file__)", path=installed)
    assert where.stdout.startswith(str(installed))
    told = command(tmp_path, "new-venue", "quux", "--into", "made/here", "--package", "quux_venue", path=installed)
    assert "quux_venue/__init__.py" in told["files"]
    assert all((tmp_path / "made" / "here" / file).is_file() for file in told["files"])


def test_nothing_is_ever_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "perpkit_quux" / "signing.py"
    kept.parent.mkdir()
    kept.write_text("mine", encoding="utf-8")
    assert run(["new-venue", "quux", "--into", str(tmp_path)]) == 2
    assert "signing.py exists already" in capsys.readouterr().err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]
    assert kept.read_text(encoding="utf-8") == "mine"


def test_a_project_that_is_there_keeps_its_pyproject(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    assert run(["new-venue", "quux", "--into", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (tmp_path / "pyproject.toml").read_text(encoding="utf-8") == "[project]\n"
    assert any('quux = "perpkit_quux:VENUE"' in line for line in told["register"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Quux"], "'Quux' is no name for a venue"),
        (["9quux"], "no name for a venue"),
        (["quux_two"], "no name for a venue"),
        (["../quux"], "no name for a venue"),
        (["lambda"], "no name for a venue"),
        (["a" * 21], "no name for a venue"),
        (["lighter"], "there is a venue 'lighter' already"),
        (["quux", "--title", 'a "quoted" one'], "is no title"),
        (["quux", "--title", "two\nlines"], "is no title"),
        (["quux", "--package", "No-Package"], "is no name for a package"),
        (["quux", "--package", "json"], "is somebody else's"),
        (["quux", "--package", "strategies"], "is somebody else's"),
        (["quux", "--package", "pytest"], "is installed already"),
    ],
)
def test_a_bad_name_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert run(["new-venue", *words, "--into", str(tmp_path / "made")]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "made").exists()


def test_outside_of_a_checkout_it_asks_where_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["new-venue", "quux"]) == 2
    assert "--into DIR" in capsys.readouterr().err
    assert run(["new-venue", "quux", "--package", "mine"]) == 2
    assert "--into" in capsys.readouterr().err


def test_a_name_of_the_shared_parts_is_refused(checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(checkout)
    for name in ("transport", "orders", "quux"):
        assert run(["new-venue", name]) == 2
        assert "exists already" in capsys.readouterr().err
