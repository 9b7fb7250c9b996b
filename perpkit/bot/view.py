"""What a running bot shows: a live picture on a terminal, lines elsewhere, JSON lines for machines."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from database.records import DecisionRecord, PairState
from perpkit.bot.assemble import Bot, Bots
from perpkit.cli.output import emit_json_line, iso

if TYPE_CHECKING:
    from rich.console import RenderableType

STORY = 12
TOLD = frozenset(
    {
        "order.send",
        "order.unknown",
        "order.refused",
        "order.blocked",
        "fill",
        "pair.state",
        "holding.state",
        "venue.gap",
        "venue.not_connected",
        "venue.connected",
        "venue.proved",
        "halt.set",
        "halt.cleared",
        "risk.liquidation_near",
        "risk.liquidation",
        "risk.breaker_open",
        "risk.breaker_closed",
        "risk.daily_loss",
        "risk.venue_offline",
        "risk.venue_online",
    }
)
"""Events of engine, desk and risk that a human wants to see; the rest is in the log."""
BAD = frozenset(
    {
        "order.unknown",
        "order.refused",
        "order.blocked",
        "venue.gap",
        "venue.not_connected",
        "halt.set",
        "risk.liquidation",
        "risk.breaker_open",
    }
)


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One open pair or holding. Quantities are own and signed, money in USD; `edge` per hour as last judged, None when not known."""

    bot: str
    id: str
    symbol: str
    state: str
    legs: dict[str, Decimal]
    funding: Decimal
    edge: str | None


class View(Protocol):
    """Hears what happens (as an Observer), and is asked to show where things stand."""

    def __call__(self, event: str, pair_id: str, **facts: object) -> None: ...

    def say(self, text: str, *, kind: str = "") -> None:
        """Something that is no event."""
        ...

    def refresh(self, bots: Bots) -> None:
        """Once a second."""
        ...

    def close(self) -> None: ...


def shown(bots: Bots) -> Iterator[Shown]:
    """Everything that is open."""
    for bot in bots:
        for pair_id, runner in bot.engine.pairs.items():
            if runner.state is not PairState.CLOSED:
                record = runner.record
                legs = {record.venue(leg): leg.sign * trader.own for leg, trader in runner.legs.items()}
                yield _shown(bots, bot, pair_id, record.symbol, runner.state.value, legs)
        for holding in bot.desk.holdings.values():
            record_ = holding.record
            if record_.state.value != "closed":
                symbol = holding.instrument.id.base
                yield _shown(bots, bot, record_.holding_id, symbol, record_.state.value, {record_.venue: holding.own})


def _shown(bots: Bots, bot: Bot, owner: str, symbol: str, state: str, legs: dict[str, Decimal]) -> Shown:
    paid = sum((payment.amount for payment in bots.journal.funding(owner)), Decimal(0))
    return Shown(bot=bot.name, id=owner, symbol=symbol, state=state, legs=legs, funding=paid, edge=_edge(bot, owner))


def _edge(bot: Bot, owner: str) -> str | None:
    for decision in reversed(bot.engine.journal.recent):
        if decision.pair_id == owner:
            for name, value in msgspec.json.decode(decision.inputs).items():
                if name.startswith("edge"):
                    return str(value)
    return None


def _words(event: str, facts: Mapping[str, object]) -> str:
    match event:
        case "order.send":
            return f"{facts.get('venue')}: {facts.get('side')} {facts.get('quantity')} at {facts.get('price')} ({facts.get('purpose')})"
        case "fill":
            return f"{facts.get('venue')}: filled {facts.get('side')} {facts.get('quantity')} at {facts.get('price')}"
        case "pair.state" | "holding.state":
            return f"{facts.get('before')} -> {facts.get('state')}: {facts.get('reason')}"
    told = ", ".join(f"{name} {value}" for name, value in facts.items() if name != "venue")
    return ": ".join(str(part) for part in (facts.get("venue"), told) if part)


def _judged(d: DecisionRecord) -> str:
    """Kind, asset, rule, outcome; the rule once."""
    return f"{d.kind} {d.symbol}: " + (d.outcome if d.outcome.startswith(d.rule) else f"{d.rule}: {d.outcome}")


class Decisions:
    """Each decision once."""

    def __init__(self) -> None:
        self._seen: deque[str] = deque(maxlen=1_000)

    def fresh(self, bots: Bots) -> Iterator[tuple[Bot, DecisionRecord]]:
        for bot in bots:
            for decision in tuple(bot.engine.journal.recent):
                if decision.decision_id not in self._seen:
                    self._seen.append(decision.decision_id)
                    yield bot, decision


