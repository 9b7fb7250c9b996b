"""What the account pays, from the chain; and the fee of a fill that comes without one.

The stream tells no fees. They follow from the account's rates, which are therefore asked for before they are needed.
"""

from __future__ import annotations

import asyncio
from decimal import ROUND_CEILING, Decimal
from math import inf
from typing import Any, Final

import msgspec

from exchange_clients.context import ClientContext
from exchange_clients.dydx import chain
from exchange_clients.dydx.client.utils import converters
from exchange_clients.dydx.client.utils.caching import venue_cache
from exchange_clients.dydx.signing import signer_of
from exchange_clients.errors import RequestRefused, VenueError
from exchange_clients.model import ZERO, FeeRates, Fill, FillKind, Instrument, Liquidity

MICRO: Final = Decimal("0.000001")
AGAIN_S: Final = 60.0
_NODE_SAYS: Final = ("grpc:NOT_FOUND", "grpc:UNIMPLEMENTED")


async def ask_or_none(context: ClientContext, name: str, **arguments: Any) -> Any:
    """None where there is no such thing, or the node is of a version that has none."""
    try:
        return await context.rest.query(name, **arguments)
    except RequestRefused as e:
        if e.code in _NODE_SAYS:
            return None
        raise


async def fetch_rates(context: ClientContext, instrument: Instrument) -> FeeRates:
    """The account's tier with the market's and the staker's discounts; remembered for fills to come."""
    cache = venue_cache(context)
    tier, staking = await _fetch_tier(context)
    pair = cache.grid(instrument).clob_pair_id
    discount: chain.MarketDiscount | None = await ask_or_none(context, "marketFeeDiscount", clob_pair_id=pair)
    rates = converters.fee_rates(tier.maker_ppm, tier.taker_ppm, staking, discount, context.venue_time.now_ms() / 1000)
    cache.fees[instrument.contract_id] = (rates, context.runtime.clock.monotonic())
    return rates


async def _fetch_tier(context: ClientContext) -> tuple[chain.FeeTier, int]:
    """The account's, whatever the market: asked for once a minute at most."""
    cache, clock = venue_cache(context), context.runtime.clock
    async with cache.tier_lock:
        if cache.tier is None or clock.monotonic() - cache.tier[2] >= AGAIN_S:
            address = signer_of(context).address
            tier: chain.FeeTier = await context.rest.query("userFeeTier", address=address)
            staking: int = await ask_or_none(context, "userStakingTier", address=address) or 0
            cache.tier = (tier, staking, clock.monotonic())
        return cache.tier[0], cache.tier[1]


def learn_rates(context: ClientContext, instrument: Instrument, *, older_than_s: float = inf) -> asyncio.Task[None] | None:
    """Ask beside the caller for rates that are not known, or old: once at a time for a market, after a failure not again within a minute.

    The question that is under way, None when there is none.
    """
    cache, key, now_s = venue_cache(context), instrument.contract_id, context.runtime.clock.monotonic()
    known, asked = cache.fees.get(key), cache.fees_asked.get(key)
    if asked is not None and not asked[0].done():
        return asked[0]
    if (known is not None and now_s - known[1] <= older_than_s) or (asked is not None and now_s - asked[1] < AGAIN_S):
        return None
    task = context.websocket.errand(_learn_rates(context, instrument))
    cache.fees_asked[key] = (task, now_s)
    return task


async def _learn_rates(context: ClientContext, instrument: Instrument) -> None:
    try:
        await fetch_rates(context, instrument)
    except VenueError as e:
        context.log.warning("fees.not_known instrument=%s reason=%s", instrument.id, e)
    else:
        venue_cache(context).fees_asked.pop(instrument.contract_id, None)


def with_fee(fill: Fill, rates: FeeRates) -> Fill:
    """As the chain charges: of the value, rounded up to a millionth. Forced fills pay no trading fee."""
    if fill.kind is not FillKind.TRADE:
        return msgspec.structs.replace(fill, fee=ZERO)
    rate = rates.maker if fill.liquidity is Liquidity.MAKER else rates.taker
    return msgspec.structs.replace(fill, fee=(fill.price * fill.quantity * rate).quantize(MICRO, ROUND_CEILING))
