"""May we enter now? Every check must say yes with a figure; whatever cannot be read says no (E21, E22)."""

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_MS, NS_PER_S, BookLevel, Instrument
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
        leverage = await client.get_leverage_info(symbol)
        checks.append(Check("leverage", leverage["error"] is None, f"{venue}: {leverage['error'] or leverage['account_leverage']}"))
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
    )
    return LegGate(tuple(checks), state)


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
