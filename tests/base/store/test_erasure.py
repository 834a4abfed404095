"""A user who is erased is gone, others are as they were, and datasets say what they lost."""

import json
import threading

import pytest
import sqlalchemy

from agentloop.base.errors import NotFound, RecordError, StoreBusy
from agentloop.base.records import Dataset, Reason, Refusal, Refused
from agentloop.base.store import InLedger, Store, compare
from agentloop.base.store import tables as t
from agentloop.feedback import settle
from tests.makers import (
    a_call,
    a_correction,
    a_row,
    a_span,
    a_trace,
    a_version,
    an_opinion,
    an_outcome,
    asks,
    at,
    message,
    returns,
    says,
    system,
    user,
)

PICTURE = "data:image/png;base64," + "iVBORw0KGgo" * 200
OTHER_PICTURE = "data:image/png;base64," + "iVBORw0KGgx" * 200


def shows(url, text="look"):
    return message(
        "user",
        [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}],
    )


def secret_run(id="s1", user_id="u7", **fields):
    """A run of u7 with everything in it that a run can have."""
    said = (
        *(system(), user("my name is zebra"), asks(id="z1"), returns("zebra lives here", id="z1")),
        *(says("hello zebra"), shows(PICTURE, "zebra in a picture"), says("nice"), user("zebra!")),
    )
    return a_trace(*said, id=id, user=user_id, session="zebra-chat", tags={"of": "zebra"}, **fields)


def a_dataset(*rows, **fields):
    given = {"method": "sft", "agents": ("support",), "recipe": {"good": 0.8}, "rows": rows}
    return Dataset(**(given | fields))


def row_of(*traces, said="hello", split="train", **fields):
    return a_row(user(said), says("yes"), traces=traces, split=split, **fields)


def contents(store):
    """All rows of all tables, but for the log of erasures."""
    with store._database.read() as connection:
        return {
            table.name: {tuple(row) for row in connection.execute(table.select())}
            for table in t.metadata.sorted_tables
            if table.name != "erasure"
        }


def others(store):
    """Runs of others, that share with u7 what can be shared."""
    store.put(
        a_trace(system(), user("my name is ann"), says("hello ann"), id="a1", user="ann"),
        a_trace(system(), user("hi"), asks(id="q"), returns("here", id="q"), says(), id="b1"),
        a_trace(shows(OTHER_PICTURE), says(), id="c1", user="cleo"),
        an_opinion("a1", 1.0, author="ann", id="o-a1"),
        an_outcome("b1"),
    )


def put_secret(store):
    run = secret_run()
    store.put(
        run,
        a_span("s1", "sp1", data={"output": "zebra lives here" * 10}),
        an_opinion("s1", 1.0, comment="zebra likes it", author="u7"),
        an_outcome("s1", reference="zebra"),
        a_correction(run.calls[1], "hello dear zebra", author="ann"),
    )


def test_what_remains_is_what_would_be_there_had_the_user_never_come(url, tmp_path):
    with Store(f"sqlite:///{tmp_path}/never.db") as never, Store(url) as store:
        others(never)
        others(store)
        put_secret(store)
        done = store.erase("u7")
        assert contents(store) == contents(never)
        assert list(store.verify()) == []
    assert (done.traces, done.calls, done.opinions, done.outcomes, done.media) == (1, 3, 2, 1, 1)
    assert done.done


def test_what_is_shared_stays_for_as_long_as_somebody_has_it(store):
    shared = (system(), user("the same words"), asks(id="x"), returns("found " * 40, id="x"))
    for id, name in (("s1", "u7"), ("a1", "ann")):
        store.put(a_trace(*shared, says(), id=id, user=name))
        store.put(a_span(id, f"sp-{id}", data={"output": "found " * 40}))
    before = store.judged("a1")
    store.erase("u7")
    assert store.judged("a1") == before
    assert list(store.verify()) == []
    store.erase("ann")
    gone = contents(store)
    assert all(not gone[name] for name in ("message", "node", "toolset", "call", "step", "trace"))


