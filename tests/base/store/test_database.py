"""Opening a store, and every way in which that fails: one clear error, and nothing half-done."""

import os
import random
import resource
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from agentloop.base.errors import (
    ConfigError,
    RecordError,
    StoreBusy,
    StoreError,
    StoreSchema,
)
from agentloop.base.records import Dataset
from agentloop.base.records.message import verbatim
from agentloop.base.store import Store
from agentloop.base.store import tables as t
from agentloop.base.store.database import REVISION
from agentloop.base.store.migrations import upgrade
from agentloop.base.store.tables import metadata
from tests.makers import (
    a_correction,
    a_row,
    a_span,
    a_trace,
    an_opinion,
    an_outcome,
    asks,
    at,
    returns,
    says,
    system,
    user,
)

ROOT = Path(__file__).parents[3]
VERSIONS = ROOT / "agentloop/base/store/migrations/versions"


def python(code, *arguments, **options):
    """Another process, in the root of the repository."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, **options)


def execute(url, *statements):
    """Do something to a database behind the store's back."""
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


# ---------------------------------------------------------------------- migrations


def test_the_migrations_make_the_tables_that_the_code_declares(store):
    with store._database._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == REVISION


def test_the_revision_is_the_newest_migration():
    assert max(p.name for p in VERSIONS.glob("*.py")).startswith(f"{REVISION}_")


LONG = "what a tool returned, at some length; " * 20
EARLIER = sorted(p.name[:4] for p in VERSIONS.glob("0*.py"))[:-1]


WORDS = "\x1a\x00 \ud800 é"
OLD_TRACE = a_trace(
    *(system(), user(), asks(id="a"), returns(LONG, id="a"), says(), user("bye")),
    id=f"t1 {WORDS}",
    user="u7",
)


OLD_DATASET = Dataset(
    method="sft",
    agents=("support",),
    recipe={"good": 0.8},
    rows=[a_row(user(f"{n} {WORDS}"), says(), traces=(OLD_TRACE.id,)) for n in range(600)],
    valid=[a_row(user("é"), traces=(OLD_TRACE.id,), split="valid")],
)


def fill(connection, there, revision):
    """Write into an earlier schema what `there` holds, in the form that releases had then."""
    packed = revision >= "0004"
    hashes = [
        *(
            (t.media, "hash"),
            (t.message, "hash"),
            (t.node, "id"),
            (t.node, "parent"),
            (t.node, "message"),
        ),
        *((t.toolset, "hash"), (t.trace, "tail"), (t.opinion, "node")),
        *((t.call, name) for name in ("context", "output", "toolset")),
    ]
    bodies = [(t.message, "body"), (t.toolset, "body")]
    known = sqlalchemy.inspect(connection)
    for now in metadata.sorted_tables:
        if now.name not in known.get_table_names():
            continue
        then = sqlalchemy.table(
            now.name,
            *(
                sqlalchemy.column(
                    c["name"],
                    sqlalchemy.Text()
                    if (now, c["name"]) in [*hashes, *bodies] and not packed
                    else now.c[c["name"]].type,
                )
                for c in known.get_columns(now.name)
            ),
        )
        for row in there.execute(now.select()).mappings().all():
            known_then = {column.name: row[column.name] for column in then.columns}
            connection.execute(then.insert(), known_then)
    for span in SPANS if not packed else ():
        body = span.model_dump(exclude={"trace_id", "id", "kind", "started_at"}, exclude_none=True)
        columns = {"trace_id": span.trace_id, "id": span.id, "kind": span.kind.value}
        columns |= {"started_at": span.started_at, "body": verbatim(body).decode()}
        types = {"trace_id": t.Words, "id": t.Words, "started_at": t.Moment}
        table = sqlalchemy.table(
            "span", *(sqlalchemy.column(name, types.get(name, sqlalchemy.Text)) for name in columns)
        )
        connection.execute(table.insert(), columns)


SPANS = [
    a_span(OLD_TRACE.id, f"s{n} {WORDS}", started_at=at(n) if n else None, data={"output": LONG})
    for n in range(150)
]


