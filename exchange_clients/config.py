"""What a human may set on a client."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator


class EndpointOverride(BaseModel):
    """Addresses that replace the environment's own: how loopback dialects are reached."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rest: str | None = None
    ws: dict[str, str] = Field(default_factory=dict)
    grpc: tuple[str, ...] = ()
    chain_id: int | str | None = None


class ClientConfig(BaseModel):
    """Frozen; unknown keys are errors. Times in seconds, prices as fractions. `proxy` is an HTTP proxy's address, and hides its password.

    `ticker` sets the market that verbs without a symbol mean. `limits_share`: this process's share of the venue's limits. `state_directory`
    keeps client order ids durable; None keeps them in memory (an account that outlives the process needs the directory).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str = "mainnet"
    ticker: str | None = None
    endpoints: EndpointOverride = EndpointOverride()
    request_timeout_s: float = Field(default=10.0, gt=0, le=120)
    command_timeout_s: float = Field(default=10.0, gt=0, le=120)
    stale_after_s: float = Field(default=30.0, gt=0)
    max_book_age_s: float = Field(default=2.0, gt=0)
    max_market_slippage: Decimal = Field(default=Decimal("0.005"), gt=0, lt=1)
    proxy: SecretStr | None = None
    limits_share: float = Field(default=1.0, gt=0, le=1)
    state_directory: Path | None = None
    command_channel: str = Field(default="rest", pattern="^(rest|ws)$")
    venue_options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("environment")
    @classmethod
    def _prod_is_mainnet(cls, value: str) -> str:
        return "mainnet" if value == "prod" else value

    @field_validator("proxy")
    @classmethod
    def _is_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (problem := proxy_problem(value.get_secret_value())):
            raise ValueError(problem)
        return value

    @property
    def proxy_address(self) -> str | None:
        """As the network layer wants it, password included."""
        return None if self.proxy is None else self.proxy.get_secret_value()


def proxy_problem(address: str) -> str | None:
    """What keeps an address from being a proxy's, without repeating it."""
    try:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.path in ("", "/") and not parts.query:
            return None
    except ValueError:
        pass
    return "a proxy is written http://HOST:PORT or http://USER:PASSWORD@HOST:PORT"
