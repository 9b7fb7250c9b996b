"""Tells a human what happened: Telegram, Discord, Slack, mail and others, through one library (apprise, extra `notify`).

Trading never waits for it: `post` returns at once, each target has its own bounded queue and thread, a message that cannot be
delivered is dropped, counted and logged. Addresses hold tokens: they come from the environment or from a file that only its owner may
read, and are never shown; a target is called by where its address stands.
"""

import asyncio
import logging
import stat
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from exchange_clients.transport.clock import Clock
from exchange_clients.transport.offload import Offload, ThreadOffload

log = logging.getLogger("perpkit.notify")

Send = Callable[[str, str, bool], bool]
"""(title, text, urgent) -> delivered; blocks, runs off the loop."""

EXAMPLE = "for example tgram://TOKEN/CHAT, discord://ID/TOKEN, mailto://USER:PASSWORD@HOST"
CHATTY = ("apprise", "requests", "urllib3", "urllib3.connectionpool", "urllib3.util.retry")
"""Loggers of the delivering library: they write addresses, tokens included."""


class NoticeKind(StrEnum):
    """What is told."""

    OPENED = "opened"
    CLOSED = "closed"
    LIQUIDATION_RISK = "liquidation_risk"
    LIQUIDATION = "liquidation"
    ALERT = "alert"
    HALT = "halt"
    VENUE_OFFLINE = "venue_offline"
    BOT_STOPPED = "bot_stopped"

    @property
    def urgent(self) -> bool:
        """A human should look now; not held back by the rate limit."""
        return self in (NoticeKind.LIQUIDATION_RISK, NoticeKind.LIQUIDATION, NoticeKind.ALERT, NoticeKind.HALT)


class TargetConfig(BaseModel):
    """Where messages go: `env` names a variable that holds the address, `file` a file with one address a line that only its owner may read.

    `events`: kinds of messages that this target gets; all when left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    file: Path | None = None
    events: tuple[NoticeKind, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_address(cls, values: Any) -> Any:
        """An address holds a token: it has no place in a file that is shown and copied."""
        if isinstance(values, str) or (isinstance(values, Mapping) and ("url" in values or "address" in values)):
            raise ValueError(
                "an address holds a token and does not belong here; put it into a variable and write {env: NAME_OF_THE_VARIABLE}"
            )
        return values

    @model_validator(mode="after")
    def _one_place(self) -> "TargetConfig":
        if (self.env is None) == (self.file is None):
            raise ValueError("write either env (the name of a variable) or file")
        return self


class NotifyError(ValueError):
    """A target cannot be used; the message says which and what to do, never the address."""


class Target(msgspec.Struct, frozen=True):
    """One address, ready. `name` is safe to show."""

    name: str
    send: Send
    events: frozenset[NoticeKind]


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One message. Two of one kind and `key` are the same news."""

    kind: NoticeKind
    title: str
    text: str
    key: str


def targets_of(configs: Sequence[TargetConfig], environ: Mapping[str, str]) -> list[Target]:
    """The targets behind a configuration. `environ` is handed in: only the command line reads the real one.

    Raises:
        NotifyError: a variable is not set, a file may be read by others, or an address is none.
    """
    found: list[Target] = []
    for config in configs:
        events = frozenset(config.events if config.events is not None else NoticeKind)
        for name, address in _addresses(config, environ):
            found.append(Target(name, _sender(name, address), events))
    return found


