"""A bare client of the Lighter wire for tests: signs with the shared crypto, knows nothing of the library's venue package."""

from __future__ import annotations

import base64
import json
from types import TracebackType
from typing import Any, Self

import aiohttp

from exchange_clients.crypto import goldilocks, schnorr
from exchange_clients.crypto.poseidon2 import hash_to_quintic
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.dialects.base import DialectServer, SimAccount
from exchange_simulator.dialects.lighter.tx import Tx

DAY_MS = 86_400_000


class Bot:
    """`nonce` follows the rules unless a test sets it."""

    def __init__(self, server: DialectServer, account: SimAccount, runtime: Runtime, *, chain_id: int = 304) -> None:
        self.account = account.account
        self.secret = bytes.fromhex(account.environ["LIGHTER_API_KEY_PRIVATE_KEY"])
        self.key_index = int(account.environ["LIGHTER_API_KEY_INDEX"])
        self.nonce = 0
        self._server = server
        self._clock = runtime.clock
        self._chain_id = chain_id
        self._streams: list[Stream] = []
        self._session = aiohttp.ClientSession(connector=runtime.connector())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        for stream in self._streams:
            await stream.ws.close()
        await self._session.close()

    @property
    def now_ms(self) -> int:
        return self._clock.time_ns() // 10**6

    def token(self, *, life_s: int = 600, account: int | None = None) -> str:
        prefix = f"{self.now_ms // 1000 + life_s}:{account or self.account}:{self.key_index}"
        digest = goldilocks.to_bytes(hash_to_quintic(goldilocks.from_bytes(prefix.encode(), pad=True)))
        return f"{prefix}:{schnorr.sign(self.secret, digest).hex()}"

    def sign(self, kind: int, fields: dict[str, Any], **common: Any) -> dict[str, Any]:
        info = {
            "AccountIndex": self.account,
            "ApiKeyIndex": self.key_index,
            **fields,
            "ExpiredAt": self.now_ms + 599_000,
            "Nonce": self.nonce,
            "L2TxAttributes": None,
            **common,
        }
        digest = Tx.parse(kind, info).hash(self._chain_id)
        return {**info, "Sig": base64.b64encode(schnorr.sign(self.secret, digest)).decode()}

    async def get(self, path: str, signed: bool = False, /, **params: Any) -> dict[str, Any]:
        headers = {"Authorization": self.token()} if signed else {}
        async with self._session.get(f"{self._server.rest}/api/v1/{path}", params=params, headers=headers) as response:
            body: dict[str, Any] = await response.json()
            return body

    async def send_info(self, kind: int, info: dict[str, Any]) -> dict[str, Any]:
        form = {"tx_type": str(kind), "tx_info": json.dumps(info)}
        async with self._session.post(f"{self._server.rest}/api/v1/sendTx", data=form) as response:
            body: dict[str, Any] = await response.json()
        if body["code"] == 200:
            self.nonce = info["Nonce"] + 1
        return body

    async def send(self, kind: int, fields: dict[str, Any], **common: Any) -> dict[str, Any]:
        return await self.send_info(kind, self.sign(kind, fields, **common))

    async def post(self, path: str, form: dict[str, str]) -> dict[str, Any]:
        async with self._session.post(f"{self._server.rest}/api/v1/{path}", data=form) as response:
            body: dict[str, Any] = await response.json()
            return body

    def order(self, market: int, side: str, size: int, price: int, **changes: Any) -> dict[str, Any]:
        """Limit good-till-time unless changed; `client` is the client order index."""
        fields = {
            "MarketIndex": market,
            "ClientOrderIndex": changes.pop("client", 0),
            "BaseAmount": size,
            "Price": price,
            "IsAsk": int(side == "sell"),
            "Type": 0,
            "TimeInForce": 1,
            "ReduceOnly": 0,
            "TriggerPrice": 0,
            "OrderExpiry": self.now_ms + DAY_MS,
        }
        if changes.get("Type") == 1 or changes.get("TimeInForce") == 0:
            fields |= {"TimeInForce": 0, "OrderExpiry": 0}
        return {**fields, **changes}

    async def place(self, market: int, side: str, size: int, price: int, **changes: Any) -> dict[str, Any]:
        return await self.send(14, self.order(market, side, size, price, **changes))

    async def cancel(self, market: int, index: int) -> dict[str, Any]:
        return await self.send(15, {"MarketIndex": market, "Index": index})

    async def stream(self) -> Stream:
        stream = Stream(await self._session.ws_connect(self._server.ws["public"], compress=15))
        self._streams.append(stream)
        await stream.until(type="connected")
        return stream


class Stream:
    """One socket; remembers everything it received."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.seen: list[dict[str, Any]] = []

    async def send(self, **message: Any) -> None:
        await self.ws.send_json(message)

    async def subscribe(self, channel: str, **extra: Any) -> dict[str, Any]:
        """The first message of the channel."""
        await self.send(type="subscribe", channel=channel, **extra)
        return await self.until(type=f"subscribed/{channel.partition('/')[0]}", channel=channel.replace("/", ":"))

    async def next(self) -> dict[str, Any]:
        message: dict[str, Any] = await self.ws.receive_json(timeout=30)
        self.seen.append(message)
        return message

    async def until(self, **fields: Any) -> dict[str, Any]:
        while True:
            message = await self.next()
            if all(message.get(name) == value for name, value in fields.items()):
                return message

    async def order(self, *statuses: str, client: int) -> dict[str, Any]:
        """The first pushed order of that client index with one of those statuses."""
        while True:
            message = await self.next()
            for rows in (message.get("orders") or {}).values() if "orders" in message else ():
                for row in rows:
                    if row["client_order_index"] == client and row["status"] in statuses:
                        found: dict[str, Any] = row
                        return found
