"""The engine: one thread that owns torch, keeps models in memory and serves all of them in turn."""

import logging
import os
import queue
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from agentloop.base.errors import ConfigError
from agentloop.local.disk.models import Model
from agentloop.local.inference.dialect import Dialect

if TYPE_CHECKING:  # torch takes seconds to import, and the server answers before that
    from agentloop.local.inference.grammar import Grammars
    from agentloop.local.inference.lane import Generation, Lane
    from agentloop.local.inference.sampling import Odds

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Who asked for a generation. Called on the engine's thread; must not block."""

    def say(self, text: str, odds: "Sequence[Odds]" = ()) -> None:
        """More of the answer, and the odds of tokens that no earlier piece came with."""

    def close(self, finish: str) -> None:
        """The answer is complete: `stop` or `length`."""

    def fail(self, error: Exception) -> None:
        """There will be no answer, or no more of it."""


class Engine:
    """Start it, submit generations, close it. Safe to call from any thread."""

    def __init__(self, *, max_batch: int = 64, memory: int = 0, threads: int = 0) -> None:
        """
        Args:
            max_batch: sequences of one model that are generated at once.
            memory: bytes of models kept loaded, those unused longest go first; 0 takes a quarter
                of the machine's, or most of the GPU's.
            threads: CPU threads of torch; 0 leaves it to torch.
        """
        self._max_batch, self._memory, self._threads = max_batch, memory, threads
        self._inbox: queue.SimpleQueue[tuple[str, object]] = queue.SimpleQueue()
        self._lanes: OrderedDict[str, Lane] = OrderedDict()
        """Loaded models, the last used last. Touched by the engine's thread alone."""
        self._dialects: dict[str, Dialect] = {}
        self._grammars: dict[str, Grammars] = {}
        self._reading = threading.Lock()
        self._ready = threading.Event()
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def state(self) -> str:
        """`loading`, `ready`, or why it cannot work."""
        if self._failure is not None:
            return self._failure
        return "ready" if self._ready.is_set() else "loading"

    def start(self) -> None:
        """Begin to import torch, in the background."""
        self._thread.start()

    def close(self) -> None:
        """Fail what is unfinished and end the thread."""
        self._inbox.put(("close", None))
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until torch is there, or known not to be; whether that came to pass."""
        return self._ready.wait(timeout)

    def known_dialect(self, model: Model) -> Dialect | None:
        """How the model talks, where somebody has asked before. Does not wait."""
        return self._dialects.get(str(model.weights))

    def dialect(self, model: Model) -> Dialect:
        """How the model talks. Waits until the engine is ready.

        Raises:
            ConfigError: the model cannot talk, or torch is not installed.
        """
        self._ready.wait()
        if self._failure is not None:
            raise ConfigError(self._failure)
        key = str(model.weights)
        with self._reading:
            if key not in self._dialects:
                self._dialects[key] = Dialect(model.weights)
            return self._dialects[key]

    def grammars(self, model: Model) -> "Grammars":
        """What the model can be held to. Takes a second where the vocabulary is large."""
        from agentloop.local.inference.grammar import Grammars

        dialect = self.dialect(model)
        key = str(model.weights)
        with self._reading:
            if key not in self._grammars:
                self._grammars[key] = Grammars(dialect)
            return self._grammars[key]

    def submit(self, generation: "Generation") -> None:
        """Generate; the generation's listener hears of it."""
        self._inbox.put(("generate", generation))

    def forget(self, model: str) -> None:
        """The model was deleted."""
        self._inbox.put(("forget", model))

    def _run(self) -> None:
        try:
            self._prepare()
        except ImportError as error:
            self._failure = (
                f"the local provider needs PyTorch and transformers ({error}): pip install "
                '"openagentloop[local]"'
            )
        self._ready.set()
        while self._failure is None and self._hear():
            for lane in list(self._lanes.values()):
                lane.turn()
        self._refuse_all()

    def _prepare(self) -> None:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a waiting thread takes no processor
        import torch

        # All of it is slow, and half would come with the first request.
        from transformers import (  # noqa: F401
            AutoModelForCausalLM,
            AutoTokenizer,
            activations,
            masking_utils,
            modeling_layers,
        )

        from agentloop.local.inference import lane, weights  # noqa: F401 - loaded once, here

        if self._threads:
            torch.set_num_threads(self._threads)
        self._memory = self._memory or weights.room()
        weights.quiet()

    def _hear(self) -> bool:
        """Take what has come in; wait for it if there is nothing else to do. False: close."""
        idle = not any(lane.busy for lane in self._lanes.values())
        while True:
            try:
                what, subject = self._inbox.get(block=idle)
            except queue.Empty:
                return True
            idle = False
            if what == "close":
                return False
            if what == "forget":
                if (lane := self._lanes.pop(str(subject), None)) is not None:
                    lane.fail(ConfigError(f"the model {subject!r} was deleted"))
            else:
                self._accept(subject)  # type: ignore[arg-type]

    def _accept(self, generation: "Generation") -> None:
        try:
            self._lane(generation.model).add(generation)
        except Exception as error:  # noqa: BLE001 - the thread must live: others have models too
            log.warning("cannot serve %s: %r", generation.model.id, error)
            generation.listener.fail(error)

    def _lane(self, model: Model) -> "Lane":
        from agentloop.local.inference import lane

        if model.id not in self._lanes:
            dialect = self.dialect(model)
            made = lane.Lane(model, dialect, max_batch=self._max_batch)
            self._lanes[model.id] = made
            self._make_room(model.id)
        self._lanes.move_to_end(model.id)
        return self._lanes[model.id]

    def _make_room(self, newest: str) -> None:
        idle = {n: lane for n, lane in self._lanes.items() if n != newest and not lane.busy}
        for lane in idle.values():
            lane.forget_prompts()
        held = sum(lane.size for lane in self._lanes.values())
        for name, lane in idle.items():
            if held > self._memory:
                held -= lane.size
                del self._lanes[name]

    def _refuse_all(self) -> None:
        gone = ConfigError(self._failure or "the server is shutting down")
        for lane in self._lanes.values():
            lane.fail(gone)
        while True:
            try:
                what, subject = self._inbox.get(block=self._failure is not None)
            except queue.Empty:
                return
            if what == "close":
                return
            if what == "generate":
                subject.listener.fail(gone)  # type: ignore[attr-defined]