@pytest.mark.parametrize("revision", EARLIER)
def test_what_an_earlier_release_stored_is_read_after_its_migration(url, tmp_path, revision):
    said = an_opinion(OLD_TRACE.id), an_outcome(OLD_TRACE.id), a_correction(OLD_TRACE.calls[1])
    engine = sqlalchemy.create_engine(url)
    with Store(f"sqlite:///{tmp_path}/now.db") as now:
        now.put(OLD_TRACE, *said)
        now.ledger.put_dataset(OLD_DATASET)
        if revision >= "0004":
            now.put(*SPANS)
        with now._database.read() as there, engine.begin() as connection:
            upgrade(connection, revision)
            fill(connection, there, revision)
        now.put(*SPANS)
        expected = now.judged(OLD_TRACE.id)
    engine.dispose()
    with Store(url, create=False) as store:
        assert list(store.verify()) == []
        assert store.judged(OLD_TRACE.id) == expected
        assert len(expected.trace.spans) == 150
        assert store.trace(OLD_TRACE.id).consent is True
        assert store.ledger.dataset(OLD_DATASET.id) == OLD_DATASET
        shas = [sha for _, _, sha in store.ledger.shas(OLD_DATASET.id)]
        assert shas == [row.line_sha for row in (*OLD_DATASET.rows, *OLD_DATASET.valid)]
        assert store.ledger.marks() == {}
        before = store.stats().tables
        store.put(OLD_TRACE, *SPANS, *said)
        after = store.stats().tables
        assert {n: s.rows for n, s in before.items()} == {n: s.rows for n, s in after.items()}
        if revision < "0004":
            assert after["step"].content < before["step"].content, "what tools said is not twice"
        assert store.judged(OLD_TRACE.id) == expected
        store.put(a_trace(user(), says(), id="t2", consent=False))
        assert store.trace("t2").consent is False
        store.put(an_opinion(OLD_TRACE.id, 0.0))
        assert [mark.rows for mark in store.ledger.marks()[OLD_DATASET.id]] == [601]
        assert list(store.verify()) == []


def test_a_migration_that_fails_leaves_nothing_behind(url):
    engine = sqlalchemy.create_engine(url)
    execute(url, "CREATE TABLE toolset (x INTEGER)")  # in the way of the fourth table
    with pytest.raises(StoreSchema, match="toolset"):
        Store(url)
    with engine.connect() as connection:
        assert sqlalchemy.inspect(connection).get_table_names() == ["toolset"]
    engine.dispose()


def test_a_migration_is_one_transaction(url):
    execute(url, "CREATE TABLE toolset (x INTEGER)")
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            driver: Any = connection.connection.driver_connection
            driver.isolation_level = None
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(sqlalchemy.exc.DBAPIError, match="toolset"):
            upgrade(connection)
        connection.rollback()
    with engine.connect() as connection:
        assert sqlalchemy.inspect(connection).get_table_names() == ["toolset"]
    engine.dispose()


def test_a_store_in_a_folder_of_any_name_can_be_migrated(tmp_path):
    with Store(f"sqlite:///{tmp_path}/100%/%(here)s/store.db") as store:
        store.put(a_trace(user(), says(), id="t1"))
        assert store.count() == 1


def test_processes_that_open_one_fresh_store_at_once_all_succeed(url):
    code = """
        import sys
        from agentloop.base.store import Store
        from tests.makers import a_trace, says, user
        sys.stdin.readline()
        with Store(sys.argv[1]) as store:
            store.put(a_trace(user(), says(), id=sys.argv[2]))
    """
    racers = [python(code, url, f"t{n}", stdin=subprocess.PIPE) for n in range(3)]
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    assert [racer.wait(60) for racer in racers] == [0, 0, 0]
    for racer in racers:
        racer.stdin.close()
    with Store(url, create=False) as store:
        assert store.count() == 3


# ---------------------------------------------------------------------- what is there is not ours


def test_a_store_of_a_newer_release_is_refused_and_left_alone(url):
    Store(url).close()
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreSchema, match=f"has schema 9999, this agentloop reads {REVISION}"):
        Store(url)


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE trace (id INTEGER)"],
        ["CREATE TABLE job (id INTEGER)", "CREATE TABLE other (id INTEGER)"],
        [
            "CREATE TABLE alembic_version (version_num VARCHAR(32))",
            "INSERT INTO alembic_version VALUES ('ab12')",
        ],
        [
            "CREATE TABLE alembic_version (version_num VARCHAR(32))",
            "INSERT INTO alembic_version VALUES ('0001')",
        ],
    ],
)
def test_tables_of_something_else_are_refused_and_left_alone(url, statements):
    execute(url, *statements)
    with pytest.raises(StoreSchema, match="tables of something else"):
        Store(url)


