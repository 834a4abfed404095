"""Rows of real runs of others, where their files are at hand."""

import json
from itertools import pairwise

import pytest

from agentloop import graders
from agentloop.base.errors import EmptyHarvest
from agentloop.base.records import Refusal, Source
from agentloop.capture.importers import Imported
from agentloop.feedback import opinion
from agentloop.graders.templates import Template
from agentloop.loop import AgentLoop
from tests.capture import taubench
from tests.graders.servers import judged
from tests.makers import real


@pytest.fixture
def loop(tmp_path):
    with AgentLoop(f"sqlite:///{tmp_path}/loop.db") as opened:
        yield opened


def imported(loop, path, **options):
    items = list(loop.import_file(path, **options))
    assert {type(item) for item in items} == {Imported}, items
    return items


# ---------------------------------------------------------------------- 24 rows there and back


def turns(row):
    """The model calls of a conversation: what the model saw, and what it said."""
    said = row["messages"]
    return [(said[:n], one) for n, one in enumerate(said) if one["role"] == "assistant"]


def as_chat(row, id):
    yield {"id": id, "outcome": {"good": True}, **row}


def as_openai_trace(row, id):
    """As an item of an evaluation's run: the SDK's spans alone do not say what tools there were."""
    made = [{"object": "trace", "id": id, "workflow_name": "w"}]
    for n, (seen, said) in enumerate(turns(row)):
        began = f"2026-11-23T12:00:{n:02}+00:00"
        ids = {"id": f"{id}-{n}", "trace_id": id, "started_at": began}
        data = {"type": "generation", "input": seen, "output": [said]}
        made.append({"object": "trace.span", **ids, "span_data": data})
    source = {"messages": row["messages"][:1], "tools": row["tools"], "trace": made}
    yield {"id": f"item-{id}", "datasource_item": source}


def parts(message):
    said = []
    if message.get("content") is not None and message["role"] != "tool":
        said.append({"type": "text", "content": message["content"]})
    said += [
        {"type": "tool_call", "id": call["id"], **call["function"]}
        for call in message.get("tool_calls", ())
    ]
    if message["role"] == "tool":
        answer = {"id": message["tool_call_id"], "response": message["content"]}
        said.append({"type": "tool_call_response", **answer})
    return {"role": message["role"], "parts": said}


def spans(row, id, attributes_of):
    made = []
    for n, (seen, said) in enumerate(turns(row)):
        attributes = attributes_of(row, seen, said)
        given = [{"key": key, "value": {"stringValue": v}} for key, v in attributes.items()]
        began = {"startTimeUnixNano": str(10**18 + n), "endTimeUnixNano": str(10**18 + n)}
        ids = {"traceId": id, "spanId": f"{n:016x}"}
        made.append({**ids, "name": "chat", **began, "attributes": given})
    yield {"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": made}]}]}


def as_genai(row, id):
    def attributes_of(row, seen, said):
        return {
            "gen_ai.operation.name": "chat",
            "gen_ai.input.messages": json.dumps([parts(one) for one in seen]),
            "gen_ai.output.messages": json.dumps([parts(said)]),
            "gen_ai.tool.definitions": json.dumps(row["tools"]),
        }

    return spans(row, id, attributes_of)


def as_openinference(row, id):
    def attributes_of(row, seen, said):
        attributes = {
            "openinference.span.kind": "LLM",
            "llm.invocation_parameters": '{"parallel_tool_calls": true}',
        }
        for which, some in (("input", seen), ("output", [said])):
            for n, message in enumerate(some):
                at = f"llm.{which}_messages.{n}.message"
                for key in ("role", "content", "tool_call_id"):
                    if key in message:
                        attributes[f"{at}.{key}"] = message[key]
                for m, call in enumerate(message.get("tool_calls", ())):
                    attributes[f"{at}.tool_calls.{m}.tool_call.id"] = call["id"]
                    for key, value in call["function"].items():
                        attributes[f"{at}.tool_calls.{m}.tool_call.function.{key}"] = value
        for n, tool in enumerate(row["tools"]):
            attributes[f"llm.tools.{n}.tool.json_schema"] = json.dumps(tool)
        return attributes

    return spans(row, id, attributes_of)


def as_langfuse(row, id):
    for n, (seen, said) in enumerate(turns(row)):
        yield {
            "id": f"{id}-{n}",
            "traceId": id,
            "type": "GENERATION",
            "name": "llm",
            "startTime": f"2026-11-23T12:00:{n:02}.000Z",
            "input": {"messages": seen, "tools": row["tools"]},
            "output": said,
            "modelParameters": {"parallel_tool_calls": True},
        }


