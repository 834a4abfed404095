"""The loop, walked from end to end, with the service on the other side answering from a script."""

import asyncio
import json

import agents
import pytest
from agents import Agent, RunConfig, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call

from agentloop import AgentLoop, Settings
from agentloop.base.errors import (
    ConfigError,
    EmptyHarvest,
    GateClosed,
    NotFound,
    ProviderBusy,
    ProviderRefused,
)
from tests.jobs.replies import FILE, a_job, page

pytestmark = [
    pytest.mark.httpx2(assert_all_called=False),
    # `run_sync` of the SDK shuts generators down before httpx2 has dropped its own.
    pytest.mark.filterwarnings("ignore:asynchronous generator:ResourceWarning"),
]

LOCAL = "http://127.0.0.1:8421/v1"


@function_tool
def find(order: str) -> str:
    """Look up an order."""
    return f"{order}: shipped"


def support(**fields):
    return Agent(name="support", instructions="You help.", tools=[find], model="own", **fields)


@pytest.fixture(autouse=True)
def _a_loop_of_its_own():
    """`run_sync` leaves the thread's event loop open for the next one; a test leaves none."""
    agents.set_trace_processors([])
    events = asyncio.new_event_loop()
    asyncio.set_event_loop(events)
    yield
    events.close()
    asyncio.set_event_loop(None)


@pytest.fixture
def loop(tmp_path):
    settings = Settings(local_url=LOCAL, spill_dir=tmp_path)
    with AgentLoop(f"sqlite:///{tmp_path}/loop.db", settings=settings) as opened:
        yield opened


def ask(loop, text, *answers, agent=None, **options):
    """A run in which the model answers as scripted: texts, or tool calls as (name, arguments)."""
    steps = [
        [assistant_message(a) if isinstance(a, str) else function_call(*a, call_id=f"c{n}")]
        for n, a in enumerate(answers)
    ]
    config = RunConfig(model=ScriptedModel(steps))
    return loop.run_sync(agent or support(), text, run_config=config, **options)


def talk(loop, n, good=True):
    """`n` runs, each with an outcome."""
    for k in range(n):
        result = ask(loop, f"where is {k}?", ("find", {"order": str(k)}), "Shipped.", user=f"u{k}")
        loop.outcome(result.trace_id, "resolved", good)


def test_a_run_is_a_trace_with_everything_that_the_model_saw(loop):
    result = ask(loop, "where is 7?", ("find", {"order": "7"}), "Shipped.", user="u", session="s")
    loop.flush()
    trace = loop.store.trace(result.trace_id)
    assert result.final_output == "Shipped."
    assert (trace.agent, trace.user, trace.session, trace.error) == ("support", "u", "s", None)
    assert [m.role for m in trace.conversation] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert trace.calls[0].tools[0]["function"]["name"] == "find"
    assert trace.calls[-1].id == result.call_id


def test_feedback_may_come_before_its_trace_is_stored(loop):
    result = ask(loop, "hi", "hello")
    loop.rate(result.trace_id, "up", by="u")
    loop.correct(result.trace_id, "Hello!", by="ann")
    assert loop.judgement(result.trace_id).score == 1.0


def test_feedback_may_come_next_month_from_another_process(loop, tmp_path):
    result = ask(loop, "hi", "hello")
    loop.flush()
    with AgentLoop(f"sqlite:///{tmp_path}/loop.db", settings=loop.settings) as later:
        later.outcome(result.trace_id, "renewed", True)
    assert loop.judgement(result.trace_id).score == 1.0


def test_feedback_on_an_unknown_trace_is_an_error(loop):
    with pytest.raises(NotFound, match="'nope'"):
        loop.rate("nope", "up", by="u")


def test_an_agent_that_never_ran_is_an_error_that_lists_those_that_did(loop):
    talk(loop, 1)
    with pytest.raises(NotFound, match=r"no agent 'suport' .*known: support"):
        loop.harvest("sft", agent="suport")


def test_harvesting_twice_gives_one_dataset(loop):
    talk(loop, 12)
    assert loop.harvest("sft", agent="support").id == loop.harvest("sft", agent="support").id
    assert len(list(loop.ledger.manifests())) == 1


