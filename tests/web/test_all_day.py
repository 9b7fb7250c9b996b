"""A page that stays open: sleep, outages, a pointer left on the table, and what a reader has focused."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Page, WebSocket, expect

from tests.web.conftest import LOST, Open
from tests.web.positions import Bots
from tests.web.scene import Scene

pytestmark = pytest.mark.slow
VENUES = ("hyperliquid", "okx", "paradex", "lighter")
ETH = "min_profit=-2&symbol=ETH"
SLEEP = """(() => {
    const date = Date.now.bind(Date);
    let slept = 0;
    Date.now = () => date() + slept;
    window.sleep = (seconds) => { slept += seconds * 1000; };
})()"""
"""As on a machine that sleeps: the time of day goes on, the time since the page began stands still."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("day"), venues=VENUES, symbols=8, told=2, days=2, positions=Bots()) as scene:
        yield scene


@pytest.fixture(autouse=True)
def fresh(scene: Scene) -> None:
    """All venues have just answered."""
    scene.start()
    scene.move(1)


def cell(page: Page, symbol: str, dex: str) -> Any:
    return page.locator(f'tr[data-symbol="{symbol}"] td[data-dex="{dex}"]')


def clocked(page: Page) -> None:
    page.clock.install()


# ---- nothing old looks fresh


def test_figures_grow_old_while_the_machine_sleeps(open_page: Open, scene: Scene) -> None:
    page = open_page(scene.url, may_say=LOST, before=lambda page: page.add_init_script(SLEEP))
    expect(cell(page, "BTC", "hyperliquid")).to_have_attribute("data-level", re.compile("^[npz]"))
    scene.stop()
    expect(page.locator("#connection")).to_contain_text("Offline")
    page.evaluate("sleep(3600)")
    expect(cell(page, "BTC", "hyperliquid")).to_have_attribute("data-level", "stale")
    expect(page.locator("#connection")).to_contain_text("60 min")


def test_after_sleep_the_stream_is_opened_anew(open_page: Open, scene: Scene) -> None:
    opened: list[WebSocket] = []

    def before(page: Page) -> None:
        page.add_init_script(SLEEP)
        page.on("websocket", lambda socket: opened.append(socket))

    page = open_page(scene.url, before=before)
    expect(page.locator("#connection")).to_contain_text("Live")
    assert len(opened) == 1
    page.evaluate("sleep(3600)")
    with page.expect_websocket():
        pass
    expect(page.locator("#connection")).to_contain_text("Live")
    expect(cell(page, "BTC", "hyperliquid")).to_have_attribute("data-level", re.compile("^[npz]"))


@pytest.mark.parametrize("view", ["health", "rates"])
def test_without_the_service_no_venue_is_called_current(open_page: Open, scene: Scene, view: str) -> None:
    page = open_page(f"{scene.url}/#/{view}", may_say=LOST, before=clocked)
    place = page.locator("main")
    expect(place).to_contain_text("3 of 4 venues")
    scene.stop()
    expect(page.locator("#connection")).to_contain_text("Offline")
    page.clock.fast_forward(400_000)
    page.clock.run_for(2_000)
    expect(place).to_contain_text("0 of 4 venues")
    if view == "health":
        expect(page.locator(".said")).to_contain_text(re.compile(r"heard \d min ago"))
        expect(page.locator('tr[data-dex="okx"]')).to_contain_text("stale")
    else:
        expect(page.get_by_role("columnheader", name=re.compile("okx"))).to_contain_text("stale")


def test_an_outage_is_told_once(open_page: Open, scene: Scene) -> None:
    page = open_page(scene.url, may_say=LOST, before=clocked)
    expect(page.locator("#connection")).to_contain_text("Live")
    page.evaluate(
        """() => {
            window.told = [];
            const note = () => window.told.push(document.getElementById('status').textContent);
            new MutationObserver(note).observe(document.getElementById('status'), { childList: true, characterData: true, subtree: true });
            window.gone = 0;
            new MutationObserver(() => (window.gone += document.getElementById('banner').hidden ? 1 : 0)).observe(
                document.getElementById('banner'), { attributes: true });
        }"""
    )
    scene.stop()
    expect(page.locator("#banner")).to_be_visible()
    page.route_web_socket("**/stream**", lambda socket: None)  # a way on which nothing is answered
    page.evaluate("window.told = []; window.gone = 0")
    for _ in range(20):
        page.clock.run_for(4_000)
        page.wait_for_timeout(20)
    expect(page.locator("#banner")).to_be_visible()
    assert page.evaluate("window.gone") == 0, "the banner stays, so nothing moves"
    assert page.evaluate("window.told") == []


# ---- figures that can be misread


