"""The shipped parameters are what the fit finds, and each says where it comes from."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from exchange_simulator.world import fit
from exchange_simulator.world.fitting import funding, liquidity, prices, tables, trades
from exchange_simulator.world.params import REACH_BPS, Z_GRID, fitted
from exchange_simulator.world.recordings import read_three_venue_bars


def flat(value: Any) -> list[float]:
    return [float(x) for x in value] if isinstance(value, list) else [float(value)]


def test_every_parameter_names_its_origin() -> None:
    for name, entry in fitted().entries.items():
        origins = [key for key in ("fit", "assumed", "documented") if entry.get(key)]
        assert len(origins) == 1, name
        assert ("source" in entry) == (origins == ["fit"]), name
        assert entry["unit"], name


def test_tables_fit_their_grids() -> None:
    for name in fitted().entries:
        if name.endswith("_z") or "premium_z" in name:
            table = fitted().table(name)
            assert len(table) == len(Z_GRID), name
            assert list(table) == sorted(table), name
        if name.endswith(("depth_usd", "lifetime_s")):
            assert len(fitted().table(name)) == len(REACH_BPS), name


def test_every_asset_is_complete() -> None:
    assert fitted().assets() == ["BTC", "ETH", "SOL", "PEPE"]
    for asset in fitted().assets():
        assert fitted().asset(asset).start_price > 0
    with pytest.raises(KeyError, match="no parameters for asset DOGE; there are BTC"):
        fitted().asset("DOGE")


@pytest.mark.slow
@pytest.mark.parametrize(
    "part",
    [
        lambda root, report: prices.fit_price(read_three_venue_bars(root / tables.THREE_VENUES), report),
        lambda root, report: funding.fit_funding(funding.load_funding(root), report),
        trades.fit_trades,
    ],
    ids=["price", "funding", "trades"],
)
def test_the_fit_reproduces_the_shipped_parameters(payloads: Path, part: Callable[[Path, tables.Report], None]) -> None:
    report = tables.Report()
    part(payloads, report)
    assert len(report.entries) >= 9
    for name, entry in report.entries.items():
        assert flat(entry["value"]) == pytest.approx(flat(fitted().entries[name]["value"]), rel=1e-4, abs=1e-12), name
        assert {k: v for k, v in entry.items() if k != "value"} == {k: v for k, v in fitted().entries[name].items() if k != "value"}


@pytest.mark.slow
def test_a_recorded_book_reproduces_its_liquidity_class(payloads: Path) -> None:
    sample = liquidity.sample_stream(payloads / tables.HYPERLIQUID_BOOKS, "BTC", 1.0, 0.5)
    shipped = fitted().liquidity("dex")
    assert tables.u_table(sample.touch_usd) == pytest.approx(shipped.touch_usd, rel=1e-4)
    assert [d for d in sample.depth() if d is not None] == pytest.approx(shipped.depth_usd[:4], rel=1e-4)


def test_implied_premiums_give_the_rates_back() -> None:
    rates = [0.0001, 0.0001, 0.0003, -0.0002, 0.00009]
    premiums = funding.implied_premiums(rates)
    back = [p + min(funding.CLAMP, max(-funding.CLAMP, funding.INTEREST - p)) for p in premiums]
    assert back == pytest.approx(rates)


def test_the_page_shows_the_shipped_parameters() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "world.md"
    assert fit.render(fitted().entries) in page.read_text(encoding="utf-8"), "paste the table that the fit prints into docs/world.md"


def test_the_command_wants_a_folder_of_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), redirect_stdout(io.StringIO()):
        fit.main(["--payloads", str(tmp_path)])
    assert "has no streams folder" in capsys.readouterr().err
