"""The rules: which figures speak for which step, and what is missing when they do not."""

from collections.abc import Sequence

from agentloop.base.records import Record
from agentloop.harvest.advice.evidence import FEW_RUNS, Evidence
from agentloop.harvest.advice.lift import detectable

FEW_SHOTS = 5
"""Good runs that are worth showing in a prompt."""

ENOUGH = {"sft": 50, "dpo": 50, "rft": 30}
"""Rows from which a method is worth a job. OpenAI's guides see the first gains of SFT at 50 to
100 rows; the other two are our own figures, from the demo."""

FEWEST_UNITS = 10
"""Users (sessions, tasks) that examples must come from: fewer teach their habits."""

LARGEST_ROUTE = 0.9
"""The largest share of examples that may do the same thing first: beyond it, little else is
learned."""

TOO_FEW_GOOD = 0.15
"""A success rate below which there is too little to imitate, and nothing to reward."""

GOOD_ENOUGH = 0.97
"""A success rate at which there is little left to gain."""

ERRORS = 0.05
"""A share of calls with the wrong tool or arguments, or of answers in the wrong format, that SFT
is the cure for."""


class Suggestion(Record):
    """What one step would do here."""

    method: str
    """`prompt`, `few-shot`, `sft`, `dpo`, `rft`."""
    ready: bool
    why: str
    """The figures it rests on, and what is missing."""
    next: str
    """The command to run, or what to record."""


class Advice(Record):
    """What to do next, and why."""

    says: str
    """`prompt`, `few-shot`, `sft`, `dpo`, `rft`, `nothing` or `not yet`."""
    suggestions: tuple[Suggestion, ...]
    evidence: Evidence
    success: tuple[float, float, float] | None = None
    """The share of judged runs that were good, and its 95 % interval; None: too few were judged."""
    detectable: dict[str, float | None] = {}
    """What gain in success a trial on half of the traffic could show, in the time named."""


def advise(evidence: Evidence) -> Advice:
    """What to do next: the first step that is ready in the order that its figures give."""
    prompt, shots = _prompt(evidence), _few_shot(evidence)
    methods = [_sft(evidence), _dpo(evidence), _rft(evidence)]
    success = evidence.success
    return Advice(
        says=_says(evidence, prompt, shots, methods),
        suggestions=(prompt, shots, *methods),
        evidence=evidence,
        success=(success.rate, *success.interval()) if success else None,
        detectable=_detectable(evidence),
    )


def _says(e: Evidence, prompt: Suggestion, shots: Suggestion, methods: Sequence[Suggestion]) -> str:
    if prompt.ready:
        return "prompt"
    if e.success is not None and e.success.rate >= GOOD_ENOUGH and not e.dpo:
        return "nothing"
    ready = [s.method for s in methods if s.ready]
    if "sft" in ready and len(ready) > 1 and _imitated_enough(e):
        ready.remove("sft")
        ready.append("sft")
    return next(iter(ready), "few-shot" if shots.ready else "not yet")


def _imitated_enough(e: Evidence) -> bool:
    """Whether what is left to learn is no longer how to do it at all."""
    wrong = e.tool_errors.rate >= ERRORS or _misshaped(e) >= ERRORS
    return e.success is not None and e.success.rate >= 0.9 and not wrong


def _misshaped(e: Evidence) -> float:
    return e.misshaped / e.structured if e.structured else 0.0


# ---------------------------------------------------------------------- step by step


def _prompt(e: Evidence) -> Suggestion:
    def suggest(ready: bool, why: str, next: str) -> Suggestion:
        return Suggestion(method="prompt", ready=ready, why=why, next=next)

    change = "change instructions or tools, run again, and compare"
    new = [repeat for repeat in e.repeats if not repeat.asked]
    if new:
        return suggest(True, "; ".join(r.sentence for r in new), "put it into the instructions")
    if e.success is None:
        missing = FEW_RUNS - e.judged
        why = f"{e.judged} of {e.runs} runs are judged; judge {missing} more to know where it fails"
        return suggest(False, why, "agentloop rate / outcome")
    figure = f"{e.good} of {e.judged} judged runs were good"
    if e.success.rate < TOO_FEW_GOOD:
        why = f"{figure}: too few to imitate; the prompt, the tools or the task are in the way"
        return suggest(True, why, change)
    old = "".join(f"; {repeat.sentence}" for repeat in e.repeats)
    return suggest(False, f"{figure}: there is something to build on{old}", change)


