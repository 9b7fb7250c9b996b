"""Our side of every comparison: product code with its checks, dispatch, limiter and tracking. `python ours.py CASE [ARGUMENT]`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import timing
import wire

KEY = "0x0123456789012345678901234567890123456789012345678901234567890123"
ADDRESS = "0x14791697260e4c9a71f18484c9f997b308e59325"
LIGHTER_KEY = "ab" * 39 + "01"
MESSAGES = 4_000
ORDERS = 300
SIGNATURES = 2_000


def instrument(venue: str, base: str, contract_id: str, symbol: str = "") -> Any:
    from exchange_clients import venues
    from exchange_clients.model import Instrument, InstrumentId

    return Instrument(
        id=InstrumentId(base, venues.get(venue).spec.default_quote, venue),
        venue_symbol=symbol or base,
        contract_id=contract_id,
        settle="USDC",
        tick_size=Decimal("0.1"),
        step_size=Decimal("0.00001"),
        min_quantity=Decimal("0.00001"),
    )


def client_of(venue: str, config: dict[str, Any] | None = None) -> Any:
    from exchange_clients.signing import Credentials

    if venue == "hyperliquid":
        from exchange_clients.hyperliquid import HyperliquidClient

        return HyperliquidClient(config, Credentials("hyperliquid", {"private_key": KEY, "account_address": ADDRESS}))
    from exchange_clients.lighter import LighterClient

    keys = {"api_key_private_key": LIGHTER_KEY, "account_index": "7", "api_key_index": "5"}
    return LighterClient(config, Credentials("lighter", keys))


async def streaming(client: Any, firsts: dict[tuple[str, str], str]) -> tuple[Callable[[str, str, int], None], list[Any]]:
    """The client's entry for frames, and the books it now keeps of some markets (base, contract id), each begun with its first frame."""
    feed = client.ws_manager.handler.feed
    for (base, contract_id), first in firsts.items():
        listed = instrument(client.get_exchange_name(), base, contract_id)
        client.instruments.update(listed)
        prepared = asyncio.create_task(client.ws_manager.prepare_market_feed(listed))
        await asyncio.sleep(0)
        feed("public", first, 0)
        await prepared
    return feed, [client.ws_manager.feeds[contract_id].book for _, contract_id in firsts]


NAMES = {
    "hyperliquid": ("BTC", "BTC"),
    "lighter": ("BTC", "1"),
    "okx": ("BTC-USDT-SWAP", "BTC-USDT-SWAP"),
    "aster": ("BTCUSDT", "BTCUSDT"),
    "backpack": ("BTC_USDC_PERP", "BTC_USDC_PERP"),
    "dydx": ("BTC-USD", "BTC-USD"),
    "paradex": ("BTC-USD-PERP", "BTC-USD-PERP"),
}
"""Venue -> its name of the market, our contract id."""


async def frames(venue: str) -> dict[str, float]:
    """Frame to best bid and ask, as Decimals. Where a book begins with a snapshot by request, the first text is its answer."""
    from exchange_clients import venues
    from exchange_clients.book import SnapshotSource

    texts = sbe_frames(MESSAGES) if venue == "paradex" else wire.FRAMES[venue](MESSAGES)
    client = venues.get(venue).client()
    manager = client.ws_manager
    symbol, contract_id = NAMES[venue]
    listed = instrument(venue, "BTC", contract_id, symbol)
    client.instruments.update(listed)
    held = manager._hold_book(listed)
    feed, book = manager.handler.feed, held.book
    if held.rule.source is SnapshotSource.REST:
        client.context.rest = manager.context.rest = Canned(client.spec, texts[0])
        await manager.fetch_snapshot(held)
    else:
        manager.confirm = lambda *_: True  # nothing was asked of anybody
        feed("public", texts[0], 0)
    assert book.ready, book.state.reason

    def work() -> None:
        for n in range(1, MESSAGES):
            feed("public", texts[n], n)
            book.best_bid()
            book.best_ask()

    per_message = timing.cpu_us(work, MESSAGES - 1)
    assert book.ready, book.state.reason
    assert book.state.ts_recv_ns == MESSAGES - 1
    return {"frame": per_message, "bid": float(book.best_bid().price), "ask": float(book.best_ask().price)}


class Canned:
    """Answers every query with one body, decoded as the endpoint says."""

    def __init__(self, spec: Any, body: str) -> None:
        self._spec, self._body = spec, body

    async def query(self, name: str, **_: Any) -> Any:
        import msgspec

        return msgspec.json.decode(self._body, type=self._spec.endpoints[name].response, strict=False)


