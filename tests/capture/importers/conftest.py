"""Files of other tools, and a store to import them into."""

import json

import pytest

from agentloop.base.store import Store
from agentloop.capture.importers import Imported, import_file


@pytest.fixture
def kept(tmp_path):
    """A store; one kind of database is enough here, the others are tried with the format chat."""
    with Store(f"sqlite:///{tmp_path}/kept.db") as opened:
        yield opened


@pytest.fixture
def written(tmp_path):
    """Writes a file of these JSON values, one a line; texts and bytes as they are."""

    def write(*values, name="runs.jsonl"):
        path = tmp_path / name
        lines = [
            v if isinstance(v, bytes) else (v if isinstance(v, str) else json.dumps(v)).encode()
            for v in values
        ]
        path.write_bytes(b"\n".join(lines) + b"\n")
        return path

    return write


@pytest.fixture
def import_twice(kept):
    """Imports a file twice and looks whether the second time adds nothing; gives the first."""

    def go(path, **options):
        first = list(import_file(path, kept, **options))
        before = [judged.model_dump() for judged in kept.all_judged()]
        again = list(import_file(path, kept, **options))
        assert [type(item) for item in again] == [type(item) for item in first]
        assert [judged.model_dump() for judged in kept.all_judged()] == before
        for item in first:
            if isinstance(item, Imported):
                stored = kept.trace(item.trace.id)
                assert [c.path for c in stored.calls] == [c.path for c in item.trace.calls]
        return first

    return go
