"""Room 5. A finished job becomes a version; an alias says which one is live."""

from agentloop.registry.aliases import live, rollback, swap
from agentloop.registry.gates import Figure, Gate, gate
from agentloop.registry.versions import of_job, of_model

__all__ = ["Figure", "Gate", "gate", "live", "of_job", "of_model", "rollback", "swap"]
