"""What reaches TRL's trainers: exactly the outputs are learned, whole, against the model that the
job began with."""

import warnings
from dataclasses import replace

import pytest
import torch

from agentloop.local import recipes
from agentloop.local.inference.dialect import Dialect
from agentloop.local.training.report import Unfit
from tests.local.parrot import KNOWN, ORDER, SYSTEM, TOOLS, calls, result, says, user
from tests.local.test_adapters import logits, served, theirs, train
from tests.local.test_adapters import room as room
from tests.local.test_adapters import small_ranks as small_ranks
from tests.local.test_adapters import training as training

CALL = '<tool_call>{{"name": "get_order", "arguments": {{"id": "{}"}}}}</tool_call>'
END = "<|im_end|>"
TURNS = [*ORDER, result("shipped"), says("It is shipped."), user("sure?")]


def pair(context, preferred, other):
    given = {"messages": context, "tools": TOOLS}
    return {"input": given, "preferred_output": [preferred], "non_preferred_output": [other]}


SHAPES = {
    "text after many turns": (TURNS, says("Yes."), says("I am afraid so."), "Yes.", None),
    "a call against a text": (
        [SYSTEM, user("order 7")],
        calls(("get_order", {"id": "7"})),
        says("Which order?"),
        CALL.format(7),
        None,
    ),
    "a text after a call against another call": (
        TURNS[:4],
        says("It is shipped."),
        calls(("get_order", {"id": "7"})),
        "It is shipped.",
        CALL.format(7),
    ),
    "two calls at once against one": (
        KNOWN[3][:2],
        calls(("get_order", {"id": "1"}), ("get_order", {"id": "2"}), content="Let me see."),
        calls(("get_order", {"id": "2"})),
        "Let me see." + CALL.format(1) + CALL.format(2),
        CALL.format(2),
    ),
}


@pytest.fixture
def dialect(base):
    return Dialect(base)


@pytest.fixture
def trainers(monkeypatch, training):
    """The trainers of TRL that jobs make; the jobs end before a step where `stop` says so."""
    from agentloop.local.training.resuming import run as real

    made, after = [], {"stop": True}

    def run(trainer, task, progress):
        made.append(trainer)
        return not after["stop"] and real(trainer, task, progress)

    for module in ("preference", "supervised"):
        monkeypatch.setattr(f"agentloop.local.training.{module}.run", run)
    return made, after


@pytest.fixture
def batch(room, training, tmp_path, trainers):
    """What the trainer of a job on these rows computes in its first pass."""

    def first(kind, rows):
        with pytest.raises((AssertionError, IndexError)):  # the job reports no end
            train(room, training, tmp_path, 1, kind, rows, "parrot", batch_size=8, beta=0.1)
        ((trainer,), _) = trainers
        with theirs():
            (found,) = trainer.get_train_dataloader()
        return found

    return first


def read(dialect, ids, wanted):
    return dialect.tokenizer.decode(ids[wanted.bool()])


@pytest.mark.parametrize("shape", SHAPES)
def test_of_a_pair_exactly_the_two_outputs_are_compared(batch, dialect, shape):
    context, preferred, other, liked, disliked = SHAPES[shape]
    found = batch("dpo", [pair(context, preferred, other)])
    sides = [
        (read(dialect, ids, seen - learned), read(dialect, ids, learned))
        for ids, seen, learned in zip(
            found["input_ids"], found["attention_mask"], found["completion_mask"], strict=True
        )
    ]
    prompt = dialect.prompt(context, TOOLS).text
    disliked = other["content"] if disliked is None else disliked
    half = len(sides) // 2
    assert (prompt, liked + END) in sides[:half]
    assert (prompt, disliked + END) in sides[half:]
    # What else is learned are turns of the context, on both sides alike.
    rest = [[side for side in part if side[0] != prompt] for part in (sides[:half], sides[half:])]
    assert sorted(rest[0]) == sorted(rest[1])
    spoken = [n for n, message in enumerate(context) if message["role"] == "assistant"]
    before = {dialect.prompt(context[:n], TOOLS).text for n in spoken}
    assert {given for given, _ in rest[0]} == before


def test_of_a_conversation_exactly_what_the_assistant_said_is_learned(batch, dialect):
    talk = [*TURNS, says("Yes.")]
    masked = [{**m, "weight": 0} if n == 4 else m for n, m in enumerate(talk)]
    found = batch("supervised", [{"messages": t, "tools": TOOLS} for t in (talk, masked)])
    texts = [
        read(dialect, ids, labels != -100)
        for ids, labels in zip(found["input_ids"], found["labels"], strict=True)
    ]
    call = CALL.format(7) + END
    whole, without = f"{call}It is shipped.{END}Yes.{END}", f"{call}Yes.{END}"
    assert sorted(texts) == sorted([whole, without])
    for ids, labels in zip(found["input_ids"], found["labels"], strict=True):
        assert torch.equal(ids[labels != -100], labels[labels != -100])


