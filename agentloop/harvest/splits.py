"""Splits: which rows a model is validated with, decided by who they come from."""

from hashlib import blake2b


def split(unit: str, *, share: float) -> str:
    """`valid` for about `share` of all units, `train` for the others.

    The unit alone decides: not the row, the day or how many rows there are. So a user's rows stay
    on one side as data grows, and nothing that is selected later moves a line.

    Args:
        unit: a user, a session, a task.
        share: of the units, in [0, 1].

    >>> split("u7", share=0.0), split("u7", share=1.0)
    ('train', 'valid')
    """
    return "valid" if position(unit) < share else "train"


def position(unit: str) -> float:
    """Where a unit stands in [0, 1), evenly spread over units."""
    return int.from_bytes(blake2b(unit.encode(), digest_size=8).digest(), "big") / 2**64
