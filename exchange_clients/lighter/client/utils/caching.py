"""What only this venue has to remember: which key signs, and nonces that may skip."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from exchange_clients.context import ClientContext
from exchange_clients.lighter.signing import Identity, LighterSigner
from exchange_clients.signing import ClockNonces, NonceLease
from exchange_clients.transport.clock import Clock


def signer_of(context: ClientContext) -> LighterSigner:
    """The account's signer. Raises MissingCredentials."""
    return cast(LighterSigner, context.require_signer())


def identity_of(context: ClientContext) -> Identity:
    return signer_of(context).identity


class SkippingNonces(ClockNonces):
    """Milliseconds for transactions with the skip-nonce attribute: any higher number is taken, so one leaves after the other."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[NonceLease]:
        async with self._lock, super().lease() as lease:
            yield lease
            self._last = lease.value + lease.count - 1
