"""Near duplicates: what counts as one, what does not, and that MinHash never decides."""

import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop import AgentLoop, feedback
from agentloop.base.errors import ConfigError
from agentloop.base.records import SFTExample
from agentloop.harvest import dpo, rft, sft
from agentloop.harvest.duplicates import Near, banding, jaccard, shingles, texts, words
from agentloop.harvest.preferences import Branch
from tests.harvest.makers import a_trace, calls, judged, returns, says, system, user

SHOP = Path(__file__).parents[2] / "traces" / "shop.jsonl"
LONG = " ".join(f"word{n}" for n in range(300))


def row(*said, **fields):
    """The one example of a conversation."""
    (example,) = sft([judged(a_trace(*said, **fields), 1.0)], agents=["support"])
    return example


def about(order, *, answer="It ships tomorrow."):
    return row(
        system(),
        user(f"Where is order {order}?"),
        calls(arguments=f'{{"order_id": "{order}"}}'),
        returns(f'{{"order_id": "{order}", "status": "packed"}}'),
        says(answer),
        id=f"t{order}",
    )


def test_one_word_of_three_hundred_makes_no_other_text():
    near = Near()
    assert near.seen("a", LONG) is None
    assert near.seen("b", LONG.replace("word77", "other")) == "a"


def test_every_tenth_word_makes_another_text():
    near = Near()
    other = " ".join(f"other{n}" if n % 10 == 0 else f"word{n}" for n in range(300))
    assert near.seen("a", LONG) is None
    assert near.seen("b", other) is None
    assert len(near) == 2


def test_the_first_that_was_kept_is_named_and_what_is_refused_is_not_kept():
    near = Near()
    for id in ("a", "b", "c"):
        found = near.seen(id, LONG)
    assert (found, len(near)) == ("a", 1)


def test_all_that_are_alike_are_named_in_the_order_they_were_kept():
    near = Near()
    for id in ("b", "a", "c"):
        near.keep(id, near.outline(LONG if id != "a" else "something else"))
    assert list(near.alike(near.outline(LONG.upper()))) == ["b", "c"]


def test_an_outline_can_be_sent_to_another_process():
    near = Near()
    near.keep("a", pickle.loads(pickle.dumps(near.outline(LONG, "yes"))))
    assert near.seen("b", LONG, "yes") == "a"


def test_asking_keeps_nothing():
    near = Near()
    assert near.first(near.outline(LONG)) is None
    assert near.seen("a", LONG) is None
    assert near.first(near.outline(LONG)) == "a"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where is it?", "  where IS it"),
        ("ｏｒｄｅｒ 42", "Order 42"),
        ("cafe\u0301 au lait", "café au lait"),
        ("注文はどこですか。", "注文はどこですか"),
        ("", "  ?!"),
    ],
)
def test_case_punctuation_and_forms_of_letters_make_no_difference(one, other):
    near = Near(1.0)
    assert near.seen("a", one) is None
    assert near.seen("b", other) == "a"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where is order 42?", "Where is order 43?"),
        ("yes", "no"),
        ("👍", "👎"),
        ("हिन्दी", "हन्द"),
        ("注文四十二はどこですか", "注文四十三はどこですか"),
        ("ครับ", "ค่ะ"),
        ("hello", ""),
    ],
)
def test_short_texts_that_say_different_things_are_two(one, other):
    near = Near()
    assert near.seen("a", one) is None
    assert near.seen("b", other) is None


def test_a_text_without_spaces_is_compared_by_its_characters():
    text = "".join(chr(0x4E00 + n) for n in range(300))
    near = Near()
    near.seen("a", text)
    assert near.seen("b", f"{text[:150]}。{text[150:]}末") == "a"
    assert len(words(text)) == 300


def test_one_part_that_differs_is_enough_to_be_another():
    near = Near()
    assert near.seen("a", LONG, "yes") is None
    assert near.seen("b", LONG, "no") is None
    assert near.seen("c", LONG, "Yes.") == "a"


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.1, float("nan")])
def test_a_threshold_outside_is_refused(threshold):
    with pytest.raises(ConfigError, match="near is above 0"):
        Near(threshold)


# ---------------------------------------------------------------------- what an example says


def test_two_orders_are_two_conversations():
    near = Near()
    assert near.seen("42", *texts(about(42))) is None
    assert near.seen("43", *texts(about(43))) is None


def test_a_long_conversation_with_another_answer_is_another():
    talk = (system(), user(LONG), says("It ships tomorrow."))
    near = Near()
    assert near.seen("a", *texts(row(*talk))) is None
    assert near.seen("b", *texts(row(*talk[:-1], says("It is lost, I am sorry.")))) is None
    assert near.seen("c", *texts(row(system(), user(f"{LONG} please"), talk[-1]))) == "a"


