"""Plans: what a job would do and cost, and what the provider would refuse, before it exists."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from agentloop.base.records import Dataset, Json, Method, Plan, Row
from agentloop.base.records.rules import BYTES_PER_TOKEN
from agentloop.base.records.terms import is_named, objection
from agentloop.jobs.provider import Provider

KNOBS = {
    Method.SFT: ("n_epochs", "batch_size", "learning_rate_multiplier"),
    Method.KTO: (),
    Method.DPO: ("n_epochs", "batch_size", "learning_rate_multiplier", "beta"),
    Method.RFT: (
        *("n_epochs", "batch_size", "learning_rate_multiplier", "compute_multiplier"),
        *("eval_interval", "eval_samples", "reasoning_effort"),
    ),
}
"""The hyperparameters of each method, in OpenAI's words."""


def plan(
    dataset: Dataset,
    at: Provider,
    *,
    base: str,
    hyperparameters: Mapping[str, Any] | None = None,
    grader: Json | None = None,
    suffix: str | None = None,
    seed: int | None = None,
) -> Plan:
    """What training `base` on `dataset` at a provider would do. Asks nobody, uploads nothing."""
    chosen = dict(hyperparameters or {})
    grader = grader or dataset.grader
    tokens, by = _tokens(dataset)
    epochs = chosen.get("n_epochs")
    epochs = epochs if isinstance(epochs, int) else None
    price = at.capability.price(base)
    billed = epochs or expected_epochs(len(dataset.rows))
    return Plan(
        dataset=dataset.id,
        dataset_sha=dataset.sha,
        method=dataset.method,
        provider=at.name,
        base_model=base,
        rows=len(dataset.rows),
        valid_rows=len(dataset.valid),
        tokens=tokens,
        epochs=epochs,
        usd=None if price is None else round(price * tokens * billed / 1e6, 4),
        hyperparameters=chosen,
        grader=grader if dataset.method is Method.RFT else None,
        suffix=suffix,
        seed=seed,
        refusals=(*_refusals(dataset, at, chosen, grader), *_terms(dataset, base)),
        notes=(*at.capability.notes, f"tokens {by}; the job counts them exactly"),
    )


def _tokens(dataset: Dataset) -> tuple[int, str]:
    """The tokens of the rows to train on, and how they are known."""
    counted = [row.note["tokens"] for row in dataset.rows if "tokens" in row.note]
    if dataset.rows and len(counted) == len(dataset.rows):
        return sum(
            counted
        ), f"are as the harvest counted them for {dataset.recipe.get('tokenizer')}"
    size = sum(len(row.line.encode()) for row in dataset.rows)
    estimate = f"are an estimate, {BYTES_PER_TOKEN} bytes each (a harvest with --tokenizer counts)"
    return size // BYTES_PER_TOKEN, estimate


def expected_epochs(rows: int) -> int:
    """How often OpenAI's `auto` goes over so many rows. Source: OpenAI's cookbook, notebook
    Chat_finetuning_data_prep; the server may choose otherwise.

    >>> [expected_epochs(rows) for rows in (10, 33, 300, 20_000)]
    [10, 3, 3, 1]
    """
    if rows * 3 < 100:
        return min(25, max(1, 100 // max(rows, 1)))
    return max(1, 25_000 // rows) if rows * 3 > 25_000 else 3


def _refusals(
    dataset: Dataset, at: Provider, chosen: Mapping[str, Any], grader: Json | None
) -> Iterator[str]:
    can = at.capability
    if dataset.method not in can.methods:
        known = ", ".join(method.value for method in can.methods)
        if dataset.method is Method.KTO:
            known += "; train on its train.jsonl with TRL's KTOTrainer"
        yield f"{at.name} does not offer {dataset.method.value}; it offers {known}"
    if len(dataset.rows) < can.fewest_rows:
        yield (
            f"{len(dataset.rows)} training rows, {at.name} wants at least {can.fewest_rows}; "
            "gather more, or lower the share of validation rows"
        )
    if unknown := sorted(set(chosen) - set(KNOBS[dataset.method])):
        known = ", ".join(KNOBS[dataset.method])
        yield f"{dataset.method.value} has no hyperparameter {unknown[0]!r}; it has {known}"
    if dataset.method is Method.DPO and not can.dpo_tool_calls:
        calls = sum(_has_tool_call(row) for row in dataset.rows)
        if calls:
            yield f"{calls} pairs compare tool calls, which {at.name} does not take"
    if dataset.method is Method.RFT:
        yield from _rft_refusals(dataset, at, grader)


def _terms(dataset: Dataset, base: str) -> Iterator[str]:
    """Who wrote rows that `base` should not learn from without a look at their terms. Rows for
    reinforcement teach nobody's words."""
    if dataset.method is Method.RFT:
        return
    allowed = dataset.recipe.get("allow_producers") or ()
    wrote = Counter(
        name
        for row in (*dataset.rows, *dataset.valid)
        for name in {*row.producers, *row.note.get("rejected_producers", ())}
    )
    for name, rows in sorted(wrote.items()):
        if not is_named(name, allowed) and (why := objection(name, base)):
            yield (
                f"{rows} rows: {why}; its provider's terms may not allow that: our reading, check "
                "yours, then harvest with --allow-producer (allow_producers)"
            )


def _rft_refusals(dataset: Dataset, at: Provider, grader: Json | None) -> Iterator[str]:
    if not dataset.valid:
        yield "reinforcement wants validation rows too; raise the share of validation rows"
    if grader is None:
        yield "there is no grader, and the references call for none; give one with --grader"
        return
    for kind in (grader.get("type"), *_parts(grader.get("graders") or ())):
        if kind not in at.capability.graders:
            yield f"{at.name} has no grader of type {kind!r}"


def _parts(graders: Any) -> list[Any]:
    """The types of the graders in a multi grader: a mapping, a list, or one alone."""
    if isinstance(graders, Mapping):
        alone = isinstance(graders.get("type"), str)
        graders = [graders] if alone else list(graders.values())
    return [part.get("type") if isinstance(part, Mapping) else part for part in graders]


def _has_tool_call(row: Row) -> bool:
    outputs = (*row.body["preferred_output"], *row.body["non_preferred_output"])
    return any(message.get("tool_calls") for message in outputs)
