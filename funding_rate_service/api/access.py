"""Who may speak to an HTTP API of ours, and how often: where it listens, keys that write, callers that ask too much.

Used by the service and by the control API of bots; no framework in here.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_CALLERS = 1_000
FAILED_PER_MINUTE = 20


def is_loopback(host: str) -> bool:
    """Whether this name or address means this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_address(host: str) -> bool:
    """Whether it is an address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Listen(BaseModel):
    """Where an API listens. Beyond loopback it needs TLS, or `allow_plain_remote` where something else encrypts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8787, ge=0, le=65_535)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allow_plain_remote: bool = False

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together")
        if not self.loopback and self.tls_cert is None and not self.allow_plain_remote:
            raise ValueError(
                f"{self.host} can be reached from other machines: set tls_cert and tls_key, or keep 127.0.0.1 and use a tunnel "
                "(allow_plain_remote: true only where something else encrypts)"
            )
        return self

    def tls(self) -> ssl.SSLContext | None:
        """The server's side; None: in clear text."""
        if self.tls_cert is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.tls_cert, self.tls_key)
        return context


class ServeConfig(Listen):
    """Where the service listens and how much it lets through. `allowed_hosts`: names by which others reach it, as behind a proxy."""

    port: int = Field(default=8786, ge=0, le=65_535)
    allowed_hosts: tuple[str, ...] = ()
    connections: int = Field(default=2_048, ge=8, le=100_000)
    writes_per_minute: int = Field(default=30, ge=1)


class Rates:
    """How many requests each caller made in the running minute; the callers remembered are bounded."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def left_s(self, caller: str, limit: int) -> float | None:
        """None when this caller may ask once more (and it is counted); else after how many seconds."""
        now = self._monotonic()
        since, count = self._seen.pop(caller, (now, 0))
        if now - since >= 60:
            since, count = now, 0
        self._seen[caller] = (since, min(count + 1, limit + 1))
        while len(self._seen) > MAX_CALLERS:
            self._seen.popitem(last=False)
        return None if count < limit else 60 - (now - since)

    def wait_s(self, caller: str, limit: int) -> float | None:
        """As `left_s`, and nothing is counted."""
        now = self._monotonic()
        since, count = self._seen.get(caller, (now, 0))
        return None if count < limit or now - since >= 60 else 60 - (now - since)
