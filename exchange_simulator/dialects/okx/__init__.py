"""OKX's wire protocol over a simulated exchange."""

from __future__ import annotations

from exchange_simulator.dialects.okx.dialect import OkxDialect

__all__ = ["DIALECT", "OkxDialect"]

DIALECT = OkxDialect
