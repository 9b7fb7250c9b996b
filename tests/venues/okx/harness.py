"""A venue on virtual time: the dialect with a linear market in USDT and an inverse one, and clients that talk to it."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from exchange_clients.okx import SPEC, OkxClient
from exchange_clients.signing import Credentials
from exchange_simulator import simloop
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import Side, to_money
from exchange_simulator.dialects.base import DialectServer, Kind, RequestFault
from exchange_simulator.dialects.okx import OkxDialect

D = Decimal
LINEAR, INVERSE = "BTC-USDT-SWAP", "BTC-USD-SWAP"
INVERSE_ID = "BTC-USD-PERP-INV.okx"


class Faults:
    """One request fault and one push fault at a time."""

    def __init__(self) -> None:
        self.request: Callable[[Any], RequestFault | None] = lambda received: None
        self.push: Callable[[str, bytes], Any] = lambda channel, payload: None

    def on_request(self, received: Any) -> RequestFault | None:
        return self.request(received)

    def on_connect(self, received: Any) -> None:
        return None

    def on_push(self, session: int, channel: str, payload: bytes) -> Any:
        return self.push(channel, payload)

    def on_event(self, event: Any) -> None:
        return None


class Bench:
    def __init__(self, sim: simloop.Simulation, **options: Any) -> None:
        self.sim = sim
        self.runtime = sim.runtime
        self.faults = Faults()
        self.exchange = Exchange(OkxDialect.rules())
        self.dialect = OkxDialect(self.exchange, sim.runtime, seed=3, faults=self.faults, **options)
        now = self.dialect.now_ns()
        self.exchange.fund_insurance(now, to_money(1_000_000))
        linear = OkxDialect.listing("BTC", tick_size=D("0.1"), step_size=D("0.00001"))
        for market in (linear, OkxDialect.inverse_listing("BTC", tick_size=D("0.1"))):
            self.exchange.add_market(now, market, mark=market.to_ref(D(50_000)))
            self.stock(market.symbol)
        self.account = self.dialect.open_account(D(100_000))
        self.keys = self.dialect.owner(self.account.account)
        self.server = DialectServer(self.dialect, network=sim.network)
        self._clients: list[OkxClient] = []

    def stock(self, symbol: str) -> None:
        """Ten levels a side, 1 USD apart from 49,999 and 50,001 on: 2 BTC, or 1,000 contracts, at each."""
        market = self.exchange.markets[symbol].spec
        for side, sign in ((Side.BUY, -1), (Side.SELL, 1)):
            for n in range(1, 11):
                size = 1_000 if market.inverse else 200_000
                self.exchange.set_level(self.now(), symbol, side, market.to_ticks(D(50_000 + sign * n)), size)

    def now(self) -> int:
        return self.dialect.now_ns()

    def set_mark(self, price: int, symbol: str = LINEAR) -> None:
        market = self.exchange.markets[symbol].spec
        self.exchange.set_mark(self.now(), symbol, market.to_ref(D(price)))

    def position(self, symbol: str = LINEAR) -> Decimal:
        held = self.exchange.position(self.account.account, symbol)
        return held.market.spec.size(held.size)

    def client(self, *, signed: bool = True, **settings: Any) -> OkxClient:
        keys = Credentials.from_env(SPEC, environ=self.account.environ) if signed else None
        if signed and settings.get("environment", "mainnet") != "mainnet":
            keys = Credentials(
                SPEC.name, {"api_key": self.keys.api_key, "api_secret": self.keys.secret, "passphrase": self.keys.passphrase}
            )
        found = OkxClient({"endpoints": self.server.endpoints, "ticker": "BTC", **settings}, keys, runtime=self.runtime)
        self._clients.append(found)
        return found

    async def connected(self, **settings: Any) -> OkxClient:
        found = self.client(**settings)
        await found.connect()
        return found

    def messages(self, operation: str = "") -> list[dict[str, Any]]:
        """What clients said on sockets, pings left out."""
        texts = [r.body for r in self.dialect.received if r.kind is Kind.MESSAGE and r.body != b"ping"]
        return [message for text in texts if operation in ("", (message := json.loads(text))["op"])]

    def bodies(self, path: str) -> list[Any]:
        """Decoded bodies posted to that path, without its head."""
        return [r.json() for r in self.dialect.requests(f"/api/v5{path}") if r.method == "POST"]

    async def until(self, true: Callable[[], Any], timeout_s: float = 30.0) -> None:
        end = self.runtime.clock.monotonic() + timeout_s
        while not true():
            assert self.runtime.clock.monotonic() < end, "not in time"
            await self.runtime.clock.sleep(0.01)

    async def __aenter__(self) -> Bench:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for found in self._clients:
            await found.disconnect()
        await self.server.stop()


Test = Callable[[Bench], Awaitable[None]]


def virtual(test: Test) -> Callable[[], None]:
    """Run a test coroutine on a bench under virtual time; what it leaves running fails it."""
    return virtual_with()(test)


def virtual_with(**options: Any) -> Callable[[Test], Callable[[], None]]:
    """The same; `options` go to the dialect."""

    def decorate(test: Test) -> Callable[[], None]:
        @functools.wraps(test)
        def run() -> None:
            async def main(sim: simloop.Simulation) -> None:
                async with Bench(sim, **options) as bench:
                    await test(bench)

            simloop.run(main, seed=5)

        del run.__wrapped__  # pytest would read the wrapped signature
        return run

    return decorate
