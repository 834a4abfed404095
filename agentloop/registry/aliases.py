"""Aliases: agent -> the version that is live. A history that is only added to."""

from collections.abc import Sequence

from agentloop.base.errors import TransitionError
from agentloop.base.records import AliasMove, now


def live(moves: Sequence[AliasMove]) -> str | None:
    """The version that is live; None for the agent's own model."""
    return moves[-1].version if moves else None


def swap(agent: str, version: str | None, *, reason: str = "swap") -> AliasMove:
    """The move that makes `version` live; None: the agent's own model."""
    return AliasMove(agent=agent, version=version, at=now(), reason=reason)


def rollback(agent: str, moves: Sequence[AliasMove]) -> AliasMove:
    """The move that makes live again what was live before the present version.

    Rollbacks are undone by a swap, not by a second rollback: that one goes one step further back.

    Raises:
        TransitionError: nothing was live before.
    """
    stack: list[str | None] = [None]
    for move in moves:
        if move.reason == "rollback" and len(stack) > 1:
            stack.pop()
        elif move.version != stack[-1]:
            stack.append(move.version)
    if len(stack) < 2:
        raise TransitionError(
            f"agent {agent!r} is on its own model; there is nothing before that to roll back to"
        )
    return AliasMove(agent=agent, version=stack[-2], at=now(), reason="rollback")
