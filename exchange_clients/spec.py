"""A venue as data: addresses, limits, endpoints, errors, credentials, abilities. Docs, commands, service and tests read the same tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

from exchange_clients.errors import VenueError
from exchange_clients.model import Ack, MarginMode, OrderType, TimeInForce


class Stream(StrEnum):
    """What can be watched. A stream that a spec does not list is unsupported."""

    BOOK = "book"
    BBO = "bbo"
    TRADES = "trades"
    CANDLES = "candles"
    MARK = "mark"
    INDEX = "index"
    FUNDING = "funding"
    ORDERS = "orders"
    FILLS = "fills"
    POSITIONS = "positions"
    ACCOUNT = "account"
    LIQUIDATIONS = "liquidations"

    @property
    def is_private(self) -> bool:
        return self in _PRIVATE


_PRIVATE = frozenset({Stream.ORDERS, Stream.FILLS, Stream.POSITIONS, Stream.ACCOUNT})


class IdFormat(StrEnum):
    """Form of client order ids; as text everywhere outside a venue's wire."""

    UINT32 = "uint32"
    UINT48 = "uint48"
    HEX128 = "hex128"
    """`0x` and 32 hex digits."""
    TEXT32 = "text32"
    """At most 32 of [a-zA-Z0-9], starting with a letter."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses of one environment. `ws` by socket role; `chain_id` where signatures carry one; `headers` go with every request."""

    rest: str
    ws: Mapping[str, str] = field(default_factory=dict)
    grpc: tuple[str, ...] = ()
    chain_id: int | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pool:
    """A rate limit: `limit` weight per `period_s`, counted per `scope`.

    `kind` "rate" refills with time; "outstanding" counts unanswered requests and is given back by every end.
    """

    limit: int
    period_s: float = 60.0
    scope: Literal["ip", "account", "key", "connection"] = "ip"
    window: Literal["sliding", "fixed", "decay"] = "sliding"
    kind: Literal["rate", "outstanding"] = "rate"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One documented call.

    Arguments fill `{name}` places of `path`, then go where `encoding` says, after the `fixed` ones. `response` is the type the body decodes
    to, `bytes` for one that is given as it is. `signed` needs credentials; `command` changes state: it is never repeated and its failures
    have an outcome.
    A gRPC call has the method "GRPC" and the full method name as its path: `encode` makes the request's bytes from the arguments,
    `response` reads the answer's. `refusal` finds (code, message) in an answer that says no.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "GRPC"]
    path: str
    response: Any
    cost: Mapping[str, int] = field(default_factory=dict)
    encoding: Literal["query", "json", "form"] = "query"
    fixed: Mapping[str, Any] = field(default_factory=dict)
    signed: bool = False
    command: bool = False
    timeout_s: float | None = None
    doc: str = ""
    encode: Callable[..., bytes] | None = None
    refusal: Callable[[Any], tuple[str, str] | None] | None = None


@dataclass(frozen=True, slots=True)
class CredentialField:
    """One credential. `variable` has `{env}` where `_TESTNET` or `_DEMO` goes: "LIGHTER{env}_API_KEY_PRIVATE_KEY"."""

    name: str
    variable: str
    secret: bool = True
    required: bool = True
    aliases: tuple[str, ...] = ()
    unless: str = ""
    """Not required when this other field is given."""
    help: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the venue can do; asked before the call. `native_*` False means emulated by the base where it can be, and marked so."""

    ack: Ack
    order_types: frozenset[OrderType]
    times_in_force: frozenset[TimeInForce]
    post_only: bool = True
    reduce_only: bool = True
    reduce_only_resting: bool = True
    """False: only immediate orders, and triggers that become such, may be reduce-only."""
    native_market: bool = False
    """A market order with a worst price. False: it is sent as an immediate limit at that price."""
    native_amend: bool = False
    amend_keeps_id: bool = True
    native_cancel_all: bool = False
    cancel_all_per_market: bool = False
    """Cancel-all names a market: the whole account is canceled market by market."""
    native_batch_place: bool = False
    native_batch_cancel: bool = False
    max_batch: int = 1
    native_bracket: bool = False
    lookup_by_client_id: bool = True
    dead_man_switch: bool = False
    max_dead_man_s: float | None = None
    """Longest time that the switch can be armed for; None: any."""
    set_leverage: bool = False
    margin_modes: frozenset[MarginMode] = frozenset({MarginMode.CROSS})
    set_margin_mode: bool = False
    isolated_margin_transfer: bool = False
    funding_history: bool = True
    funding_payments: bool = True
    trade_history: bool = True
    fee_rates: bool = True
    key_info: bool = False
    """The venue tells what the key may do, until when, or how the account holds positions."""
    candles: bool = True
    subaccounts: bool = False
    client_id_reusable: bool = False
    min_gtt_s: float = 0.0
    """Shortest life of a GTT order."""
    max_gtt_s: float | None = None
    reduce_only_below_minimum: bool = False
    """A reduce-only order may be smaller than the minima (closing a whole position)."""
    lookup_grace_s: float = 3.0
    """For so long after sending "no such order" proves nothing."""
    records_lag_s: float = 0.0
    """By so much the venue's records by request (orders, fills, positions) may be behind its streams."""


