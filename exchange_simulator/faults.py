"""Scripted faults: what goes wrong, when, and a plan that tells a dialect at its fixed points. Same plan, same seed, same faults.

A fault is one line of text, or one mapping in YAML:

    lost_ack where=/exchange contains=order nth=2          the second order is done, its answer never arrives
    rate_limited at=30 times=3 retry_after=2               from second 30 on the next three requests get 429
    late_fill probability=0.1 delay=1.5 times=0            every tenth fill, all run long, is told 1.5 s late
    accept_then_close times=5 delay=0.2                    the first five sockets close after 0.2 s
    interval_change at=3600 market=BTC hours=4             the venue changes the funding interval after an hour

`FaultPlan` is what a dialect takes as its `faults`. Kinds that happen on the venue itself (ADL, delisting, halts, reduce-only ignored)
need `attach(exchange)`; the exchange then does them at their time.
"""

from __future__ import annotations

import random
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec

from exchange_simulator.core.events import AnyEvent, BookDelta, OrderFilled
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import NANOS_PER_HOUR, MarketStatus, ReduceOnlyMode, Side
from exchange_simulator.dialects.base import ConnectFault, Lose, Received, RequestFault

SECOND_NS = 10**9


class FaultKind(StrEnum):
    # a request, or a message on a socket
    LOST_REQUEST = "lost_request"
    """Never reaches the venue; the connection breaks."""
    LOST_ACK = "lost_ack"
    """Done, but the answer never arrives; the connection breaks."""
    SLOW = "slow"
    """Handled at once, answered `delay` late."""
    RATE_LIMITED = "rate_limited"
    """429, or `status=418`, with Retry-After."""
    SERVER_ERROR = "server_error"
    """5xx, nothing was done."""
    NONCE_GAP = "nonce_gap"
    """The request vanishes with its nonce, so the next one leaves a hole in the venue's sequence."""
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    """401 as for a token that ran out."""
    # a socket that opens
    SILENT_SOCKET = "silent_socket"
    """Accepted, then nothing, not even answers."""
    ACCEPT_THEN_CLOSE = "accept_then_close"
    REFUSED_SOCKET = "refused_socket"
    # a push on a channel
    SEQUENCE_GAP = "sequence_gap"
    """One message is left out."""
    FROZEN_STREAM = "frozen_stream"
    """Nothing is pushed, while answers still come."""
    GARBAGE = "garbage"
    """`payload` is sent instead; by default the message cut in half."""
    # an event of the exchange on its way to the dialect
    LATE_FILL = "late_fill"
    """Also what makes a fill arrive after the refusal of a cancel."""
    DUPLICATE_FILL = "duplicate_fill"
    OUT_OF_ORDER_FILLS = "out_of_order_fills"
    """A fill is held back until the next one was told, or until something happens `delay` later."""
    CROSSED_BOOK = "crossed_book"
    """One level is told that crosses the other side, taken back after `delay`."""
    # the venue itself
    REDUCE_ONLY_IGNORED = "reduce_only_ignored"
    PARTIAL_THEN_HALT = "partial_then_halt"
    """The market halts right after the next fill that leaves a remainder."""
    HALT = "halt"
    ADL = "adl"
    INTERVAL_CHANGE = "interval_change"
    DELISTING = "delisting"


class Point(StrEnum):
    REQUEST = "request"
    CONNECT = "connect"
    PUSH = "push"
    EVENT = "event"
    VENUE = "venue"


