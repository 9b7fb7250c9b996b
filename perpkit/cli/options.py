"""Options that several commands share."""

import getpass
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from cyclopts import Parameter

from exchange_clients.spec import Endpoints, VenueSpec
from perpkit.cli.failure import Failure

if TYPE_CHECKING:
    from database.database import Database
    from database.journal import Journal

JOURNAL_FILE = "journal.db"
DATABASE_FILE = "perpkit.db"
GRPC = "grpc"


@Parameter(name="*")
@dataclass(frozen=True)
class Target:
    """Which world of a venue is meant, and how it is reached."""

    environment: str | None = None
    "mainnet (default), testnet or demo, as far as the venue has them."
    endpoint: list[str] = field(default_factory=list)
    "Another address: URL, or VENUE=URL for each where several venues are asked. Sockets follow it; a chain's nodes are grpc://HOST:PORT. \
May be repeated."
    config: Path | None = None
    "YAML file with client settings per venue: {lighter: {environment: testnet, endpoints: {...}}}."

    def settings(self, spec: VenueSpec, *, default: str | None = None) -> dict[str, Any]:
        """The client configuration for one venue: the options, then the file, then what the venue says; `default` instead of mainnet."""
        found = dict(_file(self.config).get(spec.name) or {}) if self.config else {}
        if self.environment is not None:
            found["environment"] = self.environment
        environment = found.setdefault("environment", default or "mainnet")
        ends = spec.environments.get("mainnet" if environment == "prod" else environment)
        if ends is None:
            raise Failure(f"{spec.name} has no {environment!r} environment", hint=f"choose one of {', '.join(spec.environment_names)}")
        given: dict[str, Any] = {}
        for name, url in self._addresses():
            if name in (None, spec.name):
                given |= _endpoints(url, ends)
        return {**found, "endpoints": given} if given else found

    def check(self, asked: Iterable[str]) -> None:
        """Each address given is that of one of the venues asked, and says of which where they are several.

        One that is passed over in silence leaves a command meant for a simulated venue at the real one.
        """
        venues = sorted(asked)
        for name, url in self._addresses() if venues else ():
            if name is None and len(venues) > 1:
                raise Failure(f"--endpoint {url} does not say whose address it is", hint=f"write VENUE={url}; asked: {', '.join(venues)}")
            if name is not None and name not in venues:
                raise Failure(f"--endpoint {name}={url}: {name} is not asked", hint=f"asked: {', '.join(venues)}")

    def _addresses(self) -> Iterator[tuple[str | None, str]]:
        """(venue or None, address) of each `--endpoint`."""
        for entry in self.endpoint:
            name, equals, rest = entry.partition("=")
            named = bool(equals) and "/" not in name
            url = rest if named else entry
            if not _is_address(url):
                raise Failure(
                    f"{entry!r} is not an address", hint="write --endpoint http://127.0.0.1:8001 or --endpoint lighter=http://..."
                )
            yield (name if named else None), url


@Parameter(name="*")
@dataclass(frozen=True)
class Store:
    """Where the journal is."""

    home: Path | None = None
    "State folder; default $PERPKIT_HOME, else ~/.local/share/perpkit (perpkit demo: .perpkit-demo)."
    journal: str | None = None
    "Journal as a file or database URL, instead of the one in the state folder."

    def folder(self) -> Path:
        return state_folder(self.home)

    def read(self) -> "Journal":
        """The journal, opened for reading."""
        return self._open(read_only=True)

    def write(self) -> "Journal":
        """The journal, opened as its one writer."""
        return self._open(read_only=False)

    def beside(self) -> "Journal":
        """The journal for keys and audit entries, whether or not a bot owns it; made where there is none."""
        from database.connect import sqlite_url
        from database.journal import Journal

        place = self.place
        return Journal.beside(place if "://" in place else sqlite_url(Path(place)))

    @property
    def place(self) -> str:
        """File or URL of the journal."""
        return self.journal or str(self.folder() / JOURNAL_FILE)

    @property
    def shown(self) -> str:
        """The journal for human eyes: a URL may hold a password."""
        from database.connect import parse, shown

        return self.place if "://" not in self.place else shown(parse(self.place))

    def _open(self, *, read_only: bool) -> "Journal":
        from database.connect import sqlite_url
        from database.journal import Journal

        place = self.place
        if "://" not in place and not Path(place).exists():
            raise Failure(f"there is no journal at {place}", hint=_other_journals(Path(place).parent))
        return Journal.open(place if "://" in place else sqlite_url(Path(place)), read_only=read_only)


