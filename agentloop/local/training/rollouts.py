"""Rollouts to train on: the model in training answers items, a grader says what that is worth.

The same batch, dialect and reading as in serving, so what earns a reward is what a client would
have got. Prompts that are answered several times are computed once. Where the job has servers for
tools, a rollout is an episode: its calls are made, what they return is put before the model, and it
goes on until it answers without a call. All episodes take their turns together.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import uuid4

from agentloop.base.records import Json
from agentloop.graders import Grade, Grader, sample_of
from agentloop.local.inference import weights
from agentloop.local.inference.batch import Batch, Run, generate
from agentloop.local.inference.dialect import Dialect, Prompt
from agentloop.local.inference.grammar import Bound, Grammars, Wish
from agentloop.local.inference.reading import Reader, message
from agentloop.local.inference.sampling import Sampling
from agentloop.local.training.tools import Asked, Tools

SLOTS = 64
"""Answers that are generated at once; twice as many by a small model."""

STEPS = 10
"""Messages of the model in one episode, where the job does not say."""


class Item(NamedTuple):
    """One row of the training file, ready to be asked."""

    row: Json
    prompt: Prompt


@dataclass
class Rollout:
    """What the model made of an item."""

    item: Item
    ids: list[int] = field(default_factory=list)
    """All tokens after the prompt: the model's own, and what its tools returned."""
    own: list[int] = field(default_factory=list)
    """For each of them 1, if the model wrote it, else 0."""
    messages: list[Json] = field(default_factory=list)
    """The same as messages: the model's, and its tools' results."""
    finish: str = "length"
    """How it ended: `stop`, `tool_calls`, `length`; `steps`, when there were too many."""
    dropped: str | None = None
    """Why it is worth nothing to anybody: a tool's server failed, say."""
    trace: str = field(default_factory=lambda: f"trace_{uuid4().hex}")

    @property
    def sample(self) -> Json:
        """What graders see: the last message, the tool calls of all of them, every message (as
        `messages`), and `trace_id`, which calls and grading have in common."""
        said = self.messages[-1] if self.messages else {"role": "assistant", "content": ""}
        finish = "length" if self.finish == "steps" else self.finish
        sample = sample_of(said, [{"index": 0, "message": said, "finish_reason": finish}])
        calls = [call for one in self.messages for call in one.get("tool_calls") or ()]
        return sample | {"output_tools": calls, "messages": self.messages, "trace_id": self.trace}


