"""The demo on a terminal: what the venues show, where the pair stands, what just happened; and the report at the end."""

from __future__ import annotations

import sys
from collections import deque
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from exchange_clients.errors import VenueError

if TYPE_CHECKING:
    from perpkit.demo.report import DemoReport
    from perpkit.demo.scene import Scene

LINES = 14
ROOMY = 36
"""Rows of a terminal that holds frames, titles and all; on a lower one the tables go bare, so that the story is seen."""
STYLES = {
    "fault": "bold yellow",
    "fill": "green",
    "pair": "bold cyan",
    "decision": "magenta",
    "order": "white",
    "time": "dim",
    "alert": "bold red",
}


def at(ts_ns: int) -> str:
    """Demo time for people."""
    return f"{datetime.fromtimestamp(ts_ns // 10**9, UTC):%d %b %H:%M:%S}"


def _short(value: object) -> str:
    """Six significant digits of what is a number."""
    try:
        return f"{float(str(value)):.6g}"
    except ValueError:
        return str(value)


def usd(value: Decimal | None) -> str:
    """Signed, four decimals."""
    return "-" if value is None else f"{value:+.4f}"


class View:
    """A live picture; `line` adds to the log, `refresh` redraws. Without a terminal the lines are printed one by one."""

    def __init__(self, *, live: bool, quiet: bool) -> None:
        self._console = Console(quiet=quiet, highlight=False, width=None if sys.stdout.isatty() else 120)
        self._lines: deque[tuple[str, str, str]] = deque(maxlen=LINES)
        self._live = Live(console=self._console, refresh_per_second=8, transient=False, auto_refresh=False) if live else None
        self._phase = "setting up"

    def __enter__(self) -> View:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def phase(self, text: str) -> None:
        self._phase = text

    def line(self, ts_ns: int, kind: str, text: str) -> None:
        self._lines.append((at(ts_ns), kind, text))
        if self._live is None:
            self._console.print(Text(f"{at(ts_ns)}  {text}", style=STYLES.get(kind, "")), soft_wrap=True)

    def refresh(self, scene: Scene) -> None:
        if self._live is not None:
            above = Group(self._header(scene), self._venues(scene), self._pairs(scene))
            self._live.update(Group(above, self._log(above)), refresh=True)

    def _header(self, scene: Scene) -> Text:
        return Text.assemble(
            ("perpkit demo  ", "bold"),
            (at(scene.clock.time_ns()), "cyan"),
            ("  demo time, UTC   ", "dim"),
            (self._phase, "bold"),
            no_wrap=True,
            overflow="ellipsis",
        )

    @property
    def _roomy(self) -> bool:
        return self._console.height >= ROOMY

    def _table(self, title: str) -> Table:
        if self._roomy:
            return Table(title=title, expand=True, title_justify="left")
        return Table(box=None, expand=True, pad_edge=False, header_style="dim")

    def _venues(self, scene: Scene) -> Table:
        table = self._table("venues")
        for name in ("venue", "market"):
            table.add_column(name)
        for name in ("bid", "ask", "funding / h", "position"):
            table.add_column(name, justify="right")
        for stage in scene.stages.values():
            for instrument in sorted(stage.client.instruments.all(), key=lambda i: i.id.base):
                table.add_row(stage.name, instrument.venue_symbol, *_prices(scene, stage.name, str(instrument.id)))
        return table

    def _pairs(self, scene: Scene) -> Table:
        table = self._table("pairs")
        for name in ("pair", "state", "long", "short", "delta", "funding so far"):
            table.add_column(name)
        for runner in scene.engine.pairs.values():
            record = runner.record
            own = {leg: trader.own for leg, trader in runner.legs.items()}
            long, short = own.values()
            paid = sum((p.amount for p in scene.journal.funding(record.pair_id)), Decimal(0))
            table.add_row(
                f"{record.symbol} {record.pair_id}",
                record.state.value,
                f"{long} {record.long_venue}",
                f"{short} {record.short_venue}",
                str(long - short),
                usd(paid),
            )
        return table

    def _log(self, above: Group) -> RenderableType:
        """The newest lines, as many as are left below the rest."""
        text = Text("\n").join(Text.assemble((f"{when}  ", "dim"), (line, STYLES.get(kind, ""))) for when, kind, line in self._lines)
        frame = 4 if self._roomy else 0
        room = LINES if self._roomy else max(3, self._console.height - 1 - len(self._console.render_lines(above)))
        shown = Text("\n").join(text.wrap(self._console, self._console.width - frame)[-room:])
        return Panel(shown, title="what happens", title_align="left", height=LINES + 2) if self._roomy else shown

    def report(self, report: DemoReport, home: Path) -> None:
        """The closing report."""
        out = self._console
        out.print()
        out.print(
            Text(f"{report.symbol}: long {report.long_venue}, short {report.short_venue}, {report.quantity} {report.symbol}", style="bold")
        )
        out.print(f"state {report.state}; held {report.hours_held} h over {report.settlements} funding payments")
        out.print(f"left because {report.close_reason}")
        table = Table(title="result in USD, from venue records", title_justify="left")
        table.add_column("venue")
        for name in ("price", "funding", "fees", "slippage", "total", "unexplained", "left"):
            table.add_column(name, justify="right")
        for part in report.venues:
            left = f"{part.position_left.normalize():f}, {part.open_orders} orders"
            table.add_row(part.venue, *map(usd, (part.price, part.funding, part.fees, part.slippage, part.total, part.unexplained)), left)
        both = (report.price, report.funding, report.fees, report.slippage, report.total, report.unexplained)
        table.add_row("both", *map(usd, both), "flat" if report.flat else "NOT FLAT", style="bold")
        out.print(table)
        out.print(Text("decisions", style="bold"))
        for decision in report.decisions[-12:]:
            out.print(Text(f"  {at(decision.at)}  {decision.kind}: {decision.rule}: {decision.outcome}"))
            figures = {**decision.inputs, **decision.ages}
            told = ", ".join(f"{k} {_short(v)}" for k, v in figures.items() if v is not None)
            out.print(Text(f"      {told}", style="dim"), soft_wrap=True)
        out.print(f"  and {report.holds} times: hold")
        out.print(Text("faults survived", style="bold"))
        for fault in report.faults:
            out.print(f"  {fault}")
        for note in report.notes:
            out.print(Text(note, style="dim"))
        out.print(Text(f"the whole story: perpkit why {report.pair_id} --home {home}", style="dim"))


def _prices(scene: Scene, venue: str, instrument_id: str) -> tuple[str, ...]:
    client = scene.stages[venue].client
    instrument = client.instruments.get(instrument_id)
    try:
        bbo = client.ws_manager.get_latest_bbo(instrument)
    except VenueError:
        bbo = None
    sample = scene.strategy.scanner.rates.get(instrument.id)
    position = client.context.positions.get(instrument.id)
    return (
        f"{bbo.bid.normalize():f}" if bbo else "-",
        f"{bbo.ask.normalize():f}" if bbo else "-",
        f"{sample.hourly_rate * 100:+.5f} %" if sample is not None else "-",
        f"{position.quantity.normalize():f}" if position else "-",
    )
