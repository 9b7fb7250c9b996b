"""A venue on virtual time: the dialect with two markets, and clients that talk to it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from exchange_clients.paradex import SPEC, ParadexClient
from exchange_clients.signing import Credentials
from exchange_simulator import simloop
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import Side, to_money
from exchange_simulator.dialects.base import DialectServer, Kind, Received, RequestFault, SimAccount
from exchange_simulator.dialects.paradex import ParadexDialect

D = Decimal
MARKETS = {"BTC": ("0.1", "0.00001", "50000"), "kPEPE": ("0.0000001", "1", "0.02")}
"""Base -> tick, step, mark. Ten levels on each side, a thousandth of the mark apart."""


class Faults:
    """One request fault at a time, for requests that fit."""

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
    def __init__(self, sim: simloop.Simulation, **options: Any) -> None:
        self.runtime = sim.runtime
        self.faults = Faults()
        self.exchange = Exchange(ParadexDialect.rules())
        self.dialect = ParadexDialect(self.exchange, sim.runtime, seed=3, faults=self.faults, **options)
        now = self.dialect.now_ns()
        self.exchange.fund_insurance(now, to_money(1_000_000))
        for base, (tick, step, mark) in MARKETS.items():
            market = ParadexDialect.listing(base, tick_size=D(tick), step_size=D(step))
            self.exchange.add_market(now, market, mark=market.to_ref(D(mark)))
            size = market.to_steps(D(2) if base == "BTC" else D(10**6))
            for side, sign in ((Side.BUY, -1), (Side.SELL, 1)):
                for n in range(1, 11):
                    price = market.to_ticks(D(mark) * (1000 + sign * n) / 1000)
                    self.exchange.set_level(now, market.symbol, side, price, size)
        self.account = self.dialect.open_account(D(100_000))
        self.server = DialectServer(self.dialect, network=sim.network)
        self._clients: list[ParadexClient] = []

    def now(self) -> int:
        return self.dialect.now_ns()

    def credentials(self, account: SimAccount | None = None, **other: str) -> Credentials:
        """Of an account, with fields replaced; the address of the first one is left to be derived."""
        environ = (account or self.account).environ
        values = {item.name: environ[item.variable.format(env="")] for item in SPEC.credentials if item.variable.format(env="") in environ}
        if account is None:
            values["l2_address"] = ""
        return Credentials(SPEC.name, {**values, **other})

    def client(self, credentials: Credentials | None = None, *, signed: bool = True, **settings: Any) -> ParadexClient:
        keys = (credentials or self.credentials()) if signed else None
        found = ParadexClient({"endpoints": self.server.endpoints, "ticker": "BTC", **settings}, keys, runtime=self.runtime)
        self._clients.append(found)
        return found

    async def connected(self, credentials: Credentials | None = None, *, signed: bool = True, **settings: Any) -> ParadexClient:
        found = self.client(credentials, signed=signed, **settings)
        await found.connect()
        return found

    def requests(self, path: str, method: str = "") -> list[Received]:
        """HTTP requests received so far whose path begins so."""
        found = [one for one in self.dialect.received if one.kind is Kind.HTTP and one.path.startswith(path)]
        return [one for one in found if method in ("", one.method)]

    def messages(self, method: str) -> list[Any]:
        """JSON-RPC calls of that method received so far."""
        return [body for one in self.dialect.requests(kind=Kind.MESSAGE) if (body := one.json())["method"] == method]

    async def until(self, true: Callable[[], Any], what: str, *, timeout_s: float = 30.0) -> None:
        clock = self.runtime.clock
        end = clock.monotonic() + timeout_s
        while not true():
            assert clock.monotonic() < end, f"not in {timeout_s:g} s: {what}"
            await clock.sleep(0.01)

    async def __aenter__(self) -> Bench:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for found in self._clients:
            await found.disconnect()
        await self.server.stop()


def virtual(**options: Any) -> Callable[[Callable[[Bench], Awaitable[None]]], Callable[[], None]]:
    """Run a test coroutine on a bench under virtual time; what it leaves running fails it. `options` go to the dialect."""

    def wrap(test: Callable[[Bench], Awaitable[None]]) -> Callable[[], None]:
        @functools.wraps(test)
        def run() -> None:
            async def main(sim: simloop.Simulation) -> None:
                async with Bench(sim, **options) as bench:
                    await test(bench)

            simloop.run(main, seed=5)

        del run.__wrapped__  # pytest would read the wrapped signature
        return run

    return wrap
