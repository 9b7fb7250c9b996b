"""A bot as a human writes it: one YAML file, checked to the last key before anything is opened."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from exchange_clients import venues
from exchange_clients.config import ClientConfig
from exchange_clients.errors import ConfigError
from perpkit.bot.notify import TargetConfig
from strategies import registry
from strategies.base_strategy import BaseStrategy, InvalidParameters, explain
from strategies.risk.limits import RiskLimits

if TYPE_CHECKING:
    from perpkit.bot.control import ControlConfig

_SECRET_NAME = re.compile(r"(^|_)(secret|private_key|mnemonic|passphrase|password|api_key|seed)(_|$)", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"^(0x)?[0-9a-fA-F]{64,}$")
_PASSWORD = re.compile(r"(?<=://)[^\s'\"@/]*:[^\s'\"]*(?=@)")
_MAY_HOLD_ADDRESSES = frozenset({"notifications"})
"""Where tokens are part of an address; their own model hides them."""


class InvalidConfig(ValueError):
    """The file is not usable; one line per problem, each with what to do."""

    def __init__(self, problems: list[str], where: str = "") -> None:
        super().__init__("\n".join(f"{where}: {problem}" if where else problem for problem in problems))
        self.problems = problems


class PaperConfig(BaseModel):
    """The virtual account of paper (and of shadow where the venue cannot be asked without a key), and how its orders travel.

    `balance_usd` is opened once per venue and account, `balances` differs by venue. Latencies in milliseconds, each way. Fees as fractions,
    for venues that publish none. `book_levels` of the live book are followed. A shrunk level counts for a queue only `trade_grace_ms`
    later, because the trade that shrank it may still be on its way.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    balance_usd: Decimal = Field(default=Decimal(10_000), gt=0)
    balances: dict[str, Decimal] = Field(default_factory=dict)
    entry_latency_ms: int = Field(default=100, ge=0, le=10_000)
    report_latency_ms: int = Field(default=50, ge=0, le=10_000)
    maker_fee: Decimal | None = Field(default=None, gt=-1, lt=1)
    taker_fee: Decimal | None = Field(default=None, gt=-1, lt=1)
    book_levels: int = Field(default=50, ge=1, le=1000)
    trade_grace_ms: int = Field(default=1000, ge=0, le=60_000)

    def deposit(self, venue: str) -> Decimal:
        """What the virtual account on a venue starts with."""
        return self.balances.get(venue, self.balance_usd)


class BotConfig(BaseModel):
    """One bot. `venues`: name -> settings of its client; `parameters`: those of the strategy.

    `account` names the credentials and keeps journals apart. Keys that may withdraw are refused live unless `allow_withdraw_keys`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: str
    account: str = Field(default="main", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,40}$")
    venues: dict[str, dict[str, Any]] = Field(min_length=1)
    parameters: dict[str, Any] = Field(default_factory=dict)
    risk: RiskLimits = Field(default_factory=lambda: RiskLimits.model_validate({}))
    paper: PaperConfig = PaperConfig()
    backtest: dict[str, Any] = Field(default_factory=dict)
    allow_withdraw_keys: bool = False
    notifications: tuple[TargetConfig, ...] = ()
    control: dict[str, Any] | None = None

    _text: str = PrivateAttr(default="")
    _parsed: BaseModel | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _bare_venues(cls, values: Any) -> Any:
        """`venues: [a, b]` and `a:` without settings mean defaults."""
        if isinstance(values, Mapping) and (given := values.get("venues")) is not None:
            if isinstance(given, list) and all(isinstance(name, str) for name in given):
                return {**values, "venues": {name: {} for name in given}}
            if isinstance(given, Mapping):
                return {**values, "venues": {name: {} if settings is None else settings for name, settings in given.items()}}
        return values

    @property
    def name(self) -> str:
        """For logs and messages; unique in a process."""
        return f"{self.strategy}:{self.account}"

    @property
    def text(self) -> str:
        """As it was written."""
        return self._text

    @property
    def record(self) -> str:
        """For the journal: as it was written (or, of a bot that has no file, as JSON), passwords in addresses left out, comments too."""
        return _PASSWORD.sub("(hidden)", self._text or self.model_dump_json())

    @property
    def strategy_class(self) -> type[BaseStrategy[Any]]:
        return registry.load(self.strategy)

    @property
    def strategy_config(self) -> BaseModel:
        """The checked parameters."""
        assert self._parsed is not None, "made by load or parse"
        return self._parsed

    @property
    def risk_limits(self) -> RiskLimits:
        return self.risk

    @property
    def control_config(self) -> ControlConfig | None:
        """Where the control API listens, if it is asked for."""
        from perpkit.bot.control import ControlConfig  # it knows bots

        return None if self.control is None else ControlConfig.model_validate(self.control)

    def client_settings(self, venue: str, **more: Any) -> dict[str, Any]:
        """Of a venue's client; `more` goes before what the file says."""
        return {**self.venues[venue], **more}


