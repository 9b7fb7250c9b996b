"""Bodies of requests: small, JSON, and of one shape."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from fastapi import Request
from pydantic import BaseModel, ValidationError

from funding_rate_service.api.problems import Problem

MAX_BODY = 16 * 1024
MAX_BRACKETS = 50
"""No body nests; a decoder that is fed thousands of brackets may run out of stack."""

M = TypeVar("M", bound=BaseModel)


async def given(request: Request, model: type[M]) -> M:
    """The body as this model; an empty one is an empty object.

    Raises:
        Problem: 400, 413, 415 or 422, and why.
    """
    text = b""
    async for chunk in request.stream():
        text += chunk
        if len(text) > MAX_BODY:
            raise Problem(413, "the body is too large")
    if text and request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "send application/json")
    if text.count(b"{") + text.count(b"[") > MAX_BRACKETS:
        raise Problem(400, "the body nests too deeply")
    try:
        return model.model_validate(msgspec.json.decode(text) if text else {})
    except msgspec.DecodeError:
        raise Problem(400, "the body is not JSON") from None
    except ValidationError as e:
        wrong = [f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {item['msg']}" for item in e.errors(include_input=False)]
        raise Problem(422, "the body does not fit", wrong[0], problems=wrong[:20]) from None
