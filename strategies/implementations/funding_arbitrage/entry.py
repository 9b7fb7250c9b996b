"""Whether to enter, as one pure function of what is known: first without asking the venues, then with what they said.

The same function judges recorded decisions again under another configuration, so everything it looks at is in its arguments.
"""

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from exchange_clients.model import NS_PER_S, MarginMode, Side
from funding_rate_service.opportunity import (
    Book,
    Costs,
    Edge,
    Fees,
    Filters,
    FundingQuote,
    Persistence,
    capacity,
    costs_at,
    expected_hours,
    falls_due,
    judge_pair,
)
from strategies.execution.attempts import Attempts
from strategies.execution.attempts import block as cooldown
from strategies.execution.lots import LotRefused, common_lot, common_step
from strategies.execution.pricing import Quote, bound
from strategies.gate import Check, LegFacts, failed, leg_checks

from . import sizing
from .config import FundingArbitrageConfig

NS_PER_MINUTE = 60 * NS_PER_S
ENTRY_S = Decimal(30)
"""A settlement that falls due sooner comes before both legs are there: what it would pay us is not counted."""


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an entry is judged by. Exposures in USD at the last known prices; `wide_ns`: when a spread of the pair was last too wide,
    `left_ns`: when a position in it was last closed.

    `busy`: a pair in this asset exists. `blocked`: why the engine lets nothing in. `*_facts` are None until the venues have been asked,
    `unreadable` says why one could not be.
    """

    now_ns: int
    long: FundingQuote
    short: FundingQuote
    live_pairs: int = 0
    entered: int = 0
    busy: bool = False
    blocked: str = ""
    attempts: Attempts = Attempts()
    wide_ns: int | None = None
    left_ns: int | None = None
    persistence: Persistence | None = None
    long_exposure: Decimal = Decimal(0)
    short_exposure: Decimal = Decimal(0)
    long_facts: LegFacts | None = None
    short_facts: LegFacts | None = None
    unreadable: str = ""

    @property
    def asked(self) -> bool:
        """Whether the venues were asked."""
        return bool(self.unreadable) or (self.long_facts is not None and self.short_facts is not None)


class Sized(msgspec.Struct, frozen=True, kw_only=True):
    """How much, why not more, and what that leaves: `costs` through the live books, `net` over the horizon, as fractions.

    `max_price_cost`: what (long price - short price) / short price may be at worst.
    """

    quantity: Decimal
    usd: Decimal
    limits: tuple[sizing.SizeLimit, ...]
    binding: sizing.SizeLimit
    costs: Costs
    net: Decimal
    max_price_cost: Decimal


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: "enter", "skip", or "ask": nothing speaks against it so far, the venues have to be asked. `rule`: the first that said no."""

    kind: str
    rule: str
    detail: str
    checks: tuple[Check, ...] = ()
    edge: Edge | None = None
    size: Sized | None = None


def filters(config: FundingArbitrageConfig) -> Filters:
    """For the scan. Spreads are not filtered there: a wide one is remembered, see `wide_spread`."""
    return Filters(
        horizon_hours=config.profitability_horizon_hours,
        min_profit=config.min_profit,
        max_break_even_hours=config.max_break_even_hours,
        max_rate_age_s=config.max_rate_age_seconds,
        max_spread=None,
        max_price_divergence=config.max_entry_price_divergence_pct,
        min_volume_24h=config.min_volume_24h,
        min_oi_usd=config.min_oi_usd,
        max_oi_usd=config.max_oi_usd,
        symbols=None if config.symbols is None else frozenset(config.symbols),
        required_venues=frozenset() if config.mandatory_exchange is None else frozenset({config.mandatory_exchange}),
        lead_s=ENTRY_S,
    )


def judge_entry(view: EntryView, config: FundingArbitrageConfig) -> Verdict:
    """The verdict, with every check that was made; a check that said no ends the judgement of its stage."""
    rules, edge = judge_pair(view.long, view.short, filters(config), view.now_ns)
    checks = [*_scope(view, config), *_calm(view, config)]
    checks.extend(Check(rule, False, detail) for rule, detail in rules)
    checks.extend(_free(view, config))
    checks.extend(_timely(view, edge, config))
    if failed(checks) or edge is None:
        return _no(checks, edge)
    if not view.asked:
        return Verdict(
            kind="ask", rule="gates", detail="nothing speaks against it before the venues are asked", checks=tuple(checks), edge=edge
        )
    if view.unreadable:
        checks.append(Check("readable", False, view.unreadable))
    for facts in (view.long_facts, view.short_facts):
        if facts is not None:
            checks.extend(leg_checks(facts, config))
    long, short = view.long_facts, view.short_facts
    if failed(checks) or long is None or short is None:
        return _no(checks, edge)
    checks.extend(_prices(long, short, config))
    if failed(checks):
        return _no(checks, edge)
    try:
        size = _size(view, long, short, edge, config)
    except LotRefused as e:
        return _no([*checks, Check(e.rule, False, e.detail)], edge)
    checks.extend(_at_size(view, long, short, size, config))
    if config.dry_run:
        checks.append(Check("dry_run", False, f"would be long {size.quantity} on {long.venue}, short on {short.venue}"))
    if failed(checks):
        return _no(checks, edge, size)
    why = f"{size.net:.6f} over {config.profitability_horizon_hours} h after all costs at this size, wanted {config.min_profit}"
    return Verdict(kind="enter", rule="edge", detail=why, checks=tuple(checks), edge=edge, size=size)