@Parameter(name="*")
@dataclass(frozen=True)
class DatabaseOption:
    """Where market data and accounts are. A command that has a `Store` too makes it of the store's `home` and a `database` of its own."""

    home: Path | None = None
    "State folder; default $PERPKIT_HOME, else ~/.local/share/perpkit."
    database: str | None = None
    "Database as a file or URL (postgresql://USER:PASSWORD@HOST/NAME); default $PERPKIT_DATABASE, else perpkit.db in the state folder."

    @property
    def url(self) -> str:
        """As SQLAlchemy reads it; may hold a password."""
        from database.connect import sqlite_url

        return self._place if "://" in self._place else sqlite_url(Path(self._place).expanduser())

    def exists(self) -> bool:
        """False where a file would have to be made first; of a server it is not known."""
        if "://" not in self._place:
            return Path(self._place).expanduser().exists()
        from database.connect import file_of, parse

        file = file_of(parse(self._place))
        return file is None or Path(file).exists()

    @property
    def _place(self) -> str:
        return self.database or os.environ.get("PERPKIT_DATABASE") or str(state_folder(self.home) / DATABASE_FILE)

    @property
    def shown(self) -> str:
        """For human eyes, without a password."""
        from database.connect import parse, shown

        return shown(parse(self.url))

    def must_exist(self) -> None:
        if not self.exists():
            raise Failure(
                f"there is no database at {self.shown}", hint="name another with --home or --database, or make it: perpkit db upgrade"
            )

    def open(self, *, read_only: bool = False) -> "Database":
        """The database; a writer makes it, or brings it forward."""
        from database.database import Database

        if read_only:
            self.must_exist()
        return Database.open(self.url, read_only=read_only)


def state_folder(home: Path | None) -> Path:
    """Where everything is kept that nobody placed elsewhere."""
    return home or Path(os.environ.get("PERPKIT_HOME") or "~/.local/share/perpkit").expanduser()


def _other_journals(folder: Path) -> str:
    """Each environment keeps its own: those that are there, the newest demo alone."""
    there = [path for name in ("journal.db", "paper.db", "shadow.db") if (path := folder / name).exists()]
    there += sorted(folder.glob("demo/*/demo.db"))[-1:]
    if there:
        return "there is " + ", ".join(f"--journal {path}" for path in there)
    return "name another with --home or --journal (after `make demo`: --home .perpkit-demo)"


def user() -> str:
    """Who gives the command, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        return f"uid {os.getuid()}"


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https", GRPC) and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port beyond 65535, a broken IPv6 address
        return False


def _endpoints(url: str, ends: Endpoints) -> dict[str, Any]:
    parts = urlsplit(url)
    return {"grpc": [parts.netloc]} if parts.scheme == GRPC else endpoints_at(url, ends)


def endpoints_at(url: str, ends: Endpoints) -> dict[str, Any]:
    """The addresses of an environment moved to another origin: paths stay as the venue has them."""
    origin = urlsplit(url)

    def moved(address: str, scheme: str) -> str:
        return urlunsplit((scheme, origin.netloc, urlsplit(address).path, "", ""))

    sockets = "wss" if origin.scheme == "https" else "ws"
    return {"rest": moved(ends.rest, origin.scheme), "ws": {role: moved(address, sockets) for role, address in ends.ws.items()}}


def _file(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise Failure(f"{path} cannot be read: {e.strerror}", hint="check the path given with --config") from e
    except yaml.YAMLError as e:
        raise Failure(f"{path} is not YAML: {e}") from e
    if not isinstance(found, Mapping) or not all(value is None or isinstance(value, Mapping) for value in found.values()):
        raise Failure(f"{path} must map venue names to settings", hint="for example: {lighter: {environment: testnet}}")
    return found
