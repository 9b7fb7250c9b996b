"""What happens while the page stays open: changes, silence, a service that goes and comes back, themes, phones, contrast."""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Page, expect

from exchange_clients.model import NS_PER_S
from funding_rate_service.opportunity import FundingQuote
from tests.web.conftest import LOST, Open
from tests.web.scene import Scene

pytestmark = pytest.mark.slow
VENUES = ("hyperliquid", "okx", "paradex", "lighter")
VIEWS = ("rates", "opportunities?min_profit=-2", "history/BTC", "positions", "health")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A service without bots."""
    with Scene(tmp_path_factory.mktemp("live"), venues=VENUES, symbols=14, told=3, days=3) as scene:
        yield scene


@pytest.fixture(autouse=True)
def fresh(scene: Scene) -> None:
    """All venues have just answered, also where a test before left the service stopped."""
    scene.start()
    scene.move(1)


SMALL = """() => [...document.querySelectorAll('nav a, #theme, main button:not(.sort), main select')]
    .filter((e) => e.offsetParent).map((e) => [e.textContent.trim(), e.getBoundingClientRect().height]).filter(([, tall]) => tall < 28)"""
FOCUSED = """() => {
    const e = document.activeElement;
    const seen = e.matches('.segmented input') ? e.nextElementSibling : e;
    return [(e.getAttribute('aria-label') ?? e.labels?.[0]?.textContent ?? e.textContent).trim(), getComputedStyle(seen).outlineStyle];
}"""


def at(quote: FundingQuote, rate: str, *, age_s: float = 0, now_ns: int | None = None) -> FundingQuote:
    """The same market with another rate."""
    sample = msgspec.structs.replace(quote.sample, raw_rate=Decimal(rate))
    return msgspec.structs.replace(quote, sample=sample, observed_ns=(now_ns or quote.observed_ns) - int(age_s * NS_PER_S))


def cell(page: Page, symbol: str, dex: str) -> Any:
    return page.locator(f'tr[data-symbol="{symbol}"] td[data-dex="{dex}"]')


def now_ns(scene: Scene) -> int:
    return scene.call(lambda: scene.service.now_ns())


# ---- changes


def test_a_changed_rate_arrives_and_is_seen(open_page: Open, scene: Scene) -> None:
    page = open_page(scene.url)
    expect(page.locator("#connection")).to_contain_text("Live")
    btc = cell(page, "BTC", "hyperliquid")
    expect(btc).to_have_attribute("data-level", re.compile("."))
    scene.put(at(scene.held("hyperliquid", "BTC"), "0.00012345", now_ns=now_ns(scene)))
    expect(btc).to_have_text("+0.0123")
    expect(btc).to_have_attribute("data-level", "p6")
    expect(btc).to_have_class(re.compile("flash-[ab]"))
    assert btc.evaluate("(cell) => getComputedStyle(cell).animationName").startswith("flash")


def test_nothing_moves_for_those_who_want_no_motion(open_page: Open, scene: Scene) -> None:
    page = open_page(scene.url, reduced_motion="reduce")
    btc = cell(page, "BTC", "hyperliquid")
    expect(btc).to_have_attribute("data-level", re.compile("."))
    scene.put(at(scene.held("hyperliquid", "BTC"), "-0.00054321", now_ns=now_ns(scene)))
    expect(btc).to_have_text("\u22120.0543")
    assert btc.evaluate("(cell) => getComputedStyle(cell).animationName") == "none"


def test_rows_hold_still_under_the_pointer(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/opportunities?min_profit=-2&limit=12")
    rows = page.locator("tr[data-pair]")
    expect(rows).to_have_count(12)
    before = [row.get_attribute("data-pair") for row in rows.all()]
    last = before[-1] or ""
    rows.nth(3).hover()
    long, short = last.split("/")
    moved = scene.call(lambda: [q for q in scene.service.board.quotes() if str(q.instrument) in (long, short)])
    scene.put(*(at(q, "-0.004" if str(q.instrument) == long else "0.004", now_ns=now_ns(scene)) for q in moved))
    net = page.locator(f'tr[data-pair="{last}"] [data-column="net"]')
    expect(net).to_contain_text(re.compile(r"^\+\d"))
    assert [row.get_attribute("data-pair") for row in rows.all()][:4] == before[:4], "the figures change, the rows stay"
    expect(page.get_by_text("Order held while you point at the table")).to_be_visible()
    page.mouse.move(5, 5)
    expect(rows.first).to_have_attribute("data-pair", last)


def test_stale_rates_look_stale_and_are_in_no_gap(open_page: Open, scene: Scene) -> None:
    page = open_page(scene.url)
    eth = cell(page, "ETH", "okx")
    expect(eth).to_have_attribute("data-level", re.compile("^[npz]"))
    held = scene.held("okx", "ETH")
    scene.put(at(held, "0.05", age_s=400, now_ns=now_ns(scene)))
    expect(eth).to_have_attribute("data-level", "stale")
    expect(eth).to_contain_text(re.compile(r"stale, 7m"))
    expect(eth).not_to_have_class(re.compile("low|high"))
    eth.hover()
    expect(page.get_by_role("tooltip")).to_contain_text("7 min, stale")


def test_a_venue_that_stops_answering_says_so_at_its_column(open_page: Open, scene: Scene) -> None:
    page = open_page(scene.url)
    heading = page.get_by_role("columnheader", name=re.compile("lighter"))
    expect(heading).to_contain_text("down")
    expect(page.locator("#lead")).to_contain_text("3 of 4 venues current")


# ---- the way to the service


def test_a_restart_is_survived_and_nothing_old_looks_fresh(open_page: Open, scene: Scene) -> None:
    page = open_page(scene.url, may_say=LOST, before=lambda page: page.clock.install())
    pill, banner = page.locator("#connection"), page.locator("#banner")
    expect(pill).to_contain_text("Live")
    btc = cell(page, "BTC", "hyperliquid")
    expect(btc).to_have_attribute("data-level", re.compile("^[npz]"))
    scene.stop()
    expect(pill).to_contain_text("Offline")
    page.clock.run_for(2_000)
    expect(banner).to_be_visible()
    expect(banner).to_contain_text("received")
    expect(page.get_by_role("status")).to_contain_text("Offline")
    assert page.locator("body").get_attribute("data-fresh") == "no"
    page.clock.run_for(200_000)
    expect(btc).to_have_attribute("data-level", "stale")
    expect(btc).to_contain_text(re.compile(r"[3-9]m"))
    expect(pill).to_contain_text(re.compile(r"[3-9] min"))
    scene.start()
    page.get_by_role("button", name="Try now").click()
    expect(pill).to_contain_text("Live")
    page.clock.run_for(1_000)
    expect(banner).to_be_hidden()
    expect(btc).to_have_attribute("data-level", re.compile("^[npz]"))
    expect(page.get_by_role("status")).to_contain_text("Live")
    scene.put(at(scene.held("hyperliquid", "BTC"), "0.00022", now_ns=now_ns(scene)))
    page.clock.run_for(1_000)
    expect(btc).to_have_text("+0.0220")


def test_without_a_stream_the_figures_are_fetched(open_page: Open, scene: Scene) -> None:
    def no_stream(page: Page) -> None:
        page.route_web_socket("**/stream**", lambda socket: socket.close(code=1013, reason="enough readers"))

    page = open_page(scene.url, may_say=LOST, before=no_stream)
    expect(page.locator("#connection")).to_contain_text("Polling")
    expect(cell(page, "BTC", "hyperliquid")).to_have_attribute("data-level", re.compile("."))
    assert page.locator("body").get_attribute("data-fresh") == "yes"


def test_a_connected_service_without_new_figures_is_not_called_live(open_page: Open, scene: Scene) -> None:
    page = open_page(scene.url, before=lambda page: page.clock.install())
    expect(page.locator("#connection")).to_contain_text("Live")
    old = scene.call(lambda: scene.service.board.quotes(fresh_only=False))
    scene.put(*(msgspec.structs.replace(q, observed_ns=now_ns(scene) - 500 * NS_PER_S) for q in old))
    page.wait_for_timeout(500)
    page.clock.run_for(1_500)
    expect(page.locator("#connection")).to_contain_text("No new figures")
    expect(page.locator("#banner")).to_contain_text("The service is connected but has no new figures.")


def test_positions_say_that_no_bot_is_watched(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/positions")
    expect(page.get_by_text("This service watches no bots")).to_be_visible()


# ---- looks


@pytest.mark.parametrize("width", [360, 768])
def test_no_view_scrolls_sideways(open_page: Open, scene: Scene, width: int) -> None:
    page = open_page(scene.url, viewport={"width": width, "height": 780}, has_touch=True)
    pair = page.request.get(f"{scene.url}/api/v1/opportunities?min_profit=-1&limit=1&symbol=ETH").json()["opportunities"][0]["pair"]
    for view in (*VIEWS, f"pair/{pair}"):
        page.goto(f"{scene.url}/#/{view}")
        expect(page.locator("main h1")).to_be_visible()
        page.wait_for_timeout(150)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
        small = page.evaluate(SMALL)
        assert not small, f"{view}: too small for a finger: {small}"


def test_the_theme_follows_the_system_until_it_is_chosen(open_page: Open, scene: Scene) -> None:
    page = open_page(scene.url, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    assert dark != light
    button = page.get_by_role("button", name=re.compile("^Theme"))
    button.click()
    expect(button).to_have_accessible_name("Theme: light")
    button.click()
    expect(button).to_have_accessible_name("Theme: dark")
    assert page.evaluate(ground) == dark
    page.reload()
    expect(button).to_have_accessible_name("Theme: dark")
    assert page.evaluate(ground) == dark
    button.click()
    assert page.evaluate(ground) == light


CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_can_be_read_against_its_ground(open_page: Open, scene: Scene, theme: str) -> None:
    scene.put(at(scene.held("okx", "SOL"), "0.001", age_s=400, now_ns=now_ns(scene)))
    page = open_page(scene.url, color_scheme=theme)
    page.wait_for_selector("td[data-level]")
    levels = ["z", "stale", *(f"{sign}{n}" for sign in "pn" for n in range(1, 7))]
    page.evaluate(
        "(levels) => [...document.querySelectorAll('td[data-level]')].forEach((td, n) => (td.dataset.level = levels[n % levels.length]))",
        levels,
    )
    for view in VIEWS:
        if view != "rates":
            page.goto(f"{scene.url}/#/{view}")
            expect(page.locator("main h1")).to_be_visible()
            page.wait_for_timeout(250)
        seen, weak = page.evaluate(CONTRAST)
        assert seen > 10, view
        assert not weak, (view, weak)


def test_a_weak_colour_would_be_found(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/health")
    expect(page.locator("main h1")).to_be_visible()
    page.locator("main h1").evaluate("(h) => (h.style.color = '#9aa4b2')")
    assert any("Health" in found for found in page.evaluate(CONTRAST)[1])


NAMED = {
    "button",
    "link",
    "textbox",
    "searchbox",
    "combobox",
    "checkbox",
    "radio",
    "slider",
    "grid",
    "table",
    "region",
    "navigation",
    "img",
    "columnheader",
    "group",
}


def test_every_control_has_a_name_and_the_page_its_landmarks(open_page: Open, scene: Scene) -> None:
    page = open_page(scene.url)
    session = page.context.new_cdp_session(page)
    session.send("Accessibility.enable")
    for view in (*VIEWS, "opportunities?min_profit=-2&limit=5"):
        page.goto(f"{scene.url}/#/{view}")
        expect(page.locator("main h1")).to_be_visible()
        if "limit=5" in view:
            page.get_by_role("button", name="More filters").click()
        page.wait_for_timeout(250)
        nodes = [n for n in session.send("Accessibility.getFullAXTree")["nodes"] if not n.get("ignored")]
        roles = [n["role"]["value"] for n in nodes]
        for role in ("main", "navigation", "banner"):
            assert roles.count(role) == 1, (view, role)
        headings = [
            n
            for n in nodes
            if n["role"]["value"] == "heading" and any(p["name"] == "level" and p["value"]["value"] == 1 for p in n.get("properties", ()))
        ]
        assert len(headings) == 1, view
        nameless = [n["role"]["value"] for n in nodes if n["role"]["value"] in NAMED and not n.get("name", {}).get("value", "").strip()]
        assert not nameless, (view, nameless)
        polite = page.evaluate("[...document.querySelectorAll('[aria-live]:not([aria-live=off]), [role=status]')].map((e) => e.id)")
        assert polite == ["status"], "one place speaks by itself, and it tells states, not figures"


def test_the_whole_page_is_reached_by_the_tabulator(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/opportunities?min_profit=-2&limit=2")
    expect(page.locator("tr[data-pair]")).to_have_count(2)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    met: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(FOCUSED)
        if page.evaluate("document.activeElement === document.body"):
            break
        assert outline != "none", f"focus on {name!r} cannot be seen"
        met.append(name)
    assert met[0].startswith("Held for")
    for wanted in ("Symbol", "More filters", "Download CSV", "Net %"):
        assert any(wanted in name for name in met), (wanted, met)