def test_an_answer_that_only_the_user_got_goes_and_the_question_of_both_stays(store):
    store.put(a_trace(user("q"), says("for u7"), user("and"), says(), id="s1", user="u7"))
    store.put(a_trace(user("q"), says("for ann"), id="a1", user="ann"))
    assert store.erase("u7").messages == 3
    assert [m.text for m in store.trace("a1").conversation] == ["q", "for ann"]
    assert list(store.verify()) == []


def test_a_conversation_that_another_carries_on_stays_whole(store):
    store.put(a_trace(user("q"), says("a"), id="s1", user="u7"))
    store.put(a_trace(user("q"), says("a"), user("more"), says("b"), id="a1", user="ann"))
    assert store.erase("u7").messages == 0
    assert [m.text for m in store.trace("a1").conversation] == ["q", "a", "more", "b"]
    assert list(store.verify()) == []


def test_ids_of_many_tool_calls_go_unless_another_run_has_them(store):
    def talk(name):
        return [m for n in range(40) for m in (asks(id=f"{name}{n}"), returns(id=f"{name}{n}"))]

    store.put(a_trace(user(), *talk("x"), user("bye"), id="s1", user="u7"))
    store.put(a_trace(user(), *talk("x")[:70], id="a1", user="ann"))
    store.put(a_trace(user(), *talk("y"), id="b1", user="u7"))
    before = store.judged("a1")
    store.erase("u7")
    assert store.judged("a1") == before
    bodies = " ".join(row[2] for row in contents(store)["numbering"])
    assert "x0" in bodies
    assert "y0" not in bodies
    assert list(store.verify()) == []


def test_a_picture_stays_while_somebody_elses_message_shows_it(store):
    store.put(a_trace(shows(PICTURE), says(), id="s1", user="u7"))
    store.put(a_trace(shows(PICTURE, "mine"), says(), id="a1", user="ann"))
    assert store.erase("u7").media == 0
    assert store.trace("a1").calls[0].context[0] == shows(PICTURE, "mine")
    assert store.erase("ann").media == 1


# ---------------------------------------------------------------------- asked, and asked for nobody


def test_without_confirm_it_says_what_would_go_and_changes_nothing(store):
    others(store)
    put_secret(store)
    store.ledger.put_dataset(a_dataset(row_of("s1")))
    before = contents(store)
    told = store.erase("u7", confirm=False)
    assert contents(store) == before
    done = store.erase("u7")
    assert not told.done
    assert told.model_dump(exclude={"done", "left"}) == done.model_dump(exclude={"done", "left"})


def test_a_user_who_is_not_there_is_an_error_and_no_success(store):
    put_secret(store)
    for name in ("u8", "U7", "", "%"):
        with pytest.raises(NotFound, match="nothing in this store is of a user"):
            store.erase(name)
    store.erase("u7")
    with pytest.raises(NotFound):
        store.erase("u7")


def test_that_there_was_an_erasure_is_kept_and_not_whose(store):
    put_secret(store)
    store.erase("u7")
    with store._database.read() as connection:
        (row,) = connection.execute(t.erasure.select()).all()
    assert json.loads(row.body)["traces"] == 1
    assert "u7" not in row.body


# ---------------------------------------------------------------------- words on the runs of others


