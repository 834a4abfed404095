"""Each metric says what its reference library says, on awkward texts too."""

import sys
from itertools import product

import pytest
import rapidfuzz.fuzz
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from nltk.translate.gleu_score import sentence_gleu
from rouge_score.rouge_scorer import RougeScorer

from agentloop import graders
from agentloop.base.errors import GraderError
from agentloop.graders.similarity import metric

from .makers import text_similarity

NAMES = ["fuzzy_match", "bleu", "gleu", "rouge_l", *(f"rouge_{n}" for n in range(1, 6))]
TEXTS = [
    "",
    " ",
    "\n\t",
    "a",
    "The cat sat on the mat.",
    "the cat, it sat on THE mat",
    "Il fait 20 °C à Zürich — naïve façade.",
    "猫はマットの上に座った。",
    "👩‍👩‍👧 🇨🇭 ‮abc",
    "e\u0301 vs é",
    "\x00\x07",
    "x" * 2000,
    "one two three four five six seven " * 20,
    "{{item.label}}",
]


def expected(name: str, text: str, reference: str) -> float:
    match name:
        case "fuzzy_match":
            return rapidfuzz.fuzz.ratio(text, reference) / 100
        case "bleu":
            return sacrebleu.sentence_bleu(text, [reference]).score / 100
        case "gleu":
            return sentence_gleu([reference.split()], text.split())
        case _:
            kind = name.replace("_l", "L").replace("_", "")
            return RougeScorer([kind], use_stemmer=False).score(reference, text)[kind].fmeasure


@pytest.mark.parametrize("name", NAMES)
def test_it_agrees_with_its_reference_library(name):
    grader = graders.compile(text_similarity(evaluation_metric=name))
    for text, reference in product(TEXTS, TEXTS):
        grade = grader.grade(text, {"label": reference})
        assert not grade.failed
        assert grade.reward == pytest.approx(expected(name, text, reference), abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_lone_surrogate_is_graded_or_flagged_but_never_raised(name):
    grade = graders.compile(text_similarity(evaluation_metric=name)).grade(
        "a \ud800 b", {"label": "a b"}
    )
    assert 0.0 <= grade.reward <= 1.0


@given(text=st.text(), reference=st.text())
def test_it_is_between_0_and_1(text, reference):
    for name in NAMES:
        assert 0.0 <= metric(name)(text, reference) <= 1.0


@given(st.text(alphabet="abc de", min_size=12).filter(lambda text: len(text.split()) >= 5))
def test_a_text_is_fully_like_itself(text):
    for name in NAMES:
        assert metric(name)(text, text) == pytest.approx(1.0)


def test_fuzzy_match_gives_the_number_that_microsoft_prints():
    """Learn, "Azure OpenAI graders" (2025-11-18), "Text similarity output": the fifth row of its
    sample data. The first four, and with them the pass rate of 2 in 5 at 0.5, agree as well."""
    answer = (
        "Northwind Health Plus provides a variety of in-network providers, including primary care "
        "physicians, specialists, hospitals, and pharmacies "
        "[Northwind_Health_Plus_Benefits_Details.pdf]."
    )
    truth = (
        "The Northwind Health Plus website offers a searchable directory of all in-network "
        "providers in your area. This directory is regularly updated, so you can be sure that you "
        "are choosing from in-network providers that are available.\n"
        "[Northwind_Health_Plus_Benefits_Details-3.pdf]"
    )
    assert metric("fuzzy_match")(answer, truth) == 0.6117136659436009


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("fuzzy_match", "rapidfuzz.fuzz", "rapidfuzz"),
        ("bleu", "sacrebleu.metrics.bleu", "sacrebleu"),
        ("gleu", "nltk.translate.gleu_score", "nltk"),
        ("rouge_l", "rouge_score.rouge_scorer", "rouge-score"),
    ],
)
def test_a_metric_whose_library_is_missing_says_what_to_install(name, module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)  # what Python does for "not there"
    with pytest.raises(GraderError, match=rf"evaluation_metric: .*`pip install {package}`"):
        graders.compile(text_similarity(evaluation_metric=name))
