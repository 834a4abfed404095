"""For tests of capture: a loop of its own, and no trace that leaves the machine."""

import asyncio

import agents
import pytest

from agentloop import AgentLoop, Settings
from tests.capture.server import serving


@pytest.fixture(autouse=True)
def _no_trace_is_sent():
    agents.set_trace_processors([])
    yield
    agents.set_trace_processors([])


@pytest.fixture
def loop(tmp_path):
    settings = Settings(spill_dir=tmp_path)
    with AgentLoop(f"sqlite:///{tmp_path}/loop.db", settings=settings) as opened:
        yield opened


@pytest.fixture
def listening(loop):
    """A loop that captures plain runs while the test goes on."""
    yield loop.instrument()
    loop.uninstrument()


@pytest.fixture
def serve(request):
    """Starts a scripted server; it is gone after the test."""
    up = []

    def start(*script):
        context = serving(*script)
        server = context.__enter__()
        up.append(context)
        return server

    yield start
    for context in up:
        context.__exit__(None, None, None)


@pytest.fixture
def event_loop_of_its_own():
    """`run_sync` leaves the thread's event loop open for the next one; a test leaves none."""
    events = asyncio.new_event_loop()
    asyncio.set_event_loop(events)
    yield
    events.close()
    asyncio.set_event_loop(None)
