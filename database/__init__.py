"""Persistence: records (plain, cheap to import), models, migrations and the journal.

Importing this package or `database.records` does not import SQLAlchemy; `database.models`, `database.migrate` and opening a journal do.
"""
