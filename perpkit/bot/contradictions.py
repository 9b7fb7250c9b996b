"""Settings that are each valid and together make no sense: limits that can never be reached, or that always stop."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
from pydantic import BaseModel

from perpkit.bot.config import BotConfig


class Rule(msgspec.Struct, frozen=True):
    """`left` must not be above `right` (both by section and name); what it means when it is."""

    left: str
    right: str
    means: str


RULES = (
    Rule("parameters.default_position_size_usd", "risk.max_order_usd", "whole legs are refused as too large an order"),
    Rule("parameters.default_position_size_usd", "parameters.max_total_exposure_usd", "not even one leg fits under it"),
    Rule("parameters.max_total_exposure_usd", "risk.max_venue_exposure_usd", "the risk limit stops first; this one is never reached"),
    Rule("parameters.execution.naked_cap_usd", "risk.max_naked_usd", "one opening pair may block all entries"),
    Rule("parameters.max_new_positions_per_cycle", "parameters.max_positions", "never reached"),
    Rule("parameters.risk_config.min_hold_hours", "parameters.risk_config.max_position_age_hours", "pairs are old before they may be left"),
    Rule(
        "parameters.max_break_even_hours", "parameters.risk_config.max_position_age_hours", "pairs are left before their costs are earned"
    ),
    Rule(
        "parameters.profitability_horizon_hours",
        "parameters.risk_config.max_position_age_hours",
        "the edge is counted for longer than is held",
    ),
    Rule(
        "risk.close_liquidation_distance",
        "parameters.risk_config.min_liquidation_distance_pct",
        "risk closes before the strategy's exit rule",
    ),
    Rule("parameters.default_position_size_usd", "paper.balance_usd", "with leverage 1 the virtual account cannot pay a leg"),
    Rule("parameters.order_notional_usd", "risk.max_order_usd", "every entry is refused as too large"),
    Rule("parameters.order_notional_usd", "risk.max_venue_exposure_usd", "not even one entry fits under it"),
    Rule("parameters.max_clock_skew_ms", "risk.max_clock_skew_s*1000", "the risk limit stops first"),
    Rule("parameters.max_loop_lag_ms", "risk.max_loop_lag_s*1000", "the risk limit stops first"),
)


def contradictions(config: BotConfig) -> list[str]:
    """One line each: what contradicts what, and what follows from it."""
    found = [line for rule in RULES for line in _broken(config, rule)]
    return [*found, *_of_sizes(config), *_of_grid(config), *_of_worlds(config), *_of_fractions(config)]


def _of_worlds(config: BotConfig) -> Iterator[str]:
    """Prices and money of a testnet are other ones."""
    if config.strategy != "funding_arbitrage":
        return
    worlds = {name: str(settings.get("environment", "mainnet")) for name, settings in config.venues.items()}
    play = [name for name, world in worlds.items() if world not in ("mainnet", "prod")]
    real = [name for name in worlds if name not in play]
    if play and real:
        yield f"venues.{', '.join(play)} with play money beside {', '.join(real)} with real money: they share no prices"


def _of_fractions(config: BotConfig) -> Iterator[str]:
    """2 for 2 %: nothing that is a fraction here is meant to be 1 or more."""
    from perpkit.bot.meanings import parameters

    for section, model in (("parameters", type(config.strategy_config)), ("risk", type(config.risk))):
        for parameter in parameters(model):
            if not parameter.unit.startswith("fraction"):
                continue
            path = f"{section}.{parameter.name}"
            value = _value(config, path)
            if value is not None and (value > 1 or (value == 1 and path.endswith("_pct"))):
                yield f"{path} {_n(value)} is a fraction, that is {_n(value * 100)} %: write {_n(value / 100)} for {_n(value)} %"


def _broken(config: BotConfig, rule: Rule) -> Iterator[str]:
    left, right = _value(config, rule.left), _value(config, rule.right)
    if left is not None and right is not None and left > right:
        yield f"{rule.left} {_n(left)} is above {rule.right.partition('*')[0]} {_plain(right, rule.right)}: {rule.means}"


def _plain(value: Decimal, path: str) -> str:
    _, star, factor = path.partition("*")
    return _n(value / Decimal(factor)) if star else _n(value)


def _n(value: Decimal) -> str:
    return f"{value.normalize():f}"


def _value(config: BotConfig, path: str) -> Decimal | None:
    name, star, factor = path.partition("*")
    section, *names = name.split(".")
    found: Any = config.strategy_config if section == "parameters" else getattr(config, section)
    for part in names:
        if not isinstance(found, BaseModel) or part not in type(found).model_fields:
            return None
        found = getattr(found, part)
    if found is None or isinstance(found, bool) or not isinstance(found, int | float | Decimal):
        return None
    return Decimal(str(found)) * (Decimal(factor) if star else 1)


def _of_sizes(config: BotConfig) -> Iterator[str]:
    """Counts times sizes against what holds for all of them."""
    count, size = _value(config, "parameters.max_positions"), _value(config, "parameters.default_position_size_usd")
    whole = _value(config, "risk.max_total_exposure_usd")
    if count is not None and size is not None and whole is not None and count * size * 2 > whole:
        yield (
            f"parameters.max_positions {_n(count)} pairs of two legs of {_n(size)} USD are {_n(count * size * 2)} USD, above "
            f"risk.max_total_exposure_usd {_n(whole)}: so many pairs are never open"
        )
    yield from _of_distances(config)
    leverage = _value(config, "parameters.target_leverage")
    distance = _first(config, "parameters.risk_config.min_liquidation_distance_pct", "parameters.min_liquidation_distance_pct")
    if leverage is not None and distance is not None and leverage * distance >= 1:
        yield f"parameters.target_leverage {_n(leverage)} leaves less than min_liquidation_distance_pct {_n(distance)}: no entry"


def _of_distances(config: BotConfig) -> Iterator[str]:
    """Entries leave more than the distance at which they would be left again (E24); risk must not reduce them before that."""
    from strategies.implementations.funding_arbitrage.sizing import ENTRY_DISTANCE

    left, shrunk = _value(config, "parameters.risk_config.min_liquidation_distance_pct"), _value(config, "risk.shrink_liquidation_distance")
    if left is not None and shrunk is not None and left * ENTRY_DISTANCE < shrunk:
        entered = left * ENTRY_DISTANCE
        yield f"risk.shrink_liquidation_distance {_n(shrunk)} is above what entries leave, {_n(entered)}: reduced as soon as they are made"


def _of_grid(config: BotConfig) -> Iterator[str]:
    worth = _value(config, "parameters.order_notional_usd")
    margin, leverage = _value(config, "parameters.max_margin_usd"), _value(config, "parameters.target_leverage") or Decimal(1)
    if worth is not None and margin is not None and worth / leverage > margin:
        yield f"parameters.order_notional_usd {_n(worth)} needs more than max_margin_usd {_n(margin)}: nothing is ever entered"
    stop, pause = _value(config, "parameters.stop_price"), _value(config, "parameters.pause_price")
    if stop is not None and pause is not None:
        buys = str(getattr(config.strategy_config, "direction", "buy")) == "buy"
        if (buys and stop > pause) or (not buys and stop < pause):
            yield f"parameters.stop_price {_n(stop)} is crossed before pause_price {_n(pause)}: the pause never happens"


def _first(config: BotConfig, *paths: str) -> Decimal | None:
    return next((value for path in paths if (value := _value(config, path)) is not None), None)
