"""The Agents SDK's own spans: they give what went over the wire, or say why not."""

import json
from collections import Counter

import pytest

from agentloop.base.records import SpanKind
from agentloop.capture.importers import Imported, Problem
from tests.makers import real

STEP_0 = (
    "foundry-fine-tuning/Demos/ZavaRetailAgent/analysis_charts/rft_eval/data/Step_0.json".split("/")
)


def span(id, kind="generation", trace="trace_1", at=0, **data):
    more = {k: data.pop(k) for k in ("parent_id", "error") if k in data}
    when = f"2026-01-01T00:00:{at:02d}+00:00"
    return {
        "object": "trace.span",
        "id": id,
        "trace_id": trace,
        "parent_id": None,
        "started_at": when,
        "ended_at": when,
        "span_data": {"type": kind, **data},
        "error": None,
        **more,
    }


HI = {"role": "user", "content": "hi"}
ASK = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{ "a":1 }'}}
ASKS = {"role": "assistant", "content": None, "tool_calls": [ASK]}
GIVES = {"role": "tool", "tool_call_id": "c1", "content": "1"}
SAYS = {"role": "assistant", "content": "ok"}


def said(call):
    return [message.to_dict() for message in call.path]


# ---------------------------------------------------------------------- the SDK's dumps


def scenarios(api):
    runs = json.loads(real("agents-sdk-spans", f"sdk_spans_{api}.json").read_text())
    return {run["scenario"]: run for run in runs}


def exported(run, *, live=False):
    """What a processor wrote of a run; `live` adds what the SDK's export leaves away."""
    for event in run["events"]:
        if "export" not in event:
            continue
        value = event["export"]
        if live and event["ev"] == "span_end" and value["span_data"]["type"] == "response":
            raw = event["raw_slots"]
            value["span_data"] |= {k: raw[k] for k in ("input", "response") if raw[k] is not None}
        yield value


WIRED = ["tools", "stream", "structured", "astool", "approval", "prevresp"]


@pytest.mark.parametrize("scenario", WIRED)
def test_a_chat_run_gives_what_went_over_the_wire(written, import_twice, scenario):
    run = scenarios("chat")[scenario]
    (item,) = import_twice(written(*exported(run)))
    requests = run["info"]["requests"]
    assert len(item.trace.calls) == len(requests)
    for call, request in zip(item.trace.calls, requests, strict=True):
        assert [m.to_dict() for m in call.context] == request["messages"]
        assert call.model == request["model"]
    assert item.trace.answer == str(run["info"]["final_output"]) or scenario == "structured"


@pytest.mark.parametrize("scenario", WIRED)
def test_a_responses_run_gives_the_same_as_the_chat_run(written, import_twice, scenario):
    """The two APIs were asked the same, so the same was heard and said."""
    chat, responses = scenarios("chat")[scenario], scenarios("responses")[scenario]
    (one,) = import_twice(written(*exported(chat), name="chat.jsonl"))
    (two,) = import_twice(written(*exported(responses, live=True), name="responses.jsonl"))
    assert [c.agent for c in two.trace.calls] == [c.agent for c in one.trace.calls]
    if scenario == "prevresp":  # the Chat run was sent the rest alone
        assert two.notes == ()
        assert [m.role for m in two.trace.conversation] == [
            *("system", "user", "assistant", "tool", "assistant")
        ]
        return
    assert [said(c) for c in two.trace.calls] == [said(c) for c in one.trace.calls]
    tools = [
        [{"type": "function", "function": {**t["function"]}} for t in request.get("tools", ())]
        for request in chat["info"]["requests"]
    ]
    assert [list(call.tools) for call in two.trace.calls] == tools


def test_what_the_export_leaves_away_is_named(written, import_twice):
    (item,) = import_twice(written(*exported(scenarios("responses")["tools"])))
    why = "what the model heard is not told; what the model said is not told"
    assert [call.incomplete for call in item.trace.calls] == [why] * 4
    assert [call.response_id for call in item.trace.calls] == [f"resp_{n}" for n in range(1, 5)]
    assert len(item.notes) == 4


def test_a_failed_call_is_kept_with_its_reason(written, import_twice):
    (item,) = import_twice(written(*exported(scenarios("chat")["httperr"])))
    first, last = item.trace.calls
    assert last.output is None
    assert last.error.startswith("Error getting response: ")
    assert item.trace.error == last.error
    assert first.error is None


