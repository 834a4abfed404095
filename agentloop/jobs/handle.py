"""A job in hand: what `loop.tune` gives back."""

from collections.abc import Callable, Iterator

from agentloop.base.errors import ProviderBusy, TransitionError
from agentloop.base.records import Dataset, Event, Job, State, jsonl
from agentloop.base.store import Ledger
from agentloop.jobs.provider import Provider
from agentloop.jobs.watcher import Seen, watch


class TuningJob:
    """One fine-tuning job, and the provider that runs it. What becomes of it is written down."""

    def __init__(self, job: Job, at: Provider, ledger: Ledger) -> None:
        self.record = job
        self._at = at
        self._ledger = ledger

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def state(self) -> State:
        return self.record.state

    def submit(self, dataset: Dataset) -> "TuningJob":
        """Hand the job to the provider; the ledger knew it before, so a crash loses nothing.

        A job that an earlier attempt did hand over is found again and not started twice.

        Raises:
            ProviderRefused: the provider will not take it; the job has failed.
            ProviderBusy: the provider may take it later; submit it again.
        """
        job = self.record
        if job.state is not State.SUBMITTING:
            return self
        found = self._at.find(job) if job.provider_job is None else None
        if found is None:
            try:
                found = self._at.start(job, jsonl(dataset.rows), jsonl(dataset.valid) or None)
            except ProviderBusy:
                raise
            except Exception as error:
                self._note(job.advance(State.FAILED, error=str(error)))
                raise
        self._note(found)
        return self

    def refresh(self) -> "TuningJob":
        """Ask the provider how the job stands."""
        if not self.record.done:
            self._note(self._at.refresh(self.record))
        return self

    def watch(self, *, every: float = 0.5) -> Iterator[Seen]:
        """The job and its events, again and again until it ends. Every look is written down.

        Raises:
            ProviderBusy: the provider is out of reach; watch again, the job is not harmed.
        """
        try:
            for seen in watch(self.record, self._at, every=every):
                if seen.job != self.record:
                    self._note(seen.job)
                yield seen
        except ProviderBusy as error:
            # Not "try again": whoever tunes again has two jobs, and two bills.
            raise ProviderBusy(
                f"{error}; job {self.id} is not lost: `agentloop jobs watch {self.id}` follows it",
                provider=error.provider,
                retry_after=error.retry_after,
            ) from error

    def wait(self, *, tell: Callable[[Event], None] | None = None) -> "TuningJob":
        """Return when the job has succeeded.

        Args:
            tell: called with each event as it comes.

        Raises:
            TransitionError: it failed or was cancelled; the message has the provider's reason.
        """
        for seen in self.watch():
            for event in seen.events:
                if tell is not None:
                    tell(event)
        if self.state is not State.SUCCEEDED:
            raise TransitionError(
                f"job {self.id!r} {self.state.value}: {self.record.error or 'no reason given'}"
            )
        return self

    def events(self) -> list[Event]:
        """All that happened so far, oldest first."""
        return self._at.events(self.record)

    def cancel(self) -> "TuningJob":
        """Stop the job. One that has ended stays as it is."""
        if not self.record.done:
            self._note(self._at.cancel(self.record))
        return self

    def _note(self, job: Job) -> None:
        self.record = job
        self._ledger.put_job(job)
