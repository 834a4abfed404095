"""How a task ended: a named result, today or next month."""

from typing import Any

from agentloop.base.errors import RecordError
from agentloop.base.records import Outcome, now


def outcome(trace_id: str, name: str, value: Any, *, reference: Any = None) -> Outcome:
    """One named result.

    Args:
        name: a word that a `--where` can ask for as `outcome.NAME`.
        value: true or false, a number, a label; None while it is not known.
        reference: what would have been right, as JSON; graders compare with it.

    Raises:
        RecordError: the name is no word, or the value is none of these.
    """
    if not name.isidentifier():
        raise RecordError(f"{name!r} is no name of an outcome; use letters, digits and _")
    if value is not None and not isinstance(value, bool | int | float | str):
        raise RecordError(
            f"the outcome {name!r} is true, false, a number or a label, not "
            f"{type(value).__name__}; what would have been right is its reference"
        )
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    return Outcome(
        trace_id=trace_id, name=name, value=value, reference=reference, recorded_at=now()
    )
