"""`perpkit new-venue`: the files of a venue to be written, by the table of docs/adding_exchanges.md."""

import json as text_of
import keyword
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from string import Template

from exchange_clients import venues
from exchange_simulator import dialects
from perpkit.cli.failure import OK, Failure
from perpkit.cli.output import emit_json, terminal

NAME = re.compile(r"[a-z][a-z0-9]{1,19}")
PACKAGE = re.compile(r"[a-z][a-z0-9_]{1,39}")
OURS = ("exchange_clients", "exchange_simulator", "strategies", "database", "funding_rate_service", "perpkit")
TITLE = re.compile(r"[^\x00-\x1f\x7f\"'\\$`{}|]{1,30}")


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the parts go, relative to `root`, and how the skeleton's words read there."""

    root: Path
    folders: dict[str, Path]
    """Part of the skeleton -> folder."""
    words: dict[str, str]
    register: tuple[str, ...]
    """What is left to be done by hand."""
    first_party: tuple[str, ...]
    """Top-level packages that belong to the project, for the order of imports."""


def new_venue(name: str, *, title: str | None = None, into: Path | None = None, package: str | None = None, json: bool = False) -> int:
    """Write the skeleton of a venue: client, dialect, tests, page, examples. Every method left to fill names its phase of the guide.

    Without --into it goes into the checkout of perpkit that you stand in; nothing that exists is ever overwritten.

    Parameters
    ----------
    name:
        Lower-case letters and digits: the venue's name everywhere.
    title:
        How people write it; the name with a capital when left out.
    into:
        Folder of a project of your own, made when it is not there; its package depends on perpkit and registers itself.
    package:
        Name of the package in that project; perpkit_NAME when left out.
    json:
        Print what was written as JSON.
    """
    plan = _plan(name, title or name.capitalize(), into, package)
    texts = dict(_texts(plan))
    if present := [path for path in texts if (plan.root / path).exists()]:
        hint = "choose another name or folder, or remove it; nothing was written"
        raise Failure(f"{plan.root / present[0]} exists already", hint=hint)
    for path, text in texts.items():
        place = plan.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("x", encoding="utf-8") as file:
            file.write(text)
    if json:
        emit_json({"venue": name, "root": str(plan.root), "files": [path.as_posix() for path in texts], "register": plan.register})
    else:
        _tell(name, plan, list(texts))
    return OK


def _plan(name: str, title: str, into: Path | None, package: str | None) -> Plan:
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise Failure(f"{name!r} is no name for a venue", hint="2 to 20 lower-case letters and digits, a letter first: okx, dydx, venue2")
    if not TITLE.fullmatch(title) or title != title.strip():
        raise Failure(f"{title!r} is no title", hint="at most 30 characters of one line, without quotes, braces, backslash, bar or $")
    if name in venues.names() or name in dialects.names():
        raise Failure(f"there is a venue {name!r} already", hint="`perpkit venues` lists them")
    if into is None:
        if package is not None:
            raise Failure("--package names the package of a project of your own", hint="say with --into where that is")
        return _ours(name, title)
    return _theirs(name, title, into, package or f"perpkit_{name}")


def _words(name: str, title: str, package: str, dialect: str, **more: str) -> dict[str, str]:
    return {
        "name": name,
        "Name": name.capitalize(),
        "NAME": name.upper(),
        "title": title,
        "title_text": text_of.dumps(title, ensure_ascii=False),
        "package": package,
        "dialect": dialect,
        **more,
    }


def _ours(name: str, title: str) -> Plan:
    """In a checkout of perpkit."""
    root = Path.cwd()
    clients = root / "exchange_clients"
    if not (clients / "base_client.py").exists() or not (root / "pyproject.toml").exists():
        raise Failure(f"{root} is no checkout of perpkit", hint="go to its root, or use --into DIR for a package of your own")
    if (clients / f"{name}.py").exists() or (clients / name).exists():
        raise Failure(f"{clients / name} exists already", hint="choose another name; nothing was written")
    package, dialect = f"exchange_clients.{name}", f"exchange_simulator.dialects.{name}"
    return Plan(
        root,
        {
            "client": Path("exchange_clients", name),
            "dialect": Path("exchange_simulator", "dialects", name),
            "tests": Path("tests", "venues", name),
            "docs": Path("docs", "venues"),
            "examples": Path("examples", name),
        },
        _words(name, title, package, dialect, page=f"venues/{name}.md", examples=f"examples/{name}", depth="3"),
        (
            f'pyproject.toml, [project.entry-points."exchange_clients.venues"]: {name} = "{package}:VENUE"',
            f'pyproject.toml, [project.entry-points."exchange_simulator.dialects"]: {name} = "{dialect}:DIALECT"',
            f"pyproject.toml, [project.optional-dependencies]: {name} = [] with what its signer needs, and {name} in the extra venues",
            f'pyproject.toml, import contracts: "{package}" wherever venues are forbidden, ({name}) in the first of the layers',
            "make env, so that the registration is seen; python docs/tables.py, so that the tables have it",
        ),
        (*OURS, "tests"),
    )


