"""What many corrections and comments say in the same way, and what is only chance."""

from agentloop.harvest.advice.repeats import Said
from tests.harvest.makers import a_trace, an_opinion, judged, says, system, user

LONG = "Thank you very much for reaching out to us today about your order, it has been shipped."


def corrected(n, answer=LONG, better="It shipped.", asked="Where is order {n}?", told="You help."):
    trace = a_trace(system(told), user(asked.format(n=n)), says(answer), id=f"t{n}")
    opinion = an_opinion(trace, correction=better.format(n=n), call=f"t{n}/0")
    return judged(trace, opinion)


def repeats(*runs):
    said = Said()
    for run in runs:
        said.see(run, ["support"])
    return [repeat.sentence for repeat in said.repeats()]


def test_corrections_that_are_shorter_say_so_with_the_median():
    found = repeats(*(corrected(n, better="Shipped today.") for n in range(6)))
    assert found[0] == "6 of 6 corrections are shorter (median 0.12 of the words)"


def test_five_corrections_are_chance():
    assert repeats(*(corrected(n) for n in range(5))) == []


def test_what_less_than_half_of_all_say_is_not_repeated():
    like_it = [corrected(n, better=f"{LONG} word{'x' * n}") for n in range(10, 17)]
    assert repeats(*like_it, *(corrected(n) for n in range(6))) == []


def test_corrections_that_name_what_the_user_named_say_so():
    found = repeats(*(corrected(n, "It is on its way.", "A{n}0 ships soon.", "Where is A{n}0?")
                      for n in range(8)))  # fmt: skip
    assert "8 of 8 corrections name a number that the user gave and the answer did not" in found


def test_a_phrase_that_corrections_add_is_told_whole_and_once():
    found = repeats(
        *(
            corrected(n, "It is here.", f"Case {case}: please keep your receipt. It is here.")
            for n, case in enumerate("abcdefgh")
        )
    )
    (phrase,) = [sentence for sentence in found if " say " in sentence]
    assert phrase == '8 of 8 corrections say "please keep your receipt", and the answers did not'


def test_an_instruction_that_is_there_already_is_no_news():
    (first, *_) = repeats(*(corrected(n, told="Be brief.") for n in range(8)))
    assert first.endswith(", which the instructions ask for already")


def test_comments_that_repeat_a_phrase_are_found():
    runs = []
    for n in range(7):
        trace = a_trace(system(), user(), says(), id=f"t{n}")
        opinion = an_opinion(trace, score=0.0).model_copy(
            update={"comment": f"{'much' if n % 2 else 'far'} too long for me"}
        )
        runs.append(judged(trace, opinion))
    assert repeats(*runs) == ['7 of 7 comments say "too long for me"']


def test_what_other_agents_said_is_left_to_them():
    assert repeats(*(corrected(n) for n in range(6))) != []
    said = Said()
    for n in range(6):
        said.see(corrected(n), ["billing"])
    assert said.corrections == 0
