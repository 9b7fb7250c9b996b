"""May a market be entered now? What a venue says is read once into facts; the checks are pure, so that they can be judged again later.

Every check must say yes with a figure; whatever cannot be read says no (E21, E22).
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

import msgspec

from exchange_clients.errors import ConfigError, VenueError
from exchange_clients.model import (
    NS_PER_HOUR,
    NS_PER_MS,
    NS_PER_S,
    ZERO,
    BookLevel,
    ExchangePositionSnapshot,
    FeeRates,
    Instrument,
    KeyInfo,
    LeverageInfo,
    MarginMode,
    PositionMode,
)
from exchange_clients.transport.clock import Clock

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

DEPTH_LEVELS = 20
MIN_HEADROOM = Decimal("0.3")
"""Of every rate pool this share must be free: what entries may use at all, and the reserve for the unwind behind it."""


class GateLimits(Protocol):
    """What a strategy's configuration says about entering."""

    @property
    def max_book_age_seconds(self) -> Decimal: ...
    @property
    def max_clock_skew_ms(self) -> int: ...
    @property
    def max_loop_lag_ms(self) -> int: ...
    @property
    def target_leverage(self) -> Decimal | None: ...
    @property
    def margin_mode(self) -> MarginMode | None: ...
    @property
    def longest_hold_hours(self) -> Decimal: ...


class Check(msgspec.Struct, frozen=True):
    """One question and its answer."""

    rule: str
    ok: bool
    detail: str


class LegFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What one venue said when it was asked for an entry. None: it does not say.

    `rooms`: the free share of each rate pool. `bids` and `asks` best first. `holds`: the account has a position in the market.
    `maintenance_margin`: the market's, or of the first tier, which ends at `first_tier_usd` of notional. `can_set_*`: the venue can be
    told. `held_usd`: what all positions of the account there are worth, whoever holds them. `key` is None where the venue tells nothing of
    its keys, `venue_now_ns` is the venue's clock, `book_ns` when the book came.
    """

    instrument: Instrument
    connected: bool
    clock_skew_ms: int | None
    loop_lag_ms: Decimal
    rooms: dict[str, Decimal]
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]
    book_age_s: Decimal
    available: Decimal | None
    equity: Decimal | None
    fees: FeeRates
    key: KeyInfo | None
    venue_now_ns: int
    held_leverage: Decimal | None
    held_margin_mode: MarginMode | None
    max_leverage: Decimal | None
    can_set_leverage: bool
    margin_modes: tuple[MarginMode, ...]
    holds: bool
    maintenance_margin: Decimal | None = None
    first_tier_usd: Decimal | None = None
    book_ns: int = 0
    held_usd: Decimal | None = ZERO

    def aged(self, now_ns: int) -> "LegFacts":
        """The same, its book as old as it is by now."""
        return msgspec.structs.replace(self, book_age_s=Decimal(now_ns - self.book_ns) / NS_PER_S)

    @property
    def venue(self) -> str:
        return self.instrument.id.venue

    @property
    def two_sided(self) -> bool:
        """A best bid and a best ask that do not cross."""
        return bool(self.bids and self.asks) and 0 < self.bids[0].price < self.asks[0].price

    @property
    def bid(self) -> Decimal:
        return self.bids[0].price

    @property
    def ask(self) -> Decimal:
        return self.asks[0].price

    @property
    def spread(self) -> Decimal:
        """Ask minus bid over the mid."""
        return (self.ask - self.bid) * 2 / (self.ask + self.bid)


async def read_leg(client: "BaseExchangeClient", symbol: str, clock: Clock) -> LegFacts:
    """Ask one venue everything that an entry needs.

    Raises:
        VenueError: something could not be read; then nothing is entered.
    """
    instrument = await client.instruments.load(symbol)
    offset_ns = await client.measure_clock_offset()
    rooms = free_rooms(client)  # before our own questions draw on them
    account = await client.account_manager.fetch_account()
    fees = await client.get_fee_rates(instrument.id)
    able = client.capabilities
    key = await client.get_key_info() if able.key_info else None
    leverage = await client.account_manager.fetch_leverage(instrument)
    positions = await client.get_open_positions()
    book = await client.market_data.depth(instrument, DEPTH_LEVELS)  # last: of all the answers it is the first to grow old
    return LegFacts(
        instrument=instrument,
        connected=client.is_connected,
        clock_skew_ms=None if offset_ns is None else abs(offset_ns) // NS_PER_MS,
        loop_lag_ms=Decimal(f"{client.loop_lag.worst_s * 1000:.1f}"),
        rooms=rooms,
        bids=book.bids[:DEPTH_LEVELS],
        asks=book.asks[:DEPTH_LEVELS],
        book_ns=book.ts_recv_ns,
        book_age_s=Decimal(clock.time_ns() - book.ts_recv_ns) / NS_PER_S,
        available=account.available,
        equity=account.equity,
        fees=fees,
        key=key,
        venue_now_ns=client.context.venue_time.now_ns(),
        held_leverage=leverage.account_leverage,
        held_margin_mode=leverage.margin_mode,
        max_leverage=leverage.max_leverage,
        can_set_leverage=able.set_leverage,
        margin_modes=tuple(sorted(able.margin_modes)) if able.set_margin_mode else (),
        holds=any(p.metadata.get("instrument") == str(instrument.id) for p in positions),
        held_usd=_worth(positions),
        maintenance_margin=leverage.maintenance_margin if instrument.maintenance_margin is None else instrument.maintenance_margin,
        first_tier_usd=next((start for start, _ in sorted(leverage.brackets) if start > 0), None),
    )


def _worth(positions: Iterable[ExchangePositionSnapshot]) -> Decimal | None:
    """USD, long and short added up; None when one of them has no price."""
    total = ZERO
    for position in positions:
        price = position.mark_price or position.entry_price
        if price is None:
            return None
        total += abs(position.quantity) * price
    return total


def only_late(checks: Iterable[Check]) -> bool:
    """Whether a lag of the loop is all that stood against it: over in a few seconds, so that it is worth another look then."""
    return {check.rule for check in checks if not check.ok} == {"loop_lag"}


def free_rooms(client: "BaseExchangeClient") -> dict[str, Decimal]:
    """The free share of each of the client's rate pools."""
    share = client.config.limits_share
    return {
        name: Decimal(f"{client.context.limiter.headroom(name) / (pool.limit * share):.3f}")
        for name, pool in client.spec.pools.items()
        if pool.kind == "rate"
    }


def leg_checks(facts: LegFacts, config: GateLimits) -> list[Check]:
    """The checks of one leg, in the order in which they are told."""
    return list(_leg_checks(facts, config))


def _leg_checks(facts: LegFacts, config: GateLimits) -> Iterator[Check]:
    instrument, venue = facts.instrument, facts.venue
    yield Check("market_status", instrument.tradable, f"{venue}: {instrument.status}")
    ends = "no end is announced" if instrument.ends_ns is None else f"ends at {instrument.ends_ns} ns"
    yield Check("delisting", instrument.ends_ns is None, f"{venue}: {ends}")
    yield Check("linear", not instrument.id.inverse, f"{instrument.id}{' is inverse' if instrument.id.inverse else ''}")
    yield Check("connected", facts.connected, f"{venue}: streams {'up' if facts.connected else 'down'}")
    skew = facts.clock_skew_ms
    yield Check("clock_skew", skew is not None and skew <= config.max_clock_skew_ms, f"{venue}: {skew} ms")
    yield Check("loop_lag", facts.loop_lag_ms <= config.max_loop_lag_ms, f"{facts.loop_lag_ms} ms")
    low = [f"{name} has {room:.0%} left" for name, room in facts.rooms.items() if room < MIN_HEADROOM]
    yield Check("rate_limit", not low, f"{venue}: {', '.join(low) if low else 'free'}")
    fresh = 0 <= facts.book_age_s <= config.max_book_age_seconds
    yield Check("book", facts.two_sided and fresh, f"{venue}: {facts.book_age_s:.2f} s old, two-sided: {facts.two_sided}")
    known = facts.available is not None and facts.equity is not None
    yield Check("balance", known, f"{venue}: available {facts.available}, equity {facts.equity}")
    yield from _key(facts, config)
    yield _leverage(facts, config)


