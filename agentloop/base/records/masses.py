"""Records in masses: made by the thousand, and needed for a moment."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

SELDOM = 200_000
"""Objects that are made before garbage in cycles is looked for; Python's own number is 700."""

_lock = Lock()
_inside = 0
_before = _ours = (0, 0, 0)


@contextmanager
def in_masses() -> Iterator[None]:
    """Look for garbage in cycles seldom: records have none, they go when nobody holds them, and to
    look at all of them over and over takes a fifth to a third of the time. It is so for the whole
    process, until the last that asked for it is done."""
    global _inside, _before, _ours
    with _lock:
        if not _inside:
            _before = gc.get_threshold()
            _ours = max(SELDOM, _before[0]) if _before[0] else 0, *_before[1:]
            gc.set_threshold(*_ours)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and gc.get_threshold() == _ours:  # the application may have had its say
                gc.set_threshold(*_before)
