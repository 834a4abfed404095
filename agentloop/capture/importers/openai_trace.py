"""The format `openai-trace`: the traces and spans of the OpenAI Agents SDK, as it exports them.

Read are `trace` and `trace.span` objects, one a line or anywhere inside a JSON value: what
`export()` gives, what a processor writes, what the run of an evaluation says of its items
(`datasource_item.trace`, with the messages and tools that the item began with, and the graders'
results as outcomes). Where a span holds only what is new, or nothing, of what the model heard, the
history is rebuilt from the calls and tools before it. The SDK exports a span of the Responses API
without its input and response; a processor that adds them as `input` and `response` is understood.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentloop.base.records import Json, Message, Outcome, Span, SpanKind
from agentloop.base.records.message import verbatim
from agentloop.base.records.trace import Usage
from agentloop.capture.importers.reading import (
    EPOCH,
    UNREADABLE,
    Imported,
    Part,
    Piece,
    Problem,
    by_trace,
    unreadable,
)
from agentloop.capture.importers.runs import About, Asked, Step, moment, run
from agentloop.capture.importers.turns import heard, schemas

KINDS = {
    "agent": SpanKind.AGENT,
    "function": SpanKind.TOOL,
    "generation": SpanKind.CALL,
    "guardrail": SpanKind.GUARDRAIL,
    "handoff": SpanKind.HANDOFF,
    "response": SpanKind.CALL,
}
"""What their types of spans are to us; any other is a step around these."""

SETTINGS = (
    "temperature", "top_p", "max_output_tokens", "tool_choice", "parallel_tool_calls",
    "truncation", "reasoning", "frequency_penalty", "presence_penalty", "top_logprobs", "store",
)  # fmt: skip
"""What of a response echoes how it was asked for."""

NO_SETTING = {"base_url", "retry", "timeout", "extra_headers", "extra_query", "extra_body"}
"""What of a model's configuration says nothing about what it saw, or may hold a secret."""

ITEM = "evalrun.item"
"""What we call an item of an evaluation's run, beside the spans of its trace."""

BANNER = "MultimodalText\n* "
"""What an evaluation's run puts before a user's text."""

PARALLEL = "multi_tool_use.parallel"
"""The tool through which a model calls several at once, in an evaluation's run."""

