"""What a human may set on a client."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator


class EndpointOverride(BaseModel):
    """Addresses that replace the environment's own: how loopback dialects are reached."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rest: str | None = None
    ws: dict[str, str] = Field(default_factory=dict)
    grpc: tuple[str, ...] = ()
    chain_id: int | str | None = None


class ClientConfig(BaseModel):
    """Frozen; unknown keys are errors. Times in seconds, prices as fractions.

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
    proxy: str | None = None
    limits_share: float = Field(default=1.0, gt=0, le=1)
    state_directory: Path | None = None
    command_channel: str = Field(default="rest", pattern="^(rest|ws)$")
    venue_options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("environment")
    @classmethod
    def _prod_is_mainnet(cls, value: str) -> str:
        return "mainnet" if value == "prod" else value
