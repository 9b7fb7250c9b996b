"""Notifications: delivered to a real HTTP receiver, never in the way of trading, never with a token in a log (E41)."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from database.records import FillCause
from exchange_clients.transport.clock import SystemClock, VirtualClock
from exchange_clients.transport.offload import InlineOffload
from exchange_simulator.simloop import EPOCH_NS, Simulation, run
from perpkit.bot.notify import NoticeKind, Notifier, NotifyError, NotifyLimits, Target, TargetConfig, targets_of
from perpkit.bot.watch import Watch

EVERYTHING = frozenset(NoticeKind)
TOKEN = "canary-token-5f3a9c"


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it is sent; answers what `status` says."""

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Inbox)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.got.append((self.path, msgspec.json.decode(body)))
        self.send_response(server.statuses.pop(0) if server.statuses else 200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


class Inbox(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.statuses: list[int] = []

    @property
    def address(self) -> str:
        return f"json://user:{TOKEN}@127.0.0.1:{self.server_address[1]}/{TOKEN}"


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    server = Inbox()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


FAST = NotifyLimits(pause_s=0.01, max_pause_s=0.02, flush_s=3.0)


def test_e41_a_message_arrives_and_its_address_is_in_no_log(inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    inbox.statuses = [500]  # once refused, then taken

    async def main() -> Notifier:
        targets = targets_of([TargetConfig(env="MY_TARGET")], {"MY_TARGET": inbox.address})
        assert TOKEN not in repr(targets)
        async with Notifier(targets, SystemClock(), limits=FAST) as notifier:
            assert notifier.post(NoticeKind.ALERT, "p1 needs you", "a venue shows a position that no record explains", key="p1")
        return notifier

    notifier = asyncio.run(main())
    assert (notifier.sent, notifier.failed, notifier.dropped) == (1, 0, 0)
    assert len(inbox.got) == 2
    path, body = inbox.got[-1]
    assert path == f"/{TOKEN}"
    assert (body["title"], body["message"]) == ("perpkit: p1 needs you", "a venue shows a position that no record explains")
    assert TOKEN not in caplog.text


def test_e41_a_target_that_never_takes_it_is_given_up_without_a_word_of_its_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def main() -> Notifier:
        targets = targets_of([TargetConfig(env="X")], {"X": f"json://{TOKEN}@127.0.0.1:9/{TOKEN}"})
        async with Notifier(targets, SystemClock(), limits=FAST) as notifier:
            notifier.post(NoticeKind.HALT, "halted")
        return notifier

    notifier = asyncio.run(main())
    assert (notifier.sent, notifier.failed) == (0, 1)
    assert "notify.failed target=$X kind=halt" in caplog.text
    assert TOKEN not in caplog.text


# ---- where addresses come from


def test_a_file_with_addresses_belongs_to_its_owner_alone(tmp_path: Path, inbox: Inbox) -> None:
    path = tmp_path / "targets"
    path.write_text(f"# mine\n{inbox.address}\n\n{inbox.address}2\n", encoding="utf-8")
    path.chmod(0o644)
    with pytest.raises(NotifyError, match="chmod 600"):
        targets_of([TargetConfig(file=path)], {})
    path.chmod(0o600)
    assert [t.name for t in targets_of([TargetConfig(file=path, events=(NoticeKind.HALT,))], {})] == ["targets:2", "targets:4"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"url": f"tgram://{TOKEN}/1"}, "put it into a variable"),
        (f"tgram://{TOKEN}/1", "put it into a variable"),
        ({}, "either env"),
        ({"env": "A", "file": "b"}, "either env"),
        ({"env": f"tgram://{TOKEN}"}, "pattern"),
        ({"env": "A", "events": ["opned"]}, "opened"),
    ],
)
def test_e41_an_address_in_the_configuration_is_refused_without_being_shown(values: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        TargetConfig.model_validate(values)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(("environ", "words"), [({}, r"\$X is not set"), ({"X": f"nosuch://{TOKEN}"}, r"\$X is no address")])
def test_e41_a_target_that_cannot_be_used_is_told_without_its_address(environ: dict[str, str], words: str) -> None:
    with pytest.raises(NotifyError, match=words) as caught:
        targets_of([TargetConfig(env="X")], environ)
    assert TOKEN not in str(caught.value)


# ---- never in the way, on virtual time


class Line:
    """A target that takes, refuses or hangs."""

    def __init__(self, *outcomes: bool) -> None:
        self.outcomes = list(outcomes)
        self.took: list[str] = []

    def send(self, title: str, text: str, urgent: bool) -> bool:
        ok = self.outcomes.pop(0) if self.outcomes else True
        if ok:
            self.took.append(f"{title}|{text}")
        return ok


def play(main: Any) -> None:
    async def outer(sim: Simulation) -> None:
        await main(VirtualClock(EPOCH_NS))

    run(outer)


def made(line: Line, clock: VirtualClock, limits: NotifyLimits | None = None, events: frozenset[NoticeKind] = EVERYTHING) -> Notifier:
    return Notifier([Target("t", line.send, events)], clock, offload=InlineOffload(), limits=limits)


def test_the_same_news_is_told_once_and_counted() -> None:
    async def main(clock: VirtualClock) -> None:
        line = Line()
        async with made(line, clock) as notifier:
            told = [notifier.post(NoticeKind.ALERT, "p1 needs you", "why", key="p1") for _ in range(5)]
            assert told == [True, False, False, False, False]
            assert notifier.post(NoticeKind.ALERT, "p2 needs you", "why", key="p2")
            await clock.sleep(301)
            assert notifier.post(NoticeKind.ALERT, "p1 needs you", "why", key="p1")
            await clock.sleep(1)
        assert line.took == [
            "perpkit: p1 needs you|why",
            "perpkit: p2 needs you|why",
            "perpkit: p1 needs you|why\n(4 more of the same since)",
        ]
        assert notifier.repeated == 4

    play(main)


def test_a_flood_is_cut_but_urgent_news_gets_through(caplog: pytest.LogCaptureFixture) -> None:
    async def main(clock: VirtualClock) -> None:
        line = Line()
        async with made(line, clock) as notifier:
            for n in range(50):
                notifier.post(NoticeKind.OPENED, f"p{n}")
                await clock.sleep(0.1)
            assert notifier.post(NoticeKind.LIQUIDATION, "p1 liquidated")
            await clock.sleep(1)
            assert (len(line.took), notifier.dropped) == (21, 30)
            await clock.sleep(61)
            assert notifier.post(NoticeKind.OPENED, "later")

    play(main)
    assert caplog.text.count("notify.dropped") == 1, "said once a minute"


def test_a_dead_target_never_holds_up_whoever_posts_and_its_queue_is_bounded() -> None:
    async def main(clock: VirtualClock) -> None:
        line = Line(*[False] * 10_000)
        limits = NotifyLimits(queue=5, per_minute=1_000)
        notifier = made(line, clock, limits)
        async with notifier:
            before = clock.monotonic()
            for n in range(20):
                notifier.post(NoticeKind.OPENED, f"p{n}")
            for n in range(10):
                notifier.post(NoticeKind.ALERT, f"a{n}")
            assert clock.monotonic() == before
            assert notifier.dropped == 25
        assert notifier.sent == 0
        assert notifier.dropped + notifier.failed >= 30, "nothing is lost uncounted"

    play(main)


def test_tries_grow_apart_and_end() -> None:
    async def main(clock: VirtualClock) -> None:
        line = Line(False, False, True)
        notifier = made(line, clock)
        async with notifier:
            start = clock.monotonic()
            notifier.post(NoticeKind.CLOSED, "p1 closed")
            await clock.sleep(5.9)
            assert notifier.sent == 0
            await clock.sleep(0.2)
            assert notifier.sent == 1
            assert clock.monotonic() - start < 7
            line.outcomes = [False] * 4
            notifier.post(NoticeKind.CLOSED, "p2 closed")
            await clock.sleep(60)
            assert (notifier.sent, notifier.failed) == (1, 1)

    play(main)


def test_a_target_hears_only_what_it_asked_for() -> None:
    async def main(clock: VirtualClock) -> None:
        line = Line()
        async with made(line, clock, events=frozenset({NoticeKind.HALT})) as notifier:
            assert not notifier.post(NoticeKind.OPENED, "p1 opened")
            assert notifier.post(NoticeKind.HALT, "halted")
            await clock.sleep(1)
        assert len(line.took) == 1

    play(main)


# ---- what engines tell


def test_what_matters_is_told_and_what_does_not_is_not() -> None:
    async def main(clock: VirtualClock) -> None:
        line = Line()
        async with made(line, clock) as notifier:
            watch = Watch(notifier, clock)
            watch("pair.state", "p1", before="planned", state="opening", reason="plan accepted")
            watch("pair.state", "p1", before="opening", state="hedged", reason="all slices hedged")
            watch("pair.state", "p1", before="repairing", state="hedged", reason="equal again")
            watch("fill", "p1", side="buy", quantity=Decimal(1), price=Decimal(9), fee=Decimal(0), cause="trade")
            watch("fill", "p1", side="sell", quantity=Decimal(1), price=Decimal(8), fee=Decimal(0), cause=FillCause.ADL.value)
            watch("pair.state", "p1", before="hedged", state="alert", reason="odd")
            watch("pair.state", "p1", before="closing", state="closed", reason="flat")
            watch("venue.gap", "", venue="lighter", reason="socket")
            await clock.sleep(10)
            watch("venue.proved", "", venue="lighter")
            watch("venue.gap", "", venue="okx", reason="socket")
            watch("risk.liquidation_near", "p2", venue="okx", distance=Decimal("0.05"), advice="shrink")
            watch("halt.set", "", reason="odd prices", who="me")
            await clock.sleep(40)
            watch.stopped("grid:main", "flat")
            await clock.sleep(1)
            watch.close()
        assert [text.split("|")[0].removeprefix("perpkit: ") for text in line.took] == [
            "p1 opened",
            "p1: the venue closed a position",
            "p1 needs you",
            "p1 closed",
            "p2: liquidation is 5.0 % away on okx",
            "halted: odd prices",
            "okx is offline",
            "grid:main stopped",
        ]

    play(main)


def test_a_danger_that_grows_is_news_and_so_is_whatever_needs_a_human() -> None:
    async def main(clock: VirtualClock) -> None:
        line = Line()
        async with made(line, clock) as notifier:
            watch = Watch(notifier, clock)
            for away, advice in (("0.13", "warn"), ("0.128", "warn"), ("0.11", "shrink"), ("0.04", "close")):
                watch("risk.liquidation_near", "p2", venue="okx", distance=Decimal(away), advice=advice)
                await clock.sleep(20)
            watch("risk.margin_unknown", "p2", reason="okx tells no equity")
            watch("risk.watchdog_acted", "p2", venue="okx", side="sell", quantity=Decimal(1))
            watch("risk.dead_man_unsure", "", venue="okx", reason="not disarmed")
            await clock.sleep(1)
            watch.close()
        assert [text.split("|")[0].removeprefix("perpkit: ") for text in line.took] == [
            "p2: liquidation is 13.0 % away on okx",
            "p2: liquidation is 11.0 % away on okx",
            "p2: liquidation is 4.0 % away on okx",
            "p2: its distance to liquidation is not known",
            "p2: a watchdog acted for its bot",
            "okx: its dead-man switch may cancel orders that should stay",
        ]

    play(main)


async def test_a_target_that_hangs_takes_no_thread_from_the_others() -> None:
    """Real threads: a call that hangs keeps its thread beyond its deadline, and each new try would take another."""
    free, took = threading.Event(), []

    def hang(title: str, text: str, urgent: bool) -> bool:
        free.wait(10)
        return False

    def take(title: str, text: str, urgent: bool) -> bool:
        took.append(title)
        return True

    everything = frozenset(NoticeKind)
    limits = NotifyLimits(send_deadline_s=0.1, pause_s=0.01, flush_s=0.01)
    async with Notifier([Target("a", hang, everything), Target("b", take, everything)], SystemClock(), limits=limits) as notifier:
        notifier.post(NoticeKind.HALT, "one")
        await asyncio.sleep(0.6)
        notifier.post(NoticeKind.HALT, "two")
        await asyncio.sleep(0.3)
    free.set()
    assert took == ["perpkit: one", "perpkit: two"]
