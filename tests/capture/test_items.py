"""The SDK's items as messages: held against the SDK's own converter."""

import pytest
from agents import Agent, FunctionTool, ModelSettings, WebSearchTool, function_tool, handoff
from agents.agent_output import AgentOutputSchema
from agents.models.chatcmpl_converter import Converter
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from agentloop.capture import items
from tests.base.texts import texts
from tests.capture.asking import weather

ids = st.sampled_from(["c1", "c2"])
user_parts = st.one_of(
    st.builds(lambda t: {"type": "input_text", "text": t}, texts),
    st.builds(
        lambda d: {"type": "input_image", "image_url": "https://x/y.png", **d},
        st.sampled_from([{}, {"detail": "low"}, {"detail": "original"}]),
    ),
    st.just({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
    st.just({"type": "input_file", "file_data": "data:x", "filename": "a.pdf"}),
    st.just({"type": "input_file", "file_id": "file-1"}),
    st.just({"type": "input_text", "text": "x"}),
)
easy = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["user", "system", "developer", "assistant"]),
    texts,
)
said_by_user = st.builds(
    lambda parts: {"type": "message", "role": "user", "content": parts},
    st.lists(user_parts, min_size=1, max_size=3),
)
answer_parts = st.one_of(
    st.builds(lambda t: {"type": "output_text", "text": t, "annotations": []}, texts),
    st.builds(lambda t: {"type": "refusal", "refusal": t}, texts),
)
said_by_model = st.builds(
    lambda parts: {
        "type": "message",
        "id": "m",
        "role": "assistant",
        "status": "completed",
        "content": parts,
    },
    st.lists(answer_parts, min_size=1, max_size=2),
)
asked_for = st.builds(
    lambda call_id, arguments: {
        "type": "function_call",
        "id": "f",
        "call_id": call_id,
        "name": "f",
        "arguments": arguments,
    },
    ids,
    st.sampled_from(["{}", '{"a":  1}', ""]),
)
tool_output = st.one_of(
    texts,
    st.lists(
        st.sampled_from(
            [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"},
            ]
        ),
        min_size=1,
        max_size=2,
    ),
)
returned = st.builds(
    lambda call_id, output: {
        "type": "function_call_output",
        "call_id": call_id,
        "output": output,
    },
    ids,
    tool_output,
)
thought = st.just({"type": "reasoning", "id": "r", "summary": []})
talks = st.lists(
    st.one_of(easy, said_by_user, said_by_model, asked_for, returned, thought), max_size=7
)


@settings(max_examples=400, deadline=None)
@given(talks)
def test_messages_are_what_the_sdk_would_send(talk):
    found = items.messages(talk, chat=True)
    assert found.missing == ()
    assert [m.to_dict() for m in found.messages] == Converter.items_to_messages(talk)


@given(texts)
def test_a_text_alone_is_what_the_user_says(text):
    (message,) = items.messages(text).messages
    assert message.to_dict() == {"role": "user", "content": text}


def test_the_system_prompt_comes_first():
    said = items.messages("hi", "You help.").messages
    assert [m.role for m in said] == ["system", "user"]


def test_the_parts_of_a_tools_output_are_kept_where_the_model_sees_them():
    image = {"type": "input_image", "image_url": "https://x/y.png"}
    talk = [{"type": "function_call_output", "call_id": "c", "output": [image]}]
    (message,) = items.messages(talk).messages
    assert message.to_dict()["content"][0]["type"] == "image_url"
    (message,) = items.messages(talk, chat=True).messages
    assert message.content == items.OMITTED


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ({"type": "computer_call", "id": "x"}, "an item of type 'computer_call' has no"),
        ({"type": "item_reference", "id": "x"}, "an item of type 'item_reference' has no"),
        (
            {"role": "user", "content": [{"type": "input_image", "file_id": "f"}]},
            "a content part of type 'input_image' has no",
        ),
        ({"type": "function_call", "name": "f"}, "an item cannot be read: KeyError"),
        (7, "an item cannot be read: AttributeError"),
    ],
)
def test_what_has_no_form_as_a_message_is_named(item, why):
    found = items.messages([{"role": "user", "content": "hi"}, item])
    assert why in found.missing[0]
    assert found.messages[0].text == "hi"


def test_an_answer_is_one_message():
    parts = [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}]
    whole = {"type": "message", "role": "assistant", "content": parts}
    found = items.answer([whole])
    assert found.messages[0].content == "a\nb"
    found = items.answer([whole, whole])
    assert (len(found.messages), found.missing) == (1, ("the response has several messages",))
    assert items.answer([]) == ((), ())


class Answer(BaseModel):
    answer: str


async def _nothing(context, arguments):
    return ""


def test_tools_handoffs_and_formats_are_what_the_sdk_would_send():
    @function_tool(strict_mode=False)
    def loose(x: dict) -> str:
        return ""

    bare = FunctionTool("bare", "", {"type": "object", "properties": {}}, _nothing)
    over = handoff(Agent(name="billing", handoff_description="Bills."))
    tools = [weather, loose, bare]
    assert list(items.tool_schemas(tools, [over])) == [
        *map(Converter.tool_to_openai, tools),
        Converter.convert_handoff_tool(over),
    ]
    schema = AgentOutputSchema(Answer)
    assert items.response_format(schema) == Converter.convert_response_format(schema)
    assert items.response_format(AgentOutputSchema(str)) is None
    assert items.response_format(None) is None


def test_a_hosted_tool_stands_as_it_is_sent():
    (schema,) = items.tool_schemas([WebSearchTool(search_context_size="low")], [])
    assert schema["type"] == "web_search"
    assert schema["search_context_size"] == "low"


def test_settings_are_those_that_were_set():
    given = ModelSettings(temperature=0.0, parallel_tool_calls=False, extra_args={"seed": 1})
    assert items.settings(given) == {
        "temperature": 0.0,
        "parallel_tool_calls": False,
        "seed": 1,
    }
    assert items.settings(ModelSettings()) == {}
    odd = ModelSettings(extra_args={"odd": object(), "prompt_cache_key": "k"})
    assert items.settings(odd) == {}
