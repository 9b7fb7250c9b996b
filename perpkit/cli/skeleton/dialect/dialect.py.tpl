"""$title's words in front of the simulated exchange. Signatures are checked by code that is not the client's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import ClassVar

from exchange_simulator.core.events import AnyEvent
from exchange_simulator.core.types import Market, Rules
from exchange_simulator.dialects.base import Dialect, Received, Refusal, Reply, Route, Session, SimAccount


class ${Name}Dialect(Dialect):
    name = "$name"
    ws_paths: ClassVar[Mapping[str, str]] = {"public": "/ws"}

    @classmethod
    def rules(cls) -> Rules:
        raise NotImplementedError("phase 1, step 5: how the exchange must behave to be this venue")

    @classmethod
    def listing(cls, base: str, *, tick_size: Decimal, step_size: Decimal) -> Market:
        raise NotImplementedError("phase 1, step 5: a market as the venue lists them")

    def open_account(self, deposit: Decimal) -> SimAccount:
        raise NotImplementedError("phase 1, step 5: a funded account, its keys under the variables of the spec")

    def routes(self) -> Sequence[Route]:
        raise NotImplementedError("phase 1, step 5: the public routes; phase 2, step 6: the private ones")

    def refuse(self, refusal: Refusal, received: Received) -> Reply:
        raise NotImplementedError("phase 1, step 5: the venue's words for a refusal")

    def limited(self, retry_after_s: float, received: Received) -> Reply:
        raise NotImplementedError("phase 1, step 5: the venue's answer to one request too many")

    def publish(self, event: AnyEvent) -> None:
        """Phase 3, step 5: events to subscribers, updates numbered as the venue does. Until then nobody can subscribe."""

    async def on_message(self, session: Session, received: Received) -> None:
        raise NotImplementedError("phase 3, step 5: one frame from a client")

    def refuse_message(self, refusal: Refusal, session: Session, received: Received) -> None:
        raise NotImplementedError("phase 3, step 5: the venue's words for a refusal on a socket")
