"""How alike two texts are: the metrics of `text_similarity`, each by its reference library.

A library is imported when the first grader that needs it is compiled, never before.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from threading import Lock
from types import ModuleType

from agentloop.base.errors import GraderError

Metric = Callable[[str, str], float]
"""`metric(input, reference)` in [0, 1]: 1 where the texts are the same to this metric."""


def metric(name: str, *, where: str = "evaluation_metric") -> Metric:
    """The metric OpenAI calls `name`.

    - `fuzzy_match`: `rapidfuzz.fuzz.ratio`, the texts as they are. OpenAI does not say which of
      rapidfuzz's functions it takes; this one gives the number printed in Microsoft's page on
      these graders (0.6117136659436009), and `WRatio` and the others do not give its pass rate.
    - `bleu`: sacrebleu's sentence BLEU (13a tokens, exponential smoothing, effective order).
    - `gleu`: nltk's sentence GLEU (Google BLEU) over words split at white space, 1- to 4-grams.
    - `meteor`: nltk's METEOR with its defaults (Porter's stems, WordNet's synonyms) over lower-case
      words as nltk's word tokenizer has them. It asks for WordNet's data, 10 MB that do not come
      with nltk: `python -m nltk.downloader wordnet`. A text is never quite 1 like itself: one of
      m words gets 1 - 0.5 / m³.
    - `rouge_1` … `rouge_5`, `rouge_l`: rouge-score's F-measure without stemming. Its tokens are
      lower-case a-z and 0-9 only: texts in other scripts have none, and score 0. `rouge_l` takes
      time and memory in proportion to the product of both lengths: seconds at 5,000 words each.

    Raises:
        GraderError: no metric has that name, it is not offered yet, or its library is missing.
    """
    if name in _NOT_OFFERED:
        raise GraderError(f"{where}: {name!r} is not offered yet: {_NOT_OFFERED[name]}")
    if name not in _METRICS:
        raise GraderError(f"{where}: {name!r} is no metric; take one of {', '.join(_METRICS)}")
    return _METRICS[name](where)


def _fuzzy(where: str) -> Metric:
    ratio = _load("rapidfuzz.fuzz", "rapidfuzz", where).ratio
    return lambda text, reference: _clip(ratio(text, reference) / 100)


def _bleu(where: str) -> Metric:
    bleu = _load("sacrebleu.metrics.bleu", "sacrebleu", where).BLEU(effective_order=True)
    return lambda text, reference: _clip(bleu.sentence_score(text, [reference]).score / 100)


def _gleu(where: str) -> Metric:
    gleu = _load("nltk.translate.gleu_score", "nltk", where).sentence_gleu
    return lambda text, reference: _clip(gleu([reference.split()], text.split()))


def _meteor(where: str) -> Metric:
    meteor = _load("nltk.translate.meteor_score", "nltk", where).meteor_score
    tokenize = _load("nltk.tokenize", "nltk", where).NLTKWordTokenizer().tokenize
    wordnet = _load("nltk.corpus", "nltk", where).wordnet
    try:
        wordnet.ensure_loaded()
    except LookupError as error:
        raise GraderError(
            f"{where}: 'meteor' needs WordNet's data, which nltk does not find or does not trust: "
            "run `python -m nltk.downloader wordnet`, or use gleu or rouge_l"
        ) from error

    def score(text: str, reference: str) -> float:
        said, wanted = tokenize(text), [tokenize(reference)]
        with _WORDNET:
            return _clip(meteor(wanted, said, wordnet=wordnet))

    return score


_WORDNET = Lock()
"""nltk reads its files through one place in each: two threads would read each other's lines."""


def _rouge(kind: str, where: str) -> Metric:
    scorer = _load("rouge_score.rouge_scorer", "rouge-score", where).RougeScorer([kind])
    return lambda text, reference: _clip(scorer.score(reference, text)[kind].fmeasure)


def _load(module: str, package: str, where: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        raise GraderError(
            f"{where}: this metric needs {package}, which is not installed: "
            f"run `pip install {package}`, or use fuzzy_match"
        ) from error


def _clip(score: float) -> float:
    return min(1.0, max(0.0, float(score)))


_METRICS: dict[str, Callable[[str], Metric]] = {
    "fuzzy_match": _fuzzy,
    "bleu": _bleu,
    "gleu": _gleu,
    "meteor": _meteor,
    **{f"rouge_{n}": partial(_rouge, f"rouge{n}") for n in range(1, 6)},
    "rouge_l": partial(_rouge, "rougeL"),
}

_NOT_OFFERED = {
    "cosine": "it needs an embedding model; use fuzzy_match, or rouge_l for longer texts",
}
