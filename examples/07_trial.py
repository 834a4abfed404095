"""Compare two versions on live traffic: each user meets one arm, the interval decides.

Start the local provider first:

    agentloop local serve
"""

import random

import agents
from agents import Agent, ModelSettings, RunConfig
from agents.testing import ScriptedModel, assistant_message

from agentloop import AgentLoop

agents.set_trace_processors([])


class Scripted(agents.ModelProvider):
    """Stands for the model that the agent runs on today."""

    def get_model(self, model_name: str | None) -> ScriptedModel:
        return ScriptedModel([[assistant_message("Please wait.")]])


host = Agent(
    name="host",
    instructions="You help.",
    model_settings=ModelSettings(temperature=0.0, max_tokens=40),
)

with AgentLoop("sqlite:///traces/examples.db") as loop:
    candidate = loop.adopt("agentloop-tiny", provider="local")
    trial = loop.trial("host", candidate=candidate, share=0.5, metric="smiled")
    dice = random.Random(1)
    for n in range(60):
        config = RunConfig(model_provider=Scripted())
        result = loop.run_sync(host, "hello", user=f"u{n % 40}", run_config=config)
        # What happened later: who was greeted smiled more often than who had to wait.
        patience = 0.2 if result.final_output == "Please wait." else 0.8
        loop.outcome(result.trace_id, "smiled", dice.random() < patience)
    verdict = trial.stop()

low, high = verdict.interval
print(f"control   {verdict.control.successes:.1f} of {verdict.control.n} users")
print(f"candidate {verdict.candidate.successes:.1f} of {verdict.candidate.n} users")
print(f"{verdict.difference:+.2f} ({low:+.2f} to {high:+.2f}): {verdict.says}")
