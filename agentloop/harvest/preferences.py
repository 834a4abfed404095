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
from agentloop.base.records.terms import PERSON
from agentloop.base.records.trace import Trace
from agentloop.harvest.demonstrations import producer
from agentloop.harvest.selection import Condition
from agentloop.harvest.turns import at_hand, unknown


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


class Terms(NamedTuple):
    """What two answers must be like to make a pair."""

    good: float = 0.8
    bad: float = 0.2
    pairs: int = 2
    length_ratio: float | None = None
    tool_pairs: bool = True


def dpo(
    forks: Iterable[Sequence[Branch]],
    *,
    good: float = 0.8,
    bad: float = 0.2,
    pairs: int = 2,
    length_ratio: float | None = None,
    tool_pairs: bool = True,
) -> Iterator[DPOExample | Refused]:
    """Pairs of a good and a bad answer to one context, and why there is none.

    Args:
        forks: for each context, all calls that answered it.
        good, bad: scores in [0, 1] from which, and up to which, an answer counts as such.
        pairs: at most so many of one context, so that one that was much tried does not outweigh
            many others; a correction is beside them.
        length_ratio: how many times as long as the other one answer may be, in characters, at
            least 1; answers are then paired with those most like them in length. What differs in
            length alone teaches length. None: any.
        tool_pairs: whether an answer may be a call of a tool; some providers compare texts alone.

    Two answers are comparable when they were given by one agent with the same tools at hand, and
    judged by the same kind of judge: that a rule found one right and a person disliked the other
    says nothing of which is better. A correction is preferred to what it corrects. Of answers
    that several runs gave, the mean verdict counts. What is preferred calls no tool that the agent
    does not have.
    """
    terms = Terms(good, bad, pairs, length_ratio, tool_pairs)
    for fork in forks:
        agreed = [b for b in fork if b.judged.trace.consent]
        whole = [b for b in agreed if b.call.incomplete is None and b.call.error is None]
        for branch in fork:
            if not branch.judged.trace.consent:
                yield refused(Refusal.NO_CONSENT, [branch])
            elif branch.call.incomplete is not None:
                yield refused(Refusal.INCOMPLETE, [branch], branch.call.incomplete)
        made: list[DPOExample | Refused] = [*_corrections(whole, terms)]
        answers = list(answers_of(whole))
        if len(answers) > 1:
            made += _pairs(answers, terms, quiet=bool(made))
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


def answers_of(branches: Sequence[Branch]) -> Iterator[Answer]:
    """The different answers to one context, each with all that was said of it."""
    said: dict[tuple[str, str, str], tuple[Message, list[Branch]]] = {}
    for branch in branches:
        call = branch.call
        if call.output is None:
            continue
        tools = digest(canonical(list(call.tools)))
        key = (call.agent, tools, identity(call.output))
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
    answers: Sequence[Answer], terms: Terms, *, quiet: bool
) -> Iterator[DPOExample | Refused]:
    everyone = [branch for answer in answers for branch in answer.branches]
    preferred = [a for a in answers if a.score is not None and a.score >= terms.good]
    rejected = [a for a in answers if a.score is not None and a.score <= terms.bad]
    if not preferred or not rejected:
        if quiet:
            return
        if any(a.undecided for a in answers):
            yield refused(Refusal.UNDECIDED, everyone)
        elif any(a.settled is None for a in answers):
            yield refused(Refusal.NOT_JUDGED, everyone)
        else:
            yield refused(Refusal.NO_CONTRAST, everyone)
        return
    made = 0
    spread = _spread if terms.length_ratio is None else _closest
    for better, worse in spread(preferred, rejected):
        branches = [*better.branches, *worse.branches]
        refusal = _incomparable(better, worse)
        if refusal is not None:
            yield refused(refusal, branches)
        elif unfit := _unfit(better.branches[0], better.message, worse.message, terms):
            yield refused(unfit.code, branches, unfit.said)
        elif made < terms.pairs:
            made += 1
            yield _pair(better, worse)
        else:
            yield refused(Refusal.TOO_MANY, branches)


def _spread(
    preferred: Sequence[Answer], rejected: Sequence[Answer]
) -> Iterator[tuple[Answer, Answer]]:
    """Each answer in as few pairs as possible: the first with the first, and so on around."""
    for n in range(max(len(preferred), len(rejected))):
        yield preferred[n % len(preferred)], rejected[n % len(rejected)]