@dataclass(frozen=True, slots=True)
class FundingNote:
    """How a venue tells its funding, in words for the table of docs/capabilities.md: what a converter must know and readers compare."""

    unit: str
    """Of a rate on the wire: "fraction per hour", "percent per interval", "index, cumulative quote per base"."""
    sign: str
    """Who pays a positive rate, and what a positive payment means: "longs pay; payments + received"."""
    interval: str
    """How long, and where it comes from: "1 h, fixed", "per market, field fundingIntervalHours"."""
    next_time: str
    """Where the time of the next settlement comes from: "field nextFundingTime", "next full hour", "none: continuous"."""
    evidence: str
    """The recording or page that shows it: "rest/funding_history"."""


@dataclass(frozen=True, slots=True)
class VenueSpec:
    """Everything about a venue that is data.

    `errors` maps a code or a piece of text to a class of the tree; `read_error(status, body)` finds (code, message) in an answer and
    returns None when the answer is no error. Intervals in hours.
    """

    name: str
    title: str
    environments: Mapping[str, Endpoints]
    default_quote: str
    credentials: tuple[CredentialField, ...]
    pools: Mapping[str, Pool]
    endpoints: Mapping[str, Endpoint]
    errors: Mapping[str, type[VenueError]]
    read_error: Callable[[int, bytes], tuple[str, str] | None]
    streams: Mapping[Stream, str]
    capabilities: Capabilities
    client_id: IdFormat
    funding_interval_hours: Decimal | None
    collateral: str = "USDC"
    default_dex: str = ""
    docs_url: str = ""
    client_id_start: int = 1
    """Client order ids below this are never made (0 often means none)."""
    account_field: str | None = None
    """Credential that names the account, shown (masked) and used as scope of account pools."""
    roles: tuple[str, ...] = ("public",)
    """Sockets a connected client holds."""
    private_role: str | None = None
    """The socket that carries the account, left closed without credentials; None: it is the first of `roles`."""
    on_demand_roles: frozenset[str] = frozenset()
    """Sockets that are opened when the first topic of theirs is wanted: the venue ends those on which nobody subscribes."""
    ws_message_cost: Mapping[str, int] = field(default_factory=dict)
    """What one message of ours on a socket costs."""
    limiter_wait_s: float = 5.0
    """The longest that a command waits for our own limiter."""
    retry_after_unit_s: float = 1.0
    """Unit of a number in the Retry-After header."""
    usage_headers: Mapping[str, str] = field(default_factory=dict)
    """Header of an answer -> pool whose use by everybody, in the current window, it tells."""
    funding: FundingNote | None = None
    """How rates and payments stand on the wire."""

    def carrier(self, stream: Stream) -> Stream:
        """Of the streams that share a channel with this one, the one listed first: it stands for all of them."""
        return next(each for each, channel in self.streams.items() if channel == self.streams[stream])

    @property
    def environment_names(self) -> tuple[str, ...]:
        return tuple(self.environments)