def test_what_a_trace_says_of_itself_is_kept(written, import_twice):
    (item,) = import_twice(written(*exported(scenarios("chat")["tools"])))
    trace = item.trace
    assert (trace.workflow, trace.session, trace.agent) == ("lab", "conv-1", "triage")
    assert trace.metadata == {"variant": "B"}
    kinds = Counter(step.kind for step in trace.spans)
    assert kinds[SpanKind.TOOL] == 3
    assert kinds[SpanKind.HANDOFF] == kinds[SpanKind.GUARDRAIL] == 1
    assert trace.calls[0].settings == {
        "temperature": 0.2,
        "metadata": {"k": "v"},
        "store": True,
    }


def test_every_replayed_run_comes_in_whole(written, import_twice):
    path = real("cassettes", "agents_sdk_0.24.0_replayed_spans.sample.jsonl")
    values = []
    for line in path.read_text().splitlines():
        for value in (body := json.loads(line))["items"]:
            live = value.pop("_live_attrs_not_in_export", {})
            if value.get("span_data", {}).get("type") == "response":
                value["span_data"] |= {k: v for k, v in live.items() if v is not None}
        values.append(body)
    items = import_twice(written(*values))
    assert [type(item) for item in items] == [Imported] * len(values)
    assert all(
        call.incomplete is None for item in items for call in item.trace.calls if call.error is None
    )


# ---------------------------------------------------------------------- an evaluation's run


@pytest.fixture
def step_0(import_twice):
    path = real(*STEP_0)
    items = import_twice(path, agent="retail")
    return json.loads(path.read_text())["items"], items


def test_the_history_of_50_rollouts_is_rebuilt(step_0):
    bodies, items = step_0
    assert [type(item) for item in items] == [Imported] * 50
    whole = 0
    for body, item in zip(bodies, items, strict=True):
        source, trace = body["datasource_item"], item.trace
        spans = [s["span_data"] for s in source["trace"]["spans"]]
        asked = [s for s in spans if s["type"] == "GENERATION"]
        assert len(trace.calls) == len(asked)
        assert [m.text for m in trace.conversation[:2]] == [
            m["content"] for m in source["messages"]
        ]
        assert list(trace.calls[0].tools) == source["tools"]
        if item.notes:
            continue
        whole += 1
        outputs = [s["output"] for s in spans if s["type"] == "FUNCTION"]
        results = [m.content for m in trace.conversation if m.role == "tool"]
        assert results == outputs or any("parallel" in str(s.get("name")) for s in spans)
        for call, span_ in zip(trace.calls, asked, strict=True):
            (message,) = span_["output"]
            if message["recipient"] == "all":
                assert call.output.content == message["content"]
            elif "parallel" not in message["recipient"]:
                assert call.output.calls[0].function.arguments == message["content"]
            else:
                for one in call.output.calls:
                    assert one.function.arguments in message["content"]
    assert whole == 48


def test_the_graders_results_are_outcomes_with_what_would_have_been_right(step_0, kept):
    bodies, items = step_0
    for body, item in zip(bodies, items, strict=True):
        (outcome,) = kept.judged(item.trace.id).outcomes
        assert outcome.name == "policy_outcome_consistency_grader"
        assert outcome.value == body["results"][0]["score"]
        assert (
            outcome.reference["reference_tool_calls"]
            == (body["datasource_item"]["reference_tool_calls"])
        )


# ---------------------------------------------------------------------- odd files


