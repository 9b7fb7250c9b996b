"""What a live client saw is what its recording shows: every venue, every book state, every gap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.base_websocket import event_key
from exchange_clients.model import BookSnapshot, Gap, Instrument
from exchange_clients.spec import Stream
from exchange_simulator import dialects, simloop
from exchange_simulator.faults import plan_of
from exchange_simulator.ready import ready_venue
from exchange_simulator.world.playback import Playback
from exchange_simulator.world.wire import parts_of
from perpkit.recording.recorder import Recorder, Wanted, streams_of

Seen = list[Any]


def watch(client: BaseExchangeClient, instruments: list[Instrument], seen: Seen) -> None:
    """Everything a consumer could notice, with the book behind each change: its top, and every so often all of it."""

    def state(instrument: Instrument) -> tuple[Any, ...]:
        feed = client.ws_manager.feeds[instrument.contract_id]
        s = feed.book.state
        book: BookSnapshot | None = feed.read(None if len(seen) % 25 == 0 else 5) if feed.book.ready else None
        return (s.status, s.sequence, s.joined, s.reason, s.ts_recv_ns, s.ts_venue_ns, book)

    def listener(stream: Stream, instrument: Instrument) -> Callable[[Any], None]:
        def heard(event: Any) -> None:
            if isinstance(event, Gap):
                seen.append((stream, instrument.id, "gap", event.reason))
            else:
                seen.append((stream, instrument.id, event, state(instrument)))

        return heard

    for instrument in instruments:
        for stream in client.spec.streams:
            if stream in (Stream.BOOK, Stream.BBO, Stream.TRADES, Stream.FUNDING):
                key = event_key(stream, instrument.id)
                client.context.hub.listen(key, listener(stream, instrument))


def record(venue: str, folder: Path, *, seconds: float = 8.0, faults: tuple[str, ...] = (), drop: bool = True, **wanted: Any) -> Seen:
    """A recording of a live market under virtual time; what its client saw from its first connection on."""
    seen: Seen = []

    async def main(sim: simloop.Simulation) -> None:
        options: dict[str, Any] = {"faults": plan_of(faults, sim.runtime.clock.time_ns, seed=1)} if faults else {}
        async with ready_venue(dialects.get(venue), sim.runtime, live=True, seed=3, network=sim.network, **options) as there:
            streams = streams_of(venue, ())
            want = Wanted(venue, ("BTC", "ETH"), streams, folder, {k: v for k, v in there.settings().items()}, **wanted)
            recorder = Recorder(want, sim.runtime, on_loaded=lambda client, markets: watch(client, markets, seen))
            task = asyncio.create_task(recorder.run(seconds))
            await asyncio.sleep(seconds / 2)
            for session in list(there.dialect.sessions.values()) if drop else ():
                session.drop()
            await task

    simloop.run(main, seed=5)
    return seen


def play(path: Path) -> tuple[Seen, Playback]:
    seen: Seen = []
    playback = Playback(path)
    watching = False
    for _ in playback.steps():
        if not watching and playback.instruments:
            watching = True
            watch(playback.client, playback.instruments, seen)
    return seen, playback


@pytest.mark.parametrize("venue", dialects.names())
def test_playback_is_the_live_client(venue: str, tmp_path: Path) -> None:
    live = record(venue, tmp_path)
    (file,) = parts_of(tmp_path)
    assert file.name.endswith(".jsonl.gz")
    seen, playback = play(file)
    assert any(entry[2] == "gap" for entry in live)
    assert sum(entry[0] is Stream.BOOK for entry in live) > 20
    assert seen == live
    assert playback.different == 0
    assert playback.unasked == 0
