"""Room 6. Two versions meet on live traffic; the numbers decide."""

from agentloop.trials.assignment import Versions, arm, begin, serve
from agentloop.trials.handle import LiveTrial
from agentloop.trials.verdicts import Counts, count, verdict

__all__ = ["Counts", "LiveTrial", "Versions", "arm", "begin", "count", "serve", "verdict"]
