"""What agentloop itself has told OpenTelemetry, read again: whole, where others leave room."""

from datetime import datetime

from agentloop.base.records import Json, Message, Opinion, Outcome, Source
from agentloop.capture.importers.turns import Heard, opened
from agentloop.capture.telemetry import names, shapes


def is_ours(attributes: Json) -> bool:
    """Whether a model call was told by agentloop."""
    return names.CALL_ID in attributes


def words(attributes: Json) -> Heard:
    """The messages and the tools of a model call, as they went over the wire."""
    system = opened(attributes.get(names.SYSTEM_INSTRUCTIONS)) or []
    heard = shapes.chat_messages(opened(attributes.get(names.INPUT_MESSAGES)) or [])
    said = shapes.chat_messages(opened(attributes.get(names.OUTPUT_MESSAGES)) or [])
    prompt = [{"role": "system", "content": part["content"]} for part in system]
    incomplete = attributes.get(names.INCOMPLETE)
    return Heard(
        tuple(Message.model_validate(one) for one in [*prompt, *heard]),
        tuple(Message.model_validate(one) for one in said),
        tuple(shapes.chat_tools(opened(attributes.get(names.TOOL_DEFINITIONS)) or [])),
        missing=(str(incomplete),) if incomplete else (),
    )


def feedback(
    about: Json, *, id: str, trace: str, call: str | None, at: datetime
) -> Opinion | Outcome | None:
    """The opinion or the outcome that an evaluation of ours was; None when it is another's."""
    source = about.get(names.SOURCE)
    label, value = about.get(names.EVALUATION_LABEL), about.get(names.EVALUATION_VALUE)
    name = str(about.get(names.EVALUATION_NAME))
    if source == "outcome":
        known = {"true": True, "false": False}.get(str(label), label)
        told = known if known is not None else value
        reference = opened(about.get(names.REFERENCE))
        return Outcome(trace_id=trace, name=name, value=told, reference=reference, recorded_at=at)
    if source not in list(Source):
        return None
    correction = opened(about.get(names.CORRECTION))
    return Opinion(
        id=id,
        trace_id=trace,
        call_id=call,
        source=Source(source),
        author=str(about.get(names.AUTHOR) or name),
        score=value,
        comment=about.get(names.EVALUATION_EXPLANATION),
        correction=correction and Message.model_validate(correction),
        given_at=at,
    )