_K = FaultKind
POINTS: Mapping[FaultKind, Point] = {
    **dict.fromkeys(
        (_K.LOST_REQUEST, _K.LOST_ACK, _K.SLOW, _K.RATE_LIMITED, _K.SERVER_ERROR, _K.NONCE_GAP, _K.TOKEN_EXPIRED), Point.REQUEST
    ),
    **dict.fromkeys((_K.SILENT_SOCKET, _K.ACCEPT_THEN_CLOSE, _K.REFUSED_SOCKET), Point.CONNECT),
    **dict.fromkeys((_K.SEQUENCE_GAP, _K.FROZEN_STREAM, _K.GARBAGE), Point.PUSH),
    **dict.fromkeys((_K.LATE_FILL, _K.DUPLICATE_FILL, _K.OUT_OF_ORDER_FILLS, _K.CROSSED_BOOK, _K.PARTIAL_THEN_HALT), Point.EVENT),
    **dict.fromkeys((_K.REDUCE_ONLY_IGNORED, _K.HALT, _K.ADL, _K.INTERVAL_CHANGE, _K.DELISTING), Point.VENUE),
}
_STATUS = {_K.RATE_LIMITED: 429, _K.SERVER_ERROR: 503, _K.TOKEN_EXPIRED: 401, _K.REFUSED_SOCKET: 503}
_NEEDS: Mapping[FaultKind, tuple[str, ...]] = {
    _K.HALT: ("market",),
    _K.ADL: ("market", "account", "size"),
    _K.INTERVAL_CHANGE: ("market", "hours"),
    _K.DELISTING: ("market",),
}
_WHEN = frozenset({"at", "nth", "times", "probability", "where", "contains", "lasting"})
_ALLOWED: Mapping[FaultKind, frozenset[str]] = {
    kind: frozenset(names)
    for kind, names in {
        _K.SLOW: ("delay",),
        _K.RATE_LIMITED: ("status", "retry_after"),
        _K.SERVER_ERROR: ("status",),
        _K.TOKEN_EXPIRED: ("status",),
        _K.REFUSED_SOCKET: ("status",),
        _K.ACCEPT_THEN_CLOSE: ("delay",),
        _K.GARBAGE: ("payload",),
        _K.LATE_FILL: ("delay", "market", "account"),
        _K.DUPLICATE_FILL: ("delay", "market", "account"),
        _K.OUT_OF_ORDER_FILLS: ("delay", "market", "account"),
        _K.CROSSED_BOOK: ("delay", "market"),
        _K.PARTIAL_THEN_HALT: ("market", "account"),
        **_NEEDS,
    }.items()
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. Its occasions are those of its point that match `where`, `contains`, `market` and `account`.

    It strikes on the `nth` occasion from `at` on and, with `times`, on the following ones too (0: on all); each of them only with
    `probability`. Venue faults have no occasions: they strike once, at `at`.
    """

    kind: FaultKind
    at: float = 0.0
    """Seconds after the plan's start."""
    lasting: float = 0.0
    """Seconds after `at` in which it may strike, 0 for ever; for halts and ignored reduce-only how long they last."""
    nth: int = 1
    times: int = 1
    probability: float = 1.0
    where: str = "*"
    """Path of the request, `METHOD path`, or name of the channel; shell pattern, a plain text is a prefix. `|` between alternatives."""
    contains: str = ""
    """In the body or in a parameter (`name=value`) of the request, or in the pushed message."""
    status: int = 0
    retry_after: float = 1.0
    delay: float = 1.0
    payload: str = ""
    market: str = ""
    account: int = 0
    size: Decimal = Decimal(0)
    """Base units."""
    hours: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        missing = [name for name in _NEEDS.get(self.kind, ()) if not getattr(self, name)]
        if missing:
            raise ValueError(f"{self.kind} needs {', '.join(missing)}")
        if self.at < 0 or self.lasting < 0 or self.delay < 0 or self.retry_after < 0 or self.nth < 1 or self.times < 0:
            raise ValueError(f"{self.kind}: at, lasting, delay, retry_after, times must not be negative, nth starts at 1")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"{self.kind}: probability is between 0 and 1")

    @property
    def point(self) -> Point:
        return POINTS[self.kind]


def fault_of(given: Mapping[str, object]) -> Fault:
    """A fault from the words of a human.

    Raises:
        ValueError: unknown kind, a word that kind does not know, or a value that is none.
    """
    words = {str(name).replace("-", "_"): value for name, value in given.items()}
    try:
        kind = FaultKind(str(words.pop("kind")).replace("-", "_"))
    except (KeyError, ValueError) as e:
        raise ValueError(f"a fault has a kind, one of {', '.join(FaultKind)}") from e
    unknown = set(words) - _WHEN - _ALLOWED.get(kind, frozenset())
    if unknown:
        known = ", ".join(sorted(_WHEN | _ALLOWED.get(kind, frozenset())))
        raise ValueError(f"{kind} does not know {', '.join(sorted(unknown))}; it knows {known}")
    values = {name: _value(kind, name, value) for name, value in words.items()}
    return Fault(kind, **values)  # type: ignore[arg-type]


