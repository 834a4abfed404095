"""Graders that ask a server of the author's."""

import pytest

from agentloop import graders
from agentloop.graders import endpoint as module
from agentloop.graders.endpoint import MOST_BYTES, RETRIES, Pace
from agentloop.graders.sample import sample_of

from .makers import endpoint, multi, string_check

ITEM = {"label": "42"}


@pytest.fixture
def pauses(monkeypatch):
    """How long was paused; nobody waits."""
    taken = []
    monkeypatch.setattr(module.Asked.__init__, "__kwdefaults__", {"pause": taken.append})
    return taken


def test_a_rollout_is_sent_whole_and_its_score_is_the_reward(scripted):
    server = scripted(lambda _: {"score": 0.7})
    sample = sample_of({"role": "assistant", "content": "It is 42."})
    with graders.compile(endpoint(server.url, headers={"X-Key": "k"})) as grader:
        grade = grader.grade({**sample, "trace_id": "trace_1"}, ITEM)
    assert (grade.reward, grade.failed) == (0.7, False)
    (asked,) = server.asked
    assert asked["item"] == ITEM
    assert asked["trace_id"] == "trace_1"
    assert asked["sample"]["choices"][0]["message"]["content"] == "It is 42."
    assert server.headers[0]["x-key"] == "k"


def test_a_rollout_without_a_trace_gets_one_of_its_own(scripted):
    server = scripted(lambda _: {"score": 1})
    with graders.compile(endpoint(server.url)) as grader:
        grader.grade_many([("a", ITEM), ("b", ITEM)])
    ids = {asked["trace_id"] for asked in server.asked}
    assert len(ids) == 2
    assert all(id.startswith("trace_") for id in ids)


def test_a_server_that_fails_is_asked_four_times(scripted, pauses, caplog):
    server = scripted(lambda _: (500, {}))
    with graders.compile(endpoint(server.url, headers={"X-Key": "secret"})) as grader:
        grade = grader.grade("x", ITEM)
    assert len(server.asked) == 1 + RETRIES
    assert pauses == [0.5, 1.0, 2.0]
    assert grade.errors["unresponsive_reward_error"] is True
    assert "status 500" in caplog.text
    assert "secret" not in caplog.text


def test_a_server_that_is_not_there_leaves_the_reward_unknown(pauses):
    with graders.compile(endpoint("http://127.0.0.1:1/")) as grader:
        grade = grader.grade("x", ITEM)
    assert (grade.reward, grade.errors["unresponsive_reward_error"]) == (0.0, True)


def test_a_server_that_comes_back_is_heard(scripted, pauses):
    answers = iter([(503, {}), (429, {}), {"score": 0.25}])
    server = scripted(lambda _: next(answers))
    with graders.compile(endpoint(server.url)) as grader:
        assert grader.grade("x", ITEM).reward == 0.25


@pytest.mark.parametrize(
    "said", [{}, {"score": "high"}, {"score": True}, {"score": None}, [1], (404, {}), (302, {})]
)
def test_what_is_no_score_is_worth_0_and_is_not_asked_for_again(scripted, said):
    server = scripted(lambda _: said)
    with graders.compile(endpoint(server.url)) as grader:
        grade = grader.grade("x", ITEM)
    assert (grade.reward, grade.errors["other_error"]) == (0.0, True)
    assert len(server.asked) == 1


def test_what_is_too_large_is_not_sent(scripted):
    server = scripted(lambda _: {"score": 1})
    with graders.compile(endpoint(server.url)) as grader:
        assert grader.grade("x" * MOST_BYTES, ITEM).errors["other_error"] is True
    assert server.asked == []


def test_requests_keep_their_pace():
    now = [100.0]
    waits = []

    def pause(seconds):
        waits.append(round(seconds, 6))
        now[0] += seconds

    pace = Pace(4.0, clock=lambda: now[0], pause=pause)
    for _ in range(3):
        pace.wait()
    now[0] += 10
    pace.wait()
    assert waits == [0.25, 0.25]


def test_an_endpoint_is_one_part_of_a_multi(scripted):
    server = scripted(lambda _: {"score": 0.5})
    spec = multi("a * b", a=string_check(), b=endpoint(server.url))
    with graders.compile(spec) as grader:
        assert grader.grade("42", ITEM).reward == 0.5
