"""Run an agent of the Agents SDK, and look at what was captured.

Offline: the model is scripted. With a real one, leave `run_config` away.
"""

import agents
from agents import Agent, RunConfig, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call

from agentloop import AgentLoop

agents.set_trace_processors([])  # keep the SDK's own exporter off the network


@function_tool
def find_order(order_id: str) -> str:
    """Look up an order."""
    return f"order {order_id}: shipped, arrives on friday"


support = Agent(name="support", instructions="You help.", tools=[find_order])
model = ScriptedModel(
    [
        [function_call("find_order", {"order_id": "42"}, call_id="call_1")],
        [assistant_message("Order 42 arrives on Friday.")],
    ]
)

with AgentLoop("sqlite:///traces/examples.db") as loop:
    result = loop.run_sync(
        support,
        "Where is order 42?",
        user="u7",
        session="chat-9",
        run_config=RunConfig(model=model),
    )
    loop.flush()
    trace = loop.store.trace(result.trace_id)

print(f"{result.final_output}  ({result.trace_id}, user {trace.user}, session {trace.session})")
for call in trace.calls:
    names = [tool["function"]["name"] for tool in call.tools]
    print(f"call {call.index}: saw {len(call.context)} messages and the tools {names}")
