"""The venue page against the spec."""

from pathlib import Path

from $package import SPEC

PAGE = Path(__file__).resolve().parents[$depth] / "docs" / "$page"


def test_the_page_names_everything_of_the_spec() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in [*SPEC.endpoints, *SPEC.streams.values(), *(item.variable.format(env="") for item in SPEC.credentials)]:
        assert f"`{name}`" in page, name
