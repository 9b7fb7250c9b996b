"""Many runs on all cores. Each is `run_one` of a plain spec, so that a cluster could take them instead of this pool."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from copy import deepcopy
from typing import Any

import msgspec
import yaml

from perpkit.backtest.data.tables import DataError
from perpkit.backtest.result import RunResult
from perpkit.backtest.runner import InvalidSpec, RunSpec, run_one
from perpkit.bot.config import InvalidConfig

Done = Callable[[int, RunResult], None]
"""Told the number of the spec and its result, in the order in which runs end."""


def parse_choices(texts: Sequence[str]) -> dict[str, list[Any]]:
    """`a.b=1,2,3` -> {"a.b": [1, 2, 3]}; values are read as YAML does. Lists are written [1, 2].

    Raises:
        InvalidSpec: a text is not of that form, or a key comes twice.
    """
    found: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, rest = text.partition("=")
        if not equals or not key.strip() or not rest.strip():
            raise InvalidSpec(f"--set {text!r}: write key.of.the.file=value,value")
        if key in found:
            raise InvalidSpec(f"--set {key} comes twice: give all its values at once, {key}=1,2,3")
        try:
            found[key.strip()] = yaml.safe_load(f"[{rest}]")
        except yaml.YAMLError:
            raise InvalidSpec(f"--set {text!r}: the values cannot be read") from None
    return found


def override(spec: RunSpec, settings: Mapping[str, Any]) -> RunSpec:
    """The spec with dotted keys of its bot's file set otherwise. Keys that do not exist yet are made: the check of the file judges them.

    Raises:
        InvalidSpec: a key leads through something that is not a mapping.
    """
    bot = deepcopy(spec.bot)
    for dotted, value in settings.items():
        *path, last = dotted.split(".")
        place = bot
        for name in path:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise InvalidSpec(f"--set {dotted}: {name} is {place!r}, which has no keys")
        place[last] = value
    told = {k: v if isinstance(v, str) else json.dumps(v) for k, v in settings.items()}
    return msgspec.structs.replace(spec, bot=bot, overrides={**spec.overrides, **told})


def grid(spec: RunSpec, choices: Mapping[str, Sequence[Any]]) -> list[RunSpec]:
    """Every combination of the choices."""
    keys = list(choices)
    return [override(spec, dict(zip(keys, values, strict=True))) for values in itertools.product(*choices.values())]


def run_all(specs: Sequence[RunSpec], *, jobs: int | None = None, done: Done | None = None) -> list[RunResult]:
    """Results in the order of the specs, whatever the order in which they end.

    Raises:
        InvalidSpec: one of them cannot run; the others are given up.
    """
    results: dict[int, RunResult] = {}
    for number, found in _outcomes(specs, min(jobs or os.cpu_count() or 1, len(specs))):
        if isinstance(found, str):
            raise InvalidSpec(found)
        results[number] = found
        if done is not None:
            done(number, found)
    return [results[n] for n in range(len(specs))]


def _outcomes(specs: Sequence[RunSpec], jobs: int) -> Iterator[tuple[int, RunResult | str]]:
    if jobs <= 1:
        yield from ((n, _outcome(spec)) for n, spec in enumerate(specs))
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        numbers = {pool.submit(_outcome, spec): n for n, spec in enumerate(specs)}
        try:
            for future in as_completed(numbers):
                yield numbers[future], future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _outcome(spec: RunSpec) -> RunResult | str:
    """A wrong input travels back as its text."""
    try:
        return run_one(spec)
    except (DataError, InvalidSpec, InvalidConfig) as e:
        return str(e)
