"""A simulated Backpack: what it says and how, over the simulated exchange."""

from exchange_simulator.dialects.backpack.dialect import BackpackDialect

DIALECT = BackpackDialect

__all__ = ["DIALECT", "BackpackDialect"]
