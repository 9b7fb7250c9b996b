"""Credentials, signers and nonces.

A signer is pure given its inputs (`SignContext` carries time and nonce), so that vectors can test it. Keys enter it from `Credentials` and
never leave it; nothing here reads the environment except `Credentials.from_env`, which bots call themselves.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

from exchange_clients.errors import ConfigError, MissingCredentials
from exchange_clients.secret import Secret
from exchange_clients.spec import CredentialField, VenueSpec

_PLACEHOLDER = re.compile(
    r"(your|my)[ _-]|(your|change|insert|put|enter|replace|placeholder|example|todo|xxx|test[ _-]?key)|.*(placeholder|_here$|<|\.\.\.)"
)


def is_placeholder(value: str) -> bool:
    """True for an empty value and for what templates put where a key belongs ("your_private_key", "<key>", "0x000...0")."""
    text = value.strip().lower()
    digits = text.removeprefix("0x")
    words = " " in text and len(text.split()) >= 12  # a mnemonic may begin with any word
    return not text or (not words and _PLACEHOLDER.match(text) is not None) or (len(digits) >= 16 and len(set(digits)) == 1)


class Credentials:
    """Named secrets of one account on one venue. `repr` shows names only; values are read with `credentials["field"]`."""

    __slots__ = ("_values", "venue")

    def __init__(self, venue: str, values: Mapping[str, str | Secret]) -> None:
        self.venue = venue
        self._values = {name: value if isinstance(value, Secret) else Secret(value) for name, value in values.items() if value}

    def __getitem__(self, name: str) -> str:
        return self.secret(name).reveal()

    def secret(self, name: str) -> Secret:
        """The value, still covered.

        Raises:
            MissingCredentials: it is not there.
        """
        try:
            return self._values[name]
        except KeyError:
            raise MissingCredentials(f"credential {name!r} is missing", venue=self.venue) from None

    def get(self, name: str, default: str = "") -> str:
        return self._values[name].reveal() if name in self._values else default

    @property
    def names(self) -> tuple[str, ...]:
        """Which are there."""
        return tuple(sorted(self._values))

    def merged(self, values: Mapping[str, Secret | None]) -> Credentials:
        """With these instead of what has their names; None leaves one out."""
        return Credentials(self.venue, {name: value for name, value in {**self._values, **values}.items() if value is not None})

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __repr__(self) -> str:
        return f"Credentials({self.venue}: {', '.join(sorted(self._values)) or 'none'})"

    __str__ = __repr__

    def __reduce__(self) -> Any:
        raise TypeError("credentials are not serialised")

    @classmethod
    def from_env(cls, spec: VenueSpec, environment: str = "mainnet", *, environ: Mapping[str, str] | None = None) -> Credentials:
        """Read the variables that `spec.credentials` names; `_TESTNET` or `_DEMO` follows the venue name in those environments."""
        source = os.environ if environ is None else environ
        infix = "" if environment == "mainnet" else f"_{environment.upper()}"
        values: dict[str, Secret] = {}
        for item in spec.credentials:
            for variable in (item.variable, *item.aliases):
                value = Secret(source.get(variable.format(env=infix), ""))
                if value:
                    values[item.name] = value
                    break
        return cls(spec.name, values)

    def problem(self, spec: VenueSpec, environment: str = "mainnet") -> str | None:
        """What keeps these from being used, in one line naming the variables, or None."""
        infix = "" if environment == "mainnet" else f"_{environment.upper()}"
        for item, what in self.problems(spec):
            variable = item.variable.format(env=infix)
            return f"{item.name} {what}: set {variable}" + (" to the real value" if item.name in self else "")
        return None

    def problems(self, spec: VenueSpec) -> Iterator[tuple[CredentialField, str]]:
        """Every field that cannot be used as it is, and why, without its value."""
        for item in spec.credentials:
            if self.usable(item.unless):
                continue
            if item.name not in self._values:
                if item.required:
                    yield item, "is missing"
            elif not self.usable(item.name):
                yield item, "is a placeholder"

    def usable(self, name: str) -> bool:
        """Given, and no placeholder."""
        return name in self._values and not is_placeholder(self._values[name].reveal())


class Channel(StrEnum):
    """How a command travels."""

    REST = "rest"
    WS = "ws"
    CHAIN = "chain"


@dataclass(frozen=True, slots=True)
class Command:
    """Something that changes state at the venue, before it is signed.

    `payload` is the venue's own unsigned form; `endpoint` a key of `spec.endpoints`; `nonce_scope` None means no nonce, else `nonces`
    consecutive ones are used.
    """

    endpoint: str
    payload: Any
    lane: str
    channel: Channel = Channel.REST
    nonce_scope: str | None = None
    nonces: int = 1
    cost: Mapping[str, int] | None = None
    client_order_ids: tuple[str, ...] = ()
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class SignContext:
    """`now_ms` is venue time (offset applied); `nonce` was leased for this command; `height` is the chain's."""

    now_ms: int
    nonce: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What goes out. `query` pairs keep their order; `body` is sent as is. `repr` shows no header, query or body: keys are there."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"HttpRequest({self.method} {self.path.partition('?')[0]})"

    def __rich_repr__(self) -> Iterator[str]:
        """Tracebacks with locals go into data classes by themselves."""
        yield self.method


