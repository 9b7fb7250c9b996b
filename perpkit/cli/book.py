"""`perpkit book`: the order book of one market, once or live."""

import asyncio
from contextlib import suppress
from decimal import Decimal
from typing import Annotated, Any

from cyclopts import Parameter, validators

from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.errors import NotReady
from exchange_clients.model import BookLevel, BookSnapshot, Gap, Instrument
from exchange_clients.venues import get
from perpkit.cli.clients import opened
from perpkit.cli.failure import OK
from perpkit.cli.options import Target
from perpkit.cli.output import emit_json, emit_json_line, iso, number, terminal

BAR = 30


def book(
    venue: str,
    symbol: str,
    /,
    *,
    levels: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=200))] = 10,
    watch: Annotated[float | None, Parameter(validator=validators.Number(gt=0))] = None,
    target: Target | None = None,
    json: bool = False,
) -> int:
    """The order book of one market, once by request or live from the stream.

    Parameters
    ----------
    venue:
        Name of the venue.
    symbol:
        BTC, BTC-USDC-PERP, the venue's own name, or its contract id.
    levels:
        Levels per side.
    watch:
        Follow the stream for so many seconds (Ctrl-C ends it sooner).
    json:
        Print JSON; with --watch one document per line.
    """
    where = target or Target()
    get(venue)
    where.check((venue,))
    if watch is None:
        asyncio.run(_once(venue, symbol, levels, where, json))
        return OK
    with suppress(KeyboardInterrupt):  # the usual end of watching
        asyncio.run(_follow(venue, symbol, levels, watch, where, json))
    return OK


async def _once(venue: str, symbol: str, levels: int, target: Target, json: bool) -> None:
    async with opened(venue, target, streams=False) as client:
        instrument = client.instruments.get(symbol)
        found = await client.market_data.fetch_book(instrument, depth=levels)
    shown = _cut(found, levels)
    if json:
        emit_json(as_json(shown, instrument))
    else:
        terminal().print(render(shown, instrument))


async def _follow(venue: str, symbol: str, levels: int, seconds: float, target: Target, json: bool) -> None:
    async with opened(venue, target) as client:
        instrument = client.instruments.get(symbol)
        await client.ws_manager.prepare_market_feed(instrument)
        try:
            async with asyncio.timeout(seconds):
                await (_stream_json(client, instrument, levels) if json else _stream_view(client, instrument, levels))
        except TimeoutError:
            pass
        finally:
            client.ws_manager.release_market_feed(instrument)


async def _stream_json(client: BaseExchangeClient, instrument: Instrument, levels: int) -> None:
    emit_json_line(as_json(client.ws_manager.get_order_book(instrument, levels), instrument))
    async for change in client.watch_book(instrument.id):
        if isinstance(change, Gap):
            emit_json_line({"gap": change.reason, "time": iso(change.ts_ns)})
        else:
            emit_json_line(as_json(client.ws_manager.get_order_book(instrument, levels), instrument))


async def _stream_view(client: BaseExchangeClient, instrument: Instrument, levels: int) -> None:
    from rich.live import Live
    from rich.text import Text

    console = terminal()
    try:
        with Live(console=console, refresh_per_second=8) as live:
            while True:
                try:
                    live.update(render(client.ws_manager.get_order_book(instrument, levels), instrument))
                except NotReady as e:
                    live.update(Text(f"not ready: {e.message}", style="yellow"))
                await asyncio.sleep(0.125)
    finally:
        if not console.is_terminal:  # the last picture is all a pipe gets, and it ends without a line break
            console.print()


def _cut(found: BookSnapshot, levels: int) -> BookSnapshot:
    return BookSnapshot(
        instrument=found.instrument,
        bids=found.bids[:levels],
        asks=found.asks[:levels],
        ts_venue_ns=found.ts_venue_ns,
        ts_recv_ns=found.ts_recv_ns,
        sequence=found.sequence,
    )


def as_json(found: BookSnapshot, instrument: Instrument) -> dict[str, Any]:
    """Prices quote per base unit, sizes base units, best level first."""
    return {
        "instrument": str(instrument.id),
        "time": iso(found.ts_venue_ns if found.ts_venue_ns is not None else found.ts_recv_ns),
        "bids": [{"price": level.price, "size": level.size} for level in found.bids],
        "asks": [{"price": level.price, "size": level.size} for level in found.asks],
    }


def render(found: BookSnapshot, instrument: Instrument) -> Any:
    from rich.table import Table
    from rich.text import Text

    largest = max((level.size for level in (*found.bids, *found.asks)), default=Decimal(1))

    def row(level: BookLevel, style: str) -> tuple[Text, Text, Text]:
        bar = "█" * max(1, int(level.size / largest * BAR))
        return Text(number(level.price), style=style), Text(number(level.size)), Text(bar, style=style)

    table = Table(show_edge=False, header_style="bold", title_justify="left", title=f"{instrument.id}   {_spread(found)}")
    table.add_column("price", justify="right")
    table.add_column("size", justify="right")
    table.add_column("", width=BAR)
    for level in reversed(found.asks):
        table.add_row(*row(level, "red"))
    table.add_section()
    for level in found.bids:
        table.add_row(*row(level, "green"))
    return table


def _spread(found: BookSnapshot) -> str:
    if not found.bids or not found.asks:
        return "one side is empty"
    bid, ask = found.bids[0].price, found.asks[0].price
    return f"spread {number(ask - bid)} ({(ask - bid) / (ask + bid) * 20_000:.2f} bps)"
