"""Recall and precision on sentences that others labelled: microsoft/presidio-research."""

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from agentloop.harvest.redaction import Patterns, kinds
from agentloop.ui.demo.requests import requests
from tests.makers import real

LABELS = {
    "CREDIT_CARD": "card",
    "EMAIL_ADDRESS": "email",
    "IBAN_CODE": "iban",
    "IP_ADDRESS": "ip",
    "PHONE_NUMBER": "phone",
    "US_SSN": "ssn",
}
FLOORS = {
    "card": (1.0, 1.0),
    "email": (1.0, 1.0),
    "iban": (1.0, 1.0),
    "ip": (1.0, 1.0),
    "phone": (1.0, 1.0),
    "ssn": (1.0, 1.0),
}
"""Kind -> the lowest recall and precision; as measured (`LOG.md`)."""


def test_recall_and_precision_of_each_kind_are_at_their_floors():
    sentences = json.loads(real("presidio-research", "generated_small.json").read_text())
    counts = defaultdict(Counter)
    missed = []
    for sentence in sentences:
        wanted = {
            (span["start_position"], span["end_position"], LABELS[span["entity_type"]])
            for span in sentence["spans"]
            if span["entity_type"] in LABELS
        }
        found = set(map(tuple, Patterns().find(sentence["full_text"])))
        for kind in FLOORS:
            want = {one for one in wanted if one[2] == kind}
            got = {one for one in found if one[2] == kind}
            hit = {w for w in want if any(g[0] <= w[0] and w[1] <= g[1] for g in got)}
            right = {g for g in got if any(g[0] < w[1] and w[0] < g[1] for w in want)}
            counts[kind] += Counter(want=len(want), got=len(got), hit=len(hit), right=len(right))
            missed += [(kind, sentence["full_text"][w[0] : w[1]]) for w in want - hit]
    assert sum(counts[kind]["want"] for kind in FLOORS) >= 27, "the corpus is the one we know"
    for kind, (recall, precision) in FLOORS.items():
        n = counts[kind]
        assert n["hit"] >= recall * n["want"], [value for k, value in missed if k == kind]
        assert n["right"] >= precision * n["got"], f"{kind}: {n['right']} of {n['got']} are right"


@pytest.mark.parametrize("file", ["gpt-4o-airline.tasks0-9.json"])
def test_ids_of_real_conversations_are_not_taken_for_personal_data(file):
    """Reservations, flights, payment ids, dates: none is; of 40 conversations, addresses alone."""

    def texts(value):
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from texts(inner)

    conversations = json.loads(real("tau-bench", file).read_text())
    found = Counter(f.kind for text in texts(conversations) for f in Patterns().find(text))
    assert found["email"] > 0
    assert set(found) == {"email"}


def test_nothing_in_the_demo_is_taken_for_personal_data():
    """So its rows are the same with redaction and without."""
    recorded = (Path(__file__).parents[3] / "traces" / "shop.jsonl").read_text()
    assert [kinds(line) for line in recorded.splitlines() if kinds(line)] == []
    asked = [one.text for season in (1, 2) for one in requests(300, seed=1, season=season)]
    assert [text for text in asked if kinds(text)] == []
