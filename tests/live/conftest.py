"""A real local provider for everything in here: started once, by the command that users type."""

import shutil
from pathlib import Path

import pytest

from agentloop.ui.demo.server import local_provider

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def provider_url(tmp_path_factory):
    """The address of a local provider with the tiny base."""
    with local_provider(tmp_path_factory.mktemp("provider") / "local") as answering:
        yield answering()


@pytest.fixture
def home(tmp_path, monkeypatch, provider_url):
    """A folder to work in, with the recorded traces, and the provider where settings expect it."""
    (tmp_path / "traces").mkdir()
    for recorded in (ROOT / "traces").glob("*.jsonl"):
        shutil.copy(recorded, tmp_path / "traces")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGENTLOOP_LOCAL_URL", provider_url)
    return tmp_path
