"""An account's proxy carries its requests and sockets, and nobody else's; what it refuses is told without its password."""

import asyncio
import base64
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from database.accounts import Accounts, Change
from exchange_clients.errors import ConnectFailed, VenueError
from exchange_clients.secret import Secret
from exchange_clients.transport.runtime import Runtime
from exchange_clients.venues import create_client, get
from exchange_simulator import dialects
from exchange_simulator.ready import ready_venue
from perpkit.bot.accounts import AccountKeys
from tests.accounts.test_canary import chain, forms, shown

PASSWORD = "Pr0xy/c4na7y@x"
QUOTED = "Pr0xy%2Fc4na7y%40x"


class Proxy:
    """A real HTTP proxy with a password: tunnels on CONNECT, else forwards the request and what follows."""

    def __init__(self, password: str) -> None:
        self.wanted = "Basic " + base64.b64encode(f"me:{password}".encode()).decode()
        self.carried = b""
        self.refused = 0
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Proxy"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        tasks_before = asyncio.all_tasks()
        try:
            yield self
        finally:
            server.close()
            left = [task for task in asyncio.all_tasks() - tasks_before if task is not asyncio.current_task()]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *headers = head.split("\r\n")
            method, target, version = line.split(" ")
            given = next((h.partition(": ")[2] for h in headers if h.lower().startswith("proxy-authorization:")), "")
            if given != self.wanted:
                self.refused += 1
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                writer.close()
                return
            self.carried += line.encode()
            where = urlsplit(target if "://" in target else f"//{target}")
            there, out = await asyncio.open_connection(where.hostname, where.port)
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                kept = [h for h in headers if not h.lower().startswith("proxy-")]
                path = where.path + (f"?{where.query}" if where.query else "")
                out.write("\r\n".join([f"{method} {path} {version}", *kept]).encode("latin-1"))
            await asyncio.gather(self._pipe(reader, out, note=True), self._pipe(there, writer))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, note: bool = False) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if note:
                    self.carried += data
                writer.write(data)
                await writer.drain()
        writer.close()


def test_requests_and_sockets_go_through_the_accounts_own_proxy(accounts: Accounts) -> None:
    async def main() -> None:
        runtime = Runtime.system()
        async with Proxy(PASSWORD).serving() as proxy, ready_venue(dialects.get("okx"), runtime, bases=["BTC"], live=False) as venue:
            for name in ("main", "second"):
                keys = venue.credentials()
                ways = {"": Secret(f"http://me:{QUOTED}@127.0.0.1:{proxy.port}")} if name == "main" else {}
                accounts.update(name, [Change("okx", "mainnet", {field: keys.secret(field) for field in keys.names})], ways)
            of = AccountKeys(accounts, {})
            seen = {}
            for name in ("second", "main"):
                settings = of.settings(name, "okx", {"endpoints": venue.endpoints})
                before = len(venue.dialect.received)
                client = create_client("okx", settings, of.keys(get("okx").spec, "mainnet", name), runtime=runtime)
                try:
                    await client.connect()
                    assert client.is_connected
                finally:
                    await client.disconnect()
                assert len(venue.dialect.received) > before
                seen[name] = proxy.carried
            assert seen["second"] == b"", "the other account is not carried"
            assert b"/ws/v5/private" in seen["main"]
            assert b"/api/v5/account" in seen["main"]
            assert proxy.refused == 0
        runtime.offload.close()

    asyncio.run(main())


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_is_told_and_its_password_is_not(scheme: str, there: bool, caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []

    async def main() -> None:
        async with Proxy("another").serving() as proxy:
            settings = {
                "endpoints": {"rest": f"{scheme}://127.0.0.1:1", "ws": {"public": f"{scheme.replace('http', 'ws')}://127.0.0.1:1/ws"}}
            }
            client = create_client("okx", {**settings, "proxy": f"http://me:{QUOTED}@127.0.0.1:{proxy.port if there else 9}"})
            try:
                with pytest.raises(VenueError) as caught:
                    await client.instruments.load_all()
                said.append(repr(client.config) + repr(client.context))
                for one in chain(caught.value):
                    said.append(repr(one) + str(vars(one)))
                    trace = one.__traceback__
                    while trace is not None:
                        said.extend(shown(value) for value in trace.tb_frame.f_locals.values())
                        trace = trace.tb_next
                if scheme == "https" or not there:
                    assert isinstance(caught.value, ConnectFailed), "nothing reached the venue"
                    assert ("the proxy does not connect" if there else "cannot connect to") in caught.value.message
            finally:
                await client.disconnect()
            assert bool(proxy.refused) is there

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main())
    everything = "\n".join([*said, caplog.text])
    assert len(everything) > 1_000
    for form in forms(PASSWORD) | {QUOTED}:
        assert form not in everything


def test_a_socket_that_the_proxy_does_not_let_through_any_more(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        runtime = Runtime.system()
        async with Proxy(PASSWORD).serving() as proxy, ready_venue(dialects.get("okx"), runtime, bases=["BTC"], live=False) as venue:
            client = venue.client(proxy=f"http://me:{QUOTED}@127.0.0.1:{proxy.port}")
            try:
                await client.connect()
                proxy.wanted = "another"
                for session in list(venue.dialect.sessions.values()):
                    session.drop()
                async with asyncio.timeout(20):
                    while not (proxy.refused and "stream.lost" in caplog.text and "407" in caplog.text):  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
            finally:
                await client.disconnect()
        runtime.offload.close()

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main())
    for form in forms(PASSWORD) | {QUOTED}:
        assert form not in caplog.text