def _theirs(name: str, title: str, into: Path, package: str) -> Plan:
    """A project of somebody else's."""
    if not PACKAGE.fullmatch(package) or keyword.iskeyword(package):
        raise Failure(f"{package!r} is no name for a package", hint="2 to 40 lower-case letters, digits and underscores, a letter first")
    if package in OURS or package in sys.stdlib_module_names or package in ("tests", "docs", "examples"):
        raise Failure(f"the package {package!r} is somebody else's", hint="choose another with --package")
    if into.exists() and not into.is_dir():
        raise Failure(f"{into} is no folder", hint="--into wants the folder of your project")
    if not (into / package).exists() and find_spec(package) is not None:
        raise Failure(f"a package {package!r} is installed already", hint="choose another with --package")
    dialect = f"{package}.dialect"
    folders = {
        "client": Path(package),
        "dialect": Path(package, "dialect"),
        "tests": Path("tests"),
        "docs": Path("docs"),
        "examples": Path("examples"),
    }
    register: tuple[str, ...]
    if (into / "pyproject.toml").exists():
        register = (
            f'pyproject.toml, [project.entry-points."exchange_clients.venues"]: {name} = "{package}:VENUE"',
            f'pyproject.toml, [project.entry-points."exchange_simulator.dialects"]: {name} = "{dialect}:DIALECT"',
        )
    else:
        folders["project"] = Path()
        register = ()
    words = _words(name, title, package, dialect, page=f"{name}.md", examples="examples", depth="1")
    words |= {"distribution": package.replace("_", "-"), "description": text_of.dumps(f"{title} for perpkit", ensure_ascii=False)}
    return Plan(into, folders, words, (*register, "pip install -e ., so that the registration is seen"), (package,))


def _texts(plan: Plan) -> Iterator[tuple[Path, str]]:
    """(path below the root, text) of every file."""
    skeleton = files("perpkit.cli") / "skeleton"
    for part, folder in plan.folders.items():
        for path, template in _templates(skeleton / part, Path()):
            place = folder / path
            if part == "docs":
                place = folder / f"{plan.words['name']}.md"
            text = Template(template.read_text(encoding="utf-8")).substitute(plan.words)
            yield place, _sorted_imports(text, plan.first_party) if place.suffix == ".py" else text


def _templates(folder: Traversable, below: Path) -> Iterator[tuple[Path, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda found: found.name):
        if entry.is_dir():
            yield from _templates(entry, below / entry.name)
        elif entry.name.endswith(".tpl"):
            yield below / entry.name.removesuffix(".tpl"), entry


def _sorted_imports(text: str, first_party: tuple[str, ...]) -> str:
    """The imports in the order that linters want: where the package stands among them depends on its name."""

    def place(line: str) -> tuple[int, bool, str]:
        module = line.split()[1]
        top = module.partition(".")[0]
        section = 0 if top == "__future__" else 1 if top in sys.stdlib_module_names else 3 if top in first_party else 2
        return section, line.startswith("from"), module

    def ordered(match: re.Match[str]) -> str:
        lines = sorted((line for line in match[0].splitlines() if line), key=place)
        sections = groupby(lines, key=lambda line: place(line)[0])
        return "\n\n".join("\n".join(section) for _, section in sections) + "\n"

    return re.sub(r"^(?:from|import) .*\n(?:\n?(?:from|import) .*\n)*", ordered, text, count=1, flags=re.MULTILINE)


def _tell(name: str, plan: Plan, written: list[Path]) -> None:
    from rich.text import Text

    console = terminal()
    for path in written:
        console.print(Text(f"wrote {plan.root / path}"), soft_wrap=True)
    console.print(Text("to register:", style="bold"))
    for line in plan.register:
        console.print(Text(f"  {line}"), soft_wrap=True)
    console.print(Text("then phase 1 of docs/adding_exchanges.md, until this passes:", style="bold"))
    console.print(Text(f"  pytest --pyargs exchange_simulator.conformance.test_funding -k {name}"), soft_wrap=True)