_CONVERT: Mapping[str, Callable[[str], object]] = {
    **dict.fromkeys(("nth", "times", "status", "account"), int),
    **dict.fromkeys(("at", "lasting", "probability", "retry_after", "delay"), float),
    **dict.fromkeys(("size", "hours"), Decimal),
}


def _value(kind: FaultKind, name: str, value: object) -> object:
    try:
        return _CONVERT.get(name, str)(str(value))
    except (ValueError, InvalidOperation) as e:
        raise ValueError(f"{kind}: {name}={value} is not a number") from e


def parse_fault(text: str) -> Fault:
    """One line: the kind, then `name=value` words (quoted like in a shell). Raises ValueError."""
    kind, *pairs = shlex.split(text) or [""]
    words: dict[str, object] = {"kind": kind}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} is not name=value")
        words[name] = value
    return fault_of(words)


def parse_faults(text: str) -> list[Fault]:
    """YAML: a list whose items are lines as in `parse_fault` or mappings with a `kind`. Raises ValueError."""
    import yaml

    try:
        items = yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise ValueError(f"faults are not valid YAML: {e}") from e
    if items is None:
        return []
    if not isinstance(items, list):
        raise ValueError("faults are a list")
    faults = []
    for item in items:
        if isinstance(item, str):
            faults.append(parse_fault(item))
        elif isinstance(item, dict):
            faults.append(fault_of(item))
        else:
            raise ValueError(f"{item!r} is not a fault")
    return faults


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault that happened."""

    ts_ns: int
    fault: Fault
    subject: str
    """Path, channel, event or market."""


@dataclass(slots=True)
class _Armed:
    """A fault and how often it met an occasion. Each has its own random numbers, so that one more fault changes no other."""

    fault: Fault
    rng: random.Random
    seen: int = 0
    struck: int = 0
    held: AnyEvent | None = None


@dataclass(slots=True)
class FaultPlan:
    """The faults of one venue in one run. `now_ns` is the clock of that run; the plan starts when it is made."""

    faults: Sequence[Fault]
    now_ns: Callable[[], int]
    seed: int = 0
    strikes: list[Strike] = field(default_factory=list)
    """What has happened so far."""
    _armed: dict[Point, list[_Armed]] = field(init=False, repr=False)
    _start_ns: int = field(init=False)
    _exchange: Exchange | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._start_ns = self.now_ns()
        self._armed = {point: [] for point in Point}
        for number, fault in enumerate(self.faults):
            self._armed[fault.point].append(_Armed(fault, random.Random(f"{self.seed}:{number}")))

    def attach(self, exchange: Exchange) -> FaultPlan:
        """Puts the venue's faults on the exchange's agenda.

        Raises:
            ValueError: a fault names a market or account the exchange does not have, or a size off step.
        """
        self._exchange = exchange
        for armed in self._armed[Point.VENUE]:
            _check(exchange, armed.fault)
            exchange.call_at(max(exchange.now_ns, self._start_ns + int(armed.fault.at * SECOND_NS)), self._venue_action(exchange, armed))
        return self

    # what a dialect asks

    def on_request(self, received: Received) -> RequestFault | None:
        def matches(fault: Fault) -> bool:
            return _meant(fault.where, received) and _says(fault.contains, received)

        fault = self._strike(Point.REQUEST, received.path, matches)
        return None if fault is None else _request_fault(fault)

    def on_connect(self, received: Received) -> ConnectFault | None:
        fault = self._strike(Point.CONNECT, received.path, lambda fault: _meant(fault.where, received))
        if fault is None:
            return None
        if fault.kind is FaultKind.ACCEPT_THEN_CLOSE:
            return ConnectFault(close_after_s=fault.delay)
        if fault.kind is FaultKind.REFUSED_SOCKET:
            return ConnectFault(status=fault.status or _STATUS[fault.kind])
        return ConnectFault(silent=True)

    def on_push(self, session: int, channel: str, payload: bytes) -> Sequence[tuple[float, bytes]] | None:
        def matches(fault: Fault) -> bool:
            return _matches(fault.where, channel) and fault.contains.encode() in payload

        fault = self._strike(Point.PUSH, channel, matches)
        if fault is None:
            return None
        if fault.kind is FaultKind.GARBAGE:
            return [(0.0, fault.payload.encode() or payload[: len(payload) // 2])]
        return []

    def on_event(self, event: AnyEvent) -> Sequence[tuple[float, AnyEvent]] | None:
        release = self._release(event)
        armed = self._strike_armed(Point.EVENT, type(event).__name__, lambda fault: _concerns(fault, event))
        if armed is None:
            return [(0.0, event), *release] if release else None
        fault = armed.fault
        told: list[tuple[float, AnyEvent]]
        if fault.kind is FaultKind.LATE_FILL:
            told = [(fault.delay, event)]
        elif fault.kind is FaultKind.DUPLICATE_FILL:
            told = [(0.0, event), (fault.delay, event)]
        elif fault.kind is FaultKind.OUT_OF_ORDER_FILLS:
            armed.held = event
            told = []
        elif fault.kind is FaultKind.CROSSED_BOOK:
            told = self._crossing(fault, event)
        else:
            told = [(0.0, event)]
            self._halt(fault, event)
        return [*told, *release]

    # how they are decided

    def _strike(self, point: Point, subject: str, matches: Callable[[Fault], bool]) -> Fault | None:
        armed = self._strike_armed(point, subject, matches)
        return None if armed is None else armed.fault

    def _strike_armed(self, point: Point, subject: str, matches: Callable[[Fault], bool]) -> _Armed | None:
        """The first fault that strikes this occasion; all that match have seen it."""
        struck: _Armed | None = None
        waiting = self._armed[point]
        if not waiting:
            return None
        now = self.now_ns()
        for armed in waiting:
            fault = armed.fault
            start = self._start_ns + int(fault.at * SECOND_NS)
            over = fault.lasting and now >= start + int(fault.lasting * SECOND_NS)
            if now < start or over or not matches(fault):
                continue
            armed.seen += 1
            spent = fault.times and armed.struck >= fault.times
            if armed.seen < fault.nth or spent or (fault.probability < 1 and armed.rng.random() >= fault.probability):
                continue
            if struck is None:
                armed.struck += 1
                struck = armed
                self.strikes.append(Strike(now, fault, subject))
        return struck

    def _release(self, event: AnyEvent) -> list[tuple[float, AnyEvent]]:
        """Fills held back until this event."""
        released: list[tuple[float, AnyEvent]] = []
        for armed in self._armed[Point.EVENT]:
            held = armed.held
            if held is not None:
                overtaken = isinstance(event, OrderFilled) and _concerns(armed.fault, event)
                if overtaken or event.ts_ns >= held.ts_ns + int(armed.fault.delay * SECOND_NS):
                    released.append((0.0, held))
                    armed.held = None
        return released

    def _crossing(self, fault: Fault, event: AnyEvent) -> list[tuple[float, AnyEvent]]:
        """The event, and a level of the same side one tick beyond the other side's best."""
        assert isinstance(event, BookDelta)
        assert self._exchange is not None
        bid, ask = self._exchange.best(event.market)
        beyond = ask + 1 if event.side is Side.BUY else bid - 1
        if not (bid and ask) or beyond < 1:
            return [(0.0, event)]
        wrong = msgspec.structs.replace(event, price=beyond, size=max(1, event.size))
        right = msgspec.structs.replace(event, price=beyond, size=0)
        return [(0.0, event), (0.0, wrong), (fault.delay, right)]

    def _halt(self, fault: Fault, event: AnyEvent) -> None:
        assert isinstance(event, OrderFilled)
        assert self._exchange is not None
        _halt(self._exchange, event.market, fault.lasting, self._exchange.now_ns)

    def _venue_action(self, exchange: Exchange, armed: _Armed) -> Callable[[int], None]:
        def act(ts_ns: int) -> None:
            fault = armed.fault
            if fault.probability < 1 and armed.rng.random() >= fault.probability:
                return
            armed.struck += 1
            self.strikes.append(Strike(ts_ns, fault, fault.market))
            _act(exchange, fault, ts_ns)

        return act


