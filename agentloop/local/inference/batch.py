"""Continuous batching: sequences join and leave between steps, and every step serves all of them.

A prompt is computed apart (`admit`), starting from the longest beginning that another row or an
earlier request has in common with it; then its row takes part in `step`, one token at a time.
Source of the idea: Yu et al., "Orca: A Distributed Serving System for Transformer-Based Generative
Models", OSDI 2022 (iteration-level scheduling).
"""

import inspect
from collections import deque
from collections.abc import Collection, Sequence
from typing import Any

import torch

from agentloop.local.inference.attention import Attention
from agentloop.local.inference.prefixes import WORTH, Beginnings, Prefixes, shared, tokens
from agentloop.local.inference.rows import Rows
from agentloop.local.inference.sampling import Odds, Sampling, choose, odds

PREFILL = 2048
"""Prompt tokens computed in one pass, padding included."""

_MORE = 128
"""Tokens that a sequence is expected to grow by when it is asked whether it fits."""


class Run:
    """One sequence being generated. Subclasses watch `take`."""

    def __init__(self, prompt: Sequence[int], sampling: Sampling, room: int) -> None:
        """`room`: tokens it may write, at least 1."""
        self.prompt = list(prompt)
        self.sampling = sampling
        self.room = room
        self.out: list[int] = []
        self.finish: str | None = None
        """None while it goes on; then `stop`, `length`, or `failed`: no token may come next."""
        self.reused = 0
        """Tokens of the prompt that had been computed before."""
        self.odds: list[Odds] = []
        """Of each token written, where `sampling` says them."""
        self.wanted = tokens(self.prompt)

    def take(self, token: int, ends: Collection[int]) -> None:
        """The next token has been chosen; `ends` are those that end a sequence."""
        self.out.append(token)
        if self.sampling.bound is not None and self.sampling.bound.failure:
            self.finish = "failed"
        elif token in ends:
            self.finish = "stop"
        elif len(self.out) >= self.room:
            self.finish = "length"

    @property
    def text_ids(self) -> list[int]:
        """What was written, without the token that ended it."""
        return self.out[:-1] if self.finish == "stop" and self.out else self.out


