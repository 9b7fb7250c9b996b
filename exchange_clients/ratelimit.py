"""Rate limits: weighted pools by scope, and lanes that decide who goes first.

Everyone in the process who draws on the same scope of a venue (an address, an account, a key) shares one count. Requests queue by lane and
then by arrival; a less urgent one may overtake only where that takes nothing from those ahead of it. The entry and scan lanes never touch
the last `RESERVE` of a pool, so that what reduces risk always finds room (E38). A fixed window is held like a sliding one: safe whatever
the venue's phase.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count, takewhile
from math import inf
from typing import ClassVar
from weakref import WeakKeyDictionary

from exchange_clients.errors import ConfigError, Throttled
from exchange_clients.model import Lane
from exchange_clients.spec import Pool
from exchange_clients.transport.clock import Clock

RESERVE = 0.3
MAX_WAITING = 1_000
"""Requests that may wait for one pool in one lane; more are refused at once."""

_RANK = {lane: rank for rank, lane in enumerate(Lane)}
_RESTRAINED = frozenset({Lane.ENTRY, Lane.SCAN})
_GRAIN = 100
_SHORTEST_SLEEP_S = 1e-6
_EPSILON = 1e-9
_FIRST_PENALTY_S = 1.0
_LONGEST_PENALTY_S = 60.0


class _Waiter:
    """A request in the queue of every pool it needs. Ordered by urgency, then arrival."""

    __slots__ = ("lane", "needs", "rank", "wake")

    def __init__(self, lane: Lane, arrival: int, needs: Mapping[_Bucket, float]) -> None:
        self.lane = lane
        self.rank = (_RANK[lane], arrival)
        self.needs = needs
        self.wake: asyncio.Future[None] | None = None

    def __lt__(self, other: _Waiter) -> bool:
        return self.rank < other.rank

    def __gt__(self, other: _Waiter) -> bool:
        return self.rank > other.rank

    def nudge(self) -> None:
        if self.wake is not None and not self.wake.done():
            self.wake.set_result(None)


class _Bucket:
    """One pool of one scope: what was used, who waits."""

    def __init__(self, name: str, pool: Pool, share: float) -> None:
        self.name = name
        self.pool = pool
        self.share = share
        self.limit = pool.limit * share
        self.waiting: list[_Waiter] = []
        self._taken: deque[list[float]] = deque()  # [first taken at, last taken at, weight] for windows
        self._used = 0.0
        self._used_at = 0.0
        self._blocked_until = -inf
        self._penalties = 0

    def used(self, now: float) -> float:
        if self.pool.kind == "outstanding":
            return self._used
        if self.pool.window == "decay":
            self._used = max(0.0, self._used - (now - self._used_at) * self.limit / self.pool.period_s)
            self._used_at = now
        else:
            while self._taken and self._taken[0][1] + self.pool.period_s <= now:
                self._used -= self._taken.popleft()[2]
        return self._used

    def take(self, weight: float, now: float) -> None:
        """Count `weight` as used at `now`. Uses close together share an entry that lasts as long as its youngest."""
        self.used(now)
        self._used += weight
        if self.pool.kind == "rate" and self.pool.window != "decay":
            if self._taken and now - self._taken[-1][0] < self.pool.period_s / _GRAIN:
                self._taken[-1][1] = now
                self._taken[-1][2] += weight
            else:
                self._taken.append([now, now, weight])

    def give_back(self, weight: float) -> None:
        """An outstanding request ended."""
        self._used -= weight
        self.nudge_all()

    def capacity(self, lane: Lane) -> float:
        return self.limit * (1 - RESERVE) if lane in _RESTRAINED else self.limit

    def delay(self, weight: float, ahead: float, lane: Lane, now: float) -> float:
        """The least number of seconds until `weight` fits behind the `ahead` of more urgent ones; inf when time alone does not help."""
        blocked = max(0.0, self._blocked_until - now)
        used = self.used(now)
        excess = used + ahead + weight - self.capacity(lane)
        if weight > self.capacity(lane):
            excess = used + ahead  # larger than the lane's part: waits for an empty pool
        if excess <= _EPSILON:
            return blocked
        if self.pool.kind == "outstanding":
            return inf
        if self.pool.window == "decay":
            return max(blocked, excess * self.pool.period_s / self.limit)
        freed, last = 0.0, now + self.pool.period_s * (1 / _GRAIN - 1)
        for _, last, taken in self._taken:  # noqa: B007 - the last one counts when all together free too little
            freed += taken
            if freed >= excess - _EPSILON:
                break
        return max(blocked, last + self.pool.period_s - now)

    def penalise(self, retry_after_s: float | None, now: float) -> None:
        if retry_after_s is None:
            if now < self._blocked_until:
                return  # the same burst: one penalty is enough
            if now - self._blocked_until > self.pool.period_s:
                self._penalties = 0
            retry_after_s = min(_LONGEST_PENALTY_S, _FIRST_PENALTY_S * 2.0**self._penalties)
            self._penalties += 1
        self._blocked_until = max(self._blocked_until, now + retry_after_s)

    def block_with(self, other: _Bucket) -> None:
        """A penalty of the other one is this one's too."""
        self._blocked_until = max(self._blocked_until, other._blocked_until)

    def observe(self, used: float | None, limit: float | None, now: float) -> None:
        if limit is not None and limit > 0:
            self.limit = limit * self.share
        if used is not None:
            others = self.limit / self.share - self.limit
            surplus = used - others - self.used(now)
            if surplus > 0:
                self.take(surplus, now)
        self.nudge_all()

    def nudge_all(self) -> None:
        for waiter in self.waiting:
            waiter.nudge()


