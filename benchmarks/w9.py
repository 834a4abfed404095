"""The workload W9: a run of nine steps, the root, four model calls and four tool calls.

A model call sees some 3 KB of messages and three tool schemas and says some 400 bytes; a tool is
given 100 bytes and returns 900. Every run says other things, in words and not in noise; what real
runs of one agent share (the system prompt, the tools), these share too.
"""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from agentloop.base.records import Call, Message, Span, SpanKind, Trace, Usage

SPANS = 9
TURNS = (1, 1, 2)
"""Tool calls that the model asks for, turn by turn; then it answers."""

_letters = random.Random(9)
WORDS = tuple(
    "".join(_letters.choice("bcdfghklmnprstvw") + _letters.choice("aeiou") for _ in range(n))
    for n in (1, 2, 2, 3, 3, 4)
    for _ in range(400)
)
"""A vocabulary: text that compresses about as well as a language does."""

TOOLS: tuple[dict[str, Any], ...] = tuple(
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"{name.title()} something for the customer. " * 4,
            "parameters": {
                "type": "object",
                "properties": {
                    field: {"type": "string", "description": f"The {field} that it is about. " * 2}
                    for field in ("order", "customer", "reason", "note")
                },
                "required": ["order"],
            },
            "strict": False,
        },
    }
    for name in ("look", "change", "cancel")
)


def text(source: random.Random, size: int) -> str:
    """Words, `size` bytes of them."""
    return " ".join(source.choices(WORDS, k=size // 4))[:size]


SYSTEM = "You serve customers of a shop. " + text(random.Random(0), 700)


class Step(NamedTuple):
    """One answer of the model, and what the tools return that it asks for."""

    said: str
    calls: tuple[tuple[str, str, str], ...]
    """Id, arguments and result of each tool call."""


class Talk(NamedTuple):
    """What is said in one run."""

    user: str
    steps: tuple[Step, ...]


def talk(seed: int, turns: tuple[int, ...] = TURNS) -> Talk:
    """The run of that number: the same number says the same."""
    source = random.Random(seed)
    steps = [
        Step(
            text(source, 300),
            tuple(
                (
                    f"call_{source.getrandbits(96):024x}",
                    json.dumps({"order": text(source, 85)}),
                    text(source, 900),
                )
                for _ in range(asked)
            ),
        )
        for asked in (*turns, 0)
    ]
    return Talk(text(source, 500), (*steps[:-1], Step(text(source, 400), ())))


START = datetime(2026, 1, 1, tzinfo=UTC)


def trace(seed: int, turns: tuple[int, ...] = TURNS) -> Trace:
    """The run as a record, with its calls and spans: what capture gives the store."""
    said = talk(seed, turns)
    id = f"trace_{random.Random(seed).getrandbits(128):032x}"
    moments = (START + timedelta(seconds=seed, milliseconds=n) for n in range(10**9))
    began = next(moments)
    spans = [_span(id, SpanKind.AGENT, "support", None, began, next(moments))]
    context: list[Message] = [
        Message(role="system", content=SYSTEM),
        Message(role="user", content=said.user),
    ]
    calls = []
    for index, step in enumerate(said.steps):
        asked: list[dict[str, Any]] = [
            {"id": id, "type": "function", "function": {"name": "look", "arguments": given}}
            for id, given, _ in step.calls
        ]
        fields: dict[str, Any] = {"tool_calls": asked} if asked else {}
        output = Message.model_validate({"role": "assistant", "content": step.said, **fields})
        calls.append(
            Call(
                id=f"{id}/{index}",
                trace_id=id,
                index=index,
                agent="support",
                context=tuple(context),
                output=output,
                tools=TOOLS,
                settings={"temperature": 0.2},
                model="m",
                usage=Usage(input_tokens=900, output_tokens=100),
                started_at=next(moments),
                ended_at=next(moments),
            )
        )
        now = next(moments)
        spans.append(_span(id, SpanKind.CALL, "generation", spans[0].id, now, next(moments)))
        context.append(output)
        for call_id, given, returned in step.calls:
            result = {"role": "tool", "tool_call_id": call_id, "content": returned}
            context.append(Message.model_validate(result))
            data = {"input": given, "output": returned}
            now = next(moments)
            spans.append(_span(id, SpanKind.TOOL, "look", spans[0].id, now, next(moments), data))
    return Trace(
        id=id,
        agent="support",
        workflow="Agent workflow",
        started_at=began,
        ended_at=next(moments),
        calls=tuple(calls),
        spans=tuple(spans),
    )


def traces(n: int, *, first: int = 0) -> Iterator[Trace]:
    """`n` different runs."""
    return (trace(first + seed) for seed in range(n))


_counted = iter(range(10**12))


def _span(
    trace_id: str,
    kind: SpanKind,
    name: str,
    parent: str | None,
    began: datetime,
    ended: datetime,
    data: dict[str, Any] | None = None,
) -> Span:
    return Span(
        id=f"span_{random.Random(next(_counted)).getrandbits(96):024x}",
        trace_id=trace_id,
        parent_id=parent,
        kind=kind,
        name=name,
        started_at=began,
        ended_at=ended,
        data=data or {},
    )


def payloads(trace: Trace) -> Iterator[dict[str, Any]]:
    """What each span of a run says, whole: what a store gets that is sent spans alone."""
    calls = iter(trace.calls)
    for span in trace.spans:
        payload: dict[str, Any] = {"name": span.name, "kind": span.kind.value, **span.data}
        if span.kind is SpanKind.CALL:
            call = next(calls)
            payload |= {
                "input": [message.to_dict() for message in call.context],
                "output": call.output.to_dict() if call.output else None,
                "tools": list(call.tools),
                "model": call.model,
            }
        yield payload
