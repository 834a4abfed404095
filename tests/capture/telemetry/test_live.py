"""Feedback as events, and exporters that are slow, broken or not there."""

import asyncio
import logging
from threading import Event

import pytest
from agents import Agent, RunConfig
from agents.testing import ScriptedModel, assistant_message
from opentelemetry import trace as api
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from agentloop import Telemetry
from agentloop.base.errors import ConfigError
from agentloop.capture.telemetry import LiveExport, names
from tests.makers import a_call, a_span, a_trace, an_opinion, asks, at, returns, says, system, user


def ran(loop, times=1):
    """The id of the last of so many runs."""

    async def run():
        for _ in range(times):
            model = ScriptedModel([[assistant_message("hi")]])
            result = await loop.run(Agent(name="a"), "hi", run_config=RunConfig(model=model))
        return result.trace_id

    return asyncio.run(run())


class Provider(TracerProvider):
    """A provider with one processor, which does at the end of each span what it is told to."""

    def __init__(self, at_end):
        super().__init__(shutdown_on_exit=False)
        processor = SpanProcessor()
        vars(processor)["on_end"] = at_end
        self.add_span_processor(processor)


# ---------------------------------------------------------------------- what it was worth


def test_feedback_and_outcomes_are_events_of_what_they_are_about(application, opened):
    otel = Telemetry(application.tracer_provider, application.logger_provider, content=True)
    with opened(otel) as loop:
        id = ran(loop)
        loop.rate(id, "up", by="ann", comment="good")
        loop.rate(id, 0.5, by="ann", call=f"{id}/0")
        loop.outcome(id, "resolved", True, reference={"status": "shipped"})
        loop.outcome(id, "steps", 12)
        loop.outcome(id, "team", "north")
        loop.outcome(id, "later", None)
    root = application.spans["invoke_workflow Agent workflow"].context.span_id
    chat = application.spans["chat"].context.span_id
    about = {"agentloop.trace.id": id}
    person = {"agentloop.source": "person", "agentloop.author": "ann"}
    outcome = {"agentloop.source": "outcome"}
    assert application.evaluations == [
        (
            {
                "gen_ai.evaluation.name": "feedback",
                "gen_ai.evaluation.score.value": 1.0,
                "gen_ai.evaluation.score.label": "up",
                "gen_ai.evaluation.explanation": "good",
                **about,
                **person,
            },
            root,
        ),
        (
            {
                "gen_ai.evaluation.name": "feedback",
                "gen_ai.evaluation.score.value": 0.5,
                "agentloop.call.id": f"{id}/0",
                **about,
                **person,
            },
            chat,
        ),
        (
            {
                "gen_ai.evaluation.name": "resolved",
                "gen_ai.evaluation.score.value": 1.0,
                "gen_ai.evaluation.score.label": "true",
                "agentloop.reference": '{"status":"shipped"}',
                **about,
                **outcome,
            },
            root,
        ),
        (
            {
                "gen_ai.evaluation.name": "steps",
                "gen_ai.evaluation.score.value": 12.0,
                **about,
                **outcome,
            },
            root,
        ),
        (
            {
                "gen_ai.evaluation.name": "team",
                "gen_ai.evaluation.score.label": "north",
                **about,
                **outcome,
            },
            root,
        ),
    ]
    events = [one.log_record for one in application.heard.get_finished_logs()]
    assert {one.event_name for one in events} == {"gen_ai.evaluation.result"}
    assert {one.trace_id for one in events} == {int(id.removeprefix("trace_"), 16)}


def test_without_a_logger_provider_feedback_is_an_event_of_a_span(application, opened):
    with opened(application.tracer_provider) as loop:
        id = ran(loop)
        loop.rate(id, "down", by="ann")
    said = application.spans["evaluation feedback"]
    (event,) = said.events
    assert event.name == "gen_ai.evaluation.result"
    assert event.attributes["gen_ai.evaluation.score.value"] == 0.0
    assert said.start_time == said.end_time == event.timestamp
    root = application.spans["invoke_workflow Agent workflow"]
    assert (said.parent.trace_id, said.parent.span_id) == (
        root.context.trace_id,
        root.context.span_id,
    )


