"""Each view shows the figures that the API gives, and can be used by hand."""

import csv
import io
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote as quoted

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.web.conftest import Open
from tests.web.market import HOSTILE
from tests.web.positions import CLOSED, OPEN, Bots
from tests.web.scene import Scene

pytestmark = pytest.mark.slow
VENUES = ("hyperliquid", "okx", "paradex", "bybit", "lighter")
SYMBOLS = 40


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Nothing moves in it, so that the page and the API say the same at any moment."""
    with Scene(tmp_path_factory.mktemp("views"), venues=VENUES, symbols=SYMBOLS, told=3, days=3, positions=Bots()) as scene:
        yield scene


def api(page: Page, scene: Scene, path: str) -> Any:
    """What the service answers."""
    answer = page.request.get(f"{scene.url}/api/v1{path}")
    assert answer.ok, answer.text()
    return answer.json()


def figure(text: str) -> Decimal:
    """A shown figure as a number."""
    found = re.search(r"[+\u2212]?[\d,]+(\.\d+)?", text)
    assert found, f"no figure in {text!r}"
    return Decimal(found[0].replace("\u2212", "-").replace(",", ""))


def near(shown: str, exact: str | Decimal, digits: int) -> bool:
    """Whether the shown figure is the exact one, rounded to its last digit."""
    return abs(figure(shown) - Decimal(exact)) <= Decimal(10) ** -digits / 2 + Decimal("1e-9")


def row_of(page: Page, symbol: str) -> Locator:
    return page.locator(f'tr[data-symbol="{symbol}"]')


# ---- heat map


CELLS = """() => Object.fromEntries([...document.querySelectorAll('tr[data-symbol] td[data-level]')].map((td) =>
    [td.closest('tr').dataset.symbol + ' ' + td.dataset.dex, [td.lastChild.textContent, td.dataset.level]]))"""


def test_every_rate_stands_in_its_cell_in_every_unit(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/rates?sort=symbol&dir=up", viewport={"width": 1440, "height": 2400})
    page.wait_for_selector("td[data-level]")
    told = api(page, scene, "/funding-rates")["rates"]
    for label, unit, digits in (("1 h", "hourly", 4), ("8 h", "rate_8h", 4), ("Year", "annual", 2)):
        page.get_by_role("radio", name=label).check()
        cells = page.evaluate(CELLS)
        assert len(cells) == len(told) > 120
        for rate in told:
            shown, shade = cells[f"{rate['symbol']} {rate['dex']}"]
            percent = Decimal(rate[unit]) * 100
            assert near(shown, percent, 1 if abs(percent) >= 100 else digits), (rate, shown)
            assert figure(shown) == 0 or shown[0] == ("+" if percent > 0 else "\u2212"), "the sign is told by more than the colour"
            strong = abs(Decimal(rate["annual"])) >= Decimal("0.01")
            assert shade == "stale" if rate["stale"] else shade[0] == (("p" if percent > 0 else "n") if strong else "z")
    page.reload()
    expect(page.get_by_role("radio", name="Year")).to_be_checked()


def test_the_gap_is_that_of_the_comparison(open_page: Open, scene: Scene) -> None:
    page = open_page(scene.url)
    gap = row_of(page, "ETH").locator("td.gap")
    spread = api(page, scene, "/funding-rates/compare?symbol=ETH")["spread"]
    expect(gap).to_have_text(re.compile(r"^0\.\d{4}$"))
    assert near(gap.inner_text(), Decimal(spread["hourly"]) * 100, 4)
    low, high = (spread[side].rpartition(".")[2] for side in ("long", "short"))
    expect(row_of(page, "ETH").locator("td.low")).to_have_attribute("data-dex", low)
    expect(row_of(page, "ETH").locator("td.high")).to_have_attribute("data-dex", high)


def test_rows_are_sorted_found_and_only_drawn_in_sight(open_page: Open, scene: Scene) -> None:
    page = open_page(scene.url, viewport={"width": 1440, "height": 500})
    rows = page.locator("tr[data-symbol]")
    grid = page.get_by_role("grid")
    expect(rows.first).to_be_visible()
    total = len({rate["symbol"] for rate in api(page, scene, "/funding-rates")["rates"]})
    assert grid.get_attribute("aria-rowcount") == str(total + 1)
    assert rows.count() < total, "rows out of sight are not drawn"
    gaps = [figure(text) for text in page.locator("td.gap").all_inner_texts()[:10]]
    assert gaps == sorted(gaps, reverse=True)
    page.get_by_role("button", name="Symbol").click()
    expect(page.get_by_role("columnheader", name="Symbol")).to_have_attribute("aria-sort", "ascending")
    assert "sort=symbol" in page.url
    names = [name for name in page.locator("tr[data-symbol] th").all_inner_texts() if name]
    assert names == sorted(names)
    page.locator(".scroll").evaluate("(box) => box.scrollTo(0, 1e6)")
    last = page.locator(f'tr[aria-rowindex="{total + 1}"]')
    expect(last).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Find a symbol")).to_be_focused()
    page.keyboard.type("pep")
    expect(rows).to_have_count(1)
    assert rows.first.get_attribute("data-symbol") == "PEPE"
    page.keyboard.type("zzz")
    expect(page.get_by_text("No symbol matches")).to_be_visible()


def test_the_grid_is_walked_by_keyboard(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/rates?sort=symbol&dir=up")
    page.wait_for_selector("td[data-level]")
    page.get_by_role("searchbox", name="Find a symbol").fill("BTC")
    expect(page.locator("tr[data-symbol]")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent") == "BTC"
    for _ in range(20):
        page.keyboard.press("ArrowRight")
        if page.evaluate("document.activeElement.dataset.dex") == "okx":
            break
    assert page.evaluate("document.activeElement.dataset.dex") == "okx"
    assert page.evaluate("document.querySelectorAll('tbody [tabindex=\"0\"]').length") == 1, "one stop for the tabulator"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "focus is seen"
    card = page.get_by_role("tooltip")
    rate = api(page, scene, "/funding-rates/okx/BTC")["rate"]
    expect(card).to_contain_text("8 h")
    expect(card).to_contain_text("predicted")
    expect(card).to_contain_text(rate["instrument"])
    expect(card).to_contain_text(re.compile(r"Next fundingin (\d+ h \d\d min|(\d+ min )?\d+ s) \(\d\d:30\)"))  # Kolkata
    assert near(card.locator(".rates b").last.inner_text(), Decimal(rate["annual"]) * 100, 2)
    page.keyboard.press("Enter")
    expect(page).to_have_title("BTC history · perpkit")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.go_back()
    expect(page).to_have_title("Funding rates · perpkit")


# ---- opportunities


def test_opportunities_show_what_the_api_ranked(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/opportunities?min_profit=-1&horizon_hours=48&limit=30")
    rows = page.locator("tr[data-pair]")
    told = api(page, scene, "/opportunities?min_profit=-0.01&horizon_hours=48&limit=30")["opportunities"]
    expect(rows).to_have_count(len(told))
    assert len(told) == 30
    assert [row.get_attribute("data-pair") for row in rows.all()] == [one["pair"] for one in told]
    for row, one in list(zip(rows.all(), told, strict=True))[:8]:
        cell = {
            key: row.locator(f'[data-column="{key}"]').inner_text()
            for key in ("long", "short", "hourly", "annual", "net", "costs", "break_even")
        }
        assert one["long"]["dex"] in cell["long"]
        assert one["short"]["dex"] in cell["short"]
        assert near(cell["hourly"], Decimal(one["hourly"]) * 100, 4)
        assert near(cell["annual"], Decimal(one["annual"]) * 100, 1)
        assert near(cell["net"], Decimal(one["net"]) * 100, 3)
        assert near(cell["costs"], Decimal(one["costs"]["total"]) * 100, 3)
        assert "min" in cell["break_even"] or cell["break_even"] == "never" or figure(cell["break_even"]) > 0


def test_filters_live_in_the_address_and_wrong_ones_are_told(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/opportunities")
    rows = page.locator("tr[data-pair]")
    expect(rows.first).to_be_visible()
    page.get_by_label("Net at least").fill("-2")
    page.get_by_label("Volume 24 h from").fill("50m")
    page.get_by_role("button", name="More filters").click()
    page.get_by_label("A leg must be on").select_option("okx")
    only = page.get_by_role("group", name="No leg on")
    only.get_by_label("bybit").check()
    told = api(page, scene, "/opportunities?min_profit=-0.02&min_volume=50000000&required_dex=okx&exclude_dexes=bybit&limit=100")
    expect(rows).to_have_count(told["count"])
    assert all("okx" in row and "bybit" not in row for row in rows.all_inner_texts())
    assert "required_dex=okx" in page.url
    assert "min_volume=50m" in page.url
    page.reload()
    expect(rows).to_have_count(told["count"])
    expect(page.get_by_label("A leg must be on")).to_have_value("okx")
    page.get_by_label("Volume 24 h from").fill("many")
    expect(page.get_by_role("alert")).to_have_text("Give dollars, for example 5m or 250k")
    expect(page.get_by_label("Volume 24 h from")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Volume 24 h from").fill("900b")
    expect(page.get_by_text("No pair passes these filters")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(rows.first).to_be_visible()


def test_columns_sort_by_the_service_and_the_file_holds_exact_figures(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/opportunities?min_profit=-2&limit=20")
    expect(page.locator("tr[data-pair]")).to_have_count(20)
    page.get_by_role("button", name="Costs %").click()
    told = api(page, scene, "/opportunities?min_profit=-0.02&limit=20&sort_by=costs&sort_desc=false")["opportunities"]
    expect(page.get_by_role("columnheader", name="Costs %")).to_have_attribute("aria-sort", "ascending")
    expect(page.locator("tr[data-pair]").first).to_have_attribute("data-pair", told[0]["pair"])
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download CSV").click()
    assert re.fullmatch(r"opportunities-[\d-]+Z\.csv", waiting.value.suggested_filename)
    rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text(encoding="utf-8"))))
    assert [(r["long"], r["short"], r["net"], r["exit_slippage"]) for r in rows] == [
        (o["long"]["instrument"], o["short"]["instrument"], o["net"], o["costs"]["exit_slippage"]) for o in told
    ]
    assert all(re.fullmatch(r"-?\d+(\.\d+)?", r["edge_per_hour"]) for r in rows), "a negative figure stays a number"


# ---- history


def test_history_tells_settled_and_predicted_with_their_intervals(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/history/BTC?dex=okx&period=3d")
    chart = page.get_by_role("slider", name="Funding of BTC: move through the values with the arrow keys")
    told = api(page, scene, "/history/funding-rates/okx/BTC?period=3d&resolution=settled&limit=5000")["points"]
    expect(page.get_by_text(f"{len(told)} settlements")).to_be_visible()
    assert page.locator("path.line:not(.dashed)").count() >= 1, "settled: drawn through"
    assert page.locator("path.line.dashed").count() >= 1, "predicted: dashed"
    chart.focus()
    page.keyboard.press("Home")
    first = told[0]
    spoken = chart.get_attribute("aria-valuetext") or ""
    assert near(spoken.partition("okx ")[2], Decimal(first["hourly"]) * 100, 4)
    expect(page.locator(".chart")).to_have_class("chart on")
    page.keyboard.press("ArrowRight")
    assert chart.get_attribute("aria-valuetext") != spoken
    page.get_by_text("The same as a table").click()
    lines = page.locator("details tbody tr")
    expect(lines.filter(has_text="settled")).to_have_count(len(told))
    newest = lines.filter(has_text="settled").first
    assert near(newest.locator("td").nth(3).inner_text(), Decimal(told[-1]["rate"]) * 100, 4)
    expect(newest.locator("time")).to_have_attribute("title", re.compile(r"UTC$"))
    assert "8 h" in newest.inner_text()


def test_venues_are_added_to_the_chart_and_the_period_changes(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/history/ETH?dex=okx")
    expect(page.get_by_text(re.compile("settlement"))).to_be_visible()
    page.get_by_label("hyperliquid").check()
    both = [api(page, scene, f"/history/funding-rates/{dex}/ETH?period=24h&resolution=settled")["count"] for dex in ("okx", "hyperliquid")]
    page.get_by_role("radio", name="24 h").check()
    expect(page.get_by_text(f"{sum(both)} settlements")).to_be_visible()
    assert "dex=hyperliquid%2Cokx" in page.url
    assert "period=24h" in page.url
    page.get_by_role("combobox", name="Symbol").fill("nothing")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No market called “nothing”")).to_be_visible()


# ---- pair


def test_a_pair_shows_its_value_by_time_and_what_it_costs(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/opportunities?symbol=ETH&min_profit=-2&horizon_hours=72")
    page.locator("tr[data-pair] a").first.click()
    expect(page).to_have_title(re.compile(r"^ETH .+ / .+ · perpkit$"))
    long, short = (page.locator(f"h1 .{side}").inner_text() for side in ("long", "short"))
    page.get_by_label("Size per leg").fill("25k")
    pair = next(
        o["pair"]
        for o in api(page, scene, "/opportunities?symbol=ETH&min_profit=-0.02")["opportunities"]
        if f".{long}/" in o["pair"] and o["pair"].endswith(short)
    )
    told = api(page, scene, f"/edge?pair={quoted(pair, safe='')}&size=25000&horizon_hours=72")
    tile = page.locator(".tile")
    expect(tile.filter(has_text="Net after")).to_contain_text("on $25,000 per leg")
    straight = next(p for p in told["curve"] if Decimal(p["hours"]) == 72)
    faded = next(p for p in told["expected"] if Decimal(p["hours"]) == 72)
    assert near(tile.filter(has_text="Net after").locator("b").inner_text(), Decimal(straight["net"]) * 100, 3)
    assert near(tile.filter(has_text="With mean reversion").locator("b").inner_text(), Decimal(faded["net"]) * 100, 3)
    costs = page.get_by_role("region", name="Costs, in and out")
    assert near(costs.get_by_role("row", name="Total").locator("td").nth(1).inner_text(), Decimal(told["costs"]["total"]) * 100, 3)
    assert near(costs.get_by_role("row", name="Total").locator("td").nth(2).inner_text(), Decimal(told["costs"]["total"]) * 25000, 2)
    curve = page.get_by_role("slider", name=re.compile("^Net value by holding time"))
    curve.focus()
    page.keyboard.press("Home")
    assert near((curve.get_attribute("aria-valuetext") or "").partition("now ")[2], Decimal(told["curve"][0]["net"]) * 100, 3)
    expect(page.get_by_text("The order books of the legs are not known")).to_be_visible()
    legs = page.get_by_role("region", name="The two legs")
    assert told["long"]["kind"] in legs.inner_text()
    expect(page.get_by_text(f"{told['persistence']['points']}", exact=True)).to_be_visible()
    expect(page.get_by_text("Not known: order books")).to_be_visible()
    even = tile.filter(has_text="Break-even").locator("b")
    expect(even).to_have_text(re.compile("^≥ |^never$"))  # without books a larger size may cost more than the touch
    for wrong in ("none", "2,5k"):  # not twenty-five thousand
        page.get_by_label("Size per leg").fill("1,500")
        expect(page.get_by_label("Size per leg")).to_have_attribute("aria-invalid", "false")
        page.get_by_label("Size per leg").fill(wrong)
        expect(page.get_by_label("Size per leg")).to_have_attribute("aria-invalid", "true")
    page.get_by_role("link", name="Opportunities").first.click()
    expect(page).to_have_title("Opportunities · perpkit")


def test_a_pair_that_is_none_is_said_in_words(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/pair")
    expect(page.get_by_text("Open one from the opportunities.")).to_be_visible()
    page.goto(f"{scene.url}/#/nowhere")
    expect(page.get_by_role("heading", name="Nothing here")).to_be_visible()


# ---- positions and health


def test_positions_split_their_result(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/positions")
    for told in (OPEN, CLOSED):
        cells = page.locator(f'tr[data-pair="{told["pair_id"]}"] td').all_inner_texts()
        shown = [figure(text) for text in cells[6:13]]
        assert shown == [
            round(Decimal(told["pnl"][part]), 2) for part in ("price", "funding", "fees", "slippage", "unwind", "unexplained", "total")
        ]
    assert near(page.locator(".tile", has_text="Unexplained").locator("b").inner_text(), "-0.12", 2)
    expect(page.locator(f'tr[data-pair="{OPEN["pair_id"]}"]')).to_contain_text("at entry")
    expect(page.locator(f'tr[data-pair="{CLOSED["pair_id"]}"]')).not_to_contain_text("at entry")
    page.get_by_role("link", name="SOL").click()
    expect(page.get_by_role("region", name="Ledger, table").get_by_role("row")).to_have_count(5)
    expect(page.get_by_text("break-even after 14 h")).to_be_visible()
    expect(page).to_have_title("SOL position · perpkit")


def test_health_says_in_words_what_is_wrong(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/health")
    expect(page.get_by_text("lighter: no current answer, so it is in no opportunity.")).to_be_visible()
    row = page.locator('tr[data-dex="lighter"]')
    expect(row).to_contain_text("127.0.0.1")
    assert api(page, scene, "/health/dex/lighter")["dex"]["last_error"] in row.inner_text()
    expect(page.locator('tr[data-dex="okx"]')).to_contain_text("current")
    expect(page.locator('tr[data-task="collection"]')).to_contain_text("running")
    expect(page.get_by_role("region", name="Database")).to_contain_text("scene.db")


# ---- text from venues


def test_what_venues_write_stays_text(open_page: Open, scene: Scene) -> None:
    scene.fail("paradex", '<script>window.hacked=2</script><img src=x onerror="window.hacked=3">')
    page = open_page(f"{scene.url}/#/rates", may_say=["422"])  # no path of the API holds such a name, so its history is refused
    expect(page.get_by_text(HOSTILE, exact=True)).to_be_visible()
    page.goto(f"{scene.url}/#/opportunities")
    expect(page.get_by_text(HOSTILE, exact=True).first).to_be_visible()
    page.locator("tr[data-pair]", has_text=HOSTILE).locator("a").click()
    expect(page.locator("h1")).to_contain_text(HOSTILE)
    page.goto(f"{scene.url}/#/history/{quoted(HOSTILE)}")
    expect(page.locator("h1")).to_contain_text(HOSTILE)
    page.goto(f"{scene.url}/#/health")
    expect(page.get_by_text("<script>window.hacked=2</script>")).to_be_visible()
    assert page.evaluate("[window.hacked ?? null, document.querySelectorAll('img').length]") == [None, 0]
    scripts = page.evaluate("[...document.scripts].map((s) => new URL(s.src).pathname)")
    assert scripts == ["/web/theme.js", "/web/main.js"]
