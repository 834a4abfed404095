"""Verdicts: what the arms of a trial counted, and what that says."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from agentloop.base.records import Judged, Tally, Trial, Verdict
from agentloop.trials.assignment import CANDIDATE, CONTROL


class Counts(NamedTuple):
    """Both arms, counted in units."""

    control: Tally
    candidate: Tally
    unknown: int
    """Units whose metric nobody knows yet."""


def count(runs: Iterable[Judged], *, metric: str, good: float = 0.8) -> Counts:
    """How often the metric was good, by arm.

    A unit is a user, or a session, or a single run where neither is known: what was assigned is
    what is counted. A unit with several runs counts once, with the share of them that were good.
    """
    units: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for run in runs:
        if run.trace.arm is not None:
            value = run.measure(metric)
            passed = None if value is None else float(value >= good)
            units[run.trace.arm, run.trace.assigned_by].append(passed)
    tallies = {CONTROL: Tally(0, 0), CANDIDATE: Tally(0, 0)}
    unknown = 0
    for (arm, _), values in units.items():
        known = [value for value in values if value is not None]
        if not known:
            unknown += 1
            continue
        before = tallies[arm]
        tallies[arm] = Tally(before.successes + sum(known) / len(known), before.n + 1)
    return Counts(tallies[CONTROL], tallies[CANDIDATE], unknown)


def verdict(trial: Trial, counts: Counts) -> Verdict:
    """What the counts say: `better`, `worse`, or `cannot tell yet`."""
    control, candidate, unknown = counts
    interval = candidate.minus(control)
    says = "better" if interval.low > 0 else "worse" if interval.high < 0 else "cannot tell yet"
    return Verdict(
        trial=trial.id,
        metric=trial.metric,
        control=control,
        candidate=candidate,
        unknown=unknown,
        difference=candidate.rate - control.rate,
        interval=interval,
        says=says,
    )
