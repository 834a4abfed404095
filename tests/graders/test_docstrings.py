"""The examples in the docstrings give what they say."""

import doctest

import pytest

from agentloop.graders import formula, sample, templates


@pytest.mark.parametrize("module", [formula, sample, templates], ids=lambda m: m.__name__)
def test_the_examples_are_true(module):
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0
