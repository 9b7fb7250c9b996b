"""`perpkit sweep`: one backtest per combination of values, on all cores."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from perpkit.cli.backtest import as_json, figure, progress, spec_of, told
from perpkit.cli.failure import OK, Failure
from perpkit.cli.output import emit_json, emit_table

if TYPE_CHECKING:
    from perpkit.backtest.result import RunResult

SHOWN = 30


def sweep(
    config: Path,
    /,
    *,
    start: Annotated[str, Parameter(name="--from")],
    end: Annotated[str, Parameter(name="--to")],
    set_: Annotated[tuple[str, ...], Parameter(name="--set")],
    data: Path = Path(),
    seed: int = 0,
    out: Path = Path("sweep"),
    jobs: int | None = None,
    json: bool = False,
) -> int:
    """Backtest every combination of the values given and rank them; the best is written as a report.

    The best of many tries is lucky as a rule: see whether it stays best with `perpkit backtest --walk-forward`.

    Parameters
    ----------
    config:
        The bot's file.
    start:
        First moment, UTC.
    end:
        The moment after the last.
    set_:
        Key and values: parameters.min_profit=0.0005,0.001. May be repeated.
    data:
        Folder that the files in the configuration are in.
    seed:
        Of latency and ids.
    out:
        Folder for `sweep.json`, and `report.html` of the best run.
    jobs:
        Processes; all cores when left out.
    json:
        Print all runs as JSON.
    """
    from msgspec.structs import replace

    from perpkit.backtest.report import html
    from perpkit.backtest.result import encode
    from perpkit.backtest.sweep import grid, parse_choices, run_all

    with told():
        specs = grid(spec_of(config, start, end, data, seed), parse_choices(set_))
        if not specs:
            raise Failure("--set gives no values", hint="write --set parameters.min_profit=0.0005,0.001")
        with progress("runs", len(specs)) as step:
            results = run_all(specs, jobs=jobs, done=lambda n, r: step())
    ranked = sorted(results, key=lambda r: (-r.summary.total, sorted(r.overrides.items())))
    lucky = f"the best of {len(ranked)} runs over the same history: lucky as a rule; see with perpkit backtest --walk-forward if it holds"
    if len(ranked) > 1:
        ranked[0] = replace(ranked[0], warnings=(lucky, *ranked[0].warnings))
    out.mkdir(parents=True, exist_ok=True)
    (out / "sweep.json").write_bytes(encode([as_json(r) for r in ranked]))
    (out / "report.html").write_bytes(html(ranked[0]))
    if json:
        emit_json([as_json(r) for r in ranked])
        return OK
    keys = list(ranked[0].overrides)
    columns = (*keys, ">result", ">a year", ">deepest fall", ">positions", ">funding", ">fees and slippage")
    notes = [f"{len(ranked)} runs; the best is in {out / 'report.html'}, all are in {out / 'sweep.json'}", *ranked[0].warnings]
    emit_table("Sweep", columns, [_row(r, keys) for r in ranked[:SHOWN]], notes=notes)
    return OK


def _row(result: "RunResult", keys: Sequence[str]) -> Sequence[str]:
    s, split = result.summary, result.split
    return (
        *(result.overrides[key] for key in keys),
        figure(s.total),
        f"{s.annual * 100:+.2f} %",
        f"{s.max_drawdown * 100:.2f} %",
        str(s.positions),
        figure(split.funding),
        figure(split.fees + split.slippage),
    )
