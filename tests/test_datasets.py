"""A dataset in the loop: the next version of it, where its rows came from, and who is erased."""

import json

import pytest

from agentloop import AgentLoop
from agentloop.base.errors import ConfigError, EmptyHarvest, NotFound, RecordError
from agentloop.base.records import Reason
from agentloop.base.settings import Settings
from agentloop.base.store import journal
from tests.makers import a_trace, a_version, an_opinion, an_outcome, says, system, user


@pytest.fixture
def loop(url, tmp_path):
    settings = Settings(spill_dir=tmp_path / "spill")
    with AgentLoop(url, settings=settings) as opened:
        for n in range(12):
            talk = (system(), user(f"where is {n}?"), says(f"At {n}."))
            opened.store.put(
                a_trace(*talk, id=f"t{n}", user=f"u{n}"),
                an_outcome(f"t{n}", value=n < 8),
                an_opinion(f"t{n}", 1.0, author=f"u{n}", id=f"o{n}", comment=f"from u{n}")
                if n < 8
                else an_outcome(f"t{n}", "slow", True),
            )
        yield opened


def harvested(loop, **knobs):
    return loop.harvest("sft", agent="support", valid_share=0.0, **knobs)


def test_the_next_version_has_the_same_recipe_and_says_what_changed(loop, tmp_path):
    was = harvested(loop, where="outcome.resolved", good=0.7, redact=False)
    loop.correct("t3", "Over there.", by="ann")
    loop.rate("t4", 0.1, by="u4")
    found = loop.harvest_again(was.id, folder=tmp_path / "next")
    new = loop.ledger.dataset(found.b)
    assert (new.recipe, new.parent) == (was.recipe, was.id)
    assert (found.both, found.changed, found.only_a, found.only_b) == (6, 1, 1, 0)
    assert (found.a, found.recipe, found.refused) == (was.id, {}, {"not_good": (0, 1)})
    assert found.changed_rows[0].what == ("messages.2.content",)
    assert json.loads((tmp_path / "next/manifest.json").read_text()) == new.manifest
    assert loop.ledger.marks().keys() == {was.id}


def test_the_next_version_is_told_the_test_set_again(loop, tmp_path):
    test = tmp_path / "test.jsonl"
    test.write_text(json.dumps("something that nobody says in any of these runs") + "\n")
    was = harvested(loop, against=test)
    loop.correct("t3", "Over there.", by="ann")
    with pytest.raises(ConfigError, match="does not hold its test set"):
        loop.harvest_again(was.id)
    found = loop.harvest_again(was.id, against=test)
    assert (found.changed, found.recipe) == (1, {})


def test_where_nothing_has_changed_there_is_no_next_version(loop, tmp_path):
    was = harvested(loop)
    with pytest.raises(RecordError, match=f"nothing has changed: {was.id}"):
        loop.harvest_again(was.id, folder=tmp_path / "next")
    assert not (tmp_path / "next").exists()
    assert len(list(loop.ledger.manifests())) == 1


def test_feedback_that_changes_no_row_leaves_a_mark_until_somebody_looks(loop):
    was = harvested(loop)
    loop.rate("t3", "up", by="another")
    assert [mark.reason for mark in loop.ledger.marks()[was.id]] == [Reason.FEEDBACK]
    with pytest.raises(RecordError, match="nothing has changed"):
        loop.harvest_again(was.id)
    assert loop.ledger.marks() == {}


def test_feedback_on_what_was_refused_marks_nothing_and_is_in_the_next_version(loop):
    was = harvested(loop)
    loop.rate("t10", "up", by="u10")
    assert loop.ledger.marks() == {}
    assert loop.harvest_again(was.id).only_b == 1


def test_a_dataset_that_is_not_there_has_no_next_version(loop):
    with pytest.raises(NotFound, match="no dataset 'nope'"):
        loop.harvest_again("nope")


def test_a_row_leads_back_to_trace_call_and_opinions(loop):
    made = harvested(loop)
    loop.ledger.put_version(a_version("v1", dataset=made.id))
    found = loop.origin(made.id, "3")
    assert found.stored.row == made.rows[2]
    (one,) = found.judged
    assert (one.trace.id, one.score) == ("t2", 1.0)
    assert [call.output for call in found.calls] == [says("At 2.")]
    assert [opinion.comment for opinion in found.opinions] == ["from u2"]
    assert found.versions == ("v1",)
    (lesson,) = loop.ledger.lessons("t2")
    assert (lesson.dataset, lesson.place.line, lesson.versions) == (made.id, 3, ("v1",))


def test_what_is_no_longer_stored_is_left_out(loop):
    made = harvested(loop)
    loop.erase(user="u2")
    found = loop.origin(made.id, "3")
    assert (found.stored.row, found.judged, found.calls) == (None, (), ())
    assert found.stored.sha256 == made.rows[2].line_sha


def test_an_erased_user_is_not_in_the_next_version(loop):
    was = harvested(loop)
    done = loop.erase(user="u2")
    assert done.rows == {was.id: 1}
    with pytest.raises(RecordError, match="were erased"):
        loop.plan(was.id, provider="local", base="own")
    found = loop.harvest_again(was.id)
    assert (found.both, found.only_a, found.only_b) == (7, 1, 0)
    assert "u2" not in {o.author for o in loop.store.judged("t1").opinions}
    assert loop.ledger.dataset(found.b).rows == (*was.rows[:2], *was.rows[3:])


def test_where_all_were_erased_there_is_nothing_to_harvest(loop):
    was = harvested(loop)
    for n in range(8):
        loop.erase(user=f"u{n}")
    with pytest.raises(EmptyHarvest):
        loop.harvest_again(was.id)


def test_an_erasure_that_is_asked_for_without_confirm_is_none(loop):
    assert loop.erase(user="u2", confirm=False).traces == 1
    assert loop.store.trace("t2").user == "u2"


def test_what_others_still_hold_in_journals_is_named(loop):
    elsewhere = journal.Journal(loop._spill)
    file = elsewhere.append([a_trace(user("late"), says(), id="late", user="u2")])
    (left,) = [said for said in loop.erase(user="u2").left if "wait to be stored" in said]
    assert str(file) in left
    elsewhere.close()


def test_a_dataset_and_its_folder_are_the_same(loop, tmp_path):
    manifest = loop.harvest_to(tmp_path / "d", "sft", agent="support")
    found = loop.difference(manifest["dataset"], tmp_path / "d")
    assert found.same
    assert (found.both, found.recipe) == (8, {})


def test_pairs_lead_back_to_both_of_their_runs(loop):
    for n, (answer, score) in enumerate([("Good.", 1.0), ("Bad.", 0.0)]):
        id = f"p{n}"
        loop.store.put(
            a_trace(system(), user("which?"), says(answer), id=id, user="u2" if n else "ann"),
            an_opinion(id, score, call_id=f"{id}/0", author="judge"),
        )
    made = loop.harvest("dpo", agent="support", valid_share=0.0)
    assert {one.trace.id for one in loop.origin(made.id, "1").judged} == {"p0", "p1"}
    loop.rate("p0", 0.0, by="judge", call="p0/0")
    assert [mark.rows for mark in loop.ledger.marks()[made.id]] == [1]
    assert loop.erase(user="u2").rows == {made.id: 1}
    assert [one.place.trace for one in loop.ledger.lessons("p0")] == ["p0"]
