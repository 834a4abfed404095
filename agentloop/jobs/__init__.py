"""Room 4. Rows become a fine-tuning job, watched to its end."""

from agentloop.jobs.plans import plan
from agentloop.jobs.provider import BUILT_IN, Capability, Provider, provider
from agentloop.jobs.watcher import Seen, watch

__all__ = ["BUILT_IN", "Capability", "Provider", "Seen", "plan", "provider", "watch"]
