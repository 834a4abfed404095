"""The seam: what agentloop asks of a fine-tuning service, and the services it knows by name."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol

from agentloop.base.errors import ConfigError
from agentloop.base.records import Api, Event, Job, Method, RowRules


class Capability(RowRules):
    """What a service takes, and what it costs."""

    methods: tuple[Method, ...]
    graders: tuple[str, ...] = ("string_check", "text_similarity", "python", "score_model", "multi")
    bills: bool = True
    """Whether a job costs money; such a job wants a confirmation."""
    usd_per_million: Mapping[str, float] = {}
    """Base model -> US dollars per million trained tokens; its dated snapshots cost the same."""
    notes: tuple[str, ...] = ()
    """What somebody should know before starting a job, one sentence each."""

    def price(self, base_model: str) -> float | None:
        """US dollars per million trained tokens; None when it is not known."""
        if not self.bills:
            return 0.0
        for name, usd in self.usd_per_million.items():
            if base_model == name or base_model.startswith(f"{name}-20"):  # a dated snapshot
                return usd
        return None


class Provider(Protocol):
    """A place that fine-tunes. All but `start` are safe to repeat.

    Every method raises `ProviderBusy` when asking again may help and `ProviderRefused` when it
    will not.
    """

    name: str
    base_url: str
    """The address of its API, up to and including `/v1`."""
    api: Api
    """How its tuned models are called."""
    capability: Capability

    def start(self, job: Job, train: bytes, valid: bytes | None) -> Job:
        """Upload the rows and create the job. Not idempotent: two calls, two jobs, two bills."""
        ...

    def find(self, job: Job) -> Job | None:
        """The job as the service has it when only our id of it is known; None: it has none."""
        ...

    def refresh(self, job: Job) -> Job:
        """The job as the service sees it now."""
        ...

    def events(self, job: Job, *, after: int = 0) -> list[Event]:
        """What happened to the job, oldest first, without the first `after` events."""
        ...

    def cancel(self, job: Job) -> Job:
        """The job, told to stop."""
        ...


BUILT_IN = {
    "local": "agentloop.jobs.local:Local",
    "openai": "agentloop.jobs.openai:OpenAI",
}
"""Named lazily, so that choosing one provider never imports the client of another."""


def provider(name: str, **options: Any) -> Provider:
    """The provider called `name`, ready to use.

    Third parties register theirs under the entry-point group `agentloop.providers`.

    Raises:
        ConfigError: nothing is registered under that name.
    """
    plugins = {e.name: e.value for e in entry_points(group="agentloop.providers")}
    known = plugins | BUILT_IN  # a plug-in may add a name, never take one over
    if name not in known:
        raise ConfigError(f"no provider {name!r}; known: {', '.join(sorted(known))}")
    module, _, attribute = known[name].partition(":")
    built: Provider = getattr(import_module(module), attribute)(**options)
    return built