def test_regenerations_with_opposite_thumbs_become_a_pair(loop):
    for answer, thumb in (("Shipped.", "up"), ("It has been shipped, dear.", "down")):
        result = ask(loop, "where is 7?", ("find", {"order": "7"}), answer)
        loop.rate(result.trace_id, thumb, by="u", call=result.call_id)
    (row,) = loop.harvest("dpo", agent="support", valid_share=0.0).rows
    assert row.body["preferred_output"] == [{"role": "assistant", "content": "Shipped."}]


def test_rows_of_pairs_are_redacted_unless_told_otherwise(loop):
    for answer, thumb in (("I wrote to ann@work.org.", "up"), ("No.", "down")):
        result = ask(loop, "write to ann@work.org", answer)
        loop.rate(result.trace_id, thumb, by="u", call=result.call_id)
    options = {"agent": "support", "valid_share": 0.0}
    (row,) = loop.harvest("dpo", **options).rows
    assert row.body["preferred_output"][0]["content"] == "I wrote to person1@example.com."
    (row,) = loop.harvest("dpo", redact=False, **options).rows
    assert row.body["preferred_output"][0]["content"] == "I wrote to ann@work.org."
    with pytest.raises(ConfigError, match="'names'"):
        loop.harvest("dpo", redact="names", **options)


def test_a_preference_needs_good_above_bad(loop):
    talk(loop, 1)
    with pytest.raises(ConfigError, match=r"bad \(0.2\) must lie below good \(0.1\)"):
        loop.harvest("dpo", agent="support", good=0.1)


