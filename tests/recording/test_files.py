"""Files of recordings: what comes back is what went in, whatever happened to the recorder; parts are one; others can read them."""

from __future__ import annotations

import errno
import gzip
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.model import NS_PER_S
from exchange_clients.spec import Stream
from exchange_simulator.world import wire
from exchange_simulator.world.playback import Playback, play, ready_ns
from exchange_simulator.world.recordings import RecordingError, open_stream
from exchange_simulator.world.replay import Tape
from exchange_simulator.world.wire import Kind, WireError, decode, encode, is_recording, line_with, parts_of, read
from perpkit.backtest.runner import RunSpec, run_one
from perpkit.recording.recorder import streams_of
from perpkit.recording.writer import RecordingWriter, compress
from tests.recording.test_round_trip import record

VENUE = "okx"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    record(VENUE, folder, seconds=3.0)
    return parts_of(folder)[0]


@given(st.one_of(st.text(), st.binary(), st.sampled_from(['{"a": 1.50}', " [1]", "[1]\n", '{"a":\n1}', "pong", "1e999"])))
def test_a_payload_comes_back_byte_for_byte(payload: str | bytes) -> None:
    if isinstance(payload, str) and any("\ud800" <= letter <= "\udfff" for letter in payload):
        return  # no text frame can hold one
    raw = encode(line_with(payload, t_ns=1, kind=Kind.WS_RECV, role="public"))
    assert raw.count(b"\n") == 1
    assert decode(raw).payload == payload


def plain_of(packed: Path, folder: Path) -> Path:
    path = folder / packed.name.removesuffix(".gz")
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return path


def test_a_killed_recorder_loses_the_line_it_was_writing(recorded: Path, tmp_path: Path) -> None:
    path = plain_of(recorded, tmp_path)
    whole = list(read(path))
    path.write_bytes(path.read_bytes()[:-7])
    assert [line.payload for line in read(path)] == [line.payload for line in whole[:-1]]
    playback = Playback(path)
    assert sum(bool(step.books) for step in playback.steps()) > 5


