"""Say what a run was worth: a thumb, a correction, an outcome that comes later."""

import agents
from agents import Agent, RunConfig
from agents.testing import ScriptedModel, assistant_message

from agentloop import AgentLoop

agents.set_trace_processors([])

support = Agent(name="support", instructions="You help.")
model = ScriptedModel([[assistant_message("I am very glad that you ask. It ships tomorrow.")]])

with AgentLoop("sqlite:///traces/examples.db") as loop:
    run = loop.run_sync(support, "Where is order 43?", run_config=RunConfig(model=model))

    loop.outcome(run.trace_id, "resolved", True, reference={"status": "ships tomorrow"})
    print("a rule:   ", loop.judgement(run.trace_id).score)

    loop.rate(run.trace_id, "down", by="u7", comment="too many words")
    print("a person: ", loop.judgement(run.trace_id).score, "(a person outranks a rule)")

    loop.correct(run.trace_id, "It ships tomorrow.", by="ann")
    opinions = loop.judgement(run.trace_id).opinions
    print("corrected:", [o.correction.text for o in opinions if o.correction])
