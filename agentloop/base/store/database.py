"""The database behind the store: opening, migrating, transactions, and errors in our words."""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    Connection,
    Dialect,
    Engine,
    Table,
    create_engine,
    event,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from agentloop.base.errors import (
    AgentloopError,
    ConfigError,
    RecordError,
    StoreBusy,
    StoreError,
    StoreSchema,
)
from agentloop.base.store.tables import metadata

REVISION = "0005"
"""The schema this release reads and writes: the newest file in `migrations/versions`."""

BUSY_SECONDS = 10.0
"""How long one waits for another (a writer, a server that does not answer) before `StoreBusy`."""

TOGETHER = (512, 128, 32) if sqlite3.sqlite_version_info >= (3, 32) else (32,)
"""So many rows are one statement on SQLite, as long as there are so many; before 3.32 it took no
more than 999 values. It is the quicker for it, and lets other threads run for longer."""

Rows = Sequence[Mapping[str, Any]]


class Database:
    """One database, opened by its SQLAlchemy URL and brought to the present schema.

    Args:
        url: `sqlite:///path/to/file.db`, `sqlite://` (in memory) or `postgresql+psycopg://…`.
        create: make a database that is not there yet; otherwise it is an error.
        busy_seconds: how long to wait for somebody else who holds it.

    Raises:
        ConfigError: the URL cannot be read, or its driver is not installed.
        StoreError: nothing is there, or nothing can be opened there.
        StoreSchema: it was written by a newer release, or not by agentloop.
    """

    def __init__(
        self, url: str, *, create: bool = True, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        parsed = _parse(url)
        self.name = parsed.render_as_string(hide_password=True)
        self.lite = parsed.get_backend_name() == "sqlite"
        """Whether it is SQLite."""
        if self.lite:
            parsed = _find_file(parsed, create=create)
        self.place = parsed.render_as_string(hide_password=True)
        """Its name in full: the same from wherever, and however, one comes to it."""
        self._statements: dict[tuple[str, bool], _Statement] = {}
        self._engine = _engine(parsed, busy_seconds)
        try:
            with self.speaking():
                self._migrate(create=create)
        except AgentloopError:
            self.close()
            raise

    def close(self) -> None:
        """Give every connection back, those that are still in use as soon as they are not. The
        database can be opened again."""
        pool = self._engine.pool
        self._engine.dispose()
        event.listen(pool, "checkin", _end)
        pool.dispose()

    def after_fork(self) -> None:
        """Leave the connections to the process that made them."""
        self._engine.dispose(close=False)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database and changes nothing."""
        one_state = {} if self.lite else {"isolation_level": "REPEATABLE READ"}
        with self.speaking(), self._engine.connect().execution_options(**one_state) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is committed whole at the end, or not at all."""
        with (
            self.speaking(),
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    def add(self, connection: Connection, table: Table, rows: Rows) -> None:
        """Insert those of `rows` whose key is not there yet."""
        self.run(connection, self.ready(table, rows))

    def upsert(
        self,
        connection: Connection,
        table: Table,
        rows: Rows,
        *,
        keep: Mapping[str, Any] | None = None,
    ) -> None:
        """Insert `rows`; where a key is there already, put the new values in its place.

        Args:
            keep: column -> what makes its value from the new row, where that is not simply the
                new one; for one table always the same.
        """
        self.run(connection, self.ready(table, rows, keep=keep or {}))

    def lock(self, connection: Connection, key: Column[Any], values: Iterable[str]) -> None:
        """Have others wait who would change these rows, too. On SQLite they do so anyway."""
        if not self.lite and (wanted := sorted(values)):
            rows = select(key).where(key.in_(wanted)).order_by(key).with_for_update()
            connection.execute(rows).all()

    def ready(self, table: Table, rows: Rows, *, keep: Mapping[str, Any] | None = None) -> "Ready":
        """`rows` as the driver takes them: what `run` needs a transaction for is then SQL alone.

        Args:
            keep: as for `upsert`; None to add those whose key is not there yet.
        """
        made = self._statements.get((table.name, keep is None))
        if made is None:
            made = _statement(self._insert(table), table, keep, self._engine.dialect)
            self._statements[table.name, keep is None] = made
        return Ready(made, len(rows), made.values(rows) if rows else [])

    def run(self, connection: Connection, ready: "Ready") -> None:
        """Insert or upsert what `ready` made."""
        statement, number, values = ready
        if not statement.positional:
            if values:
                connection.exec_driver_sql(statement.sql, values)
            return
        width, start = len(statement.columns), 0
        for size in TOGETHER:
            while number - start >= size:
                some = tuple(values[start * width : (start + size) * width])
                connection.exec_driver_sql(statement.of(size), some)
                start += size
        if rest := [tuple(values[n * width : (n + 1) * width]) for n in range(start, number)]:
            connection.exec_driver_sql(statement.sql, rest)

    def size(self, connection: Connection) -> int:
        """Bytes on disk, indexes included."""
        if self.lite:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            return int(pages * connection.exec_driver_sql("PRAGMA page_size").scalar_one())
        query = text("SELECT pg_total_relation_size(cast(:name AS regclass))")
        names = [connection.dialect.identifier_preparer.quote(name) for name in metadata.tables]
        return sum(connection.scalar(query, {"name": name}) or 0 for name in names)

    def unsound(self, connection: Connection) -> list[str]:
        """What the database itself finds wrong with its file; a server looks after its own."""
        if not self.lite:
            return []
        found = connection.exec_driver_sql("PRAGMA quick_check").scalars()
        return [str(said) for said in found if said != "ok"]

    def scrub(self) -> str | None:
        """Rewrite SQLite's file, so that nothing of what was deleted is in it. Why that could not
        be done (nothing is changed then); None: it was."""
        connection = self._engine.raw_connection()
        try:
            driver: Any = connection.driver_connection
            driver.execute("VACUUM")
            busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            return str(error)
        finally:
            connection.close()
        return "somebody else is reading it" if busy else None

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """The one place where the database's errors become ours."""
        try:
            yield
        except DBAPIError as error:
            raise _translated(error, self.name) from error
        except PoolTimeout as error:
            raise StoreBusy(f"{self.name}: too many at once; try again in a moment") from error

    def _insert(self, table: Table) -> Any:
        # Each dialect is a good part of SQLAlchemy, and one of the two is needed.
        if self.lite:
            from sqlalchemy.dialects import sqlite

            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)

    def _migrate(self, *, create: bool) -> None:
        if self._revision(create=create) == REVISION:
            return
        from agentloop.base.store.migrations import upgrade

        with self.write() as connection:
            if not self.lite:  # on SQLite the transaction itself is the lock
                connection.execute(text("SELECT pg_advisory_xact_lock(7305137)"))
            upgrade(connection)

    def _revision(self, *, create: bool) -> str | None:
        """The schema that is there, None when there is none; an error when it is not for us."""
        with self._engine.connect() as connection:
            there = set(inspect(connection).get_table_names())
            known = "alembic_version" in there
            query = text("SELECT version_num FROM alembic_version")
            found = str(connection.execute(query).scalar() or "") if known else ""
        ours = there & metadata.tables.keys()
        if (found and not ours) or (ours and not found):
            raise StoreSchema(
                f"{self.name} holds tables of something else ({', '.join(sorted(there)[:3])}); "
                "give agentloop a database of its own"
            )
        if found and not (found.isdigit() and found <= REVISION):
            raise StoreSchema(
                f"{self.name} has schema {found}, this agentloop reads {REVISION}; "
                "install the newer agentloop that wrote it, or use another store"
            )
        if not found and not create:
            raise StoreError(f"{self.name} is empty; {WAY_IN}")
        return found or None


class _Statement(NamedTuple):
    """SQL as the driver takes it, and what it does to each column's value first. SQLAlchemy would
    find that out for each row anew."""

    sql: str
    columns: tuple[tuple[str, Any], ...]
    positional: bool

    def values(self, rows: Rows) -> list[Any]:
        """What the driver is given for these rows: all values in a line, or by their names."""
        columns = [
            map(value, map(itemgetter(name), rows)) if value else map(itemgetter(name), rows)
            for name, value in self.columns
        ]
        if self.positional:
            line: list[Any] = [None] * (len(rows) * len(columns))
            for n, column in enumerate(columns):
                line[n :: len(columns)] = column
            return line
        names = [name for name, _ in self.columns]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def of(self, number: int) -> str:
        """The same for so many rows in one."""
        return _of(self.sql, len(self.columns), number)


@lru_cache(maxsize=256)
def _of(sql: str, columns: int, number: int) -> str:
    one = f"({', '.join('?' * columns)})"
    return sql.replace(one, ", ".join([one] * number), 1)


class Ready(NamedTuple):
    """Rows, and the statement that takes them."""

    statement: _Statement
    number: int
    values: list[Any]


def _statement(
    insert: Any, table: Table, keep: Mapping[str, Any] | None, dialect: Dialect
) -> _Statement:
    if keep is None:
        insert = insert.on_conflict_do_nothing()
    else:
        keys = [column.name for column in table.primary_key]
        values = {c.name: insert.excluded[c.name] for c in table.c if c.name not in keys}
        values |= {name: make(insert.excluded) for name, make in keep.items()}
        insert = insert.on_conflict_do_update(index_elements=keys, set_=values)
    names = [column.name for column in table.c]
    compiled = insert.compile(dialect=dialect, column_keys=names)
    order = compiled.positiontup or names
    columns = tuple(
        (name, table.c[name].type.dialect_impl(dialect).bind_processor(dialect)) for name in order
    )
    return _Statement(str(compiled), columns, bool(compiled.positional))


WAY_IN = (
    "run an agent with `loop.run` or `agentloop import FILE` to fill one, or name another "
    "with --store or AGENTLOOP_DATABASE_URL"
)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise ConfigError(
            f"{_without_password(url)!r} is no database URL; e.g. sqlite:///traces/loop.db or "
            "postgresql+psycopg://user@host/name"
        ) from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigError(f"{parsed.get_backend_name()!r} is no store; use sqlite or postgresql")
    return parsed


def _without_password(url: str) -> str:
    return re.sub(r":[^:@/]*@", ":***@", url)


def _find_file(url: URL, *, create: bool) -> URL:
    """The URL with SQLite's file by its whole path, so that it stays the same file wherever the
    process goes; a clear error when it cannot be there."""
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        return url
    file = Path(url.database).absolute()
    try:
        if not create and not file.exists():
            raise StoreError(f"there is no store at {url.database}; {WAY_IN}")
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"there can be no store at {file}: {error.strerror}") from error
    return url.set(database=str(file))


