"""The watcher: follows a job to its end, over restarts of ours and of the provider's."""

from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import NamedTuple

from agentloop.base.errors import ProviderBusy
from agentloop.base.records import Event, Job
from agentloop.jobs.provider import Provider

PATIENCE = 60.0
"""Seconds that a provider may be out of reach before the watcher gives up; the job goes on."""


class Seen(NamedTuple):
    """The job as it is now, and what happened since the last look."""

    job: Job
    events: tuple[Event, ...]


def watch(
    job: Job,
    at: Provider,
    *,
    every: float = 1.0,
    patience: float = PATIENCE,
    wait: Callable[[float], None] = sleep,
    clock: Callable[[], float] = monotonic,
) -> Iterator[Seen]:
    """Looks at a job, again and again, the last time when it has ended.

    Args:
        every: seconds between two looks.
        patience: seconds that the provider may be out of reach; then its `ProviderBusy` is raised.
            The job itself is not harmed: watch it again.

    Raises:
        ProviderBusy: the provider is out of reach for longer than `patience`.
        ProviderRefused: the provider does not know the job.
    """
    known = 0
    reached = clock()
    while True:
        try:
            job = at.refresh(job)
            events = at.events(job, after=known)
        except ProviderBusy:
            if clock() - reached > patience:
                raise
        else:
            reached = clock()
            known += len(events)
            yield Seen(job, tuple(events))
            if job.done:
                return
        wait(every)
