"""The files of a harvest, read back as a dataset."""

import json
from typing import Any

import pytest

from agentloop.base.errors import NotFound, RecordError
from agentloop.base.store import compare
from agentloop.harvest import Folder, sft, write
from tests.harvest.makers import a_trace, dataset, judged, says, system, user


def harvested(folder, *said, **knobs):
    """A harvest of a run for each text, in that folder."""
    runs = [
        judged(a_trace(system(), user(text), says(), id=f"t-{text}", user=text), 1.0)
        for text in said
    ]
    made = dataset("sft", sft(runs, agents=("support",)), **knobs)
    write(made, folder)
    return made


def test_a_folder_has_the_rows_that_were_written(tmp_path):
    made = harvested(tmp_path / "a", *"abcdefghij", valid_share=0.5)
    folder = Folder(tmp_path / "a")
    told = list(folder.shas())
    assert [sha for _, _, sha in told] == [row.line_sha for row in (*made.rows, *made.valid)]
    assert made.valid
    back = [one.row for one in folder.rows((file, line) for file, line, _ in told)]
    assert [(r.body, r.split, r.traces, r.calls, r.opinions) for r in back] == [
        (r.body, r.split, r.traces, r.calls, r.opinions) for r in (*made.rows, *made.valid)
    ]


def test_two_folders_are_compared(tmp_path):
    harvested(tmp_path / "a", "x", "y", "z", valid_share=0)
    harvested(tmp_path / "b", "y", "z", "new", valid_share=0, good=0.9)
    found = compare(Folder(tmp_path / "a"), Folder(tmp_path / "b"))
    assert (found.both, found.changed, found.only_a, found.only_b) == (2, 0, 1, 1)
    assert [one.trace for one in (*found.only_a_rows, *found.only_b_rows)] == ["t-x", "t-new"]
    assert found.recipe == {"good": (0.8, 0.9)}


def test_a_row_that_was_changed_by_hand_has_changed(tmp_path):
    for name in "ab":
        harvested(tmp_path / name, "x", "y", valid_share=0)
    file = tmp_path / "b" / "train.jsonl"
    file.write_text(file.read_text().replace('"x"', '"x!"'))
    found = compare(Folder(tmp_path / "a"), Folder(tmp_path / "b"))
    assert (found.both, found.changed) == (1, 1)
    assert found.changed_rows[0].what == ("messages.1.content",)


def test_shards_are_one_dataset(tmp_path):
    made = harvested(tmp_path / "whole", *"abcdefgh", valid_share=0.5)
    shards = tmp_path / "shards"
    shards.mkdir()
    told = []
    for n in range(2):
        names: dict[str, Any] = {"meta": f"meta-{n}", "refused": f"refused-{n}"}
        metas = []
        for side, rows in (("train", made.rows), ("valid", made.valid)):
            half = len(rows) // 2
            mine = rows[:half] if n == 0 else rows[half:]
            names[side] = {"file": f"{side}-0000{n}-of-00002.jsonl", "rows": len(mine)}
            (shards / names[side]["file"]).write_text("".join(f"{r.line}\n" for r in mine))
            metas += [r.model_dump(mode="json", exclude={"body", "note"}) for r in mine]
        (shards / names["meta"]).write_text("".join(f"{json.dumps(m)}\n" for m in metas))
        told.append(names)
    (shards / "manifest.json").write_text(json.dumps({**made.manifest, "shards": told}))
    found = compare(Folder(tmp_path / "whole"), Folder(shards))
    assert found.same
    assert found.both == 8


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("manifest.json", None, "No such file"),
        ("manifest.json", "{", "is no harvest"),
        ("manifest.json", "[]", "names no dataset"),
        ("manifest.json", "{}", "names no dataset"),
        ("train.jsonl", "", "has not one line for each row"),
        ("rows.meta.jsonl", "", "has not one line for each row"),
        ("valid.jsonl", None, "No such file"),
    ],
)
def test_a_folder_that_is_no_harvest_says_why(tmp_path, file, text, why):
    harvested(tmp_path / "a", "x", "y")
    place = tmp_path / "a" / file
    place.unlink() if text is None else place.write_text(text)
    with pytest.raises(RecordError, match=why):
        Folder(tmp_path / "a")


@pytest.mark.parametrize("place", [("train.jsonl", 0), ("train.jsonl", 3), ("else.jsonl", 1)])
def test_a_place_that_there_is_not_is_not_found(tmp_path, place):
    harvested(tmp_path / "a", "x", "y", valid_share=0)
    with pytest.raises(NotFound, match="has no line"):
        list(Folder(tmp_path / "a").rows([place]))


@pytest.mark.parametrize("line", ["{", "{}", "[]", '{"split": 1, "traces": 2}'])
def test_a_row_of_which_nothing_can_be_read_beside_it_is_an_error(tmp_path, line):
    harvested(tmp_path / "a", "x", valid_share=0)
    (tmp_path / "a" / "rows.meta.jsonl").write_text(f"{line}\n")
    with pytest.raises(RecordError, match=r"line 1 of train.jsonl cannot be read"):
        list(Folder(tmp_path / "a").rows([("train.jsonl", 1)]))
