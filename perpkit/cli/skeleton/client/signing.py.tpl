"""How $title signs. Phase 2, step 1, with vectors made by somebody else's code."""

from __future__ import annotations

from exchange_clients.signing import Command, Credentials, HttpRequest, SignContext, SignedCommand


class ${Name}Signer:
    """One account's key."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __repr__(self) -> str:
        return "${Name}Signer(***)"

    @property
    def address(self) -> str:
        """Names the account."""
        return self._credentials["api_key"]

    async def authorize(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        raise NotImplementedError("phase 2, step 1: sign a query")

    async def sign_command(self, command: Command, context: SignContext) -> SignedCommand:
        raise NotImplementedError("phase 2, step 1: sign a command")

    async def ws_login(self, role: str, now_ms: int) -> tuple[str | bytes, ...]:
        raise NotImplementedError("phase 3, step 1: log a socket in; empty where the venue has no login")
