"""Datasets of the three methods, of few rows."""

from agentloop.base.records import Dataset, Row
from tests.harvest.checks.makers import MAKERS, an_sft, changed


def a_dataset(method="sft", rows=None, valid=()):
    """Three rows of a method, or those that are given."""
    rows = [MAKERS[method](n) for n in range(3)] if rows is None else rows
    return Dataset(
        method=method,
        agents=("support",),
        recipe={},
        rows=tuple(Row(body=row) for row in rows),
        valid=tuple(Row(body=row, split="valid") for row in valid),
    )


def masked(n=0):
    """A row whose first turn, a tool call, is not learned."""
    return changed(an_sft(n), "messages", 2, "weight", to=0)