class LimiterRegistry:
    """The counts that clients share. One per event loop unless a caller brings its own."""

    _of_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, LimiterRegistry]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, ...], _Bucket] = {}
        self.arrivals = count()

    @classmethod
    def of_running_loop(cls) -> LimiterRegistry:
        return cls._of_loop.setdefault(asyncio.get_running_loop(), cls())

    def bucket(self, key: tuple[str, ...], name: str, pool: Pool, share: float) -> _Bucket:
        """The count for `key`; a pool per connection is nobody else's."""
        if pool.scope == "connection":
            return _Bucket(name, pool, share)
        return self._buckets.setdefault(key, _Bucket(name, pool, share))


class Limiter:
    """One user's way to the pools of a venue.

    A cost may name a part of a pool, "orders/BTC": each part has a count of its own with the limit of the pool (limits per market).

    `address`, `account` and `key` name the scopes (address: the proxy, or empty for the machine's own); `share` is this process's part of
    every limit. Made anywhere, used on one event loop.
    """

    def __init__(
        self,
        venue: str,
        pools: Mapping[str, Pool],
        clock: Clock,
        *,
        environment: str = "mainnet",
        address: str = "",
        account: str = "",
        key: str = "",
        share: float = 1.0,
        registry: LimiterRegistry | None = None,
    ) -> None:
        if not 0 < share <= 1:
            raise ConfigError(f"a share of the limits is above 0 and at most 1, not {share}", venue=venue)
        self._venue = venue
        self._pools = dict(pools)
        self._clock = clock
        self._scopes = {"ip": address, "account": account, "key": key, "connection": ""}
        self._environment = environment
        self._share = share
        self._registry = registry
        self._buckets: dict[str, _Bucket] = {}

    async def acquire(self, cost: Mapping[str, int], lane: Lane, *, timeout_s: float) -> None:
        """Wait for room in every pool of `cost` and use it.

        Raises:
            Throttled: the wait would be longer than `timeout_s`, or too many wait already. Nothing was used, nothing may be sent.
            ConfigError: an unknown pool, or one of outstanding requests (use `admit`, which gives back).
        """
        for name in cost:
            if self._pool(name).kind == "outstanding":
                raise ConfigError(f"pool {name!r} counts outstanding requests: use admit()", venue=self._venue)
        await self._enter(cost, lane, timeout_s)

    @asynccontextmanager
    async def admit(self, cost: Mapping[str, int], lane: Lane, *, timeout_s: float) -> AsyncIterator[None]:
        """As `acquire`, for the length of the block: counts of outstanding requests are given back at every end of it."""
        needs = await self._enter(cost, lane, timeout_s)
        try:
            yield
        finally:
            for bucket, weight in needs.items():
                if bucket.pool.kind == "outstanding":
                    bucket.give_back(weight)

    def can_afford(self, cost: Mapping[str, int], lane: Lane) -> bool:
        """Whether `cost` would be admitted in `lane` without waiting (nothing is used). For an entry gate: entry and unwind together."""
        needs = self._needs(cost)
        return self._delay(_Waiter(lane, next(self._shared().arrivals), needs), self._clock.elapsed()) <= 0

    def headroom(self, pool: str) -> float:
        """Weight that is free right now, waiting requests not counted."""
        bucket = self._bucket(pool)
        return max(0.0, bucket.limit - bucket.used(self._clock.elapsed()))

    def limit(self, pool: str) -> float:
        """What the pool holds for us: by the venue's word where it gave one, else by the spec; our share of it."""
        return self._bucket(pool).limit

    def penalise(self, retry_after_s: float | None, pool: str | None = None) -> None:
        """The venue said "too many": nobody draws on the pool (None: on any rate pool) for that long.

        Without the venue's word it is 1 s, doubling up to 60 s while refusals go on.
        """
        now = self._clock.elapsed()
        for name in dict.fromkeys([*self._pools, *self._buckets]) if pool is None else self._with_parts(pool):
            if self._pool(name).kind == "rate":
                self._bucket(name).penalise(retry_after_s, now)

    def observe(self, pool: str, *, used: float | None = None, limit: float | None = None) -> None:
        """What the venue's own answer says: weight used in the current window by all, and the whole limit. Ours is never lowered by it."""
        self._bucket(pool).observe(used, limit, self._clock.elapsed())

    # ---- inside

    def _pool(self, name: str) -> Pool:
        try:
            return self._pools[name.partition("/")[0]]
        except KeyError:
            raise ConfigError(f"no rate-limit pool {name!r}; there are {', '.join(self._pools)}", venue=self._venue) from None

    def _with_parts(self, pool: str) -> list[str]:
        """The pool and what is known of its parts."""
        return [pool, *(name for name in self._buckets if name.startswith(f"{pool}/"))]

    def _bucket(self, name: str) -> _Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            pool = self._pool(name)
            key = (self._venue, self._environment, name, self._scopes[pool.scope])
            bucket = self._buckets[name] = self._shared().bucket(key, name, pool, self._share)
            whole, part, _ = name.partition("/")
            if part:
                bucket.block_with(self._bucket(whole))
        return bucket

    def _shared(self) -> LimiterRegistry:
        if self._registry is None:
            self._registry = LimiterRegistry.of_running_loop()
        return self._registry

    def _needs(self, cost: Mapping[str, int]) -> dict[_Bucket, float]:
        return {self._bucket(name): float(weight) for name, weight in cost.items() if weight > 0}

    async def _enter(self, cost: Mapping[str, int], lane: Lane, timeout_s: float) -> dict[_Bucket, float]:
        needs = self._needs(cost)
        if not needs:
            return needs
        self._refuse_hopeless(needs, lane)
        waiter = _Waiter(lane, next(self._shared().arrivals), needs)
        now = self._clock.elapsed()
        if (delay := self._delay(waiter, now)) > 0:
            await self._wait(waiter, delay, now + timeout_s)
            now = self._clock.elapsed()
        for bucket, weight in needs.items():
            bucket.take(weight, now)
        return needs

    def _refuse_hopeless(self, needs: Mapping[_Bucket, float], lane: Lane) -> None:
        for bucket, weight in needs.items():
            if weight > bucket.limit:
                raise Throttled(f"costs {weight:g} of pool {bucket.name!r}, which holds {bucket.limit:g}", venue=self._venue)
            if sum(waiter.rank[0] == _RANK[lane] for waiter in bucket.waiting) >= MAX_WAITING:
                raise Throttled(f"{MAX_WAITING} requests wait for pool {bucket.name!r} already", venue=self._venue)

    @staticmethod
    def _delay(waiter: _Waiter, now: float) -> float:
        worst = 0.0
        for bucket, weight in waiter.needs.items():
            ahead = sum(other.needs[bucket] for other in takewhile(waiter.__gt__, bucket.waiting))
            worst = max(worst, bucket.delay(weight, ahead, waiter.lane, now))
        return worst

    def _turn(self, waiter: _Waiter, now: float) -> float:
        """As `_delay`, but whoever is ahead and may go at this very moment goes first."""
        delay = self._delay(waiter, now)
        if delay <= 0:
            for bucket in waiter.needs:
                for other in takewhile(waiter.__gt__, bucket.waiting):
                    if self._delay(other, now) <= 0:
                        other.nudge()
                        delay = _SHORTEST_SLEEP_S
        return delay

    async def _wait(self, waiter: _Waiter, delay: float, deadline: float) -> None:
        """Return when the waiter's turn has come (it is out of the queues then); raise Throttled, or be cancelled, having used nothing."""
        for bucket in waiter.needs:
            insort(bucket.waiting, waiter)
        try:
            while delay > 0:
                now = self._clock.elapsed()
                if now >= deadline or (_SHORTEST_SLEEP_S < delay < inf and now + delay > deadline):
                    names = ", ".join(bucket.name for bucket in waiter.needs)
                    raise Throttled(f"{waiter.lane} request would wait too long for {names}", venue=self._venue)
                waiter.wake = asyncio.get_running_loop().create_future()
                try:
                    async with asyncio.timeout(max(min(delay, deadline - now), _SHORTEST_SLEEP_S)):
                        await waiter.wake
                except TimeoutError:
                    pass  # time has passed: look again
                delay = self._turn(waiter, self._clock.elapsed())
        except BaseException:
            self._leave(waiter)
            for bucket in waiter.needs:
                bucket.nudge_all()  # those behind have less ahead of them now
            raise
        self._leave(waiter)

    @staticmethod
    def _leave(waiter: _Waiter) -> None:
        for bucket in waiter.needs:
            bucket.waiting.remove(waiter)
