"""`perpkit backtest`: a bot's file over recorded history, with the bot's own code."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from perpkit.cli.failure import OK, Failure
from perpkit.cli.output import emit_json, emit_table, iso

if TYPE_CHECKING:
    from perpkit.backtest.result import RunResult
    from perpkit.backtest.runner import RunSpec
    from perpkit.backtest.walk_forward import NullTest, WalkForward


def backtest(
    config: Path,
    /,
    *,
    start: Annotated[str, Parameter(name="--from")],
    end: Annotated[str, Parameter(name="--to")],
    data: Path = Path(),
    seed: int = 0,
    out: Path = Path("backtest"),
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    walk_forward: int = 0,
    null_test: int = 0,
    jobs: int | None = None,
    json: bool = False,
) -> int:
    """Run a bot over history and write `result.json` and `report.html`, one file that opens in a browser without a network.

    Parameters
    ----------
    config:
        The bot's file, with a section `backtest` (docs/backtest.md).
    start:
        First moment, UTC: 2024-01-31 or 2024-01-31T08:00.
    end:
        The moment after the last.
    data:
        Folder that the files in the configuration are in.
    seed:
        Of latency and ids. The same seed and files give the same bytes.
    out:
        Folder for the results.
    set_:
        Set a key of the file otherwise: parameters.min_profit=0.001. Several values are choices for --walk-forward.
    walk_forward:
        Also cut the time into this many stretches and run each; with choices, each with what was best on the one before.
    null_test:
        Also run this many times with random signs of all funding, and tell which share of those runs the real one beats.
    jobs:
        Processes for those; all cores when left out.
    json:
        Print the figures as JSON.
    """
    from perpkit.backtest.report import html
    from perpkit.backtest.result import encode
    from perpkit.backtest.runner import run_one
    from perpkit.backtest.sweep import override, parse_choices
    from perpkit.backtest.walk_forward import null_test as against_chance
    from perpkit.backtest.walk_forward import null_test_card, walk_forward_card
    from perpkit.backtest.walk_forward import walk_forward as in_stretches

    with told():
        spec = spec_of(config, start, end, data, seed)
        choices = parse_choices(set_)
        several = {k: v for k, v in choices.items() if len(v) > 1}
        if several and not walk_forward:
            raise Failure(f"several values of {', '.join(several)}", hint="give one, add --walk-forward, or use perpkit sweep")
        spec = override(spec, {k: v[0] for k, v in choices.items() if len(v) == 1})
        began = time.perf_counter()
        with progress("history", 100) as step:
            shown = 0

            def on(share: float) -> None:
                nonlocal shown
                while shown < int(share * 100):
                    shown += 1
                    step()

            first = override(spec, {k: v[0] for k, v in several.items()})
            result = run_one(first, on)
        took = time.perf_counter() - began
        sections: list[str] = []
        more: dict[str, WalkForward | NullTest] = {}
        if walk_forward:
            width = 1
            for values in several.values():
                width *= len(values)
            with progress("walk-forward", walk_forward * width) as step:
                folds = in_stretches(spec, walk_forward, several or None, jobs=jobs, done=lambda n, r: step())
            sections.append(walk_forward_card(folds))
            more["walk_forward"] = folds
        if null_test:
            with progress("null test", null_test) as step:
                chance = against_chance(first, result, null_test, jobs=jobs, done=lambda n, r: step())
            sections.append(null_test_card(chance))
            more["null_test"] = chance
    out.mkdir(parents=True, exist_ok=True)
    (out / "result.json").write_bytes(encode({"run": result, **more}))
    (out / "report.html").write_bytes(html(result, sections))
    figures = {**as_json(result), **{k: v for k, v in more.items()}, "report": str(out / "report.html"), "seconds": round(took, 2)}
    if json:
        emit_json(figures)
    else:
        _show(result, more, out, took)
    return OK


def spec_of(config: Path, start: str, end: str, data: Path, seed: int) -> "RunSpec":
    """The run that the options describe."""
    import yaml

    from perpkit.backtest.runner import RunSpec

    if not config.is_file():
        raise Failure(f"there is no file {config}", hint="perpkit config new writes one")
    if not data.is_dir():
        raise Failure(f"{data} is no folder", hint="--data wants the folder with the history files")
    try:
        values = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise Failure(f"{config} is not YAML: {e}") from e
    if not isinstance(values, dict):
        raise Failure(f"{config} must be a mapping with strategy, venues, parameters and backtest")
    return RunSpec(bot=values, data=str(data), from_ns=moment("--from", start), to_ns=moment("--to", end), seed=seed)


def moment(option: str, text: str) -> int:
    """UTC nanoseconds; a time without a zone is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Failure(f"{option} {text!r} is no time", hint="write 2024-01-31 or 2024-01-31T08:00") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()) * 1_000_000_000


@contextmanager
def told() -> Iterator[None]:
    """What is wrong with the input ends the command in one line."""
    from perpkit.backtest.data.tables import DataError
    from perpkit.backtest.runner import InvalidSpec
    from perpkit.bot.config import InvalidConfig

    try:
        yield
    except (DataError, InvalidSpec, InvalidConfig) as e:
        raise Failure("; ".join(str(e).splitlines())) from e


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def as_json(result: "RunResult") -> dict[str, Any]:
    """The figures without the curves."""
    return {
        "strategy": result.strategy,
        "from": iso(result.from_ns),
        "to": iso(result.to_ns),
        "seed": result.seed,
        "overrides": result.overrides,
        "summary": result.summary,
        "split": result.split,
        "venues": result.venues,
        "decisions": result.decisions,
        "warnings": result.warnings,
        "gaps": result.gaps,
        "events": result.events,
    }


def figure(value: Decimal) -> str:
    """Cents, with the sign."""
    return f"{value:+,.2f}"


def _show(result: "RunResult", more: "Mapping[str, WalkForward | NullTest]", out: Path, took: float) -> None:
    from perpkit.backtest.walk_forward import NullTest, WalkForward, null_test_words

    s, split = result.summary, result.split
    parts = (split.price, split.slippage, split.fees, split.funding, split.unexplained, split.total)
    rows: list[Sequence[str]] = [
        (v.venue, *(figure(x) for x in (v.split.price, v.split.slippage, v.split.fees, v.split.funding, v.split.unexplained, v.total)))
        for v in result.venues
    ]
    rows.append(("together", *(figure(x) for x in parts)))
    title = f"{result.strategy}: {figure(s.total)} USD on {s.deposits:,.0f} ({s.share * 100:+.2f} %, {s.annual * 100:+.2f} % a year)"
    notes = [
        f"{s.positions} positions, {s.winners} won, {s.losers} lost; deepest fall {s.max_drawdown * 100:.2f} %; "
        f"{s.in_market * 100:.0f} % of the time in the market; {s.liquidations} liquidations",
        *result.warnings,
        *result.gaps[:5],
    ]
    for found in more.values():
        if isinstance(found, WalkForward):
            notes.append(f"walk-forward: {found.positive} of {len(found.folds)} stretches above zero, together {figure(found.total)} USD")
        if isinstance(found, NullTest):
            notes.append(f"null test: {null_test_words(found)}")
    notes.append(f"{result.events:,} events in {took:.1f} s; {out / 'report.html'}")
    emit_table(title, ("venue", ">price", ">slippage", ">fees", ">funding", ">unexplained", ">result"), rows, notes=notes)