def as_atif(row, id):
    steps = []
    for message in row["messages"]:
        if message["role"] == "tool":
            result = {"source_call_id": message["tool_call_id"], "content": message["content"]}
            steps[-1].setdefault("observation", {"results": []})["results"].append(result)
            continue
        source = {"assistant": "agent"}.get(message["role"], message["role"])
        step = {"source": source, "message": message.get("content") or ""}
        if message.get("tool_calls"):
            step["tool_calls"] = [
                {
                    "tool_call_id": call["id"],
                    "function_name": call["function"]["name"],
                    "arguments": call["function"]["arguments"],
                }
                for call in message["tool_calls"]
            ]
        steps.append(step)
    agent = {"name": "agent", "tool_definitions": row["tools"]}
    yield {"schema_version": "ATIF-v1.6", "session_id": id, "agent": agent, "steps": steps}


DIALECTS = {
    "chat": as_chat,
    "openai-trace": as_openai_trace,
    "genai": as_genai,
    "openinference": as_openinference,
    "langfuse": as_langfuse,
    "atif": as_atif,
}


def stated(body):
    """A row but for what most dialects cannot tell apart: content that is absent and that is null
    (beside tool calls: empty as well), and parallel calls that are allowed and that are not
    mentioned."""
    messages = [
        {k: v for k, v in m.items() if k != "content" or v or not m.get("tool_calls")}
        for m in body["messages"]
    ]
    return {**body, "messages": messages, "parallel_tool_calls": True}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_24_rows_come_back_through_every_dialect(loop, tmp_path, dialect):
    lines = real("tau2-bench", "sierra-sft", "test_sft-v1-small.jsonl").read_text().splitlines()
    given = {}
    for n, line in enumerate(lines, 1):
        row = json.loads(line)
        path = tmp_path / f"{n}.jsonl"
        told = DIALECTS[dialect](row, f"{n:032x}")
        path.write_text("".join(f"{json.dumps(one)}\n" for one in told))
        (item,) = imported(loop, path, agent="tau")
        given[item.trace.id] = row
    for id in given:
        loop.outcome(id, "good", True)
    agents = loop.store.names().agents
    made = loop.harvest("sft", agent=agents, redact=False)
    came = {row.traces[0]: row.body for row in (*made.rows, *made.valid)}
    assert len(came) == 24, made.reasons()
    for id, row in given.items():
        assert stated(came[id]) == stated(row)
        if dialect == "chat":  # nothing is lost in it
            assert came[id] == row


# ---------------------------------------------------------------------- 40 airline conversations


@pytest.fixture
def airline(loop, tmp_path):
    """The runs of ten tasks, four times each, imported."""
    results = real("tau-bench", "gpt-4o-airline.tasks0-9.json")
    path = tmp_path / "airline.jsonl"
    taubench.convert(results, real("tau-bench", "tools_airline.json"), path)
    imported(loop, path)
    return json.loads(results.read_text())


def weights(row):
    return [m.get("weight", 1) for m in row.body["messages"] if m["role"] == "assistant"]


def rows_of(made):
    return {row.traces[0]: row for row in (*made.rows, *made.valid)}


def test_the_runs_that_got_their_reward_are_learned_whole(loop, airline):
    made = loop.harvest("sft", agent="airline", redact=False)
    good = {f"tau-{r['task_id']}-{r['trial']}" for r in airline if r["reward"] == 1.0}
    assert rows_of(made).keys() == good
    assert made.reasons() == {Refusal.NOT_GOOD: 40 - len(good)}
    assert {weight for row in made.rows for weight in weights(row)} == {1}
    assert {row.producers for row in made.rows} == {("gpt-4o",)}


def test_of_them_the_last_turn_or_the_final_answer_can_be_learned_alone(loop, airline):
    last = rows_of(loop.harvest("sft", agent="airline", redact=False, turns="last"))
    final = rows_of(loop.harvest("sft", agent="airline", redact=False, turns="final"))
    assert all(sum(weights(row)) == weights(row)[-1] == 1 for row in last.values())
    answered = {id for id, row in last.items() if "tool_calls" not in row.body["messages"][-1]}
    assert final.keys() == answered
    assert all(final[id].line == last[id].line for id in final)


