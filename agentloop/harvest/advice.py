"""Advice: what the traces there are would teach a model, by which method, and what is missing.

Prompt first. Then: to imitate (SFT), a preference (DPO), towards a grader's score (RFT).
"""

from collections.abc import Iterable, Sequence

from agentloop.base.records import Example, Judged, Record, Refused

ENOUGH = {"sft": 50, "dpo": 50, "rft": 30}
"""Rows from which a method is worth a job. OpenAI's guides see the first gains of SFT at 50 to
100 rows; the other two are our own figures, from the demo."""

FEW_RUNS = 20
"""Judged runs under which nothing is said of a success rate."""


class Evidence(Record):
    """What is in the store about an agent."""

    agents: tuple[str, ...]
    runs: int
    judged: int
    good: int
    bad: int
    failed: int
    """Runs that ended in an error."""
    corrections: int
    sft: int
    """Rows that a harvest would give, by method."""
    dpo: int
    rft: int

    @property
    def success(self) -> float | None:
        """The share of judged runs that were good; None while too few were judged."""
        return self.good / self.judged if self.judged >= FEW_RUNS else None


class Suggestion(Record):
    """What one method would do here."""

    method: str
    """`prompt`, `sft`, `dpo`, `rft`."""
    ready: bool
    why: str
    next: str
    """The command to run, or what to record."""


class Advice(Record):
    """What to do next, and why."""

    says: str
    """`prompt`, `sft`, `dpo`, `rft`, `nothing` or `not yet`."""
    suggestions: tuple[Suggestion, ...]
    evidence: Evidence


Found = Iterable[Example | Refused]


def evidence(
    judged: Sequence[Judged],
    *,
    agents: tuple[str, ...],
    sft: Found,
    dpo: Found,
    rft: Found,
    good: float,
    bad: float,
) -> Evidence:
    """The figures that advice rests on, counted from traces and from what each harvest found."""
    scores = [one.score for one in judged if one.score is not None]
    opinions = [opinion for one in judged for opinion in one.opinions]
    return Evidence(
        agents=agents,
        runs=len(judged),
        judged=len(scores),
        good=sum(score >= good for score in scores),
        bad=sum(score <= bad for score in scores),
        failed=sum(one.trace.error is not None for one in judged),
        corrections=sum(opinion.correction is not None for opinion in opinions),
        sft=sum(isinstance(item, Example) for item in sft),
        dpo=sum(isinstance(item, Example) for item in dpo),
        rft=sum(isinstance(item, Example) for item in rft),
    )


def advise(evidence: Evidence) -> Advice:
    """What to do next: the first suggestion that is ready, else `not yet`."""
    suggestions = (_prompt(evidence), _sft(evidence), _dpo(evidence), _rft(evidence))
    return Advice(says=_says(evidence, suggestions), suggestions=suggestions, evidence=evidence)


def _says(evidence: Evidence, suggestions: Sequence[Suggestion]) -> str:
    if evidence.success is not None and evidence.success >= 0.97 and not evidence.dpo:
        return "nothing"
    return next((s.method for s in suggestions if s.ready), "not yet")


def _prompt(e: Evidence) -> Suggestion:
    next = "change instructions or tools, run again, and compare"
    if e.success is None:
        missing = FEW_RUNS - e.judged
        why = f"{e.judged} of {e.runs} runs are judged; judge {missing} more to know where it fails"
        return Suggestion(method="prompt", ready=False, why=why, next="agentloop rate / outcome")
    if e.success < 0.15:
        why = f"{e.good} of {e.judged} judged runs were good: too few to imitate; the prompt, the "
        return Suggestion(method="prompt", ready=True, why=f"{why}tools or the task", next=next)
    why = f"{e.good} of {e.judged} judged runs were good: there is something to build on"
    return Suggestion(method="prompt", ready=False, why=why, next=next)


def _sft(e: Evidence) -> Suggestion:
    fixed = f", {e.corrections} of them corrected by people" if e.corrections else ""
    have = f"{e.sft} runs are worth imitating{fixed}"
    return _suggestion("sft", e.sft, have, "more good or corrected runs", e)


def _dpo(e: Evidence) -> Suggestion:
    have = f"{e.dpo} contexts have a better and a worse answer"
    return _suggestion("dpo", e.dpo, have, "more: regenerate answers, and rate both", e)


def _rft(e: Evidence) -> Suggestion:
    have = f"{e.rft} tasks with a reference end now well, now badly"
    return _suggestion("rft", e.rft, have, "more: record outcomes with a reference", e)


def _suggestion(method: str, n: int, have: str, missing: str, e: Evidence) -> Suggestion:
    ready = n >= ENOUGH[method]
    why = have if ready else f"{have}; {ENOUGH[method] - n} {missing}"
    next = f"agentloop harvest {method} {','.join(e.agents)} --out data/{method}"
    return Suggestion(method=method, ready=ready, why=why, next=next)