def sbe_frames(count: int) -> list[bytes]:
    """Paradex' binary books, a snapshot of 400 + 400 levels and then updates, as its dialect encodes them."""
    from exchange_simulator.dialects.paradex import sbe

    market = wire.Market(1)
    frames = []
    for n in range(count):
        start = [(side, tick, size) for side in ("bids", "asks") for tick, size in market.best(side, wire.DEPTH)]
        changes = market.move() if n else start
        sides = {side: [(tick * 10**7, size * 1000) for at, tick, size in changes if at == side] for side in ("bids", "asks")}
        (bid, ask) = (market.best(side, 1)[0] for side in ("bids", "asks"))
        best = (bid[0] * 10**7, bid[1] * 1000, ask[0] * 10**7, ask[1] * 1000)
        now_us = (1_790_000_000_000 + n * 50) * 1000
        frame = sbe.book(1, now_us, 1000 + n, NAMES["paradex"][0], snapshot=not n, bids=sides["bids"], asks=sides["asks"], best=best)
        frames.append(bytes(frame))
    return frames


async def books(count: str) -> dict[str, float]:
    """Cost per message and memory per 800-level book with many books in one client."""
    number = int(count)
    per_book = max(20, MESSAGES // number)
    streams = [wire.lighter_frames(per_book, market_id=n, seed=n) for n in range(number)]
    client = client_of("lighter")
    before = timing.current_rss_kib()
    feed, held = await streaming(client, {(f"M{n}", str(n)): stream[0] for n, stream in enumerate(streams)})
    memory = timing.current_rss_kib() - before
    queue = [stream[n] for n in range(1, per_book) for stream in streams]

    def work() -> None:
        for n, text in enumerate(queue):
            feed("public", text, n)

    per_message = timing.cpu_us(work, len(queue))
    assert all(book.ready for book in held)
    return {"frame": per_message, "kib_per_book": memory / number}


async def sign(signer: str) -> dict[str, float]:
    """One limit order, from the order to the bytes of the request: "VENUE", or "lighter python", "lighter PATH OF THE LIBRARY"."""
    from exchange_clients.model import OrderIntent, Side
    from exchange_clients.signing import SignContext
    from exchange_clients.transport.runtime import Runtime
    from exchange_simulator import dialects
    from exchange_simulator.ready import ready_venue

    venue, _, option = signer.partition(" ")
    library = {} if option in ("", "python") else {"signer": "library", "signer_library": option}
    options = {"venue_options": library or {"signer": "python"}} if option else {}
    runtime = Runtime.system()
    async with ready_venue(dialects.get(venue), runtime) as served:
        client = served.client(**options)
        await client.connect()
        listed, manager = client.instruments.get("BTC"), client.order_manager
        order, _ = manager.prepare(OrderIntent(instrument=listed.id, side=Side.BUY, quantity=Decimal("0.01"), price=Decimal("60000")))
        now = client.context.venue_time.now_ms()

        async def once(n: int) -> None:
            await client.context.signer.sign_command(manager.encode_place(order, listed), SignContext(now + n, now + n))

        await once(0)
        count = 20 if option == "python" else 300 if option else SIGNATURES
        start, cpu, on_loop = time.perf_counter(), time.process_time(), time.thread_time()
        for n in range(count):
            await once(n)
        figures = {
            "sign": (time.process_time() - cpu) * 1e6 / count,
            "sign_wall": (time.perf_counter() - start) * 1e6 / count,
            "sign_on_loop": (time.thread_time() - on_loop) * 1e6 / count,
        }
        await client.disconnect()
    runtime.offload.close()
    return figures


async def orders(url: str) -> dict[str, float]:
    """`place_limit_order` to its result over loopback, and the bare socket under it."""
    client = client_of("hyperliquid", {"endpoints": {"rest": url}})
    await client.instruments.load_all()
    client.context.entries_allowed = True

    async def place() -> None:
        result = await client.place_limit_order("BTC", Decimal("0.01"), Decimal(60000), "buy")
        assert result.success, result.error_message

    for _ in range(20):
        await place()
    lengths = []
    cpu = time.process_time()
    for _ in range(ORDERS):
        start = time.perf_counter()
        await place()
        lengths.append(time.perf_counter() - start)
    cpu = (time.process_time() - cpu) * 1e6 / ORDERS
    await client.disconnect()
    return {"order": timing.wall_us(lengths), "order_cpu": cpu, "floor": await floor(url)}


async def floor(url: str) -> float:
    """The same exchange of bytes with nothing around it."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = b"x" * 600
    request = b"POST /exchange HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    lengths = []
    for _ in range(ORDERS):
        start = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        lengths.append(time.perf_counter() - start)
    writer.close()
    await writer.wait_closed()
    return timing.wall_us(lengths)


CASES = {"frames": frames, "books": books, "sign": sign, "orders": orders}

if __name__ == "__main__":
    timing.answer(asyncio.run(CASES[sys.argv[1]](sys.argv[2])))