def test_what_the_system_says_and_the_tools_at_hand_are_not_compared():
    one = row(system("You help."), user("hi"), says())
    other = row(system(LONG), user("hi"), says(), tools=())
    assert texts(one) == texts(other)


def test_other_arguments_of_a_tool_make_another_row():
    assert texts(about(42))[0] != texts(about(43))[0]
    assert '{"order_id": "42"}' in texts(about(42))[1]


def test_what_is_masked_is_not_taught():
    learned = row(system(), user("q"), says("first"), user("and?"), says("second"))
    masked = learned.model_copy(update={"weights": (0,)})
    assert texts(learned)[0] == texts(masked)[0]
    assert "first" in texts(learned)[1]
    assert "first" not in texts(masked)[1]


def test_pictures_differ_where_their_texts_do_not():
    def shown(url):
        parts = [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        return row(system(), user(parts), says("A cat."))

    near = Near()
    assert near.seen("a", *texts(shown("data:image/png;base64,AAAA"))) is None
    assert near.seen("b", *texts(shown("data:image/png;base64,BBBB"))) is None


def pair(better, worse):
    fork = []
    for id, text, score in (("a", better, 1.0), ("b", worse, 0.0)):
        one = judged(a_trace(system(), user("hi"), says(text), id=id), score)
        fork.append(Branch(one.trace.calls[0], one))
    (example,) = dpo([fork])
    return example


def test_a_preference_and_its_opposite_are_two():
    near = Near()
    assert near.seen("a", *texts(pair("yes sure", "no way"))) is None
    assert near.seen("b", *texts(pair("no way", "yes sure"))) is None
    assert near.seen("c", *texts(pair("Yes, sure!", "No way."))) == "a"


def task(reference):
    fork = []
    for value in (True, False):
        trace = a_trace(system(), user("Cancel it."), says(str(value)), id=f"{value}")
        one = judged(trace, resolved=value, reference=reference)
        fork.append(Branch(one.trace.calls[0], one))
    (example,) = rft([fork])
    return example


def test_one_question_with_two_references_is_two_tasks():
    near = Near()
    assert near.seen("a", *texts(task("cancelled"))) is None
    assert near.seen("b", *texts(task("refunded"))) is None
    assert near.seen("c", *texts(task("cancelled"))) == "a"


# ---------------------------------------------------------------------- what is promised


VOCABULARY = st.sampled_from([*"abcdefgh", "注", "文", "42", "43"])
TEXT = st.lists(VOCABULARY, max_size=40).map(" ".join)


@given(st.lists(TEXT, max_size=12), st.sampled_from([0.5, 0.7, 0.9, 1.0]))
def test_what_is_named_is_as_alike_as_was_asked(said, threshold):
    near = Near(threshold)
    kept = {}
    for n, text in enumerate(said):
        found = near.seen(str(n), text)
        if found is None:
            kept[str(n)] = text
        else:
            assert jaccard(shingles(text), shingles(kept[found])) >= threshold
    assert len(near) == len(kept)


@given(TEXT, TEXT)
def test_a_text_is_found_again_whatever_came_between(text, other):
    near = Near()
    near.seen("a", text)
    near.seen("b", other)
    assert near.first(near.outline(text)) == "a"


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_at_most_one_pair_in_a_hundred_is_missed(threshold):
    assert banding(threshold).found(threshold) >= 0.99


def test_nearly_all_pairs_above_the_threshold_are_found():
    dice = random.Random(1)
    near = Near(0.8)
    found = 0
    for n in range(200):
        said = [str(dice.randrange(10**6)) for _ in range(120)]
        changed = [*said[:-4], "these", "four", "are", "new"]
        assert jaccard(shingles(" ".join(said)), shingles(" ".join(changed))) > 0.9
        near.seen(str(n), " ".join(said))
        found += near.first(near.outline(" ".join(changed))) == str(n)
    assert found == 200


def test_the_answers_are_the_same_in_every_process():
    code = """
import random
from agentloop.harvest.duplicates import Near
dice = random.Random(2)
near = Near(0.6)
words = [str(n) for n in range(40)]
for n in range(300):
    start = dice.randrange(30)
    print(n, near.seen(str(n), " ".join(words[start : start + 10 + dice.randrange(10)])))
"""
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1
    assert "None" in answers.copy().pop()


def test_of_the_shops_rows_none_is_taken_for_one_that_says_something_else(tmp_path):
    with AgentLoop(f"sqlite:///{tmp_path}/loop.db") as loop:
        assert len(list(loop.import_file(SHOP))) > 100
        whole = feedback.settle(loop.judged())
        found = [*sft(whole, agents=["support", "billing"], good=0.0)]
    near = Near()
    rows = [one for one in found if isinstance(one, SFTExample)]
    assert len(rows) > 100
    alike = {n: at for n, row in enumerate(rows) if (at := near.seen(str(n), *texts(row)))}
    assert all(texts(rows[n]) == texts(rows[int(at)]) for n, at in alike.items())
