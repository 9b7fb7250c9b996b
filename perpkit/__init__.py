"""perpkit: the command, the demo, and later backtests. Nothing in the library imports this package."""

__version__ = "0.1.0"