def test_a_table_that_is_not_in_our_way_stays_where_it_is(url):
    execute(url, "CREATE TABLE invoice (id INTEGER)", "INSERT INTO invoice VALUES (7)")
    with Store(url) as store:
        store.put(a_trace(user(), says()))
        assert store.count() == 1
        with store._database.read() as connection:
            assert connection.exec_driver_sql("SELECT id FROM invoice").scalars().all() == [7]


# ---------------------------------------------------------------------- nothing is there


def test_a_store_that_must_exist_and_does_not_is_an_error_that_says_how_to_get_one(tmp_path):
    missing = tmp_path / "no" / "store.db"
    with pytest.raises(StoreError, match=r"there is no store at .*no/store.db; run an agent"):
        Store(f"sqlite:///{missing}", create=False)
    assert not missing.parent.exists()


def test_an_empty_database_that_must_be_a_store_is_an_error(url):
    execute(url, "SELECT 1")
    with pytest.raises(StoreError, match=r"is empty|there is no store"):
        Store(url, create=False)


def test_a_file_that_is_no_database_is_an_error_and_stays_as_it_was(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("dear diary\n" * 100)
    with pytest.raises(StoreError, match="no SQLite database"):
        Store(f"sqlite:///{file}")
    assert file.read_text() == "dear diary\n" * 100


def test_a_folder_is_no_database(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(f"sqlite:///{tmp_path}")


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"there can be no store at .*/file/store.db: "):
        Store(f"sqlite:///{tmp_path}/file/store.db")


def test_a_server_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="connection"):
        Store(f"postgresql+psycopg://nobody@/none?host={tmp_path}")


def test_a_database_that_the_server_does_not_have_is_an_error(postgres_server):
    with pytest.raises(StoreError, match='"none" does not exist'):
        Store(postgres_server.replace("/postgres?", "/none?"))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("traces/loop.db", "is no database URL; e.g. sqlite:///traces/loop.db"),
        ("", "is no database URL"),
        ("oracle2://u:geheim@h/d", r"'oracle2://u:\*\*\*@h/d' is no database URL"),
        ("postgresql+psycopg://u:geheim@h:port/d", r"u:\*\*\*@h:port/d' is no database URL"),
        ("mysql://u:geheim@h/d", "'mysql' is no store; use sqlite or postgresql"),
        ("postgresql+pg8000://h/d", "'pg8000' is not installed; install the extra `postgres`"),
    ],
)
def test_a_url_that_cannot_be_used_is_an_error_that_shows_no_password(url, why):
    with pytest.raises(ConfigError, match=why) as caught:
        Store(url)
    assert "geheim" not in str(caught.value)


def test_the_name_of_a_store_shows_no_password(tmp_path):
    with pytest.raises(StoreError) as caught:
        Store(f"postgresql+psycopg://u:geheim@/d?host={tmp_path}")
    assert "geheim" not in str(caught.value)


# ---------------------------------------------------------------------- it cannot be written