def test_scores_that_the_user_gave_to_others_stay_under_one_pseudonym_and_without_words(store):
    other = a_trace(user("hi"), says("no"), id="a1", user="ann")
    store.put(other, an_opinion("a1", 0.0, author="u7", comment="zebra says no", id="o1"))
    store.put(an_opinion("a1", 0.5, author="u7", call_id="a1/0", id="o2"))
    store.put(a_correction(other.calls[0], "zebra knows", author="u7", id="o3"))
    before = next(settle([store.judged("a1")])).score
    done = store.erase("u7")
    assert (done.traces, done.renamed, done.opinions, done.messages) == (0, 2, 1, 1)
    after = store.judged("a1")
    assert {o.id for o in after.opinions} == {"o1", "o2"}
    (author,) = {o.author for o in after.opinions}
    assert author.startswith("erased-")
    assert all(o.comment is None and o.correction is None for o in after.opinions)
    assert next(settle([after])).score == before
    assert list(store.verify()) == []


def test_a_judge_that_is_called_as_a_user_keeps_its_name(store):
    put_secret(store)
    others(store)
    store.put(an_opinion("a1", 0.5, author="u7", source="judge", id="j1"))
    store.erase("u7")
    assert "u7" in {o.author for o in store.judged("a1").opinions}


def test_a_row_that_teaches_what_the_user_wrote_is_erased_though_the_run_is_anothers(store):
    other = a_trace(user("hi"), says("no"), id="a1", user="ann")
    store.put(other, a_correction(other.calls[0], "zebra knows", author="u7", id="o1"))
    store.put(an_opinion("a1", 0.0, author="u7", id="o2"))
    corrected = row_of("a1", said="x", opinions=("o1",), producers=("person:u7",))
    made = a_dataset(corrected, row_of("a1", opinions=("o2",)))
    store.ledger.put_dataset(made)
    assert store.erase("u7").rows == {made.id: 1}
    told = {m.reason: m.rows for m in store.ledger.marks()[made.id]}
    assert told == {Reason.ERASED: 1, Reason.FEEDBACK: 2}


# ---------------------------------------------------------------------- datasets


@pytest.fixture
def harvested(store):
    """A store with a dataset that has two rows of u7's, and a version that learned from it."""
    others(store)
    put_secret(store)
    made = a_dataset(
        row_of("a1"),
        row_of("s1", said="zebra"),
        row_of("b1", said="b"),
        valid=(row_of("b1", "s1", said="zebra too", split="valid"),),
        refused=(
            Refused(code=Refusal.NOT_GOOD, traces=("s1",), detail="zebra"),
            Refused(code=Refusal.DUPLICATE, traces=("a1",), detail="the same as in trace s1"),
            Refused(code=Refusal.NOT_GOOD, traces=("a1",), detail="score 0.50 < 0.80"),
        ),
        considered=7,
    )
    store.ledger.put_dataset(made)
    store.ledger.put_version(a_version("v1", dataset=made.id))
    store.ledger.put_version(a_version("v2", parent="v1", created_at=at(1)))
    store.made = made
    return store


def test_rows_of_the_user_lose_what_they_said_and_keep_their_hash(harvested):
    store, made = harvested, harvested.made
    shas = list(store.ledger.shas(made.id))
    done = store.erase("u7")
    assert (done.rows, done.versions) == ({made.id: 2}, ("v1", "v2"))
    assert list(store.ledger.shas(made.id)) == shas
    places = [(file, line) for file, line, _ in shas]
    said = [one.row is not None for one in store.ledger.rows(made.id, places)]
    assert said == [True, False, True, False]
    assert "zebra" not in str(contents(store))
    assert store.ledger.manifest(made.id) == made.manifest
    assert store.ledger.learned_from("s1") == ()
    assert store.ledger.traces_of(made.id) == ("a1", "b1")


def test_a_dataset_that_lost_rows_is_marked_and_no_damage(harvested):
    harvested.erase("u7")
    (mark,) = harvested.ledger.marks()[harvested.made.id]
    assert mark.sentence == "2 of 4 rows were erased"
    assert harvested.ledger.version_marks().keys() == {"v1", "v2"}
    assert list(harvested.verify()) == []