class Rollouts:
    """Asks and grades; `grader` and `tools` are closed by whoever made them."""

    def __init__(
        self,
        dialect: Dialect,
        grader: Grader,
        *,
        temperature: float,
        longest: int,
        tools: Tools | None = None,
        steps: int = STEPS,
        response_format: Json | None = None,
    ) -> None:
        """
        Args:
            longest: tokens of one message.
            tools: who is called; None: nobody, and a call ends a rollout.
            steps: messages of the model in an episode, at most.
            response_format: what answers are held to, as in chat completions.
        """
        self._response_format = response_format
        self._grammars: Grammars | None = None
        self._dialect, self._grader = dialect, grader
        self._temperature, self._longest = temperature, longest
        self._tools, self._steps = tools or Tools(()), steps

    def play(self, model: Any, items: Sequence[Item], *, seed: str) -> list[Rollout]:
        """One rollout of `model` for each item."""
        rollouts = [Rollout(item) for item in items]
        going = list(enumerate(rollouts))
        for step in range(self._steps):
            again = f"/{step}" if step else ""
            seeds = [random.Random(f"{seed}/{n}{again}").getrandbits(62) for n, _ in going]
            self._answer(model, [one for _, one in going], seeds)
            calling = [one for _, one in going if self._calls(one)]
            if step + 1 == self._steps:
                for one in calling:
                    one.finish = "steps"
                break
            self._call(calling)
            going = [(n, one) for n, one in going if one.messages[-1]["role"] == "tool"]
            if not going:
                break
        return rollouts

    def grade(self, rollouts: Sequence[Rollout]) -> list[Grade | None]:
        """What each is worth for its item; None where it was dropped."""
        kept = [one for one in rollouts if one.dropped is None]
        grades = iter(self._grader.grade_many([(one.sample, one.item.row) for one in kept]))
        return [None if one.dropped is not None else next(grades) for one in rollouts]

    def bound(self, item: Item) -> Bound | None:
        """What an answer to it is held to, as in serving.

        Raises:
            Unkept: it asks for what cannot be kept.
        """
        wish = Wish.of(self._response_format, item.row.get("tools") or ())
        if wish.schema is None and not any(function.strict for function in wish.functions):
            return None
        if self._grammars is None:
            self._grammars = Grammars(self._dialect)
        return self._grammars.bound(wish, item.prompt.text)

    def _answer(self, model: Any, rollouts: Sequence[Rollout], seeds: Sequence[int]) -> None:
        """The next message of each."""
        runs = [
            Run(
                [*one.item.prompt.ids, *one.ids],
                Sampling(self._temperature, seed=seed, bound=self.bound(one.item)),
                max(1, min(self._longest, self._room(one))),
            )
            for one, seed in zip(rollouts, seeds, strict=True)
        ]
        small = weights.small(model)
        batch = Batch(model, self._dialect.ends, slots=2 * SLOTS if small else SLOTS)
        with _evaluating(model), weights.one_thread(when=small):
            generate(batch, runs)
        for one, run in zip(rollouts, runs, strict=True):
            one.ids += run.out
            one.own += [1] * len(run.out)
            said = self._read(one.item, run.out)
            one.messages.append(said)
            ended = run.out[-1] in self._dialect.ends
            one.finish = "tool_calls" if said.get("tool_calls") else "stop" if ended else "length"

    def _room(self, one: Rollout) -> int:
        return self._dialect.context - len(one.item.prompt.ids) - len(one.ids)

    def _calls(self, one: Rollout) -> bool:
        """Whether it waits for its tools: each of its calls can be made, and its message ended."""
        calls = one.messages[-1].get("tool_calls") or ()
        names = {call["function"]["name"] for call in calls}
        return bool(names) and names <= self._tools.names and one.ids[-1] in self._dialect.ends

    def _call(self, rollouts: list[Rollout]) -> None:
        """Have the calls of each made; those that failed leave the list."""
        asked = [
            Asked(call, one.item.row, one.trace)
            for one in rollouts
            for call in one.messages[-1]["tool_calls"]
        ]
        results = iter(self._tools.call(asked))
        for one in list(rollouts):
            said = one.messages[-1]
            told = []
            for call in said["tool_calls"]:
                result = next(results)
                if result.failed is not None:
                    one.dropped = f"{call['function']['name']}: {result.failed}"
                told.append({"role": "tool", "tool_call_id": call["id"], "content": result.output})
            if one.dropped is not None:
                rollouts.remove(one)
                continue
            before = [*one.item.row["messages"], *one.messages[:-1]]
            ids = self._dialect.going_on(before, one.item.row.get("tools"), said, told)
            one.ids += ids
            one.own += [0] * len(ids)
            one.messages += told
            if self._room(one) <= 0:
                self._cut(one, ids, len(told))

    def _cut(self, one: Rollout, ids: list[int], told: int) -> None:
        """Take back results that leave no room for an answer: the episode has ended before them."""
        del one.ids[-len(ids) :], one.own[-len(ids) :], one.messages[-told:]
        one.finish = "length"

    def _read(self, item: Item, answer: list[int]) -> Json:
        ended = answer[-1] in self._dialect.ends
        text = self._dialect.tokenizer.decode(
            answer[:-1] if ended else answer, skip_special_tokens=False
        )
        reader = Reader(
            getattr(self._dialect.tokenizer, "response_template", None),
            item.prompt.text,
            tools=bool(item.row.get("tools")),
        )
        return message([*reader.feed(text), *reader.end()])


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)
