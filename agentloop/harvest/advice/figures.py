"""The figures that advice rests on, as records."""

from agentloop.base.records import Record
from agentloop.harvest.advice.repeats import Repeat

FEW_RUNS = 20
"""Judged runs under which nothing is said of a success rate; and runs of a new prompt under which
what was put right under the old one still counts."""

WORST = 4
"""Tools with faults that are told of."""


def counted(n: int, what: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{n} {what}{'' if n == 1 else 's'}"


class Share(Record):
    """So many of so many."""

    n: int
    total: int

    @property
    def rate(self) -> float:
        """In [0, 1]; 0 of none."""
        return self.n / self.total if self.total else 0.0

    def __str__(self) -> str:
        return f"{self.n} of {self.total}"


class Success(Record):
    """How often runs went well, of those that were judged."""

    rate: float
    low: float
    """The 95 % interval of `rate` (Wilson), all in [0, 1]."""
    high: float

    def __str__(self) -> str:
        return f"{self.rate:.0%}, {self.low:.0%} to {self.high:.0%}"


class Tool(Record):
    """How a tool was called, and how it fared. What was wrong with a call is counted once."""

    name: str
    calls: int
    unknown: int
    """Calls of a tool that was not offered."""
    unparsable: int
    """Arguments that are no JSON object."""
    misfit: int
    """Arguments that do not fit the schema that was offered."""
    failed: int
    """Executions that ended in an error, as the spans tell, of calls that fitted."""
    latest: Share
    """The same of its latest executions: a tool that was mended is forgiven."""

    @property
    def wrong(self) -> int:
        """Calls that the model made wrongly."""
        return self.unknown + self.unparsable + self.misfit

    def __str__(self) -> str:
        kinds = (
            (self.unknown, "not offered"),
            (self.unparsable, "no JSON"),
            (self.misfit, "do not fit its schema"),
            (self.failed, "failed"),
        )
        said = ", ".join(f"{n} {what}" for n, what in kinds if n)
        return f"{self.name}: {counted(self.calls, 'call')}, {said or 'none wrong'}"


class Causes(Record):
    """Runs that did not go well, each under the first of these that is true."""

    fault: int = 0
    """The run failed, a tool was called wrongly or failed, an answer had not its format, or a
    person put another call in the place of a call."""
    disliked: int = 0
    """No fault; a person disliked the answer, or wrote another."""
    missed: int = 0
    """No fault, and no person: an outcome with a reference was not reached."""
    other: int = 0
    """What a rule or a judge found bad, and nothing says how it should have been."""

    @property
    def n(self) -> int:
        return self.fault + self.disliked + self.missed + self.other

    def __str__(self) -> str:
        kinds = (
            (self.fault, "with a fault of tools, format or run"),
            (self.disliked, "disliked"),
            (self.missed, "missed what could be checked"),
            (self.other, "bad for no reason that is known"),
        )
        return ", ".join(f"{n} {what}" for n, what in kinds if n) or "none"


class Positives(Record):
    """What a harvest for SFT would give."""

    rows: int
    """Rows that differ, and that no provider refuses; near copies are not looked for."""
    usable: int
    """The same, of each request a few at most: what is said the hundredth time teaches little."""
    corrected: int
    """Of `rows`, those that end with what a person wrote."""
    requests: int
    """How many different requests they answer."""
    users: int
    """How many users (sessions, tasks) they come from."""
    declined: int
    """Of `rows`, those that decline what was asked."""
    routes: int
    """How many sets of tools were used; none is a set too."""
    widest: str
    """The set that most rows used."""
    widest_rows: int


class Tasks(Record):
    """Contexts that end with a user, and how often runs from there reached a known reference."""

    contexts: int = 0
    verifiable: int = 0
    """Those with an outcome and one reference."""
    once: int = 0
    """Of these, those that were run once: their pass rate is not known."""
    below: int = 0
    """Run more than once, with a pass rate below the band."""
    inside: int = 0
    above: int = 0
    disputed: int = 0
    """Contexts with several references that contradict each other."""
    rollouts: float = 0.0
    """Runs per verifiable context, on average."""


class HeldOut(Record):
    """Runs that were made to measure with."""

    runs: int = 0
    tasks: int = 0
    """Different tasks of which it is known how a run ended."""


class Lift(Record):
    """What a comparison could show at the present traffic."""

    by: str
    """`trial, 1 week`, `trial, 4 weeks`, `gate`."""
    units: int
    """Users (sessions, runs) of both arms together; tasks, for the gate."""
    gain: float | None
    """The smallest gain on the present success rate that it shows 4 times out of 5, in (0, 1];
    None: not even success without exception would show."""

    def __str__(self) -> str:
        if self.gain is not None:
            shown = f"+{100 * self.gain:.0f} points"
        else:
            shown = "nothing, were it never wrong" if self.units else "nothing"
        return f"{self.by}, {counted(self.units, self.unit)}: {shown}"

    @property
    def unit(self) -> str:
        """What is counted."""
        return "held-out task" if self.by == "gate" else "user"


class Evidence(Record):
    """What is in the store about an agent."""

    agents: tuple[str, ...]
    runs: int
    judged: int
    good: int
    bad: int
    failed: int
    """Runs that ended in an error."""
    success: Success | None
    """None while too few were judged."""
    today: Share
    """Of the runs under the prompts of today, those that are judged, and the good of them."""
    agreement: Share
    """Runs that two or more people judged good or bad, and those of them on which all agree."""
    by_chance: float
    """How often they would agree if they threw dice, with as many good ones as there are."""
    causes: Causes
    tools: tuple[Tool, ...]
    """Those that were called, most calls first."""
    structured: Share
    """Answers that were to have a format, and those of them that had it not."""
    positives: Positives
    pairs: dict[str, int]
    """Comparisons for DPO, by where they come from."""
    tasks: Tasks
    corrections: int
    comments: int
    repeats: tuple[Repeat, ...]
    """What many corrections, or comments, have in common."""
    held_out: HeldOut
    lifts: tuple[Lift, ...]

    @property
    def dpo(self) -> int:
        """All pairs together."""
        return sum(self.pairs.values())

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """The figures for people: what it is about, and a line."""
        runs = f"{self.runs}, of them {self.judged} judged: {self.good} good, {self.bad} bad"
        said = [("runs", f"{runs} ({self.success})" if self.success else runs)]
        if self.causes.n:
            said.append(("not good", str(self.causes)))
        said += [("tool", str(tool)) for tool in self.tools if tool.wrong or tool.failed][:WORST]
        if self.structured.total:
            said.append(("format", f"{self.structured} answers had not the one asked for"))
        if self.agreement.total:
            said.append(("people", f"agree on {self.agreement} runs that two or more judged"))
        said += [("would show", str(one)) for one in self.lifts]
        return tuple(said)
