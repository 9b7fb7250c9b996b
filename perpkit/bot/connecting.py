"""The clients of a process: connected at the start as far as their venues answer; the others are tried again until they do.

What is open on a venue that answers must not wait for one that does not. Wrong keys or a wrong configuration are no outage: they end the
start.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.errors import AuthError, ConfigError, ConnectFailed, VenueError
from exchange_clients.model import Gap
from exchange_clients.transport.backoff import Backoff
from exchange_clients.transport.clock import Clock
from strategies.execution.journaling import Observer

log = logging.getLogger("perpkit.bot")

CONNECT_S = 45.0
"""How long one attempt may take, start checks included."""
RETRY_S = (1.0, 30.0)
"""The first and the longest pause between two attempts."""


class NotAllowed(Exception):
    """The start checks say no; one line per reason, each with what to do."""


class Connection(NamedTuple):
    """One client, and whose it is."""

    account: str
    venue: str
    client: BaseExchangeClient


Check = Callable[[Connection], Awaitable[Sequence[str]]]
"""What forbids to trade with a client that has just connected."""


async def nothing_forbids(connection: Connection) -> Sequence[str]:
    return ()


def is_outage(error: BaseException) -> bool:
    """Trying again can help."""
    return isinstance(error, VenueError) and not isinstance(error, AuthError | ConfigError)


class Connections:
    """Clients that are connected already stay as they are."""

    def __init__(self, connections: Sequence[Connection], clock: Clock, observer: Observer, check: Check = nothing_forbids) -> None:
        self._all, self._clock, self._observer, self._check = connections, clock, observer, check
        self._ours = [one for one in connections if not one.client.is_connected]
        self._connected: set[Connection] = set()
        self._trying: list[asyncio.Task[None]] = []
        self.barred: dict[str, dict[str, str]] = {one.account: {} for one in connections}
        """Account -> venue -> why nothing may be entered there."""

    async def open(self) -> None:
        """One attempt at all of them at once; those that fail for an outage go on being tried in the background.

        Raises:
            NotAllowed: a check says no.
            VenueError: keys or configuration are wrong, or no venue answers at all.
        """
        outcomes = await asyncio.gather(*(self._connect(one) for one in self._ours), return_exceptions=True)
        failed = {one: error for one, error in zip(self._ours, outcomes, strict=True) if error is not None}
        if refused := [str(error) for error in failed.values() if isinstance(error, NotAllowed)]:
            raise NotAllowed("\n".join(refused))
        for error in failed.values():
            if not is_outage(error) or len(failed) == len(self._all):
                raise error
        for one, error in failed.items():
            self._bar(one, error)
            self._trying.append(asyncio.create_task(self._until_connected(one), name=f"connect:{one.venue}"))

    async def close(self) -> None:
        """No further attempt; what was connected here is disconnected."""
        for task in self._trying:
            task.cancel()
        await asyncio.gather(*self._trying, return_exceptions=True)
        for one in self._ours:
            await one.client.disconnect()

    async def _connect(self, one: Connection) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                if one not in self._connected:
                    await one.client.connect()
                    self._connected.add(one)
                problems = await self._check(one)
        except TimeoutError:
            raise ConnectFailed(f"no answer in {CONNECT_S:g} s", venue=one.venue) from None
        if problems:
            raise NotAllowed("\n".join(f"{one.venue} ({one.account}): {problem}" for problem in problems))

    def _bar(self, one: Connection, error: BaseException) -> None:
        log.warning("connect.failed venue=%s account=%s reason=%s", one.venue, one.account, error)
        self.barred[one.account][one.venue] = f"not connected: {error}"
        self._observer("venue.not_connected", "", venue=one.venue, account=one.account, reason=str(error))

    async def _until_connected(self, one: Connection) -> None:
        """Entries go on once everybody has heard that something may have been missed there, and has reconciled it (E10)."""
        first_s, cap_s = RETRY_S
        backoff = Backoff(random.Random(one.venue), first_s=first_s, cap_s=cap_s)  # noqa: S311 - jitter, not secrecy
        while True:
            await self._clock.sleep(backoff.next())
            try:
                await self._connect(one)
                break
            except Exception as e:
                if not isinstance(e, VenueError | NotAllowed):
                    log.exception("connect.broken venue=%s", one.venue)
                self._bar(one, e)
        gap = Gap(venue=one.venue, topic="account", reason="the start: the venue did not answer", ts_ns=self._clock.time_ns())
        one.client.context.hub.publish_gap(gap)
        await asyncio.sleep(0)
        del self.barred[one.account][one.venue]
        log.info("connect.done venue=%s account=%s", one.venue, one.account)
        self._observer("venue.connected", "", venue=one.venue, account=one.account)
