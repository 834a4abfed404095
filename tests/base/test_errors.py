"""The errors: one tree, drawn and written alike."""

import pickle
import re

import pytest

from agentloop.base import errors


def family(cls, depth=0):
    """Every class from `cls` down, with its depth, in the order they were written."""
    yield depth, cls
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from family(child, depth + 1)


FAMILY = list(family(errors.AgentloopError))


def test_the_tree_in_the_docstring_is_the_tree_in_the_code():
    branch = re.compile(r"^((?:│   |    |├── |└── )*)([A-Z]\w+)(?=  |$)", re.MULTILINE)
    drawn = [(len(m[1]) // 4, m[2]) for m in branch.finditer(errors.__doc__ or "")]
    assert drawn == [(depth, cls.__name__) for depth, cls in FAMILY]


@pytest.mark.parametrize("cls", [cls for _, cls in FAMILY])
def test_an_error_survives_a_process_boundary(cls):
    assert str(pickle.loads(pickle.dumps(cls("why")))) == "why"


@pytest.mark.parametrize("cls", [cls for _, cls in FAMILY])
def test_an_error_says_in_its_docstring_what_it_means(cls):
    assert cls.__doc__


def test_a_provider_error_keeps_what_it_carries_across_a_process_boundary():
    busy = errors.ProviderBusy("later", provider="local", retry_after=7.0)
    back = pickle.loads(pickle.dumps(busy))
    assert (back.provider, back.retry_after) == ("local", 7.0)
