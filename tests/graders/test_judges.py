"""Graders that ask a model: what it is asked, and what is made of what it says."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop import graders
from agentloop.graders import Address
from agentloop.graders.judge import RETRIES

from .makers import label_model, multi, score_model, string_check
from .servers import judged

ITEM = {"label": "42", "picture": "https://example.com/a.png"}


def result(value):
    return judged(json.dumps({"steps": [], "result": value}))


@pytest.fixture
def patient(monkeypatch):
    """The client of OpenAI does not pause before it tries again."""
    monkeypatch.setattr("openai._base_client.SyncAPIClient._sleep_for_retry", lambda *_, **__: None)


def test_a_judge_is_shown_the_rendered_messages_and_asked_for_steps_and_a_number(scripted):
    server = scripted(lambda _: result(0.7))
    params = {"temperature": 0, "seed": 3, "max_completions_tokens": 90}
    with graders.compile(score_model(sampling_params=params), judges=server.judges) as grader:
        assert grader.grade("It is 42.", ITEM).reward == 0.7
    (asked,) = server.asked
    assert asked["model"] == "judge-1"
    assert asked["messages"] == [
        {"role": "system", "content": "You grade answers."},
        {"role": "user", "content": "Wanted: 42\nAnswer: It is 42."},
    ]
    assert (asked["temperature"], asked["seed"], asked["max_completion_tokens"]) == (0, 3, 90)
    shape = asked["response_format"]["json_schema"]
    assert shape["strict"]
    assert list(shape["schema"]["properties"]) == ["steps", "result"]


def test_tokens_and_the_model_that_answered_stand_in_the_response(scripted):
    server = scripted(lambda _: result(1))
    with graders.compile(score_model(), judges=server.judges) as grader:
        said = grader.grade("x", ITEM).to_response(name="judge", type="score_model")
    assert said["metadata"]["sampled_model_name"] == "judge-1-2026"
    assert said["metadata"]["token_usage"] == 15
    used = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    assert said["model_grader_token_usage_per_model"] == {"judge-1-2026": used}


@pytest.mark.parametrize(
    ("said", "reward"),
    [(2, 2.0), (9.5, 5.0), (-3, 1.0), ("3.5", 3.5)],
)
def test_a_number_is_brought_into_the_range(scripted, said, reward):
    server = scripted(lambda _: result(said))
    with graders.compile(score_model(range=[1, 5]), judges=server.judges) as grader:
        assert grader.grade("x", ITEM).reward == reward


@pytest.mark.parametrize(
    "content", ["", "very good", '{"steps": []}', '{"result": true}', '{"result": NaN}', "[1]"]
)
def test_what_is_no_number_is_worth_0_and_says_so(scripted, content):
    server = scripted(lambda _: judged(content))
    with graders.compile(score_model(range=[0.5, 1]), judges=server.judges) as grader:
        grade = grader.grade("x", ITEM)
    assert (grade.reward, grade.failed) == (0.0, True)
    assert grade.errors["model_grader_parse_error"] is True


def test_a_refusal_is_told_from_an_answer_that_cannot_be_read(scripted):
    server = scripted(lambda _: judged(None, refusal="I will not."))
    with graders.compile(score_model(), judges=server.judges) as grader:
        grade = grader.grade("x", ITEM)
    assert grade.errors["model_grader_refusal_error"] is True
    assert grade.errors["model_grader_parse_error"] is False


def test_a_server_that_knows_no_schemas_is_asked_in_words_from_then_on(scripted):
    def answer(asked):
        if "response_format" in asked:
            return 400, {"error": {"message": "response_format is not known", "code": None}}
        return judged('It names the order, so:\n{"result": 0.5}')

    server = scripted(answer)
    with graders.compile(score_model(), judges=server.judges) as grader:
        assert [grader.grade("x", ITEM).reward for _ in range(2)] == [0.5, 0.5]
    assert ["response_format" in asked for asked in server.asked] == [True, False, False]
    instructions = server.asked[-1]["messages"][0]
    assert instructions["role"] == "system"
    assert instructions["content"] == (
        "You grade answers.\n\nAnswer with one JSON object and nothing else: "
        '{"result": a number from 0 to 1}'
    )


@given(st.floats(0, 1), st.text(alphabet=st.characters(exclude_characters="{}")))
def test_a_number_is_found_after_any_words_without_braces(number, before):
    from agentloop.graders.judge import Judge
    from agentloop.graders.schema import read

    judge = Judge(read(score_model()), lambda _: None, where="")
    assert judge._value(f'{before}{{"result": {number!r}}}') == number


def test_a_server_that_fails_is_tried_again_and_then_named(scripted, patient):
    server = scripted(lambda _: (503, {"error": {"message": "out of memory"}}))
    with graders.compile(score_model(), judges=server.judges) as grader:
        grade = grader.grade("x", ITEM)
    assert len(server.asked) == 1 + RETRIES
    assert grade.errors["model_grader_server_error"] is True
    assert "503" in grade.errors["model_grader_server_error_details"]
    assert "out of memory" in grade.errors["model_grader_server_error_details"]


def test_a_server_that_comes_back_is_asked_again(scripted, patient):
    answers = iter([(500, {}), (429, {}), result(1)])
    server = scripted(lambda _: next(answers))
    with graders.compile(score_model(), judges=server.judges) as grader:
        assert grader.grade("x", ITEM).reward == 1.0


def test_a_key_is_nowhere_to_be_read(scripted, caplog):
    caplog.set_level(logging.INFO)
    key = "sk-of-the-judge"
    server = scripted(lambda _: (401, {"error": {"message": f"Incorrect API key: {key}"}}))
    with graders.compile(score_model(), judges=server.judges) as grader:
        grade = grader.grade("x", ITEM)
    assert server.headers[0]["authorization"] == f"Bearer {key}"
    assert grade.errors["model_grader_server_error_details"] == "AuthenticationError 401"
    for shown in (repr(server.judges("m")), str(grade), json.dumps(grader.spec), caplog.text):
        assert key not in shown


def test_nobody_to_ask_is_said_before_and_does_not_raise_after():
    with graders.compile(multi("j", j=score_model()), judges=lambda _: None) as grader:
        assert grader.unready.startswith("model 'judge-1': nobody to ask: set AGENTLOOP_JUDGE_BASE")
        grade = grader.grade("x", ITEM)
    assert grade.reward == 0.0
    assert "nobody to ask" in grade.errors["model_grader_server_error_details"]


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, None),
        ({"OPENAI_API_KEY": "k"}, ("https://api.openai.com/v1", "k")),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://a/v1"}, ("http://a/v1", "k")),
        ({"AGENTLOOP_JUDGE_BASE_URL": "http://b/v1"}, ("http://b/v1", "none")),
        (
            {
                "AGENTLOOP_JUDGE_BASE_URL": "http://b/v1",
                "AGENTLOOP_JUDGE_API_KEY": "j",
                "OPENAI_API_KEY": "k",
            },
            ("http://b/v1", "j"),
        ),
    ],
)
def test_the_environment_says_where_judges_are_asked(monkeypatch, environment, address):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AGENTLOOP_JUDGE_BASE_URL", "AGENTLOOP_JUDGE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Address.of_environment("any") == (address and Address(*address))


def test_a_key_of_openai_is_not_sent_to_a_judge_of_ones_own(monkeypatch):
    monkeypatch.delenv("AGENTLOOP_JUDGE_API_KEY", raising=False)
    monkeypatch.setenv("AGENTLOOP_JUDGE_BASE_URL", "http://b/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert Address.of_environment("any").key == "none"


def test_parts_of_a_message_are_sent_in_the_words_of_the_chat_api(scripted):
    server = scripted(lambda _: result(1))
    text = {"type": "input_text", "text": "Is {{sample.output_text}} on it?"}
    image = {"type": "input_image", "image_url": "{{item.picture}}", "detail": "low"}
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    several = score_model(
        input=[
            {"role": "developer", "content": {"type": "input_text", "text": "Look."}},
            {"role": "user", "content": [text, image, sound]},
        ]
    )
    with graders.compile(several, judges=server.judges) as grader:
        assert not grader.grade("it", ITEM).failed
    first, second = server.asked[0]["messages"]
    assert first == {"role": "system", "content": "Look."}
    assert second["content"] == [
        {"type": "text", "text": "Is it on it?"},
        {"type": "image_url", "image_url": {"url": ITEM["picture"], "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]


@pytest.mark.parametrize(
    ("content", "reward", "failed"),
    [
        ('{"steps": [], "label": "good"}', 1.0, False),
        ('{"steps": [], "label": "bad"}', 0.0, False),
        (" good\n", 1.0, False),
        ('{"label": "great"}', 0.0, True),
        ("I do not know", 0.0, True),
    ],
)
def test_a_label_that_passes_is_worth_1(scripted, content, reward, failed):
    server = scripted(lambda _: judged(content))
    with graders.compile(label_model(), judges=server.judges) as grader:
        grade = grader.grade("x", ITEM)
    assert (grade.reward, grade.failed) == (reward, failed)
    shape = server.asked[0]["response_format"]["json_schema"]["schema"]
    assert shape["properties"]["label"]["enum"] == ["good", "bad"]


def test_judges_in_a_multi_add_up_their_tokens_and_their_flags(scripted):
    def answer(asked):
        good = "good" in json.dumps(asked["response_format"])
        return judged("nothing") if good else result(0.5)

    server = scripted(answer)
    spec = multi("a + b + c", a=score_model(), b=label_model(), c=string_check())
    with graders.compile(spec, judges=server.judges) as grader:
        grade = grader.grade("42", ITEM)
    assert (grade.reward, grade.sub_rewards) == (1.5, {"a": 0.5, "b": 0.0, "c": 1.0})
    assert grade.errors["model_grader_parse_error"] is True
    assert grade.usage["judge-1-2026"]["total_tokens"] == 30


def test_many_samples_are_judged_at_once_and_stay_in_order(scripted):
    from threading import Barrier

    together = Barrier(4, timeout=20)

    def answer(asked):
        together.wait()  # it goes on only when four are here at the same time
        return result(int(asked["messages"][1]["content"][-1]) / 10)

    server = scripted(answer)
    with graders.compile(score_model(), judges=server.judges) as grader:
        grades = grader.grade_many((str(n), ITEM) for n in range(8))
    assert [grade.reward for grade in grades] == [n / 10 for n in range(8)]


def test_a_template_that_finds_nothing_asks_nobody(scripted):
    server = scripted(lambda _: result(1))
    with graders.compile(score_model(), judges=server.judges) as grader:
        grade = grader.grade("x", {})
    assert grade.errors["invalid_variable_error"] is True
    assert server.asked == []
