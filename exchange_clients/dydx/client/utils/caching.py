"""What only this venue has to remember: how markets count, where the chain stands, and until when an order can live.

The indexer follows the chain and may be behind it, each of its answers by another second. Nothing is concluded from its silence: an order
is proved dead only when the indexer itself says that it has processed the last block that could have held it, and a little more.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from decimal import Decimal
from typing import TYPE_CHECKING, Final, cast

import msgspec

from exchange_clients.dydx import messages as m
from exchange_clients.dydx.chain import FeeTier, Flags, OrderRef
from exchange_clients.dydx.client.utils.helpers import Grid, ns_of, order_uuid
from exchange_clients.errors import DecodeError, UnknownInstrument
from exchange_clients.model import NS_PER_S, FeeRates, Instrument, InstrumentId, OrderStatus
from exchange_clients.transport.grpc import MAX_LAG

if TYPE_CHECKING:
    from exchange_clients.context import ClientContext
    from exchange_clients.dydx.client.managers.market_data import DydxMarketData
    from exchange_clients.orders import Order

GUARD_BLOCKS: Final = 2
"""By so many blocks the indexer's own records may be older than the height it tells."""
BLOCK_S: Final = 0.64
HEIGHT_MAX_AGE_S: Final = 3.0
"""So long a height is taken for the chain's, with the blocks that have followed since."""
MAX_ORDERS: Final = 20_000


class Removal(msgspec.Struct, frozen=True):
    """A short-term order was taken off a book; `matched` of it is in no block yet, and comes as fills.

    Not `final`: one node's view. Another proposer may fill the order until its last block.
    """

    status: OrderStatus
    reason: str | None
    matched: Decimal
    final: bool = False


class OrderFacts(msgspec.Struct):
    """The chain's view of one order. `last_block`: no later block can place it (a stateful order's transaction) or fill it (short-term)."""

    ref: OrderRef
    client_order_id: str | None = None
    good_til_block: int = 0
    good_til_s: int = 0
    last_block: int = 0
    blocks: int = 0
    """How many a short-term order of ours was given, 0 where it is not known."""
    acked: bool = False
    cancel_asked: bool = False
    removal: Removal | None = None

    @property
    def is_short_term(self) -> bool:
        return self.ref.flags is Flags.SHORT_TERM


class VenueCache:
    """Of one client, for one subaccount."""

    def __init__(self) -> None:
        self.account_number: int | None = None
        self.height = 0
        """The highest block that anybody told of."""
        self.height_s = -1e9
        """When (monotonic) the height rose last."""
        self.indexed = 0
        """The highest block that the indexer's socket told of."""
        self.indexed_s = -1e9
        """When (monotonic) it rose last."""
        self.fees: dict[str, tuple[FeeRates, float]] = {}
        """Our rates by market, and when (monotonic) they were asked for."""
        self.fees_asked: dict[str, tuple[asyncio.Task[None], float]] = {}
        """The question for them that is under way, or failed last, and its time."""
        self.positions: dict[InstrumentId, int] = {}
        """The block of which the stream told each position last."""
        self.tier: tuple[FeeTier, int, float] | None = None
        """The account's tier and staking discount, and when (monotonic) they were told."""
        self.tier_lock = asyncio.Lock()
        self._grids: dict[str, Grid] = {}
        self._facts: OrderedDict[str, OrderFacts] = OrderedDict()

    # ---- markets

    def add(self, market: m.Market) -> None:
        self._grids[market.ticker] = Grid.of(market)

    def grid(self, instrument: Instrument) -> Grid:
        try:
            return self._grids[instrument.contract_id]
        except KeyError:
            raise UnknownInstrument(f"{instrument.id} has no clob pair", venue=instrument.id.venue) from None

    # ---- the chain

    def saw(self, height: int, now_s: float, *, indexer: bool = False) -> None:
        if indexer and height > self.indexed:
            self.indexed, self.indexed_s = height, now_s
        if height > self.height:
            self.height, self.height_s = height, now_s

    def expected(self, now_s: float) -> int:
        """The chain's height at that time, by the pace of blocks."""
        return self.height + int(min(now_s - self.height_s, HEIGHT_MAX_AGE_S) // BLOCK_S)

    def corrected(self, height: int, now_s: float) -> int:
        """A node's own word, against what was believed: the number of blocks that the node itself is behind.

        A node that is far behind what the indexer has just processed is not believed: what it takes, the chain may not.
        """
        behind = self.indexed - height if now_s - self.indexed_s <= HEIGHT_MAX_AGE_S else 0
        if behind > MAX_LAG:
            self.height, self.height_s = self.indexed, self.indexed_s
        else:
            self.height, self.height_s = height, now_s
        return max(0, behind)

    # ---- orders

    def note(self, uuid: str, facts: OrderFacts) -> OrderFacts:
        self._facts[uuid] = facts
        self._facts.move_to_end(uuid)
        while len(self._facts) > MAX_ORDERS:
            self._facts.popitem(last=False)
        return facts

    def facts(self, uuid: str | None) -> OrderFacts | None:
        return self._facts.get(uuid) if uuid is not None else None

    def facts_of(self, order: Order) -> OrderFacts | None:
        return self.facts(order.order_id)

    def learn(self, row: m.OrderRow) -> OrderFacts | None:
        """What a row of the indexer says of the order's identity and life; None when it says too little. Raises DecodeError."""
        try:
            block = int(row.goodTilBlock or 0)
        except ValueError as e:
            raise DecodeError(f"order {row.id}: {e}", venue="dydx") from e
        good_til_s = ns_of(row.goodTilBlockTime) // NS_PER_S if row.goodTilBlockTime else 0
        facts = self._facts.get(row.id)
        if facts is None:
            if row.clientId is None or row.orderFlags is None or row.clobPairId is None:
                return None
            facts = self.note(row.id, OrderFacts(ref_of(row)))
        if block:
            facts.good_til_block = max(facts.good_til_block, block)
            if facts.is_short_term:
                facts.last_block = facts.good_til_block
        if good_til_s:
            facts.good_til_s = good_til_s
        return facts

    def client_order_id(self, uuid: str | None) -> str | None:
        """Under which id the tracker knows it."""
        facts = self.facts(uuid)
        return facts.client_order_id if facts is not None else None


def ref_of(row: m.OrderRow) -> OrderRef:
    """Raises DecodeError."""
    try:
        return OrderRef(int(row.clientId or 0), Flags(int(row.orderFlags or 0)), int(row.clobPairId or 0))
    except ValueError as e:
        raise DecodeError(f"order {row.id}: {e}", venue="dydx") from e


def uuids_of(subaccount: str, client_id: int, clob_pair_id: int) -> dict[Flags, str]:
    """The ids that an order with this client id can have in a market."""
    kinds = (Flags.SHORT_TERM, Flags.LONG_TERM, Flags.CONDITIONAL)
    return {flags: order_uuid(subaccount, OrderRef(client_id, flags, clob_pair_id)) for flags in kinds}


def venue_cache(context: ClientContext) -> VenueCache:
    return cast("DydxMarketData", context.market_data).cache
