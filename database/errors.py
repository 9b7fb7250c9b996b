"""What can go wrong between us and a database; named after its first user, the journal.

JournalError
    JournalReadOnly      file, folder or mount does not accept writes
    JournalFull          no space left (or quota)
    JournalBusy          another process held the database longer than the busy timeout
    JournalOwned         another engine process owns this journal
    JournalUnreachable   the database server does not answer, or the connection to it was lost
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


class JournalUnreachable(JournalError):
    """No connection to the database server; one that is lost in the middle of a commit leaves all of it or nothing."""


class JournalBroken(JournalError):
    """Unreadable, damaged, or of an unknown schema version."""


class JournalConflict(JournalBroken):
    """The database works, and a record does not fit into it."""
