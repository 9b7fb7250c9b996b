"""Everything that is counted in USD: what is held, what may still fill, what it binds as margin, against the limits."""

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING

from database.records import PairState
from exchange_clients.model import ZERO
from strategies.execution.guard import OrderCheck

from . import divergence
from .figures import Reference

if TYPE_CHECKING:
    from .engine import RiskEngine

Holding = tuple[str, str, Decimal, Decimal | None]
"""Venue, instrument, own signed quantity, the last price that its owner saw."""


class Amounts:
    """Of one bot."""

    def __init__(self, risk: "RiskEngine") -> None:
        self._risk = risk

    def block(self, order: OrderCheck, together: Iterable[OrderCheck]) -> str | None:
        """Everything that is counted in USD, with the orders of `together` as if they were done."""
        limits, held, naked = self._risk.limits, dict.fromkeys(self._risk.clients, ZERO), ZERO
        for owner in self.owners():
            delta = ZERO
            for venue, instrument, quantity, last in owner:
                if not quantity:
                    continue
                price = self.price(venue, instrument) or last
                if price is None:
                    return f"max_venue_exposure_usd: {quantity} of {instrument} is held and has no price"
                held[venue] = held.get(venue, ZERO) + abs(quantity) * price
                delta += quantity * price
            if len(owner) > 1:
                naked += abs(delta)
        for venue, worth in self._risk.approvals.waiting():
            held[venue] = held.get(venue, ZERO) + worth
        for other in together:
            worth_of = self.worth(other)
            if worth_of is None:
                return f"max_venue_exposure_usd: {other.instrument.id} has no price"
            held[other.venue] = held.get(other.venue, ZERO) + worth_of
        most = limits.max_venue_exposure_usd
        if most is not None and held[order.venue] > most:
            return f"max_venue_exposure_usd: {held[order.venue]:.2f} on {order.venue} with this order, limit {most}"
        total = sum(held.values(), ZERO)
        if limits.max_total_exposure_usd is not None and total > limits.max_total_exposure_usd:
            return f"max_total_exposure_usd: {total:.2f} with this order, limit {limits.max_total_exposure_usd}"
        if limits.max_naked_usd is not None and naked > limits.max_naked_usd:
            return f"max_naked_usd: {naked:.2f} is unhedged, limit {limits.max_naked_usd}"
        block = divergence.mark_index(order.instrument.id, self.reference(order), limits.max_mark_index_divergence)
        return block or self._margin(order, together)

    def _margin(self, order: OrderCheck, together: Iterable[OrderCheck]) -> str | None:
        most = self._risk.limits.max_margin_use
        if most is None:
            return None
        figures = self._risk.figures[order.venue]
        account = figures.account
        if account is None or account.equity is None or account.available is None:
            return f"max_margin_use: {order.venue} tells no equity or no available collateral, limit {most}"
        if account.equity <= 0:
            return f"max_margin_use: equity on {order.venue} is {account.equity}, limit {most}"
        needed = self._risk.approvals.margin_since(order.venue, figures.at_ns or 0)
        for other in together:
            if other.venue == order.venue:
                worth, initial = self.worth(other), figures.initial_margin(other.instrument)
                if worth is None or initial is None:
                    return f"max_margin_use: {order.venue} does not say the initial margin of {other.instrument.id}, limit {most}"
                needed += worth * initial
        use = (account.equity - account.available + needed) / account.equity
        return f"max_margin_use: {use:.4f} of the equity on {order.venue} would be bound, limit {most}" if use > most else None

    def owners(self) -> list[list[Holding]]:
        """Per pair and holding, of each leg."""
        found: list[list[Holding]] = []
        for engine in self._risk.engines:
            for runner in list(engine.pairs.values()):
                if runner.state is not PairState.CLOSED:
                    legs = [(t.venue, str(t.instrument.id), leg.sign * t.own, t.last_price) for leg, t in runner.legs.items()]
                    found.append(legs)
        for desk in self._risk.desks:
            found.extend([(h.record.venue, h.record.instrument, h.own, h.market.last_price)] for h in list(desk.holdings.values()))
        return found

    def price(self, venue: str, instrument: str) -> Decimal | None:
        """The newest price of a market that is fresh enough to limit anything by."""
        figures = self._risk.figures.get(venue)
        return None if figures is None else figures.mark(instrument, self._risk.limits.max_data_age_s)

    def worth(self, order: OrderCheck) -> Decimal | None:
        """At its own limit or at the mark, whichever is more."""
        prices = [p for p in (order.price, self.price(order.venue, str(order.instrument.id))) if p is not None]
        return order.instrument.value(order.quantity, max(prices)) if prices else None

    def reference(self, order: OrderCheck) -> Reference | None:
        """Mark and index of its market, if they are fresh enough."""
        return self._risk.figures[order.venue].reference(str(order.instrument.id), self._risk.limits.max_data_age_s)

    async def refer(self, order: OrderCheck) -> None:
        """Learn the account's leverage there, and mark and index where a limit needs them."""
        guarded = self._risk.limits.max_mark_index_divergence is not None or self._risk.limits.max_quote_divergence is not None
        if guarded or (order.price is None and self.price(order.venue, str(order.instrument.id)) is None):
            await self._risk.figures[order.venue].refer(order.instrument)
        await self._risk.figures[order.venue].learn_tiers(order.instrument)
