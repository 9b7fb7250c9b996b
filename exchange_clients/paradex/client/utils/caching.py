"""Nothing of this venue's own has to be remembered: markets are in the instrument table, tokens in the signer."""

from __future__ import annotations

from exchange_clients.instruments import InstrumentProvider

__all__ = ["InstrumentProvider"]
