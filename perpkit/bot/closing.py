"""Closes pairs and holdings where no bot runs: engine and desk alone, without strategy, limits or anything else that an entry needs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from database.journal import Journal
from database.records import AuditRecord, DecisionRecord, HoldingState, PairRecord, PairState
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.transport.runtime import Runtime
from strategies.execution.desk import Desk
from strategies.execution.engine import ExecutionEngine
from strategies.execution.ledger.owners import Owner, markets, owner_id
from strategies.execution.ownership import Ownership
from strategies.risk import takeover
from strategies.risk.fence import Fence
from strategies.risk.identity import require_bots_own

log = logging.getLogger("perpkit.bot")

MakeClient = Callable[[str, str], BaseExchangeClient]
"""(venue, account) -> a client with keys, not connected yet."""


class NotReal(Exception):
    """These positions live in a virtual account, which only its own bot can trade."""


class Busy(Exception):
    """A watchdog acts for these positions just now."""


@contextmanager
def alone(folder: Path, why: str) -> Iterator[None]:
    """The fence of a state folder, so that no watchdog reduces what this command reduces too.

    Raises:
        Busy: a watchdog has it.
    """
    fence = Fence(folder)
    if not fence.take(why):
        raise Busy(f"a watchdog acts just now: {fence.held() or 'it is about to let go'}")
    try:
        yield
    finally:
        fence.drop()


def open_owners(journal: Journal) -> list[Owner]:
    """Everything that is not closed, oldest first."""
    found: list[Owner] = [
        *journal.pairs(*(s for s in PairState if s is not PairState.CLOSED)),
        *journal.holdings(*(s for s in HoldingState if s is not HoldingState.CLOSED)),
    ]
    return sorted(found, key=lambda owner: owner.created_at)


def check_real(journal: Journal, owners: Sequence[Owner]) -> None:
    """Raises NotReal where an owner's bot did not run live: real orders must never answer virtual positions.

    The run that opened it is the newest that began before it; where the clock knows none (it was set back), every run of that bot counts.
    """
    for owner in owners:
        runs = [r for r in journal.runs() if (r.strategy, r.account) == (owner.strategy, owner.account)]
        before = [r for r in runs if r.started_at <= owner.created_at][-1:] or runs
        virtual = next((r.environment for r in before if r.environment != "live"), None)
        if virtual is not None:
            raise NotReal(f"{owner_id(owner)} was opened in {virtual}: its account is virtual and lives with its bot")


def settings_of_runs(journal: Journal, owner: Owner) -> dict[str, dict[str, Any]]:
    """Client settings per venue as the bot's newest file had them, so that a testnet position is closed on the testnet; {} when unknown."""
    import yaml

    runs = [r for r in journal.runs() if (r.strategy, r.account) == (owner.strategy, owner.account)]
    if not runs:
        return {}
    try:
        values = yaml.safe_load(runs[-1].config)
    except yaml.YAMLError:
        return {}
    venues = values.get("venues") if isinstance(values, Mapping) else None
    if not isinstance(venues, Mapping):
        return {}
    return {str(name): dict(given) for name, given in venues.items() if isinstance(given, Mapping)}


def world_of(journal: Journal, owner: Owner, venue: str) -> str:
    """The environment of a venue (mainnet, testnet, demo) in which an owner was opened, by the newest file of its bot."""
    named = str(settings_of_runs(journal, owner).get(venue, {}).get("environment", "mainnet"))
    return "mainnet" if named == "prod" else named


def worlds(journal: Journal, owners: Sequence[Owner]) -> dict[str, str]:
    """Venue -> its environment for these owners.

    Raises:
        NotReal: owners of one venue are in different ones.
    """
    found: dict[str, str] = {}
    for owner in owners:
        for market in markets(owner):
            world = world_of(journal, owner, market.venue)
            if found.setdefault(market.venue, world) != world:
                raise NotReal(
                    f"{market.venue} is used in {found[market.venue]} and in {world} by what is open: say which with --environment"
                )
    return found


