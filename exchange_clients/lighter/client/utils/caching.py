"""What only this venue has to remember: which key signs, and nonces that may skip."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from exchange_clients.context import ClientContext
from exchange_clients.lighter.signing import Identity, LighterSigner
from exchange_clients.signing import NonceLease, SequentialNonces
from exchange_clients.transport.clock import Clock


def signer_of(context: ClientContext) -> LighterSigner:
    """The account's signer. Raises MissingCredentials."""
    return cast(LighterSigner, context.require_signer())


def identity_of(context: ClientContext) -> Identity:
    return signer_of(context).identity


class SkippingNonces(SequentialNonces):
    """Milliseconds for transactions with the skip-nonce attribute: the venue takes any number above the last.

    Several senders may share a key. One that was overtaken is refused, which proves its command unsent, and goes again with a later number.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(self._later)
        self._clock = clock
        self._last = 0

    async def _later(self) -> int:
        return self._last + 1

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[NonceLease]:
        async with super().lease() as lease:
            lease.value = max(lease.value, self._clock.time_ns() // 1_000_000)
            try:
                yield lease
            finally:
                self._last = lease.value + lease.count - 1
