"""What has been seen stays known, and takes no memory."""

import pytest

from agentloop.base.store.seen import Seen, Sight
from tests.base.texts import naughty


@pytest.fixture
def seen():
    with Seen() as opened:
        yield opened


def test_the_first_sight_of_a_name_is_kept(seen):
    for n, name in enumerate(dict.fromkeys(naughty())):
        assert seen.first(name, Sight(n, "a")) == (n, "a")
        assert seen.first(name, Sight(-1, "b")) == (n, "a")


def test_what_was_never_seen_is_not_found(seen):
    assert seen.find("a") is None
    seen.first("a", Sight(3, "x"))
    assert seen.find("a") == (3, "x")
    assert seen.find("b") is None


def test_what_is_kept_is_not_in_memory(seen):
    """SQLite holds 2 MB of a temporary file; the rest is on disk."""
    for n in range(60_000):
        seen.first(f"import_{n:032}", Sight(n, f"{n:032}"))
    pages = seen._file.execute("PRAGMA page_count").fetchone()[0]
    cached = -seen._file.execute("PRAGMA cache_size").fetchone()[0] * 1024
    assert pages * 4096 > 2 * cached
    assert seen.first(f"import_{7:032}", Sight(0, "")).line == 7
