"""The dYdX v4 dialect."""

from exchange_simulator.dialects.dydx.dialect import DydxDialect

__all__ = ["DIALECT", "DydxDialect"]

DIALECT = DydxDialect
