"""Servers that end with their test."""

import pytest

from .servers import Scripted


@pytest.fixture
def scripted():
    """Start a server that answers as a function says."""
    servers = []

    def start(answer):
        servers.append(Scripted(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