def _key(facts: LegFacts, config: GateLimits) -> Iterator[Check]:
    """The key trades, outlives the longest hold, and its account nets positions; of a venue without such words nothing is asked."""
    key = facts.key
    if key is None:
        yield Check("key", True, f"{facts.venue} tells nothing of its keys")
        return
    needed_ns = facts.venue_now_ns + int(config.longest_hold_hours * NS_PER_HOUR)
    lasts = key.expires_ns is None or key.expires_ns >= needed_ns
    left = "no end" if key.expires_ns is None else f"{(key.expires_ns - facts.venue_now_ns) / NS_PER_HOUR:.1f} h left"
    yield Check("key", key.can_trade is not False and lasts, f"{facts.venue}: may trade: {key.can_trade}, {left}")
    yield Check("position_mode", key.position_mode is not PositionMode.HEDGE, f"{facts.venue}: {key.position_mode or 'one way only'}")


def _leverage(facts: LegFacts, config: GateLimits) -> Check:
    """Leverage and margin mode are as asked for, or can be set: not above the venue's maximum, nor under a position of somebody else."""
    wanted, mode = config.target_leverage, config.margin_mode
    shown = f"{facts.venue}: {facts.held_leverage}x {facts.held_margin_mode}, at most {facts.max_leverage}x"
    if _is_set(facts.held_leverage, facts.held_margin_mode, config):
        return Check("leverage", True, shown)
    if not facts.can_set_leverage or (mode is not None and mode not in facts.margin_modes):
        return Check("leverage", False, f"{shown}; {wanted}x {mode} is asked for and the venue cannot be told")
    if wanted is not None and (facts.max_leverage is None or wanted > facts.max_leverage):
        return Check("leverage", False, f"{shown}; {wanted}x is asked for")
    if facts.holds:
        return Check("leverage", False, f"{shown}; it is not changed under the position that the account holds")
    return Check("leverage", True, f"{shown}; to be set to {wanted or facts.held_leverage}x {mode or facts.held_margin_mode}")


def _is_set(leverage: Decimal | None, mode: MarginMode | None, config: GateLimits) -> bool:
    return (config.target_leverage is None or leverage == config.target_leverage) and (
        config.margin_mode is None or mode is config.margin_mode
    )


def is_set(held: LeverageInfo, config: GateLimits) -> bool:
    """Whether the venue shows what is asked for."""
    return _is_set(held.account_leverage, held.margin_mode, config)


async def settle_leverage(client: "BaseExchangeClient", instrument: Instrument, config: GateLimits) -> None:
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


class LegGate(msgspec.Struct, frozen=True):
    """The checks of one leg; `state` is None when something could not be read, or shows no price or balance."""

    checks: tuple[Check, ...]
    state: LegFacts | None


async def check_leg(client: "BaseExchangeClient", symbol: str, clock: Clock, config: GateLimits) -> LegGate:
    """Read and check one leg; what cannot be read is a check that said no."""
    try:
        facts = await read_leg(client, symbol, clock)
    except VenueError as e:
        return LegGate((Check("readable", False, str(e)),), None)
    usable = facts.two_sided and facts.available is not None and facts.equity is not None
    return LegGate(tuple(leg_checks(facts, config)), facts if usable else None)


def failed(checks: Iterable[Check]) -> list[Check]:
    """Those that said no."""
    return [c for c in checks if not c.ok]
