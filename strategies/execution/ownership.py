"""Whose is what: several pairs and holdings in one market of one account keep apart by what each has traded itself."""

from database.journal import Journal


class Ownership:
    """One per journal, shared by all engines and the desk: own shares per (account, venue, instrument) and owner."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
