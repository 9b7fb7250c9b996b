"""The journal: what the engine must know after a crash, durable before it acts on it."""

import logging
import threading
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from . import migrate
from .connect import Place, connect, error_of
from .errors import JournalBroken, JournalConflict, JournalError, JournalOwned, JournalReadOnly, JournalUnreachable
from .fallback import FallbackFile
from .owner import OwnerLock, SessionLock
from .records import (
    ApiKeyRecord,
    AuditRecord,
    ConfigRecord,
    DeadLetterRecord,
    DecisionRecord,
    FillRecord,
    FundingRecord,
    HoldingRecord,
    HoldingState,
    IntentRecord,
    LedgerLine,
    OrderRecord,
    PairRecord,
    PairState,
    RunRecord,
    StateRecord,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

log = logging.getLogger("database")

Record = (
    PairRecord
    | HoldingRecord
    | IntentRecord
    | OrderRecord
    | FillRecord
    | FundingRecord
    | LedgerLine
    | DecisionRecord
    | StateRecord
    | RunRecord
    | ConfigRecord
    | DeadLetterRecord
    | ApiKeyRecord
    | AuditRecord
)
R = TypeVar("R", bound=Record)

_TABLES: dict[type[Any], tuple[str, bool]] = {
    PairRecord: ("pairs", True),
    IntentRecord: ("intents", True),
    OrderRecord: ("orders", True),
    FillRecord: ("fills", False),
    FundingRecord: ("funding_payments", False),
    LedgerLine: ("pair_ledger", False),
    DecisionRecord: ("decisions", False),
    StateRecord: ("strategy_state", True),
    HoldingRecord: ("holdings", True),
    RunRecord: ("strategy_runs", True),
    ConfigRecord: ("strategy_configs", False),
    DeadLetterRecord: ("dead_letters", False),
    ApiKeyRecord: ("api_keys", True),
    AuditRecord: ("audit_log", False),
}
_BY_NAME = {name: record for record, (name, _) in _TABLES.items()}


class Journal:
    """Single writer over one database; every `write` is one transaction and is on disk when it returns.

    Calls are synchronous and may come from any thread, one at a time: inline under virtual time, through `Offload` live.
    Fills, payments, ledger lines, decisions, configurations, dead letters and audit entries are taken once and never changed; all else
    is replaced by key.
    """

    def __init__(
        self,
        connection: "Connection",
        *,
        fallback: FallbackFile | None = None,
        lock: OwnerLock | SessionLock | None = None,
        beside: bool = False,
        place: Place | None = None,
    ) -> None:
        self._connection = connection
        self._place = place
        self._fallback = fallback
        self._lock = lock
        self._beside = beside
        self._guard = threading.RLock()
        self._closed = False
        self._statements: dict[type[Any], Any] = {}
        self._waiting: set[tuple[str, ...]] = set()
        self._met: set[tuple[str, ...]] | None = set() if isinstance(lock, SessionLock) else None
        """Once-only records seen in a database on a server: while it is away it cannot be asked which are known."""
        if fallback is not None and not fallback.empty:
            self._waiting = {key for r in _records(fallback) if (key := _once_key(r)) is not None}

    @classmethod
    def open(cls, url: str, *, read_only: bool = False, busy_timeout_s: float = 5.0, fallback: Path | None = None) -> "Journal":
        """Open (and for a writer: own, create or migrate) the journal at an SQLAlchemy URL, by default SQLite.

        Args:
            fallback: file for what must be recorded while the database cannot be written; default: beside an SQLite file, none on a
                server (`database.fallback.fallback_of` names one).

        Raises:
            JournalOwned: another process is the writer.
            JournalReadOnly, JournalFull, JournalBusy, JournalBroken: it cannot be used, with the reason in one line.
        """
        opened = connect(url, read_only=read_only, own=not read_only, busy_timeout_s=busy_timeout_s)
        lock: OwnerLock | SessionLock | None = opened.lock
        spare: FallbackFile | None = None
        try:
            if not read_only:
                if opened.path is not None:
                    lock = OwnerLock(opened.path.with_name(opened.path.name + ".lock"))
                    fallback = fallback or opened.path.with_name(opened.path.name + ".fallback")
                with error_of(opened.shown), opened.connection.begin():
                    migrate.upgrade(opened.connection)
                    if opened.lock is not None:
                        opened.lock.claim(opened.connection)
                if fallback is not None:
                    spare = FallbackFile(fallback)
            else:
                with error_of(opened.shown), opened.connection.begin():
                    at = migrate.current(opened.connection)
                if at != migrate.HEAD:
                    was = "holds no journal" if at is None else f"is of version {at}, this is {migrate.HEAD}"
                    raise JournalBroken(f"the database {was}: opening it for writing brings it forward, as `perpkit recover --apply` does")
            place = None if opened.path is None or read_only else Place(opened.path)
            journal = cls(opened.connection, fallback=spare, lock=lock, place=place)
            if spare is not None and not spare.empty:
                journal._restore(spare)
        except BaseException:
            opened.connection.close()
            opened.connection.engine.dispose()
            if spare is not None:
                spare.close()
            if lock is not None:
                lock.release()
            raise
        return journal

    @classmethod
    def beside(cls, url: str, *, busy_timeout_s: float = 5.0) -> "Journal":
        """For an operator's command, whether or not a bot runs: reads everything, writes keys of the control API and audit entries only.

        No engine writes those two tables from what it remembers, so a second writer cannot mislead it.

        Raises:
            JournalError: it cannot be used, or is of an older version and owned, so that it cannot be brought forward now.
        """
        opened = connect(url, busy_timeout_s=busy_timeout_s)
        try:
            with error_of(opened.shown), opened.connection.begin():
                at = migrate.current(opened.connection)
            if at != migrate.HEAD:
                try:
                    cls.open(url, busy_timeout_s=busy_timeout_s).close()  # made, or brought forward
                except JournalOwned as e:
                    raise JournalBroken(f"the journal is of version {at}, this is {migrate.HEAD}: stop the bot that owns it first") from e
        except BaseException:
            opened.connection.close()
            opened.connection.engine.dispose()
            raise
        return cls(opened.connection, beside=True)

    def close(self) -> None:
        """Give up the database and its ownership; what was written stays."""
        with self._guard:
            self._closed = True
            self._connection.close()
            self._connection.engine.dispose()
            if self._fallback is not None:
                self._fallback.close()
            if self._lock is not None:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def degraded(self) -> bool:
        """True while records wait in the fallback file: no entry may be sent."""
        return not self._closed and self._fallback is not None and not self._fallback.empty

    def _check_open(self) -> None:
        if self._closed:
            raise JournalBroken("the journal is closed")

    def write(self, *records: Record, or_fallback: bool = False) -> tuple[bool, ...]:
        """Make the records durable, all or none, in the given order.

        Args:
            or_fallback: for risk-reducing intents and for facts seen at a venue: if the database refuses, use the fallback file.

        Returns:
            Per record, False when a once-only record (fill, payment, ledger line, decision) was known already.

        Raises:
            JournalError: nothing was written; an intent among the records must not be sent.
        """
        if self._beside and not all(isinstance(r, ApiKeyRecord | AuditRecord) for r in records):
            raise JournalReadOnly("only the journal's owner writes records of trading")
        with self._guard:
            self._check_open()
            try:
                if self._place is not None:
                    self._place.check()
                if self._fallback is not None and not self._fallback.empty:
                    self._restore(self._fallback)
                with error_of("journal"), self._connection.begin():
                    new = tuple(self._put(r) for r in records)
                self._meet(records)
                return new
            except JournalError as e:
                if not or_fallback or self._fallback is None:
                    raise
                if self._fallback.empty:
                    log.warning("journal.fallback reason=%s", e)
                fresh = tuple((key := _once_key(r)) is None or (key not in self._waiting and not self._known(r)) for r in records)
                self._fallback.append([[_TABLES[type(r)][0], r] for r, new in zip(records, fresh, strict=True) if new])
                self._waiting.update(key for r in records if (key := _once_key(r)) is not None)
                return fresh

    def _restore(self, fallback: FallbackFile) -> None:
        """Move what waits in the fallback file into the database. A record that cannot stand there alone is set aside, not lost."""
        records = _records(fallback)
        try:
            with error_of("journal"), self._connection.begin():
                for record in records:
                    self._put(record)
        except JournalConflict:
            fallback.set_aside([[_TABLES[type(r)][0], r] for r in records if not self._fits(r)])
        fallback.clear()
        self._waiting.clear()

    def _fits(self, record: Record) -> bool:
        try:
            with error_of("journal"), self._connection.begin():
                self._put(record)
        except JournalConflict as e:
            log.error("journal.set_aside record=%s reason=%s", type(record).__name__, e)
            return False
        return True

    def _meet(self, records: Iterable[Any]) -> None:
        if self._met is not None:
            self._met.update(key for r in records if (key := _once_key(r)) is not None)

    def _known(self, record: Record) -> bool:
        """Whether a once-only record is in the database (which may be readable while it cannot be written)."""
        from sqlalchemy import literal, select

        if self._met is not None and _once_key(record) in self._met:
            return True
        table = self._table(type(record))
        values = msgspec.structs.asdict(record)
        wanted = select(literal(1)).where(*(table.c[name] == values[name] for name in _keys(table)))
        try:
            with error_of("journal"), self._connection.begin():
                return self._connection.execute(wanted).first() is not None
        except JournalError:
            return False

    def _table(self, record: type[Any]) -> "Table":
        from .models import Base

        return Base.metadata.tables[_TABLES[record][0]]

    def _put(self, record: Record) -> bool:
        kind = type(record)
        statement = self._statements.get(kind)
        if statement is None:
            statement = upsert(self._connection.dialect.name, self._table(kind), replace=_TABLES[kind][1])
            self._statements[kind] = statement
        return bool(self._connection.execute(statement, msgspec.structs.asdict(record)).rowcount > 0)

    def _read(self, kind: type[R], order: str, *, last: int | None = None, **equal: object) -> list[R]:
        from sqlalchemy import select

        table = self._table(kind)
        query = select(*(table.c[name] for name in kind.__struct_fields__)).order_by(table.c[order])
        for name, value in equal.items():
            query = query.where(
                table.c[name].in_(list(value)) if isinstance(value, Sequence) and not isinstance(value, str) else table.c[name] == value
            )
        if last is not None:
            query = query.order_by(None).order_by(table.c[order].desc()).limit(last)
        with self._guard:
            self._check_open()
            try:
                found = self._rows(kind, query)
            except JournalUnreachable:  # lost while nothing was asked; reading again changes nothing
                found = self._rows(kind, query)
        return found if last is None else found[::-1]

    def _rows(self, kind: type[R], query: Any) -> list[R]:
        with error_of("journal"), self._connection.begin():
            found = [msgspec.convert(dict(row._mapping), kind) for row in self._connection.execute(query)]
        self._meet(found)
        return found

    def pair(self, pair_id: str) -> PairRecord | None:
        """One pair."""
        found = self._read(PairRecord, "created_at", pair_id=pair_id)
        return found[0] if found else None

    def pairs(self, *states: PairState) -> list[PairRecord]:
        """Pairs in any of the states (none given: all), oldest first."""
        return self._read(PairRecord, "created_at", state=list(states)) if states else self._read(PairRecord, "created_at")

    def holding(self, holding_id: str) -> HoldingRecord | None:
        """One holding."""
        found = self._read(HoldingRecord, "created_at", holding_id=holding_id)
        return found[0] if found else None

    def holdings(self, *states: HoldingState) -> list[HoldingRecord]:
        """Holdings in any of the states (none given: all), oldest first."""
        return self._read(HoldingRecord, "created_at", state=list(states)) if states else self._read(HoldingRecord, "created_at")

    def intents(self, pair_id: str) -> list[IntentRecord]:
        """Intents of a pair, oldest first."""
        return self._read(IntentRecord, "created_at", pair_id=pair_id)

    def orders(self, pair_id: str) -> list[OrderRecord]:
        """Orders of a pair, by last change."""
        return self._read(OrderRecord, "updated_at", pair_id=pair_id)

    def fills(self, pair_id: str) -> list[FillRecord]:
        """Fills of a pair in venue time."""
        return self._read(FillRecord, "ts_venue", pair_id=pair_id)

    def funding(self, pair_id: str) -> list[FundingRecord]:
        """Funding payments of a pair in venue time."""
        return self._read(FundingRecord, "ts_venue", pair_id=pair_id)

    def ledger(self, pair_id: str) -> list[LedgerLine]:
        """Ledger lines of a pair in time."""
        return self._read(LedgerLine, "ts", pair_id=pair_id)

    def decisions(self, pair_id: str | None = None, *, strategy: str | None = None, last: int | None = None) -> list[DecisionRecord]:
        """Decisions about a pair, of a strategy, or all, oldest first; with `last` only so many of the newest."""
        where: dict[str, object] = {}
        if pair_id is not None:
            where["pair_id"] = pair_id
        if strategy is not None:
            where["strategy"] = strategy
        return self._read(DecisionRecord, "ts", last=last, **where)

    def state(self, strategy: str, account: str, key: str) -> StateRecord | None:
        """A saved value of a strategy."""
        found = self._read(StateRecord, "key", strategy=strategy, account=account, key=key)
        return found[0] if found else None

    def runs(self) -> list[RunRecord]:
        """Lives of strategies, oldest first."""
        return self._read(RunRecord, "started_at")

    def configs(self) -> list[ConfigRecord]:
        """Configurations that bots ran with, by first use."""
        return self._read(ConfigRecord, "first_used_at")

    def dead_letters(self, strategy: str, account: str) -> list[DeadLetterRecord]:
        """Events of a strategy whose handler raised, oldest first."""
        return self._read(DeadLetterRecord, "ts", strategy=strategy, account=account)

    def api_keys(self) -> list[ApiKeyRecord]:
        """Keys of the control API, revoked ones too."""
        return self._read(ApiKeyRecord, "name")

    def audit(self) -> list[AuditRecord]:
        """What operators did, oldest first."""
        return self._read(AuditRecord, "ts")

    def states(self, strategy: str, account: str) -> list[StateRecord]:
        """All saved values of a strategy on an account."""
        return self._read(StateRecord, "key", strategy=strategy, account=account)


def upsert(dialect: str, table: "Table", *, replace: bool) -> Any:
    """An insert that on a known key replaces the row, or leaves it as it is; for SQLite and PostgreSQL."""
    insert = import_module(f"sqlalchemy.dialects.{dialect}").insert(table)
    keys = _keys(table)
    if not replace:
        return insert.on_conflict_do_nothing(index_elements=keys)
    return insert.on_conflict_do_update(index_elements=keys, set_={c.name: insert.excluded[c.name] for c in table.c if c.name not in keys})


def _records(fallback: FallbackFile) -> list[Any]:
    return [msgspec.convert(value, _BY_NAME[name]) for name, value in fallback.lines()]


def _keys(table: "Table") -> list[str]:
    """What makes a row unique for its writer: the primary key, or for the numbered ledger lines their natural key."""
    return ["pair_id", "kind", "venue", "record_id"] if table.name == "pair_ledger" else [c.name for c in table.primary_key.columns]


def _once_key(record: Record) -> tuple[str, ...] | None:
    """Identity of a once-only record, None for those that are replaced."""
    match record:
        case FillRecord():
            return ("fill", record.venue, record.account, record.trade_id, record.side, record.pair_id)
        case FundingRecord():
            return ("funding", record.venue, record.account, record.record_id, record.pair_id)
        case LedgerLine():
            return ("ledger", record.pair_id, record.kind, record.venue, record.record_id)
        case DecisionRecord():
            return ("decision", record.decision_id)
        case DeadLetterRecord():
            return ("dead_letter", record.letter_id)
        case AuditRecord():
            return ("audit", record.entry_id)
        case ConfigRecord():
            return ("config", record.digest)
        case _:
            return None
