"""Makes the tiny model from nothing: `python -m agentloop.local.tiny.pretrain --out FOLDER`.

Next-token loss, full weight on the calls that assistants write, less on everything else. It begins
with drills, short requests in the tool's own words, and goes on with the mixed corpus: copying a
name from the list has to come before guessing one from the request. Conversations are packed into
rows and masked from each other. The learning rate is constant, then falls to zero; matrices are
trained with Muon, the rest with AdamW.

What is left out of a usual pretraining: files (the corpus is drawn on the fly and never repeats),
several passes and distributed training: it is one command on one machine. A run that was cut off
goes on from what it last saved, with `--done` for how far it had come.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Qwen3Config, Qwen3ForCausalLM

from agentloop.local.tiny.chat import rendered, trained_tokenizer
from agentloop.local.tiny.corpus import Conversation, corpus, drills
from agentloop.local.tiny.domains import domains
from agentloop.local.tiny.evaluate import cases, held_out, loaded, rates
from agentloop.local.tiny.muon import Muon
from agentloop.local.training.precision import faster_in_bf16


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that the result depends on besides the code and the machine."""

    minutes: float = 66.0
    """Wall time of the training itself."""
    done: float = 0.0
    """Share of the schedule that the model in the folder has behind it; 0 begins from nothing."""
    seed: int = 0
    vocabulary: int = 2048
    hidden: int = 192
    layers: int = 5
    feed_forward: int = 512
    heads: int = 6
    key_value_heads: int = 2
    rows: int = 12
    """Packed rows in a batch."""
    length: int = 384
    """Tokens in a row."""
    learning_rate: float = 4e-3
    drilled: float = 0.3
    """Share of the time that is nearly all drills; they become fewer until twice that."""
    context_weight: float = 0.1
    """Weight of a token that no assistant wrote."""
    answer_weight: float = 0.3
    """Weight of a token of an answer: most of its style is left to chance, a call's is not."""
    cooldown: float = 0.6
    """Share of the time in which the learning rate falls."""
    threads: int = 2


class Batch(NamedTuple):
    """One batch; every tensor is of shape (rows, length), `mask` (rows, 1, length, length)."""

    tokens: Tensor
    targets: Tensor
    weights: Tensor
    positions: Tensor
    mask: Tensor