def test_what_waits_for_a_store_waits_in_one_place_however_the_store_is_named(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with (
        AgentLoop("sqlite:///loop.db") as named,
        AgentLoop(f"sqlite:///{tmp_path}/loop.db") as full,
    ):
        assert named._spill == full._spill
        assert named._spill.parent == tmp_path / "traces"


def test_held_out_runs_are_never_harvested(loop):
    result = ask(loop, "hi", "hello", held_out=True)
    loop.outcome(result.trace_id, "resolved", True)
    with pytest.raises(EmptyHarvest, match="no sft candidates"):
        loop.harvest("sft", agent="support")


def test_advice_rests_on_all_that_was_captured_and_said(loop):
    @function_tool
    def cancel(order: int) -> str:
        """Cancel an order."""
        raise ConnectionError(f"{order} cannot be cancelled now")

    agent = support().clone(tools=[find, cancel])
    talk(loop, 3)
    for answer, value in (("Shipped.", True), ("Lost.", False)):
        again = ask(loop, "where is 9?", answer, user="u9")
        loop.outcome(again.trace_id, "resolved", value, reference="Shipped.")
        loop.rate(again.trace_id, float(value), by="u9", call=again.call_id)
    for order in ("7", "seven"):
        failed = ask(loop, "cancel", ("cancel", {"order": order}), "No.", agent=agent)
        loop.correct(failed.trace_id, "I will try later.", by="ann")
    put_right = ask(loop, "cancel 8", ("cancel", {"order": 8}), "No.", agent=agent)
    loop.rate(put_right.trace_id, "down", by="u8", comment="be kind")
    held_out = ask(loop, "hi", "hello", held_out=True, task_id="hi")
    loop.outcome(held_out.trace_id, "resolved", True)

    advice = loop.advise("support")
    seen = advice.evidence
    tools = {tool.name: tool for tool in seen.tools}
    assert advice.says == "few-shot"
    assert (seen.runs, seen.judged, seen.good, seen.bad, seen.failed) == (8, 6, 4, 2, 0)
    assert (tools["find"].calls, tools["find"].wrong, tools["find"].failed) == (3, 0, 0)
    assert (tools["cancel"].calls, tools["cancel"].misfit, tools["cancel"].failed) == (3, 2, 1)
    assert (seen.causes.fault, seen.causes.missed, seen.causes.disliked) == (3, 1, 0)
    assert seen.pairs == {"correction": 2, "regeneration": 1}
    assert (seen.tasks.contexts, seen.tasks.inside) == (6, 1)
    assert (seen.corrections, seen.comments) == (2, 1)
    assert (seen.held_out.runs, seen.held_out.tasks) == (1, 1)


def tuned(loop, httpx2_mock, model="ft:own:local::1"):
    """A version, made by a job that the service says has succeeded."""
    httpx2_mock.post(f"{LOCAL}/files").respond(json=FILE)
    httpx2_mock.get(f"{LOCAL}/fine_tuning/jobs").respond(json=page())
    httpx2_mock.post(f"{LOCAL}/fine_tuning/jobs").respond(json=a_job())
    done = a_job(status="succeeded", fine_tuned_model=model)
    httpx2_mock.get(f"{LOCAL}/fine_tuning/jobs/ftjob-1").respond(json=done)
    httpx2_mock.get(f"{LOCAL}/fine_tuning/jobs/ftjob-1/events").respond(json=page())
    dataset = loop.harvest("sft", agent="support", valid_share=0.0)
    job = loop.tune(loop.plan(dataset, provider="local", base="own")).wait()
    return loop.register(job)


def served(httpx2_mock, text):
    """The service answers every chat completion with `text`."""
    message = {"role": "assistant", "content": text}
    return httpx2_mock.post(f"{LOCAL}/chat/completions").respond(
        json={
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "served",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }
    )


def test_a_job_becomes_a_version_that_leads_back_to_its_traces(loop, httpx2_mock):
    talk(loop, 12)
    version = tuned(loop, httpx2_mock)
    lineage = loop.lineage(version)
    assert (lineage.job.tuned_model, version.base_url) == ("ft:own:local::1", LOCAL)
    assert len(lineage.traces) == 12
    assert loop.ledger.learned_from(lineage.traces[0]) == (version.dataset,)
    assert loop.register(version.job).id == version.id, "registering twice gives one version"


def test_after_a_swap_the_same_agent_is_answered_by_the_version(loop, httpx2_mock):
    talk(loop, 12)
    version = tuned(loop, httpx2_mock)
    chat = served(httpx2_mock, "tuned")
    loop.swap("support", version)
    agent = support()
    result = loop.run_sync(agent, "hi")
    assert result.final_output == "tuned"
    assert json.loads(chat.calls.last.request.content)["model"] == "ft:own:local::1"
    assert agent.model == "own", "the agent itself is never changed"
    loop.flush()
    trace = loop.store.trace(result.trace_id)
    assert (trace.version, trace.calls[0].version) == (version.id, version.id)
    assert trace.usage.total_tokens == 5


def test_after_a_rollback_its_own_model_answers_again(loop, httpx2_mock):
    talk(loop, 12)
    version = tuned(loop, httpx2_mock)
    chat = served(httpx2_mock, "tuned")
    loop.swap("support", version)
    loop.rollback("support")
    assert ask(loop, "hi", "own").final_output == "own"
    assert chat.call_count == 0


def test_a_swap_in_one_process_is_followed_by_another(loop, tmp_path, httpx2_mock):
    talk(loop, 12)
    version = tuned(loop, httpx2_mock)
    served(httpx2_mock, "tuned")
    url = f"sqlite:///{tmp_path}/loop.db"
    with AgentLoop(url, settings=loop.settings) as other:
        ask(other, "hi", "own")
        loop.swap("support", version)
        other._live.forget()  # as a second later
        assert other.run_sync(support(), "hi").final_output == "tuned"


def measured(loop, n, good, **options):
    for k in range(n):
        result = ask(loop, "hi", "x", held_out=True, task_id=f"task-{k}", **options)
        loop.outcome(result.trace_id, "resolved", k < good)


def test_a_closed_gate_keeps_a_version_out(loop, httpx2_mock):
    talk(loop, 12)
    version = tuned(loop, httpx2_mock)
    measured(loop, 40, 20)
    served(httpx2_mock, "tuned")
    for k in range(40):
        result = loop.run_sync(support(), "hi", held_out=True, task_id=f"task-{k}", version=version)
        loop.outcome(result.trace_id, "resolved", k < 21)
    gate = loop.gate(version, agent="support", improves="resolved")
    assert not gate.open
    with pytest.raises(GateClosed, match="not clearly better"):
        loop.swap("support", version, gate=gate)
    assert loop.ledger.aliases() == {}


def test_a_trial_serves_each_user_one_arm_and_counts_them(loop, httpx2_mock):
    talk(loop, 12)
    version = tuned(loop, httpx2_mock)
    served(httpx2_mock, "tuned")
    trial = loop.trial("support", candidate=version, share=0.5, metric="resolved")
    arms = {}
    for n in range(40):
        for _ in range(2):
            result = _either(loop, user=f"u{n}")
            good = result.final_output == "tuned"
            loop.outcome(result.trace_id, "resolved", good)
            arms.setdefault(f"u{n}", set()).add(result.final_output)
    assert all(len(seen) == 1 for seen in arms.values())
    verdict = trial.verdict()
    assert verdict.candidate.n + verdict.control.n == 40
    assert (verdict.candidate.rate, verdict.control.rate, verdict.says) == (1.0, 0.0, "better")
    assert trial.stop().says == "better"
    assert loop.ledger.trials(running=True) == ()


def _either(loop, **options):
    """The version answers where the trial says so, else the agent's own model, scripted."""

    class Own(agents.ModelProvider):
        def get_model(self, name):
            return ScriptedModel([[assistant_message("own")]])

    config = RunConfig(model_provider=Own())
    return loop.run_sync(support(), "hi", run_config=config, **options)


def test_a_second_trial_of_an_agent_is_refused(loop, httpx2_mock):
    talk(loop, 12)
    version = tuned(loop, httpx2_mock)
    loop.trial("support", candidate=version, share=0.5)
    with pytest.raises(ConfigError, match="stop it first"):
        loop.trial("support", candidate=version, share=0.5)


def test_a_plan_that_would_be_refused_is_not_started(loop):
    talk(loop, 5)
    plan = loop.plan(loop.harvest("sft", agent="support"), provider="local", base="own")
    with pytest.raises(ProviderRefused, match="wants at least 10"):
        loop.tune(plan)
    assert loop.ledger.jobs() == ()


def failed_once(loop, httpx2_mock):
    """A dataset, its plan, the job that the ledger knows, and the call that the service failed."""
    talk(loop, 12)
    dataset = loop.harvest("sft", agent="support", valid_share=0.0)
    plan = loop.plan(dataset, provider="local", base="own")
    httpx2_mock.get(f"{LOCAL}/fine_tuning/jobs").respond(json=page())
    httpx2_mock.post(f"{LOCAL}/files").respond(json=FILE)
    create = httpx2_mock.post(f"{LOCAL}/fine_tuning/jobs").respond(503, json={"error": {}})
    with pytest.raises(ProviderBusy):
        loop.tune(plan)
    (record,) = loop.ledger.jobs()
    return dataset, plan, record, create


def test_a_crash_between_ledger_and_provider_starts_no_second_job(loop, httpx2_mock):
    dataset, _, record, create = failed_once(loop, httpx2_mock)
    # The service had made the job all the same; it is found by our id and not made again.
    made = a_job(metadata={"agentloop_job": record.id})
    httpx2_mock.get(f"{LOCAL}/fine_tuning/jobs").respond(json=page(made))
    handle = loop.job(record.id).submit(dataset)
    assert (handle.record.provider_job, create.call_count) == ("ftjob-1", 1)


def test_who_tunes_again_after_a_failure_has_one_job(loop, httpx2_mock):
    _, plan, record, create = failed_once(loop, httpx2_mock)
    made = a_job(metadata={"agentloop_job": record.id})
    httpx2_mock.get(f"{LOCAL}/fine_tuning/jobs").respond(json=page(made))
    assert loop.tune(plan).record.provider_job == "ftjob-1"
    assert (len(loop.ledger.jobs()), create.call_count) == (1, 1)
    # That one has arrived: the same plan once more is another job.
    httpx2_mock.get(f"{LOCAL}/fine_tuning/jobs").respond(json=page())
    httpx2_mock.post(f"{LOCAL}/fine_tuning/jobs").respond(json=a_job(id="ftjob-2"))
    assert loop.tune(plan).record.provider_job == "ftjob-2"


def test_durable_runs_are_on_disk_when_they_return(tmp_path):
    url = f"sqlite:///{tmp_path}/loop.db"
    with AgentLoop(url, durable=True) as loop, AgentLoop(url) as other:
        result = ask(loop, "hi", "hello")
        assert other.store.trace(result.trace_id).answer == "hello"


def test_streamed_runs_are_captured_too(loop):
    async def stream():
        config = RunConfig(model=ScriptedModel([[assistant_message("hello")]]))
        result = loop.run_streamed(support(), "hi", run_config=config, user="u")
        async for _ in result.stream_events():
            pass
        return result

    result = asyncio.run(stream())
    loop.flush()
    trace = loop.store.trace(result.trace_id)
    assert (trace.answer, trace.user, trace.calls[0].streamed) == ("hello", "u", True)
    assert trace.ended_at is not None