def _check(exchange: Exchange, fault: Fault) -> None:
    if fault.market and fault.market not in exchange.markets:
        raise ValueError(f"{fault.kind}: {fault.market} is not listed")
    if fault.account and fault.account not in exchange.ledger.accounts:
        raise ValueError(f"{fault.kind}: there is no account {fault.account}")
    if fault.size:
        exchange.markets[fault.market].spec.to_steps(fault.size)


def _act(exchange: Exchange, fault: Fault, ts_ns: int) -> None:
    if fault.kind is FaultKind.REDUCE_ONLY_IGNORED:
        rules = exchange.rules
        exchange.rules = replace(rules, reduce_only=ReduceOnlyMode.IGNORE)
        if fault.lasting:
            exchange.call_at(ts_ns + int(fault.lasting * SECOND_NS), lambda _: setattr(exchange, "rules", rules))
        return
    spec = exchange.markets[fault.market].spec
    if spec.status is MarketStatus.DELISTED:
        return
    if fault.kind is FaultKind.HALT:
        _halt(exchange, fault.market, fault.lasting, ts_ns)
    elif fault.kind is FaultKind.ADL:
        exchange.deleverage(ts_ns, fault.account, fault.market, spec.to_steps(fault.size))
    elif fault.kind is FaultKind.INTERVAL_CHANGE:
        exchange.change_market(ts_ns, replace(spec, funding_interval_ns=int(fault.hours * NANOS_PER_HOUR)))
    else:
        exchange.delist(ts_ns, fault.market)


