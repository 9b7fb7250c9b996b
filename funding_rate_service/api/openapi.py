"""The OpenAPI document: FastAPI's paths and parameters, and the answers described by the very types that are encoded."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from funding_rate_service.api.examples import EXAMPLES
from funding_rate_service.api.problems import MEDIA_TYPE
from funding_rate_service.api.shapes import ANSWERS, Problem, Shape

REF = "#/components/schemas/{name}"

_PROBLEMS = {
    400: "The body is not JSON, or nests too deeply.",
    401: "A valid key is needed.",
    403: "Not for this host name or web page, or the key may only read.",
    404: "There is no such thing.",
    409: "It runs already.",
    413: "The body is too large.",
    414: "The address is too long.",
    415: "The body is not JSON.",
    422: "A parameter is unknown, given twice, out of range or contradicts another.",
    429: "Too many requests with this key.",
    500: "A failure of ours; it is in the log.",
    503: "The database cannot be used now, or the answer took too long.",
}
_ALWAYS = (403, 414, 422, 500)


_BY_NAME = {shape.__name__: example for shape, example in EXAMPLES.items()}


def answers(shape: type[Shape], *problems: int, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """What a route may answer: one shape, and these problems besides those that any route has."""
    name = shape.__name__
    content = {"application/json": {"schema": {"$ref": REF.format(name=name)}, "example": EXAMPLES[shape]}}
    told: dict[int | str, dict[str, Any]] = {status: {"description": (shape.__doc__ or "").splitlines()[0], "content": content}}
    for code in sorted({*problems, *_ALWAYS}):
        schema = {"schema": {"$ref": REF.format(name=Problem.__name__)}}
        told[code] = {"description": _PROBLEMS[code], "content": {MEDIA_TYPE: schema}}
    if 429 in problems:
        told[429]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return told


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document, made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags)
        _, components = msgspec.json.schema_components(ANSWERS, ref_template=REF)
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(components)
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for methods in made["paths"].values():
            for told in methods.values():
                for answer in told["responses"].values():
                    for content in answer.get("content", {}).values():
                        if "example" in content:  # what FastAPI leaves of an example has lost its nulls
                            content["example"] = _BY_NAME[content["schema"]["$ref"].rpartition("/")[2]]
        app.openapi_schema = made
    return app.openapi_schema
