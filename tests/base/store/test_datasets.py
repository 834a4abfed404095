"""Datasets, row by row: what stands where, and what led there."""

import pytest

from agentloop.base.errors import NotFound
from agentloop.base.records import Dataset
from tests.makers import a_row, a_version, at, says, user


def rows(*names, split="train", traces=None):
    return tuple(
        a_row(user(name), says(), split=split, traces=traces or (f"t-{name}",)) for name in names
    )


def a_dataset(**fields):
    given = {
        "method": "sft",
        "agents": ("support",),
        "recipe": {"good": 0.8},
        "rows": rows("a", "b", "c"),
        "valid": rows("v", "w", split="valid"),
    }
    return Dataset(**(given | fields))


@pytest.fixture
def made(store):
    made = a_dataset()
    store.ledger.put_dataset(made)
    return made


PLACES = [
    *(("train.jsonl", 1), ("train.jsonl", 2), ("train.jsonl", 3)),
    *(("valid.jsonl", 1), ("valid.jsonl", 2)),
]


def test_every_row_has_its_place_and_the_hash_of_its_line(store, made):
    told = list(store.ledger.shas(made.id))
    assert [(file, line) for file, line, _ in told] == PLACES
    assert [sha for _, _, sha in told] == [row.line_sha for row in (*made.rows, *made.valid)]


def test_rows_come_in_the_order_they_are_asked_for(store, made):
    back = list(store.ledger.rows(made.id, reversed(PLACES)))
    assert [one.row for one in back] == [*reversed((*made.rows, *made.valid))]
    assert [(one.place.file, one.place.line) for one in back] == [*reversed(PLACES)]
    assert back[0].place.trace == "t-w"


@pytest.mark.parametrize(
    ("name", "where"),
    [("2", 1), ("train:3", 2), ("train.jsonl:1", 0), ("valid:2", 4), ("valid.jsonl:1", 3)],
)
def test_a_row_is_called_by_its_line(store, made, name, where):
    assert store.ledger.find_row(made.id, name).row == (*made.rows, *made.valid)[where]


def test_a_row_is_called_by_the_first_digits_of_its_hash(store, made):
    for row in (*made.rows, *made.valid):
        assert store.ledger.find_row(made.id, row.line_sha[:12]).row == row
        assert store.ledger.find_row(made.id, row.line_sha.upper()).row == row


@pytest.mark.parametrize(
    "name",
    ["0", "4", "valid:3", "valid:0", "test:1", "abc", "ffffffffffff", "train:x", "-1", ":", ""],
)
def test_a_row_that_is_not_there_is_not_found(store, made, name):
    with pytest.raises(NotFound):
        store.ledger.find_row(made.id, name)


def test_a_trace_leads_to_the_rows_and_versions_that_learned_from_it(store, made):
    other = a_dataset(rows=rows("x", traces=("t-b", "t-v")), valid=())
    store.ledger.put_dataset(other)
    store.ledger.put_version(a_version("v1", dataset=made.id))
    store.ledger.put_version(a_version("v2", parent="v1", created_at=at(1)))
    told = {(one.dataset, str(one.place)): one.versions for one in store.ledger.lessons("t-v")}
    assert told == {
        (made.id, "valid.jsonl:1 (t-v)"): ("v1", "v2"),
        (other.id, "train.jsonl:1 (t-v)"): (),
    }
    assert list(store.ledger.lessons("t-nobody")) == []


def test_versions_that_descend_from_each_other_do_not_go_round(store, made):
    store.ledger.put_version(a_version("v1", dataset=made.id, parent="v2"))
    store.ledger.put_version(a_version("v2", parent="v1"))
    assert store.ledger.learners() == {made.id: ("v1", "v2")}


def test_a_manifest_is_told_without_its_rows(store, made):
    assert store.ledger.manifest(made.id) == made.manifest
    with pytest.raises(NotFound, match="no dataset 'nope'"):
        store.ledger.manifest("nope")
