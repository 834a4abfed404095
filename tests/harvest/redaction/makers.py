"""Examples to redact."""

from agentloop.base.records import RFTExample, SFTExample
from tests.makers import asks, returns, says, system, user

__all__ = ["an_example", "asks", "returns", "says", "system", "texts", "user"]


def an_example(*said, tools=(), **fields):
    """A conversation to imitate; its last message is the answer. With `fields`: a task."""
    origin = {"unit": "u1", "traces": ("t1",), "calls": ("t1/0",)}
    if fields:
        return RFTExample(
            context=said, tools=tools, fields=fields, rollouts=4, pass_rate=0.5, **origin
        )
    return SFTExample(context=said[:-1], output=said[-1], tools=tools, **origin)


def texts(example):
    """Everything that is said in an example, in order: contents, and arguments of calls."""
    said = []
    for message in (*example.context, *([example.output] if hasattr(example, "output") else [])):
        said += [message.content] if message.content is not None else []
        said += [call.function.arguments for call in message.calls]
    return said