def test_a_turn_of_weight_0_is_not_rehearsed(dialect, training):
    from agentloop.local.training.preference import rehearse

    context = [{**m, "weight": 0} if "tool_calls" in m else m for m in TURNS]
    (tie,) = rehearse([pair(context, says("Yes."), says("No."))], dialect)
    assert dialect.tokenizer.decode(tie.chosen_ids) == "It is shipped." + END


def filler(dialect, tokens):
    """A user's text with which prompt and answer of `SHORT` have so many tokens."""
    had = len(dialect.prompt([SYSTEM, user("")], TOOLS).ids)
    return "~" * (tokens - had - len(dialect.answer([SYSTEM, user("")], TOOLS, SHORT).ids))


SHORT, LONG = says("Yes."), says("Yes. Or is it?")


def test_a_row_as_long_as_the_model_takes_is_trained_whole(batch, dialect):
    talk = [SYSTEM, user(filler(dialect, dialect.context - 1)), SHORT]
    (lesson,) = dialect.lessons(talk, TOOLS)
    assert len(lesson.ids) == dialect.context
    found = batch("supervised", [{"messages": talk, "tools": TOOLS}])
    # But for the line that ends after the answer, of which nothing is learned.
    assert found["input_ids"].tolist() == [lesson.ids[:-1]]
    assert read(dialect, found["input_ids"][0], found["labels"][0] != -100) == "Yes." + END


@pytest.mark.parametrize("sides", [(SHORT, LONG), (LONG, SHORT)], ids=["rejected", "preferred"])
def test_a_pair_of_which_one_side_is_too_long_is_refused(dialect, training, sides):
    from agentloop.local.training.preference import compare

    context = [SYSTEM, user(filler(dialect, dialect.context))]
    fits = pair(context, SHORT, says("No."))
    (found,) = compare([fits], dialect, param="training_file")
    assert len(found.prompt_ids) + len(found.chosen_ids) == dialect.context
    with pytest.raises(Unfit, match=r"Example 2 has 10\d\d tokens"):
        compare([fits, pair(context, *sides)], dialect, param="training_file")


def test_a_question_that_leaves_no_room_for_an_answer_is_refused(dialect, training):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from agentloop.local.training.reinforcement import ask

    row = {"messages": [SYSTEM, user(filler(dialect, dialect.context + 40))], "tools": TOOLS}
    with pytest.raises(Unfit, match="Example 1 has"):
        ask([row], dialect, param="training_file")


@pytest.mark.parametrize("how", ["weights", "adapters"])
def test_the_reference_of_dpo_after_sft_is_what_sft_made(
    room, training, tmp_path, trainers, dialect, monkeypatch, how, request
):
    if how == "adapters":
        request.getfixturevalue("small_ranks")
    for table in (recipes.SUPERVISED, recipes.DPO):
        monkeypatch.setitem(table, recipes.TINY, replace(table[recipes.TINY], bf16=False))
    made, after = trainers
    after["stop"] = False
    rows = [{"messages": talk, "tools": TOOLS} for talk in KNOWN]
    numbers = {"n_epochs": 1, "batch_size": 6, "learning_rate_multiplier": 30.0}
    _, tuned = train(room, training, tmp_path, 1, "supervised", rows, "parrot", **numbers)
    pairs = [pair(KNOWN[0][:-1], says("Hi."), KNOWN[0][-1])] * 4
    numbers |= {"n_epochs": 2, "batch_size": 4}
    train(room, training, tmp_path, 2, "dpo", pairs, tuned, beta=0.5, **numbers)

    trainer = made[-1]
    began = logits(served(room.get(tuned)), dialect)
    trainer.model.eval()
    ended = logits(trainer.model, dialect)
    if how == "adapters":
        with trainer.model.disable_adapter():
            reference = logits(trainer.model, dialect)
    else:
        reference = logits(trainer.ref_model.eval(), dialect)
    torch.testing.assert_close(reference, began, atol=1e-4, rtol=1e-4)
    plain = logits(served(room.get("parrot")), dialect)
    assert not torch.allclose(reference, plain, atol=1e-2)
    assert not torch.allclose(reference, ended, atol=1e-2)
    # And it was so from the start: before the first step there is nothing between the two.
    margins = [one["rewards/margins"] for one in trainer.state.log_history if "loss" in one]
    assert margins[0] == pytest.approx(0, abs=1e-3)
    assert margins[-1] > 0.01
