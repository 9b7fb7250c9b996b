"""The Paradex dialect."""

from exchange_simulator.dialects.paradex.dialect import ParadexDialect

__all__ = ["DIALECT", "ParadexDialect"]

DIALECT = ParadexDialect
