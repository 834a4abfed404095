"""The batch against transformers' own `generate`, on models of many makes."""

import random
from collections import deque
from itertools import takewhile

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from agentloop.local.inference.batch import PREFILL, Batch, Run, generate
from agentloop.local.inference.prefixes import Beginnings, Prefixes, tokens
from agentloop.local.inference.sampling import Sampling

SMALL = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
HEADED = {**SMALL, "head_dim": 8}
MIXED = ["sliding_attention", "full_attention"]
MAKES = {
    "qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**HEADED)),
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL)),
    "mistral": lambda: transformers.MistralForCausalLM(
        transformers.MistralConfig(**HEADED, sliding_window=24)
    ),
    "gemma3": lambda: transformers.Gemma3ForCausalLM(
        transformers.Gemma3TextConfig(**HEADED, sliding_window=24, layer_types=MIXED)
    ),
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=300,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=512,
            bos_token_id=0,
            eos_token_id=0,
        )
    ),
    "gpt-oss": lambda: transformers.GptOssForCausalLM(
        transformers.GptOssConfig(
            **HEADED,
            num_local_experts=4,
            num_experts_per_tok=2,
            sliding_window=24,
            layer_types=MIXED,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        )
    ),
}


@pytest.fixture(params=MAKES)
def model(request):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return MAKES[request.param]().eval()


def prompts():
    """Some with a long beginning in common, some alone, some equal."""
    dice = random.Random(0)

    def some(n):
        return [dice.randrange(1, 299) for _ in range(n)]

    common = some(60)
    return [
        *([*common, *some(n)] for n in (1, 7, 33, 50)),
        *(some(n) for n in (5, 40, 90)),
        *([[*common, 7, 8, 9]] * 2),
    ]


def expected(model, asked, room=12):
    with torch.inference_mode():
        for prompt in asked:
            ids = torch.tensor([prompt])
            made = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=room,
                do_sample=False,
                eos_token_id=299,
                pad_token_id=0,
            )
            yield made[0, len(prompt) :].tolist()


def test_sequences_that_come_and_go_are_what_they_are_alone(model):
    asked = prompts()
    wanted = list(expected(model, asked))
    dice = random.Random(1)
    for prefixes in (None, Prefixes(1 << 24)):
        batch = Batch(model, {299}, slots=4, prefixes=prefixes)
        runs = [Run(prompt, Sampling(0), 12) for prompt in asked]
        coming = deque(runs)
        waiting: deque[Run] = deque()
        while coming or waiting or batch.runs:
            for _ in range(min(len(coming), dice.randrange(3))):
                waiting.append(coming.popleft())
            batch.admit(waiting)
            batch.step()
        assert [run.out for run in runs] == wanted


def test_a_prompt_that_is_longer_than_one_pass(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr("agentloop.local.inference.batch.PREFILL", 16)
    assert PREFILL > 16
    made = MAKES["qwen3"]().eval()
    asked = prompts()
    runs = [Run(prompt, Sampling(0), 5) for prompt in asked]
    generate(Batch(made, {299}, slots=3, prefixes=Prefixes(1 << 24)), runs)
    assert [run.out for run in runs] == list(expected(made, asked, room=5))


def test_a_beginning_in_common_is_computed_once(monkeypatch):
    torch.manual_seed(0)
    made = MAKES["qwen3"]().eval()
    computed = []
    batch = Batch(made, {299}, slots=4, prefixes=Prefixes(1 << 24))
    forward = batch._forward

    def counting(first, chunks, starts):
        computed.append(sum(map(len, chunks)))
        return forward(first, chunks, starts)

    monkeypatch.setattr(batch, "_forward", counting)
    common = list(range(1, 101))
    generate(batch, [Run([*common, n], Sampling(0), 1) for n in (1, 2, 3)])
    assert computed == [101, 2]
    computed.clear()
    generate(batch, [Run([*common, 4], Sampling(0), 1)])
    assert computed == [1]


def test_prefixes_used_longest_ago_go_first():
    torch.manual_seed(0)
    made = MAKES["qwen3"]().eval()
    one_row = 2 * 2 * 2 * 8 * 4 * 50
    prefixes = Prefixes(2 * one_row + 100)
    batch = Batch(made, {299}, slots=1, prefixes=prefixes)
    asked = [[n] * 50 for n in (1, 2, 3)]
    for prompt in asked:
        generate(batch, [Run(prompt, Sampling(0), 1)])
    known = [prefixes.longest(Run(prompt, Sampling(0), 1).wanted)[0] for prompt in asked]
    assert known == [0, 50, 50]


tokens_of = st.lists(st.integers(0, 2), max_size=8)


@given(st.lists(tokens_of), tokens_of)
def test_the_neighbour_in_order_shares_the_longest_beginning(known, wanted):
    order = Beginnings()
    for n, sequence in enumerate(known):
        order.add(tokens(sequence), n)
    for n, sequence in list(enumerate(known))[::2]:
        order.remove(tokens(sequence), n)
    left = dict(list(enumerate(known))[1::2])
    length, whose = order.nearest(tokens(wanted))
    lengths = {
        n: sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, wanted, strict=False))
        )
        for n, one in left.items()
    }
    assert length == max(lengths.values(), default=0)
    assert length == 0 or lengths[whose] == length


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), max_size=12))
def test_of_prefixes_that_begin_each_other_the_longest_is_held(finished):
    nothing = [(torch.empty(0), torch.empty(0))]
    prefixes = Prefixes(1000)
    for sequence in map(tokens, finished):
        if prefixes.wants(sequence):
            prefixes.keep(sequence, nothing)
    kept = {one.sequence for one in prefixes._held.values()}
    every = set(map(tokens, finished))
    begun = {a for a in every if any(b != a and b.startswith(a) for b in every)}
    assert kept == every - begun


def test_no_more_run_at_once_than_there_is_room_for():
    torch.manual_seed(0)
    made = MAKES["qwen3"]().eval()
    asked = [[n] * 50 for n in range(1, 7)]
    batch = Batch(made, {299}, slots=8, capacity=2 * (60 + 128))
    most, waiting = 0, deque(Run(prompt, Sampling(0), 5) for prompt in asked)
    runs = list(waiting)
    while waiting or batch.runs:
        batch.admit(waiting)
        most = max(most, len(batch.runs))
        batch.step()
    assert most == 2
    assert [run.out for run in runs] == list(expected(made, asked, room=5))
    alone = Batch(made, {299}, slots=8, capacity=1)
    generate(alone, [Run(asked[0], Sampling(0), 5)])
