"""One token a row, by each row's own rules."""

from collections import Counter

import torch

from agentloop.local.inference.sampling import Sampling, choose

LOGITS = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))


def draws(n, **how):
    sampling = Sampling(**how)
    return [choose(LOGITS[None], [sampling])[0] for _ in range(n)]


def test_zero_temperature_takes_the_likeliest():
    assert set(draws(20, temperature=0)) == {0}


def test_tokens_come_as_often_as_they_are_likely():
    counted = Counter(draws(4000, seed=1))
    assert abs(counted[0] / 4000 - 0.5) < 0.03
    assert abs(counted[3] / 4000 - 0.05) < 0.015


def test_a_low_temperature_sharpens():
    # 0.5² : 0.3² : 0.15² : 0.05²
    counted = Counter(draws(4000, seed=1, temperature=0.5))
    assert abs(counted[0] / 4000 - 0.25 / 0.365) < 0.03


def test_a_nucleus_leaves_out_the_tail():
    assert set(draws(500, seed=1, top_p=0.75)) == {0, 1}
    assert set(draws(50, seed=1, top_p=0.0)) == {0}


def test_a_row_depends_on_its_seed_and_not_on_its_neighbours():
    alone = draws(50, seed=3)
    mine = Sampling(seed=3)
    others = [Sampling(temperature=0), Sampling(top_p=0.5, seed=8), Sampling(seed=9)]
    together = []
    for _ in range(50):
        rows = torch.stack([LOGITS, LOGITS.flip(0), LOGITS, LOGITS])
        together.append(choose(rows, [others[0], others[1], mine, others[2]])[2])
    assert together == alone
    assert draws(50, seed=4) != alone
