"""`perpkit config`: write the file of a bot by answering questions, and have a file explained."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
from cyclopts import App

from perpkit.cli import running
from perpkit.cli.failure import OK, USAGE, WRONG, Failure
from perpkit.cli.options import Store
from perpkit.cli.output import emit_json, emit_table

config = App(name="config", help="The file of a bot: write one, or have one explained.")

ASKED: Mapping[str, tuple[str, ...]] = {
    "funding_arbitrage": ("symbols", "default_position_size_usd", "max_position_size_usd", "max_positions", "max_total_exposure_usd"),
    "grid": ("direction", "take_profit", "max_orders", "max_margin_usd", "target_leverage", "stop_price"),
}
"""Beside what a strategy requires: parameters that nobody should leave unread."""
SECTIONS = ("parameters", "risk", "paper")
FILLED = ("exchange", "exchanges", "account_name")
"""Said once, as `venues` and `account`."""


# ---- check


@config.command
def check(file: Path, /, *, json: bool = False) -> int:
    """Explain a file: every parameter with its value, unit and meaning; what is wrong with it; what contradicts what.

    Exit code 0 when it can be used, 1 when some settings contradict each other, 2 when it cannot be used.

    Parameters
    ----------
    file:
        The bot's YAML file.
    json:
        Print JSON.
    """
    from perpkit.bot.config import InvalidConfig, load
    from perpkit.bot.contradictions import contradictions

    try:
        bot = load(file)
    except InvalidConfig as e:
        if json:
            emit_json({"file": str(file), "usable": False, "problems": e.problems})
        else:
            for problem in e.problems:
                print(f"{file}: {problem}", file=sys.stderr)
        return USAGE
    odd = contradictions(bot)
    sections = {name: list(_explained(bot, name)) for name in SECTIONS}
    if json:
        emit_json(
            {
                "file": str(file),
                "usable": True,
                "bot": bot.name,
                "venues": {name: _environment(bot, name) for name in bot.venues},
                "contradictions": odd,
                **{name: {p.name: _told(p) for p in found} for name, found in sections.items()},
            }
        )
        return WRONG if odd else OK
    print(f"{bot.name} on {', '.join(f'{name} ({_environment(bot, name)})' for name in bot.venues)}")
    for name, found in sections.items():
        rows = [(p.name, _shown(p.value), "" if p.given else "default", p.unit, _reload(p), p.meaning) for p in found]
        emit_table(name, ("parameter", ">value", "", "unit", "reload", "meaning"), rows)
    for line in odd:
        print(f"contradiction: {line}")
    print(f"{file} can be used" + (f"; {len(odd)} settings contradict each other" if odd else ""))
    return WRONG if odd else OK


def _explained(bot: Any, section: str) -> Iterator[Any]:
    import yaml

    from perpkit.bot.meanings import parameters

    written = (yaml.safe_load(bot.text) or {}).get(section)
    filled = bot.strategy_config if section == "parameters" else getattr(bot, section)
    yield from parameters(type(filled), filled, given=written)


def _environment(bot: Any, venue: str) -> str:
    return str(bot.venues[venue].get("environment", "mainnet"))


def _told(parameter: Any) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.structs.asdict(parameter)
    told.pop("name")
    return {**told, "value": _plain(parameter.value), "default": _plain(parameter.default)}


def _reload(parameter: Any) -> str:
    """What a reload does to it while something is open."""
    return {"lower": "only lower", "higher": "only higher", "none": "at once", "fixed": "new ones only"}[parameter.tighter]


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return ", ".join(_shown(one) for one in value)
    return str(value)


# ---- reload


@config.command
def reload(*, store: Store | None = None, json: bool = False) -> int:
    """Have the running bot read its files again: new positions get the new parameters, open ones only get tighter ones.

    Exit code 1 when something was refused for open positions, or needs a start.

    Parameters
    ----------
    json:
        Print JSON.
    """
    bot = running.find(store or Store())
    if bot is None:
        raise Failure("no bot runs here with a control API", hint="name its journal (--home, --journal), or send it SIGHUP")
    told = running.ask(bot, "/reload")
    refused = [line for one in told["bots"].values() for line in _refused(one)]
    refused += [f"{name}: {why}" for name, why in told["not_reloaded"].items()]
    if json:
        emit_json(told)
    else:
        print(f"reloaded: {', '.join(told['bots']) or 'nothing'}")
        for line in refused:
            print(f"not taken: {line}")
    return WRONG if refused else OK


def _refused(one: Mapping[str, Any]) -> Iterator[str]:
    if "refused" in one:
        yield one["refused"]
        return
    yield from (f"{owner}: {line}" for owner, lines in one["refused_for_open"].items() for line in lines)
    yield from (f"risk.{name} would be looser" for name in one["refused_risk_limits"])
    yield from (f"{name} needs a start" for name in one["needs_start"])


# ---- new


@config.command
def new(
    file: Path = Path("bot.yaml"),
    /,
    *,
    strategy: str | None = None,
    venue: list[str] | None = None,
    account: str | None = None,
    set: list[str] | None = None,
    notify: str | None = None,
    control: bool | None = None,
    force: bool = False,
    json: bool = False,
) -> int:
    """Write the file of a bot. What is not given is asked; without a terminal everything required must be given. Keys are never asked.

    Parameters
    ----------
    file:
        Where to write it.
    strategy:
        Its name.
    venue:
        A venue, or VENUE=ENVIRONMENT (testnet, demo). May be repeated.
    account:
        A name for the account; main when left out.
    set:
        NAME=VALUE of a parameter of the strategy, or of a section: risk.NAME=VALUE, paper.NAME=VALUE. May be repeated.
    notify:
        Name of the environment variable that holds the address for messages.
    control:
        With a control API on this machine.
    force:
        Replace a file that is there.
    json:
        Print JSON.
    """
    from perpkit.bot.config import InvalidConfig, parse

    if file.exists() and not force:
        raise Failure(f"{file} is there already", hint="choose another name, or say --force")
    ask = Questions(input if sys.stdin.isatty() and not json else None)
    values = _answers(ask, strategy, venue or [], account, set or [], notify, control)
    text = _written(values)
    try:
        import yaml

        bot = parse(yaml.safe_load(text), text=text, where=str(file))
    except InvalidConfig as e:
        raise Failure("; ".join(e.problems), hint="nothing was written") from e
    file.write_text(text, encoding="utf-8")
    keys = list(_keys(bot))
    if json:
        emit_json({"file": str(file), "bot": bot.name, "variables": keys})
    else:
        print(f"{file} is written; perpkit config check {file} explains it, perpkit run {file} runs it on paper")
        print(f"for live trading set {', '.join(keys)} in the environment, never in the file")
    return OK


class Questions:
    """Asks until an answer fits; where nobody can be asked, what is missing is an error."""

    def __init__(self, read: Callable[[str], str] | None) -> None:
        self._read = read

    @property
    def possible(self) -> bool:
        return self._read is not None

    def ask(self, question: str, option: str, fits: Callable[[str], Any], *, default: str = "") -> Any:
        """What `fits` makes of the answer; it raises ValueError with the reason for one that does not fit."""
        if self._read is None:
            if default:
                return fits(default)
            raise Failure(f"{option} is missing", hint=f"give it, or run this in a terminal ({question})")
        while True:
            try:
                answer = self._read(f"{question}{f' [{default}]' if default else ''}: ").strip() or default
            except EOFError:
                raise Failure("the questions were not answered", hint="nothing was written") from None
            try:
                return fits(answer)
            except ValueError as e:
                print(f"  {e}")


def _answers(
    ask: Questions, strategy: str | None, venue: list[str], account: str | None, given: list[str], notify: str | None, control: bool | None
) -> dict[str, Any]:
    from strategies import registry

    names = registry.names()
    one_of = _one_of(names)
    chosen = one_of(strategy) if strategy is not None else ask.ask(f"Strategy ({', '.join(names)})", "--strategy", one_of)
    kind = registry.load(chosen)
    sections = _set(given)
    found = _venues(venue) if venue else ask.ask(f"Venues, with commas ({', '.join(_known_venues())})", "--venue", _named_venues)
    values: dict[str, Any] = {"strategy": chosen, "account": account or ask.ask("Name of the account", "--account", str, default="main")}
    values["venues"] = found if venue or not ask.possible else _environments(ask, found)
    filled = {"exchanges"} | ({"exchange"} if len(found) == 1 else set())
    for name in [n for n in kind.get_required_parameters() if n not in filled] + [n for n in ASKED.get(chosen, ()) if ask.possible]:
        if name not in sections["parameters"]:
            answer = _asked(ask, kind.config_class, name)
            if answer is not None:
                sections["parameters"][name] = answer
    values |= {name: found for name, found in sections.items() if found}
    if notify is None and ask.possible:
        notify = ask.ask("Variable that holds the address for messages (empty: no messages)", "--notify", str)
    if control is None and ask.possible:
        control = ask.ask("Control API on this machine (yes, no)", "--control", _yes, default="no")
    return {**values, **({"notifications": [{"env": notify}]} if notify else {}), **({"control": {}} if control else {})}


def _one_of(names: Sequence[str]) -> Callable[[str], str]:
    import difflib

    def fits(answer: str) -> str:
        if answer in names:
            return answer
        near = difflib.get_close_matches(answer, names, n=1)
        raise Failure(f"there is no {answer!r}", hint=f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}")

    return _as_value_error(fits)


def _as_value_error(fits: Callable[[str], Any]) -> Callable[[str], Any]:
    """A failure inside a question is a reason to ask again."""

    class Wrong(Failure, ValueError):
        pass

    def tried(answer: str) -> Any:
        try:
            return fits(answer)
        except Failure as e:
            raise Wrong(f"{e}; {e.hint}" if e.hint else str(e)) from e

    return tried


def _known_venues() -> list[str]:
    from exchange_clients import venues

    return list(venues.names())


def _venues(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    from exchange_clients import venues

    found: dict[str, dict[str, Any]] = {}
    fits = _one_of(_known_venues())
    for entry in given:
        name, _, environment = entry.partition("=")
        spec = venues.get(fits(name)).spec
        if environment and environment not in spec.environment_names:
            raise Failure(f"{name} has no {environment!r}", hint=f"there are {', '.join(spec.environment_names)}")
        found[name] = {"environment": environment} if environment else {}
    return found


def _named_venues(answer: str) -> dict[str, dict[str, Any]]:
    names = answer.replace(",", " ").split()
    if not names:
        raise ValueError("at least one venue")
    return dict(_as_value_error(lambda _: _venues(names))(answer))


def _environments(ask: Questions, found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    from exchange_clients import venues

    for name, settings in found.items():
        known = venues.get(name).spec.environment_names
        if len(known) > 1 and not settings:
            answer = ask.ask(f"{name}: environment ({', '.join(known)})", "--venue", _one_of(known), default="mainnet")
            if answer != "mainnet":
                settings["environment"] = answer
    return found


def _set(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    import yaml

    sections: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for entry in given:
        path, equals, text = entry.partition("=")
        if not equals or not path:
            raise Failure(f"--set {entry} is no NAME=VALUE", hint="for example --set max_positions=3 or --set risk.max_order_usd=500")
        section, dot, rest = path.partition(".")
        place = sections[section] if dot and section in SECTIONS else sections["parameters"]
        *outer, name = (rest if dot and section in SECTIONS else path).split(".")
        for part in outer:
            place = place.setdefault(part, {})
        place[name] = yaml.safe_load(text)
    return sections


def _asked(ask: Questions, kind: Any, name: str) -> Any:
    """A parameter, checked at once as its class would check it; None when it is left at its default."""
    import yaml
    from pydantic import TypeAdapter, ValidationError

    from perpkit.bot.meanings import meaning_of, unit_of

    field = kind.model_fields[name]
    default = "" if field.is_required() or field.default is None else _shown(_plain(field.default))
    adapter: TypeAdapter[Any] = TypeAdapter(field.rebuild_annotation())

    def fits(answer: str) -> Any:
        if not answer and not field.is_required():
            return None
        if not answer:
            raise ValueError("an answer is needed")
        several = "tuple" in str(field.annotation)
        value = [part.strip() for part in answer.split(",") if part.strip()] if several else yaml.safe_load(answer)
        try:
            adapter.validate_python(value)
        except ValidationError as e:
            raise ValueError(e.errors()[0]["msg"]) from None
        return value

    unit = unit_of(name)
    question = f"{name}: {meaning_of(name, field)}" + (f" ({unit})" if unit else "")
    answer = ask.ask(question, f"--set {name}=...", fits, default=default)
    return None if default and answer == fits(default) else answer


def _yes(answer: str) -> bool:
    if answer.lower() in ("y", "yes", "n", "no"):
        return answer.lower().startswith("y")
    raise ValueError("yes or no")


def _keys(bot: Any) -> Iterator[str]:
    """Variables that live trading needs."""
    from exchange_clients import venues

    for name in bot.venues:
        environment = _environment(bot, name)
        infix = "" if environment in ("mainnet", "prod") else f"_{environment.upper()}"
        yield from (item.variable.format(env=infix) for item in venues.get(name).spec.credentials if item.required)


# ---- the file


def _written(values: Mapping[str, Any]) -> str:
    """The file: what was answered stands, every other parameter as a comment with its default and meaning."""
    from perpkit.bot.config import PaperConfig
    from perpkit.bot.meanings import parameters
    from strategies import registry
    from strategies.risk.limits import RiskLimits

    kind = registry.load(str(values["strategy"])).config_class
    lines = [
        "# A bot of perpkit. What is commented out has the default that is shown.",
        "# perpkit config check explains this file, perpkit run runs it (on paper unless --env live). Keys stand in the environment.",
        "",
        f"strategy: {_yaml(values['strategy'])}",
        f"account: {_yaml(values['account'])}",
        "",
        "venues:",
        *(f"  {name}: {_yaml(settings)}" for name, settings in values["venues"].items()),
    ]
    for section, model in (("parameters", kind), ("risk", RiskLimits), ("paper", PaperConfig)):
        lines += ["", *_section(section, list(parameters(model)), values.get(section) or {})]
    lines += [
        "",
        "# Messages: env names a variable that holds the address (tgram://..., discord://..., mailto://...).",
        *_optional("notifications", values),
    ]
    lines += ["", "# The control API: perpkit keys add NAME makes a key.", *_optional("control", values)]
    return "\n".join(lines) + "\n"


def _section(name: str, known: Sequence[Any], given: Mapping[str, Any]) -> Iterator[str]:
    yield f"{name}:" if given else f"# {name}:"
    inside = ""
    for parameter in known:
        if parameter.name in FILLED and parameter.name not in given:
            continue
        *outer, leaf = parameter.name.split(".")
        group = ".".join(outer)
        if group != inside:
            inside = group
            if group:
                yield f"  {group}:" if isinstance(given.get(group), Mapping) else f"  # {group}:"
        place = given.get(group) if group else given
        has = isinstance(place, Mapping) and leaf in place
        value = place[leaf] if has and isinstance(place, Mapping) else _plain(parameter.default)
        indent = "    " if group else "  "
        words = ", ".join(word for word in (parameter.unit, parameter.meaning) if word)
        if has or not parameter.required:
            yield f"{indent}{'' if has else '# '}{leaf}: {_yaml(value)}" + (f"  # {words}" if words else "")
    unknown = [key for key in given if key not in {p.name.partition(".")[0] for p in known}]
    yield from (f"  {key}: {_yaml(given[key])}" for key in unknown)


def _optional(name: str, values: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{name}: {_yaml(values[name])}"
        if name in values
        else f"# {name}: {'[{env: PERPKIT_NOTIFY}]' if name == 'notifications' else '{}'}"
    )


def _yaml(value: Any) -> str:
    """One value on one line."""
    from decimal import Decimal

    import yaml

    if isinstance(value, Decimal):
        return f"{value:f}"
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
