"""The flight recorder: a decision's inputs as exact text, and how to judge them again.

`inputs` holds figures for people and, under `view` (and `memory` for a held pair), everything the pure rules looked at. Amounts are decimal
strings, so that what is read back is what was judged.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from database.records import DecisionRecord
from exchange_clients.model import NS_PER_S
from strategies.replay import Rejudged

from .config import FundingArbitrageConfig
from .entry import EntryView, judge_entry
from .exits import HoldMemory, HoldView, judge

FORM = 1
"""Of the inputs; a record of another form is told, not judged."""
MAX_KEYS = 2_000


class EntryInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What of an entry's record is judged again. `refused`: what the engine or a venue said after the rules had said enter."""

    form: int
    view: EntryView
    refused: str = ""


class HoldInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What of a held pair's record is judged again: `memory` before the look, `after` what was remembered then."""

    form: int
    view: HoldView
    memory: HoldMemory
    after: HoldMemory


def inputs(
    view: EntryView | HoldView, figures: Mapping[str, object], memory: HoldMemory | None = None, after: HoldMemory | None = None
) -> str:
    """For the record."""
    told: dict[str, Any] = {
        name: value if isinstance(value, int | bool) or value is None else str(value) for name, value in figures.items()
    }
    if memory is not None:
        told |= {"memory": memory, "after": after}
    return msgspec.json.encode({**told, "form": FORM, "view": view}).decode()


class Repetitions:
    """Bounds the volume: the same answer about the same thing is written once, and again only after a while."""

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[str, str], int] = OrderedDict()

    def due(self, about: str, answer: str, now_ns: int, every_minutes: object) -> bool:
        """Whether to write it now. Every other answer about the same thing has its own time, so answers that alternate are bounded too."""
        key = (about, answer)
        last = self._last.get(key)
        if last is not None and now_ns - last < float(str(every_minutes)) * 60 * NS_PER_S:
            return False
        self._last[key] = now_ns
        self._last.move_to_end(key)
        while len(self._last) > MAX_KEYS:
            self._last.popitem(last=False)
        return True


def rejudge(decisions: Sequence[DecisionRecord], config: FundingArbitrageConfig) -> list[Rejudged]:
    """Each decision under another configuration. What a held pair remembers is carried from look to look as that configuration counts it;
    looks that were not written down (the same answer, shortly after) are not there to be counted."""
    found: list[Rejudged] = []
    carried: dict[str | None, tuple[HoldMemory, HoldMemory]] = {}
    for decision in decisions:
        try:
            form = msgspec.json.decode(decision.inputs, type=dict[str, Any]).get("form")
            if form != FORM:
                why = "asked for by hand" if decision.rule == "requested" else f"its record is of form {form}, this version judges {FORM}"
                found.append(Rejudged(decision=decision, kind=None, rule="", detail=why))
            elif decision.kind in ("enter", "skip"):
                entry = msgspec.json.decode(decision.inputs, type=EntryInputs)
                verdict = judge_entry(entry.view, config)
                kind, rule, detail = verdict.kind, verdict.rule, verdict.detail
                if kind == "enter" and entry.refused:
                    kind, rule, detail = decision.kind, decision.rule, entry.refused
                found.append(Rejudged(decision=decision, kind=kind, rule=rule, detail=detail))
            else:
                hold = msgspec.json.decode(decision.inputs, type=HoldInputs)
                before = hold.memory
                if decision.pair_id in carried and carried[decision.pair_id][0] == hold.memory:
                    before = carried[decision.pair_id][1]
                held = judge(hold.view, before, config)
                carried[decision.pair_id] = hold.after, held.memory
                found.append(Rejudged(decision=decision, kind=held.kind, rule=held.rule, detail=held.detail))
        except (msgspec.ValidationError, msgspec.DecodeError) as e:
            found.append(Rejudged(decision=decision, kind=None, rule="", detail=f"its record cannot be read: {e}"))
    return found