def _no(checks: list[Check], edge: Edge | None, size: Sized | None = None) -> Verdict:
    bad = failed(checks)
    detail = "; ".join(f"{c.rule} {c.detail}" for c in bad)
    return Verdict(kind="skip", rule=bad[0].rule, detail=detail, checks=tuple(checks), edge=edge, size=size)


def _scope(view: EntryView, config: FundingArbitrageConfig) -> Iterator[Check]:
    """Whether the pair is ours to look at."""
    venues = {view.long.instrument.venue, view.short.instrument.venue}
    yield Check("exchanges", venues <= set(config.exchanges), f"{', '.join(sorted(venues))} of {', '.join(config.exchanges)}")
    wanted = config.symbols
    yield Check("symbols", wanted is None or view.long.instrument.base in wanted, view.long.instrument.base)


def _free(view: EntryView, config: FundingArbitrageConfig) -> Iterator[Check]:
    """Whether there is a place for it."""
    yield Check("entry_block", not view.blocked, view.blocked or "none")
    yield Check("one_pair_per_asset", not view.busy, "a pair in this asset is held" if view.busy else "none held")
    yield Check("max_positions", view.live_pairs < config.max_positions, f"{view.live_pairs} of {config.max_positions}")
    most = config.max_new_positions_per_cycle
    yield Check("max_new_positions_per_cycle", view.entered < most, f"{view.entered} of {most}")
    block = cooldown(view.attempts, config.execution.attempts(), view.now_ns)
    yield Check("cooldown", block is None, block or "none")
    if view.left_ns is not None:
        left_ns = view.left_ns + int(config.reentry_cooldown_minutes * NS_PER_MINUTE) - view.now_ns
        yield Check("reentry_cooldown", left_ns <= 0, f"this very pair was left; {max(left_ns, 0) // NS_PER_S} s to wait")


def _timely(view: EntryView, edge: Edge | None, config: FundingArbitrageConfig) -> Iterator[Check]:
    """Whether now is the time, and whether it lasts."""
    hours = config.settlement_guard_minutes / 60
    due = falls_due(view.long.sample, view.short.sample, view.now_ns, hours) if edge is not None else Decimal(0)
    yield Check("settlement_clock", due >= 0, f"{due:.8f} falls due within {config.settlement_guard_minutes} minutes")
    yield from _lasting(view, edge, config)


def _calm(view: EntryView, config: FundingArbitrageConfig) -> Iterator[Check]:
    """Spreads now, and not long ago."""
    if not config.enable_wide_spread_protection:
        return
    limit = config.max_spread_threshold_pct
    for quote in (view.long, view.short):
        spread = quote.spread
        shown = f"{'unknown' if spread is None else f'{spread:.6f}'} on {quote.instrument.venue}, at most {limit}"
        yield Check("wide_spread", spread is not None and spread <= limit, shown)
    if view.wide_ns is not None:
        left_ns = view.wide_ns + int(config.wide_spread_cooldown_minutes * NS_PER_MINUTE) - view.now_ns
        yield Check("wide_spread_cooldown", left_ns <= 0, f"a spread was too wide; {max(left_ns, 0) // NS_PER_S} s to wait")


def _lasting(view: EntryView, edge: Edge | None, config: FundingArbitrageConfig) -> Iterator[Check]:
    """Whether the edge, by its own past, lasts long enough."""
    if config.persistence_lookback_hours is None or edge is None:
        return
    past = view.persistence
    if past is None:
        yield Check("persistence", False, f"no history of the last {config.persistence_lookback_hours} h")
        return
    hours = config.profitability_horizon_hours
    net = min(expected_hours(edge.hourly, past, hours), edge.horizon.funding) - edge.costs.total
    shown = f"{net:.6f} over {hours} h when it returns to its mean of {past.mean:.8f}, half-life {_hours(past.half_life_hours)}"
    yield Check("persistence", net >= config.min_profit, shown)
    most = config.max_sign_flips_per_day
    if most is not None:
        yield Check("max_sign_flips_per_day", past.sign_flips_per_day <= most, f"{past.sign_flips_per_day:.2f}, at most {most}")


def _hours(value: Decimal | None) -> str:
    return "none" if value is None else f"{value:.1f} h"


def _prices(long: LegFacts, short: LegFacts, config: FundingArbitrageConfig) -> Iterator[Check]:
    """What the live books say of prices."""
    paid = (long.ask - short.bid) / short.bid
    limit = config.max_entry_price_divergence_pct
    yield Check("max_entry_price_divergence_pct", paid <= limit, f"{paid:.6f}, at most {limit}")
    if config.enable_wide_spread_protection:
        for facts in (long, short):
            wide = facts.spread
            shown = f"{wide:.6f} in the book of {facts.venue}, at most {config.max_spread_threshold_pct}"
            yield Check("wide_spread", wide <= config.max_spread_threshold_pct, shown)


