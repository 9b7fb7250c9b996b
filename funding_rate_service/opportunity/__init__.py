"""Pure functions over quotes of funding: edges, costs, break-even, depth, persistence, ranking. No input, no output, no clock."""

from .clock import disbelief, falls_due, next_settlement, pair_funding, settlements
from .depth import Book, Fees, Size, average_price, capacity, capacity_curve, costs_at
from .edge import HORIZONS, Edge, Horizon, annual, break_even, curve, edge, per_hour
from .persistence import Persistence, expected_hours, pair_history, persistence
from .quotes import Costs, FundingQuote
from .ranking import Filters, Opportunity, Rejection, Scan, judge_pair, round_trip_costs, scan

__all__ = [
    "HORIZONS",
    "Book",
    "Costs",
    "Edge",
    "Fees",
    "Filters",
    "FundingQuote",
    "Horizon",
    "Opportunity",
    "Persistence",
    "Rejection",
    "Scan",
    "Size",
    "annual",
    "average_price",
    "break_even",
    "capacity",
    "capacity_curve",
    "costs_at",
    "curve",
    "disbelief",
    "edge",
    "expected_hours",
    "falls_due",
    "judge_pair",
    "next_settlement",
    "pair_funding",
    "pair_history",
    "per_hour",
    "persistence",
    "round_trip_costs",
    "scan",
    "settlements",
]