def _closest(
    preferred: Sequence[Answer], rejected: Sequence[Answer]
) -> Iterator[tuple[Answer, Answer]]:
    """As many pairs, of those most alike in length: each answer once, then each once more."""
    rest = sorted(
        product(range(len(preferred)), range(len(rejected))),
        key=lambda at: _ratio(preferred[at[0]].message, rejected[at[1]].message),
    )
    left = max(len(preferred), len(rejected))
    while left:
        used: tuple[set[int], set[int]] = set(), set()
        for at in rest[:]:
            if left and at[0] not in used[0] and at[1] not in used[1]:
                used[0].add(at[0])
                used[1].add(at[1])
                rest.remove(at)
                left -= 1
                yield preferred[at[0]], rejected[at[1]]


def _incomparable(better: Answer, worse: Answer) -> Refusal | None:
    if better.kin[0] != worse.kin[0]:
        return Refusal.DIFFERENT_AGENTS
    if better.kin[1] != worse.kin[1]:
        return Refusal.DIFFERENT_TOOLS
    if better.settled and worse.settled and better.settled.source is not worse.settled.source:
        return Refusal.DIFFERENT_JUDGES
    return None


class _Unfit(NamedTuple):
    code: Refusal
    said: str | None = None


def _unfit(branch: Branch, better: Message, worse: Message, terms: Terms) -> _Unfit | None:
    """Why two answers to what a branch answered make no pair, though one is better."""
    if not terms.tool_pairs and (better.calls or worse.calls):
        return _Unfit(Refusal.TOOL_PAIR)
    if (name := unknown(better, at_hand(branch.judged.trace, branch.call))) is not None:
        return _Unfit(Refusal.UNKNOWN_TOOL, f"{name!r} is not among its tools")
    most = terms.length_ratio
    if most is not None and (ratio := _ratio(better, worse)) > most:
        lengths = f"{_length(better)} and {_length(worse)} characters"
        return _Unfit(Refusal.LENGTH_DIFFERS, f"{lengths}: {ratio:.2f} times, at most {most:.2f}")
    return None


def _length(message: Message) -> int:
    """Characters of what a message says, names and arguments of tool calls included."""
    asked = (call.function for call in message.calls)
    return len(message.text) + sum(len(f.name) + len(f.arguments) for f in asked)


def _ratio(one: Message, other: Message) -> float:
    """How many times as long as the shorter the longer is, at least 1."""
    lengths = max(_length(one), 1), max(_length(other), 1)
    return max(lengths) / min(lengths)


def _pair(better: Answer, worse: Answer) -> DPOExample:
    return _example(
        [*better.branches, *worse.branches],
        preferred=better.message,
        rejected=worse.message,
        margin=(better.score or 0.0) - (worse.score or 0.0),
        source=_source(better.branches[0].judged.trace, worse.branches[0].judged.trace),
        producers=producers_of(better.branches),
        against=producers_of(worse.branches),
    )


def _source(one: Trace, other: Trace) -> str:
    if one.arm != other.arm:
        return "trial"
    return (
        "best_of_n"
        if one.task_id is not None and one.task_id == other.task_id
        else ("regeneration")
    )


def producers_of(branches: Sequence[Branch]) -> list[str]:
    """The models that wrote an answer, each once."""
    return sorted({model for branch in branches if (model := producer(branch.call))})


def _corrections(branches: Sequence[Branch], terms: Terms) -> Iterator[DPOExample | Refused]:
    """What a person wrote is preferred to what the model said in its place."""
    for branch in branches:
        opinion, said = branch.judged.correction(branch.call.id), branch.call.output
        if opinion is None or opinion.correction is None or said is None:
            continue
        if identity(opinion.correction) == identity(said):
            continue
        if unfit := _unfit(branch, opinion.correction, said, terms):
            yield refused(unfit.code, [branch], unfit.said)
            continue
        example = _example(
            [branch],
            preferred=opinion.correction,
            rejected=said,
            margin=1.0,
            source="correction",
            producers=[f"{PERSON}{opinion.author}"],
            against=producers_of([branch]),
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
    against: Sequence[str],
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
        against=tuple(against),
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


def identity(message: Message) -> str:
    """A hash of what a message says, whatever the ids of its tool calls."""
    (renamed,), _ = renumber([message])
    return digest(canonical(renamed.to_dict()))


def refused(code: Refusal, branches: Sequence[Branch], detail: str | None = None) -> Refused:
    """That what these branches answered gives no row."""
    traces = tuple(dict.fromkeys(b.judged.trace.id for b in branches))
    return Refused(code=code, traces=traces, call=branches[0].call.id, detail=detail)
