"""The conversation tree: where a call stands in it, and how its messages are found again."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, select

from agentloop.base.records.message import (
    ROOT,
    Message,
    canonical,
    digest,
    node_id,
    renumber,
    restore,
    verbatim,
)
from agentloop.base.store import tables


class Path(NamedTuple):
    """A path from the root: its rows for `node` and `message`, and the ids that stood in it."""

    nodes: tuple[dict[str, Any], ...]
    messages: dict[str, str]
    """Hash -> body."""
    ids: tuple[str, ...]

    @property
    def leaf(self) -> str:
        """The node of the last message."""
        return self.at(len(self.nodes))

    def at(self, depth: int) -> str:
        """The node of the first `depth` messages; the root when there are none."""
        return str(self.nodes[depth - 1]["id"]) if depth else ROOT


def path(conversation: Iterable[Message]) -> Path:
    """Where `conversation` stands in the tree. The same conversation gives the same nodes,
    whatever its tool-call ids."""
    messages, ids = renumber(conversation)
    nodes: list[dict[str, Any]] = []
    bodies: dict[str, str] = {}
    parent = ROOT
    for depth, message in enumerate(messages, 1):
        said = message.to_dict()
        hash = digest(canonical(said))
        bodies[hash] = verbatim(said).decode()
        node = node_id(parent, hash)
        nodes.append(
            {
                "id": node,
                "parent": parent,
                "message": hash,
                "role": message.role,
                "depth": depth,
            }
        )
        parent = node
    return Path(tuple(nodes), bodies, ids)


class Tree(Mapping[str, tuple[Message, ...]]):
    """Some of the tree in memory: node -> the messages from the root to it."""

    def __init__(self, nodes: Mapping[str, tuple[str, Message]]) -> None:
        self._nodes = nodes

    def __getitem__(self, node: str) -> tuple[Message, ...]:
        messages: list[Message] = []
        while node != ROOT:
            node, message = self._nodes[node]
            messages.append(message)
        return tuple(reversed(messages))

    def __iter__(self) -> Any:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def original(self, node: str, ids: Sequence[str]) -> tuple[Message, ...]:
        """The messages with the tool-call ids that they had."""
        return restore(self[node], ids)


def read(connection: Connection, leaves: Iterable[str]) -> Tree:
    """All that leads from the root to `leaves`."""
    wanted = sorted(set(leaves) - {ROOT})
    rows: list[Row[Any]] = []
    for start in range(0, len(wanted), 5_000):  # databases bound the parameters of a statement
        rows += connection.execute(_UP, {"leaves": wanted[start : start + 5_000]}).all()
    return Tree({row.id: (row.parent, parsed(row.body)) for row in rows})


def _upwards() -> Any:
    node, message = tables.node, tables.message
    up = (
        select(node.c.id, node.c.parent, node.c.message)
        .where(node.c.id.in_(bindparam("leaves", expanding=True)))
        .cte("up", recursive=True)
    )
    above = node.alias("above")
    up = up.union(
        select(above.c.id, above.c.parent, above.c.message).join(up, above.c.id == up.c.parent)
    )
    return select(up.c.id, up.c.parent, message.c.body).join(
        message, message.c.hash == up.c.message
    )


_UP = _upwards()


@lru_cache(maxsize=1024)
def parsed(body: str) -> Message:
    """The message of a stored body. Messages are frozen, so equal ones may be one object."""
    return Message.of_json(body)
