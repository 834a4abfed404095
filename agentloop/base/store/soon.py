"""Something that is found out in a thread, while who wants it does something else."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Soon(Generic[T]):
    """What `work` returns. Its thread ends with it: nothing stays behind, and nothing is waited
    for when a process ends."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._future: Future[T] = Future()
        self._thread: Thread | None = Thread(target=self._run, name="agentloop-soon", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the process ends, and has no new threads
            self._thread = None

    def result(self) -> T:
        """What the work returned, when it has; what it raised is raised here."""
        if self._thread is None:
            return self._work()
        return self._future.result()

    def _run(self) -> None:
        try:
            self._future.set_result(self._work())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            with suppress(Exception):
                self._future.set_exception(error)
