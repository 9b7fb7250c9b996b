"""The funding-rate service under load: readers and stream subscribers against a real server process, over loopback.

    python benchmarks/service_load.py                                   # a tenth: 50 readers, 20 subscribers
    python benchmarks/service_load.py --readers 500 --subscribers 200   # what the issue asks for

Three processes: the server (11 venues x 400 markets on a real database with a week of settled history; whole venues put anew in turn), a
process of readers with keep-alive, a process of subscribers. Two runs: readers that pause between requests, as pages and bots do, and
readers that do not, which shows the throughput. Any answer that is not 200 or 304, and any broken connection, is an error.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

VENUES = 11
SETTLED = 60
"""Markets per venue with a week of settled history."""
STREAM_MAX = 64 * 1024 * 1024


# ---- the server


async def serve(markets: int, changes: int) -> None:
    """Print the address, and run until standard input ends."""
    from database.connect import sqlite_url
    from database.database import Database
    from database.market_data import SettledRate
    from exchange_clients.model import NS_PER_HOUR, FundingRateSample, InstrumentId, RateKind
    from exchange_clients.transport.offload import ThreadOffload
    from exchange_clients.transport.runtime import Runtime
    from funding_rate_service.api.access import ServeConfig
    from funding_rate_service.api.server import serving
    from funding_rate_service.board import Board
    from funding_rate_service.config import ServiceConfig
    from funding_rate_service.opportunity import FundingQuote
    from funding_rate_service.opportunity.ranker import Ranker
    from funding_rate_service.service import Service

    rng, runtime, config = random.Random(5), Runtime.system(), ServiceConfig.parse({})
    names = [f"venue{n:02}" for n in range(VENUES)]
    board, reads = Board(runtime.clock, config.limits(), names), ThreadOffload(workers=2, name="reads")

    def quote(venue: str, n: int) -> FundingQuote:
        id, price, now_ns = InstrumentId(f"C{n:03}", "USD", venue), Decimal(10 + n), runtime.clock.time_ns()
        hours = Decimal(1 if n % 3 else 8)
        rate = Decimal(rng.randint(-2000, 3000)).scaleb(-8) * hours
        sample = FundingRateSample(
            raw_rate=rate,
            interval_hours=hours,
            kind=RateKind.PREDICTED,
            next_funding_time=(now_ns // NS_PER_HOUR + 1) * NS_PER_HOUR,
            instrument=id,
        )
        return FundingQuote(
            instrument=id,
            sample=sample,
            observed_ns=now_ns,
            taker_fee=Decimal("0.0004"),
            maker_fee=Decimal("0.0001"),
            mark=price,
            index=price,
            bid=price * Decimal("0.9999"),
            ask=price * Decimal("1.0001"),
            volume_24h_usd=Decimal(rng.randint(10_000, 90_000_000)),
            open_interest_usd=Decimal(rng.randint(10_000, 9_000_000)),
        )

    async def change() -> None:
        """Rounds of whole venues, one after the other, so many changed rates a second."""
        place = 0
        while True:
            venue = names[place % VENUES]
            board.put(venue, [quote(venue, n) for n in range(markets)], runtime.clock.time_ns(), latency_ms=50)
            place += 1
            await asyncio.sleep(markets / changes)

    with tempfile.TemporaryDirectory() as folder, Database.open(sqlite_url(Path(folder) / "load.db")) as database:
        service = Service(
            config,
            runtime,
            database,
            board=board,
            ranker=Ranker(),
            collector=None,
            depths=None,
            rng=rng,
            version="load",
            reads=reads,
            writes=True,
        )
        hour = runtime.clock.time_ns() // NS_PER_HOUR
        for venue in names:
            board.put(venue, [quote(venue, n) for n in range(markets)], runtime.clock.time_ns(), latency_ms=50)
            service.store.add_settled(
                [
                    SettledRate(
                        venue=venue,
                        instrument=f"C{n:03}-USD-PERP.{venue}",
                        symbol=f"C{n:03}",
                        settled_at=(hour - back) * NS_PER_HOUR,
                        rate=Decimal(rng.randint(-2000, 3000)).scaleb(-8),
                        interval_hours=Decimal(1),
                    )
                    for n in range(min(SETTLED, markets))
                    for back in range(168)
                ]
            )
        async with service, serving(service, ServeConfig(port=0), page=False) as where:
            changing = asyncio.create_task(change())
            print(where.url, flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            changing.cancel()
            print(json.dumps({"missed": service.hub.missed, "messages": service.hub.sent}), flush=True)
    reads.close()
    runtime.offload.close()


# ---- readers


def requests(rng: random.Random, markets: int) -> str:
    """One of the mix."""
    symbol, venue = f"C{rng.randrange(min(markets, SETTLED)):03}", f"venue{rng.randrange(VENUES):02}"
    kinds: Sequence[tuple[int, str]] = (
        (25, f"/funding-rates?symbol={symbol}"),
        (20, f"/funding-rates/{venue}/{symbol}"),
        (12, "/opportunities"),
        (8, f"/opportunities?symbol={symbol}"),
        (5, f"/opportunities?dex={venue}&limit=50"),
        (10, f"/funding-rates/compare?symbol={symbol}"),
        (6, "/health"),
        (4, "/dexes"),
        (3, "/tasks/status"),
        (3, f"/history/funding-rates/{venue}/{symbol}?period=24h"),
        (2, f"/stats/funding-rates/{symbol}?period=7d"),
        (2, "/funding-rates"),
    )
    return rng.choices([path for _, path in kinds], [weight for weight, _ in kinds])[0]


async def reader(address: tuple[str, int], rng: random.Random, markets: int, pause_s: float, until: float, out: dict[str, Any]) -> None:
    """One keep-alive connection, asking until the time is over."""
    await asyncio.sleep(rng.uniform(0, max(pause_s, 0.2)))
    try:
        reading, writing = await asyncio.open_connection(*address, limit=STREAM_MAX)
    except OSError as e:
        out["errors"][f"connect: {type(e).__name__}"] += 1
        return
    try:
        while time.monotonic() < until:
            path = requests(rng, markets)
            began = time.monotonic()
            writing.write(f"GET /api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\n\r\n".encode())
            head = await asyncio.wait_for(reading.readuntil(b"\r\n\r\n"), 30)
            lower = head.lower()
            start = lower.find(b"content-length:")
            size = int(lower[start + 15 : lower.find(b"\r", start)]) if start >= 0 else 0
            if size:
                await asyncio.wait_for(reading.readexactly(size), 30)
            kind = "history" if "/history" in path or "/stats" in path else "whole board" if path == "/funding-rates" else "memory"
            out["times"].setdefault(kind, []).append(time.monotonic() - began)
            out["bytes"] += size
            status = head[9:12].decode()
            if status not in ("200", "304"):
                out["errors"][f"{status} {path.partition('?')[0]}"] += 1
            if pause_s:
                await asyncio.sleep(pause_s * rng.uniform(0.5, 1.5))
    except (OSError, EOFError, TimeoutError) as e:
        out["errors"][type(e).__name__] += 1
    finally:
        writing.close()
        with contextlib.suppress(OSError):
            await writing.wait_closed()


async def read(url: str, count: int, seconds: float, pause_s: float, markets: int) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    out: dict[str, Any] = {"times": {}, "errors": Counter(), "bytes": 0}
    began = time.monotonic()
    until = began + seconds
    await asyncio.gather(*(reader((host, int(port)), random.Random(n), markets, pause_s, until, out) for n in range(count)))
    print(json.dumps({**out, "seconds": time.monotonic() - began, "cpu_s": time.process_time()}))


# ---- subscribers


async def subscribe(url: str, count: int, seconds: float) -> None:
    import aiohttp

    out: dict[str, Any] = {"delays": [], "errors": Counter(), "messages": 0, "resyncs": 0, "bytes": 0}
    until = time.monotonic() + seconds

    async def one(http: aiohttp.ClientSession, place: int) -> None:
        await asyncio.sleep(place * 0.01)
        try:
            async with http.ws_connect(f"{url}/api/v1/stream?topics=rates,health", max_msg_size=STREAM_MAX) as socket:
                while (left := until - time.monotonic()) > 0:
                    try:
                        message = await asyncio.wait_for(socket.receive(), left)
                    except TimeoutError:
                        return
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        out["errors"][f"{message.type.name} {socket.close_code}"] += 1
                        return
                    text = message.data
                    out["messages"] += 1
                    out["bytes"] += len(text)
                    if text.startswith('{"type":"rates"'):
                        made = datetime.fromisoformat(text[32:56]).timestamp()
                        out["delays"].append(max(0.0, time.time() - made))
                    out["resyncs"] += text.startswith('{"type":"resync"')
        except (aiohttp.ClientError, OSError) as e:
            out["errors"][type(e).__name__] += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        await asyncio.gather(*(one(http, n) for n in range(count)))
    print(json.dumps({**out, "cpu_s": time.process_time()}))


# ---- the whole


def centiles(times: list[float]) -> str:
    if not times:
        return "none"
    ordered = sorted(times)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.5, 0.99))
    return f"p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, longest {ordered[-1] * 1000:.0f} ms"


def used(pid: int) -> tuple[float, float]:
    """(CPU seconds, resident MiB) of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    rss = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(rss.split()[1]) / 1024


