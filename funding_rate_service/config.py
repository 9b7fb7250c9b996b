"""What a human may set on the service. A value object: files are read elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from exchange_clients import venues
from exchange_clients.config import ClientConfig, EndpointOverride
from exchange_clients.errors import ConfigError
from funding_rate_service.board import Limits
from funding_rate_service.fees import FeeTable, MarketFees

STALE_INTERVALS: Final = 2.5
LONGEST_AGE_S: Final = 180.0
LONGEST_ROUND_S: Final = 45.0
ROUND_PART: Final = 0.75


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VenueConfig(_Settings):
    """One venue; what is None follows the service. Seconds and days.

    `interval_s`: between rounds. `deadline_s`: of one round. `stale_after_s`: age limit of its rates. `limits_share`:
    of the venue's limits.
    Fees are those of your account there, as fractions.
    """

    interval_s: float | None = Field(default=None, ge=1, le=3600)
    deadline_s: float | None = Field(default=None, gt=0, le=3600)
    stale_after_s: float | None = Field(default=None, gt=0, le=86_400)
    limits_share: float | None = Field(default=None, gt=0, le=1)
    backfill_days: int | None = Field(default=None, ge=0, le=3650)
    environment: str = "mainnet"
    endpoints: EndpointOverride = EndpointOverride()
    proxy: SecretStr | None = None
    venue_options: dict[str, Any] = Field(default_factory=dict)
    maker_fee: Decimal | None = Field(default=None, gt=-1, lt=1)
    taker_fee: Decimal | None = Field(default=None, gt=-1, lt=1)


class RetentionConfig(_Settings):
    """Days that samples, opportunities and the log of rounds are kept. Hourly and settled rates stay."""

    raw_days: int = Field(default=90, ge=1)
    opportunity_days: int = Field(default=90, ge=1)
    log_days: int = Field(default=30, ge=1)


class ServiceConfig(_Settings):
    """The collector and what it feeds. `venues`: names, or names with settings of their own; none means every registered one.

    `max_clock_error_s`: a rate that the venue itself stamped that much before or after now is not believed. `samples_in_memory`: kept while
    the database cannot be written; the oldest go first. `backfill_markets`: how many of each venue's markets, the busiest first.
    """

    venues: dict[str, VenueConfig] = Field(default_factory=dict)
    interval_s: float = Field(default=60.0, ge=1, le=3600)
    stale_after_s: float | None = Field(default=None, gt=0, le=86_400)
    request_timeout_s: float = Field(default=10.0, gt=0, le=120)
    limits_share: float = Field(default=1.0, gt=0, le=1)
    max_clock_error_s: float = Field(default=900.0, gt=0)
    backfill_days: int = Field(default=30, ge=0, le=3650)
    backfill_markets: int = Field(default=100, ge=0)
    backfill_pause_s: float = Field(default=2.0, ge=0, le=3600)
    samples_in_memory: int = Field(default=200_000, ge=0)
    retention: RetentionConfig = RetentionConfig()

    @field_validator("venues", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        """A list of names is as good as a mapping."""
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
            return {name: {} for name in value}
        if isinstance(value, Mapping):
            return {name: {} if settings is None else settings for name, settings in value.items()}
        return value

    @model_validator(mode="after")
    def _possible(self) -> ServiceConfig:
        """Registered venues, in environments that they have."""
        for name, settings in self.venues.items():
            try:
                spec = venues.get(name).spec
            except ConfigError as e:
                raise ValueError(str(e)) from None
            environment = "mainnet" if settings.environment == "prod" else settings.environment
            if environment not in spec.environments:
                there = ", ".join(spec.environments)
                raise ValueError(f"venues.{name}.environment: {name} has no {settings.environment!r}; there are {there}")
        return self

    @classmethod
    def parse(cls, given: Mapping[str, Any] | None = None) -> ServiceConfig:
        """A checked configuration.

        Raises:
            ConfigError: one line per problem; an unknown key comes with the nearest that there is.
        """
        try:
            return cls.model_validate(dict(given or {}))
        except ValidationError as e:
            raise ConfigError("\n".join(dict.fromkeys(_explain(dict(problem)) for problem in e.errors()))) from None

    # ---- what holds for one venue

    @property
    def names(self) -> tuple[str, ...]:
        """The venues to collect from."""
        return tuple(self.venues) or venues.names()

    def of(self, venue: str) -> VenueConfig:
        return self.venues.get(venue) or VenueConfig()

    def interval_of(self, venue: str) -> float:
        """Seconds between rounds."""
        return self.of(venue).interval_s or self.interval_s

    def deadline_of(self, venue: str) -> float:
        """Seconds that a round may take."""
        return self.of(venue).deadline_s or min(ROUND_PART * self.interval_of(venue), LONGEST_ROUND_S)

    def stale_after_of(self, venue: str) -> float:
        """Seconds after which a rate is no leg any more."""
        return (
            self.of(venue).stale_after_s
            or self.stale_after_s
            or max(min(STALE_INTERVALS * self.interval_of(venue), LONGEST_AGE_S), self.interval_of(venue) * 1.25)
        )

    def backfill_days_of(self, venue: str) -> int:
        own = self.of(venue).backfill_days
        return self.backfill_days if own is None else own

    def limits(self) -> Limits:
        return Limits(
            default_s=self.stale_after_s or min(STALE_INTERVALS * self.interval_s, LONGEST_AGE_S),
            by_venue={name: self.stale_after_of(name) for name in self.names},
        )

    def fees(self) -> FeeTable:
        return FeeTable({name: MarketFees(one.maker_fee, one.taker_fee) for name, one in self.venues.items()})

    def client_of(self, venue: str) -> ClientConfig:
        """Settings of the venue's adapter."""
        own = self.of(venue)
        return ClientConfig(
            environment=own.environment,
            endpoints=own.endpoints,
            proxy=own.proxy,
            venue_options=own.venue_options,
            limits_share=own.limits_share or self.limits_share,
            request_timeout_s=self.request_timeout_s,
        )


_MODELS: Final[Mapping[str, type[BaseModel]]] = {"venues": VenueConfig, "retention": RetentionConfig, "endpoints": EndpointOverride}


def _explain(problem: Mapping[str, Any]) -> str:
    """One problem in one line: where, what, and what to write instead. Nothing of the input is echoed but names of keys."""
    place = [str(part) for part in problem["loc"]]
    where = ".".join(place)
    if problem["type"] == "extra_forbidden":
        owner = next((_MODELS[part] for part in reversed(place[:-1]) if part in _MODELS), ServiceConfig)
        there = sorted(owner.model_fields)
        near = get_close_matches(place[-1], there, n=1, cutoff=0.5)
        return f"{where}: no such setting; " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(there)}")
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