UUID = re.compile(r"[-_ ]?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def read_openai_trace(file: Path, *, agent: str | None = None) -> Iterator[Imported | Problem]:
    """The traces of a file; spans of one trace may stand anywhere in it.

    Args:
        agent: the agent of runs that name none; by default the name of the file.

    Raises:
        RecordError: the file cannot be read.
    """
    for found in by_trace(file, _parts):
        yield found if isinstance(found, Problem) else _run(found, agent or file.stem)


def is_openai_trace(value: Any) -> bool:
    """Whether a JSON value holds traces or spans of the SDK."""
    return any(isinstance(part, Part) for part in _parts(Piece(0, value)))


def _parts(piece: Piece) -> Iterator[Part | Problem]:
    """The traces and spans in a value, in their order, however deep they stand."""
    found = False
    ahead = [piece.value]
    while ahead:
        value = ahead.pop()
        if isinstance(value, list):
            ahead += reversed(value)
        elif not isinstance(value, dict):
            continue
        elif value.get("object") in ("trace", "trace.span"):
            found = True
            yield from _part(piece.line, value)
        elif isinstance(value.get("datasource_item"), dict):
            found = True
            yield from _item(piece.line, value)
        else:
            ahead += reversed(value.values())
    if not found:
        yield Problem(piece.line, "no trace and no trace.span of the Agents SDK in it")


def _item(line: int, value: Json) -> Iterator[Part | Problem]:
    """An item of an evaluation's run: what it says of itself, then the spans of its trace."""
    source = value["datasource_item"]
    parts = list(_parts(Piece(line, source.get("trace"))))
    trace = next((part.trace for part in parts if isinstance(part, Part)), None)
    if trace is None:
        yield Problem(line, f"item {value.get('id')!r} of the run has no trace with spans")
        return
    bare = {name: given for name, given in source.items() if name != "trace"}
    yield Part(line, trace, {"object": ITEM, **value, "datasource_item": bare})
    yield from parts


def _part(line: int, value: Json) -> Iterator[Part | Problem]:
    trace = value.get("id") if value["object"] == "trace" else value.get("trace_id")
    if not isinstance(trace, str) or not isinstance(value.get("id"), str):
        yield Problem(line, f"a {value['object']} without id or trace_id")
    elif value["object"] == "trace.span" and not isinstance(value.get("span_data"), dict):
        yield Problem(line, f"span {value['id']!r} has no span_data")
    else:
        yield Part(line, trace, value)


def _run(parts: list[Part], agent: str) -> Imported | Problem:
    id = parts[0].trace
    of: dict[str, list[Json]] = {"trace": [], ITEM: []}
    steps: list[Step] = []
    try:
        item = next((part.value for part in parts if part.value["object"] == ITEM), {})
        about = _about(item, agent)
        for part in parts:
            if part.value["object"] == "trace.span":
                steps.append(_step(part, about))
            else:
                of[part.value["object"]].append(part.value)
        for trace in of["trace"]:
            about = _told(about, trace)
        if not steps:
            return Problem(parts[0].line, f"trace {id!r} has no spans")
        return run(id, steps, about, outcomes=_outcomes(id, item, steps))
    except UNREADABLE as error:
        return Problem(parts[0].line, f"trace {id!r}: {unreadable(error)}")


def _about(item: Json, agent: str) -> About:
    source = item.get("datasource_item") or {}
    words = heard(source.get("messages"), None, exact=True)
    metadata = {name: item[name] for name in ("id", "status") if item.get(name)}
    return About(
        source="openai-trace",
        agent=agent,
        start=words.heard,
        tools=tuple(schemas(source.get("tools") or ())),
        metadata=metadata,
    )


def _told(about: About, trace: Json) -> About:
    """What a trace says of itself; one that was resumed says it again."""
    metadata = trace.get("metadata")
    return replace(
        about,
        workflow=trace.get("workflow_name") or about.workflow,
        session=trace.get("group_id") or about.session,
        metadata={**about.metadata, **(metadata if isinstance(metadata, dict) else {})},
    )


def _step(part: Part, about: About) -> Step:
    value = part.value
    data = value["span_data"]
    named = str(data.get("type") or "").lower()
    kind = KINDS.get(named, SpanKind.OTHER)
    name = data.get("name")
    if kind is SpanKind.HANDOFF:
        name = f"{data.get('from_agent')} -> {data.get('to_agent')}"
    asked = None
    if named == "generation":
        asked = _generation(data, about, value["id"])
    elif named == "response":
        asked = _response(data)
    error = value.get("error")
    if asked and error and not asked.words.said:
        asked = replace(asked, error=_why(error))
    kept = {k: v for k, v in data.items() if v is not None and k not in ("type", "name")}
    if asked:  # what was heard and said stands in the call
        kept = {k: v for k, v in kept.items() if k not in ("input", "output", "response")}
        kept |= {"thoughts": list(asked.words.thoughts)} if asked.words.thoughts else {}
    return Step(
        part.line,
        Span(
            id=value["id"],
            trace_id=part.trace,
            parent_id=value.get("parent_id"),
            kind=kind,
            name=str(name or named),
            started_at=moment(value.get("started_at")),
            ended_at=moment(value.get("ended_at")),
            data=kept,
            error=error if isinstance(error, dict) or error is None else {"message": str(error)},
        ),
        agent=str(name) if kind is SpanKind.AGENT and name else None,
        asked=asked,
        results=tuple(_results(data)) if kind is SpanKind.TOOL else (),
    )


def _why(error: Any) -> str:
    if not isinstance(error, Mapping):
        return str(error)
    details = error.get("data")
    cause = details.get("error") if isinstance(details, Mapping) else None
    return f"{error.get('message')}: {cause}" if cause else str(error.get("message"))


def _results(data: Json) -> Iterator[Message]:
    """What a tool gave, as the model was told it: the text of its value."""
    given = data.get("output")
    if given is None:
        return
    named = [str(data.get("name") or "")]
    texts = [str(given)]
    if named == [PARALLEL]:
        named = [name for name, _ in _parallel(str(data.get("input")))]
        texts = _inner(texts[0])
    for name, text in zip(named, texts, strict=False):
        yield Message.model_validate(
            {"role": "tool", "name": name.rpartition(".")[2], "content": text}
        )


def _parallel(text: str) -> list[tuple[str, str]]:
    """The tools that a model called all at once, and the arguments of each as it wrote them."""
    try:
        uses = json.loads(text)["tool_uses"]
        names = [str(use["recipient_name"]) for use in uses]
    except (ValueError, RecursionError, KeyError, TypeError):
        return []
    starts = [found.end() for found in re.finditer(r'"parameters"\s*:\s*(?=\{)', text)]
    if len(starts) != len(names):  # a word of the arguments looks the same
        return [
            (n, verbatim(use.get("parameters")).decode())
            for n, use in zip(names, uses, strict=True)
        ]
    ends = [json.JSONDecoder().raw_decode(text, start)[1] for start in starts]
    return [(n, text[a:b]) for n, a, b in zip(names, starts, ends, strict=True)]


def _inner(text: str) -> list[str]:
    """The values of a JSON list, each as it stands in its text; a text without its quotes."""
    found: list[str] = []
    decoder = json.JSONDecoder()
    try:
        place = text.index("[") + 1
        while True:
            while text[place] in " ,\n\t\r":
                place += 1
            if text[place] == "]":
                return found
            value, end = decoder.raw_decode(text, place)
            found.append(value if isinstance(value, str) else text[place:end])
            place = end
    except (ValueError, IndexError, RecursionError):
        return [text]


def _generation(data: Json, about: About, id: str) -> Asked:
    given = data.get("input")
    words = heard(_plain(given, f"{id}_in"), _plain(data.get("output"), id), exact=True)
    known = {message.text for message in about.start if message.role == "user"}
    if known:  # the item that the run began with says it better
        words = words._replace(heard=tuple(m for m in words.heard if m.text not in known))
    config = data.get("model_config")
    config = config if isinstance(config, dict) else {}
    return Asked(
        words,
        model=data.get("model"),
        settings={k: v for k, v in config.items() if v is not None and k not in NO_SETTING},
        usage=_usage(data.get("usage")),
        resumes=bool(known) or (isinstance(given, list) and not given),
        api="chat",
    )


def _plain(given: Any, id: str) -> Any:
    """Messages of an evaluation's run as those of Chat Completions: a tool call is there a message
    to the tool, and each message says who it is for. Calls have no ids; they get the span's."""
    if not isinstance(given, list):
        return given
    return [_to_whom(message, f"{id}_{n}") for n, message in enumerate(given)]


def _to_whom(message: Any, id: str) -> Any:
    if not isinstance(message, dict) or "recipient" not in message:
        return message
    bare = {name: value for name, value in message.items() if name != "recipient"}
    text = bare.get("content")
    to = str(message["recipient"])
    if message.get("role") == "assistant" and to not in ("all", "None", ""):
        asked = _parallel(str(text)) if to == PARALLEL else [(to, str(text))]
        calls = [
            {
                "id": f"call_{id}_{n}",
                "type": "function",
                "function": {"name": name.rpartition(".")[2], "arguments": arguments},
            }
            for n, (name, arguments) in enumerate(asked or [(to, str(text))])
        ]
        return {**bare, "content": None, "tool_calls": calls}
    if isinstance(text, str):
        bare["content"] = text.removeprefix(BANNER)
    return bare


def _response(data: Json) -> Asked:
    given = data.get("response")
    response: Json = given if isinstance(given, dict) else {}
    words = heard(data.get("input"), response or None, exact=True, system=_system(response))
    kept = {name: response[name] for name in SETTINGS if response.get(name) is not None}
    text = response.get("text")
    shape = text.get("format") if isinstance(text, dict) else None
    schema = isinstance(shape, dict) and shape.get("type") == "json_schema"
    return Asked(
        words,
        served_model=response.get("model"),
        settings=kept,
        response_format=_format(shape) if schema else None,
        usage=_usage(data.get("usage") or response.get("usage")),
        finish_reason=response.get("status"),
        response_id=response.get("id") or data.get("response_id"),
        previous=response.get("previous_response_id"),
        api="responses",
    )


def _system(response: Json) -> str | None:
    given = response.get("instructions")
    return given if isinstance(given, str) and given else None


def _format(shape: Any) -> Json:
    inner = {name: value for name, value in shape.items() if name != "type" and value is not None}
    return {"type": "json_schema", "json_schema": inner}


def _usage(given: Any) -> Usage:
    if not isinstance(given, dict):
        return Usage()
    inside = given.get("input_tokens_details") or {}
    outside = given.get("output_tokens_details") or {}
    return Usage(
        input_tokens=given.get("input_tokens") or 0,
        cached_tokens=inside.get("cached_tokens") or 0,
        output_tokens=given.get("output_tokens") or 0,
        reasoning_tokens=outside.get("reasoning_tokens") or 0,
    )


def _outcomes(id: str, item: Json, steps: list[Step]) -> Iterator[Outcome]:
    """What the graders of an evaluation's run gave, and what would have been right."""
    source = item.get("datasource_item") or {}
    right = {name: given for name, given in source.items() if name.startswith("reference_")}
    when = max((s.span.ended_at for s in steps if s.span.ended_at), default=EPOCH)
    for result in item.get("results") or ():
        name = re.sub(r"\W+", "_", UUID.sub("", str(result.get("name") or "score"))).strip("_")
        yield Outcome(
            trace_id=id,
            name=name.lower(),
            value=result.get("score"),
            reference=right or None,
            recorded_at=when,
        )
