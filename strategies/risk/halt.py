"""The global halt: a file that every running bot looks at twice a second. While it is there nothing is entered; an operator removes it."""

from pathlib import Path

import msgspec

from database.records import AuditRecord

from . import files

NAME = "HALT"
AUDIT = "audit.jsonl"
POLL_S = 0.5


class Halt(msgspec.Struct, frozen=True, kw_only=True):
    """Why, by whom and since when (ns UTC)."""

    reason: str
    actor: str
    at: int


class AuditLine(msgspec.Struct, frozen=True, kw_only=True):
    """One act of an operator, or of a breaker in an operator's place. The file keeps it, running bots copy it into their journals."""

    actor: str
    action: str
    detail: str
    at: int

    def record(self) -> AuditRecord:
        """For the journal; the same line has the same id wherever it is read."""
        return AuditRecord(
            entry_id=f"{self.action}-{self.at}-{self.actor}", actor=self.actor, action=self.action, detail=self.detail, ts=self.at
        )


class HaltFile:
    """The halt of one state folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.audit_path = folder / AUDIT

    def read(self) -> Halt | None:
        """The halt in force, or None. A file that cannot be read or understood is a halt: somebody wanted to say something."""
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as e:
            return Halt(reason=f"{self.path} cannot be read: {e.strerror}", actor="unknown", at=0)
        try:
            return msgspec.json.decode(text, type=Halt)
        except msgspec.DecodeError:
            return Halt(reason=text.decode("utf-8", "replace").strip()[:200] or "no reason given", actor="unknown", at=0)

    def set(self, reason: str, actor: str, now_ns: int) -> Halt:
        """Halt; a halt that is in force stays the first one. Raises OSError."""
        held = self.read()
        if held is not None:
            return held
        halt = Halt(reason=reason, actor=actor, at=now_ns)
        files.put(self.path, halt)
        files.append(self.audit_path, AuditLine(actor=actor, action="halt", detail=reason, at=now_ns))
        return halt

    def clear(self, actor: str, now_ns: int) -> Halt | None:
        """Resume; what was in force, None when nothing was. Raises OSError."""
        held = self.read()
        if held is None or not files.remove(self.path):
            return None
        files.append(self.audit_path, AuditLine(actor=actor, action="resume", detail=f"was halted: {held.reason}", at=now_ns))
        return held

    def audit(self) -> list[AuditLine]:
        """Everything that was done, oldest first. Raises OSError."""
        return [msgspec.json.decode(line, type=AuditLine) for line in files.lines(self.audit_path)]


def halt(folder: Path, reason: str, who: str, now_ns: int) -> Halt:
    """Halt all bots of a state folder. Raises OSError."""
    return HaltFile(folder).set(reason, who, now_ns)


def resume(folder: Path, who: str, now_ns: int) -> Halt | None:
    """Clear the halt; what was in force, None when nothing was. Raises OSError."""
    return HaltFile(folder).clear(who, now_ns)
