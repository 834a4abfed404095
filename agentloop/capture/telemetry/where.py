"""Where runs are told to, and how much of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentloop.base.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.trace import TracerProvider


@dataclass(frozen=True)
class Telemetry:
    """Whose spans and events runs become, and how much is told of them."""

    tracer_provider: "TracerProvider | None" = None
    """Where the spans go; None: to the provider that the application has set for itself."""
    logger_provider: "LoggerProvider | None" = None
    """Where the events of feedback and outcomes go; None: to the application's own, and where it
    has none, they are events of spans."""
    content: bool = False
    """Whether what was said is told: messages, system prompts, tool schemas, what tools were given
    and gave back, the words of errors, comments and corrections."""

    @classmethod
    def of(cls, given: "Telemetry | TracerProvider | bool") -> "Telemetry":
        """What `otel=…` means: True, a tracer provider, or all of it.

        Raises:
            ConfigError: it is none of these.
        """
        from opentelemetry.trace import TracerProvider

        if isinstance(given, Telemetry):
            return given
        if given is True:
            return cls()
        if isinstance(given, TracerProvider):
            return cls(given)
        raise ConfigError(f"otel is True, a TracerProvider or a Telemetry, not {given!r}")
