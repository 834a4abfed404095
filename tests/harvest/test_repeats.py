"""What many corrections, or comments, have in common."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.harvest.advice.repeats import LATEST, Change, Comment, repeats
from tests.makers import asks, says


def sentence(seed, n=12):
    """Words of its own."""
    dice = random.Random(seed)
    return " ".join("".join(dice.choices("abcdefghij", k=5)) for _ in range(n))


def changes(n, make, *, of=None):
    """So many corrections made so, and others, up to `of`, that have nothing in common."""
    made = [make(k) for k in range(n)]
    rest = [Change(says(sentence(f"a{k}")), says(sentence(f"b{k}"))) for k in range(n, of or n)]
    return made + rest


def found(*given, **options):
    return [one.what for one in repeats(*given, **options)]


def test_corrections_that_have_nothing_in_common_repeat_nothing():
    assert repeats(changes(0, None, of=200)) == ()


def test_shorter_and_longer():
    def cut(k):
        return Change(says(sentence(k)), says(sentence(f"b{k}", 5)))

    def drawn_out(k):
        return Change(says(sentence(k)), says(sentence(f"b{k}", 24)))

    what = "18 of 24 corrections are shorter (median 0.4 of the words)"
    assert found(changes(18, cut, of=24)) == [what]
    assert found(changes(14, cut, of=24)) == [], "14 of 24 are less than six of ten"
    assert found(changes(24, drawn_out)) == [
        "24 of 24 corrections are longer (median 2.0 of the words)"
    ]


def test_the_number_that_the_user_named():
    def named(k):
        answer = sentence(f"b{k}")
        return Change(says(sentence(k)), says(f"{answer} L-{k}77."), f"Where is l-{k}77?")

    assert found(changes(15, named, of=24)) == [
        "15 of 24 corrections add the number that the user named"
    ]


def test_a_number_that_the_answer_named_already_is_not_added():
    def named(k):
        return Change(
            says(f"L-{k}77 {sentence(k)}"), says(f"{sentence(f'b{k}')} L-{k}77"), f"L-{k}77"
        )

    assert found(changes(24, named)) == []


@pytest.mark.parametrize("how", ["begin with", "end with"])
def test_how_corrections_begin_and_end(how):
    def greeted(k):
        answer = sentence(f"b{k}")
        right = f"Hello there! {answer}" if how == "begin with" else f"{answer} Hello there!"
        return Change(says(sentence(k)), says(right))

    said = found(changes(20, greeted, of=30))
    assert f"20 of 30 corrections {how} 'hello there'" in said
    assert len(said) == 2, said  # and the exclamation mark
    assert "20 of 30 corrections add an exclamation mark" in said


def test_a_phrase_that_is_added_or_left_out_wherever_it_stands():
    phrase = "we are sorry for the long wait"

    def with_it(k):
        return f"{sentence(f'c{k}', k % 5 + 3)} {phrase} {sentence(f'd{k}', k % 7 + 3)}"

    def without(k):
        return sentence(f"e{k}", 14)

    added = changes(20, lambda k: Change(says(without(k)), says(with_it(k))), of=30)
    left = changes(20, lambda k: Change(says(with_it(k)), says(without(k))), of=30)
    assert f"20 of 30 corrections add {phrase!r}" in found(added)
    assert f"20 of 30 corrections leave out {phrase!r}" in found(left)


def test_a_phrase_that_is_there_before_and_after_is_no_instruction():
    def same(k):
        return Change(
            says(f"we looked it up {sentence(k)}"), says(f"we looked it up {k} {sentence(f'b{k}')}")
        )

    assert found(changes(30, same)) == []


def test_a_long_phrase_is_said_whole_and_once():
    phrase = "please allow three to five working days for the money to be on your account again"

    def added(k):
        return Change(
            says(sentence(k, 20)),
            says(f"{sentence(f'b{k}', k % 3 + 4)} {phrase} {sentence(f'c{k}', 4)}"),
        )

    said = [what for what in found(changes(20, added)) if " add " in what]
    assert said == [f"20 of 20 corrections add {phrase!r}"]


def test_what_the_prompt_says_already_is_told_so_and_stands_last():
    def greeted(k):
        return Change(says(sentence(k)), says(f"Dear customer {sentence(f'b{k}', 4)}"))

    made = repeats(changes(20, greeted), prompts=["Always begin with 'Dear customer'."])
    assert [(one.told, "shorter" in one.what) for one in made] == [(False, True), (True, False)]


def test_another_call_in_the_place_of_a_call():
    def called(k):
        return Change(asks("track", "{}"), asks("find", f'{{"id": {k}}}'))

    def asked(k):
        return Change(says(sentence(k)), asks("find", "{}"))

    def answered(k):
        return Change(asks("find", "{}"), says(sentence(k)))

    def otherwise(k):
        return Change(asks("find", "{}"), asks("find", f'{{"id": {k}}}'))

    assert found(changes(12, called, of=20)) == [
        "12 of 20 corrections call find in the place of track"
    ]
    assert found(changes(12, asked)) == ["12 of 12 corrections call find where the model answered"]
    assert found(changes(12, answered)) == ["12 of 12 corrections answer where find was called"]
    assert found(changes(12, otherwise)) == ["12 of 12 corrections call find with other arguments"]
    assert found(changes(11, called, of=20)) == []


def test_comments_that_say_the_same():
    def remarks(n, of):
        same = [f"{sentence(k, 2)} far too long {sentence(f'b{k}', 3)}" for k in range(n)]
        other = [sentence(f"c{k}", 6) for k in range(n, of)]
        return [Comment(text) for text in same + other]

    assert found([], remarks(12, 30)) == ["12 of 30 comments say 'far too long'"]
    assert found([], remarks(11, 30)) == []
    assert found([], remarks(9, 9)) == []


def test_what_a_comment_is_about_is_no_instruction():
    remarks = [
        Comment(f"{sentence(k, 3)} the parcel", f"where is the parcel {k}") for k in range(20)
    ]
    assert found([], remarks) == []


def test_the_latest_are_looked_at():
    def cut(k):
        return Change(says(sentence(k)), says(sentence(f"b{k}", 5)))

    many = changes(LATEST, cut) + changes(0, None, of=3 * LATEST)
    (one,) = repeats(many)
    assert (one.n, one.total) == (LATEST, LATEST)


texts = st.text(st.sampled_from("ab c.!?1-\n"), max_size=30)


@given(st.lists(st.tuples(texts, texts, texts), max_size=30), st.lists(texts, max_size=15))
def test_what_is_told_is_told_with_figures_that_are_true(corrections, remarks):
    given_ = [Change(says(a), says(b), c) for a, b, c in corrections]
    for one in repeats(given_, [Comment(text) for text in remarks]):
        assert 10 <= one.n <= one.total <= max(len(corrections), len(remarks))
        assert one.what.startswith(f"{one.n} of {one.total} ")
