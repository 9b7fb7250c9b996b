"""What can go wrong between the engine and its journal.

JournalError
    JournalReadOnly      file, folder or mount does not accept writes
    JournalFull          no space left (or quota)
    JournalBusy          another process held the database longer than the busy timeout
    JournalOwned         another engine process owns this journal
    JournalBroken        not a database, damaged, or a schema that this version does not know
      JournalConflict    a record contradicts what is there: its pair or intent is missing, its client order id is taken
"""


class JournalError(Exception):
    """The journal could not do what was asked; nothing was half written."""


class JournalReadOnly(JournalError):
    """The database does not accept writes."""


class JournalFull(JournalError):
    """The disk (or quota) is full."""


class JournalBusy(JournalError):
    """The database stayed locked longer than the busy timeout."""


class JournalOwned(JournalError):
    """Another process is the writer of this journal."""


class JournalBroken(JournalError):
    """Unreadable, damaged, or of an unknown schema version."""


class JournalConflict(JournalBroken):
    """The database works, and a record does not fit into it."""