def _books(long: LegFacts, short: LegFacts) -> tuple[Book, Book, tuple[Fees, Fees]]:
    fees = Fees(long.fees.maker, long.fees.taker), Fees(short.fees.maker, short.fees.taker)
    return Book(long.bids, long.asks), Book(short.bids, short.asks), fees


def leg_money(facts: LegFacts, exposure: Decimal, config: FundingArbitrageConfig, *, buy: bool) -> sizing.LegMoney:
    """What one leg may use."""
    bps = config.execution.limits().entry_bps[0]
    return sizing.LegMoney(
        instrument=facts.instrument,
        price=facts.ask,
        available=facts.available or Decimal(0),
        equity=facts.equity or Decimal(0),
        exposure=exposure,
        levels=facts.asks if buy else facts.bids,
        bound=bound(Side.BUY if buy else Side.SELL, Quote(facts.bid, facts.ask), bps),
        fee=max(facts.fees.taker, Decimal(0)),
        maintenance=facts.maintenance_margin,
        first_tier=facts.first_tier_usd,
        leverage=config.target_leverage or facts.held_leverage,
        held=facts.held_usd,
        isolated=facts.instrument.only_isolated or (config.margin_mode or facts.held_margin_mode) is MarginMode.ISOLATED,
    )


def _size(view: EntryView, long: LegFacts, short: LegFacts, edge: Edge, config: FundingArbitrageConfig) -> Sized:
    """The smallest of all limits, as a lot that both venues take.

    Raises:
        LotRefused: nothing fits.
    """
    found = [sizing.SizeLimit("max_position_size_usd", config.max_position_size_usd)]
    if config.target_margin is None:
        found.append(sizing.SizeLimit("default_position_size_usd", config.default_position_size_usd))
    for facts, exposure, buy in ((long, view.long_exposure, True), (short, view.short_exposure, False)):
        money = leg_money(facts, exposure, config, buy=buy)
        of_leg = sizing.limits(
            money,
            buy=buy,
            buffer=config.balance_buffer_pct,
            min_distance=config.risk_config.min_liquidation_distance_pct * sizing.ENTRY_DISTANCE,
            max_exposure=config.max_total_exposure_usd,
            depth_share=config.max_depth_share,
        )
        if isinstance(of_leg, str):
            raise LotRefused("margin", of_leg)
        found += of_leg
        leverage = sizing.usable_leverage(money)
        if config.target_margin is not None and leverage is not None:
            found.append(sizing.SizeLimit(f"target_margin on {facts.venue}", config.target_margin * leverage))
    price = max(long.ask, short.ask)
    one, other, fees = _books(long, short)
    step = common_step(long.instrument.step_size, short.instrument.step_size)
    carried = capacity(one, other, fees, funding=edge.horizon.funding, min_net=config.min_profit, step=step)
    found.append(sizing.SizeLimit("min_profit at the depth there is", carried * price))
    binding = sizing.smallest(found)
    if binding.usd <= 0:
        raise LotRefused(binding.rule, f"{binding.usd:.2f} USD left")
    quantity = common_lot(binding.usd / price, long.instrument, short.instrument, long_price=long.bid, short_price=short.bid)
    costs = costs_at(one, other, fees, quantity)
    if costs is None:
        raise LotRefused("depth", f"the books do not hold {quantity}")
    basis = (one.mid - other.mid) / other.mid
    bearable = basis + edge.horizon.funding - costs.entry_fees - costs.exit_fees - costs.exit_slippage
    most = config.max_entry_price_divergence_pct
    return Sized(
        quantity=quantity,
        usd=quantity * price,
        limits=tuple(found),
        binding=binding,
        costs=costs,
        net=edge.horizon.funding - costs.total,
        max_price_cost=min(most, bearable) if config.enable_break_even_alignment else most,
    )


def _at_size(view: EntryView, long: LegFacts, short: LegFacts, size: Sized, config: FundingArbitrageConfig) -> Iterator[Check]:
    """E21, E25: what is left after the trade, and what the edge is worth at this very size."""
    for facts, exposure, buy in ((long, view.long_exposure, True), (short, view.short_exposure, False)):
        left = sizing.left_after(leg_money(facts, exposure, config, buy=buy), size.usd)
        kept = (facts.equity or Decimal(0)) * config.balance_buffer_pct
        shown = f"{facts.venue}: {'unknown' if left is None else f'{left:.2f}'} left, {kept:.2f} must stay"
        yield Check("balance_after", left is not None and left >= kept, shown)
    hours = config.profitability_horizon_hours
    shown = f"{size.net:.6f} over {hours} h through the books, wanted {config.min_profit}"
    yield Check("edge_at_size", size.net >= config.min_profit and size.net > 0, shown)
