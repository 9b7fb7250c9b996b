"""The $title dialect."""

from $dialect.dialect import ${Name}Dialect

__all__ = ["DIALECT", "${Name}Dialect"]

DIALECT = ${Name}Dialect
