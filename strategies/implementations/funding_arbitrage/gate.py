"""May we enter now? Every check must say yes with a figure; whatever cannot be read says no (E21, E22)."""

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from exchange_clients.errors import ConfigError, VenueError
from exchange_clients.model import NS_PER_HOUR, NS_PER_MS, NS_PER_S, BookLevel, Instrument, LeverageInfo, PositionMode
from exchange_clients.transport.clock import Clock

from .config import FundingArbitrageConfig

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

DEPTH_LEVELS = 20
MIN_HEADROOM = 0.3
BOOK_AGE_S = 2.0


class Check(msgspec.Struct, frozen=True):
    """One question and its answer."""

    rule: str
    ok: bool
    detail: str


class LegState(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks read of one venue, for sizing."""

    instrument: Instrument
    bid: Decimal
    ask: Decimal
    available: Decimal
    equity: Decimal
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]
    book_age_s: float
    leverage: Decimal | None


class LegGate(msgspec.Struct, frozen=True):
    """The checks of one leg; `state` is None when something could not be read."""

    checks: tuple[Check, ...]
    state: LegState | None


async def check_leg(client: "BaseExchangeClient", symbol: str, clock: Clock, config: FundingArbitrageConfig) -> LegGate:
    """Ask one venue everything that an entry needs."""
    venue = client.get_exchange_name()
    checks: list[Check] = []
    try:
        instrument = await client.instruments.load(symbol)
        checks.append(Check("market_status", instrument.tradable, f"{venue}: {instrument.status}"))
        checks.append(Check("linear", not instrument.id.inverse, f"{instrument.id}{' is inverse' if instrument.id.inverse else ''}"))
        checks.append(Check("connected", client.is_connected, f"{venue}: streams {'up' if client.is_connected else 'down'}"))
        offset_ns = await client.measure_clock_offset()
        skew_ms = None if offset_ns is None else abs(offset_ns) // NS_PER_MS
        checks.append(Check("clock_skew", skew_ms is not None and skew_ms <= config.max_clock_skew_ms, f"{venue}: {skew_ms} ms"))
        lag_ms = client.loop_lag.worst_s * 1000
        checks.append(Check("loop_lag", lag_ms <= config.max_loop_lag_ms, f"{lag_ms:.1f} ms"))
        checks.append(_headroom(client, venue))
        book = await client.market_data.depth(instrument, DEPTH_LEVELS)
        age_s = (clock.time_ns() - book.ts_recv_ns) / NS_PER_S
        two_sided = bool(book.bids and book.asks) and 0 < book.bids[0].price < book.asks[0].price
        checks.append(Check("book", two_sided and 0 <= age_s <= BOOK_AGE_S, f"{venue}: {age_s:.2f} s old, two-sided: {two_sided}"))
        account = await client.account_manager.fetch_account()
        known = account.available is not None and account.equity is not None
        checks.append(Check("balance", known, f"{venue}: available {account.available}, equity {account.equity}"))
        checks.extend(await _key(client, venue, config))
        leverage = await client.account_manager.fetch_leverage(instrument)
        checks.append(await _leverage(client, instrument, leverage, config))
    except VenueError as e:
        checks.append(Check("readable", False, str(e)))
        return LegGate(tuple(checks), None)
    if not two_sided or account.available is None or account.equity is None:
        return LegGate(tuple(checks), None)
    state = LegState(
        instrument=instrument,
        bid=book.bids[0].price,
        ask=book.asks[0].price,
        available=account.available,
        equity=account.equity,
        bids=book.bids,
        asks=book.asks,
        book_age_s=age_s,
        leverage=config.target_leverage or leverage.account_leverage,
    )
    return LegGate(tuple(checks), state)


async def _key(client: "BaseExchangeClient", venue: str, config: FundingArbitrageConfig) -> list[Check]:
    """The key trades, outlives the longest hold, and its account nets positions; of a venue without such words nothing is asked."""
    if not client.capabilities.key_info:
        return [Check("key", True, f"{venue} tells nothing of its keys")]
    key = await client.get_key_info()
    needed_ns = client.context.venue_time.now_ns() + int(config.risk_config.max_position_age_hours * NS_PER_HOUR)
    lasts = key.expires_ns is None or key.expires_ns >= needed_ns
    left = "no end" if key.expires_ns is None else f"{(key.expires_ns - client.context.venue_time.now_ns()) / NS_PER_HOUR:.1f} h left"
    return [
        Check("key", key.can_trade is not False and lasts, f"{venue}: may trade: {key.can_trade}, {left}"),
        Check("position_mode", key.position_mode is not PositionMode.HEDGE, f"{venue}: {key.position_mode or 'one way only'}"),
    ]


async def _leverage(client: "BaseExchangeClient", instrument: Instrument, held: LeverageInfo, config: FundingArbitrageConfig) -> Check:
    """Leverage and margin mode are as asked for, or can be set: not above the venue's maximum, nor under a position of somebody else."""
    wanted, mode = config.target_leverage, config.margin_mode
    shown = f"{instrument.id.venue}: {held.account_leverage}x {held.margin_mode}, at most {held.max_leverage}x"
    if is_set(held, config):
        return Check("leverage", True, shown)
    able = client.capabilities
    if not able.set_leverage or (mode is not None and (not able.set_margin_mode or mode not in able.margin_modes)):
        return Check("leverage", False, f"{shown}; {wanted}x {mode} is asked for and the venue cannot be told")
    if wanted is not None and (held.max_leverage is None or wanted > held.max_leverage):
        return Check("leverage", False, f"{shown}; {wanted}x is asked for")
    if await client.get_position_snapshot(instrument.id) is not None:
        return Check("leverage", False, f"{shown}; it is not changed under the position that the account holds")
    return Check("leverage", True, f"{shown}; to be set to {wanted or held.account_leverage}x {mode or held.margin_mode}")


def is_set(held: LeverageInfo, config: FundingArbitrageConfig) -> bool:
    """Whether the venue shows what is asked for."""
    return (config.target_leverage is None or held.account_leverage == config.target_leverage) and (
        config.margin_mode is None or held.margin_mode is config.margin_mode
    )


async def settle_leverage(client: "BaseExchangeClient", instrument: Instrument, config: FundingArbitrageConfig) -> None:
    """Set what is asked for and see it read back; nothing is sent when it is so already.

    Raises:
        VenueError: the venue refused, or shows something else.
    """
    held = await client.account_manager.fetch_leverage(instrument)
    if is_set(held, config):
        return
    leverage = config.target_leverage or held.account_leverage
    if leverage is None:
        raise ConfigError(f"{instrument.id}: the venue does not show its leverage: set target_leverage", venue=instrument.id.venue)
    await client.account_manager.set_leverage(instrument, leverage, config.margin_mode)


def _headroom(client: "BaseExchangeClient", venue: str) -> Check:
    """The limiter must afford the entry and its unwind."""
    share = client.config.limits_share
    rooms = {
        name: client.context.limiter.headroom(name) / (pool.limit * share)
        for name, pool in client.spec.pools.items()
        if pool.kind == "rate"
    }
    low = [f"{name} has {room:.0%} left" for name, room in rooms.items() if room < MIN_HEADROOM]
    return Check("rate_limit", not low, f"{venue}: {', '.join(low) if low else 'free'}")


def divergence(long: LegState, short: LegState, limit: Decimal) -> Check:
    """What buying here and selling there costs in price, against the limit."""
    paid = (long.ask - short.bid) / short.bid
    return Check("max_entry_price_divergence_pct", paid <= limit, f"{paid:.6f}, at most {limit}")


def failed(checks: Iterable[Check]) -> list[Check]:
    """Those that said no."""
    return [c for c in checks if not c.ok]