def test_calls_whose_tool_said_error_are_masked_on_request(loop, airline):
    plain = rows_of(loop.harvest("sft", agent="airline", redact=False, good=0.0, bad=0.0))
    made = loop.harvest("sft", agent="airline", redact=False, good=0.0, bad=0.0, mask_errors=True)
    masked = 0
    for id, row in rows_of(made).items():
        said, before = row.body["messages"], plain[id].body["messages"]
        assert [{k: v for k, v in m.items() if k != "weight"} for m in said] == before[: len(said)]
        for one, answer in pairwise(said):
            failed = answer["role"] == "tool" and answer["content"].startswith("Error:")
            assert (one.get("weight") == 0) is failed
            masked += failed
    assert masked > 20


def test_a_closed_model_wrote_them_all(loop, airline):
    with pytest.raises(EmptyHarvest, match="producer_terms"):
        loop.harvest("sft", agent="airline", redact=False, learner="qwen3-8b", good=0.0, bad=0.0)


def test_single_verdicts_on_them_are_rows_for_kto(loop, airline):
    """What was said of the run is said of its last answer; no two answered one context."""
    made = loop.harvest("kto", agent="airline", redact=False)
    labels = {row.traces[0]: row.body["label"] for row in (*made.rows, *made.valid)}
    wanted = {f"tau-{r['task_id']}-{r['trial']}": r["reward"] == 1.0 for r in airline}
    assert labels == wanted


# ---------------------------------------------------------------------- 50 graded rollouts

ZAVA = ("foundry-fine-tuning", "Demos", "ZavaRetailAgent")


@pytest.fixture
def rollouts(loop):
    path = real(*ZAVA, "analysis_charts", "rft_eval", "data", "Step_0.json")
    items = imported(loop, path, agent="retail")
    return list(zip(json.loads(path.read_text())["items"], items, strict=True))


def test_50_rollouts_are_ten_items_with_the_rewards_that_were_recorded(loop, rollouts):
    made = loop.harvest("rft", agent="retail", redact=False, band=(0.0, 1.0))
    rows = [*made.rows, *made.valid]
    assert len(rows) == 10
    assert made.valid, "there is always something to validate with"
    recorded = {item.trace.id: body["results"][0]["score"] for body, item in rollouts}
    for row in rows:
        assert row.note["rollouts"] == 5
        assert row.note["scores"] == [recorded[id] for id in row.traces]
        assert row.note["pass_rate"] == sum(score >= 0.8 for score in row.note["scores"]) / 5
    assert sorted(id for row in rows for id in row.traces) == sorted(recorded)


def test_an_item_is_what_was_asked_and_what_its_grader_asks_for(loop, rollouts):
    grader = json.loads(real(*ZAVA, "data", "rft_grader-config.json").read_text())
    template = Template("\n".join(message["content"] for message in grader["input"]))
    asked = {item.trace.id: body["datasource_item"] for body, item in rollouts}
    made = loop.harvest("rft", agent="retail", redact=False, band=(0.0, 1.0))
    for row in (*made.rows, *made.valid):
        item = asked[row.traces[0]]
        body = dict(row.body)
        said = [{"role": m["role"], "content": m["content"]} for m in item["messages"]]
        assert (body.pop("messages"), body.pop("tools")) == (said, item["tools"])
        assert body.pop("reference_answer") == body
        assert all(item[name] == value for name, value in body.items())
        assert {n for n in item if n.startswith("reference_")} <= row.body.keys()
        text = template.render({"item": row.body, "sample": {"output_text": "Done."}})
        assert "Done." in text
        assert "{{" not in text


def test_what_is_too_easy_or_too_hard_is_counted(loop, rollouts):
    made = loop.harvest("rft", agent="retail", redact=False)
    rates = [row.note["pass_rate"] for row in (*made.rows, *made.valid)]
    assert all(0.2 <= rate <= 0.8 for rate in rates)
    refused = made.reasons()
    assert len(rates) + refused[Refusal.TOO_HARD] + refused[Refusal.TOO_EASY] == 10


def graded(loop, made, grader):
    """What a grader gives each rollout, by its trace, for the row that it belongs to."""
    pairs = [(id, row.body) for row in (*made.rows, *made.valid) for id in row.traces]
    said = {call.id: call.output for id, _ in pairs for call in loop.store.judged(id).trace.calls}
    answers = [said[loop.judgement(id).answer_call] for id, _ in pairs]
    samples = [graders.sample_of(answer.to_dict()) for answer in answers]
    grades = grader.grade_many(zip(samples, [body for _, body in pairs], strict=True))
    assert not [grade.errors for grade in grades if grade.failed]
    return {id: grade.reward for (id, _), grade in zip(pairs, grades, strict=True)}


