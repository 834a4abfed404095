"""The conversation tree: where a call stands in it, and how its messages are found again."""

from collections.abc import Iterable, Mapping
from threading import Lock
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, select

from agentloop.base.records.media import REFERENCE, references, shelve, unshelve
from agentloop.base.records.message import (
    ROOT,
    Message,
    Numbers,
    canonical,
    digest,
    highest,
    node_id,
    restore,
    verbatim,
)
from agentloop.base.records.record import Json, of_json
from agentloop.base.store import tables

IDS_IN_A_ROW = 16
"""So many ids of tool calls are stored together, and shared by all calls that come after."""

NO_MEDIA: Mapping[str, str] = MappingProxyType({})


class Path:
    """A conversation's way from the root: its nodes, its messages by their hashes, and the ids
    that stood in it. The same conversation has the same nodes, whatever its tool-call ids."""

    __slots__ = ("_numbers", "bodies", "hashes", "media", "messages", "nodes", "rows", "size")

    def __init__(self, conversation: Iterable[Message] = ()) -> None:
        self.messages: tuple[Message, ...] = ()
        self.nodes: list[str] = []
        self.hashes: list[str] = []
        self.bodies: list[bytes] = []
        self.media: list[Mapping[str, str]] = []
        """For each message: hash and body of what it refers to."""
        self.rows: list[IdRow] = []
        """The ids, those that fill whole rows."""
        self.size = 0
        """About how many bytes it takes to remember it."""
        self._numbers = Numbers()
        self._go(tuple(conversation))

    @property
    def leaf(self) -> str:
        """The node of the last message."""
        return self.at(len(self.nodes))

    @property
    def ids(self) -> list[str]:
        """The ids that stood in it."""
        return self._numbers.ids

    def at(self, depth: int) -> str:
        """The node of the first `depth` messages; the root when there are none."""
        return self.nodes[depth - 1] if depth else ROOT

    def leads_to(self, conversation: tuple[Message, ...]) -> bool:
        """Whether `conversation` begins with all of this one."""
        known = len(self.messages)
        return 0 < known <= len(conversation) and _begins(conversation, self.messages)

    def copy(self) -> "Path":
        """The same path, to be gone on with in another way."""
        path = Path()
        path.nodes, path.hashes = self.nodes.copy(), self.hashes.copy()
        path.bodies, path.media = self.bodies.copy(), self.media.copy()
        path.rows, path._numbers = self.rows.copy(), self._numbers.copy()
        path.size, path.messages = self.size, self.messages
        return path

    def go_on(self, conversation: tuple[Message, ...]) -> None:
        """Walk the rest of a conversation that this path leads to."""
        self._go(conversation[len(self.messages) :])

    def said_of_ids(self) -> dict[str, Any]:
        """What is kept of the ids beside a conversation; `ids_of` reads it back."""
        rest = self.ids[len(self.rows) * IDS_IN_A_ROW :]
        said: dict[str, Any] = {"ids": rest} if rest else {}
        return {**said, "ids_before": self.rows[-1].hash} if self.rows else said

    def _go(self, more: tuple[Message, ...]) -> None:
        self.messages += more
        parent = self.leaf
        for message in more:
            said, media = self._numbers.written(message), NO_MEDIA
            if type(message.content) is not str:
                said, media = shelve(said)
                self.size += sum(map(len, media.values()))
            body = verbatim(said)
            hash = digest(canonical(said))
            parent = node_id(parent, hash)
            self.bodies.append(body)
            self.hashes.append(hash)
            self.nodes.append(parent)
            self.media.append(media)
            self.size += 2 * len(body) + 500
        filled = len(self.rows) * IDS_IN_A_ROW
        while len(self.ids) - filled >= IDS_IN_A_ROW:
            self._fill(self.ids[filled : filled + IDS_IN_A_ROW])
            filled += IDS_IN_A_ROW

    def _fill(self, ids: list[str]) -> None:
        before = self.rows[-1].hash if self.rows else ROOT
        body = verbatim(ids).decode()
        self.rows.append(IdRow(digest(before.encode(), body.encode()), before, body))


class IdRow(NamedTuple):
    """Ids of tool calls, and the row that comes before them."""

    hash: str
    before: str
    body: str


def _begins(conversation: tuple[Message, ...], with_: tuple[Message, ...]) -> bool:
    return all(map(_same, conversation, with_))


def _same(one: Message, other: Message) -> bool:
    """Whether two messages are one on the wire: to Python, 1 and true are equal."""
    if one is other:
        return True
    if one != other:
        return False
    plain = isinstance(one.content, str | None) and not one.__pydantic_extra__
    plain = plain and not any(
        c.__pydantic_extra__ or c.function.__pydantic_extra__ for c in one.calls
    )
    return plain or canonical(one.to_dict()) == canonical(other.to_dict())


REMEMBERED_PATHS = 64
REMEMBERED_BYTES = 16_000_000
"""What is remembered of the latest conversations, at most: each call brings its whole context."""


