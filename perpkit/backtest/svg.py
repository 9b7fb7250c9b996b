"""Charts as SVG text: lines over time, and a waterfall. Coordinates are rounded, so that the same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from math import floor, log10
from typing import NamedTuple

import msgspec

from exchange_clients.model import NS_PER_S

WIDTH, HALF, LEFT, TOP, BOTTOM = 1120, 540, 64, 10, 24
POINTS = 800
"""Points that are drawn of a line; more are thinned out, keeping the lowest and highest of each stretch."""


class Line(NamedTuple):
    """One line of a chart; `digits` after the point where its values are told."""

    name: str
    values: Sequence[Decimal]
    unit: str = ""
    digits: int = 2
    scale: int = 1


def figure(value: Decimal, digits: int = 2, unit: str = "") -> str:
    """Grouped by thousands; no minus zero."""
    text = f"{value:,.{digits}f}"
    if text.startswith("-") and not text.strip("-0.,"):
        text = text[1:]
    return text + unit


def lines(
    name: str,
    times_ns: Sequence[int],
    series: Sequence[Line],
    *,
    height: int = 240,
    width: int = WIDTH,
    area: bool = False,
    zero: bool = False,
) -> str:
    """A chart with its legend. The values under the pointer are told by the page's script, the last ones without it."""
    if not times_ns or not series:
        return '<p class="soft">nothing to draw</p>'
    shown = [[float(v) * line.scale for v in line.values] for line in series]
    low, high, ticks = _axis([v for values in shown for v in values], zero=zero)
    bottom, right = height - BOTTOM, width - 10

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - TOP)

    def x(n: int) -> float:
        return LEFT + n / max(1, len(times_ns) - 1) * (right - LEFT)

    parts = [f'<svg viewBox="0 0 {width} {height}" data-chart="{name}" role="img">']
    for tick in ticks:
        at = y(tick)
        parts.append(f'<line class="{"zero" if tick == 0 else "grid"}" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{_short(tick, ticks)}{series[0].unit}</text>')
    parts += _dates(times_ns, bottom, right, 7 if width == WIDTH else 4)
    for number, values in enumerate(shown):
        kept = _thinned(values)
        path = " ".join(f"{x(n):.1f},{y(values[n]):.1f}" for n in kept)
        if area and number == 0:
            floor_y = y(max(low, min(high, 0.0)))
            parts.append(f'<polygon class="area f{number % 6}" points="{x(0):.1f},{floor_y:.1f} {path} {x(kept[-1]):.1f},{floor_y:.1f}"/>')
        parts.append(f'<polyline class="line s{number % 6}" points="{path}"/>')
    parts.append(f'<line class="cross" y1="{TOP}" y2="{bottom}" x1="0" x2="0"/></svg>')
    told = [[figure(v * line.scale, line.digits, line.unit) for v in line.values] for line in series]
    items = "".join(
        f'<span><i class="b{n % 6}"></i>{escape(line.name)}<b>{texts[-1]}</b></span>'
        for n, (line, texts) in enumerate(zip(series, told, strict=True))
    )
    data = {"width": width, "left": LEFT, "right": right, "times": [_minute(t) for t in times_ns], "series": told}
    encoded = msgspec.json.encode(data).decode().replace("<", "\\u003c")
    return f'<div class="legend">{items}<em></em></div>{"".join(parts)}<script type="application/json" id="{name}">{encoded}</script>'


def waterfall(parts: Sequence[tuple[str, Decimal]], total: tuple[str, Decimal], *, height: int = 240) -> str:
    """How the parts add up to the total."""
    steps: list[tuple[str, Decimal, Decimal, str]] = []
    level = Decimal(0)
    for name, value in parts:
        steps.append((name, level, level + value, "fup" if value >= 0 else "fdown"))
        level += value
    steps.append((total[0], Decimal(0), total[1], "fsum"))
    low, high, ticks = _axis([float(v) for _, a, b, _ in steps for v in (a, b)], zero=True)
    bottom, left, wide = height - BOTTOM, LEFT, HALF

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - TOP - 14)

    out = [f'<svg viewBox="0 0 {wide} {height}" role="img">']
    for tick in ticks:
        at = y(tick)
        out.append(f'<line class="{"zero" if tick == 0 else "grid"}" x1="{left}" x2="{wide - 6}" y1="{at:.1f}" y2="{at:.1f}"/>')
        out.append(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{_short(tick, ticks)}</text>')
    slot = (wide - 6 - left) / len(steps)
    for n, (name, start, end, kind) in enumerate(steps):
        x, top = left + n * slot + slot * 0.16, y(max(float(start), float(end)))
        tall = max(1.0, abs(y(float(start)) - y(float(end))))
        out.append(f'<rect class="{kind}" x="{x:.1f}" y="{top:.1f}" width="{slot * 0.68:.1f}" height="{tall:.1f}" rx="2"/>')
        middle = x + slot * 0.34
        out.append(f'<text x="{middle:.1f}" y="{top - 5:.1f}" text-anchor="middle">{figure(end - start)}</text>')
        out.append(f'<text x="{middle:.1f}" y="{height - 6}" text-anchor="middle">{escape(name)}</text>')
    return "".join([*out, "</svg>"])


def _axis(values: Sequence[float], *, zero: bool) -> tuple[float, float, list[float]]:
    """(low, high, ticks) around the values, on round numbers."""
    low, high = min(values), max(values)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12:
        room = abs(high) * 0.01 or 1.0
        low, high = low - room, high + room
    raw = (high - low) / 4
    power = 10.0 ** floor(log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, count = floor(low / step + 1e-9), 0
    ticks = []
    while (tick := (first + count) * step) <= high + step * 0.999:
        ticks.append(round(tick, 12))
        count += 1
    return ticks[0], ticks[-1], ticks


def _short(value: float, ticks: Sequence[float]) -> str:
    step = ticks[1] - ticks[0]
    digits = max(0, -floor(log10(step) + 1e-9)) if step < 1 else 0
    if step and abs(step * 10**digits - round(step * 10**digits)) > 1e-6:
        digits += 1
    return f"{value:,.{digits}f}"


def _dates(times_ns: Sequence[int], bottom: int, right: int, marks: int) -> list[str]:
    days = (times_ns[-1] - times_ns[0]) / NS_PER_S / 86_400
    pattern = "%b %Y" if days > 200 else "%d %b" if days > 6 else "%d %b %H:%M"
    parts = []
    for n in range(marks):
        at = round(n * (len(times_ns) - 1) / (marks - 1))
        x = LEFT + at / max(1, len(times_ns) - 1) * (right - LEFT)
        anchor = "start" if n == 0 else "end" if n == marks - 1 else "middle"
        text = datetime.fromtimestamp(times_ns[at] // NS_PER_S, UTC).strftime(pattern)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="{anchor}">{text}</text>')
    return parts


def _minute(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M")


def _thinned(values: Sequence[float]) -> list[int]:
    """Indices to draw."""
    if len(values) <= POINTS:
        return list(range(len(values)))
    size = -(-len(values) // (POINTS // 2))
    kept = {0, len(values) - 1}
    for start in range(0, len(values), size):
        stretch = range(start, min(start + size, len(values)))
        kept.add(min(stretch, key=values.__getitem__))
        kept.add(max(stretch, key=values.__getitem__))
    return sorted(kept)
