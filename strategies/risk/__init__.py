"""What may go wrong and is kept from it: limits, breakers, halt, margin forecast, watchdog. See docs/risk.md."""

from .engine import RiskEngine, tee
from .limits import RiskLimits, tightens

__all__ = ["RiskEngine", "RiskLimits", "tee", "tightens"]
