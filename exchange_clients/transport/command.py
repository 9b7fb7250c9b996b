"""Commands: what changes state at a venue. Sent once; every end has an outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from exchange_clients.errors import (
    ConnectFailed,
    Disconnected,
    MissingCredentials,
    NonceError,
    Outcome,
    RequestTimeout,
    TokenRefused,
    VenueError,
)
from exchange_clients.model import Lane
from exchange_clients.ratelimit import Limiter
from exchange_clients.signing import (
    Channel,
    Command,
    NonceLease,
    NonceSource,
    NonceVerdict,
    SequentialNonces,
    SignContext,
    SignedCommand,
    Signer,
    TokenSigner,
)
from exchange_clients.transport.venue_time import VenueTime

if TYPE_CHECKING:
    from exchange_clients.transport.rest import RestTransport


@dataclass(slots=True)
class Progress:
    """How far a command got. `wrote`: bytes may have left, so a failure without the venue's word is UNKNOWN."""

    wrote: bool = False
    fingerprint: str | None = None

    @property
    def outcome(self) -> Outcome:
        return Outcome.UNKNOWN if self.wrote else Outcome.NOT_SENT


class CommandPort(Protocol):
    """The way out for commands, whatever the channel."""

    async def send(self, command: Command, progress: Progress) -> Any:
        """The venue's decoded synchronous answer.

        Raises:
            VenueError: with the outcome of this command; Throttled and ConnectFailed mean nothing was sent.
        """
        ...


class SocketCommands:
    """Requests over a socket, matched with their replies by correlation id. A lost connection settles all waiting ones as UNKNOWN."""

    def __init__(self, venue: str) -> None:
        self._venue = venue
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._write: Callable[[str | bytes], Awaitable[None]] | None = None

    @property
    def is_open(self) -> bool:
        return self._write is not None

    def opened(self, write: Callable[[str | bytes], Awaitable[None]]) -> None:
        self._write = write

    def lost(self, reason: str) -> None:
        self._write = None
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(Disconnected(f"connection lost before the answer: {reason}", venue=self._venue))

    def resolve(self, correlation_id: str, reply: Any) -> bool:
        """Hand a reply (a value, or the error it means) to its request; False when nobody waits for it."""
        future = self._waiting.pop(correlation_id, None)
        if future is None or future.done():
            return False
        if isinstance(reply, BaseException):
            future.set_exception(reply)
        else:
            future.set_result(reply)
        return True

    def resolve_only(self, reply: Any) -> bool:
        """Hand over a reply that names no request, when exactly one waits; else False."""
        return len(self._waiting) == 1 and self.resolve(next(iter(self._waiting)), reply)

    async def request(self, message: str | bytes, correlation_id: str, *, timeout_s: float) -> Any:
        if self._write is None:
            raise ConnectFailed("the command socket is not connected", venue=self._venue)
        future = asyncio.get_running_loop().create_future()
        self._waiting[correlation_id] = future
        try:
            async with asyncio.timeout(timeout_s):
                await self._write(message)
                return await future
        except TimeoutError as e:
            raise RequestTimeout(f"no answer on the socket in {timeout_s:g} s", venue=self._venue) from e
        finally:
            self._waiting.pop(correlation_id, None)
            if future.done() and not future.cancelled():
                future.exception()  # the write may have failed before the answer was looked at


class VenuePort:
    """Limiter lane -> nonce lease -> sign -> write -> reply, over REST or a socket.

    A refused nonce is definite: nothing was executed. With sequential nonces the command is then signed once more with a fresh one; so it
    is with a new session token when the venue no longer takes the old one. What fails while signing was never sent.
    """

    def __init__(
        self,
        rest: RestTransport,
        limiter: Limiter,
        venue_time: VenueTime,
        signer: Signer | None,
        nonces: Mapping[str, NonceSource],
        socket: SocketCommands,
        *,
        timeout_s: float = 10.0,
        limiter_wait_s: float = 5.0,
    ) -> None:
        self._rest = rest
        self._limiter = limiter
        self._venue_time = venue_time
        self._signer = signer
        self._nonces = nonces
        self._socket = socket
        self._timeout_s = timeout_s
        self._limiter_wait_s = limiter_wait_s

    async def send(self, command: Command, progress: Progress) -> Any:
        if self._signer is None:
            raise MissingCredentials("this client is read-only: commands need credentials", venue=self._rest.spec.name)
        endpoint = self._rest.endpoint(command.endpoint)
        cost = endpoint.cost if command.cost is None else command.cost
        resign = True
        while True:
            async with self._limiter.admit(cost, Lane(command.lane), timeout_s=self._limiter_wait_s), self._lease(command) as lease:
                try:
                    reply = await self._sign_and_send(command, self._signer, lease, progress)
                except NonceError as e:
                    self._venue_time.doubted = True
                    self._judge(lease, e)
                    if not (
                        resign
                        and e.outcome is Outcome.REFUSED
                        and isinstance(self._nonces.get(command.nonce_scope or ""), SequentialNonces)
                    ):
                        raise
                    resign = False
                    progress.wrote = False
                    continue
                except TokenRefused as e:
                    self._judge(lease, e)
                    if not (resign and isinstance(self._signer, TokenSigner) and e.outcome is Outcome.REFUSED):
                        raise
                    resign = False
                    progress.wrote = False
                    continue
                except VenueError as e:
                    self._judge(lease, e)
                    raise
                except BaseException:
                    if lease is not None and not progress.wrote:
                        lease.verdict = NonceVerdict.NOT_CONSUMED
                    raise
                if lease is not None:
                    lease.verdict = NonceVerdict.CONSUMED
                return reply

    @staticmethod
    def _judge(lease: NonceLease | None, error: VenueError) -> None:
        if lease is not None:
            proven = error.outcome is not Outcome.UNKNOWN and not isinstance(error, NonceError)
            lease.verdict = NonceVerdict.NOT_CONSUMED if proven else NonceVerdict.UNKNOWN

    @asynccontextmanager
    async def _lease(self, command: Command) -> AsyncIterator[NonceLease | None]:
        if command.nonce_scope is None:
            yield None
        else:
            async with self._nonces[command.nonce_scope].lease() as lease:
                lease.count = command.nonces
                yield lease

    async def _sign_and_send(self, command: Command, signer: Signer, lease: NonceLease | None, progress: Progress) -> Any:
        context = SignContext(self._venue_time.now_ms(), lease.value if lease else None)
        try:
            signed: SignedCommand = await signer.sign_command(command, context)
        except VenueError as e:
            e.outcome = Outcome.NOT_SENT
            raise
        progress.fingerprint = signed.fingerprint
        timeout_s = command.timeout_s or self._timeout_s
        try:
            if command.channel is Channel.WS and signed.message is not None and signed.correlation_id is not None:
                progress.wrote = True
                return await self._socket.request(signed.message, signed.correlation_id, timeout_s=timeout_s)
            if signed.request is None:
                raise ConnectFailed(f"the signer gave no {command.channel} form of {command.endpoint}", venue=self._rest.spec.name)
            progress.wrote = True
            body = await self._rest.send(signed.request, timeout_s=timeout_s)
        except VenueError as e:
            progress.wrote = e.outcome is not Outcome.NOT_SENT
            if isinstance(e, TokenRefused) and isinstance(signer, TokenSigner) and signed.request is not None:
                signer.token_refused(signed.request)
            raise
        return self._rest.decode(self._rest.endpoint(command.endpoint), body)
