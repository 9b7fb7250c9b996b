"""Pure functions over quotes of funding: edges, costs, break-even, depth, persistence, ranking. No input, no output, no clock.

`ranker.Ranker` is imported from its module: it alone needs numpy.
"""

from .clock import disbelief, falls_due, next_settlement, pair_funding, settlements
from .depth import Book, Fees, Size, average_price, capacity, capacity_curve, costs_at
from .detail import BadPair, CostSource, Holding, PairDetail, pair_detail
from .edge import HORIZONS, Edge, Horizon, annual, break_even, curve, edge, per_hour
from .persistence import Persistence, expected_hours, pair_history, persistence
from .query import BadQuery, Query, Ranked, SortBy, rank
from .quotes import Costs, FundingQuote
from .ranking import Filters, Opportunity, Rejection, Scan, judge_pair, oi_ratio, price_divergence, round_trip_costs, scan, widest

__all__ = [
    "HORIZONS",
    "BadPair",
    "BadQuery",
    "Book",
    "CostSource",
    "Costs",
    "Edge",
    "Fees",
    "Filters",
    "FundingQuote",
    "Holding",
    "Horizon",
    "Opportunity",
    "PairDetail",
    "Persistence",
    "Query",
    "Ranked",
    "Rejection",
    "Scan",
    "Size",
    "SortBy",
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
    "oi_ratio",
    "pair_detail",
    "pair_funding",
    "pair_history",
    "per_hour",
    "persistence",
    "price_divergence",
    "rank",
    "round_trip_costs",
    "scan",
    "settlements",
    "widest",
]
