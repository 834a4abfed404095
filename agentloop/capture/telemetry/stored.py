"""What is stored already, told to OpenTelemetry."""

from collections.abc import Iterable

from agentloop.base.errors import ConfigError
from agentloop.base.records import Judged, Opinion, Outcome
from agentloop.capture.telemetry.tree import of_trace
from agentloop.capture.telemetry.where import Telemetry
from agentloop.capture.telemetry.worth import evaluation


def export(judged: Iterable[Judged], telemetry: Telemetry) -> int:
    """Tell stored runs and what was said of them; how many they are. A run has the same ids each
    time.

    Raises:
        ConfigError: nobody listens.
    """
    from agentloop.capture.telemetry.emitting import Emitter

    emitter = Emitter(telemetry)
    if emitter.deaf:
        raise ConfigError("no tracer provider is given, and the application has set none")
    count = 0
    for one in judged:
        trace, content = one.trace, telemetry.content
        feedback: list[Opinion | Outcome] = [*one.opinions, *one.outcomes]
        said = [evaluation(given, content=content, trace=trace) for given in feedback]
        steps = of_trace(trace, content=content)
        emitter.run(trace.id, steps, evaluations=[told for told in said if told])
        count += 1
    return count
