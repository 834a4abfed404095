"""How good a model is at tools: `python -m agentloop.local.tiny.evaluate FOLDER`.

Four rates over held-out conversations: a valid call, of the right tool, with exactly the right
arguments, and an answer that carries what the tool returned.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentloop.local.tiny.chat import rendered
from agentloop.local.tiny.corpus import Conversation, corpus
from agentloop.local.tiny.domains import HELD_OUT, domains
from agentloop.local.tiny.offers import Json


@dataclass(frozen=True, slots=True)
class Case:
    """A context that wants one call, and the same with the result of that call."""

    prompt: str
    call: Json
    answered: str = ""
    """The context up to the answer; empty when there is no answer to judge."""
    values: tuple[str, ...] = ()
    """What the answer should carry."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of `n` cases, in [0, 1]; `answer` of those that have an answer to judge."""

    n: int
    valid: float
    tool: float
    exact: float
    answer: float


def cases(conversations: Iterable[Conversation]) -> Iterable[Case]:
    """The first single call of each conversation, and the answer after it."""
    for conversation in conversations:
        messages, tools = conversation.messages, conversation.tools
        for i, message in enumerate(messages):
            calls = message.get("tool_calls") or []
            if len(calls) != 1 or i in conversation.unlearned:
                continue
            prompt = prompt_of(messages[:i], tools)
            if i + 2 >= len(messages) or messages[i + 2].get("content") is None:
                yield Case(prompt, calls[0]["function"])
                break
            answered = prompt_of(messages[: i + 2], tools)
            values = _values(messages[i + 1]["content"])
            yield Case(prompt, calls[0]["function"], answered, values)
            break


def held_out(n: int, *, seed: int = 0, unseen: bool = True) -> list[Case]:
    """`n` cases that no training has seen.

    Args:
        unseen: of trades that nothing was learned from; else of the trades of the corpus, with
            names, values and combinations that are new.
    """
    trades = domains(HELD_OUT) if unseen else ()
    return list(islice(cases(corpus(f"held out/{seed}", trades)), n))


def rates(model: Any, tokenizer: Any, judged: Sequence[Case], *, temperature: float = 0) -> Rates:
    """How the model does on `judged`; greedily when `temperature` is 0."""
    prompts = [case.prompt for case in judged]
    calls = [
        call_in(tokenizer, text)
        for text in complete(model, tokenizer, prompts, temperature=temperature)
    ]
    answering = [case for case in judged if case.answered]
    contexts = [case.answered for case in answering]
    answers = complete(model, tokenizer, contexts, temperature=temperature)
    named = [
        c is not None and c["name"] == j.call["name"] for c, j in zip(calls, judged, strict=True)
    ]
    exact = [c is not None and _same(c, j.call) for c, j in zip(calls, judged, strict=True)]
    carried = [
        all(value in text for value in case.values)
        for text, case in zip(answers, answering, strict=True)
    ]
    return Rates(
        n=len(judged),
        valid=_share(call is not None for call in calls),
        tool=_share(named),
        exact=_share(exact),
        answer=_share(carried),
    )


@torch.inference_mode()
def complete(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    temperature: float = 0,
    max_new_tokens: int = 96,
    batch: int = 64,
) -> list[str]:
    """What the model writes after each of `prompts`, with marks, without special tokens."""
    was_training = model.training
    model.eval()
    written = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        encoded = tokenizer(
            [prompts[i] for i in chosen],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            return_token_type_ids=False,
        )
        out = model.generate(
            **encoded,
            max_new_tokens=max_new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **(drawn if temperature else {"do_sample": False}),
        )
        for i, row in zip(chosen, out[:, encoded["input_ids"].shape[1] :], strict=True):
            written[i] = tokenizer.decode(row, skip_special_tokens=True)
    model.train(was_training)
    return written


def call_in(tokenizer: Any, text: str) -> Json | None:
    """The one valid call in a completion: `{"name": …, "arguments": {…}}`; None otherwise."""
    try:
        message = tokenizer.parse_response(text, prefix="<|im_start|>assistant\n")
    except ValueError:
        return None
    calls = message.get("tool_calls") or []
    if len(calls) != 1 or not isinstance(calls[0]["function"], dict):
        return None
    function: Json = calls[0]["function"]
    named = isinstance(function.get("name"), str)
    return function if named and isinstance(function.get("arguments"), dict) else None


def prompt_of(messages: Sequence[Json], tools: Sequence[Json]) -> str:
    """The text that asks the model for the next message."""
    text = "".join(piece.text for piece in rendered(messages, tools))
    return text + "<|im_start|>assistant\n"


def loaded(folder: Path | str) -> tuple[Any, Any]:
    """Model (float32, on the CPU) and tokenizer from `folder`."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(folder)


def _same(call: Json, wanted: Json) -> bool:
    return bool(
        call["name"] == wanted["name"] and call["arguments"] == json.loads(wanted["arguments"])
    )


def _values(result: str) -> tuple[str, ...]:
    """The value that tells what happened, from a result that is a JSON object; else nothing."""
    try:
        told = json.loads(result)
    except ValueError:
        return ()
    headline = [str(told[key]) for key in ("error", "result", "status", "state") if key in told]
    return tuple(headline[:1])


def _share(flags: Iterable[bool]) -> float:
    listed = list(flags)
    return round(sum(listed) / len(listed), 4) if listed else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--temperature", type=float, default=0.0)
    options = parser.parse_args()
    model, tokenizer = loaded(options.folder)
    for name, unseen in (("known trades", False), ("unseen trades", True)):
        judged = held_out(options.n, unseen=unseen)
        found = rates(model, tokenizer, judged, temperature=options.temperature)
        sys.stdout.write(json.dumps({"cases": name, **asdict(found)}) + "\n")


if __name__ == "__main__":
    main()