async def close_here(
    journal: Journal,
    wanted: Sequence[Owner],
    why: str,
    actor: str,
    *,
    make: MakeClient,
    runtime: Runtime,
    wait_s: float,
    folder: Path | None = None,
) -> None:
    """Close these, reduce-only, and return when each is closed or in alert, or when the time is over. Hold `alone` meanwhile.

    All open pairs and holdings of the same bots are taken over too, as after a restart: what is unproved there is proved, nothing is added.

    Raises:
        WrongAccount: the keys are not of the accounts that these bots trade; nothing was sent.
        VenueError: a venue cannot be reached or does not take the keys; nothing was sent.
    """
    ownership = Ownership(journal)
    bots: dict[tuple[str, str], list[Owner]] = {}
    for owner in open_owners(journal):
        if any((owner.strategy, owner.account) == (w.strategy, w.account) for w in wanted):
            bots.setdefault((owner.strategy, owner.account), []).append(owner)
    names = {owner_id(owner) for owner in wanted}
    now_ns = runtime.clock.time_ns()
    detail = msgspec.json.encode({"owners": sorted(names), "reason": why}).decode()
    journal.write(AuditRecord(entry_id=f"close-{now_ns}", actor=actor, action="close", detail=detail, ts=now_ns), or_fallback=True)
    async with AsyncExitStack() as stack:
        clients: dict[tuple[str, str], BaseExchangeClient] = {}
        for (_, account), owners in bots.items():
            for venue in sorted({market.venue for owner in owners for market in markets(owner)}):
                if (venue, account) not in clients:
                    client = make(venue, account)
                    stack.push_async_callback(client.disconnect)
                    await client.connect()
                    clients[venue, account] = client
        if folder is not None:
            for strategy, account in bots:  # all, before the first of them is acted for
                require_bots_own(folder, strategy, account, {v: c for (v, named), c in clients.items() if named == account})
        ends: list[asyncio.Task[object]] = []
        for (strategy, account), owners in bots.items():
            own = {venue: client for (venue, named), client in clients.items() if named == account}
            engine, desk = await stack.enter_async_context(taken_over(journal, own, runtime, ownership, strategy, account, folder))
            mine = [owner for owner in owners if owner_id(owner) in names]
            ends.extend(asyncio.create_task(_close(engine, desk, owner, why, actor)) for owner in mine)
        _, late = await asyncio.wait(ends, timeout=wait_s)
        for task in late:
            task.cancel()
        for outcome in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


@asynccontextmanager
async def taken_over(
    journal: Journal,
    clients: Mapping[str, BaseExchangeClient],
    runtime: Runtime,
    ownership: Ownership,
    strategy: str,
    account: str,
    folder: Path | None = None,
) -> AsyncIterator[tuple[ExecutionEngine, Desk]]:
    """Engine and desk over everything that a bot left open, as after its restart; at the end what would add is off the books.

    `folder`: the state folder, where a watchdog wrote down what it sent for that bot: those fills are its own.

    Raises:
        WrongAccount: the bot's heartbeat there names other accounts than these clients act for.
    """
    if folder is not None:
        require_bots_own(folder, strategy, account, clients)
    engine = ExecutionEngine(journal, clients, runtime, strategy=strategy, account=account, ownership=ownership)
    desk = Desk.beside(engine, runtime)
    try:
        if folder is not None:
            await takeover.take_in(folder, engine.journal, strategy, account)
        await engine.start()
        await desk.start()
        yield engine, desk
    finally:
        await desk.stop()
        await engine.stop()


async def _close(engine: ExecutionEngine, desk: Desk, owner: Owner, why: str, actor: str) -> object:
    now_ns = engine.clock.time_ns()
    decision = DecisionRecord(
        decision_id=f"d{engine.ids.next(now_ns)}",
        strategy=engine.strategy,
        account=engine.account,
        pair_id=owner_id(owner),
        symbol=owner.symbol if isinstance(owner, PairRecord) else owner.instrument,
        kind="exit",
        rule="requested",
        outcome=f"{why} (asked by {actor})",
        inputs="{}",
        thresholds="{}",
        ages="{}",
        ts=now_ns,
    )
    reason = f"requested: {why} (asked by {actor})"
    if isinstance(owner, PairRecord):
        return await engine.close(owner.pair_id, reason, decision)
    return await desk.close(owner.holding_id, reason, decision)
