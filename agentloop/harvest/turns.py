"""Turns: what an agent said on the way to the end of a path, and what of it is no example."""

import json
import re
from collections.abc import Collection, Iterator
from functools import cached_property

from agentloop.base.records import Call, Judged, Message, SpanKind, ToolCall
from agentloop.base.records.trace import Trace

SAID_BY_THE_SDK = re.compile(
    r"An error occurred while running the tool|Tool '[^'\n]*' (not found\.|timed out after )"
)
"""How what the Agents SDK tells a model of a tool that failed begins, where the user has no words
of their own for it."""

MARKS = ("is_error", "isError")
"""Names under which a message, or the JSON of a tool, tells that the call failed."""

Failing = frozenset[tuple[str, str, str | None]]
"""Name, arguments and answer of tool calls whose step says that they failed."""


class Walk:
    """A path of a trace: the context of a call, what the call said, and who said what on it.

    Args:
        failing: the tool calls that failed by what the steps of the trace say.
        words: as for `says_failed`.
    """

    def __init__(
        self, judged: Judged, call: Call, failing: Failing, *, words: bool = False
    ) -> None:
        self._judged, self.call, self._failing, self._words = judged, call, failing, words

    @cached_property
    def carried(self) -> tuple[Call, ...]:
        """The earlier calls of this agent in this run whose output is on the path."""
        call = self.call
        return tuple(
            earlier
            for earlier in self._judged.trace.calls
            if earlier.agent == call.agent
            and earlier.output is not None
            and call.carries((*earlier.context, earlier.output))
        )

    @cached_property
    def said(self) -> dict[int, Call]:
        """These, by the place of what they said on the path."""
        return {len(earlier.context): earlier for earlier in self.carried}

    @cached_property
    def assistants(self) -> tuple[int, ...]:
        """The places of the assistant messages of the context."""
        return tuple(n for n, m in enumerate(self.call.context) if m.role == "assistant")

    @cached_property
    def at_hand(self) -> frozenset[str] | None:
        """The tools that the agent had, as `at_hand` has it."""
        return at_hand(self._judged.trace, self.call)

    def flaw(self, at: int, *, bad: float, corrected: Collection[str]) -> str | None:
        """Why the earlier turn at that place is not learned; None: it is.

        Args:
            bad: the highest score, in [0, 1], of a turn that is not learned.
            corrected: the calls that somebody corrected: what they should have said is learned.
        """
        earlier = self.said.get(at)
        if earlier is None:
            return "another agent or an earlier run said it"
        if earlier.id in corrected:
            return "it was corrected"
        verdict = self._judged.calls.get(earlier.id)
        if verdict is not None and verdict.score <= bad:
            return f"it was judged {verdict.score:.2f}"
        return self._wrong(self.call.context[at], self.call.context[at + 1 :])

    @property
    def flaw_of_output(self) -> str | None:
        """Why what the call said is not learned, however it was judged; None: it is."""
        trace, call = self._judged.trace, self.call
        if call.output is None:
            return "the agent said nothing"
        return self._wrong(call.output, trace.tail if call is trace.calls[-1] else ())

    def _wrong(self, said: Message, after: tuple[Message, ...]) -> str | None:
        if not said.tool_calls:
            return None
        if (name := unknown(said, self.at_hand)) is not None:
            return f"it calls {name!r}, and the agent has no such tool"
        answers = dict(_answers(after))
        for asked in said.tool_calls:
            answer = answers.get(asked.id)
            if self._failed(asked, answer):
                return f"its call of {asked.function.name!r} failed"
        return None

    def _failed(self, asked: ToolCall, answer: Message | None) -> bool:
        if answer is not None and says_failed(answer, words=self._words):
            return True
        if not self._failing:
            return False
        name, arguments = asked.function.name, asked.function.arguments
        told = None if answer is None else answer.text
        return (name, arguments, told) in self._failing or (name, arguments, None) in self._failing


def failing(trace: Trace) -> Failing:
    """The tool calls that failed by what the steps of a trace say: also those of which the model
    was told in the user's own words. A trace that was read without steps has none."""
    return frozenset(
        (span.name, arguments, said if isinstance(said := span.data.get("output"), str) else None)
        for span in trace.spans
        if span.kind is SpanKind.TOOL and span.error is not None
        if isinstance(arguments := span.data.get("input"), str)
    )


def at_hand(trace: Trace, call: Call) -> frozenset[str] | None:
    """The names of the tools that a call's agent had; None where the source of the trace may not
    say, for no call of the trace has any."""
    if trace.source != "sdk" and not any(one.tools for one in trace.calls):
        return None
    found = (tool.get("function") for tool in call.tools)
    return frozenset(one["name"] for one in found if isinstance(one, dict) and "name" in one)


def unknown(said: Message, at_hand: frozenset[str] | None) -> str | None:
    """The first tool that a message calls and that is not at hand; None when there is none, or
    nobody knows what was at hand."""
    if at_hand is None:
        return None
    called = (call.function.name for call in said.calls)
    return next((name for name in called if name not in at_hand), None)


def says_failed(answer: Message, *, words: bool = False) -> bool:
    """Whether a tool's answer says that the call failed.

    It does where it is marked (`is_error` or `isError`; on the message also `error` and `"status":
    "error"`), or begins with what the Agents SDK writes.

    Args:
        words: also where a tool says so in its own words: text that begins with `Error:`, or JSON
            with an `error`. Many tools report what is no failure that way: that there is no such
            order is what a customer is to be told.

    >>> told = Message(role="tool", content='{"error": "there is no order 7"}')
    >>> says_failed(told), says_failed(told, words=True)
    (False, True)
    """
    marks = answer.model_extra or {}
    if marks.get("status") == "error" or True in map(marks.get, (*MARKS, "error")):
        return True
    text = answer.text.lstrip()
    if SAID_BY_THE_SDK.match(text) or (words and text.startswith("Error:")):
        return True
    if not text.startswith("{") or not any(f'"{name}"' in text for name in (*MARKS, "error")):
        return False
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if any(told.get(name) is True for name in MARKS):
        return True
    error = told.get("error")  # a number may be a rate, or a count
    return words and (error is True or (isinstance(error, str | dict | list) and bool(error)))


def _answers(after: tuple[Message, ...]) -> Iterator[tuple[str, Message]]:
    """What tools answered, by the ids of the calls: up to whoever speaks next."""
    for message in after:
        if message.role != "tool":
            return
        if message.tool_call_id is not None:
            yield message.tool_call_id, message
