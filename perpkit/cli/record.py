"""`perpkit record`: the public streams of a venue, as they come off the wire."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from exchange_clients.venues import get
from perpkit.cli.failure import OK, Failure
from perpkit.cli.options import Target
from perpkit.cli.output import counted, emit_json, terminal, usd

if TYPE_CHECKING:
    from perpkit.recording.recorder import Progress, Recorder

SHOW_EVERY_S = 0.5


def record(
    venue: str,
    symbol: str,
    /,
    *symbols: str,
    streams: str = "",
    minutes: Annotated[float | None, Parameter(validator=validators.Number(gt=0))] = None,
    out: Path = Path("recordings"),
    part_mb: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 64.0,
    part_minutes: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 60.0,
    target: Target | None = None,
    json: bool = False,
) -> int:
    """Record a venue's public streams: each frame as it comes off the socket, with the time it came, for `perpkit replay` and backtests.

    Ends after --minutes or with Ctrl-C. A recording that is killed stays readable; it loses at most the line that was being written.

    Parameters
    ----------
    venue:
        Name of the venue.
    symbol:
        BTC, BTC-USDC-PERP, the venue's own name, or its contract id.
    symbols:
        More of them.
    streams:
        Some of book,trades,bbo,funding,mark,index; default: the first four, as far as the venue has them.
    minutes:
        How long; without it until Ctrl-C.
    out:
        Folder for the files.
    part_mb:
        A new file begins when this many MB are written (before compression) ...
    part_minutes:
        ... or after so many minutes, whichever comes first.
    json:
        Print what was recorded as JSON at the end, and nothing while it runs.
    """
    from perpkit.recording.recorder import Wanted, streams_of

    where = target or Target()
    spec = get(venue).spec
    where.check((venue,))
    try:
        wanted_streams = streams_of(venue, [name.strip() for name in streams.split(",") if name.strip()])
    except ValueError as e:
        raise Failure(str(e), hint="choose some of them, separated by commas") from None
    out.mkdir(parents=True, exist_ok=True)
    wanted = Wanted(
        venue,
        (symbol, *symbols),
        wanted_streams,
        out,
        where.settings(spec),
        part_bytes=round(part_mb * 1024 * 1024),
        part_s=part_minutes * 60,
    )
    found = asyncio.run(_record(wanted, None if minutes is None else minutes * 60, quiet=json))
    if json:
        emit_json(as_json(found, wanted.venue))
    else:
        last = f"; {counted(found.gaps, 'gap')}, the last: {found.last_gap}" if found.gaps else ""
        terminal().print(f"{counted(found.frames, 'frame')} in {counted(len(found.files), 'file')}{last}", highlight=False)
        for file in found.files:
            terminal().print(f"  {file}", highlight=False, soft_wrap=True)
        terminal().print(f"perpkit replay {found.files[0] if len(found.files) == 1 else out}", style="dim", highlight=False, soft_wrap=True)
    return OK


async def _record(wanted: Any, seconds: float | None, *, quiet: bool) -> "Progress":
    from exchange_clients.transport.runtime import Runtime
    from perpkit.recording.recorder import Recorder

    runtime = Runtime.system()
    try:
        recorder = Recorder(wanted, runtime)
        running = asyncio.create_task(recorder.run(seconds), name="recording")
        with _ended_by_signals(running):
            painting = asyncio.create_task(_paint(recorder, seconds), name="progress") if not quiet else None
            try:
                await running
            except asyncio.CancelledError:
                if recorder.part is None:  # nothing came up yet
                    raise KeyboardInterrupt from None
            finally:
                if painting is not None:
                    painting.cancel()
                    await asyncio.gather(painting, return_exceptions=True)
        return recorder.progress
    finally:
        runtime.offload.close()


@contextlib.contextmanager
def _ended_by_signals(task: "asyncio.Task[None]") -> Iterator[None]:
    """SIGINT and SIGTERM end the recording in its own way: sockets closed, file whole."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _paint(recorder: "Recorder", seconds: float | None) -> None:
    """What has come so far, while it comes; on a pipe nothing."""
    from rich.live import Live
    from rich.table import Table

    console = terminal()
    if not console.is_terminal:
        return
    clock = asyncio.get_running_loop()
    began = clock.time()
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while True:
            progress, passed = recorder.progress, clock.time() - began
            length = f" of {seconds:,.0f}" if seconds is not None else ""
            size = sized(progress.bytes)
            table = Table(
                title=f"recording {recorder.wanted.venue}   {passed:,.0f}{length} s   {progress.frames:,} frames   {size}   Ctrl-C ends",
                title_justify="left",
                show_edge=False,
            )
            for name in ("market", *recorder.wanted.streams):
                table.add_column(name, justify="left" if name == "market" else "right")
            for market in dict.fromkeys(name for name, _ in progress.seen):
                table.add_row(market, *(f"{progress.seen[market, stream]:,}" for stream in recorder.wanted.streams))
            if progress.gaps:
                table.caption = f"{progress.gaps} gaps, the last: {progress.last_gap}"
            if recorder.problem:
                table.caption = f"no new part could be begun, the old one goes on: {recorder.problem}"
            live.update(table)
            await asyncio.sleep(SHOW_EVERY_S)


def sized(count: int) -> str:
    """1.2 MB."""
    from decimal import Decimal

    return f"{usd(Decimal(count))}B".replace("kB", " kB").replace("MB", " MB")


def as_json(found: "Progress", venue: str) -> dict[str, Any]:
    """What was recorded."""
    return {
        "venue": venue,
        "session": found.session,
        "frames": found.frames,
        "bytes": found.bytes,
        "gaps": found.gaps,
        "last_gap": found.last_gap,
        "events": {f"{name} {stream}": count for (name, stream), count in found.seen.items()},
        "files": [str(file) for file in found.files],
    }
