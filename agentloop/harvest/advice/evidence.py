"""The evidence in a store about an agent: counted once through, with no trace kept."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from agentloop.base.records import (
    Call,
    DPOExample,
    Example,
    Judged,
    Record,
    Refusal,
    Refused,
    RFTExample,
    SFTExample,
    Tally,
    ToolCall,
)
from agentloop.harvest.advice.repeats import Repeat, Said
from agentloop.harvest.turns import says_failed

WEEK = 7 * 86_400.0
FEW_RUNS = 20
"""Judged runs under which nothing is said of a success rate."""


class Tool(Record):
    """How an agent used a tool, or what it took for one."""

    name: str
    calls: int
    unknown: int = 0
    """Calls of it where it was not at hand."""
    unfit: int = 0
    """Calls whose arguments are no JSON object, lack what is required, or have another type than
    the tool's schema says."""
    failed: int = 0
    """Calls that the tool answered with an error."""


class Evidence(Record):
    """What is in the store about an agent, runs to measure with left out."""

    agents: tuple[str, ...]
    runs: int = 0
    judged: int = 0
    """Runs that somebody judged, or that have an outcome."""
    good: int = 0
    bad: int = 0
    failed: int = 0
    """Runs that ended in an error."""
    seconds: float = 0.0
    """From the first run to the last."""
    tools: tuple[Tool, ...] = ()
    """The most used first."""
    structured: int = 0
    """Answers that were to be JSON by a `response_format`."""
    misshaped: int = 0
    """Of these, the ones that are no JSON."""
    corrections: int = 0
    comments: int = 0
    repeats: tuple[Repeat, ...] = ()
    """What many corrections or comments have in common."""
    sft: int = 0
    """Runs and corrections worth imitating."""
    units: int = 0
    """Users (sessions, tasks) that these come from."""
    routes: tuple[tuple[str, int], ...] = ()
    """What the imitated do first: the name of a tool, or `answer`; the most frequent first."""
    dpo: int = 0
    """Contexts' pairs of a better and a worse answer."""
    pairs: dict[str, int] = {}
    """These by how they came to be."""
    undecided: int = 0
    """Contexts with several answers that no verdicts tell apart."""
    rft: int = 0
    """Tasks with a reference whose pass rate lies in the band."""
    too_hard: int = 0
    too_easy: int = 0
    unverifiable: int = 0
    """Tasks without an outcome, or without a reference."""
    rollouts: float = 0.0
    """Runs a task of those in the band, on average."""

    @property
    def success(self) -> Tally | None:
        """Good runs of those judged; None while too few were judged."""
        return Tally(self.good, self.judged) if self.judged >= FEW_RUNS else None

    @property
    def a_week(self) -> float | None:
        """Runs a week; None when they all came within a day: then nobody knows."""
        return self.runs * WEEK / self.seconds if self.seconds >= WEEK / 7 else None

    @property
    def tool_errors(self) -> Tally:
        """Tool calls that the agent itself got wrong, of all."""
        wrong = sum(tool.unknown + tool.unfit for tool in self.tools)
        return Tally(wrong, sum(tool.calls for tool in self.tools))


Found = Iterable[Example | Refused]


