"""How commands speak: tables and sparklines for people, JSON for machines."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 240
BLOCKS = "▁▂▃▄▅▆▇█"


def emit_json(value: Any) -> None:
    """One JSON document on stdout. Decimals are strings, so that no digit is lost."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
    sys.stdout.flush()


def emit_json_line(value: Any) -> None:
    """One JSON document on one line, for streams."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def terminal() -> "Console":
    """Where tables go; wide where no terminal says how wide it is, so that a pipe loses nothing."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)


def emit_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, notes: Iterable[str] = ()) -> None:
    """A table with its notes. A column name that starts with ">" is aligned to the right."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", header_style="bold", show_edge=False, pad_edge=False)
    for name in columns:
        table.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text.from_ansi(cell) for cell in row))
    console = terminal()
    console.print(table)
    for note in notes:
        console.print(Text(note, style="dim"))


def emit_lines(title: str, events: Iterable[tuple[str, str, str, Mapping[str, Any]]]) -> None:
    """A story: (time, what, text, detail) per line, the detail below it."""
    from rich.text import Text

    console = terminal()
    console.print(Text(title, style="bold"))
    for time, what, text, detail in events:
        console.print(Text.assemble((f"{time}  ", "dim"), (f"{what:<9}", "cyan"), text), soft_wrap=True)
        for name, values in detail.items():
            shown = ", ".join(f"{key} {brief(value)}" for key, value in values.items()) if isinstance(values, Mapping) else brief(values)
            console.print(Text(f"{'':35}{name}: {shown}", style="dim"), soft_wrap=True)


def sparkline(values: Sequence[Decimal | None]) -> str:
    """One block character per value, lowest to highest; a gap where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    steps = len(BLOCKS) - 1
    return "".join(
        " " if value is None else BLOCKS[steps // 2 if high == low else int((value - low) / (high - low) * steps)] for value in values
    )


def iso(ts_ns: int | None) -> str | None:
    """ISO 8601 UTC with milliseconds, or None."""
    if ts_ns is None:
        return None
    return datetime.fromtimestamp(ts_ns // 1_000_000 / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def number(value: Decimal | None, *, unit: str = "") -> str:
    """A figure as the venue has it, grouped by thousands; a dash for what is not known."""
    return "-" if value is None else f"{value.normalize():,f}{unit}"


def brief(value: object) -> str:
    """For people: a figure of more than six digits is cut to six; everything else as it is."""
    text = str(value)
    if len(text) <= 8:
        return text
    try:
        figure = Decimal(text)
    except ArithmeticError:
        return text
    return f"{figure:.6g}" if figure.is_finite() and "." in text else text


def percent(value: Decimal | None, digits: int = 4) -> str:
    """A fraction as a percentage with its sign; a dash for what is not known."""
    return "-" if value is None else f"{value * 100:+.{digits}f} %"


def usd(value: Decimal | None) -> str:
    """Short form of an amount: 1.2M; a dash for what is not known."""
    if value is None:
        return "-"
    for limit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.1f}{letter}"
    return f"{value:.0f}"


def counted(count: int, what: str) -> str:
    """1 file, 2 files."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
