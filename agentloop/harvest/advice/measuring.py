"""Measuring: how many users come, what was held out, and what difference the two could show."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from agentloop.base.records import Judged, Trace
from agentloop.harvest.advice import lift
from agentloop.harvest.advice.figures import HeldOut, Lift, Success

WEEK = timedelta(days=7)


class Traffic:
    """How many users (sessions, runs) come, by the newest runs."""

    def __init__(self) -> None:
        self._newest: datetime | None = None
        self._oldest: datetime | None = None
        self._week: set[str] = set()
        self._month: set[str] = set()

    def see(self, trace: Trace) -> None:
        self._newest = self._newest or trace.started_at
        self._oldest = trace.started_at
        ago = self._newest - trace.started_at
        if ago < WEEK:
            self._week.add(trace.assigned_by)
        if ago < 4 * WEEK:
            self._month.add(trace.assigned_by)

    @property
    def weeks(self) -> tuple[int, int]:
        """In the week up to the newest run, and in four; where there are no four yet, as if others
        came as they did."""
        if self._newest is None or self._oldest is None:
            return 0, 0
        old = self._newest - self._oldest >= 3 * WEEK
        return len(self._week), len(self._month) if old else 4 * len(self._week)


def measure(held_out: Iterable[Judged]) -> HeldOut:
    runs, tasks = 0, set()
    for one in held_out:
        runs += 1
        if one.trace.task_id is not None and (one.score is not None or one.trace.error):
            tasks.add(one.trace.task_id)
    return HeldOut(runs=runs, tasks=len(tasks))


def lifts(success: Success, traffic: tuple[int, int], tasks: int) -> tuple[Lift, ...]:
    rate, (week, month) = success.rate, traffic
    made = [
        Lift(by="trial, 1 week", units=week, gain=lift.of_trial(rate, week)),
        Lift(by="trial, 4 weeks", units=month, gain=lift.of_trial(rate, month)),
        Lift(by="gate", units=tasks, gain=lift.of_gate(rate, tasks)),
    ]
    return tuple(made)
