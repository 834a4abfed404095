"""What people say: thumbs, scores, comments, and what the agent should have said."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from agentloop.base.errors import RecordError
from agentloop.base.records import Message, Opinion, Source, new_id, now
from agentloop.base.records.record import complaint

THUMBS = {"up": 1.0, "down": 0.0}


def opinion(
    trace_id: str,
    verdict: str | float | None,
    *,
    by: str,
    call: str | None = None,
    comment: str | None = None,
    source: Source = Source.PERSON,
) -> Opinion:
    """One opinion: `up`, `down`, or a score in [0, 1]; None where there is a comment alone.

    Raises:
        RecordError: `verdict` is none of these.
    """
    score: float | None = None
    if verdict is None:
        if comment is None:
            raise RecordError("an opinion has a verdict ('up', 'down', a score) or a comment")
    elif isinstance(verdict, str):
        if verdict not in THUMBS:
            raise RecordError(f"{verdict!r} is no verdict; say 'up', 'down', or a score in [0, 1]")
        score = THUMBS[verdict]
    else:
        score = float(verdict)
        if not 0.0 <= score <= 1.0:
            raise RecordError(f"a score lies in [0, 1], not at {verdict!r}")
    return Opinion(
        id=new_id("op"),
        trace_id=trace_id,
        call_id=call,
        source=source,
        author=by,
        score=score,
        comment=comment,
        given_at=now(),
    )


def correction(
    trace_id: str,
    call: str,
    said: str | Mapping[str, Any],
    *,
    by: str,
    comment: str | None = None,
) -> Opinion:
    """What a call should have said.

    Args:
        said: the text, or a whole assistant message where the right answer is a tool call.

    Raises:
        RecordError: `said` is no assistant message, or it says nothing.
    """
    body = {"role": "assistant", "content": said} if isinstance(said, str) else dict(said)
    if body.get("role") != "assistant":
        raise RecordError(f"a correction is an assistant message, not of role {body.get('role')!r}")
    try:
        message = Message.model_validate(body)
    except ValidationError as error:
        raise RecordError(f"a correction is an assistant message: {complaint(error)}") from error
    if not message.text and not message.calls:
        raise RecordError("a correction says something; the text is empty")
    return Opinion(
        id=new_id("op"),
        trace_id=trace_id,
        call_id=call,
        author=by,
        comment=comment,
        correction=message,
        given_at=now(),
    )
