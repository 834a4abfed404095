"""Evidence: what is in the store about an agent, counted in one walk over its traces.

Nothing of a trace is kept but hashes, counts and the texts of the latest corrections and comments.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from agentloop.base.records import Judged, Method, Source, SpanKind, Tally, Trace
from agentloop.harvest.advice.faults import Faults
from agentloop.harvest.advice.figures import (
    FEW_RUNS,
    Causes,
    Evidence,
    Positives,
    Share,
    Success,
    Tool,
)
from agentloop.harvest.advice.measuring import Traffic, lifts, measure
from agentloop.harvest.advice.repeats import Repeat
from agentloop.harvest.advice.said import Said
from agentloop.harvest.advice.yields import Contexts, Demonstrations, pairs, recipe_of, tasks
from agentloop.harvest.turns import says_failed

LATEST_RUNS = 50
"""Executions of a tool by which it is told whether it works."""


def evidence(
    judged: Iterable[Judged],
    *,
    agents: Sequence[str],
    forks: Contexts = (),
    contexts: Contexts = (),
    held_out: Iterable[Judged] = (),
    good: float = 0.8,
    bad: float = 0.2,
) -> Evidence:
    """The figures that advice rests on.

    Args:
        judged: settled traces with their spans, newest first; walked once.
        forks: contexts that were answered in more than one way, with all answers.
        contexts: those that end with a user, with all answers; not asked for where no outcome has
            a reference.
        held_out: settled runs that were made to measure with.
        good, bad: scores in [0, 1] from which, and up to which, a run went well, or badly.
    """
    counted = _Counted(tuple(agents), good, bad)
    for one in judged:
        counted.take(one)
    dpo = recipe_of(Method.DPO, agents, good=good, bad=bad)
    rft = recipe_of(Method.RFT, agents, good=good, bad=bad)
    success = counted.success
    measured = measure(held_out)
    return Evidence(
        agents=counted.agents,
        runs=counted.runs,
        judged=counted.judged,
        good=counted.good,
        bad=counted.bad,
        failed=counted.failed,
        success=success,
        today=Share(n=counted.good_today, total=counted.judged_today),
        agreement=Share(n=counted.agreed, total=counted.judged_twice),
        by_chance=counted.by_chance,
        causes=Causes(**counted.causes),
        tools=counted.tools,
        structured=Share(n=counted.shapeless, total=counted.shaped),
        positives=counted.positives,
        pairs=pairs(forks, dpo),
        tasks=tasks(contexts if counted.references else (), rft),
        corrections=counted.corrections,
        comments=counted.comments,
        repeats=counted.repeats,
        held_out=measured,
        lifts=lifts(success, counted.traffic, measured.tasks) if success else (),
    )


class _Counted:
    """What is known after some traces."""

    def __init__(self, agents: tuple[str, ...], good: float, bad: float) -> None:
        self.agents = agents
        self.runs = self.judged = self.good = self.bad = self.failed = self.references = 0
        self.agreed = self.judged_twice = self.shaped = self.shapeless = 0
        self.corrections = self.comments = self.judged_today = self.good_today = 0
        self.causes: Counter[str] = Counter()
        self._bars = good, bad
        self._sft = Demonstrations(agents, good, bad)
        self._verdicts: Counter[bool] = Counter()
        self._faults = Faults()
        self._tools: dict[str, Counter[str]] = {}
        self._said = Said()
        self._traffic = Traffic()

    def take(self, one: Judged) -> None:
        trace, (good, bad) = one.trace, self._bars
        self.runs += 1
        self._traffic.see(trace)
        fault = self._look(trace)
        if trace.error is not None:
            self.failed += 1
        if one.score is not None:
            self.judged += 1
            self.good += one.score >= good
            self.bad += one.score <= bad
        self.references += any(o.reference is not None for o in one.outcomes)
        self._agreement(one)
        self._sft.take(one)
        went_badly = self._cause(one, fault)
        mine = [call for call in trace.calls if call.agent in self.agents]
        if self._said.take(one, mine, went_badly=went_badly) and one.score is not None:
            self.judged_today += 1
            self.good_today += one.score >= good
        self.corrections += sum(one.correction(call.id) is not None for call in mine)
        self.comments += sum(opinion.comment is not None for opinion in one.opinions)

    # ------------------------------------------------------------------ one trace

    def _look(self, trace: Trace) -> bool:
        """Count what its calls and tools did; whether there was a fault."""
        fault = trace.error is not None
        wrong = set()
        for call in trace.calls:
            if call.agent not in self.agents:
                continue
            fault |= call.error is not None
            for asked in self._faults.tools(call):
                tool = self._tools.setdefault(asked.tool, Counter())
                tool["calls"] += 1
                if asked.wrong:
                    tool[asked.wrong] += 1
                    wrong.add((asked.tool, asked.arguments))
            shape = self._faults.format(call)
            if shape is not None:
                self.shaped += 1
                self.shapeless += not shape
                fault |= not shape
        for ran in _executions(trace, self.agents):
            tool = self._tools.setdefault(ran.tool, Counter())
            # What fails for its arguments is the model's fault, and counted there.
            failed = ran.failed and (ran.tool, ran.arguments) not in wrong
            tool["failed"] += failed
            if tool["latest"] < LATEST_RUNS:
                tool["latest"] += 1
                tool["latest_failed"] += failed
            fault |= failed
        return fault or bool(wrong)

    def _cause(self, one: Judged, fault: bool) -> bool:
        """Count why a run did not go well; False when it did, or when nobody says."""
        good, _ = self._bars
        corrected = [
            opinion.correction for opinion in one.opinions if opinion.correction is not None
        ]
        failed = one.trace.error is not None
        if not failed and not corrected and (one.score is None or one.score >= good):
            return False
        of_person = one.settled is not None and one.settled.source is Source.PERSON
        missed = any(
            o.reference is not None and o.score is not None and o.score < good for o in one.outcomes
        )
        if fault or any(message.calls for message in corrected):
            self.causes["fault"] += 1
        elif of_person or corrected:
            self.causes["disliked"] += 1
        else:
            self.causes["missed" if missed else "other"] += 1
        return True

    def _agreement(self, one: Judged) -> None:
        good, bad = self._bars
        latest = {
            o.author: o.score
            for o in one.opinions
            if o.source is Source.PERSON and o.call_id is None and o.score is not None
        }
        clear = [score >= good for score in latest.values() if score >= good or score <= bad]
        if len(clear) > 1:
            self.judged_twice += 1
            self.agreed += len(set(clear)) == 1
            self._verdicts.update(clear[:2])

    # ------------------------------------------------------------------ all of them

    @property
    def success(self) -> Success | None:
        if self.judged < FEW_RUNS:
            return None
        tally = Tally(self.good, self.judged)
        low, high = tally.interval()
        return Success(rate=tally.rate, low=low, high=high)

    @property
    def by_chance(self) -> float:
        """How often two verdicts would be the same, if each were drawn from all of them."""
        n = self._verdicts.total()
        up = self._verdicts[True] / n if n else 1.0
        return up * up + (1 - up) * (1 - up)

    @property
    def tools(self) -> tuple[Tool, ...]:
        kinds = ("calls", "unknown", "unparsable", "misfit", "failed")
        made = [
            Tool(
                name=name,
                latest=Share(n=counts["latest_failed"], total=counts["latest"]),
                **{kind: counts[kind] for kind in kinds},
            )
            for name, counts in self._tools.items()
        ]
        return tuple(sorted(made, key=lambda tool: (-tool.calls, tool.name)))

    @property
    def positives(self) -> Positives:
        return self._sft.positives

    @property
    def repeats(self) -> tuple[Repeat, ...]:
        return self._said.repeats

    @property
    def traffic(self) -> tuple[int, int]:
        return self._traffic.weeks


class _Execution(NamedTuple):
    """That a tool ran."""

    tool: str
    arguments: str | None
    failed: bool


def _executions(trace: Trace, agents: Sequence[str]) -> Iterator[_Execution]:
    """What the tools of these agents did: as the steps of the trace say, or, where it came without,
    what the model was told."""
    steps = {span.id: span for span in trace.spans}
    ran = [span for span in trace.spans if span.kind is SpanKind.TOOL]
    for span in ran:
        above = steps.get(span.parent_id or "")
        while above is not None and above.kind is not SpanKind.AGENT:
            above = steps.get(above.parent_id or "")
        if above is None or above.name in agents:
            yield _Execution(span.name, span.data.get("input"), span.error is not None)
    if ran:
        return
    answers = {m.tool_call_id: m for call in trace.calls for m in call.context if m.role == "tool"}
    answers |= {m.tool_call_id: m for m in trace.tail if m.role == "tool"}
    for call in trace.calls:
        for asked in call.output.calls if call.output and call.agent in agents else ():
            if (answer := answers.get(asked.id)) is not None:
                name, arguments = asked.function.name, asked.function.arguments
                yield _Execution(name, arguments, says_failed(answer, words=True))
