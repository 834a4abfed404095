"""A wrong grader is refused with one sentence: the field, and the way out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop import graders
from agentloop.base.errors import GraderError

from .makers import (
    endpoint,
    label_model,
    multi,
    python,
    score_model,
    string_check,
    text_similarity,
)

KNOWN = "known are endpoint, label_model, multi, python, score_model, string_check, text_similarity"


def without(spec, field):
    return {key: value for key, value in spec.items() if key != field}


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (None, "grader: a grader is a JSON object with a type, not nothing"),
        ([], "grader: a grader is a JSON object with a type, not list"),
        ({}, f"type: missing; {KNOWN}"),
        ({"type": "regex"}, f"type: 'regex' is no grader; {KNOWN}"),
        ({"type": 3}, f"type: 3 is no grader; {KNOWN}"),
        (
            {"type": "score_model"},
            "model: missing; a score_model grader needs type, model, input",
        ),
        ({"type": "endpoint"}, "url: missing; an endpoint grader needs type, url"),
        (
            endpoint(url="ftp://x"),
            "url: String should match pattern '^https?://', not 'ftp://x'",
        ),
        (
            score_model(range=[1, 0]),
            "range: the lower end comes first, and the upper one is above it",
        ),
        (
            score_model(input=[{"role": "bot", "content": "x"}]),
            "input.0.role: Input should be 'system', 'developer', 'user' or 'assistant', not 'bot'",
        ),
        (
            score_model(input=[{"role": "user", "content": "{{item.a"}]),
            (
                "input[0].content: '{{item.a' is no path; write {{ item.name }} or "
                "{{ sample.name }}, with .name and [0] to go deeper"
            ),
        ),
        (
            label_model(passing_labels=["fine"]),
            "'fine' in passing_labels is none of the labels",
        ),
        (
            without(string_check(), "reference"),
            "reference: missing; a string_check grader needs type, input, reference, operation",
        ),
        (
            string_check(operation="neq"),
            "operation: Input should be 'eq', 'ne', 'like' or 'ilike', not 'neq'",
        ),
        (string_check(input=3), "input: Input should be a valid string, not 3"),
        (string_check(name=None), "name: Input should be a valid string, not None"),
        (
            string_check(refrence="x"),
            (
                "refrence: no field of a string_check grader; its fields are "
                "type, name, pass_threshold, input, reference, operation"
            ),
        ),
        (
            string_check(input="{{smaple.output_text}}"),
            (
                "input: '{{smaple.output_text}}' starts at 'smaple'; "
                "the only namespaces are item and sample"
            ),
        ),
        (
            text_similarity(evaluation_metric="levenshtein"),
            (
                "evaluation_metric: 'levenshtein' is no metric; take one of fuzzy_match, bleu, "
                "gleu, meteor, rouge_1, rouge_2, rouge_3, rouge_4, rouge_5, rouge_l"
            ),
        ),
        (
            text_similarity(evaluation_metric="cosine"),
            (
                "evaluation_metric: 'cosine' is not offered yet: it needs an embedding model; "
                "use fuzzy_match, or rouge_l for longer texts"
            ),
        ),
        (without(python(), "source"), "source: missing; a python grader needs type, source"),
        (
            multi("a + b"),
            "calculate_output: there is no sub-grader 'b'; there are a",
        ),
        (
            {**multi(), "graders": None},
            'graders: give an object of sub-graders by name, {"a": {…}}, not nothing',
        ),
        (
            {**multi(), "graders": {}},
            "graders: empty; give at least one, by name",
        ),
        (
            {**multi(), "graders": [without(string_check(), "name")]},
            "graders[0].name: missing; in a list each grader needs one",
        ),
        (
            {**multi(), "graders": [3]},
            "graders[0]: a grader is a JSON object with a type, not int",
        ),
        (
            {**multi(), "graders": [string_check(name="a")] * 2},
            "graders.a: two sub-graders have this name; rename one",
        ),
        (
            {**multi(), "graders": {"my-grader": string_check()}},
            "graders: a formula cannot say 'my-grader'; name it with letters, 0-9 and _",
        ),
        (
            multi("max", max=string_check()),
            "graders.max: 'max' is a function of formulas; name it otherwise",
        ),
        (
            multi("a", a=multi()),
            "graders.a.type: a multi cannot stand in a multi; put its parts here",
        ),
        (
            multi("fn", fn=string_check(operation="is")),
            "graders.fn.operation: Input should be 'eq', 'ne', 'like' or 'ilike', not 'is'",
        ),
        (
            multi("fn", fn=string_check(input="{{item}}")),
            (
                "graders.fn.input: '{{item}}' is no path; write {{ item.name }} or "
                "{{ sample.name }}, with .name and [0] to go deeper"
            ),
        ),
        (
            multi("fn", fn={"type": "python", "source": "x = 1"}),
            "graders.fn.source: define `def grade(sample, item)` at the top level",
        ),
    ],
)
def test_the_sentence_names_the_field_and_the_way_out(spec, sentence):
    with pytest.raises(GraderError) as refusal:
        graders.compile(spec)
    assert str(refusal.value) == sentence


@pytest.mark.parametrize(
    "source",
    [
        "",
        "x = 1",
        "def grade(sample): return 1",
        "def grade(sample, item, more): return 1",
        "def grade(sample, item, *, more): return 1",
        "def grade(): return 1",
        "async def grade(sample, item): return 1",
        "grade = lambda sample, item: 1",
        "class A:\n    def grade(self, item): return 1",
        "if True:\n    def grade(sample, item): return 1",
        "def grade(sample, item): return 1\ndef grade(sample): return 1",
    ],
)
def test_a_source_without_grade_of_two_arguments_is_refused(source):
    with pytest.raises(GraderError, match=r"^source: define `def grade\(sample, item\)`"):
        graders.compile({"type": "python", "source": source})


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("def grade(sample, item)\n    return 1", "source: line 1: expected ':'; correct it"),
        (
            "def grade(sample, item): return 1\nreturn 2",
            "source: line 2: 'return' outside function",
        ),
        ("def grade(sample, item): await x", "source: line 1: 'await' outside async function"),
        ("x = '\x00'", "source: "),
        ("x = '\ud800'", "source: "),
        ("(" * 10_000, "source: "),
        ("-" * 100_000 + "1", "source: "),
    ],
)
def test_a_source_that_is_no_python_is_refused(source, sentence):
    with pytest.raises(GraderError) as refusal:
        graders.compile({"type": "python", "source": source})
    assert str(refusal.value).startswith(sentence)


@pytest.mark.parametrize(
    "signature",
    ["sample, item", "sample, item=None", "sample, /, item", "*args", "s, i, more=3, *, x=1, **k"],
)
def test_a_source_that_can_be_called_with_two_is_taken(signature):
    spec = {"type": "python", "source": f"def grade({signature}) -> float:\n    return 1"}
    with graders.compile(spec) as grader:
        assert grader.grade("x", {}).reward == 1


def test_a_source_may_have_256_kilobytes_and_not_one_more():
    body = "def grade(sample, item): return 1\n#"
    graders.compile({"type": "python", "source": body.ljust(256_000, "x")}).close()
    with pytest.raises(GraderError, match="source: 256001 bytes; at most 256000 are allowed"):
        graders.compile({"type": "python", "source": body.ljust(256_001, "x")})


def test_a_source_is_read_and_not_run(tmp_path):
    mark = tmp_path / "ran"
    source = f"open({str(mark)!r}, 'w')\ndef grade(sample, item): return 1"
    graders.compile({"type": "python", "source": source}).close()
    assert not mark.exists()


def test_a_warning_about_a_source_is_no_refusal():
    spec = {"type": "python", "source": "def grade(sample, item): return '\\d' is 1"}
    with graders.compile(spec) as grader:
        assert grader.spec["source"] == spec["source"]


def test_fields_that_evals_add_are_kept():
    spec = multi("a", a=string_check(pass_threshold=0.9))
    part = graders.compile(spec).spec["graders"]["a"]
    assert part["pass_threshold"] == 0.9
    with graders.compile(python(image_tag="2025-05-08")) as grader:
        assert grader.spec["image_tag"] == "2025-05-08"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "name", "graders", "input", "source", "calculate_output"])
                | st.text(max_size=4),
                inner | st.sampled_from(["multi", "python", "string_check", "text_similarity"]),
                max_size=4,
            )
        ),
        max_leaves=10,
    )
)
def test_whatever_it_is_given_it_compiles_or_refuses(spec):
    sentence = "compiled"
    try:
        graders.compile(spec).close()
    except GraderError as refusal:
        sentence = str(refusal)
    assert "\n" not in sentence
