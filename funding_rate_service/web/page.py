"""Serves the web page from the package's own files: no build, nothing from elsewhere, a policy that forbids both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable

import msgspec
from fastapi import FastAPI, Request, Response

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Only this server's own files, no inline script or style, and no string ever becomes markup."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
MODULES = "<!-- modules -->"


class Asset(msgspec.Struct, frozen=True):
    """One file of the page; `tag` is its entity tag."""

    body: bytes
    media_type: str
    tag: str

    @classmethod
    def of(cls, name: str, body: bytes) -> Asset:
        """The type follows from the name's ending."""
        return cls(body, TYPES[name.rpartition(".")[2]], f'"{hashlib.sha256(body).hexdigest()[:20]}"')


def assets() -> dict[str, Asset]:
    """Every file by its path below `static/`; the shell asks for all modules at once, so that none waits for another to be parsed."""
    found = dict(sorted(_walk(files(__package__) / "static", "")))
    modules = (name for name in found if name.endswith(".js") and name != "theme.js")
    links = "\n".join(f'<link rel="modulepreload" href="/web/{escape(name, quote=True)}">' for name in modules)
    shell = found.pop("index.html").decode()
    if MODULES not in shell:
        raise ValueError(f"static/index.html does not hold {MODULES}")
    found["index.html"] = shell.replace(MODULES, links).encode()
    return {name: Asset.of(name, body) for name, body in found.items()}


def mount(app: FastAPI) -> None:
    """Adds `/` and `/web/...` to the application."""
    held = assets()

    async def page(request: Request) -> Response:
        return _answer(request, held["index.html"])

    async def asset(request: Request, path: str) -> Response:
        found = held.get(path)
        if found is None or path == "index.html":
            return Response("no such file\n", 404, headers=HEADERS, media_type="text/plain")
        return _answer(request, found)

    app.add_api_route("/", page, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/web/{path:path}", asset, methods=["GET", "HEAD"], include_in_schema=False)


def _answer(request: Request, asset: Asset) -> Response:
    headers = {**HEADERS, "ETag": asset.tag}
    if asset.tag in (tag.strip() for tag in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    return Response(asset.body, headers=headers, media_type=asset.media_type)


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name.rpartition(".")[2] in TYPES:
            yield prefix + entry.name, entry.read_bytes()