def test_a_dataset_that_lost_rows_is_not_trained_on_and_the_way_out_is_named(harvested):
    harvested.erase("u7")
    id = harvested.made.id
    with pytest.raises(RecordError, match=f"of its 4 rows 2 were erased.*harvest --update {id}"):
        harvested.ledger.dataset(id)


def test_a_second_erasure_adds_to_the_first(harvested):
    harvested.erase("u7")
    assert harvested.erase("ann").rows == {harvested.made.id: 1}
    (mark,) = harvested.ledger.marks()[harvested.made.id]
    assert (mark.reason, mark.rows) == (Reason.ERASED, 3)
    assert list(harvested.verify()) == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE dataset_row SET body = replace(body, 'hello', 'hallo') WHERE position = 0",
        """UPDATE dataset_row SET body = '{"erased":true}' WHERE position = 2""",
        "UPDATE dataset_row SET sha = (SELECT sha FROM dataset_row WHERE position = 0)",
        "DELETE FROM dataset_row WHERE position = 1",
        "UPDATE dataset SET body = replace(body, '\"good\":0.8', '\"good\":0.7')",
    ],
    ids=["said", "erased by hand", "another hash", "no row", "recipe"],
)
def test_damage_to_what_an_erasure_has_left_is_found(harvested, damage):
    harvested.erase("u7")
    with harvested._database.write() as connection:
        assert connection.exec_driver_sql(damage).rowcount
    assert {one.table for one in harvested.verify()} == {"dataset"}


def test_refusals_of_the_user_are_counted_and_say_nothing(harvested):
    harvested.erase("u7")
    with harvested._database.read() as connection:
        told = json.loads(connection.scalar(t.dataset.select().with_only_columns(t.dataset.c.body)))
    assert told["refused"] == [
        {"code": "not_good", "traces": []},
        {"code": "duplicate", "traces": ["a1"]},
        {"code": "not_good", "traces": ["a1"], "detail": "score 0.50 < 0.80"},
    ]


def test_erased_rows_are_compared_by_their_hashes(harvested):
    harvested.erase("u7")
    made = harvested.made
    other = made.model_copy(update={"rows": made.rows[:2], "valid": ()})
    harvested.ledger.put_dataset(other)
    found = compare(InLedger(harvested.ledger, made.id), InLedger(harvested.ledger, other.id))
    assert (found.both, found.changed, found.only_a, found.only_b) == (2, 0, 2, 0)


def test_a_dataset_that_is_harvested_again_just_so_is_whole_again(harvested):
    harvested.erase("u7")
    put_secret(harvested)
    harvested.ledger.put_dataset(harvested.made)
    assert harvested.ledger.dataset(harvested.made.id) == harvested.made
    assert harvested.ledger.marks() == {}
    assert list(harvested.verify()) == []


def test_a_harvest_during_which_somebody_was_erased_is_not_written_down(harvested):
    began = harvested.ledger.point()
    harvested.erase("u7")
    late = a_dataset(row_of("s1", said="zebra"), recipe={"good": 0.1})
    with pytest.raises(StoreBusy, match="harvest again"):
        harvested.ledger.put_dataset(late, as_of=began)
    assert "zebra" not in str(contents(harvested))


# ---------------------------------------------------------------------- beside others, and on disk


TALK = [system(), user("hello"), says("hi"), user("and"), says("yes")]


def goes_on():
    """A run of which one call is known, at the end of all that was said."""
    return a_trace(id="z1", user="zoe"), a_call(*TALK, trace="z1")


def test_another_process_that_knew_what_was_stored_sends_it_again(url):
    """What it remembers is above what it adds, where no foreign key would notice."""
    with Store(url) as one, Store(url) as other:
        others(one)  # their tools are those of all
        one.put(a_trace(*TALK[:3], id="s1", user="u7"))
        other.erase("u7")
        one.put(*goes_on())
        assert [m.text for m in one.trace("z1").conversation] == [m.text for m in TALK]
        assert list(one.verify()) == []


