"""RFT: tasks whose outcome varies, and the grader that their references call for."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from agentloop.base.records import Json, Judged, Outcome, Refusal, Refused, RFTExample
from agentloop.base.records.message import canonical
from agentloop.harvest.demonstrations import producer
from agentloop.harvest.preferences import Branch
from agentloop.harvest.selection import Condition

REFERENCE = "reference_answer"
"""The key of a row that holds what would have been right: the customary name, which some
providers require."""

RESERVED = frozenset({"messages", "tools", REFERENCE})
"""Keys of a row that have a meaning of their own."""

BAND = (0.2, 0.8)
"""Pass rates, both included, at which there is something to learn: a model that always passes or
never passes has no better answer of its own to learn from."""


def rft(
    contexts: Iterable[Sequence[Branch]],
    *,
    outcome: str | None = None,
    good: float = 0.8,
    band: tuple[float, float] = BAND,
    where: Condition | None = None,
) -> Iterator[RFTExample | Refused]:
    """Contexts that end with the user and whose runs ended now well, now badly.

    A row carries the reference of the outcome that is graded as `reference_answer`, and under their
    own names what other outcomes say of the task: a grader sees all of it as `{{item.NAME}}`. Parts
    of a reference that are called `reference_…` stand there by their own names as well: so they do
    in the items of OpenAI's evaluations, whose graders ask for them.

    Args:
        contexts: for each context that ends with the user, all calls that answered it.
        outcome: the outcome that says how a run ended; None: the one that carries a reference.
        good: the lowest value of the outcome that passes, in [0, 1].
        band: lowest and highest pass rate, both included.
    """
    for context in contexts:
        agreed = [branch for branch in context if branch.judged.trace.consent]
        for call, judged in context:
            if not judged.trace.consent:
                traces = (judged.trace.id,)
                yield Refused(code=Refusal.NO_CONSENT, traces=traces, call=call.id)
        if agreed:
            yield _item(agreed, outcome, good, band, where)


def _item(
    context: Sequence[Branch],
    name: str | None,
    good: float,
    band: tuple[float, float],
    where: Condition | None,
) -> RFTExample | Refused:
    runs = {branch.judged.trace.id: branch for branch in context}
    if where is not None:
        runs = {id: branch for id, branch in runs.items() if where(branch.judged)}

    def refused(code: Refusal, detail: str | None = None) -> Refused:
        traces = tuple(runs) or tuple(b.judged.trace.id for b in context)
        return Refused(code=code, traces=traces, call=context[0].call.id, detail=detail)

    if not runs:
        return refused(Refusal.FILTERED)
    first = next(iter(runs.values()))
    runs = {id: branch for id, branch in runs.items() if branch.call.incomplete is None}
    if not runs:
        return refused(Refusal.INCOMPLETE, first.call.incomplete)
    first = next(iter(runs.values()))
    found = [o for b in runs.values() if (o := _outcome(b.judged, name)) is not None]
    scores = [o.score for o in found if o.score is not None]
    if not scores:
        return refused(Refusal.NO_OUTCOME)
    wanted = [_reference(b.judged, o) for b in runs.values() if (o := _outcome(b.judged, name))]
    references = {canonical(reference): reference for reference in wanted if reference is not None}
    if not references:
        return refused(Refusal.NO_REFERENCE)
    if len(references) > 1:
        return refused(Refusal.REFERENCES_DIFFER)
    rate = sum(score >= good for score in scores) / len(scores)
    said = f"pass rate {rate:.2f} of {len(scores)} runs, band {band[0]:.2f} to {band[1]:.2f}"
    if rate > band[1]:
        return refused(Refusal.TOO_EASY, said)
    if rate < band[0]:
        return refused(Refusal.TOO_HARD, said)
    reference = next(iter(references.values()))
    beside = _beside([b.judged for b in runs.values()], {o.name for o in found}, reference)
    if reserved := RESERVED & beside.keys():
        return refused(Refusal.RESERVED_NAME, f"an outcome is called {min(reserved)!r}")
    return RFTExample(
        context=first.call.context,
        tools=first.call.tools,
        fields={REFERENCE: reference, **_parts(reference), **beside},
        scores=tuple(scores),
        rollouts=len(scores),
        pass_rate=rate,
        unit=first.judged.trace.unit,
        conversation=first.judged.trace.spoken_in,
        traces=tuple(runs),
        calls=tuple(branch.call.id for branch in runs.values()),
        producers=tuple(sorted({p for b in runs.values() if (p := producer(b.call))})),
    )


def _outcome(judged: Judged, name: str | None) -> Outcome | None:
    if name is not None:
        return judged.outcome(name)
    scored = [o for o in judged.outcomes if o.score is not None]
    return next((o for o in scored if o.reference is not None), scored[0] if scored else None)


def _parts(reference: Any) -> Json:
    if not isinstance(reference, dict):
        return {}
    return {k: v for k, v in reference.items() if k.startswith("reference_") and k != REFERENCE}


def _beside(runs: Sequence[Judged], graded: Collection[str], reference: Any) -> Json:
    """What the other outcomes say of the task, by their names: the reference of one (where it is
    not the row's own), else its label (a text), if all runs that know it agree. A result that
    differs from run to run says nothing of the task."""
    said: dict[str, dict[bytes, Any]] = {}
    for judged in runs:
        for outcome in judged.outcomes:
            if outcome.name in graded:
                continue
            value = outcome.reference
            if value is None and isinstance(outcome.value, str):
                value = outcome.value
            if value is not None and (outcome.value is not None or value != reference):
                said.setdefault(outcome.name, {})[canonical(value)] = value
    return {name: next(iter(said[name].values())) for name in sorted(said) if len(said[name]) == 1}


def _reference(judged: Judged, outcome: Outcome) -> Any:
    """What would have been right: what the outcome says, else what an outcome without a value
    does. It is often known before the run, and how the run ended after it."""
    alone = (o.reference for o in judged.outcomes if o.value is None and o.reference is not None)
    return outcome.reference if outcome.reference is not None else next(alone, None)


def fields(judged: Judged, *, outcome: str | None = None) -> Json:
    """What a row of this one run would say beside its messages and tools; nothing where no outcome
    has a reference.

    Args:
        outcome: as of `rft`.
    """
    graded = _outcome(judged, outcome)
    alone = next((o for o in judged.outcomes if o.reference is not None), None)
    known = graded or alone
    if known is None:
        return {}
    reference = _reference(judged, known)
    beside = _beside([judged], {known.name}, reference)
    said = {} if reference is None else {REFERENCE: reference, **_parts(reference)}
    return {**said, **{k: v for k, v in beside.items() if k not in RESERVED}}


def grader(references: Sequence[Any]) -> Json | None:
    """The grader that `references` call for, in OpenAI's JSON; None when they call for none.

    | references | grader |
    |---|---|
    | `{"name": …, "arguments": {…}}`: a tool call | half for the tool, half for its arguments |
    | other JSON objects | the share of fields that the answer's JSON has right |
    | numbers, true, false | the answer's JSON is equal |
    | labels: few, short texts | the answer is the label |
    | texts | how alike answer and text are, by `fuzzy_match` |
    """
    if not references:
        return None
    if all(isinstance(r, dict) and {"name", "arguments"} <= r.keys() for r in references):
        return _TOOL_CALL
    if all(isinstance(r, dict) for r in references):
        return _python("fields", _FIELDS)
    if all(isinstance(r, str) for r in references):
        labels = set(references)
        short = all(len(label) <= 40 and len(label.split()) <= 3 for label in labels)
        return _LABEL if short and len(labels) <= 20 else _TEXT
    if all(isinstance(r, int | float) for r in references):
        return _python("equal", _EQUAL)
    return None


def _python(name: str, source: str) -> Json:
    return {"type": "python", "name": name, "source": source}


_ARGUMENTS = f'''\
import json


def grade(sample, item):
    """The share of the right arguments; one too many costs as much as one missing."""
    wanted = item["{REFERENCE}"]["arguments"]
    if isinstance(wanted, str):
        wanted = json.loads(wanted)
    calls = sample.get("output_tools") or []
    if len(calls) != 1:
        return 0.0
    given = json.loads(calls[0]["function"]["arguments"])
    names = set(wanted) | set(given)
    if not names:
        return 1.0
    return sum(n in wanted and n in given and wanted[n] == given[n] for n in names) / len(names)
'''

_FIELDS = f'''\
def grade(sample, item):
    """The share of fields that the answer has right."""
    wanted, given = item["{REFERENCE}"], sample.get("output_json")
    if not isinstance(given, dict) or not wanted:
        return 0.0
    return sum(given.get(name) == value for name, value in wanted.items()) / len(wanted)
'''

_EQUAL = f'''\
def grade(sample, item):
    """Whether the answer is the right value."""
    return 1.0 if sample.get("output_json") == item["{REFERENCE}"] else 0.0
'''

_TOOL_CALL: Json = {
    "type": "multi",
    "name": "tool_call",
    "graders": {
        "name": {
            "type": "string_check",
            "name": "name",
            "operation": "eq",
            "input": "{{sample.output_tools[0].function.name}}",
            "reference": f"{{{{item.{REFERENCE}.name}}}}",
        },
        "arguments": _python("arguments", _ARGUMENTS),
    },
    # Arguments for the wrong tool are worth nothing.
    "calculate_output": "name * (0.5 + 0.5 * arguments)",
}

_LABEL: Json = {
    "type": "string_check",
    "name": "label",
    "operation": "eq",
    "input": "{{sample.output_text}}",
    "reference": f"{{{{item.{REFERENCE}}}}}",
}

_TEXT: Json = {
    "type": "text_similarity",
    "name": "text",
    "evaluation_metric": "fuzzy_match",
    "input": "{{sample.output_text}}",
    "reference": f"{{{{item.{REFERENCE}}}}}",
}
