"""A trial in hand: what `loop.trial` gives back."""

from collections.abc import Callable, Iterable

from agentloop.base.records import Judged, Trial, Verdict, now
from agentloop.base.store import Ledger
from agentloop.trials.verdicts import count, verdict


class LiveTrial:
    """A trial that goes on, or has ended.

    Args:
        runs: gives the settled runs of the trial, anew at each call.
        good: the value from which the metric counts as a success, in [0, 1].
    """

    def __init__(
        self, trial: Trial, ledger: Ledger, runs: Callable[[], Iterable[Judged]], good: float
    ) -> None:
        self.record = trial
        self._ledger = ledger
        self._runs = runs
        self._good = good

    def verdict(self) -> Verdict:
        """What the arms counted so far, and what that says."""
        counts = count(self._runs(), metric=self.record.metric, good=self._good)
        return verdict(self.record, counts)

    def stop(self) -> Verdict:
        """End the trial: within seconds all users meet what is live. Returns the last verdict."""
        if self.record.stopped_at is None:
            self.record = self.record.model_copy(update={"stopped_at": now()})
            self._ledger.put_trial(self.record)
        return self.verdict()
