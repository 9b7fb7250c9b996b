"""All emulated orders of a desk: made here, checked for sense, and taken up again after a crash."""

import logging
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from exchange_clients.model import OrderType, Side

from ..holding import Holding
from ..ticket import TicketRefused
from .base import Watch
from .bracket import Bracket
from .exits import Exits
from .iceberg import Iceberg
from .oco import Oco
from .runner import PREFIX, EmulatedOrder, Saved, State
from .trailing import Trailing

if TYPE_CHECKING:
    from ..desk import Desk

log = logging.getLogger("strategies.execution")


class Emulator:
    """All emulated orders of a desk; it has one, and starts it with itself."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk
        self.orders: dict[str, EmulatedOrder] = {}

    async def start(self) -> None:
        """Take up what was not over: protection first, before any strategy acts."""
        for record in self._desk.journal.sync.states(self._desk.strategy, self._desk.account):
            if not record.key.startswith(PREFIX):
                continue
            saved = msgspec.json.decode(record.value, type=Saved)
            holding = self._desk.holdings.get(saved.holding_id)
            if saved.over is not None or holding is None:
                continue
            order_id = record.key.removeprefix(PREFIX)
            order = self.orders[order_id] = EmulatedOrder(order_id, holding, self._desk, saved, restarted=True)
            holding.share.say("emulated.restored", id=order_id, kind=type(saved.state).__name__.lower())
            order.start()

    async def stop(self) -> None:
        """End the tasks, and say which stops nobody watches from now on."""
        for order in self.orders.values():
            if order.unwatched_without_us:
                log.warning("protection.unwatched id=%s holding=%s", order.order_id, order.holding.holding_id)
                order.holding.share.say("protection.unwatched", id=order.order_id)
        await self.drop()

    async def drop(self) -> None:
        """End the tasks; every order stays as it is."""
        for order in self.orders.values():
            await order.stop()

    async def oco(
        self,
        holding: Holding,
        *,
        quantity: Decimal,
        take_profit: Decimal,
        stop: Decimal,
        watch: Watch = Watch.BBO,
        at_venue: bool | None = None,
    ) -> EmulatedOrder:
        """Let `quantity` of what is held leave by a take-profit or a stop. `at_venue`: where the stop rests; default: there, if it can.

        Raises:
            TicketRefused: the levels or the quantity make no sense.
            JournalError: it cannot be recorded; nothing was sent.
        """
        side = self._exit_side(holding, quantity)
        exits = self._exits(holding, side, take_profit, stop, watch, at_venue)
        return await self._begin(holding, Oco(quantity=quantity, exits=exits))

    async def trailing(
        self,
        holding: Holding,
        *,
        quantity: Decimal,
        ticks: int | None = None,
        fraction: Decimal | None = None,
        activation: Decimal | None = None,
        stop: Decimal | None = None,
        watch: Watch = Watch.BBO,
        at_venue: bool | None = None,
    ) -> EmulatedOrder:
        """A stop `ticks` or `fraction` behind the best price since `activation` (None: from now on); `stop` protects until then.

        At the venue the stop is moved when it lags by a tenth of the distance; in between the exact level is watched from here.

        Raises:
            TicketRefused: the distance or the quantity makes no sense.
            JournalError: it cannot be recorded; nothing was sent.
        """
        side = self._exit_side(holding, quantity)
        tick = holding.instrument.tick_size
        if (ticks is None) == (fraction is None) or (ticks or 1) <= 0 or (fraction is not None and not 0 < fraction < 1):
            raise TicketRefused("trailing", "give either ticks (above 0) or a fraction of the price (between 0 and 1)")
        distance = None if ticks is None else ticks * tick
        bid, _ = await holding.client.fetch_bbo_prices(holding.instrument.contract_id)
        wide = distance if distance is not None else bid * (fraction or 0)
        exits = self._exits(holding, side, None, stop, watch, at_venue, needs_level=False)
        exits = msgspec.structs.replace(exits, keep_within=max(wide / 10, 2 * holding.instrument.price_increment(bid)))
        state = Trailing(quantity=quantity, exits=exits, tick=tick, distance=distance, fraction=fraction, activation=activation)
        return await self._begin(holding, state)

    async def bracket(
        self,
        holding: Holding,
        *,
        side: Side,
        quantity: Decimal,
        price: Decimal | None = None,
        take_profit: Decimal | None = None,
        stop: Decimal | None = None,
        post_only: bool = False,
        entry_s: float | None = None,
        watch: Watch = Watch.BBO,
        native: bool | None = None,
        at_venue: bool | None = None,
    ) -> EmulatedOrder:
        """Enter (`price` None: at what the market gives), and protect what filled. `native`: as the venue's own group; default: if it can.

        Raises:
            TicketRefused: the levels make no sense.
            VenueError: there is no price to hold them against.
            JournalError: it cannot be recorded; nothing was sent.
        """
        exits = self._exits(holding, side.opposite, take_profit, stop, watch, at_venue)
        able = holding.client.capabilities.native_bracket
        if native and not able:
            raise TicketRefused("bracket", f"{holding.record.venue} has no native bracket")
        bid, ask = await holding.client.fetch_bbo_prices(holding.instrument.contract_id)
        at = price if price is not None else ask if side is Side.BUY else bid
        for level, name, sign in ((take_profit, "take-profit", 1), (stop, "stop", -1)):
            if level is not None and (level - at) * side.sign * sign <= 0:
                raise TicketRefused("bracket", f"the {name} {level} is on the wrong side of the entry at {at}")
        state = Bracket(
            quantity=quantity, price=price, exits=exits, post_only=post_only, entry_s=entry_s, native=able if native is None else native
        )
        return await self._begin(holding, state)

    async def iceberg(
        self,
        holding: Holding,
        *,
        side: Side,
        quantity: Decimal,
        display: Decimal,
        price: Decimal,
        reduce_only: bool = False,
        post_only: bool = False,
        spread: Decimal = Decimal(0),
        seed: int | None = None,
    ) -> EmulatedOrder:
        """Trade `quantity` at `price`, showing about `display` at a time.

        Raises:
            TicketRefused: the quantities make no sense at this venue.
            JournalError: it cannot be recorded; nothing was sent.
        """
        instrument = holding.instrument
        smallest = max(instrument.min_quantity, instrument.step_size)
        while smallest * price < instrument.min_notional:
            smallest += instrument.step_size
        if not smallest <= display <= quantity or not 0 <= spread < 1:
            raise TicketRefused("iceberg", f"show at least {smallest} and at most the {quantity}, vary by less than all of it")
        state = Iceberg(
            side=side,
            quantity=quantity,
            display=display,
            price=price,
            step=instrument.step_size,
            smallest=smallest,
            reduce_only=reduce_only,
            post_only=post_only,
            spread=spread,
            seed=seed,
        )
        return await self._begin(holding, state)

    def _exit_side(self, holding: Holding, quantity: Decimal) -> Side:
        claimed = sum((o.claims for o in self.orders.values() if o.holding is holding), Decimal(0))
        if not 0 < quantity <= abs(holding.own) - claimed:
            raise TicketRefused("quantity", f"the holding has {holding.own}, {claimed} of it protected; not {quantity} more")
        return Side.SELL if holding.own > 0 else Side.BUY

    @staticmethod
    def _exits(
        holding: Holding,
        side: Side,
        take_profit: Decimal | None,
        stop: Decimal | None,
        watch: Watch,
        at_venue: bool | None,
        *,
        needs_level: bool = True,
    ) -> Exits:
        if needs_level and take_profit is None and stop is None:
            raise TicketRefused("exits", "give a take-profit, a stop, or both")
        if take_profit is not None and stop is not None and (take_profit - stop) * side.sign >= 0:
            raise TicketRefused("exits", f"the take-profit {take_profit} and the stop {stop} are the wrong way round for a {side} exit")
        able = holding.client.capabilities
        can = OrderType.STOP_MARKET in able.order_types and able.reduce_only
        if at_venue and not can:
            raise TicketRefused("exits", f"{holding.record.venue} has no stop orders that only reduce")
        priced = [None if level is None else holding.instrument.price_for(side, level) for level in (stop, take_profit)]
        return Exits(side=side, stop=priced[0], take_profit=priced[1], at_venue=can if at_venue is None else at_venue, watch=watch)

    async def _begin(self, holding: Holding, state: State) -> EmulatedOrder:
        order_id = f"x{self._desk.ids.next(self._desk.clock.time_ns())}"
        order = EmulatedOrder(order_id, holding, self._desk, Saved(holding_id=holding.holding_id, state=state), restarted=False)
        await order.save(first=True)
        self.orders[order_id] = order
        order.start()
        return order
