"""The Lighter dialect."""

from exchange_simulator.dialects.lighter.dialect import LighterDialect

DIALECT = LighterDialect

__all__ = ["DIALECT", "LighterDialect"]