def test_a_line_that_is_broken_in_the_middle_is_named(recorded: Path, tmp_path: Path) -> None:
    path = plain_of(recorded, tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[9] = b'{"t_ns": 1, "kind": "ws_rec\n'
    path.write_bytes(b"".join(lines))
    with pytest.raises(WireError, match=r"\.jsonl:10: not a line"):
        list(Playback(path).steps())


def test_a_packed_file_that_is_cut_is_named(recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / recorded.name
    path.write_bytes(recorded.read_bytes()[:-40])
    with pytest.raises(WireError, match="compressed file is broken"):
        list(read(path))


@pytest.mark.parametrize("text", ["", "{}\n", '{"t_ns":1,"kind":"end"}\n', "hello\n"])
def test_other_files_are_no_recordings(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text(text)
    assert not is_recording(path)
    with pytest.raises(WireError):
        list(read(path))


def test_packing_keeps_every_byte_and_the_plain_file_until_then(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "a.jsonl")
    for n in range(100):
        writer.write(line_with(f'{{"n":{n}}}', t_ns=n, kind=Kind.WS_RECV))
    writer.close()
    before = writer.path.read_bytes()
    packed = compress(writer.path)
    assert gzip.decompress(packed.read_bytes()) == before
    assert not writer.path.exists()


def test_a_full_disk_is_told_and_not_raised_into_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = RecordingWriter(tmp_path / "a.jsonl")

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.write", full)
    writer.write(line_with("{}", t_ns=1, kind=Kind.WS_RECV))
    monkeypatch.undo()
    assert writer.failed is not None
    assert writer.failed.errno == errno.ENOSPC
    writer.close()


def test_parts_are_one_recording_without_a_hole(tmp_path: Path) -> None:
    live = record("hyperliquid", tmp_path, seconds=3.5, drop=False, part_s=1.5)
    files = parts_of(tmp_path)
    assert len(files) >= 2
    begins = [ready_ns(file) for file in files]
    steps = [(step.t_ns, step.books, step.trades) for _, step in play(tmp_path)]
    times = [t_ns for t_ns, books, _ in steps if books]
    gaps = [b - a for a, b in pairwise(times)]
    assert min(gaps) >= 0
    assert max(gaps) < 2 * NS_PER_S
    numbers = [change.sequence for _, books, _ in steps for change in books if change.instrument.base == "BTC"]
    known = [n for n in numbers if n is not None]
    assert known == sorted(known)
    trades = [trade.trade_id for _, _, told in steps for trade in told]
    assert len(trades) == len(set(trades))
    assert sum(entry[0] is Stream.BOOK for entry in live) > len(times) / 2
    assert all(begin is not None for begin in begins)


def test_a_recorded_world_is_made_of_any_venues_recording(recorded: Path) -> None:
    """What `make demo --data` does with a stream: a tape of the book on the time grid."""
    reader = open_stream(recorded)
    steps = list(reader)
    (symbol,) = [name for name in reader.books if name.startswith("BTC")]
    assert any(symbol in step.books for step in steps)
    tape = Tape(recorded, symbol)
    assert len(tape.frames) > 8
    frame = tape.frames[0]
    assert frame.bids[0][0] < frame.asks[0][0]


def test_streams_that_a_venue_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="dydx has no public stream 'bbo'"):
        streams_of("dydx", ["bbo"])
    assert Stream.BBO not in streams_of("dydx", ())
    assert streams_of("aster", ["trades", "book", "trades"]) == (Stream.TRADES, Stream.BOOK)


def test_a_recording_of_nothing_readable_is_a_recording_error(tmp_path: Path) -> None:
    with pytest.raises(RecordingError):
        list(open_stream(tmp_path))


def test_a_backtest_trades_on_a_recording(recorded: Path, tmp_path: Path) -> None:
    """Books and trades as they were: the run sees the recorded prices, and the same file gives the same bytes."""
    (book,) = [steps for steps in [list(open_stream(recorded))] if steps]
    first_ns, last_ns = book[0].t_ns, book[-1].t_ns
    model = {
        "tick_size": "0.1",
        "step_size": "0.00001",
        "maker_fee": "0",
        "taker_fee": "0.0005",
        "stream": {"file": recorded.name, "symbol": "BTC-USDT-SWAP"},
    }
    grid = {
        "strategy": "grid",
        "venues": ["okx"],
        "parameters": {
            "symbols": ["BTC"],
            "grid_step": "0.4",
            "take_profit": "0.5",
            "order_notional_usd": "200",
            "check_interval_seconds": 1,
        },
        "backtest": {"venues": {"okx": {"quote": "USDT", "markets": {"BTC": model}}}},
    }
    spec = RunSpec(bot=grid, data=str(recorded.parent), from_ns=first_ns - NS_PER_S, to_ns=last_ns + NS_PER_S, seed=1)
    found = run_one(spec)
    assert [entry.file for entry in found.inputs] == [recorded.name]
    assert found.events >= sum(bool(step.books or step.trades) for step in book) / 3
    assert msgspec.json.encode(run_one(spec)) == msgspec.json.encode(found)


def test_a_line_that_would_fill_the_memory_or_the_stack_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_LINE", 100_000)
    long, deep = tmp_path / "long.jsonl.gz", tmp_path / "deep.jsonl"
    long.write_bytes(gzip.compress(b"a" * 1_000_000))
    deep.write_bytes(b'{"t_ns":1,"kind":"ws_recv","msg":' + b"[" * 20_000 + b"]" * 20_000 + b"}\n")
    with pytest.raises(WireError, match=r"long\.jsonl\.gz:1: the line is too long"):
        list(read(long))
    with pytest.raises(WireError, match=r"deep\.jsonl: not a recording"):
        list(read(deep))


def test_a_file_without_one_whole_line_is_no_recording(tmp_path: Path) -> None:
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b'{"t_ns":1,"kind":"hea')
    with pytest.raises(WireError, match="not a recording"):
        list(read(cut))
