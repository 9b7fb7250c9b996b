"""The venue's page and its spec say the same."""

from pathlib import Path

from exchange_clients.lighter.client.core import OPTIONS
from exchange_clients.lighter.common import BATCH, SPEC, SWITCH_S

PAGE = (Path(__file__).parents[3] / "docs" / "venues" / "lighter.md").read_text(encoding="utf-8")


def test_every_endpoint_channel_and_option_is_on_the_page() -> None:
    names = [name for name in SPEC.endpoints if name != "status"]
    assert [name for name in names if f"`{name}`" not in PAGE] == []
    assert [channel for channel in set(SPEC.streams.values()) if f"`{channel}/" not in PAGE] == []
    assert [option for option in OPTIONS if f"| `{option}` |" not in PAGE] == []


def test_its_figures_are_those_of_the_spec() -> None:
    assert f"A batch ({BATCH})" in PAGE
    assert [round(seconds / 86_400, 4) for seconds in SWITCH_S] == [0.0035, 15]
    assert "5 minutes to 15 days" in PAGE
    assert (SPEC.capabilities.min_gtt_s, SPEC.capabilities.max_gtt_s) == (5 * 60, 30 * 86_400)
    assert "GTT 5 minutes to 30 days" in PAGE
