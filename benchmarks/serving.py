"""What batching gives: chat completions of the tiny model, one at a time against 32 at once."""

import asyncio
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from openai import AsyncOpenAI

from agentloop.local.tiny import NAME
from agentloop.ui.demo.agents import support
from agentloop.ui.demo.requests import requests
from agentloop.ui.demo.server import local_provider

AT_ONCE = 32


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Requests a second with 32 at once, and with one after the other."""
    n = 32 if quick else 256
    with tempfile.TemporaryDirectory() as folder, local_provider(Path(folder)) as answering:
        alone, together = asyncio.run(_both(answering(), n))
    return {
        "unit": "requests a second",
        "ours": round(together, 2),
        "peers": {},
        "absent": [],
        "baseline": round(alone, 2),
        "ratio": round(together / alone, 2),
        "bar": None,
        "holds": None,
        "runs": n,
    }


async def _both(url: str, n: int) -> tuple[float, float]:
    client = AsyncOpenAI(base_url=url, api_key="none", timeout=300)
    await _rate(client, 4, 4)
    return await _rate(client, n // 4, 1), await _rate(client, n, AT_ONCE)


async def _rate(client: AsyncOpenAI, n: int, at_once: int) -> float:
    """Requests a second: the demo's agent, greedy, each request another customer's."""
    agent = support(NAME)
    tools: Any = [
        {
            "type": "function",
            "function": {"name": tool.name, "parameters": getattr(tool, "params_json_schema", {})},
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
