"""Our backtest on the quotes of the comparison: `python ours_backtest.py backtest QUOTES,EVERY`.

The strategy is a client's: it hears every best bid and ask as `Bbo` and sends market orders through the client contract, with all checks,
tracking and fills of the product. Same rhythm and size of orders as the peer's. Prints the figures as JSON.
"""

from __future__ import annotations

import asyncio
import sys
import time
from decimal import Decimal

import timing
from backtest_quotes import FEE, MARKETS, START_NS, STEP, TICK, packed

from exchange_clients.model import Bbo, Fill, Instrument, InstrumentId, Side
from exchange_simulator.simloop import Simulation, run
from exchange_simulator.simulated_venue import SimulatedVenue, simulated_spec
from perpkit.backtest.market import Market, Player, QuoteFeed
from perpkit.backtest.runner import BacktestClient

FIRST, SIZE = Decimal("0.03"), Decimal("0.01")


def instrument(number: int) -> Instrument:
    symbol = f"M{number}"
    return Instrument(
        id=InstrumentId(symbol, "USDT", "sim"),
        venue_symbol=symbol,
        contract_id=symbol,
        settle="USDT",
        tick_size=Decimal(TICK),
        step_size=Decimal(STEP),
        min_quantity=Decimal(STEP),
        initial_margin=Decimal("0.05"),
        maintenance_margin=Decimal("0.025"),
        maker_fee=Decimal(0),
        taker_fee=Decimal(FEE),
        funding_interval_hours=Decimal(8),
    )


class Taker:
    """Counts quotes; every so many of one market it takes, buying and selling in turn."""

    def __init__(self, client: BacktestClient, every: int) -> None:
        self.client, self.every = client, every
        self.seen = self.orders = self.fills = 0
        self.counts = dict.fromkeys((instrument(n).id for n in range(MARKETS)), 0)
        self.running: set[asyncio.Task[object]] = set()

    def on_bbo(self, bbo: Bbo) -> None:
        self.seen += 1
        if not self.every or bbo.ask <= bbo.bid:
            return
        count = self.counts[bbo.instrument] = self.counts[bbo.instrument] + 1
        if count % self.every == 0:
            number = count // self.every
            side = Side.BUY if number % 2 else Side.SELL
            task = asyncio.ensure_future(self.client.place_market_order(bbo.instrument, FIRST if number == 1 else SIZE, side))
            self.running.add(task)
            task.add_done_callback(self.running.discard)
            self.orders += 1

    def on_fill(self, fill: Fill) -> None:
        self.fills += 1


def main() -> None:
    count, every = (int(x) for x in sys.argv[2].split(","))
    data = packed(count)

    async def play(sim: Simulation) -> dict[str, float]:
        instruments = [instrument(n) for n in range(MARKETS)]
        venue = SimulatedVenue(simulated_spec("sim"), instruments, sim.runtime.clock, publish_book=False)
        venue.open_account(1, Decimal(1_000_000))
        feed = QuoteFeed([Market(venue, f"M{n}", 2 * n) for n in range(MARKETS)], zip(*data, strict=True))
        async with BacktestClient(venue, 1, runtime=sim.runtime) as client:
            strategy = Taker(client, every)
            for one in instruments:
                client.ws_manager.register_bbo_listener(one, strategy.on_bbo)
            start = time.process_time()
            player = Player(sim.loop, START_NS, [feed])
            await player.play()
            await asyncio.gather(*strategy.running)
            took = time.process_time() - start
            fills = await client.order_manager.fetch_fills(since_ns=0)
        return {"events_s": count / took, "seen": strategy.seen, "orders": strategy.orders, "fills": len(fills)}

    figures = run(play, epoch_ns=START_NS)
    timing.answer({**figures, "rss_mib": timing.rss_kib() / 1024})


if __name__ == "__main__":
    main()
