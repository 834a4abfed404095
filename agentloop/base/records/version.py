"""A version: a model that may serve an agent, and everything that made it."""

from agentloop.base.records.record import Json, Record, Time
from agentloop.base.records.row import Method
from agentloop.base.records.trace import Api


def key_variable(provider: str) -> str:
    """The environment variable that holds the key of a provider. Keys are kept nowhere else."""
    special = {"local": "AGENTLOOP_LOCAL_KEY"}
    return special.get(provider) or f"{provider.upper().replace('-', '_')}_API_KEY"


class Version(Record):
    """A model, and where it answers. Never a bare model name: names say nothing of where."""

    id: str
    provider: str
    base_url: str
    """The address of the inference API, up to and including `/v1`."""
    model: str
    """The name that the API knows the model by."""
    base_model: str
    api: Api = "chat"
    created_at: Time
    method: Method | None = None
    """What it was tuned by; None: registered by hand, not tuned here."""
    job: str | None = None
    checkpoint: str | None = None
    deployment: str | None = None
    dataset: str | None = None
    dataset_sha: str | None = None
    parent: str | None = None
    """The version that it was tuned from, None when that was a plain base model."""
    notes: Json = {}

    @property
    def key_variable(self) -> str:
        """The environment variable that holds the provider's key: `OPENAI_API_KEY`, …"""
        return key_variable(self.provider)


class AliasMove(Record):
    """One move of an agent's alias. The history is only ever added to."""

    agent: str
    version: str | None
    """The version that is live from now on; None: the agent's own model."""
    at: Time
    reason: str
    """`swap`, `rollback`, or what somebody typed."""
