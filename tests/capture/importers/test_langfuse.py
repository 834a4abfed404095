"""Langfuse's observations and Braintrust's spans: the messages that their own tests expect."""

import json

import pytest

from agentloop.base.records import Source
from agentloop.capture.importers import Imported, Problem
from tests.makers import DATA, real

LANGFUSE = sorted(p.name[: -len(".trace.json")] for p in (DATA / "langfuse").glob("*.trace.json"))
CASES = sorted(
    p.name[: -len(".spans.json")]
    for p in (DATA / "braintrust-lingua" / "import-cases").glob("*.spans.json")
)


# ---------------------------------------------------------------------- what they expect


def expected(side):
    """The messages that Langfuse's own reading gives for an input or an output."""
    for message in (side or {}).get("data", ()):
        told = message.get("json") or {}
        message = told.get("message", message) if "role" not in message else message
        calls = [(c["name"], c["arguments"]) for c in message.get("tool_calls", ())]
        role = {"model": "assistant"}.get(message.get("role"), message.get("role"))
        yield role, message.get("content") or "", calls


def ours(messages, *, gemini=False):
    for message in messages:
        calls = [(c.function.name, c.function.arguments) for c in message.calls]
        role = "user" if gemini and message.role == "tool" else message.role
        yield role, message.text, calls


@pytest.mark.parametrize("name", LANGFUSE or ["none"])
def test_every_generation_has_the_messages_that_langfuse_reads(import_twice, name):
    expectations = json.loads(real("langfuse", f"{name}.chatml.json").read_text())
    (item,) = import_twice(real("langfuse", f"{name}.trace.json"))
    gemini = name.startswith("google")
    compared = 0
    for call in item.trace.calls:
        stated = expectations[call.id.rpartition("/")[2]]
        heard = list(ours(call.context, gemini=gemini))
        if stated["input"]["success"]:
            theirs = list(expected(stated["input"]))
            if heard[0][0] == "system" and theirs[0][0] != "system":
                heard = heard[1:]  # a response repeats the instructions that it was given
            assert heard == theirs
            compared += 1
        if stated["output"]["success"] and stated["output"]["data"]:
            assert list(ours([call.output])) == list(expected(stated["output"]))
            compared += 1
    assert compared >= len(item.trace.calls)
    assert item.notes == ()


@pytest.mark.parametrize("name", CASES or ["none"])
def test_every_case_of_braintrust_has_the_messages_that_it_states(import_twice, name):
    """Apart from two things that Chat Completions has another form for: several results in one
    message of a tool are a message each, and tools on offer are no message."""
    folder = real("braintrust-lingua", "import-cases")
    stated = json.loads((folder / f"{name}.assertions.json").read_text())
    (item,) = import_twice(folder / f"{name}.spans.json")
    roles = [role for role in stated["expectedRolesInOrder"] if role != "additional_tools"]
    if not roles:
        assert isinstance(item, Problem)
        return
    said = [message.to_dict() for message in item.trace.conversation]
    came = [m["role"] for m in said]
    if name in ("ai-sdk-multi-round-tool-use", "anthropic_system"):
        came = [role for n, role in enumerate(came) if role != "tool" or came[n - 1] != "tool"]
    assert came == roles
    thoughts = [span.data.get("thoughts") for span in item.trace.spans]
    told = json.dumps([said, thoughts], ensure_ascii=False)
    told += told.replace('\\"', '"').replace("\\n", "\n")
    wanted = [
        *stated.get("mustContainText", ()),
        *stated.get("expectedReasoningEncryptedContent", ()),
    ]
    assert [text for text in wanted if text not in told] == []


# ---------------------------------------------------------------------- what else they say


def test_what_a_trace_says_of_itself_and_of_its_worth(import_twice, kept):
    (item,) = import_twice(real("langfuse", "pydantic-ai-tools-2025-06-06.trace.json"))
    trace = item.trace
    assert (trace.user, trace.session) == ("user_123", "session_abc")
    assert trace.tags == {"dev": True, "pydantic-ai": True}
    (opinion,) = kept.judged(trace.id).opinions
    assert opinion.source is Source.PERSON
    assert opinion.call_id == trace.calls[-1].id
    assert opinion.correction.text.startswith("Langfuse is a tool")
    (item,) = import_twice(real("langfuse", "openai-agents-2025-09-30.trace.json"))
    assert {(o.author, o.score, o.source) for o in item.opinions} == {
        ("toxicity", 0.8, Source.JUDGE),
        ("hallucination", 0.0, Source.JUDGE),
    }
    assert item.trace.calls[0].settings == {
        "parallel_tool_calls": True,
        "temperature": 1,
        "tool_choice": "auto",
        "top_p": 1,
    }
    assert item.trace.calls[1].usage.input_tokens == 85


def observation(id, at=0, **more):
    return {
        "id": id,
        "traceId": "t",
        "type": "GENERATION",
        "name": "llm",
        "startTime": f"2026-01-01T00:00:0{at}Z",
        "input": [{"role": "user", "content": "hi"}],
        "output": {"role": "assistant", "content": id},
        **more,
    }


def test_observations_may_stand_one_a_line_in_any_order(written, import_twice):
    (item,) = import_twice(written(observation("b", 2), observation("a", 1)), agent="x")
    assert [call.output.text for call in item.trace.calls] == ["a", "b"]
    listed = written([observation("a", 1), observation("b", 2)], name="list.json")
    (same,) = import_twice(listed, agent="x")
    assert same.trace == item.trace


def test_a_number_that_is_no_quality_is_an_outcome(written, import_twice):
    scores = [
        {"id": "s1", "name": "stars", "value": 4, "timestamp": "2026-01-01T00:00:00Z"},
        {"id": "s2", "name": "label", "value": None, "stringValue": "good"},
    ]
    (item,) = import_twice(
        written({"trace": {"id": "t", "scores": scores}, "observations": [observation("a")]})
    )
    assert {o.name: o.value for o in item.outcomes} == {"stars": 4.0, "label": "good"}
    assert item.opinions == ()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("{", "no JSON"),
        (7, "no trace, no observation"),
        ([7], "no trace, no observation"),
        ({"a": 1}, "no trace, no observation"),
        (observation("x", traceId="u", input=None, output=None), "no message in any"),
        ({"input": {"q": 1}, "output": {"text": "x"}}, "the output is no message"),
        ({"trace": {"id": "t2"}, "observations": []}, "no message in any"),
        (observation("x", traceId="u", input=[{"role": "robot", "content": 7}]), None),
        (observation("x", traceId="u", input=[{"role": "user", "content": [[7]]}]), None),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_imported(written, import_twice, value, why):
    items = import_twice(written(observation("a"), value), format="langfuse")
    assert sum(isinstance(item, Imported) for item in items) >= 1
    if why is not None:
        (problem,) = (item for item in items if isinstance(item, Problem))
        assert problem.line == 2
        assert why in problem.why
    else:
        assert all(isinstance(item, Imported) for item in items)
        assert items[1].notes