def test_feedback_finds_a_run_that_is_part_of_the_applications_own_span(application, opened):
    tracer = application.tracer_provider.get_tracer("application")
    with opened(Telemetry(application.tracer_provider, application.logger_provider)) as loop:
        with tracer.start_as_current_span("POST /chat") as request:
            id = ran(loop)
        loop.rate(id, "up", by="ann")
    (event,) = application.heard.get_finished_logs()
    root = application.spans["invoke_workflow Agent workflow"].context
    assert event.log_record.trace_id == root.trace_id == request.get_span_context().trace_id
    assert event.log_record.span_id == root.span_id


def test_feedback_of_another_day_and_process_finds_its_run(application, opened):
    with opened(application.tracer_provider) as loop:
        id = ran(loop)
    root = application.spans["invoke_workflow Agent workflow"].context
    with opened(Telemetry(application.tracer_provider, application.logger_provider)) as loop:
        loop.rate(id, "up", by="ann")
    (event,) = application.heard.get_finished_logs()
    assert (event.log_record.trace_id, event.log_record.span_id) == (root.trace_id, root.span_id)


def test_feedback_of_a_file_is_told_too(application, opened):
    with opened(Telemetry(application.tracer_provider, application.logger_provider)) as loop:
        id = ran(loop)
        loop.flush()
        loop.take_feedback(f'{{"trace": "{id}", "by": "ann", "thumbs": "up"}}')
    assert len(application.evaluations) == 1


# ---------------------------------------------------------------------- exporters as they are


def test_an_exporter_that_fails_fails_no_run(opened, caplog):
    def fail(span):
        raise OSError("the collector is gone")

    with opened(Provider(fail)) as loop:
        id = ran(loop, times=3)
        loop.flush()
        assert loop.store.trace(id).answer == "hi"
    (warned,) = [r for r in caplog.records if r.name == "agentloop.telemetry"]
    assert "OSError: the collector is gone" in warned.message


def test_an_exporter_that_hangs_is_waited_for_by_nobody(opened, caplog):
    reached, on = Event(), Event()

    def hang(span):
        reached.set()
        on.wait(30)

    loop = opened(Provider(hang), durable=True)
    loop._telling._patience = 0.0
    try:
        with loop:
            id = ran(loop, times=5)  # each returns, and is on disk
            assert reached.wait(10)
            assert loop.store.trace(id).answer == "hi"
        assert "it takes too long" in caplog.text
    finally:
        on.set()
        loop._telling._thread.join()


def test_more_than_an_exporter_takes_is_left_away_with_a_warning(caplog):
    on, told = Event(), []

    def hang(span):
        on.wait(30)
        told.append(span.name)

    live = LiveExport(Telemetry(Provider(hang)), waiting=2)
    sink = Sink(live)
    for n in range(5):
        trace = a_trace(id=f"t{n}")
        sink.submit(trace)
        sink.submit(trace.model_copy(update={"ended_at": at(1)}))
    on.set()
    live.close()
    assert 2 <= len(told) <= 3
    assert "are not told to OpenTelemetry: more ends than its exporter takes" in caplog.text
    assert live._held == 0


