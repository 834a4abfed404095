"""Where two rows differ."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.base.records.difference import differing

ROW = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"messages": [*ROW["messages"], {}]}, ("messages.2",)),
        ({"messages": ROW["messages"][:1]}, ("messages.1",)),
        (
            {"messages": [{"role": "user", "content": None}, ROW["messages"][1]]},
            ("messages.0.content",),
        ),
        ({"messages": [{"role": "user"}, ROW["messages"][1]]}, ("messages.0.content",)),
        ({"messages": "hi"}, ("messages",)),
        ({"tools": []}, ("tools",)),
        (
            {"messages": [*reversed(ROW["messages"])]},
            ("messages.0.role", "messages.0.content", "messages.1.role", "messages.1.content"),
        ),
    ],
)
def test_a_difference_is_named_by_its_way(change, where):
    assert differing(ROW, {**ROW, **change}) == where


def test_one_is_not_true_and_keys_have_an_order():
    assert differing({"a": {"b": 1}}, {"a": {"b": True}}) == ("a.b",)
    assert differing({"a": 1, "b": 2}, {"b": 2, "a": 1}) == ("order of keys",)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
rows = st.dictionaries(st.text(), values, max_size=4)


@given(rows, rows)
def test_rows_differ_somewhere_unless_their_lines_are_the_same(a, b):
    assert bool(differing(a, b)) == (json.dumps(a) != json.dumps(b))
    assert differing(a, a) == ()
