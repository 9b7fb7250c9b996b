"""A real browser on the real page; every test also proves that nothing left this machine and that the console stayed empty."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
LOST = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "WebSocket connection to", "ERR_SOCKET_NOT_CONNECTED")
"""What the browser itself says in its console when a server is away."""

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium. Its driver keeps a loop of its own running, so it ends with the module."""
    found = shutil.which("chromium")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must run the browser tests, and there is no chromium")
        pytest.skip("no chromium on this machine")
    with sync_playwright() as playwright:
        expect.set_options(timeout=20_000)
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """`open_page(url, may_say=(), **context)`; `may_say`: words that the browser's own console may hold."""
    strangers: list[str] = []
    said: list[str] = []
    with ExitStack() as stack:

        def opened(url: str, *, may_say: Iterable[str] = (), before: Callable[[Page], None] | None = None, **context: Any) -> Page:
            settings = {
                "viewport": {"width": 1440, "height": 900},
                "locale": "en-GB",
                "timezone_id": "Asia/Kolkata",
                "color_scheme": "light",
            }
            page = browser.new_context(**{**settings, **context}).new_page()
            stack.callback(page.context.close)

            def meet(address: str) -> None:
                if urlsplit(address).scheme not in ("blob", "data") and urlsplit(address).hostname != "127.0.0.1":
                    strangers.append(address)

            def hear(message: ConsoleMessage) -> None:
                expected = any(words in message.text for words in may_say)
                if message.type in ("error", "warning") and not expected:
                    said.append(f"{message.type}: {message.text}")

            page.context.on("request", lambda request: meet(request.url))
            page.on("websocket", lambda socket: meet(socket.url))
            page.on("console", hear)
            page.on("pageerror", lambda error: said.append(f"uncaught: {error}"))
            page.set_default_timeout(25_000)
            if before is not None:
                before(page)
            page.goto(url)
            return page

        yield opened
    assert not strangers, f"asked elsewhere: {strangers}"
    assert not said, f"the console says: {said}"
