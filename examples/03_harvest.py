"""Turn recorded traces into training rows, and see why the others gave none."""

from collections import Counter
from pathlib import Path

from agentloop import AgentLoop
from agentloop.capture.importers import Imported
from agentloop.harvest import write

recorded = Path(__file__).parents[1] / "traces" / "shop.jsonl"

with AgentLoop("sqlite:///traces/examples-harvest.db") as loop:
    items = Counter(type(item) is Imported for item in loop.import_file(recorded))
    print(f"{items[True]} traces in, {items[False]} bad lines")

    for method in ("sft", "dpo", "rft"):
        dataset = loop.harvest(method, agent=["support", "billing"])
        write(dataset, Path("traces/examples-rows") / method)
        reasons = {code.value: n for code, n in dataset.reasons().items()}
        print(f"{method}: {len(dataset.rows)} + {len(dataset.valid)} rows; refused: {reasons}")

    print("advice:", loop.advise("support,billing").says)
