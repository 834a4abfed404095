"""Strings that break things."""

import json

from hypothesis import strategies as st

from tests.makers import DATA

ODD = (
    "",
    "\x00",
    "a\x00b\x1ac\x1a0000",
    "\ud800",
    "\udfff lone \ud83d",
    "😀 \U0010ffff \ufeff\u2028\u2029",
    "'; DROP TABLE trace; --",
    "%s %(x)s :name ? $1 {} \\u0000 \\ud800",
    "\r\n\t\x7f\x85",
)


def naughty():
    """The Big List of Naughty Strings where it is at hand, and a few of our own."""
    listed = DATA / "blns" / "blns.json"
    return (*ODD, *(json.loads(listed.read_text()) if listed.exists() else ()))


texts = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(exclude_categories=()), max_size=8),
)
"""Any string of Python's, lone surrogates included."""

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
