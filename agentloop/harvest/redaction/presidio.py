"""Names and places, which have no form of their own: Microsoft's Presidio as a second detector."""

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, Protocol

from agentloop.base.errors import ConfigError
from agentloop.harvest.redaction.finding import Finding, apart

MODELS = ("en_core_web_lg", "en_core_web_md", "en_core_web_sm")
"""The language models of spaCy's that are taken, the best first."""
ENTITIES = {"PERSON": "person", "LOCATION": "place", "NRP": "group"}
"""Presidio's entities that are asked for, and what we call them. What it takes for dates,
licences and telephones are not: order numbers are among them (`LOG.md`)."""
NO_NAME = re.compile(r"[0-9@\"{}\[\]<>\\=_/]|\n")
"""What stands in no name: markup, and the numbers of those that stand in for others already."""
SURE = 0.5
"""The lowest score, in [0, 1], at which Presidio is believed."""


class _Result(Protocol):
    entity_type: str
    start: int
    end: int


class Analyzer(Protocol):
    """What we need of Presidio's `AnalyzerEngine`."""

    def analyze(self, text: str, language: str, **options: Any) -> Iterable[_Result]:
        """What it takes for personal data in `text`."""


class Presidio:
    """Persons, places and groups (nationalities, religions) in English texts."""

    name = "presidio"

    def __init__(self, analyzer: Analyzer | None = None, *, version: str | None = None) -> None:
        """
        Args:
            analyzer: an analyzer made by its owner; by default one over the best of `MODELS`.
            version: of that analyzer and its model, as it is to stand on rows.

        Raises:
            ConfigError: the extra `pii`, or a language model, is not installed. Nothing is
                downloaded.
        """
        self.version = version or "given"
        if analyzer is None:
            analyzer, self.version = _analyzer()
        self._analyzer = analyzer

    def find(self, text: str) -> Sequence[Finding]:
        """What is in `text`, in order, without overlaps."""
        if not text.strip() or text.startswith("data:"):
            return []
        results = self._analyzer.analyze(text, "en", entities=list(ENTITIES), score_threshold=SURE)
        found = (Finding(r.start, r.end, ENTITIES.get(r.entity_type, "")) for r in results)
        return apart(f for f in found if f.kind and not NO_NAME.search(text[f.start : f.end]))


def _analyzer() -> tuple[Analyzer, str]:
    if find_spec("presidio_analyzer") is None:
        raise ConfigError("names and places need the extra: pip install 'openagentloop[pii]'")
    model = next((name for name in MODELS if find_spec(name)), None)
    if model is None:
        raise ConfigError(
            f"Presidio needs a language model of spaCy's: python -m spacy download {MODELS[0]}"
        )
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    configuration = {
        "nlp_engine_name": "spacy",
        "models": [{"lang_code": "en", "model_name": model}],
    }
    engine = NlpEngineProvider(nlp_configuration=configuration).create_engine()
    made: Analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
    return made, f"{_version('presidio-analyzer')}/{model}-{_version(model)}"


def _version(distribution: str) -> str:
    try:
        return version(distribution.replace("_", "-"))
    except PackageNotFoundError:
        return "unknown"
