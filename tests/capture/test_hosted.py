"""Tools that others run: hosted ones, MCP servers; and what a model does beside what it says."""

import asyncio
import base64
import sys
from typing import Any

import pytest
from agents import (
    CodeInterpreterTool,
    FileSearchTool,
    HostedMCPTool,
    RunConfig,
    WebSearchTool,
)
from agents.mcp import MCPServerStdio

from agentloop.base.records import SpanKind
from tests.capture.asking import ask, asked, offered, provider, sent, the_same, weather
from tests.capture.server import calls, text
from tests.capture.test_wire import an_agent, check, every_way

both = pytest.mark.parametrize("stream", [False, True])
SECRET = "sk-of-the-mcp-server"

SEARCHED = {"type": "web_search_call", "id": "ws_1", "status": "completed",
            "action": {"type": "search", "query": "x"}}  # fmt: skip
CALLED = {"type": "mcp_call", "id": "mcp_1", "server_label": "docs", "name": "find",
          "arguments": '{ "q": 1}', "output": "found", "error": None}  # fmt: skip
DRAWN = {"type": "image_generation_call", "id": "ig_1", "status": "completed",
         "result": base64.b64encode(bytes(range(256)) * 8).decode()}  # fmt: skip


def hosted():
    config: Any = {"type": "mcp", "server_label": "docs", "server_url": "https://mcp.example",
                   "authorization": SECRET, "headers": {"X-Key": SECRET},
                   "require_approval": "never", "allowed_tools": ["find"]}  # fmt: skip
    interpreter: Any = {"type": "code_interpreter", "container": {"type": "auto"}}
    return [
        WebSearchTool(search_context_size="low"),
        FileSearchTool(vector_store_ids=["vs_1"], max_num_results=3),
        HostedMCPTool(tool_config=config),
        CodeInterpreterTool(tool_config=interpreter),
        weather,
    ]


@both
def test_hosted_tools_are_kept_as_they_were_sent_without_their_secrets(loop, serve, stream):
    server = serve(text("found", items=[SEARCHED, CALLED, DRAWN]))
    _, trace = ask(loop, server, an_agent(tools=hosted()), api="responses", stream=stream)
    (call,) = trace.calls
    (body,) = server.bodies
    wire = [dict(tool) for tool in offered(body)]
    assert wire[2].pop("authorization") == SECRET
    assert wire[2].pop("headers") == {"X-Key": SECRET}
    assert list(call.tools) == wire
    assert SECRET not in trace.to_line()
    for name in ("web_search", "file_search", "hosted_mcp", "code_interpreter"):
        assert f"the hosted tool {name!r}" in call.incomplete
    assert call.output.text == "found"


@both
def test_what_hosted_tools_did_is_kept_beside_what_was_said(loop, serve, stream):
    server = serve(text("found", items=[SEARCHED, CALLED, DRAWN]), text("so"))
    _, trace = ask(loop, server, an_agent(tools=hosted()), api="responses", stream=stream)
    searched, called, drawn = trace.calls[0].aside
    assert searched == SEARCHED
    assert {k: v for k, v in called.items() if k in CALLED} == CALLED
    assert drawn["result"].startswith("[base64, 2048 bytes, ")
    assert DRAWN["result"] not in trace.to_line()
    assert "'mcp_call' has no Chat Completions form" in trace.calls[0].incomplete


@every_way
def test_what_was_thought_is_kept_beside_what_was_said(loop, serve, api, stream):
    script = [
        calls(("weather", '{"city":"P"}', "c1"), reasoning="Which city? Paris."),
        text("Mild.", reasoning="21 is mild."),
    ]
    server = serve(*script)
    _, trace = ask(loop, server, an_agent(tools=[weather]), "w?", api=api, stream=stream)
    check(trace, server, script)
    thoughts = [[part["text"] for part in call.aside[0]["summary"]] for call in trace.calls]
    assert thoughts == [["Which city? Paris."], ["21 is mild."]]
    assert [call.incomplete for call in trace.calls] == [None, None]


@both
def test_what_is_encrypted_is_named_and_not_kept(loop, serve, stream):
    sealed = {"type": "reasoning", "id": "rs_9", "summary": [], "encrypted_content": "gAAAA" * 400}
    server = serve(text("so", items=[sealed]))
    _, trace = ask(loop, server, an_agent(), api="responses", stream=stream)
    (kept,) = trace.calls[0].aside
    assert kept["encrypted_content"].startswith("[encrypted, 2000 characters, ")
    assert "gAAAAgAAAA" not in trace.to_line()
    assert trace.calls[0].incomplete is None


def test_nothing_of_it_is_kept_of_a_run_with_metadata_alone(loop, serve):
    server = serve(text("so", reasoning="a secret", items=[CALLED]))
    _, trace = ask(loop, server, an_agent(), api="responses", capture="metadata")
    assert trace.calls[0].aside is None


MCP_SERVER = """
from mcp.server.mcpserver import MCPServer

server = MCPServer("desk")


@server.tool()
def find_order(order_id: str, whole: bool = False) -> str:
    '''Find an order.'''
    if order_id == "0":
        raise ValueError("there is none")
    return f"order {order_id} is on its way"


@server.tool()
def close(order_id: str) -> str:
    '''Offered, and never used.'''
    return "closed"


server.run("stdio")
"""


@every_way
def test_tools_of_an_mcp_server_are_tools(loop, serve, tmp_path, api, stream):
    """With the schemas that the server gives them, and what the model saw of what they said."""
    (tmp_path / "desk.py").write_text(MCP_SERVER)
    script = [
        calls(("find_order", '{"order_id": "7"}', "c1"), ("find_order", '{"order_id":"0"}', "c2")),
        text("It is on its way."),
    ]
    server = serve(*script)

    async def run():
        command: Any = {"command": sys.executable, "args": [str(tmp_path / "desk.py")]}
        theirs: Any = provider(server, api)
        async with MCPServerStdio(command, client_session_timeout_seconds=60) as desk:
            agent = an_agent(tools=[weather], mcp_servers=[desk])
            config = RunConfig(model_provider=theirs)
            result = await asked(loop, agent, "where is 7?", stream=stream, run_config=config)
        await theirs._client.close()
        return result

    result = asyncio.run(run())
    loop.flush()
    trace = loop.store.trace(result.trace_id)
    check(trace, server, script)
    names = [tool["function"]["name"] for tool in trace.calls[0].tools]
    assert names == ["find_order", "close", "weather"]
    first, second = [m for m in sent(server.bodies[1]) if m["role"] == "tool"]
    assert "order 7 is on its way" in str(first["content"])
    assert "there is none" in str(second["content"]) or "error" in str(second["content"]).lower()
    steps = [span for span in trace.spans if span.kind is SpanKind.TOOL]
    assert [step.name for step in steps] == ["find_order"] * 2
    assert the_same(trace.calls[1], server.bodies[1], script[1])