def test_only_what_is_new_is_completed_from_what_was_before(written, import_twice):
    (item,) = import_twice(
        written(
            span("a", input=[HI], output=[ASKS], at=1),
            span("t", "function", name="f", input='{ "a":1 }', output="1", at=2),
            span("b", input=[], output=[SAYS], at=3),
        )
    )
    assert said(item.trace.calls[1]) == [HI, ASKS, GIVES, SAYS]
    assert item.trace.calls[1].incomplete is None


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([span("a", input=[], output=[SAYS])], "what the model heard is not told"),
        ([span("a", input=[HI], output=None)], "what the model said is not told"),
        ([span("a", input=[HI, GIVES], output=[SAYS])], "a tool result answers no call"),
        (
            [span("a", input=[HI], output=[ASKS]), span("b", input=[], output=[SAYS], at=1)],
            "what tool 'f' gave is not told",
        ),
        (
            [
                span("a", input=[HI], output=[SAYS]),
                span("t", "function", name="g", output="1", at=1),
                span("b", input=[], output=[SAYS], at=2),
            ],
            "a result of tool 'g' answers no call",
        ),
        (
            [span("a", "response", response={"previous_response_id": "r", "output": [SAYS]})],
            "it goes on with response 'r', which is not here",
        ),
        (
            [
                span(
                    "a", "response", input="hi", response={"output": [{"type": "web_search_call"}]}
                ),
            ],
            "what 'web_search_call' gave the model is not told",
        ),
    ],
)
def test_a_call_of_which_not_all_is_told_says_so(written, import_twice, steps, why):
    (item,) = import_twice(written(*steps))
    assert why in item.trace.calls[-1].incomplete
    assert any(why in note for note in item.notes)


def test_what_follows_a_call_that_is_not_whole_is_not_whole(written, import_twice):
    (item,) = import_twice(
        written(
            span("a", input=[], output=[ASKS]),
            span("t", "function", name="f", output="1", at=1),
            span("b", input=[], output=[SAYS], at=2),
        )
    )
    assert item.trace.calls[1].incomplete == "what was said before is not all told"


def test_spans_in_any_order_give_the_same_trace(written, import_twice):
    spans = [
        span("agent", "agent", name="support"),
        span("a", input=[HI], output=[ASKS], at=1, parent_id="agent"),
        span("t", "function", name="f", output="1", at=2, parent_id="agent"),
        span("b", input=[], output=[SAYS], at=3, parent_id="agent"),
    ]
    (one,) = import_twice(written(*spans))
    (two,) = import_twice(written(*reversed(spans)))
    assert two.trace == one.trace
    assert one.trace.agent == "support"


def test_spans_of_several_runs_may_be_mixed(written, import_twice):
    spans = [
        span(f"{trace}{n}", trace=trace, input=[HI], output=[SAYS], at=n)
        for n in range(3)
        for trace in ("x", "y")
    ]
    one, two = import_twice(written(*spans))
    assert len(one.trace.calls) == len(two.trace.calls) == 3


def test_a_span_that_came_twice_is_taken_once_and_told(written, import_twice):
    a = span("a", input=[HI], output=[SAYS])
    (item,) = import_twice(written(a, a, span("a", input=[HI], output=[ASKS])))
    assert len(item.trace.calls) == 1
    assert said(item.trace.calls[0]) == [HI, ASKS]
    assert item.notes == (
        "step 'a' stands there twice (line 2)",
        "step 'a' stands there twice, not the same; the later is kept (line 3)",
    )


def test_ids_of_calls_that_come_again_are_told(written, import_twice):
    heard = [HI, ASKS, GIVES, ASKS, GIVES]
    (item,) = import_twice(written(span("a", input=heard, output=[SAYS])))
    assert said(item.trace.calls[0]) == [*heard, SAYS]
    assert item.notes == ("2 calls of tools have the id 'c1'; each is a call of its own",)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("{", "no JSON"),
        (7, "no trace and no trace.span"),
        ({"a": [1]}, "no trace and no trace.span"),
        ({"object": "trace.span", "id": "x"}, "without id or trace_id"),
        ({"object": "trace"}, "without id or trace_id"),
        ({"object": "trace.span", "id": "x", "trace_id": "t"}, "has no span_data"),
        ({"object": "trace", "id": "t"}, "trace 't' has no spans"),
        ({"datasource_item": {}, "id": "i"}, "item 'i' of the run has no trace"),
        (
            span("z", trace="t", input=[{"role": "user", "content": [7, {"type": "x"}]}]),
            None,
        ),
        (span("z", "mcp_tools", trace="t"), "no step of a model"),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_imported(written, import_twice, bad, why):
    good = [span("a", input=[HI], output=[SAYS]), span("b", trace="u", input=[HI], output=[SAYS])]
    items = import_twice(written(good[0], bad, good[1]), format="openai-trace")
    problems = [item for item in items if isinstance(item, Problem)]
    assert len(items) == 3
    if why is None:
        assert items[1].trace.calls[0].incomplete
    else:
        (problem,) = problems
        assert problem.line == 2
        assert why in problem.why
