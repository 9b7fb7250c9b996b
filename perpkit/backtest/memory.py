"""The journal of a backtest: the live one on a database in memory, with reads remembered until a write could change them."""

from __future__ import annotations

from typing import Any, TypeVar

from database.journal import Journal, Record

R = TypeVar("R", bound=Record)
Key = tuple[str, int | None, tuple[tuple[str, object], ...]]


class MemoryJournal(Journal):
    """Nobody else writes it, so what was read stays true until something is written of the same kind for the same owner.

    A held pair is looked at thousands of times a year, and each look reads its fills and payments anew.
    """

    _remembered: dict[type[Any], dict[str | None, dict[Key, list[Any]]]]

    @classmethod
    def make(cls) -> MemoryJournal:
        """An empty one."""
        journal = cls.open("sqlite:///:memory:")
        assert isinstance(journal, MemoryJournal)
        journal._remembered = {}
        return journal

    def write(self, *records: Record, or_fallback: bool = False) -> tuple[bool, ...]:
        try:
            return super().write(*records, or_fallback=or_fallback)
        finally:
            for record in records:
                kept = self._remembered.get(type(record))
                if kept:
                    kept.pop(None, None)
                    kept.pop(getattr(record, "pair_id", None), None)

    def _read(self, kind: type[R], order: str, *, last: int | None = None, **equal: object) -> list[R]:
        owner = equal.get("pair_id")
        kept = self._remembered.setdefault(kind, {}).setdefault(owner if isinstance(owner, str) else None, {})
        key = (order, last, tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in sorted(equal.items())))
        found = kept.get(key)
        if found is None:
            found = kept[key] = super()._read(kind, order, last=last, **equal)
        return list(found)
