"""Tools that are called while a model is trained: requests to the servers that a job names.

The wire form is that of OpenAI's agent RFT. A server that answers 4xx has said something to the
model; one that fails has not, and its rollout is dropped.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from agentloop.base.records import Json
from agentloop.base.records.message import verbatim
from agentloop.graders import MOST_BYTES, Server
from agentloop.local.disk.ids import fresh

A_SECOND = 50.0
"""Requests to one server, at most; OpenAI's own limit."""

AT_ONCE = 16
"""Requests that are under way."""


class Asked(NamedTuple):
    """A call of the model's, and what it belongs to."""

    call: Json
    """In the form of chat completions."""
    item: Json
    trace: str


class Result(NamedTuple):
    """What came of a call."""

    output: str = ""
    failed: str | None = None
    """Why there is no output, and nothing that the model should hear of."""


class Tools:
    """The servers of a job's tools. `close` it."""

    def __init__(
        self,
        servers: Sequence[Mapping[str, Any]],
        *,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        """`servers`: `method.reinforcement.tools` of a job."""
        self._servers = {
            str(one["name"]): Server(
                one["server_url"],
                one.get("headers") or {},
                rate=A_SECOND,
                pause=pause,
            )
            for one in servers
        }

    def close(self) -> None:
        """Give connections back."""
        for server in self._servers.values():
            server.close()

    @property
    def names(self) -> frozenset[str]:
        """The tools that can be called."""
        return frozenset(self._servers)

    def call(self, asked: Sequence[Asked]) -> list[Result]:
        """What comes of each call, in their order."""
        if not asked:
            return []
        with ThreadPoolExecutor(min(AT_ONCE, len(asked))) as pool:
            return list(pool.map(self._call, asked))

    def _call(self, asked: Asked) -> Result:
        function = asked.call["function"]
        body = verbatim(
            {
                "type": "function_call",
                "id": fresh("fc_"),
                "call_id": asked.call["id"],
                "name": function["name"],
                "arguments": function["arguments"],
                "item": asked.item,
                "trace_id": asked.trace,
            }
        )
        if len(body) > MOST_BYTES:
            return Result(failed=f"a call of {len(body)} bytes is too large")
        answer = self._servers[function["name"]].post(body)
        if isinstance(answer, str):
            return Result(failed=answer)
        if len(answer.content) > MOST_BYTES:
            return Result(failed=f"an answer of {len(answer.content)} bytes is too large")
        if 400 <= answer.status_code < 500:
            return Result(answer.text)
        try:
            output = answer.json()["output"]
        except (ValueError, KeyError, TypeError):
            return Result(failed='its answer is not {"output": …}')
        return Result(output if isinstance(output, str) else json.dumps(output, ensure_ascii=False))