class Batch:
    """The running sequences of one model. Not for several threads."""

    def __init__(
        self,
        model: Any,
        ends: Collection[int],
        *,
        slots: int,
        capacity: int = 0,
        prefixes: Prefixes | None = None,
    ) -> None:
        """A batch on `model`, a transformers causal LM in evaluation mode.

        Args:
            ends: tokens that end a sequence.
            slots: how many sequences run at once, at most.
            capacity: tokens of keys and values, the longest sequence times their number, from
                which on no more are admitted; 0 sets no such bound.
            prefixes: where beginnings are kept for sequences to come.

        Raises:
            ConfigError: it has layers that keep something other than keys and values.
        """
        self._model = model
        self._ends = frozenset(ends)
        self._attention = Attention.of(model)
        self._slots, self._capacity = slots, capacity
        self._rows = Rows(model.config.get_text_config().num_hidden_layers)
        self._prefixes = prefixes
        self._device = model.device
        takes = inspect.signature(model.forward).parameters
        self._keeps = "logits_to_keep" in takes
        # transformers calls it so from 5.24 on.
        self._cache = "cache" if "cache" in takes else "past_key_values"
        self.runs: list[Run] = []
        """Row n of the buffers belongs to run n."""
        self._prompts = Beginnings()
        """Those of `runs`."""

    @property
    def free(self) -> int:
        """Rows that can be admitted."""
        return self._slots - len(self.runs)

    @torch.inference_mode()
    def admit(self, waiting: deque[Run]) -> None:
        """Compute the prompts of as many waiting runs as fit one pass; they have a first token."""
        group = self._group(waiting)
        if not group:
            return
        try:
            logits_BV = self._prefill(group)
        except Exception:
            waiting.extendleft(reversed(group))  # whoever hears of it has to find them
            raise
        self.runs += group
        for run in group:
            self._prompts.add(run.wanted, id(run))
        self._choose(group, logits_BV)

    def _prefill(self, group: Sequence[Run]) -> torch.Tensor:
        """The logits after the prompts of runs that are about to join."""
        first = len(self.runs)
        starts = []
        for n, run in enumerate(group):
            run.reused = self._reuse(first + n, run)
            starts.append(run.reused)
        rests = [run.prompt[start:] for run, start in zip(group, starts, strict=True)]
        # Only a run that is alone may be longer than one pass.
        while len(rests[0]) > PREFILL:
            self._forward(first, [rests[0][:PREFILL]], starts)
            rests, starts = [rests[0][PREFILL:]], [starts[0] + PREFILL]
        return self._forward(first, rests, starts)

    @torch.inference_mode()
    def step(self) -> None:
        """One more token for every run."""
        if self.runs:
            last = [[run.out[-1]] for run in self.runs]
            starts = [len(run.prompt) + len(run.out) - 1 for run in self.runs]
            self._choose(self.runs, self._forward(0, last, starts))

    @torch.inference_mode()
    def drop(self, run: Run) -> None:
        """Take a run out; its row is free."""
        n, last = self.runs.index(run), len(self.runs) - 1
        # The newest token was chosen, but not computed.
        length = len(run.prompt) + max(0, len(run.out) - 1)
        if self._prefixes is not None and length >= WORTH:
            finished = tokens((run.prompt + run.out)[:length])
            if self._prefixes.wants(finished):
                self._prefixes.keep(finished, self._rows.snapshot(n, length))
        if n != last:
            moved = self.runs[last]
            self._rows.copy(last, n, len(moved.prompt) + len(moved.out))
            self.runs[n] = moved
        self.runs.pop()
        self._prompts.remove(run.wanted, id(run))
        if not self.runs:
            self._rows.free()

    def _group(self, waiting: deque[Run]) -> list[Run]:
        """The runs of the next pass, taken from `waiting`.

        A prompt that shares more with one of this pass than with anything computed waits: after
        the pass, it starts where the two part.
        """
        group: list[Run] = []
        passed: list[Run] = []
        longest = 0
        while waiting and len(group) < self.free:
            run = waiting.popleft()
            known = self._known(run)
            rest = len(run.prompt) - known
            if any(shared(run.wanted, other.wanted) >= known + WORTH for other in group):
                passed.append(run)
                continue
            crowded = group and max(longest, rest) * (len(group) + 1) > PREFILL
            if crowded or not self._fits([*self.runs, *group, run]):
                waiting.appendleft(run)
                break
            group.append(run)
            longest = max(longest, rest)
        waiting.extendleft(reversed(passed))
        return group

    def _fits(self, runs: Sequence[Run]) -> bool:
        """Whether there is room for all of them, and for some tokens more. One always fits."""
        longest = max(len(run.prompt) + len(run.out) for run in runs)
        cells = (longest + _MORE) * len(runs)
        return not self._capacity or len(runs) == 1 or cells <= self._capacity

    def _known(self, run: Run) -> int:
        """Tokens of the prompt that need not be computed."""
        best, _ = self._prompts.nearest(run.wanted)
        if self._prefixes is not None:
            best = max(best, self._prefixes.longest(run.wanted)[0])
        return _usable(best, run)

    def _reuse(self, row: int, run: Run) -> int:
        """Put into `row` what is known of the prompt; how many tokens that is."""
        best, whose = self._prompts.nearest(run.wanted)
        stored, snapshot = (0, None)
        if self._prefixes is not None:
            stored, snapshot = self._prefixes.longest(run.wanted)
        known = _usable(max(best, stored), run)
        if not known:
            return 0
        if snapshot is not None and stored > best:
            self._rows.load(row, snapshot, known)
        else:
            source = next(n for n, other in enumerate(self.runs) if id(other) == whose)
            self._rows.copy(source, row, known)
        return known

    def _forward(
        self, first: int, chunks: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> torch.Tensor:
        """Compute `chunks` in the rows from `first` on; the logits after the last token of each."""
        width = max(len(chunk) for chunk in chunks)
        ids_BT = torch.tensor([[*chunk, *[0] * (width - len(chunk))] for chunk in chunks])
        ids_BT = ids_BT.to(self._device)
        steps_T = torch.arange(width, device=self._device)
        starts_B1 = torch.tensor(starts, device=self._device)[:, None]
        ends_B1 = starts_B1 + torch.tensor([[len(chunk) - 1] for chunk in chunks]).to(self._device)
        # Padding is written beyond the row's end, where its own next token will overwrite it.
        places_BT = starts_B1 + steps_T
        span = max(starts) + width
        self._rows.aim(first, places_BT, span)
        distance_BTS = places_BT[:, :, None] - torch.arange(span, device=self._device)
        lasts = [len(chunk) - 1 for chunk in chunks]
        kept = sorted(set(lasts))
        options = {"logits_to_keep": torch.tensor(kept, device=self._device)} if self._keeps else {}
        logits_BKV: torch.Tensor = self._model(
            input_ids=ids_BT,
            attention_mask=self._attention.masks(distance_BTS >= 0, distance_BTS),
            position_ids=torch.minimum(places_BT, ends_B1),
            use_cache=True,
            **{self._cache: self._rows.cache},
            **options,
        ).logits
        at = [kept.index(last) for last in lasts] if self._keeps else lasts
        return logits_BKV[torch.arange(len(chunks)), torch.tensor(at)]

    def _choose(self, runs: Sequence[Run], logits_BV: torch.Tensor) -> None:
        samplings = [run.sampling for run in runs]
        chosen = choose(logits_BV, samplings)
        for n, said in odds(logits_BV, samplings, chosen).items():
            runs[n].odds.append(said)
        for run, token in zip(runs, chosen, strict=True):
            run.take(token, self._ends)
        for run in [run for run in runs if run.finish is not None]:
            self.drop(run)


def generate(batch: Batch, runs: Sequence[Run]) -> None:
    """Run all of `runs` to their ends."""
    waiting = deque(runs)
    while waiting or batch.runs:
        batch.admit(waiting)
        batch.step()


def _usable(known: int, run: Run) -> int:
    """At least the last token is computed, because its logits choose the next one."""
    known = min(known, len(run.prompt) - 1)
    return known if known >= WORTH else 0
