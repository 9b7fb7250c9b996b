"""The venues' events for who trades on them, and which venues are proved: after a gap nothing is added until what is held agrees."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from exchange_clients.errors import ConnectFailed, VenueError
from exchange_clients.events import Subscription
from exchange_clients.model import Fill, Gap, OrderInfo
from exchange_clients.transport.clock import Clock

from .journaling import Observer, nobody
from .pauses import growing
from .together import together

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

log = logging.getLogger("strategies.execution")

RETRY_S = 1.0
MAX_RETRY_S = 10.0


class Feeds:
    """Fills and orders of every venue, for as long as its client lives.

    `reconcile` proves what is held at some venues and returns those where something does not agree, or cannot be asked. Only one of its
    calls runs at a time. `observer` hears `venue.gap` and `venue.proved`.
    """

    def __init__(
        self,
        clients: Mapping[str, "BaseExchangeClient"],
        clock: Clock,
        *,
        name: str,
        take_fill: Callable[[Fill], Awaitable[None]],
        take_order: Callable[[str, OrderInfo], None],
        reconcile: Callable[[frozenset[str]], Awaitable[set[str]]],
        observer: Observer = nobody,
    ) -> None:
        self.unproved: dict[str, str] = {venue: "not reconciled since the start" for venue in clients}
        """Venue -> why nothing may be added there."""
        self.tasks: list[asyncio.Task[None]] = []
        self._proving: asyncio.Task[None] | None = None
        self._clients, self._clock, self._name = clients, clock, name
        self._take_fill, self._take_order, self._reconcile, self._observer = take_fill, take_order, reconcile, observer

    def start(self) -> None:
        """Follow everything; the owner calls `prove` and then `go_on` when it has taken over what the journal holds."""
        for venue, client in self._clients.items():
            self._run(self._follow(venue, client.watch_fills), f"fills:{venue}")
            self._run(self._follow(venue, client.watch_orders), f"orders:{venue}")

    def go_on(self) -> None:
        """What is not proved yet goes on being tried."""
        if self.unproved and (self._proving is None or self._proving.done()):
            self._proving = self._run(self._prove_until_done(), "prove")

    async def stop(self) -> None:
        """End all of it."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """What ended by itself is forgotten; what failed is kept for the end to gather."""
        task = asyncio.create_task(work, name=f"{self._name}:{name}")
        self.tasks = [*(other for other in self.tasks if not other.done() or other.cancelled() or other.exception() is not None), task]
        return task

    async def _follow(self, venue: str, watch: Callable[[], Subscription]) -> None:
        """A bug in taking an event costs a reconciliation, never the feed."""
        async with watch() as events:
            async for event in events:
                try:
                    if isinstance(event, Gap):
                        self._gap(venue, event.reason)
                    elif isinstance(event, Fill):
                        await self._take_fill(event)
                    elif isinstance(event, OrderInfo):
                        self._take_order(venue, event)
                except Exception:
                    log.exception("feed.failed venue=%s event=%s", venue, type(event).__name__)
                    self._gap(venue, "an event could not be taken in")

    def _gap(self, venue: str, reason: str) -> None:
        """Something may have been missed. While anything is unproved somebody is proving already, at the start the owner himself."""
        proving, told = bool(self.unproved), venue in self.unproved
        self.unproved[venue] = f"not reconciled since {reason}"
        if not told:
            self._observer("venue.gap", "", venue=venue, reason=reason)
        if not proving:
            self.go_on()

    async def _prove_until_done(self) -> None:
        tries = 0
        while self.unproved:
            await self._clock.sleep(growing(RETRY_S, tries, MAX_RETRY_S))
            tries += 1
            try:
                await self.prove()
            except Exception:
                log.exception("prove.failed venues=%s", list(self.unproved))

    async def prove(self) -> None:
        """Reconcile what is held on the venues that are not proved; a venue is free for entries once all of it agrees there."""
        waiting = dict(self.unproved)
        doubted = await self._reconcile(frozenset(waiting))
        await together(*(self._free(venue, reason) for venue, reason in waiting.items() if venue not in doubted))

    async def _free(self, venue: str, reason: str) -> None:
        """Entries may go on at a venue that answers, unless something was missed meanwhile."""
        client = self._clients[venue]
        try:
            if not client.is_connected:
                raise ConnectFailed("not connected", venue=venue)
            await client.get_open_positions()
        except VenueError as e:
            log.warning("venue.unproved venue=%s error=%s", venue, e)
            return
        if self.unproved.get(venue) == reason:
            del self.unproved[venue]
            self._observer("venue.proved", "", venue=venue)
