"""Each type grades as OpenAI says, and no data makes it raise."""

import math
import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop import graders
from agentloop.graders import Grade
from agentloop.graders.grade import NO_ERRORS

from .makers import multi, python, string_check, text_similarity


def raised(grade: Grade) -> set[str]:
    return {flag for flag, value in grade.errors.items() if value is True}


@pytest.mark.parametrize(
    ("operation", "text", "reference", "reward"),
    [
        ("eq", "Yes", "Yes", 1.0),
        ("eq", "yes", "Yes", 0.0),
        ("eq", "Yes ", "Yes", 0.0),
        ("ne", "yes", "Yes", 1.0),
        ("ne", "Yes", "Yes", 0.0),
        ("like", "Say Yes now", "Yes", 1.0),
        ("like", "say yes now", "Yes", 0.0),
        ("like", "Yes", "Say Yes now", 0.0),
        ("ilike", "SAY YES NOW", "Yes", 1.0),
        ("ilike", "no", "Yes", 0.0),
        ("ilike", "ÄRGER", "ärger", 1.0),
        ("like", "", "", 1.0),
    ],
)
def test_string_check_compares_or_looks_inside(operation, text, reference, reward):
    grader = graders.compile(string_check(operation=operation))
    grade = grader.grade(text, {"label": reference})
    assert (grade.reward, grade.failed) == (reward, False)


def test_a_path_that_the_data_does_not_have_gives_nothing_and_says_so():
    grade = graders.compile(string_check(reference="{{item.missing}}")).grade(
        "yes", {"label": "yes"}
    )
    assert grade.reward == 0.0
    assert raised(grade) == {"invalid_variable_error"}
    assert set(grade.errors) == set(NO_ERRORS)


def test_ne_is_no_reward_for_a_path_that_is_missing():
    grade = graders.compile(string_check(operation="ne", reference="{{item.no}}")).grade("x", {})
    assert grade.reward == 0.0


def test_asking_for_json_of_an_answer_that_is_none_says_that_it_could_not_be_parsed():
    grader = graders.compile(string_check(input="{{sample.output_json.n}}", reference="1"))
    assert grader.grade('{"n": 1}').reward == 1.0
    assert raised(grader.grade("n is 1")) == {"invalid_variable_error", "sample_parse_error"}
    assert raised(grader.grade('{"m": 1}')) == {"invalid_variable_error"}


@pytest.mark.parametrize("sample", [None, 3, ["text"]])
def test_a_sample_that_is_no_sample_is_said_to_be_none(sample):
    assert raised(graders.compile(string_check()).grade(sample, {"label": "x"})) == {
        "sample_parse_error"
    }


def test_data_that_cannot_be_written_as_json_is_another_error():
    circle: dict[str, Any] = {}
    circle["circle"] = circle
    grader = graders.compile(string_check(reference="{{item.label}}"))
    assert raised(grader.grade("x", {"label": circle})) == {"other_error"}
    assert raised(grader.grade("x", {"label": {1, 2}})) == {"other_error"}


def test_tool_calls_are_graded_by_name_and_arguments():
    call = {"function": {"name": "get_order", "arguments": '{"id": 77}'}}
    name = string_check(
        input="{{ sample.output_tools[0].function.name }}", reference="{{ item.call.name }}"
    )
    arguments = text_similarity(
        input="{{ sample.output_tools[0].function.arguments }}",
        reference="{{ item.call.arguments }}",
    )
    grader = graders.compile(multi("0.4*fn + 0.6*args", fn=name, args=arguments))
    item = {"call": {"name": "get_order", "arguments": {"id": 77}}}
    grade = grader.grade({"output_text": "", "output_tools": [call]}, item)
    assert grade.sub_rewards == {"fn": 1.0, "args": 1.0}
    assert grade.reward == pytest.approx(1.0)
    without = grader.grade({"output_text": "Hm.", "output_tools": []}, item)
    assert (without.reward, without.sub_rewards) == (0.0, {"fn": 0.0, "args": 0.0})
    assert raised(without) == {"invalid_variable_error"}


def test_a_multi_takes_its_parts_by_name_in_a_list_or_alone():
    parts = {"a": string_check(name="a"), "b": string_check(name="b", operation="ne")}
    by_name = graders.compile(multi("a - b", **parts))
    for shape in (list(parts.values()), parts):
        spec = {**multi("a - b"), "graders": shape}
        assert graders.compile(spec).spec == by_name.spec
    alone = graders.compile({**multi("exact"), "graders": string_check()})
    assert alone.grade("x", {"label": "x"}).sub_rewards == {"exact": 1.0}
    assert by_name.grade("x", {"label": "x"}).reward == 1.0


def test_a_part_that_fails_counts_nothing_and_its_flags_stand_on_the_whole():
    spec = multi(
        "0.5*good + bad + worse",
        good=string_check(),
        bad=python("raise KeyError('boom')"),
        worse=python("return item['gone']"),
    )
    with graders.compile(spec) as grader:
        grade = grader.grade("x", {"label": "x"})
    assert (grade.reward, grade.sub_rewards) == (0.5, {"good": 1.0, "bad": 0.0, "worse": 0.0})
    assert raised(grade) == {"python_grader_runtime_error"}
    details = grade.errors["python_grader_runtime_error_details"]
    assert details == "bad: KeyError: 'boom' (line 2)"


