"""What all tests share: two databases, and a wall around the machine."""

import os
import socket
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy

from agentloop.base.store import Store
from tests import postgres
from tests.graders.servers import Scripted

os.environ.pop("OPENAI_API_KEY", None)
for name in [name for name in os.environ if name.startswith("AGENTLOOP_")]:
    if name != "AGENTLOOP_REQUIRE_POSTGRES" and not name.startswith("AGENTLOOP_CONFORMANCE_"):
        del os.environ[name]

ASKED = urlsplit(os.environ.get("AGENTLOOP_CONFORMANCE_URL", "")).hostname
"""The one other machine that somebody may want to be reached; see `local/test_conformance.py`."""


@pytest.fixture(scope="session", autouse=True)
def _no_request_gets_out() -> Iterator[None]:
    """A test that would reach another machine fails instead."""
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX:
            _refuse_strangers(address[0] if isinstance(address, tuple) else address)
        connect(self, address)

    def guarded_resolve(host: object, *args: object, **kwargs: object) -> object:
        _refuse_strangers(host)
        return resolve(host, *args, **kwargs)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded_connect)
    patch.setattr(socket, "getaddrinfo", guarded_resolve)
    yield
    patch.undo()


def _refuse_strangers(host: object) -> None:
    name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    if name not in ("localhost", "::1", "testserver", ASKED) and not name.startswith("127."):
        raise AssertionError(f"a test wants to reach {name!r}")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server of this session's own."""
    if reason := postgres.why_not():
        if os.environ.get("AGENTLOOP_REQUIRE_POSTGRES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with postgres.server() as url:
        yield url


_schemas = count(1)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a fresh schema on it."""
    schema = f"t{next(_schemas)}"
    engine = sqlalchemy.create_engine(postgres_server)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE SCHEMA {schema}"))
    yield f"{postgres_server}&options=-csearch_path%3D{schema}"
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: os.PathLike[str]) -> str:
    """The URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store, once in each kind of database."""
    with Store(url) as opened:
        yield opened


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    """Start a server on loopback that answers as a function says."""
    servers: list[Scripted] = []

    def start(answer: Callable[..., Any]) -> Scripted:
        servers.append(Scripted(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
