"""Keeps asking every venue for its funding rates: onto the board at once, into the database when it can be written."""

from .backfill import Backfill, BackfillStatus
from .collector import Collector, CollectorStatus
from .depths import Depths
from .venue import VenueCollector, VenueRounds
from .writer import Writer, WriterStatus

__all__ = [
    "Backfill",
    "BackfillStatus",
    "Collector",
    "CollectorStatus",
    "Depths",
    "VenueCollector",
    "VenueRounds",
    "Writer",
    "WriterStatus",
]
