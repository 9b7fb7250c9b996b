"""The Aster dialect."""

from exchange_simulator.dialects.aster.dialect import AsterDialect

__all__ = ["DIALECT", "AsterDialect"]

DIALECT = AsterDialect
