"""Room 2. A trace gets opinions and outcomes; they settle at a score."""

from agentloop.feedback.files import Line
from agentloop.feedback.outcomes import outcome
from agentloop.feedback.people import correction, opinion
from agentloop.feedback.settling import settle

__all__ = ["Line", "correction", "opinion", "outcome", "settle"]