def test_with_a_judge_that_says_what_was_recorded_the_rewards_are_the_recorded_ones(
    loop, rollouts, scripted
):
    spec = json.loads(real(*ZAVA, "data", "rft_grader-config.json").read_text())
    recorded = {}
    for body, _ in rollouts:
        asked, answer = body["datasource_item"], body["sample"]["output"][-1]["content"]
        key = (answer, *(json.dumps(asked[f"reference_policy_{n}"]) for n in ("args", "outcome")))
        recorded[key] = body["results"][0]["score"]

    def says(body):
        (score,) = {
            score
            for (answer, *references), score in recorded.items()
            if f"evaluate):\n{answer}\n\nYour task" in body["messages"][1]["content"]
            and all(reference in body["messages"][1]["content"] for reference in references)
        }
        return judged(f"{score:.3f}")

    made = loop.harvest("rft", agent="retail", redact=False, band=(0.0, 1.0))
    with graders.compile(spec, judges=scripted(says).judges) as grader:
        rewards = graded(loop, made, grader)
        assert rewards == {item.trace.id: body["results"][0]["score"] for body, item in rollouts}
        passed = {id for id, reward in rewards.items() if reward >= grader.spec["pass_threshold"]}
    assert passed == {item.trace.id for body, item in rollouts if body["status"] == "pass"}


# ---------------------------------------------------------------------- 50 late verdicts


def told(simulation):
    """A run in the format `chat`: the agent's side of it."""
    messages = []
    for said in simulation["messages"]:
        message = {"role": said["role"], "content": said["content"]}
        if said.get("tool_calls"):
            message["tool_calls"] = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
                }
                for call in said["tool_calls"]
            ]
        if said["role"] == "tool":
            message["tool_call_id"] = said["id"]
            if said["error"]:
                message["is_error"] = True
        messages.append(message)
    return messages


@pytest.fixture
def verdicts(loop, tmp_path):
    """50 runs with their rewards, and afterwards what a judge thought of each; its verdicts."""
    folder = real("tau2-bench", "pr")
    tools = json.loads(real("tau2-bench", "tools_airline.json").read_text())
    runs = json.loads((folder / "azure-airline-full_pr103.json").read_text())["simulations"]
    path = tmp_path / "tau2.jsonl"
    lines = [
        {
            "id": run["id"],
            "agent": "airline",
            "tools": tools,
            "messages": told(run),
            "outcome": {"reward": run["reward_info"]["reward"]},
        }
        for run in runs
    ]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    imported(loop, path)
    passed = {}
    for line in (folder / "airline_llm_judge_verdicts_pr103.jsonl").read_text().splitlines():
        said = json.loads(line)
        if said["simulation_id"] in {run["id"] for run in runs}:
            verdict = json.loads(said["judge_response"].strip("`").removeprefix("json"))["verdict"]
            passed[said["simulation_id"]] = verdict == "pass"
            loop.store.put(
                opinion(
                    said["simulation_id"],
                    float(verdict == "pass"),
                    by=said["judge_model"],
                    source=Source.JUDGE,
                )
            )
    return passed


def test_the_verdict_of_a_judge_outranks_the_reward_and_decides_what_is_learned(loop, verdicts):
    made = loop.harvest("sft", agent="airline", redact=False)
    assert rows_of(made).keys() == {id for id, passed in verdicts.items() if passed}
    assert len(verdicts) == 50
    both = loop.harvest(
        "sft",
        agent="airline",
        redact=False,
        where="outcome.reward == 1 and author == 'azure/gpt-4o-2024-11-20'",
    )
    assert rows_of(both).keys() < rows_of(made).keys()
    assert both.reasons()[Refusal.FILTERED] > 0


def test_calls_that_a_benchmark_marks_as_failed_are_masked(loop, verdicts):
    made = loop.harvest("sft", agent="airline", redact=False, good=0.0, bad=0.0)
    masked = 0
    for row in (*made.rows, *made.valid):
        said = row.body["messages"]
        failed = {m["tool_call_id"] for m in said if m.get("is_error")}
        for one in said:
            asked = {call["id"] for call in one.get("tool_calls") or ()}
            assert (one.get("weight") == 0) is bool(asked & failed)
            masked += bool(asked & failed)
    assert masked == 11
