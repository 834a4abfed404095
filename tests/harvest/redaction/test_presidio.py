"""Names and places: Presidio beside our own detector."""

import re
from importlib.util import find_spec
from typing import NamedTuple

import pytest

from agentloop.base.errors import ConfigError
from agentloop.harvest.redaction import Patterns, Redactor
from agentloop.harvest.redaction.presidio import MODELS, Presidio
from tests.harvest.redaction.makers import an_example, asks, returns, says, system, texts, user

INSTALLED = find_spec("presidio_analyzer") is not None and any(map(find_spec, MODELS))


class Result(NamedTuple):
    entity_type: str
    start: int
    end: int


class KnowsSome:
    """An analyzer that knows a few names."""

    def __init__(self, **names):
        self.names = names

    def analyze(self, text, language, **options):
        assert language == "en"
        return [
            Result(entity, match.start(), match.end())
            for name, entity in self.names.items()
            for match in re.finditer(name, text)
            if entity in options["entities"]
        ]


def redactor(**names):
    return Redactor([Patterns(), Presidio(KnowsSome(**names), version="2")])


def test_names_become_numbered_persons_and_join_with_arguments():
    example, kinds = redactor(Jane="PERSON", Oslo="LOCATION").redact(
        an_example(
            system("You serve Oslo."),
            user("I am Jane from Oslo, jane@work.org"),
            asks(arguments='{"name":"Jane", "city": "Oslo"}'),
            returns('{"Jane": 1}'),
            says("Hi Jane!"),
        )
    )
    assert texts(example) == [
        "You serve Place1.",
        "I am Person1 from Place1, person1@example.com",
        '{"name":"Person1", "city": "Place1"}',
        '{"Jane": 1}',  # a key may be the name of a field
        "Hi Person1!",
    ]
    assert kinds == {"email": 1, "person": 3, "place": 3}


def test_a_finding_that_would_break_the_json_is_left_out():
    name = '"Jane", "x'
    example, _ = redactor(**{name: "PERSON", "12": "PERSON", "true": "PERSON"}).redact(
        an_example(user(), asks(arguments='["Jane", "x", 12, true]'), returns(), says())
    )
    assert texts(example)[1] == '["Jane", "x", 12, true]'


def test_both_detectors_and_their_versions_are_on_record():
    assert redactor().says == {"detector": "agentloop+presidio", "version": "1+2"}


@pytest.mark.skipif(INSTALLED, reason="Presidio and a model of spaCy's are installed")
def test_without_the_extra_the_error_says_what_to_install():
    with pytest.raises(ConfigError, match=r"install|download"):
        Redactor.of("pii")


@pytest.mark.skipif(not INSTALLED, reason="Presidio or a model of spaCy's is not installed")
def test_the_real_one_finds_names_and_is_satisfied_with_what_replaced_them():
    pii = Redactor.of("pii")
    example, kinds = pii.redact(
        an_example(user("My name is Jane Miller and I live in Berlin."), says("Hello!"))
    )
    assert texts(example)[0] == "My name is Person1 and I live in Place1."
    assert kinds == {"person": 1, "place": 1}
    assert pii.redact(example).kinds == {}
