"""The watch over margin: forecasts every held pair's distance to liquidation, and acts on it within the configured policy."""

import logging
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from database.records import PairState
from exchange_clients.errors import Outcome, VenueError
from exchange_clients.model import NS_PER_S
from strategies.execution.lots import CLOSABLE_MARGIN, common_step
from strategies.execution.pair import PairRunner

from . import margin, memory
from .limits import MarginPolicy, RiskLimits
from .margin import Account, Advice, Do, Missing, PairLegs

if TYPE_CHECKING:
    from strategies.execution.engine import ExecutionEngine

    from .engine import RiskEngine

log = logging.getLogger("strategies.risk")

TELL_AGAIN_S = 600.0
SETTLE_S = 5.0
"""Figures must be this much newer than the last action on a pair before the next."""


class MarginWatch:
    """Of one bot's pairs and holdings; forecasts with everything that the accounts hold. Hedged pairs are acted upon. Pairs in ALERT belong
    to the operator, holdings to their strategy: of those it only tells."""

    def __init__(self, risk: "RiskEngine") -> None:
        self._risk = risk
        self.advice: dict[str, Advice] = {}
        self.unknown: dict[str, str] = {}
        self._told: dict[str, tuple[Do, int]] = {}
        self._acted: dict[str, int] = {}

    async def check(self) -> None:
        """One look at all held pairs."""
        if self._risk.limits.margin_policy is MarginPolicy.OFF:
            return
        held = [(e, r) for e in self._risk.engines for r in list(e.pairs.values()) if r.state is PairState.HEDGED and r.recovered]
        others = list(self._told_only())
        known = {r.record.pair_id for _, r in held} | {owner for owner, _ in others}
        self.advice = {owner: a for owner, a in self.advice.items() if owner in known}
        self.unknown = {owner: why for owner, why in self.unknown.items() if owner in known}
        accounts: dict[str, Account] = {}
        for engine, runner in held:
            try:
                for venue in {t.venue for t in runner.legs.values()} - set(accounts):
                    accounts[venue] = await self.account(venue)
            except (Missing, VenueError) as e:
                self._unknown(runner.record.pair_id, str(e))
                continue
            self.unknown.pop(runner.record.pair_id, None)
            found = await self._advise(self._legs(runner), accounts, self._risk.limits)
            if runner.state is PairState.HEDGED:
                self.advice[runner.record.pair_id] = found
                await self._follow(engine, runner, found, accounts)
        for owner, legs in others:
            await self._warn(owner, legs, accounts)

    def _told_only(self) -> Iterator[tuple[str, PairLegs]]:
        """What is held and nobody here may act upon."""
        for engine in self._risk.engines:
            for pair_id, runner in engine.pairs.items():
                if runner.state is PairState.ALERT and any(t.own for t in runner.legs.values()):
                    yield pair_id, self._legs(runner)
        for desk in self._risk.desks:
            for holding in desk.holdings.values():
                if holding.own:
                    leg = (holding.record.venue, str(holding.instrument.id), abs(holding.own))
                    yield holding.holding_id, PairLegs(legs=(leg,), step=holding.instrument.step_size, smallest=Decimal(0))

    async def _warn(self, owner: str, legs: PairLegs, accounts: dict[str, Account]) -> None:
        try:
            for venue in {venue for venue, _, _ in legs.legs} - set(accounts):
                accounts[venue] = await self.account(venue)
        except (Missing, VenueError) as e:
            self._unknown(owner, str(e))
            return
        self.unknown.pop(owner, None)
        found = self.advice[owner] = await self._advise(legs, accounts, self._risk.limits)
        if found.do is Do.NONE:
            self._told.pop(owner, None)
        else:
            self._tell(owner, msgspec.structs.replace(found, do=Do.WARN))

    async def _advise(self, legs: PairLegs, accounts: Mapping[str, Account], limits: RiskLimits) -> Advice:
        """Off the loop: with many positions it takes milliseconds."""
        return await self._risk.offload.run(margin.advise, legs, dict(accounts), limits)

    async def account(self, venue: str) -> Account:
        """The forecast's view of a venue. Raises Missing."""
        risk = self._risk
        figures = risk.figures[venue]
        age_s = figures.age_s
        if age_s is None or age_s > risk.limits.max_data_age_s:
            raise Missing(f"{venue}: account and positions are {'not known' if age_s is None else f'{age_s:.0f} s old'}")
        instruments = figures.client.instruments
        for position in figures.positions:
            await figures.learn_tiers(instruments.get(position.instrument))
        return margin.account(
            venue,
            figures.account,
            figures.positions,
            lambda p: instruments.get(p.instrument),
            {name: info for name, (_, info) in figures.leverage.items()},
            lambda name: risk.amounts.price(venue, name),
        )

    def _legs(self, runner: PairRunner) -> PairLegs:
        legs = list(runner.legs.values())
        step = common_step(*(t.instrument.step_size for t in legs))
        smallest = step
        for trader in legs:
            price = self._risk.amounts.price(trader.venue, str(trader.instrument.id)) or trader.last_price
            least = trader.instrument.min_notional * CLOSABLE_MARGIN / price if price else Decimal(0)
            smallest = max(smallest, trader.instrument.min_quantity, least)
        return PairLegs(legs=tuple((t.venue, str(t.instrument.id), t.own) for t in legs), step=step, smallest=smallest)

    async def _follow(self, engine: "ExecutionEngine", runner: PairRunner, found: Advice, accounts: Mapping[str, Account]) -> None:
        pair_id = runner.record.pair_id
        if found.do is Do.NONE:
            self._told.pop(pair_id, None)
            return
        self._tell(pair_id, found)
        figures = [self._risk.figures[t.venue] for t in runner.legs.values()]
        after_ns = self._acted.get(pair_id, 0) + int(SETTLE_S * NS_PER_S)
        if (
            self._risk.limits.margin_policy is not MarginPolicy.ACT
            or found.do is Do.WARN
            or any((f.at_ns or 0) < after_ns for f in figures)
        ):
            return
        self._acted[pair_id] = self._risk.now_ns()
        if found.do is Do.ADD_MARGIN:
            if await self._add_margin(found):
                return
            limits = self._risk.limits.model_copy(update={"isolated_share": Decimal(0)})
            found = await self._advise(self._legs(runner), accounts, limits)
        facts = {
            "distance": found.distance,
            "venue": found.venue,
            "instrument": found.instrument,
            "quantity": found.quantity,
            "usd": found.usd,
        }
        decision = memory.decision(
            self._risk, engine, "exit", f"margin.{found.do}", found.detail, pair_id=pair_id, symbol=runner.record.symbol, inputs=facts
        )
        if found.do is Do.SHRINK:
            try:
                await engine.begin_shrink(pair_id, found.quantity, f"margin: {found.detail}", decision)
            except ValueError as e:  # not at rest any more: the next look decides anew
                log.warning("margin.not_shrunk pair=%s reason=%s", pair_id, e)
        elif found.do is Do.CLOSE:
            await engine.begin_close(pair_id, f"margin: {found.detail}", decision)

    async def _add_margin(self, found: Advice) -> bool:
        """False when that is definitely not possible; what is not known shows in the next figures."""
        client = self._risk.clients[found.venue]
        try:
            instrument = client.instruments.get(found.instrument)
            await client.account_manager.move_isolated_margin(instrument, found.usd)
        except VenueError as e:
            log.warning("margin.not_moved instrument=%s usd=%s reason=%s", found.instrument, found.usd, e)
            return e.outcome is Outcome.UNKNOWN
        self._risk.tell("risk.margin_moved", venue=found.venue, instrument=found.instrument, usd=found.usd)
        return True

    def _tell(self, pair_id: str, found: Advice) -> None:
        """At once when it changes, then now and then."""
        now_ns = self._risk.now_ns()
        do, told_ns = self._told.get(pair_id, (Do.NONE, 0))
        if do is found.do and now_ns - told_ns < TELL_AGAIN_S * NS_PER_S:
            return
        self._told[pair_id] = (found.do, now_ns)
        log.warning("margin.%s pair=%s %s", found.do, pair_id, found.detail)
        self._risk.tell(
            "risk.liquidation_near",
            pair_id,
            venue=found.venue,
            instrument=found.instrument,
            distance=found.distance,
            advice=found.do.value,
            usd=found.usd,
            reason=found.detail,
        )

    def _unknown(self, pair_id: str, why: str) -> None:
        """A missing figure forces nothing, and is told once."""
        self.advice.pop(pair_id, None)
        if self.unknown.get(pair_id) != why:
            self.unknown[pair_id] = why
            self._risk.tell("risk.margin_unknown", pair_id, reason=why)

    def status(self) -> dict[str, Any]:
        """Per pair: what is advised and why, or what is not known."""
        told: dict[str, Any] = {
            pair_id: {"advice": a.do.value, "distance": None if a.distance is None else str(a.distance), "detail": a.detail}
            for pair_id, a in self.advice.items()
        }
        return {**told, **{pair_id: {"advice": "unknown", "distance": None, "detail": why} for pair_id, why in self.unknown.items()}}
