"""A bare client of the dYdX wire for tests: signs with cryptography, knows nothing of the library's venue package."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from exchange_clients.transport.grpc import GrpcStatus
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.dialects.base import DialectServer, SimAccount
from exchange_simulator.dialects.dydx import proto, wire
from exchange_simulator.dialects.dydx.chain import EXTENSION_URL, MESSAGES, PUB_KEY_URL, SECP256K1_ORDER

GTT, IOC, POST_ONLY = range(3)


class Told:
    """What CheckTx said."""

    def __init__(self, codespace: str, code: int, log: str, tx_hash: str) -> None:
        self.codespace, self.code, self.log, self.hash = codespace, code, log, tx_hash

    @property
    def word(self) -> str:
        """ "ok" or codespace:code."""
        return f"{self.codespace}:{self.code}" if self.code else "ok"


class Bot:
    """`sequence` follows the rules unless a test sets it."""

    def __init__(self, server: DialectServer, account: SimAccount, runtime: Runtime, *, chain_id: str = "dydx-mainnet-1") -> None:
        self.address = account.environ["DYDX_ADDRESS"]
        self.authenticators = [int(number)] if (number := account.environ.get("DYDX_AUTHENTICATOR_ID")) else []
        self.chain_id = chain_id
        self.sequence = 0
        self.number = 11
        self.answered: Mapping[str, str] = {}
        """Headers of the last answer over HTTP."""
        self._key = ec.derive_private_key(int(account.environ["DYDX_PRIVATE_KEY"], 16), ec.SECP256K1())
        self._server = server
        self._runtime = runtime
        self._channel = runtime.grpc(server.endpoints["grpc"][0])
        self._session = aiohttp.ClientSession(connector=runtime.connector())
        self._streams: list[Stream] = []

    async def __aenter__(self) -> Self:
        account = await self.account()
        self.number, self.sequence = account["account_number"], account["sequence"]
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        for stream in self._streams:
            await stream.ws.close()
        await self._channel.close()
        await self._session.close()

    # reads

    async def get(self, path: str, /, *, answers: int = 200, **params: Any) -> Any:
        async with self._session.get(f"{self._server.rest}/v4/{path}", params=params) as response:
            body, self.answered = await response.json(), response.headers
            assert response.status == answers, body
            return body

    async def mine(self, path: str, /, **params: Any) -> Any:
        return await self.get(path, address=self.address, subaccountNumber=0, **params)

    async def call(self, method: str, request: proto.Schema, response: proto.Schema, **values: Any) -> dict[str, Any]:
        return proto.decode(response, await self._channel.call(f"/{method}", proto.encode(request, values), timeout_s=5))

    async def account(self) -> dict[str, Any]:
        found = await self.call("cosmos.auth.v1beta1.Query/Account", proto.ADDRESS_REQUEST, proto.ACCOUNT_RESPONSE, address=self.address)
        return proto.decode(proto.BASE_ACCOUNT, found["account"]["value"])

    async def height(self) -> int:
        found = await self.call("cosmos.base.tendermint.v1beta1.Service/GetLatestBlock", {}, proto.LATEST_BLOCK_RESPONSE)
        return int(found["block"]["header"]["height"])

    # transactions

    def sign(self, *messages: tuple[str, dict[str, Any]], high_s: bool = False, fee: int = 0, **body: Any) -> bytes:
        """(url, values) of each message."""
        packed = [{"type_url": url, "value": proto.encode(MESSAGES[url], values)} for url, values in messages]
        options = []
        if self.authenticators:
            value = proto.encode(proto.TX_EXTENSION, {"selected_authenticators": self.authenticators * len(packed)})
            options = [{"type_url": EXTENSION_URL, "value": value}]
        body_bytes = proto.encode(proto.TX_BODY, {"messages": packed, "non_critical_extension_options": options, **body})
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        signer = {
            "public_key": {"type_url": PUB_KEY_URL, "value": proto.encode(proto.PUB_KEY, {"key": point})},
            "mode_info": {"single": {"mode": 1}},
            "sequence": self.sequence,
        }
        amount = [{"denom": wire.USDC, "amount": str(fee)}] if fee else []
        auth_bytes = proto.encode(proto.AUTH_INFO, {"signer_infos": [signer], "fee": {"amount": amount, "gas_limit": 1_000_000}})
        document = proto.encode(
            proto.SIGN_DOC,
            {"body_bytes": body_bytes, "auth_info_bytes": auth_bytes, "chain_id": self.chain_id, "account_number": self.number},
        )
        r, s = decode_dss_signature(self._key.sign(document, ec.ECDSA(SHA256(), deterministic_signing=True)))
        low = min(s, SECP256K1_ORDER - s)
        s = SECP256K1_ORDER - low if high_s else low
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return proto.encode(proto.TX_RAW, {"body_bytes": body_bytes, "auth_info_bytes": auth_bytes, "signatures": [signature]})

    async def broadcast(self, raw: bytes) -> Told:
        found = await self.call(
            "cosmos.tx.v1beta1.Service/BroadcastTx", proto.BROADCAST_REQUEST, proto.BROADCAST_RESPONSE, tx_bytes=raw, mode=2
        )
        said = found["tx_response"]
        return Told(said["codespace"], said["code"], said["raw_log"], said["txhash"])

    async def send(self, *messages: tuple[str, dict[str, Any]], **options: Any) -> Told:
        """Stateful messages: the sequence counts on when they are accepted."""
        told = await self.broadcast(self.sign(*messages, **options))
        if not told.code:
            self.sequence += 1
        return told

    def order_id(self, client_id: int, flags: int = 0, clob_pair: int = 0, subaccount: int = 0) -> dict[str, Any]:
        owner = {"owner": self.address, "number": subaccount}
        return {"subaccount_id": owner, "client_id": client_id, "order_flags": flags, "clob_pair_id": clob_pair}

    def place(self, client_id: int, side: str, quantums: int, subticks: int, *, flags: int = 0, **more: Any) -> tuple[str, dict[str, Any]]:
        """`flags` 0 needs good_til_block, others good_til_block_time; `clob_pair`, `subaccount` and any field of the order."""
        identity = self.order_id(client_id, flags, more.pop("clob_pair", 0), more.pop("subaccount", 0))
        order = {"order_id": identity, "side": 1 if side == "buy" else 2, "quantums": quantums, "subticks": subticks, **more}
        return "/dydxprotocol.clob.MsgPlaceOrder", {"order": order}

    def cancel(self, client_id: int, *, flags: int = 0, clob_pair: int = 0, **until: int) -> tuple[str, dict[str, Any]]:
        return "/dydxprotocol.clob.MsgCancelOrder", {"order_id": self.order_id(client_id, flags, clob_pair), **until}

    async def short(self, client_id: int, side: str, size: int, price: int, *, blocks: int = 10, **more: Any) -> Told:
        """A short-term order in steps and ticks of the BTC market."""
        block = await self.height() + blocks
        message = self.place(client_id, side, size * 10**6, price * 1000, good_til_block=block, **more)
        return await self.broadcast(self.sign(message))

    async def long(self, client_id: int, side: str, size: int, price: int, *, life_s: int = 3600, **more: Any) -> Told:
        """A long-term order in the same units."""
        until = self._runtime.clock.time_ns() // 10**9 + life_s
        message = self.place(client_id, side, size * 10**6, price * 1000, flags=64, good_til_block_time=until, **more)
        return await self.send(message)

    def uuid(self, client_id: int, flags: int = 0, clob_pair: int = 0) -> str:
        return wire.order_uuid(self.address, 0, client_id, clob_pair, flags)

    async def stream(self) -> Stream:
        stream = Stream(await self._session.ws_connect(self._server.ws["public"]))
        self._streams.append(stream)
        assert (await stream.next())["type"] == "connected"
        return stream


class Stream:
    """One socket; remembers everything it received."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.seen: list[dict[str, Any]] = []

    async def next(self) -> dict[str, Any]:
        message: dict[str, Any] = await self.ws.receive_json(timeout=60)
        self.seen.append(message)
        return message

    async def send(self, **message: Any) -> None:
        await self.ws.send_json(message)

    async def subscribe(self, channel: str, ident: str | None = None, **more: Any) -> dict[str, Any]:
        """The snapshot message."""
        await self.send(type="subscribe", channel=channel, **({"id": ident} if ident is not None else {}), **more)
        while True:
            message = await self.next()
            if message["type"] in ("subscribed", "error") and message.get("channel", channel) == channel:
                return message

    async def contents(self, channel: str) -> list[dict[str, Any]]:
        """Those of the channel's next message, a list for batches."""
        while True:
            message = await self.next()
            if message.get("channel") == channel and message["type"] in ("channel_data", "channel_batch_data"):
                found = message["contents"]
                return found if message["type"] == "channel_batch_data" else [found]

    async def order(self, uuid: str, status: str) -> dict[str, Any]:
        """The next row of that order which has that status."""
        while True:
            for contents in await self.contents("v4_subaccounts"):
                for row in contents.get("orders", []):
                    if row["id"] == uuid and row["status"] == status:
                        return {**row, "blockHeight": contents["blockHeight"], "fills": contents.get("fills", [])}


async def status_of(bot: Bot, method: str, schema: proto.Schema, **values: Any) -> str:
    """The gRPC status that a call ends with."""
    try:
        await bot.call(method, schema, {}, **values)
    except GrpcStatus as e:
        return e.code
    return "OK"
