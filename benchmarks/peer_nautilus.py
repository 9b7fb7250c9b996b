"""NautilusTrader on the quotes of the comparison: `python peer_nautilus.py backtest QUOTES,EVERY` in an environment that has it.

Every EVERY-th quote of a market sends a market order of 0.01, buying and selling in turn; 0 sends none. Prints the figures as JSON.
"""

from __future__ import annotations

import sys
import time
from decimal import Decimal

import timing
from backtest_quotes import FEE, MARKETS, STEP, TICK, quotes
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy


def instrument(number: int) -> CryptoPerpetual:
    symbol = f"M{number}"
    return CryptoPerpetual(
        instrument_id=InstrumentId(Symbol(symbol), Venue("SIM")),
        raw_symbol=Symbol(symbol),
        base_currency=BTC,
        quote_currency=USDT,
        settlement_currency=USDT,
        is_inverse=False,
        price_precision=1,
        price_increment=Price.from_str(TICK),
        size_precision=3,
        size_increment=Quantity.from_str(STEP),
        margin_init=Decimal("0.05"),
        margin_maint=Decimal("0.025"),
        maker_fee=Decimal("0"),
        taker_fee=Decimal(FEE),
        ts_event=0,
        ts_init=0,
    )


class Taker(Strategy):
    """Counts quotes; every so many of one market it takes, buying and selling in turn."""

    def __init__(self, instruments: list[CryptoPerpetual], every: int) -> None:
        super().__init__(StrategyConfig())
        self.instruments = instruments
        self.every = every
        self.seen = 0
        self.orders = 0
        self.fills = 0
        self.counts = {i.id: 0 for i in instruments}
        self.first = Quantity.from_str("0.030")  # so that no later order ends the position: reopening one is dear there
        self.size = Quantity.from_str("0.010")

    def on_start(self) -> None:
        for one in self.instruments:
            self.subscribe_quote_ticks(one.id)

    def on_quote_tick(self, tick: QuoteTick) -> None:
        self.seen += 1
        if not self.every or tick.ask_price <= tick.bid_price:
            return
        count = self.counts[tick.instrument_id] = self.counts[tick.instrument_id] + 1
        if count % self.every == 0:
            number = count // self.every
            side = OrderSide.BUY if number % 2 else OrderSide.SELL
            self.submit_order(self.order_factory.market(tick.instrument_id, side, self.first if number == 1 else self.size))
            self.orders += 1

    def on_order_filled(self, event: object) -> None:
        self.fills += 1


def main() -> None:
    count, every = (int(x) for x in sys.argv[2].split(","))
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False))
    engine.add_venue(
        venue=Venue("SIM"),
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=None,
        starting_balances=[Money(1_000_000, USDT)],
    )
    instruments = [instrument(n) for n in range(MARKETS)]
    for one in instruments:
        engine.add_instrument(one)
    tick = Decimal(TICK)
    data = [
        QuoteTick(
            instruments[market].id,
            Price(float(bid * tick), 1),
            Price(float(ask * tick), 1),
            Quantity(bid_size / 1000, 3),
            Quantity(ask_size / 1000, 3),
            ts,
            ts,
        )
        for market, ts, bid, bid_size, ask, ask_size in quotes(count)
    ]
    engine.add_data(data)
    strategy = Taker(instruments, every)
    engine.add_strategy(strategy)
    start = time.process_time()
    engine.run()
    took = time.process_time() - start
    timing.answer(
        {
            "events_s": count / took,
            "rss_mib": timing.rss_kib() / 1024,
            "seen": strategy.seen,
            "orders": strategy.orders,
            "fills": strategy.fills,
        }
    )


if __name__ == "__main__":
    main()
