"""The demo's traffic: customers write, the agent answers, and the shop sees what came of it."""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from agents import Agent, AgentsException, ModelSettings, RunConfig
from openai import OpenAIError

from agentloop.loop import AgentLoop
from agentloop.ui.demo import customer
from agentloop.ui.demo.requests import Request
from agentloop.ui.demo.shop import Shop

AT_ONCE = 128
"""Customers who write at the same time."""

Room = asyncio.Semaphore
"""Room for so many customers."""


class Answered(NamedTuple):
    """One conversation, and what came of it."""

    request: Request
    trace_id: str
    answer: str | None
    """None when the run ended in an error."""
    call_id: str | None
    """The call that gave the answer."""
    resolved: bool
    """Whether the shop's database is in the state that the request wanted."""

    @property
    def liked(self) -> bool:
        """Whether the answer is to the customer's taste."""
        return self.answer is not None and customer.likes(self.answer, self.request)


async def serve(
    loop: AgentLoop,
    agent: Agent[Shop],
    requests: Sequence[Request],
    *,
    provider: Any,
    room: Room,
    times: int = 1,
    told: Callable[[], None] = lambda: None,
    **options: Any,
) -> list[Answered]:
    """The answers to `requests`, each asked `times` times, in that order.

    Args:
        provider: where the agent's own model answers.
        room: for those who write at the same time.
        told: called after each conversation.
        options: go to `loop.run`.
    """

    async def one(request: Request, attempt: int) -> Answered:
        try:
            answered = await _converse(loop, agent, request, attempt, provider, options)
        finally:
            room.release()
        told()
        return answered

    asked = []
    async with asyncio.TaskGroup() as group:
        for request in requests:
            for attempt in range(times):
                await room.acquire()
                asked.append(group.create_task(one(request, attempt)))
                await asyncio.sleep(0)  # not all in one moment: the model answers the first ones
    return [task.result() for task in asked]


async def _converse(
    loop: AgentLoop,
    agent: Agent[Shop],
    request: Request,
    attempt: int,
    provider: Any,
    options: dict[str, Any],
) -> Answered:
    """One customer, one conversation, one copy of the shop. The rule that judges it is the state
    of the shop's database, recorded as the outcome `resolved`."""
    seed = ModelSettings(extra_args={"seed": hash_of(request.id, attempt)})
    config = RunConfig(model_provider=provider, model_settings=seed, workflow_name="shop")
    with Shop([request.order]) as shop:
        try:
            result = await loop.run(
                agent,
                request.text,
                context=shop,
                max_turns=6,
                run_config=config,
                user=f"customer-{request.id}",
                task_id=request.id,
                **options,
            )
            trace_id, call_id, answer = result.trace_id, result.call_id, result.final_output
        except (AgentsException, OpenAIError) as error:
            # A run that fails is a result too: the customer was not helped.
            trace_id, call_id, answer = error.__dict__["trace_id"], None, None
        resolved = answer is not None and request.resolved(shop)
    loop.outcome(trace_id, "resolved", resolved, reference=request.first_call)
    return Answered(request, trace_id, answer, call_id, resolved)


def press_thumbs(loop: AgentLoop, answers: Iterable[Answered]) -> int:
    """The customers say of each answer whether they like it; how many thumbs that made. A customer
    who was not helped likes no answer."""
    pressed = 0
    for one in answers:
        if one.call_id is not None:
            verdict = "up" if one.resolved and one.liked else "down"
            loop.rate(one.trace_id, verdict, by=f"customer-{one.request.id}", call=one.call_id)
            pressed += 1
    return pressed


def correct(loop: AgentLoop, answers: Iterable[Answered], *, most: int) -> int:
    """Some customers write what they would have liked to read; how many did."""
    wordy = [one for one in answers if one.resolved and not one.liked]
    for one in wordy[:most]:
        said = customer.better(one.request)
        loop.correct(one.trace_id, said, call=one.call_id, by=f"customer-{one.request.id}")
    return len(wordy[:most])


def put_right(loop: AgentLoop, answers: Iterable[Answered], *, most: int) -> int:
    """The shop's staff take over some conversations that failed, and say which call would have
    been right where the first one was wrong; how many they did."""
    done = 0
    for one in answers:
        if done < most and not one.resolved:
            done += _put_right(loop, one)
    return done


def _put_right(loop: AgentLoop, one: Answered) -> bool:
    """Correct the first call of `one` that the staff would have made differently."""
    calls = loop.judgement(one.trace_id).trace.calls
    for call, wanted in zip(calls, one.request.right_calls, strict=False):
        made = [
            (asked.function.name, asked.function.arguments)
            for asked in (call.output.calls if call.output else ())
        ]
        arguments = json.dumps(wanted["arguments"])
        if made == [(wanted["name"], arguments)]:
            continue
        function = {"name": wanted["name"], "arguments": arguments}
        asked = {"id": "call_1", "type": "function", "function": function}
        message = {"role": "assistant", "content": None, "tool_calls": [asked]}
        loop.correct(one.trace_id, message, call=call.id, by="staff")
        return True
    return False


def hash_of(id: str, attempt: int) -> int:
    """A seed for the model's sampling: the same conversation, the same dice."""
    from hashlib import blake2b

    return int.from_bytes(blake2b(f"{id}/{attempt}".encode(), digest_size=4).digest(), "big") >> 1
