"""A venue on virtual time: the dialect with a market of every kind, and clients that talk to it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from exchange_clients.backpack import SPEC, BackpackClient
from exchange_clients.signing import Credentials
from exchange_simulator import simloop
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import Side, to_money
from exchange_simulator.dialects.backpack import BackpackDialect
from exchange_simulator.dialects.base import DialectServer, Received, RequestFault, SimAccount

D = Decimal
MARKETS = {"BTC": ("0.1", "0.00001", "50000"), "kBONK": ("0.000001", "1", "0.02"), "NVDA.US": ("0.01", "0.001", "180")}
"""Base -> tick, step, mark. Ten levels on each side, a thousandth of the mark apart, worth 2,000 each."""
BTC, BONK, NVDA = "BTC", "BONK", "NVDA.US"


class Faults:
    """What to do with a request, asked first."""

    def __init__(self) -> None:
        self.request: Callable[[Received], RequestFault | None] = lambda received: None
        self.push: Callable[[str, bytes], Any] = lambda channel, payload: None

    def on_request(self, received: Received) -> RequestFault | None:
        return self.request(received)

    def on_connect(self, received: Received) -> None:
        return None

    def on_push(self, session: int, channel: str, payload: bytes) -> Any:
        return self.push(channel, payload)

    def on_event(self, event: Any) -> None:
        return None


class Bench:
    def __init__(self, sim: simloop.Simulation) -> None:
        self.sim = sim
        self.runtime = sim.runtime
        self.faults = Faults()
        self.exchange = Exchange(BackpackDialect.rules())
        self.dialect = BackpackDialect(self.exchange, sim.runtime, seed=3, faults=self.faults)
        now = self.dialect.now_ns()
        self.exchange.fund_insurance(now, to_money(1_000_000))
        for base, (tick, step, mark) in MARKETS.items():
            market = BackpackDialect.listing(base, tick_size=D(tick), step_size=D(step))
            self.exchange.add_market(now, market, mark=market.to_ref(D(mark)))
            self.stock(base)
        self.account = self.dialect.open_account(D(100_000))
        self.server = DialectServer(self.dialect, network=sim.network)
        self._clients: list[BackpackClient] = []

    def stock(self, base: str) -> None:
        spec, mark = self.exchange.markets[symbol(base)].spec, D(MARKETS[base][2])
        size = spec.to_steps(round(D(2_000) / mark, 3) if base != "kBONK" else D(100_000))
        for side, sign in ((Side.BUY, -1), (Side.SELL, 1)):
            for n in range(1, 11):
                self.exchange.set_level(self.now(), spec.symbol, side, spec.to_ticks(mark * (1000 + sign * n) / 1000), size)

    def now(self) -> int:
        return self.dialect.now_ns()

    def set_mark(self, price: D | int, base: str = BTC) -> None:
        spec = self.exchange.markets[symbol(base)].spec
        self.exchange.set_mark(self.now(), spec.symbol, spec.to_ref(D(price)))

    def trade(self, side: Side, quantity: D, base: str = BTC) -> None:
        """Somebody takes from the book."""
        spec = self.exchange.markets[symbol(base)].spec
        self.exchange.external_trade(self.now(), spec.symbol, side, spec.to_steps(quantity))

    def credentials(self, account: SimAccount | None = None) -> Credentials:
        return Credentials.from_env(SPEC, environ=(account or self.account).environ)

    def client(self, *, signed: bool = True, **settings: Any) -> BackpackClient:
        keys = self.credentials() if signed else None
        found = BackpackClient({"endpoints": self.server.endpoints, "ticker": "BTC", **settings}, keys, runtime=self.runtime)
        self._clients.append(found)
        return found

    async def connected(self, *, signed: bool = True, **settings: Any) -> BackpackClient:
        found = self.client(signed=signed, **settings)
        await found.connect()
        return found

    def asked(self, path: str, method: str = "GET") -> list[Received]:
        return [r for r in self.dialect.received if (r.method, r.path) == (method, path)]

    async def sleep(self, seconds: float) -> None:
        await self.runtime.clock.sleep(seconds)

    async def __aenter__(self) -> Bench:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for found in self._clients:
            await found.disconnect()
        await self.server.stop()


def symbol(base: str) -> str:
    return f"{base}_USDC_PERP"


def virtual(test: Callable[[Bench], Awaitable[None]]) -> Callable[[], None]:
    """Run a test coroutine on a bench under virtual time; what it leaves running fails it."""

    @functools.wraps(test)
    def run() -> None:
        async def main(sim: simloop.Simulation) -> None:
            async with Bench(sim) as bench:
                await test(bench)

        simloop.run(main, seed=5)

    del run.__wrapped__  # pytest would read the wrapped signature
    return run
