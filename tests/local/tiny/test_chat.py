"""How a conversation looks to the tiny model: the template, and its fast twin for pretraining."""

import json
from itertools import islice
from typing import Any

import pytest

from agentloop.local import tiny
from agentloop.local.tiny.chat import rendered
from agentloop.local.tiny.corpus import corpus

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "move_piano",
            "description": "Move a piano.",
            "parameters": {
                "type": "object",
                "properties": {
                    "piano_id": {"title": "Piano Id", "type": "string"},
                    "how": {"type": "string", "enum": ["slowly", "fast"]},
                    "metres": {"type": "integer"},
                },
                "required": ["piano_id", "how"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "transfer_to_strings",
            "description": "Handoff to the strings agent to handle the request. Strings.",
            "parameters": {"type": "object", "properties": {}, "required": []},
        },
    },
]
ARGUMENTS = '{"piano_id":  "P-7", "how": "fast"}'
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "You are the piano desk."},
    {"role": "user", "content": "Move P-7, fast!"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "move_piano", "arguments": ARGUMENTS},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": '{"result": "moved"}'},
    {"role": "assistant", "content": "Piano P-7 is moved."},
]


@pytest.fixture(scope="module")
def tokenizer():
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(tiny.folder())


@pytest.fixture
def text_of(tokenizer):
    def text_of(messages, **options):
        return tokenizer.apply_chat_template(messages, tools=TOOLS, tokenize=False, **options)

    return text_of


def written(tokenizer, messages):
    """The stretches that the template marks as written by the assistant."""
    encoded = tokenizer.apply_chat_template(
        messages, tools=TOOLS, return_dict=True, return_assistant_tokens_mask=True
    )
    stretches, open_stretch = [], []
    masked = zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
    for token, by_assistant in [*masked, (0, 0)]:
        if by_assistant:
            open_stretch.append(token)
        elif open_stretch:
            stretches.append(tokenizer.decode(open_stretch))
            open_stretch = []
    return stretches


def test_a_conversation_is_rendered_as_documented(text_of):
    assert text_of(MESSAGES) == (
        "<|im_start|>system\nYou are the piano desk.\n# Tools\n"
        "Move a piano. move_piano(piano_id, how: slowly|fast, metres?: integer)\n"
        "Handoff to the strings agent to handle the request. Strings. transfer_to_strings()"
        "<|im_end|>\n<|im_start|>user\nMove P-7, fast!<|im_end|>\n<|im_start|>assistant\n"
        f'<tool_call>\n{{"name": "move_piano", "arguments": {ARGUMENTS}}}\n</tool_call><|im_end|>\n'
        '<|im_start|>tool\n{"result": "moved"}<|im_end|>\n'
        "<|im_start|>assistant\nPiano P-7 is moved.<|im_end|>\n"
    )


def test_the_mask_covers_exactly_what_the_assistant_wrote(tokenizer):
    call = f'<tool_call>\n{{"name": "move_piano", "arguments": {ARGUMENTS}}}\n</tool_call>'
    assert written(tokenizer, MESSAGES) == [f"{call}<|im_end|>", "Piano P-7 is moved.<|im_end|>"]


@pytest.mark.parametrize("n", range(2, len(MESSAGES)))
def test_more_messages_only_add_to_the_text(text_of, n):
    assert text_of(MESSAGES).startswith(text_of(MESSAGES[:n]))


@pytest.mark.parametrize("n", [2, 4])
def test_the_generation_prompt_is_how_an_answer_begins(text_of, n):
    assert text_of(MESSAGES).startswith(text_of(MESSAGES[:n], add_generation_prompt=True))


def test_a_developer_is_a_system(text_of):
    developer = [{"role": "developer", "content": MESSAGES[0]["content"]}, *MESSAGES[1:]]
    assert text_of(developer) == text_of(MESSAGES)


def test_contents_may_be_lists_of_parts(text_of):
    parts = [{"type": "text", "text": "Move P-7, "}, {"type": "text", "text": "fast!"}]
    listed = [MESSAGES[0], {"role": "user", "content": parts}, *MESSAGES[2:]]
    assert text_of(listed) == text_of(MESSAGES)


def test_arguments_may_be_objects(text_of):
    call = {"name": "move_piano", "arguments": json.loads(ARGUMENTS)}
    message = {"role": "assistant", "content": "", "tool_calls": [{"function": call}]}
    assert '"arguments": {"piano_id": "P-7", "how": "fast"}}' in text_of([*MESSAGES[:2], message])


def test_a_handoff_is_rendered_with_the_tools_of_the_second_agent(tokenizer):
    handoff = {"name": "transfer_to_strings", "arguments": "{}"}
    messages = [
        {"role": "system", "content": "You are the strings desk."},
        {"role": "user", "content": "A string of P-7 broke"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": handoff}]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"assistant": "strings"}'},
    ]
    text = tokenizer.apply_chat_template(
        messages, tools=TOOLS[:1], tokenize=False, add_generation_prompt=True
    )
    assert text.endswith(
        '<|im_start|>assistant\n<tool_call>\n{"name": "transfer_to_strings", "arguments": {}}\n'
        '</tool_call><|im_end|>\n<|im_start|>tool\n{"assistant": "strings"}<|im_end|>\n'
        "<|im_start|>assistant\n"
    )


def test_a_completion_becomes_the_message_it_was_rendered_from(tokenizer):
    call, answer = written(tokenizer, MESSAGES)
    parsed = tokenizer.parse_response(call, prefix="<|im_start|>assistant\n")
    assert parsed["tool_calls"][0]["function"] == {
        "name": "move_piano",
        "arguments": json.loads(ARGUMENTS),
    }
    parsed = tokenizer.parse_response(answer, prefix="<|im_start|>assistant\n")
    assert parsed["content"] == "Piano P-7 is moved."


def test_two_calls_become_two_calls(tokenizer):
    calls = [{"function": {"name": f"tool_{i}", "arguments": "{}"}} for i in range(2)]
    both = [*MESSAGES[:2], {"role": "assistant", "content": "", "tool_calls": calls}]
    (text,) = written(tokenizer, both)
    parsed = tokenizer.parse_response(text, prefix="<|im_start|>assistant\n")
    assert [c["function"]["name"] for c in parsed["tool_calls"]] == ["tool_0", "tool_1"]


def test_pretraining_renders_what_the_template_renders(tokenizer):
    for conversation in islice(corpus("twin"), 200):
        messages, tools = conversation.messages, conversation.tools
        ours = "".join(piece.text for piece in rendered(messages, tools))
        assert ours == tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)


def test_ids_and_names_are_the_same_tokens_in_a_sentence_and_in_json(tokenizer):
    for value in ("4821", "E-319", "Bergen", "kettle"):
        alone = tokenizer.tokenize(value)
        for text in (f"where is {value}?", f'{{"id": "{value}"}}', f"{value}: sent"):
            tokens = " ".join(tokenizer.tokenize(text))
            assert f" {' '.join(alone)} " in f" {tokens} "
