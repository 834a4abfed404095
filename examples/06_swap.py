"""Swap a model into an agent and roll it back; the agent's code stays as it is.

Start the local provider first:

    agentloop local serve
"""

import agents
from agents import Agent, ModelSettings, RunConfig, function_tool
from agents.testing import ScriptedModel, assistant_message

from agentloop import AgentLoop

agents.set_trace_processors([])


@function_tool
def opening_hours(day: str) -> str:
    """When the shop is open."""
    return f"{day}: 9 to 17"


class Scripted(agents.ModelProvider):
    """Stands for the model that the agent runs on today."""

    def get_model(self, model_name: str | None) -> ScriptedModel:
        return ScriptedModel([[assistant_message("We are open from 9 to 17.")]])


support = Agent(
    name="greeter",
    instructions="You help.",
    tools=[opening_hours],
    model_settings=ModelSettings(temperature=0.0, max_tokens=60),
)


def ask(loop: AgentLoop) -> str:
    config = RunConfig(model_provider=Scripted())
    result = loop.run_sync(support, "hello", run_config=config)
    loop.flush()
    served = loop.store.trace(result.trace_id).version or "its own model"
    return f"{served}: {result.final_output}"


with AgentLoop("sqlite:///traces/examples.db") as loop:
    print(ask(loop))
    version = loop.adopt("agentloop-tiny", provider="local")
    loop.swap("greeter", version)
    print(ask(loop))
    loop.rollback("greeter")
    print(ask(loop))
    print([(move.reason, move.version) for move in loop.ledger.moves("greeter")][-2:])
