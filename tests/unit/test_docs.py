"""The docs keep up with the code: generated tables are fresh, links lead somewhere, decision records stay short."""

import importlib
import re
from pathlib import Path

import pytest

from docs.tables import generated
from exchange_clients import venues

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_generated_tables_are_fresh() -> None:
    stale = [str(path.relative_to(ROOT)) for path, text in generated().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run: python docs/tables.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda page: page.name)
def test_decision_records_have_their_form(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    number, _, _ = page.name.partition("-")
    assert text.startswith(f"# {int(number)}. ")
    assert all(f"\n## {part}\n" in text for part in ("Context", "Decision", "Consequences"))


def test_every_venue_has_its_page_naming_its_variables() -> None:
    for name in venues.names():
        page = (ROOT / "docs" / "venues" / f"{name}.md").read_text(encoding="utf-8")
        missing = [item.variable for item in venues.get(name).spec.credentials if item.variable.format(env="") not in page]
        assert missing == [], f"docs/venues/{name}.md"
        assert "roubleshooting" in page


def test_every_venue_says_how_its_funding_is_told() -> None:
    """The side-by-side table of docs/capabilities.md has no empty row, and no cell that would break it."""
    for name in venues.names():
        note = venues.get(name).spec.funding
        assert note is not None, name
        cells = (note.unit, note.sign, note.interval, note.next_time, note.evidence)
        assert all(cells), name
        assert not any("|" in cell or "\n" in cell for cell in cells), name


def given_names() -> list[tuple[str, str]]:
    """(given, place) of every row of the record that names a place, with the venue filled in."""
    text = (ROOT / "docs" / "decisions" / "0010-given-names.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (kept|renamed) \| `([a-z_{}.]+(?::[\w.{}]+)?)`", text, re.MULTILINE)
    return [
        (given, place.replace("{venue}", venue).replace("{Venue}", venue.capitalize()))
        for given, _, place in rows
        for venue in (venues.names() if "{venue}" in place else ("",))
    ]


def test_the_record_of_given_names_is_read() -> None:
    assert len(given_names()) > 60


@pytest.mark.parametrize(("given", "place"), given_names())
def test_a_given_name_is_where_the_record_says(given: str, place: str) -> None:
    module, _, path = place.partition(":")
    found: object = importlib.import_module(module)
    for part in path.split(".") if path else ():
        found = getattr(found, part)
    assert found is not None, given
