"""What the page is made of, without a browser: own files only, strict headers, all of it in the package."""

import asyncio
import re
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pytest
from fastapi import FastAPI
from starlette.types import Message, Scope

from funding_rate_service.web import page

STATIC = Path(page.__file__).parent / "static"
SCRIPTS = sorted(STATIC.rglob("*.js"))
IMPORT = re.compile(r'^import .* from "(.+)";$', re.MULTILINE)
MARKUP = (
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "DOMParser",
    "eval(",
    "new Function",
    'setAttribute("style"',
    "srcdoc",
)


class Answer(NamedTuple):
    """What the application sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Client:
    """Speaks to the page's application without a socket."""

    def __init__(self) -> None:
        self._app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        page.mount(self._app)

    def get(self, path: str, *, method: str = "GET", **headers: str) -> Answer:
        sent: list[Message] = []
        scope: Scope = {
            "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "server": ("127.0.0.1", 80), "root_path": "",
            "path": unquote(path), "raw_path": path.encode(), "query_string": b"",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }  # fmt: skip

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        asyncio.run(self._app(scope, receive, send))
        held = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], held, b"".join(message.get("body", b"") for message in sent[1:]))


@pytest.fixture(scope="module")
def client() -> Client:
    return Client()


def test_the_shell_names_every_module_and_nothing_from_elsewhere(client: Client) -> None:
    shell = client.get("/")
    assert shell.headers["content-type"] == "text/html; charset=utf-8"
    found = re.findall(r'(?:src|href)="([^"#][^"]*)"', shell.text)
    assert len(found) > 18
    for address in found:
        assert address.startswith("/web/"), address
        assert client.get(address).status == 200, address
    assert {f"/web/{script.relative_to(STATIC).as_posix()}" for script in SCRIPTS} <= set(found)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", shell.text), "nothing inline"


def test_the_policy_allows_this_server_only(client: Client) -> None:
    for address in ("/", "/web/main.js", "/web/nothing.js"):
        policy = client.get(address).headers["content-security-policy"]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert rules["require-trusted-types-for"] == "'script'"
        assert rules["trusted-types"] == "'none'"
        assert "unsafe" not in policy
        assert client.get(address).headers["x-content-type-options"] == "nosniff"


def test_an_unchanged_file_is_not_sent_again(client: Client) -> None:
    first = client.get("/web/base.css")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/web/base.css", if_none_match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert client.get("/web/base.css", if_none_match='"other"').status == 200
    assert client.get("/", method="HEAD").status == 200


@pytest.mark.parametrize("path", ["/web/", "/web/index.html", "/web/../page.py", "/web/%2e%2e/page.py", "/web/views", "/web/base.css/x"])
def test_nothing_else_is_served(client: Client, path: str) -> None:
    assert client.get(path).status == 404


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.relative_to(STATIC)))
def test_scripts_are_ours_and_make_no_markup(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    for name in IMPORT.findall(text):
        assert (script.parent / name).resolve().is_relative_to(STATIC), name
        assert (script.parent / name).is_file(), f"{name} is not there"
    assert not [word for word in MARKUP if word in text]
    without = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://", without), "no address of somebody else"
    assert all(len(line) < 500 for line in text.splitlines()), "no minified code"


def test_the_files_are_data_of_the_package() -> None:
    shipped = files("funding_rate_service.web") / "static"
    assert set(page.assets()) == {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()}
    assert (shipped / "views" / "rates.js").is_file()


def test_every_colour_of_one_theme_has_its_counterpart_in_the_other() -> None:
    text = (STATIC / "base.css").read_text(encoding="utf-8")
    light = re.search(r":root \{(.+?)\n\}", text, re.S)
    chosen = re.search(r'\[data-theme="dark"\] \{(.+?)\n\}', text, re.S)
    system = re.search(r":root:not\(\[data-theme\]\) \{(.+?)\n  \}", text, re.S)
    assert light
    assert chosen
    assert system
    colours = [dict(re.findall(r"--([\w-]+): (#\w+|rgb[^;]+)", found[1])) for found in (light, chosen, system)]
    assert colours[1] == colours[2], "the system's dark and the chosen dark are one"
    missing = set(colours[0]) - set(colours[1])
    assert not missing
