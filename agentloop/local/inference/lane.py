"""One loaded model and what it is generating."""

import logging
from collections import deque
from collections.abc import Collection, Sequence

from agentloop.base.errors import RecordError
from agentloop.local.disk.models import Model
from agentloop.local.inference import weights
from agentloop.local.inference.batch import Batch, Run
from agentloop.local.inference.dialect import Dialect
from agentloop.local.inference.engine import Listener
from agentloop.local.inference.prefixes import Prefixes
from agentloop.local.inference.sampling import Sampling
from agentloop.local.inference.transcript import Transcript

log = logging.getLogger(__name__)

PREFIXES = 128 << 20
"""Bytes of prompts kept for each model, see `prefixes`."""

PATIENCE = 4
"""Steps that a prompt for a small model may wait for others, where some are being answered: a pass
over one prompt takes about as long as one over several."""


class Generation(Run):
    """A run that somebody listens to, as text."""

    def __init__(
        self,
        model: Model,
        prompt: Sequence[int],
        sampling: Sampling,
        room: int,
        *,
        transcript: Transcript,
        listener: Listener,
        streamed: bool,
    ) -> None:
        """`streamed`: the listener hears each piece as it comes, not all at the end."""
        super().__init__(prompt, sampling, room)
        self.model = model
        self.listener = listener
        self.cancelled = False
        """Set by any thread; the run leaves the batch before its next token."""
        self._transcript = transcript
        self._streamed = streamed
        self._unsaid = ""
        self._told = 0
        """Tokens whose odds the listener knows."""

    def take(self, token: int, ends: Collection[int]) -> None:
        super().take(token, ends)
        if self.finish == "failed":
            why = self.sampling.bound.failure if self.sampling.bound else ""
            self.listener.fail(RecordError(f"the answer cannot go on in its form: {why}"))
            return
        if token not in ends:
            self._unsaid += self._transcript.add(token)
        if self._transcript.stopped:
            self.finish = "stop"
        if self.finish is not None:
            self._unsaid += self._transcript.end()
        if self._unsaid and (self._streamed or self.finish is not None):
            told = len(self.out) - (token in ends)
            self.listener.say(self._unsaid, self.odds[self._told : told])
            self._unsaid, self._told = "", told
        if self.finish is not None:
            self.listener.close(self.finish)


class Lane:
    """A model in memory, its running batch and those who wait for it."""

    def __init__(self, model: Model, dialect: Dialect, *, max_batch: int) -> None:
        self._model = weights.load(model)
        self.size = weights.size(self._model) + PREFIXES
        """Bytes it may take."""
        self._small = weights.small(self._model)
        self._waited = 0
        """Steps that the prompts at hand have waited."""
        self._ends = dialect.ends
        self._max_batch = max_batch
        self._waiting: deque[Run] = deque()
        self._batch = self._fresh()

    @property
    def busy(self) -> bool:
        """Whether it has anything to generate."""
        return bool(self._waiting or self._batch.runs)

    def forget_prompts(self) -> None:
        """Give back what is kept for prompts to come. Only for one that is not busy."""
        self._batch = self._fresh()

    def add(self, generation: Generation) -> None:
        """Let a generation wait for its turn."""
        self._waiting.append(generation)

    def turn(self) -> None:
        """One pass over new prompts and one token for each running one."""
        try:
            for run in [run for run in (*self._waiting, *self._batch.runs) if _left(run)]:
                if run in self._waiting:
                    self._waiting.remove(run)
                else:
                    self._batch.drop(run)
            with weights.one_thread(when=self._small):
                if self._due():
                    self._batch.admit(self._waiting)
                self._batch.step()
        except Exception as error:  # the thread must live: others have models too
            log.exception("generation failed")
            self.fail(error)

    def _due(self) -> bool:
        """Whether the prompts that wait are computed now."""
        few = len(self._waiting) < PATIENCE <= len(self._batch.runs)
        if self._small and self._waiting and few and self._waited + 1 < PATIENCE:
            self._waited += 1
            return False
        self._waited = 0
        return True

    def fail(self, error: Exception) -> None:
        """Tell all who listen that there is no answer, and begin anew."""
        for run in (*self._waiting, *self._batch.runs):
            if isinstance(run, Generation):
                run.listener.fail(error)
        self._waiting.clear()
        self._batch = self._fresh()

    def _fresh(self) -> Batch:
        return Batch(
            self._model,
            self._ends,
            slots=self._max_batch,
            capacity=weights.room() // weights.cell(self._model),
            prefixes=Prefixes(PREFIXES),
        )


def _left(run: Run) -> bool:
    return isinstance(run, Generation) and run.cancelled
