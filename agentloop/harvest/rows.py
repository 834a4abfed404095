"""From examples to rows, from rows to a dataset, and from a dataset to five files."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from agentloop.base.errors import EmptyHarvest, StoreError
from agentloop.base.records import (
    Dataset,
    DPOExample,
    Example,
    Json,
    Message,
    Method,
    Refusal,
    Refused,
    RFTExample,
    Row,
    SFTExample,
    faults,
    jsonl,
)
from agentloop.base.records.message import verbatim
from agentloop.harvest.redaction import Redactor
from agentloop.harvest.rewards import REFERENCE, grader
from agentloop.harvest.splits import position, split


def dataset(
    method: Method,
    found: Iterable[Example | Refused],
    *,
    agents: Sequence[str],
    recipe: Mapping[str, Any],
    valid_share: float = 0.1,
    limit: int | None = None,
    traces_read: int = 0,
    parent: str | None = None,
    redactor: Redactor | None = None,
) -> Dataset:
    """The dataset of what was found: rows that a provider takes, and a refusal for all others.

    Args:
        valid_share: of the units (users, sessions, …) whose rows validate, in [0, 1].
        limit: at most so many rows; the rest is refused as `too_many`.
        redactor: replaces personal data and secrets by pseudonyms; None leaves them.

    Raises:
        EmptyHarvest: there is no row; the message counts the reasons.
    """
    examples: list[Example] = []
    refused: list[Refused] = []
    considered = 0
    for item in found:
        considered += 1
        if isinstance(item, Refused):
            refused.append(item)
        elif limit is not None and len(examples) >= limit:
            refused.append(_not(item, Refusal.TOO_MANY))
        else:
            examples.append(item)
    notes: list[Json] = [{}] * len(examples)
    if redactor is not None:
        examples, notes = redactor.all(examples)
    rows = []
    same_keys = _uniform(examples)
    for example, said in zip(examples, notes, strict=True):
        row = _row(example, same_keys, valid_share, said)
        if wrong := faults(row.body, method):
            refused.append(_not(example, Refusal.BAD_ROW, wrong[0].message))
        else:
            rows.append(row)
    if valid_share < 1.0 and all(row.split == "valid" for row in rows):
        # Of few units, chance may have taken all to validate: then there is nothing to learn from.
        rows = [row.model_copy(update={"split": "train"}) for row in rows]
    if method is Method.RFT:
        rows = _one_valid(rows, examples)
    made = Dataset(
        method=method,
        agents=tuple(agents),
        recipe=dict(recipe),
        rows=tuple(row for row in rows if row.split == "train"),
        valid=tuple(row for row in rows if row.split == "valid"),
        refused=tuple(refused),
        traces_read=traces_read,
        considered=considered,
        grader=_grader(rows) if method is Method.RFT else None,
        parent=parent,
    )
    if not rows:
        raise EmptyHarvest(_nothing(made))
    return made


def write(made: Dataset, folder: Path) -> None:
    """Write `train.jsonl`, `valid.jsonl`, `rows.meta.jsonl`, `refused.jsonl`, `manifest.json`.

    All five appear at once, in place of an earlier harvest; on an error none does.

    Raises:
        StoreError: the folder cannot be written; nothing is left behind.
    """
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}") from error
    try:
        for name, content in _files(made):
            (draft / name).write_bytes(content)
        draft.chmod(0o755)
        if folder.exists():
            if strangers := {p.name for p in folder.iterdir()} - {n for n, _ in _files(made)}:
                raise StoreError(
                    f"{folder} holds other files ({', '.join(sorted(strangers)[:3])}); "
                    "harvest into a folder of its own"
                )
            folder.rename(old := draft.with_name(f"{draft.name}.old"))
            draft.rename(folder)
            shutil.rmtree(old)
        else:
            draft.rename(folder)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}; nothing was left") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _files(made: Dataset) -> list[tuple[str, bytes]]:
    manifest = json.dumps(made.manifest, indent=2, ensure_ascii=False, sort_keys=True)
    return [
        ("train.jsonl", jsonl(made.rows)),
        ("valid.jsonl", jsonl(made.valid)),
        ("rows.meta.jsonl", _lines(_metas(made))),
        ("refused.jsonl", _lines(_refusal(r) for r in made.refused)),
        ("manifest.json", f"{manifest}\n".encode()),
    ]


def _metas(made: Dataset) -> Iterable[Json]:
    for name, rows in (("train.jsonl", made.rows), ("valid.jsonl", made.valid)):
        for line, row in enumerate(rows, 1):
            yield {
                "file": name,
                "line": line,
                "sha256": row.line_sha,
                "traces": list(row.traces),
                "calls": list(row.calls),
                "opinions": list(row.opinions),
                "split": row.split,
                "producers": list(row.producers),
                **row.note,
            }


def _refusal(refused: Refused) -> Json:
    body = refused.model_dump(mode="json", exclude_none=True)
    return {**body, "sentence": refused.sentence}


def _lines(bodies: Iterable[Json]) -> bytes:
    return b"".join(verbatim(body) + b"\n" for body in bodies)


# ---------------------------------------------------------------------- one example, one row


def _row(example: Example, keys: frozenset[str], valid_share: float, said: Json) -> Row:
    match example:
        case SFTExample():
            body = {"messages": _with_weights(example), **_offered(example, keys)}
            note: Json = {}
        case DPOExample():
            body = {
                "input": {
                    "messages": [_plain(m) for m in example.context],
                    **_offered(example, keys),
                },
                "preferred_output": [_plain(example.preferred)],
                "non_preferred_output": [_plain(example.rejected)],
            }
            note = {"margin": example.margin, "source": example.source}
        case RFTExample():
            messages = [_plain(m) for m in example.context]
            for message in messages:
                if message["role"] == "system":
                    message["role"] = "developer"
            offered = {"tools": list(example.tools)} if example.tools else {}
            body = {"messages": messages, **offered, **example.fields}
            note = {"pass_rate": example.pass_rate, "rollouts": example.rollouts}
        case _:
            raise TypeError(f"no row is made of a {type(example).__name__}")
    return Row(
        body=body,
        split=split(example.unit, share=valid_share),
        traces=example.traces,
        calls=example.calls,
        opinions=example.opinions,
        producers=example.producers,
        note={**note, **said},
    )


def _plain(message: Message) -> Json:
    """The message as servers take it: null says nothing but as the content beside tool calls, and
    only reinforcement knows a developer."""
    said = message.to_dict()
    body = {k: v for k, v in said.items() if k != "weight" and (v is not None or k == "content")}
    if body["role"] == "developer":
        body["role"] = "system"
    return body


def _with_weights(example: SFTExample) -> list[Json]:
    """The messages; a masked one says so. Where all is learned, nothing is added."""
    weights = iter(example.weights)
    messages = []
    for message in example.context:
        body = _plain(message)
        if message.role == "assistant" and next(weights, 1) == 0:
            body["weight"] = 0
        messages.append(body)
    return [*messages, _plain(example.output)]


def _uniform(examples: Sequence[Example]) -> frozenset[str]:
    """The optional keys that some row needs: servers refuse a file whose rows differ in keys."""
    with_tools = [example for example in examples if example.tools]
    one_by_one = any(example.parallel_tool_calls is False for example in with_tools)
    needed = {"tools": bool(with_tools), "parallel_tool_calls": one_by_one}
    return frozenset(key for key, is_needed in needed.items() if is_needed)


def _offered(example: Example, keys: frozenset[str]) -> Json:
    offered: Json = {"tools": list(example.tools)} if "tools" in keys else {}
    if "parallel_tool_calls" in keys:
        offered["parallel_tool_calls"] = example.parallel_tool_calls is not False
    return offered


# ---------------------------------------------------------------------- the whole


def _one_valid(rows: Sequence[Row], examples: Sequence[Example]) -> list[Row]:
    """Reinforcement needs validation rows; when chance gave none, the first unit by position is
    moved there whole."""
    if len(rows) < 2 or any(row.split == "valid" for row in rows):
        return list(rows)
    units = {example.traces: example.unit for example in examples}
    chosen = min((units[row.traces] for row in rows), key=position)
    return [
        row.model_copy(update={"split": "valid"}) if units[row.traces] == chosen else row
        for row in rows
    ]


def _grader(rows: Sequence[Row]) -> Json | None:
    return grader([row.body[REFERENCE] for row in rows if REFERENCE in row.body])


def _not(example: Example, code: Refusal, detail: str | None = None) -> Refused:
    call = example.calls[-1] if example.calls else None
    return Refused(code=code, traces=example.traces, call=call, detail=detail)


def _nothing(made: Dataset) -> str:
    agents = ", ".join(made.agents)
    if not made.considered:
        return f"nothing to harvest: no {made.method} candidates in the traces of {agents}"
    code, n = next(iter(made.reasons().items()))
    return (
        f"no row from {made.considered} candidates of {agents}; most often ({n}): "
        f"{code.value}. {code.sentence}"
    )