def test_a_store_stays_the_same_file_wherever_the_process_goes(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with Store("sqlite:///store.db") as store:
        monkeypatch.chdir(tmp_path / "elsewhere")
        store._database.close()  # what it opens next, it opens from here
        store.put(a_trace(user(), says()))
        assert store.count() == 1
    assert [p.name for p in (tmp_path / "elsewhere").iterdir()] == []


@contextmanager
def held(url):
    """Somebody else writes, and takes his time."""
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            driver: Any = connection.connection.driver_connection
            driver.isolation_level = None
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("LOCK TABLE trace IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()
    engine.dispose()


def test_a_locked_store_is_busy_and_takes_the_same_records_a_moment_later(url):
    trace = a_trace(system(), user(), says())
    with Store(url, busy_seconds=0.1) as store:
        with held(url), pytest.raises(StoreBusy, match="locked by somebody else"):
            store.put(trace)
        store.put(trace)
        assert store.trace(trace.id).calls == trace.calls


def test_one_can_read_while_another_writes(tmp_path):
    url = f"sqlite:///{tmp_path}/store.db"
    with Store(url, busy_seconds=0.1) as store:
        store.put(a_trace(user(), says(), id="t1"))
        with held(url):
            assert store.count() == 1


def test_a_reader_sees_one_state_though_another_writes(store, url):
    store.put(a_trace(user(), says(), id="t1"))
    with store._database.read() as connection:
        query = sqlalchemy.text("SELECT count(*) FROM trace")
        assert connection.execute(query).scalar() == 1
        with Store(url) as other:
            other.put(a_trace(user(), says(), id="t2"))
        assert connection.execute(query).scalar() == 1
    assert store.count() == 2


def test_a_store_that_may_only_be_read_is_read_and_says_so_when_written(tmp_path):
    file = tmp_path / "store.db"
    with Store(f"sqlite:///{file}") as store:
        store.put(a_trace(user(), says(), id="t1"))
    with Store(f"sqlite:///file:{file}?mode=ro&uri=true") as store:
        assert store.trace("t1").answer == "hello"
        with pytest.raises(StoreError, match="may not be written here"):
            store.put(an_opinion("t1"))


def test_a_store_without_permission_is_one_clear_error(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    Store(f"sqlite:///{folder}/store.db").close()
    (folder / "store.db").chmod(0o400)
    folder.chmod(0o500)
    tmp_path.chmod(0o755)
    code = """
        import sys, os
        from agentloop.base.store import Store
        from agentloop.base.errors import StoreError
        from tests.makers import a_trace, says, user
        if os.geteuid() == 0:
            os.setuid(65534)
        try:
            with Store(sys.argv[1]) as store:
                store.put(a_trace(user(), says()))
        except StoreError as error:
            print(error)
    """
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    worker = python(code, f"sqlite:///{folder}/store.db", stdout=subprocess.PIPE)
    said, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert "store.db" in said
    assert len(said.splitlines()) == 1


def big(n):
    noise = random.Random(0).randbytes(50_000).hex()  # no compression makes it small
    return a_trace(system(noise), user(f"{n}" * 1000), says(), id=f"t{n}")


def test_a_full_database_takes_nothing_of_what_does_not_fit(tmp_path):
    with Store(f"sqlite:///{tmp_path}/store.db") as store:
        store.put(a_trace(user(), says(), id="before"))
        with store._database._engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

        def cap(connection, _):
            connection.execute(f"PRAGMA max_page_count = {pages + 2}")

        sqlalchemy.event.listen(store._database._engine, "connect", cap)
        store._database.close()
        with pytest.raises(StoreError, match=r"no space left .*nothing was stored"):
            store.put(a_trace(user(), says(), id="small"), big(1))
        assert [j.trace.id for j in store.all_judged()] == ["before"]
        sqlalchemy.event.remove(store._database._engine, "connect", cap)
        store._database.close()
        store.put(big(1))
        assert store.count() == 2


def test_a_full_disk_is_one_clear_error_and_the_next_process_goes_on(tmp_path):
    url = f"sqlite:///{tmp_path}/store.db"
    with Store(url) as store:
        store.put(a_trace(user(), says(), id="before"))
    code = """
        import sys
        from agentloop.base.store import Store
        from agentloop.base.errors import StoreError
        from tests.base.store.test_database import big
        with Store(sys.argv[1]) as store:
            try:
                for n in range(100):
                    store.put(big(n).model_copy(update={"calls": (), "tail": big(n).conversation,
                              "metadata": {"much": "x" * 100_000}}))
            except StoreError as error:
                print(n, error)
    """

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    worker = python(code, url, stdout=subprocess.PIPE, preexec_fn=small_files)
    said, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0
    stored, _, error = said.partition(" ")
    assert "nothing was stored" in error
    assert len(said.splitlines()) == 1
    with Store(url, create=False) as store:
        assert store.count() == int(stored) + 1
        store.put(big(1000))
    check = sqlite3.connect(tmp_path / "store.db")
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()


def test_a_name_that_the_database_cannot_index_is_the_records_fault(postgres_url):
    noise = os.urandom(4_000).hex()
    with Store(postgres_url) as store:
        with pytest.raises(RecordError, match="too long"):
            store.put(a_trace(user(), says(), user=noise))
        assert store.count() == 0


def test_a_connection_in_use_when_the_store_is_closed_is_ended_when_it_is_given_back(url):
    with Store(url) as store:
        reading = store.places(agents=["support"])
        held = store._database.read()
        connection = held.__enter__()
        driver = connection.connection.driver_connection
    assert connection.scalar(sqlalchemy.select(1)) == 1, "whoever reads may go on"
    held.__exit__(None, None, None)
    with pytest.raises(Exception, match="closed"):
        driver.cursor()
    assert list(reading) == [], "the database can be opened again"
    store.close()
