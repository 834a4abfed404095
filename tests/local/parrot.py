"""A model that knows a handful of conversations by heart, made in seconds.

A Qwen3 of some 100,000 parameters over bytes and a few special tokens. What it says is known, so
tests can ask for it; what it is asked otherwise, it answers with something.
"""

import json
import random
from pathlib import Path
from typing import Any

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_order",
            "description": "Look up an order",
            "parameters": {
                "type": "object",
                "properties": {"id": {"type": "string"}},
                "required": ["id"],
            },
        },
    }
]
SYSTEM = {"role": "system", "content": "You are the shop."}

TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if loop.first and tools -%}
{%- for tool in tools -%}{{- 'tool ' + tool.function.name + '\\n' -}}{%- endfor -%}
{%- endif -%}
{%- if message.role == 'assistant' -%}
{%- generation -%}
{{- message.content -}}
{%- for call in message.tool_calls or [] -%}
{{- '<tool_call>{"name": "' + call.function.name + '", "arguments": ' -}}
{{- call.function.arguments if call.function.arguments is string
    else call.function.arguments | tojson -}}
{{- '}</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>' -}}
{%- endgeneration -%}
{{- '\\n' -}}
{%- else -%}
{{- message.content + '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

READING: dict[str, Any] = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "tool_calls": {
            "open_pattern": r"\s*<tool_call>",
            "close_pattern": r"</tool_call>\s*",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close_pattern": r"\s*<\|im_end\|>", "content": "text"},
    },
}


def user(text):
    return {"role": "user", "content": text}


def says(text):
    return {"role": "assistant", "content": text}


def calls(*asked, content=""):
    """An assistant's message with tool calls, given as (name, arguments) or (name, text)."""
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [
            {
                "id": f"call_{n}",
                "type": "function",
                "function": {
                    "name": name,
                    "arguments": given if isinstance(given, str) else json.dumps(given),
                },
            }
            for n, (name, given) in enumerate(asked, 1)
        ],
    }


def result(text, n=1):
    return {"role": "tool", "tool_call_id": f"call_{n}", "content": text}


ORDER = [SYSTEM, user("order 7"), calls(("get_order", {"id": "7"}))]
KNOWN = [
    [SYSTEM, user("hi"), says("Hello! How can I help?")],
    ORDER,
    [*ORDER, result("shipped"), says("It is shipped.")],
    [SYSTEM, user("both"), calls(("get_order", {"id": "1"}), ("get_order", {"id": "2"}))],
    [SYSTEM, user("broken"), says('<tool_call>{"name": "get_order", "argu</tool_call>')],
    [SYSTEM, user("count"), says("one two three four five six seven eight nine ten")],
]
"""By heart, greedily; with the tools on offer."""

FORKED = ("flip", ["heads", "tails", "edge"])
"""A question with several answers, equally likely."""


def make(folder: Path) -> Path:
    """Write the model into `folder`."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    tokenizer = _tokenizer()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        intermediate_size=128,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    _learn(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _learn(model, tokenizer):
    import torch

    question, answers = FORKED
    talks = [*KNOWN, *([SYSTEM, user(question), says(answer)] for answer in answers)]
    made = [
        tokenizer.apply_chat_template(
            talk, tools=TOOLS, return_dict=True, return_assistant_tokens_mask=True
        )
        for talk in talks
    ]
    width = max(len(one["input_ids"]) for one in made)
    ids = torch.full((len(made), width), tokenizer.pad_token_id)
    labels = torch.full((len(made), width), -100)
    for n, one in enumerate(made):
        tokens = torch.tensor(one["input_ids"])
        ids[n, : len(tokens)] = tokens
        learned = torch.tensor(one["assistant_masks"]).bool()
        labels[n, : len(tokens)][learned] = tokens[learned]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    order = list(range(len(made)))
    dice = random.Random(0)
    model.train()
    for step in range(200):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * min(1.0, (step + 1) / 20) * (1 - step / 220)
        dice.shuffle(order)
        loss = model(input_ids=ids[order], labels=labels[order]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def _tokenizer():
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([json.dumps(talk) for talk in KNOWN], trainer)
    raw.add_tokens([AddedToken(t, normalized=False) for t in ("<tool_call>", "</tool_call>")])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=1024,
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.response_template = READING
    return tokenizer
