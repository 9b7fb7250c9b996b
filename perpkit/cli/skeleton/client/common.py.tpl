"""$title as data: addresses, limits, endpoints, refusals, abilities, and its symbols. Phase 1, step 1.

Source: name the venue's pages here, with the date on which they were read.
"""

from __future__ import annotations

from typing import Final

from exchange_clients.errors import VenueError
from exchange_clients.model import Ack, OrderType, TimeInForce
from exchange_clients.spec import Capabilities, CredentialField, Endpoint, Endpoints, IdFormat, Pool, Stream, VenueSpec

ROLE: Final = "public"

ERRORS: Final[dict[str, type[VenueError]]] = {}
"""Every code, or piece of text, by which the venue says no -> one class of the tree in `exchange_clients.errors`."""

ENDPOINTS: Final[dict[str, Endpoint]] = {}
"""Every documented call by its venue name: `"book": Endpoint("GET", "/book", m.Book, cost={"ip": 1})`."""


def read_error(status: int, body: bytes) -> tuple[str, str] | None:
    """(code, text) of an answer that is an error, None of one that is not. Also where a 200 says no."""
    if status < 400:
        return None
    return f"http{status}", body[:500].decode("utf-8", "replace").strip() or f"HTTP {status}"


SPEC: Final = VenueSpec(
    name="$name",
    title=$title_text,
    environments={
        "mainnet": Endpoints(rest="https://api.$name.invalid", ws={ROLE: "wss://api.$name.invalid/ws"}),
    },
    default_quote="USDC",
    credentials=(
        CredentialField("api_key", "$NAME{env}_API_KEY", secret=False, help="key as the venue shows it"),
        CredentialField("api_secret", "$NAME{env}_API_SECRET", help="secret that belongs to the key"),
    ),
    pools={"ip": Pool(limit=600, period_s=60.0, scope="ip")},
    endpoints=ENDPOINTS,
    errors=ERRORS,
    read_error=read_error,
    streams={Stream.BOOK: "book"},
    capabilities=Capabilities(
        ack=Ack.FINAL,
        order_types=frozenset({OrderType.LIMIT}),
        times_in_force=frozenset({TimeInForce.GTC, TimeInForce.IOC}),
    ),
    client_id=IdFormat.UINT48,
    funding_interval_hours=None,
    roles=(ROLE,),
)


def normalize_symbol(symbol: str) -> str:
    """The canonical base of the venue's own name of a market."""
    raise NotImplementedError("phase 1, step 3: the venue's symbols")


def get_${name}_symbol_format(symbol: str) -> str:
    """The venue's own name of the market of a canonical base."""
    raise NotImplementedError("phase 1, step 3: the venue's symbols")
