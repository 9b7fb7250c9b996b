"""One position of the account, and whose it is: the shares of pairs and holdings, and the rest, which is foreign.

The venue knows one position per account and market. What an owner holds of it is the sum of the owner's own fills; what no owner explains
is *foreign* and never touched. A fill without an order of ours (by hand, liquidation, deleveraging, settlement) takes from the foreign
share first, then from the owners, the oldest first, so that as few pairs as possible lose a leg.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from database.records import FillCause, Leg
from exchange_clients.errors import TransportError, VenueError, VenueUnavailable
from exchange_clients.model import NS_PER_S, ZERO, Fill, FillKind, Instrument
from exchange_clients.transport.clock import Clock

from .journaling import AsyncJournal, Observer
from .pauses import growing
from .proof import LOOKBACK_NS, Execution, OrderProof, Share

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

log = logging.getLogger("strategies.execution")

MAX_ORPHANS = 1_000
FORCED_LOOKS = 10
MIN_PULL_GAP_S = 1.0
MAX_PULL_GAP_S = 16.0
PAUSE_S = 2.0
MAX_PAUSE_S = 30.0
FEE_UNIT = Decimal("1e-12")
LATE_NS = 10 * NS_PER_S
"""A position may show a fill by so much later than the fill's own time."""
SKEW_NS = 2 * NS_PER_S
"""By so much the venue's clock and ours may differ, generously."""
STEADY_READS = 3
"""A position is read again when our own count moved meanwhile, so many times in all."""


