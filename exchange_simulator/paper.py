"""A simulated venue whose market is a live one: paper trading.

The book is the live venue's, less what our orders took from it. Nothing of ours reaches anybody: the live client is read only.

- A taker fills against the live book as it stands when the order arrives, level by level. What it took is gone until that level refreshes
  (grows beyond what was seen, or vanishes).
- A maker stands behind everything that the live book shows at its price when it arrives. Trades at that price move it forward. A level that
  shrinks moves it forward only as far as must be: what stands before it is never more than the level still shows, counted `trade_grace_s`
  later because the trade that shrank it may still be on its way. It fills with what trades at its price beyond what is ahead, with trades
  through its price, and with live orders that come to rest at or through its price.
- Marks and indices are the live ones. Funding is settled at the venue's times with the newest live rate; a settlement whose rate was not
  known is booked when the venue tells what it was.
- A live book with a gap, or too old, suspends ours: readers get NotReady, orders are refused unless a fresh book can be had by REST.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import msgspec

from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.errors import NotReady, Outcome, VenueError, VenuePaused
from exchange_clients.model import (
    NS_PER_HOUR,
    NS_PER_S,
    FundingRateSample,
    Instrument,
    MarketStatus,
)
from exchange_clients.spec import Stream, VenueSpec
from exchange_clients.transport.clock import Clock
from exchange_simulator.core import accounts
from exchange_simulator.core import events as ev
from exchange_simulator.core.types import ANONYMOUS, to_fraction, to_money
from exchange_simulator.paper_market import ACCOUNT, LiveMarket
from exchange_simulator.simulated_venue import STREAMS, SimulatedVenue, market_of, simulated_spec

log = logging.getLogger("exchange_simulator.paper")

RATES_EVERY_S = 60.0
RATE_AGE_NS = 600 * NS_PER_S
"""A rate seen longer ago settles nothing."""
KEEP = 2_000
"""Fills, payments and ended orders of the account that are kept."""
NOT_FOLLOWED = "this market is not followed yet"
_ACCOUNT_EVENTS = (
    ev.OrderAccepted,
    ev.OrderOpened,
    ev.OrderRejected,
    ev.OrderTriggered,
    ev.OrderAmended,
    ev.OrderCancelled,
    ev.OrderExpired,
    ev.OrderFilled,
    ev.PositionChanged,
    ev.BalanceChanged,
    ev.FundingPaid,
    ev.LeverageChanged,
)


@dataclass(frozen=True, slots=True)
class PaperSettings:
    """See `perpkit.bot.config.PaperConfig`. Fees stand in where the venue publishes none; `file` keeps the account, None: nowhere."""

    deposit: Decimal = Decimal(10_000)
    maker_fee: Decimal | None = None
    taker_fee: Decimal | None = None
    entry_latency_s: float = 0.1
    report_latency_s: float = 0.05
    book_levels: int = 50
    trade_grace_s: float = 1.0
    file: Path | None = None


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the file of a virtual account."""

    version: int
    account: accounts.SavedAccount
    fills: list[ev.OrderFilled]
    payments: list[ev.FundingPaid]
    ended: list[int]
    missed: list[tuple[str, int]] = []
    """Settlements that are still due: (market, time)."""


class PaperFunding:
    """The newest live rate of each market, as long as it is not too old."""

    sample_interval_ns = 0

    def __init__(self) -> None:
        self._rates: dict[str, tuple[int, int]] = {}
        self.missed: list[tuple[str, int]] = []
        """(market, time) of settlements whose rate nobody had told."""

    def post(self, market: str, rate: int, seen_ns: int) -> None:
        self._rates[market] = (rate, seen_ns)

    def sample(self, market: str, premium: int) -> None: ...

    def estimate(self, market: str, ts_ns: int, interval_ns: int) -> int:
        return self._rates.get(market, (0, 0))[0]

    def settle(self, market: str, ts_ns: int, interval_ns: int) -> int:
        rate, seen_ns = self._rates.get(market, (0, 0))
        if ts_ns - seen_ns <= RATE_AGE_NS:
            return rate
        self.missed.append((market, ts_ns))
        return 0