def _few_shot(e: Evidence) -> Suggestion:
    if e.sft < FEW_SHOTS:
        missing = FEW_SHOTS - e.sft
        why = f"{e.sft} runs are worth showing; {missing} more good or corrected runs"
        next = "agentloop rate / correct"
        return Suggestion(method="few-shot", ready=False, why=why, next=next)
    why = f"{e.sft} runs are worth showing; {FEW_SHOTS} of them fit into a prompt"
    next = f"agentloop harvest sft {_names(e)} --limit {FEW_SHOTS} --out data/shots"
    return Suggestion(method="few-shot", ready=True, why=why, next=next)


def _sft(e: Evidence) -> Suggestion:
    fixed = f", {e.corrections} corrections by people among what is known" if e.corrections else ""
    have = [f"{e.sft} runs are worth imitating, of {e.units} users or tasks{fixed}"]
    if e.tool_errors.successes:
        wrong = int(e.tool_errors.successes)
        have.append(f"{wrong} of {e.tool_errors.n} tool calls were of the wrong tool or arguments")
    if e.misshaped:
        have.append(f"{e.misshaped} of {e.structured} structured answers are no JSON")
    missing = []
    if e.sft < ENOUGH["sft"]:
        missing.append(f"{ENOUGH['sft'] - e.sft} more good or corrected runs")
    elif e.units < FEWEST_UNITS:
        missing.append(f"runs of {FEWEST_UNITS - e.units} more users or tasks")
    elif e.routes[0][1] > LARGEST_ROUTE * e.sft:
        name, n = e.routes[0]
        what = "only answer" if name == "answer" else f"begin with {name!r}"
        missing.append(f"{n} of them {what}: more that do something else")
    return _suggestion("sft", have, missing, e)


def _dpo(e: Evidence) -> Suggestion:
    sources = ", ".join(f"{n} by {source}" for source, n in e.pairs.items())
    have = [f"{e.dpo} pairs of a better and a worse answer" + (f" ({sources})" if sources else "")]
    if e.undecided:
        have.append(f"{e.undecided} contexts have answers that no verdict tells apart")
    missing = []
    if e.dpo < ENOUGH["dpo"]:
        missing.append(
            f"{ENOUGH['dpo'] - e.dpo} more: correct answers, or regenerate and rate both"
        )
    return _suggestion("dpo", have, missing, e)


def _rft(e: Evidence) -> Suggestion:
    have = [f"{e.rft} tasks with a reference end now well, now badly"]
    if e.rft:
        have[0] += f" ({e.rollouts:.1f} runs each)"
    beside = {
        "never well": e.too_hard,
        "always well": e.too_easy,
        "with no outcome and reference": e.unverifiable,
    }
    if any(beside.values()):
        have.append("others: " + ", ".join(f"{n} {what}" for what, n in beside.items() if n))
    missing = []
    if e.rft < ENOUGH["rft"]:
        more = "record outcomes with a reference"
        if e.too_easy + e.too_hard > e.unverifiable:
            more = "try each task more often, or harder tasks"
        missing.append(f"{ENOUGH['rft'] - e.rft} more: {more}")
    return _suggestion("rft", have, missing, e)


def _suggestion(
    method: str, have: Sequence[str], missing: Sequence[str], e: Evidence
) -> Suggestion:
    next = f"agentloop harvest {method} {_names(e)} --out data/{method}"
    why = "; ".join([*have, *(f"missing: {one}" for one in missing)])
    return Suggestion(method=method, ready=not missing, why=why, next=next)


def _names(e: Evidence) -> str:
    return ",".join(e.agents)


def _detectable(e: Evidence) -> dict[str, float | None]:
    if e.success is None:
        return {}
    rate = e.success.rate
    if e.a_week is None:
        return {"as many runs again": detectable(rate, e.runs / 2)}
    return {
        "1 week": detectable(rate, e.a_week / 2),
        "4 weeks": detectable(rate, 4 * e.a_week / 2),
    }