@dataclass(frozen=True, slots=True)
class SignedCommand:
    """A command ready to be written: as an HTTP request, or as a socket message with the id its reply will carry.

    `fingerprint` identifies it at the venue where that is known beforehand (a transaction hash).
    """

    request: HttpRequest | None = None
    message: str | bytes | None = None
    correlation_id: str | None = None
    fingerprint: str | None = None

    def __repr__(self) -> str:
        return f"SignedCommand({self.correlation_id or self.request})"

    def __rich_repr__(self) -> Iterator[str]:
        """As `repr`."""
        yield repr(self)


class Signer(Protocol):
    """One account's key. `repr` shows no key. `address` names the account in logs, masked."""

    @property
    def address(self) -> str: ...

    async def authorize(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """The request with what a signed query needs (headers, token)."""
        ...

    async def sign_command(self, command: Command, context: SignContext) -> SignedCommand:
        """The signed wire form. Slow signers run through Offload."""
        ...

    async def ws_login(self, role: str, now_ms: int) -> tuple[str | bytes, ...]:
        """Messages that log a socket in, empty where the venue has none."""
        ...


@runtime_checkable
class TokenSigner(Signer, Protocol):
    """A signer whose requests carry a session token that the venue may end before its time."""

    def token_refused(self, request: HttpRequest) -> None:
        """The venue no longer takes the token in this request: forget it, unless it was renewed meanwhile."""
        ...


class NonceVerdict(StrEnum):
    """What became of a leased nonce."""

    CONSUMED = "consumed"
    NOT_CONSUMED = "not_consumed"
    UNKNOWN = "unknown"


class NonceLease:
    """One nonce, or `count` from `value` on, held from signing to the venue's answer or the failure of the send."""

    __slots__ = ("count", "value", "verdict")

    def __init__(self, value: int) -> None:
        self.value = value
        self.count = 1
        self.verdict = NonceVerdict.UNKNOWN


class NonceSource(Protocol):
    """Nonces of one scope (an account and key). Nonce order equals send order (E34)."""

    def lease(self) -> Any:
        """An async context manager giving a `NonceLease`; the caller sets its verdict before it ends."""
        ...

    def mark_stale(self) -> None:
        """The next lease asks the venue first."""
        ...


class TimeNonces:
    """Numbers from a clock that never repeat: max(last + 1, now). For venues that accept any unused recent number in any order.

    `now` gives venue time in the venue's unit: it refuses what lies below the highest it has seen, so a local clock that was set back must
    not matter. All users of `key` on one event loop share a count; other processes need keys of their own.
    """

    _of_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, int]]] = WeakKeyDictionary()

    def __init__(self, key: str, now: Callable[[], int]) -> None:
        self._key = key
        self._now = now

    @classmethod
    def take(cls, key: str, now: int) -> int:
        """For signed queries, which lease nothing. Call it on the event loop."""
        last = cls._of_loop.setdefault(asyncio.get_running_loop(), {})
        value = last[key] = max(last.get(key, 0) + 1, now)
        return value

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[NonceLease]:
        yield NonceLease(self.take(self._key, self._now()))

    def mark_stale(self) -> None:
        """Time needs no resync."""


class SequentialNonces:
    """A counter that must rise by exactly one: one lease at a time, resync from the venue when the last one's fate is not known.

    `fetch` asks the venue for the next nonce. Held from signing until the verdict, so that send order is nonce order.
    """

    def __init__(self, fetch: Callable[[], Awaitable[int]]) -> None:
        self._fetch = fetch
        self._lock = asyncio.Lock()
        self._next: int | None = None

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[NonceLease]:
        async with self._lock:
            if self._next is None:
                self._next = await self._fetch()
            lease = NonceLease(self._next)
            try:
                yield lease
            finally:
                if lease.verdict is NonceVerdict.CONSUMED:
                    self._next = lease.value + lease.count
                elif lease.verdict is NonceVerdict.UNKNOWN:
                    self._next = None

    def mark_stale(self) -> None:
        self._next = None


def require(credentials: Credentials | None, spec: VenueSpec, environment: str) -> Credentials:
    """The credentials, if they can be used.

    Raises:
        MissingCredentials: absent or placeholder; the message names what to set.
        ConfigError: they belong to another venue.
    """
    if credentials is None:
        raise MissingCredentials("this client is read-only: no credentials were given", venue=spec.name)
    if credentials.venue != spec.name:
        raise ConfigError(f"these credentials are for {credentials.venue}", venue=spec.name)
    if problem := credentials.problem(spec, environment):
        raise MissingCredentials(problem, venue=spec.name)
    return credentials
