"""Pure functions over quotes of funding: edges, costs, break-even, ranking. No input, no output, no clock."""

from .edge import Edge, Horizon, annual, edge, per_hour
from .quotes import Costs, FundingQuote
from .ranking import Filters, Opportunity, Rejection, Scan, scan

__all__ = ["Costs", "Edge", "Filters", "FundingQuote", "Horizon", "Opportunity", "Rejection", "Scan", "annual", "edge", "per_hour", "scan"]