def test_the_time_until_funding_reads_like_no_time_of_day(open_page: Open, scene: Scene) -> None:
    page = open_page(scene.url)
    cell(page, "BTC", "hyperliquid").hover()
    card = page.get_by_role("tooltip")
    expect(card).to_contain_text(re.compile(r"Next fundingin (\d+ min )?\d+ s \(\d\d:30\)"))
    told = page.evaluate(
        "async () => { const { countdown } = await import('/web/format.js'); return [9, 75, 7261, -20, -120, null].map(countdown); }"
    )
    assert told == ["in 9 s", "in 1 min 15 s", "in 2 h 01 min", "now", "passed", "\u2013"]


# ---- what the reader has in hand stays


def test_a_row_that_is_gone_keeps_its_place_under_the_pointer(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/opportunities?min_profit=-2&symbol=SOL")
    rows = page.locator("tr[data-pair]")
    expect(rows).to_have_count(3)
    before = [row.get_attribute("data-pair") or "" for row in rows.all()]
    rows.nth(2).hover()
    old = [q for q in scene.call(lambda: scene.service.board.quotes()) if str(q.instrument) in before[0].split("/")]
    scene.put(*(msgspec.structs.replace(q, observed_ns=q.observed_ns - 900 * 10**9) for q in old[:1]))
    expect(page.locator("tr[data-pair].gone").first).to_be_attached()
    assert [row.get_attribute("data-pair") for row in rows.all()] == before
    page.mouse.move(5, 5)
    expect(page.locator("tr[data-pair].gone")).to_have_count(0)
    assert 0 < rows.count() < len(before)


def test_a_pointer_that_rests_holds_no_order(open_page: Open, scene: Scene) -> None:
    page = open_page(scene.url, before=clocked)
    rows = page.locator("tr[data-symbol]")
    expect(cell(page, "BTC", "okx")).to_have_attribute("data-level", re.compile("^[npz]"))
    rows.nth(2).hover()
    last = rows.last.get_attribute("data-symbol") or ""
    held = next(q for q in scene.call(lambda: scene.service.board.quotes()) if q.instrument.base == last)
    scene.put(msgspec.structs.replace(held, sample=msgspec.structs.replace(held.sample, raw_rate=Decimal("0.09"))))
    page.wait_for_timeout(500)
    page.clock.run_for(6_000)
    expect(rows.last).to_have_attribute("data-symbol", last)
    expect(page.get_by_text("Order held while you point at the table")).to_be_visible()
    page.clock.run_for(70_000)
    expect(rows.first).to_have_attribute("data-symbol", last)
    expect(page.get_by_text("Order held while you point at the table")).to_be_hidden()


def test_focus_and_selection_outlive_a_refresh(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/opportunities?{ETH}", before=clocked)
    page.locator("tr[data-pair] a").first.click()
    link = page.locator(".legs a").first
    link.focus()
    page.clock.run_for(3_000)
    expect(link).to_be_focused()
    page.goto(f"{scene.url}/#/health")
    failed = page.locator('tr[data-dex="lighter"] .errors')
    expect(failed).to_contain_text(re.compile("."))
    failed.evaluate("(cell) => getSelection().selectAllChildren(cell)")
    chosen = page.evaluate("getSelection().toString()")
    page.clock.run_for(3_000)
    assert chosen
    assert page.evaluate("getSelection().toString()") == chosen


def test_a_table_of_positions_keeps_its_place(open_page: Open, scene: Scene) -> None:
    answers: list[dict[str, Any]] = []

    def marked(page: Page) -> None:
        """The result of the pairs moves with the market."""

        def answer(route: Any) -> None:
            body = route.fetch().json()
            answers.append(body)
            for position in body["positions"]:
                if position["pnl"]:
                    position["pnl"]["price"] = str(len(answers))
            route.fulfill(json=body)

        page.route("**/api/v1/positions", answer)

    page = open_page(f"{scene.url}/#/positions", before=marked, viewport={"width": 390, "height": 800})
    box = page.locator("main .scroll")
    expect(box).to_be_visible()
    box.evaluate("(box) => (box.scrollLeft = 150)")
    page.locator("tr[data-pair] a").first.evaluate("(a) => a.focus({ preventScroll: true })")
    box.evaluate("(box) => (box.scrollLeft = 150)")
    page.wait_for_function("() => [...document.querySelectorAll('td')].some((td) => td.textContent === '+2.00')")
    assert box.evaluate("(box) => box.scrollLeft") == 150
    expect(page.locator("tr[data-pair] a").first).to_be_focused()


def test_a_crosshair_stays_through_new_data(open_page: Open, scene: Scene) -> None:
    page = open_page(f"{scene.url}/#/opportunities?{ETH}")
    page.locator("tr[data-pair] a").first.click()
    slider = page.get_by_role("slider", name=re.compile("Net value by holding time"))
    slider.focus()
    slider.press("Home")
    first = slider.get_attribute("aria-valuetext") or ""
    assert first.startswith("after 0 h") or first.startswith("after 1 h")
    with page.expect_response("**/edge?**"):
        scene.move(1)
    page.wait_for_timeout(300)
    assert (slider.get_attribute("aria-valuetext") or "").split(":")[0] == first.split(":")[0]
