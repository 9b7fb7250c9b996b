"""A run as one HTML file that asks nothing of the network: figures, charts, every position, every assumption."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from importlib import resources

import msgspec
import yaml

from exchange_clients.model import NS_PER_S
from perpkit.backtest import svg
from perpkit.backtest.result import PositionRow, RunResult, Split, VenueResult
from perpkit.backtest.svg import Line, figure

PARTS = (("price", "price"), ("slippage", "slippage"), ("fees", "fees"), ("funding", "funding"), ("unexplained", "unexplained"))


def html(result: RunResult, sections: Iterable[str] = ()) -> bytes:
    """The page. `sections` are finished cards that go below the curves (walk-forward, null test)."""
    title = f"{result.strategy.replace('_', ' ')} backtest"
    body = "".join(
        (
            _header(result, title),
            _tiles(result),
            _warnings(result),
            _equity(result),
            *sections,
            f'<div class="two">{_split(result)}{_costs(result)}</div>',
            _exposure(result),
            _margin(result),
            _venues(result),
            _positions(result),
            _decisions(result),
            _assumptions(result),
            _inputs(result),
        )
    )
    return page(title, body)


def page(title: str, body: str) -> bytes:
    """A whole document with style and script inside."""
    files = resources.files("perpkit.backtest.page")
    css, script = (files.joinpath(name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{css}</style></head>'
        f"<body><main>{body}</main><script>{script}</script></body></html>\n"
    ).encode()


def card(title: str, content: str, note: str = "", kind: str = "") -> str:
    """A box with a heading."""
    small = f"<small>{escape(note)}</small>" if note else ""
    return f'<section class="card{" " + kind if kind else ""}"><h2>{escape(title)}{small}</h2>{content}</section>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, foot: Sequence[str] = (), left: int = 1, sort: bool = False) -> str:
    """Rows of finished cells; the first `left` columns are text."""
    sorting = " data-sort" if sort else ""
    heads = "".join(f"<th{' class=l' if n < left else ''}{sorting}>{escape(name)}</th>" for n, name in enumerate(head))
    body = "".join(f"<tr>{''.join(_cell(cell, n < left) for n, cell in enumerate(row))}</tr>" for row in rows)
    end = f"<tfoot><tr>{''.join(_cell(cell, n < left) for n, cell in enumerate(foot))}</tr></tfoot>" if foot else ""
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody>{end}</table></div>'


def _cell(content: str, text: bool) -> str:
    if content.startswith("<td"):
        return content
    return f"<td{' class=l' if text else ''}>{content}</td>"


def money(value: Decimal, digits: int = 2) -> str:
    """A cell: coloured by its sign, sorted by its value."""
    kind = "up" if round(value, digits) > 0 else "down" if round(value, digits) < 0 else "soft"
    return f'<td class="{kind}" data-v="{value:f}">{figure(value, digits)}</td>'


def moment(ts_ns: int | None) -> str:
    """UTC to the minute."""
    return "" if ts_ns is None else datetime.fromtimestamp(ts_ns // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M")


def percent(value: Decimal, digits: int = 2) -> str:
    """A fraction with its sign."""
    text = figure(value * 100, digits)
    return f"{'' if text.startswith('-') else '+'}{text} %"


def _tone(value: Decimal) -> str:
    return "up" if value > 0 else "down" if value < 0 else ""


def _header(result: RunResult, title: str) -> str:
    days = (result.to_ns - result.from_ns) / NS_PER_S / 86_400
    venues = " · ".join(escape(v.venue) for v in result.venues)
    set_to = "".join(f" · {escape(k)} = {escape(v)}" for k, v in result.overrides.items())
    label = f" · {escape(result.label)}" if result.label else ""
    return (
        f'<header><h1>{escape(title[:1].upper() + title[1:])}</h1><span class="soft">{venues} · {moment(result.from_ns)} to '
        f"{moment(result.to_ns)} UTC · {days:,.0f} days · seed {result.seed}{label}{set_to}</span></header>"
    )


def _tiles(result: RunResult) -> str:
    s, split = result.summary, result.split
    cells = [
        ("result, USD", figure(s.total), _tone(s.total)),
        ("of the deposits", percent(s.share), _tone(s.share)),
        ("a year, simple", percent(s.annual), _tone(s.annual)),
        ("deepest fall", f"{figure(s.max_drawdown * 100)} %", "down" if s.max_drawdown else ""),
        ("funding received", figure(split.funding), _tone(split.funding)),
        ("fees and slippage", figure(split.fees + split.slippage), _tone(split.fees + split.slippage)),
        ("positions, won / lost", f"{s.positions} <small class=soft>{s.winners} / {s.losers}</small>", ""),
        ("time in the market", f"{figure(s.in_market * 100, 0)} %", ""),
    ]
    return f'<div class="tiles">{"".join(f"<div class=tile><span>{n}</span><b class={t!r}>{v}</b></div>" for n, v, t in cells)}</div>'


def _warnings(result: RunResult) -> str:
    told = [*result.warnings, *result.gaps]
    if result.summary.liquidations:
        told.insert(0, f"{result.summary.liquidations} liquidations or deleveragings: the curve is what survived them")
    if abs(result.split.unexplained) >= Decimal("0.01"):
        told.insert(0, f"{figure(result.split.unexplained)} USD of the accounts are not explained by fills, fees and funding")
    if not told:
        return ""
    shown = told[:30]
    more = [f"and {len(told) - len(shown)} more (in the JSON)"] if len(told) > len(shown) else []
    return card("To know before you trust it", f"<ul>{''.join(f'<li>{escape(t)}</li>' for t in (*shown, *more))}</ul>", kind="warn")


def _equity(result: RunResult) -> str:
    c = result.curves
    gained = [v - result.summary.deposits for v in c.equity]
    chart = svg.lines("equity", c.times_ns, [Line("result, USD", gained)], height=300, area=True, zero=True)
    note = f"{figure(result.summary.deposits, 0)} USD at the start, {figure(result.summary.equity)} at the end"
    return card("Result", chart, note)


def _split(result: RunResult) -> str:
    split = result.split
    parts = [(label, getattr(split, name)) for name, label in PARTS if name != "unexplained" or abs(split.unexplained) >= Decimal("0.01")]
    return card("Where it comes from", svg.waterfall(parts, ("result", split.total), height=300), "USD")


def _costs(result: RunResult) -> str:
    c = result.curves
    both = [Line("funding", c.funding), Line("fees", c.fees)]
    return card("Funding and fees, added up", svg.lines("costs", c.times_ns, both, height=276, width=svg.HALF, zero=True), "USD")


def _exposure(result: RunResult) -> str:
    c = result.curves
    names = sorted(c.exposure)
    net = [sum((c.exposure[n][i] for n in names), Decimal(0)) for i in range(len(c.times_ns))]
    drawn = [*(Line(n, c.exposure[n]) for n in names[:5]), Line("net", net)]
    return card("Exposure", svg.lines("exposure", c.times_ns, drawn, zero=True) if names else "never in the market", "USD, long above zero")


def _margin(result: RunResult) -> str:
    c = result.curves
    drawn = [Line(n, c.margin[n], " %", 1, 100) for n in sorted(c.margin)[:6]]
    return card(
        "Margin", svg.lines("margin", c.times_ns, drawn, zero=True, height=200), "maintenance margin of equity; 100 % is liquidation"
    )


def _venues(result: RunResult) -> str:
    rows = [_venue(v) for v in result.venues]
    s = result.split
    foot = ("together", figure(result.summary.deposits, 0), *_parts(s), money(s.total), figure(result.summary.traded, 0), "", "", "")
    head = (
        "venue",
        "deposit",
        "price",
        "slippage",
        "fees",
        "funding",
        "unexplained",
        "result",
        "traded",
        "fills",
        "payments",
        "liquidations",
    )
    return card("Venues", table(head, rows, foot=foot), "USD, from the venues' own records")


def _venue(v: VenueResult) -> tuple[str, ...]:
    end = (figure(v.traded, 0), str(v.fills), str(v.fundings), str(v.liquidations))
    return (escape(v.venue), figure(v.deposit, 0), *_parts(v.split), money(v.total), *end)


def _parts(split: Split) -> tuple[str, ...]:
    return tuple(money(getattr(split, name)) for name, _ in PARTS)


def _positions(result: RunResult) -> str:
    head = (
        "opened",
        "closed",
        "asset",
        "long / short",
        "quantity",
        "hours",
        "price",
        "slippage",
        "fees",
        "funding",
        "result",
        "why it ended",
    )
    rows = [_position(p) for p in result.positions]
    content = table(head, rows, left=4, sort=True) if rows else '<p class="soft">no position was opened: the decisions below say why</p>'
    return card("Positions", content, f"{len(rows)}, USD; click a column to sort")


def _position(p: PositionRow) -> tuple[str, ...]:
    parts = tuple(money(getattr(p.split, name)) for name, _ in PARTS[:4])
    return (
        moment(p.opened_ns),
        moment(p.closed_ns) or escape(p.state),
        escape(p.symbol),
        escape(" / ".join(p.venues)),
        f"{p.quantity.normalize():f}",
        "" if p.hours is None else figure(p.hours, 1),
        *parts,
        money(p.total),
        f'<td class=l title="{escape(p.reason, quote=True)}">{escape(p.reason.partition(":")[0])}</td>',
    )


def _decisions(result: RunResult) -> str:
    rows = [(escape(name), str(count)) for name, count in sorted(result.decisions.items(), key=lambda i: (-i[1], i[0]))]
    return card("Decisions", table(("decision and rule", "times"), rows)) if rows else ""


def _assumptions(result: RunResult) -> str:
    return card("Assumptions", f"<ul>{''.join(f'<li>{escape(a)}</li>' for a in result.assumptions)}</ul>")


def _inputs(result: RunResult) -> str:
    rows = [(escape(i.file), f"<code>{i.sha256}</code>") for i in result.inputs]
    told = yaml.safe_dump(msgspec.json.decode(result.config), sort_keys=True, width=120)
    content = f"{table(('file', 'SHA-256'), rows, left=2)}<details><summary>The bot's file</summary><pre>{escape(told)}</pre></details>"
    return card("Inputs", content, f"{result.events:,} market events")
