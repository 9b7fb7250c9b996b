"""What a pair or a holding earned, from venue records alone (E27).

`accounts`: the three views (each venue's cash, the hedge at one reference price, the decomposition) and what nothing explains.
`booking`: takes in funding records, writes ledger lines. `records`: one row per venue record, for CSV files and daily sums.
"""

from .accounts import CashView, PairResult, UnifiedView, VenueResult, result
from .booking import book_funding, lines
from .records import Row, daily, rows, to_csv

__all__ = ["CashView", "PairResult", "Row", "UnifiedView", "VenueResult", "book_funding", "daily", "lines", "result", "rows", "to_csv"]
