"""Does it hold up: the same rules on consecutive stretches, parameters chosen on one stretch and judged on the next, and against chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec

from perpkit.backtest.report import card, moment, money, percent, table
from perpkit.backtest.result import RunResult
from perpkit.backtest.runner import InvalidSpec, RunSpec
from perpkit.backtest.svg import figure
from perpkit.backtest.sweep import Done, grid, run_all


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch. `chosen`: the parameters that were best on the stretch before, if there was a choice; `trained`: their result there."""

    from_ns: int
    to_ns: int
    chosen: dict[str, str]
    trained: Decimal | None
    total: Decimal
    share: Decimal
    positions: int
    funding: Decimal
    costs: Decimal


class WalkForward(msgspec.Struct, frozen=True, kw_only=True):
    """All stretches; each starts flat, with its deposits anew."""

    folds: tuple[Fold, ...]
    total: Decimal
    positive: int


class NullTest(msgspec.Struct, frozen=True, kw_only=True):
    """The real result among runs whose funding settlements have random signs.

    `percentile`: how many of those it beats, of `runs` + 1, since a real run without an edge is one more of them: four runs never say more
    than 80 %. `positions` of the real run: without any there is nothing to test.
    """

    runs: int
    real: Decimal
    percentile: Decimal
    totals: tuple[Decimal, ...]
    funding_real: Decimal
    funding_percentile: Decimal
    positions: int


def stretches(spec: RunSpec, count: int) -> list[RunSpec]:
    """The run cut into equal parts.

    Raises:
        InvalidSpec: fewer than two, or parts of less than an hour.
    """
    length = (spec.to_ns - spec.from_ns) // count if count > 0 else 0
    if count < 2 or length < 3_600 * 10**9:
        raise InvalidSpec(f"{count} stretches cannot be cut from this run: at least two, of an hour or more")
    starts = [spec.from_ns + n * length for n in range(count)]
    ends = [*starts[1:], spec.to_ns]
    parts = zip(starts, ends, strict=True)
    return [msgspec.structs.replace(spec, from_ns=a, to_ns=b, label=f"stretch {n}") for n, (a, b) in enumerate(parts, 1)]


def walk_forward(
    spec: RunSpec, count: int, choices: Mapping[str, Sequence[Any]] | None = None, *, jobs: int | None = None, done: Done | None = None
) -> WalkForward:
    """Every stretch with the same parameters; or, with choices, each but the first with those that earned most on the one before."""
    parts = stretches(spec, count)
    if not choices:
        results = run_all(parts, jobs=jobs, done=done)
        return _folds([(r, None) for r in results])
    candidates = [grid(part, choices) for part in parts]
    results = run_all([c for group in candidates for c in group], jobs=jobs, done=done)
    width = len(candidates[0])
    by_part = [results[n * width : (n + 1) * width] for n in range(count)]
    picked: list[tuple[RunResult, Decimal | None]] = []
    for before, here in pairwise(by_part):
        best = max(range(width), key=lambda n: (before[n].summary.total, -n))
        picked.append((here[best], before[best].summary.total))
    return _folds(picked)


def _folds(results: Sequence[tuple[RunResult, Decimal | None]]) -> WalkForward:
    folds = tuple(
        Fold(
            from_ns=r.from_ns,
            to_ns=r.to_ns,
            chosen=r.overrides,
            trained=trained,
            total=r.summary.total,
            share=r.summary.share,
            positions=r.summary.positions,
            funding=r.split.funding,
            costs=r.split.fees + r.split.slippage,
        )
        for r, trained in results
    )
    return WalkForward(folds=folds, total=sum((f.total for f in folds), Decimal(0)), positive=sum(1 for f in folds if f.total > 0))


def null_test(spec: RunSpec, real: RunResult, count: int, *, jobs: int | None = None, done: Done | None = None) -> NullTest:
    """`count` runs over funding with random signs; their sizes, the prices and everything else stay."""
    if count < 1:
        raise InvalidSpec("a null test needs at least one run")
    specs = [msgspec.structs.replace(spec, flip_seed=n, label=f"null {n}") for n in range(1, count + 1)]
    results = run_all(specs, jobs=jobs, done=done)
    totals = tuple(r.summary.total for r in results)
    return NullTest(
        runs=count,
        real=real.summary.total,
        percentile=_beaten(real.summary.total, totals),
        totals=totals,
        funding_real=real.split.funding,
        funding_percentile=_beaten(real.split.funding, [r.split.funding for r in results]),
        positions=real.summary.positions,
    )


def _beaten(value: Decimal, others: Sequence[Decimal]) -> Decimal:
    return round(Decimal(sum(1 for v in others if v < value)) / (len(others) + 1), 4)


def walk_forward_card(found: WalkForward) -> str:
    """For the page."""
    rows = [
        (
            f"{moment(f.from_ns)} to {moment(f.to_ns)}",
            ", ".join(f"{k} = {v}" for k, v in f.chosen.items()) or "as the file",
            "" if f.trained is None else figure(f.trained),
            str(f.positions),
            money(f.funding),
            money(f.costs),
            money(f.total),
            percent(f.share),
        )
        for f in found.folds
    ]
    head = ("stretch", "parameters", "earned before", "positions", "funding", "fees and slippage", "result", "of the deposits")
    foot = ("together", "", "", "", "", "", money(found.total), "")
    return card("Walk-forward", table(head, rows, left=2, foot=foot), f"{found.positive} of {len(found.folds)} stretches end above zero")


def null_test_card(found: NullTest) -> str:
    """For the page: where the real result stands among chance."""
    ordered = sorted(found.totals)
    low, high = min(ordered[0], found.real), max(ordered[-1], found.real)
    span = (high - low) or Decimal(1)

    def x(value: Decimal) -> float:
        return float(20 + (value - low) / span * 1080)

    marks = "".join(f'<line class="s5" x1="{x(v):.1f}" x2="{x(v):.1f}" y1="26" y2="50" stroke-width="2" opacity=".6"/>' for v in ordered)
    own = f'<line class="s1" x1="{x(found.real):.1f}" x2="{x(found.real):.1f}" y1="18" y2="58" stroke-width="4"/>'
    ends = (
        f'<text x="20" y="76">{figure(low)}</text><text x="1100" y="76" text-anchor="end">{figure(high)}</text>'
        f'<text x="{x(found.real):.1f}" y="12" text-anchor="middle">real {figure(found.real)}</text>'
    )
    axis = '<line class="grid" x1="20" x2="1100" y1="50" y2="50"/>'
    return card("Null test", f'<svg viewBox="0 0 1120 84" role="img">{axis}{marks}{own}{ends}</svg>', null_test_words(found))


def null_test_words(found: NullTest) -> str:
    """One sentence."""
    if not found.positions:
        return "no position was opened: there is nothing to test, whatever the runs with random funding signs lost"
    funding, total = (round(share * (found.runs + 1)) for share in (found.funding_percentile, found.percentile))
    few = "; fewer than 19 runs cannot tell an edge from chance" if found.runs < 19 else ""
    return (
        f"its funding beats {funding} of {found.runs} runs with random funding signs, its result {total} "
        f"(those trade more, and their fees flatter it){few}"
    )