class JsonLines:
    """Every event, decision and (when it changed) every position as one JSON object a line."""

    def __init__(self, now_ns: Any) -> None:
        self._now_ns = now_ns
        self._decisions = Decisions()
        self._last: dict[str, Shown] = {}

    def __call__(self, event: str, pair_id: str, **facts: object) -> None:
        if event in TOLD:
            self._put("event", event=event, id=pair_id, facts={name: str(value) for name, value in facts.items()})

    def say(self, text: str, *, kind: str = "") -> None:
        self._put("message", text=text)

    def refresh(self, bots: Bots) -> None:
        for bot, d in self._decisions.fresh(bots):
            inputs = msgspec.json.decode(d.inputs)
            self._put(
                "decision", bot=bot.name, decision=d.kind, rule=d.rule, outcome=d.outcome, symbol=d.symbol, pair=d.pair_id, inputs=inputs
            )
        now = {one.id: one for one in shown(bots)}
        for one in now.values():
            if self._last.get(one.id) != one:
                self._put("position", **msgspec.to_builtins(one))
        self._last = now

    def close(self) -> None: ...

    def _put(self, type_: str, **values: Any) -> None:
        emit_json_line({"type": type_, "at": iso(self._now_ns()), **values})


class Lines:
    """One line per event, for logs and pipes."""

    def __init__(self, now_ns: Any) -> None:
        self._now_ns = now_ns
        self._decisions = Decisions()

    def __call__(self, event: str, pair_id: str, **facts: object) -> None:
        if event in TOLD:
            self.say(f"{pair_id + ' ' if pair_id else ''}{event}: {_words(event, facts)}")

    def say(self, text: str, *, kind: str = "") -> None:
        sys.stdout.write(f"{iso(self._now_ns())}  {text}\n")
        sys.stdout.flush()

    def refresh(self, bots: Bots) -> None:
        for bot, d in self._decisions.fresh(bots):
            self.say(f"{bot.name} {_judged(d)}")

    def close(self) -> None: ...


class Picture:
    """A live table of what is open, with the newest decisions and events below."""

    def __init__(self, now_ns: Any, title: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._now_ns, self._title = now_ns, title
        self._story: deque[tuple[str, str, str]] = deque(maxlen=STORY)
        self._decisions = Decisions()
        self._top: tuple[RenderableType, ...] = ()
        self._live = Live(console=Console(), refresh_per_second=4, auto_refresh=False)
        self._live.start()

    def __call__(self, event: str, pair_id: str, **facts: object) -> None:
        if event in TOLD:
            style = "bold red" if event in BAD else "green" if event == "fill" else ""
            self._add(f"{pair_id + ' ' if pair_id else ''}{event}: {_words(event, facts)}", style)

    def say(self, text: str, *, kind: str = "") -> None:
        """Seen at once: what is said while starting and at the end has no refresh after it."""
        self._add(text, "bold")
        self._paint()

    def _add(self, text: str, style: str) -> None:
        self._story.append((f"{datetime.fromtimestamp(self._now_ns() // 10**9, UTC):%H:%M:%S}", text, style))

    def refresh(self, bots: Bots) -> None:
        for _, d in self._decisions.fresh(bots):
            self._add(_judged(d), "magenta")
        self._top = tuple(self._state(bots))
        self._paint()

    def _paint(self) -> None:
        from rich.console import Group
        from rich.text import Text

        story = [Text.assemble((f"{when}  ", "dim"), (text, style), overflow="ellipsis", no_wrap=True) for when, text, style in self._story]
        self._live.update(Group(*self._top, *story), refresh=True)

    def _state(self, bots: Bots) -> Iterator[RenderableType]:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self._title, title_justify="left", expand=True)
        for name in ("bot", "id", "symbol", "state", "own", "edge / h", "funding"):
            table.add_column(name)
        for one in shown(bots):
            own = ", ".join(f"{quantity.normalize():f} {venue}" for venue, quantity in one.legs.items())
            table.add_row(one.bot, one.id, one.symbol, one.state, own, one.edge or "-", f"{one.funding:+.4f}")
        if not table.row_count:
            table.add_row(*("-",) * 3, "nothing is open", *("-",) * 3)
        yield table
        blocks = [f"{bot.name}: {reason}" for bot in bots if (reason := bot.engine.entry_block()) is not None]
        yield from (Text(f"no entries: {block}", style="yellow") for block in blocks)

    def close(self) -> None:
        self._live.stop()
