"""Answers to train on: the model in training answers prompts, a grader says what they are worth.

The same batch, dialect and reading as in serving, so what earns a reward is what a client would
have got. Prompts that are answered several times are computed once.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from agentloop.base.records import Json
from agentloop.graders import Grade, Grader, sample_of
from agentloop.local.inference import weights
from agentloop.local.inference.batch import Batch, Run, generate
from agentloop.local.inference.dialect import Dialect, Prompt
from agentloop.local.inference.reading import Reader, message
from agentloop.local.inference.sampling import Sampling

SLOTS = 64
"""Answers that are generated at once; twice as many by a small model."""


class Item(NamedTuple):
    """One row of the training file, ready to be asked."""

    row: Json
    prompt: Prompt


class Rollouts:
    """Asks and grades; `grader` is closed by whoever made it."""

    def __init__(
        self, dialect: Dialect, grader: Grader, *, temperature: float, longest: int
    ) -> None:
        """`longest`: tokens of an answer."""
        self._dialect, self._grader = dialect, grader
        self._temperature, self._longest = temperature, longest

    def answers(self, model: Any, prompts: Sequence[list[int]], *, seed: str) -> list[list[int]]:
        """One answer of `model` to each prompt, in tokens, the one that ends it included."""
        runs = [
            Run(
                prompt,
                Sampling(self._temperature, seed=random.Random(f"{seed}/{n}").getrandbits(62)),
                max(1, min(self._longest, self._dialect.context - len(prompt))),
            )
            for n, prompt in enumerate(prompts)
        ]
        small = weights.small(model)
        batch = Batch(model, self._dialect.ends, slots=2 * SLOTS if small else SLOTS)
        with _evaluating(model), weights.one_thread(when=small):
            generate(batch, runs)
        return [run.out for run in runs]

    def grade(self, asked: Sequence[tuple[Item, list[int]]]) -> list[Grade]:
        """What each answer is worth for its item."""
        return self._grader.grade_many(
            [(self._sample(item, answer), item.row) for item, answer in asked]
        )

    def _sample(self, item: Item, answer: list[int]) -> Json:
        ended = answer[-1] in self._dialect.ends
        text = self._dialect.tokenizer.decode(
            answer[:-1] if ended else answer, skip_special_tokens=False
        )
        reader = Reader(
            getattr(self._dialect.tokenizer, "response_template", None),
            item.prompt.text,
            tools=bool(item.row.get("tools")),
        )
        said = message([*reader.feed(text), *reader.end()])
        finish = "tool_calls" if said.get("tool_calls") else "stop" if ended else "length"
        choice = {"index": 0, "message": said, "finish_reason": finish}
        return sample_of(said, [choice])


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)
