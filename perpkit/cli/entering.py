"""Credentials on their way into the vault: from variables, from a file of variables, from somebody who types.

What a venue wants is its spec's business; no venue is named here. No value is in a message, and none comes from a command line: that would
be in the shell's history and in the list of processes.
"""

import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

from exchange_clients.config import proxy_problem
from exchange_clients.secret import Secret
from exchange_clients.signing import Credentials, is_placeholder
from exchange_clients.spec import CredentialField, VenueSpec
from perpkit.cli.failure import CREDENTIALS, Failure

PROXY_PASSWORD = "PERPKIT_PROXY_PASSWORD"  # noqa: S105 - the name of a variable
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
_MAX_FILE_BYTES = 256 * 1024

Ask = Callable[[str], Secret]


class Variables(Mapping[str, str]):
    """Variables that show their names only."""

    def __init__(self, values: Mapping[str, Secret]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> str:
        return self._values[name].reveal()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Variables({', '.join(self._values)})"

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Variables":
        """Those of a process, covered."""
        return cls({name: Secret(environ[name]) for name in environ})

    def below(self, other: "Variables") -> "Variables":
        """With `other`'s, which go first."""
        return Variables({**self._values, **other._values})


def env_file(path: Path) -> Variables:
    """NAME=VALUE lines; `export`, quotes around a value, empty lines and lines that begin with # are understood, nothing is expanded.

    Raises:
        Failure: it cannot be read, others may read it, or a line is none; its text is not repeated.
    """
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise Failure(f"{path} may be read by others, and it holds keys", hint=f"chmod 600 {path}")
        text = Secret(path.read_bytes()[:_MAX_FILE_BYTES].decode("utf-8-sig", "replace"))
    except OSError as e:
        raise Failure(f"{path} cannot be read: {e.strerror}", hint="check the path given with --env-file") from None
    values: dict[str, Secret] = {}
    for number, line in enumerate(map(Secret, text.reveal().splitlines()), 1):
        if not line.reveal().strip() or line.reveal().lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line.reveal())
        if found is None:
            raise Failure(f"line {number} of {path} is not NAME=VALUE")
        values[found[1]] = _unquoted(Secret(found[2]))
    return Variables(values)


def _unquoted(value: Secret) -> Secret:
    """Without its quotes; a comment behind a bare value is none of it."""
    found = re.fullmatch(r"""(?:'([^']*)'|"([^"]*)")\s*(?:#.*)?""", value.reveal())
    if found is not None:
        return Secret(found[1] if found[1] is not None else found[2])
    return Secret(re.split(r"\s+#", value.reveal(), maxsplit=1)[0].strip())


def from_variables(spec: VenueSpec, environment: str, environ: Mapping[str, str]) -> dict[str, Secret]:
    """The venue's fields that these variables give."""
    given = Credentials.from_env(spec, environment, environ=environ)
    return {name: given.secret(name) for name in given.names}


def variables_of(spec: VenueSpec, environment: str) -> list[str]:
    """What the venue's required fields are called in an environment."""
    infix = "" if environment == "mainnet" else f"_{environment.upper()}"
    return [item.variable.format(env=infix) for item in spec.credentials if item.required]


def from_human(
    spec: VenueSpec, environment: str, held: Credentials, ask: Ask, show: Callable[[str], None], asked: Sequence[str] | None = None
) -> dict[str, Secret]:
    """Ask for each field that the venue declares, or for those of `asked`; nothing typed keeps what is held, or leaves an optional one out.

    A placeholder is asked again; a field that another one stands in for is not asked once that one is there.
    """
    show(f"{spec.name} {environment}" + (": Enter alone keeps what is stored" if held.names else ""))
    given: dict[str, Secret] = {}
    for item in spec.credentials:
        if asked is not None and item.name not in asked:
            continue
        now = held.merged(given)
        if item.unless and now.usable(item.unless) and item.name not in held:
            continue
        if value := _typed(item, spec, now, ask, show):
            given[item.name] = value
    return given


