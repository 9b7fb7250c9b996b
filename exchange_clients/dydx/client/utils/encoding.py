"""Our orders in the chain's words, and transactions around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from exchange_clients.context import ClientContext
from exchange_clients.dydx import chain
from exchange_clients.dydx.chain import ChainOrder, ChainSide, ChainTif, Condition, Flags, OrderRef
from exchange_clients.dydx.client.utils.caching import venue_cache
from exchange_clients.dydx.client.utils.helpers import Grid
from exchange_clients.dydx.client.utils.options import Rules
from exchange_clients.dydx.signing import SEQUENCE_SCOPE
from exchange_clients.errors import NotReady
from exchange_clients.model import MARKET_TYPES, TRIGGER_TYPES, Lane, OrderIntent, OrderType, Side, TimeInForce
from exchange_clients.signing import Channel, Command

MARKET_METADATA: Final = 1
"""How the venue's own page marks an order that was meant as a market order."""
_TAKE_PROFITS: Final = frozenset({OrderType.TAKE_PROFIT_MARKET, OrderType.TAKE_PROFIT_LIMIT})


def transaction(
    context: ClientContext, messages: Sequence[chain.Message], lane: Lane, *, stateful: bool, placed: int = 0, ids: tuple[str, ...] = ()
) -> Command:
    """Messages that travel together. Stateful ones take the account's next sequence and are void after a few blocks."""
    cache = venue_cache(context)
    if cache.account_number is None or not cache.height:
        raise NotReady("the account's number and the chain's height are not known yet", venue=context.name)
    limits = {"stateful": placed, "stateful_block": placed} if stateful else {"short_term": len(messages)}
    return Command(
        endpoint="broadcast",
        payload=chain.Transaction(
            messages=tuple(messages),
            account_number=cache.account_number,
            timeout_height=cache.height + Rules.of(context).tx_blocks if stateful else 0,
        ),
        lane=lane,
        channel=Channel.CHAIN,
        nonce_scope=SEQUENCE_SCOPE if stateful else None,
        cost={"node": 1, **limits},
        client_order_ids=ids,
    )


def flags_for(intent: OrderIntent) -> Flags:
    """Immediate orders are short-term, triggers conditional, all that may rest long-term."""
    if intent.order_type in TRIGGER_TYPES:
        return Flags.CONDITIONAL
    return Flags.SHORT_TERM if intent.time_in_force is TimeInForce.IOC else Flags.LONG_TERM


def chain_order(intent: OrderIntent, ref: OrderRef, grid: Grid, good_til: int) -> ChainOrder:
    """The order in whole quantums and subticks. `good_til`: the last block of a short-term order, else seconds UTC."""
    assert intent.price is not None  # the checks saw to it
    return ChainOrder(
        ref=ref,
        side=ChainSide.BUY if intent.side is Side.BUY else ChainSide.SELL,
        quantums=grid.quantums(intent.quantity),
        subticks=grid.subticks(intent.price),
        good_til=good_til,
        time_in_force=_tif(intent),
        reduce_only=intent.reduce_only,
        client_metadata=MARKET_METADATA if intent.order_type in MARKET_TYPES else 0,
        condition=_condition(intent),
        trigger_subticks=grid.subticks(intent.trigger_price) if intent.trigger_price is not None else 0,
    )


def _tif(intent: OrderIntent) -> ChainTif:
    if intent.time_in_force is TimeInForce.IOC or intent.order_type in MARKET_TYPES:
        return ChainTif.IOC
    return ChainTif.POST_ONLY if intent.post_only else ChainTif.GTT


def _condition(intent: OrderIntent) -> Condition:
    if intent.order_type not in TRIGGER_TYPES:
        return Condition.NONE
    return Condition.TAKE_PROFIT if intent.order_type in _TAKE_PROFITS else Condition.STOP_LOSS