def _addresses(config: TargetConfig, environ: Mapping[str, str]) -> list[tuple[str, str]]:
    if config.env is not None:
        address = environ.get(config.env, "").strip()
        if not address:
            raise NotifyError(f"notifications: ${config.env} is not set; put the address there ({EXAMPLE})")
        return [(f"${config.env}", address)]
    assert config.file is not None
    path = config.file.expanduser()
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise NotifyError(f"notifications: {path} may be read by others; run chmod 600 {path}")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as e:
        raise NotifyError(f"notifications: {path} cannot be read: {e.strerror}") from None
    found = [(f"{path.name}:{number}", line.strip()) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if not found:
        raise NotifyError(f"notifications: {path} holds no address; write one a line ({EXAMPLE})")
    return found


def _sender(name: str, address: str) -> Send:
    """The library is imported here, when there is somebody to tell."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of modules that the library falls back on
        try:
            import apprise
        except ImportError:
            raise NotifyError('notifications need a package: pip install "perpkit[notify]"') from None
        for chatty in CHATTY:
            logging.getLogger(chatty).disabled = True
        target = apprise.Apprise()
        if not target.add(address):
            raise NotifyError(f"notifications: {name} is no address that apprise knows ({EXAMPLE})")

    def send(title: str, text: str, urgent: bool) -> bool:
        kind = apprise.NotifyType.WARNING if urgent else apprise.NotifyType.INFO
        return bool(target.notify(title=title, body=text, notify_type=kind))

    return send


class NotifyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds. `repeat_s`: the same news is told again only after this time; `per_minute`: messages that are not urgent, per target."""

    queue: int = 100
    tries: int = 4
    pause_s: float = 2.0
    max_pause_s: float = 60.0
    send_deadline_s: float = 20.0
    repeat_s: float = 300.0
    per_minute: int = 20
    keys: int = 1_000
    flush_s: float = 5.0


class Notifier:
    """Use as `async with Notifier(...) as notifier`; at the end what waits has `flush_s` to leave.

    Counters: `sent`, `failed` (given up after all tries), `dropped` (no room, or too many a minute), `repeated` (the same news again).
    """

    def __init__(
        self,
        targets: Sequence[Target],
        clock: Clock,
        *,
        offload: Offload | None = None,
        limits: NotifyLimits | None = None,
        name: str = "perpkit",
    ) -> None:
        self.sent = self.failed = self.dropped = self.repeated = 0
        self._limits = limits or NotifyLimits()
        self._clock, self._name = clock, name
        self._lines = [_Line(target, self, offload or ThreadOffload(workers=1, name="perpkit-notify")) for target in targets]
        self._told: OrderedDict[tuple[NoticeKind, str], tuple[float, int]] = OrderedDict()
        self._complained_s: float | None = None

    async def __aenter__(self) -> "Notifier":
        for line in self._lines:
            line.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Give what waits a moment, then stop."""
        waiting = [line for line in self._lines if not line.idle.is_set()]
        if waiting:
            try:
                async with asyncio.timeout(self._limits.flush_s):
                    await asyncio.gather(*(line.idle.wait() for line in waiting))
            except TimeoutError:
                left = sum(len(line.queue) + 1 for line in waiting if not line.idle.is_set())
                self.dropped += left
                log.warning("notify.unsent count=%d", left)
        for line in self._lines:
            await line.stop()

    def post(self, kind: NoticeKind, title: str, text: str = "", *, key: str = "") -> bool:
        """Tell it; False when nobody is told (the same news a moment ago, or no target for this kind). Returns at once, raises nothing."""
        identity, now = (kind, key or title), self._clock.monotonic()
        last = self._told.get(identity)
        if last is not None and now - last[0] < self._limits.repeat_s:
            self._told[identity] = (last[0], last[1] + 1)
            self.repeated += 1
            return False
        if last is not None and last[1]:
            text = f"{text}\n({last[1]} more of the same since)".strip()
        self._told.pop(identity, None)
        self._told[identity] = (now, 0)
        while len(self._told) > self._limits.keys:
            self._told.popitem(last=False)
        notice = Notice(kind=kind, title=f"{self._name}: {title}", text=text or title, key=key)
        return any([line.put(notice, now) for line in self._lines if kind in line.target.events])

    def drop(self, target: Target, why: str) -> None:
        """Count it; said at once, then once a minute."""
        self.dropped += 1
        now = self._clock.monotonic()
        if self._complained_s is None or now - self._complained_s >= 60:
            self._complained_s = now
            log.warning("notify.dropped target=%s reason=%s total=%d", target.name, why, self.dropped)


class _Line:
    """The way to one target: one message after the other on a thread of its own, so that a target that hangs holds up no other."""

    def __init__(self, target: Target, notifier: Notifier, offload: Offload) -> None:
        self.target, self._notifier, self._offload = target, notifier, offload
        self._limits, self._clock = notifier._limits, notifier._clock
        self.queue: deque[Notice] = deque()
        self.idle = asyncio.Event()
        self.idle.set()
        self._more = asyncio.Event()
        self._minute: deque[float] = deque()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._work(), name=f"notify:{self.target.name}")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._offload.close()

    def put(self, notice: Notice, now: float) -> bool:
        while self._minute and now - self._minute[0] >= 60:
            self._minute.popleft()
        if not notice.kind.urgent and len(self._minute) >= self._limits.per_minute:
            self._notifier.drop(self.target, "too many a minute")
            return False
        if len(self.queue) >= self._limits.queue:
            oldest = next((n for n in self.queue if not n.kind.urgent), None)
            self._notifier.drop(self.target, "the queue is full")
            if oldest is None:
                return False
            self.queue.remove(oldest)
        self._minute.append(now)
        self.queue.append(notice)
        self.idle.clear()
        self._more.set()
        return True

    async def _work(self) -> None:
        while True:
            while self.queue:
                await self._deliver(self.queue.popleft())
            self._more.clear()
            self.idle.set()
            await self._more.wait()

    async def _deliver(self, notice: Notice) -> None:
        pause, why = self._limits.pause_s, ""
        for attempt in range(self._limits.tries):
            if attempt:
                await self._clock.sleep(pause)
                pause = min(pause * 2, self._limits.max_pause_s)
            try:
                if await self._offload.run(
                    self.target.send, notice.title, notice.text, notice.kind.urgent, deadline_s=self._limits.send_deadline_s
                ):
                    self._notifier.sent += 1
                    return
                why = "refused"
            except Exception as e:  # the library's own failures: their words may hold the address
                why = type(e).__name__
        self._notifier.failed += 1
        log.warning("notify.failed target=%s kind=%s reason=%s tries=%d", self.target.name, notice.kind, why, self._limits.tries)