def _typed(item: CredentialField, spec: VenueSpec, held: Credentials, ask: Ask, show: Callable[[str], None]) -> Secret | None:
    optional = not item.required or bool(item.unless)
    note = "stored" if item.name in held else f"or {item.unless}" if item.unless else "optional" if optional else ""
    question = f"  {item.name}{f' ({item.help})' if item.help else ''}{f' [{note}]' if note else ''}: "
    while True:
        value = Secret(ask(question).reveal().strip())
        if not value:
            if item.name in held or optional:
                return None
            show(f"  {item.name} is needed")
        elif is_placeholder(value.reveal()):
            show(f"  {item.name} is a placeholder, not a real value")
        elif not value.reveal().isprintable():
            show(f"  {item.name} holds characters that cannot be seen: type or paste it again")
        else:
            return value


def check(spec: VenueSpec, environment: str, credentials: Credentials) -> list[str]:
    """Everything that keeps credentials from being used, by field and without values; also what the venue's signer says of them."""
    problems = [f"{spec.name} {environment}: {item.name} {what}" for item, what in credentials.problems(spec)]
    problems += [
        f"{spec.name} {environment}: {name} holds characters that cannot be seen"
        for name in credentials.names
        if not credentials.secret(name).reveal().isprintable()
    ]
    known = {item.name for item in spec.credentials}
    return problems + [f"{spec.name} {environment}: {name} is none of its fields" for name in credentials.names if name not in known]


# ---- proxies


def proxies_of(given: Sequence[str], environ: Mapping[str, str], ask: Ask | None) -> dict[str, Secret | None]:
    """Venue ("": all) -> address, None to take it out. `given` as on the command line: ADDRESS or VENUE=ADDRESS, `none` for none.

    A password has no place there: for `http://USER@HOST:PORT` it comes from a variable, or is asked for.

    Raises:
        Failure: an address is none, or holds a password.
    """
    found: dict[str, Secret | None] = {}
    for number, entry in enumerate(map(Secret, given), 1):
        name, equals, rest = entry.reveal().partition("=")
        named = bool(equals) and "/" not in name and "@" not in name
        address = Secret(rest if named else entry.reveal())
        venue = name if named else ""
        if venue in found:
            raise Failure(f"--proxy is given twice for {venue or 'all venues'}", hint="give it once")
        what = f"--proxy number {number}" if len(given) > 1 else "--proxy"
        found[venue] = None if address.reveal() == "none" else _with_password(what, address, environ, ask)
    return found


def _with_password(what: str, address: Secret, environ: Mapping[str, str], ask: Ask | None) -> Secret:
    if problem := proxy_problem(address.reveal()):
        raise Failure(f"{what}: {problem}", hint="other kinds of proxies (SOCKS) are not supported")
    if urlsplit(address.reveal()).password is not None:
        hint = f"write http://USER@HOST:PORT: the password is asked for, or taken from {PROXY_PASSWORD}; change this one, the shell kept it"
        raise Failure(f"{what} holds a password, and a command line is no place for one", hint=hint, code=CREDENTIALS, kind="credentials")
    if urlsplit(address.reveal()).username is None:
        return address
    password = Secret(environ.get(PROXY_PASSWORD, ""))
    if not password and ask is not None:
        password = ask("  password of the proxy: ")
    if not password:
        raise Failure(f"{what} has a user and no password", hint=f"set {PROXY_PASSWORD}, or run this in a terminal to be asked")
    return _joined(address, password)


def _joined(address: Secret, password: Secret) -> Secret:
    """`http://user@host` with a password."""
    user, _, rest = (Secret(part) for part in address.reveal().partition("@"))
    return Secret(f"{user.reveal()}:{quote(password.reveal(), safe='')}@{rest.reveal()}")
