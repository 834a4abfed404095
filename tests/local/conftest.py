"""One model and one server for all tests of this room."""

import os

# Waiting threads that spin make two torch processes on two cores some twenty times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

pytest.importorskip("torch", reason="the extra `local` is not installed")

from tests.local import parrot
from tests.local.serving import served


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """The folder of a model that knows `parrot.KNOWN` by heart."""
    import torch

    torch.set_num_threads(1)
    return parrot.make(tmp_path_factory.mktemp("base") / "parrot")


@pytest.fixture(scope="session")
def server(tmp_path_factory, base):
    """A server that all tests share: nothing in it is theirs alone."""
    with served(tmp_path_factory.mktemp("shared"), {"parrot": base}) as running:
        yield running


@pytest.fixture(scope="session")
def client(server):
    """OpenAI's own client, on that server."""
    with server.client() as opened:
        yield opened