def test_what_is_kept_in_mind_has_a_bound(caplog):
    told = []
    live = LiveExport(Telemetry(Provider(lambda span: told.append(span.name)), content=True),
                      characters=5_000)  # fmt: skip
    sink = Sink(live)
    for n in range(20):  # runs that never end
        sink.submit(a_trace(id=f"t{n}"))
        sink.submit(a_call(user("x" * 1000), says("y"), trace=f"t{n}"))
        assert live._held <= 5_000
    sink.submit(a_trace(id="t0", ended_at=at(1)))
    sink.submit(a_trace(id="t19", ended_at=at(1)))
    sink.submit(a_span(trace="t19"))  # it comes too late, and is kept nowhere
    live.close()
    assert told == ["chat m", "invoke_agent support"]
    assert "more goes on than is kept in mind" in caplog.text
    assert set(live._open) == {f"t{n}" for n in (17, 18)} or len(live._open) < 5


def test_where_nobody_listens_one_warning_says_so(opened, caplog):
    assert isinstance(api.get_tracer_provider(), api.ProxyTracerProvider)
    with opened(True) as loop:
        ran(loop, times=3)
    warned = [r for r in caplog.records if r.name == "agentloop.telemetry"]
    assert [r.levelno for r in warned] == [logging.WARNING]
    assert "no tracer provider is set" in warned[0].message


def test_what_is_stored_can_be_told_later(application, opened):
    with opened(False) as loop:
        id = ran(loop)
        loop.rate(id, "up", by="ann")
        assert application.tree == []
        assert loop.export_otel(application.tracer_provider) == 1
        spans = application.told.get_finished_spans()
        assert [s.name for s in spans] == [
            "chat",
            "invoke_agent a",
            "invoke_workflow Agent workflow",
        ]
        (event,) = spans[-1].events
        assert event.attributes["gen_ai.evaluation.score.value"] == 1.0
        assert loop.export_otel(application.tracer_provider) == 1
    again = application.told.get_finished_spans()[3:]
    assert [s.context for s in again] == [s.context for s in spans]
    assert spans[-1].context.trace_id == int(id.removeprefix("trace_"), 16)


def test_a_stored_run_is_told_as_it_was_told_live(application, opened):
    with opened(application.tracer_provider) as loop:
        ran(loop)
    live = application.told.get_finished_spans()
    with opened(False) as loop:
        loop.export_otel(application.tracer_provider)
    again = application.told.get_finished_spans()[len(live) :]
    assert [s.to_json() for s in again] == [s.to_json() for s in live]


def test_telling_what_is_stored_to_nobody_is_an_error(opened):
    with opened(False) as loop, pytest.raises(ConfigError, match="the application has set none"):
        loop.export_otel()


def test_any_text_goes_through(application, opened):
    """What UTF-8 cannot hold would take a whole batch with it."""
    with opened(False) as loop:
        lone = "\ud800"
        trace = a_trace(
            user(lone), asks(arguments=lone, id=lone), returns(lone, lone), says("x"),
            agent="a\ud800", user=lone, tags={"big": 2**70, lone: lone},
        )  # fmt: skip
        step = a_span(trace=trace.id, data={"input": lone, "output": lone})
        loop.store.put(trace, step, an_opinion(trace.id, comment=lone))
        otel = Telemetry(application.tracer_provider, application.logger_provider, content=True)
        assert loop.export_otel(otel) == 1
    for span in application.told.get_finished_spans():
        span.to_json().encode()
        for name, value in span.attributes.items():
            f"{span.name}{name}{value}".encode()
    root = application.spans["invoke_agent a\\ud800"]
    assert root.attributes[f"{names.TAG}big"] == str(2**70)


class Sink:
    """Stores nothing, and makes at once what is submitted."""

    def __init__(self, live):
        self.live = live

    def submit(self, work):
        for _ in self.live.overheard(work)():
            pass


def test_a_system_prompt_of_an_unknown_api_stays_a_message(application, opened):
    with opened(False) as loop:
        loop.store.put(a_trace(system("You help."), user(), says()))
        loop.export_otel(Telemetry(application.tracer_provider, content=True))
    chat = application.spans["chat m"].attributes
    assert names.SYSTEM_INSTRUCTIONS not in chat
    assert '"role":"system"' in chat[names.INPUT_MESSAGES]
