"""Gates: may a version go live? Yes, or every reason why not."""

from collections.abc import Iterable, Iterator, Mapping

from agentloop.base.records import Interval, Judged, Pairs, Record, Tally

FEWEST_TASKS = 30
"""Tasks that both versions were measured on, at least."""

Results = Mapping[str, bool]
"""Task -> whether it went well."""


class Figure(Record):
    """One metric of a version and of what it is compared with, on the same tasks."""

    metric: str
    version: Tally
    baseline: Tally
    pairs: Pairs
    """How the tasks fell; `first` is the version."""

    @property
    def difference(self) -> float:
        return self.pairs.difference

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the difference, paired by task."""
        return self.pairs.interval()

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.metric} {self.version.rate:.3f} against {self.baseline.rate:.3f} on "
            f"{self.pairs.n} tasks: {self.difference:+.3f} ({low:+.3f} to {high:+.3f})"
        )


class Gate(Record):
    """Whether a version may go live, and the figures that say so."""

    version: str
    baseline: str | None
    """The version that it is compared with; None: the agent's own model."""
    open: bool
    reasons: tuple[str, ...]
    """Every reason why not; empty when it may."""
    figures: tuple[Figure, ...]


def gate(
    version: str,
    baseline: str | None,
    candidate_runs: Iterable[Judged],
    baseline_runs: Iterable[Judged],
    *,
    improves: str,
    keeps: Mapping[str, float] | None = None,
    good: float = 0.8,
    fewest_tasks: int = FEWEST_TASKS,
) -> Gate:
    """Whether `version` may go live in place of `baseline`.

    It may when the metric that it should improve is clearly better on held-out tasks (the 95 %
    interval of the difference, paired by task, lies above 0), and every metric that it should
    keep fell by no more than is tolerated.

    Args:
        candidate_runs, baseline_runs: held-out runs, each with the task it tried. Of several runs
            of one task the latest counts.
        improves: the outcome that should be better, or `score`.
        keeps: outcome -> how much of its rate may be lost, in [0, 1].
        good: the value from which an outcome counts as a success, in [0, 1].
    """
    ours, theirs = list(candidate_runs), list(baseline_runs)
    figures = []
    reasons: list[str] = []
    for metric, tolerance in [(improves, None), *(keeps or {}).items()]:
        figure = _figure(metric, results(ours, metric, good), results(theirs, metric, good))
        figures.append(figure)
        reasons += _reasons(figure, tolerance, fewest_tasks)
    return Gate(
        version=version,
        baseline=baseline,
        open=not reasons,
        reasons=tuple(reasons),
        figures=tuple(figures),
    )


def results(runs: Iterable[Judged], metric: str, good: float) -> dict[str, bool]:
    """Task -> whether its latest run went well. A run whose metric is unknown is left out; one
    that ended in an error went badly."""
    found: dict[str, bool] = {}
    for run in sorted(runs, key=lambda r: r.trace.started_at):
        task = run.trace.task_id
        value = run.measure(metric)
        if task is None or (value is None and run.trace.error is None):
            continue
        found[task] = value is not None and value >= good
    return found


def _figure(metric: str, ours: Results, theirs: Results) -> Figure:
    both = sorted(ours.keys() & theirs.keys())
    fell = [(ours[task], theirs[task]) for task in both]
    return Figure(
        metric=metric,
        version=Tally(sum(a for a, _ in fell), len(fell)),
        baseline=Tally(sum(b for _, b in fell), len(fell)),
        pairs=Pairs(
            fell.count((True, True)),
            fell.count((True, False)),
            fell.count((False, True)),
            fell.count((False, False)),
        ),
    )


def _reasons(figure: Figure, tolerance: float | None, fewest: int) -> Iterator[str]:
    if figure.pairs.n < fewest:
        yield (
            f"{figure.metric} is known of {figure.pairs.n} held-out tasks for both versions, "
            f"{fewest} are needed; run the same tasks on both with held_out=True and a task_id"
        )
    elif tolerance is None:
        if figure.interval.low <= 0:
            yield f"not clearly better: {figure}"
    elif figure.difference < -tolerance:
        yield f"lost more than {tolerance:.3f}: {figure}"
