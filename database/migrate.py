"""Schema versions, up and down, run from code; works from an installed wheel."""

from typing import TYPE_CHECKING

from .errors import JournalBroken

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

HEAD = "0003"


def _config(connection: "Connection | None") -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "database:migrations")
    config.attributes["connection"] = connection
    return config


def current(connection: "Connection") -> str | None:
    """The revision the database is at; None when it is empty."""
    from sqlalchemy import inspect, text

    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).fetchone()
    return None if row is None else str(row[0])


def upgrade(connection: "Connection", revision: str = "head") -> None:
    """Bring the schema forward; does nothing (and does not load Alembic) when it is already there.

    An empty database is given the newest tables at once: a test holds them equal to what all migrations build.

    Raises:
        JournalBroken: the database was written by a newer version.
    """
    from sqlalchemy import inspect, text

    from .models import Base

    at = current(connection)
    if at == HEAD and revision in ("head", HEAD):
        return
    if connection.dialect.name == "postgresql":  # SQLite's writer is alone already
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('perpkit.schema ' || coalesce(current_schema(), ''), 0))"))
        at = current(connection)
        if at == HEAD and revision in ("head", HEAD):
            return
    if at is None and revision in ("head", HEAD) and not inspect(connection).get_table_names():
        Base.metadata.create_all(connection)
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:at)"), {"at": HEAD})
        return
    from alembic import command
    from alembic.util import CommandError

    try:
        command.upgrade(_config(connection), revision)
    except CommandError as e:
        raise JournalBroken(f"schema version {at!r} is not known to this version: {e}") from e


def losses(at: str, revision: str) -> list[str]:
    """What each step back from `at` to `revision` loses, newest first.

    Raises:
        JournalBroken: there is no such version below `at`.
    """
    from alembic.script import ScriptDirectory
    from alembic.script.revision import RevisionError
    from alembic.util import CommandError

    steps = ScriptDirectory.from_config(_config(None))
    try:
        below = [step for step in steps.iterate_revisions(at, revision) if step.revision != revision]
    except (CommandError, RevisionError) as e:
        known = ", ".join(step.revision for step in steps.walk_revisions())
        raise JournalBroken(f"there is no version {revision!r} below {at}; versions: {known}, base") from e
    return [f"{step.revision}: {(step.module.downgrade.__doc__ or '').removeprefix('Back. ')}" for step in below]


def downgrade(connection: "Connection", revision: str) -> None:
    """Take the schema back to `revision` ("base" for none). Data of dropped tables is lost (`losses`).

    Raises:
        JournalBroken: there is no such version below the present one.
    """
    from alembic import command

    at = current(connection)
    if at is None:
        raise JournalBroken("the database has no tables of ours")
    losses(at, revision)
    command.downgrade(_config(connection), revision)
