"""What batching gives: chat completions of the tiny model, one at a time against 32 at once.

`held` is the same 32 at once with every tool `strict`: a grammar masks each of their tokens.
The three take turns, because a machine that others use too has good and bad minutes; the ratio
is the median.
"""

import asyncio
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from openai import AsyncOpenAI

from agentloop.local.tiny import NAME
from agentloop.ui.demo.agents import support
from agentloop.ui.demo.requests import requests
from agentloop.ui.demo.server import local_provider

AT_ONCE = 32

ROUNDS = 4

BAR = 5.0
"""Times one agent's rate that 32 at once are to have."""


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Requests a second with 32 at once, and with one after the other."""
    n = 128 if quick else 512
    with tempfile.TemporaryDirectory() as folder, local_provider(Path(folder)) as answering:
        turns = asyncio.run(_turns(answering(), n))
    alone, together, held = (median(rates) for rates in zip(*turns, strict=True))
    ratio = median(one[1] / one[0] for one in turns)
    return {
        "unit": "requests a second",
        "ours": round(together, 2),
        "peers": {},
        "absent": [],
        "baseline": round(alone, 2),
        "ratio": round(ratio, 2),
        "held": round(held, 2),
        "bar": BAR,
        "holds": ratio >= BAR,
        "runs": n,
    }


async def _turns(url: str, n: int) -> list[tuple[float, float, float]]:
    client = AsyncOpenAI(base_url=url, api_key="none", timeout=300)
    await _rate(client, 4, 4, strict=True)
    return [
        (
            await _rate(client, max(2, n // ROUNDS // 8), 1),
            await _rate(client, n // ROUNDS, AT_ONCE),
            await _rate(client, n // ROUNDS, AT_ONCE, strict=True),
        )
        for _ in range(ROUNDS)
    ]


async def _rate(client: AsyncOpenAI, n: int, at_once: int, *, strict: bool = False) -> float:
    """Requests a second: the demo's agent, greedy, each request another customer's."""
    agent = support(NAME)
    tools: Any = [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "parameters": getattr(tool, "params_json_schema", {}),
                "strict": strict,
            },
        }
        for tool in agent.tools
    ]
    room = asyncio.Semaphore(at_once)

    async def one(text: str) -> None:
        async with room:
            await client.chat.completions.create(
                model=NAME,
                messages=[
                    {"role": "system", "content": str(agent.instructions)},
                    {"role": "user", "content": text},
                ],
                tools=tools,
                temperature=0.0,
                max_tokens=60,
            )

    began = perf_counter()
    await asyncio.gather(*(one(request.text) for request in requests(n, seed=at_once)))
    return n / (perf_counter() - began)
