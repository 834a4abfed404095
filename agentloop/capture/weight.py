"""How much memory what is recorded keeps from being free, about: told the writer, which is bounded
in bytes. Weighing takes the caller's time, so it is quick and not exact."""

from typing import Any

LATEST = 8
"""Items of a call's input, and parts of an item, that are weighed. What came before was weighed
with an earlier call of the run, and is in memory once."""

LIGHT = 2_000
"""Bytes of what is not weighed: a model writes no more than some thousand tokens."""


KNOWN = ("generation", "response", "turn", "task", "agent")
"""Steps that are weighed as something else, or light."""


def of_call(system: str | None, input: Any, before: int = 0) -> int:
    """Bytes that a model call adds: what is new in what the model was sent.

    Args:
        before: how many items the call before it was sent.
    """
    weight = LIGHT + len(system or "")
    if type(input) is str:
        return weight + len(input)
    new = len(input) - before
    for item in input[-(new if 0 < new < LATEST else LATEST) :]:
        if type(item) is dict:
            text = item.get("output") or item.get("content") or item.get("arguments")
            if text is not None:
                weight += len(text) if type(text) is str else _parts(text)
    return weight


def of_step(data: Any) -> int:
    """Bytes that a step of a run adds: what a tool was given and what it returned. What a model
    was given is weighed with its call."""
    weight = LIGHT
    if getattr(data, "type", None) in KNOWN:
        return weight
    for text in (getattr(data, "input", None), getattr(data, "output", None)):
        if text is not None:
            weight += len(text) if type(text) is str else _parts(text)
    return weight


def _parts(parts: Any) -> int:
    """Characters of content parts: of their texts, images, files."""
    weight = 0
    if type(parts) is list:
        for part in parts[-LATEST:]:
            if type(part) is dict:
                weight += sum([len(value) for value in part.values() if type(value) is str])
    return weight