def _halt(exchange: Exchange, market: str, lasting: float, ts_ns: int) -> None:
    def change(then_ns: int, status: MarketStatus) -> None:
        if exchange.markets[market].spec.status is not MarketStatus.DELISTED:
            exchange.set_status(then_ns, market, status)

    change(ts_ns, MarketStatus.HALTED)
    if lasting:
        exchange.call_at(ts_ns + int(lasting * SECOND_NS), lambda then_ns: change(then_ns, MarketStatus.ACTIVE))


def _request_fault(fault: Fault) -> RequestFault:
    if fault.kind in (FaultKind.LOST_REQUEST, FaultKind.NONCE_GAP):
        return RequestFault(lose=Lose.REQUEST)
    if fault.kind is FaultKind.LOST_ACK:
        return RequestFault(lose=Lose.REPLY)
    if fault.kind is FaultKind.SLOW:
        return RequestFault(after_s=fault.delay)
    headers = {"Retry-After": f"{fault.retry_after:g}"} if fault.kind is FaultKind.RATE_LIMITED else {}
    return RequestFault(status=fault.status or _STATUS[fault.kind], headers=headers)


def _meant(where: str, received: Received) -> bool:
    """Whether a request is meant by a fault's `where`."""
    return any(_matches(form, f"{received.method} {received.path}" if " " in form else received.path) for form in where.split("|"))


def _matches(where: str, text: str) -> bool:
    return any(fnmatchcase(text, form if any(c in form for c in "*?[") else form + "*") for form in where.split("|"))


def _says(words: str, received: Received) -> bool:
    if not words or words.encode() in received.body:
        return True
    return any(words in f"{name}={value}" for name, value in received.params.items())


def _concerns(fault: Fault, event: AnyEvent) -> bool:
    if fault.kind is FaultKind.CROSSED_BOOK:
        return isinstance(event, BookDelta) and event.size > 0 and fault.market in ("", event.market)
    if not isinstance(event, OrderFilled) or fault.market not in ("", event.market) or fault.account not in (0, event.account):
        return False
    return fault.kind is not FaultKind.PARTIAL_THEN_HALT or event.remaining > 0


def plan_of(texts: Iterable[str], now_ns: Callable[[], int], *, seed: int = 0) -> FaultPlan:
    """A plan from command-line words, one fault each. Raises ValueError."""
    return FaultPlan([parse_fault(text) for text in texts], now_ns, seed)
