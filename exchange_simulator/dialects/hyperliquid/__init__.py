"""The Hyperliquid dialect."""

from exchange_simulator.dialects.hyperliquid.dialect import HyperliquidDialect

__all__ = ["DIALECT", "HyperliquidDialect"]

DIALECT = HyperliquidDialect