def load(path: Path) -> BotConfig:
    """Read and check one file.

    Raises:
        InvalidConfig: everything that is wrong with it.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise InvalidConfig([f"cannot be read: {e.strerror}; check the path"], str(path)) from None
    except UnicodeDecodeError:
        raise InvalidConfig(["is not text in UTF-8"], str(path)) from None
    try:
        twice = list(_twice(yaml.compose(text, Loader=yaml.SafeLoader)))
        values = yaml.safe_load(text)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark is not None else ""
        raise InvalidConfig([f"is not YAML: {place}{getattr(e, 'problem', None) or 'it cannot be read'}"], str(path)) from None
    if twice:
        raise InvalidConfig(twice, str(path))
    return parse(values, text=text, where=str(path))


def _twice(node: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Keys that stand twice in one mapping: YAML would take the last one without a word."""
    import yaml

    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _twice(item, (*path, str(number)))
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        here, line = str(key.value), key.start_mark.line + 1
        if here in lines and here != "<<":
            yield f"{'.'.join((*path, here))}: stands twice, in lines {lines[here]} and {line}: leave one"
        lines[here] = line
        yield from _twice(value, (*path, here))


def parse(values: Any, *, text: str = "", where: str = "", also: Collection[str] = ()) -> BotConfig:
    """Check what a file says. `also`: venue names that are good besides the installed ones; a backtest has data of venues without a client.

    Raises:
        InvalidConfig: everything that is wrong with it.
    """
    if not isinstance(values, Mapping):
        raise InvalidConfig(["must be a mapping with `strategy`, `venues` and `parameters`; `perpkit config new` writes one"], where)
    secrets = list(_secrets(values))
    if secrets:
        raise InvalidConfig(secrets, where)
    try:
        config = BotConfig.model_validate(dict(values))
    except ValidationError as e:
        raise InvalidConfig([explain(BotConfig, dict(item)) for item in e.errors()], where) from None
    problems = [*_check_venues(config, also), *_check_strategy(config), *_check_sections(config)]
    if problems:
        raise InvalidConfig(problems, where)
    config._text = text
    return config


def _check_venues(config: BotConfig, also: Collection[str]) -> Iterator[str]:
    there = venues.names()
    for name, settings in config.venues.items():
        if name in also and name not in there:
            continue
        if name not in there:
            near = difflib.get_close_matches(name.lower(), there, n=1)
            if name in (config.backtest.get("venues") or {}):
                yield f"venues.{name}: known to `perpkit backtest` alone, by this file's section backtest; there are {', '.join(there)}"
                continue
            yield f"venues.{name}: no such venue, " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(there)}")
            continue
        try:
            parsed = ClientConfig.model_validate(settings)
        except ValidationError as e:
            yield from (f"venues.{name}.{explain(ClientConfig, dict(item))}" for item in e.errors())
            continue
        try:
            environments = venues.get(name).spec.environment_names
        except ConfigError as e:
            yield f"venues.{name}: {e.message}"
            continue
        if parsed.environment not in environments:
            yield f"venues.{name}.environment: there is no {parsed.environment!r}, there are {', '.join(environments)}"
    for name in config.paper.balances:
        if name not in config.venues:
            yield f"paper.balances.{name}: not among venues ({', '.join(config.venues)})"


