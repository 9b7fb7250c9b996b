"""What an operator can ask of running bots: the same verbs for the control API, for signals and for commands."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from database.errors import JournalError
from database.records import AuditRecord, HoldingState, Leg, PairState
from exchange_clients.model import NS_PER_S
from perpkit.bot.assemble import Bot, Bots
from perpkit.bot.config import BotConfig, InvalidConfig
from strategies.base_strategy import InvalidParameters
from strategies.risk.halt import HaltFile

log = logging.getLogger("perpkit.bot")

ALL = "all"
RESUME_PAIR_S = 60.0
MAX_DECISIONS = 1_000


class Refused(Exception):
    """It cannot be done, for a reason that the one who asks can do something about. `missing`: what was named does not exist."""

    def __init__(self, message: str, *, missing: bool = False, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.missing, self.problems = missing, tuple(problems)


class Operations:
    """Verbs over all bots of a process. `folder` is the state folder; `configs` reads the configuration files anew."""

    def __init__(self, bots: Bots, *, folder: Path, configs: Callable[[], Sequence[BotConfig]]) -> None:
        self._bots, self._folder, self._configs = bots, folder, configs
        self._halt = HaltFile(folder)
        self._clock = bots.runtime.clock
        self._started_ns = self._clock.time_ns()
        self._reloading = asyncio.Lock()
        self._entries = 0

    # ---- reading

    async def health(self) -> dict[str, Any]:
        """Whether everything works; `ok` false says that somebody should look."""
        bots = [self._bot_health(bot) for bot in self._bots]
        journal = not self._bots.journal.degraded
        return {
            "ok": journal and all(bot["ok"] for bot in bots),
            "journal": "ok" if journal else "records wait in the fallback file: nothing is entered",
            "uptime_s": (self._clock.time_ns() - self._started_ns) // NS_PER_S,
            "bots": bots,
        }

    def _bot_health(self, bot: Bot) -> dict[str, Any]:
        alerts = [pair_id for pair_id, runner in bot.engine.pairs.items() if runner.state is PairState.ALERT]
        offline = [name for name, client in bot.clients.items() if not client.is_connected]
        return {"bot": bot.name, "ok": not alerts and not offline, "alerts": alerts, "offline": offline}

    async def status(self) -> dict[str, Any]:
        """What runs, since when, and what keeps it from entering."""
        held = await self._off(self._halt.read)
        return {
            "environment": self._bots.environment,
            "halted": None if held is None else msgspec.to_builtins(held),
            "bots": [
                {
                    "bot": bot.name,
                    "run_id": bot.run.run_id,
                    "started_at": bot.run.started_at,
                    "venues": list(bot.clients),
                    "entry_block": bot.engine.entry_block(),
                    **bot.strategy.get_status(),
                }
                for bot in self._bots
            ],
        }

    async def positions(self) -> dict[str, Any]:
        """Open pairs and holdings by the account of our own fills."""
        pairs = [
            {
                "pair_id": pair_id,
                "bot": bot.name,
                "symbol": runner.record.symbol,
                "state": runner.state,
                "reason": runner.record.reason,
                "opened_at": runner.record.opened_at,
                "legs": {
                    str(leg): {
                        "venue": runner.record.venue(leg),
                        "instrument": runner.record.instrument(leg),
                        "own": runner.legs[leg].own * leg.sign,
                        "price": runner.legs[leg].last_price,
                    }
                    for leg in Leg
                },
            }
            for bot in self._bots
            for pair_id, runner in bot.engine.pairs.items()
            if runner.state is not PairState.CLOSED
        ]
        return {"pairs": pairs, "holdings": await self._off(self._holdings)}

    def _holdings(self) -> list[dict[str, Any]]:
        journal = self._bots.journal
        return [
            {
                "holding_id": record.holding_id,
                "bot": f"{record.strategy}:{record.account}",
                "venue": record.venue,
                "instrument": record.instrument,
                "state": record.state,
                "reason": record.reason,
                "own": sum(fill.signed for fill in journal.fills(record.holding_id)),
            }
            for record in journal.holdings(*(s for s in HoldingState if s is not HoldingState.CLOSED))
        ]

    async def decisions(self, owner_id: str | None, limit: int) -> dict[str, Any]:
        """The newest decisions, about one pair or all, newest first."""
        last = max(1, min(limit, MAX_DECISIONS))
        found = await self._off(partial(self._bots.journal.decisions, owner_id, last=last))
        return {"decisions": [_decision(record) for record in reversed(found)]}

    async def risk(self) -> dict[str, Any]:
        """Limits and what stands against them, per bot."""
        return {"bots": {bot.name: bot.risk.status() for bot in self._bots}}

    # ---- acting

    async def close(self, owner_id: str, why: str, actor: str) -> dict[str, Any]:
        """Begin the end of a pair, a holding, or all of them.

        Raises:
            Refused: nothing of that name is open.
        """
        wanted = [(bot, owner) for bot in self._bots for owner in bot.strategy.open_owners() if owner_id in (ALL, owner)]
        if not wanted and owner_id != ALL:
            open_now = [owner for bot in self._bots for owner in bot.strategy.open_owners()]
            raise Refused(f"nothing open is called {owner_id!r}; open: {', '.join(open_now) or 'nothing'}", missing=True)
        await self._audit(actor, "close", {"owner": owner_id, "reason": why})
        failed: dict[str, str] = {}
        for bot, owner in wanted:
            try:
                await bot.strategy.begin_close(owner, f"{why} (asked by {actor})")
            except LookupError:
                failed[owner] = "closed meanwhile"
            except Exception as e:  # one that cannot be closed holds up no other
                log.exception("close.failed bot=%s owner=%s", bot.name, owner)
                failed[owner] = type(e).__name__
        return {"closing": [owner for _, owner in wanted if owner not in failed], "failed": failed}

    async def halt(self, reason: str, actor: str) -> dict[str, Any]:
        """No entry anywhere from now on, in no process of this state folder; exits go on (E42). The file audits itself."""
        held = await self._off(partial(self._halt.set, reason, actor, self._clock.time_ns()))
        return {"halted": msgspec.to_builtins(held)}

    async def resume(self, actor: str) -> dict[str, Any]:
        """The operator clears the halt."""
        held = await self._off(partial(self._halt.clear, actor, self._clock.time_ns()))
        return {"resumed": held is not None, "was": None if held is None else msgspec.to_builtins(held)}

    async def resume_pair(self, owner_id: str, actor: str) -> dict[str, Any]:
        """The operator has looked at a pair in ALERT, or at a halted grid (named by its market): it goes on, by reducing first.

        Raises:
            Refused: there is nothing of that name, or it does not wait for an operator.
        """
        await self._audit(actor, "resume_pair", {"owner": owner_id})
        missing: list[str] = []
        for bot in self._bots:
            try:
                async with asyncio.timeout(RESUME_PAIR_S):
                    await bot.strategy.resume(owner_id, f"asked by {actor}")
                return {"resumed": owner_id, "bot": bot.name}
            except LookupError as e:
                missing.append(str(e))
            except ValueError as e:
                raise Refused(str(e)) from e
        raise Refused("; ".join(missing), missing=True)

    async def reload(self, actor: str) -> dict[str, Any]:
        """Read the files again. New parameters hold for what is opened from now on; what is open only gets tighter ones (E39).

        Raises:
            Refused: a file is not usable; nothing was changed.
        """
        async with self._reloading:
            try:
                configs = {config.name: config for config in await self._off(self._configs)}
            except InvalidConfig as e:
                raise Refused("the configuration is not usable, nothing was changed", problems=e.problems) from e
            await self._audit(actor, "reload", {"bots": sorted(configs)})
            told = {bot.name: await self._reload_one(bot, configs[bot.name]) for bot in self._bots if bot.name in configs}
        running = {bot.name for bot in self._bots}
        return {
            "bots": told,
            "not_reloaded": {
                **{name: "it is in no file any more and goes on as it is; stop it to end it" for name in sorted(running - set(configs))},
                **{name: "it is new and needs a start" for name in sorted(set(configs) - running)},
            },
        }

    async def _reload_one(self, bot: Bot, new: BotConfig) -> dict[str, Any]:
        if set(bot.config.venues) != set(new.venues):
            why = f"venues: {', '.join(bot.config.venues)} -> {', '.join(new.venues)} takes a start; nothing of this bot was changed"
            return {"refused": why}
        needs_start = [name for name in ("venues", "paper", "notifications", "control") if getattr(bot.config, name) != getattr(new, name)]
        try:
            per_owner = await bot.strategy.reload(new.strategy_config)
        except InvalidParameters as e:
            return {"refused": str(e)}
        refused_risk = bot.risk.reload(new.risk)
        return {
            "refused_for_open": {owner: [str(c) for c in changes if not c.applies] for owner, changes in per_owner.items()},
            "applied_to_open": {owner: [str(c) for c in changes if c.applies] for owner, changes in per_owner.items()},
            "refused_risk_limits": refused_risk,
            "needs_start": needs_start,
        }

    async def _audit(self, actor: str, action: str, detail: Mapping[str, object]) -> None:
        """Before it is done. An exit is never held up by the disk."""
        now_ns = self._clock.time_ns()
        self._entries += 1
        record = AuditRecord(
            entry_id=f"{action}-{now_ns}-{self._entries}",
            actor=actor,
            action=action,
            detail=msgspec.json.encode(detail).decode(),
            ts=now_ns,
        )
        try:
            await self._off(partial(self._bots.journal.write, record, or_fallback=True))
        except JournalError as e:
            log.error("audit.lost action=%s actor=%s reason=%s", action, actor, e)

    async def _off(self, work: Callable[[], Any]) -> Any:
        return await self._bots.runtime.offload.run(work)


def _decision(record: Any) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(record)
    return {**told, **{name: msgspec.json.decode(told[name] or "{}") for name in ("inputs", "thresholds", "ages")}}
