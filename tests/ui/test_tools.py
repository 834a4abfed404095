"""`agentloop tools serve`: an agent's Python tools in the wire form of agent RFT."""

import json
import sys

import pytest
from agents import Agent, function_tool

pytest.importorskip("fastapi", reason="the extra `local` is not installed")

from fastapi.testclient import TestClient

from agentloop.base.errors import ConfigError
from agentloop.ui.tools import create_app, load, offered

MODULE = '''
from agents import Agent, function_tool

@function_tool
def get_order(order: str) -> str:
    """Look an order up."""
    return f"{order} is shipped"

@function_tool
async def count(words: list[str]) -> int:
    """Count words."""
    return len(words)

def plain(n: int) -> dict:
    """Twice a number."""
    return {"twice": 2 * n}

@function_tool
def broken() -> str:
    """Raise."""
    raise ValueError("the database is away")

support = Agent(name="support", tools=[get_order, count])
TOOLS = [get_order, plain, broken]
WRONG = [3]
'''


@pytest.fixture
def shop(tmp_path, monkeypatch):
    (tmp_path / "shop_tools.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield "shop_tools"
    sys.modules.pop("shop_tools", None)


@pytest.fixture
def client(shop):
    app = create_app([*load(f"{shop}:TOOLS"), *load(f"{shop}:support.tools")[1:]])
    with TestClient(app, base_url="http://127.0.0.1:8422") as opened:
        yield opened


def called(client, name, **arguments):
    body = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name}
    body |= {"arguments": json.dumps(arguments), "item": {}, "trace_id": "trace_1"}
    return client.post("/", json=body)


def test_a_tool_is_called_as_in_a_run(client):
    answer = called(client, "get_order", order="42")
    assert answer.status_code == 200
    assert answer.json() == {
        "type": "function_call_output",
        "call_id": "call_1",
        "output": "42 is shipped",
        "id": "fc_1",
    }


def test_what_is_no_text_is_told_as_the_sdk_tells_it(client):
    assert called(client, "count", words=["a", "b"]).json()["output"] == "2"
    assert called(client, "plain", n=4).json()["output"] == "{'twice': 8}"


def test_what_a_tool_raises_is_told_as_the_model_would_have_been(client):
    answer = called(client, "broken")
    assert answer.status_code == 200
    said = answer.json()["output"]  # the SDK's own words, which keep the exception to themselves
    assert said == "An error occurred while running the tool. Please try again."


def test_wrong_calls_are_refused_in_words_for_the_model(client):
    unknown = called(client, "get_weather")
    assert (unknown.status_code, unknown.text) == (
        404,
        "there is no tool 'get_weather'; known: get_order, plain, broken, count",
    )
    body = {"name": "get_order", "arguments": "{", "call_id": "c"}
    assert client.post("/", json=body).status_code in (200, 400)
    assert client.post("/", content=b"nothing").status_code == 400


def test_rows_can_offer_what_is_served(client, shop):
    (first, *_) = client.get("/tools").json()
    assert first["function"]["name"] == "get_order"
    assert first["function"]["parameters"]["properties"]["order"]["type"] == "string"
    assert client.get("/tools").json()[:3] == offered(load(f"{shop}:TOOLS"))


def test_a_key_is_wanted_where_there_is_one(shop):
    app = create_app(load(f"{shop}:support"), key="sesame")
    with TestClient(app, base_url="http://tools.example") as opened:
        assert called(opened, "get_order", order="1").status_code == 401
        opened.headers["authorization"] = "Bearer sesame"
        assert called(opened, "get_order", order="1").status_code == 200


def test_a_page_in_a_browser_does_not_get_in_without_a_key(client):
    assert client.get("/tools", headers={"origin": "https://example.com"}).status_code == 403
    assert client.get("/tools", headers={"host": "example.com"}).status_code == 403
    assert client.get("/tools", headers={"origin": "http://localhost:3000"}).status_code == 200


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shop_tools", "is not module:attribute"),
        ("nowhere_at_all:TOOLS", "No module named"),
        ("shop_tools:NONE", "has no attribute 'NONE'"),
        ("shop_tools:WRONG", "holds 3, which is no function"),
    ],
)
@pytest.mark.usefixtures("shop")
def test_what_cannot_be_served_is_named(name, message):
    with pytest.raises(ConfigError, match=message):
        load(name)


def test_a_function_and_an_agent_are_taken_as_they_are():
    @function_tool
    def one() -> str:
        """One."""
        return "1"

    agent = Agent(name="a", tools=[one])
    with TestClient(create_app(agent.tools), base_url="http://localhost") as opened:
        assert called(opened, "one").json()["output"] == "1"