def test_parts_that_were_made_ready_before_an_erasure_are_stored_whole(url):
    with Store(url) as one, Store(url) as other:
        others(one)  # their tools are those of all
        one.put(a_trace(*TALK[:3], id="s1", user="u7"))
        ready = one._memory.batch(one._database)
        one._gathered(goes_on(), ready)
        other.erase("u7")
        one._write(ready, goes_on())
        assert list(one.verify()) == []
        assert one.trace("z1").calls[0].path == tuple(TALK)


def test_while_somebody_writes_and_others_are_erased_the_store_stays_whole(url):
    with Store(url, busy_seconds=60) as store, Store(url, busy_seconds=60) as eraser:
        others(store)
        for n in range(8):
            store.put(secret_run(f"s{n}", f"u{n}"))
        stop, written = threading.Event(), []

        def write():
            n = 0
            while not stop.is_set():
                talk = [user(f"{n // 2}"), says("hi"), user("and"), says("yes")]
                store.put(a_trace(*talk[: 2 + n % 2 * 2], id=f"w{n}", user="wim"))
                n += 1
            written.append(n)

        writer = threading.Thread(target=write)
        writer.start()
        for n in range(8):
            eraser.erase(f"u{n}")
        stop.set()
        writer.join(60)
        assert written == [store.count() - 3]
        assert list(store.verify()) == []


def test_not_a_byte_of_it_is_left_in_sqlites_files(tmp_path):
    file = tmp_path / "store.db"
    with Store(f"sqlite:///{file}") as store:
        others(store)
        for n in range(50):
            store.put(secret_run(f"s{n}"), an_opinion(f"s{n}", 1.0, comment=f"zebra {n}"))
            store.put(secret_run(f"s{n}", error=f"zebra {n}"))
        store.ledger.put_dataset(a_dataset(row_of("s1", said="zebra")))
        assert b"zebra" in everything(file)
        done = store.erase("u7")
        assert b"zebra" not in everything(file), "before it is closed, too"
        assert b"u7" not in everything(file)
    assert b"zebra" not in everything(file)
    assert done.left == ("files of these datasets that were written or uploaded elsewhere",)


def everything(file):
    return b"".join(one.read_bytes() for one in file.parent.glob(f"{file.name}*"))


def test_a_file_that_is_being_read_is_erased_and_that_it_was_not_rewritten_is_said(tmp_path):
    url = f"sqlite:///{tmp_path}/store.db"
    with Store(url, busy_seconds=0.1) as store, Store(url) as reader:
        put_secret(store)
        with reader._database.read() as connection:
            assert connection.scalar(sqlalchemy.select(t.trace.c.id)) == "s1"
            (left,) = store.erase("u7").left
        assert "the file was not rewritten" in left
        assert store.count() == 0


def test_a_server_keeps_what_a_vacuum_has_not_swept_and_that_is_said(postgres_url):
    with Store(postgres_url) as store:
        put_secret(store)
        (left,) = store.erase("u7").left
        assert "VACUUM FULL" in left


def test_indexes_that_an_erasure_needs_are_gone_with_it(store):
    put_secret(store)
    others(store)
    for confirm in (False, True):
        store.erase("u7", confirm=confirm)
        with store._database._engine.connect() as connection:
            there = sqlalchemy.inspect(connection)
            names = {i["name"] for table in t.metadata.tables for i in there.get_indexes(table)}
            assert not any(name.startswith("erase_") for name in names)
            assert not any(name.startswith("gone_") for name in there.get_table_names())


TOOLS = ({"type": "function", "function": {"name": "zebra", "parameters": {"type": "object"}}},)


def test_tools_that_nobody_else_was_offered_go(store):
    others(store)
    store.put(a_trace(user(), says(), id="s1", user="u7", tools=TOOLS))
    assert len(contents(store)["toolset"]) == 2
    store.erase("u7")
    assert len(contents(store)["toolset"]) == 1
