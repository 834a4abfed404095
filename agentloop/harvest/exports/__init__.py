"""Exports: the rows of a harvest in the forms that other libraries read."""

from agentloop.harvest.exports.forms import Form, Left
from agentloop.harvest.exports.writing import Exported, Format, export

__all__ = ["Exported", "Form", "Format", "Left", "export"]
