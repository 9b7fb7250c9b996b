"""A changed configuration for what is open already: limits may get tighter, never looser (E39).

Each field of a configuration says which way is tighter: `Field(json_schema_extra={"tighter": "lower"})`. Words: "lower" and "higher" (of a
switch, "higher" says that on protects more), "none" (limits nothing that is open: takes effect at once). A field that says nothing is
fixed: what is open keeps its value. None means no limit, the loosest of all; words of an enumeration rise in the order they are written.
"""

from collections.abc import Collection, Iterator, Mapping
from enum import Enum, StrEnum
from typing import Any, Generic, TypeVar

import msgspec
from pydantic import BaseModel
from pydantic.fields import FieldInfo

C = TypeVar("C", bound=BaseModel)


class Tighter(StrEnum):
    """Which way a value protects more."""

    LOWER = "lower"
    HIGHER = "higher"
    NONE = "none"
    FIXED = "fixed"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One field that differs. `applies` to what is open already; otherwise only to what is opened from now on, and `why` says so."""

    name: str
    before: str
    after: str
    applies: bool
    why: str

    def __str__(self) -> str:
        end = "" if self.applies else f"; what is open keeps {self.before}: {self.why}"
        return f"{self.name}: {self.before} -> {self.after}{end}"


class Tightened(msgspec.Struct, Generic[C], frozen=True):
    """The configuration for what is open, and every difference between old and new with what became of it."""

    config: C
    changes: tuple[Change, ...]

    @property
    def refused(self) -> tuple[Change, ...]:
        """What does not reach open positions."""
        return tuple(change for change in self.changes if not change.applies)


def tighten(old: C, new: C) -> Tightened[C]:
    """The new configuration as far as it is tighter than the old one, field by field, nested ones too.

    Raises:
        TypeError: the two are of different classes: another strategy is no change of parameters.
    """
    if type(old) is not type(new):
        raise TypeError(f"{type(old).__name__} cannot be changed into {type(new).__name__}")
    values: dict[str, Any] = {}
    changes: list[Change] = []
    for name, field in type(old).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        if isinstance(before, BaseModel) and isinstance(after, BaseModel) and type(before) is type(after):
            inner = tighten(before, after)
            values[name] = inner.config
            changes.extend(msgspec.structs.replace(change, name=f"{name}.{change.name}") for change in inner.changes)
            continue
        why = "" if before == after else refusal(direction(field), before, after)
        values[name] = before if why else after
        if before != after:
            changes.append(Change(name=name, before=_text(before), after=_text(after), applies=not why, why=why))
    # Not validated again: rules that tie two fields together judge what a human wrote, and both sides of the mix were valid.
    return Tightened(old.model_copy(update=values), tuple(changes))


def direction(field: FieldInfo) -> Tighter:
    """What a field says of itself."""
    extra = field.json_schema_extra
    told = extra.get("tighter") if isinstance(extra, dict) else None
    return Tighter.FIXED if told is None else Tighter(str(told))


def refusal(way: Tighter, before: Any, after: Any) -> str:
    """Why a change does not reach what is open; empty when it does."""
    match way:
        case Tighter.NONE:
            return ""
        case Tighter.FIXED:
            return "it belongs to a position as long as it lives"
    if after is None:
        return "it would take a limit away"
    if before is None:
        return ""
    order = (_rank(before), _rank(after))
    tighter = order[1] < order[0] if way is Tighter.LOWER else order[1] > order[0]
    return "" if tighter else f"it is looser, only a {way} value is tighter"


def directions(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Tighter]]:
    """Every field with its direction, nested ones by their full name."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from directions(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", direction(field)


def _rank(value: Any) -> Any:
    """Members of an enumeration stand in the order they are written in."""
    return list(type(value)).index(value) if isinstance(value, Enum) else value


def _text(value: Any) -> str:
    return "none" if value is None else str(value)


class HeldConfigs(Generic[C]):
    """Which configuration holds for what is open: for each pair and holding the tightest of all since the first reload."""

    def __init__(self, config: C) -> None:
        self.config = config
        self._held: dict[str, C] = {}

    def of(self, owner_id: str) -> C:
        """For an open pair or holding; the newest configuration for everything else."""
        return self._held.get(owner_id, self.config)

    def change(self, new: C, open_owners: Collection[str]) -> dict[str, tuple[Change, ...]]:
        """From now on the new one, tightened for what is open; what became of each difference, per owner. What is closed is forgotten."""
        found = {owner_id: tighten(self.of(owner_id), new) for owner_id in open_owners}
        self._held = {owner_id: one.config for owner_id, one in found.items()}
        self.config = new
        return {owner_id: one.changes for owner_id, one in found.items()}

    def dump(self) -> dict[str, dict[str, Any]]:
        """To be kept over a restart."""
        return {owner_id: config.model_dump(mode="json") for owner_id, config in self._held.items()}

    def restore(self, kept: Mapping[str, Mapping[str, Any]]) -> None:
        """What `dump` gave an earlier process. The file may have been changed meanwhile: it only tightens. A key that is gone is left out.

        Raises:
            ValidationError: what was kept is no configuration any more.
        """
        kind = type(self.config)
        for owner_id, values in kept.items():
            earlier = kind.model_validate(_known(kind, values))
            self._held[owner_id] = tighten(earlier, self.config).config


def _known(kind: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for name, value in values.items():
        field = kind.model_fields.get(name)
        if field is not None:
            inner = field.annotation
            nested = isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(value, Mapping)
            known[name] = _known(inner, value) if nested and isinstance(inner, type) else value
    return known