class SharedMarket:
    """The account's position in one market: our shares, what is not ours, and whether the venue shows the sum."""

    def __init__(self, client: "BaseExchangeClient", instrument: Instrument, *, account: str, journal: AsyncJournal, clock: Clock) -> None:
        self.client, self.instrument, self.account = client, instrument, account
        self._journal, self._clock = journal, clock
        self.shares: list[Share] = []
        self.venue_up = True
        self.down_since_s = 0.0
        self.paused_until_s = 0.0
        self.pauses = 0
        self.last_price: Decimal | None = None
        self.next_pull_s = 0.0
        self._foreign = ZERO
        self._agreed_ns: int | None = None
        """When the venue's position was last read and was what we account for."""
        self._settled_ns: int | None = None
        """Until when all that traded is in our account."""
        self._orphans: OrderedDict[Execution, Fill] = OrderedDict()
        self._explained: OrderedDict[Execution, None] = OrderedDict()
        self._booking = asyncio.Lock()
        self._comparing = asyncio.Lock()
        self._pull_gap_s = MIN_PULL_GAP_S
        self._forced_looks = 0

    # ---- whose it is

    @property
    def live(self) -> list[Share]:
        """Shares whose owner is not closed, the oldest first."""
        return sorted((share for share in self.shares if not share.ended), key=lambda share: (share.created_ns, share.owner))

    @property
    def foreign(self) -> Decimal:
        """Signed: everything that no owner claims, the dust of closed ones included."""
        return self._foreign + sum((share.own for share in self.shares if share.ended), ZERO)

    @foreign.setter
    def foreign(self, value: Decimal) -> None:
        self._foreign += value - self.foreign

    @property
    def expected_position(self) -> Decimal:
        """What the venue must show."""
        return self._foreign + sum((share.own for share in self.shares), ZERO)

    @property
    def suspect(self) -> bool:
        """The venue closed something (liquidation, ADL, settlement) and it is not known yet whose it was; ends after some looks."""
        return self._forced_looks > 0

    def conflict(self, owner: str, sign: int) -> str | None:
        """Why an owner may not trade here in that direction (0: in both), or None. Between this and `join` nothing may be awaited.

        Reduce-only orders of opposite owners would close each other's positions, so one market and account has one direction.
        """
        foreign = self.foreign
        if foreign != 0 and foreign * sign <= 0:
            return f"the account holds {foreign} of {self.instrument.id} that is not ours, against this direction"
        for share in self.live:
            if share.owner != owner and (share.sign == 0 or share.sign != sign):
                stands = {1: "long", -1: "short", 0: "either way"}[share.sign]
                return f"{share.owner} trades {self.instrument.id} {stands} on this account, this would go against it"
        return None

    def join(
        self, owner: str, leg: Leg, *, sign: int, created_ns: int, observer: Observer, on_change: Callable[[], None], journal: AsyncJournal
    ) -> Share:
        """The share of an owner, made now or taken over from the journal; what happens to it is told to `on_change` from now on."""
        for share in self.shares:
            if share.owner == owner and share.leg is leg:
                share.sign = sign
                share.follow(observer, on_change, journal)
                return share
        share = Share(
            owner,
            leg,
            self.instrument.id.venue,
            self.account,
            self.instrument,
            sign=sign,
            created_ns=created_ns,
            journal=journal,
            clock=self._clock,
            observer=observer,
            on_change=on_change,
        )
        self.shares.append(share)
        return share

    def leave(self, share: Share) -> None:
        """Nobody asks for this share any more. What it held counts as foreign."""
        if share in self.shares:
            self._foreign += share.own
            self.shares.remove(share)

    async def prove(self) -> bool:
        """Before an owner joins: nothing is unexplained. The first one takes what is there for foreign.

        Raises:
            VenueError: the venue cannot be asked.
        """
        async with self._comparing:
            if not self.live:
                asked_ns = self._clock.time_ns()
                missing = await self._missing()
                if missing is None:
                    return False
                if not self.live:
                    self._foreign += missing
                    self._agree(asked_ns)
                    self._orphans.clear()
                    return True
        return await self.reconcile()

    # ---- fills

    async def take_fill(self, fill: Fill) -> None:
        """One execution on the account, perhaps seen before; an owner's is booked once, another's is remembered apart."""
        if fill.instrument != self.instrument.id:
            return
        await asyncio.shield(self._take_all([fill]))

    async def _take_all(self, fills: Iterable[Fill]) -> None:
        """Shielded by the callers: what one fill does to several owners is not cut in half because one of them stops."""
        async with self._booking:
            for fill in fills:
                await self._take(fill)

    async def _take(self, fill: Fill) -> None:
        key = (fill.trade_id, fill.side.value)
        booked = sum((share.fills[key].quantity for share in self.shares if key in share.fills), ZERO)
        if key in self._explained or booked >= fill.quantity:
            return
        if booked > 0:  # a former process died while it shared the fill out: what it did not book is still to be explained
            self._orphans[key] = msgspec.structs.replace(fill, quantity=fill.quantity - booked)
            return
        for share in self.shares:
            client_order_id = share.owner_of(fill)
            if client_order_id is not None:
                await self._book(share, fill, client_order_id, FillCause(fill.kind.value))
                return
        if not self.shares or fill.ts_venue_ns < self._since_ns:
            return
        if fill.kind is not FillKind.TRADE and self._unexplained(fill) and (ours := self._standing(fill)) > 0:
            new = self._agreed_ns is not None and fill.ts_venue_ns > self._agreed_ns + SKEW_NS
            if new and self.foreign == 0 and fill.quantity <= ours and not any(map(self._unexplained, self._orphans.values())):
                self._orphans[key] = fill
                await self._allot(fill, fill.quantity)
                return
            if key not in self._orphans:
                self._forced_looks = FORCED_LOOKS
                self._changed()
        self._orphans[key] = fill
        if len(self._orphans) > MAX_ORPHANS:
            self._orphans.popitem(last=False)

    def _unexplained(self, fill: Fill) -> bool:
        """Whether a fill of nobody's order may be missing in our account. One that is older is only told again: by a history that reaches
        back, by a stream that begins with a snapshot."""
        return self.settled_ns is None or fill.ts_venue_ns > self.settled_ns

    def _standing(self, fill: Fill) -> Decimal:
        """What our owners hold against which the fill goes."""
        return sum((abs(share.own) for share in self.live if share.own * fill.side.sign < 0), ZERO)

    async def _allot(self, fill: Fill, ours: Decimal) -> Decimal:
        """A fill of nobody's order: up to `ours` of it closed shares of ours, the oldest owner's first; the rest is foreign. Returns what
        was taken."""
        taken = ZERO
        key = (fill.trade_id, fill.side.value)
        cause = FillCause.EXTERNAL if fill.kind is FillKind.TRADE else FillCause(fill.kind.value)
        for share in self.live:
            part = min(fill.quantity - taken, ours - taken, abs(share.own) if share.own * fill.side.sign < 0 else ZERO)
            if part > 0:
                fee = fill.fee if part == fill.quantity else (fill.fee * part / fill.quantity).quantize(FEE_UNIT)
                share.changed |= cause is FillCause.EXTERNAL
                await self._book(share, msgspec.structs.replace(fill, quantity=part, fee=fee), None, cause)
                taken += part
        self._orphans.pop(key, None)
        self._explained[key] = None
        while len(self._explained) > MAX_ORPHANS:
            self._explained.popitem(last=False)
        return taken

    async def _book(self, share: Share, fill: Fill, client_order_id: str | None, cause: FillCause) -> None:
        self._pull_gap_s = MIN_PULL_GAP_S
        self._orphans.pop((fill.trade_id, fill.side.value), None)
        self.last_price = fill.price
        await share.book(fill, client_order_id, cause)

    def _changed(self) -> None:
        for share in self.shares:
            share.on_change()

    @property
    def settled_ns(self) -> int | None:
        """Everything that traded before is accounted for, or was nobody's of ours; None: not known yet."""
        return None if self._settled_ns is None else self._settled_ns - LATE_NS

    def _agree(self, asked_ns: int) -> None:
        """The position, asked for at that time, is what we account for. That settles nothing since an order of ours was last proved: a fill
        of ours that nobody told yet and one by hand may cancel out."""
        self._agreed_ns = asked_ns
        self._settled_ns = min([asked_ns, *(proof.proved_ns for share in self.shares for proof in share.proofs.values())])

    @property
    def _since_ns(self) -> int:
        """From when on fills may be missing in our account."""
        first = min((share.created_ns for share in self.shares), default=self._clock.time_ns())
        return max(first, self.settled_ns or first) - LOOKBACK_NS

    async def learn(self, share: Share, order_id: str, client_order_id: str) -> None:
        """The venue's name of our order. Fills that came under it before it was known are ours."""
        if not share.name(order_id, client_order_id):
            return
        await asyncio.shield(self._take_all([f for f in self._orphans.values() if f.order_id == order_id]))

    async def pull_fills(self, since_ns: int | None = None) -> None:
        """Ask the venue for all fills since we last agreed, or since then; book what is ours and new.

        The most expensive question there is on some venues, so the pauses between two of them grow until a new fill comes.
        """
        self.next_pull_s = self._clock.monotonic() + self._pull_gap_s
        self._pull_gap_s = min(self._pull_gap_s * 2, MAX_PULL_GAP_S)
        fills = await self.client.get_user_trade_history(
            self.instrument.contract_id, since_ns=min(self._since_ns, since_ns or self._since_ns)
        )
        self.answered()
        await asyncio.shield(self._take_all(fill for fill in fills if fill.instrument == self.instrument.id))

    # ---- the position

    async def position(self) -> Decimal:
        """The venue's signed position now; zero only when it says so."""
        snapshot = await self.client.get_position_snapshot(self.instrument.contract_id)
        self.answered()
        return ZERO if snapshot is None else snapshot.quantity

    async def shown(self, share: Share) -> Decimal:
        """What the venue's position leaves for one share, signed, once everybody else has what is theirs."""
        position = await self.position()
        return position - (self.expected_position - share.own)

    async def _missing(self) -> Decimal | None:
        """By how much the position differs from our count, or None while the count moves faster than the venue answers."""
        for _ in range(STEADY_READS):
            before = self.expected_position
            position = await self.position()
            if self.expected_position == before:
                return position - before
        return None

    async def reconcile(self, *, absent: OrderProof | None = None) -> bool:
        """Whether the venue's position is what we account for, if need be after taking in the fills it has on record.

        A difference that fills of others explain is theirs: it changes the foreign share; what goes beyond the foreign share reduced ours
        (closed by hand: EXTERNAL; by the venue: booked as what it was). An unexplained difference stays one, and so does one that an order
        of ours may have made whose id at the venue is not known yet. `absent`: such an order that the venue says it does not have.
        """
        async with self._comparing:
            self._forced_looks = max(self._forced_looks - 1, 0)
            asked_ns = self._clock.time_ns()
            if await self._missing() == 0:
                self._agree(asked_ns)
                return True
            if self._clock.monotonic() < self.next_pull_s:
                return False
            await self.pull_fills()
            asked_ns = self._clock.time_ns()
            missing = await self._missing()
            if missing is None:
                return False
            agreed = missing == 0 or await asyncio.shield(self._explain(missing, self.expected_position, absent))
            if agreed:
                self._agree(asked_ns)
            return agreed

    async def _explain(self, missing: Decimal, expected: Decimal, absent: OrderProof | None) -> bool:
        async with self._booking:
            others = self._explaining(missing)
            if others is None or self.expected_position != expected:
                return False
            if any(share.may_own(fill, absent) for fill in others for share in self.shares):
                return False
            ours = self._ours_of(missing)
            sign = 1 if missing > 0 else -1
            self._foreign += missing - sign * ours
            for fill in reversed(others):
                ours -= await self._allot(fill, ours if fill.side.sign == sign else ZERO)
        self._forced_looks = 0
        for share in self.live:
            share.say("position.external", change=missing, foreign=self.foreign)
        self._changed()
        return True

    def _ours_of(self, missing: Decimal) -> Decimal:
        """How much of a change is taken from us: what is left once nothing foreign stands in our direction."""
        sign = 1 if missing > 0 else -1
        held = sum((abs(share.own) for share in self.live if share.own * sign < 0), ZERO)
        theirs = -sign * self.foreign
        return min(max(abs(missing) - theirs, ZERO), held) if theirs >= 0 else ZERO

    def _explaining(self, missing: Decimal) -> list[Fill] | None:
        """The newest fills of others that add up to exactly that change, or None. Older ones are explained already."""
        found: list[Fill] = []
        total = ZERO
        for fill in sorted(filter(self._unexplained, self._orphans.values()), key=lambda f: (f.ts_venue_ns, f.trade_id), reverse=True):
            found.append(fill)
            total += fill.signed_quantity
            if total == missing:
                return found
        return None

    # ---- the venue

    def answered(self) -> None:
        """A call to the venue succeeded."""
        self.venue_up = True

    @property
    def offline_s(self) -> float:
        """For how long reads from the venue have failed."""
        return 0.0 if self.venue_up else self._clock.monotonic() - self.down_since_s

    @property
    def paused(self) -> bool:
        """The venue refused an order because it refuses everybody's, a moment ago."""
        return self._clock.monotonic() < self.paused_until_s

    def pause(self) -> None:
        """The venue refuses everybody's orders (VenuePaused): not asked again for a while, longer each time."""
        self.paused_until_s = self._clock.monotonic() + growing(PAUSE_S, self.pauses, MAX_PAUSE_S)
        self.pauses += 1

    def resumed(self) -> None:
        """The venue took an order."""
        self.paused_until_s, self.pauses = 0.0, 0

    def mark(self, error: VenueError, owner: str) -> None:
        """A call to the venue failed."""
        if isinstance(error, TransportError | VenueUnavailable):
            if self.venue_up:
                self.down_since_s = self._clock.monotonic()
            self.venue_up = False
        log.warning("venue.error pair=%s market=%s error=%s", owner, self.instrument.id, error)