def _check_strategy(config: BotConfig) -> Iterator[str]:
    there = registry.names()
    if config.strategy not in there:
        near = difflib.get_close_matches(config.strategy, there, n=1)
        yield f"strategy: there is no {config.strategy!r}, " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(there)}")
        return
    kind = config.strategy_class
    values = _completed(config, set(kind.config_class.model_fields))
    try:
        parsed = kind.validate_parameters(values)
    except InvalidParameters as e:
        yield from (f"parameters.{line}" for line in str(e).splitlines())
        return
    named = parsed.model_dump().get("exchanges") or ()
    for venue in named:
        if venue not in config.venues:
            yield f"parameters.exchanges: {venue} is not among venues ({', '.join(config.venues)})"
    one = parsed.model_dump().get("exchange")
    if one is not None and one not in config.venues:
        yield f"parameters.exchange: {one} is not among venues ({', '.join(config.venues)})"
    account = parsed.model_dump().get("account_name", config.account)
    if account != config.account:
        yield f"parameters.account_name: {account}, but account is {config.account}: say it once, as account"
    config._parsed = parsed


def _check_sections(config: BotConfig) -> Iterator[str]:
    """Those whose models know bots and are not fields for that reason."""
    if config.control is not None:
        from perpkit.bot.control import ControlConfig

        try:
            ControlConfig.model_validate(config.control)
        except ValidationError as e:
            yield from (f"control.{explain(ControlConfig, dict(item))}" for item in e.errors())
    if config.backtest:
        from perpkit.backtest.config import BacktestConfig

        try:
            BacktestConfig.model_validate(config.backtest)
        except ValidationError as e:
            yield from (f"backtest.{explain(BacktestConfig, dict(item))}" for item in e.errors())


def _completed(config: BotConfig, fields: set[str]) -> dict[str, Any]:
    """What the file says once is not asked again: venues and account, where the strategy has a parameter for them."""
    values: dict[str, Any] = {}
    if "exchanges" in fields:
        values["exchanges"] = list(config.venues)
    if "exchange" in fields and len(config.venues) == 1:
        values["exchange"] = next(iter(config.venues))
    if "account_name" in fields:
        values["account_name"] = config.account
    return {**values, **config.parameters}


def _secrets(values: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Keys do not belong into a file that is copied, shown and committed. What was found is not repeated."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            here = (*path, str(key))
            if not path and key in _MAY_HOLD_ADDRESSES:
                continue
            if _SECRET_NAME.search(str(key)) and not isinstance(value, Mapping | list | bool):
                yield f"{'.'.join(here)}: a secret does not belong into this file; {_where_to_put(here)}"
            else:
                yield from _secrets(value, here)
    elif isinstance(values, list | tuple):
        for number, value in enumerate(values):
            yield from _secrets(value, (*path, str(number)))
    elif isinstance(values, str) and _SECRET_VALUE.match(values.strip()):
        yield f"{'.'.join(path)}: this looks like a private key, which does not belong into this file; {_where_to_put(path)}"
    elif isinstance(values, str) and _PASSWORD.search(values):
        what = "keep a proxy with its account: perpkit accounts add --account-name NAME --proxy http://USER@HOST:PORT asks for the password"
        yield f"{'.'.join(path)}: a password does not belong into this file; {what}"


def _where_to_put(path: tuple[str, ...]) -> str:
    """The variables of the venue it stands under."""
    if len(path) > 1 and path[0] == "venues" and path[1] in venues.names():
        fields = venues.get(path[1]).spec.credentials
        return "set " + ", ".join(item.variable.format(env="") for item in fields if item.required) + " in the environment"
    return "set it in the environment (`perpkit venues VENUE` lists the variables)"