class Paths:
    """Where the latest conversations of the latest traces stand in the tree.

    Safe to use from several threads at once. What it is told must be stored.
    """

    def __init__(self) -> None:
        self._paths: dict[str, dict[str, Path]] = {}
        self._lock = Lock()

    def of(self, trace_id: str) -> dict[str, Path]:
        """The paths in a trace, by agent."""
        with self._lock:
            return dict(self._paths.get(trace_id, {}))

    def stored(self, paths: Mapping[str, dict[str, Path]]) -> None:
        """These are in the database."""
        with self._lock:
            for trace_id, of_trace in paths.items():
                before = self._paths.pop(trace_id, {})
                self._paths[trace_id] = {**before, **of_trace}
            size = sum(p.size for of_trace in self._paths.values() for p in of_trace.values())
            while self._paths and (len(self._paths) > REMEMBERED_PATHS or size > REMEMBERED_BYTES):
                oldest = self._paths.pop(next(iter(self._paths)))
                size -= sum(path.size for path in oldest.values())

    def forget(self) -> None:
        """Something that was stored is no longer there."""
        with self._lock:
            self._paths.clear()


class Tree(Mapping[str, tuple[Message, ...]]):
    """Some of the tree in memory: node -> the messages from the root to it."""

    def __init__(self, nodes: Mapping[str, tuple[str, Json]]) -> None:
        self._nodes = nodes
        self._numbered = {ROOT: 0}
        self._original: dict[tuple[str, tuple[str, ...]], tuple[Message, ...]] = {(ROOT, ()): ()}

    def __getitem__(self, node: str) -> tuple[Message, ...]:
        messages: list[Message] = []
        while node != ROOT:
            node, said = self._nodes[node]
            messages.append(Message.trusted(said))
        return tuple(reversed(messages))

    def __iter__(self) -> Any:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def original(self, node: str, ids: tuple[str, ...]) -> tuple[Message, ...]:
        """The messages with the tool-call ids that they had. A path that goes on with one that was
        asked for before, ids and all, begins with the same objects."""
        there = node, ids[: self._ids_up_to(node)]
        found = self._original.get(there)
        if found is None:
            above, more = node, []
            while found is None:
                above, said = self._nodes[above]
                more.append(said)
                found = self._original.get((above, ids[: self._numbered[above]]))
            found = self._original[there] = (*found, *restore(reversed(more), ids))
        return found

    def _ids_up_to(self, node: str) -> int:
        """How many tool-call ids stand on the way to a node."""
        way = []
        while node not in self._numbered:
            way.append(node)
            node = self._nodes[node][0]
        ids = self._numbered[node]
        for below in reversed(way):
            ids = self._numbered[below] = max(ids, highest(self._nodes[below][1]))
        return ids


def read(connection: Connection, leaves: Iterable[str]) -> Tree:
    """All that leads from the root to `leaves`."""
    wanted = sorted(set(leaves) - {ROOT})
    rows: list[Any] = []
    for start in range(0, len(wanted), 5_000):  # databases bound the parameters of a statement
        rows += connection.execute(_UP, {"leaves": wanted[start : start + 5_000]}).all()
    said = {id: (parent, of_json(body)) for id, parent, body in rows}
    if with_media := [id for id, _, body in rows if REFERENCE in body]:
        media = _media(connection, [said[id][1] for id in with_media])
        said |= {id: (said[id][0], unshelve(said[id][1], media)) for id in with_media}
    return Tree(said)


def _media(connection: Connection, said: Iterable[Json]) -> dict[str, str]:
    """The media that these messages refer to, by hash."""
    wanted = sorted(set().union(*map(references, said)))
    found: dict[str, str] = {}
    for start in range(0, len(wanted), 5_000):
        asked = select(tables.media).where(tables.media.c.hash.in_(wanted[start : start + 5_000]))
        found |= {row.hash: row.body for row in connection.execute(asked)}
    return found


class Ids:
    """The ids that stood in some conversations."""

    def __init__(self, rows: Mapping[str, tuple[str, list[str]]]) -> None:
        self._rows = rows

    def of(self, body: dict[str, Any]) -> tuple[str, ...]:
        """The ids that a body tells of, taken out of it."""
        before, parts = body.pop("ids_before", ROOT), [body.pop("ids", [])]
        while before != ROOT:
            before, ids = self._rows[before]
            parts.append(ids)
        return tuple(id for part in reversed(parts) for id in part)


def read_ids(connection: Connection, bodies: Iterable[Mapping[str, Any]]) -> Ids:
    """All ids that `bodies` tell of."""
    wanted = sorted({body["ids_before"] for body in bodies if "ids_before" in body})
    found: list[Row[Any]] = []
    for start in range(0, len(wanted), 5_000):
        found += connection.execute(_IDS, {"last": wanted[start : start + 5_000]}).all()
    return Ids({row.hash: (row.before, of_json(row.body)) for row in found})


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


def _backwards() -> Any:
    numbering = tables.numbering
    back = (
        select(numbering.c.hash, numbering.c.before, numbering.c.body)
        .where(numbering.c.hash.in_(bindparam("last", expanding=True)))
        .cte("back", recursive=True)
    )
    earlier = numbering.alias("earlier")
    back = back.union(
        select(earlier.c.hash, earlier.c.before, earlier.c.body).join(
            back, earlier.c.hash == back.c.before
        )
    )
    return select(back)


_IDS = _backwards()
