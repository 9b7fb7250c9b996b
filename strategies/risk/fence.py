"""Who may act: the bot's heartbeat, and the watchdog's fence.

The bot beats each second. A watchdog that finds it silent takes the fence, looks at the beat once more, and only then acts; a bot that
comes back beats first and then looks at the fence. Whoever comes second sees the other: the watchdog lets go, the bot waits. The fence is a
lock of the operating system with a file that explains it, so that a watchdog which dies leaves no fence behind.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from database.errors import JournalOwned
from database.owner import OwnerLock
from exchange_clients.model import NS_PER_S

from . import files

NAME = "FENCE"
LOCK = "FENCE.lock"
BEAT_S = 1.0


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """A sign of life of one bot. `ended`: it stopped by itself, in a declared state; nobody needs to act for it.

    `accounts`: venue -> the account it trades there (`account_identity` of its client), so that nobody acts for it with keys of another.
    """

    strategy: str
    account: str
    at: int
    pid: int
    ended: bool = False
    accounts: dict[str, str] = {}

    def silent_s(self, now_ns: int) -> float:
        """Seconds since; 0 for a bot that ended by itself. A beat from the future counts as one of now."""
        return 0.0 if self.ended else max(0, now_ns - self.at) / NS_PER_S


class Heartbeat:
    """The file of one bot."""

    def __init__(self, folder: Path, strategy: str, account: str) -> None:
        self.path = folder / "heartbeats" / f"{strategy}.{account}.json"
        self.strategy, self.account = strategy, account

    def beat(self, now_ns: int, pid: int, *, accounts: Mapping[str, str], ended: bool = False) -> None:
        """Alive. Not synced to the disk: after a power loss nobody is alive. Raises OSError."""
        beat = Beat(strategy=self.strategy, account=self.account, at=now_ns, pid=pid, ended=ended, accounts=dict(accounts))
        files.put(self.path, beat, sync=False)

    def read(self) -> Beat | None:
        """The last one; None when there never was one, or it cannot be read (then nobody is known to be silent)."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Beat)
        except (OSError, msgspec.DecodeError):
            return None


def heartbeats(folder: Path) -> list[Heartbeat]:
    """Of all bots that ever beat in this state folder."""
    found = []
    for path in sorted((folder / "heartbeats").glob("*.json")):
        try:
            beat = msgspec.json.decode(path.read_bytes(), type=Beat)
        except (OSError, msgspec.DecodeError):
            continue
        found.append(Heartbeat(folder, beat.strategy, beat.account))
    return found


class Fence:
    """Held by a watchdog while it acts."""

    def __init__(self, folder: Path) -> None:
        self._path, self._lock_path = folder / NAME, folder / LOCK
        self._lock: OwnerLock | None = None

    def take(self, why: str) -> bool:
        """Nobody enters from now on; False when another watchdog has it. Raises OSError."""
        try:
            self._lock = OwnerLock(self._lock_path)
        except JournalOwned:
            return False
        files.put(self._path, why)
        return True

    def drop(self) -> None:
        """Bots may go on."""
        if self._lock is not None:
            files.remove(self._path)
            self._lock.release()
            self._lock = None

    def held(self) -> str | None:
        """Why somebody else acts for the bot just now, or None. What a dead watchdog left is no fence."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as e:
            return f"{self._path} cannot be read: {e.strerror}"
        try:
            OwnerLock(self._lock_path).release()
        except JournalOwned:
            return text.decode("utf-8", "replace").strip('"') or "no reason given"
        return None
