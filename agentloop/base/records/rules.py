"""Rules: what a fine-tuning service wants of rows beyond their format, and the rows against it."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from agentloop.base.records.fault import Fault
from agentloop.base.records.record import Record
from agentloop.base.records.row import WIRE, Method, messages_of

MEGABYTE = 1 << 20
BYTES_PER_TOKEN = 4
"""A rule of thumb for English text and JSON; used where the service's tokenizer is not here."""


class RowRules(Record):
    """What a service takes, as far as a file can show it. The defaults are OpenAI's contract."""

    methods: tuple[Method, ...] = tuple(WIRE)
    fewest_rows: int = 10
    most_rows: int | None = None
    most_bytes: int | None = None
    """How long a file may be, in bytes."""
    row_tokens: int | None = None
    """How many tokens of a row are trained on; what is beyond is cut from the end."""
    dpo_tool_calls: bool = False
    """Whether the two outputs of a preference may be tool calls."""
    dpo_tool_turns: bool = True
    """Whether the context of a preference may hold tool calls and their answers."""
    consecutive_assistants: bool = True
    """Whether two assistant messages may follow each other."""
    parallel_tool_calls: bool = True
    """Whether rows may hold the key of that name."""
    most_images: int | None = None
    """Images in a row."""
    rft_images: bool = True
    """Whether rows for reinforcement may hold images."""
    rft_keys: tuple[str, ...] = ()
    """Keys that each row for reinforcement must have beside `messages`."""


SERVICES: Mapping[str, RowRules] = {
    "openai": RowRules(
        methods=(Method.SFT, Method.DPO),
        most_bytes=512 * MEGABYTE,
        row_tokens=65_536,
        most_images=10,
    ),
    "local": RowRules(most_bytes=512 * MEGABYTE, dpo_tool_calls=True),
    "foundry": RowRules(
        most_bytes=512 * MEGABYTE,
        row_tokens=65_536,
        consecutive_assistants=False,
        most_images=64,
        rft_images=False,
    ),
    "bedrock": RowRules(
        methods=(Method.RFT,), fewest_rows=100, most_rows=20_000, rft_keys=("reference_answer",)
    ),
    "nebius": RowRules(methods=(Method.SFT,), most_bytes=5 * 1024 * MEGABYTE),
    "crusoe": RowRules(methods=(Method.SFT,), most_bytes=3 * 1024 * MEGABYTE),
    "together": RowRules(
        methods=(Method.SFT, Method.DPO), consecutive_assistants=False, parallel_tool_calls=False
    ),
    "fireworks": RowRules(fewest_rows=3, most_rows=3_000_000, dpo_tool_turns=False),
}
"""Service -> its rules. Source: the services' own documentation of late 2026; what it leaves open
(whether pairs may compare tool calls) is taken for refused."""


def unruly(row: Mapping[str, Any], method: Method, rules: RowRules) -> Iterator[Fault]:
    """What a service refuses about a row that has no fault (see `faults`)."""
    given = row["input"] if method is Method.DPO else row
    messages = messages_of(row, method)
    if not rules.consecutive_assistants:
        yield from consecutive(messages)
    if not rules.parallel_tool_calls and "parallel_tool_calls" in given:
        yield Fault("key_not_taken", "the service takes no 'parallel_tool_calls'; leave it out")
    if method is Method.DPO:
        outputs = (*row["preferred_output"], *row["non_preferred_output"])
        if not rules.dpo_tool_calls and any(m.get("tool_calls") for m in outputs):
            yield Fault(
                "tool_calls_in_pair",
                "an output is a tool call; the service compares texts alone",
            )
        if not rules.dpo_tool_turns and any(
            m["role"] == "tool" or m.get("tool_calls") for m in messages
        ):
            yield Fault(
                "tool_turns_in_pair",
                "the context holds tool calls; the service takes system, user and assistant texts",
            )
    images = sum(_images(m) for m in messages)
    if method is Method.RFT and images and not rules.rft_images:
        yield Fault("too_many_images", "the row holds images; reinforcement here takes none")
    elif rules.most_images is not None and images > rules.most_images:
        yield Fault(
            "too_many_images", f"the row holds {images} images, {rules.most_images} are taken"
        )
    if method is Method.RFT:
        for key in rules.rft_keys:
            if key not in row:
                yield Fault("missing_key", f"the key {key!r} is missing")


def consecutive(messages: Any) -> Iterator[Fault]:
    """The first place where two assistant messages follow each other."""
    for n, (one, next_) in enumerate(pairwise(messages)):
        if one.get("role") == next_.get("role") == "assistant":
            yield Fault(
                "consecutive_assistants",
                f"messages[{n}] and messages[{n + 1}] are both the assistant's; some services "
                "refuse the file for it, without a line number",
            )
            return


def _images(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    if not isinstance(content, list):
        return 0
    return sum(isinstance(part, dict) and part.get("type") == "image_url" for part in content)
