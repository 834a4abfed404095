"""Tune the tiny base on harvested rows at the local provider. Start it first:

agentloop local serve
"""

from pathlib import Path

from agentloop import AgentLoop

recorded = Path(__file__).parents[1] / "traces" / "shop.jsonl"

with AgentLoop("sqlite:///traces/examples-tune.db") as loop:
    list(loop.import_file(recorded))
    dataset = loop.harvest("sft", agent="support", limit=40)

    plan = loop.plan(
        dataset,
        provider="local",
        base="agentloop-tiny",
        hyperparameters={"n_epochs": 1},
        seed=1,
    )
    print(f"{plan.rows} rows, about {plan.tokens} tokens an epoch, ${plan.usd:.2f}")

    job = loop.tune(plan)
    job.wait(tell=lambda event: print(f"  {event.message}"))
    version = loop.register(job)
    print(f"{version.id} is {version.model}")
    print(f"learned from {len(loop.lineage(version).traces)} traces")
