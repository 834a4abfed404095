"""Decontamination: what is in a test set, from files of rows and from texts, and what is not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.base.errors import RecordError
from agentloop.base.records import Method
from agentloop.harvest import Branch, dpo, kto, rft, sft, write
from agentloop.harvest.references import COMMON, Against
from tests.harvest.makers import a_trace, calls, dataset, judged, returns, says, system, user

FOURTEEN = "the parcel left our house on monday and should be with you before the weekend"
THIRTEEN = " ".join(FOURTEEN.split()[:13])
TWELVE = " ".join(FOURTEEN.split()[:12])


def row(*said, **fields):
    (example,) = sft([judged(a_trace(*said, **fields), 1.0)], agents=["support"])
    return example


def asking(text, answer="It ships tomorrow."):
    return row(system(), user(text), says(answer))


def against(tmp_path, *rows):
    file = tmp_path / "test.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return Against.of_file(file)


def a_row(text, answer="It ships tomorrow."):
    return {
        "messages": [
            {"role": "system", "content": "You help."},
            {"role": "user", "content": text},
            {"role": "assistant", "content": answer},
        ]
    }


def test_the_same_question_is_a_hit_and_names_the_line(tmp_path):
    test = against(tmp_path, a_row("Where is order 41?"), a_row("Where is order 42?"))
    assert test.hit(asking("where is order 42")) == "its users ask what those of test.jsonl:2 ask"
    assert test.hit(asking("Where is order 43?")) is None


def test_a_short_answer_that_the_test_has_too_is_no_hit(tmp_path):
    test = against(tmp_path, a_row("Where is order 42?", answer="Done."))
    assert test.hit(asking("Cancel order 7.", answer="Done.")) is None


@pytest.mark.parametrize("said", [THIRTEEN, f"Yes: {FOURTEEN.upper()}!"])
def test_thirteen_words_in_a_row_are_a_hit(tmp_path, said):
    test = against(tmp_path, a_row("Where is it?", answer=f"Well, {FOURTEEN}."))
    assert test.hit(asking("When?", answer=said)) == "13 words in a row as in test.jsonl:1"
    assert test.hit(asking(f"You said {said}")) == "13 words in a row as in test.jsonl:1"


def test_twelve_words_in_a_row_are_none(tmp_path):
    test = against(tmp_path, a_row("Where is it?", answer=FOURTEEN))
    assert test.hit(asking("When?", answer=f"{TWELVE} then")) is None


def test_a_run_does_not_cross_messages(tmp_path):
    test = against(tmp_path, a_row("Where is it?", answer=FOURTEEN))
    first, second = " ".join(FOURTEEN.split()[:7]), " ".join(FOURTEEN.split()[7:])
    split = row(system(), user("When?"), says(first), user("And?"), says(second))
    assert test.hit(split) is None


def test_what_a_tool_returns_and_the_system_says_may_be_the_same(tmp_path):
    said = [
        {"role": "system", "content": FOURTEEN},
        {"role": "user", "content": "q"},
        {"role": "tool", "tool_call_id": "c1", "content": FOURTEEN},
        {"role": "assistant", "content": "a"},
    ]
    test = against(tmp_path, {"messages": said})
    same = row(system(FOURTEEN), user("other"), calls(), returns(FOURTEEN), says("b"))
    assert test.hit(same) is None


def test_arguments_of_a_tool_count_as_an_answer(tmp_path):
    call = {"id": "c1", "type": "function", "function": {"name": "note", "arguments": FOURTEEN}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    test = against(tmp_path, {"messages": [{"role": "user", "content": "q"}, asked]})
    written = row(system(), user("other"), calls(arguments=f'{{"text": "{FOURTEEN}"}}'))
    assert test.hit(written)


def test_a_masked_turn_is_not_learned_and_so_no_hit(tmp_path):
    test = against(tmp_path, a_row("Where is it?", answer=FOURTEEN))
    learned = row(system(), user("q"), says(FOURTEEN), user("and?"), says("yes"))
    assert test.hit(learned)
    assert test.hit(learned.model_copy(update={"weights": (0,)})) is None


def test_a_phrase_that_many_prompts_share_is_no_hit(tmp_path):
    others = [a_row(f"something else {n}") for n in range(2 * COMMON)]
    few = [*others, *(a_row(f"question {n}", answer=FOURTEEN) for n in range(COMMON))]
    many = [*few, a_row("one more", answer=FOURTEEN)]
    assert against(tmp_path, *few).hit(asking("other", answer=FOURTEEN))
    assert against(tmp_path, *many).hit(asking("other", answer=FOURTEEN)) is None


def test_the_form_that_most_prompts_have_is_no_hit(tmp_path):
    formed = [a_row(f"{FOURTEEN} {n}") for n in range(4)]
    assert against(tmp_path, *formed).hit(asking(f"{FOURTEEN} 7")) is None
    assert against(tmp_path, *formed).hit(asking(f"{FOURTEEN} 3"))
    assert against(tmp_path, *formed[:1], a_row("a"), a_row("b")).hit(asking(f"{FOURTEEN} 7"))


def test_many_rollouts_of_one_prompt_make_no_phrase(tmp_path):
    rollouts = [a_row("one task", answer=f"{FOURTEEN} {n}") for n in range(3 * COMMON)]
    assert against(tmp_path, *rollouts).hit(asking("other", answer=FOURTEEN))


def test_a_long_prompt_is_found_when_a_word_was_changed(tmp_path):
    said = [f"word{n}" for n in range(100)]
    test = against(tmp_path, a_row(" ".join(said)))
    said[50] = "other"
    assert test.hit(asking(" ".join(said)))


def test_texts_are_a_test_set_too(tmp_path):
    test = Against.of_texts(["Where is order 42?", FOURTEEN])
    assert test.hit(asking("where is order 42?")) == "its users ask what those of text 1 ask"
    assert test.hit(asking("q", answer=FOURTEEN)) == "13 words in a row as in text 2"
    assert against(tmp_path, "Where is order 42?").hit(asking("where is order 42?"))


def forks(n):
    for k in range(n):
        fork = []
        for value in (True, False):
            trace = a_trace(system(), user(f"cancel {k}"), says(f"{value} {k}"), id=f"{k}{value}")
            one = judged(trace, float(value), resolved=value, reference=f"label {k}")
            fork.append(Branch(one.trace.calls[0], one))
        yield fork


@pytest.mark.parametrize("method", list(Method))
def test_every_row_that_is_harvested_is_in_its_own_file(tmp_path, method):
    """Also the rows of one method in the test set of another."""
    examples = {
        Method.SFT: [asking(f"cancel {k}", answer=f"True {k}") for k in range(3)],
        Method.DPO: list(dpo(forks(3))),
        Method.RFT: list(rft(forks(3))),
        Method.KTO: list(kto([branch] for fork in forks(3) for branch in fork)),
    }
    made = dataset(method, examples[method], valid_share=0.0)
    write(made, tmp_path / "d")
    both = [(tmp_path / "d" / f"{side}.jsonl").read_text() for side in ("train", "valid")]
    (tmp_path / "test.jsonl").write_text("".join(both))
    test = Against.of_file(tmp_path / "test.jsonl")
    for example in (one for several in examples.values() for one in several):
        assert test.hit(example)
    assert test.hit(asking("cancel 9")) is None


def test_a_reference_that_the_test_has_too_is_a_hit(tmp_path):
    (task,) = rft(forks(1))
    task = task.model_copy(update={"fields": {"reference_answer": FOURTEEN}})
    prompt = [{"role": "user", "content": "other"}]
    test = against(tmp_path, {"messages": prompt, "reference_answer": f"{FOURTEEN}.", "tools": []})
    assert test.hit(task)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{}", r"test.jsonl:2: no row"),
        ("[1]", r"test.jsonl:2: no row"),
        ('{"messages": ["hi"]}', r"test.jsonl:2: no message"),
        ('{"messages": [{"role": "king"}]}', r"test.jsonl:2: no message: role"),
        ("{", r"test.jsonl:2: the line is no JSON"),
    ],
)
def test_a_line_that_is_no_row_is_an_error_that_names_it(tmp_path, line, why):
    file = tmp_path / "test.jsonl"
    file.write_text(f"{json.dumps(a_row('q'))}\n{line}\n")
    with pytest.raises(RecordError, match=why):
        Against.of_file(file)


def test_a_file_that_is_not_there_or_empty_is_an_error(tmp_path):
    with pytest.raises(RecordError, match="cannot read"):
        Against.of_file(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(RecordError, match="holds no row"):
        Against.of_file(tmp_path / "empty.jsonl")


SAID = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30)


@given(SAID, SAID)
def test_two_that_share_thirteen_words_in_a_row_are_told_and_no_others(ours, theirs):
    def of(said):
        return {tuple(said[n : n + 13]) for n in range(len(said) - 12)}

    shared = bool(of(ours) & of(theirs))
    test = Against.of_texts([" ".join(theirs)])
    hit = test.hit(asking("something else altogether", answer=" ".join(ours)))
    assert (hit is not None) == shared