def pretrain(recipe: Recipe, out: Path) -> None:
    """Train by `recipe` and leave a Hugging Face folder in `out`, refreshed on the way."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    if recipe.done:
        model, tokenizer = loaded(out)
        model.train()
    else:
        tokenizer = trained_tokenizer(_texts(recipe.seed), size=recipe.vocabulary)
        model = _model(recipe, tokenizer)
    optimizers = _optimizers(model, recipe)
    loss_of = torch.compile(_loss, dynamic=False)
    start, last_saved, tokens, smooth = time.monotonic(), recipe.done * recipe.minutes, 0, 0.0

    def progress() -> float:
        return recipe.done + (time.monotonic() - start) / 60 / recipe.minutes

    bf16 = faster_in_bf16()
    for step, batch in enumerate(packed(lessons(recipe, progress), tokenizer, recipe)):
        elapsed = progress() * recipe.minutes
        if elapsed >= recipe.minutes:
            break
        _set_learning_rate(optimizers, recipe, step, elapsed / recipe.minutes)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss, shown = loss_of(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        tokens += batch.tokens.numel()
        smooth = shown.item() if step == 0 else 0.98 * smooth + 0.02 * shown.item()
        if step % 50 == 0:
            _log(step=step, minutes=round(elapsed, 1), tokens=tokens, loss=round(smooth, 4))
        if elapsed - last_saved > 15:
            last_saved = elapsed
            save(model, tokenizer, out)
            _log(minutes=round(elapsed, 1), **_looked_at(model, tokenizer, 60))
    save(model, tokenizer, out)
    minutes = round((time.monotonic() - start) / 60, 1)
    history = {
        "recipe": asdict(recipe),
        "tokens": tokens,
        "minutes": minutes,
        "loss": round(smooth, 4),
        **_looked_at(model, tokenizer, 300),
    }
    _log(**history)


def _looked_at(model: Any, tokenizer: Any, n: int) -> dict[str, dict[str, float]]:
    """The rates of `n` held-out cases each: drills, trades of the corpus, trades it never saw."""
    judged = {
        "drills": list(islice(cases(drills("held out")), n)),
        "known": held_out(n, unseen=False),
        "unseen": held_out(n, unseen=True),
    }
    return {name: asdict(rates(model, tokenizer, each)) for name, each in judged.items()}


def lessons(recipe: Recipe, progress: Callable[[], float]) -> Iterator[Conversation]:
    """Drills and the mixed corpus; `progress` in [0, 1] says how much time has gone."""
    seed = f"{recipe.seed}/{recipe.done}"
    draw = random.Random(f"lessons/{seed}")
    easy, mixed = drills(seed), corpus(seed)
    while True:
        gone = (progress() - recipe.drilled) / recipe.drilled
        share = 0.9 - 0.65 * min(1.0, max(0.0, gone))
        yield next(easy if draw.random() < share else mixed)


def packed(
    conversations: Iterator[Conversation], tokenizer: Any, recipe: Recipe
) -> Iterator[Batch]:
    """Batches of rows, each filled with whole conversations that do not see each other."""
    size = recipe.length + 1
    waiting: list[tuple[list[int], list[float]]] = []
    while True:
        tokens = torch.zeros(recipe.rows, size, dtype=torch.long)
        weights = torch.zeros(recipe.rows, size)
        owner = torch.zeros(recipe.rows, size, dtype=torch.long)
        positions = torch.zeros(recipe.rows, size, dtype=torch.long)
        for row in range(recipe.rows):
            filled, number = 0, 0
            while filled < size - 40:
                fitting = _next_fitting(waiting, conversations, tokenizer, recipe, size - filled)
                if fitting is None:
                    break
                ids, weighed = fitting
                n, number = len(ids), number + 1
                tokens[row, filled : filled + n] = torch.tensor(ids)
                weights[row, filled : filled + n] = torch.tensor(weighed)
                weights[row, filled] = 0.0
                owner[row, filled : filled + n] = number
                positions[row, filled : filled + n] = torch.arange(n)
                filled += n
        owner = owner[:, :-1]
        together = owner[:, :, None] == owner[:, None, :]
        mask = together.tril()[:, None]
        yield Batch(tokens[:, :-1], tokens[:, 1:], weights[:, 1:], positions[:, :-1], mask)


def _next_fitting(
    waiting: list[tuple[list[int], list[float]]],
    conversations: Iterator[Conversation],
    tokenizer: Any,
    recipe: Recipe,
    room: int,
) -> tuple[list[int], list[float]] | None:
    """The longest of some waiting conversations that has room; None when none has."""
    while len(waiting) < 24:
        ids, weights = encoded(
            next(conversations), tokenizer, recipe.context_weight, recipe.answer_weight
        )
        if len(ids) <= recipe.length + 1:
            waiting.append((ids, weights))
    fitting = [i for i, (ids, _) in enumerate(waiting) if len(ids) <= room]
    if not fitting:
        return None
    # The oldest that fits: choosing by length would change what the model sees how often.
    return waiting.pop(fitting[0])


def encoded(
    conversation: Conversation, tokenizer: Any, context_weight: float, answer_weight: float
) -> tuple[list[int], list[float]]:
    """Token ids of a conversation, and the weight of each in the loss."""
    ids: list[int] = []
    weights: list[float] = []
    for piece in rendered(conversation.messages, conversation.tools):
        part = tokenizer.backend_tokenizer.encode(piece.text, add_special_tokens=False).ids
        weight = context_weight
        if piece.written_by is not None and piece.written_by not in conversation.unlearned:
            called = "tool_calls" in conversation.messages[piece.written_by]
            weight = 1.0 if called else answer_weight
        ids += part
        weights += [weight] * len(part)
    return ids, weights


def save(model: Any, tokenizer: Any, out: Path) -> None:
    """Write the model (bfloat16) and tokenizer to `out`; each file is replaced at once."""
    fresh = out.with_name(out.name + ".new")
    state = {key: value.to(torch.bfloat16) for key, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    model.save_pretrained(fresh, state_dict=state)
    config = json.loads((fresh / "config.json").read_text())
    (fresh / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}, indent=2) + "\n")
    tokenizer.save_pretrained(fresh)
    out.mkdir(parents=True, exist_ok=True)
    for file in fresh.iterdir():
        file.replace(out / file.name)
    fresh.rmdir()


def _texts(seed: int) -> Iterator[str]:
    """What the tokenizer is learned from: real words count more than invented ones."""
    for domain in domains():
        for tool in domain.tools:
            said = [tool.description, *tool.names, *(wish.sentence for wish in tool.wishes)]
            yield "\n".join(said * 20)
    for conversation in islice(corpus(f"tokenizer/{seed}"), 6000):
        yield "".join(piece.text for piece in rendered(conversation.messages, conversation.tools))


def _model(recipe: Recipe, tokenizer: Any) -> Any:
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        intermediate_size=recipe.feed_forward,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads,
        head_dim=32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen3ForCausalLM(config)


def _loss(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """The weighted loss, and the plain one of the tokens that count fully."""
    hidden = model.model(
        input_ids=batch.tokens,
        position_ids=batch.positions,
        attention_mask=batch.mask,
        use_cache=False,
    ).last_hidden_state
    logits = model.lm_head(hidden)
    losses = functional.cross_entropy(
        logits.float().flatten(0, 1), batch.targets.flatten(), reduction="none"
    )
    weights = batch.weights.flatten()
    learned = (weights == 1).float()
    shown = (losses.detach() * learned).sum() / learned.sum()
    return (losses * weights).sum() / weights.sum(), shown


def _optimizers(model: Any, recipe: Recipe) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    known = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in known]
    rate = recipe.learning_rate
    adamw = torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    return [Muon(matrices, lr=rate, weight_decay=0.1), adamw]


def _set_learning_rate(
    optimizers: list[torch.optim.Optimizer], recipe: Recipe, step: int, progress: float
) -> None:
    """Rises over 100 steps, stays, and falls to a hundredth over the cooldown."""
    falling = min(1.0, max(0.01, (1 - progress) / recipe.cooldown))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, (step + 1) / 100) * falling


def _log(**entry: object) -> None:
    sys.stdout.write(json.dumps(entry | {"load": round(os.getloadavg()[0], 1)}) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    for key, value in asdict(Recipe()).items():
        kind = (lambda text: text == "yes") if isinstance(value, bool) else type(value)
        parser.add_argument(f"--{key.replace('_', '-')}", type=kind, default=value)
    options = vars(parser.parse_args())
    out = options.pop("out")
    pretrain(Recipe(**options), out)


if __name__ == "__main__":
    main()
