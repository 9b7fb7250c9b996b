"""A venue on virtual time: the dialect with three markets, and clients that talk to it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any

from exchange_clients.hyperliquid import SPEC, HyperliquidClient
from exchange_clients.signing import Credentials
from exchange_simulator import simloop
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import Side, to_money
from exchange_simulator.dialects.base import DialectServer, Kind, RequestFault, SimAccount
from exchange_simulator.dialects.hyperliquid import HyperliquidDialect

D = Decimal
MARKETS = {"BTC": ("0.00001", "50000"), "kPEPE": ("1", "0.02"), "xyz:TSLA": ("0.001", "250")}
"""Coin -> size step, mark. Ten levels on each side, a thousandth of the mark apart."""


class Faults:
    """One request fault at a time, for requests that fit."""

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
    def __init__(self, sim: simloop.Simulation, *, mainnet: bool = True) -> None:
        self.sim = sim
        self.runtime = sim.runtime
        self.faults = Faults()
        self.exchange = Exchange(HyperliquidDialect.rules())
        self.dialect = HyperliquidDialect(self.exchange, sim.runtime, seed=3, faults=self.faults, mainnet=mainnet)
        now = self.dialect.now_ns()
        self.exchange.fund_insurance(now, to_money(1_000_000))
        for coin, (step, mark) in MARKETS.items():
            market = HyperliquidDialect.listing(coin, tick_size=D(1), step_size=D(step))
            self.exchange.add_market(now, market, mark=market.to_ref(D(mark)))
            self.stock(coin)
        self.account = self.dialect.open_account(D(100_000))
        self.server = DialectServer(self.dialect, network=sim.network)
        self._clients: list[HyperliquidClient] = []

    def stock(self, coin: str, size: int = 2) -> None:
        """The book as it was at the start, `size` at each level (thousands of it for kPEPE)."""
        market, mark = self.exchange.markets[coin].spec, D(MARKETS[coin][1])
        steps = market.to_steps(D(size) * (10**6 if coin == "kPEPE" else 1))
        for side, sign in ((Side.BUY, -1), (Side.SELL, 1)):
            for n in range(1, 11):
                self.exchange.set_level(self.now(), coin, side, market.to_ticks(mark * (1000 + sign * n) / 1000), steps)

    def now(self) -> int:
        return self.dialect.now_ns()

    def credentials(self, account: SimAccount | None = None, **other: str) -> Credentials:
        """Of an account, with fields replaced."""
        environ = (account or self.account).environ
        values = {item.name: environ[item.variable.format(env="")] for item in SPEC.credentials if item.variable.format(env="") in environ}
        return Credentials(SPEC.name, {**values, **other})

    def client(self, credentials: Credentials | None = None, *, signed: bool = True, **settings: Any) -> HyperliquidClient:
        keys = (credentials or self.credentials()) if signed else None
        found = HyperliquidClient({"endpoints": self.server.endpoints, "ticker": "BTC", **settings}, keys, runtime=self.runtime)
        self._clients.append(found)
        return found

    async def connected(self, credentials: Credentials | None = None, **settings: Any) -> HyperliquidClient:
        found = self.client(credentials, **settings)
        await found.connect()
        return found

    def bodies(self, kind: str) -> list[Any]:
        """Decoded bodies received so far: of info requests or exchange actions of that type."""
        found = []
        for received in self.dialect.received:
            if received.kind is Kind.HTTP:
                body = received.json()
                if body.get("type") == kind or body.get("action", {}).get("type") == kind:
                    found.append(body)
        return found

    async def __aenter__(self) -> Bench:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for found in self._clients:
            await found.disconnect()
        await self.server.stop()


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


def is_action(received: Any, kind: str) -> bool:
    """Whether a request is a signed action of that type, by REST or as a post."""
    try:
        body: Mapping[str, Any] = received.json()
    except ValueError:
        return False
    payload = body.get("request", {}).get("payload", body)
    return isinstance(payload, dict) and payload.get("action", {}).get("type") == kind