def start(*args: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, __file__, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def run(asked: argparse.Namespace, url: str, server: int, pause_s: float) -> int:
    """One run; how many errors."""
    cpu, _ = used(server)
    began = time.monotonic()
    readers = start(
        "--role",
        "read",
        "--url",
        url,
        "--readers",
        asked.readers,
        "--seconds",
        asked.seconds,
        "--pause",
        pause_s,
        "--markets",
        asked.markets,
    )
    subscribers = start("--role", "subscribe", "--url", url, "--subscribers", asked.subscribers, "--seconds", asked.seconds)
    got, heard = json.loads(readers.communicate()[0]), json.loads(subscribers.communicate()[0])
    seconds = time.monotonic() - began
    after, rss = used(server)
    count = sum(len(times) for times in got["times"].values())
    how = f"pausing {pause_s} s" if pause_s else "without a pause"
    print(f"\n{asked.readers} readers {how}, {asked.subscribers} subscribers, {seconds:.0f} s")
    print(f"  answers        {count} ({count / got['seconds']:.0f}/s, {got['bytes'] / got['seconds'] / 1e6:.1f} MB/s)")
    for kind, times in sorted(got["times"].items()):
        print(f"  {kind:14} {centiles(times)} ({len(times)})")
    print(f"  stream         {heard['messages']} messages ({heard['bytes'] / seconds / 1e6:.1f} MB/s), {heard['resyncs']} resyncs")
    print(f"  stream delay   {centiles(heard['delays'])}")
    print(f"  server         {(after - cpu) / seconds * 100:.0f} % of a core, {rss:.0f} MiB")
    print(f"  load           {(got['cpu_s'] + heard['cpu_s']) / seconds * 100:.0f} % of a core")
    errors = {**got["errors"], **heard["errors"]}
    print(f"  errors         {errors or 'none'}")
    return sum(errors.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--subscribers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--markets", type=int, default=400, help="per venue")
    parser.add_argument("--changes", type=int, default=73, help="changed rates a second; 73: every venue once a minute")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two requests of a reader, in the first run")
    parser.add_argument("--role", choices=("serve", "read", "subscribe"), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.readers > 2_000 or asked.subscribers > 500 or asked.seconds > 120:
        parser.error("at most 2000 readers, 500 subscribers, 120 seconds")
    if asked.role == "serve":
        asyncio.run(serve(asked.markets, asked.changes))
        return 0
    if asked.role == "read":
        asyncio.run(read(asked.url, asked.readers, asked.seconds, asked.pause, asked.markets))
        return 0
    if asked.role == "subscribe":
        asyncio.run(subscribe(asked.url, asked.subscribers, asked.seconds))
        return 0
    server = start("--role", "serve", "--markets", asked.markets, "--changes", asked.changes)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        if not url:
            return 1
        errors = run(asked, url, server.pid, asked.pause) + run(asked, url, server.pid, 0.0)
    finally:
        server.stdin.close()
        print("\nserver said", server.stdout.read().strip() or "nothing")
        server.wait(30)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
