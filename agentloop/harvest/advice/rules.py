"""The rules of advice: what must be there for each answer, and who says so.

Prompt first: it is the cheapest to change, and what it does not say no model can be blamed for.
Then, by what fails: SFT imitates, and so teaches formats and tools; DPO teaches taste, where there
are a better and a worse answer; RFT teaches to reach what can be checked. Where nothing is ready, a
handful of good answers can stand in the prompt; and else it is too early.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from agentloop.base.records import Record, Tally
from agentloop.harvest.advice.figures import FEW_RUNS, Evidence, Share, Tool, counted
from agentloop.harvest.checks.whole import DECLINED


class Bar(NamedTuple):
    """How much of something there must be."""

    least: float
    """From so many on, it is worth a try."""
    better: float | None
    """So many are better still, where somebody says a figure."""
    source: str


BARS: Mapping[str, Bar] = {
    "judged": Bar(FEW_RUNS, None, "our own: 20 runs give a success rate to within 20 points"),
    "too few good": Bar(0.15, None, "our own: what hardly ever goes well cannot be imitated"),
    "tool": Bar(
        0.2,
        None,
        "OpenAI's talk on agent RFT: mend prompts and tools before training; the figure is our own",
    ),
    "agree": Bar(0.8, None, "our own: where four of five agree, nobody need be asked again"),
    "few-shot": Bar(5, None, "our own: fewer examples show no pattern"),
    "sft": Bar(50, 500, "OpenAI's guide: 50 to 100 rows show a gain; its workshop: 500 are better"),
    "users": Bar(10, None, "our own: fewer users (sessions, tasks) teach their habits"),
    "dpo": Bar(50, 500, "our own, from the demo; Foundry's rule of thumb: 500 to 5,000"),
    "rft": Bar(30, 200, "our own, from the demo; Foundry's rule of thumb: 200 to 2,000"),
    "gate": Bar(30, None, "the gate: so many held-out tasks that both versions tried"),
    "nothing": Bar(0.9, None, "our own: nine of ten runs are good even at the low end"),
}
"""What each answer takes."""

WIDEST = 0.6
"""The share of rows that use one set of tools, above which it is said: our own, after the guide of
OpenAI, by which a model learns to decline from a set of which 60 % do."""


class Suggestion(Record):
    """What one method would do here."""

    method: str
    """`prompt`, `few-shot`, `sft`, `dpo`, `rft`."""
    ready: bool
    why: str
    """The figures."""
    missing: str | None = None
    """What is missing, and how many more; None when it is ready."""
    more: int | None = None
    """How many more of it, where it can be counted."""
    notes: tuple[str, ...] = ()
    """What to look after before."""
    bar: str
    """How much it takes, and who says so."""
    next: str
    """The command to run."""


class Advice(Record):
    """What to do next, and why."""

    says: str
    """`prompt`, `few-shot`, `sft`, `dpo`, `rft`, `nothing` or `not yet`."""
    why: str
    next: str
    suggestions: tuple[Suggestion, ...]
    evidence: Evidence


def advise(evidence: Evidence) -> Advice:
    """What to do next: the prompt where that is at fault, else the method whose failures are the
    most of those that are ready, else few-shot, else `not yet`."""
    suggestions = tuple(rule(evidence) for rule in RULES)
    by_name = {suggestion.method: suggestion for suggestion in suggestions}
    says = _says(evidence, by_name)
    if says in by_name:
        why, next = by_name[says].why, by_name[says].next
    elif says == "nothing":
        why = f"{_good(evidence)} ({evidence.success}): there is little to win"
        if by_name["sft"].ready:
            why += "; they could teach a smaller model to do the same for less"
        next = by_name["sft" if by_name["sft"].ready else "prompt"].next
    else:
        lacking = [one for one in suggestions if one.missing]
        why = "; or ".join(f"{one.method}: {one.missing}" for one in lacking[:2])
        next = lacking[0].next
    return Advice(says=says, why=why, next=next, suggestions=suggestions, evidence=evidence)


def _says(e: Evidence, by_name: Mapping[str, Suggestion]) -> str:
    if by_name["prompt"].ready:
        return "prompt"
    trained = [name for name in ("sft", "dpo", "rft") if by_name[name].ready]
    flawless = e.success is not None and e.success.low >= BARS["nothing"].least
    if flawless and not by_name["dpo"].ready:
        return "nothing"
    if trained:
        return max(trained, key=lambda name: _own_failures(e, name))
    return "few-shot" if by_name["few-shot"].ready else "not yet"


def _own_failures(e: Evidence, method: str) -> int:
    """The runs that went wrong in the way that a method is for; of equals the first counts."""
    causes = e.causes
    return {
        "sft": causes.fault + causes.other,
        "dpo": causes.disliked,
        "rft": causes.missed,
    }[method]


# ---------------------------------------------------------------------- one rule each


def _prompt(e: Evidence) -> Suggestion:
    repeated = [one for one in e.repeats if not one.told]
    broken = [tool for tool in e.tools if _broken(tool)]
    reasons = [one.what for one in repeated[:3]]
    reasons += [
        f"{tool.name} failed in {tool.latest.n} of its latest {tool.latest.total} executions, "
        "with arguments that fit: mend the tool"
        for tool in broken
    ]
    bar = BARS["too few good"]
    now = e.today if e.today.total >= FEW_RUNS else Share(n=e.good, total=e.judged)
    if now.total >= FEW_RUNS and now.rate < bar.least:
        reasons.append(
            f"{now} judged runs were good: too few to imitate; the prompt, the tools or the task"
        )
    if reasons:
        source = BARS["tool"].source if broken and not repeated else bar.source
        said = REPEATED if repeated else source
        note = (
            f"from {FEW_RUNS} runs with other instructions on, only what is said of those counts "
            "here"
        )
        why = "; ".join(reasons)
        return _suggestion(e, "prompt", why=why, bar=said, ready=True, notes=(note,))
    if e.success is None:
        missing = FEW_RUNS - e.judged
        return _suggestion(
            e,
            "prompt",
            why=f"{e.judged} of {e.runs} runs are judged",
            missing=f"judge {counted(missing, 'more run')} to know where it fails",
            more=missing,
            bar=BARS["judged"].source,
        )
    why = f"{_good(e)} ({e.success}); {_unlike(e)}"
    return _suggestion(e, "prompt", why=why, bar=REPEATED)


REPEATED = "our own: 6 of 10 corrections, 4 of 10 comments, and 10 of them at least, say the same"


def _few_shot(e: Evidence) -> Suggestion:
    there, most = e.positives.usable, int(BARS["sft"].least)
    why = f"{counted(there, 'good example')} to put in the prompt"
    lacking = int(BARS["few-shot"].least) - there
    if lacking > 0:
        missing = f"{lacking} more good or corrected runs"
        return _suggestion(e, "few-shot", why=why, missing=missing, more=lacking)
    if there >= most:
        return _suggestion(e, "few-shot", why=f"{why}, and enough to train on")
    if doubt := _doubt(e):
        return _suggestion(e, "few-shot", why=why, missing=doubt)
    return _suggestion(e, "few-shot", why=why, ready=e.causes.n > 0)


def _sft(e: Evidence) -> Suggestion:
    p = e.positives
    by_people = f", {p.corrected} of them corrected by people" if p.corrected else ""
    why = f"{counted(p.rows, 'run')} worth imitating{by_people}, of {counted(p.users, 'user')}"
    if p.usable < p.rows:
        why += f"; no more than 3 a request: {p.usable} of {counted(p.requests, 'request')}"
    if faults := _faults(e):
        why += f"; {faults}"
    made = _training(e, "sft", p.usable, why, "more good or corrected runs", _narrow(e))
    strangers = int(BARS["users"].least) - p.users
    if made.ready and strangers > 0:
        missing = f"good runs of {counted(strangers, 'more user')}"
        return made.model_copy(update={"ready": False, "missing": missing, "more": strangers})
    return made


def _narrow(e: Evidence) -> Iterator[str]:
    p = e.positives
    if p.rows and p.routes > 1 and p.widest_rows > WIDEST * p.rows:
        yield f"{p.widest_rows} of {p.rows} rows use {p.widest}: rate runs of other kinds"
    if p.rows and p.declined > DECLINED * p.rows:
        yield f"{p.declined} of {p.rows} rows decline what was asked: the model would learn it"


def _dpo(e: Evidence) -> Suggestion:
    sources = ", ".join(f"{n} by {source}" for source, n in e.pairs.items())
    why = f"{counted(e.dpo, 'context')} with a better and a worse answer"
    why += f" ({sources})" if sources else ""
    if e.causes.disliked:
        why += f"; {counted(e.causes.disliked, 'run')} disliked without a fault"
    notes = ("train SFT on the preferred answers first (OpenAI's guide)",) if e.dpo else ()
    return _training(e, "dpo", e.dpo, why, "more: regenerate answers, and rate both", notes)


def _rft(e: Evidence) -> Suggestion:
    t = e.tasks
    if not t.verifiable:
        why = "no task has an outcome with a reference"
    else:
        why = (
            f"{counted(t.verifiable, 'task')} with a reference, {t.rollouts:.1f} runs each: "
            f"{t.inside} end now well, now badly; {t.below} too seldom well, {t.above} too often"
        )
    if t.disputed:
        why += f"; {t.disputed} with references that contradict each other"
    lacking = "more: record outcomes with a reference"
    if t.once:
        why += f"; {t.once} were run once"
        lacking = "more: run each task several times"
    return _training(e, "rft", t.inside, why, lacking, ())


RULES: tuple[Callable[[Evidence], Suggestion], ...] = (_prompt, _few_shot, _sft, _dpo, _rft)
"""In the order of what they cost."""


def _training(
    e: Evidence,
    method: str,
    there: int,
    why: str,
    wanted: str,
    notes: Iterable[str],
) -> Suggestion:
    """Ready from the bar on, where people agree on what is good."""
    bar = BARS[method]
    least, better = int(bar.least), int(bar.better or bar.least)
    more = max(0, least - there)
    notes = tuple(notes)
    if more:
        missing = f"{more} {wanted}"
        return _suggestion(e, method, why=why, missing=missing, more=more, notes=notes)
    if method != "rft" and (doubt := _doubt(e)):
        return _suggestion(e, method, why=why, missing=doubt, notes=notes)
    if there < better:
        notes = (*notes, f"{better} would be better still")
    if (lacking := int(BARS["gate"].least) - e.held_out.tasks) > 0:
        notes = (
            *notes,
            f"to know afterwards whether it helped: run {lacking} more tasks with held_out=True",
        )
    return _suggestion(e, method, why=why, ready=True, notes=notes)


def _suggestion(
    e: Evidence,
    method: str,
    *,
    why: str,
    ready: bool = False,
    missing: str | None = None,
    more: int | None = None,
    notes: Sequence[str] = (),
    bar: str | None = None,
) -> Suggestion:
    return Suggestion(
        method=method,
        ready=ready,
        why=why,
        missing=missing,
        more=more,
        notes=tuple(notes),
        bar=bar or f"{BARS[method].least:.0f}; {BARS[method].source}",
        next=_next(e, method),
    )


def _next(e: Evidence, method: str) -> str:
    agents = ",".join(e.agents)
    match method:
        case "prompt":
            return f"agentloop traces list --agent {e.agents[0]}"
        case "few-shot":
            return f"agentloop harvest sft {agents} --limit 10 --valid 0 --out data/examples"
        case _:
            return f"agentloop harvest {method} {agents} --out data/{method}"


# ---------------------------------------------------------------------- figures in words


def _doubt(e: Evidence) -> str | None:
    """That people seem to agree by chance alone: seldom, and the 95 % interval of how often reaches
    down to what chance would make it."""
    twice, bar = e.agreement, BARS["agree"]
    often = twice.total < FEW_RUNS or twice.rate >= bar.least
    if often or Tally(twice.n, twice.total).interval().low > e.by_chance:
        return None
    return (
        f"people agree on {twice} runs that two of them judged, and dice would on "
        f"{e.by_chance:.0%}: agree on what is good first"
    )


def _broken(tool: Tool) -> bool:
    return tool.latest.total >= FEW_RUNS and tool.latest.rate >= BARS["tool"].least


def _good(e: Evidence) -> str:
    return f"{e.good} of {counted(e.judged, 'judged run')} were good"


def _unlike(e: Evidence) -> str:
    if told := [one.what for one in e.repeats if one.told]:
        return f"the prompt says already what corrections repeat: {told[0]}"
    if e.corrections:
        return f"{counted(e.corrections, 'correction')} repeat no one instruction"
    return "nothing says that it is the prompt"


def _faults(e: Evidence) -> str:
    made, wrong = sum(t.calls for t in e.tools), sum(t.wrong for t in e.tools)
    said = []
    if wrong:
        said.append(f"{Share(n=wrong, total=made)} tool calls were wrong")
    if e.structured.n:
        said.append(f"{e.structured} answers had not their format")
    return "; ".join(said)
