"""DPO: learn a preference, from two answers to the same context that earned different verdicts."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from agentloop.base.records import (
    Call,
    DPOExample,
    Judged,
    Message,
    Refusal,
    Refused,
    Settled,
)
from agentloop.base.records.message import canonical, digest, renumber
from agentloop.harvest.demonstrations import producer
from agentloop.harvest.selection import Condition


class Branch(NamedTuple):
    """One answer to a context: a call, and the trace that it is a call of."""

    call: Call
    judged: Judged


def branches(made: Iterable[tuple[str, Judged]], where: Condition | None = None) -> list[Branch]:
    """The answers to one context, from call ids and settled traces: those that `where` selects."""
    return [
        Branch(call, judged)
        for id, judged in made
        if where is None or where(judged)
        for call in judged.trace.calls
        if call.id == id
    ]


def dpo(
    forks: Iterable[Sequence[Branch]],
    *,
    good: float = 0.8,
    bad: float = 0.2,
    pairs_per_context: int = 2,
) -> Iterator[DPOExample | Refused]:
    """Pairs of a good and a bad answer to one context, and why there is none.

    Args:
        forks: for each context, all calls that answered it.
        good, bad: scores in [0, 1] from which, and up to which, an answer counts as such.
        pairs_per_context: at most so many, so that one much-tried context does not outweigh
            many others.

    Two answers are comparable when they were given by one agent with the same tools at hand, and
    judged by the same kind of judge: that a rule found one right and a person disliked the other
    says nothing of which is better. A correction is preferred to what it corrects. Of answers
    that several runs gave, the mean verdict counts.
    """
    for fork in forks:
        agreed = [b for b in fork if b.judged.trace.consent]
        whole = [b for b in agreed if b.call.incomplete is None and b.call.error is None]
        for branch in fork:
            if not branch.judged.trace.consent:
                yield _refused(Refusal.NO_CONSENT, [branch])
            elif branch.call.incomplete is not None:
                yield _refused(Refusal.INCOMPLETE, [branch], branch.call.incomplete)
        made: list[DPOExample | Refused] = [*_corrections(whole)]
        answers = list(_answers(whole))
        if len(answers) > 1:
            made += _pairs(answers, good, bad, pairs_per_context, quiet=bool(made))
        # Answers of several users are one unit: a split must not tear their context apart.
        traces = [branch.judged.trace for branch in whole]
        unit = min((trace.unit for trace in traces), default="")
        talk = min((trace.spoken_in for trace in traces), default="")
        for item in made:
            if isinstance(item, Refused):
                yield item
            else:
                yield item.model_copy(update={"unit": unit, "conversation": talk})


class Answer(NamedTuple):
    """One thing that was said in a context, by however many runs."""

    message: Message
    branches: tuple[Branch, ...]
    settled: Settled | None
    undecided: bool

    @property
    def score(self) -> float | None:
        return self.settled.score if self.settled else None

    @property
    def kin(self) -> tuple[str, str]:
        """Answers compare only within one agent and one set of tools."""
        call = self.branches[0].call
        return call.agent, digest(canonical(list(call.tools)))


def _answers(branches: Sequence[Branch]) -> Iterator[Answer]:
    said: dict[tuple[str, str, str], tuple[Message, list[Branch]]] = {}
    for branch in branches:
        call = branch.call
        if call.output is None:
            continue
        tools = digest(canonical(list(call.tools)))
        key = (call.agent, tools, _identity(call.output))
        said.setdefault(key, (call.output, []))[1].append(branch)
    for message, group in said.values():
        verdicts = [v for b in group if (v := b.judged.verdict(b.call.id)) is not None]
        undecided = len({v.score for v in verdicts}) > 1
        yield Answer(message, tuple(group), _together(verdicts), undecided)


def _together(verdicts: Sequence[Settled]) -> Settled | None:
    """One verdict of several runs: the mean of those that rest on the highest kind of judge."""
    if not verdicts:
        return None
    highest = max((v.source for v in verdicts), key=lambda source: source.rank)
    scores = [v.score for v in verdicts if v.source is highest]
    return Settled(score=sum(scores) / len(scores), source=highest)


def _pairs(
    answers: Sequence[Answer], good: float, bad: float, most: int, *, quiet: bool
) -> Iterator[DPOExample | Refused]:
    everyone = [branch for answer in answers for branch in answer.branches]
    preferred = [a for a in answers if a.score is not None and a.score >= good]
    rejected = [a for a in answers if a.score is not None and a.score <= bad]
    if not preferred or not rejected:
        if quiet:
            return
        if any(a.undecided for a in answers):
            yield _refused(Refusal.UNDECIDED, everyone)
        elif any(a.settled is None for a in answers):
            yield _refused(Refusal.NOT_JUDGED, everyone)
        else:
            yield _refused(Refusal.NO_CONTRAST, everyone)
        return
    made = 0
    for better, worse in _spread(preferred, rejected):
        refusal = _incomparable(better, worse)
        if refusal is not None:
            yield _refused(refusal, [*better.branches, *worse.branches])
        elif made < most:
            made += 1
            yield _pair(better, worse)
        else:
            yield _refused(Refusal.TOO_MANY, [*better.branches, *worse.branches])


def _spread(
    preferred: Sequence[Answer], rejected: Sequence[Answer]
) -> Iterator[tuple[Answer, Answer]]:
    """Each answer in as few pairs as possible: the first with the first, and so on around."""
    for n in range(max(len(preferred), len(rejected))):
        yield preferred[n % len(preferred)], rejected[n % len(rejected)]


def _incomparable(better: Answer, worse: Answer) -> Refusal | None:
    if better.kin[0] != worse.kin[0]:
        return Refusal.DIFFERENT_AGENTS
    if better.kin[1] != worse.kin[1]:
        return Refusal.DIFFERENT_TOOLS
    if better.settled and worse.settled and better.settled.source is not worse.settled.source:
        return Refusal.DIFFERENT_JUDGES
    return None


def _pair(better: Answer, worse: Answer) -> DPOExample:
    first = better.branches[0]
    arms = {b.judged.trace.arm for b in (first, worse.branches[0])}
    return _example(
        [*better.branches, *worse.branches],
        preferred=better.message,
        rejected=worse.message,
        margin=(better.score or 0.0) - (worse.score or 0.0),
        source="trial" if len(arms) > 1 else "regeneration",
        producers=sorted({p for b in better.branches if (p := producer(b.call))}),
    )


def _corrections(branches: Sequence[Branch]) -> Iterator[DPOExample]:
    """What a person wrote is preferred to what the model said in its place."""
    for branch in branches:
        opinion = branch.judged.correction(branch.call.id)
        if opinion is None or opinion.correction is None or branch.call.output is None:
            continue
        if _identity(opinion.correction) == _identity(branch.call.output):
            continue
        example = _example(
            [branch],
            preferred=opinion.correction,
            rejected=branch.call.output,
            margin=1.0,
            source="correction",
            producers=[f"person:{opinion.author}"],
        )
        yield example.model_copy(update={"opinions": (opinion.id,)})


def _example(
    branches: Sequence[Branch],
    *,
    preferred: Message,
    rejected: Message,
    margin: float,
    source: str,
    producers: Sequence[str],
) -> DPOExample:
    first = branches[0]
    ids = dict.fromkeys(o.id for b in branches for o in b.judged.opinions)
    return DPOExample(
        context=first.call.context,
        tools=first.call.tools,
        parallel_tool_calls=first.call.settings.get("parallel_tool_calls"),
        preferred=preferred,
        rejected=rejected,
        margin=margin,
        source=source,
        unit=first.judged.trace.unit,
        conversation=first.judged.trace.spoken_in,
        traces=tuple(dict.fromkeys(b.judged.trace.id for b in branches)),
        calls=tuple(dict.fromkeys(b.call.id for b in branches)),
        opinions=tuple(ids),
        producers=tuple(producers),
    )


def parted(judged: Iterable[Judged], *, good: float = 0.8, bad: float = 0.2) -> Iterator[Refused]:
    """The pairs of runs of one task that are *not* preferences: they part before an assistant did.

    Two runs of one task with opposite verdicts look like a pair. When what differs first is what
    the user said (or what a tool answered), the answers after it answer different things. They
    come in the order of task ids.
    """
    tasks: Mapping[str, tuple[list[_Walk], list[_Walk]]] = defaultdict(lambda: ([], []))
    for one in judged:
        if one.trace.task_id is None or one.score is None or not one.trace.calls:
            continue
        if not one.trace.consent:
            continue
        if one.score >= good or one.score <= bad:
            tasks[one.trace.task_id][one.score <= bad].append(_walk(one))
    ordered = (tasks[task] for task in sorted(tasks))
    for better, worse in (pair for walks in ordered for pair in product(*walks)):
        steps = zip(better.steps, worse.steps, strict=False)
        apart = next((n for n, (a, b) in enumerate(steps) if a != b), None)
        if apart is None:
            apart = min(len(better.steps), len(worse.steps))
        roles = {walk.roles[apart] for walk in (better, worse) if apart < len(walk.roles)}
        if roles != {"assistant"}:
            said = " and ".join(sorted(roles)) or "nothing"
            yield Refused(
                code=Refusal.PARTED_AT_USER,
                traces=(better.trace, worse.trace),
                detail=f"task runs part at message {apart + 1}: {said}",
            )


class _Walk(NamedTuple):
    trace: str
    steps: tuple[str, ...]
    roles: tuple[str, ...]


def _walk(one: Judged) -> _Walk:
    messages, _ = renumber(one.trace.conversation)
    steps = tuple(digest(canonical(message.to_dict())) for message in messages)
    return _Walk(one.trace.id, steps, tuple(message.role for message in messages))


def _identity(message: Message) -> str:
    (renamed,), _ = renumber([message])
    return digest(canonical(renamed.to_dict()))


def _refused(code: Refusal, branches: Sequence[Branch], detail: str | None = None) -> Refused:
    traces = tuple(dict.fromkeys(b.judged.trace.id for b in branches))
    return Refused(code=code, traces=traces, call=branches[0].call.id, detail=detail)
