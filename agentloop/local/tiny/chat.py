"""How a conversation looks to the tiny model: tokenizer, chat template, response template."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]

TEMPLATE = Path(__file__).with_name("chat_template.jinja")
END = "<|im_end|>"
PAD = "<|endoftext|>"
SPECIAL = (PAD, "<|im_start|>", END)
MARKS = (
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)
"""Tokens of their own that survive decoding without special tokens: a parser needs them."""

SPLIT = r"\p{Lu}?\p{Ll}+|\p{L}|\p{N}{1,2}|\n|[^\p{L}\p{N}\n]+"
"""Pieces that no token crosses. A word never carries its space, and digits come in pairs from the
left, so that a name or an id is the same tokens in a sentence and in JSON: copying is easy."""

RESPONSE_TEMPLATE: Json = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "reasoning_content": {
            "open": "<think>",
            "close_pattern": r"</think>\s*",
            "content": "text",
        },
        "tool_calls": {
            "open_pattern": r"\s*<tool_call>",
            "close_pattern": r"</tool_call>\s*",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {
            "close_pattern": r"\s*(?:<\|im_end\|>|<\|endoftext\|>)",
            "content": "text",
        },
    },
}
"""For `tokenizer.parse_response`: how a completion becomes a message. Malformed JSON raises."""


class Piece(NamedTuple):
    """A stretch of rendered text, and the index of the assistant message that wrote it, if any."""

    text: str
    written_by: int | None = None


def rendered(messages: Sequence[Json], tools: Sequence[Json] = ()) -> Iterator[Piece]:
    """What `chat_template.jinja` renders, in pieces and much faster: pretraining needs millions.

    For text contents and argument strings only; a test compares it with the template.
    """
    first = messages[0] if messages else {}
    has_system = first.get("role") in ("system", "developer")
    if tools or has_system:
        said = first["content"] if has_system else ""
        listed = "\n# Tools" + "".join(f"\n{signature(tool)}" for tool in tools) if tools else ""
        yield Piece(f"<|im_start|>system\n{said}{listed}{END}\n")
    for i, message in enumerate(messages):
        if i == 0 and has_system:
            continue
        role, content = message["role"], message.get("content") or ""
        if role == "assistant":
            calls = (_call(call) for call in message.get("tool_calls") or ())
            yield Piece("<|im_start|>assistant\n")
            yield Piece("\n".join([*filter(None, [content]), *calls]) + END, i)
            yield Piece("\n")
        else:
            role = "system" if role == "developer" else role
            yield Piece(f"<|im_start|>{role}\n{content}{END}\n")


def signature(tool: Json) -> str:
    """A tool as the model reads it: `Description. name(argument, other: a|b, third?: integer)`.

    The description comes first, so that a causal model knows what a name is for when it reads it.
    """
    function = tool["function"]
    parameters = function.get("parameters") or {}
    required = parameters.get("required") or []
    arguments = ", ".join(
        name + ("" if name in required else "?") + _kind(schema)
        for name, schema in (parameters.get("properties") or {}).items()
    )
    description = function.get("description")
    return (f"{description} " if description else "") + f"{function['name']}({arguments})"


def trained_tokenizer(texts: Iterable[str], *, size: int) -> Any:
    """A byte-level BPE tokenizer of `size` tokens learned from `texts`, with both templates.

    Returns:
        A `transformers.PreTrainedTokenizerFast`, ready for `save_pretrained`.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(MARKS),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in MARKS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TEMPLATE.read_text(encoding="utf-8")
    fast.response_template = RESPONSE_TEMPLATE
    return fast


def _kind(schema: Json) -> str:
    if "enum" in schema:
        return ": " + "|".join(schema["enum"])
    kind = schema.get("type")
    return f": {kind}" if isinstance(kind, str) and kind != "string" else ""


def _call(call: Json) -> str:
    function = call.get("function", call)
    arguments = function["arguments"]
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    head = f'<tool_call>\n{{"name": "{function["name"]}", "arguments": {arguments or "{}"}'
    return head + "}\n</tool_call>"
