"""Recorded decisions judged again under another configuration: what would have come out differently?"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import msgspec

from database.records import DecisionRecord


class Rejudged(msgspec.Struct, frozen=True, kw_only=True):
    """One decision and what the other configuration makes of it. `kind` is None where its record does not allow to say; `detail` says why.

    `kind` "ask": it would have gone further than the record does, to what only the venues of that moment could have answered.
    """

    decision: DecisionRecord
    kind: str | None
    rule: str
    detail: str

    @property
    def differs(self) -> bool:
        """Whether something else would have been done; another reason for the same is no difference."""
        return self.kind is not None and self.kind != self.decision.kind

    @property
    def other_reason(self) -> bool:
        """The same is done, by another rule."""
        return self.kind == self.decision.kind and self.rule != self.decision.rule


class Replayable(ABC):
    """A strategy whose decisions hold all their inputs, exactly."""

    @classmethod
    @abstractmethod
    def rejudge(cls, decisions: Sequence[DecisionRecord], config: Any) -> list[Rejudged]:
        """Each decision judged again, oldest first; under the configuration they were made with, the same comes out."""


JUDGED = frozenset({"form", "view", "memory", "after"})
"""Names among a decision's inputs that hold what is judged again; the others are figures for people."""


def figures(inputs: str) -> dict[str, Any]:
    """A decision's inputs without what only a replay reads."""
    told: dict[str, Any] = msgspec.json.decode(inputs or "{}")
    return {name: value for name, value in told.items() if name not in JUDGED}
