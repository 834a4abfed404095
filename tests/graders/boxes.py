"""Sandboxes for tests: around a body, for one call, and whether a process is gone."""

import contextlib
import os
import select
import textwrap
from collections.abc import Generator

import pytest

from agentloop.base.records import Json
from agentloop.graders import Limits
from agentloop.graders.sandbox import GUARDS, Answer, Sandbox

from .makers import python

SHORT = Limits(seconds=1.0)
"""Enough for a call on a busy machine, little enough to wait for."""


@contextlib.contextmanager
def boxed(
    body: str, limits: Limits | None = None, guards: tuple[str, ...] = GUARDS
) -> Generator[Sandbox]:
    """A sandbox around `grade` with this body."""
    source = python(textwrap.dedent(body).strip())["source"]
    box = Sandbox(source, limits or Limits(), guards)
    try:
        yield box
    finally:
        box.close()


def call(
    body: str,
    item: Json | None = None,
    limits: Limits | None = None,
    guards: tuple[str, ...] = GUARDS,
) -> Answer:
    """What one call of `grade` with this body gives."""
    with boxed(body, limits, guards) as box:
        return box.call({}, item or {})


def gone(pid: int, seconds: float = 20.0) -> bool:
    """Whether that process ends within `seconds`; a zombie has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def needs(guard: str) -> None:
    """Skip where this kernel does not give the guard."""
    with boxed("return 1") as box:
        box.call({}, {})
        if guard not in box.guards:
            pytest.skip(f"this kernel does not give {guard}")