class PaperVenue(SimulatedVenue):
    """One virtual account on one live venue. `live` is a connected client without credentials; it is not ended here."""

    def __init__(self, live: BaseExchangeClient, clock: Clock, settings: PaperSettings) -> None:
        if live.context.signer is not None:
            raise ValueError("paper trading takes a client without credentials")
        self.live = live
        self.settings = settings
        self.grace_ns = round(settings.trade_grace_s * NS_PER_S)
        self.rates = PaperFunding()
        self._markets: dict[str, LiveMarket] = {}
        self._starting: dict[str, asyncio.Lock] = {}
        self._upkeep: list[asyncio.Task[None]] = []
        self._settling = asyncio.Lock()
        self._dirty = self._saving = False
        super().__init__(
            _spec(live),
            _tradable(live, settings),
            clock,
            funding=self.rates,
            publish_book=False,
            entry_latency_s=settings.entry_latency_s,
            report_latency_s=settings.report_latency_s,
            keep=KEEP,
        )
        for contract_id in self.instruments:
            self._suspended[contract_id] = NOT_FOLLOWED
        self._open_account()

    # ---- the account and its file

    def _open_account(self) -> None:
        """As it was left, or new with the declared deposit.

        Raises:
            ValueError: the file cannot be used; the message says why and what to do.
        """
        file = self.settings.file
        if file is None or not file.exists():
            self.open_account(ACCOUNT, self.settings.deposit)
            self._save()
            return
        try:
            kept = msgspec.json.decode(file.read_bytes(), type=Kept)
            gone = accounts.restore(self.exchange, self.now_ns(), kept.account)
        except (msgspec.DecodeError, accounts.GridChanged) as e:
            raise ValueError(f"the virtual account in {file} cannot be used: {e}; move the file away to begin anew") from e
        self.history.fills[ACCOUNT].extend(f for f in kept.fills if f.market not in gone)
        self.history.payments[ACCOUNT].extend(p for p in kept.payments if p.market not in gone)
        self.history.ended[ACCOUNT].extend(kept.ended)
        self.rates.missed.extend((market, ts) for market, ts in kept.missed if market not in gone)
        for position in kept.account.positions:
            if position.size:
                interval_ns = self.exchange.markets[position.market].spec.funding_interval_ns
                first = (kept.account.saved_ns // interval_ns + 1) * interval_ns
                self.rates.missed.extend((position.market, ts) for ts in range(first, self.now_ns() + 1, interval_ns))

    def declare(self, equity: Decimal) -> bool:
        """Make a flat account without orders worth this much; False when it is neither and stays as it is."""
        account = self.exchange.account(ACCOUNT)
        if account.orders or any(position.size for position in account.positions.values()):
            return False
        change = to_money(equity) - account.balance
        if change > 0:
            self.exchange.deposit(self.now_ns(), ACCOUNT, change)
        elif change < 0:
            self.exchange.withdraw(self.now_ns(), ACCOUNT, -change)
        self.keep()
        return True

    def _save(self) -> None:
        self._saving = self._dirty = False
        file = self.settings.file
        if file is None:
            return
        fills = list(self.history.fills[ACCOUNT])
        ended = list(self.history.ended[ACCOUNT])
        next_trade = max((f.trade_id for f in fills), default=0) + 1
        kept = Kept(
            version=1,
            account=accounts.save(self.exchange, ACCOUNT, ended=ended, next_trade=next_trade),
            fills=fills,
            payments=list(self.history.payments[ACCOUNT]),
            ended=ended,
            missed=list(self.rates.missed),
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        spare = file.with_name(file.name + ".new")
        spare.write_bytes(msgspec.json.encode(kept))
        spare.replace(file)

    def keep(self) -> None:
        """What happened is in the file before anybody hears of it."""
        if self._dirty:
            self._save()

    # ---- events

    def _on_event(self, event: ev.AnyEvent) -> None:
        if isinstance(event, _ACCOUNT_EVENTS):
            self._dirty = True
        if isinstance(event, ev.Trade) and event.maker_account == ANONYMOUS and event.taker_account == ACCOUNT:
            if (market := self._markets.get(event.market)) is not None:
                market.took(event.taker_side.opposite, event.price, event.size)
        elif isinstance(event, ev.OrderOpened) and event.account == ACCOUNT and (market := self._markets.get(event.market)) is not None:
            order = self.exchange.order(event.order_id)
            if order is not None:
                market.opened(order)
        super()._on_event(event)

    def _tell(self, event: ev.AnyEvent) -> None:
        self.keep()
        super()._tell(event)

    # ---- following the live venue

    async def begin(self) -> None:
        """Rates, intervals and halts of the live venue from here on; a second time changes nothing."""
        if not self._upkeep:
            self._upkeep = [
                asyncio.create_task(self._keep_rates(), name=f"paper-rates:{self.spec.name}"),
                asyncio.create_task(self._keep_instruments(), name=f"paper-markets:{self.spec.name}"),
            ]
            await self._take_rates()

    async def follow(self, contract_id: str) -> None:
        """Returns when the market is followed; a second time at once.

        Raises:
            VenueError: it cannot be followed now.
        """
        if contract_id in self._markets:
            return
        if contract_id not in self.instruments:
            raise NotReady(f"{contract_id} cannot be paper traded", venue=self.spec.name)
        async with self._starting.setdefault(contract_id, asyncio.Lock()):
            if contract_id in self._markets:
                return
            market = LiveMarket(self, self.instruments[contract_id])
            try:
                await market.start()
            except BaseException:
                await market.stop()
                raise
            self._markets[contract_id] = market

    def follows(self, contract_id: str) -> bool:
        return contract_id in self._markets

    def is_fresh(self, contract_id: str) -> bool:
        """The streamed live book may be relied on."""
        market = self._markets.get(contract_id)
        usable = market is not None and self.suspended(contract_id) is None
        return usable and market is not None and market.age_s <= self.live.config.max_book_age_s

    async def follow_own(self) -> None:
        """Every market in which the account holds something or has an order."""
        account = self.exchange.account(ACCOUNT)
        wanted = {p.market.symbol for p in account.positions.values() if p.size} | {o.market.symbol for o in account.orders.values()}
        for contract_id in sorted(wanted):
            await self.follow(contract_id)
        await self._settle_missed()

    async def refresh(self, contract_id: str) -> None:
        """A book to trade against: the streamed one if it is fresh, else one asked for now.

        Raises:
            VenuePaused: there is none; what paper would do with an order is not known.
        """
        try:
            await self.follow(contract_id)
            if self.is_fresh(contract_id):
                return
            self._markets[contract_id].take(
                await self.live.market_data.fetch_book(self.instruments[contract_id], depth=self.settings.book_levels)
            )
        except VenueError as e:
            raise self._closed(contract_id, e.message) from e
        if (reason := self.suspended(contract_id)) is not None:
            raise self._closed(contract_id, reason)

    def _closed(self, contract_id: str, reason: str) -> VenuePaused:
        text = f"{self.instruments[contract_id].id}: the live book is not known now: {reason}"
        return VenuePaused(text, venue=self.spec.name, outcome=Outcome.REFUSED)

    async def end(self) -> None:
        """Follow nothing any more; the account is in its file."""
        for task in self._upkeep:
            task.cancel()
        await asyncio.gather(*self._upkeep, return_exceptions=True)
        self._upkeep = []
        for market in self._markets.values():
            await market.stop()
        self._markets.clear()
        self._save()

    async def _keep_rates(self) -> None:
        while True:
            await self.clock.sleep(RATES_EVERY_S)
            await self._take_rates()

    async def _take_rates(self) -> None:
        """Rates and intervals as the venue tells them now; then whatever was due while nobody knew the rate."""
        try:
            rates = await self.live.market_data.fetch_funding_rates()
        except VenueError as e:
            log.warning("paper.rates_unknown venue=%s reason=%s", self.spec.name, e)
            return
        for contract_id, instrument in self.instruments.items():
            if (sample := rates.get(instrument.id)) is not None:
                self._take_rate(contract_id, sample)
        await self._settle_missed()

    def _take_rate(self, contract_id: str, sample: FundingRateSample) -> None:
        spec = self.exchange.markets[contract_id].spec
        interval_ns = int(sample.interval_hours * NS_PER_HOUR)
        if interval_ns != spec.funding_interval_ns and interval_ns > 0:
            self.exchange.change_market(self.now_ns(), replace(spec, funding_interval_ns=interval_ns))
        self.rates.post(contract_id, to_fraction(sample.raw_rate), self.now_ns())

    async def _settle_missed(self) -> None:
        """What can be settled now; the rest stays due, also over a restart."""
        async with self._settling:
            for due in list(self.rates.missed):
                contract_id, due_ns = due
                position = self.exchange.position(ACCOUNT, contract_id)
                if not position.size:
                    self.rates.missed.remove(due)
                elif position.market.mark:
                    await self._settle_late(contract_id, due_ns)

    async def _settle_late(self, contract_id: str, due_ns: int) -> None:
        """At the mark of now; it stays due while the venue does not tell that rate."""
        spec = self.exchange.markets[contract_id].spec
        slack_ns = spec.funding_interval_ns // 4
        try:
            told = await self.live.market_data.fetch_funding_history(
                self.instruments[contract_id], start_ns=due_ns - slack_ns, end_ns=due_ns + slack_ns
            )
        except VenueError as e:
            log.warning("paper.settlement_unknown market=%s reason=%s", contract_id, e)
            return
        if not told:
            if self.now_ns() - due_ns > 7 * 24 * NS_PER_HOUR:
                self.rates.missed.remove((contract_id, due_ns))
            return
        self.rates.missed.remove((contract_id, due_ns))  # before it is paid and kept: never twice
        self.exchange.pay_missed_funding(
            self.now_ns(),
            ACCOUNT,
            contract_id,
            settled_ns=due_ns + 1,  # the settlement itself has a record already where it was run without a rate
            rate=to_fraction(told[-1].raw_rate),
            ref=self.exchange.markets[contract_id].mark,
            interval_ns=spec.funding_interval_ns,
        )

    async def _keep_instruments(self) -> None:
        """Halts and delistings of the live venue happen here too."""
        async with self.live.instruments.watch_instruments() as changes:
            async for changed in changes:
                if isinstance(changed, Instrument) and changed.contract_id in self.instruments:
                    self._take_status(changed)

    def _take_status(self, changed: Instrument) -> None:
        state = self.exchange.markets[changed.contract_id]
        if state.spec.status in (changed.status, MarketStatus.DELISTED) or changed.status is MarketStatus.UNKNOWN:
            return
        if changed.status is MarketStatus.DELISTED:
            self.exchange.delist(self.now_ns(), changed.contract_id)
        else:
            self.exchange.set_status(self.now_ns(), changed.contract_id, changed.status)


def _spec(live: BaseExchangeClient) -> VenueSpec:
    """The simulated venue is the live one, with the public streams that it has."""
    spec = simulated_spec(live.spec.name, like=live.spec)
    private = (Stream.ORDERS, Stream.FILLS, Stream.POSITIONS, Stream.ACCOUNT, Stream.LIQUIDATIONS, Stream.BOOK, Stream.BBO)
    streams = {s: n for s, n in {**STREAMS, Stream.CANDLES: "candles"}.items() if s in private or s in live.spec.streams}
    return replace(spec, streams=streams, capabilities=replace(spec.capabilities, candles=live.spec.capabilities.candles))


def _tradable(live: BaseExchangeClient, settings: PaperSettings) -> list[Instrument]:
    """Markets that can be simulated, with fees.

    Raises:
        ValueError: the venue publishes no fees, and none are given.
    """
    found = []
    for instrument in live.instruments.all():
        maker = instrument.maker_fee if instrument.maker_fee is not None else settings.maker_fee
        taker = instrument.taker_fee if instrument.taker_fee is not None else settings.taker_fee
        if maker is None or taker is None:
            raise ValueError(f"{live.spec.name} publishes no fees: set maker_fee and taker_fee under `paper:`")
        priced = msgspec.structs.replace(instrument, maker_fee=maker, taker_fee=taker)
        with contextlib.suppress(ValueError):  # inverse, or finer than the simulated money
            market_of(priced)
            found.append(priced)
    return found
