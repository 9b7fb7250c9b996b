"""docs/opportunities.md names every filter, every order, and the defaults that hold."""

import re
from pathlib import Path

from funding_rate_service.opportunity import Query, SortBy

PAGE = Path(__file__).parents[2] / "docs" / "opportunities.md"


def test_the_page_names_every_filter_with_its_default() -> None:
    table = PAGE.read_text().partition("<!-- query:")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| `")]
    told = {name: (row[1], row[2]) for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert set(told) == set(Query.__struct_fields__)
    for name, (default, _) in told.items():
        value = getattr(Query(), name)
        shown = {"any": None, "none": None}.get(default, default.strip("`"))
        assert shown == (None if value in (None, frozenset()) else str(value).lower()), name
    assert set(re.findall(r"`(\w+)`", told["sort_by"][1])) == {by.value for by in SortBy}