class Gathering:
    """Evidence while it is gathered."""

    def __init__(self, agents: Sequence[str], *, good: float, bad: float) -> None:
        self._agents, self._good, self._bad = tuple(agents), good, bad
        self._counts: Counter[str] = Counter()
        self._tools: dict[str, Counter[str]] = {}
        self._said = Said()
        self._units: set[str] = set()
        self._routes: Counter[str] = Counter()
        self._pairs: Counter[str] = Counter()
        self._rollouts = 0
        self._began: tuple[datetime, datetime] | None = None

    def see(self, judged: Judged) -> None:
        """One run."""
        trace, count = judged.trace, self._counts
        count["runs"] += 1
        count["failed"] += trace.error is not None
        if judged.score is not None:
            count["judged"] += 1
            count["good"] += judged.score >= self._good
            count["bad"] += judged.score <= self._bad
        first, last = self._began or (trace.started_at, trace.started_at)
        self._began = min(first, trace.started_at), max(last, trace.started_at)
        self._said.see(judged, self._agents)
        answers = {
            message.tool_call_id: message
            for message in trace.conversation
            if message.role == "tool" and message.tool_call_id
        }
        for call in trace.calls:
            if call.agent in self._agents and call.output is not None:
                self._see_call(call, answers)

    def learned(self, found: Found) -> None:
        """What harvests would give: examples of all methods, and refusals of DPO and RFT."""
        count = self._counts
        for item in found:
            match item:
                case SFTExample():
                    count["sft"] += 1
                    self._units.add(item.unit)
                    self._routes[_route(item)] += 1
                case DPOExample():
                    count["dpo"] += 1
                    self._pairs[item.source] += 1
                case RFTExample():
                    count["rft"] += 1
                    self._rollouts += item.rollouts
                case Refused(code=Refusal.TOO_HARD):
                    count["too_hard"] += 1
                case Refused(code=Refusal.TOO_EASY):
                    count["too_easy"] += 1
                case Refused(code=Refusal.NO_OUTCOME | Refusal.NO_REFERENCE):
                    count["unverifiable"] += 1
                case Refused(code=Refusal.UNDECIDED):
                    count["undecided"] += 1

    def evidence(self) -> Evidence:
        """All of it."""
        began = self._began
        tools = [Tool(name=name, **counts) for name, counts in self._tools.items()]
        return Evidence(
            agents=self._agents,
            **self._counts,
            seconds=(began[1] - began[0]).total_seconds() if began else 0.0,
            tools=tuple(sorted(tools, key=lambda tool: (-tool.calls, tool.name))),
            corrections=self._said.corrections,
            comments=self._said.comments,
            repeats=self._said.repeats(),
            units=len(self._units),
            routes=tuple(self._routes.most_common()),
            pairs=dict(self._pairs.most_common()),
            rollouts=self._rollouts / self._counts["rft"] if self._counts["rft"] else 0.0,
        )

    def _see_call(self, call: Call, answers: Mapping[str, Any]) -> None:
        schemas = {
            tool["function"]["name"]: tool["function"].get("parameters")
            for tool in call.tools
            if isinstance(tool.get("function"), dict) and "name" in tool["function"]
        }
        asked = call.output.calls if call.output else ()
        for one in asked:
            name = one.function.name
            tool = self._tools.setdefault(name, Counter())
            tool["calls"] += 1
            if schemas and name not in schemas:
                tool["unknown"] += 1
            elif not fits(one, schemas.get(name)):
                tool["unfit"] += 1
            elif one.id in answers and says_failed(answers[one.id]):
                tool["failed"] += 1
        if call.response_format and call.output and not asked:
            self._counts["structured"] += 1
            self._counts["misshaped"] += not _is_json(call.output.text)


TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}


def fits(call: ToolCall, schema: Any) -> bool:
    """Whether the arguments of a call are what the tool's schema asks for: a JSON object with all
    that is required, each of its type. What else JSON Schema can say is not looked at.

    Args:
        schema: of the tool's parameters; None: only the object is asked for.
    """
    try:
        given = json.loads(call.function.arguments or "{}")
    except (ValueError, RecursionError):
        return False
    if not isinstance(given, dict):
        return False
    if not isinstance(schema, dict):
        return True
    fields = schema.get("properties")
    fields = fields if isinstance(fields, dict) else {}
    if not given.keys() >= set(schema.get("required") or ()):
        return False
    if schema.get("additionalProperties") is False and not given.keys() <= fields.keys():
        return False
    return all(_is_of(value, fields.get(name)) for name, value in given.items())


def _is_of(value: Any, schema: Any) -> bool:
    kinds = schema.get("type") if isinstance(schema, dict) else None
    names = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    known = [name for name in names if isinstance(name, str) and name in TYPES]
    if not known:
        return True
    if isinstance(value, bool):
        return "boolean" in known
    if isinstance(value, float) and value.is_integer() and "integer" in known:
        return True
    return any(isinstance(value, TYPES[name]) for name in known)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _route(example: SFTExample) -> str:
    """What an agent does first after the last the user said."""
    said = (*example.context, example.output)
    last = max((n for n, message in enumerate(said) if message.role == "user"), default=-1)
    first = next((m for m in said[last + 1 :] if m.role == "assistant"), example.output)
    return first.calls[0].function.name if first.calls else "answer"
