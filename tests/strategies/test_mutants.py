"""The list of broken engines fits the sources and the docs; running them is `python -m tests.strategies.mutants`."""

import pytest

from tests.strategies.mutants import ROOT, Mutant, applied, every


@pytest.mark.parametrize("mutant", every(), ids=lambda m: f"{m.invariant}-{m.broken}")
def test_the_place_to_break_is_there_and_the_result_compiles(mutant: Mutant) -> None:
    compile(applied(mutant, ROOT), mutant.file, "exec")


def test_the_docs_list_every_mutant_and_no_other() -> None:
    rows = [line for line in (ROOT / "docs" / "mutants.md").read_text().splitlines() if line.startswith("| E")]
    listed = [f"| {m.invariant} | {m.broken} | `{m.file}` | `{m.tests.replace('tests/', '')}` |" for m in every()]
    assert sorted(rows) == sorted(listed)


def test_every_invariant_has_one() -> None:
    assert {f"E{n}" for n in range(1, 43)} <= {m.invariant for m in every()}