@pytest.mark.parametrize("formula", ["1 / a", "log(a)", "(-1) ^ 0.5 + a", "exp(9^9) + a"])
def test_a_formula_without_a_value_gives_nothing_and_says_so(formula):
    grade = graders.compile(multi(formula)).grade("x", {"label": "y"})
    assert (grade.reward, grade.sub_rewards) == (0.0, {"a": 0.0})
    assert raised(grade) == {"formula_parse_error"}


@pytest.mark.parametrize(
    ("body", "reward"),
    [
        ("return 0.25", 0.25),
        ("return -3", -3.0),
        ("return sample['output_text'] == item['label']", 1.0),
        ("from fractions import Fraction; return Fraction(1, 8)", 0.125),
    ],
)
def test_python_gives_any_number(body, reward):
    with graders.compile(python(body)) as grader:
        grade = grader.grade("x", {"label": "x"})
    assert (grade.reward, grade.failed) == (reward, False)


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ("return 1 / 0", "ZeroDivisionError: division by zero (line 2)"),
        ("x = 1\nreturn item['gone']", "KeyError: 'gone' (line 3)"),
        ("return 'good'", "TypeError: grade returned str, not a number"),
        ("return None", "TypeError: grade returned NoneType, not a number"),
        ("return float('nan')", "ValueError: grade returned nan, not a finite number"),
        ("return float('-inf')", "ValueError: grade returned -inf, not a finite number"),
        ("return 10 ** 400", "OverflowError: int too large to convert to float"),
        ("raise SystemExit(2)", "SystemExit: 2 (line 2)"),
    ],
)
def test_python_that_fails_gives_nothing_and_the_last_line_of_the_traceback(body, details):
    with graders.compile(python(body)) as grader:
        grade = grader.grade("x", {})
    assert grade.reward == 0.0
    assert raised(grade) == {"python_grader_runtime_error"}
    assert grade.errors["python_grader_runtime_error_details"] == details


def test_a_source_that_fails_to_load_fails_every_call_alike():
    spec = {**python(), "source": "import no_such_module\ndef grade(sample, item): return 1"}
    with graders.compile(spec) as grader:
        details = {
            str(g.errors["python_grader_runtime_error_details"])
            for g in grader.grade_many([("a", {}), ("b", {})])
        }
    assert details == {"ModuleNotFoundError: No module named 'no_such_module' (line 1)"}


def test_python_data_that_is_not_json_never_reaches_the_process():
    with graders.compile(python()) as grader:
        grade = grader.grade("x", {"when": {1}})
    assert raised(grade) == {"python_grader_server_error"}
    assert grade.errors["python_grader_server_error_type"] == (
        "not_json: sample or item: set is not JSON"
    )


def test_many_are_graded_in_their_order():
    grades = graders.compile(string_check()).grade_many(
        [("a", {"label": "a"}), ("b", {"label": "a"})]
    )
    assert [grade.reward for grade in grades] == [1.0, 0.0]


def test_several_threads_may_share_a_grader():
    spec = multi("n * 2", n=python("return item['n']"))
    wrong: list[float] = []
    with graders.compile(spec) as grader:

        def work(base: int) -> None:
            for n in range(base, base + 50):
                reward = grader.grade("", {"n": n}).reward
                if reward != 2 * n:
                    wrong.append(reward)

        threads = [threading.Thread(target=work, args=(100 * t,)) for t in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_grader_says_its_name_type_and_canonical_json():
    grader = graders.compile({"type": "python", "source": python()["source"]})
    assert (grader.name, grader.type) == ("python", "python")
    assert grader.spec == {"type": "python", "name": "python", "source": python()["source"]}


def test_importing_the_graders_loads_no_similarity_library():
    code = "import sys, agentloop.graders; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"nltk", "numpy", "rapidfuzz", "rouge_score", "sacrebleu", "simpleeval"}
    assert not heavy & set(done.stdout.split())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
spaces = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("label", "output_text", "output_tools", "output_json"), json_values)
)
GRADERS = [
    graders.compile(string_check()),
    graders.compile(
        string_check(operation="ilike", input="{{sample.output_tools[0].function.name}}")
    ),
    graders.compile(text_similarity(input="{{sample.output_json.a}} and {{sample.output_text}}")),
    graders.compile(multi("a / (a - b)", a=text_similarity(), b=string_check(operation="ne"))),
]


@given(sample=spaces | st.text(), item=spaces)
def test_whatever_the_data_the_grade_is_finite(sample, item):
    for grader in GRADERS:
        grade = grader.grade(sample, item)
        assert math.isfinite(grade.reward)
        assert set(grade.errors) == set(NO_ERRORS)
        if grader.type != "multi":
            assert 0.0 <= grade.reward <= 1.0