def _engine(url: URL, busy_seconds: float) -> Engine:
    if url.get_backend_name() != "sqlite":
        try:
            engine = create_engine(
                url, pool_pre_ping=True, connect_args={"connect_timeout": int(BUSY_SECONDS)}
            )
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"the driver {error.name!r} is not installed; install the extra `postgres`"
            ) from error
        event.listen(engine, "connect", _prepare_postgres(busy_seconds))
        return engine
    options: dict[str, Any] = {}
    if not url.database or url.database == ":memory:":
        # The database is in its connection: one for all, and one at a time.
        options = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}
    engine = create_engine(
        url, connect_args={"timeout": busy_seconds, "check_same_thread": False}, **options
    )
    event.listen(engine, "connect", _prepare_sqlite(busy_seconds))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _end(_: object, record: ConnectionPoolEntry) -> None:
    """Close a connection that comes back to a pool that nobody has any more."""
    record.invalidate()


def _prepare_postgres(busy_seconds: float) -> Any:
    def prepare(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{busy_seconds:.3f}s'")
        connection.commit()

    return prepare


def _prepare_sqlite(busy_seconds: float) -> Any:
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        """On each new connection: check foreign keys, and let readers and a writer coexist."""
        connection.isolation_level = None  # the driver's own BEGIN comes too late: _begin_sqlite
        connection.execute("PRAGMA foreign_keys = ON")
        until = monotonic() + busy_seconds
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                # Two processes that open a new file at once: here SQLite does not wait by itself.
                if "locked" not in str(error) or monotonic() > until:
                    raise
                sleep(0.02)
        # A commit is acknowledged when it is on disk, so that not even a power cut takes it back.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -16000")  # in KB: most of an index's upper pages

    return prepare


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the lock at once and waits for it; one that took it half-way would fail."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _translated(error: DBAPIError, name: str) -> AgentloopError:
    said = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else str(error)
    low = said.lower()
    if any(word in low for word in ("locked", "busy", "deadlock", "lock timeout", "serialize")):
        return StoreBusy(f"{name} is locked by somebody else; try again in a moment")
    if any(word in low for word in ("disk is full", "no space left", "disk full")):
        return StoreError(f"no space left for {name}: nothing was stored; make room, try again")
    if "disk i/o" in low:
        return StoreError(f"the disk under {name} fails or is full: nothing was stored")
    if "readonly" in low or "read-only" in low:
        return StoreError(f"{name} may not be written here: {said}")
    if "not a database" in low or "malformed" in low:
        return StoreError(f"{name} is damaged, or no SQLite database: {said}")
    if "unable to open" in low:
        return StoreError(f"{name} cannot be opened: check that the path may be read and written")
    if "index row" in low or "string or blob too big" in low:
        return RecordError(f"nothing stored: an id, a name or a text is too long ({said})")
    return StoreError(f"{name}: {said}")
